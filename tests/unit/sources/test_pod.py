"""Pods to run: what a manifest says of processes, files and storage, with what it refers to; and what is refused."""

import base64
import contextlib
import json
from pathlib import PurePosixPath
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lithify.errors import InvalidInput
from lithify.model.pod import Pod, Role, Variable, VolumeKind, environment_of, expand
from lithify.model.run import Probe
from lithify.sources.pod import Objects, read_pods


def deployment(spec: dict[str, Any], *, kind: str = "Deployment", **more: Any) -> bytes:
    """A manifest with a pod template of `spec`; `more` stands in the object's own spec."""
    template = {"metadata": {"labels": {"app": "web"}, "annotations": {"a": 'q"\n'}}, "spec": spec}
    inner: dict[str, Any] = {"template": template, **more}
    if kind == "Pod":
        whole = {"metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}}, "spec": spec}
    elif kind == "CronJob":
        whole = {"metadata": {"name": "web", "namespace": "shop"}, "spec": {"jobTemplate": {"spec": inner}}}
    else:
        whole = {"metadata": {"name": "web", "namespace": "shop"}, "spec": inner}
    return yaml.safe_dump({"apiVersion": "v1", "kind": kind, **whole}).encode()


def one(spec: dict[str, Any], **more: Any) -> Pod:
    (pod,) = read_pods("web.yaml", deployment(spec, **more))
    return pod


def app(**fields: Any) -> dict[str, Any]:
    return {"name": "app", "image": "web:1", **fields}


@pytest.mark.parametrize(
    ("kind", "route"),
    [
        ("Pod", ("spec", "containers", 0)),
        ("Deployment", ("spec", "template", "spec", "containers", 0)),
        ("StatefulSet", ("spec", "template", "spec", "containers", 0)),
        ("DaemonSet", ("spec", "template", "spec", "containers", 0)),
        ("Job", ("spec", "template", "spec", "containers", 0)),
        ("CronJob", ("spec", "jobTemplate", "spec", "template", "spec", "containers", 0)),
    ],
)
def test_every_kind_with_a_pod(kind: str, route: tuple[Any, ...]) -> None:
    pod = one({"containers": [app()], "restartPolicy": "Never"}, kind=kind)
    (container,) = pod.containers
    assert (pod.name, container.route, pod.restart_policy) == (f"{kind}/web", route, "Never")


@pytest.mark.parametrize("kind", ["Job", "CronJob"])
def test_an_indexed_job_tells_its_pods_which_they_are(kind: str) -> None:
    pod = one({"containers": [app()], "restartPolicy": "Never"}, kind=kind, completionMode="Indexed")
    assert environment_of(pod.containers[0], {})["JOB_COMPLETION_INDEX"] == "0"
    assert pod.fields["metadata.annotations['batch.kubernetes.io/job-completion-index']"] == "0"
    (container,) = one({"containers": [app()], "restartPolicy": "Never"}, kind=kind).containers
    assert container.environment == ()


def test_each_template_of_a_list_and_of_each_document_is_a_pod() -> None:
    items = [yaml.safe_load(deployment({"containers": [app()]}, kind=kind)) for kind in ("Deployment", "Job")]
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": items}).encode()
    pods = read_pods("all.json", listed)
    assert [(pod.name, pod.containers[0].route[:2]) for pod in pods] == [
        ("Deployment/web", ("items", 0)),
        ("Job/web", ("items", 1)),
    ]
    both = deployment({"containers": [app()]}) + b"---\n" + deployment({"containers": [app()]}, kind="Pod")
    assert [(pod.name, pod.document) for pod in read_pods("all.yaml", both)] == [("Deployment/web", 0), ("Pod/web", 1)]


def test_init_containers_and_sidecars_come_first() -> None:
    pod = one(
        {
            "containers": [app()],
            "initContainers": [
                {"name": "setup", "image": "a"},
                {"name": "proxy", "image": "b", "restartPolicy": "Always"},
            ],
        }
    )
    assert [(c.name, c.role) for c in pod.containers] == [
        ("setup", Role.INIT),
        ("proxy", Role.SIDECAR),
        ("app", Role.APP),
    ]


CONFIG = b"""
apiVersion: v1
kind: ConfigMap
metadata: {name: conf}
data: {mode: fast, file.ini: "a=1\\n"}
binaryData: {blob: /w==}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
data: {token: czNjcjN0}
stringData: {user: bob}
---
"""


def test_variables_from_everywhere() -> None:
    env = [
        {"name": "PLAIN", "value": "x"},
        {"name": "BOTH", "value": "$(PLAIN)-$(mode)-$(NOBODY)-$$(PLAIN)"},
        {"name": "MODE", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "mode"}}},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}},
        {"name": "GONE", "valueFrom": {"secretKeyRef": {"name": "no", "key": "no", "optional": True}}},
        {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "WHERE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "URL", "value": "http://$(IP)/"},
        {"name": "MIB", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
        {"name": "CORES", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        {"name": "MILLIS", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
    ]
    sources = [{"configMapRef": {"name": "conf"}}, {"prefix": "S_", "secretRef": {"name": "keys"}}]
    container = app(env=env, envFrom=sources, resources={"limits": {"memory": "64Mi", "cpu": "1500m"}})
    (pod,) = read_pods("web.yaml", CONFIG + deployment({"containers": [container]}))
    (read,) = pod.containers
    found = environment_of(read, {"status.podIP": "10.0.0.9"})
    assert found == {
        "mode": "fast",
        "file.ini": "a=1\n",
        "blob": "\udcff",
        "S_token": "s3cr3t",
        "S_user": "bob",
        "PLAIN": "x",
        "BOTH": "x-fast-$(NOBODY)-$(PLAIN)",
        "MODE": "fast",
        "TOKEN": "s3cr3t",
        "APP": "web",
        "WHERE": "shop",
        "IP": "10.0.0.9",
        "URL": "http://10.0.0.9/",
        "MIB": "64",
        "CORES": "2",
        "MILLIS": "1500",
    }
    assert read.memory == 64 << 20


def test_volumes_of_every_kind() -> None:
    downward = {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}
    volumes = [
        {"name": "scratch", "emptyDir": {}},
        {"name": "quick", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
        {"name": "conf", "configMap": {"name": "conf", "defaultMode": 0o600}},
        {"name": "some", "secret": {"secretName": "keys", "items": [{"key": "token", "path": "a/t", "mode": 0o400}]}},
        {"name": "maybe", "configMap": {"name": "absent", "optional": True}},
        {"name": "me", "downwardAPI": downward},
        {
            "name": "mixed",
            "projected": {
                "defaultMode": 0o444,
                "sources": [
                    {"configMap": {"name": "conf", "items": [{"key": "mode", "path": "m"}]}},
                    {"secret": {"name": "keys"}},
                    {"serviceAccountToken": {"path": "token-of-account"}},
                ],
            },
        },
        {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
        {"name": "host", "hostPath": {"path": "/var/run/docker.sock", "type": "Socket"}},
        {"name": "seed", "image": {"reference": "web:1"}},
        {"name": "odd", "csi": {"driver": "x"}},
    ]
    (pod,) = read_pods("web.yaml", CONFIG + deployment({"containers": [app()], "volumes": volumes}))
    by_name = {volume.name: volume for volume in pod.volumes}
    assert by_name["scratch"].kind is VolumeKind.EMPTY
    assert not by_name["scratch"].memory
    assert (by_name["quick"].memory, by_name["quick"].size) == (True, 16 << 20)
    conf = by_name["conf"].files
    assert {name: (file.content, file.mode) for name, file in conf.items()} == {
        "mode": (b"fast", 0o600),
        "file.ini": (b"a=1\n", 0o600),
        "blob": (b"\xff", 0o600),
    }
    assert {name: (f.content, f.mode) for name, f in by_name["some"].files.items()} == {"a/t": (b"s3cr3t", 0o400)}
    assert by_name["maybe"].files == {}
    assert by_name["me"].files["labels"].content == b'app="web"'
    assert set(by_name["mixed"].files) == {"m", "token", "user", "token-of-account"}
    assert by_name["mixed"].files["m"].mode == 0o444
    assert (by_name["data"].kind, by_name["host"].kind) == (VolumeKind.CLAIM, VolumeKind.HOST)
    assert (by_name["seed"].kind, by_name["seed"].reference) == (VolumeKind.IMAGE, "web:1")
    told = " ".join(pod.cannot_show)
    for what in ("volume data", "/var/run/docker.sock", "service account token", "kind csi"):
        assert what in told


def test_a_claim_template_is_a_volume() -> None:
    mounts = [{"name": "data", "mountPath": "/data/", "subPathExpr": "$(NAME)", "readOnly": True}]
    pod = one(
        {"containers": [app(volumeMounts=mounts)]},
        kind="StatefulSet",
        volumeClaimTemplates=[{"metadata": {"name": "data"}}],
    )
    assert [(volume.name, volume.kind) for volume in pod.volumes] == [("data", VolumeKind.CLAIM)]
    (mount,) = pod.containers[0].mounts
    assert (mount.path, mount.sub_path_expression, mount.read_only) == (PurePosixPath("/data"), "$(NAME)", True)


def test_a_container_says_more_than_its_pod() -> None:
    pod = one(
        {
            "securityContext": {
                "runAsUser": 1000,
                "runAsGroup": 3000,
                "runAsNonRoot": True,
                "fsGroup": 2000,
                "supplementalGroups": [7],
                "sysctls": [{"name": "net.core.somaxconn", "value": "1024"}],
            },
            "containers": [
                app(
                    securityContext={
                        "runAsUser": 0,
                        "runAsNonRoot": False,
                        "readOnlyRootFilesystem": True,
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"add": ["cap_net_admin"], "drop": ["ALL"]},
                        "seccompProfile": {"type": "Unconfined"},
                    }
                ),
                {"name": "other", "image": "b"},
            ],
        }
    )
    first, second = (container.security for container in pod.containers)
    assert (first.user, first.group, first.non_root, first.read_only_root) == (0, 3000, False, True)
    assert (first.escalation, first.added, first.dropped) == (False, ("NET_ADMIN",), ("ALL",))
    assert first.seccomp == "Unconfined"
    assert (second.user, second.non_root, second.escalation) == (1000, True, None)
    assert (pod.fs_group, pod.groups, dict(pod.sysctls)) == (2000, (7,), {"net.core.somaxconn": "1024"})


def test_probes() -> None:
    pod = one(
        {
            "containers": [
                app(
                    ports=[{"name": "web", "containerPort": 8080}, {"containerPort": 53, "protocol": "UDP"}],
                    startupProbe={"exec": {"command": ["test", "-e", "/up"]}},
                    readinessProbe={
                        "timeoutSeconds": 5,
                        "httpGet": {
                            "port": "web",
                            "path": "ready",
                            "scheme": "HTTPS",
                            "host": "h",
                            "httpHeaders": [{"name": "X", "value": "1"}],
                        },
                    },
                    livenessProbe={"tcpSocket": {"port": 8080}},
                )
            ]
        }
    )
    (container,) = pod.containers
    assert container.ports == (8080,)
    assert container.probes == (
        Probe(name="startup", command=("test", "-e", "/up")),
        Probe(
            name="readiness",
            port=8080,
            path="/ready",
            secure=True,
            headers=(("Host", "h"), ("X", "1")),
            timeout=5.0,
        ),
        Probe(name="liveness", port=8080),
    )


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"containers": [{"name": "app"}]}, "names no image"),
        ({"containers": [app(env={"A": "b"})]}, "containers[0].env is not a list"),
        ({"containers": [app(command="sh -c x")]}, "command is not a list"),
        ({"containers": [app(command=[1])]}, "command is not a list of text"),
        ({"containers": [app(securityContext={"runAsUser": "root"})]}, "runAsUser is not a whole number"),
        ({"containers": [app(workingDir="relative")]}, "workingDir is not an absolute path"),
        ({"containers": [app(volumeMounts=[{"name": "x", "mountPath": "/x"}])]}, "mounts the volume x, which"),
        (
            {
                "containers": [app(volumeMounts=[{"name": "x", "mountPath": "/x", "subPath": "../../etc"}])],
                "volumes": [{"name": "x", "emptyDir": {}}],
            },
            "subPath is not a relative path",
        ),
        ({"containers": [app(readinessProbe={"httpGet": {"port": "nope"}})]}, "names the port nope"),
        ({"containers": [app()], "volumes": [{"name": "c", "configMap": {"name": "gone"}}]}, "the config map gone"),
        ({"containers": [app(envFrom=[{"secretRef": {"name": "gone"}}])]}, "the secret gone, which is not in the file"),
        (
            {"containers": [app()], "volumes": [{"name": "e", "emptyDir": {"sizeLimit": "lots"}}]},
            "sizeLimit is not a quantity",
        ),
    ],
)
def test_what_kubernetes_would_not_take_is_named_with_its_place(spec: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        one(spec)
    assert told in str(caught.value)
    assert "web.yaml" in str(caught.value)
    assert "Deployment/web" in str(caught.value)
    assert caught.value.hint


def test_a_key_that_is_not_there() -> None:
    env = [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "nope"}}}]
    with pytest.raises(InvalidInput, match="the key nope, which conf does not have"):
        read_pods("web.yaml", CONFIG + deployment({"containers": [app(env=env)]}))


