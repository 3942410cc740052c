"""What the tests of whole commands share: images of small programs, lithify on a terminal, and what it left."""

import fcntl
import glob
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lithify

_SOURCE = str(Path(lithify.__file__).parent.parent)
_COMMAND = (sys.executable, "-m", "lithify.cli.main")
_STYLE = re.compile(rb"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Done:
    """What one call of lithify came to."""

    code: int
    out: str
    err: str

    def json(self) -> dict[str, Any]:
        """Return its standard output as JSON."""
        assert self.out, self.err
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found

    def error(self) -> tuple[str, str]:
        """Return the one error that it showed, and its hint."""
        assert self.err.count("error: ") == 1, self.err
        assert "Traceback" not in self.err, self.err
        told = re.search(r"^error: (.*?)^hint: (.*?)^page: ", self.err, re.DOTALL | re.MULTILINE)
        assert told, self.err
        return told[1].strip(), told[2].strip()


@dataclass
class Lithify:
    """The command, with a state directory and an environment of its own."""

    state: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    enter: tuple[str, ...] = ()
    """What runs it elsewhere: in another network namespace."""

    def run(self, *words: object, timeout: float = 120.0, **environment: str) -> Done:
        """Run it to its end, without a terminal."""
        done = subprocess.run(
            [*self.enter, *_COMMAND, *map(os.fsdecode, map(_word, words))],
            capture_output=True,
            timeout=timeout,
            env=self.environment_with(environment),
            stdin=subprocess.DEVNULL,
        )
        return Done(done.returncode, done.stdout.decode("utf-8", "surrogateescape"), done.stderr.decode())

    def terminal(self, *words: object, **environment: str) -> "Terminal":
        """Start it on a terminal."""
        return Terminal(
            [*self.enter, *_COMMAND, *(os.fsdecode(_word(word)) for word in words)], self.environment_with(environment)
        )

    def containers(self) -> list[Path]:
        """Return the directories of the bundle engine's containers."""
        return [Path(path) for path in glob.glob(f"{self.state}/runs/*/containers/*")]

    def left(self) -> list[str]:
        """Return what is left of the bundle engine's runs: directories, mounts, and processes in its containers."""
        found = [str(path) for path in Path(self.state, "runs").glob("*")]
        for name in [*glob.glob("/proc/[0-9]*/mountinfo"), "/proc/self/mountinfo"]:
            try:
                lines = Path(name).read_text(errors="surrogateescape").splitlines()
            except OSError:
                continue
            found += [f"{name}: {line}" for line in lines if f"{self.state}/runs" in line]
        return found

    def environment_with(self, more: Mapping[str, str]) -> dict[str, str]:
        return {
            **os.environ, "PYTHONPATH": _SOURCE, "LITHIFY_STATE": str(self.state), "COLUMNS": "200", **self.environment,
            **more,
        }  # fmt: skip


APP = """#!/bin/sh
echo $$ >/run/app.pid
mkdir -p /var/cache/app/session; rmdir /var/cache/app/session
echo started >>/var/log/app.log
chown 33:33 /var/lib/app/status
trap 'exit 0' TERM
httpd -f -p 80 -h /srv & wait
"""
"""A program that dies on a read-only root in each of the ways that a layer tells: needs busybox's httpd."""


def _take_terminal() -> None:
    """Be in the foreground, as an interactive shell has it: Ctrl-C is the kernel's, and no signal is ignored.

    What a script puts in the background ignores Ctrl-C, what nohup starts a terminal that closes, and both hand that
    down: whole runs of the suite are started so.
    """
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class Terminal:
    """A call of lithify in the foreground of a terminal of its own."""

    def __init__(self, words: list[str], environment: Mapping[str, str]) -> None:
        self.screen = b""
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            words,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=dict(environment),
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        os.close(slave)

    def until(self, text: str, timeout: float = 60.0) -> None:
        """Read until the screen shows `text`."""
        deadline = time.monotonic() + timeout
        while text.encode() not in self.screen:
            assert time.monotonic() < deadline, self.screen.decode()
            assert self._read(0.2), f"{text!r} never came: {self.screen.decode()}"

    def press_ctrl_c(self) -> None:
        os.write(self._master, b"\x03")

    def end(self, timeout: float = 60.0) -> Done:
        """Read to the end; what was shown, without colours, counts as standard error."""
        deadline = time.monotonic() + timeout
        while self._read(0.2):
            assert time.monotonic() < deadline, self.screen.decode()
        code = self.process.wait(10)
        os.close(self._master)
        return Done(code, "", _STYLE.sub(b"", self.screen).replace(b"\r\n", b"\n").decode("utf-8", "surrogateescape"))

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)

    def _read(self, timeout: float) -> bool:
        """Read what there is; tell whether more may come."""
        if not select.select([self._master], [], [], timeout)[0]:
            return True
        try:
            data = os.read(self._master, 1 << 16)
        except OSError:  # EIO: nobody has the other end any more
            return False
        self.screen += data
        return bool(data)


@dataclass
class Images:
    """Makes root filesystems out of `base`, which stays as it is, and what a test adds."""

    base: Path
    directory: Path
    made: int = 0

    def make(self, program: str = "", files: Mapping[str, str | bytes | None] | None = None) -> Path:
        """Return a new root filesystem with `program`, a shell script, as /usr/local/bin/app.

        `files` are files with their content, or directories where that is None; those in `bin` are executable.
        """
        self.made += 1
        root = self.directory / f"image{self.made}"
        copy_linked(self.base, root)
        if program:
            files = {"usr/local/bin/app": f"#!/bin/bash\n{program}\n", **(files or {})}
        for name, content in (files or {}).items():
            path = root / name
            (path if content is None else path.parent).mkdir(parents=True, exist_ok=True)
            if content is not None:
                path.write_bytes(content.encode() if isinstance(content, str) else content)
                path.chmod(0o755 if path.parent.name == "bin" else 0o644)
        return root


