"""docs/how-to/kubernetes.md does what it says: its file is hardened by its own commands."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from tests.runtime.hardening import Daemon, Lithify

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the bundle engine needs root")

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "kubernetes.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def commands() -> tuple[list[str], list[list[str]]]:
    """Return the command of the page that needs an engine which has the image, and all others."""
    (plain, *others) = [shlex.split(line) for block in blocks("sh") for line in block.splitlines()]
    assert all(line[0] == "lithify" for line in (plain, *others))
    return plain[1:], [line[1:] for line in others]


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
    look, beside, write, again, revert = commands()[1]

    # What it takes, its config map in a file beside it
    pages, _, rest = manifest.partition("---\n")
    file.write_text(rest)
    assert lithify.run(*look).code == 2
    (tmp_path / "settings" / "pages.yaml").write_text(pages)
    seen = lithify.run(*beside)
    assert seen.code == 0, seen.out + seen.err
    for line in shown.splitlines():
        assert line in seen.out.splitlines(), line
    assert file.read_text() == rest
    file.write_text(manifest)

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


def test_an_engine_that_has_the_image_is_enough(
    lithify: Lithify, own_docker: Daemon, nginx_rootfs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (manifest,) = blocks("yaml")
    (tmp_path / "deploy.yaml").write_text(manifest)
    with subprocess.Popen(["tar", "-C", nginx_rootfs, "-c", "."], stdout=subprocess.PIPE) as archive:
        own_docker.ask_with(archive.stdout, "import", "-", "nginx:1.22")
    lithify.environment = {"DOCKER_HOST": own_docker.host}
    lithify.enter = own_docker.enter
    try:
        done = lithify.run(*commands()[0], timeout=200)
        assert done.code == 0, done.out + done.err
        assert "+          readOnlyRootFilesystem: true" in done.out
    finally:
        own_docker.ask("rmi", "nginx:1.22")
