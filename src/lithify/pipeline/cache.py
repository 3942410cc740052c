"""Keeps the results of files by their content, so that a second run over unchanged files is little more than reading.

One file per set of options: a header, an index, and the results, which are mapped, not read. It is replaced as a
whole, and whatever is wrong with it only costs time.
"""

import hashlib
import mmap
import os
import struct
import sys
from collections.abc import Callable, Iterator

import lithify

_MAGIC = b"lithify-audit-4\n"
_KEPT = 16
_KEY = 16
_ENTRY = struct.Struct("=16sQI")
_COUNT = struct.Struct("=Q")

Records = Callable[[], Iterator[tuple[bytes, bytes]]]
"""What yields the keys and results of a run, as often as it is called."""


class Cache:
    """Results of earlier runs with the same options."""

    def __init__(self, folder: str, options: str) -> None:
        # Results are marshalled, whose form goes with the interpreter; and any change to the code may change them.
        salt = f"{lithify.__version__}|{sys.version}|{_fingerprint()}|{options}"
        self._salt = hashlib.blake2b(salt.encode(), digest_size=16).digest()
        self._folder = folder
        self._path = os.path.join(folder, f"audit-{self._salt.hex()[:16]}")
        self._data = _map(self._path)
        self._places: dict[bytes, tuple[int, int]] = {}
        self._blobs = len(_MAGIC) + _COUNT.size
        if self._data is not None:
            begin = self._blobs
            self._blobs += _COUNT.unpack_from(self._data, len(_MAGIC))[0] * _ENTRY.size
            index = _ENTRY.iter_unpack(self._data[begin : self._blobs])
            self._places = {key: (offset, length) for key, offset, length in index}

    def key(self, kind: str, data: bytes) -> bytes:
        """Return the key of a file of some kind with this content."""
        return hashlib.blake2b(data, digest_size=_KEY, salt=self._salt, person=kind.encode()[:16]).digest()

    def get(self, key: bytes) -> bytes | None:
        """Return the result that is kept under `key`, or None."""
        place = self._places.get(key)
        if place is None or self._data is None:
            return None
        offset, length = place
        blob = self._data[self._blobs + offset : self._blobs + offset + length]
        return blob if len(blob) == length else None

    @property
    def empty(self) -> bool:
        """True where nothing is kept."""
        return not self._places

    def save(self, records: Records) -> None:
        """Keep the records of a run that have a key; where all of them are kept already, nothing is written."""
        entries: dict[bytes, tuple[int, int]] = {}
        size = 0
        fresh = False
        for key, blob in records():
            if key and key not in entries:
                entries[key] = (size, len(blob))
                size += len(blob)
                fresh = fresh or key not in self._places
        if not fresh:
            return
        try:
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            self._write(entries, records)
            self._forget()
        except OSError:
            return  # no room or no right: the next run reads everything again

    def _write(self, entries: dict[bytes, tuple[int, int]], records: Records) -> None:
        temporary = f"{self._path}.{os.getpid()}"
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with open(descriptor, "wb") as file:
                file.write(_MAGIC + _COUNT.pack(len(entries)))
                for key, place in entries.items():
                    file.write(_ENTRY.pack(key, *place))
                written: set[bytes] = set()
                for key, blob in records():
                    if key and key not in written:
                        written.add(key)
                        file.write(blob)
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


def _map(path: str) -> mmap.mmap | None:
    """Return the file at `path` if it is ours and whole."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        # marshal is not made for data of others: a cache that somebody else could have written is not read.
        if status.st_uid != os.geteuid() or status.st_mode & 0o022 or status.st_size < len(_MAGIC) + _COUNT.size:
            return None
        data = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):
        return None
    finally:
        os.close(descriptor)
    count = _COUNT.unpack_from(data, len(_MAGIC))[0]
    end = len(_MAGIC) + _COUNT.size + count * _ENTRY.size
    return data if data[: len(_MAGIC)] == _MAGIC and end <= len(data) else None


def _fingerprint() -> str:
    """Return what changes with lithify's own code."""
    folder = os.path.dirname(os.path.abspath(lithify.__file__))
    newest = 0
    for name in ("documents", "model", "pipeline", "rules", "sources"):
        with os.scandir(os.path.join(folder, name)) as entries:
            newest = max([newest, *(entry.stat().st_mtime_ns for entry in entries if entry.name.endswith(".py"))])
    return str(newest)
