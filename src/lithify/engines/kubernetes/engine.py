"""Runs a workload on a real cluster for the sake of one of its containers, the member, in a scratch namespace.

The cluster's own parts do everything: admission, scheduler, controllers, kubelet. A start applies the objects; a second
start waits for the kubelet to start the container again; a replacement is the pod that the controller makes after the
first was deleted. What the container writes is read on its node, so lithify has to run there.
"""

import http.client
import signal
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from lithify.engines.attached import NOISE
from lithify.engines.base import Container, Exit, Root, UpperLayer
from lithify.engines.bundle.state import start_time
from lithify.engines.described import DescribedEngine
from lithify.engines.host import Host
from lithify.engines.kubernetes.client import POD
from lithify.engines.kubernetes.copies import (
    Change,
    Copied,
    Json,
    Place,
    account_of,
    below,
    containers_of,
    copies,
    needs_of,
    pin,
    stand_in,
    stand_in_for_templates,
)
from lithify.engines.kubernetes.roles import BINDINGS, ROLES
from lithify.engines.kubernetes.scratch import CLAIM, EVENT, Premises
from lithify.engines.node.containerd import snapshot_layers
from lithify.engines.node.containers import endpoints
from lithify.engines.node.kubelet import HOPELESS, ProcessFinder, describe, identity, send_signal
from lithify.errors import EngineRefused, EngineUnreachable, LithifyError, NothingToExamine, NotPermitted, TargetBroken
from lithify.model.image import ImageFacts
from lithify.model.mount import MountPlan
from lithify.model.path import printable
from lithify.model.run import Target

_POLL = 0.05
_ASK = 0.2
"""Seconds between two questions to the API server; the processes of this host are looked at more often."""
_PATIENCE = 8.0
"""Seconds after which what may pass by itself counts as a refusal: no pod, no room for it, no image."""
_LONGEST = 300.0
"""Seconds that a pod may take until the member runs: image pulls and init containers included."""
_OTHERS = 60.0
"""Seconds that the workloads beside the member's get to be ready."""
_HOOK_LIMIT = 1 << 16
"""Bytes that are read of what a hook answers."""

CANNOT_SHOW = (
    "one replica was run, on one node and in a namespace of its own: what depends on the original's traffic or data "
    "was not reached"
)
"""What every run in a scratch namespace leaves open."""

Arrange = Callable[[MountPlan | None], Sequence[Json]]
"""Takes a plan of the member to the objects as their file would have them then; None leaves the member as it is.

EngineRefused where the file can't say it.
"""


