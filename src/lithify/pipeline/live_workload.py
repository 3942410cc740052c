"""A workload that runs in a cluster as a group: learnt from its own pods, tried in a copy, patched where it lives."""

import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from lithify.engines.attached import ProcessContainer
from lithify.engines.copies import Json, strip
from lithify.engines.kubelet import ProcessFinder
from lithify.engines.kubernetes import POD, Cluster, Resource
from lithify.errors import Conflict, EngineRefused, NothingToExamine, UsageError
from lithify.model.group import MemberPlan
from lithify.model.json_patch import json_patch
from lithify.model.patch import Patched
from lithify.model.path import printable
from lithify.model.run import Target, TargetKind
from lithify.model.writes import WriteSet
from lithify.pipeline.clusters import ClusterGroup, open_cluster, read_objects
from lithify.pipeline.group_options import ClusterOptions, GroupOptions
from lithify.pipeline.learn import learn_process

_TARGET = re.compile(r"[A-Za-z][A-Za-z0-9.-]*/[a-z0-9][a-z0-9.:-]*")
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


@dataclass(frozen=True, kw_only=True)
class LiveGroup(ClusterGroup):
    """The containers of a live workload."""

    live: Live
    _known: dict[str, tuple[WriteSet, ...]] = field(default_factory=dict)

    def known(self, member: str) -> tuple[WriteSet, ...]:
        """Return what each of the member's containers on this node has written since it started."""
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
    with Cluster.connect(kubeconfig=options.kubeconfig, context=options.context) as cluster:
        namespace = options.namespace or cluster.namespace
        live = find_workload(cluster, text, namespace)
        name = f"{live.resource.kind.lower()}/{live.found['metadata']['name']}"
        manifest = yaml.safe_dump(_spelt(live.found), sort_keys=False, allow_unicode=True).encode()
        pods = [pod for pod in cluster.objects(POD, namespace) if _belongs(cluster, pod, live, namespace)]
    group = open_cluster(name, manifest, replace(wishes, cluster=replace(options, namespace=namespace)))
    try:
        known, notes = _learn(group, pods, wishes.exercise.seconds)
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


def _spelt(found: Mapping[str, Any]) -> Json:
    """Return a live object as a person would have written it."""
    made = strip(found)
    ordered: Json = {key: made[key] for key in ("apiVersion", "kind", "metadata") if key in made}
    return {**ordered, **{key: value for key, value in made.items() if key not in ordered}}


def _learn(
    group: ClusterGroup, pods: Sequence[Mapping[str, Any]], seconds: float
) -> tuple[dict[str, tuple[WriteSet, ...]], list[str]]:
    """Return what every running container of `pods` on this node has written, by member, and what was not seen."""
    node = group.premises.node()
    here = [pod for pod in pods if (pod.get("spec") or {}).get("nodeName") == node]
    notes = []
    if len(here) < len(pods):
        others = sorted({str(pod["spec"].get("nodeName")) for pod in pods if pod not in here})
        notes.append(
            f"{len(pods) - len(here)} of {len(pods)} pods run on other nodes ({', '.join(others)}), where what they "
            "wrote was not read"
        )
    if not here:
        notes.append("no pod of it runs on this node: what it writes is known from the copy only")

    def learn_one(site_and_pod: tuple[str, str, Mapping[str, Any]]) -> tuple[str, WriteSet | None]:
        member, container, pod = site_and_pod
        process = ProcessFinder(container).first_process(str(pod["metadata"]["uid"]))
        if process is None:
            return member, None
        name = f"{pod['metadata']['name']}/{container}"
        target = Target(kind=TargetKind.POD, engine=group.engine, reference=name)
        try:
            view = ProcessContainer(process[0], name)
            return member, learn_process(group.engine, view, target, seconds, lambda _: None, live=seconds > 0)
        except (NothingToExamine, EngineRefused):  # it ended meanwhile
            return member, None

    wanted = [(site.member, site.container, pod) for site in group.manifest.sites for pod in here]
    known: dict[str, tuple[WriteSet, ...]] = {}
    with ThreadPoolExecutor(max_workers=8) as pool:
        for member, write_set in pool.map(learn_one, wanted):
            if write_set is not None:
                known[member] = (*known.get(member, ()), write_set)
    return known, notes
