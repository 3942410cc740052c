"""What real programs print on a read-only mount is read as it is meant: path, operation and program.

Each command runs in a mount namespace of its own, in which one directory is mounted read-only over itself; nothing
outside sees that mount. Daemons, which would start when they are installed, run in a root filesystem that has them
where the host does not; another program that is not installed is skipped, by name.
"""

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.conftest import cached, debootstrap, slim

from lithify.model.log import LogError, LogEvent
from lithify.observe.erofs import read_log

_CLONE_NEWNS = 0x00020000
_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 0x1, 0x20, 0x1000, 0x4000, 0x40000


@dataclass(frozen=True, slots=True)
class Real:
    """A command and what its complaint must be read as; `{r}` is the read-only directory."""

    row: str
    command: tuple[str, ...]
    path: str | None = "{r}/n"
    operation: str = "create"
    place: str | None = None
    """Where names are random: what they are folded to."""
    error: str = "EROFS"
    seconds: float = 30.0
    """After so long it is ended: a daemon may go on without what it could not write."""


def shell(row: str, *command: str, **expected: Any) -> Real:
    """A shell that redirects; the last word is its script."""
    return Real(row, (*command, "echo x > {r}/n"), **expected)


def python(row: str, code: str, **expected: Any) -> Real:
    return Real(row, (sys.executable, "-c", code), **expected)


def node(row: str, code: str, **expected: Any) -> Real:
    return Real(row, ("node", "-e", code), **expected)


def ruby(row: str, code: str, **expected: Any) -> Real:
    return Real(row, ("ruby", "-e", code), **expected)


def php(row: str, code: str, **expected: Any) -> Real:
    return Real(row, ("php", "-r", code), **expected)


def perl(row: str, *words: str, **expected: Any) -> Real:
    return Real(row, ("perl", *words), **expected)


def busybox(row: str, *words: str, **expected: Any) -> Real:
    return Real(row, ("busybox", *words), **expected)


