"""The layers below a container's own, merged as overlayfs merges them, read by directory descriptors.

A link in a layer is never followed: every open is relative to a descriptor and ends in O_NOFOLLOW. Whiteouts, opaque
directories and redirects are honoured (Documentation/filesystems/overlayfs.rst).
"""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType

OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_LINKS = 40


def is_whiteout(status: os.stat_result) -> bool:
    """Tell whether `status` is the 0:0 character device by which overlayfs marks a deleted entry (kernel docs)."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def mark_name(mark: str, user_xattr: bool) -> str:
    """Return the extended attribute in which overlayfs keeps `mark`: `opaque`, `redirect`, `metacopy`, `origin`."""
    return f"{'user' if user_xattr else 'trusted'}.overlay.{mark}"


def read_mark(descriptor: int, name: str) -> bytes | None:
    """Return the extended attribute `name` of an open file; None where it has none or we may not see it."""
    try:
        return os.getxattr(descriptor, name)
    except OSError:
        return None


def open_below(root: int, path: str) -> int:
    """Open the directory at `path` below a descriptor, one name at a time, no link followed."""
    current = os.dup(root)
    for name in path.split("/"):
        if not name:
            continue
        try:
            below = os.open(name, OPEN_DIRECTORY, dir_fd=current)
        finally:
            os.close(current)
        current = below
    return current


@dataclass(frozen=True, slots=True)
class _Part:
    """A directory of one layer."""

    layer: int
    descriptor: int


class MergedDirectory:
    """One directory of an image as its layers show it together. Holds a descriptor a layer until `close`."""

    __slots__ = ("_parts", "_roots", "_user_xattr", "_white_files")

    def __init__(self, parts: Sequence[_Part], roots: Sequence[int], user_xattr: bool) -> None:
        self._parts = tuple(parts)
        self._roots = roots
        self._user_xattr = user_xattr
        self._white_files: set[int] | None = None

    @classmethod
    def open_root(cls, lowers: Sequence[Path], *, user_xattr: bool = False) -> "MergedDirectory":
        """Open `/` of the image in `lowers`, top-most first; FileNotFoundError where a layer is gone."""
        roots: list[int] = []
        try:
            for lower in lowers:
                roots.append(os.open(lower, OPEN_DIRECTORY))  # noqa: PERF401 - what is open must be closed on error
        except OSError:
            for descriptor in roots:
                os.close(descriptor)
            raise
        return cls([_Part(layer, descriptor) for layer, descriptor in enumerate(roots)], roots, user_xattr)

    def __enter__(self) -> "MergedDirectory":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the descriptors back; no error the second time."""
        for part in self._parts:
            os.close(part.descriptor)
        self._parts = ()

    def release(self) -> tuple[_Part, ...]:
        """Hand over the descriptors to the caller, who closes them."""
        parts, self._parts = self._parts, ()
        return parts

    @property
    def status(self) -> os.stat_result:
        """What stat says of the directory itself: of its top-most layer, as overlayfs has it."""
        return os.fstat(self._parts[0].descriptor)

    def attributes(self) -> dict[str, bytes]:
        """Return the extended attributes of the directory itself; nothing where they can't be read."""
        descriptor = self._parts[0].descriptor
        try:
            return {name: os.getxattr(descriptor, name) for name in os.listxattr(descriptor)}
        except OSError:
            return {}

    def read_link(self, name: str) -> str | None:
        """Return where the symbolic link `name` points; None where it is no link."""
        found = self.find(name)
        if found is None:
            return None
        try:
            return os.readlink(name, dir_fd=found[0])
        except OSError:
            return None

    def child(self, name: str) -> "MergedDirectory | None":
        """Open the directory `name`; None where the image has nothing there, or no directory."""
        parts: list[_Part] = []
        try:
            self._collect(name, self._parts, parts)
        except BaseException:
            for part in parts:
                os.close(part.descriptor)
            raise
        return MergedDirectory(parts, self._roots, self._user_xattr) if parts else None

    def descend(self, path: PurePosixPath | str) -> "MergedDirectory | None":
        """Open the directory at `path` below this one, links not followed; None where there is none."""
        current: MergedDirectory = MergedDirectory(
            [_Part(part.layer, os.dup(part.descriptor)) for part in self._parts], self._roots, self._user_xattr
        )
        for name in PurePosixPath(path).parts:
            if name == "/":
                continue
            try:
                below = current.child(name)
            finally:
                current.close()
            if below is None:
                return None
            current = below
        return current

    def entries(self) -> Iterator[tuple[str, bool, int]]:
        """Yield each name once, whether it is a directory, and a descriptor of the layer directory that holds it."""
        several = len(self._parts) > 1
        seen: set[str] = set()
        for part in self._parts:
            white_files = several and part.descriptor in self._layers_of_white_files()
            with os.scandir(part.descriptor) as listing:
                for entry in listing:
                    if several:
                        if entry.name in seen:
                            continue
                        seen.add(entry.name)
                    directory = entry.is_dir(follow_symlinks=False)
                    if not directory and self._hidden(entry, white_files):
                        continue
                    yield entry.name, directory, part.descriptor

    @staticmethod
    def _hidden(entry: os.DirEntry[str], white_files: bool) -> bool:
        if entry.is_symlink() or (entry.is_file(follow_symlinks=False) and not white_files):
            return False
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError:
            return True
        return is_whiteout(status) or (white_files and stat.S_ISREG(status.st_mode) and status.st_size == 0)

    def find(self, name: str) -> tuple[int, os.stat_result] | None:
        """Return a descriptor of the layer directory that holds `name`, and what stat says of it, links not followed.

        None where the image has no such entry. The descriptor stays this object's.
        """
        for part in self._parts:
            try:
                status = os.stat(name, dir_fd=part.descriptor, follow_symlinks=False)
            except OSError:
                continue
            if is_whiteout(status) or self._is_white_file(part.descriptor, status):
                return None
            return part.descriptor, status
        return None

    def _collect(self, name: str, among: Sequence[_Part], parts: list[_Part]) -> None:
        """Append to `parts` the directories that `name` stands for in the layers of `among`."""
        for index, part in enumerate(among):
            try:
                descriptor = os.open(name, OPEN_DIRECTORY, dir_fd=part.descriptor)
            except FileNotFoundError:
                continue
            except (NotADirectoryError, PermissionError):
                return  # a file, link or whiteout covers what lies below
            parts.append(_Part(part.layer, descriptor))
            below = among[index + 1 :]
            if not below and part.layer == len(self._roots) - 1:
                return
            if read_mark(descriptor, mark_name("opaque", self._user_xattr)) == b"y":
                return
            redirect = read_mark(descriptor, mark_name("redirect", self._user_xattr))
            if redirect is not None:
                self._follow_redirect(os.fsdecode(redirect), part.layer, below, parts)
                return

    def _follow_redirect(self, target: str, layer: int, below: Sequence[_Part], parts: list[_Part]) -> None:
        """Append what a directory that was renamed in `layer` had before: `target` is a sibling's name or a path."""
        if not target.startswith("/"):
            if target not in ("", ".", "..") and "/" not in target:
                self._collect(target, below, parts)
            return
        deeper = [_Part(index, os.dup(root)) for index, root in enumerate(self._roots) if index > layer]
        if not deeper:
            return
        with MergedDirectory(deeper, self._roots, self._user_xattr) as start:
            found = None if ".." in target.split("/") else start.descend(target)
        if found is not None:
            parts.extend(found.release())

    def _layers_of_white_files(self) -> set[int]:
        """Descriptors of those layer directories in which empty files can be whiteouts (Linux 6.7, `opaque` = x)."""
        if self._white_files is None:
            mark = mark_name("opaque", self._user_xattr)
            self._white_files = {p.descriptor for p in self._parts if read_mark(p.descriptor, mark) == b"x"}
        return self._white_files

    def _is_white_file(self, descriptor: int, status: os.stat_result) -> bool:
        return stat.S_ISREG(status.st_mode) and status.st_size == 0 and descriptor in self._layers_of_white_files()


def resolve(root: MergedDirectory, path: PurePosixPath) -> PurePosixPath:
    """Return `path` with the symbolic links of the image followed, inside the image only.

    What does not exist keeps its name. `..` in a link never climbs above `/`. After 40 links the rest is left as it
    is, as the kernel would refuse it.
    """
    waiting = list(reversed(path.parts[1:]))
    done: list[str] = []
    links = 0
    while waiting:
        name = waiting.pop()
        if name == ".":
            continue
        if name == "..":
            del done[-1:]
            continue
        target = _link_at(root, done, name) if links < _MAX_LINKS else None
        if target is None:
            done.append(name)
            continue
        links += 1
        if target.startswith("/"):
            done.clear()
        waiting.extend(reversed([part for part in target.split("/") if part]))
    return PurePosixPath("/", *done)


def _link_at(root: MergedDirectory, directory: Sequence[str], name: str) -> str | None:
    holder = root.descend(PurePosixPath(*directory))
    if holder is None:
        return None
    with holder:
        return holder.read_link(name)
