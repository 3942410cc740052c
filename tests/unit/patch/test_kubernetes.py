"""Plans in manifests: what comes out is valid, works, is stable, and harms nothing beside it."""

import copy
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.documents.ugly import Ugly
from tests.unit.patch import kubectl
from tests.unit.patch.cases import CASES, Case, said
from tests.unit.patch.plans import place, planned
from tests.unit.patch.schemas import VERSIONS, errors, knows

from lithify.documents.edit import splice
from lithify.documents.nodes import to_python
from lithify.documents.splice import Uneditable
from lithify.documents.yaml import Document, read_documents
from lithify.model.image import ImageFacts
from lithify.model.location import Route
from lithify.model.mount import Mount, MountPlan, PathClass, Redirect, Seed, StorageKind
from lithify.model.patch import Planned
from lithify.model.writes import RunKey
from lithify.patch.kubernetes import Options, flag_edit, patch
from lithify.pipeline.files.write import read_original, replace_file, revert_file
from lithify.sources.manifest import read_manifest

TESTS = Path(__file__).parents[2]
CORPUS = sorted([*TESTS.glob("cases/audit/*.yaml"), *TESTS.glob("cases/patch/*/before.*"), *TESTS.glob("cases/ugly/*")])


@pytest.mark.parametrize("name", CASES)
def test_a_patch_is_exact_and_stable(name: str) -> None:
    """A patch gives the expected bytes and words, and a second one changes nothing."""
    case = Case(name)
    once = patch(case.before, case.planned, case.options)
    assert once.text.decode() == case.after.decode()
    assert said(once) == case.said
    twice = patch(once.text, case.planned, case.options)
    assert twice.text == once.text
    assert not twice.changes


@pytest.mark.parametrize("name", CASES)
def test_every_version_takes_it(name: str) -> None:
    """Every version from the one asked for on, or from the oldest, takes what it took before, read strictly."""
    case = Case(name)
    patched = patch(case.before, case.planned, case.options)
    for version in VERSIONS:
        if case.options.version is None or version >= case.options.version:
            _check_schema(case.before, patched.text, Options(version=version))


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: f"{version[0]}.{version[1]}")
def test_gated_fields_are_for_servers_that_have_them(version: tuple[int, int]) -> None:
    """A gate that is open, or opened by its version, brings its field; a server without the field is never given it."""
    pod: dict[str, Any] = {"containers": [{"name": "web", "image": "x"}]}
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": pod}
    text = json.dumps(manifest).encode()
    wanted = [
        Mount(path=PurePosixPath("/run"), storage=StorageKind.MEMORY),
        Mount(path=PurePosixPath("/srv"), storage=StorageKind.SCRATCH, seed=Seed.CONTENT),
    ]
    planned = [_plan("web", ("spec", "containers", 0), wanted, image=ImageFacts(reference="x"))]
    assert knows(manifest, version)
    for gates in (frozenset[str](), frozenset({"VolumeBindMountOptions"}), frozenset({"ImageVolume"})):
        options = Options(version=version, gates=gates, copier="busybox")
        patched = patch(text, planned, options)
        assert not errors(json.loads(patched.text), version)
        images = version >= (1, 35) or (version >= (1, 31) and "ImageVolume" in gates)
        assert (b'"image": {"reference"' in patched.text) == images
        assert bool(patched.refused) != images
        bound = version >= (1, 37) and "VolumeBindMountOptions" in gates
        assert (b"bindMountOptions" in patched.text) == bound


@pytest.mark.parametrize("name", CASES)
def test_the_audit_agrees(name: str) -> None:
    """Each container that was not refused is read-only afterwards, and no other one has changed."""
    case = Case(name)
    patched = patch(case.before, case.planned, case.options)
    refused = {each.container for each in patched.refused}
    wanted = {(one.document, one.route): one.container not in refused for one in case.planned}
    shift = {route: _shift(patched.text, case.before, document, route) for document, route in wanted}
    after = {(c.location.document, c.location.route): c for c in _containers(patched.text)}
    for (document, route), done in wanted.items():
        found = after.get((document, shift[route]))
        if found is not None and done:
            assert found.security.read_only_root is True


def _containers(data: bytes) -> Iterator[Any]:
    for workload in read_manifest("x", data).workloads:
        yield from workload.containers


def _shift(after: bytes, before: bytes, document: int, route: Route) -> Route:
    """Return where a container stands once others were put before it."""
    if "initContainers" not in route:
        return route
    count = len(list(_at(after, document, route[:-1]))) - len(list(_at(before, document, route[:-1])))
    return (*route[:-1], int(route[-1]) + count)


