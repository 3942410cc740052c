"""Charts: values that reach the containers are found and written, the rest is patched after rendering.

What is held against the plan is what Helm renders with the files as they lie on disk, by the command that is printed.
"""

import copy
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.patch.programs import on_path, present, program

from lithify.documents.emit import render_json
from lithify.engines.helm import Chart
from lithify.errors import EngineRefused
from lithify.model.patch import Patched, PatchedFiles
from lithify.patch import helm
from lithify.patch.difference import normal
from lithify.patch.helm import ChartOptions
from lithify.patch.pods import id_of, needs, pods_of, read_objects

CHARTS = Path(__file__).parents[2] / "cases" / "charts"


@pytest.fixture(autouse=True)
def _programs(monkeypatch: pytest.MonkeyPatch) -> None:
    on_path(monkeypatch, "helm", "kustomize")


def chart(name: str, tmp_path: Path, *values: str) -> Chart:
    folder = tmp_path / name
    shutil.copytree(CHARTS / name, folder)
    return Chart(str(folder), values=values)


def hardened(data: bytes, *leave: str) -> Patched:
    """Return manifests in which every container has the flag and a place, and some a variable or a seed besides."""
    objects = read_objects(data)
    for item in objects:
        for _, pod in pods_of(item):
            for container in pod["containers"]:
                name = f"lithify-{container['name']}-tmp"
                if container["name"] in leave:
                    continue
                context = container.get("securityContext") or {}
                container["securityContext"] = {**context, "readOnlyRootFilesystem": True}
                mounts = container.get("volumeMounts") or []
                container["volumeMounts"] = [*mounts, {"name": name, "mountPath": "/tmp"}]
                pod["volumes"] = [*(pod.get("volumes") or []), {"name": name, "emptyDir": {"sizeLimit": "64Mi"}}]
                if container["name"] in ("web", "server"):
                    container["env"] = [*(container.get("env") or []), {"name": "HOME", "value": "/tmp"}]
                if container["name"] == "web":
                    seed = {"name": "seed", "image": container["image"], "command": ["cp", "-a", "/etc/x", "/tmp"]}
                    seed["volumeMounts"] = [{"name": name, "mountPath": "/tmp"}]
                    pod["initContainers"] = [seed, *(pod.get("initContainers") or [])]
    return Patched(text="\n---\n".join(map(render_json, objects)).encode())


def write(patched: PatchedFiles) -> None:
    for file in patched.files:
        path = Path(file.path)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(file.after)
        path.chmod(0o755 if file.executable else 0o644)


def rendered(patched: PatchedFiles, release: str, helm_program: str) -> list[dict[str, Any]]:
    """Render as the printed command would install, with a program for Helm 3 and a plugin for Helm 4."""
    words = list(patched.command[4:])
    version = subprocess.run([helm_program, "version", "--short"], capture_output=True, text=True, check=True).stdout
    environment = dict(os.environ)
    if "--post-renderer" in words and version.startswith("v4"):
        at = words.index("--post-renderer") + 1
        plugin = Path(words[at]).parent
        environment["HELM_PLUGINS"] = str(plugin.parent)
        words[at] = re.findall(r"^name: (.*)", (plugin / "plugin.yaml").read_text(), re.MULTILINE)[0]
    result = subprocess.run(
        [helm_program, "template", release, *words], env=environment, capture_output=True, timeout=60
    )
    assert result.returncode == 0, result.stderr.decode()
    return read_objects(result.stdout)


def planned_pods(objects: list[dict[str, Any]]) -> dict[Any, Any]:
    return {
        (id_of(item)[0], id_of(item)[2], route): normal(pod)
        for item in objects
        if "helm.sh/hook" not in ((item["metadata"]).get("annotations") or {})
        for route, pod in pods_of(item)
    }


