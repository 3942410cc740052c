"""The pods of a Kubernetes manifest as a group: run without a cluster, patched where they stand."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lithify.documents.nodes import to_python
from lithify.documents.yaml import Broken, read_documents
from lithify.engines.base import Container
from lithify.engines.pods.engine import Host, PodEngine
from lithify.errors import EngineRefused, EngineUnreachable, InvalidInput, NothingToExamine
from lithify.model.behaviour import Phase
from lithify.model.group import MemberPlan
from lithify.model.hardening import Hardening
from lithify.model.location import Route
from lithify.model.mount import MountPlan, PathClass
from lithify.model.patch import Patched, Planned, Refused
from lithify.model.path import printable
from lithify.model.pod import Pod, PodContainer, Role, VolumeKind
from lithify.model.run import Exercise, Probe, Target, TargetKind
from lithify.patch.kubernetes import patch
from lithify.pipeline.groups.group import Case
from lithify.pipeline.groups.options import GroupOptions
from lithify.pipeline.target import make_engine
from lithify.prove.exercise import ask
from lithify.settings import Settings
from lithify.sources.base import read_bytes
from lithify.sources.files import YAML_SUFFIXES, insist_on_yaml, kind_of
from lithify.sources.pod import Objects, read_pods


def open_pods(path: str, data: bytes, options: GroupOptions) -> "PodGroup":
    """Return the pods of a manifest as a group.

    InvalidInput where it can't be read or refers to what is nowhere, NothingToExamine where no pod is in it or an image
    is in no engine, UsageError for a member that is not there.
    """
    objects = read_objects(options.beside)
    pods = read_pods(path, data, objects)
    if not pods:
        insist_on_yaml(path, data)
        raise NothingToExamine(
            f"{printable(path)}: no pod is described in it", hint="name the file that has the Deployment, Job, ..."
        )
    group = PodGroup(path=path, text=data, pods=pods, objects=objects, options=options)
    group.check()
    return group


def read_objects(paths: Sequence[Path]) -> Objects:
    """Return the config maps and secrets of files and folders; InvalidInput where one can't be read."""
    objects = Objects()
    for path in paths:
        files = sorted(each for each in path.rglob("*") if each.suffix in YAML_SUFFIXES) if path.is_dir() else [path]
        for file in files:
            data = read_bytes(str(file))
            if isinstance(data, str):
                raise InvalidInput(f"{printable(file)}: {data}", hint="name a file that you may read with --with")
            if kind_of(str(file), data) == "kubernetes":
                objects.add(str(file), data)
    return objects


