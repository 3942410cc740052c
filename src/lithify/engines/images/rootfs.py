"""A root filesystem directory, looked into without ever leaving it.

Whoever made the image chose every link in it: `/run -> ../../etc` is as likely as `/run -> /var/run`. Paths are
therefore walked component by component by directory descriptor, each opened without following; an absolute link starts
again at the image's own root, and `..` stops there, as it does for a process inside.
"""

import errno
import os
import stat
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType

from lithify.errors import InvalidInput, NothingToExamine
from lithify.model.path import printable

_LINKS = 40
"""As many links as the kernel follows in one lookup."""
_DATABASE_LIMIT = 4 << 20

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
PLACE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Who a process runs as, by the image's own user database."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    home: str = "/"


class RootFilesystem:
    """A directory that is some container's `/`; close it, or use it in a `with` statement."""

    def __init__(self, directory: Path) -> None:
        try:
            self.descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NothingToExamine(f"no directory at {printable(directory)}") from error
        except OSError as error:
            raise InvalidInput(f"can't read {printable(directory)}: {error.strerror}") from error
        self.directory = directory

    def __enter__(self) -> "RootFilesystem":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the directory."""
        os.close(self.descriptor)

    def resolve(self, path: PurePosixPath) -> PurePosixPath:
        """Return `path` with every link on the way to it, and itself, resolved inside this root.

        What does not exist (a dangling link's target as well) stays as written. OSError (ELOOP, ENOTDIR) for a path
        that a process inside could not walk either.
        """
        with self._walk(path) as (found, _, rest):
            return found.joinpath(*rest)

    def status(self, path: PurePosixPath) -> os.stat_result | None:
        """Return what stands at `path`, links resolved inside this root; None where there is nothing."""
        try:
            with self._walk(path) as (_, descriptor, rest):
                return None if rest else os.fstat(descriptor)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                return None
            raise

    @contextmanager
    def open(self, path: PurePosixPath, flags: int = os.O_RDONLY) -> Iterator[int]:
        """Give a descriptor of what stands at `path`, links resolved inside this root; OSError where that fails.

        Nothing but directories and regular files is opened: a FIFO would block, a device would act.
        """
        with self._walk(path) as (_, place, rest):
            if rest:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
            if stat.S_IFMT(os.fstat(place).st_mode) not in (stat.S_IFDIR, stat.S_IFREG):
                raise OSError(errno.EINVAL, "neither a file nor a directory", str(path))
            # the descriptor names the very object that was looked at, whatever stands at its path by now
            descriptor = os.open(f"/proc/self/fd/{place}", flags | os.O_CLOEXEC)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def read(self, path: PurePosixPath, limit: int = _DATABASE_LIMIT) -> bytes | None:
        """Return the first `limit` bytes of the file at `path`; None where there is no readable file."""
        try:
            with self.open(path) as descriptor:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    return None
                with open(descriptor, "rb", closefd=False) as file:
                    return file.read(limit)
        except OSError:
            return None

    def user(self, text: str) -> User:
        """Return who `text` is: `name`, `uid`, `name:group`, `uid:gid`, or nothing for root.

        InvalidInput for a stranger. As in Docker a number need not be in /etc/passwd, and a group that is given
        replaces all others.
        """
        name, _, group = text.partition(":")
        name = name or "0"
        entry = self._passwd(name)
        uid = _number(name)
        if entry is None and uid is None:
            raise InvalidInput(f"no user {printable(name)} in /etc/passwd of {printable(self.directory)}")
        login, home = "", "/"
        gid = 0
        if entry is not None:
            uid, gid, login, home = entry
        assert uid is not None
        if group:
            return User(uid=uid, gid=self._group(group), home=home)
        return User(uid=uid, gid=gid, groups=self._groups_of(login) if login else (), home=home)

    def _passwd(self, name: str) -> tuple[int, int, str, str] | None:
        for fields in self._records("/etc/passwd", 6):
            uid, gid = _number(fields[2]), _number(fields[3])
            if name in (fields[0], fields[2]) and uid is not None and gid is not None:
                return uid, gid, fields[0], fields[5] or "/"
        return None

    def _group(self, name: str) -> int:
        listed = (_number(fields[2]) for fields in self._records("/etc/group", 3) if fields[0] == name)
        gid = next((number for number in listed if number is not None), _number(name))
        if gid is None:
            raise InvalidInput(f"no group {printable(name)} in /etc/group of {printable(self.directory)}")
        return gid

    def _groups_of(self, login: str) -> tuple[int, ...]:
        listed = (_number(f[2]) for f in self._records("/etc/group", 4) if login in f[3].split(","))
        return tuple(sorted({gid for gid in listed if gid is not None}))

    def _records(self, path: str, fields: int) -> Iterator[list[str]]:
        data = self.read(PurePosixPath(path)) or b""
        for line in data.decode("utf-8", "surrogateescape").splitlines():
            record = line.split(":")
            if len(record) >= fields:
                yield record

    @contextmanager
    def _walk(self, path: PurePosixPath) -> Iterator[tuple[PurePosixPath, int, list[str]]]:
        """Walk to `path`: how far it exists, a place descriptor of that, and the names beyond it."""
        todo = deque(part for part in path.parts if part != "/")
        names: list[str] = []
        trail = [os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.descriptor)]
        links = 0
        try:
            while todo:
                part = todo.popleft()
                if part == "..":
                    if names:
                        names.pop()
                        os.close(trail.pop())
                    continue
                try:
                    place = os.open(part, PLACE, dir_fd=trail[-1])
                except FileNotFoundError:
                    yield PurePosixPath("/", *names), trail[-1], _lexical(part, todo)
                    return
                if not stat.S_ISLNK(os.fstat(place).st_mode):
                    names.append(part)
                    trail.append(place)
                    continue
                target = os.readlink("", dir_fd=place)
                os.close(place)
                links += 1
                if links > _LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
                if target.startswith("/"):
                    names.clear()
                    while len(trail) > 1:
                        os.close(trail.pop())
                todo.extendleft(reversed([name for name in target.split("/") if name not in ("", ".")]))
            yield PurePosixPath("/", *names), trail[-1], []
        finally:
            for descriptor in trail:
                os.close(descriptor)


def _number(text: str) -> int | None:
    """Return `text` as a user or group number; None where it is none that the kernel takes."""
    return int(text) if text.isascii() and text.isdecimal() and int(text) < 2**32 - 1 else None


def _lexical(first: str, rest: deque[str]) -> list[str]:
    """Return names that do not exist yet, without `..`: nothing is there that it could climb out of."""
    kept = [first]
    for name in rest:
        if name == "..":
            kept = kept[:-1]
        else:
            kept.append(name)
    return kept
