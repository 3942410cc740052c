"""What holds for a patch of any kind of file, over files that programs, people and nobody would write.

The file comes to the plan and to nothing else; each old character is still there, in order; comments keep their lines;
twice is once; it is given back to the byte; and what can't be done is said, and leaves the file alone.
"""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.documents.ugly import Ugly
from tests.unit.patch import plans, test_helm, test_kustomize
from tests.unit.patch.plans import planned
from tests.unit.patch.programs import on_path

from lithify.documents.nodes import to_python
from lithify.documents.unit import parse_unit
from lithify.documents.yaml import Document, read_documents
from lithify.model.mount import Mount
from lithify.model.patch import Patched, PatchedFiles
from lithify.model.workload import Container
from lithify.patch import helm
from lithify.patch.helm import ChartOptions
from lithify.patch.pods import needs, read_objects
from lithify.patch.quadlet_line import line_of_unit
from lithify.patch.script_line import read_lines
from lithify.pipeline.files.patch import GivenPlan, PatchOptions, patch_file
from lithify.pipeline.files.write import read_original, replace_file, revert_file
from lithify.pipeline.files.write_folder import revert, write_files
from lithify.sources.files import read_source

_WORDS = ("a", "x y", "it's", "#no", "on", "-1", "a: b", "é", "/srv", "0x1f", "line\nline\n")


def written(value: Any, chance: random.Random, *, as_json: bool) -> bytes:
    """Return data in one of many ways."""
    if not as_json:
        return Ugly(chance.randrange(1 << 30)).text(value).encode()
    indent: Any = chance.choice((None, 2, 4, "\t", 0))
    separators = (",", ":") if indent is None and chance.random() < 0.5 else None
    text = json.dumps(value, indent=indent, separators=separators, ensure_ascii=chance.random() < 0.5)
    text = chance.choice(("", "\ufeff", "\n\n")) + text + chance.choice(("", "\n", "\n\n"))
    return text.replace("\n", chance.choice(("\n", "\r\n"))).encode()


def some(chance: random.Random, **fields: Any) -> dict[str, Any]:
    """Return some of the fields, in any order."""
    found = [pair for pair in fields.items() if chance.random() < 0.5]
    chance.shuffle(found)
    return dict(found)


def word(chance: random.Random) -> str:
    return chance.choice(_WORDS)


def compose(chance: random.Random) -> bytes:
    def service() -> dict[str, Any]:
        return {
            "image": "x:1",
            **some(
                chance,
                command=[word(chance), "b"],
                environment=chance.choice(({"A": word(chance).strip()}, ["A=1"])),
                tmpfs=["/srv/own"],
                volumes=["kept:/kept", {"type": "bind", "source": "./s", "target": "/bound", "read_only": True}],
                labels={"what": word(chance)},
                ports=["80:80"],
                healthcheck={"test": ["CMD", "x"], "interval": "1s"},
                deploy={"replicas": 2},
            ),
        }

    model = {"services": {"web": service(), "side": service()}}
    model |= some(chance, volumes={"kept": {"external": False}}, networks={"n": {"internal": True}})
    return written(model, chance, as_json=chance.random() < 0.2)


def container(chance: random.Random, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "image": "x:1",
        **some(
            chance,
            args=[word(chance)],
            env=[{"name": "A", "value": word(chance)}],
            securityContext={"runAsUser": 5},
            resources={"limits": {"memory": "1Gi"}},
            volumeMounts=[{"name": "own", "mountPath": "/own"}],
        ),
    }


