"""Follows a container's system calls with strace: sizes, and writes that failed and were swallowed.

It slows the program many times over, so it is on only where it is asked for. strace attaches to a process that exists,
follows what it starts, and lets go of all of them at the end; calls made before it attached are not seen.
"""

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from lithify.engines import process
from lithify.engines.ids import IdMap
from lithify.model.path import printable
from lithify.model.writes import Write
from lithify.observe.calls import TracedCalls

_MAX_LINE = 64 << 10
_LEAVE = 10.0
"""Seconds that strace gets to let go of the processes it follows."""


def available(pid: int | None = None) -> str | None:
    """Return why system calls can't be followed, of process `pid` where one is given; None where they can."""
    if not shutil.which("strace"):
        return "strace is not installed (apt-get install strace)"
    if pid is not None and not os.path.exists(f"/proc/{pid}"):
        return f"there is no process {pid}"
    if os.geteuid() != 0:
        return "it needs root (CAP_SYS_PTRACE)"
    return None


class Trace:
    """Follows process `pid` and all it starts while it is entered; tells afterwards, or meanwhile, what it saw.

    The process is held up for as long as strace takes to attach, some milliseconds, and with every call after that.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._calls = TracedCalls(IdMap.read(pid))
        self._lock = threading.Lock()
        self._strace: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._attached = threading.Event()
        self._said: list[str] = []

    def __enter__(self) -> "Trace":
        calls = ",".join(f"?{name}" for name in TracedCalls.names())  # `?`: not every architecture has every call
        reader, writer = os.pipe()
        try:
            options = f"-f -y -s 0 -e signal=none -e trace={calls} -o /dev/fd/{writer} -p {self._pid}"
            self._strace = process.start(
                ["strace", *options.split()],
                stdout=subprocess.DEVNULL,
                pass_fds=(writer,),
            )
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        words = threading.Thread(target=self._hear, name="strace-words", daemon=True)
        words.start()
        self._thread = threading.Thread(target=self._follow, args=(reader, words), name="strace", daemon=True)
        self._thread.start()
        self._attached.wait(_LEAVE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._strace is not None
        assert self._thread is not None
        self._strace.send_signal(signal.SIGTERM)  # on which it detaches; SIGKILL could leave processes stopped
        try:
            self._strace.wait(_LEAVE)
        except subprocess.TimeoutExpired:
            self._said.append("strace did not let go in time and was killed")
        process.end(self._strace)
        self._thread.join(_LEAVE)

    def writes(self, lowers: Sequence[Path] = ()) -> tuple[tuple[Write, ...], tuple[str, ...]]:
        """Return what was seen, a path once, and notes; with the image's layers, links on the way are resolved."""
        with self._lock:
            return self._calls.writes(lowers), (*self._calls.notes(), *self._said)

    def _follow(self, reader: int, words: threading.Thread) -> None:
        with open(reader, "rb") as stream:
            while line := stream.readline(_MAX_LINE):
                with self._lock:
                    self._calls.take(line.decode("utf-8", "surrogateescape").rstrip("\n"))
        words.join(1.0)
        self._attached.set()

    def _hear(self) -> None:
        assert self._strace is not None
        assert self._strace.stderr is not None
        with self._strace.stderr as stream:
            for line in stream:
                text = line.decode("utf-8", "replace").strip()
                if " attached" in text:
                    self._attached.set()
                elif "detached" not in text and len(self._said) < 5:
                    self._said.append(f"strace: {printable(text)}")
