"""What system calls say, from lines of strace and from a process that really runs under it."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lithify.model.image import EntryType
from lithify.model.writes import Change, Source, Write, WriterStyle
from lithify.observe import trace
from lithify.observe.calls import TracedCalls
from lithify.observe.trace import Trace

_SCRIPT = """
import os, socket, sys
sys.stdin.readline()
os.chdir({0!r})
with open("kept", "w") as file:
    file.write("x" * 100)
for n in range(3):
    with open("sort%d" % n, "w") as file:
        file.write("y" * 1000)
for n in range(3):
    os.unlink("sort%d" % n)
fd = os.open({0!r}, os.O_TMPFILE | os.O_RDWR)
os.write(fd, b"z" * 5000)
os.close(fd)
open("new", "w").close()
os.rename("new", "conf")
os.mkdir("made")
os.chmod("made", 0o700)
s = socket.socket(socket.AF_UNIX)
s.bind("socket")
os.symlink("kept", "link")
try:
    open("/sys/kernel/notes", "a")
except OSError:
    pass
try:
    os.mkdir({1!r} + "/refused")
except OSError:
    pass
print("done", flush=True)
sys.stdin.readline()
"""


def _traced(*lines: str) -> dict[str, Write]:
    calls = TracedCalls()
    for line in lines:
        calls.take(line)
    return {str(write.path): write for write in calls.writes()}


@pytest.mark.skipif(trace.available() is not None, reason="needs root and strace")
def test_a_real_process(tmp_path: Path) -> None:
    """Attached to while it runs, let go of at the end, and alive afterwards."""
    read_only = tmp_path / "read-only"
    read_only.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "lithify-test", read_only], check=True)
    place = tmp_path / "place"
    place.mkdir()
    command = [sys.executable, "-c", _SCRIPT.format(str(place), str(read_only))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdin
        assert program.stdout
        try:
            with Trace(program.pid) as traced:
                program.stdin.write("go\n")
                program.stdin.flush()
                assert program.stdout.readline() == "done\n"
            assert Path(f"/proc/{program.pid}/status").read_text().count("TracerPid:\t0") == 1
            assert program.poll() is None
        finally:
            program.stdin.close()
            program.wait(10)
            subprocess.run(["umount", read_only], check=True)
    writes, notes = traced.writes()
    found = {str(w.path.relative_to(tmp_path)): w for w in writes if w.path.is_relative_to(tmp_path)}
    assert notes == ()
    assert found["place/kept"].change is Change.CHANGED
    assert found["place/kept"].peak == 100
    assert found["place/conf"].style is WriterStyle.RENAME
    assert (found["place/made"].type, found["place/socket"].type) == (EntryType.DIRECTORY, EntryType.SOCKET)
    assert found["place/link"].type is EntryType.SYMLINK
    assert found["read-only/refused"].change is Change.ATTEMPTED
    place_itself = found["place"]
    assert place_itself.change is Change.CAME_AND_WENT
    assert {"sort0", "sort1", "sort2", "new"} <= set(place_itself.names)
    assert any(name.startswith("#") for name in place_itself.names)
    assert place_itself.peak is not None
    assert place_itself.peak >= 5100
    assert {os.path.realpath(writer.program) for writer in place_itself.writers} == {os.path.realpath(sys.executable)}
    assert all(write.evidence == (Source.TRACE,) for write in writes)


@pytest.mark.skipif(trace.available() is not None, reason="needs root and strace")
def test_a_process_that_is_gone() -> None:
    """strace's own words end up in the notes."""
    program = subprocess.Popen([sys.executable, "-c", "pass"])
    program.wait()
    assert "no process" in str(trace.available(program.pid))
    with Trace(program.pid) as traced:
        pass
    assert any("strace" in note for note in traced.writes()[1])


@pytest.mark.skipif(trace.available() is not None, reason="needs root and strace")
def test_a_stopped_tracer_leaves_the_program_running() -> None:
    """Also one that was killed from outside."""
    with subprocess.Popen(["sleep", "60"]) as program:
        try:
            with Trace(program.pid) as traced:
                children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
                tracer = [pid for pid in children if Path(f"/proc/{pid}/comm").read_text() == "strace\n"]
                os.kill(int(tracer[0]), signal.SIGKILL)
                time.sleep(0.1)
            assert program.poll() is None
            assert traced.writes()[0] == ()
        finally:
            program.kill()


