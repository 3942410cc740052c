"""What a copy of Kubernetes objects looks like in a scratch namespace: plain JSON in, plain JSON out, nothing is sent.

A copy must not meet the original: no host port, no fixed address, no path of the host that it could write to, no claim
that holds data, no autoscaler, ingress or cluster-wide object. What it lacks for that is said.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lithify.model.location import Route
from lithify.model.path import printable

Json = dict[str, Any]

HOOK = "helm.sh/hook"
MEMBER_LABEL = "lithify.dev/workload"
"""On the pods of each workload of a scratch namespace, with the workload's number."""

_SERVER_FIELDS = (
    "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds",
    "ownerReferences", "managedFields", "selfLink", "finalizers", "namespace",
)  # fmt: skip
LEFT_OUT = frozenset((
    "HorizontalPodAutoscaler", "VerticalPodAutoscaler", "PodDisruptionBudget", "Ingress", "HTTPRoute", "GRPCRoute",
    "TCPRoute", "Gateway", "Route", "Certificate", "ServiceMonitor", "PodMonitor", "PrometheusRule", "ResourceQuota",
    "Event", "Endpoints", "EndpointSlice",
))  # fmt: skip
"""Kinds that act beyond their namespace, or on the number of pods."""
REPLICATED = frozenset(("Deployment", "StatefulSet", "ReplicaSet", "ReplicationController"))
_ONE_AT_A_TIME = ("parallelism", "completions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A workload within objects: which of them, and the keys to its pod spec."""

    object: int
    pod: Route
    number: int
    """Counts the workloads; its pods bear it as a label."""

    @property
    def label(self) -> str:
        """Selects its pods."""
        return f"{MEMBER_LABEL}={self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """How the member's container is to differ from what its object says."""

    read_only: bool | None = None
    """Of its root; None leaves it."""
    idle: bool = False
    """It runs a `sleep` instead of its program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What pods refer to by name and their objects don't hold; True where they can start without."""

    config_maps: Mapping[str, bool] = field(default_factory=dict)
    secrets: Mapping[str, bool] = field(default_factory=dict)
    claims: frozenset[str] = frozenset()
    accounts: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """The objects of a scratch namespace: what the workloads need, the other workloads, and the member's."""

    support: tuple[Json, ...]
    others: tuple[tuple[Json, str], ...]
    """Each with the label that selects its pods."""
    workload: Json
    pod: Route
    """The keys from the member's workload to its pod spec."""
    notes: tuple[str, ...]

    def template(self) -> Json:
        """Return the member's pod as its controller will make it, for admission to look at before."""
        return _template(self.workload, self.pod)


def copies(objects: Sequence[Json], places: Sequence[Place], member: Place, container: str, change: Change) -> Copied:
    """Return what `objects` become beside their originals, the container of `member` changed."""
    notes: list[str] = []
    by_object = {place.object: place for place in places}
    support: list[Json] = []
    others: list[tuple[Json, str]] = []
    workload: Json = {}
    route: Route = ()
    for index, found in enumerate(objects):
        place = by_object.get(index)
        if place is None:
            if _stays(found, notes):
                support.append(_support(found))
            continue
        made = strip(found)
        pod = below(made, place.pod)
        _prepare(made, pod, place, notes)
        if place.number == member.number:
            _change(pod, container, change)
            workload, route = _runnable(made, place.pod)
        elif made.get("kind") != "CronJob" and _is_run(found, notes):
            others.append((made, place.label))
    assert workload, "the member's workload is one of the objects"
    return Copied(
        support=tuple(support),
        others=tuple(others),
        workload=workload,
        pod=route,
        notes=tuple(dict.fromkeys(notes)),
    )


def strip(found: Mapping[str, Any]) -> Json:
    """Return a copy of an object without what a server added to it."""
    made = copy.deepcopy({key: value for key, value in found.items() if key != "status"})
    metadata = made.get("metadata")
    if isinstance(metadata, dict):
        for name in _SERVER_FIELDS:
            metadata.pop(name, None)
        if isinstance(metadata.get("annotations"), dict):
            metadata["annotations"].pop("kubectl.kubernetes.io/last-applied-configuration", None)
    return made


def below(found: Any, route: Route) -> Any:
    """Return what `route` leads to."""
    for key in route:
        found = found[key]
    return found


def needs_of(pods: Iterable[Mapping[str, Any]], objects: Iterable[Mapping[str, Any]]) -> Needs:
    """Return what `pods` (pod specs) refer to that is not among `objects`."""
    held = {(str(one.get("kind")), str((one.get("metadata") or {}).get("name"))) for one in objects}
    config_maps: dict[str, bool] = {}
    secrets: dict[str, bool] = {}
    claims: set[str] = set()
    accounts: set[str] = set()
    for pod in pods:
        for kind, name, optional in _references(pod):
            if not name or (kind, name) in held:
                continue
            if kind == "PersistentVolumeClaim":
                claims.add(name)
            elif kind == "ServiceAccount":
                accounts.add(name)
            else:
                found = config_maps if kind == "ConfigMap" else secrets
                found[name] = found.get(name, True) and optional
    return Needs(config_maps=config_maps, secrets=secrets, claims=frozenset(claims), accounts=frozenset(accounts))


def pin(pod: Json, node: str, notes: list[str]) -> None:
    """Let `pod` be scheduled on `node` only; the scheduler still has its say, unlike with `nodeName`.

    What it asks of other pods goes: those are not in its namespace, or are its own other copies, and it would wait.
    """
    wanted = {"key": "metadata.name", "operator": "In", "values": [node]}
    affinity = pod.setdefault("affinity", {}) or {}
    pod["affinity"] = affinity
    of_pods = [affinity.pop(key, None) for key in ("podAffinity", "podAntiAffinity")]
    if any((*of_pods, pod.pop("topologySpreadConstraints", None))):
        notes.append(f"beside or apart from which pods it is to run was left out: all copies ran on {printable(node)}")
    by_node = affinity.setdefault("nodeAffinity", {})
    required = by_node.setdefault("requiredDuringSchedulingIgnoredDuringExecution", {})
    terms = required.get("nodeSelectorTerms") or [{}]
    required["nodeSelectorTerms"] = [
        {**term, "matchFields": [*(term.get("matchFields") or ()), wanted]} for term in terms
    ]


def stand_in(pod: Json, claims: Iterable[str], notes: list[str]) -> None:
    """Put an emptyDir where a claim can't be had."""
    wanted = set(claims)
    for volume in pod.get("volumes") or ():
        claim = (volume.get("persistentVolumeClaim") or {}).get("claimName")
        if claim in wanted:
            volume.pop("persistentVolumeClaim")
            volume["emptyDir"] = {}
            notes.append(_stood_in(str(claim)))


def containers_of(pod: Mapping[str, Any]) -> Iterator[tuple[str, Json]]:
    """Yield every container of a pod spec with the list that it is in."""
    for name in ("initContainers", "containers"):
        for container in pod.get(name) or ():
            yield name, container


def account_of(pod: Mapping[str, Any]) -> str:
    """Return the service account that a pod runs as."""
    return str(pod.get("serviceAccountName") or pod.get("serviceAccount") or "default")


def _references(pod: Mapping[str, Any]) -> Iterator[tuple[str, str, bool]]:
    account = account_of(pod)
    if account != "default":
        yield "ServiceAccount", account, False
    for secret in pod.get("imagePullSecrets") or ():
        yield "Secret", str(secret.get("name") or ""), True
    for volume in pod.get("volumes") or ():
        yield from _of_volume(volume)
        for source in (volume.get("projected") or {}).get("sources") or ():
            yield from _of_volume(source)
    for _, container in containers_of(pod):
        for source in container.get("envFrom") or ():
            yield from _of_source(source, "configMapRef", "secretRef")
        for variable in container.get("env") or ():
            yield from _of_source(variable.get("valueFrom") or {}, "configMapKeyRef", "secretKeyRef")


def _of_volume(volume: Mapping[str, Any]) -> Iterator[tuple[str, str, bool]]:
    yield from _of_source(volume, "configMap", "secret")
    claim = volume.get("persistentVolumeClaim") or {}
    if claim.get("claimName"):
        yield "PersistentVolumeClaim", str(claim["claimName"]), False


def _of_source(source: Mapping[str, Any], config_map: str, secret: str) -> Iterator[tuple[str, str, bool]]:
    for key, kind in ((config_map, "ConfigMap"), (secret, "Secret")):
        found = source.get(key)
        if found:
            yield kind, str(found.get("name") or found.get("secretName") or ""), bool(found.get("optional"))


def _stays(found: Mapping[str, Any], notes: list[str]) -> bool:
    kind, name = str(found.get("kind")), str((found.get("metadata") or {}).get("name"))
    if kind in LEFT_OUT:
        notes.append(f"{kind}/{printable(name)} was left out of the copy")
        return False
    return True


def _is_run(found: Mapping[str, Any], notes: list[str]) -> bool:
    """Tell whether a workload runs once its chart is installed: hooks for tests, upgrades and removal don't."""
    metadata = found.get("metadata") or {}
    hooks = str((metadata.get("annotations") or {}).get(HOOK) or "")
    if not hooks or any(hook.strip() in ("pre-install", "post-install") for hook in hooks.split(",")):
        return True
    notes.append(f"{found.get('kind')}/{printable(str(metadata.get('name')))} was left out of the copy: a {hooks} hook")
    return False


def _support(found: Mapping[str, Any]) -> Json:
    made = strip(found)
    spec = made.get("spec")
    if made.get("kind") == "Service" and isinstance(spec, dict):
        headless = spec.get("clusterIP") == "None"
        for name in (
            "clusterIP", "clusterIPs", "externalIPs", "loadBalancerIP", "loadBalancerClass", "externalTrafficPolicy",
            "healthCheckNodePort", "allocateLoadBalancerNodePorts", "loadBalancerSourceRanges",
        ):  # fmt: skip
            spec.pop(name, None)
        if headless:
            spec["clusterIP"] = "None"
        if spec.get("type") in ("NodePort", "LoadBalancer"):
            spec["type"] = "ClusterIP"
        for port in spec.get("ports") or ():
            port.pop("nodePort", None)
    elif made.get("kind") == "PersistentVolumeClaim":
        made = empty_claim(made)
    return made


def empty_claim(claim: Mapping[str, Any]) -> Json:
    """Return a claim for storage of the same kind with nothing in it."""
    made = strip(claim)
    spec = made.setdefault("spec", {})
    for name in ("volumeName", "dataSource", "dataSourceRef", "selector"):
        spec.pop(name, None)
    annotations = made["metadata"].get("annotations") or {}
    made["metadata"]["annotations"] = {key: value for key, value in annotations.items() if "kubernetes.io/" not in key}
    return made


def _prepare(made: Json, pod: Json, place: Place, notes: list[str]) -> None:
    """Keep the pods of a workload apart from the original's, and to one."""
    kind, spec = made.get("kind"), made.get("spec") or {}
    if kind in REPLICATED:
        spec["replicas"] = 1
    if kind == "Job":
        for name in _ONE_AT_A_TIME:
            if spec.get(name) is not None:
                spec[name] = 1
        spec.pop("suspend", None)
        if not spec.get("manualSelector"):
            spec.pop("selector", None)  # the server makes one of its own
            labels = (below(made, place.pod[:-1]).get("metadata") or {}).get("labels") or {}
            for name in [label for label in labels if "controller-uid" in label or "job-name" in label]:
                labels.pop(name)
    _label(made, place)
    name = str((made.get("metadata") or {}).get("name"))
    pod.pop("nodeName", None)
    ports = [port for _, container in containers_of(pod) for port in container.get("ports") or ()]
    taken = [port.pop("hostPort", None) for port in ports]
    if any(taken):
        notes.append(f"host ports of {printable(name)} were left out of the copy")
    if pod.pop("hostNetwork", None):
        notes.append(f"the copy of {printable(name)} had a network of its own, not the host's")
    for volume in pod.get("volumes") or ():
        _guard_host(volume, pod, notes)


def _guard_host(volume: Json, pod: Mapping[str, Any], notes: list[str]) -> None:
    """Put an emptyDir where a path of the host could be written to; what is only read stays."""
    host = volume.get("hostPath")
    if not host:
        return
    mounts = [
        mount
        for _, container in containers_of(pod)
        for mount in container.get("volumeMounts") or ()
        if mount.get("name") == volume.get("name")
    ]
    if all(mount.get("readOnly") for mount in mounts):
        return
    volume.pop("hostPath")
    volume["emptyDir"] = {}
    notes.append(f"an emptyDir stood in for the host's {printable(str(host.get('path')))}, which the pod may write to")


def _label(made: Json, place: Place) -> None:
    holder = below(made, place.pod[:-1])
    metadata = holder.get("metadata")
    if not isinstance(metadata, dict):
        metadata = holder["metadata"] = {}
    labels = metadata.get("labels")
    if not isinstance(labels, dict):
        labels = metadata["labels"] = {}
    labels[MEMBER_LABEL] = str(place.number)


def _change(pod: Json, name: str, change: Change) -> None:
    for _, container in containers_of(pod):
        if container.get("name") != name:
            continue
        if change.read_only is not None:
            security = container.get("securityContext") or {}
            container["securityContext"] = {**security, "readOnlyRootFilesystem": change.read_only}
        if change.idle:
            container["command"], container["args"] = ["sleep"], ["86400"]
            for probe in ("livenessProbe", "readinessProbe", "startupProbe", "lifecycle"):
                container.pop(probe, None)


def _runnable(made: Json, pod: Route) -> tuple[Json, Route]:
    """Return a workload that runs at once: a CronJob as the Job that it would start."""
    if made.get("kind") != "CronJob":
        return made, pod
    template = made["spec"]["jobTemplate"]
    metadata = {**(template.get("metadata") or {}), "name": str(made["metadata"].get("name"))[:52]}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template.get("spec") or {}}
    return job, pod[pod.index("jobTemplate") + 1 :]


