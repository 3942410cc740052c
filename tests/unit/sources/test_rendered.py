"""Charts and kustomizations are rendered by their own tools; without these they are listed as skipped."""

import os
import shutil
from pathlib import Path

import pytest
from tests.runtime.conftest import cache_directory

from lithify.engines.kustomize import reason_of
from lithify.model.finding import Report
from lithify.pipeline.audit.files import audit
from lithify.sources import kustomize

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


ALIKE = """\
{{- range $name := list "one" "two" }}
---
# of {{ $name }}
apiVersion: v1
kind: Pod
metadata: {name: {{ $name }}}
spec:
  initContainers:
    {{- include "setup" $ | nindent 4 }}
  {{- with $.Values.none }}
  nodeSelector: {a: b}
  {{- end }}
  containers:
    - name: {{ $name }}
      image: x
      securityContext:
        runAsUser: 1
    - name: proxy
      image: "x:{{ $.Values.tag }}"
      securityContext:
        runAsUser: 1
      volumeMounts:
        - {name: v, mountPath: /v}
  volumes:
    - {name: v, emptyDir: {}}
{{- end }}
"""


@pytest.mark.usefixtures("helm")
def test_places_are_those_of_the_very_lines(chart: Path) -> None:
    """Containers that look alike, those of a loop, and one of an `include`, which stands where it is included."""
    (chart / "templates" / "_setup.tpl").write_text('{{ define "setup" }}\n- name: setup\n  image: y\n{{ end }}')
    (chart / "templates" / "web.yaml").write_text(ALIKE)
    report = audit([str(chart)])
    seen = {(c.object.name, c.name): (c.location.line, c.location.column) for c in report.containers()}
    for pod in ("one", "two"):
        assert (seen[pod, "setup"], seen[pod, pod], seen[pod, "proxy"]) == ((9, 5), (14, 7), (18, 7))
    lines = {f.location.line for f in report.findings() if f.container and f.container.name == "proxy"}
    assert lines == {18, 20, 23}
    assert {f.location.line for f in report.findings() if f.rule == "unbounded-scratch"} == {25}


@pytest.mark.usefixtures("helm")
def test_a_loop_of_many_lines_keeps_the_places_before_it(chart: Path) -> None:
    """Each line of a long list is like all the others: not every pair of them is compared."""
    many = "            - {name: x, value: y}\n" * 1500
    (chart / "templates" / "web.yaml").write_text(
        TEMPLATE + f"          env:\n{many}{{{{ range until 2000 }}}}\n{many[:34]}{{{{ end }}}}\n"
    )
    lines = {c.name: c.location.line for c in audit([str(chart)]).containers()}
    assert lines["web"] == 9


@pytest.mark.usefixtures("helm")
def test_a_chart_that_fails_is_a_finding(chart: Path) -> None:
    """With Helm's own words."""
    (chart / "templates" / "web.yaml").write_text('{{ fail "no tag" }}')
    (finding,) = audit([str(chart)]).findings()
    assert finding.rule == "unreadable-input"
    assert "no tag" in finding.message
    assert "--values FILE" in finding.message
    (chart / "Chart.yaml").write_text("apiVersion: v9\nname: shop\nversion: 1.0.0\n")
    (finding,) = audit([str(chart)]).findings()
    assert finding.message.startswith("can't be read: helm template failed: ")
    assert "--values" not in finding.message, "no value mends that"


@pytest.mark.usefixtures("helm")
def test_what_a_chart_asks_for_is_told(chart: Path, tmp_path: Path) -> None:
    """All of it, and how to give it."""
    (chart / "values.schema.json").write_text('{"type": "object", "required": ["owner"]}')
    (finding,) = audit([str(chart)]).findings()
    assert "owner" in finding.message
    assert "--values FILE" in finding.message
    (tmp_path / "own.txt").write_text("owner: web\n")
    assert flags(audit([str(chart)], values=[str(tmp_path / "own.txt")])) == {"web": False, "probe": None}


@pytest.mark.usefixtures("helm")
def test_subcharts_are_judged_as_their_conditions_have_them(chart: Path) -> None:
    """With places in the subchart's own templates."""
    for name in ("child", "other"):
        (chart / "charts" / name / "templates").mkdir(parents=True)
        (chart / "charts" / name / "Chart.yaml").write_text(f"apiVersion: v2\nname: {name}\nversion: 1.0.0\n")
        (chart / "charts" / name / "templates" / "pod.yaml").write_text(HOOK.replace("probe", name))
    (chart / "Chart.yaml").write_text(
        "apiVersion: v2\nname: shop\nversion: 1.0.0\ndependencies:\n"
        "- {name: child, version: 1.0.0, condition: child.enabled}\n"
        "- {name: other, version: 1.0.0, condition: other.enabled}\n"
    )
    (chart / "values.yaml").write_text("tag: 1\nreadOnly: false\nother: {enabled: false}\n")
    report = audit([str(chart)])
    assert sorted(flags(report)) == ["child", "probe", "web"]
    paths = {f.location.path for f in report.findings() if f.container and f.container.name == "child"}
    assert paths == {str(chart / "charts" / "child" / "templates" / "pod.yaml")}


