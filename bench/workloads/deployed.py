"""A file as it is deployed, by the measure's own hand: Compose by its plugin, Kubernetes by kubectl on a real node."""

import json
import math
import os
import shutil
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from bench.services.build import Built, load, write_archive
from bench.services.service import Service
from lithify.engines.bundle.state import start_time
from lithify.engines.temporary import temporary_folder

PATIENCE = 180.0
"""Seconds that an engine or a cluster has for anything it is asked."""
READY = 60.0
"""Seconds that a workload has to become ready, or to be done."""
DEATHS = 3
"""Restarts of a container that does not become ready, after which nobody waits any longer."""


class Deployed(Protocol):
    """A file that is deployed, and the container of it that is exercised."""

    service: Service
    engine: str

    @property
    def name(self) -> str:
        """What the engine calls the container."""

    def start(self) -> str:
        """Deploy it and wait until it is ready; return what went wrong, else nothing."""

    def pid(self) -> int | None:
        """Return the pid of the container's first process."""

    def address(self) -> str:
        """Return its address."""

    def crash(self) -> str:
        """Kill the container's first process and wait until it runs again; return what went wrong, else nothing."""

    def replace(self) -> str:
        """Replace the container by a new one with the same volumes; return what went wrong, else nothing."""

    def remove(self) -> None:
        """Take everything away that was deployed."""


def call(command: Sequence[str | Path], text: str = "", **environment: str) -> tuple[str, str]:
    """Return what a program printed, and its last complaint where it failed."""
    done = subprocess.run(
        command,
        input=text,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env={**os.environ, **environment},
    )
    lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    return done.stdout, lines[-1] if done.returncode else ""


@dataclass
class ComposeProject:
    """A Compose file, up as a project of its own name."""

    service: Service
    file: Path
    container: str
    """The service in the file that is exercised."""
    job: bool = False
    engine: str = field(default="docker", init=False)
    project: str = field(default_factory=lambda: f"lithify-bench-{uuid.uuid4().hex[:8]}", init=False)

    @property
    def name(self) -> str:
        """The container's id."""
        return self._compose("ps", "--all", "--quiet", self.container)[0].strip()

    def start(self) -> str:
        """Bring the project up."""
        return self._compose("up", "--detach", "--no-build")[1]

    def pid(self) -> int | None:
        """Return the pid of the container's first process."""
        return int(self._inspect("{{.State.Pid}}") or 0) or None

    def address(self) -> str:
        """Return its first address."""
        return next(iter(self._inspect("{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}").split()), "")

    def crash(self) -> str:
        """Kill the container and start it again in place."""
        name = self.name
        call(["docker", "kill", name])
        call(["docker", "wait", name])
        return call(["docker", "start", name])[1]

    def replace(self) -> str:
        """Take the containers and networks away, keep the named volumes, and bring it up again."""
        return self._compose("down", "--timeout", "5")[1] or self.start()

    def remove(self) -> None:
        """Take everything away, volumes too."""
        self._compose("down", "--volumes", "--timeout", "1", "--remove-orphans")

    def _compose(self, *words: str) -> tuple[str, str]:
        program = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
        return call([*program, "--project-name", self.project, "--file", self.file, *words], WEB_PORT="0")

    def _inspect(self, template: str) -> str:
        return call(["docker", "container", "inspect", "--format", template, self.name])[0].strip()


