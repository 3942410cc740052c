"""The workloads of a Kubernetes manifest as a group that runs in scratch namespaces of a real cluster."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lithify.documents.nodes import to_python
from lithify.documents.yaml import Broken, read_documents
from lithify.engines.kubernetes.copies import LEFT_OUT, Json, Place, below, containers_of
from lithify.engines.kubernetes.engine import ClusterEngine
from lithify.engines.kubernetes.roles import BINDINGS, ROLES, flaw
from lithify.engines.kubernetes.scratch import Premises
from lithify.errors import EngineRefused, InvalidInput, NothingToExamine
from lithify.model.group import MemberPlan
from lithify.model.hardening import Hardening
from lithify.model.location import Route
from lithify.model.mount import MountPlan
from lithify.model.patch import Patched, Planned, Refused
from lithify.model.path import printable
from lithify.model.pod import Role
from lithify.model.quantity import parse_quantity
from lithify.model.run import Exercise, Probe, Target, TargetKind
from lithify.patch.kubernetes import patch
from lithify.pipeline.elsewhere import settle
from lithify.pipeline.groups.group import Case
from lithify.pipeline.groups.options import ClusterOptions, GroupOptions
from lithify.pipeline.groups.pods import find_meant, is_hindered
from lithify.sources.base import read_bytes
from lithify.sources.files import YAML_SUFFIXES
from lithify.sources.manifest import read_manifest

_PROBES = ("readinessProbe", "startupProbe", "livenessProbe")
_KUBELET = Probe(name="kubelet", by_kubelet=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A container of a manifest: its workload, and where it stands in the text."""

    member: str
    place: Place
    workload: str
    container: str
    document: int
    route: Route
    """The keys of its document that lead to it."""
    role: Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest as objects."""

    objects: tuple[Json, ...]
    places: tuple[Place, ...]
    sites: tuple[Site, ...]


def open_cluster(path: str, data: bytes, options: GroupOptions) -> "ClusterGroup":
    """Return the workloads of a manifest as a group that runs on a cluster; whoever calls closes it.

    InvalidInput where the manifest can't be read, NothingToExamine where no pod is in it, UsageError for a member that
    is not there, EngineUnreachable where the cluster does not answer, or this host is no node of it and no image is
    named that could look into one, NotPermitted, with the rights named, where too little is allowed.
    """
    manifest = read_objects(path, data)
    if not manifest.sites:
        raise NothingToExamine(
            f"{printable(path)}: no pod is described in it", hint="name the file that has the Deployment, Job, ..."
        )
    _check_members(path, manifest, options)
    given = [found for file in _files(options.beside) for found in read_objects(str(file), _read(file)).objects]
    wanted = options.cluster or ClusterOptions()
    first: Json = next((one["metadata"] for one in manifest.objects if isinstance(one.get("metadata"), dict)), {})
    named = str(first.get("namespace") or "")
    premises = Premises(wanted.connect, wanted.namespace or named)
    try:
        cluster = premises.cluster
        cluster.version()
        objects = [one for one in manifest.objects if one.get("kind") not in {*LEFT_OUT, *ROLES, *BINDINGS}]
        kinds = {(str(one.get("apiVersion")), str(one.get("kind"))) for one in objects}
        resources = [cluster.resource(version, kind) for version, kind in sorted(kinds)]
        premises.check_rights([resource for resource in resources if resource.namespaced])
        pods = [below(manifest.objects[place.object], place.pod) for place in manifest.places]
        settle(premises, options.settings.node_image, pods)
    except BaseException:
        premises.close()
        raise
    return ClusterGroup(path=path, text=data, manifest=manifest, premises=premises, options=options, given=tuple(given))


@dataclass(frozen=True, kw_only=True)
class ClusterGroup:
    """The containers of a manifest's workloads; a run applies the whole manifest in a namespace of its own."""

    path: str
    text: bytes
    manifest: Manifest
    premises: Premises
    options: GroupOptions
    given: tuple[Json, ...] = ()
    stands: bool = False
    """It is run as its file has it."""
    fresh: set[str] = field(default_factory=set)
    """Containers whose run-time files have to go at each start: they did not bear to find those of the start before."""
    refused: dict[str, Refused] = field(default_factory=dict)
    """Plans that no manifest can say, by member: the latest of each."""

    def __enter__(self) -> "ClusterGroup":
        return self

    def __exit__(self, *_: object) -> None:
        self.premises.close()

    @property
    def name(self) -> str:
        """The manifest's path."""
        return self.path

    @property
    def engine(self) -> str:
        """`cluster NAME`."""
        return f"cluster {self.premises.cluster.name}"

    @property
    def members(self) -> Sequence[str]:
        """Every container, or those asked for, in the order of the file."""
        only = set(self.options.only)
        return [site.member for site in self.manifest.sites if not only or only & set(_names(site))]

    @property
    def cannot_show(self) -> tuple[str, ...]:
        """Nothing beyond what is told of each member."""
        return ()

    def engine_for(self, member: str, plans: Mapping[str, MemberPlan]) -> Case:
        """Return what runs `member` in its pod, the others as planned."""
        site = self._site(member)
        others = {name: plan for name, plan in plans.items() if name != member}

        def arrange(plan: MountPlan | None) -> Sequence[Json]:
            added = {} if plan is None else {member: MemberPlan(plan=plan, image=engine.read_image(target))}
            wanted = {**others, **added}
            return self._arranged(wanted) if wanted else self.manifest.objects

        def place(objects: Sequence[Json]) -> tuple[Sequence[Place], Place]:
            del objects  # a patch adds objects at the end only, and none has pods
            return self.manifest.places, site.place

        engine = ClusterEngine(
            premises=self.premises,
            arrange=arrange,
            place=place,
            member=site.container,
            given=self.given,
            as_it_stands=self.stands,
        )
        container = self._container(site)
        target = Target(
            kind=TargetKind.POD,
            engine=engine.name,
            reference=f"{self.path}/{member}",
            memory=_memory(container),
        )
        return engine, target, self._exercise(site, container)

    def patch(self, plans: Mapping[str, MemberPlan]) -> Patched:
        """Return the manifest with the plans in it."""
        sites = {name: self._site(name) for name in plans}
        return self._patched(self.text, [_planned(sites[name], plan) for name, plan in plans.items()], [*sites])

    def try_otherwise(self, member: str, failed: Hardening) -> bool:
        """Have run-time files removed at each start: an emptyDir keeps them where the container's own layer did not."""
        name = self._site(member).container
        if not is_hindered(failed) or name in self.fresh | self.options.manifest.fresh_start:
            return False
        self.fresh.add(name)
        return True

    def unsaid(self) -> Mapping[str, Refused]:
        """Return the plans that no manifest can say, as far as one was tried."""
        return self.refused

    def called(self) -> Mapping[str, str]:
        """Return each member by how a patch of a rendered manifest names its container."""
        return {f"{site.workload}/{site.container}": site.member for site in self.manifest.sites}

    def as_patched(self, patched: Patched) -> "ClusterGroup":
        """Return the workloads that the patched manifest describes, to be run as they stand."""
        manifest = read_objects(self.path, patched.text)
        return replace(self, text=patched.text, manifest=manifest, stands=True)

    def _arranged(self, plans: Mapping[str, MemberPlan]) -> tuple[Json, ...]:
        """Return the objects as the manifest would have them with `plans`.

        The manifest is taken as plain data, in which every change can be made: what the user's own text does not let
        change is the last patch's affair.
        """
        objects = self.manifest.objects
        planned = []
        for name, plan in plans.items():
            site = self._site(name)
            index = site.place.object
            # whether the program needs what the plan refuses is what the run is to show
            tried = replace(plan, plan=replace(plan.plan, refusals=()))
            route = ("items", index, *_within(objects[index], site))
            planned.append(replace(_planned(site, tried), document=0, route=route))
        listed = {"apiVersion": "v1", "kind": "List", "items": objects}
        text = json.dumps(listed, indent=1).encode()
        patched = self._patched(text, planned, [*plans])
        for refused in patched.refused:
            self.refused[refused.container] = refused
            raise EngineRefused(
                f"the manifest can't hold the plan of {printable(refused.container)}: {refused.reason}",
                hint=refused.remedy,
            )
        return read_objects(self.path, patched.text).objects

    def _patched(self, text: bytes, planned: Sequence[Planned], names: Sequence[str]) -> Patched:
        version = self.premises.cluster.version().lstrip("v").split(".")
        numbers = (int(version[0]), int("".join(c for c in version[1] if c.isdigit())))
        options = self.options.manifest
        fresh = options.fresh_start | self.fresh
        patched = patch(text, planned, replace(options, version=numbers, fresh_start=fresh))
        called = {one.container: name for one, name in zip(planned, names, strict=True)}
        refused = tuple(replace(each, container=called.get(each.container, each.container)) for each in patched.refused)
        return replace(patched, refused=refused)

    def _site(self, member: str) -> Site:
        return next(site for site in self.manifest.sites if member in _names(site))

    def _container(self, site: Site) -> Json:
        pod = below(self.manifest.objects[site.place.object], site.place.pod)
        return next(found for _, found in containers_of(pod) if found.get("name") == site.container)

    def _exercise(self, site: Site, container: Json) -> Exercise:
        """Return how a container is driven and judged: by the kubelet, and by the user where that is about it."""
        given = self.options.exercise
        if site.role is Role.INIT:
            return Exercise(timeout=given.timeout)
        sites = self.manifest.sites
        found = [(each.role, _ports(self._container(each))) for each in sites]
        index = find_meant(given, found)
        meant = len(self.options.only) == 1 or (index is not None and site.member == sites[index].member)
        base = given if meant else Exercise(timeout=given.timeout, seconds=given.seconds)
        return replace(base, probes=(_KUBELET,)) if any(container.get(probe) for probe in _PROBES) else base


