"""Layers of an image, unpacked one over the other into one directory.

A layer is a tar archive from a stranger. Names are walked by descriptor inside the target and never out of it, links
are made and not followed, and what it may cost is bounded. Owners, modes, times, hard links, devices and the extended
attributes that matter come along; whiteouts are applied, not kept.
"""

import contextlib
import errno
import os
import posixpath
import stat
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, Protocol, cast

from lithify.engines.images.rootfs import DIRECTORY, RootFilesystem
from lithify.engines.tree import make_node, remove_entry
from lithify.errors import EngineRefused, InvalidInput
from lithify.model.path import ROOT, printable

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_ENTRIES = 5_000_000
_BYTES = 128 << 30
_CHUNK = 1 << 20
_XATTR = "SCHILY.xattr."


class Readable(Protocol):
    """A stream of bytes that ends."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes, nothing at the end."""


class Unpacker:
    """Unpacks the layers of one image, lowest first, into the empty directory `target`."""

    def __init__(self, target: Path, *, entries: int = _ENTRIES, size: int = _BYTES) -> None:
        self._root = RootFilesystem(target)
        self._entries = entries
        self._size = size
        self._made: set[PurePosixPath] = set()
        self._above: set[PurePosixPath] = set()
        self._times: dict[PurePosixPath, tuple[int, int]] = {}
        self._parent: tuple[str, PurePosixPath, int] | None = None

    def close(self) -> None:
        """Let go of the target."""
        self._leave()
        self._root.close()

    def apply(self, layer: Readable, name: str) -> None:
        """Unpack one layer, a plain tar stream; `name` is for messages.

        InvalidInput for an archive that is broken, climbs out or is beyond all bounds; EngineRefused where the disk
        takes no more.
        """
        self._made.clear()
        self._above.clear()
        try:
            with tarfile.open(
                fileobj=cast(IO[bytes], layer), mode="r|", errors="surrogateescape", bufsize=_CHUNK
            ) as archive:
                while (member := archive.next()) is not None:
                    archive.members.clear()  # type: ignore[attr-defined]  # it would keep every member it has seen
                    self._count(member, name)
                    self._apply(archive, member, name)
        except (tarfile.TarError, zlib.error, EOFError, ValueError, OverflowError) as error:
            raise InvalidInput(f"{printable(name)} is no whole tar archive: {printable(error)}") from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise EngineRefused("the disk is full", hint="free some space, or set LITHIFY_STATE") from error
            raise InvalidInput(f"{printable(name)} can't be unpacked: {printable(error)}") from error
        finally:
            self._leave()
            self._restore_times()

    def _count(self, member: tarfile.TarInfo, name: str) -> None:
        self._entries -= 1
        self._size -= member.size if member.isreg() else 0
        if self._entries < 0 or self._size < 0:
            raise InvalidInput(f"{printable(name)} unpacks to more than any image should hold")

    def _apply(self, archive: tarfile.TarFile, member: tarfile.TarInfo, layer: str) -> None:
        path = _normalised(member.name, layer)
        if path == ROOT:
            if member.isdir():
                self._set_directory(ROOT, member)
            return
        base = path.name
        parent, directory = self._enter(path.parent)
        if base == _OPAQUE:
            self._clear(parent, directory)
        elif base.startswith(_WHITEOUT):
            hidden = base.removeprefix(_WHITEOUT)
            if hidden in ("", ".", ".."):
                raise InvalidInput(f"{printable(layer)} hides {printable(path)}, which is no name")
            if not self._is_new(parent / hidden):
                self._remove(directory, hidden)
        else:
            self._make(archive, member, parent / base, directory, layer)

    def _enter(self, path: PurePosixPath) -> tuple[PurePosixPath, int]:
        """Return where directory `path` really is inside the target, and a descriptor of it; it is made if missing."""
        if self._parent is not None and self._parent[0] == str(path):
            return self._parent[1], self._parent[2]
        self._leave()
        resolved = self._root.resolve(path)
        descriptor = os.open(".", DIRECTORY, dir_fd=self._root.descriptor)
        here = ROOT
        for name in resolved.parts[1:]:
            self._remember_times(here, descriptor)
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o755, dir_fd=descriptor)
            try:
                inner = os.open(name, DIRECTORY, dir_fd=descriptor)
            finally:
                os.close(descriptor)
            descriptor, here = inner, here / name
        self._remember_times(here, descriptor)
        self._parent = (str(path), here, descriptor)
        return here, descriptor

    def _leave(self) -> None:
        if self._parent is not None:
            os.close(self._parent[2])
            self._parent = None

    def _make(
        self, archive: tarfile.TarFile, member: tarfile.TarInfo, path: PurePosixPath, directory: int, layer: str
    ) -> None:
        """Make the entry of `member` in `directory`, over whatever is there."""
        name = path.name
        status = _status(directory, name)
        if member.isdir():
            if status is None or not stat.S_ISDIR(status.st_mode):
                self._remove(directory, name)
                os.mkdir(name, 0o700, dir_fd=directory)
            self._note(path)
            self._set_directory(path, member, directory)
            return
        if status is not None:
            self._remove(directory, name)
        if member.islnk():
            self._link(member, directory, name, layer)
        elif member.isreg():
            self._write(archive, member, directory, name)
        elif member.issym():
            os.symlink(member.linkname, name, dir_fd=directory)
            self._set_attributes(member, directory, name)
        elif member.ischr() or member.isblk() or member.isfifo():
            kind = stat.S_IFCHR if member.ischr() else stat.S_IFBLK if member.isblk() else stat.S_IFIFO
            if not make_node(name, kind | 0o600, os.makedev(member.devmajor, member.devminor), directory):
                return
            self._set_attributes(member, directory, name)
        else:
            return  # a kind that nobody else unpacks either
        self._note(path)

    def _note(self, path: PurePosixPath) -> None:
        """Remember that this layer made `path`, so that its own whiteouts leave it alone."""
        self._made.add(path)
        for parent in path.parents:
            if parent in self._above:
                break
            self._above.add(parent)

    def _write(self, archive: tarfile.TarFile, member: tarfile.TarInfo, directory: int, name: str) -> None:
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory)
        with open(descriptor, "wb", buffering=0) as file:
            source = archive.extractfile(member)
            assert source is not None
            while chunk := source.read(_CHUNK):
                file.write(chunk)
        self._set_attributes(member, directory, name)

    def _link(self, member: tarfile.TarInfo, directory: int, name: str, layer: str) -> None:
        """Make a hard link to what is already unpacked, inside the target only."""
        target = _normalised(member.linkname, layer)
        parent = self._root.resolve(target.parent)
        with self._root.open(parent, os.O_RDONLY | os.O_DIRECTORY) as source:
            os.link(target.name, name, src_dir_fd=source, dst_dir_fd=directory, follow_symlinks=False)

    def _set_directory(self, path: PurePosixPath, member: tarfile.TarInfo, parent: int | None = None) -> None:
        if parent is None:
            self._set_attributes(member, self._root.descriptor, ".")
        else:
            self._set_attributes(member, parent, path.name)
        self._times[path] = _times(member)

    def _set_attributes(self, member: tarfile.TarInfo, directory: int, name: str) -> None:
        """Give an entry its owner, mode, extended attributes and time; a link keeps its own."""
        os.chown(name, member.uid, member.gid, dir_fd=directory, follow_symlinks=False)
        if not member.issym():
            # made by us a moment ago and no link, so there is nothing to follow
            os.chmod(name, stat.S_IMODE(member.mode), dir_fd=directory)
            _set_xattrs(member, directory, name)
        os.utime(name, ns=_times(member), dir_fd=directory, follow_symlinks=False)

    def _clear(self, path: PurePosixPath, directory: int) -> None:
        """Remove from a directory all that lower layers put there; what this layer did stays, in whatever order."""
        with os.scandir(directory) as entries:
            names = [entry.name for entry in entries]
        for name in names:
            if not self._is_new(path / name):
                self._remove(directory, name)
            elif path / name not in self._made:  # there because of what this layer has below it
                inner = os.open(name, DIRECTORY, dir_fd=directory)
                try:
                    self._clear(path / name, inner)
                finally:
                    os.close(inner)

    def _is_new(self, path: PurePosixPath) -> bool:
        """Tell whether this layer made `path` or something below it."""
        return path in self._made or path in self._above

    def _remove(self, directory: int, name: str) -> None:
        remove_entry(directory, name)

    def _remember_times(self, path: PurePosixPath, descriptor: int) -> None:
        """Note the times of a directory before we change what is in it: its own entry may come, or not."""
        if path not in self._times:
            status = os.fstat(descriptor)
            self._times[path] = (status.st_atime_ns, status.st_mtime_ns)

    def _restore_times(self) -> None:
        """Put back the times of every directory touched, the deepest first."""
        for path in sorted(self._times, key=lambda p: -len(p.parts)):
            try:
                with self._root.open(path, os.O_RDONLY | os.O_DIRECTORY) as descriptor:
                    os.utime(descriptor, ns=self._times[path])
            except OSError:
                continue  # removed by a later entry
        self._times.clear()