def _at(data: bytes, document: int, route: Route) -> Any:
    found = next(d for d in read_documents(data) if isinstance(d, Document) and d.index == document)
    value = to_python(found.root)
    for key in route:
        value = value[int(key)] if isinstance(value, list) else value.get(key, [])
    return value


def test_the_edit_of_one_flag() -> None:
    data = b"kind: Pod\nspec:\n  containers:\n  - name: a # x\n    image: b\n"
    edits = flag_edit(data, 0, ("spec", "containers", 0))
    assert splice(data, edits) == data + b"    securityContext:\n      readOnlyRootFilesystem: true\n"
    with pytest.raises(Uneditable):
        flag_edit(data, 1, ("spec", "containers", 0))
    with pytest.raises(Uneditable):
        flag_edit(b"kind: Pod\nspec: {containers: [{{ x }}]}\n", 0, ("spec", "containers", 0))


def test_bytes_that_are_no_text_are_left() -> None:
    planned = [_plan("a", ("spec", "containers", 0), [])]
    for data in (b"\xff\xfea", b"spec: {containers: [\xff]}", b"", b"spec: [containers: x", b"\0"):
        patched = patch(data, planned)
        assert patched.text == data
        assert len(patched.refused) == 1


# --- properties: pods of every shape, written in as many ways as YAML has ---

NAMES = st.sampled_from(["web", "db", "a", "tmp", "lithify-seed-web", "x1"])
FLAGS = st.sampled_from([True, False, None, "true", "false", "absent", "misspelt"])
PATHS = ["/tmp", "/run", "/var/cache/nginx", "/var/lib/x y", "/data", "/srv/$(a)", "/ä", "/home/web"]


@st.composite
def containers(draw: st.DrawFn, name: str) -> dict[str, Any]:
    made: dict[str, Any] = {"name": name, "image": draw(st.sampled_from(["a", "r.example:5000/a/b:1", "x@sha256:00"]))}
    flag = draw(FLAGS)
    if flag == "misspelt":
        made["securityContext"] = {"readOnlyFilesystem": True}
    elif flag != "absent":
        made["securityContext"] = {"readOnlyRootFilesystem": flag, "runAsUser": draw(st.sampled_from([0, 1000]))}
    elif draw(st.booleans()):
        made["securityContext"] = draw(st.sampled_from([None, {}]))
    choices: dict[str, list[Any]] = {
        "env": [None, [], [{"name": "TMPDIR", "value": "/x"}], [{"name": "A", "valueFrom": {"x": {}}}]],
        "volumeMounts": [None, [], [{"name": "own", "mountPath": "/own"}], [{"name": "own", "mountPath": "/tmp/"}]],
        "args": [["--a", "b: c"], ["|", "x\ny\n"]],
        "command": [["sh", "-c", "a #b"]],
        "ports": [[{"containerPort": 80}]],
        "resources": [{}, {"limits": {"memory": "32Mi"}}],
    }
    for key, values in choices.items():
        if draw(st.booleans()):
            made[key] = copy.deepcopy(draw(st.sampled_from(values)))
    order = draw(st.permutations(list(made)))
    return {key: made[key] for key in order}


_APIS = {
    "Pod": "v1",
    "Deployment": "apps/v1",
    "StatefulSet": "apps/v1",
    "DaemonSet": "apps/v1",
    "Job": "batch/v1",
    "CronJob": "batch/v1",
}


@st.composite
def manifests(draw: st.DrawFn) -> tuple[dict[str, Any], Route]:
    """Return an object, and the route to its pod spec."""
    names = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    pod: dict[str, Any] = {"containers": [draw(containers(name)) for name in names]}
    if draw(st.booleans()):
        pod["initContainers"] = [draw(containers("setup"))]
    choices: dict[str, list[Any]] = {
        "volumes": [None, [], [{"name": "own", "emptyDir": {}}], [{"name": "tmp", "emptyDir": {"medium": "Memory"}}]],
        "securityContext": [None, {}, {"fsGroup": 5}, {"readOnlyRootFilesystem": True}],
        "restartPolicy": ["Always"],
    }
    for key, values in choices.items():
        if draw(st.booleans()):
            pod[key] = copy.deepcopy(draw(st.sampled_from(values)))
    pod = {key: pod[key] for key in draw(st.permutations(list(pod)))}
    route: Route = draw(
        st.sampled_from([("spec",), ("spec", "template", "spec"), ("spec", "jobTemplate", "spec", "template", "spec")])
    )
    kind = draw(st.sampled_from({1: ["Pod"], 3: list(_APIS)[1:5], 5: ["CronJob"]}[len(route)]))
    value: Any = pod
    for step in reversed(route):
        value = {step: value}
    labels = {"app": "x"}
    own: dict[str, dict[str, Any]] = {"CronJob": {"schedule": "* * * * *"}, "StatefulSet": {"serviceName": "x"}}
    if kind in ("Deployment", "StatefulSet", "DaemonSet"):
        value["spec"]["selector"] = {"matchLabels": labels}
        value["spec"]["template"]["metadata"] = {"labels": labels}
    value["spec"].update(own.get(kind, {}))
    return {"apiVersion": _APIS[kind], "kind": kind, "metadata": {"name": "x"}, **value}, route


