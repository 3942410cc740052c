"""The pages: a shell reads the command as it was meant, and nothing unprintable reaches a terminal."""

import os
import subprocess
from dataclasses import replace
from pathlib import PurePosixPath

from hypothesis import given, settings
from hypothesis import strategies as st

from lithify.model.image import EntryType, ImageFacts
from lithify.model.mount import Mount, MountPlan, PathClass, Question, Refusal, StorageKind
from lithify.model.verdict import Check, Exposed, Start, Verdict
from lithify.model.writes import Change, Observation, RunKey, Source, Write, Writer, WriteSet
from lithify.report.page import command_text, render_plan, render_proof, render_verdict, render_write_set, why_not

EVIL = "\x1b[31mred\x07\n\udc80"
KEY = RunKey(image="web")
words = st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1), min_size=1)
flags = st.sampled_from(["--tmpfs", "--mount", "--opt", "-d"])


@settings(max_examples=40, deadline=None)
@given(words, st.integers(min_value=20, max_value=120), st.lists(flags))
def test_a_shell_reads_the_command_as_it_was_given(given_words: list[str], width: int, options: list[str]) -> None:
    given_words += options
    text = command_text(["printf", r"%s\0", *given_words], width)
    printed = subprocess.run(["bash", "-c", text], capture_output=True, check=True).stdout
    assert [os.fsdecode(word) for word in printed.split(b"\0")[:-1]] == given_words


def test_a_write_set_names_directories_writers_and_evidence() -> None:
    write = Write(
        path=PurePosixPath("/run/web.pid"),
        change=Change.CREATED,
        size=2048,
        evidence=(Source.LAYER,),
        writers=(Writer(program="/usr/sbin/web", uid=33),),
    )
    gone = Write(path=PurePosixPath("/tmp"), change=Change.CAME_AND_WENT, names=("a", "b"))
    page = render_write_set(_write_set(write, gone))
    assert "/run  by web as user 33 (upper-layer)" in page
    assert "created: web.pid (2.0 KiB)" in page
    assert "came and went: a, b" in page
    assert "the upper layer does not name what was removed again" in page


def test_nothing_unprintable_reaches_the_terminal() -> None:
    path = PurePosixPath("/data") / EVIL
    mount = Mount(path=path, storage=StorageKind.MEMORY, reasons=(EVIL,), classes=(PathClass.STATE,))
    refusal = Refusal(path=path, path_class=PathClass.CODE, reason=EVIL, remedy=EVIL)
    question = Question(path=path, text=EVIL, option=EVIL)
    plan = MountPlan(key=KEY, container=EVIL, mounts=(mount,), refusals=(refusal,), questions=(question,))
    check = Check(name="log", passed=False, summary=EVIL, evidence=(EVIL,))
    verdict = Verdict(
        works=(check,),
        refused=(check,),
        exposed=(Exposed(path=path, executable=True, reason=EVIL),),
        strength=EVIL,
        starts=(Start(purpose=EVIL, seconds=1.0),),
    )
    writes = _write_set(Write(path=path, change=Change.CREATED, type=EntryType.FILE))
    for page in (render_plan(plan), render_verdict(verdict), render_write_set(writes)):
        assert all(line.isprintable() for line in page.splitlines())
        assert "\\x1b[31mred" in page


def test_a_plan_gives_every_reason_and_the_cost() -> None:
    mount = Mount(
        path=PurePosixPath("/run"),
        storage=StorageKind.MEMORY,
        size=4 << 20,
        reasons=("web made web.pid.", "It is for run-time files."),
        writable_entries=3,
        hidden_entries=1,
        seed_bytes=2048,
    )
    page = render_plan(MountPlan(key=KEY, container="web", mounts=(mount, replace(mount, path=PurePosixPath("/tmp")))))
    assert "/run  tmpfs, at most 4.0 MiB, noexec, 0:0 0755" in page
    assert page.count("web made web.pid.") == 2
    assert "cost: 3 image entries become writable, 1 image entry is hidden, 2.0 KiB" in page


def test_a_plan_without_places_denies_no_mount_that_is_there() -> None:
    page = render_plan(MountPlan(key=KEY, container="web"))
    assert "nothing writable but what is mounted there already" in " ".join(page.split())


def test_a_proof_says_what_was_judged_and_marks_what_was_not_tried() -> None:
    fine = Check(name="starts", passed=True, summary="stays up")
    left = Check(name="needs /run", passed=True, tried=False, summary="not taken away: it holds state")
    verdict = Verdict(works=(fine,), refused=(fine,), minimal=(left,))
    mount = Mount(path=PurePosixPath("/run"), storage=StorageKind.MEMORY)
    page = render_proof(verdict, MountPlan(key=KEY, container="web", mounts=(mount,)), "web:1.4 (docker)")
    assert page.startswith("web:1.4 (docker)\n  read-only with /run\n\nVerdict: PROVED\n")
    assert "  ok   works: starts: stays up\n" in page
    assert "  --   minimal: needs /run: not taken away" in page


def test_a_place_that_its_user_may_not_write_to_belongs_into_the_image() -> None:
    log = Check(name="log", passed=False, summary="1 refused write", evidence=("Permission denied: '/srv/jobs/a'",))
    place = Check(name="place /srv/jobs", passed=False, summary="user 1000:50 gets EACCES")
    mount = Mount(path=PurePosixPath("/srv/jobs"), storage=StorageKind.VOLUME, uid=1000, gid=50)
    plan = MountPlan(key=KEY, container="web", mounts=(mount,))
    assert "RUN install -d -o 1000 -g 50 /srv/jobs" in why_not(Verdict(works=(log, place)), plan)
    assert "RUN" not in why_not(Verdict(works=(log, replace(place, summary="user 1000:50 gets ENOSPC"))), plan)


def _write_set(*writes: Write) -> WriteSet:
    observation = Observation(seconds=1.0, sources=(Source.LAYER,), notes=(EVIL,))
    return WriteSet(key=KEY, container="web", image=ImageFacts(reference="web"), writes=writes, observation=observation)
