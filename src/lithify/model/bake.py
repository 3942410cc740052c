"""What can be put into an image, once, so that no start has to write it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from lithify.model.image import EntryType

ARCHIVE = "baked.tar"
"""The archive's name beside the Dockerfile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What stood at one path of a layer at one moment."""

    type: EntryType
    """UNKNOWN where the layer hides what the image has."""
    mode: int = 0
    uid: int = 0
    gid: int = 0
    data: bytes = field(default=b"", repr=False)
    """A file's content, or where a symbolic link points."""

    @property
    def deleted(self) -> bool:
        """True where the layer only says that the image's entry is gone."""
        return self.type is EntryType.UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Baked:
    """What was put into a copy of the image, and what that made needless."""

    serves: tuple[PurePosixPath, ...]
    """Places, or refused paths, that need no writing any more."""
    paths: tuple[PurePosixPath, ...]
    """Entries that the archive holds."""
    removed: tuple[PurePosixPath, ...] = ()
    dockerfile: tuple[str, ...]
    """Its lines."""
    directory: str
    """Where Dockerfile and archive were written."""


def dockerfile(base: str, user: str, *, paths: Sequence[PurePosixPath], removed: Iterable[PurePosixPath]) -> list[str]:
    """Return the lines that put the archive into the image `base` and take `removed` away."""
    lines = [f"FROM {base}", "USER 0:0"]
    if paths:
        lines.append(f"ADD {ARCHIVE} /")
    gone = [str(path) for path in sorted(removed)]
    if gone:
        lines.append(f"RUN {_exec_form(['rm', '-rf', '--', *gone])}")
    lines.append(f"USER {user or '0:0'}")
    return lines


def _exec_form(words: Sequence[str]) -> str:
    import json

    return json.dumps(words)
