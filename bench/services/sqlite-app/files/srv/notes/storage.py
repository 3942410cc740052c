"""Notes in a SQLite database."""

import os
import sqlite3
from pathlib import Path

DATABASE = os.environ.get("DATABASE") or str(Path(__file__).parent / "notes.db")


def connect() -> sqlite3.Connection:
    """Open the database in write-ahead mode."""
    connection = sqlite3.connect(DATABASE, isolation_level=None, timeout=10)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def create() -> None:
    """Make the tables where they are not there yet."""
    with connect() as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS note (name TEXT PRIMARY KEY, body TEXT NOT NULL)")


def put(name: str, body: str) -> None:
    """Keep a note."""
    with connect() as connection:
        connection.execute("INSERT OR REPLACE INTO note VALUES (?, ?)", (name, body))


def get(name: str) -> str | None:
    """Return a note, or None where there is none by that name."""
    with connect() as connection:
        row = connection.execute("SELECT body FROM note WHERE name = ?", (name,)).fetchone()
    return row and row[0]


def tidy() -> int:
    """Rewrite the database without holes and return how many notes it has; SQLite sorts in a temporary file."""
    with connect() as connection:
        connection.execute("PRAGMA cache_size = 20")
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return connection.execute("SELECT count(*) FROM note").fetchone()[0]
