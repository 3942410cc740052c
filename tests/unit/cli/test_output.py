"""Results replace files whole or not at all."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lithify.cli.output import write_file, write_results
from lithify.cli.pairs import pairs
from lithify.errors import OutputFailed


def test_formats_pair_with_outputs(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    file = tmp_path / "out.json"
    arguments = argparse.Namespace(format=["text", "json"], output=["-", str(file)], color="never")
    assert pairs(arguments) == [("text", "-"), ("json", str(file))]
    write_results(arguments, {"text": lambda color: f"color {color}\n", "json": lambda _: "{}\n"})
    assert capsysbinary.readouterr().out == b"color False\n"
    assert file.read_text() == "{}\n"
    assert os.listdir(tmp_path) == ["out.json"]


def test_a_full_disk_leaves_the_old_file_and_nothing_else() -> None:
    """`/dev/full` answers every write with ENOSPC; a directory on it can't be had, so a tiny tmpfs stands in."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    import ctypes
    import tempfile

    libc = ctypes.CDLL(None, use_errno=True)
    with tempfile.TemporaryDirectory() as directory:
        assert libc.mount(b"tmpfs", directory.encode(), b"tmpfs", 0, b"size=8k") == 0
        try:
            file = Path(directory) / "plan.json"
            file.write_bytes(b"old")
            with pytest.raises(OutputFailed, match="No space left on device"):
                write_file(file, b"x" * 100_000)
            assert file.read_bytes() == b"old"
            assert os.listdir(directory) == ["plan.json"]
        finally:
            libc.umount2(directory.encode(), 2)


def test_a_device_or_pipe_is_a_place_also_in_a_folder_where_no_file_can_be_made() -> None:
    """As `/dev/null` and `/dev/stdout` are for an ordinary user, and `>(upload)`."""
    lines = ["import os", "from lithify.cli.pairs import insist_on_place"]
    lines += ["os.setresgid(65534, 65534, 65534)", "os.setresuid(65534, 65534, 65534)"] if os.geteuid() == 0 else []
    lines += ["insist_on_place(f'/dev/fd/{os.pipe()[1]}')", "insist_on_place('/dev/null')"]
    lines += ["insist_on_place('/dev/lithify-none')"]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False)
    assert "OutputFailed: /dev/lithify-none: Permission denied" in done.stderr


def test_a_place_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputFailed, match="No such file"):
        write_file(tmp_path / "none" / "x", b"")
