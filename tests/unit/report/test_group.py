"""The page and the JSON of a hardening of containers that run together."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from lithify.model.behaviour import Behaviour
from lithify.model.group import GroupHardening, Member
from lithify.model.hardening import Hardening
from lithify.model.image import ImageFacts
from lithify.model.mount import Mount, MountPlan, StorageKind
from lithify.model.patch import Refused, unified_diff
from lithify.model.run import TargetKind
from lithify.model.verdict import Check, Verdict
from lithify.model.writes import Observation, RunKey, WriteSet
from lithify.report.group import render_group
from lithify.report.wire import parse, render_json

EVIL = "\x1b[31mred\x07\n\udc80"
KEY = RunKey(image="web")
FINE = Check(name="starts", passed=True, summary="starts and stays up")
PROVED = Verdict(works=(FINE,), refused=(FINE,))
FAILED = Verdict(works=(replace(FINE, passed=False),), refused=(FINE,))


def hardening(verdict: Verdict = PROVED) -> Hardening:
    seen = Behaviour(started=True, running=True)
    writes = WriteSet(
        key=KEY, container="web", image=ImageFacts(reference="web"), writes=(), observation=Observation(seconds=1.0)
    )
    plan = MountPlan(key=KEY, container="web")
    return Hardening(
        target="web",
        engine="pod",
        write_set=writes,
        plan=plan,
        command=(),
        verdict=verdict,
        original=seen,
        flag_alone=seen,
        flag_alone_works=True,
    )


def group(*members: Member, **more: object) -> GroupHardening:
    return replace(GroupHardening(target="deploy.yaml", engine="pod on docker", members=members), **more)  # type: ignore[arg-type]


def test_each_member_has_its_page_and_the_file_its_diff() -> None:
    diff = unified_diff("deploy.yaml", b"a: 1\nb: 2\n", b"a: 1\nb: 3\n")
    result = group(
        Member(name="app", hardening=hardening(), together=PROVED),
        Member(name="init", hardening=hardening()),
        diff=diff,
        cannot_show=("no scheduler",),
    )
    assert result.proved
    page = render_group(result)
    assert "=== app" in page
    assert "All together, as the patched file stands" in page
    assert "=== deploy.yaml (pod on docker): PROVED" in page
    assert "app: proved, alone and beside the others, 0 more writable places" in page
    assert "init: proved, 0 more writable places" in page
    assert "\n-b: 2\n+b: 3\n" in page
    assert "  - no scheduler" in page
    assert "Command" not in page, "a member has no command of its own"


@pytest.mark.parametrize(
    ("member", "told"),
    [
        (Member(name="app", trouble="app can't be started"), "app: does not work as it is"),
        (Member(name="app", hardening=hardening(FAILED)), "app: not proved, so it stays as it is"),
        (Member(name="app", hardening=hardening(), together=FAILED), "app: fails beside the others as patched"),
    ],
)
def test_one_member_that_fails_fails_the_whole(member: Member, told: str) -> None:
    result = group(Member(name="other", hardening=hardening()), member)
    assert not result.proved
    page = render_group(result)
    assert "deploy.yaml (pod on docker): NOT PROVED" in page
    assert told in page


def test_a_check_that_asks_another_service_is_told_of() -> None:
    """What to do is in the same line, and where the file as a whole is judged."""
    failed = Check(name="check can fail", passed=False, summary="the check passes although the program is stopped")
    result = group(Member(name="db", hardening=hardening(replace(PROVED, honest=(failed,)))))
    page = " ".join(render_group(result, width=200).split())
    why = "check can fail: the check passes although the program is stopped; what is asked says nothing of "
    assert f"Verdict: NOT PROVED why: {why}" in page
    assert f"=== deploy.yaml (pod on docker): NOT PROVED db: not proved, so it stays as it is: {why}" in page
    assert "a healthcheck or probe in the file" in page
    assert "--service NAME" in page


def test_a_file_that_can_not_be_changed_is_not_one_that_has_not_to() -> None:
    refused = Refused(container="app", reason="a variable decides its path", remedy="Write it by hand")
    member = Member(name="app", hardening=hardening())
    page = render_group(group(member, refused=(refused,)))
    assert "nothing has to change" not in page
    assert "\nPatch\n  what has to change is left for you\n" in page
    assert (
        "app: proved, 0 more writable places\n  not in the file: app; 'Left for you' says why and what to do\n" in page
    )
    assert "\nPatch\n  nothing has to change\n" in render_group(group(member))


def test_what_the_patch_leaves_is_not_proved() -> None:
    refused = Refused(container="app", reason="an alias shared with db", by_hand="volumeMounts:\n- mountPath: /run\n")
    result = group(Member(name="app", hardening=hardening()), refused=(refused,))
    assert not result.proved
    page = render_group(result)
    assert "  - app: an alias shared with db\n      volumeMounts:\n      - mountPath: /run\n" in page


def test_nothing_unprintable_reaches_the_terminal() -> None:
    refused = Refused(container=EVIL, reason=EVIL, by_hand=EVIL)
    result = group(
        Member(name=EVIL, trouble=EVIL),
        diff=unified_diff(EVIL, b"a\n", b"\x1b[31m\xff\n"),
        refused=(refused,),
        notes=(EVIL,),
        cannot_show=(EVIL,),
    )
    assert all(line.isprintable() for line in render_group(result).splitlines())


def test_it_goes_to_json_and_back() -> None:
    text = b"\xff: 1\n".decode("utf-8", "surrogateescape")
    refused = Refused(container="app", reason="templated", by_hand="x")
    result = group(Member(name="app", hardening=hardening(), together=PROVED), text=text, refused=(refused,))
    written = render_json(result)
    found = json.loads(written)
    assert found["schema"] == "lithify.dev/group-hardening/v1"
    assert (found["proved"], [member["proved"] for member in found["members"]]) == (False, [True]), "for a script"
    assert json.loads(render_json(hardening()))["proved"] is True
    assert json.loads(render_json(FAILED))["proved"] is False
    assert parse(written.encode(), GroupHardening, source="test") == result


@pytest.mark.parametrize(
    ("before", "after"),
    [("a\nb\nc\n", "a\nB\nc\n"), ("a\nb", "a\nb\nc"), ("", "a\n"), ("a\r\nb\r\n", "a\r\nc\r\n"), ("a\n", "a")],
)
def test_patch_takes_the_diff(tmp_path: Path, before: str, after: str) -> None:
    file = tmp_path / "f"
    file.write_bytes(before.encode())
    diff = unified_diff("f", before.encode(), after.encode())
    done = subprocess.run(["patch", "--binary", "-p1"], cwd=tmp_path, input=diff.encode(), capture_output=True)
    assert done.returncode == 0, done.stdout
    assert file.read_bytes() == after.encode()


def test_no_change_has_no_diff() -> None:
    assert unified_diff("f", b"a\n", b"a\n") == ""


def test_a_place_of_a_pod_is_called_what_the_file_gets() -> None:
    """An emptyDir is in memory for run-time files only, and lets code run: the patch says both."""
    mount = Mount(path=PurePosixPath("/tmp"), storage=StorageKind.MEMORY, size=4 << 20, mode=0o1777)
    kept = replace(mount, path=PurePosixPath("/data"), storage=StorageKind.VOLUME, size=None)
    plan = MountPlan(key=KEY, container="web", mounts=(mount, kept))
    for kind, words in (
        (TargetKind.POD, ("emptyDir", "claim", ", ")),
        (TargetKind.SERVICE, ("tmpfs", "volume", ", noexec, ")),
    ):
        page = render_group(group(Member(name="app", hardening=replace(hardening(), plan=plan, kind=kind))))
        memory, stays, code = words
        assert f"/tmp  {memory}, at most 4.0 MiB{code}0:0 1777" in page
        assert f"/data  {stays}, stays{code}0:0 1777" in page
