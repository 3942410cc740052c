"""Asks an engine by its own command line, so that contexts, remote hosts and rootless set-ups are the user's own.

What is run for a proof is then also exactly what is printed. Errors are told apart by exit status and a second question
(does the engine answer at all?), never by what the message says.
"""

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

from lithify.engines.command_line.runline import RunLine
from lithify.engines.process import TIMED_OUT, Result, end, run, start, uninterrupted
from lithify.errors import EngineRefused, EngineUnreachable
from lithify.model.path import printable

_PACKAGES = {"docker": "docker.io", "podman": "podman"}
_QUESTIONS = {
    "docker": ("version", "--format", "{{.Server.Version}}"),
    "podman": ("info", "--format", "{{.Version.Version}}"),
}
"""What only an engine that works can answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """One engine, as a certain user and with certain options of the program."""

    engine: str
    base: tuple[str, ...]
    """What comes before each command: `docker`, `sudo podman --log-level error`."""

    @classmethod
    def of(cls, line: RunLine) -> "Client":
        """Return the engine that `line` talks to; `sudo` is left out where we have its rights already."""
        prefix = line.prefix
        if os.geteuid() == 0 and prefix and all(word in ("sudo", "-E", "-n", "-H", "--") for word in prefix):
            prefix = ()
        return cls(engine=line.engine, base=(*prefix, line.program, *line.globals))

    def run(self, *words: str, timeout: float = 120.0, limit: int = 1 << 26) -> Result:
        """Run a command of the engine; EngineUnreachable where it can't be started or does not come to an end."""
        return self.run_words((*self.base, *words), timeout=timeout, limit=limit)

    def run_words(self, words: Sequence[str], *, timeout: float = 120.0, limit: int = 1 << 26) -> Result:
        """Run a whole command line."""
        try:
            result = run(words, timeout=timeout, limit=limit)
        except EngineUnreachable as error:
            package = _PACKAGES[self.engine]
            error.hint = f"install it (Debian: apt-get install {package}), or name another engine with --engine"
            raise
        if result.code == TIMED_OUT:
            raise EngineUnreachable(
                f"{self.engine} gave no answer within {timeout:g} s", hint=f"does `{self.engine} ps` answer?"
            )
        return result

    def ask(self, *words: str, timeout: float = 120.0, limit: int = 1 << 26) -> bytes:
        """Return what a command writes; EngineRefused, with the engine's words, where it fails."""
        return self.expect(self.run(*words, timeout=timeout, limit=limit)).stdout

    def make(self, *words: str, timeout: float = 120.0) -> bytes:
        """Return what a command writes that makes something: as `ask`, but an interrupt waits until it is made."""
        with uninterrupted():
            return self.ask(*words, timeout=timeout)

    def expect(self, result: Result) -> Result:
        """Return `result` if it is a success; EngineRefused or EngineUnreachable otherwise."""
        if result.code != 0:
            self.require()
            raise EngineRefused(f"{self.engine} refused: {printable(result.message)}", hint="see what it says")
        return result

    def remove(self, container: str) -> Result:
        """Kill a container and remove it with its anonymous volumes; failure is told by the result."""
        # Podman asks first, and waits ten seconds for an answer.
        at_once = ("--time=0",) if self.engine == "podman" else ()
        return self.run("rm", "--force", "--volumes", *at_once, container)

    def require(self) -> None:
        """Raise EngineUnreachable unless the engine answers."""
        result = self.run(*_QUESTIONS[self.engine], timeout=30.0)
        if result.code == 0 and result.stdout.strip():
            return
        hint = "is it installed whole, and may you use it? try `podman info`"
        if self.engine == "docker":
            hint = (
                "is the daemon running, and may you use its socket? try `docker version`; or name another with --engine"
            )
        raise EngineUnreachable(f"no answer from {self.engine}: {printable(result.message)}", hint=hint)

    def inspect(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return what the engine knows of a container, image or volume; None where there is none of that name."""
        if not name or name.startswith("-"):
            return None
        result = self.run(kind, "inspect", name)
        if result.code != 0:
            self.require()
            return None
        found = parse_json(result.stdout)
        return found[0] if isinstance(found, list) and found and isinstance(found[0], dict) else None

    @contextmanager
    def stream(self, *words: str) -> Iterator[BinaryIO]:
        """Give what a command writes as it comes; the command is ended with the block, done or not."""
        process = start((*self.base, *words), stderr=subprocess.DEVNULL)
        try:
            assert process.stdout is not None
            yield process.stdout  # type: ignore[misc]
        finally:
            end(process)

    def tail(self, *words: str, limit: int, timeout: float = 30.0) -> bytes:
        """Return the last `limit` bytes of what a command writes on both streams, in the order in which they came."""
        process = start((*self.base, *words), stderr=subprocess.STDOUT)
        try:
            return _tail(process, limit, timeout)
        finally:
            end(process)


def parse_json(data: bytes) -> Any:
    """Return what an engine wrote as JSON; None where it is none."""
    try:
        return json.loads(data.decode("utf-8", "surrogateescape"))
    except ValueError:
        return None


def _tail(process: subprocess.Popen[bytes], limit: int, timeout: float) -> bytes:
    import selectors
    import time

    stream = process.stdout
    assert stream is not None
    kept = bytearray()
    deadline = time.monotonic() + timeout
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0 and selector.select(left):
            chunk = os.read(stream.fileno(), 1 << 16)
            if not chunk:
                break
            kept += chunk
            if len(kept) > 2 * limit:
                del kept[:-limit]
    return bytes(kept[-limit:])
