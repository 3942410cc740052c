"""Pods without a cluster, on the bundle engine, Docker and Podman: what their processes find, and what is left."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.runtime.conftest import needs
from tests.runtime.hardening import until
from tests.runtime.test_cli_engines import ARGUMENTS, RUN_ARGUMENTS

from lithify.engines.base import Container, Root
from lithify.engines.pods.command_line import CliHost
from lithify.engines.pods.engine import PodEngine
from lithify.errors import EngineRefused, InvalidInput, NothingToExamine
from lithify.model.run import Target
from lithify.pipeline.groups.openers import open_group
from lithify.pipeline.groups.options import GroupOptions
from lithify.pipeline.target import make_cli_engine
from lithify.settings import Settings

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a pod's volumes are filled as root")

LOOK = """
    echo "user $(id -u):$(id -g) groups $(id -G)"
    echo "env $GREETING $SECRET $LABEL $LIMIT from $POD_IP"
    echo "args $0 $*"
    echo "conf $(cat /conf/a.txt) $(stat -Lc %a /conf/a.txt) $(readlink /conf/a.txt)"
    echo "part $(cat /part.txt)"
    echo "sub $(cat /sub/kept)"
    echo "seed $(cat /shared/seed), beat $(test -s /shared/beat && echo yes)"
    echo "shared $(stat -c '%a %g' /shared) quick $(stat -c '%a %g' /quick) $(stat -fc %T /quick)"
    echo "data $(stat -c '%a %g' /data)"
    ls /var/tmp; touch /var/tmp/left
    touch /conf/x 2>/dev/null && echo "conf can be written"
    touch /ro/x 2>/dev/null && echo "ro can be written"
    echo "caps $(sed -n 's/^CapBnd:\\t//p' /proc/self/status) $(sed -n 's/^NoNewPrivs:\\t//p' /proc/self/status)"
    echo "host $(hostname) $(grep -c 10.9.8.7 /etc/hosts)"
    echo "pwd $PWD"
    echo over
    trap 'exit 0' TERM; while :; do sleep 0.1; done
"""

MANIFEST = """
apiVersion: v1
kind: ConfigMap
metadata: {{name: conf}}
data: {{a.txt: hello, greeting: hi}}
---
apiVersion: v1
kind: Secret
metadata: {{name: keys}}
stringData: {{token: s3cret}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: store}}
spec:
  template:
    metadata: {{labels: {{app: store}}}}
    spec:
      hostname: inside
      hostAliases: [{{ip: 10.9.8.7, hostnames: [other]}}]
      securityContext: {{runAsUser: 1000, runAsGroup: 3000, fsGroup: 2000, supplementalGroups: [4000]}}
      initContainers:
      - name: prepare
        image: {image}
        command: [sh, -c, 'echo prepared > /shared/seed; mkdir /shared/deep; echo v1 > /shared/deep/kept']
        volumeMounts: [{{name: shared, mountPath: /shared}}]
      - name: helper
        image: {image}
        restartPolicy: Always
        command: [sh, -c, 'while :; do sleep 0.2; date > /shared/beat; done']
        startupProbe: {{exec: {{command: [test, -s, /shared/beat]}}}}
        volumeMounts: [{{name: shared, mountPath: /shared}}]
      containers:
      - name: app
        image: {image}
        command: [sh, -c]
        args: [{look}, "$(GREETING)", b]
        workingDir: /usr
        env:
        - {{name: GREETING, valueFrom: {{configMapKeyRef: {{name: conf, key: greeting}}}}}}
        - {{name: SECRET, valueFrom: {{secretKeyRef: {{name: keys, key: token}}}}}}
        - {{name: LABEL, valueFrom: {{fieldRef: {{fieldPath: "metadata.labels['app']"}}}}}}
        - {{name: LIMIT, valueFrom: {{resourceFieldRef: {{resource: limits.memory}}}}}}
        - {{name: POD_IP, valueFrom: {{fieldRef: {{fieldPath: status.podIP}}}}}}
        resources: {{limits: {{memory: 128Mi}}}}
        securityContext:
          allowPrivilegeEscalation: false
          capabilities: {{drop: [ALL], add: [NET_BIND_SERVICE]}}
        volumeMounts:
        - {{name: conf, mountPath: /conf}}
        - {{name: conf, mountPath: /part.txt, subPath: a.txt}}
        - {{name: shared, mountPath: /shared}}
        - {{name: shared, mountPath: /sub, subPath: deep}}
        - {{name: quick, mountPath: /quick}}
        - {{name: shared, mountPath: /ro, readOnly: true}}
        - {{name: data, mountPath: /data}}
      volumes:
      - name: conf
        configMap: {{name: conf, defaultMode: 288}}
      - name: shared
        emptyDir: {{}}
      - name: quick
        emptyDir: {{medium: Memory, sizeLimit: 1Mi}}
  volumeClaimTemplates:
  - metadata: {{name: data}}
