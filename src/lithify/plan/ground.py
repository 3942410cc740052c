"""Says which directories may become writable at all, and follows the image's symbolic links.

Never writable: a directory of the system itself, one that holds the program, and every parent of these; nor one of
executables, unless the user says that it is data (`--state PATH=volume`): nothing runs from there once it is mounted.
Single files are spared only where they hold programs.
"""

from pathlib import PurePosixPath

from lithify.model.image import EntryType, ImageEntry, ImageFacts
from lithify.model.path import ROOT, is_code, is_pseudo, is_system, printable
from lithify.plan.classify import IDENTITY_FILES
from lithify.plan.settings import PlanSettings, StateDecision

EXECUTABLE_SHARE = 0.1
"""A directory that is itself written may hold so many executables among its files and is still one of data: a sample
hook in a repository, a health check in a home. Nothing runs from there once it is mounted without exec."""
_UNTELLABLE = "its name is not UTF-8, and no engine takes another for a mount"
_OTHERS_WRITE = 0o002
_LINKS_FOLLOWED = 40
"""As many as the kernel follows before it says ELOOP."""


def place_label(path: PurePosixPath, *, file: bool = False) -> str:
    """Name the alternative of a mount at `path`, as `PlanSettings.rejected` takes it."""
    return f"file mount at {path}" if file else f"place at {path}"


class Ground:
    """What the image, and runs that failed, say against making a path writable. Answers are kept."""

    def __init__(self, image: ImageFacts, settings: PlanSettings) -> None:
        self._image = image
        self._rejected = settings.rejected
        self._decision = settings.decision
        self._links = {str(p): e.target for p, e in image.entries.items() if e.type is EntryType.SYMLINK and e.target}
        self._above_code = {
            str(above): str(root) for root in sorted(image.code_roots) for above in (root, *root.parents)
        }
        self._objections: dict[bool, dict[PurePosixPath, str | None]] = {True: {}, False: {}}
        self._resolved: dict[PurePosixPath, PurePosixPath] = {}

    def entry(self, path: PurePosixPath) -> ImageEntry | None:
        """Return what the image has at `path`."""
        return self._image.entries.get(path)

    def objection(self, path: PurePosixPath, *, written: bool) -> str | None:
        """Say in half a sentence why the directory `path` must not be writable; None where it may be.

        `written` says that the program makes names in this very directory, not only deeper.
        """
        known = self._objections[written]
        if path not in known:
            known[path] = self._find_objection(path, written)
        return known[path]

    def _find_objection(self, path: PurePosixPath, written: bool) -> str | None:
        if is_pseudo(path):
            return "it is the kernel's"
        if not _can_be_told(path):
            return _UNTELLABLE
        if is_system(path):
            return "it is a directory of the system itself"
        if str(path) in self._above_code:
            root = self._above_code[str(path)]
            return "it holds the program itself" if root == str(path) else f"it holds the program in {printable(root)}"
        if self._rejected and place_label(path) in self._rejected:
            return "a run showed that a place here does not work"
        entry = self.entry(path)
        if entry is not None and entry.type is not EntryType.DIRECTORY:
            return f"the image has a {entry.type.value} there, which no mount can turn into a directory"
        return None if self._decision(path) is StateDecision.VOLUME else self.executables(path, written=written)

    def executables(self, path: PurePosixPath, *, written: bool) -> str | None:
        """Say in half a sentence that `path` looks like a directory of programs; the user may know it for data."""
        entry = self.entry(path)
        if entry is None or not entry.executables:
            return None
        if entry.mode & _OTHERS_WRITE or (written and entry.executables <= EXECUTABLE_SHARE * entry.files):
            return None
        return "it holds an executable" if entry.executables == 1 else f"it holds {entry.executables} executables"

    def file_objection(self, path: PurePosixPath) -> str | None:
        """Say in half a sentence why the file `path` must not be mounted; None where it may be."""
        entry = self.entry(path)
        if not _can_be_told(path):
            return _UNTELLABLE
        if path in IDENTITY_FILES:
            return "it says who the users and hosts are"
        if (entry is not None and entry.executables) or is_code(path):
            return "it is a program"
        if is_pseudo(path):
            return "it is the kernel's"
        return (
            "a run showed that a mount of it does not work" if place_label(path, file=True) in self._rejected else None
        )

    def resolve(self, path: PurePosixPath, *, follow: bool) -> PurePosixPath:
        """Return `path` with the image's links in its parents followed, and `path` itself too where `follow`.

        A link is followed inside the image's root, as the kernel does in a container: `..` stops at `/`. What goes
        round in circles stays as it is.
        """
        if not self._links:
            return path
        if follow:
            return self._follow(path)
        return self._follow(path.parent) / path.name if path != ROOT else path

    def _follow(self, path: PurePosixPath) -> PurePosixPath:
        if path not in self._resolved:
            self._resolved[path] = self._walk(path)
        return self._resolved[path]

    def _walk(self, path: PurePosixPath) -> PurePosixPath:
        pending = list(reversed(path.parts[1:]))
        done: list[str] = []
        followed = 0
        text = ""
        while pending:
            name = pending.pop()
            if name == "..":
                done = done[:-1]
                text = "".join(f"/{part}" for part in done)
                continue
            target = self._links.get(f"{text}/{name}")
            if target is None:
                done.append(name)
                text = f"{text}/{name}"
                continue
            followed += 1
            if followed > _LINKS_FOLLOWED:
                return path
            parts = PurePosixPath(target).parts
            if parts[:1] and parts[0].startswith("/"):
                done, text, parts = [], "", parts[1:]
            pending.extend(reversed(parts))
        return ROOT.joinpath(*done)


def _can_be_told(path: PurePosixPath) -> bool:
    """Tell whether a path can be written into an engine's JSON: undecodable bytes are lone surrogates in it."""
    text = str(path)
    return text.isascii() or not any("\udc80" <= character <= "\udcff" for character in text)
