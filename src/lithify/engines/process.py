"""Starts other programs; nothing else in lithify does."""

import os
import selectors
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from lithify.errors import EngineUnreachable

_ATTENTION = 0.2
"""Seconds after which a program that can be cancelled is."""
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
"""What the command line takes for Ctrl-C; the alarm is one that a finalizer had dropped."""
TIMED_OUT = 124
"""The exit code of a program that ran out of time, as timeout(1) has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a program left when it ended."""

    code: int
    """Its exit code; 128 + signal where a signal ended it; 124 where it ran out of time."""
    stdout: bytes = b""
    stderr: bytes = b""
    truncated: bool = False
    """More came than the limit allows; the beginning is kept."""

    @property
    def message(self) -> str:
        """The last lines of what it said, for an error of ours."""
        text = (self.stderr or self.stdout).decode("utf-8", "replace").strip()
        return "\n".join(text.splitlines()[-5:])


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C and its like back until the block has ended; a second one is not held back.

    For what would leave something behind that nobody knows of: an engine goes on with what a client asked for, though
    the client is gone. Does nothing in threads, where no signal is handled.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    met: list[tuple[int, FrameType | None]] = []
    before = {int(one): handler for one in _INTERRUPTS if callable(handler := signal.getsignal(one))}

    def hold(number: int, frame: FrameType | None) -> None:
        met.append((number, frame))
        restore()

    def restore() -> None:
        for one, handler in before.items():
            signal.signal(one, handler)

    for one in before:
        signal.signal(one, hold)
    try:
        yield
    finally:
        restore()
        for number, frame in met:
            before[number](number, frame)


def find(program: str, *, package: str = "") -> str:
    """Return the path of `program`; EngineUnreachable, with the Debian `package` to install, where there is none."""
    found = shutil.which(program)
    if not found:
        hint = f"install it: apt-get install {package or program}"
        raise EngineUnreachable(f"{program} is not installed", hint=hint)
    return found


OFFLINE = {
    "GIT_ALLOW_PROTOCOL": "none",
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:1"),
}
"""An environment that keeps Helm and Kustomize, which have no option for that, from asking whoever a file names."""


def run(
    command: Sequence[str],
    *,
    input: bytes = b"",  # noqa: A002 - the name subprocess has for it
    timeout: float = 60.0,
    limit: int = 1 << 24,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    pass_fds: Sequence[int] = (),
    cancelled: threading.Event | None = None,
) -> Result:
    """Run `command` to its end and return what it said, at most `limit` bytes of each stream.

    It gets a session of its own; when `timeout` seconds are over, or once `cancelled` is set by another thread, the
    whole session is killed and the code is 124. `environment` is added to ours. EngineUnreachable where the program
    can't be started.
    """
    process = start(
        command,
        stdin=subprocess.PIPE if input else subprocess.DEVNULL,
        environment=environment,
        directory=directory,
        pass_fds=pass_fds,
    )
    try:
        streams, complete, truncated = _communicate(process, input, time.monotonic() + timeout, limit, cancelled)
    except BaseException:
        end(process)
        raise
    if not complete:
        end(process)
        return Result(code=TIMED_OUT, stdout=streams[0], stderr=streams[1], truncated=truncated)
    code = process.wait()
    code = code if code >= 0 else 128 - code
    return Result(code=code, stdout=streams[0], stderr=streams[1], truncated=truncated)


def start(
    command: Sequence[str],
    *,
    stdin: int | None = subprocess.DEVNULL,
    stdout: int | None = subprocess.PIPE,
    stderr: int | None = subprocess.PIPE,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start `command` in a session of its own and return at once; whoever calls waits for it or calls `end`."""
    try:
        return subprocess.Popen(
            [os.fspath(word) for word in command],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env={**os.environ, **environment} if environment else None,
            cwd=directory,
            pass_fds=tuple(pass_fds),
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise EngineUnreachable(
            f"{command[0]} is not installed", hint=f"install it: apt-get install {os.path.basename(command[0])}"
        ) from error
    except OSError as error:
        raise EngineUnreachable(
            f"{command[0]} can't be started: {error.strerror}", hint="see whether it runs by hand"
        ) from error


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill what `start` started, with everything in its session, and reap it."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream:
            stream.close()


def _communicate(
    process: subprocess.Popen[bytes], data: bytes, deadline: float, limit: int, cancelled: threading.Event | None
) -> tuple[list[bytes], bool, bool]:
    """Feed and drain a process: what it wrote on both streams, whether it closed them in time, whether more was cut."""
    taken: list[bytearray] = [bytearray(), bytearray()]
    truncated = False
    with selectors.DefaultSelector() as selector:
        for index, stream in enumerate((process.stdout, process.stderr)):
            assert stream is not None
            selector.register(stream, selectors.EVENT_READ, index)
        if process.stdin:
            os.set_blocking(process.stdin.fileno(), False)
            selector.register(process.stdin, selectors.EVENT_WRITE, None)
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0 or (cancelled is not None and cancelled.is_set()):
                return [bytes(t) for t in taken], False, truncated
            for key, _ in selector.select(left if cancelled is None else min(left, _ATTENTION)):
                if key.data is None:
                    data = _feed(key.fd, data)
                    if not data:
                        selector.unregister(key.fileobj)
                        assert process.stdin is not None
                        process.stdin.close()
                    continue
                chunk = os.read(key.fd, 1 << 16)
                if not chunk:
                    selector.unregister(key.fileobj)
                    key.fileobj.close()  # type: ignore[union-attr]
                    continue
                room = limit - len(taken[key.data])
                truncated = truncated or len(chunk) > room
                taken[key.data] += chunk[: max(room, 0)]
    try:
        process.wait(max(deadline - time.monotonic(), 0.05))
    except subprocess.TimeoutExpired:
        return [bytes(t) for t in taken], False, truncated
    return [bytes(t) for t in taken], True, truncated


def _feed(descriptor: int, data: bytes) -> bytes:
    """Write what fits; return what is left, nothing where the reader is gone."""
    try:
        return data[os.write(descriptor, data) :]
    except BlockingIOError:
        return data
    except BrokenPipeError:
        return b""