@pytest.mark.parametrize("name", sorted(os.listdir(CHARTS)))
def test_the_files_make_helm_render_exactly_the_plan(name: str, tmp_path: Path) -> None:
    ours = chart(name, tmp_path)
    before = ours.render()
    after = hardened(before)
    patched = helm.patch(ours, before, after)
    write(patched)
    for tool in (program("helm"), *present("helm3")):
        assert planned_pods(rendered(patched, "release", tool)) == planned_pods(read_objects(after.text))
    # another release is another name, and the same patch
    other = Chart(ours.folder, release="lithify-other").render()
    found = planned_pods(rendered(patched, "lithify-other", program("helm")))
    assert found == planned_pods(read_objects(hardened(other).text))
    again = helm.patch(ours, before, after)
    assert not again.files
    assert not again.changes


def test_a_chart_with_values_for_everything_gets_a_values_file_alone(tmp_path: Path) -> None:
    ours = chart("everything", tmp_path)
    before = ours.render()
    patched = helm.patch(ours, before, hardened(before))
    assert [file.path for file in patched.files] == [f"{ours.folder}/lithify-everything/values.yaml"]
    assert (
        patched.files[0].after.decode().splitlines()[2:]
        == (
            "extraVolumes:\n  - configMap:\n      name: settings\n    name: settings\n"
            "  - name: lithify-web-tmp\n    emptyDir:\n      sizeLimit: 64Mi\n"
            "  - name: lithify-metrics-tmp\n    emptyDir:\n      sizeLimit: 64Mi\n"
            "initContainers:\n  - name: seed\n    image: example.org/web:1\n"
            "    command:\n      - cp\n      - -a\n      - /etc/x\n      - /tmp\n"
            "    volumeMounts:\n      - name: lithify-web-tmp\n        mountPath: /tmp\n"
            "containerSecurityContext:\n  readOnlyRootFilesystem: true\n"
            "metrics:\n  containerSecurityContext:\n    readOnlyRootFilesystem: true\n"
            "  extraVolumeMounts:\n    - name: lithify-metrics-tmp\n      mountPath: /tmp\n"
            "extraEnvVars:\n  - name: HOME\n    value: /tmp\n"
            "extraVolumeMounts:\n  - name: lithify-web-tmp\n    mountPath: /tmp"
        ).splitlines()
    )
    assert patched.command == (
        "helm", "upgrade", "--install", "RELEASE", ours.folder,
        "--values", f"{ours.folder}/lithify-everything/values.yaml",
    )  # fmt: skip


def claimed(after: Patched, name: str = "web-kept", namespace: str = "", volume: str = "kept") -> Patched:
    """Return manifests with a claim more that the first container uses."""
    objects = read_objects(after.text)
    _, pod = next(found for item in objects for found in pods_of(item))
    pod["volumes"] = [*pod["volumes"], {"name": volume, "persistentVolumeClaim": {"claimName": name}}]
    mounts = pod["containers"][0]["volumeMounts"]
    pod["containers"][0]["volumeMounts"] = [*mounts, {"name": volume, "mountPath": f"/{volume}"}]
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata}
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return Patched(text="\n---\n".join(map(render_json, [*objects, {**claim, "spec": spec}])).encode())


def test_a_claim_is_added_after_rendering_and_outlives_the_release(tmp_path: Path) -> None:
    """A chart has no value for an object that it has not. Its name does for every release."""
    ours = chart("everything", tmp_path)
    before = ours.render()
    after = claimed(hardened(before), "release-web--kept", "default")
    patched = helm.patch(ours, before, after)
    write(patched)
    assert [Path(file.path).name for file in patched.files] == [
        "values.yaml", "claims.yaml", "kustomization.yaml", "plugin.yaml", "post-render",
    ]  # fmt: skip
    assert "adds the claim everything--web--kept" in [change.text for change in patched.changes]
    for found in (rendered(patched, "release", program("helm")), read_objects(patched.manifests)):
        wanted = after.text.replace(b"release-web--kept", b"everything--web--kept")
        assert planned_pods(found) == planned_pods(read_objects(wanted))
        assert [item["metadata"] for item in found if item["kind"] == "PersistentVolumeClaim"] == [
            {"annotations": {"helm.sh/resource-policy": "keep"}, "name": "everything--web--kept"}
        ]
    assert not helm.patch(ours, before, after).files