def copy_linked(source: Path, target: Path) -> None:
    """Copy a tree by hard links, where both are on one filesystem."""
    if subprocess.run(["cp", "-al", source, target], capture_output=True).returncode:
        shutil.rmtree(target, ignore_errors=True)
        subprocess.run(["cp", "-a", source, target], check=True)


@contextmanager
def images_removed(base: str) -> Iterator[Path]:
    """Give a file for `docker build --iidfile`; afterwards remove image `base` and all that was built on it.

    The builder that Docker has without a plugin leaves each step of a stage that no tag leads to, also of a build that
    failed or that has lost its tag to another. Whoever else builds under the same tag keeps what the tag is then.
    """
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder, "built")
        try:
            yield built
        finally:
            listed = _images("--all", "--no-trunc", "--quiet")
            told = subprocess.run(
                ["docker", "inspect", "--type=image", "--format={{.Id}} {{.Parent}}", *listed],
                capture_output=True,
                text=True,
                check=False,  # somebody else's image may be gone by now
                timeout=60,
            ).stdout
            parents = dict(line.split(" ") for line in told.splitlines())
            ours = _images("--no-trunc", "--quiet", base)
            for image in ours:  # grows meanwhile: each after what it was built on
                ours += [child for child, parent in parents.items() if parent == image]
            ours += [built.read_text()] if built.exists() else []
            for image in reversed(ours):
                subprocess.run(["docker", "rmi", "--force", image], capture_output=True, check=False, timeout=60)


def _images(*words: str) -> list[str]:
    done = subprocess.run(["docker", "images", *words], capture_output=True, text=True, check=True, timeout=60)
    return list(dict.fromkeys(done.stdout.split()))


def until(condition: Callable[[], object], timeout: float = 15.0) -> None:
    """Wait for `condition`."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, condition()
        time.sleep(0.02)


@dataclass
class Daemon:
    """A Docker of the test's own: its socket, its data, and a network namespace, for a daemon thinks that it owns one.

    (A second daemon beside a first takes away what that needs: its bridge, its packet filter.)
    """

    directory: Path
    network: subprocess.Popen[bytes]
    process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        return f"unix://{self.directory}/docker.sock"

    @property
    def enter(self) -> tuple[str, ...]:
        """What comes before a command that shall reach its containers."""
        return ("nsenter", f"--net=/proc/{self.network.pid}/ns/net", "--")

    def start(self) -> None:
        """Start the daemon; what a killed one left may make the first try fail."""
        for _ in range(5):
            self._start()
            if self.answers():
                return
            self.stop()

    def _start(self) -> None:
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen(
                [
                    *self.enter,
                    "dockerd",
                    f"--data-root={self.directory}/data",
                    f"--exec-root={self.directory}/exec",
                    f"--pidfile={self.directory}/pid",
                    f"--host={self.host}",
                    f"--containerd={self.directory}/containerd.sock",
                ],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        until(lambda: self.process is None or self.process.poll() is not None or self.answers(), 30)

    def answers(self) -> bool:
        return self.call("version").returncode == 0

    def call(self, *words: str | Path, **more: Any) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "DOCKER_HOST": self.host}
        return subprocess.run(["docker", *words], capture_output=True, text=True, timeout=60, env=environment, **more)

    def ask(self, *words: str | Path) -> str:
        done = self.call(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def ask_with(self, stdin: Any, *words: str) -> str:
        """Do the same with something on standard input."""
        done = self.call(*words, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def everything(self) -> dict[str, list[str]]:
        """Return what there is: containers with their state, volumes, networks, images."""
        lists = {
            "containers": ["ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.Names}} {{.State}}"],
            "volumes": ["volume", "ls", "--quiet"],
            "networks": ["network", "ls", "--quiet"],
            "images": ["images", "--all", "--quiet", "--no-trunc"],
        }
        return {name: sorted(self.ask(*words).splitlines()) for name, words in lists.items()}

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End the daemon; its containers and their containerd outlive a SIGKILL."""
        if self.process is None:
            return
        self.process.send_signal(number)
        self.process.wait(30)
        self.process = None


@contextmanager
def daemon(directory: Path) -> Iterator[Daemon | None]:
    """Give a running Docker of our own; None where none can be had."""
    if os.geteuid() != 0 or not shutil.which("dockerd"):
        yield None
        return
    with subprocess.Popen(["unshare", "--net", "sh", "-c", "ip link set lo up && echo && exec sleep 1000000"],
                          stdout=subprocess.PIPE) as network:  # fmt: skip
        assert network.stdout is not None
        network.stdout.readline()
        found = Daemon(directory, network)
        places = ("root", "state", "address")
        words = [f"--{place}={directory}/containerd.{place.replace('address', 'sock')}" for place in places]
        with open(directory / "log", "ab") as log:
            runs = subprocess.Popen(
                [*found.enter, "containerd", *words], stdout=log, stderr=log, start_new_session=True
            )
        try:
            found.start()
            yield found if found.answers() else None
        finally:
            if not found.answers():
                found.start()
            containers = found.call("ps", "--all", "--quiet").stdout.split()
            if containers:
                found.call("rm", "--force", "--volumes", *containers)
            found.stop()
            runs.terminate()
            runs.wait(30)
            network.kill()
            for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
                if line.split()[4].startswith(f"{directory}/"):
                    subprocess.run(["umount", "--lazy", line.split()[4]], check=False)
            shutil.rmtree(directory, ignore_errors=True)


def _word(word: object) -> str | bytes:
    return word if isinstance(word, bytes | str) else str(word)
