"""What strace's lines say was done to which path: sizes, failed writes, and names as they come and go."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import ClassVar

from lithify.engines.ids import IdMap
from lithify.model.image import EntryType
from lithify.model.path import is_pseudo
from lithify.model.writes import Change, Source, Write, Writer, WriterStyle
from lithify.observe.entries import SAMPLE
from lithify.observe.image import resolve
from lithify.observe.merge import MAX_WRITERS, UNKNOWN_PROGRAM, merge_writes, strongest
from lithify.observe.processes import read_credentials, read_program

_MAX_PATHS = 50_000
_REFUSED = frozenset(("EROFS", "EACCES", "EPERM"))
_LINE = re.compile(r"(\d+)\s+(\w+)\((.*)\)\s+= (-?\d+|\?)(?:<((?:[^>\\]|\\.)*)>(\(deleted\))?)?(?: (E\w+))?", re.DOTALL)
_RESUMED = re.compile(r"(\d+)\s+<\.\.\. \w+ resumed>(.*)", re.DOTALL)
_UNFINISHED = " <unfinished ...>"
_ARGUMENT = re.compile(
    r'"((?:[^"\\]|\\.)*)"(?:\.\.\.)?'  # a string
    r"|(-?\d+|AT_FDCWD)<((?:[^>\\]|\\.)*)>(\(deleted\))?"  # a descriptor with its path
    r"|(-?\w[^,\s\"<]*)"  # a number, or flags
)
_ESCAPE = re.compile(r"\\([0-7]{1,3}|x[0-9a-f]{2}|.)", re.DOTALL)
_PLAIN = {"n": "\n", "t": "\t", "r": "\r", "v": "\v", "f": "\f"}


@dataclass(slots=True)
class _Path:
    """What was done to one path."""

    changes: set[Change] = field(default_factory=set)
    type: EntryType = EntryType.UNKNOWN
    renamed: bool = False
    peak: int | None = None
    writers: dict[Writer, None] = field(default_factory=dict)
    names: dict[str, None] = field(default_factory=dict)


class TracedCalls:
    """Takes strace's lines and keeps, bounded, what they say was done to which path."""

    def __init__(self, ids: IdMap | None = None) -> None:
        self._ids = ids or IdMap()
        self._paths: dict[str, _Path] = {}
        self._sizes: dict[str, int] = {}
        self._positions: dict[tuple[str, str], int] = {}
        self._below: dict[str, int] = {}
        """Bytes in files that were made in a directory and are still there."""
        self._directories: dict[int, str] = {}
        self._waiting: dict[int, str] = {}
        self._writers: dict[int, Writer] = {}
        self._full = False

    def take(self, line: str) -> None:
        """Take in one line of `strace -f -y -o`; what is none is left out."""
        if line.endswith(_UNFINISHED):
            pid = line.split(None, 1)[0]
            if pid.isdigit() and len(self._waiting) < 100_000:
                self._waiting[int(pid)] = line.removesuffix(_UNFINISHED)
            return
        resumed = _RESUMED.fullmatch(line)
        if resumed:
            line = self._waiting.pop(int(resumed[1]), "") + resumed[2]
        match = _LINE.match(line)
        if match and match[2] in self._HANDLERS and match[4] != "?":
            call = _Call(
                pid=int(match[1]),
                name=match[2],
                arguments=_parse_arguments(match[3]),
                result=int(match[4]),
                opened=None if match[5] is None else _unescape(match[5]),
                unnamed=match[6] is not None,
                error=match[7] or "",
            )
            self._HANDLERS[call.name](self, call)

    # -- what calls do ------------------------------------------------------------------------------------------------

    def _open(self, call: "_Call") -> None:
        flags = "O_WRONLY|O_CREAT|O_TRUNC" if call.name == "creat" else " ".join(call.words)
        if not re.search(r"O_(?:WRONLY|RDWR|CREAT|TRUNC|TMPFILE)\b", flags):
            return
        path = self._path(call, 0)
        if self._refused(call, path):
            return
        if call.result < 0 or call.opened is None:
            return
        path = call.opened
        if call.unnamed:
            self._went(path, call)
            self._sizes[path] = 0
            return
        record = self._note(path, Change.CREATED if "O_EXCL" in flags else Change.OPENED, call, EntryType.FILE)
        if "O_TRUNC" in flags:
            if record is not None:
                record.changes.add(Change.CHANGED)
            self._resize(path, 0)
        at = self._sizes.get(path, 0) if "O_APPEND" in flags else 0
        self._positions[path, str(call.result)] = at

    def _make(self, call: "_Call") -> None:
        kind = {"mkdir": EntryType.DIRECTORY, "symlink": EntryType.SYMLINK}.get(call.name.removesuffix("at"))
        path = self._path(call, -1)
        if not self._refused(call, path) and path and call.result == 0:
            self._note(path, Change.CREATED, call, kind or EntryType.UNKNOWN)

    def _remove(self, call: "_Call") -> None:
        path = self._path(call, 0)
        if not self._refused(call, path) and path and call.result == 0:
            self._went(path, call)

    def _rename(self, call: "_Call") -> None:
        old, new = self._path(call, 0), self._path(call, -1)
        if self._refused(call, new) or not old or not new or call.result:
            return
        size = self._sizes.get(old)
        self._went(old, call)
        record = self._note(new, Change.CREATED, call, EntryType.UNKNOWN)
        if record is not None:
            record.renamed = True
        if size is not None:
            self._resize(new, size)

    def _metadata(self, call: "_Call") -> None:
        # The string of fsetxattr is the attribute's name, no path.
        path = call.descriptors[0][1] if call.name.endswith("xattr") and call.descriptors else self._path(call, 0)
        if not self._refused(call, path) and path and call.result == 0:
            self._note(path, Change.METADATA, call)

    def _truncate(self, call: "_Call") -> None:
        path = self._path(call, 0)
        if self._refused(call, path) or not path or call.result:
            return
        numbers = [int(word) for word in call.words if word.isdigit()]
        if not numbers:
            return
        # fallocate(fd, mode, offset, length); ftruncate(fd, length), truncate(path, length)
        size = sum(numbers[-2:]) if call.name == "fallocate" else numbers[-1]
        self._changed(path, call)
        self._resize(path, max(size, self._sizes.get(path, 0)) if call.name == "fallocate" else size)

    def _written(self, call: "_Call") -> None:
        descriptor = call.descriptor_written()
        if descriptor is None or call.result <= 0:
            return
        number, path, _ = descriptor
        if not path.startswith("/") or is_pseudo(PurePosixPath(path)):
            return
        if call.name.startswith("pwrite"):
            offset = next((int(word) for word in reversed(call.words) if word.isdigit()), 0)
            end = offset + call.result
        else:
            end = self._positions.get((path, number), 0) + call.result
            self._positions[path, number] = end
        self._changed(path, call)
        self._resize(path, max(end, self._sizes.get(path, 0)))

    def _seek(self, call: "_Call") -> None:
        for number, path, _ in call.descriptors[:1]:
            if path in self._sizes and call.result >= 0:
                self._positions[path, number] = call.result

    def _close(self, call: "_Call") -> None:
        for number, path, unnamed in call.descriptors[:1]:
            self._positions.pop((path, number), None)
            if unnamed:
                self._resize(path, 0)
                self._sizes.pop(path, None)

    def _bind(self, call: "_Call") -> None:
        if call.strings and any("AF_UNIX" in word for word in call.words):
            path = self._absolute(call, call.strings[0], None)
            if not self._refused(call, path) and path and call.result == 0:
                self._note(path, Change.CREATED, call, EntryType.SOCKET)

    def _enter(self, call: "_Call") -> None:
        if call.result == 0:
            if call.descriptors:
                self._directories[call.pid] = call.descriptors[0][1]
            elif (path := self._path(call, 0)) is not None:
                self._directories[call.pid] = path

    # -- paths --------------------------------------------------------------------------------------------------------

    def _path(self, call: "_Call", index: int) -> str | None:
        """Return the first (0) or last (-1) path that a call names; None where it can't be known."""
        paths = call.paths()
        if not paths:
            return None
        text, base = paths[index]
        return self._absolute(call, text, base)

    def _absolute(self, call: "_Call", text: str | None, base: str | None) -> str | None:
        for number, path, _ in call.descriptors:
            if number == "AT_FDCWD":
                self._directories[call.pid] = path
        if text is None or text == "":
            return base
        if text.startswith("/"):
            return os.path.normpath(text)
        if base is None:
            base = self._directories.get(call.pid)
        if base is None:
            try:
                base = os.readlink(f"/proc/{call.pid}/cwd")
            except OSError:
                return None
            self._directories[call.pid] = base
        return os.path.normpath(f"{base}/{text}")

    def _refused(self, call: "_Call", path: str | None) -> bool:
        if call.error in _REFUSED and path:
            self._note(path, Change.ATTEMPTED, call)
        return bool(call.error)

    def _note(self, path: str, change: Change, call: "_Call", kind: EntryType = EntryType.UNKNOWN) -> _Path | None:
        if not path.startswith("/") or is_pseudo(PurePosixPath(path)):
            return None
        record = self._paths.get(path)
        if record is None:
            if len(self._paths) >= _MAX_PATHS:
                self._full = True
                return None
            record = self._paths[path] = _Path()
        record.changes.add(change)
        if kind is not EntryType.UNKNOWN:
            record.type = kind
        if len(record.writers) < MAX_WRITERS:
            record.writers[self._writer(call.pid)] = None
        return record

    def _changed(self, path: str, call: "_Call") -> None:
        """Note that a file's content was written, also of one that has no name any more."""
        if path in self._paths:
            self._paths[path].changes.add(Change.CHANGED)
        elif path not in self._sizes:
            self._note(path, Change.CHANGED, call, EntryType.FILE)

    def _went(self, path: str, call: "_Call") -> None:
        """Note that a name is gone: what is left of it is that it was in its directory."""
        record = self._paths.get(path)
        parent, _, name = path.rpartition("/")
        if record is not None and record.changes & {Change.CREATED, Change.OPENED}:
            del self._paths[path]
        above = self._note(parent or "/", Change.CAME_AND_WENT, call, EntryType.DIRECTORY)
        if above is not None and len(above.names) < SAMPLE:
            above.names[name] = None
        if path in self._sizes:
            self._resize(path, 0)
            del self._sizes[path]

    def _resize(self, path: str, size: int) -> None:
        """Keep the size of a file, its greatest, and the greatest sum of its directory."""
        if path not in self._sizes and len(self._sizes) >= _MAX_PATHS:
            return
        parent = path.rpartition("/")[0] or "/"
        self._below[parent] = self._below.get(parent, 0) + size - self._sizes.get(path, 0)
        self._sizes[path] = size
        for each, value in ((self._paths.get(path), size), (self._paths.get(parent), self._below[parent])):
            if each is not None:
                each.peak = max(each.peak or 0, value)

    def _writer(self, pid: int) -> Writer:
        program, credentials = read_program(pid), read_credentials(pid)
        if program is None or credentials is None:
            return self._writers.get(pid, Writer(program=UNKNOWN_PROGRAM))
        writer = Writer(program=program, uid=self._ids.uid(credentials[0]), gid=self._ids.gid(credentials[1]))
        if len(self._writers) > 10_000:
            self._writers.clear()
        self._writers[pid] = writer
        return writer

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the system calls that lines are understood of."""
        return tuple(cls._HANDLERS)

    def writes(self, lowers: Sequence[Path] = ()) -> tuple[Write, ...]:
        """Return what was done, a path once; with the image's layers, links on the way to it are resolved."""
        return merge_writes(self._write(path, record, lowers) for path, record in self._paths.items())

    def _write(self, path: str, record: _Path, lowers: Sequence[Path]) -> Write:
        where = PurePosixPath(path)
        if lowers and where.name:
            where = resolve(lowers, where.parent) / where.name
        in_place = not record.renamed and record.type is not EntryType.DIRECTORY
        style = WriterStyle.RENAME if record.renamed else WriterStyle.IN_PLACE if in_place else WriterStyle.UNKNOWN
        return Write(
            path=where,
            change=strongest(record.changes),
            type=record.type,
            evidence=(Source.TRACE,),
            size=self._sizes.get(path, 0),
            peak=record.peak,
            style=style,
            writers=tuple(record.writers),
            names=tuple(record.names),
        )

    def notes(self) -> tuple[str, ...]:
        """Return, in sentences, what was left out."""
        return (f"more than {_MAX_PATHS} paths were written: not all are named",) if self._full else ()

    _HANDLERS: ClassVar[Mapping[str, Callable[["TracedCalls", "_Call"], None]]] = {
        name: handler
        for names, handler in (
            ("open openat openat2 creat", _open),
            ("mkdir mkdirat mknod mknodat link linkat symlink symlinkat", _make),
            ("rmdir unlink unlinkat", _remove),
            ("rename renameat renameat2", _rename),
            ("chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat utime utimes utimensat", _metadata),
            ("futimesat setxattr lsetxattr fsetxattr removexattr lremovexattr fremovexattr", _metadata),
            ("truncate ftruncate fallocate", _truncate),
            ("write writev pwrite64 pwritev pwritev2 sendfile copy_file_range splice", _written),
            ("lseek", _seek),
            ("close", _close),
            ("bind", _bind),
            ("chdir fchdir", _enter),
        )
        for name in names.split()
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """One system call, its arguments told apart by their look."""

    pid: int
    name: str
    arguments: tuple[tuple[str, ...], ...]
    """As (`string`, text), (`descriptor`, number, path, `deleted` or nothing) or (`word`, text)."""
    result: int
    opened: str | None
    """The path of the descriptor that is the result."""
    unnamed: bool
    """That path has no name any more, or never had."""
    error: str

    @property
    def strings(self) -> list[str]:
        return [argument[1] for argument in self.arguments if argument[0] == "string"]

    @property
    def words(self) -> list[str]:
        return [argument[1] for argument in self.arguments if argument[0] == "word"]

    @property
    def descriptors(self) -> list[tuple[str, str, bool]]:
        return [(a[1], a[2], bool(a[3])) for a in self.arguments if a[0] == "descriptor"]

    def paths(self) -> list[tuple[str | None, str | None]]:
        """Return what paths it names, each as (string, directory it starts from), either of them None."""
        found: list[tuple[str | None, str | None]] = []
        base: str | None = None
        for argument in self.arguments:
            if argument[0] == "descriptor":
                if base is not None:
                    found.append((None, base))
                base = argument[2]
            elif argument[0] == "string":
                found.append((argument[1], base))
                base = None
        if base is not None:
            found.append((None, base))
        return found

    def descriptor_written(self) -> tuple[str, str, bool] | None:
        """Return the descriptor that data goes to."""
        descriptors = self.descriptors
        if self.name in ("copy_file_range", "splice"):
            return descriptors[1] if len(descriptors) > 1 else None
        return descriptors[0] if descriptors else None


def _parse_arguments(text: str) -> tuple[tuple[str, ...], ...]:
    found: list[tuple[str, ...]] = []
    for match in _ARGUMENT.finditer(text):
        string, number, path, deleted, word = match.groups()
        if string is not None:
            found.append(("string", _unescape(string)))
        elif number is not None:
            found.append(("descriptor", number, _unescape(path), deleted or ""))
        else:
            found.append(("word", word))
    return tuple(found)


def _unescape(text: str) -> str:
    """Return a string of strace's with its escapes undone: octal, hexadecimal and C's letters stand for bytes."""
    if "\\" not in text:
        return text

    def byte(match: re.Match[str]) -> str:
        code = match[1]
        if code[0] in "01234567":
            return chr(int(code, 8) & 0xFF)
        return chr(int(code[1:], 16)) if code[0] == "x" else _PLAIN.get(code, code)

    # The line was decoded as a whole: bytes that strace escapes come back one by one and are decoded here.
    return os.fsdecode(_ESCAPE.sub(byte, os.fsencode(text).decode("latin-1")).encode("latin-1"))