def test_a_claim_of_an_earlier_version_keeps_its_name(tmp_path: Path) -> None:
    """It holds data. Parts of names were joined by one dash."""
    ours = chart("everything", tmp_path)
    before = ours.render()
    after = claimed(hardened(before), "release-web--kept")
    write(helm.patch(ours, before, after))
    held = Path(ours.folder) / "lithify-everything" / "claims.yaml"
    held.write_text(held.read_text().replace("everything--web--kept", "everything-web-kept"))
    patched = helm.patch(ours, before, after)
    assert b"claimName: everything-web-kept" in patched.manifests
    assert all(not file.changed for file in patched.files if file.path == str(held))


def test_only_the_whole_name_of_the_release_is_left_out_of_a_claims(tmp_path: Path) -> None:
    ours = chart("everything", tmp_path)
    before = ours.render()
    patched = helm.patch(ours, before, claimed(hardened(before), "released--kept"))
    assert "adds the claim everything--released--kept" in [change.text for change in patched.changes]


def test_claims_stay_apart_without_the_name_of_the_release(tmp_path: Path) -> None:
    """What differs by that alone would be one claim, in which two places mix; nor is one of the chart's own ours."""
    ours = chart("everything", tmp_path)
    own = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "everything--web--own"},
        "spec": {},
    }
    (Path(ours.folder) / "templates" / "own.yaml").write_text(render_json(own))
    before = ours.render()
    after = hardened(before)
    for number, name in enumerate(("release-web--kept", "web--kept", "everything-web--kept", "web--own")):
        after = claimed(after, name, volume=f"kept{number}")
    patched = helm.patch(ours, before, after)
    found = read_objects(patched.manifests)
    _, pod = next(pods for item in found for pods in pods_of(item))
    names = [v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"] if v["name"].startswith("kept")]
    assert len(set(names)) == 4
    claims = [item["metadata"]["name"] for item in found if item["kind"] == "PersistentVolumeClaim"]
    assert sorted(claims) == sorted(["everything--web--own", *names])
    assert any(note.startswith("a namespace takes one release: ") for note in patched.notes)


def test_values_that_the_chart_has_not_are_patched_after_rendering(tmp_path: Path) -> None:
    ours = chart("tractus", tmp_path)
    before = ours.render()
    patched = helm.patch(ours, before, hardened(before))
    values, kustomization, _, post = patched.files
    assert b"\nsecurityContext:\n  readOnlyRootFilesystem: true\n" in values.after
    assert b"readOnlyRootFilesystem" not in kustomization.after
    assert b'name: ".*-tractus"' in kustomization.after
    assert post.executable
    assert patched.command[-2:] == ("--post-renderer", post.path)
    assert any("helm plugin install" in note for note in patched.notes)


def test_the_charts_own_values_change_only_where_they_must(tmp_path: Path) -> None:
    ours = chart("tractus", tmp_path)
    before = ours.render()
    path = Path(ours.folder) / "values.yaml"
    text = path.read_bytes()
    patched = helm.patch(ours, before, hardened(before), ChartOptions(into=str(path)))
    assert patched.files[0].path == str(path)
    assert patched.files[0].after == text.replace(b"readOnlyRootFilesystem: false", b"readOnlyRootFilesystem: true")
    assert "--values" not in patched.command


def test_lists_in_the_users_values_are_added_to(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("# ours\nextraVolumeMounts: # kept\n- {name: settings, mountPath: /etc/settings}\n")
    ours = chart("everything", tmp_path, str(mine))
    before = ours.render()
    assert b"/etc/settings" in before
    patched = helm.patch(ours, before, hardened(before), ChartOptions(into=str(mine)))
    (file,) = patched.files
    assert file.after.decode().startswith(
        "# ours\nextraVolumeMounts: # kept\n- {name: settings, mountPath: /etc/settings}\n- "
    )
    write(patched)
    assert not needs(read_objects(ours.render()), read_objects(hardened(before).text))


def test_a_subchart_is_reached_by_its_alias_packed_or_not(tmp_path: Path) -> None:
    ours = chart("components", tmp_path)
    folder = Path(ours.folder)
    with open(folder / "Chart.yaml", "a") as file:
        file.write("dependencies:\n  - {name: cache, version: 0.1.0, alias: store}\n")
    subprocess.run([program("helm"), "package", "charts/cache", "-d", "charts"], cwd=folder, check=True, timeout=30)
    shutil.rmtree(folder / "charts" / "cache")
    before = ours.render()
    patched = helm.patch(ours, before, hardened(before))
    values = next(file.after for file in patched.files if file.path.endswith("values.yaml"))
    assert b"store:\n  readOnlyRootFs: true\n" in values


def test_objects_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    ours = chart("closed", tmp_path)
    job = "apiVersion: batch/v1\nkind: Job\nmetadata: {generateName: a-}\n"
    job += "spec: {template: {spec: {containers: [{name: a}]}}}\n"
    (Path(ours.folder) / "templates" / "twins.yaml").write_text(f"{job}---\n{job}")
    before = ours.render()
    patched = helm.patch(ours, before, hardened(before))
    assert not patched.files
    assert "same name" in patched.refused[0].reason


def test_a_hook_that_no_value_reaches_is_refused_with_its_patch(tmp_path: Path) -> None:
    ours = chart("closed", tmp_path)
    before = ours.render()
    patched = helm.patch(ours, before, hardened(before))
    (refused,) = patched.refused
    assert refused.container == "Job/release-migrate/migrate"
    assert "readOnlyRootFilesystem: true" in refused.by_hand
    assert not any(file.path.endswith("values.yaml") for file in patched.files) or b"migrate" not in patched.manifests


def test_a_patch_holds_for_releases_in_other_namespaces(tmp_path: Path) -> None:
    ours = chart("tractus", tmp_path)
    template = Path(ours.folder) / "templates" / "deployment.yaml"
    template.write_text(
        template.read_text().replace("metadata:\n", "metadata:\n  namespace: {{ .Release.Namespace }}\n", 1)
    )
    before = ours.render()
    patched = helm.patch(ours, before, hardened(before))
    write(patched)
    patched = replace(patched, command=(*patched.command, "--namespace", "prod"))
    elsewhere = Chart(ours.folder, release="x", namespace="prod").render()
    assert b"namespace: prod" in elsewhere
    found = rendered(patched, "x", program("helm"))
    assert planned_pods(found) == planned_pods(read_objects(hardened(elsewhere).text))
    assert {id_of(item)[1] for item in found if item["kind"] == "Deployment"} == {"prod"}


def test_one_context_for_two_containers_is_not_used_for_one_of_them(tmp_path: Path) -> None:
    ours = chart("closed", tmp_path)
    before = ours.render()
    after = hardened(before, "proxy", "migrate")
    patched = helm.patch(ours, before, after)
    assert not patched.refused
    assert not any(file.path.endswith("values.yaml") for file in patched.files)
    write(patched)
    found = planned_pods(rendered(patched, "release", program("helm")))
    assert found == planned_pods(read_objects(after.text))


def test_a_pattern_that_would_meet_two_objects_names_one(tmp_path: Path) -> None:
    ours = chart("listed", tmp_path)
    folder = Path(ours.folder)
    (folder / "templates" / "other.yaml").write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: fixed}\nspec: {containers: [{name: a, image: x}]}\n"
    )
    before = ours.render()
    patched = helm.patch(ours, before, hardened(before, "a"))
    kustomization = next(file.after for file in patched.files if file.path.endswith("kustomization.yaml"))
    assert b"name: release\n" in kustomization
    assert any("called release alone" in note for note in patched.notes)


