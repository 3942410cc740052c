"""The files of a patched folder: all of them or none, and all of them back."""

import os
from pathlib import Path
from threading import Thread

import pytest

from lithify.errors import FileChanged, NothingToRevert, OutputFailed
from lithify.model.patch import PatchedFile
from lithify.pipeline.files.write import kept_folder, read_original, replace_file
from lithify.pipeline.files.write_folder import revert, write_files


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "chart"
    made.mkdir()
    (made / "values.yaml").write_bytes(b"a: 1\r\n")
    (made / "other.yaml").write_bytes(b"\xff")
    return made


def files(folder: Path) -> list[PatchedFile]:
    return [
        PatchedFile(path=str(folder / "values.yaml"), before=b"a: 1\r\n", after=b"a: 2\r\n"),
        PatchedFile(path=str(folder / "ours" / "post-render"), before=None, after=b"#!/bin/sh\n", executable=True),
        PatchedFile(path=str(folder / "ours" / "plugin.yaml"), before=None, after=b"x\n"),
        PatchedFile(path=str(folder / "other.yaml"), before=b"\xff", after=b"\xff"),
    ]


def test_everything_is_written_and_taken_back(folder: Path, tmp_path: Path) -> None:
    before = contents(folder)
    assert write_files(str(folder), files(folder), tmp_path / "state")
    assert contents(folder) == {
        "values.yaml": b"a: 2\r\n",
        "other.yaml": b"\xff",
        "ours/post-render": b"#!/bin/sh\n",
        "ours/plugin.yaml": b"x\n",
    }
    assert os.access(folder / "ours" / "post-render", os.X_OK)
    assert not os.access(folder / "ours" / "plugin.yaml", os.X_OK) or os.geteuid() == 0
    revert(str(folder), tmp_path / "state")
    assert contents(folder) == before
    assert not (folder / "ours").exists()
    with pytest.raises(NothingToRevert):
        revert(str(folder), tmp_path / "state")


