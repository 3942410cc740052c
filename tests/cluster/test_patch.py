"""Patched manifests on a real cluster: the API server takes them strictly, and the pods do what their plans say."""

import json
from pathlib import PurePosixPath

import pytest
from tests.cluster.cluster import Cluster, wait_for

from lithify.model.image import EntryType, ImageFacts
from lithify.model.location import Route
from lithify.model.mount import Mount, MountPlan, PathClass, Redirect, Seed, StorageKind
from lithify.model.patch import Planned
from lithify.model.writes import RunKey
from lithify.patch.kubernetes import Options, patch

IMAGE = ImageFacts(reference="app", has_shell=True, command=("sleep", "infinity"))
NO_SHELL = ImageFacts(reference="app", command=("sleep", "infinity"))


def mount(path: str, storage: StorageKind = StorageKind.SCRATCH, **more: object) -> Mount:
    return Mount(path=PurePosixPath(path), storage=storage, **more)  # type: ignore[arg-type]


def planned(*mounts: Mount, route: Route, image: ImageFacts = IMAGE) -> Planned:
    redirects = (Redirect(old=PurePosixPath("/x"), new=PurePosixPath("/mnt"), variable="TMPDIR", value="/mnt"),)
    plan = MountPlan(key=RunKey(image="app"), container="app", mounts=mounts, redirects=redirects)
    return Planned(document=0, route=route, container="app", plan=plan, image=image)


POD = "      - {name: app, image: app} # it\n"
TEMPLATE = (
    "  template:\n    metadata: {labels: {app: x}}\n    spec:\n      restartPolicy: %s\n      containers:\n" + POD
)
SELECTED = "  selector: {matchLabels: {app: x}}\n"
KINDS: dict[str, tuple[str, str, str]] = {
    "Pod": ("v1", "  containers:\n  - name: app\n    image: app", "Always"),
    "PodTemplate": ("v1", "", "Always"),
    "ReplicationController": ("v1", "  selector: {app: x}\n" + TEMPLATE, "Always"),
    "Deployment": ("apps/v1", SELECTED + TEMPLATE, "Always"),
    "ReplicaSet": ("apps/v1", SELECTED + TEMPLATE, "Always"),
    "DaemonSet": ("apps/v1", SELECTED + TEMPLATE, "Always"),
    "StatefulSet": ("apps/v1", "  serviceName: x\n" + SELECTED + TEMPLATE, "Always"),
    "Job": ("batch/v1", TEMPLATE, "Never"),
    "CronJob": ("batch/v1", "", "Never"),
}


def manifest(kind: str) -> tuple[str, Route]:
    """Return a whole object of a kind, and the route to its container."""
    version, spec, policy = KINDS[kind]
    head = f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: x}}\n"
    if kind == "Pod":
        return f"{head}spec:\n{spec}\n", ("spec", "containers", 0)
    if kind == "PodTemplate":
        return f"{head}template:\n  spec:\n    containers:\n    - {{name: app, image: app}}\n", (
            *("template", "spec", "containers"),
            0,
        )
    if kind == "CronJob":
        inner = "".join(f"    {line}\n" for line in (TEMPLATE % policy).splitlines())
        text = f'{head}spec:\n  schedule: "* * * * *"\n  jobTemplate:\n    spec:\n{inner}'
        return text, ("spec", "jobTemplate", "spec", "template", "spec", "containers", 0)
    return f"{head}spec:\n{spec % policy}", ("spec", "template", "spec", "containers", 0)


EVERYTHING = (
    mount("/tmp", StorageKind.MEMORY, size=1 << 20, mode=0o1777),
    mount("/run", StorageKind.MEMORY, size=1 << 20, classes=(PathClass.RUNTIME,)),
    mount("/var/cache/x", size=1 << 20, seed=Seed.SKELETON),
    mount("/var/lib/x y", size=1 << 20, seed=Seed.CONTENT, mode=0o700),
    mount("/etc/x.conf", size=1 << 20, seed=Seed.CONTENT, type=EntryType.FILE, mode=0o600),
    mount("/mnt"),
)


