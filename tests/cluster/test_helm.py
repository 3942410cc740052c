"""A patched chart installed for real: Helm's own upgrade, with the values and the post-renderer that were written."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.cluster.cluster import Cluster
from tests.cluster.manifests import STAY, pod, shell, text
from tests.cluster.test_harden import harden, proved
from tests.runtime.hardening import Lithify
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


CHART = {
    "Chart.yaml": "apiVersion: v2\nname: shop\nversion: 1.0.0\n",
    "values.yaml": "image: ''  # ours\nsecurity: {readOnlyRootFilesystem: false}\n",
    "templates/web.yaml": """
apiVersion: apps/v1
kind: Deployment
metadata: {name: "{{ .Release.Name }}-web", namespace: "{{ .Release.Namespace }}"}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: "{{ .Values.image }}"
        imagePullPolicy: Never
        command: [sh, -ec, "mkdir -p /var/cache/web; trap 'exit 0' TERM; sleep 1000 & wait"]
        securityContext: {{ toYaml .Values.security | nindent 10 }}
""",
    "templates/test.yaml": """
apiVersion: v1
kind: Pod
metadata: {name: "{{ .Release.Name }}-test", annotations: {helm.sh/hook: test}}
spec:
  restartPolicy: Never
  containers: [{name: test, image: "none:1", imagePullPolicy: Never}]
""",
}


def test_a_chart_is_proved_on_the_cluster(
    cluster: Cluster, lithify: Lithify, app_image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Helm renders it and says what it comes to with the files that are written; hooks that no install runs don't."""
    on_path(monkeypatch, "helm", "kustomize")
    folder = tmp_path / "chart"
    for name, content in CHART.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    (tmp_path / "prod.yaml").write_text(f"image: {app_image}\n")
    words = ("--values", tmp_path / "prod.yaml", "--write", "--format", "json")
    result = proved(harden(lithify, cluster, folder, *words))
    assert result["engine"].startswith("helm template, cluster ")
    (member,) = result["members"]
    assert [mount["path"] for mount in member["hardening"]["plan"]["mounts"]] == ["/var/cache/web"]
    told = " ".join(member["hardening"]["verdict"]["cannot_show"])
    assert "Pod/release-test was left out of the copy: a test hook" in told
    assert "readOnlyRootFilesystem: true" in (folder / "lithify-shop" / "values.yaml").read_text()


def test_a_kustomization_is_proved_on_the_cluster(
    cluster: Cluster, lithify: Lithify, app_image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path(monkeypatch, "kustomize")
    folder = tmp_path / "overlay"
    folder.mkdir()
    script = f"mkdir -p /var/cache/web; {STAY}"
    (folder / "pod.yaml").write_text(text(pod("web", shell(script, app_image))))
    (folder / "kustomization.yaml").write_text("resources: [pod.yaml]   # ours\nnamePrefix: shop-\n")
    result = proved(harden(lithify, cluster, folder, "--write", "--format", "json"))
    assert result["engine"].startswith("kustomize build, cluster ")
    assert "# ours" in (folder / "kustomization.yaml").read_text()
    built = subprocess.run(["kustomize", "build", folder], capture_output=True, check=True, timeout=60).stdout
    assert b"name: shop-web" in built
    assert b"readOnlyRootFilesystem: true" in built


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr
