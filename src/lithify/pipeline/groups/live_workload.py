"""A workload that runs in a cluster as a group: learnt from its own pods, tried in a copy, patched where it lives."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from lithify.engines.kubernetes.client import POD, Cluster, Resource
from lithify.engines.kubernetes.copies import Json, strip
from lithify.engines.kubernetes.scratch import Premises
from lithify.errors import Conflict, EngineUnreachable, NothingToExamine, NotPermitted, UsageError
from lithify.model.group import MemberPlan
from lithify.model.json_patch import json_patch
from lithify.model.patch import Patched
from lithify.model.path import printable
from lithify.model.pod import Role
from lithify.model.writes import WriteSet
from lithify.observe.merge import merge_write_sets
from lithify.pipeline.groups.clusters import ClusterGroup, open_cluster, read_objects
from lithify.pipeline.groups.options import ClusterOptions, GroupOptions
from lithify.pipeline.groups.replicas import Replica, Watch, learn_replicas

_TARGET = re.compile(r"[A-Za-z][A-Za-z0-9.-]*/[a-z0-9][a-z0-9.:-]*")
_NODES = "name an image that holds lithify with --node-image, or run lithify on the node, as root"
_DEEPEST = 8
"""Owners of owners that are followed."""


def names_workload(text: str) -> bool:
    """Tell whether `text` is written as KIND/NAME."""
    return _TARGET.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """A workload as a cluster has it."""

    found: Json
    resource: Resource
    namespace: str
    notes: tuple[str, ...]
    """Who owns and who manages it: where a person has to say what is to last."""

    @property
    def name(self) -> str:
        """`kind/name`."""
        return f"{self.resource.kind.lower()}/{self.found['metadata']['name']}"


@dataclass(frozen=True, kw_only=True)
class LiveGroup(ClusterGroup):
    """The containers of a live workload."""

    live: Live
    _known: Mapping[str, tuple[WriteSet, ...]] = field(default_factory=dict)

    def known(self, member: str) -> tuple[WriteSet, ...]:
        """Return what each of the member's containers that could be read has written since it started."""
        return self._known.get(member, ())

    def patch(self, plans: Mapping[str, MemberPlan]) -> Patched:
        """Return the workload's manifest with the plans in it, and where it has to be written to last."""
        patched = super().patch(plans)
        return replace(patched, notes=(*patched.notes, *self.live.notes))

    def apply(self, text: bytes) -> Sequence[str]:
        """Change the workload in the cluster to what a patched manifest says; return what was done, in sentences.

        Conflict where somebody changed it meanwhile, EngineRefused where the server does not take it.
        """
        live, cluster = self.live, self.premises.cluster
        before, (after, *more) = self.manifest.objects[0], read_objects(self.path, text).objects
        name, generation = str(live.found["metadata"]["name"]), live.found["metadata"].get("generation")
        now = cluster.get(live.resource, name, live.namespace)
        if now is None or now["metadata"].get("generation") != generation:
            raise Conflict(f"{printable(self.path)} was changed meanwhile", hint="harden it again as it is now")
        guard = [] if generation is None else [{"op": "test", "path": "/metadata/generation", "value": generation}]
        change = [*guard, *json_patch(before, after)]
        cluster.patch(live.resource, name, change, live.namespace, dry_run=True)
        done = []
        for made in more:
            cluster.create(made, live.namespace)
            done.append(f"made {made['kind']}/{made['metadata']['name']}")
        cluster.patch(live.resource, name, change, live.namespace)
        return [*done, f"patched {printable(self.path)} in namespace {live.namespace}"]


def open_workload(text: str, wishes: GroupOptions) -> LiveGroup:
    """Return the workload KIND/NAME that runs in a cluster as a group; whoever calls closes it.

    Where KIND/NAME is made by something else, that is taken, up to what a person edits. Raises as `open_cluster` does,
    NothingToExamine also where there is no such workload.
    """
    options = wishes.cluster or ClusterOptions()
    with options.connect() as cluster:
        namespace = options.namespace or cluster.namespace
        live = find_workload(cluster, text, namespace)
        pods = _pods(cluster, live)
    given = replace(wishes, cluster=replace(options, namespace=namespace))
    group = open_cluster(live.name, _spelt(live.found), given)
    try:
        sites = [(site, pod) for site in group.manifest.sites for pod in pods]
        replicas = [Replica(member=site.member, container=site.container, pod=pod) for site, pod in sites]
        seconds, image = wishes.exercise.seconds, wishes.settings.node_image
        watch = Watch(seconds=seconds, live=seconds > 0, node_image=image)
        known, notes = learn_replicas(group.premises, replicas, watch)
        if not known:
            notes.append("nothing that runs was read: what it writes is known from the copy only")
    except BaseException:
        group.premises.close()
        raise
    return LiveGroup(
        path=group.path,
        text=group.text,
        manifest=group.manifest,
        premises=group.premises,
        options=group.options,
        given=group.given,
        live=replace(live, notes=(*live.notes, *notes)),
        _known=known,
    )


def learn_workload(
    text: str,
    options: ClusterOptions,
    watch: Watch,
    *,
    container: str = "",
    tell: Callable[[str], None] = lambda _: None,
) -> WriteSet:
    """Return what one container of the workload KIND/NAME has written in all its pods that run, and writes meanwhile.

    UsageError where it has several, init and sidecar containers aside, and none is named; NothingToExamine where none
    of its pods runs, EngineUnreachable where they all do on nodes that can't be read from here.
    """
    with Premises(options.connect, options.namespace) as premises:
        with suppress(NotPermitted):  # who may not list namespaces has never made one
            for swept in premises.sweep():
                tell(f"removed what an earlier run left: {swept}")
        live = find_workload(premises.cluster, text, premises.source)
        sites = read_objects(live.name, _spelt(live.found)).sites
        names, apps = [site.container for site in sites], [site.container for site in sites if site.role is Role.APP]
        if not sites:
            raise NothingToExamine(f"{printable(live.name)} has no pods", hint="name a Deployment, a StatefulSet, ...")
        if container not in names and (container or len(apps) != 1):
            what = f"no container {printable(container)}" if container else "several containers"
            raise UsageError(
                f"{printable(live.name)} has {what}",
                hint=f"name one with --container: {', '.join(map(printable, names))}",
            )
        name = container or apps[0]
        replicas = [Replica(member=name, container=name, pod=pod) for pod in _pods(premises.cluster, live)]
        tell(f"reading what {live.name} has written in {len(replicas)} pods")
        known, notes = learn_replicas(premises, replicas, watch)
        if not known and notes:
            raise EngineUnreachable(f"nothing of {printable(live.name)} can be read: {notes[0]}", hint=_NODES)
        if not known:
            raise NothingToExamine(
                f"no container {printable(name)} of {printable(live.name)} runs", hint="see kubectl get pods"
            )
    found = merge_write_sets(*known[name])
    observation = replace(found.observation, notes=(*found.observation.notes, *notes, *live.notes))
    return replace(found, observation=observation)


def _pods(cluster: Cluster, live: Live) -> list[Json]:
    return [pod for pod in cluster.objects(POD, live.namespace) if _belongs(cluster, pod, live, live.namespace)]