"""


@pytest.fixture(params=["bundle", "docker", "podman"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GroupOptions]:
    """How to run pods of the image `app:1` on each engine; nothing of ours may be left there."""
    name = request.param
    if name == "bundle":
        root = request.getfixturevalue("base_rootfs")
        yield GroupOptions(settings=Settings(engine=name, state=tmp_path / "state"), images={"app:1": root})
        assert list((tmp_path / "state" / "runs").glob("*")) == []
        return
    image = request.getfixturevalue(f"{name}_image")
    monkeypatch.setenv(f"LITHIFY_{name.upper()}_ARGS", ARGUMENTS[name])
    monkeypatch.setenv(f"LITHIFY_{name.upper()}_RUN_ARGS", RUN_ARGUMENTS[name])
    subprocess.run([name, "tag", image, "app:1"], check=True)
    try:
        yield GroupOptions(settings=Settings(engine=name))
        assert ours(name) == []
    finally:
        subprocess.run([name, "rmi", "app:1"], check=True, capture_output=True)


def ours(engine: str) -> list[str]:
    """Return the containers and volumes that this process has made in an engine and that are still there."""
    mark = f"label=dev.lithify.owner={os.getpid()}:{Path('/proc/self/stat').read_text().rpartition(')')[2].split()[19]}"
    found = []
    for words in (("ps", "--all"), ("volume", "ls")):
        listed = subprocess.run(
            [engine, *words, "--quiet", "--filter", mark], capture_output=True, text=True, check=True
        )
        found += listed.stdout.split()
    return found


def engine_of(directory: Path, manifest: str, options: GroupOptions, member: str = "app") -> tuple[PodEngine, Target]:
    file = directory / "pod.yaml"
    file.write_text(manifest)
    group = open_group(str(file), options)
    assert group is not None
    engine, target, _ = group.engine_for(member, {})
    assert isinstance(engine, PodEngine)
    return engine, target


def logs_until(container: Container, word: str) -> dict[str, str]:
    """Return what the member said, by the first word of each line, once it said `word`."""
    until(lambda: word in container.logs().decode().split() or container.pid() is None, 30)
    lines = container.logs().decode().splitlines()
    assert word in lines, lines
    return {line.partition(" ")[0]: line.partition(" ")[2] for line in lines}


def test_what_a_process_in_a_pod_finds(tmp_path: Path, place: GroupOptions) -> None:
    engine, target = engine_of(tmp_path, MANIFEST.format(image="app:1", look=json.dumps(LOOK)), place)
    container = engine.create(target, root=Root.WRITABLE)
    try:
        container.start()
        found = logs_until(container, "over")
        address = container.address()
        assert address
        assert found["user"] in ("1000:3000 groups 3000 2000 4000", "1000:3000 groups 3000 4000 2000")
        assert found["env"] == f"hi s3cret store {128 << 20} from {address}"
        assert found["args"] == "hi b"
        assert found["conf"] == "hello 440 ..data/a.txt"
        assert found["part"] == "hello"
        assert found["sub"] == "v1"
        assert found["seed"] == "prepared, beat yes"
        assert found["shared"] == "2777 2000 quick 2777 2000 tmpfs"
        assert found["data"] == "2777 2000"
        assert "can be written" not in " ".join(found.values())
        assert found["caps"] == "0000000000000400 1"
        assert found["host"] == "inside 1"
        assert found["pwd"] == "/usr"
        pid = container.pid()
        container.kill()
        assert container.pid() is None
        container.start()  # in place: no init container runs again, the emptyDir keeps what it has, the layer goes
        assert container.pid() not in (None, pid)
        until(lambda: container.logs().decode().count("over") == 2, 30)
        assert b"left" not in container.logs(), "another layer, as a kubelet gives it one"
        assert container.stop(10.0) == 0
    finally:
        container.remove()


ONE = """
apiVersion: v1
kind: Pod
metadata: {{name: one}}
spec:
  restartPolicy: {policy}
  containers:
  - {{name: app, image: "app:1", command: [sh, -c, "trap 'exit 0' TERM; while :; do sleep 0.1; done"]}}
  - {{name: other, image: "app:1", command: [sh, -c, {other}], volumeMounts: [{{name: v, mountPath: /v}}]}}
  volumes: [{{name: v, emptyDir: {{}}}}]