@pytest.mark.parametrize(
    ("container", "started"),
    [
        ({"command": ["a"], "args": ["b"]}, {"args": ["b", "--log=/y"]}),
        ({"command": ["a", "b"]}, {"args": ["--log=/y"]}),
        ({"args": ["b"]}, {"args": ["b", "--log=/y"]}),
        ({}, {"args": ["serve", "--log=/y"]}),
    ],
)
def test_an_argument_is_added_and_a_working_directory_set(
    container: dict[str, list[str]], started: dict[str, list[str]]
) -> None:
    """Wherever the manifest, or else the image, says what is started; a second time changes nothing."""
    whole = {"name": "app", "image": "x", **container}
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [whole]}}
    added = Redirect(old=PurePosixPath("/x"), new=PurePosixPath("/y"), appended=("--log=/y",))
    moved = Redirect(old=PurePosixPath("/"), new=PurePosixPath("/y"))
    image = ImageFacts(reference="x", entrypoint=("start.sh",), command=("serve",))
    one = _plan("app", ("spec", "containers", 0), [], image=image)
    one = replace(one, plan=replace(one.plan, redirects=(added, moved)))
    once = patch(json.dumps(manifest).encode(), [one], Options())
    assert not once.refused
    [found] = json.loads(once.text)["spec"]["containers"]
    wanted = {**whole, **started, "workingDir": "/y", "securityContext": {"readOnlyRootFilesystem": True}}
    assert found == wanted
    assert patch(once.text, [one], Options()).text == once.text


@st.composite
def mounts(draw: st.DrawFn) -> list[Mount]:
    return [
        Mount(
            path=PurePosixPath(path),
            storage=draw(st.sampled_from(StorageKind)),
            size=draw(st.sampled_from([None, 1 << 20, 1 << 26])),
            seed=draw(st.sampled_from([Seed.NONE, Seed.NONE, Seed.SKELETON, Seed.CONTENT])),
            mode=draw(st.sampled_from([0o755, 0o1777, 0o700])),
            uid=draw(st.sampled_from([0, 101])),
            classes=draw(st.sampled_from([(), (PathClass.RUNTIME,)])),
        )
        for path in draw(st.lists(st.sampled_from(PATHS), max_size=4, unique=True))
    ]


def _plan(name: str, route: Route, wanted: list[Mount], document: int = 0, image: ImageFacts | None = None) -> Planned:
    redirects = (Redirect(old=PurePosixPath("/x"), new=PurePosixPath("/y"), variable="TMPDIR", value="/y"),)
    plan = MountPlan(key=RunKey(image="x"), container=name, mounts=tuple(wanted), redirects=redirects if wanted else ())
    return Planned(document=document, route=route, container=name, plan=plan, image=image)


IMAGES = [None, ImageFacts(reference="x"), ImageFacts(reference="x", has_shell=True)]
OPTIONS = st.builds(
    Options,
    version=st.sampled_from([None, *VERSIONS]),
    gates=st.sampled_from([frozenset(), frozenset({"VolumeBindMountOptions"}), frozenset({"ImageVolume"})]),
    copier=st.sampled_from(["", "busybox"]),
    exact_modes=st.booleans(),
)


