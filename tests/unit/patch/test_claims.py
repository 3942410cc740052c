"""Every place that must outlive its pod has a claim of its own, whatever it is called."""

import json
from typing import Any

import pytest
import yaml
from tests.unit.patch.plans import VOLUME, place, planned

from lithify.documents.emit import render_block
from lithify.model.patch import Planned
from lithify.patch.kubernetes import patch

LONG = "the-quite-long-name-of-a-deployment-in-production-of-shop"
ROUTE = ("spec", "template", "spec", "containers")


def workload(name: str, *containers: str, more: str = "", namespace: str = "") -> str:
    head = f"kind: Deployment\nmetadata: {{name: {name}{f', namespace: {namespace}' if namespace else ''}}}\n"
    listed = "".join(f"      - {{name: {container}, image: x}}\n" for container in containers)
    return f"{head}spec:\n  template:\n    spec:\n      containers:\n{listed}{more}"


def kept(*paths: str, container: str = "app", index: int = 0, document: int = 0, name: str = "") -> Planned:
    mounts = [place(path, VOLUME, name=name) for path in paths]
    return planned(*mounts, container=container, route=(*ROUTE, index), document=document)


def claims(text: str, *wanted: Planned) -> list[tuple[str, str]]:
    """Return where each claim is mounted, as path and name; each that a patch adds is a valid one and stands once."""
    patched = patch(text.encode(), wanted)
    assert not patched.refused
    objects = list(yaml.safe_load_all(patched.text))
    added = [(o["metadata"].get("namespace"), o["metadata"]["name"]) for o in objects if "Claim" in o["kind"]]
    assert len(set(added)) == len(added)
    assert all(len(name) <= 63 for _, name in added)
    found: list[tuple[str, str]] = []
    for item in (o for o in objects if o["kind"] == "Deployment"):
        pod: dict[str, Any] = item["spec"]["template"]["spec"]
        named = {v["name"]: v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"]}
        found += [(m["mountPath"], named[m["name"]]) for c in pod["containers"] for m in c.get("volumeMounts", ())]
        assert {(item["metadata"].get("namespace"), name) for name in named.values()} <= set(added)
    return found


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (workload(LONG, "app"), [kept("/srv/uploads/a", "/srv/uploads/b")]),
        (workload("web", "app"), [kept("/srv/a-b", "/srv/a_b")]),
        (workload("web", "a", "a-b"), [kept("/b/c", container="a"), kept("/c", container="a-b", index=1)]),
        (workload("web", "a", "b"), [kept("/x", container=c, index=i, name="data") for i, c in enumerate("ab")]),
        (
            f"{workload(f'{LONG}-number-one', 'app')}---\n{workload(f'{LONG}-number-two', 'app')}",
            [kept("/d"), kept("/d", document=1)],
        ),
        (
            f"{workload('web', 'api')}---\n{workload('web-api', 'web-api')}",
            [kept("/d", container="api"), kept("/d", container="web-api", document=1)],
        ),
    ],
    ids=["long", "spelling", "containers", "one name", "workloads of a prefix", "a workload called as another's part"],
)
def test_no_two_places_have_one_claim(text: str, wanted: list[Planned]) -> None:
    names = [name for _, name in claims(text, *wanted)]
    assert len(names) == len(set(names)) == 2
    assert names == [name for _, name in claims(text, *wanted)]


def test_a_name_may_stand_in_two_namespaces() -> None:
    text = f"{workload('web', 'app', namespace='a')}---\n{workload('web', 'app', namespace='b')}"
    assert claims(text, kept("/d"), kept("/d", document=1)) == [("/d", "web--app-d"), ("/d", "web--app-d")]


CLAIM = "---\nkind: PersistentVolumeClaim\nmetadata: {name: web-app-d}\n"


@pytest.mark.parametrize("name", ["web--app-d", "web-app-d"])
def test_a_claim_that_stands_is_used(name: str) -> None:
    """By either name: earlier versions joined with one dash."""
    standing = CLAIM.replace("web-app-d", name)
    assert claims(workload("web", "app") + standing, kept("/d")) == [("/d", name)]