@pytest.mark.parametrize(
    ("options", "image"),
    [
        (Options(exact_modes=True, fresh_start=frozenset({"app"})), IMAGE),
        (Options(version=(1, 36), copier="busybox"), NO_SHELL),
    ],
    ids=["own shell", "copier"],
)
def test_the_api_server_takes_every_kind_strictly(cluster: Cluster, options: Options, image: ImageFacts) -> None:
    """A dry run on the server refuses unknown fields, wrong types and clashes; it finds none."""
    texts = []
    for kind in KINDS:
        before, route = manifest(kind)
        mounts = EVERYTHING if kind == "DaemonSet" else (*EVERYTHING, mount("/data", StorageKind.VOLUME, uid=5, gid=5))
        patched = patch(before.encode(), [planned(*mounts, route=route, image=image)], options)
        assert not patched.refused
        texts.append(patched.text.decode())
    said = cluster.kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", stdin="---\n".join(texts))
    for kind in KINDS:
        assert f"{kind.lower()}" in said


RESTRICTED = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: app
spec:
  selector: {{matchLabels: {{app: app}}}}
  template:
    metadata: {{labels: {{app: app}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: app   # the only one
          image: {image}
          imagePullPolicy: Never
          command:
            - sh
            - -c
            - |
              [ ! -e /run/app.pid ] || exit 3
              echo 1 > /run/app.pid
              touch /tmp/go
              while [ -e /tmp/go ]; do sleep 0.2; done
          securityContext:
            runAsUser: 1000
            runAsNonRoot: true
            allowPrivilegeEscalation: false
            capabilities: {{drop: [ALL]}}
            seccompProfile: {{type: RuntimeDefault}}
"""


def test_places_are_as_planned_and_survive_restarts(cluster: Cluster, app_image: str) -> None:
    """In a namespace of the restricted profile: content, owners and modes; the root refuses; it restarts in place."""
    plan = planned(
        mount("/tmp", StorageKind.MEMORY, size=1 << 20, mode=0o1777),
        mount("/run", StorageKind.MEMORY, size=1 << 20, uid=1000, gid=1000, classes=(PathClass.RUNTIME,)),
        mount("/var/lib/dpkg", seed=Seed.CONTENT, uid=1000, gid=1000, mode=0o750),
        mount("/var/cache", seed=Seed.SKELETON, uid=1000, gid=1000, mode=0o755),
        mount("/etc/passwd", seed=Seed.CONTENT, type=EntryType.FILE, uid=1000, gid=1000, mode=0o644),
        route=("spec", "template", "spec", "containers", 0),
    )
    options = Options(exact_modes=True, fresh_start=frozenset({"app"}))
    patched = patch(RESTRICTED.format(image=app_image).encode(), [plan], options)
    assert not patched.refused
    with cluster.namespace("lithify-test-patch") as namespace:
        cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
        cluster.kubectl("apply", "-n", namespace, "--validate=strict", "-f", "-", stdin=patched.text.decode())
        inside = ("exec", "-n", namespace, "deployment/app", "-c", "app", "--", "sh", "-c")
        cluster.kubectl("rollout", "status", "-n", namespace, "deployment/app", "--timeout=60s", timeout=70)
        modes = cluster.kubectl(*inside, "stat -c '%n %a %u' /tmp /run /var/lib/dpkg /var/cache /etc/passwd")
        assert modes.splitlines() == [
            "/tmp 1777 1000",
            "/run 755 1000",
            "/var/lib/dpkg 750 1000",
            "/var/cache 755 1000",
            "/etc/passwd 644 1000",
        ]
        written = "touch /tmp/a /run/a /var/lib/dpkg/a /var/cache/a && echo x:x:5:5::/: >> /etc/passwd && echo done"
        assert cluster.kubectl(*inside, written) == "done\n"
        assert "Read-only file system" in cluster.kubectl(*inside, "touch /var/a 2>&1 || :")
        assert cluster.kubectl(*inside, "head -c 4 /etc/passwd; ls /var/lib/dpkg | wc -l").startswith("root")
        cluster.kubectl(*inside, "rm /tmp/go")

        def restarted() -> bool:
            pods = cluster.get("pods", "-n", namespace)["items"]
            states = [state for pod in pods for state in pod["status"].get("containerStatuses", ())]
            return any(state["restartCount"] > 0 and state["ready"] for state in states)

        wait_for(restarted, 60, lambda: json.dumps(cluster.get("pods", "-n", namespace))[-1500:])
        assert cluster.kubectl(*inside, "cat /run/app.pid; ls /var/lib/dpkg/a") == "1\n/var/lib/dpkg/a\n"
