"""Kustomizations: a patch file for each object and its line, and what is built is exactly what was planned."""

import json
from pathlib import Path

import pytest
from tests.unit.patch.programs import on_path
from tests.unit.patch.test_helm import claimed, hardened, write

from lithify.engines.kustomize import build
from lithify.errors import InvalidInput
from lithify.model.patch import PatchedFiles
from lithify.patch import kustomize
from lithify.patch.difference import normal
from lithify.patch.pods import containers_of, pods_of, read_objects

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop.front}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      initContainers: [{name: setup, image: x}]
      containers:
        - {name: web, image: nginx, env: [{name: A, value: b}]}
        - {name: side, image: nginx}
"""
ROLLOUT = """\
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: front}
spec:
  template:
    spec:
      containers: [{name: side, image: x, volumeMounts: [{name: a, mountPath: /a}]}]
      volumes: [{name: a, emptyDir: {}}]
"""


@pytest.fixture(autouse=True, params=["kustomize", "kubectl"])
def _programs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if request.param == "kustomize":
        on_path(monkeypatch, "kustomize")
    else:
        from tests.unit.patch.programs import program

        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "kubectl").symlink_to(program("kubectl"))
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))


def folder(tmp_path: Path, kustomization: str, **files: str) -> Path:
    made = tmp_path / "shop" / "overlay"
    made.mkdir(parents=True)
    (made / "kustomization.yaml").write_bytes(kustomization.encode())
    for name, text in files.items():
        path = made / name.replace("__", "/").replace("_yaml", ".yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return made


def check(made: Path) -> PatchedFiles:
    before = build(str(made))
    after = hardened(before)
    patched = kustomize.patch(str(made), before, after)
    assert not patched.refused, patched.refused
    write(patched)
    found, wanted = (
        sorted(json.dumps(normal(o), sort_keys=True) for o in read_objects(data))
        for data in (build(str(made)), after.text)
    )
    assert found == wanted
    assert kustomize.patch(str(made), build(str(made)), after).files == ()
    return patched


def test_a_line_is_added_where_there_is_none(tmp_path: Path) -> None:
    text = "# ours\r\nresources: [app.yaml]\r\ncommonLabels: {a: b}   # kept\r\n"
    patched = check(folder(tmp_path, text, app_yaml=DEPLOYMENT))
    assert [Path(file.path).name for file in patched.files] == [
        "lithify-deployment-shop.front.yaml",
        "kustomization.yaml",
    ]
    after = patched.files[1].after.decode()
    assert after.startswith(text)
    assert after[len(text) :].partition("replacements:")[0].split() == [
        "patches:", "-", "path:", "lithify-deployment-shop.front.yaml", "target:", "kind:", "Deployment", "name:",
        '"shop\\\\.front"',
    ]  # fmt: skip
    assert "\n" not in after.replace("\r\n", "")


def test_prefixes_namespaces_images_and_other_patches_stay_as_they_are(tmp_path: Path) -> None:
    text = (
        "resources:\n- ../base\nnamePrefix: a-\nnameSuffix: -z\nnamespace: prod\n"
        "images: [{name: nginx, newName: hub/nginx, newTag: '9'}]\npatchesStrategicMerge:\n- more.yaml\n"
        "patches:\n- patch: |\n    - {op: replace, path: /spec/replicas, value: 3}\n  target: {kind: Deployment}\n"
        "configMapGenerator: [{name: c, files: [settings=files/s.txt]}]\n"
    )
    more = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: shop.front}\nspec: {replicas: 2}\n"
    made = folder(
        tmp_path, text, more_yaml=more, **{"../base/kustomization_yaml": "resources: [d.yaml]\n"}, files__s="x"
    )
    (made / "files" / "s.txt").write_text("x")
    (made / "../base/d.yaml").write_text(DEPLOYMENT)
    patched = check(made)
    ours = "- path: lithify-deployment-a-shop.front-z.yaml\n  target:\n    kind: Deployment\n"
    after = patched.files[-1].after.decode()
    assert after.partition("replacements:")[0].replace(ours + '    name: "shop\\\\.front"\n', "") == text
    kustomization = made / "kustomization.yaml"
    kustomization.write_text(kustomization.read_text().replace("newTag: '9'", "newTag: '10'"))
    objects = read_objects(build(str(made)))
    images = [one["image"] for item in objects for _, pod in pods_of(item) for _, _, one in containers_of(pod)]
    assert images.count("hub/nginx:10") == 3, images  # what fills a place runs the image of its container


@pytest.mark.parametrize("prefix", ["", "a-"])
def test_a_claim_is_a_resource_of_the_kustomization(tmp_path: Path, prefix: str) -> None:
    """With a name prefix Kustomize gives it one, and the pods that ask for it."""
    made = folder(tmp_path, f"resources: [app.yaml]\nnamePrefix: '{prefix}'\n", app_yaml=DEPLOYMENT)
    before = build(str(made))
    patched = kustomize.patch(str(made), before, claimed(hardened(before)))
    assert not patched.refused
    write(patched)
    deployment, claim = sorted(read_objects(build(str(made))), key=lambda item: str(item["kind"]))
    assert claim["metadata"] == {"name": f"{prefix}web-kept"}
    volumes = deployment["spec"]["template"]["spec"]["volumes"]
    assert {"name": "kept", "persistentVolumeClaim": {"claimName": f"{prefix}web-kept"}} in volumes
    assert (made / "kustomization.yaml").read_text().startswith("resources: [app.yaml, lithify-claims.yaml]\n")


def test_a_custom_resource_gets_a_json_patch(tmp_path: Path) -> None:
    patched = check(folder(tmp_path, "resources: [r.yaml]\n", r_yaml=ROLLOUT))
    assert patched.files[0].after.startswith(b"- op: test\n  path: /spec/template/spec/containers/0/name\n")


def test_objects_of_one_name_get_a_file_each(tmp_path: Path) -> None:
    other = DEPLOYMENT.replace("Deployment", "DaemonSet")
    made = folder(tmp_path, "resources: [a.yaml, b.yaml]\n", a_yaml=DEPLOYMENT, b_yaml=other)
    (made / "lithify-daemonset-shop.front.yaml").write_text("taken: true\n")
    patched = check(made)
    assert [Path(file.path).name for file in patched.files] == [
        "lithify-deployment-shop.front.yaml", "lithify-daemonset-shop.front-2.yaml", "kustomization.yaml"
    ]  # fmt: skip


def test_what_cannot_be_edited_is_left_to_a_person(tmp_path: Path) -> None:
    made = folder(
        tmp_path, "resources: [a.yaml]\npatches: &p []\nvars: *p\n", a_yaml=DEPLOYMENT.replace("shop.front", "web")
    )
    before = build(str(made))
    patched = kustomize.patch(str(made), before, hardened(before))
    assert not patched.files
    assert {refused.container for refused in patched.refused} == {"Deployment/web/web", "Deployment/web/side"}
    assert "readOnlyRootFilesystem: true" in patched.refused[0].by_hand


def test_a_folder_without_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        kustomize.patch(str(tmp_path), b"", hardened(b""))
