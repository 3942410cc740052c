"""What tells a run directory that is left behind from one that is in use."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lithify.engines.bundle.state import (
    RunDirectory,
    abandoned,
    discard,
    is_alive,
    read_record,
    start_time,
    write_record,
)
from lithify.errors import EngineRefused


def test_a_run_directory_is_ours_while_we_live(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    with abandoned(tmp_path) as found:
        assert found == []
    run.container("c").mkdir()
    run.release()
    assert run.path.exists(), "a container is left in it"
    with abandoned(tmp_path) as found:
        assert found == [run.path]
        with abandoned(tmp_path) as again:
            assert again == [], "two sweeps do not meet"
        discard(run.path)
    assert not run.path.exists()


def test_an_empty_run_directory_goes_with_its_owner(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.release()
    assert os.listdir(tmp_path / "runs") == []


def test_no_state_directory_has_nothing_left_behind(tmp_path: Path) -> None:
    with abandoned(tmp_path / "none") as found:
        assert found == []
    assert not (tmp_path / "none").exists()


def test_a_state_directory_that_can_not_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EngineRefused) as caught:
        RunDirectory(tmp_path / "file" / "state")
    assert "LITHIFY_STATE" in caught.value.hint


def test_records_are_whole_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    assert read_record(path) == {}
    write_record(path, {"name": "bytes-\udcff", "number": 1})
    assert read_record(path) == {"name": "bytes-\udcff", "number": 1}
    for broken in (b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000):
        path.write_bytes(broken)
        assert read_record(path) == {}


def test_a_process_is_known_by_its_start() -> None:
    record = {"pid": os.getpid(), "start": start_time(os.getpid())}
    assert is_alive(record)
    assert not is_alive({**record, "start": 1})
    assert not is_alive({})
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert start_time(child.pid) is None, "a zombie runs no more"
    assert start_time(child.pid) is None