@pytest.mark.parametrize("named", [".", "../chart", "../chart/", "ours/.."])
def test_a_folder_is_known_under_any_name(
    folder: Path, tmp_path: Path, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(folder)
    assert write_files(str(folder), files(folder), tmp_path / "state")
    monkeypatch.chdir(folder)
    revert(named, tmp_path / "state")
    assert contents(folder) == before


def test_nothing_is_written_where_nothing_changes(folder: Path, tmp_path: Path) -> None:
    assert not write_files(str(folder), files(folder)[3:], tmp_path / "state")
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("name", ["values.yaml", "ours/plugin.yaml"])
def test_a_file_of_somebody_else_stops_everything(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / "ours").mkdir()
    (folder / name).write_bytes(b"theirs")
    before = contents(folder)
    with pytest.raises(FileChanged):
        write_files(str(folder), files(folder), tmp_path / "state")
    assert contents(folder) == before


def test_what_was_changed_since_is_not_taken_back(folder: Path, tmp_path: Path) -> None:
    write_files(str(folder), files(folder), tmp_path / "state")
    (folder / "ours" / "plugin.yaml").write_bytes(b"theirs")
    before = contents(folder)
    with pytest.raises(NothingToRevert, match=r"plugin\.yaml"):
        revert(str(folder), tmp_path / "state")
    assert contents(folder) == before


def test_a_file_that_cannot_be_written_takes_the_others_back(folder: Path, tmp_path: Path) -> None:
    os.link(folder / "values.yaml", folder / "second-name.yaml")
    before = contents(folder)
    with pytest.raises(OutputFailed):
        write_files(str(folder), files(folder), tmp_path / "state")
    assert contents(folder) == before
    assert not (folder / "ours").exists()


def test_a_state_directory_that_cannot_be_written_leaves_all_as_it_was(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    before = contents(folder)
    with pytest.raises(OutputFailed):
        write_files(str(folder), files(folder), tmp_path / "state")
    assert contents(folder) == before


def two(tmp_path: Path) -> list[PatchedFile]:
    """Return a patch of two files that are there, named by the first."""
    found = []
    for name in ("compose.yaml", "db.yaml"):
        (tmp_path / name).write_bytes(b"a: 1\n")
        found.append(PatchedFile(path=str(tmp_path / name), before=b"a: 1\n", after=b"a: 2\n"))
    return found


def test_one_file_that_can_not_be_replaced_leaves_all(tmp_path: Path) -> None:
    """All wait beside what they replace before the first takes its place."""
    wanted = two(tmp_path)
    os.link(tmp_path / "db.yaml", tmp_path / "second name")
    before = contents(tmp_path)
    inode = (tmp_path / "compose.yaml").stat().st_ino
    with pytest.raises(OutputFailed, match="2 names"):
        write_files(wanted[0].path, wanted, tmp_path / "state")
    assert {name: text for name, text in contents(tmp_path).items() if not name.startswith("state")} == before
    assert (tmp_path / "compose.yaml").stat().st_ino == inode
    with pytest.raises(NothingToRevert):
        revert(wanted[0].path, tmp_path / "state")


def test_what_changes_after_the_check_is_not_overwritten(tmp_path: Path) -> None:
    """Somebody writes a file between the moment it was compared and the one in which it would be replaced."""
    wanted, state = two(tmp_path), tmp_path / "state"
    note = kept_folder(Path(wanted[0].path), state) / ".files.json"
    note.parent.mkdir(parents=True)
    os.mkfifo(note)  # it is read after the check: who reads it waits for who writes it

    def write() -> None:
        with note.open("w") as opened:
            (tmp_path / "db.yaml").write_bytes(b"a: 9\n")
            opened.write("[]")

    somebody = Thread(target=write, daemon=True)
    somebody.start()
    with pytest.raises(FileChanged, match=r"db\.yaml"):
        write_files(wanted[0].path, wanted, state)
    assert [Path(file.path).read_bytes() for file in wanted] == [b"a: 1\n", b"a: 9\n"]
    with pytest.raises(NothingToRevert):
        revert(wanted[0].path, state)


def test_the_way_out_of_a_change_by_somebody_else_leads_out(tmp_path: Path) -> None:
    """The hint names what stood in the file that was changed, not in the one that was named."""
    wanted, state = two(tmp_path), tmp_path / "state"
    write_files(wanted[0].path, wanted, state)
    (tmp_path / "db.yaml").write_bytes(b"a: 2  # mine\n")
    with pytest.raises(NothingToRevert, match=r"db\.yaml is not what") as raised:
        revert(wanted[0].path, state)
    named = Path(str(raised.value.hint).partition("before: ")[2].partition(";")[0])
    assert named.read_bytes() == b"a: 1\n"
    (tmp_path / "db.yaml").write_bytes(named.read_bytes())
    assert revert(wanted[0].path, state) == [wanted[0].path]
    assert Path(wanted[0].path).read_bytes() == b"a: 1\n"


def test_a_file_that_the_patch_made_and_somebody_changed_is_to_be_moved_away(folder: Path, tmp_path: Path) -> None:
    write_files(str(folder), files(folder), tmp_path / "state")
    changed = folder / "ours" / "plugin.yaml"
    changed.write_bytes(b"theirs")
    with pytest.raises(NothingToRevert) as raised:
        revert(str(folder), tmp_path / "state")
    assert "move it away" in str(raised.value.hint)
    changed.rename(tmp_path / "away")
    revert(str(folder), tmp_path / "state")
    assert (folder / "values.yaml").read_bytes() == next(
        f.before for f in files(folder) if f.path.endswith("values.yaml")
    )


def test_nothing_is_left_of_what_was_taken_back(tmp_path: Path) -> None:
    wanted, state = two(tmp_path), tmp_path / "state"
    write_files(wanted[0].path, wanted, state)
    revert(wanted[0].path, state)
    assert list((state / "patched").iterdir()) == []


def test_what_was_killed_half_way_is_taken_back(tmp_path: Path) -> None:
    """Between two renames there is always a moment: what is noted before it tells the rest."""
    wanted = two(tmp_path)
    write_files(wanted[0].path, wanted, tmp_path / "state")
    (tmp_path / "db.yaml").write_bytes(b"a: 1\n")  # as it would still be
    assert revert(wanted[0].path, tmp_path / "state") == [wanted[0].path]
    assert {(tmp_path / name).read_bytes() for name in ("compose.yaml", "db.yaml")} == {b"a: 1\n"}


def test_patches_are_taken_back_one_by_one_the_last_first(tmp_path: Path) -> None:
    wanted = two(tmp_path)
    state = tmp_path / "state"
    write_files(wanted[0].path, wanted, state)
    again = [PatchedFile(path=file.path, before=b"a: 2\n", after=b"a: 3\n") for file in wanted]
    write_files(wanted[0].path, again[1:], state)  # only another file than the one that is named
    write_files(wanted[0].path, [again[0]], state)
    read = [(Path(file.path).read_bytes()) for file in wanted]
    assert read == [b"a: 3\n", b"a: 3\n"]
    for expected in ([b"a: 2\n", b"a: 3\n"], [b"a: 2\n", b"a: 2\n"], [b"a: 1\n", b"a: 1\n"]):
        revert(wanted[0].path, state)
        assert [Path(file.path).read_bytes() for file in wanted] == expected


def test_what_a_patch_left_as_it_was_may_change_since(tmp_path: Path) -> None:
    """The file that was named is none that the patch changed: it is not looked at, and not touched."""
    wanted, state = two(tmp_path), tmp_path / "state"
    named = tmp_path / "compose.yaml"
    write_files(str(named), wanted[1:], state)
    named.write_bytes(b"a: 1  # mine\n")
    assert replace_file(read_original(named), b"a: 5\n", state)  # alone, and later: that goes first
    assert revert(str(named), state) == [str(named)]
    assert [Path(file.path).read_bytes() for file in wanted] == [b"a: 1  # mine\n", b"a: 2\n"]
    assert revert(str(named), state) == [wanted[1].path]
    assert [Path(file.path).read_bytes() for file in wanted] == [b"a: 1  # mine\n", b"a: 1\n"]
    with pytest.raises(NothingToRevert, match="no patch of"):
        revert(str(named), state)


def test_it_may_be_gone_since(tmp_path: Path) -> None:
    wanted, state = two(tmp_path), tmp_path / "state"
    write_files(wanted[0].path, wanted[1:], state)
    (tmp_path / "compose.yaml").unlink()
    assert revert(wanted[0].path, state) == [wanted[1].path]


def test_the_one_that_is_named_may_be_back(tmp_path: Path) -> None:
    wanted, state = two(tmp_path), tmp_path / "state"
    write_files(wanted[0].path, wanted, state)
    (tmp_path / "compose.yaml").write_bytes(b"a: 1\n")  # as `git checkout` does
    assert revert(wanted[0].path, state) == [wanted[1].path]