def test_what_is_given_beside_the_file_serves_and_the_file_comes_first() -> None:
    objects = Objects()
    objects.add("conf.yaml", CONFIG.replace(b"fast", b"slow"))
    source = [{"configMapRef": {"name": "conf"}}]
    (pod,) = read_pods("web.yaml", deployment({"containers": [app(envFrom=source)]}), objects)
    assert Variable(name="mode", value="slow", expands=False) in pod.containers[0].environment
    (pod,) = read_pods("web.yaml", CONFIG + deployment({"containers": [app(envFrom=source)]}), objects)
    assert Variable(name="mode", value="fast", expands=False) in pod.containers[0].environment


@pytest.mark.parametrize("key", ["../../etc/cron.d/x", "/etc/x", "..", "..data", "a/b", ""])
def test_a_key_that_would_lead_out_of_its_volume(key: str) -> None:
    objects = Objects()
    text = json.dumps({"kind": "ConfigMap", "metadata": {"name": "c"}, "data": {key: "x"}})
    with pytest.raises(InvalidInput, match="no key that Kubernetes takes"):
        objects.add("c.json", text.encode())


@pytest.mark.parametrize("name", ["../../tmp/x", "a/b", "", ".", "A", "x" * 64])
@pytest.mark.parametrize("what", ["volumes", "containers"])
def test_a_name_that_would_lead_elsewhere(what: str, name: str) -> None:
    spec: dict[str, Any] = {"containers": [app()], "volumes": [{"name": "v", "emptyDir": {}}]}
    spec[what][0]["name"] = name
    with pytest.raises(InvalidInput, match="is not a name of lower case"):
        one(spec)


