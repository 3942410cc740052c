"""`lithify explain` from outside: what it reads, what it prints, and its exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import lithify
from lithify.model.log import Explanation
from lithify.report.wire import parse

SOURCE = str(Path(lithify.__file__).parent.parent)
LOG = (
    b"2024/01/02 17:05:31 [notice] 1#1: start\n"
    b'2024/01/02 17:05:32 [emerg] 1#1: mkdir() "/var/cache/web/client_temp" failed (30: Read-only file system)\n'
    b"tee: /srv/caf\xe9\x1b[2J: Read-only file system\n"
    b"2024-01-02 03:04:05,678 CRIT could not write pidfile /run/app.pid\n"
)


def call(*words: str, data: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run `lithify explain` with `data` on its standard input."""
    return subprocess.run(
        [sys.executable, "-m", "lithify.cli.main", "explain", *words],
        input=data,
        capture_output=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": SOURCE, **environment},
        check=False,
    )


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "app.log"
    path.write_bytes(LOG)
    return path


def test_a_file_is_explained(log: Path) -> None:
    done = call(str(log))
    text = done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b"")
    assert "3 reports of a failed write in 4 lines" in text
    assert "/var/cache/web/client_temp" in text
    assert "nginx could not make the directory" in text
    assert "Remedy:" in text
    assert text.index("client_temp") < text.index("Hints") < text.index("/run/app.pid")


@pytest.mark.parametrize("words", [(), ("-",)])
def test_standard_input_is_explained(words: tuple[str, ...]) -> None:
    done = call(*words, data=LOG)
    assert done.returncode == 0
    assert b"/var/cache/web/client_temp" in done.stdout


def test_nothing_of_the_log_reaches_the_terminal_raw(log: Path) -> None:
    """Control characters and bytes that are not UTF-8 come out escaped; every line fits the terminal."""
    done = call(str(log), COLUMNS="80")
    lines = done.stdout.decode().splitlines()
    assert all(line.isprintable() for line in lines)
    assert max(map(len, lines)) <= 80


def test_json_has_its_schema_and_is_whole(log: Path) -> None:
    done = call(str(log), "--format", "json")
    document = json.loads(done.stdout)
    assert document["schema"] == "lithify.dev/explanation/v1"
    assert document["causes"][0]["place"] == "/var/cache/web/client_temp"
    assert parse(done.stdout, Explanation, source="test").lines == 4


def test_a_log_that_says_nothing_is_told_by_the_exit_code(tmp_path: Path) -> None:
    done = call(data=b"all is well\n")
    assert (done.returncode, done.stdout) == (3, b"1 line: none of them reports a failed write\n")
    assert call(data=b"").returncode == 3
    assert json.loads(call("--format", "json").stdout)["causes"] == []


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("/no/such.log",), 3, b"no file /no/such.log"),
        (("/tmp",), 2, b"Is a directory"),
        (("-", "--mountinfo", "/no/such"), 2, b"/proc/1/mountinfo"),
        (("-", "--engine", "bundle"), 2, b"--engine"),
    ],
)
def test_what_can_not_be_read_is_one_clear_error(words: tuple[str, ...], code: int, told: bytes) -> None:
    done = call(*words, data=LOG)
    assert (done.returncode, done.stdout) == (code, b"")
    assert done.stderr.startswith(b"error: ")
    assert told in done.stderr
    assert b"hint: " in done.stderr


def test_the_mount_table_and_working_directory_are_used(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text("1 0 0:50 / / ro - overlay overlay ro\n2 1 8:1 /c /srv/conf ro - ext4 /dev/sda1 rw\n")
    data = b"open conf/x: read-only file system\nopen /var/x: read-only file system\n"
    done = call("--mountinfo", str(table), "--workdir", "/srv", "--format", "json", data=data)
    events = [cause["first"] for cause in json.loads(done.stdout)["causes"]]
    assert [(event["path"], event["ground"]) for event in events] == [
        ("/srv/conf/x", "read-only-mount"),
        ("/var/x", "root"),
    ]
