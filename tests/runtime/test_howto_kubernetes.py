"""docs/how-to/kubernetes.md does what it says: its file is hardened by its own commands."""

import os
import re
import shlex
from pathlib import Path

import pytest
from tests.runtime.hardening import Lithify

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the bundle engine needs root")

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "kubernetes.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def commands() -> list[list[str]]:
    """Return every command of the page that needs no engine which would have to have the image."""
    lines = [shlex.split(line) for block in blocks("sh") for line in block.splitlines()]
    assert all(line[0] == "lithify" for line in lines)
    return [line[1:] for line in lines if "--image" in line or "--revert" in line]


def test_the_page_from_its_file_to_its_last_command(
    lithify: Lithify, nginx_rootfs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (manifest,) = blocks("yaml")
    file = tmp_path / "deploy.yaml"
    file.write_text(manifest)
    (tmp_path / "nginx").symlink_to(nginx_rootfs)
    (tmp_path / "settings").mkdir()
    (shown,) = blocks("diff")
    look, beside, write, again, revert = commands()

    seen = lithify.run(*look)
    assert seen.code == 0, seen.out + seen.err
    for line in shown.splitlines():
        assert line in seen.out.splitlines(), line
    assert file.read_text() == manifest
    assert "--with" in beside

    assert "--write" in write
    assert lithify.run(*write).code == 0
    patched = file.read_text()
    assert patched != manifest
    assert "- name: nginx            # the shop's front" in patched

    assert again == look
    found = lithify.run(*again)
    assert (found.code, "nothing has to change" in found.out) == (0, True)
    assert file.read_text() == patched

    assert "--revert" in revert
    assert lithify.run(*revert).code == 0
    assert file.read_text() == manifest