@dataclass
class KubernetesWorkload:
    """A manifest, applied in a namespace of its own."""

    service: Service
    file: Path
    container: str
    cluster: "Kubectl"
    job: bool = False
    engine: str = field(default="cluster", init=False)
    namespace: str = field(default_factory=lambda: f"lithify-bench-{uuid.uuid4().hex[:8]}", init=False)

    @property
    def name(self) -> str:
        """The pod's name."""
        return str(self._pod().get("metadata", {}).get("name", ""))

    def start(self) -> str:
        """Apply the manifest, and wait for a ready pod or the end of the job."""
        made = self.cluster.call("create", "namespace", self.namespace)[1]
        if made and "AlreadyExists" not in made:
            return made
        refused = self.cluster.call("apply", "--namespace", self.namespace, "--filename", str(self.file))[1]
        if not refused and self.job:
            self._run_cron_job()
        return refused or self._until(self._done if self.job else self._ready)

    def pid(self) -> int | None:
        """Return the host's pid of the container's first process, found by the container's id in /proc."""
        wanted = self._status().get("containerID", "").rpartition("/")[2]
        if not wanted:
            return None
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if wanted in (process / "cgroup").read_text():
                    pid = int(process.name)
                    found.append((start_time(pid) or math.inf, pid))  # numbers start over
        return min(found, default=(0, None))[1]

    def address(self) -> str:
        """Return the pod's address."""
        return str(self._pod().get("status", {}).get("podIP", ""))

    def crash(self) -> str:
        """Kill the container's first process, and wait until the kubelet has it ready again."""
        before, pid = int(self._status().get("restartCount", 0)), self.pid()
        if pid is None:
            return "it does not run"
        os.kill(pid, signal.SIGKILL)
        return self._until(lambda: int(self._status().get("restartCount", 0)) > before and self._ready())

    def replace(self) -> str:
        """Delete the pod, and wait until its controller has another one ready."""
        before = self._pod().get("metadata", {}).get("uid")
        self.cluster.call("delete", "pod", self.name, "--namespace", self.namespace, "--grace-period=5")
        return self._until(lambda: self._pod().get("metadata", {}).get("uid") not in (None, before) and self._ready())

    def remove(self) -> None:
        """Delete the namespace, and wait until it is gone."""
        self.cluster.call("delete", "namespace", self.namespace, "--ignore-not-found", "--wait=true", "--timeout=120s")

    def _run_cron_job(self) -> None:
        for each in self._items("cronjobs"):
            name = each["metadata"]["name"]
            words = ["create", "job", f"{name}-now", f"--from=cronjob/{name}", "--namespace", self.namespace]
            self.cluster.call(*words)

    def _until(self, holds: Callable[[], object]) -> str:
        begun = time.monotonic()
        before = self._deaths()
        while time.monotonic() < begun + READY:
            if holds():
                return ""
            if self._deaths() >= before + DEATHS:
                break
            time.sleep(0.3)
        return f"not there after {time.monotonic() - begun:.0f} s: {self._why()}"

    def _deaths(self) -> int:
        """Return how often a container of the pod died; more than enough where a job has given up."""
        jobs = self._items("jobs") if self.job else []
        conditions = [each for job in jobs for each in job.get("status", {}).get("conditions", [])]
        given_up = any(each["type"] == "Failed" and each["status"] == "True" for each in conditions)
        restarts = max((int(each.get("restartCount", 0)) for each in self._statuses()), default=0)
        return restarts + given_up * DEATHS

    def _why(self) -> str:
        for status in self._statuses():
            for state in (status.get("state", {}), status.get("lastState", {})):
                told = state.get("terminated") or state.get("waiting") or {}
                if told.get("reason") not in (None, "PodInitializing", "ContainerCreating", "Completed"):
                    return f"{status['name']}: {told['reason']} {told.get('exitCode', '')}".strip()
        return str(self._pod().get("status", {}).get("phase", "no pod"))

    def _ready(self) -> bool:
        conditions = self._pod().get("status", {}).get("conditions", [])
        return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

    def _done(self) -> bool:
        return any(job.get("status", {}).get("succeeded") for job in self._items("jobs"))

    def _pod(self) -> dict[str, Any]:
        pods = [pod for pod in self._items("pods") if "deletionTimestamp" not in pod["metadata"]]
        return max(pods, key=lambda pod: pod["metadata"]["creationTimestamp"], default={})

    def _items(self, kind: str) -> list[dict[str, Any]]:
        text, failed = self.cluster.call("get", kind, "--namespace", self.namespace, "--output=json")
        return [] if failed else list(json.loads(text)["items"])

    def _statuses(self) -> list[dict[str, Any]]:
        status = self._pod().get("status", {})
        return [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]

    def _status(self) -> dict[str, Any]:
        return next((each for each in self._statuses() if each["name"] == self.container), {})


@dataclass(frozen=True)
class Kubectl:
    """A cluster as kubectl reaches it."""

    program: Path
    kubeconfig: Path

    def call(self, *words: str) -> tuple[str, str]:
        """Return what kubectl printed, and its complaint where it failed."""
        return call([self.program, *words], KUBECONFIG=str(self.kubeconfig))


_offering = threading.Lock()


@contextmanager
def data_volumes(cluster: Kubectl, number: int) -> Iterator[None]:
    """Offer `number` volumes on the node's disk to claims: directories that anybody may write to.

    They lie below /var/tmp, for a node has a /tmp of its own. To one workload at a time: any claim may take them.
    """
    if not number:
        yield
        return
    with _offering:
        yield from _volumes(cluster, number)


def _volumes(cluster: Kubectl, number: int) -> Iterator[None]:
    with temporary_folder(on_disk=True) as folder:
        yield from _volumes_in(folder, cluster, number)


def _volumes_in(folder: Path, cluster: Kubectl, number: int) -> Iterator[None]:
    names = [f"lithify-bench-{uuid.uuid4().hex[:8]}" for _ in range(number)]
    for name in names:
        (folder / name).mkdir(mode=0o777)
        (folder / name).chmod(0o777)
        volume = {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name},
            "spec": {
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain",
                "hostPath": {"path": str(folder / name)},
            },
        }
        call([cluster.program, "apply", "--filename=-"], json.dumps(volume), KUBECONFIG=str(cluster.kubeconfig))
    try:
        yield
    finally:
        cluster.call("delete", "persistentvolume", *names, "--wait=false")


def give_image(built: Built, engine: str, import_image: Callable[[Path], None], work: Path) -> None:
    """Make a service's image known to Docker, or to the nodes of the cluster."""
    if engine == "compose":
        load(built, "docker")
        return
    archive = work / f"{built.service.name}.tar"
    with open(archive, "wb") as file:
        write_archive(built, file)
    try:
        import_image(archive)
    finally:
        archive.unlink()


def with_flag_alone(documents: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield manifests with the flag set on every container, and nothing else."""
    for document in documents:
        copy = json.loads(json.dumps(document))
        for pod in _pod_specs(copy):
            for container in [*pod.get("initContainers", []), *pod.get("containers", [])]:
                container.setdefault("securityContext", {})["readOnlyRootFilesystem"] = True
        yield copy


def _pod_specs(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if isinstance(value.get("containers"), list):
            yield value
        for each in value.values():
            yield from _pod_specs(each)
    elif isinstance(value, list):
        for each in value:
            yield from _pod_specs(each)