def read_objects(path: str, data: bytes) -> Manifest:
    """Return a manifest's objects, lists taken apart, and its containers; InvalidInput where it can't be read."""
    objects: list[Json] = []
    by_route: dict[tuple[int, Route], int] = {}
    for document in read_documents(data):
        if isinstance(document, Broken):
            raise InvalidInput(
                f"{printable(path)}:{document.line}: {printable(document.reason)}", hint="mend the document"
            )
        try:
            value = to_python(document.root)
        except ValueError as error:
            raise InvalidInput(f"{printable(path)}: {error}", hint="make it a manifest that kubectl reads") from error
        for route, found in _apart(value):
            _check_role(path, found)
            by_route[document.index, route] = len(objects)
            objects.append(found)
    reading = read_manifest(path, data)
    for oddity in reading.oddities:
        raise InvalidInput(f"{oddity.location}: {oddity.message}", hint="make it a manifest that kubectl reads")
    places: list[Place] = []
    sites: list[Site] = []
    for workload in reading.workloads:
        index = by_route.get((workload.location.document, workload.location.route))
        if index is None or not workload.containers or workload.not_applicable:
            continue
        place = Place(object=index, pod=workload.pod, number=len(places))
        places.append(place)
        sites += [
            Site(
                member=container.name,
                place=place,
                workload=str(workload.name),
                container=container.name,
                document=workload.location.document,
                route=container.location.route,
                role=Role(container.role) if container.role else Role.APP,
            )
            for container in workload.containers
            if container.role != "ephemeral"  # which no manifest starts
        ]
    names = [site.container for site in sites]
    unique = [
        site if names.count(site.container) == 1 else replace(site, member=f"{site.workload}/{site.container}")
        for site in sites
    ]
    return Manifest(objects=tuple(objects), places=tuple(places), sites=tuple(unique))