REAL = (
    Real("GNU touch", ("touch", "{r}/new file"), "{r}/new file"),
    Real("GNU touch, quote", ("touch", "{r}/it's: new"), "{r}/it's: new"),
    Real("GNU mkdir", ("mkdir", "{r}/n"), operation="mkdir"),
    Real("GNU mkdir -p", ("mkdir", "-p", "{r}/a/b"), "{r}/a", "mkdir"),
    Real("GNU cp", ("cp", "/etc/hostname", "{r}/n")),
    Real("GNU cp -r", ("cp", "-r", "{r}/dir", "{r}/n"), operation="mkdir"),
    Real("GNU mv", ("mv", "{r}/file", "{r}/n"), operation="rename"),
    Real("GNU rm", ("rm", "{r}/file"), "{r}/file", "unlink"),
    Real("GNU rmdir", ("rmdir", "{r}/dir"), "{r}/dir", "unlink"),
    Real("GNU ln -s", ("ln", "-s", "a", "{r}/n"), operation="link"),
    Real("GNU ln", ("ln", "{r}/file", "{r}/n"), operation="link"),
    Real("GNU chmod", ("chmod", "600", "{r}/file"), "{r}/file", "chmod"),
    Real("GNU chown", ("chown", "1", "{r}/file"), "{r}/file", "chown"),
    Real("GNU chgrp", ("chgrp", "1", "{r}/file"), "{r}/file", "chown"),
    Real("GNU tee", ("tee", "{r}/n")),
    Real("GNU mktemp", ("mktemp", "-p", "{r}"), None, place="{r}"),
    Real("GNU mktemp -d", ("mktemp", "-d", "{r}/x.XXXXXX"), None, "mkdir", place="{r}"),
    Real("GNU install", ("install", "/etc/hostname", "{r}/n")),
    Real("GNU dd", ("dd", "if=/dev/null", "of={r}/n")),
    Real("GNU truncate", ("truncate", "-s", "1", "{r}/n")),
    Real("GNU split", ("split", "/etc/hostname", "{r}/x"), "{r}/xaa"),
    Real("GNU shred", ("shred", "{r}/file"), "{r}/file"),
    Real("GNU sort -o", ("sort", "-o", "{r}/n", "/etc/hostname"), operation="unknown"),
    Real("GNU mkfifo", ("mkfifo", "{r}/n")),
    Real("GNU tar, archive", ("tar", "-cf", "{r}/n", "/etc/hostname")),
    Real("GNU gzip", ("gzip", "-k", "{r}/file"), "{r}/file.gz"),
    Real("GNU sed -i", ("sed", "-i", "s/a/b/", "{r}/file"), None, place="{r}"),
    Real("mawk", ("mawk", 'BEGIN {{ print > "{r}/n" }}')),
    Real("ldconfig", ("ldconfig", "-C", "{r}/n"), "{r}/n~"),
    Real("dpkg", ("dpkg", "--admindir={r}/n", "--configure", "-a"), operation="mkdir"),
    shell("bash redirect", "bash", "-c"),
    shell("dash redirect", "dash", "-c"),
    shell("busybox ash redirect", "busybox", "sh", "-c"),
    shell("zsh redirect", "zsh", "-c"),
    shell("ksh redirect", "ksh93", "-c"),
    busybox("busybox touch", "touch", "{r}/n"),
    busybox("busybox mkdir", "mkdir", "{r}/n", operation="mkdir"),
    busybox("busybox cp", "cp", "/etc/hostname", "{r}/n"),
    busybox("busybox mv", "mv", "{r}/file", "{r}/n", path="{r}/file", operation="rename"),
    busybox("busybox rm", "rm", "{r}/file", path="{r}/file", operation="unlink"),
    busybox("busybox rmdir", "rmdir", "{r}/dir", path="{r}/dir", operation="unlink"),
    busybox("busybox chmod", "chmod", "600", "{r}/file", path="{r}/file", operation="chmod"),
    busybox("busybox chown", "chown", "1", "{r}/file", path="{r}/file", operation="chown"),
    busybox("busybox ln", "ln", "-s", "a", "{r}/n", operation="link"),
    busybox("busybox tee", "tee", "{r}/n"),
    busybox("busybox dd", "dd", "of={r}/n"),
    busybox("busybox truncate", "truncate", "-s", "1", "{r}/n"),
    busybox("busybox tar", "tar", "-cf", "{r}/n", "/etc/hostname"),
    Real("git clone", ("git", "clone", "-q", "{r}/repo", "{r}/n"), operation="mkdir"),
    Real("git init", ("git", "init", "{r}/n"), operation="mkdir"),
    Real("git config", ("git", "config", "-f", "{r}/conf", "a.b", "c"), "{r}/conf"),
    Real("git index", ("git", "-C", "{r}/repo", "add", "."), "{r}/repo/.git/index.lock"),
    Real("curl", ("curl", "-o", "{r}/n", "file:///etc/hostname")),
    Real("wget", ("wget", "-q", "-O", "{r}/n", "http://127.0.0.1:1/"), operation="unknown"),
    Real("gpg", ("gpg", "--homedir", "{r}/.gnupg", "--list-keys"), "{r}/.gnupg", "mkdir"),
    Real("ssh-keygen", ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "{r}/n")),
    Real("logrotate", ("logrotate", "-s", "{r}/n", "/dev/null")),
    Real("sqlite3", ("sqlite3", "{r}/n", "create table a(b)"), error="disguise"),
    Real("lua", ("lua5.4", "-e", "local f, e = io.open('{r}/n', 'w') error(e)"), operation="create"),
    python("Python open", "open('{r}/n', 'w')", operation="unknown"),
    python("Python bytes", "open(b'{r}/n\\xff', 'w')", path="{r}/n\udcff", operation="unknown"),
    python("Python rename", "import os; os.rename('{r}/file', '{r}/n')", operation="rename"),
    python("Python makedirs", "import os; os.makedirs('{r}/a/b')", path="{r}/a", operation="unknown"),
    python(
        "Python tempfile",
        "import tempfile; tempfile.mkstemp(dir='{r}')",
        path=None,
        place="{r}",
        operation="unknown",
    ),
    python("Python logging", "import logging; logging.FileHandler('{r}/n')", operation="unknown"),
    node("Node open", "fs.writeFileSync('{r}/n', '')"),
    node("Node mkdir", "fs.mkdirSync('{r}/n')", operation="mkdir"),
    node("Node recursive mkdir", "fs.mkdirSync('{r}/a/b', {{recursive: true}})", path="{r}/a/b", operation="mkdir"),
    node("Node rename", "fs.renameSync('{r}/file', '{r}/n')", operation="rename"),
    node("Node copyfile", "fs.copyFileSync('/etc/hostname', '{r}/n')"),
    node("Node unlink", "fs.unlinkSync('{r}/file')", path="{r}/file", operation="unlink"),
    node("Node chmod", "fs.chmodSync('{r}/file', 0o600)", path="{r}/file", operation="chmod"),
    node("Node utimes", "fs.utimesSync('{r}/file', 1, 1)", path="{r}/file", operation="times"),
    node("Node listen", "require('net').createServer().listen('{r}/n')", operation="bind"),
    node("Node error printed", "fs.writeFile('{r}/n', '', e => console.log(e))"),
    ruby("Ruby write", "File.write('{r}/n', '')"),
    ruby("Ruby mkdir", "Dir.mkdir('{r}/n')", operation="mkdir"),
    ruby("Ruby rename", "File.rename('{r}/file', '{r}/n')", operation="rename"),
    ruby("Ruby chmod", "File.chmod(0, '{r}/file')", path="{r}/file", operation="chmod"),
    ruby("Ruby unlink", "File.unlink('{r}/file')", path="{r}/file", operation="unlink"),
    ruby("Ruby socket", "require 'socket'; UNIXServer.new('{r}/n')", operation="bind"),
    php("PHP write", "file_put_contents('{r}/n', 'x');"),
    php("PHP mkdir", "mkdir('{r}/n');", path=None, operation="mkdir"),
    php("PHP touch", "touch('{r}/n');"),
    php("PHP rename", "rename('{r}/file', '{r}/n');", operation="rename"),
    php("PHP unlink", "unlink('{r}/file');", path="{r}/file", operation="unlink"),
    php("PHP session", "session_save_path('{r}'); session_start();", path=None, place="{r}"),
    perl("Perl die", "-e", "open(F, '>', '{r}/n') or die qq(Can't open {r}/n: $!)"),
    perl("Perl autodie", "-Mautodie", "-e", "open(F, '>', '{r}/n')"),
    perl("Perl mkdir", "-MFile::Path=make_path", "-e", "make_path('{r}/a/b')", path="{r}/a", operation="mkdir"),
    perl("Perl -i", "-i", "-pe", "s/a/b/", "{r}/file", path="{r}/file"),
    Real("JVM log", ("java", "-Xlog:gc:file={r}/n", "-version")),
    Real(
        "nginx mkdir",
        ("nginx", "-e", "stderr", "-c", "{c}/nginx-mkdir.conf"),
        "{r}/body",
        "mkdir",
    ),
    Real("nginx open", ("nginx", "-e", "stderr", "-c", "{c}/nginx-open.conf"), "{r}/access.log"),
    Real("nginx bind", ("nginx", "-e", "stderr", "-c", "{c}/nginx-bind.conf"), "{r}/n.sock", "bind"),
    Real(
        "Redis append-only",
        ("redis-server", "--port", "0", "--unixsocket", "{c}/r.sock", "--dir", "{r}", "--appendonly", "yes"),
        "/appendonlydir",
        "mkdir",
    ),
    Real("HAProxy socket", ("haproxy", "-f", "{c}/haproxy.cfg"), "{r}/n.sock", "unlink"),
    Real("unbound", ("unbound", "-d", "-c", "{c}/unbound.conf"), "{r}/unbound.pid", seconds=3.0),
    Real("strace", ("strace", "-e", "trace=openat", "touch", "{r}/n")),
)  # fmt: skip

