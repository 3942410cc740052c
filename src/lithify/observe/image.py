"""What the image has where a program writes, read from the layers below the container's own.

`lowers` are host directories, top-most first: the lower layers of an overlay, or one root filesystem directory. Links
are followed inside the image only, and never by the kernel. Nothing here needs a running container.
"""

import os
import re
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

from lithify.errors import NothingToExamine
from lithify.model.image import ImageEntry, ImageFacts
from lithify.model.path import ROOT, is_code, is_pseudo, is_system, outermost, printable
from lithify.model.writes import Process
from lithify.observe import layers
from lithify.observe.content import read_kind
from lithify.observe.entries import entry_type
from lithify.observe.layers import MergedDirectory

MANY = 10_000
"""Where counting below a directory of the system itself stops: such a directory is never a place."""
_DEEPEST = 200
_MOST_OWNED = 50
_DEEPEST_OWNED = 16
_MAX_WORDS = 200
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SHELLS = ("/bin/sh", "/usr/bin/sh", "/bin/bash", "/bin/ash", "/busybox/sh")
_PROGRAM_KINDS = frozenset(("elf", "script"))
_CODE_SUFFIXES = frozenset(
    (
        ".py", ".pyc", ".pyz", ".js", ".mjs", ".cjs", ".ts", ".rb", ".ru", ".pl", ".pm", ".php", ".phar", ".jar",
        ".war", ".class", ".dll", ".lua", ".tcl", ".r", ".exs", ".beam",
        ".sh", ".wsgi", ".psgi", ".cgi",
    )
)  # fmt: skip
_PROJECT_FILES = frozenset(
    (
        "package.json", "pyproject.toml", "setup.py", "requirements.txt", "Pipfile", "manage.py", "Gemfile",
        "config.ru", "composer.json", "go.mod", "mix.exs", "pom.xml", "build.gradle", "Cargo.toml", "deno.json",
        "cpanfile",
    )
)  # fmt: skip


def read_image_entries(
    lowers: Sequence[Path], paths: Iterable[PurePosixPath], *, user_xattr: bool = False
) -> Mapping[PurePosixPath, ImageEntry]:
    """Return what the image has at `paths` and on the way to them; paths it does not have are not in the answer.

    Links on the way are not followed: resolve first. The totals of a directory count the image's entries below it; for
    the directories of the system itself counting stops at `MANY`. Raises
    NothingToExamine where a layer is gone; no layers give no entries.
    """
    wanted = {each for path in paths for each in (path, *path.parents) if not is_pseudo(each)}
    if not lowers or not wanted:
        return {}
    with _open_root(lowers, user_xattr) as root:
        counter = _Counter(frozenset(wanted))
        for path in outermost(path for path in wanted if not is_system(path)):
            counter.count_exactly(root, path)
        for path in sorted(wanted - counter.done.keys(), key=lambda path: -len(path.parts)):
            counter.count_bounded(root, path)
    return dict(sorted(counter.done.items()))


def directories_of(
    lowers: Sequence[Path], uids: Collection[int], *, user_xattr: bool = False
) -> tuple[PurePosixPath, ...]:
    """Return the outermost directories of the image that belong to one of `uids`, as the layers have them, sorted.

    Those of the system itself do not count. Only so many directories are looked at as an image has for a person.
    """
    if not lowers or not uids:
        return ()
    with _open_root(lowers, user_xattr) as root:
        return tuple(sorted(islice(_owned(root, ROOT, uids, [MANY]), _MOST_OWNED)))


def _owned(
    directory: MergedDirectory, path: PurePosixPath, uids: Collection[int], left: list[int]
) -> Iterator[PurePosixPath]:
    if len(path.parts) > _DEEPEST_OWNED:
        return
    for name in sorted(name for name, is_directory, _ in directory.entries() if is_directory):
        below = path / name
        child = None if is_pseudo(below) or is_code(below) or not left[0] else directory.child(name)
        if child is None:
            continue
        left[0] -= 1
        with child:
            if child.status.st_uid in uids and not is_system(below):
                yield below
            else:
                yield from _owned(child, below, uids, left)


def _open_root(lowers: Sequence[Path], user_xattr: bool) -> MergedDirectory:
    try:
        return MergedDirectory.open_root(lowers, user_xattr=user_xattr)
    except OSError as error:
        raise NothingToExamine(
            f"the image's layer {printable(error.filename)} can't be opened: {error.strerror}",
            hint="is the image still there?",
        ) from error


@dataclass(slots=True)
class _Totals:
    """What was counted below one directory."""

    entries: int = 0
    directories: int = 0
    size: int = 0
    executables: int = 0

    def add(self, other: "_Totals") -> None:
        self.entries += other.entries
        self.directories += other.directories
        self.size += other.size
        self.executables += other.executables

    def entry(self, status: os.stat_result, target: str | None = None) -> ImageEntry:
        file = stat.S_ISREG(status.st_mode)
        return ImageEntry(
            type=entry_type(status),
            mode=stat.S_IMODE(status.st_mode),
            uid=status.st_uid,
            gid=status.st_gid,
            size=status.st_size if file else self.size,
            entries=self.entries,
            directories=self.directories,
            executables=self.executables,
            target=target,
        )