def find_workload(cluster: Cluster, text: str, namespace: str) -> Live:
    """Return the workload that a person edits to change KIND/NAME; NothingToExamine where there is none."""
    kind, _, name = text.partition("/")
    resource = cluster.find(kind)
    if not resource.namespaced:
        raise UsageError(f"{resource.kind} is no workload", hint="name a Deployment, StatefulSet, DaemonSet, Job, ...")
    found = cluster.get(resource, name, namespace)
    if found is None:
        raise NothingToExamine(
            f"there is no {resource.kind} {printable(name)} in namespace {printable(namespace)}",
            hint=f"see kubectl get {resource.plural} -n {namespace}",
        )
    found.setdefault("apiVersion", resource.api_version)
    found.setdefault("kind", resource.kind)
    notes: list[str] = []
    for owner, owned_by in _owners(cluster, found, namespace):
        if not _has_pods(owner):
            notes.append(
                f"{found['kind']}/{found['metadata']['name']} is made by {owner['kind']}/{owner['metadata']['name']}, "
                "which makes it anew: what is to last has to be said there"
            )
            break
        notes.append(
            f"{found['kind']}/{found['metadata']['name']} is made by {owner['kind']}/{owner['metadata']['name']}, "
            "which was taken in its place"
        )
        found, resource = owner, owned_by
    notes += _managers(found["metadata"])
    return Live(found=found, resource=resource, namespace=namespace, notes=tuple(map(printable, notes)))


def _owners(cluster: Cluster, found: Mapping[str, Any], namespace: str) -> Iterator[tuple[Json, Resource]]:
    """Yield the controller of an object, that one's controller, and so on."""
    for _ in range(_DEEPEST):
        reference = _controller(found)
        if reference is None:
            return
        try:
            resource = cluster.resource(str(reference.get("apiVersion")), str(reference.get("kind")))
            owner = cluster.get(resource, str(reference.get("name")), namespace if resource.namespaced else None)
        except NothingToExamine:
            return
        if owner is None:
            return
        owner.setdefault("apiVersion", resource.api_version)
        owner.setdefault("kind", resource.kind)
        yield owner, resource
        found = owner


def _controller(found: Mapping[str, Any]) -> Mapping[str, Any] | None:
    references: list[Mapping[str, Any]] = found["metadata"].get("ownerReferences") or []
    return next((one for one in references if one.get("controller")), None)


def _has_pods(found: Mapping[str, Any]) -> bool:
    spec = found.get("spec") or {}
    return found.get("kind") == "Pod" or "template" in spec or "jobTemplate" in spec


def _belongs(cluster: Cluster, pod: Mapping[str, Any], live: Live, namespace: str) -> bool:
    """Tell whether a pod is the workload's own, or one of its making."""
    wanted = live.found["metadata"].get("uid")
    if pod["metadata"].get("uid") == wanted:
        return True
    first = _controller(pod)
    if first is None:
        return False
    return first.get("uid") == wanted or any(
        owner["metadata"].get("uid") == wanted for owner, _ in _owners(cluster, pod, namespace)
    )


def _managers(metadata: Mapping[str, Any]) -> Iterator[str]:
    """Name what writes the object from elsewhere, and would take a change in the cluster back."""
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    release = annotations.get("meta.helm.sh/release-name")
    if release or labels.get("app.kubernetes.io/managed-by") == "Helm":
        chart = labels.get("helm.sh/chart")
        of = f" (chart {chart})" if chart else ""
        name = release or "of unknown name"
        yield f"Helm release {name}{of} manages it: the next upgrade takes back what its values don't say"
    tracking = annotations.get("argocd.argoproj.io/tracking-id", "").partition(":")[0]
    argo = tracking or labels.get("argocd.argoproj.io/instance")
    if argo:
        yield f"Argo CD application {argo} manages it: the next sync takes a change back that is not in its repository"
    for prefix, kind in (("kustomize", "Kustomization"), ("helm", "HelmRelease")):
        name = labels.get(f"{prefix}.toolkit.fluxcd.io/name")
        if name:
            yield f"Flux {kind} {name} manages it: the next reconciliation takes back what is not in its source"


def _spelt(found: Mapping[str, Any]) -> bytes:
    """Return the manifest of a live object as a person would have written it."""
    made = strip(found)
    ordered: Json = {key: made[key] for key in ("apiVersion", "kind", "metadata") if key in made}
    whole = {**ordered, **{key: value for key, value in made.items() if key not in ordered}}
    return yaml.safe_dump(whole, sort_keys=False, allow_unicode=True).encode()