"""


@pytest.fixture
def bundles(base_rootfs: Path, tmp_path: Path) -> Iterator[GroupOptions]:
    """Pods of `app:1` on the bundle engine."""
    state = tmp_path / "state"
    yield GroupOptions(settings=Settings(engine="bundle", state=state), images={"app:1": base_rootfs})
    assert list((state / "runs").glob("*")) == []


@pytest.mark.parametrize(("policy", "again"), [("Always", True), ("OnFailure", True), ("Never", False)])
def test_what_dies_beside_the_member_is_started_again(
    tmp_path: Path, bundles: GroupOptions, policy: str, again: bool
) -> None:
    other = "date +%s.%N >> /v/starts; exit 1"
    engine, target = engine_of(tmp_path, ONE.format(policy=policy, other=json.dumps(other)), bundles)
    container = engine.create(target, root=Root.WRITABLE)
    try:
        container.start()
        (starts,) = until_some(lambda: list((tmp_path / "state").glob("runs/*/volumes/*/v/starts")))
        time.sleep(2.5)
        assert (len(starts.read_text().splitlines()) > 1) is again
    finally:
        container.remove()


def until_some(find: object) -> list[Path]:
    assert callable(find)
    until(lambda: bool(find()))
    found = find()
    assert isinstance(found, list)
    return found


def test_a_replacement_finds_the_claim_and_a_fresh_scratch(tmp_path: Path, bundles: GroupOptions) -> None:
    script = (
        "ls /scratch /data; touch /scratch/one /data/two; echo over; trap 'exit 0' TERM; while :; do sleep 0.1; done"
    )
    manifest = f"""
apiVersion: v1
kind: Pod
metadata: {{name: one}}
spec:
  containers:
  - name: app
    image: app:1
    command: [sh, -c, {json.dumps(script)}]
    volumeMounts: [{{name: scratch, mountPath: /scratch}}, {{name: data, mountPath: /data}}]
  volumes:
  - name: scratch
    emptyDir: {{}}
  - name: data
    persistentVolumeClaim: {{claimName: data}}
"""
    engine, target = engine_of(tmp_path, manifest, bundles)
    first = engine.create(target, root=Root.WRITABLE)
    try:
        first.start()
        logs_until(first, "over")
        first.stop(5.0)
        second = engine.create(target, root=Root.WRITABLE, storage=first)
        try:
            second.start()
            logs_until(second, "over")
            assert second.logs().decode().split() == ["/data:", "two", "/scratch:", "over"]
        finally:
            second.remove()
    finally:
        first.remove()


def test_an_init_container_that_fails(tmp_path: Path, bundles: GroupOptions) -> None:
    init, told = "echo no database >&2; exit 3", "init container setup ends with exit code 3: no database"
    manifest = f"""
apiVersion: v1
kind: Pod
metadata: {{name: one}}
spec:
  initContainers: [{{name: setup, image: "app:1", command: [sh, -c, {json.dumps(init)}]}}]
  containers: [{{name: app, image: "app:1", command: [sleep, "100"]}}]
"""
    engine, target = engine_of(tmp_path, manifest, bundles)
    container = engine.create(target, root=Root.WRITABLE)
    try:
        with pytest.raises(EngineRefused, match=told):
            container.start()
    finally:
        container.remove()


def test_a_container_that_must_not_be_root_and_would(tmp_path: Path, bundles: GroupOptions) -> None:
    manifest = ONE.format(policy="Always", other="sleep 100").replace(
        "  containers:", "  securityContext: {runAsNonRoot: true}\n  containers:"
    )
    engine, target = engine_of(tmp_path, manifest, bundles)
    container = engine.create(target, root=Root.WRITABLE)
    try:
        with pytest.raises(EngineRefused, match="runAsNonRoot"):
            container.start()
    finally:
        container.remove()


def test_an_image_as_a_volume(tmp_path: Path, place: GroupOptions) -> None:
    manifest = """