@pytest.mark.parametrize("path", ["../x", "/x", "..data", "", "a/../b", "."])
def test_a_file_that_would_stand_outside_its_volume(path: str) -> None:
    items = [{"key": "mode", "path": path}]
    volumes = [{"name": "c", "configMap": {"name": "conf", "items": items}}]
    with pytest.raises(InvalidInput, match="path is not"):
        read_pods("web.yaml", CONFIG + deployment({"containers": [app()], "volumes": volumes}))


def test_a_secret_that_is_not_base64_is_named() -> None:
    objects = Objects()
    bad = b"kind: Secret\nmetadata: {name: s}\ndata: {k: abc}\n"
    with pytest.raises(InvalidInput, match="Secret/s: k is not base64"):
        objects.add("s.yaml", bad)


def test_a_broken_document_is_told_with_its_line() -> None:
    with pytest.raises(InvalidInput, match=r"web.yaml:\d+"):
        read_pods("web.yaml", deployment({"containers": [app()]}) + b"---\nkind: Pod\nspec: {containers: [\n")


def test_windows_pods_are_left_out() -> None:
    assert read_pods("w.yaml", deployment({"os": {"name": "windows"}, "containers": [app()]})) == ()


@given(st.dictionaries(st.from_regex(r"[A-Z_]{1,4}", fullmatch=True), st.text(max_size=8), max_size=4), st.text())
def test_expansion_leaves_what_it_does_not_know(variables: dict[str, str], text: str) -> None:
    assert expand(text.replace("$", ""), variables) == text.replace("$", "")
    for name, value in variables.items():
        assert expand(f"a$({name})b", variables) == f"a{value}b"
        assert expand(f"$$({name})", variables) == f"$({name})"