@dataclass
class ClusterEngine(DescribedEngine):
    """Runs the objects of a file, or of a live workload, for the sake of one container of one pod."""

    premises: Premises
    arrange: Arrange
    place: Callable[[Sequence[Json]], tuple[Sequence[Place], Place]]
    """Finds the workloads among the objects, and the member's."""
    member: str
    given: Sequence[Json] = ()
    """What the user has for config maps, secrets, claims and accounts that the objects refer to."""
    as_it_stands: bool = False
    """The objects are run as they are, whatever root is asked for."""
    _facts: ImageFacts | None = field(default=None, init=False)
    _storage: Path | None = field(default=None, init=False)

    @property
    def where(self) -> Host:
        """The node that everything runs on."""
        return self.premises.host

    @property
    def name(self) -> str:
        """`cluster NAME`."""
        return f"cluster {self.premises.cluster.name}"

    def read_image(self, target: Target) -> ImageFacts:
        """Return what a first run tells of the image: the API has no word of what is in one.

        TargetBroken where nothing can be started.
        """
        if self._facts is None:
            container = self._create(Root.WRITABLE, None, "look", None, idle=False)
            try:
                container.start()
                self._facts = container.facts(target.reference)
                layer = container.upper_layer()
                self._storage = layer.upper.parent if layer else None
            except EngineRefused as refused:
                raise TargetBroken(f"{target.reference} can't be started: {refused}", hint=refused.hint) from refused
            finally:
                container.remove()
        return self._facts

    def create(
        self,
        target: Target,  # noqa: ARG002 - the member says it all
        *,
        root: Root,
        plan: MountPlan | None = None,
        purpose: str = "run",
        storage: Container | None = None,
        idle: bool = False,
    ) -> Container:
        """Make a scratch namespace for a run, with what the objects refer to; the objects come with the start.

        With `storage` the run goes on in that container's namespace, with the pod that replaces its pod.
        """
        return self._create(root, plan, purpose, storage, idle=idle)

    def _create(
        self, root: Root, plan: MountPlan | None, purpose: str, storage: Container | None, *, idle: bool
    ) -> "MemberContainer":
        if isinstance(storage, MemberContainer):
            return storage.replaced()
        node = self.premises.node()
        # set even where a plan was refused by the patch: what runs then shows why
        read_only = None if self.as_it_stands else root is Root.READ_ONLY
        refused: EngineRefused | None = None
        try:
            objects = self.arrange(plan)
        except EngineRefused as error:  # no manifest can say it: that run starts nothing, and tells why
            refused, objects = error, self.arrange(None)
        places, member = self.place(objects)
        change = Change(read_only=read_only, idle=idle)
        copied = copies(objects, places, member, self.member, change)
        namespace = self.premises.make(purpose)
        try:
            pods = [below(objects[place.object], place.pod) for place in places]
            lacking, notes = self.premises.bring(namespace, needs_of(pods, objects), self.given)
            self.premises.bind(namespace, frozenset(map(account_of, pods)), (*objects, *self.given), notes)
            self.premises.copy_quotas(namespace, [objects[place.object] for place in places], notes)

            def has_storage(claim: Json) -> bool:
                return self.premises.provides(claim) or self.premises.lend(namespace, claim, notes)

            lacking |= {
                str(one["metadata"]["name"])
                for one in copied.support
                if one.get("kind") == CLAIM.kind and not has_storage(one)
            }
            copied = _settled(copied, node, lacking, has_storage, notes)
        except BaseException:
            with suppress(LithifyError):
                self.premises.remove(namespace)
            raise
        notes = [*dict.fromkeys((*copied.notes, *notes))]
        run = _Run(self.premises, namespace, copied, self.member, member.label, tuple(notes))
        return MemberContainer(run, refused=refused)

    def storage(self) -> Path | None:
        """Return a directory on the filesystem that holds upper layers; known once a container has run."""
        return self._storage

    def sweep(self) -> Sequence[str]:
        """Remove what earlier lithify processes that are gone left behind."""
        return self.premises.sweep()


def _settled(
    copied: Copied, node: str, lacking: set[str], has_storage: Callable[[Json], bool], notes: list[str]
) -> Copied:
    """Let every pod be on this node, and do without the storage that can't be had."""
    for made in [copied.workload, *(other for other, _ in copied.others)]:
        spec = _pod_of(made)
        pin(spec, node, notes)
        stand_in(spec, lacking, notes)
        stand_in_for_templates(made, spec, has_storage, notes)
    support = [
        one
        for one in copied.support
        if one.get("kind") not in (*ROLES, *BINDINGS)  # given by `bind`, as far as we may
        and (one.get("kind") != CLAIM.kind or one["metadata"].get("name") not in lacking)
    ]
    return replace(copied, support=tuple(support))


def _pod_of(workload: Json) -> Json:
    """Return the pod spec of a workload by its shape: the nearest `spec` that has containers."""
    found: Any = workload
    while isinstance(found, dict):
        spec = found.get("spec")
        if isinstance(spec, dict) and "containers" in spec:
            return spec
        found = found.get("jobTemplate") or (spec or {}).get("jobTemplate") or (spec or {}).get("template")
    raise AssertionError("a workload has a pod spec")