def test_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing strace is named with its package."""
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "apt-get install strace" in str(trace.available())


def test_calls_that_were_interrupted_by_others() -> None:
    """strace cuts a call in two where another process's comes between."""
    writes = _traced(
        '10  openat(AT_FDCWD</srv>, "a", O_WRONLY|O_CREAT|O_EXCL, 0644 <unfinished ...>',
        "11  close(3</etc/x>)                  = 0",
        "10  <... openat resumed>)             = 4</srv/a>",
        '10  write(4</srv/a>, ""..., 10)       = 10',
    )
    assert writes["/srv/a"].change is Change.CREATED
    assert writes["/srv/a"].peak == 10


@pytest.mark.parametrize("error", ["EROFS (Read-only file system)", "EACCES (Permission denied)"])
def test_refused_writes_are_attempts(error: str) -> None:
    """What was swallowed by the program is seen here, and only here."""
    writes = _traced(
        f'10  openat(AT_FDCWD</>, "/etc/conf", O_RDWR|O_CREAT, 0644) = -1 {error}',
        f'10  rename("/etc/one", "/etc/two") = -1 {error}',
        f'10  openat(AT_FDCWD</>, "/etc/readable", O_RDONLY) = -1 {error}',
        '10  openat(AT_FDCWD</>, "/etc/none/x", O_WRONLY) = -1 ENOENT (No such file or directory)',
    )
    assert {path: write.change for path, write in writes.items()} == {
        "/etc/conf": Change.ATTEMPTED,
        "/etc/two": Change.ATTEMPTED,
    }


def test_relative_paths_follow_the_directory() -> None:
    """chdir and descriptors of directories are followed."""
    writes = _traced(
        '10  chdir("/var/lib/app")            = 0',
        '10  mkdir("one", 0755)               = 0',
        '10  mkdirat(5</srv/data>, "two", 0755) = 0',
        '10  unlinkat(AT_FDCWD</tmp>, "../run/three", 0) = 0',
        "10  fchdir(6</opt>)                  = 0",
        '10  mkdir("four", 0755)              = 0',
    )
    assert set(writes) == {"/var/lib/app/one", "/srv/data/two", "/run", "/opt/four"}


def test_overwriting_does_not_grow() -> None:
    """A log that is written round and round is as large as it is, not as what was written."""
    lines = ['10  openat(AT_FDCWD</>, "/d/log", O_RDWR|O_CREAT, 0600) = 3</d/log>']
    for _ in range(50):
        lines += ["10  lseek(3</d/log>, 0, SEEK_SET) = 0", '10  write(3</d/log>, ""..., 4096) = 4096']
    lines.append('10  pwrite64(3</d/log>, ""..., 100, 10000) = 100')
    assert _traced(*lines)["/d/log"].peak == 10100


def test_escapes_and_lines_that_are_none() -> None:
    """Names with newlines and bytes that are no UTF-8 stay what they are; other lines are left out."""
    writes = _traced(
        r'10  mkdir("/srv/a\nb\377\"c", 0755) = 0',
        "10  +++ exited with 0 +++",
        "10  --- SIGCHLD {si_signo=SIGCHLD} ---",
        "nonsense",
        "10  mkdir(",
        "10  <... write resumed>) = 5",
        "10  exit_group(0) = ?",
        '10  setxattr("/srv/x", "user.a", "", 0, 0) = 0',
        '10  fsetxattr(3</srv/y>, "user.a", "", 0, 0) = 0',
    )
    assert set(writes) == {os.fsdecode(b'/srv/a\nb\xff"c'), "/srv/x", "/srv/y"}


def test_the_kernels_filesystems_are_left_out() -> None:
    """/dev/null and its like need no place."""
    writes = _traced(
        '10  openat(AT_FDCWD</>, "/dev/null", O_RDWR) = 3</dev/null>',
        '10  openat(AT_FDCWD</>, "/proc/self/oom_score_adj", O_WRONLY) = 3</proc/10/oom_score_adj>',
        '10  write(3</proc/10/oom_score_adj>, ""..., 2) = 2',
        '10  write(1<pipe:[1]>, ""..., 2) = 2',
    )
    assert writes == {}