@given(st.dictionaries(st.from_regex(r"[a-z][a-z.]{0,7}", fullmatch=True), st.binary(max_size=64), max_size=5))
def test_any_bytes_of_a_secret_arrive(values: dict[str, bytes]) -> None:
    data = {key: base64.b64encode(value).decode() for key, value in values.items()}
    secret = json.dumps({"kind": "Secret", "metadata": {"name": "s"}, "data": data}).encode()
    objects = Objects()
    objects.add("s.json", secret)
    assert objects.get("Secret", "s") == values


WHOLE: dict[str, Any] = {
    "hostname": "h",
    "restartPolicy": "Always",
    "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["x"]}],
    "securityContext": {
        "runAsUser": 1,
        "fsGroup": 2,
        "supplementalGroups": [3],
        "sysctls": [{"name": "a", "value": "1"}],
        "seccompProfile": {"type": "RuntimeDefault"},
    },
    "initContainers": [{"name": "i", "image": "a", "restartPolicy": "Always"}],
    "containers": [
        {
            "name": "app",
            "image": "web:1",
            "command": ["a"],
            "args": ["b"],
            "workingDir": "/w",
            "env": [
                {"name": "A", "value": "b"},
                {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "C", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
            ],
            "envFrom": [{"prefix": "P", "configMapRef": {"name": "conf"}}],
            "ports": [{"name": "web", "containerPort": 80, "protocol": "TCP"}],
            "resources": {"limits": {"memory": "1Gi", "cpu": "100m"}},
            "securityContext": {"capabilities": {"add": ["A"], "drop": ["ALL"]}, "privileged": False},
            "readinessProbe": {"httpGet": {"port": "web", "path": "/", "httpHeaders": [{"name": "a", "value": "b"}]}},
            "livenessProbe": {"exec": {"command": ["x"]}, "timeoutSeconds": 3},
            "startupProbe": {"tcpSocket": {"port": 80}},
            "lifecycle": {"postStart": {"exec": {"command": ["y"]}}},
            "volumeMounts": [{"name": "e", "mountPath": "/e", "subPath": "s", "readOnly": True}],
        }
    ],
    "volumes": [
        {"name": "e", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": "c", "configMap": {"name": "conf", "items": [{"key": "mode", "path": "m", "mode": 256}]}},
        {"name": "p", "projected": {"sources": [{"downwardAPI": {"items": [{"path": "l", "fieldRef": {}}]}}]}},
        {"name": "h", "hostPath": {"path": "/x", "type": "File"}},
        {"name": "i", "image": {"reference": "web:1"}},
    ],
}


def places_in(value: Any, route: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the route of everything in a piece of plain data."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [route, *(place for key, below in items for place in places_in(below, (*route, key)))]


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from([place for place in places_in(WHOLE) if place]), ODD)
def test_whatever_stands_anywhere_is_read_or_named(place: tuple[Any, ...], value: Any) -> None:
    spec = json.loads(json.dumps(WHOLE))
    above = spec
    for key in place[:-1]:
        above = above[key]
    above[place[-1]] = value
    whole = {"kind": "Pod", "metadata": {"name": "web"}, "spec": spec}
    objects = Objects()
    objects.add("conf.yaml", CONFIG)
    with contextlib.suppress(InvalidInput):
        assert len(read_pods("web.json", json.dumps(whole).encode(), objects)) <= 1
