"""What a file is, told from its first bytes."""

import os
import re
import stat

_HEAD = 4096
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x7fELF", "elf"),
    (b"#!", "script"),
    (b"\x1f\x8b", "gzip"),
    (b"PK\x03\x04", "zip"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"\xca\xfe\xba\xbe", "java-class"),
    (b"REDIS", "redis"),
    (b"-----BEGIN OPENSSH PRIVATE KEY", "private-key"),
    (b"-----BEGIN CERTIFICATE", "certificate"),
    (b"\x89PNG\r\n", "image"),
    (b"\xff\xd8\xff", "image"),
    (b"GIF8", "image"),
    (b"%PDF-", "pdf"),
)
_DATABASES: tuple[tuple[int, bytes], ...] = (
    (16, b"\xde\xc0\xef\xbe"),  # LMDB: MDB_MAGIC behind the first page's header (lmdb's mdb.c)
    (12, b"\x62\x31\x05\0"),  # Berkeley DB: btree, hash and queue by file(1)'s `database`
    (12, b"\x61\x15\x06\0"),
    (12, b"\x53\x22\x04\0"),
    *((0, bytes((last, 0x9A, 0x57, 0x13))) for last in range(0xCD, 0xD2)),  # GNU dbm: all of its formats (gdbmconst.h)
    (0, b"\1\2\3\4\6\7\x08\x09"),  # Erlang's disk_log, open and closed (disk_log.hrl): Mnesia's LATEST.LOG is one
    (0, b"\1\2\3\4\x63\x58\x4d\x0b"),
)
"""Where the magic numbers of embedded databases stand, as a little-endian machine writes them."""
_PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----")
_SQLITE = b"SQLite format 3\0"
_PYTHON_CODE = re.compile(rb"..\r\n[\0-\3]\0\0\0", re.DOTALL)

TELLING = (
    "sqlite-wal", "sqlite", "beam", "database", "redis", "private-key", "elf", "python-bytecode", "java-class",
    "script", "socket",
)  # fmt: skip
"""Kinds that decide what a place is for, the most telling first. Compilers of Erlang's keep such a log beside code."""


def more_telling(one: str | None, other: str | None) -> str | None:
    """Return that of two kinds which says more of what a place is for."""
    return min(one, other, key=_rank)


def _rank(kind: str | None) -> int:
    if kind in TELLING:
        return TELLING.index(kind)
    order = {None: 4, "empty": 3, "data": 2, "text": 1}
    return len(TELLING) + order.get(kind, 0)


def read_kind(directory: int, name: str) -> str | None:
    """Return what the regular file `name` of a directory descriptor holds; None where it can't be read.

    Kinds are `elf`, `script`, `sqlite`, `sqlite-wal`, `database`, `private-key`, `number`, `text`, `data`, `empty`
    and a few formats more. Links are not followed, and nothing but a regular file is read.
    """
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        return kind_of(os.pread(descriptor, _HEAD, 0))
    except OSError:
        return None
    finally:
        os.close(descriptor)


def same_content(one: int, other: int, name: str, limit: int) -> bool:
    """Tell whether the regular files `name` of two directories hold the same bytes, at most `limit` of them."""
    first, second = (_read_whole(directory, name, limit) for directory in (one, other))
    return first is not None and first == second


def _read_whole(directory: int, name: str, limit: int) -> bytes | None:
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return None
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        try:
            data = file.read(limit + 1)
        except OSError:
            return None
    return data if len(data) <= limit else None


def kind_of(head: bytes) -> str:
    """Return what the first bytes of a file tell of it."""
    if not head:
        return "empty"
    if head.startswith(_SQLITE):
        # Bytes 18 and 19 are 2 in WAL mode, where the database needs -wal and -shm beside it (sqlite.org/fileformat).
        return "sqlite-wal" if head[18:20] == b"\2\2" else "sqlite"
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head.startswith(b"FOR1") and head.startswith(b"BEAM", 8):
        return "beam"
    if any(head.startswith(magic, at) for at, magic in _DATABASES):
        return "database"
    if _PRIVATE_KEY.search(head):
        return "private-key"
    if _PYTHON_CODE.match(head):
        return "python-bytecode"
    if re.fullmatch(rb"\s*\d{1,10}\s*", head):
        return "number"
    return "text" if _is_text(head) else "data"


def _is_text(head: bytes) -> bool:
    if b"\0" in head:
        return False
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        # A character cut by the end of what was read is no fault of the text.
        return len(head) == _HEAD and error.start >= _HEAD - 3
    return True
