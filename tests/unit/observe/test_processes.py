"""The process table, read of real processes: of this host, and in namespaces of their own."""

import contextlib
import mmap
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.unit.observe.conftest import Overlay, needs_root

from lithify.engines.base import UpperLayer
from lithify.engines.ids import IdMap
from lithify.model.writes import Change, Source
from lithify.observe.processes import called, members, read_listeners, read_open_files, read_processes, read_program

_HOLD = """
import os, socket, sys
held = [open(p, "a") for p in sys.argv[1].split(",") if p]
for s in held: s.write("12345"); s.flush()
unnamed = os.open(os.path.dirname(held[0].name), os.O_TMPFILE | os.O_RDWR)
os.write(unnamed, b"x" * 99)
removed = open(held[0].name + ".gone", "w"); os.unlink(removed.name)
reader = open(held[0].name)
tcp = socket.socket(); tcp.bind(("127.0.0.1", 0)); tcp.listen()
unix = socket.socket(socket.AF_UNIX); unix.bind(held[0].name + ".sock"); unix.listen()
print(tcp.getsockname()[1], flush=True)
sys.stdin.readline()
"""


@contextlib.contextmanager
def _running(*command: str, **options: object) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_descendants_of_a_process_of_the_host(tmp_path: Path) -> None:
    """Without a namespace or cgroup of its own a process has its children, and not the rest of the host."""
    with _running("sh", "-c", "sleep 60 & echo up; wait") as process:
        assert process.stdout
        process.stdout.readline()
        _wait_for(lambda: ("sleep", "60") in {p.arguments for p in read_processes(process.pid)})
        assert len(read_processes(process.pid)) == 2
        assert os.getpid() not in members(process.pid)


def test_what_a_process_shows(tmp_path: Path) -> None:
    """Program, arguments, user, working directory, and variables that are paths."""
    environment = {"HOME": "/root", "PATH": "/usr/bin:/bin", "TOKEN": "secret", "TMPDIR": "/var/tmp", "EMPTY": ""}
    with _running("sleep", "61", cwd=tmp_path, env=environment) as process:
        _wait_for(lambda: "python" not in read_processes(process.pid)[0].program)
        (shown,) = read_processes(process.pid)
    assert os.path.samefile(shown.program, str(shutil.which("sleep")))
    assert shown.arguments == ("sleep", "61")
    assert (shown.uid, shown.gid) == (os.geteuid(), os.getegid())
    assert str(shown.working_directory) == str(tmp_path)
    assert shown.path_variables == (("HOME", "/root"), ("TMPDIR", "/var/tmp"))


@needs_root
def test_a_pid_namespace(tmp_path: Path) -> None:
    """Everybody in it counts, whoever is asked about; the host does not."""
    with _running("unshare", "--fork", "--pid", "--mount-proc", "sh", "-c", "sleep 62 & echo up; wait") as process:
        assert process.stdout
        process.stdout.readline()
        inner = [pid for pid in members(process.pid) if pid != process.pid]
        _wait_for(lambda: ("sleep", "62") in {p.arguments for p in read_processes(inner[-1])})
        assert len(read_processes(inner[-1])) == 2
        os.kill(inner[0], signal.SIGKILL)  # its first process: the others go with it


def test_a_process_that_is_gone() -> None:
    """Nothing is said of it, without error."""
    process = subprocess.Popen(["true"])
    process.wait()
    assert read_processes(process.pid) == ()
    assert read_open_files(process.pid) == ()
    assert read_listeners(process.pid) == ()


@needs_root
def test_open_files(tmp_path: Path) -> None:
    """What is held open for writing, also without a name; what is only read is not."""
    command = [sys.executable, "-c", _HOLD, str(tmp_path / "log")]
    with _running(*command) as process:
        assert process.stdout
        process.stdout.readline()
        found = [write for write in read_open_files(process.pid) if write.path.is_relative_to(tmp_path)]
    writes = {str(write.path.relative_to(tmp_path)): write for write in found}
    assert set(writes) == {"log", "."}
    assert (writes["log"].change, writes["log"].size, writes["log"].evidence) == (
        Change.OPENED,
        5,
        (Source.PROCESSES,),
    )
    assert writes["."].change is Change.CAME_AND_WENT
    assert writes["."].peak == 99
    assert "log.gone" in writes["."].names
    assert any(name.startswith("#") for name in writes["."].names)
    (writer,) = writes["log"].writers
    assert os.path.samefile(writer.program, sys.executable)
    assert writer.uid == os.geteuid()