def test_without_a_change_nothing_is_written(tmp_path: Path) -> None:
    ours = chart("closed", tmp_path)
    before = ours.render()
    assert helm.patch(ours, before, Patched(text=before)).files == ()


def test_a_chart_that_does_not_render_is_refused_in_helms_words(tmp_path: Path) -> None:
    ours = chart("closed", tmp_path)
    (Path(ours.folder) / "templates" / "bad.yaml").write_text("{{ .Values.x.y.z }")
    with pytest.raises(EngineRefused, match=r"helm template failed: .*bad\.yaml"):
        ours.render()


def test_what_helm_renders_is_not_changed_by_looking(tmp_path: Path) -> None:
    ours = chart("components", tmp_path)
    files = {path: path.read_bytes() for path in Path(ours.folder).rglob("*") if path.is_file()}
    before = ours.render()
    copied = copy.deepcopy(read_objects(before))
    helm.patch(ours, before, hardened(before))
    assert files == {path: path.read_bytes() for path in Path(ours.folder).rglob("*") if path.is_file()}
    assert copied == read_objects(ours.render())


SWITCHED = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: "{{ .Release.Name }}-web"}
spec:
  template:
    spec:
      initContainers:
        {{- if .Values.proxy }}
        - {name: proxy, image: proxy:1, restartPolicy: Always}
        {{- end }}
      containers:
        - {name: web, image: "web:{{ .Values.tag }}", args: [sh, -c, "cat <<E\\n- name: exporter\\nE\\n"]}
        {{- if .Values.exporter }}
        - name: exporter
          image: exporter:1
          command:
            - |-
              containers:
              - name: exporter
              image: none
        {{- end }}
        {{- if .Values.debug }}
        - {name: debug, image: debug:1}
        {{- end }}