def test_a_library_chart_is_left_out(chart: Path) -> None:
    """Nothing runs from it."""
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: shop\nversion: 1.0.0\ntype: library\n")
    report = audit([str(chart)])
    assert ["a library chart" in skipped.reason for skipped in report.skipped()] == [True]
    assert not list(report.findings())


def test_without_the_tools_they_are_skipped(chart: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chart's templates are not taken for manifests."""
    overlay = kustomization(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    for folder, words in ((chart, "helm is not installed"), (overlay, "neither kustomize nor kubectl")):
        report = audit([str(folder)])
        assert [words in skipped.reason for skipped in report.skipped()] == [True]
        assert not list(report.findings())


def test_a_helm_that_breaks_down_is_told_by_its_panic(
    chart: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not by the last line of its stack. A fake: no chart that is to be had brings every Helm down."""
    fake = tmp_path / "bin" / "helm"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\nprintf 'panic: nil map\\n\\ngoroutine 1:\\n' >&2\nseq 20 >&2\nexit 2\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    (finding,) = audit([str(chart)]).findings()
    assert finding.message == "can't be read: helm template failed: Helm itself broke down: nil map"


def test_a_chart_asks_nobody(chart: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its schema may name one anywhere. A fake, that says through whom it would ask."""
    fake = tmp_path / "bin" / "helm"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\necho "Error: $HTTPS_PROXY" >&2\nexit 1\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    (finding,) = audit([str(chart)]).findings()
    assert finding.message == "can't be read: helm template failed: http://127.0.0.1:1"


@pytest.mark.usefixtures("helm")
@pytest.mark.parametrize("base", ["https://a.invalid/b//c?ref=v1", "git@a.invalid:b/c.git", "https://a.invalid/b.yaml"])
def test_a_kustomization_asks_nobody(base: str, tmp_path: Path) -> None:
    """What it names elsewhere would be fetched by the build."""
    (tmp_path / "kustomization.yaml").write_text(f"resources: ['{base}']\n")
    (finding,) = audit([str(tmp_path)]).findings()
    told = f"failed: {base} is not on this machine, and nothing is fetched"
    assert finding.message.endswith(told)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("Error: no such file\n", "Error: no such file"),
        (
            "Error: no base: fatal: no such host\n: exit status 128\n",
            "Error: no base: fatal: no such host : exit status 128",
        ),
        (f"Error: {'x' * 400} no such file\n", f"...{'x' * 387} no such file"),
        ('E1130 05:24:19.352867   26519 run.go:72] "command failed" err="no such file"\n', '"no such file"'),
        ('E1130 05:24:19.2 1 run.go:72] "command failed" err=<\n\tname: x\n\tno such file\n >\n', "no such file"),
        ("", "no reason given"),
    ],
)
def test_why_a_build_failed_is_told_without_the_clock(message: str, reason: str) -> None:
    """Two runs say the same, and it is the error that is told, not the bracket behind it."""
    assert reason_of(message) == reason


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


@pytest.mark.skipif(
    shutil.which("kustomize") is None and shutil.which("kubectl") is None,
    reason="neither kustomize nor kubectl is there",
)
def test_what_goes_into_no_build_is_judged_beside_it(tmp_path: Path) -> None:
    """Of a named folder with a kustomization, and of a chart's: nothing below it is passed over, nothing told twice."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "kustomization.yml").write_text("resources: [web.yaml]\n")
    (tmp_path / "base" / "web.yaml").write_text(DEPLOYMENT)
    (tmp_path / "kustomization.yaml").write_text("resources: [base, own.yaml]\npatches: [{path: hard.yaml}]\n")
    (tmp_path / "own.yaml").write_text(DEPLOYMENT.replace("web", "own"))
    (tmp_path / "hard.yaml").write_text("kind: Deployment\napiVersion: apps/v1\nmetadata: {name: own}\n")
    (tmp_path / "extra").mkdir()
    (tmp_path / "extra" / "pod.yaml").write_text(HOOK)
    report = audit([str(tmp_path)])
    assert sorted(flags(report)) == ["own", "probe", "web"]
    assert not list(report.skipped())


@pytest.mark.usefixtures("helm")
def test_what_lies_beside_a_chart_in_its_folder_is_judged(chart: Path) -> None:
    """A manifest that somebody keeps there; what Helm and its tools read is the chart's own."""
    for name in ("example.yaml", "ci/test-values.yaml", "files/pod.yaml", "deploy/pod.yaml", "values-prod.yaml"):
        (chart / name).parent.mkdir(exist_ok=True)
        (chart / name).write_text(HOOK.replace("probe", name.partition(".")[0].replace("/", "-")))
    assert sorted(flags(audit([str(chart)]))) == ["deploy-pod", "example", "probe", "web"]


def test_links_among_kustomizations_lead_round_once(tmp_path: Path) -> None:
    """Two that lead back make twice as many ways with each step."""
    for name in ("a", "b"):
        (tmp_path / name).symlink_to(".")
    (tmp_path / "kustomization.yaml").write_text("resources: [a, b, pod.yaml]\n")
    found = kustomize.files_of(str(tmp_path))
    assert str(tmp_path / "pod.yaml") in found
    assert len(found) < 10