def _normalised(name: str, layer: str) -> PurePosixPath:
    """Return an archive's name as a path from the root; InvalidInput for one that climbs or is none."""
    if ".." in name.split("/") or "\0" in name:
        raise InvalidInput(f"{printable(layer)} holds {printable(name)}, which leads out of it")
    return PurePosixPath("/" + posixpath.normpath("/" + name).lstrip("/"))


def _status(directory: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _times(member: tarfile.TarInfo) -> tuple[int, int]:
    nanoseconds = max(min(int(member.mtime * 1_000_000_000), 2**63 - 1), 0)
    return nanoseconds, nanoseconds


def _set_xattrs(member: tarfile.TarInfo, directory: int, name: str) -> None:
    """Set the attributes a program can feel: file capabilities, its own, access lists.

    Overlay's are left out above all: a layer must not tell the overlay that we mount where to look.
    """
    for key, value in member.pax_headers.items():
        attribute = key.removeprefix(_XATTR)
        kept = attribute == "security.capability" or attribute.startswith(("user.", "system.posix_acl_"))
        if attribute == key or not kept or attribute.startswith("user.overlay."):
            continue
        descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        try:
            os.setxattr(f"/proc/self/fd/{descriptor}", attribute, value.encode("utf-8", "surrogateescape"))
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EPERM, errno.EINVAL):
                raise
        finally:
            os.close(descriptor)
