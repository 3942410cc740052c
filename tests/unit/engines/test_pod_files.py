"""A pod's volumes as a kubelet fills them: links that can be swapped, group rights, and parts that stay inside."""

import os
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lithify.engines.pause import pause_program
from lithify.engines.pods.files import fill_files, give_group, part_of
from lithify.errors import EngineRefused
from lithify.model.pod import VolumeFile


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_files_are_links_by_way_of_one_that_can_be_swapped(tmp_path: Path) -> None:
    fill_files(
        tmp_path,
        {"a.conf": VolumeFile(content=b"\xff"), "deep/er/key": VolumeFile(content=b"k", mode=0o400)},
    )
    assert (tmp_path / "a.conf").read_bytes() == b"\xff"
    assert os.readlink(tmp_path / "a.conf") == "..data/a.conf"
    assert os.readlink(tmp_path / "deep") == "..data/deep"
    assert mode(tmp_path / "deep/er/key") == 0o400
    assert sorted(name for name in os.listdir(tmp_path) if not name.startswith("..")) == ["a.conf", "deep"]


@pytest.mark.parametrize("names", [("a", "a/b"), ("../x",), ("/x",)])
def test_files_that_can_not_be(tmp_path: Path, names: tuple[str, ...]) -> None:
    (tmp_path / "v").mkdir()
    with pytest.raises(EngineRefused):
        fill_files(tmp_path / "v", {name: VolumeFile(content=b"x") for name in names})
    assert os.listdir(tmp_path) == ["v"]


def test_a_volume_without_files_is_empty_to_its_reader(tmp_path: Path) -> None:
    fill_files(tmp_path, {})
    assert [name for name in os.listdir(tmp_path) if not name.startswith("..")] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another group")
@pytest.mark.parametrize(("read_only", "file", "directory"), [(False, 0o664, 0o2775), (True, 0o644, 0o2755)])
def test_a_group_gets_its_rights(tmp_path: Path, read_only: bool, file: int, directory: int) -> None:
    (tmp_path / "d").mkdir(mode=0o755)
    (tmp_path / "d/f").write_text("x")
    (tmp_path / "d/f").chmod(0o644)
    (tmp_path / "out").symlink_to("/etc/passwd")
    tmp_path.chmod(0o755)
    before = os.stat("/etc/passwd")
    give_group(tmp_path, 2000, read_only=read_only)
    assert {path.stat().st_gid for path in (tmp_path, tmp_path / "d", tmp_path / "d/f")} == {2000}
    assert [mode(path) for path in (tmp_path, tmp_path / "d", tmp_path / "d/f")] == [directory, directory, file]
    assert os.stat("/etc/passwd") == before, "a link is not followed"


@pytest.mark.parametrize("part", ["out", "out/passwd", "../../etc", "d/../out", "loop"])
def test_a_part_is_always_inside_its_volume(tmp_path: Path, part: str) -> None:
    volume = tmp_path / "volume"
    (volume / "d").mkdir(parents=True)
    (volume / "out").symlink_to("/etc")
    (volume / "loop").symlink_to("loop")
    try:
        found = part_of(volume, part, make=True)
    except EngineRefused:
        assert part == "loop"
        return
    assert found.resolve().is_relative_to(volume)
    assert found.is_dir()


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "..", ".", "up", "root"]), min_size=1, max_size=6))
def test_no_way_leads_out(tmp_path: Path, names: list[str]) -> None:
    volume = tmp_path / "volume"
    volume.mkdir(exist_ok=True)
    for link, target in (("up", "../../.."), ("root", "/")):
        if not (volume / link).is_symlink():
            (volume / link).symlink_to(target)
    assert part_of(volume, "/".join(names), make=True).resolve().is_relative_to(volume)


def test_a_missing_part_is_made_only_where_that_is_asked_for(tmp_path: Path) -> None:
    tmp_path.chmod(0o2770)
    assert mode(part_of(tmp_path, "new/er", make=True)) == 0o2770
    with pytest.raises(EngineRefused, match="no part gone"):
        part_of(tmp_path, "gone", make=False)


def test_the_pause_program_waits(tmp_path: Path) -> None:
    program = tmp_path / "pause"
    program.write_bytes(pause_program())
    program.chmod(0o755)
    with subprocess.Popen([program]) as running:
        with pytest.raises(subprocess.TimeoutExpired):
            running.wait(0.3)
        running.terminate()
        assert running.wait(5) == -15


def test_a_pause_program_for_each_machine() -> None:
    for machine, number in (("x86_64", 62), ("aarch64", 183)):
        program = pause_program(machine)
        assert program[:4] == b"\x7fELF"
        assert int.from_bytes(program[18:20], "little") == number
    with pytest.raises(EngineRefused, match="no pods on vax"):
        pause_program("vax")