def kubernetes(chance: random.Random) -> bytes:
    pod = {
        "containers": [container(chance, name) for name in chance.choice((("web",), ("web", "side"), ("side", "web")))],
        "volumes": [{"name": "own", "emptyDir": {"sizeLimit": "1Mi"}}],
    }
    meta = {"name": "front", **some(chance, labels={"a": "b"}, annotations={"note": word(chance)})}
    kind = chance.choice(("Deployment", "Pod", "CronJob"))
    spec: dict[str, Any] = {"template": {"metadata": {"labels": {"a": "b"}}, "spec": pod}}
    if kind == "CronJob":
        spec = {"schedule": "1 * * * *", "jobTemplate": {"spec": spec}}
    one: dict[str, Any] = {"apiVersion": "v1", "kind": kind, "metadata": meta, "spec": pod if kind == "Pod" else spec}
    if chance.random() < 0.3:
        other = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"k": word(chance)}}
        one = {"apiVersion": "v1", "kind": "List", "items": [other, one]}
    return written(one, chance, as_json=chance.random() < 0.4)


def ecs(chance: random.Random) -> bytes:
    def one(name: str) -> dict[str, Any]:
        return {"name": name, "image": "x:1", **some(chance, memory=512, command=[word(chance)], essential=True)}

    task = {
        "family": "shop",
        "requiresCompatibilities": ["EC2"],
        "containerDefinitions": [one("web"), one("side")],
        **some(chance, volumes=[{"name": "own"}], cpu="256"),
    }
    return written(task, chance, as_json=True)


def cloudformation(chance: random.Random) -> bytes:
    def one(name: str) -> dict[str, Any]:
        return {"Name": name, "Image": "x:1", **some(chance, Memory=512, Command=[word(chance)], Essential=True)}

    properties = {"Family": "shop", "ContainerDefinitions": [one("web"), one("side")], "Volumes": [{"Name": "own"}]}
    task = {"Type": "AWS::ECS::TaskDefinition", "Properties": properties}
    return written({"Resources": {"Task": task}}, chance, as_json=chance.random() < 0.3)


def quadlet(chance: random.Random) -> bytes:
    lines = ["Image=x:1", "ContainerName=web"]
    more = (
        "# note", "; note", "", "Environment=A=1 \"B=two words\"", "Volume=own.volume:/own", "Annotation=x=%n",
        "User=5", "PublishPort=8080:80", "Label=a=b\nLabel=c=d", "Tmpfs=/own/tmp", "Exec=serve \\\n  --say 'a b'",
        "NoNewPrivileges=yes", "AddCapability=\\\n# between\n  CHOWN", "   ", "Secret=s,type=mount",
    )  # fmt: skip
    lines += [one for one in more if chance.random() < 0.5]
    chance.shuffle(lines)
    around = [
        "# top\n[Unit]\nDescription=[Container]",
        "[Service]\nRestart=always\n",
        "[Install]\nWantedBy=default.target",
    ]
    parts = ["[Container]\n" + "\n".join(lines), *(part for part in around if chance.random() < 0.6)]
    chance.shuffle(parts)
    text = "\n".join(parts) + chance.choice(("", "\n", "\n\n"))
    return text.replace("\n", chance.choice(("\n", "\n", "\r\n"))).encode()


def script(chance: random.Random) -> bytes:
    options = ["-d", "-p 80:80", "-e A='b c'", '-v "$PWD/x":/x:ro', "--restart=always", '-e "B=${B:-1}"', "--init"]
    options = [one for one in options if chance.random() < 0.5]
    joint = chance.choice((" ", " \\\n    ", " \\\n\t"))
    line = joint.join([f"{chance.choice(('docker', 'podman'))} run", "--name web", *options, "x:1"])
    line += chance.choice(("", " serve --say 'a # b'", " >/dev/null 2>&1", " || exit 1", "  # the shop", " &"))
    before = ["docker pull x:1 && ", "if true; then ", "  ", "\t", "start() { ", "( ", "sudo "]
    after = {"if true; then ": "\nfi", "start() { ": "\n}", "( ": "\n)"}
    lead = chance.choice(("", "", *before))
    text = lead + line + after.get(lead, "")
    rest = ["# docker run not this", "cat <<'END'\ndocker run nor this\nEND", "docker rm -f web || :", "X='a\nb'", ""]
    lines = [one for one in rest if chance.random() < 0.5]
    lines.insert(chance.randrange(len(lines) + 1), text)
    return ("#!/bin/sh\n" + "\n".join(lines) + chance.choice(("", "\n"))).encode()


