"""What the kernel tells of processes that are gone."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.observe.conftest import Overlay, needs_root, run_inside

from lithify.model.writes import Writer
from lithify.observe import kernel, lineage, live
from lithify.observe.lineage import Lineage
from lithify.observe.live import LiveNames
from lithify.observe.processes import called, read_program

pytestmark = needs_root
_TRUE, _FALSE = (os.path.realpath(shutil.which(name) or name) for name in ("true", "false"))


@pytest.fixture
def seen() -> Iterator[Lineage]:
    """Where the kernel tells of starts and of users."""
    try:
        found = Lineage()
    except OSError as error:
        pytest.skip(f"the kernel does not tell of starts: {error}")
    try:
        if found._changes is None:
            pytest.skip("the process connector does not answer")
        yield found
    finally:
        found.close()


def _run(*command: str) -> int:
    with subprocess.Popen(command) as process:
        pass
    return process.pid


def test_a_program_that_is_gone_has_a_name(seen: Lineage) -> None:
    """Nobody looked while it ran."""
    begun = time.monotonic()
    life = seen.of(_run(_TRUE))
    assert life is not None
    assert (life.program, life.uid, life.gid) == (_TRUE, os.getuid(), os.getgid())
    assert (life.parent, life.since > begun) == (os.getpid(), True)


def test_the_last_of_several_programs_counts(seen: Lineage) -> None:
    """As /proc would tell it: a script is its interpreter, and an exec takes the process over."""
    life = seen.of(_run("/bin/sh", "-c", f"exec {_TRUE}"))
    assert life is not None
    assert life.program == _TRUE


def test_a_fork_is_what_its_parent_is(seen: Lineage) -> None:
    """Also where the parent started before; and a change of user is seen, which no exec shows."""

    def act() -> None:
        os.setgid(8)
        os.setuid(7)

    life = seen.of(run_inside(Path("/"), act))
    assert life is not None
    assert (life.program, life.uid, life.gid) == (read_program(os.getpid()), 7, 8)


def test_more_starts_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernel had to drop is not known; what is known is right."""
    monkeypatch.setattr(lineage, "_SIZE", 4 * lineage._PAGE)
    try:
        seen = Lineage()
    except OSError as error:
        pytest.skip(f"the kernel does not tell of starts: {error}")
    everywhere = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(everywhere)})  # each processor has a buffer of its own
        programs = {_run(program): program for program in [_TRUE, _FALSE] * 30}
        known = {pid: life.program for pid in programs if (life := seen.of(pid)) is not None and life.program}
        assert known.items() <= programs.items()
        assert len(known) < len(programs)
        # On a busy machine others fill so small a buffer, too.
        assert any(getattr(seen.of(_run(_TRUE)), "program", None) == _TRUE for _ in range(100))
    finally:
        os.sched_setaffinity(0, everywhere)
        seen.close()


def test_an_ordinary_user_is_refused() -> None:
    """With an OSError, and nothing stays open."""
    if int(Path("/proc/sys/kernel/perf_event_paranoid").read_text()) < 1:
        pytest.skip("everybody may ask here")

    def act() -> None:
        os.setuid(65534)
        before = os.listdir("/proc/self/fd")
        with pytest.raises(OSError):  # noqa: PT011 - any of the kernel's reasons
            Lineage()
        assert len(os.listdir("/proc/self/fd")) == len(before)

    run_inside(Path("/"), act)


def test_nothing_stays_open(seen: Lineage) -> None:
    """Buffers and the socket are given back; what was read stays."""
    before = len(os.listdir("/proc/self/fd"))
    with_another = Lineage()
    pid = _run(_TRUE)
    assert with_another.of(pid) is not None
    with_another.close()
    assert len(os.listdir("/proc/self/fd")) == before
    assert with_another.of(pid) is not None


def test_without_it_a_note_says_so(overlay: Overlay, monkeypatch: pytest.MonkeyPatch) -> None:
    """On an architecture whose call we don't know, as where the kernel refuses: names stay, their writers may not."""
    reason = live.available(overlay.base)
    if reason:
        pytest.skip(f"names can't be watched here: {reason}")
    monkeypatch.setattr(kernel, "_PERF_EVENT_OPEN", {})
    overlay.old("tmp/")

    def act() -> None:
        for index in range(50):  # of so many at least one is gone when it is looked at
            if os.fork() == 0:
                Path(f"/tmp/{index}").touch()
                os._exit(0)
            os.wait()

    with LiveNames([overlay.base]) as names:
        names.watch(overlay.upper)
        run_inside(overlay.root, act)
    writes, notes = names.writes()
    unknown = any(Writer(program="unknown") in write.writers for write in writes)
    assert len(writes) == 50
    assert unknown == any("the kernel does not tell of starts" in note for note in notes)


def test_who_is_gone_is_called_as_others_that_were_met(seen: Lineage, tmp_path: Path) -> None:
    """Where programs share a binary: a service that was restarted is the same before and after."""
    shared, other = tmp_path / "shared", tmp_path / "other"
    shutil.copy(_TRUE, shared)
    other.symlink_to(shared)
    gone = _run(str(other))
    assert called(str(shared), "other", os.getpid()) == str(other)
    life = seen.of(gone)
    assert life is not None
    assert life.program == str(other)
