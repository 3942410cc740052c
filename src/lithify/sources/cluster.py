"""The pods of a cluster, each told as part of the object that a person edits.

Pods come by pages, their owners are followed (ReplicaSet to Deployment, Job to CronJob, anything to the custom resource
that made it), and what is in a pod but not in its owner's template is told as injected. Where lithify runs on the node
of a pod, the mount tables of its containers stand beside what the API says.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lithify.engines.kubernetes.client import POD, Cluster
from lithify.engines.mounts import host_mounts
from lithify.engines.node.containers import pids_here
from lithify.errors import LithifyError, NothingToExamine, NotPermitted
from lithify.model.finding import Skipped
from lithify.model.location import Location, Route
from lithify.model.path import printable
from lithify.model.workload import CONTAINER_LISTS, FLAG, Container, Exemption, ObjectName, Observed
from lithify.sources.base import Reading, left_out, unreadable
from lithify.sources.manifest import read_annotations, read_object, template_route
from lithify.sources.mounted import observe

_BLOCK = 4096
_DEEPEST = 6
"""Owners above one another; chains of real operators have three."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Owner:
    """What stands above a pod."""

    chain: tuple[ObjectName, ...] = ()
    """From the one that made it to the one that a person edits."""
    template: Mapping[str, Any] | None = None
    """The pod template of the first; None where it can't be read."""
    route: Route = ()
    """The keys from the last to its pod template; nothing where it has none that we know."""
    exemptions: tuple[Exemption, ...] = ()
    note: str = ""
    """Why the chain is not followed to its end."""


def read_cluster(
    cluster: Cluster, namespaces: Sequence[str] = (), names: Sequence[str] = ()
) -> Iterator[tuple[str, Reading]]:
    """Yield each pod's namespace, and its reading, named for the object that a person edits; namespaces in order.

    Those of `namespaces`, or of all; `names` (`deployment/web`, `pod/web-1`, or a pod alone) limit it to pods of these
    objects, in the context's namespace where none is given. NothingToExamine where a name has no pod.
    """
    kinds = [_kind_and_name(cluster, name) for name in names]
    places: Sequence[str | None] = list(dict.fromkeys(namespaces)) or ([cluster.namespace] if names else [None])
    reader = _Reader(cluster)
    met: set[tuple[str, str]] = set()
    forbidden: list[NotPermitted] = []
    left = seen = 0
    for place in places:
        before = seen
        try:
            for pod in _pods(cluster, place):
                seen += 1
                reading, called = reader.read(pod)
                matching = called.intersection(kinds)
                if kinds and not matching:
                    left += 1
                    continue
                met |= matching
                yield str(pod["metadata"].get("namespace", "")), reading
        except NotPermitted as error:  # others of those named may be seen
            forbidden.append(error)
            if len(forbidden) == len(places):
                raise
            yield "", unreadable(f"cluster:{place}", f"{error}; {error.hint}")
            continue
        if seen == before and len(places) > 1:
            yield "", left_out(f"cluster:{place}", f"namespace {printable(str(place))} has no pod")
    for kind, name in kinds:
        if (kind, name) not in met:
            where = ", ".join(str(place) for place in places)
            raise NothingToExamine(
                f"no pod of {printable(kind)}/{printable(name)} in namespace {where}",
                hint="see `kubectl get pods`; name another with --namespace",
            )
    if not seen:
        where = " in namespace " + ", ".join(namespaces) if namespaces else ""
        raise NothingToExamine(f"cluster {cluster.name} has no pod{printable(where)}", hint="see `kubectl get pods -A`")
    if left:
        yield "", left_out(f"cluster:{cluster.name}", f"{left} more pods belong to objects that were not named")


def _pods(cluster: Cluster, namespace: str | None) -> Iterator[dict[str, Any]]:
    try:
        yield from cluster.objects(POD, namespace)
    except NotPermitted as error:
        if namespace is None and error.hint.startswith("missing"):
            error.hint += "; or name the namespaces that you may see with --namespace"
        raise


def _kind_and_name(cluster: Cluster, text: str) -> tuple[str, str]:
    kind, slash, name = text.partition("/")
    return (cluster.find(kind).kind, name) if slash else ("Pod", text)