DAEMONS = {
    "nginx": "nginx-light", "redis-server": "redis-server", "haproxy": "haproxy", "unbound": "unbound",
    "logrotate": "logrotate", "ksh93": "ksh93u+m",
}  # fmt: skip
"""Programs that would be started, or called every day, by being installed, and their packages."""
NGINX = "daemon off; pid {c}/nginx.pid; error_log stderr; events {{}}\nhttp {{ %s }}\n"
FILES = {
    "nginx-mkdir.conf": NGINX % "client_body_temp_path {r}/body; access_log off; server {{ listen unix:{c}/n.sock; }}",
    "nginx-open.conf": NGINX % "access_log {r}/access.log; server {{ listen unix:{c}/n.sock; }}",
    "nginx-bind.conf": NGINX % "access_log off; server {{ listen unix:{r}/n.sock; }}",
    "haproxy.cfg": "frontend a\n mode http\n bind unix@{r}/n.sock\n timeout client 1s\n",
    "unbound.conf": 'server:\n pidfile: {r}/unbound.pid\n chroot: ""\n username: ""\n port: 53530\n'
    " interface: 127.0.0.1\n"
    ' use-syslog: no\n do-daemonize: no\n auto-trust-anchor-file: ""\nremote-control:\n control-enable: no\n',
}


