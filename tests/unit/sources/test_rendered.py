"""Charts and kustomizations are rendered by their own tools; without these they are listed as skipped."""

import os
import shutil
from pathlib import Path

import pytest
from tests.runtime.conftest import cache_directory

from lithify.model.finding import Report
from lithify.pipeline.audit import audit

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  template:
    spec:
      containers:
      - name: web
        image: web
"""
TEMPLATE = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}-web
spec:
  template:
    spec:
      containers:
        - name: web
          image: "web:{{ .Values.tag }}"
          securityContext:
            readOnlyRootFilesystem: {{ .Values.readOnly }}
"""
HOOK = """\
apiVersion: v1
kind: Pod
metadata:
  name: probe
  annotations: {"helm.sh/hook": test}
spec:
  containers: [{name: probe, image: x}]
"""


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    """A chart with a template that takes a value, and a test pod."""
    folder = tmp_path / "chart"
    (folder / "templates" / "tests").mkdir(parents=True)
    (folder / "Chart.yaml").write_text("apiVersion: v2\nname: shop\nversion: 1.0.0\n")
    (folder / "values.yaml").write_text("tag: 1\nreadOnly: false\n")
    (folder / "templates" / "web.yaml").write_text(TEMPLATE)
    (folder / "templates" / "tests" / "probe.yaml").write_text(HOOK)
    return folder


def flags(report: Report) -> dict[str, bool | None]:
    """Return the flag of each container."""
    return {container.name: container.declared for container in report.containers()}


@pytest.fixture
def helm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Helm on the path: the machine's, or the one that `.ci/cluster-programs` has built."""
    if shutil.which("helm") is None:
        built = sorted(cache_directory().glob("cluster/*/bin/helm"))
        if not built:
            pytest.skip("helm is not installed")
        monkeypatch.setenv("PATH", f"{built[-1].parent}:{os.environ['PATH']}")


@pytest.mark.usefixtures("helm")
def test_a_chart_is_rendered_with_its_values(chart: Path, tmp_path: Path) -> None:
    """Hooks and test pods are judged too; places are those of the templates."""
    report = audit([str(tmp_path)])
    assert flags(report) == {"web": False, "probe": None}
    places = {
        f.container.name: f.location for f in report.findings() if f.container and f.rule.startswith("writable-r")
    }
    assert places["web"].path == str(chart / "templates" / "web.yaml")
    assert (places["web"].line, places["web"].column) == (12, 13)
    assert places["probe"].path == str(chart / "templates" / "tests" / "probe.yaml")
    (tmp_path / "hard.txt").write_text("readOnly: true\n")
    assert flags(audit([str(chart)], values=[str(tmp_path / "hard.txt")]))["web"] is True


@pytest.mark.usefixtures("helm")
def test_a_chart_that_fails_is_a_finding(chart: Path) -> None:
    """With Helm's own words."""
    (chart / "templates" / "web.yaml").write_text('{{ fail "no tag" }}')
    (finding,) = audit([str(chart)]).findings()
    assert finding.rule == "unreadable-input"
    assert "no tag" in finding.message


def test_without_the_tools_they_are_skipped(chart: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chart's templates are not taken for manifests."""
    overlay = kustomization(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    for folder, words in ((chart, "helm is not installed"), (overlay, "neither kustomize nor kubectl")):
        report = audit([str(folder)])
        assert [words in skipped.reason for skipped in report.skipped()] == [True]
        assert not list(report.findings())


def kustomization(folder: Path) -> Path:
    """Make a base and an overlay that hardens it."""
    for name in ("base", "overlay"):
        (folder / name).mkdir()
    (folder / "base" / "kustomization.yaml").write_text("resources: [web.yaml]\n")
    (folder / "base" / "web.yaml").write_text(DEPLOYMENT)
    (folder / "overlay" / "kustomization.yaml").write_text(
        "resources: [../base]\nnamePrefix: prod-\npatches:\n- path: hard.yaml\n"
    )
    (folder / "overlay" / "hard.yaml").write_text(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {template: {spec: {containers:\n"
        "  [{name: web, securityContext: {readOnlyRootFilesystem: true}}]}}}\n"
    )
    return folder / "overlay"


@pytest.mark.skipif(
    shutil.which("kustomize") is None and shutil.which("kubectl") is None,
    reason="neither kustomize nor kubectl is there",
)
def test_a_kustomization_is_built_where_it_is_named(tmp_path: Path) -> None:
    """Named, it is judged as it is built; below a folder, its resources are judged, and its patches left out."""
    overlay = kustomization(tmp_path)
    report = audit([str(overlay)])
    assert flags(report) == {"web": True}
    assert [container.object.name for container in report.containers()] == ["prod-web"]
    below = audit([str(tmp_path)])
    assert flags(below) == {"web": None}
    assert ["a patch of the kustomization" in skipped.reason for skipped in below.skipped()] == [True]