class _Counter:
    """Counts below directories, each one once."""

    def __init__(self, wanted: frozenset[PurePosixPath]) -> None:
        self.done: dict[PurePosixPath, ImageEntry] = {}
        self._wanted = wanted
        self._exact: dict[PurePosixPath, _Totals] = {}
        self._left = 0
        self._kinds: dict[tuple[int, int], bool] = {}

    def count_exactly(self, root: MergedDirectory, path: PurePosixPath) -> None:
        """Count everything below `path`, and note what is wanted on the way."""
        self._left = 1 << 62
        self._start(root, path)

    def count_bounded(self, root: MergedDirectory, path: PurePosixPath) -> None:
        """Count below `path`, at most `MANY` entries."""
        self._left = MANY
        self._start(root, path)

    def _start(self, root: MergedDirectory, path: PurePosixPath) -> None:
        if path == ROOT:
            totals = self._below(root, ROOT, 0)
            self.done[ROOT] = totals.entry(root.status)
            return
        parent = root.descend(path.parent)
        if parent is None:
            return
        with parent:
            found = parent.find(path.name)
            if found is not None:
                self._entry(parent, found[0], path, found[1], 0)

    def _entry(
        self, parent: MergedDirectory, holder: int, path: PurePosixPath, status: os.stat_result, depth: int
    ) -> _Totals:
        """Count one entry and what is below it, and note it where it is wanted."""
        if path in self._exact:
            return self._exact[path]
        totals = _Totals()
        if stat.S_ISDIR(status.st_mode):
            directory = parent.child(path.name)
            if directory is not None:
                with directory:
                    totals = self._below(directory, path, depth)
                    status = directory.status
        elif stat.S_ISREG(status.st_mode):
            totals.executables = int(self._is_program(holder, path.name, status))
        if path in self._wanted:
            target = parent.read_link(path.name) if stat.S_ISLNK(status.st_mode) else None
            self.done[path] = totals.entry(status, target)
            if self._left > 0:
                self._exact[path] = totals
        return totals

    def _below(self, directory: MergedDirectory, path: PurePosixPath, depth: int) -> _Totals:
        totals = _Totals()
        if depth > _DEEPEST:
            return totals
        for name, is_directory, holder in directory.entries():
            if self._left <= 0:
                break
            self._left -= 1
            totals.entries += 1
            child = path / name
            if is_directory:
                totals.directories += 1
                if is_pseudo(child):
                    continue
            try:
                status = os.stat(name, dir_fd=holder, follow_symlinks=False)
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode):
                totals.size += status.st_size
            totals.add(self._entry(directory, holder, child, status, depth + 1))
        return totals

    def _is_program(self, directory: int, name: str, status: os.stat_result) -> bool:
        """Tell whether a file with an execute bit is what it claims: many data files carry the bit."""
        if not status.st_mode & 0o111:
            return False
        key = (status.st_dev, status.st_ino)
        if key not in self._kinds:
            self._kinds[key] = read_kind(directory, name) in _PROGRAM_KINDS
        return self._kinds[key]


# -- links and shells -------------------------------------------------------------------------------------------------


def resolve(lowers: Sequence[Path], path: PurePosixPath, *, user_xattr: bool = False) -> PurePosixPath:
    """Return `path` with the image's symbolic links followed, inside the image only: `/var/run/x` → `/run/x`.

    What the image does not have keeps its name. Raises NothingToExamine where a layer is gone.
    """
    if not lowers:
        return path
    with _open_root(lowers, user_xattr) as root:
        return layers.resolve(root, path)


def has_shell(lowers: Sequence[Path], *, user_xattr: bool = False) -> bool:
    """Tell whether the image has a shell at one of the usual places, links followed inside the image."""
    if not lowers:
        return False
    with _open_root(lowers, user_xattr) as root:
        return any(_is_executable_file(root, layers.resolve(root, PurePosixPath(shell))) for shell in _SHELLS)


def _is_executable_file(root: MergedDirectory, path: PurePosixPath) -> bool:
    status = _status(root, path)
    return status is not None and stat.S_ISREG(status.st_mode) and bool(status.st_mode & 0o111)


def _status(root: MergedDirectory, path: PurePosixPath) -> os.stat_result | None:
    directory = root.descend(path.parent)
    if directory is None:
        return None
    with directory:
        found = directory.find(path.name) if path.name else None
        return found[1] if found else None


# -- the program itself -----------------------------------------------------------------------------------------------