@pytest.fixture(scope="module")
def stone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with a file, a directory and a repository in it, and configuration beside it."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount")
    base = tmp_path_factory.mktemp("explain")
    root = base / "stone"
    (root / "dir").mkdir(parents=True)
    (root / "file").write_text("x\n")
    if shutil.which("git"):
        subprocess.run(["git", "init", "-q", root / "repo"], check=True, timeout=60)
        (root / "repo" / "file").write_text("x\n")
    for beside in (base, base / "inside"):
        beside.mkdir(exist_ok=True)
        names = _names(root, inside=beside != base)
        for name, text in FILES.items():
            (beside / name).write_text(text.format(**names))
    yield root
    assert sorted(entry.name for entry in root.iterdir() if entry.name != "repo") == ["dir", "file"]


@pytest.fixture(scope="module")
def daemons() -> Path:
    """A root filesystem with the daemons that not every host has."""
    if not shutil.which("mmdebstrap"):
        pytest.skip("needs mmdebstrap, or the program itself")

    def build(directory: Path) -> None:
        debootstrap(directory, *DAEMONS.values())
        slim(directory)

    return cached("explain", build)


def _names(stone: Path, *, inside: bool) -> dict[str, str]:
    """Return what the read-only directory and the one for everything else are called, on the host or in `daemons`."""
    return {"r": "/mnt/stone", "c": "/mnt/inside"} if inside else {"r": str(stone), "c": str(stone.parent)}


def _turn_to_stone(stone: Path, rootfs: Path | None) -> Callable[[], None]:
    """Return what a child does before it becomes the program: mount `stone` read-only where nobody else sees it.

    With a root filesystem the child enters it, and finds in /mnt what lies beside `stone`, and the host's devices.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    path = os.fsencode(stone if rootfs is None else rootfs / "mnt" / stone.name)

    def bind(source: bytes, target: bytes) -> int:
        return int(libc.mount(source, target, None, _MS_BIND, None))

    def mount() -> None:
        failed = [libc.unshare(_CLONE_NEWNS), libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None)]
        if rootfs is not None:
            failed += [bind(os.fsencode(stone.parent), bytes(rootfs / "mnt")), bind(b"/dev", bytes(rootfs / "dev"))]
        failed += [bind(path, path), libc.mount(b"none", path, None, _MS_BIND | _MS_REMOUNT | _MS_RDONLY, None)]
        if any(failed):
            raise OSError(ctypes.get_errno(), "no read-only mount")
        if rootfs is not None:
            os.chroot(rootfs)
            os.chdir("/")

    return mount


def _complaint(stone: Path, command: tuple[str, ...], seconds: float, rootfs: Path | None) -> bytes:
    path = os.environ["PATH"] if rootfs is None else "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    home = _names(stone, inside=rootfs is not None)["c"]
    environment = {"PATH": path, "LC_ALL": "C.UTF-8", "HOME": home, "NODE_OPTIONS": ""}
    try:
        done = subprocess.run(
            command
            if rootfs is None
            else ("/usr/bin/env", *command),  # a program is looked for before the child enters
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            cwd="/",
            env=environment,
            preexec_fn=_turn_to_stone(stone, rootfs),
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        return late.stdout or b""
    return done.stdout


@pytest.mark.parametrize("real", REAL, ids=lambda real: real.row)
def test_a_real_complaint_is_read(real: Real, stone: Path, request: pytest.FixtureRequest) -> None:
    program = real.command[0]
    rootfs = None
    if not shutil.which(program):
        if program not in DAEMONS:
            pytest.skip(f"{program} is not installed")
        rootfs = request.getfixturevalue("daemons")
    names = _names(stone, inside=rootfs is not None)
    output = _complaint(stone, tuple(word.format(**names) for word in real.command), real.seconds, rootfs)
    events = list(read_log(output.splitlines(keepends=True)))
    assert events, output
    path = real.path.format(**names) if real.path else None
    place = real.place.format(**names) if real.place else path
    assert (place, real.operation) in {(_shown(event, real), event.operation.value) for event in events}, output
    assert events[0].error is not LogError.ENOENT or real.row == "Node recursive mkdir"
    assert real.error in {event.error.value for event in events} or real.row == "Node recursive mkdir"


def _shown(event: LogEvent, real: Real) -> str | None:
    chosen = event.place if real.place else event.path
    return None if chosen is None else str(chosen)