apiVersion: v1
kind: Pod
metadata: {name: one}
spec:
  containers:
  - name: app
    image: app:1
    command: [sh, -c, "cat /image/etc/debian_version; head -n1 /etc.d/passwd; touch /image/x; echo over; sleep 100"]
    volumeMounts:
    - {name: image, mountPath: /image}
    - {name: image, mountPath: /etc.d, subPath: etc}
  volumes:
  - name: image
    image: {reference: "app:1"}
"""
    engine, target = engine_of(tmp_path, manifest, place)
    container = engine.create(target, root=Root.READ_ONLY)
    try:
        container.start()
        logs_until(container, "over")
        lines = container.logs().decode().splitlines()
        assert "12." in lines[0]
        assert any("Read-only file system" in line for line in lines)
        assert any(line.startswith("roo") for line in lines)
    finally:
        container.remove()


def test_a_link_in_a_volume_leads_nowhere_outside(tmp_path: Path, bundles: GroupOptions) -> None:
    """An init container that makes a link for `subPath` gets the place inside its volume, not the host's."""
    manifest = """
apiVersion: v1
kind: Pod
metadata: {name: one}
spec:
  initContainers:
  - name: setup
    image: app:1
    command: [sh, -c, ln -s ../../../../../../etc /v/out]
    volumeMounts: [{name: v, mountPath: /v}]
  containers:
  - name: app
    image: app:1
    command: [sh, -c, "ls -A /got; echo over; sleep 100"]
    volumeMounts: [{name: v, mountPath: /got, subPath: out}]
  volumes: [{name: v, emptyDir: {}}]
"""
    engine, target = engine_of(tmp_path, manifest, bundles)
    container = engine.create(target, root=Root.WRITABLE)
    try:
        container.start()
        logs_until(container, "over")
        assert container.logs() == b"over\n"
    finally:
        container.remove()


def test_a_program_without_a_shell_beside_it(tmp_path: Path, static_rootfs: Path) -> None:
    """Neither the network's holder nor the look into an idle member needs anything from the image."""
    options = GroupOptions(
        settings=Settings(engine="bundle", state=tmp_path / "state"), images={"probe:1": static_rootfs}
    )
    manifest = """
apiVersion: v1
kind: Pod
metadata: {name: one}
spec:
  containers:
  - {name: app, image: "probe:1", command: [/probe, wait]}
"""
    engine, target = engine_of(tmp_path, manifest, options)
    for idle in (False, True):
        container = engine.create(target, root=Root.READ_ONLY, idle=idle)
        try:
            container.start()
            assert container.pid()
        finally:
            container.remove()


def test_what_is_not_there_is_named(tmp_path: Path, bundles: GroupOptions) -> None:
    manifest = ONE.format(policy="Always", other="x")
    with pytest.raises(NothingToExamine, match="nothing stands for the image other:2"):
        engine_of(tmp_path, manifest.replace("app:1", "other:2"), bundles)
    with pytest.raises(InvalidInput, match="the config map gone, which is not in the file"):
        engine_of(tmp_path, manifest.replace("emptyDir: {}", "configMap: {name: gone}"), bundles)


@pytest.mark.parametrize("name", ["docker", "podman"])
def test_a_volume_that_somebody_else_removes_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a prune beside lithify does: it is the engine's, as nothing uses it yet."""
    needs(name)
    monkeypatch.setenv(f"LITHIFY_{name.upper()}_ARGS", ARGUMENTS[name])
    premises = CliHost(make_cli_engine(name)).premises("run", None)
    try:
        made = [premises.directory("one"), premises.directory("two", stays=True)]
        assert all(path.is_dir() for path in made)
        mine = ours(name)
        assert len(mine) == 2
        subprocess.run([name, "volume", "rm", *mine], check=True, capture_output=True)
        for stays in (False, True):
            with pytest.raises(EngineRefused, match=r"volume lithify-[0-9a-f]+-(pod|claim-two), .* is gone") as caught:
                premises.directory("two", stays=stays)
            assert f"{name} volume prune" in str(caught.value.hint)
    finally:
        premises.remove()
    assert ours(name) == []
