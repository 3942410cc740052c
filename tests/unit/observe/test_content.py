"""First bytes, as real programs write them."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from lithify.observe.content import kind_of, more_telling, read_kind


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"", "empty"),
        (b"\x7fELF\2\1\1", "elf"),
        (b"#!/bin/sh\n", "script"),
        (b"REDIS0010", "redis"),
        (b"-----BEGIN RSA PRIVATE KEY-----\n", "private-key"),
        (b"# key\n-----BEGIN OPENSSH PRIVATE KEY-----\n", "private-key"),
        (b"-----BEGIN CERTIFICATE-----\n", "certificate"),
        (b"4711\n", "number"),
        ("grüße\n".encode(), "text"),
        (b"x" * 4095 + "ü".encode()[:1], "text"),
        (b"\0" * 16 + b"\xde\xc0\xef\xbe" + b"\1\0\0\0", "database"),
        (b"\1\2\3\4\6\7\x08\x09", "database"),
        (b"FOR1\0\0\x0b\xd8BEAMAtU8", "beam"),
        (b"\xcd\x9a\x57\x13", "database"),
        (b"\xd1\x9a\x57\x13", "database"),
        (b"\0\1\2\3", "data"),
        (b"\xff\xfe", "data"),
    ],
)
def test_kinds(head: bytes, kind: str) -> None:
    """Magic numbers, keys, text cut within a character."""
    assert kind_of(head) == kind


@pytest.mark.parametrize("library", ["DB_File", "GDBM_File"])
def test_embedded_databases(tmp_path: Path, library: str) -> None:
    """Hash files as Berkeley DB and GNU dbm make them, by way of Perl, which brings both."""
    made = f"use {library}; use Fcntl; tie %h, '{library}', $ARGV[0], {{}}, 0644 or die $!; $h{{marker}} = 'kept';"
    program = made.replace("{}", "O_RDWR|O_CREAT" if library == "DB_File" else "GDBM_WRCREAT")
    subprocess.run(["perl", "-e", program, tmp_path / "kept"], check=True)
    assert kind_of((tmp_path / "kept").read_bytes()[:4096]) == "database"


@pytest.mark.parametrize(("mode", "kind"), [("delete", "sqlite"), ("wal", "sqlite-wal")])
def test_sqlite_journal_mode(tmp_path: Path, mode: str, kind: str) -> None:
    """A database in WAL mode needs names of its own beside it; its header says so."""
    connection = sqlite3.connect(tmp_path / "app.db")
    connection.execute(f"pragma journal_mode={mode}")
    connection.execute("create table t (x)")
    connection.commit()
    connection.close()
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        assert read_kind(directory, "app.db") == kind
    finally:
        os.close(directory)


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    """A pipe would block, a link would lead elsewhere."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(sys.executable)
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        assert [read_kind(directory, name) for name in ("pipe", "link", "none")] == [None, None, None]
    finally:
        os.close(directory)


def test_the_more_telling_kind_wins() -> None:
    """A database among texts decides what a place is for."""
    assert more_telling("text", "sqlite") == "sqlite"
    assert more_telling("sqlite-wal", "elf") == "sqlite-wal"
    assert more_telling(None, "data") == "data"
    assert more_telling("empty", "text") == "text"
    assert more_telling(None, None) is None