@dataclass(kw_only=True)
class PodGroup:
    """The containers of every pod in a manifest; those of one pod run together."""

    path: str
    text: bytes
    pods: tuple[Pod, ...]
    objects: Objects
    options: GroupOptions
    host: Host | None = None
    stands: bool = False
    """It is run as its file has it."""
    refused: dict[str, Refused] = field(default_factory=dict)
    """Plans that no manifest can say, by member: the latest of each."""
    fresh: frozenset[str] = frozenset()
    """Containers whose run-time files have to go at each start: they did not bear to find those of the start before."""

    def check(self) -> None:
        """Raise UsageError where a member that was asked for is not there, NothingToExamine where an image is not."""
        known = {name for pod in self.pods for container in pod.containers for name in self._names(pod, container)}
        self.options.insist_on(self.path, known, self._all_members())
        self.host = self.host or self._chosen_host()

    @property
    def name(self) -> str:
        """The manifest's path."""
        return self.path

    @property
    def engine(self) -> str:
        """`pod on docker`."""
        return f"pod on {self._chosen_host().name}"

    @property
    def members(self) -> Sequence[str]:
        """Every container, or those asked for: init containers first, for what they prepare the others need."""
        only = self.options.only
        return [
            self.member(pod, container)
            for pod in self.pods
            for container in pod.containers
            if not only or set(only) & set(self._names(pod, container))
        ]

    @property
    def cannot_show(self) -> tuple[str, ...]:
        """What the pods ask for and did not get; the rest is told of each member."""
        return tuple(dict.fromkeys(note for pod in self.pods for note in pod.cannot_show))

    def engine_for(self, member: str, plans: Mapping[str, MemberPlan]) -> Case:
        """Return what runs `member` in its pod, the others as planned."""
        pod, container = self._find(member)
        others = {name: plan for name, plan in plans.items() if name != member}
        beside = self._arranged(pod, others) if others else pod
        host = self._chosen_host()
        image = host.read_image(container.image)

        def arrange(plan: MountPlan) -> Pod:
            return self._arranged(pod, {**others, member: MemberPlan(plan=plan, image=image)})

        engine = PodEngine(
            host=host, pod=beside, member=container.name, arrange=arrange, ask=_asks, as_it_stands=self.stands
        )
        target = Target(
            kind=TargetKind.POD,
            engine=engine.name,
            reference=f"{self.path}/{member}",
            memory=container.memory,
        )
        return engine, target, self._exercise(pod, container)

    def patch(self, plans: Mapping[str, MemberPlan]) -> Patched:
        """Return the manifest with the plans in it."""
        return self._patched(self.text, plans)

    def as_patched(self, patched: Patched) -> "PodGroup":
        """Return the pods that the patched manifest describes, to be run as they stand."""
        pods = read_pods(self.path, patched.text, self.objects)
        return replace(self, text=patched.text, pods=pods, stands=True)

    def try_otherwise(self, member: str, failed: Hardening) -> bool:
        """Have run-time files removed at each start: an emptyDir keeps them where the container's own layer did not."""
        _, container = self._find(member)
        if not is_hindered(failed) or container.name in self.fresh | self.options.manifest.fresh_start:
            return False
        self.fresh |= {container.name}
        return True

    def unsaid(self) -> Mapping[str, Refused]:
        """Return the plans that no manifest can say, as far as one was tried."""
        return self.refused

    def called(self) -> Mapping[str, str]:
        """Return each member by how a patch of a rendered manifest names its container."""
        return {f"{pod.name}/{each.name}": self.member(pod, each) for pod in self.pods for each in pod.containers}

    # Members by name.

    def _all_members(self) -> list[str]:
        return [self.member(pod, container) for pod in self.pods for container in pod.containers]

    def _names(self, pod: Pod, container: PodContainer) -> tuple[str, str]:
        return container.name, f"{pod.name}/{container.name}"

    def member(self, pod: Pod, container: PodContainer) -> str:
        """Name a container as short as the file allows: by itself, or with its object."""
        same = [each for other in self.pods for each in other.containers if each.name == container.name]
        return container.name if len(same) == 1 else f"{pod.name}/{container.name}"

    def _find(self, member: str) -> tuple[Pod, PodContainer]:
        for pod in self.pods:
            for container in pod.containers:
                if member in self._names(pod, container):
                    return pod, container
        raise KeyError(member)

    # Plans.

    def _arranged(self, pod: Pod, plans: Mapping[str, MemberPlan]) -> Pod:
        """Return `pod` as its manifest would have it with `plans`; EngineRefused where no text could say them.

        The manifest is taken as plain data, in which every change can be made: what the user's own text does not let
        change is the last patch's affair. What a plan refuses is tried without: a run tells whether that can be.
        """
        plain, wrapped = _plain(self.text, pod.document)
        tried = {name: replace(each, plan=replace(each.plan, refusals=())) for name, each in plans.items()}
        patched = self._patched(plain, tried, document=pod.document, below=("items", 0) if wrapped else ())
        if patched.refused:
            refused = patched.refused[0]
            self.refused[refused.container] = refused
            raise EngineRefused(f"no manifest can say this plan: {refused.reason}", hint=refused.remedy)
        found = read_pods(self.path, patched.text, self._objects())
        same = [other.name for other in self.pods if other.document == pod.document].index(pod.name)
        return found[same]

    def _objects(self) -> Objects:
        """Return what the manifest itself holds, then what was given beside it."""
        found = Objects()
        found.add(self.path, self.text)
        for key, values in self.objects.found.items():
            found.found.setdefault(key, values)
        return found

    def _patched(
        self, text: bytes, plans: Mapping[str, MemberPlan], *, document: int | None = None, below: Route = ()
    ) -> Patched:
        """Return `text` with plans in it: the whole manifest, or one document of it alone, `below` a list."""
        planned, names = [], []
        for name, plan in plans.items():
            pod, container = self._find(name)
            if document is None or pod.document == document:
                planned.append(
                    Planned(
                        document=pod.document if document is None else 0,
                        route=(*below, *container.route),
                        container=container.name,
                        plan=plan.plan,
                        image=plan.image,
                    )
                )
                names.append(name)
        options = self.options.manifest
        patched = patch(text, planned, replace(options, fresh_start=options.fresh_start | self.fresh))
        short = {one.container: name for one, name in zip(planned, names, strict=True)}
        refused = tuple(replace(each, container=short.get(each.container, each.container)) for each in patched.refused)
        return replace(patched, refused=refused)

    # Where and how.

    def _chosen_host(self) -> Host:
        if self.host is None:
            pods = {id(pod): pod for pod, _ in map(self._find, self.members)}.values()
            images = (container.image for pod in pods for container in pod.containers)
            volumes = (volume.reference for pod in pods for volume in pod.volumes if volume.kind is VolumeKind.IMAGE)
            copier = filter(None, [self.options.manifest.copier])
            self.host = choose_host(tuple(dict.fromkeys((*images, *volumes, *copier))), self.options)
        return self.host

    def _exercise(self, pod: Pod, container: PodContainer) -> Exercise:
        """Return how a container is driven and judged: as the user said where that is about it, else by its probes."""
        given = self.options.exercise
        if given.decides and _is_meant(given, pod, container, self.options.only):
            return given
        # an init container has no probes, and a probe of a container that ends by itself has nobody to ask
        return replace(
            Exercise(timeout=given.timeout, seconds=given.seconds if container.role is not Role.INIT else 0.0),
            probes=container.probes,
        )


