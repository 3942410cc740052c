"""A patch: a user's file with mount plans written into it, and what could not be written."""

from dataclasses import dataclass

from lithify.model.image import ImageFacts
from lithify.model.location import Route
from lithify.model.mount import MountPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A container at a place of a file, with its plan."""

    document: int
    """Index of the document in its file, empty ones not counted."""
    route: Route
    """The keys that lead to the container: `spec`, `template`, `spec`, `containers`, 0; or `services`, `web`."""
    container: str
    """What the file calls it."""
    plan: MountPlan
    image: ImageFacts | None = None
    """What is known of its image; without it a seed is believed to find a shell there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that a patch says anew."""

    container: str
    document: int
    route: Route
    """What was set or added, in the file as it was."""
    text: str
    """What was done, in a sentence without subject: `sets readOnlyRootFilesystem`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A container that the file was not changed for, why, and what to write there by hand."""

    container: str
    reason: str
    by_hand: str = ""
    """The patch in the file's language, for a person to apply; nothing where none would do."""
    remedy: str = ""
    """What would let the patch be made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patched:
    """A file after patching; the same bytes where nothing had to change."""

    text: bytes
    changes: tuple[Change, ...] = ()
    refused: tuple[Refused, ...] = ()
    notes: tuple[str, ...] = ()
    """What the file's format can't say or the reader should know, in sentences."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchedFile:
    """One file of several that a patch writes."""

    path: str
    before: bytes | None
    """None where there is no such file yet."""
    after: bytes
    executable: bool = False

    @property
    def changed(self) -> bool:
        """Tell whether anything is written."""
        return self.before != self.after


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchedFiles:
    """What a patch of a chart or kustomization writes; no file where nothing had to change."""

    files: tuple[PatchedFile, ...] = ()
    changes: tuple[Change, ...] = ()
    refused: tuple[Refused, ...] = ()
    notes: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    """What a person runs from now on, with these files; nothing where it is what it was."""
    manifests: bytes = b""
    """What comes out with these files, as it was checked; nothing where nothing could be."""
