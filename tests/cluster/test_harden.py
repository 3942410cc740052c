"""`lithify harden deploy.yaml` on a real cluster: what comes out runs there, and nothing else is left."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster.cluster import Cluster, left_behind, wait_for
from tests.cluster.manifests import STAY, config_map, deployment, pod, shell, text
from tests.runtime.hardening import Done, Lithify

WEB = """\
# The shop's front.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 2   # two, for rolling updates
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels: {app: web}
    spec:
      containers:
      - name: nginx
        image: docker.io/lithify-test/nginx:1
        imagePullPolicy: Never
        ports:
        - containerPort: 80
        readinessProbe:
          httpGet: {path: /, port: 80}
          periodSeconds: 1
---
apiVersion: v1
kind: Service
metadata:
  name: web
spec:
  type: NodePort
  selector: {app: web}
  ports:
  - port: 80
"""


@pytest.fixture(autouse=True)
def nothing_left(cluster: Cluster) -> Iterator[None]:
    """Fail the test after which a scratch namespace is left."""
    yield
    assert left_behind(cluster) == []


def proved(done: Done) -> dict[str, Any]:
    """Return the result of a hardening in which every check passed."""
    result = done.json()
    checks = [
        check
        for member in result["members"]
        for verdict in (member["hardening"]["verdict"], member["together"])
        for kind in ("works", "refused", "minimal", "honest")
        for check in verdict[kind]
    ]
    assert [check for check in checks if not check["passed"]] == []
    assert done.code == 0, done.err
    return result


def harden(lithify: Lithify, cluster: Cluster, file: Path, *words: object, timeout: float = 200) -> Done:
    return lithify.run("harden", file, "--kubeconfig", cluster.kubeconfig, *words, timeout=timeout)


@pytest.mark.usefixtures("nginx_image")
def test_a_deployment_is_hardened_and_its_patched_file_runs(cluster: Cluster, lithify: Lithify, tmp_path: Path) -> None:
    """The flag alone kills nginx; the patch that comes out keeps it alive, also across a restart by the kubelet."""
    file = tmp_path / "web.yaml"
    file.write_text(WEB)
    result = proved(harden(lithify, cluster, file, "--format", "json"))
    (member,) = result["members"]
    assert member["name"] == "nginx"
    assert not member["hardening"]["flag_alone_works"]
    assert member["hardening"]["original"]["listeners"] == ["tcp/80"]
    assert "# two, for rolling updates" in result["text"]
    assert file.read_text() == WEB
    with cluster.namespace("lithify-test-harden") as namespace:
        documents = [one for one in yaml.safe_load_all(result["text"]) if one]
        cluster.apply(*documents, namespace=namespace)
        words = ("-n", namespace, "deployment/web")
        cluster.kubectl("rollout", "status", *words, "--timeout=60s", timeout=70)
        touch = cluster.kubectl("exec", "-n", namespace, "deployment/web", "--", "sh", "-c", "touch /usr/x 2>&1 || :")
        assert "Read-only file system" in touch


def test_what_the_manifest_refers_to_comes_along(
    cluster: Cluster, lithify: Lithify, app_image: str, tmp_path: Path
) -> None:
    """A config map and a secret of the namespace are copied; --with goes before them; a claim gets empty storage."""
    script = (
        "test $WORD = secret && test $(cat /etc/app/key) = given && echo hello > /data/x && touch /var/tmp/a && " + STAY
    )
    environment = [{"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "word", "key": "word"}}}]
    mounts = [{"name": "conf", "mountPath": "/etc/app"}, {"name": "data", "mountPath": "/data"}]
    volumes = [
        {"name": "conf", "configMap": {"name": "conf"}},
        {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
    ]
    container = shell(script, app_image, env=environment, volumeMounts=mounts)
    file, beside = tmp_path / "app.yaml", tmp_path / "beside.yaml"
    file.write_text(text(deployment("app", container, volumes=volumes)))
    beside.write_text(text(config_map("conf", key="given")))
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "word"}, "stringData": {"word": "secret"}}
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    }
    with cluster.namespace("lithify-test-refers") as namespace:
        cluster.apply(config_map("conf", key="of the namespace"), namespace=namespace)
        done = harden(lithify, cluster, file, "-n", namespace)
        assert done.code == 3
        assert f"Secret word, which is neither in the file nor in namespace {namespace}" in done.error()[0]
        cluster.apply(secret, claim, namespace=namespace)
        done = harden(lithify, cluster, file, "-n", namespace, "--with", beside, "--format", "json")
        (member,) = proved(done)["members"]
        assert [mount["path"] for mount in member["hardening"]["plan"]["mounts"]] == ["/var/tmp"]
        told = " ".join(member["hardening"]["verdict"]["cannot_show"])
        assert "claim data was tried with empty storage" in told
        assert cluster.get("pods", "-n", namespace)["items"] == []
        assert cluster.get("configmap", "conf", "-n", namespace)["data"] == {"key": "of the namespace"}


def test_two_containers_an_init_container_and_a_job(
    cluster: Cluster, lithify: Lithify, app_image: str, tmp_path: Path
) -> None:
    """Each container gets its own plan; what comes to its end is learnt from as well."""
    init = {**shell("mkdir -p /var/cache/app; sleep 1; echo ready > /shared/x", app_image), "name": "init"}
    init |= {"imagePullPolicy": "Never", "volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}
    app = shell(f"cat /shared/x && mkdir -p /var/cache/web && {STAY}", app_image)
    app |= {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}
    volumes = [{"name": "shared", "emptyDir": {}}]
    file = tmp_path / "pods.yaml"
    file.write_text(text(deployment("app", app, volumes=volumes, initContainers=[init])))
    result = proved(harden(lithify, cluster, file, "--format", "json"))
    plans = {
        member["name"]: [mount["path"] for mount in member["hardening"]["plan"]["mounts"]]
        for member in result["members"]
    }
    assert plans == {"init": ["/var/cache/app"], "app": ["/var/cache/web"]}


class TestRefusals:
    """What can't be run says why, in the words of who refuses it."""

    def broken(self, cluster: Cluster, lithify: Lithify, tmp_path: Path, *objects: object) -> tuple[str, str]:
        file = tmp_path / "bad.yaml"
        file.write_text(text(*objects))  # type: ignore[arg-type]
        done = harden(lithify, cluster, file, "--timeout", "6")
        assert done.code == 3, done.err
        return done.error()

    def test_an_image_that_is_not_there(self, cluster: Cluster, lithify: Lithify, tmp_path: Path) -> None:
        bad = deployment("bad", shell("true", "docker.io/lithify-test/none:1"))
        message, _ = self.broken(cluster, lithify, tmp_path, bad)
        assert "container app can't be started: ErrImageNeverPull" in message

    def test_a_field_that_does_not_exist(
        self, cluster: Cluster, lithify: Lithify, app_image: str, tmp_path: Path
    ) -> None:
        bad = deployment("bad", shell("true", app_image, readonly=True))
        file = tmp_path / "bad.yaml"
        file.write_text(text(bad))
        done = harden(lithify, cluster, file)
        assert done.code == 3
        assert 'unknown field "spec.containers[0].readonly"' in done.err

    def test_a_probe_that_never_passes(
        self, cluster: Cluster, lithify: Lithify, app_image: str, tmp_path: Path
    ) -> None:
        probe = {"exec": {"command": ["false"]}, "periodSeconds": 1}
        bad = deployment("bad", shell(STAY, app_image, readinessProbe=probe))
        message, _ = self.broken(cluster, lithify, tmp_path, bad)
        assert "fails its kubelet-probe even with a writable root" in message

    def test_limits_that_the_namespace_has(
        self, cluster: Cluster, lithify: Lithify, app_image: str, tmp_path: Path
    ) -> None:
        """The copy's namespace has the limits and labels of the original's: it is refused where that would be."""
        limit = {"type": "Container", "max": {"memory": "10Mi"}}
        limits = {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "small"}, "spec": {"limits": [limit]}}
        big = shell(STAY, app_image, resources={"limits": {"memory": "1Gi"}})
        with cluster.namespace("lithify-test-limits") as namespace:
            cluster.apply(limits, namespace=namespace)
            bad = deployment("bad", big)
            bad["metadata"]["namespace"] = namespace
            message, hint = self.broken(cluster, lithify, tmp_path, bad)
            assert "maximum memory usage per Container is 10Mi" in message
            assert "quota" in hint

    def test_a_quota_that_is_used_up(self, cluster: Cluster, lithify: Lithify, app_image: str, tmp_path: Path) -> None:
        """What others use of it is taken off; its own pods in the namespace, which the copy stands for, are not."""
        hard = {"pods": "3", "requests.memory": "100Mi"}
        quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": hard}}
        asks = {"requests": {"memory": "40Mi"}}
        bad = deployment("bad", shell(STAY, app_image, resources=asks))
        other = pod("other", shell(STAY, app_image, resources=asks), nodeSelector={"no": "such-node"})
        own = pod("own", shell(STAY, app_image, resources=asks), nodeSelector={"no": "such-node"})
        own["metadata"]["labels"] = {"app": "bad"}
        with cluster.namespace("lithify-test-quota") as namespace:
            cluster.apply(quota, namespace=namespace)
            cluster.apply(own, other, namespace=namespace)
            counted = {"requests.memory": "80Mi", "pods": "2"}
            wait_for(lambda: cluster.get("quota", "few", "-n", namespace)["status"]["used"] == counted)
            bad["metadata"]["namespace"] = namespace
            bad["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["memory"] = "61Mi"
            message, hint = self.broken(cluster, lithify, tmp_path, bad)
            assert "exceeded quota: few, requested: requests.memory=61Mi, used: requests.memory=0" in message
            assert "limited: requests.memory=60Mi" in message
            assert "quota" in hint

    def test_a_security_standard_of_the_namespace(
        self, cluster: Cluster, lithify: Lithify, app_image: str, tmp_path: Path
    ) -> None:
        with cluster.namespace("lithify-test-standard") as namespace:
            cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
            bad = deployment("bad", shell(STAY, app_image))
            bad["metadata"]["namespace"] = namespace
            message, _ = self.broken(cluster, lithify, tmp_path, bad)
            assert 'violates PodSecurity "restricted:latest"' in message