def is_hindered(failed: Hardening) -> bool:
    """Tell whether its second start as planned may have failed by what the first left: a pid, a socket, a lock."""
    again = f"planned: {Phase.RESTARTED.value}"
    return any(start.purpose == again for start in failed.verdict.starts) and (
        any(mount.may_be_emptied for mount in failed.plan.mounts)
        or any(refusal.path_class is PathClass.RUNTIME for refusal in failed.plan.refusals)
    )


def _is_meant(exercise: Exercise, pod: Pod, container: PodContainer, only: Sequence[str]) -> bool:
    """Tell whether the user's check is about this container, which others in its pod may pass for it."""
    if container.role is Role.INIT:
        return False
    index = find_meant(exercise, [(each.role, each.ports) for each in pod.containers])
    return len(only) == 1 or (index is not None and container.name == pod.containers[index].name)


def find_meant(exercise: Exercise, containers: Sequence[tuple[Role, Collection[int]]]) -> int | None:
    """Return which container, by role and ports, a user's check is about: who declares its port, else the first app."""
    running = [index for index, (role, _) in enumerate(containers) if role is not Role.INIT]
    declared = [index for index in running if exercise.tcp in containers[index][1]]
    apps = [index for index in running if containers[index][0] is Role.APP]
    return next(iter([*declared, *apps]), None)


def choose_host(images: Sequence[str], options: GroupOptions) -> Host:
    """Return the engine that has all of these images; NothingToExamine where none has them all."""
    settings = options.settings
    if options.images or settings.engine == "bundle":
        bundle = _bundle(options)
        for image in images:
            bundle.read_image(image)
        return bundle
    names = [settings.engine] if settings.engine else ["docker", "podman"]
    trouble: list[EngineUnreachable | NothingToExamine] = []
    for name in names:
        try:
            host = _cli(name, settings)
            for image in images:
                host.read_image(image)
        except (EngineUnreachable, NothingToExamine) as error:
            trouble.append(error)
        else:
            return host
    missing = next((error for error in trouble if isinstance(error, NothingToExamine)), trouble[0])
    if not settings.engine:
        missing.hint = f"{missing.hint}; or run it from a directory with --image NAME=PATH".lstrip("; ")
    raise missing


def _cli(name: str, settings: Settings) -> Host:
    from lithify.engines.command_line.engine import CliEngine
    from lithify.engines.pods.command_line import CliHost

    engine = make_engine(name, settings)
    assert isinstance(engine, CliEngine)
    return CliHost(engine)


def _bundle(options: GroupOptions) -> Host:
    from lithify.engines.bundle.engine import BundleEngine
    from lithify.engines.pods.bundle import BundleHost

    engine = make_engine("bundle", options.settings)
    assert isinstance(engine, BundleEngine)
    return BundleHost(engine, options.images)


def _asks(probe: Probe, container: Container) -> bool:
    answers = ask(Exercise(probes=(probe,)), container, Phase.STARTED, {}, timeout=probe.timeout)
    return all(answer.passed for answer in answers)


def _plain(text: bytes, index: int) -> tuple[bytes, bool]:
    """Return a document of a manifest as JSON in which objects can be added, and whether a list was put around it."""
    for document in read_documents(text):
        if not isinstance(document, Broken) and document.index == index:
            value = to_python(document.root)
            wrapped = not str(value.get("kind", "")).endswith("List")
            listed = {"apiVersion": "v1", "kind": "List", "items": [value]} if wrapped else value
            return json.dumps(listed, indent=1).encode(), wrapped
    raise AssertionError(index)
