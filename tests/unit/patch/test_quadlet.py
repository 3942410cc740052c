"""Quadlet units: only lines that must change do, and Podman's own generator makes of them what was planned."""

import shlex
import subprocess
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.patch import plans
from tests.unit.patch.plans import SCRATCH, VOLUME, place, planned, redirect
from tests.unit.patch.programs import program

from lithify.documents.unit import parse_unit, quote_word, split_words
from lithify.errors import UsageError
from lithify.model.mount import Mount, Seed
from lithify.model.patch import Patched
from lithify.patch import quadlet
from lithify.patch.quadlet_line import line_of_unit
from lithify.pipeline.files.patch import GivenPlan, patch_file

UNIT = b"""\
# the shop's front
[Unit]
Description=Web

[Container]
Image=example.org/web:1
ContainerName=web
PublishPort=8080:80
Environment=A=1 "B=two words"
Volume=data.volume:/srv/data:ro
# keep me
Exec=serve \\
  --say "a b"

[Install]
WantedBy=default.target
"""


def patch(data: bytes, *mounts: Mount, path: str = "web.container") -> Patched:
    return quadlet.patch(data, [planned(*mounts, redirects=(redirect("HOME", "/tmp"),))], path=path)


def test_only_the_keys_that_are_needed_are_added() -> None:
    patched = patch(UNIT, place("/tmp", mode=0o1777, size=1 << 20), place("/var/lib/web", VOLUME, name="web-data"))
    assert not patched.refused
    assert patched.text.decode() == UNIT.decode().replace(
        'two words"\n', 'two words"\nEnvironment=HOME=/tmp\n'
    ).replace("/srv/data:ro\n", "/srv/data:ro\nVolume=web-data:/var/lib/web:noexec,nosuid,nodev,nocopy\n").replace(
        '"a b"\n',
        '"a b"\nReadOnly=true\nReadOnlyTmpfs=false\n'
        "Tmpfs=/dev/shm:rw,noexec,nosuid,nodev,size=64m,mode=1777\n"
        "Tmpfs=/tmp:rw,noexec,nosuid,nodev,size=1m,notmpcopyup,mode=1777\n",
    ) + (
        '\n[Service]\nExecStartPre=/bin/sh -c "{ podman volume exists web-data; } || '
        '{ { podman volume exists web-data || podman volume create --opt o=uid=0,gid=0 web-data; }; }"\n'
    )


def test_a_flag_that_says_no_is_turned_where_it_stands() -> None:
    patched = patch(b"[Container]\r\nImage=x\r\n  ReadOnly = no\r\n# end", place("/tmp", mode=0o1777))
    assert patched.text.startswith(b"[Container]\r\nImage=x\r\n  ReadOnly=true\r\n")
    assert patched.text.endswith(b"# end")
    assert b"\n" not in patched.text.replace(b"\r\n", b"")


def test_a_flag_in_the_arguments_is_left_to_a_person() -> None:
    data = b"[Container]\nImage=x\nPodmanArgs=--read-only=false\n"
    patched = patch(data, place("/tmp"))
    assert patched.text == data
    assert "PodmanArgs=" in patched.refused[0].reason
    assert "ReadOnly=true" in patched.refused[0].by_hand


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"[Container]\nImage=x\nrubbish\n", "neither a section nor Key=value"),
        (b"[Container]\nContainerName=x\n", "names no Image"),
        (b"[Container]\nImage=x-%q\n", "known to systemd alone"),
        (b'[Container]\nImage=x\nExec=a "b\n', "a quote is left open"),
        (b"[Container]\nImage=x\nEnvironment=A=1 HOME=/root\n", "among others"),
    ],
)
def test_what_cannot_be_told_is_refused_and_left_alone(data: bytes, reason: str) -> None:
    patched = patch(data, place("/tmp"))
    assert patched.text == data
    assert reason in patched.refused[0].reason


def test_a_unit_of_a_pod_is_patched_as_any_other() -> None:
    data = b"[Container]\nImage=x\nPod=y.pod\n"
    patched = patch(data, place("/tmp", mode=0o1777))
    assert not patched.refused
    assert patched.text.startswith(data + b"ReadOnly=true\n")
    assert line_of_unit(parse_unit(patched.text), "web.container").value("pod") == "systemd-y"


def test_instances_of_a_template_share_no_volume() -> None:
    kept = place("/var/lib/web", VOLUME, name="data")
    data = b"[Container]\nImage=x:%i\n"
    (refused,) = patch(data, kept, path="web@.container").refused
    assert "its instances would share the volume data: mount data-%i there first" in refused.reason
    followed = patch(data + b"Volume=data-%i:/var/lib/web\n", kept, path="web@.container")
    assert not followed.refused
    assert b"ReadOnly=true" in followed.text
    assert not patch(data, place("/tmp", mode=0o1777), path="web@.container").refused


def test_an_open_last_line_stays_open() -> None:
    patched = patch(b"[Container]\nImage=x", place("/tmp", mode=0o1777))
    assert not patched.text.endswith(b"\n")
    assert patch(patched.text, place("/tmp", mode=0o1777)).text == patched.text