def _check_role(path: str, found: Json) -> None:
    """Raise InvalidInput for a role or a binding that is none: a copy's accounts could not be given it."""
    problem = flaw(found) if found.get("kind") in (*ROLES, *BINDINGS) else ""
    if problem:
        metadata = found.get("metadata")
        name = metadata.get("name") if isinstance(metadata, dict) else None
        called = f"{found['kind']} {name}" if name else f"a {found['kind']}"
        raise InvalidInput(
            f"{printable(path)}: {printable(called)}: {problem}", hint="make it a manifest that kubectl reads"
        )


def _apart(value: Any, route: Route = ()) -> Iterator[tuple[Route, Json]]:
    """Yield each object of a document with the keys that lead to it."""
    if not isinstance(value, dict):
        return
    if str(value.get("kind", "")).endswith("List") and isinstance(value.get("items"), list):
        for index, item in enumerate(value["items"]):
            yield from _apart(item, (*route, "items", index))
    elif value.get("kind"):
        yield route, value


def _within(found: Json, site: Site) -> Route:
    """Return the keys from an object to its container."""
    pod = below(found, site.place.pod)
    for name in ("initContainers", "containers"):
        for index, container in enumerate(pod.get(name) or ()):
            if container.get("name") == site.container:
                return (*site.place.pod, name, index)
    raise KeyError(site.container)


def _planned(site: Site, plan: MemberPlan) -> Planned:
    return Planned(document=site.document, route=site.route, container=site.container, plan=plan.plan, image=plan.image)


def _names(site: Site) -> tuple[str, str]:
    return site.container, f"{site.workload}/{site.container}"


def _check_members(path: str, manifest: Manifest, options: GroupOptions) -> None:
    known = {name for site in manifest.sites for name in _names(site)}
    options.insist_on(path, known, (site.member for site in manifest.sites))


def _ports(container: Mapping[str, Any]) -> list[int]:
    return [port["containerPort"] for port in container.get("ports") or () if "containerPort" in port]


def _memory(container: Mapping[str, Any]) -> int | None:
    limit = ((container.get("resources") or {}).get("limits") or {}).get("memory")
    try:
        return parse_quantity(str(limit)) if limit is not None else None
    except ValueError:
        return None  # the server will say so


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(each for each in path.rglob("*") if each.suffix in YAML_SUFFIXES)
        else:
            yield path


def _read(path: Path) -> bytes:
    data = read_bytes(str(path))
    if isinstance(data, str):
        raise InvalidInput(f"{printable(path)}: {data}", hint="name a file that you may read")
    return data