def find_code_roots(
    lowers: Sequence[Path], facts: ImageFacts, processes: Collection[Process] = (), *, user_xattr: bool = False
) -> tuple[PurePosixPath, ...]:
    """Return the directories of the image that hold the program itself, the outermost, sorted.

    Those are: of each running or configured program's binary, of scripts, archives and programs named in its arguments,
    and a working directory that holds code, each taken up to the directory of its project (`package.json`,
    `pyproject.toml`, ...). Interpreters and other files in the directories of the system itself do not count. A script
    that runs and that the image lacks was made by a start: its directory is one of them, below the image's own working
    directory and on no volume of its.
    """
    if not lowers:
        return ()
    with _open_root(lowers, user_xattr) as root:
        finder = _CodeFinder(root)
        for start in _starts(facts, processes):
            finder.look(start)
        for process in processes:
            finder.look_for_made(process, facts)
        return tuple(outermost(finder.roots))


@dataclass(frozen=True, slots=True)
class _Start:
    """A command line and where it runs."""

    words: tuple[str, ...]
    directory: PurePosixPath
    search: tuple[str, ...]


def _starts(facts: ImageFacts, processes: Iterable[Process]) -> Iterator[_Start]:
    search = tuple(facts.environment.get("PATH", _DEFAULT_PATH).split(":"))
    if facts.entrypoint or facts.command:
        yield _Start((*facts.entrypoint, *facts.command), facts.working_directory, search)
    for process in processes:
        yield _Start((process.program, *process.arguments), process.working_directory, search)


class _CodeFinder:
    """Collects code roots of one image."""

    def __init__(self, root: MergedDirectory) -> None:
        self.roots: set[PurePosixPath] = set()
        self._root = root
        self._holds_code: dict[PurePosixPath, bool] = {}

    def look(self, start: _Start) -> None:
        """Take in the program, its arguments and its working directory."""
        for index, word in enumerate(start.words[:_MAX_WORDS]):
            for path in self._candidates(word, start, program=index == 0):
                self._take_file(path)
        directory = layers.resolve(self._root, start.directory)
        if self._may_be_root(directory) and self._directory_holds_code(directory):
            self.roots.add(self._project(directory))

    def look_for_made(self, process: Process, facts: ImageFacts) -> None:
        """Take in the scripts of the program's own that it runs and the image lacks."""
        for word in process.arguments[1:_MAX_WORDS]:
            path = process.working_directory / word
            home = facts.working_directory
            own = self._may_be_root(home) and path.is_relative_to(home)
            if own and path.suffix.lower() in _CODE_SUFFIXES and not any(map(path.is_relative_to, facts.volumes)):
                real = layers.resolve(self._root, path)
                if not self._has(real) and self._may_be_root(real.parent):
                    self.roots.add(real.parent)

    def _has(self, path: PurePosixPath) -> bool:
        directory = self._root.descend(path.parent)
        if directory is None:
            return False
        with directory:
            return directory.find(path.name) is not None

    def _candidates(self, word: str, start: _Start, *, program: bool) -> Iterator[PurePosixPath]:
        """Yield the paths that a word of a command line may mean, options and lists taken apart."""
        if program and "/" not in word and word:
            yield from (PurePosixPath(place) / word for place in start.search if place.startswith("/"))
            return
        for part in re.split(r"[\s=:,;'\"]+", word):
            if part and "\0" not in part and len(part) < 4096 and not part.startswith("-"):
                yield PurePosixPath("/") / start.directory / part

    def _take_file(self, path: PurePosixPath) -> None:
        real = layers.resolve(self._root, path)
        directory = self._root.descend(real.parent) if real.name else None
        if directory is None:
            return
        with directory:
            found = directory.find(real.name)
            if found is None or not stat.S_ISREG(found[1].st_mode) or not self._may_be_root(real.parent):
                return
            executable = bool(found[1].st_mode & 0o111)
            is_code = real.suffix.lower() in _CODE_SUFFIXES or (
                executable and read_kind(found[0], real.name) in _PROGRAM_KINDS
            )
        if is_code:
            self.roots.add(self._project(real.parent))

    @staticmethod
    def _may_be_root(directory: PurePosixPath) -> bool:
        return directory != ROOT and not is_system(directory) and not is_pseudo(directory)

    def _project(self, directory: PurePosixPath) -> PurePosixPath:
        """Return the nearest directory at or above that holds a project's own file, or `directory`."""
        for above in (directory, *directory.parents):
            if not self._may_be_root(above):
                break
            if any(name in _PROJECT_FILES for name in self._names(above)):
                return above
        return directory

    def _directory_holds_code(self, directory: PurePosixPath) -> bool:
        if directory not in self._holds_code:
            names = self._names(directory)
            self._holds_code[directory] = any(
                name in _PROJECT_FILES or PurePosixPath(name).suffix.lower() in _CODE_SUFFIXES for name in names
            ) or any("__init__.py" in self._names(directory / name) for name in names[:64])
        return self._holds_code[directory]

    def _names(self, directory: PurePosixPath) -> list[str]:
        opened = self._root.descend(directory)
        if opened is None:
            return []
        with opened:
            return [name for name, _, _ in islice(opened.entries(), 2000)]