@given(
    mounts=plans.mounts,
    ending=st.sampled_from(("\n", "\r\n")),
    before=st.sampled_from(("", "ReadOnly=false\n", "ReadOnlyTmpfs=true\n", "Tmpfs=/run\n", "Volume=/var/tmp\n")),
    last=st.booleans(),
)
def test_twice_changes_nothing_and_what_was_there_stays(
    mounts: list[Mount], ending: str, before: str, last: bool
) -> None:
    text = UNIT.decode().replace("PublishPort", before + "PublishPort").replace("\n", ending)
    data = (text if last else text.removesuffix(ending)).encode()
    once = patch(data, *mounts)
    again = patch(once.text, *mounts)
    assert again.text == once.text or once.refused
    if once.refused:
        assert once.text == data
    kept = [line for line in data.splitlines() if not line.startswith((b"ReadOnly",))]
    assert [line for line in once.text.splitlines() if line in kept][: len(kept)] == kept or b"Tmpfs=/run" in data
    assert set(kept) <= set(once.text.splitlines())


@given(st.text(min_size=1).filter(lambda text: "\0" not in text and "\r" not in text))
def test_a_quoted_word_is_read_as_it_was(word: str) -> None:
    if all(c in "\n\t" or not c.isspace() or c == " " for c in word):
        assert split_words(quote_word(word)) == [word.replace("%", "%%")]


def test_specifiers_and_units_beside_it_are_followed(tmp_path: Path) -> None:
    (tmp_path / "data.volume").write_text("[Volume]\nVolumeName=shop\n")
    (tmp_path / "web.image").write_text("[Image]\nImage=example.org/web:2\n")
    path = tmp_path / "shop@eu.container"
    data = (
        b"[Container]\nImage=web.image\nVolume=data.volume:/d\nVolume=./conf:/c\nEnvironment=N=%i-%%\nUser=5\nGroup=6\n"
    )
    line = line_of_unit(parse_unit(data), str(path))
    assert line.image == "example.org/web:2"
    assert line.values("volume") == ("shop:/d", f"{tmp_path}/conf:/c")
    assert line.environment() == {"N": "eu-%"}
    assert (line.value("user"), line.value("name")) == ("5:6", "systemd-shop_eu")
    with pytest.raises(UsageError):
        line_of_unit(parse_unit(b"[Container]\nImage=other.build\n"), str(path))


def test_drop_ins_count_and_are_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "web.container"
    drop_ins = tmp_path / "web.container.d"
    drop_ins.mkdir()
    (drop_ins / "10-volume.conf").write_text("[Container]\nVolume=data:/var/lib/web\nEnvironment=HOME=/srv\n")
    patched = patch(b"[Container]\nImage=x\n", place("/var/lib/web", VOLUME), path=str(path))
    assert b"/var/lib/web" not in patched.text
    assert "or a drop-in" in patched.refused[0].reason
    (drop_ins / "10-volume.conf").write_text("[Container]\nVolume=data:/var/lib/web\n")
    patched = patch(b"[Container]\nImage=x\n", place("/var/lib/web", VOLUME), path=str(path))
    assert not patched.refused
    assert b"/var/lib/web" not in patched.text
    (drop_ins / "20-flag.conf").write_text("[Container]\nReadOnly=no\n")
    assert patch(b"[Container]\nImage=x\n", place("/tmp"), path=str(path)).refused


def test_podmans_own_generator_makes_the_planned_line(tmp_path: Path) -> None:
    """The generator's `podman run` has every planned option, each place once, and nothing is unknown to it."""
    quadlet_program = program("quadlet", "podman-system-generator")
    path = tmp_path / "web.container"
    (tmp_path / "data.volume").write_text("[Volume]\n")
    mounts = (
        place("/tmp", mode=0o1777, size=1 << 20),
        place("/run", size=4096),
        place("/var/cache/web", SCRATCH, uid=101, gid=101),
        place("/var/log", SCRATCH, seed=Seed.CONTENT),
        place("/var/lib/web", VOLUME, name="web-data"),
    )
    patched = patch(UNIT, *mounts, path=str(path))
    assert not patched.refused
    path.write_bytes(patched.text)
    result = subprocess.run(
        [quadlet_program, "-dryrun"],
        env={"QUADLET_UNIT_DIRS": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert result.returncode == 0, result.stderr
    assert "unsupported" not in result.stderr
    started = next(line for line in result.stdout.splitlines() if line.startswith("ExecStart=/usr/bin/podman run"))
    words = split_words(started.partition("=")[2])
    assert "--read-only" in words
    assert "--read-only-tmpfs=false" in words
    ours = line_of_unit(parse_unit(patched.text), str(path))
    theirs = [word.partition("=")[2] if word.startswith("--mount=") else word for word in words]
    for mount in ours.mounts():
        value = next(value for flag, value in mount.option.flags)
        assert theirs.count(value) == 1, (value, shlex.join(words))
    assert {mount.path for mount in ours.mounts()} >= {PurePosixPath(m.path) for m in mounts}
    assert words[-3:] == ["serve", "--say", "a b"]


@pytest.mark.parametrize(("name", "container"), [("", "systemd-web"), ("ContainerName=shop\n", "shop"), ("", "web")])
def test_a_plan_is_for_the_unit_under_the_name_that_its_container_has(name: str, container: str) -> None:
    """Which is what harden calls it."""
    one = GivenPlan(source="p.json", plan=planned(place("/tmp")).plan, container=container)
    patched = patch_file("web.container", f"[Container]\n{name}Image=x\n".encode(), [one])
    assert b"ReadOnly=true" in patched.text