@settings(max_examples=800, deadline=None)
@given(st.data())
def test_pods_of_every_shape(data: st.DataObject) -> None:
    """Right data or a refusal, other documents to the byte, a second run empty, untouched lines all there."""
    manifest, route = data.draw(manifests())
    seed = data.draw(st.integers(0, 2**32))
    before = Ugly(seed).text(manifest)
    head = data.draw(st.sampled_from(["", "# first\na: {b: [c]}\n---\n", "---\nkind: Service\n--- # x\n"]))
    if before.startswith("\ufeff"):
        head = ""
    tail = "\n---\nkind: Pod\nspec: {containers: [{name: other, image: x}]}\n"
    text = (head + before + tail).encode()
    pod = _value(manifest, route)
    planned = [
        _plan(
            container["name"],
            (*route, key, index),
            data.draw(mounts()),
            document=1 if head else 0,
            image=data.draw(
                st.sampled_from([None, ImageFacts(reference="x"), ImageFacts(reference="x", has_shell=True)])
            ),
        )
        for key in ("containers", "initContainers")
        for index, container in enumerate(pod.get(key) or ())
        if data.draw(st.booleans())
    ]
    options = data.draw(OPTIONS)
    once = patch(text, planned, options)
    assert once.text.startswith(head.encode())
    assert tail.encode() in once.text
    assert patch(once.text, _moved(planned, text, once.text), options).text == once.text
    document = next(d for d in read_documents(once.text) if isinstance(d, Document) and d.index == (1 if head else 0))
    _check_pod(_value(to_python(document.root), route), pod, planned, {each.container for each in once.refused})
    _check_lines(text, once.text)
    _check_schema(text, once.text, options)
    _check_meaning(text, once.text, planned, options)


def _check_meaning(before: bytes, after: bytes, planned: list[Planned], options: Options) -> None:
    """To kubectl's own reader a patched file is what the same patch makes of the same data in plain JSON."""
    held = kubectl.read(before)
    if held is None:
        return
    plain = "\n".join(map(json.dumps, held)).encode()
    wanted = patch(plain, planned, options)
    assert kubectl.read(after) == _documents(wanted.text)


def _documents(text: bytes) -> list[Any]:
    """Return the JSON objects that stand one after the other."""
    decoder, found, rest = json.JSONDecoder(), [], text.decode().strip()
    while rest:
        value, end = decoder.raw_decode(rest)
        found.append(value)
        rest = rest[end:].strip()
    return found


def _check_schema(before: bytes, after: bytes, options: Options) -> None:
    """Nothing is wrong with a patched file that was right before, to the strict schema of the version asked for."""
    version = options.version or VERSIONS[0]
    new = errors(_data(after), version) - errors(_data(before), version)
    assert not new, (version, new)


def _data(text: bytes) -> dict[str, Any]:
    """Return the documents of a file as one List."""
    found = [document for document in read_documents(text) if isinstance(document, Document)]
    return {"kind": "List", "items": [_plain(document) for document in found]}


def _plain(document: Document) -> Any:
    try:
        return to_python(document.root)
    except ValueError:  # refused by kubectl, and so by a patch
        return None


def _value(data: Any, route: Route) -> Any:
    for key in route:
        data = data[key]
    return data


def _moved(planned: list[Planned], before: bytes, after: bytes) -> list[Planned]:
    return [
        Planned(
            document=one.document,
            route=_shift(after, before, one.document, one.route),
            container=one.container,
            plan=one.plan,
            image=one.image,
        )
        for one in planned
    ]


def _check_pod(after: dict[str, Any], before: dict[str, Any], planned: list[Planned], refused: set[str]) -> None:
    """Hold a patched pod against what its plans say, by rules of its own."""
    volumes = {volume["name"]: volume for volume in after.get("volumes") or ()}
    assert len(volumes) == len(after.get("volumes") or ())
    names = [c["name"] for key in ("containers", "initContainers") for c in after.get(key) or ()]
    assert len(names) == len(set(names))
    by_name = {c["name"]: c for key in ("containers", "initContainers") for c in after.get(key) or ()}
    old = {c["name"]: c for key in ("containers", "initContainers") for c in before.get(key) or ()}
    wanted = {one.container: one for one in planned if one.container not in refused}
    for name, container in old.items():
        if name not in wanted:
            assert json.dumps(by_name[name]) == json.dumps(container), "a container nobody planned for has changed"
            continue
        found = by_name[name]
        assert found["securityContext"]["readOnlyRootFilesystem"] is True
        assert "readOnlyFilesystem" not in found["securityContext"]
        mounted = {PurePosixPath(m["mountPath"]): m for m in found.get("volumeMounts") or ()}
        assert len(mounted) == len(found.get("volumeMounts") or ())
        for mount in wanted[name].plan.mounts:
            assert mount.path in mounted
            entry = mounted[mount.path]
            if entry["name"] == "own":
                continue
            source = volumes.get(entry["name"], {})
            if mount.storage is not StorageKind.VOLUME:
                assert "emptyDir" in source
            if mount.seed is not Seed.NONE:
                assert entry["subPath"].endswith("content")
                new = [c for c in after["initContainers"] if c["name"] not in old]
                seeders = [c for c in new if any(m["name"] == entry["name"] for m in c["volumeMounts"])]
                assert len(seeders) == 1
                assert seeders[0]["securityContext"]["readOnlyRootFilesystem"] is True
                assert str(mount.path).replace("$(", "$$(") in seeders[0]["command"][-1]
        assert _rest(found) == _rest(container)


