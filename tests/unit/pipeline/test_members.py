"""Which containers of a file are hardened: a name that it has not is a wrong argument, whatever the file is."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lithify.engines.command_line.docker import DockerEngine
from lithify.engines.compose.engine import ComposeFile, ComposeProgram
from lithify.engines.compose.project import Project
from lithify.errors import InvalidInput, UsageError
from lithify.pipeline.files.patch import patch_file
from lithify.pipeline.groups.compose import ComposeGroup
from lithify.pipeline.groups.lines import open_script
from lithify.pipeline.groups.openers import open_group
from lithify.pipeline.groups.options import GroupOptions
from lithify.sources.files import read_named

OPTIONS = GroupOptions(only=("nope",))


def compose(tmp_path: Path) -> object:
    model = {"name": "shop", "services": {"web": {"image": "x"}, "db": {"image": "y"}}}
    group = ComposeGroup(
        file=ComposeFile(path=tmp_path / "compose.yaml", text=b""),
        program=ComposeProgram(words=("docker", "compose"), engine="docker"),
        base=DockerEngine(),
        project=Project.of(json.dumps(model).encode(), ("web", "db")),
        options=OPTIONS,
    )
    return group.members


def script(tmp_path: Path) -> object:
    text = b"docker run --name db redis\ndocker run --name web nginx\n"
    return open_script(str(tmp_path / "run.sh"), text, OPTIONS)


@pytest.mark.parametrize("members", [compose, script], ids=lambda each: str(each.__name__))
def test_a_service_that_is_not_there_is_a_wrong_argument(members: Callable[[Path], object], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--service, --container: .* has no nope") as caught:
        members(tmp_path)
    assert caught.value.hint.startswith("it has db, ")
    assert "web" in caught.value.hint


def test_the_manifest_that_a_unit_plays_is_named(tmp_path: Path) -> None:
    """`podman kube play` runs it; the unit itself has no container."""
    unit = tmp_path / "shop.kube"
    unit.write_text("[Kube]\nYaml=./pods/shop.yaml\n")
    with pytest.raises(UsageError, match="plays a manifest") as caught:
        open_group(str(unit), GroupOptions())
    assert str(caught.value.hint) == f"name that: {tmp_path}/pods/shop.yaml"
    with pytest.raises(InvalidInput) as refused:
        patch_file(str(unit), unit.read_bytes(), [])
    assert str(refused.value.hint).endswith("/pods/shop.yaml")
    (skipped,) = read_named(str(unit), unit.read_bytes()).skipped
    assert "/pods/shop.yaml" in skipped.reason