def _template(workload: Json, route: Route) -> Json:
    if not route[:-1]:
        return workload
    holder = copy.deepcopy(below(workload, route[:-1]))
    metadata = {**(holder.get("metadata") or {}), "generateName": "lithify-"}
    metadata.pop("name", None)
    pod = holder["spec"]
    own = [{"name": name, "emptyDir": {}} for name in _claimed(workload)]
    if own:
        pod["volumes"] = [*(pod.get("volumes") or ()), *own]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod}


def _claimed(workload: Mapping[str, Any]) -> list[str]:
    """Return the volumes that a StatefulSet gives each of its pods a claim for."""
    templates = (workload.get("spec") or {}).get("volumeClaimTemplates") or ()
    return [str((one.get("metadata") or {}).get("name")) for one in templates]


def stand_in_for_templates(workload: Json, pod: Json, provides: Callable[[Json], bool], notes: list[str]) -> None:
    """Put an emptyDir where no claim of a StatefulSet's own can be had."""
    spec = workload.get("spec") or {}
    templates = spec.get("volumeClaimTemplates") or ()
    lacking = [one for one in templates if not provides(_first_claim(one, workload))]
    if not lacking:
        return
    spec["volumeClaimTemplates"] = [one for one in templates if one not in lacking]
    for one in lacking:
        name = str((one.get("metadata") or {}).get("name"))
        pod["volumes"] = [*(pod.get("volumes") or ()), {"name": name, "emptyDir": {}}]
        notes.append(_stood_in(name))


def _first_claim(template: Mapping[str, Any], workload: Mapping[str, Any]) -> Json:
    """Return the claim that a StatefulSet makes of a template for its first pod."""
    first = ((workload.get("spec") or {}).get("ordinals") or {}).get("start") or 0
    metadata = template.get("metadata") or {}
    name = f"{metadata.get('name')}-{(workload.get('metadata') or {}).get('name')}-{first}"
    return {**template, "metadata": {**metadata, "name": name}}


def _stood_in(claim: str) -> str:
    return (
        f"no storage could be provided for a copy of claim {printable(claim)}: an emptyDir stood in, which doesn't "
        "outlive its pod"
    )
