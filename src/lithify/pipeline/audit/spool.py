"""Keeps results as bytes, in the order in which they come: in memory while they are few, else in a file without a name.

An input may have several parts, each written as soon as it is there, so that neither a large file nor a large corpus is
ever held as a whole.
"""

import marshal
import os
import struct
from array import array
from collections.abc import Iterator

_FLUSH = 1 << 20
_WINDOW = 64 << 10
_LENGTH = struct.Struct("=I")
_FOOT = struct.Struct("=QQ")
KEY = 16
"""Bytes of a key."""


class Parts:
    """A file of parts, each with its length before it, that is read from the front in large pieces."""

    def __init__(self, descriptor: int = -1) -> None:
        self.descriptor = descriptor
        self._window = b""
        self._begin = 0

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)  # the report reads it as often as it is iterated: its end is ours

    def read(self, offset: int, size: int) -> bytes:
        """Return the bytes there; fewer where the file is cut short."""
        start = offset - self._begin
        if start < 0 or start + size > len(self._window):
            self._window = self._read(offset, max(size, _WINDOW))
            self._begin, start = offset, 0
        found = self._window[start : start + size]
        if size > _WINDOW:
            self._window = b""
        return found

    def parts(self, offset: int, size: int) -> Iterator[bytes]:
        """Yield the parts between two places."""
        end = offset + size
        while offset < end:
            (length,) = _LENGTH.unpack(self.read(offset, _LENGTH.size))
            yield self.read(offset + _LENGTH.size, length)
            offset += _LENGTH.size + length

    def _read(self, offset: int, size: int) -> bytes:
        return os.pread(self.descriptor, size, offset)


class Spool(Parts):
    """Results of inputs, each with its key, or the places where another file has them."""

    def __init__(self, elsewhere: Parts | None = None) -> None:
        super().__init__()
        self._elsewhere = elsewhere
        self.notes: list[bytes] = []
        """What inputs say of others: to be known before any result is told."""
        self._index = array("q")
        """For each input: its number, where its parts begin (less than nothing: elsewhere), their bytes, where its key
        is (less than nothing: it has none)."""
        self._pending: list[bytes] = []
        self._length = 0
        self._flushed = 0
        self._start = 0
        self._referred: tuple[int, int] | None = None

    def keep(self, part: bytes) -> None:
        """Keep one more part of the input that is being worked on."""
        self._add(_LENGTH.pack(len(part)))
        self._add(part)

    def refer(self, offset: int, size: int) -> None:
        """Say that the other file has the parts of the input that is being worked on."""
        self._referred = offset, size

    def end(self, number: int, key: bytes) -> None:
        """Say that the input `number` is done; a result without a key may not be kept for another run."""
        begin, size = self._start, self._flushed + self._length - self._start
        if self._referred is not None:
            begin, size = ~self._referred[0], self._referred[1]
            self._referred = None
        self._index.extend((number, begin, size, self._flushed + self._length if key else -1))
        if key:
            self._add(key)
        self._start = self._flushed + self._length

    def copy(self, other: "Spool") -> None:
        """Keep the results of another, which may refer to the same file elsewhere."""
        for which in range(len(other)):
            source, begin, size = other.stretch(which)
            if source is other:
                for part in source.parts(begin, size):
                    self.keep(part)
            else:
                self.refer(begin, size)
            self.end(other.number(which), other.key(which))
        self.notes += other.notes

    def __len__(self) -> int:
        return len(self._index) // 4

    def number(self, which: int) -> int:
        """Return the number of the input that came as the one `which`."""
        return self._index[4 * which]

    def key(self, which: int) -> bytes:
        """Return the key of a result; nothing where it may not be kept for another run."""
        place = self._index[4 * which + 3]
        return self.read(place, KEY) if place >= 0 else b""

    def is_fresh(self, which: int) -> bool:
        """Tell whether a result may be kept for another run and is not yet."""
        return self._index[4 * which + 3] >= 0 and self._index[4 * which + 1] >= 0

    def stretch(self, which: int) -> tuple[Parts, int, int]:
        """Return the file that has the parts of a result, where they begin and how many bytes they are."""
        begin, size = self._index[4 * which + 1 : 4 * which + 3]
        if begin >= 0:
            return self, begin, size
        assert self._elsewhere is not None
        return self._elsewhere, ~begin, size

    def open(self) -> None:
        """Have a file from now on: what another process writes is found there."""
        if self.descriptor < 0:
            self.descriptor = _unnamed()

    def finish(self) -> None:
        """Write everything, the notes, the index and their lengths at the end: for the parent to find."""
        notes, index = marshal.dumps(self.notes), self._index.tobytes()
        self._pending += (notes, index, _FOOT.pack(len(notes), len(index)))
        self._flush()

    def take_index(self) -> bool:
        """Read the index that a child has left; False where it left none."""
        size = os.fstat(self.descriptor).st_size
        if size < _FOOT.size:
            return False
        noted, length = _FOOT.unpack(os.pread(self.descriptor, _FOOT.size, size - _FOOT.size))
        begin = size - _FOOT.size - length
        self.notes = marshal.loads(os.pread(self.descriptor, noted, begin - noted))  # noqa: S302 - our own child's
        self._index = array("q")
        self._index.frombytes(os.pread(self.descriptor, length, begin))
        self._flushed = size
        return True

    def _add(self, data: bytes) -> None:
        self._pending.append(data)
        self._length += len(data)
        if self._length > _FLUSH:
            self._flush()

    def _flush(self) -> None:
        self.open()
        view = memoryview(b"".join(self._pending))
        self._pending.clear()
        self._flushed += self._length
        self._length = 0
        try:
            while view:
                view = view[os.write(self.descriptor, view) :]
        except OSError as error:
            from lithify.report.base import no_room

            raise no_room(_folder(), error) from error

    def _read(self, offset: int, size: int) -> bytes:
        if self._pending and self.descriptor >= 0:
            self._flush()
        if self.descriptor >= 0:
            return os.pread(self.descriptor, size, offset)
        self._pending = [b"".join(self._pending)]
        return self._pending[0][offset : offset + size]


def _folder() -> str:
    return os.environ.get("TMPDIR") or "/tmp"  # noqa: S108


def _unnamed() -> int:
    try:
        return os.open(_folder(), os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
    except OSError:  # not every file system has them
        import tempfile

        descriptor, path = tempfile.mkstemp(prefix="lithify-")
        os.unlink(path)
        return descriptor