@dataclass
class _Run:
    """One scratch namespace with what is to run in it."""

    premises: Premises
    namespace: str
    copied: Copied
    member: str
    label: str
    notes: tuple[str, ...]
    holders: int = 1
    kept: bool = False

    def begin(self) -> None:
        """Apply the objects; EngineRefused, in the server's words, where one is refused."""
        cluster, namespace = self.premises.cluster, self.namespace
        for made in self.copied.support:
            if self._is_namespaced(made):
                with self._refusals(f"{made.get('kind')}/{(made.get('metadata') or {}).get('name')}"):
                    cluster.create(made, namespace)
        for made, _ in self.copied.others:
            self._submit(made)
        for made, label in self.copied.others:
            self._await_ready(made, label)
        # A controller would only complain in an event: the pod itself is put before admission first.
        with self._refusals("its pod"):
            cluster.create(self.copied.template(), namespace, dry_run=True)
        self._submit(self.copied.workload)

    def _submit(self, made: Json) -> None:
        cluster = self.premises.cluster
        with self._refusals(f"{made.get('kind')}/{(made.get('metadata') or {}).get('name')}"):
            cluster.create(made, self.namespace, dry_run=True)
            cluster.create(made, self.namespace)

    def _is_namespaced(self, made: Json) -> bool:
        return self.premises.cluster.resource(str(made.get("apiVersion")), str(made.get("kind"))).namespaced

    def _await_ready(self, made: Json, label: str) -> None:
        """Wait until a workload beside the member's has a ready pod, or for as long as others get."""
        deadline = time.monotonic() + _OTHERS
        while time.monotonic() < deadline:
            pods = list(self.premises.cluster.objects(POD, self.namespace, label_selector=label))
            if any(_is_ready(pod) or _phase(pod) == "Succeeded" for pod in pods):
                return
            time.sleep(_ASK)
        name = printable(str((made.get("metadata") or {}).get("name")))
        self.notes = (*self.notes, f"{made.get('kind')}/{name} beside it did not get ready in {_OTHERS:g} s")

    def _refusals(self, what: str) -> "_Refusals":
        return _Refusals(self, what)

    def pods(self) -> list[Json]:
        """Return the member's pods, the youngest first."""
        found = list(self.premises.cluster.objects(POD, self.namespace, label_selector=self.label))
        return sorted(found, key=lambda pod: str(pod["metadata"].get("creationTimestamp")), reverse=True)

    def why_no_pod(self) -> str:
        """Return what the controllers said last: why there is no pod, or no node for it."""
        with suppress(NotPermitted):
            found = [
                event
                for event in self.premises.cluster.objects(EVENT, self.namespace)
                if event.get("type") == "Warning" and event.get("message")
            ]
            for event in sorted(found, key=_event_time, reverse=True):
                return str(event["message"])
        return ""

    def let_go(self) -> None:
        """Give it up; the last one who has it removes it."""
        self.holders -= 1
        if self.holders <= 0 and not self.kept:
            self.premises.remove(self.namespace)


class _Refusals:
    """Turns the refusals of admission into EngineRefused.

    Status 403 is a quota's and a policy's word as well as that of a missing right: which one, the server says when it
    is asked.
    """

    def __init__(self, run: _Run, what: str) -> None:
        self._run = run
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, EngineRefused):
            raise EngineRefused(f"the cluster refuses {printable(self._what)}: {error}", hint=error.hint) from error
        if isinstance(error, NotPermitted):
            cluster, namespace = self._run.premises.cluster, self._run.namespace
            made = self._run.copied.workload
            resource = cluster.resource(str(made.get("apiVersion")), str(made.get("kind")))
            if cluster.allows("create", POD, namespace) and cluster.allows("create", resource, namespace):
                raise EngineRefused(
                    f"the cluster refuses {printable(self._what)}: {error}",
                    hint="its admission says why: a quota, a policy or a security standard of the namespace",
                ) from error