---
{{- if .Values.nightly }}
apiVersion: batch/v1
kind: CronJob
metadata: {name: "{{ .Release.Name }}-nightly"}
spec: {jobTemplate: {spec: {template: {spec: {containers: [{name: web, image: "web:{{ .Values.tag }}"}]}}}}}
---
{{- end }}
apiVersion: v1
kind: ConfigMap
metadata: {name: text}
data:
  a.yaml: |
    kind: Deployment
    containers:
    - name: exporter
      args: [x]
"""
SWITCHES = {"exporter": True, "proxy": True, "nightly": True, "debug": False, "tag": 1}


def switched(folder: Path, text: str = SWITCHED) -> Chart:
    (folder / "templates").mkdir(parents=True)
    (folder / "Chart.yaml").write_text("{apiVersion: v2, name: switched, version: 1.0.0}")
    (folder / "values.yaml").write_text(render_json(SWITCHES))
    (folder / "templates" / "web.yaml").write_text(text)
    return Chart(str(folder))


@pytest.mark.parametrize("values", [
    {"tag": 2}, {"proxy": False, "debug": True, "tag": 3}, {"nightly": False, "tag": "!x y"},
])  # fmt: skip
def test_a_patch_after_rendering_bears_with_other_values(values: dict[str, Any], tmp_path: Path) -> None:
    """A container that is new is as the chart has it; seeds run the image that their container has today."""
    ours = switched(tmp_path / "switched")
    before = ours.render()
    patched = helm.patch(ours, before, hardened(before))
    assert not patched.refused
    write(patched)
    (tmp_path / "other.yaml").write_text(render_json(values))
    patched = replace(patched, command=(*patched.command, "--values", str(tmp_path / "other.yaml")))
    plain = ours.render(values, release="x")
    for tool in (program("helm"), *present("helm3")):
        objects = rendered(patched, "x", tool)
        assert planned_pods(objects) == planned_pods(read_objects(hardened(plain, "debug").text))
        texts = [[item for item in each if item["kind"] == "ConfigMap"] for each in (objects, read_objects(plain))]
        assert texts[0] == texts[1] != []


@pytest.mark.parametrize("api", ["apps/v1", "x.io/v1"])
def test_a_patch_after_rendering_says_that_it_does_not_fit(api: str, tmp_path: Path) -> None:
    """A container that is not rendered would be made by its patch, without an image."""
    kind = "Deploy" if api == "apps/v1" else "Roll"
    ours = switched(tmp_path / "switched", SWITCHED.replace("apps/v1", api).replace("Deploy", kind))
    before = ours.render()
    write(helm.patch(ours, before, hardened(before)))
    program = tmp_path / "switched" / "lithify-switched" / "post-render"
    for given, code in ((ours.render({"exporter": False}), 1), (before, 0)):
        done = subprocess.run([program], input=given, capture_output=True, timeout=60, check=False)
        assert done.returncode == code, done.stderr
        assert (b"harden it with them" in done.stderr) == bool(code)
        assert bool(done.stdout) != bool(code)