def test_listeners(tmp_path: Path) -> None:
    """Of the process's own sockets, though it shares the host's network."""
    with socket.create_server(("127.0.0.1", 0)), _running(sys.executable, "-c", _HOLD, str(tmp_path / "f")) as process:
        assert process.stdout
        port = int(process.stdout.readline())
        assert read_listeners(process.pid) == (("tcp", "127.0.0.1", port), ("unix", str(tmp_path / "f.sock"), 0))


@needs_root
def test_code_from_the_upper_layer(overlay: Overlay) -> None:
    """A program that was put there and runs, and a library that is mapped executable; the image's own are none."""
    sleep = shutil.which("sleep")
    assert sleep
    for name in ("lib", "lib64", "bin"):
        (overlay.lower / name).symlink_to(f"usr/{name}")
    for name in ("usr/", "opt/", "old/"):
        overlay.old(name)
    shutil.copy(sleep, overlay.root / "opt/dropped")
    # what a runtime does: a mount namespace with this root; libraries come from a read-only mount and do not count
    command = f"""
        cd {overlay.root} && mount --bind /usr usr && mount -o remount,bind,ro usr &&
        pivot_root . old && exec chroot . /opt/dropped 63
    """
    with _running("unshare", "--mount", "--propagation", "private", "sh", "-c", command) as process:
        _wait_for(lambda: os.readlink(f"/proc/{process.pid}/exe") == "/opt/dropped")
        writes = {str(write.path): write for write in read_open_files(process.pid, overlay.layer)}
    assert list(writes) == ["/opt/dropped"]
    assert writes["/opt/dropped"].executed


def test_id_maps() -> None:
    """Ids of a user namespace are told as the container counts them."""
    ids = IdMap(uids=((0, 100000, 65536),), gids=((0, 1000, 1), (1, 200000, 10)))
    assert (ids.uid(100033), ids.uid(5), ids.gid(1000), ids.gid(200001)) == (33, 5, 0, 2)
    assert IdMap.read(os.getpid()).uid(7) == 7


def test_memory_maps_are_no_files(tmp_path: Path) -> None:
    """Anonymous executable memory, as of a just-in-time compiler, has no path."""
    memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    try:
        assert all(str(write.path) != "/" for write in read_open_files(os.getpid()))
    finally:
        memory.close()


def test_named_memory_is_no_removed_file(tmp_path: Path) -> None:
    """The mapped code of a memory file, as of Erlang's, looks like a file that was removed from the root directory."""
    descriptor = os.memfd_create("vmem")
    os.truncate(descriptor, 4096)
    memory = mmap.mmap(descriptor, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC)
    try:
        maps = Path("/proc/self/maps").read_text()
        assert "r-xs 00000000 " in maps
        assert "/memfd:vmem (deleted)" in maps
        layer = UpperLayer(upper=tmp_path, lowers=(tmp_path,))
        assert not [write for write in read_open_files(os.getpid(), layer) if "memfd:vmem" in write.names]
    finally:
        memory.close()
        os.close(descriptor)


def test_a_program_is_called_as_it_was_started_where_programs_share_a_binary(tmp_path: Path) -> None:
    """BusyBox's programs, and Debian's redis-server, a link to redis-check-rdb."""
    binary, linked, hard = tmp_path / "all", tmp_path / "linked", tmp_path / "hard"
    elsewhere = tmp_path / "bin/elsewhere"
    elsewhere.parent.mkdir()
    shutil.copy(shutil.which("sleep") or "", binary)
    linked.symlink_to(binary)
    elsewhere.symlink_to(binary)
    os.link(binary, hard)
    (tmp_path / "different").write_text("a file that is called as some thread calls itself")
    for path, told in ((binary, binary), (linked, linked), (hard, hard), (elsewhere, binary)):
        with _running(str(path), "60") as process:
            _wait_for(lambda: Path(f"/proc/{process.pid}/comm").read_text() == f"{path.name}\n")  # noqa: B023
            assert read_program(process.pid) == str(told)
    for name in ("different", "", "none", "../all"):
        with _running(str(binary), "60") as process:
            assert called(str(binary), name, process.pid) == str(binary)