class MemberContainer:
    """The member in the pod that runs now."""

    engine = "cluster"

    def __init__(self, run: _Run, *, before: str | None = None, refused: EngineRefused | None = None) -> None:
        self._run = run
        self._refused = refused
        self._before = before
        """The uid of the pod that this one's replaces."""
        self._pod: Json | None = None
        self._process: tuple[int, int] | None = None
        """Pid and start time of the first process seen last."""
        self._layer: UpperLayer | None = None
        self._volumes: dict[PurePosixPath, Path] = {}
        self._logs: dict[int, bytes] = {}
        """What each start said, by the number of restarts before it."""
        self._sockets: tuple[str, ...] = ()
        """Of the containerds of this node, asked while a pod's shim runs."""
        self._seen: set[str] = set()
        """The runtime's ids of the containers that were started so far: each start is a new one."""
        self._stopped = False
        self._killed = False
        """By another thread, while this one waits for its start: nobody wants it any more."""

    @property
    def name(self) -> str:
        """`NAMESPACE/POD/CONTAINER`, once there is a pod."""
        pod = self._pod["metadata"]["name"] if self._pod else "-"
        return f"{self._run.namespace}/{pod}/{self._run.member}"

    @property
    def where(self) -> Host:
        """Its node."""
        return self._run.premises.host

    @property
    def cannot_show(self) -> tuple[str, ...]:
        """What a proof in a scratch namespace leaves open."""
        return (CANNOT_SHOW, *self._run.notes)

    def replaced(self) -> "MemberContainer":
        """Return the container of the pod that comes after this one's."""
        self._run.holders += 1
        return MemberContainer(self._run, before=self._uid)

    # Starting.

    def start(self) -> None:
        """Have it run: apply the objects, replace the pod, or wait for the kubelet to start it again."""
        if self._refused is not None:
            raise self._refused
        self._killed = False
        old = self._process
        if self._pod is None and self._before is None:
            self._run.begin()
        elif self._pod is None:
            self._replace_pod()
        self._await_running(old)

    def _replace_pod(self) -> None:
        """Delete the pod that ran; its controller makes another one, and a pod without one is made again by us."""
        cluster, namespace = self._run.premises.cluster, self._run.namespace
        for pod in self._run.pods():
            cluster.delete(POD, str(pod["metadata"]["name"]), namespace, grace=1)
        if self._run.copied.workload.get("kind") == "Pod":
            deadline = time.monotonic() + _LONGEST
            while self._run.pods() and time.monotonic() < deadline:
                time.sleep(_ASK)
            cluster.create(self._run.copied.workload, namespace)

    def _await_running(self, old: tuple[int, int] | None) -> None:
        with self.where.hold(ProcessFinder, self._run.member) as finder:
            self._await_process(finder, old)

    def _await_process(self, finder: ProcessFinder, old: tuple[int, int] | None) -> None:
        begun, asked = time.monotonic(), 0.0
        unseen = begun
        while True:
            if self._killed:
                raise EngineRefused("it was killed while it was started")
            now = time.monotonic()
            if now - asked >= _ASK:
                asked = now
                self._look(now - begun)
                if self._ended_unseen():
                    return
            if self._pod is not None and self._find(finder, old):
                return
            unseen = unseen if self._is_unseen() else now
            if now - unseen > _PATIENCE:
                raise EngineUnreachable(
                    f"container {printable(self._run.member)} runs, and none of its processes can be seen from here",
                    hint="name an image that holds lithify with --node-image; or run it on the node, as root, or in a "
                    "pod there that shares its processes (hostPID)",
                )
            if now - begun > _LONGEST:
                why = self._run.why_no_pod() or "its pod does not come up"
                raise EngineRefused(f"the member did not run within {_LONGEST:g} s: {printable(why[:500])}")
            time.sleep(_POLL)

    def _look(self, waited: float) -> None:
        """Take down the pod's state; EngineRefused where it will not come up."""
        found = self._run.pods()
        pods = [pod for pod in found if _uid(pod) != self._before and not _going(pod)]
        if not pods:
            # what is on its way out still counts against a quota
            if waited > _PATIENCE and not found and (why := self._run.why_no_pod()):
                raise EngineRefused(f"no pod comes up: {printable(why[:1000])}", hint="mend what it names")
            return
        self._pod = pods[0]
        self._sockets = self._sockets or self.where.call(endpoints)
        for status in _statuses(self._pod):
            waiting = (status.get("state") or {}).get("waiting") or {}
            if waiting.get("reason") in HOPELESS and (waited > _PATIENCE or "Pull" not in str(waiting["reason"])):
                said = str(waiting.get("message") or "")[:500]
                raise EngineRefused(
                    f"container {printable(str(status.get('name')))} can't be started: {waiting['reason']}: "
                    f"{printable(said)}",
                    hint="mend what it names",
                )
        for condition in (self._pod.get("status") or {}).get("conditions") or ():
            if condition.get("reason") == "Unschedulable" and waited > _PATIENCE:
                raise EngineRefused(
                    f"no room for its pod on this node: {printable(str(condition.get('message'))[:500])}",
                    hint="free some, or lower what it requests",
                )
        if waited > 2.0:
            self._check_init()

    def _check_init(self) -> None:
        """Raise EngineRefused where an init container before the member fails again and again, with its last words."""
        pod, run = self._pod or {}, self._run
        for status in (pod.get("status") or {}).get("initContainerStatuses") or ():
            if status.get("name") == run.member:
                return
            now, before = ((status.get(name) or {}).get("terminated") for name in ("state", "lastState"))
            ended = before or now
            if not ended or not ended.get("exitCode") or not int(status.get("restartCount") or 0):
                continue
            name, said = str(status["name"]), b""
            with suppress(EngineRefused, NothingToExamine):
                made = str(pod["metadata"]["name"])
                said = run.premises.cluster.logs(made, run.namespace, name, previous=now is None, limit=4096)
            last = "".join(f": {printable(line[:300])}" for line in said.decode("utf-8", "replace").splitlines()[-1:])
            raise EngineRefused(f"init container {printable(name)} ends with exit code {ended['exitCode']}{last}")

    def _find(self, finder: ProcessFinder, old: tuple[int, int] | None) -> bool:
        found = finder.find(self._uid, old)
        # what a probe runs in a container outlives, for a moment, the program that was killed there
        if found is None or (found.identity and found.identity in self._seen):
            return False
        self._process = found.process
        self._seen.add(found.identity)
        self._layer = found.layer or self._layer
        self._volumes = dict(found.volumes)
        return True

    def _is_unseen(self) -> bool:
        """Tell whether the API server has it as running, in a start of which no process was found so far."""
        status = self._status() or {}
        running = (status.get("state") or {}).get("running") is not None
        return running and identity(str(status.get("containerID"))) not in self._seen

    def _ended_unseen(self) -> bool:
        """Tell whether it has run and ended, too briefly for its process to be seen."""
        status = self._status()
        if status is None or self.pid() is not None:
            return False
        ended = [(status.get(name) or {}).get("terminated") or {} for name in ("state", "lastState")]
        fresh = [one for one in ended if (found := identity(str(one.get("containerID")))) and found not in self._seen]
        self._seen.update(identity(str(one["containerID"])) for one in fresh)
        if fresh:
            self._layer = self._layer_at_rest(identity(str(fresh[0]["containerID"])))
        return bool(fresh)

    def _layer_at_rest(self, container: str) -> UpperLayer | None:
        """Return the layers of a container that has ended, which its runtime keeps as long as the pod is there."""
        mounted = {PurePosixPath(str(one.get("mountPath"))) for one in self._described().get("volumeMounts") or ()}
        sockets = [one.removeprefix("unix://") for one in self._sockets]
        return self.where.call(snapshot_layers, sockets, "k8s.io", "overlayfs", container, NOISE | mounted)

    # Looking.

    def pid(self) -> int | None:
        """Return its node's pid of its first process; None while that does not run."""
        if self._process is None:
            return None
        pid, started = self._process
        return pid if self.where.call(start_time, pid) == started else None

    def exit_code(self) -> int | None:
        """Return its last exit code; None while it runs."""
        if self.pid() is not None:
            return None
        deadline = time.monotonic() + 5.0
        while True:
            status = self._fresh_status()
            if status is None:
                return 255
            for state in (status.get("state") or {}, status.get("lastState") or {}):
                if state.get("terminated"):
                    return int(state["terminated"].get("exitCode", 255))
            if time.monotonic() > deadline:  # the kubelet has not told
                return 255
            time.sleep(_ASK)

    def address(self) -> str | None:
        """Return the pod's address."""
        if self._pod is None:
            return None
        address = (self._pod.get("status") or {}).get("podIP")
        if not address:
            self._fresh_status()
            address = (self._pod.get("status") or {}).get("podIP")
        return str(address) if address else None

    def probed(self) -> tuple[bool, str]:
        """Return whether the kubelet holds it for ready, and what it says."""
        status = self._fresh_status()
        if status is None:
            return False, "its pod is gone"
        if self._stopped or self.pid() is None:
            return False, "it does not run"
        if status.get("ready"):
            return True, "the kubelet holds it for ready"
        if status.get("started") is False:
            return False, f"its startup probe does not pass: {self._last_probe()}"
        return False, f"its readiness probe does not pass: {self._last_probe()}"

    def facts(self, reference: str) -> ImageFacts:
        """Return what the running container tells of its image, and its pod of the paths that it is given."""
        status = self._fresh_status() or {}
        digest = str(status.get("imageID") or "").rpartition("@")[2]
        named = {str(one.get("name")): str(one.get("value") or "") for one in self._described().get("env") or ()}
        paths = {name: value for name, value in named.items() if value.startswith("/")}
        volumes = tuple(self._volumes)
        facts = ImageFacts(reference=reference, digest=digest or None, environment=paths, volumes=volumes)
        pid = self.pid()
        return facts if pid is None else self.where.call(describe, pid, facts)

    def logs(self, limit: int = 1 << 20) -> bytes:
        """Return what all its starts said; the API keeps the last two."""
        self._keep_logs(limit)
        return b"".join(text for _, text in sorted(self._logs.items()))[-limit:]

    def execute(self, command: Sequence[str], *, user: str | None = None, timeout: float = 30.0) -> Exit:
        """Run a command in it; as another user is nothing that a cluster can."""
        if user is not None:
            raise EngineRefused("a cluster runs commands as the container's own user only", hint="leave the user out")
        if self._pod is None or self.pid() is None:
            raise EngineRefused(f"{printable(self.name)} does not run")
        return self._run.premises.cluster.execute(
            str(self._pod["metadata"]["name"]),
            self._run.namespace,
            command,
            container=self._run.member,
            timeout=timeout,
        )

    def upper_layer(self) -> UpperLayer | None:
        """Return its overlay: after each start by the kubelet a new one."""
        return self._layer

    def volumes(self) -> Mapping[PurePosixPath, Path]:
        """Return the directories behind the VOLUMEs of its image."""
        return self._volumes

    def diff(self) -> Sequence[tuple[str, PurePosixPath]] | None:
        """Return None: a cluster does not say."""
        return None

    # Ending.

    def kill(self) -> None:
        """End its first process by SIGKILL; the kubelet starts the container again."""
        self._killed = True
        self._keep_logs()
        self._signal(signal.SIGKILL)

    def stop(self, timeout: float) -> int:
        """Ask it to end, kill it after `timeout`; the kubelet would start it again later, in a minute at the most.

        The pod is not deleted for that: its layer would be gone with it, before it could be read.
        """
        self._stopped = True
        self._run_pre_stop(timeout)
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + timeout
        while self.pid() is not None and time.monotonic() < deadline:
            time.sleep(_POLL)
        self._signal(signal.SIGKILL)
        code = self.exit_code()
        self._keep_logs()
        return 255 if code is None else code

    def _run_pre_stop(self, timeout: float) -> None:
        """Do what the kubelet does before it asks a container to end; it goes on where that fails, and so do we."""
        container = self._described()
        hook = (container.get("lifecycle") or {}).get("preStop") or {}
        with suppress(EngineUnreachable, NothingToExamine):
            if hook.get("exec"):
                self.execute(hook["exec"].get("command") or (), timeout=timeout)
            elif hook.get("sleep"):
                time.sleep(min(float(hook["sleep"].get("seconds") or 0), timeout))
            elif hook.get("httpGet"):
                self.where.call(call_hook, hook["httpGet"], container, self.address() or "", timeout)

    def _described(self) -> Json:
        """Return the member as its pod has it."""
        found = containers_of((self._pod or {}).get("spec") or {})
        return next((one for _, one in found if one.get("name") == self._run.member), {})

    def keep(self) -> None:
        """Leave the namespace for a look."""
        self._run.premises.keep(self._run.namespace)
        self._run.kept = True

    def remove(self) -> None:
        """Remove the namespace, unless a replacement still has it."""
        self._run.let_go()

    def _signal(self, number: int) -> None:
        if self._process is not None:
            self.where.call(send_signal, self._process, number)

    def _keep_logs(self, limit: int = 1 << 20) -> None:
        status = self._fresh_status()
        if status is None or self._pod is None:
            return
        restarts = int(status.get("restartCount") or 0)
        pod, namespace, member = str(self._pod["metadata"]["name"]), self._run.namespace, self._run.member
        cluster = self._run.premises.cluster
        if not self._stopped or restarts not in self._logs:
            with suppress(EngineRefused, NothingToExamine):
                self._logs[restarts] = _said(cluster.logs(pod, namespace, member, limit=limit))
        if restarts and restarts - 1 not in self._logs:
            with suppress(EngineRefused, NothingToExamine):
                self._logs[restarts - 1] = _said(cluster.logs(pod, namespace, member, previous=True, limit=limit))

    # The pod as it was seen last.

    @property
    def _uid(self) -> str:
        return _uid(self._pod) if self._pod is not None else ""

    def _status(self) -> Json | None:
        return next((one for one in _statuses(self._pod or {}) if one.get("name") == self._run.member), None)

    def _fresh_status(self) -> Json | None:
        """Ask for the pod anew; None where it is gone."""
        if self._pod is None:
            return None
        found = self._run.premises.cluster.get(POD, str(self._pod["metadata"]["name"]), self._run.namespace)
        if found is None or _uid(found) != self._uid:
            return None
        self._pod = found
        return self._status()

    def _last_probe(self) -> str:
        return printable(self._run.why_no_pod()[:300]) or "no word of it yet"