def _rest(container: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in container.items() if key not in ("securityContext", "volumeMounts", "env")}


def _check_lines(before: bytes, after: bytes) -> None:
    """Lines go only where a value in them is replaced; comments never do."""
    old, new = before.decode().split("\n"), after.decode().split("\n")
    rest = iter(new)
    for line in old:
        assert not line.lstrip().startswith("#") or line in rest, line
    allowed = ("curitycontext", "readonly", "olume", "env", "TMPDIR", "value", "initContainers", "{", "}", "]")
    for line in Counter(old) - Counter(new):
        code = line.partition(" #")[0].rstrip()
        followed = any(other.startswith(f"{code},") for other in new)  # by a new entry in flow style
        below = code.lstrip(" -").startswith(":")  # the value of a key that stands above it, behind a `?`
        expected = below or any(word.lower() in line.lower() for word in allowed)
        assert not line.strip() or followed or expected or code in new, line


_PLACES = [
    Mount(path=PurePosixPath("/tmp"), storage=StorageKind.MEMORY, size=1 << 20, mode=0o1777),
    Mount(path=PurePosixPath("/var/cache/x y"), storage=StorageKind.SCRATCH, seed=Seed.SKELETON),
    Mount(path=PurePosixPath("/var/lib/w"), storage=StorageKind.VOLUME, name="data", uid=33, gid=33, mode=0o700),
]


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_collected_manifests(path: Path, tmp_path: Path) -> None:
    """Every container of every file at hand: patched or refused with a reason; again is nothing; it is taken back."""
    data = path.read_bytes()
    planned = [_plan(c.name, c.location.route, _PLACES, c.location.document) for c in _containers(data)]
    once = patch(data, planned)
    assert all(each.reason for each in once.refused)
    if once.text == data:
        return
    file = tmp_path / path.name
    file.write_bytes(data)
    replace_file(read_original(file), once.text, tmp_path / "state")
    assert file.read_bytes() == once.text
    assert patch(once.text, _moved(planned, data, once.text)).text == once.text
    revert_file(file, tmp_path / "state")
    assert file.read_bytes() == data
    left = Counter(each.container for each in once.refused)
    done = [one for one in planned if not left[one.container]]
    if len(done) + len(once.refused) == len(planned):  # names that tell containers apart
        _check_meaning(data, once.text, done, Options())
    _check_schema(data, once.text, Options())
    _check_lines(data, once.text)


def test_memory_is_for_run_time_files_and_for_what_a_person_says() -> None:
    """Disk is charged to no container, and the kubelet holds it to its size."""
    text = b"apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - {name: a, image: x}\n"
    classes = {"/run": (PathClass.RUNTIME, PathClass.SCRATCH), "/tmp": (PathClass.SCRATCH,), "/mine": ()}
    wanted = [
        Mount(path=PurePosixPath(path), storage=StorageKind.MEMORY, size=1 << 20, classes=known)
        for path, known in classes.items()
    ]
    patched = patch(text, [_plan("a", ("spec", "containers", 0), wanted)])
    (pod,) = _data(patched.text)["items"]
    volumes = pod["spec"]["volumes"]
    assert {volume["name"] for volume in volumes if "medium" in volume["emptyDir"]} == {"run", "mine"}
    assert all(volume["emptyDir"]["sizeLimit"] == "1Mi" for volume in volumes)


def test_a_container_beside_which_none_can_be_started_before_has_its_places_open() -> None:
    """And is told so: a step of Argo, for one, whose container stands alone."""
    text = "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nspec:\n  templates:\n  - container: {image: x}\n"
    mounts = place("/run/app", mode=0o700), place("/data", StorageKind.VOLUME, mode=0o700)
    one = planned(*mounts, container="", route=("spec", "templates", 0, "container"))
    patched = patch(text.encode(), [one])
    assert not patched.refused
    (told,) = (note for note in patched.notes if "open to all" in note)
    assert "/run/app is open to all (mode 777) and not 700: no container" in told