def test_a_claim_of_the_files_own_is_used_where_nothing_else_does() -> None:
    volume = "      volumes:\n      - {name: own, persistentVolumeClaim: {claimName: web-app-d}}\n"
    assert claims(workload("web", "app", more=volume) + CLAIM, kept("/d")) == [("/d", "web-app-d")]
    mounted = "      - {name: db, image: x, volumeMounts: [{name: own, mountPath: /db}]}\n" + volume
    (ours, name), other = claims(workload("web", "app", more=mounted) + CLAIM, kept("/d"))
    assert (ours, other) == ("/d", ("/db", "web-app-d"))
    assert name != "web-app-d"


def test_files_of_their_own_share_a_namespace() -> None:
    """Workloads of the same name are of different kinds there; a patch of one file doesn't see the other."""
    job = workload("web", "web").replace("Deployment", "Job")
    names = set()
    for text in (workload("web", "web"), job, job.replace("Job", "Rollout")):
        patched = patch(text.encode(), [kept("/srv/data", container="web")])
        assert not patched.refused
        (claim,) = (o for o in yaml.safe_load_all(patched.text) if "Claim" in o["kind"])
        names.add(claim["metadata"]["name"])
    assert names == {"web--srv-data", "web--job--srv-data", "web--rollout--srv-data"}


@pytest.mark.parametrize(("one", "other"), [
    (("web", "web", "/api/data"), ("web-api", "web-api", "/data")),
    (("web", "a", "/b/c"), ("web-a", "b", "/c")),
    (("a.b", "app", "/d"), ("a-b", "app", "/d")),
    (("a--b", "app", "/d"), ("a-b", "app", "/d")),
    ((f"{LONG}-one", "app", "/d"), (f"{LONG}", "one", "/app/d")),
])  # fmt: skip
def test_names_that_join_alike_are_two_claims(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    """A patch of one file doesn't see the other, and both are in one namespace."""
    found = []
    for name, container, path in (one, other):
        found += claims(workload(name, container), kept(path, container=container))
        assert claims(workload(name, container), kept(path, container=container)) == found[-1:]
    assert len({name for _, name in found}) == 2


@pytest.mark.parametrize(("step", "listed", "gap", "ends"), [
    (2, 0, 2, ""), (2, 2, 2, ""), (4, 0, 2, ""), (4, 4, 4, ""), (3, 1, 3, ""), (2, 2, 2, "---\n"), (2, 0, 2, "# end"),
])  # fmt: skip
def test_a_claim_is_indented_as_the_file_is(step: int, listed: int, gap: int, ends: str) -> None:
    (deployment,) = yaml.safe_load_all(workload("web", "app"))
    text = "\n".join([*render_block(deployment, step=step, listed=listed, gap=gap), ends])
    patched = patch(text.encode(), [kept("/d")]).text.decode()
    assert "---\n---" not in patched
    claim = patched.split("---\n")[-1]
    assert claim == "\n".join([*render_block(yaml.safe_load(claim), step=step, listed=listed, gap=gap), ""])
    assert yaml.safe_load(claim)["spec"]["accessModes"] == ["ReadWriteOnce"]


@pytest.mark.parametrize("style", [{"indent": 4}, {"indent": "\t"}, {"indent": 2}, {"separators": (",", ":")}, {}])
def test_a_claim_in_json_is_written_as_the_file_is(style: dict[str, Any]) -> None:
    (deployment,) = yaml.safe_load_all(workload("web", "app"))
    text = json.dumps(deployment, **style) + "\n"
    patched = patch(text.encode(), [kept("/d")]).text.decode()
    objects, position = [], 0
    while position < len(patched):
        found, end = json.JSONDecoder().raw_decode(patched, position)
        objects.append(json.dumps(found, **style))
        assert patched[position:end] == objects[-1]
        position = end + 1
    assert len(objects) == 2
