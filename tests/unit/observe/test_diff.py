"""An engine's own list of changes."""

from pathlib import PurePosixPath as P

from lithify.model.image import EntryType
from lithify.model.writes import Change, Source
from lithify.observe.diff import writes_of_diff


def test_parents_are_left_out_and_new_trees_folded() -> None:
    """As Docker lists them: every changed parent, every added entry."""
    entries = [
        ("C", P("/var")),
        ("C", P("/var/lib")),
        ("A", P("/var/lib/app")),
        ("A", P("/var/lib/app/sub")),
        ("A", P("/var/lib/app/sub/file")),
        ("C", P("/etc")),
        ("C", P("/etc/conf")),
        ("D", P("/etc/gone")),
        ("A", P("/etc/new")),
        ("C", P("/tmp")),
        ("C", P("/dev")),
        ("A", P("/dev/console")),
    ]
    writes, notes = writes_of_diff(entries)
    found = {str(write.path): write for write in writes}
    assert {path: write.change for path, write in found.items()} == {
        "/etc/conf": Change.CHANGED,
        "/etc/gone": Change.DELETED,
        "/etc/new": Change.CREATED,
        "/tmp": Change.CHANGED,
        "/var/lib/app": Change.CREATED,
    }
    top = found["/var/lib/app"]
    assert (top.type, top.entries, top.names) == (EntryType.DIRECTORY, 3, ("sub", "sub/file"))
    assert all(write.evidence == (Source.DIFF,) for write in writes)
    assert "leaves out" in notes[0]


def test_nothing_changed() -> None:
    """No change, no write; what a diff can't see is said all the same."""
    writes, notes = writes_of_diff([])
    assert writes == ()
    assert len(notes) == 1