def _said(log: bytes) -> bytes:
    """Return a log, nothing where it is the kubelet's word that the container is gone: that ends in no line."""
    return b"" if log.startswith(b"unable to retrieve container logs for ") else log


def _uid(pod: Mapping[str, Any]) -> str:
    return str(pod["metadata"].get("uid", ""))


def _going(pod: Mapping[str, Any]) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


def _phase(pod: Mapping[str, Any]) -> str:
    return str((pod.get("status") or {}).get("phase"))


def _is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


def _statuses(pod: Mapping[str, Any]) -> list[Json]:
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def call_hook(get: Mapping[str, Any], container: Mapping[str, Any], address: str, timeout: float) -> None:
    """Make the HTTP request of a hook, as the kubelet does, which goes on where that fails."""
    named = {port.get("name"): port["containerPort"] for port in container.get("ports") or ()}
    secure = str(get.get("scheme") or "").upper() == "HTTPS"
    host, port = str(get.get("host") or address), get["port"]
    with suppress(OSError, ValueError, http.client.HTTPException):
        number = int(named.get(port, port))
        connection: http.client.HTTPConnection
        if secure:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE  # the kubelet looks at no certificate either
            connection = http.client.HTTPSConnection(host, number, timeout=timeout, context=context)
        else:
            connection = http.client.HTTPConnection(host, number, timeout=timeout)
        with closing(connection):
            given = {str(one["name"]): str(one["value"]) for one in get.get("httpHeaders") or ()}
            connection.request("GET", str(get.get("path") or "/"), headers=given)
            connection.getresponse().read(_HOOK_LIMIT)


def _event_time(event: Mapping[str, Any]) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or "")
