"""Keeps the results of files by their content, so that a second run over unchanged files is little more than reading.

One file per set of options: the results in the order of their inputs, and an index behind them. A run over the same
files finds each where the last one ended, so that neither index nor results are looked through. The file is replaced as
a whole, and whatever is wrong with it only costs time.
"""

import hashlib
import os
import struct
import sys
from array import array
from bisect import bisect_left

import lithify
from lithify.pipeline.audit.spool import KEY, Parts
from lithify.pipeline.audit.spread import Results

_MAGIC = b"lithify-audit-6\n"
_KEPT = 16
_ENTRY = struct.Struct("=16sQQ")
_FOOT = struct.Struct("=Q16s")
_PIECE = 1 << 20


class Cache:
    """Results of earlier runs with the same options; `by_path` says that they hold for the path that they were of."""

    def __init__(self, folder: str, options: str, *, by_path: bool = False) -> None:
        # Results are marshalled, whose form goes with the interpreter; and any change to the code may change them.
        salt = f"{lithify.__version__}|{sys.version}|{_fingerprint()}|{by_path}|{options}"
        self._salt = hashlib.blake2b(salt.encode(), digest_size=16).digest()
        self._by_path = by_path
        self._folder = folder
        self._path = os.path.join(folder, f"audit-{self._salt.hex()[:16]}")
        self._entries = b""
        self._sorted = array("I")
        self._next = 0
        self.results = self._open()
        """The file with the results."""

    def key(self, path: str, kind: str, data: bytes) -> bytes:
        """Return the key of a file with this content, and a name of some kind."""
        found = hashlib.blake2b(data, digest_size=KEY, salt=self._salt, person=kind.encode()[:16])
        if self._by_path:
            found.update(b"\0" + path.encode("utf-8", "surrogateescape"))
        return found.digest()

    def find(self, key: bytes) -> tuple[int, int] | None:
        """Return where the parts of the result that `key` is of begin, and how many bytes they are, or None."""
        entry = self._next
        if self._key(entry) != key:
            place = bisect_left(self._sorted, key, key=self._key)
            if place == len(self._sorted) or self._key(self._sorted[place]) != key:
                return None
            entry = self._sorted[place]
        self._next = max(self._next, entry + 1)  # an earlier one is of a file that there is twice, or that has moved
        _, begin, size = _ENTRY.unpack_from(self._entries, entry * _ENTRY.size)
        return begin, size

    def save(self, results: Results) -> None:
        """Keep the results of a run that have a key; where all of them are kept already, nothing is written."""
        if not results.fresh:
            return
        try:
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            self._write(results)
            self._forget()
        except OSError:
            return  # no room or no right: the next run reads everything again

    def _key(self, entry: int) -> bytes:
        return self._entries[entry * _ENTRY.size : entry * _ENTRY.size + KEY]

    def _write(self, results: Results) -> None:
        temporary = f"{self._path}.{os.getpid()}"
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with open(descriptor, "wb") as file:
                entries = bytearray()
                end = 0
                for key, source, begin, size in results.stretches():
                    if key:
                        entries += _ENTRY.pack(key, end, size)
                        end += size
                        for start in range(begin, begin + size, _PIECE):
                            file.write(source.read(start, min(_PIECE, begin + size - start)))
                self._entries = bytes(entries)
                file.write(entries)
                file.write(array("I", sorted(range(len(entries) // _ENTRY.size), key=self._key)))
                file.write(_FOOT.pack(len(entries) // _ENTRY.size, _MAGIC))
                file.flush()
                os.fsync(file.fileno())  # a power cut must not leave a file of zeros under the final name
            os.replace(temporary, self._path)
        except BaseException:
            if os.path.lexists(temporary):
                os.unlink(temporary)
            raise

    def _forget(self) -> None:
        """Remove all but the newest caches: each set of paths and options has its own."""
        with os.scandir(self._folder) as listed:
            ours = [entry for entry in listed if entry.name.startswith("audit-")]
        for entry in sorted(ours, key=lambda entry: entry.stat().st_mtime_ns)[:-_KEPT]:
            os.unlink(entry.path)

    def _open(self) -> Parts | None:
        """Return the file of the last run, and take its index, if it is ours and whole."""
        try:
            parts = Parts(os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC))
            status = os.fstat(parts.descriptor)
            # marshal is not made for data of others: a cache that somebody else could have written is not read.
            if status.st_uid != os.geteuid() or status.st_mode & 0o022 or status.st_size < _FOOT.size:
                return None
            count, magic = _FOOT.unpack(os.pread(parts.descriptor, _FOOT.size, status.st_size - _FOOT.size))
            index = count * (_ENTRY.size + self._sorted.itemsize)
            begin = status.st_size - _FOOT.size - index
            if magic != _MAGIC or begin < 0:
                return None
            read = os.pread(parts.descriptor, index, begin)
        except OSError:
            return None
        self._entries = read[: count * _ENTRY.size]
        self._sorted.frombytes(read[count * _ENTRY.size :])
        return parts


def _fingerprint() -> str:
    """Return what changes with lithify's own code."""
    folder = os.path.dirname(os.path.abspath(lithify.__file__))
    newest = 0
    for name in ("documents", "model", "pipeline", "report", "rules", "sources"):
        with os.scandir(os.path.join(folder, name)) as entries:
            newest = max([newest, *(entry.stat().st_mtime_ns for entry in entries if entry.name.endswith(".py"))])
    return str(newest)
