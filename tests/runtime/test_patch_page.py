"""docs/commands/patch.md: its commands, as they stand there."""

import os
import re
import shlex
from pathlib import Path

import pytest
from tests.runtime.hardening import Lithify
from tests.unit.patch.programs import on_path

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the bundle engine needs root")

DOCS = Path(__file__).parents[2] / "docs"
DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web   # the front
        image: web:1.4
        command: [nginx, -g, daemon off;]
"""


def test_the_page_from_its_first_command_to_its_last(
    lithify: Lithify, nginx_rootfs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path(monkeypatch, "helm", "kustomize")
    monkeypatch.chdir(tmp_path)
    text = (DOCS / "commands" / "patch.md").read_text()
    lines = [
        line
        for block in re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        for line in block.splitlines()
    ]
    words = [shlex.split(line) for line in lines]
    assert all(line[0] == "lithify" for line in words)
    harden, show, write, revert, chart, into, overlay = [line[1:] for line in words]
    _lay_out(tmp_path, nginx_rootfs)

    done = lithify.run(*harden, timeout=300)
    assert done.code == 0, done.out + done.err
    seen = lithify.run(*show)
    assert seen.code == 0, seen.err
    assert "+          readOnlyRootFilesystem: true" in seen.out
    deployment = tmp_path / "deploy.yaml"
    assert deployment.read_text() == DEPLOYMENT
    assert lithify.run(*write).code == 0
    assert "readOnlyRootFilesystem: true" in deployment.read_text()
    assert "- name: web   # the front" in deployment.read_text()
    assert lithify.run(*revert).code == 0
    assert deployment.read_text() == DEPLOYMENT

    assert lithify.run(*chart).code == 0
    assert (tmp_path / "chart" / "lithify-shop" / "values.yaml").exists()
    before = (tmp_path / "prod.yaml").read_bytes()
    seen = lithify.run(*into)
    assert seen.code == 0, seen.err
    assert "+securityContext: {runAsGroup: 0, readOnlyRootFilesystem: true}   # kept" in seen.out
    assert (tmp_path / "prod.yaml").read_bytes() == before

    seen = lithify.run(*overlay)
    assert seen.code == 0, seen.err
    assert "lithify-deployment-web.yaml" in seen.out


def _lay_out(folder: Path, rootfs: Path) -> None:
    """Put there what the page takes for granted; the chart and its values are those of the page on charts."""
    (folder / "web").symlink_to(rootfs)
    (folder / "works").write_text(
        '#!/bin/sh\nexec curl --fail --silent --output /dev/null "http://$LITHIFY_ADDRESS/"\n'
    )
    (folder / "works").chmod(0o755)
    (folder / "deploy.yaml").write_text(DEPLOYMENT)
    page = (DOCS / "how-to" / "helm.md").read_text()
    for name, text in re.findall(r"^`([^`\n]+)`\n\n```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        path = folder / name
        if not path.exists() and "lithify" not in name:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    base, prod = folder / "base", folder / "overlays" / "prod"
    for where, what in ((base, "resources: [deploy.yaml]\n"), (prod, "resources: [../../base]\nnamePrefix: ''\n")):
        where.mkdir(parents=True)
        (where / "kustomization.yaml").write_text(what)
    (base / "deploy.yaml").write_text(DEPLOYMENT)
