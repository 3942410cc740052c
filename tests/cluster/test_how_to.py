"""docs/how-to/cluster.md does what it says: its file, by its own commands."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cluster.cluster import Cluster, left_behind

import lithify

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how-to" / "cluster.md").read_text()


@pytest.mark.timeout(1200)  # four proofs one after the other
def test_every_command_of_the_page_does_what_it_says(
    cluster: Cluster, nginx_rootfs: Path, example_image: str, tmp_path: Path
) -> None:
    """The file is changed, runs in its namespace with a root that refuses writes, and needs nothing more then."""
    cluster.import_root("docker.io/library/nginx:1.22", nginx_rootfs)
    assert example_image in PAGE
    (content,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    file = tmp_path / "deploy.yaml"
    file.write_text(content)
    programs = tmp_path / "bin"
    programs.mkdir()
    command = programs / "lithify"
    # with the image it runs as on a machine that is no node: without the processes of one
    python = f"{sys.executable} -m lithify.cli.main"
    desk = f'exec unshare --pid --fork --mount-proc {python} "$@"'
    command.write_text(
        f'#!/bin/sh\ncase "$LITHIFY_NODE_IMAGE $*" in *{example_image}*) {desk};; esac\nexec {python} "$@"\n'
    )
    command.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{programs}:{cluster.programs}:{os.environ['PATH']}",
        "KUBECONFIG": str(cluster.kubeconfig),
        "KUBECACHEDIR": str(tmp_path / "cache"),
        "PYTHONPATH": str(Path(lithify.__file__).parent.parent),
        "LITHIFY_STATE": str(tmp_path / "state"),
    }
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    outputs = []
    try:
        for commands in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL):
            done = subprocess.run(
                ["sh", "-euc", commands], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
            )
            assert done.returncode == 0, done.stdout + done.stderr
            outputs.append(done.stdout)
        assert "readOnlyRootFilesystem: true" in file.read_text()
        assert "# the shop's front" in file.read_text()
        refused = cluster.kubectl(
            "exec", "-n", "shop", "deployment/web", "-c", "nginx", "--", "touch", "/x", check=False
        )
        assert refused == ""
        assert "=== deployment/web (cluster" in outputs[1]
        assert "PROVED" in outputs[1]
        assert "+++ " not in outputs[1]
        assert "=== deploy.yaml (cluster" in outputs[2]
        assert "PROVED" in outputs[2]
        assert "=== deploy.yaml (cluster in-cluster): PROVED" in outputs[4]
        assert "/var/lib/nginx" in json.loads((tmp_path / "web.json").read_text())["mounted"]
    finally:
        cluster.kubectl("delete", "namespace", "shop", "lithify", "--ignore-not-found", timeout=90)
        cluster.kubectl("delete", "clusterrolebinding", "lithify", "--ignore-not-found")
    assert left_behind(cluster) == []
