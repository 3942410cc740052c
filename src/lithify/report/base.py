"""What every report does."""

from __future__ import annotations

from collections.abc import Callable

from lithify.errors import OutputFailed

TYPE_CHECKING = False  # a name of ours: `typing` costs a tenth of the time that an audit of one file takes
if TYPE_CHECKING:
    from typing import IO

_KEEP = 256 << 10

OF_ENGINES = ("ComposeService", "StackService", "Container", "SwarmService")
"""Kinds of what Docker, Podman or Swarm runs; the namespace of one is a project, not one of a cluster."""
OF_OTHERS = ("Quadlet", "TaskDefinition")
"""Kinds of what neither they by themselves nor a cluster runs."""

Write = Callable[[str], object]
"""Takes text as it comes; a report is never held as a whole."""


class Items:
    """A list in JSON: written as it comes, or kept until what stands before it has ended, much of it in a file."""

    separator = ",\n  "

    def __init__(self, write: Write | None = None) -> None:
        self._kept: IO[str] | None = None
        self._lines: list[str] = []
        self._size = 0
        self._write = write or self._keep
        self._begin = "\n  "

    def add(self, items: str) -> None:
        """Add items, in JSON, with `separator` between them."""
        if items:
            self._write(self._begin + items)
            self._begin = self.separator

    def end(self, write: Write) -> None:
        """Write what was kept, and the bracket that closes the list."""
        if self._kept is not None:
            self._kept.seek(0)
            while text := self._kept.read(_KEEP):
                write(text)
            self._kept.close()
        for line in self._lines:
            write(line)
        write("\n ]" if self._begin is self.separator else "]")

    def _keep(self, text: str) -> None:
        self._lines.append(text)
        self._size += len(text)
        if self._size > _KEEP:
            self._put_down()

    def _put_down(self) -> None:
        import tempfile

        try:
            self._kept = self._kept or tempfile.TemporaryFile("w+", encoding="utf-8", prefix="lithify-")  # noqa: SIM115
            self._kept.writelines(self._lines)
            self._kept.flush()  # so that nothing can fail later, where it would be taken for the report's own file
        except OSError as error:
            raise no_room(tempfile.gettempdir(), error) from error
        self._lines.clear()
        self._size = 0


def no_room(folder: str, error: OSError) -> OutputFailed:
    """Return what to tell where results can't be put down to wait for their place in a report."""
    hint = "results wait there for their report: make room, or name another folder with TMPDIR"
    return OutputFailed(f"{folder}: {error.strerror}", hint=hint)


def page_text(docstring: str) -> str:
    """Return a rule's page from its docstring: code stands indented, without the mark that announces it."""
    return docstring.strip().replace("::\n", ":\n")