FORMATS: dict[str, tuple[str, Callable[[random.Random], bytes]]] = {
    "compose": ("compose.yaml", compose),
    "stack": ("docker-compose.stack.yaml", compose),
    "kubernetes": ("deploy.yaml", kubernetes),
    "ecs": ("task.json", ecs),
    "cloudformation": ("template.yaml", cloudformation),
    "quadlet": ("web.container", quadlet),
    "script": ("run.sh", script),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_kind_of_file(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path, make = FORMATS[name]
    folder = tmp_path_factory.mktemp(name)
    done = 0

    @settings(max_examples=350, deadline=None)
    @given(st.integers(0, 1 << 40), plans.mounts)
    def hold(seed: int, mounts: list[Mount]) -> None:
        nonlocal done
        data = make(random.Random(seed))
        done += check(folder / path, data, mounts, write=seed % 16 == 0)

    hold()
    assert done > 100, "hardly any file was patched"


def check(path: Path, data: bytes, mounts: list[Mount], *, write: bool) -> bool:
    """Patch a file that need not be there; return whether that was not refused."""
    once = patched(path, data, mounts)
    again = patched(path, once.text, mounts)
    assert again.text == once.text
    assert [refused.reason for refused in again.refused] == [refused.reason for refused in once.refused]
    if once.refused:
        assert once.text == data
        assert all(refused.reason for refused in once.refused)
        return False
    hold_text(data, once.text)
    hold_meaning(path, data, once.text, mounts)
    if write:
        path.write_bytes(data)
        replace_file(read_original(path), once.text, path.parent / "state")
        assert path.read_bytes() == once.text
        revert_file(path, path.parent / "state")
        assert path.read_bytes() == data
    return True


def patched(path: Path, data: bytes, mounts: list[Mount]) -> Patched:
    given_plan = GivenPlan(source="plan", plan=planned(*mounts).plan, container="web")
    return patch_file(str(path), data, [given_plan], PatchOptions(stack="stack" in path.name))


def hold_text(old: bytes, new: bytes) -> None:
    """Hold that text was only added, and no comment moved to another line."""
    rest = iter(new)
    assert all(byte in rest for byte in old), (old, new)
    lines = iter(new.splitlines())
    for line in old.splitlines():
        if line.lstrip().startswith((b"#", b";")):
            assert line in lines, line
    if b"\r\n" in old:
        assert new.count(b"\n") - new.count(b"\r\n") == old.count(b"\n") - old.count(b"\r\n")


def hold_meaning(path: Path, old: bytes, new: bytes, mounts: list[Mount]) -> None:
    """Hold what the file says, as another part of lithify reads it, against the plan and against what it said."""
    if path.suffix == ".sh":
        before, after = (line_of(data) for data in (old, new))
        assert after.switch("read-only") is True
        assert {mount.path for mount in mounts} <= {mount.path for mount in after.mounts()}
        rest = iter(after.words)
        assert all(each in rest for each in before.words)
        return
    was, found = (containers(path, data) for data in (old, new))
    assert found["web"].security.read_only_root is True
    if path.suffix == ".container":
        mounted = {mount.path for mount in line_of_unit(parse_unit(new), path.name).mounts()}
        assert {mount.path for mount in mounts} <= mounted
        entries = iter([(entry.section, entry.key, entry.value) for entry in parse_unit(new).entries])
        assert all((entry.section, entry.key, entry.value) in entries for entry in parse_unit(old).entries)
        return
    assert {str(mount.path) for mount in mounts} <= {mount.path.replace("$$", "$") for mount in found["web"].mounts}
    assert {mount.path for mount in was["web"].mounts} <= {mount.path for mount in found["web"].mounts}
    assert without_web(plain(new)) == without_web(plain(old))


def line_of(data: bytes) -> Any:
    (found,) = [one.line for one in read_lines(data)[1] if one.line and one.line.value("name") == "web"]
    return found


def containers(path: Path, data: bytes) -> dict[str, Container]:
    reading = read_source(str(path), data, stack="stack" in path.name)
    return {each.name: each for workload in reading.workloads for each in workload.containers}


def plain(data: bytes) -> list[Any]:
    return [to_python(document.root) for document in read_documents(data) if isinstance(document, Document)]


_OURS = frozenset(
    ("volumes", "Volumes", "initContainers", "fsGroup", "securityContext", "volumeMounts", "env", "tmpfs", "read_only",
     "readonlyRootFilesystem", "ReadonlyRootFilesystem", "mountPoints", "MountPoints", "linuxParameters",
     "LinuxParameters")
)  # fmt: skip


def without_web(value: Any) -> Any:
    """Return data without what a plan may say of the one container and of what it mounts."""
    if isinstance(value, list):
        return [without_web(item) for item in value if not (isinstance(item, dict) and item.get("kind") == CLAIM)]
    if not isinstance(value, dict):
        return value
    ours = "web" in (value.get("name"), value.get("Name")) or not {"name", "Name", "image"} & value.keys()
    found = {key: item for key, item in value.items() if not (ours and key in _OURS)}
    return {key: without_service(item) if key == "services" else without_web(item) for key, item in found.items()}


CLAIM = "PersistentVolumeClaim"


def without_service(services: dict[str, Any]) -> Any:
    web = {key: value for key, value in services["web"].items() if key not in _OURS}
    return {**services, "web": web}


# What Helm and Kustomize read beside the manifests themselves: a few of each, since every one is rendered.


@pytest.mark.parametrize("seed", range(5))
def test_kustomizations(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_path(monkeypatch, "kustomize")
    chance = random.Random(seed)
    own = {"patch": "- {op: add, path: /metadata/labels, value: {x: y}}", "target": {"kind": "Deployment"}}
    said = {"resources": ["front.yaml"], **some(chance, namePrefix="a-", patches=[own], images=[{"name": "x"}])}
    made = tmp_path / "overlay"
    made.mkdir()
    (made / "front.yaml").write_text(test_kustomize.DEPLOYMENT)
    path = made / "kustomization.yaml"
    path.write_bytes(written(said, chance, as_json=False))
    hold_folder(made, path, tmp_path / "state", lambda: test_kustomize.check(made))


@pytest.mark.parametrize("seed", range(5))
def test_values_of_a_chart(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_path(monkeypatch, "helm", "kustomize")
    chance = random.Random(seed)
    own = {"name": "settings", "mountPath": "/etc/settings"}
    path = tmp_path / "mine.yaml"
    path.write_bytes(written({"x": word(chance), **some(chance, extraVolumeMounts=[own])}, chance, as_json=False))

    def patch() -> PatchedFiles:
        ours = test_helm.chart("everything", tmp_path / str(len(list(tmp_path.iterdir()))), str(path))
        before = ours.render()
        once = helm.patch(ours, before, test_helm.hardened(before), ChartOptions(into=str(path)))
        assert not once.refused
        test_helm.write(once)
        assert not needs(read_objects(ours.render()), read_objects(test_helm.hardened(before).text))
        return once

    hold_folder(tmp_path, path, tmp_path / "state", patch)


def hold_folder(folder: Path, path: Path, state: Path, patch: Callable[[], PatchedFiles]) -> None:
    """Hold that a file of a folder is only added to, and that the folder is given back."""
    old = path.read_bytes()
    once = patch()
    assert path.read_bytes() != old
    hold_text(old, path.read_bytes())
    for file in once.files:
        Path(file.path).unlink() if file.before is None else Path(file.path).write_bytes(file.before)
    assert write_files(str(folder), once.files, state)
    revert(str(folder), state)
    assert path.read_bytes() == old