class _Reader:
    """Takes pods to readings; owners are asked for once a namespace."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._here = pids_here()
        self._host = host_mounts()
        self._owners: dict[tuple[str, str, str], _Owner] = {}
        self._namespace = ""
        self._pods = 0
        self._written: dict[str, dict[tuple[str, str], int] | None] = {}

    def read(self, pod: dict[str, Any]) -> tuple[Reading, set[tuple[str, str]]]:
        """Return a pod's reading, and every (kind, name) that it goes by."""
        metadata = pod.get("metadata") or {}
        namespace, name = str(metadata.get("namespace") or ""), str(metadata.get("name") or "")
        if namespace != self._namespace:
            self._owners.clear()
            self._namespace = namespace
        self._pods += 1
        owner = self._owner_of(pod)
        subject = owner.chain[-1] if owner.chain else ObjectName("Pod", name, namespace, "v1")
        metadata.pop("managedFields", None)
        path = f"cluster:{namespace}/{subject}"
        reading = read_object(
            path,
            {key: pod[key] for key in ("apiVersion", "kind", "metadata", "spec") if key in pod},
            index=self._pods,
            route=owner.route,
        )
        reading.pod = name
        known = _statuses(pod)
        for workload in reading.workloads:
            workload.name = subject
            workload.exemptions += owner.exemptions
            for container in workload.containers:
                self._complete(container, pod, owner, known.get(container.name) or {})
        called = {("Pod", name), *((one.kind, one.name) for one in owner.chain)}
        if owner.note:
            reading.skipped.append(Skipped(Location(path, self._pods), owner.note))
        return reading, called

    def _complete(self, container: Container, pod: dict[str, Any], owner: _Owner, status: dict[str, Any]) -> None:
        """Add what only a live container has: its id, whether its owner knows it, and its mount table."""
        container.id = str(status.get("containerID") or "").rpartition("://")[2]
        notes = []
        if owner.template is not None and container.role != "ephemeral":
            declared = _declared(owner.template, container)
            container.injected = declared is None
            if declared is not None and declared is not bool(container.security.read_only_root):
                notes.append(f"{FLAG} is {str(declared).lower()} in its template: admission changed it")
        spec, annotations = pod.get("spec") or {}, (pod.get("metadata") or {}).get("annotations") or {}
        node = str(spec.get("nodeName") or "")
        if "kubernetes.io/config.mirror" in annotations:
            notes.append(f"a static pod: its manifest lies on node {node}")
        running = "running" in (status.get("state") or {})
        pid = self._here.get(container.id, 0) if running and container.id else 0
        container.observed = Observed()
        if not running:
            notes.append("it does not run: judged by its flag")
        elif not pid:
            container.observed.written = self._written_by(node, pod, container.name)
            notes.append(f"it runs on node {node}: judged by its flag")
        else:
            observe(container, pid, self._host)
            notes.append(container.observed.note)
        container.observed.note = "; ".join(note for note in notes if note)

    def _written_by(self, node: str, pod: dict[str, Any], container: str) -> int | None:
        """Return the bytes in a container's own layer, as its kubelet counts them; None where we may not ask it."""
        if node not in self._written:
            self._written[node] = self._ask_kubelet(node)
        known = self._written[node]
        uid = str((pod.get("metadata") or {}).get("uid") or "")
        return None if known is None else known.get((uid, container))

    def _ask_kubelet(self, node: str) -> dict[tuple[str, str], int] | None:
        from lithify.engines.kubernetes.apiserver import segment

        try:
            found = self._cluster.server.ask("GET", f"/api/v1/nodes/{segment(node)}/proxy/stats/summary").json
        except LithifyError:
            return None  # a right that an audit can do without
        written = {}
        for pod in found.get("pods") or []:
            uid = str((pod.get("podRef") or {}).get("uid") or "")
            for container in pod.get("containers") or []:
                rootfs = container.get("rootfs") or {}
                used, inodes = rootfs.get("usedBytes"), rootfs.get("inodesUsed")
                if isinstance(used, int) and isinstance(inodes, int):
                    # A block for each directory and mount point is there before anything is written.
                    written[uid, str(container.get("name"))] = max(used - inodes * _BLOCK, 0)
        return written

    def _owner_of(self, pod: dict[str, Any]) -> _Owner:
        metadata = pod.get("metadata") or {}
        reference = _controller(metadata)
        if reference is None or reference.get("kind") == "Node":  # a static pod: its node made it
            return _Owner()
        namespace = str(metadata.get("namespace") or "")
        key = (str(reference.get("apiVersion")), str(reference.get("kind")), str(reference.get("uid")))
        if key not in self._owners:
            self._owners[key] = self._follow(reference, namespace)
        return self._owners[key]

    def _follow(self, reference: Mapping[str, Any] | None, namespace: str) -> _Owner:
        chain: list[ObjectName] = []
        exemptions: list[Exemption] = []
        template: Mapping[str, Any] | None = None
        note = ""
        while reference is not None and len(chain) < _DEEPEST:
            name = ObjectName(
                str(reference.get("kind") or ""),
                str(reference.get("name") or ""),
                namespace,
                str(reference.get("apiVersion") or ""),
            )
            chain.append(name)
            found, note = self._read_owner(name, str(reference.get("uid") or ""))
            if found is None:
                break
            if len(chain) == 1:
                template = _at(found, template_route(name.kind))
            metadata = found.get("metadata") or {}
            exemptions += read_annotations(metadata)
            reference = _controller(metadata)
        return _Owner(
            chain=tuple(chain),
            template=template,
            route=template_route(chain[-1].kind) if chain else (),
            exemptions=tuple(exemptions),
            note=note,
        )

    def _read_owner(self, name: ObjectName, uid: str) -> tuple[dict[str, Any] | None, str]:
        """Return an owner, or why there is none to be read."""
        try:
            resource = self._cluster.resource(name.api_version, name.kind)
            found = self._cluster.get(resource, name.name, name.namespace)
        except NotPermitted as error:
            return None, f"its owner {name} may not be read ({error.hint}): what owns that is not followed"
        except NothingToExamine:
            return None, f"the cluster no longer has the kind of its owner {name}"
        if found is None or (uid and (found.get("metadata") or {}).get("uid") != uid):
            return None, f"its owner {name} is gone"
        return found, ""


def _controller(metadata: Mapping[str, Any]) -> Mapping[str, Any] | None:
    references = [one for one in metadata.get("ownerReferences") or [] if isinstance(one, dict)]
    return next((one for one in references if one.get("controller") is True), None)


def _at(found: Mapping[str, Any], route: Route) -> Mapping[str, Any] | None:
    value: Any = found
    for key in route:
        value = value.get(key) if isinstance(value, dict) else None
    return value if route and isinstance(value, dict) else None


def _declared(template: Mapping[str, Any], container: Container) -> bool | None:
    """Return the flag as a template has it; None where the template has no container of that name."""
    spec = template.get("spec") or {}
    for list_name in CONTAINER_LISTS:
        for one in spec.get(list_name) or []:
            if one.get("name") == container.name:
                return (one.get("securityContext") or {}).get(FLAG) is True
    return None


def _statuses(pod: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    status = pod.get("status") or {}
    lists = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
    return {str(one.get("name")): one for key in lists for one in status.get(key) or [] if isinstance(one, dict)}
