"""A patched chart installed for real: Helm's own upgrade, with the values and the post-renderer that were written."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.cluster.cluster import Cluster
from tests.unit.patch.programs import on_path, present, program
from tests.unit.patch.test_helm import CHARTS, hardened, write

from lithify.engines.helm import Chart
from lithify.patch import helm


@pytest.mark.parametrize("tool", ["helm", "helm3"])
def test_a_patched_chart_is_installed_read_only(
    tool: str, cluster: Cluster, app_image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path(monkeypatch, "helm", "kustomize")
    if not present(tool):
        pytest.skip(f"{tool} is not here")
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    monkeypatch.setenv("HELM_DATA_HOME", str(tmp_path / "data"))
    folder = tmp_path / "tractus"
    shutil.copytree(CHARTS / "tractus", folder)
    image = app_image.rpartition(":")[0]
    (folder / "prod.yaml").write_text(f"image: {{repository: {image}, tag: '1'}}\n")
    chart = Chart(str(folder), values=(str(folder / "prod.yaml"),))
    before = chart.render()
    patched = helm.patch(chart, before, hardened(before))
    write(patched)
    words = list(patched.command[1:])
    words[words.index("RELEASE")] = "shop"
    if tool == "helm":
        at = words.index("--post-renderer") + 1
        _run(program("helm"), "plugin", "install", os.path.dirname(words[at]))
        words[at] = re.findall(r"^name: (.*)", (Path(words[at]).parent / "plugin.yaml").read_text(), re.MULTILINE)[0]
    with cluster.namespace(f"lithify-chart-{tool}") as namespace:
        for _ in range(2):  # an install, then an upgrade
            _run(program(tool), *words, "--namespace", namespace, "--wait", "--timeout", "90s")
        (pod,) = cluster.get("pods", "-n", namespace, "--field-selector=status.phase=Running")["items"]
        assert pod["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
        name = pod["metadata"]["name"]
        cluster.kubectl("exec", "-n", namespace, name, "--", "touch", "/tmp/x")
        assert cluster.kubectl("exec", "-n", namespace, name, "--", "sh", "-c", "touch /usr/x; echo $?").strip() != "0"


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr
