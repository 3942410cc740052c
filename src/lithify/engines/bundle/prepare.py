"""Lays out what an OCI runtime is given: the spec, and on this host the directories and files that it names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from lithify.engines.bundle.places import Places
from lithify.engines.bundle.spec import ALL_CAPABILITIES, CAPABILITIES, DEFAULT_PATH, ProcessSpec, Spec, SpecMount
from lithify.engines.images.rootfs import RootFilesystem
from lithify.errors import EngineRefused, UsageError
from lithify.model.image import ImageFacts
from lithify.model.mount import MountPlan
from lithify.model.path import is_pseudo, printable

HOSTS = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
"""What stands in every /etc/hosts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extras:
    """What a container of a pod has besides its image."""

    binds: tuple[SpecMount, ...] = ()
    """Storage of the pod; destinations as the manifest has them."""
    joins: Mapping[str, str] = field(default_factory=dict)
    """Namespaces of another container that it shares: type and path."""
    hostname: str = ""
    hosts: str = ""
    """Its /etc/hosts."""
    groups: tuple[int, ...] = ()
    """Supplemental groups, besides those that the image gives its user."""
    added: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    """Capabilities, without CAP_."""
    privileged: bool = False
    no_new_privileges: bool = False
    sysctls: Mapping[str, str] = field(default_factory=dict)
    linked: bool = False
    """It gets an address although it runs nothing: it holds the network of others."""


NO_EXTRAS = Extras()


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Where and how a container is to be run."""

    directory: Path
    """Where its storage is made."""
    root: Path
    """What `root.path` names: where the root filesystem will be when the runtime looks."""
    read_only: bool
    hostname: str
    named: Mapping[PurePosixPath, Path] = field(default_factory=dict)
    """The directory of each named volume, by the path at which the plan mounts it."""
    cgroup: str | None = None
    memory: int | None = None
    mappings: Mapping[str, Sequence[Mapping[str, int]]] = field(default_factory=dict)
    """Of a user namespace of its own."""
    extras: Extras = NO_EXTRAS


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A container as it can be handed to a runtime."""

    spec: Spec
    places: Places
    hosts: Path
    """Its /etc/hosts, to be completed once it has an address."""


def prepare(facts: ImageFacts, image: RootFilesystem, plan: MountPlan | None, setting: Setting) -> Prepared:
    """Make the storage that `plan` and the image's VOLUMEs ask for, and the spec that brings it in.

    Raises EngineRefused for a plan that can't be made on this image, UsageError where nothing says what to run.
    """
    facts = _redirected(facts, plan)
    extras = setting.extras
    process = _entitled(_process(facts, image), extras)
    places = Places(image, setting.directory)
    for mount in extras.binds:
        places.add_bind(mount)
    if plan:
        places.add_plan(plan, setting.named)
    for path in facts.volumes:
        places.add_image_volume(path)
    # a program that asks for its own host's address ends where there is none: proftpd
    known = extras.hosts or f"{HOSTS}127.0.1.1\t{setting.hostname}\n"
    hosts = _add_engine_files(places, setting.hostname, known, read_only=setting.read_only)
    spec = Spec(
        root=setting.root,
        read_only=setting.read_only,
        process=process,
        hostname=setting.hostname,
        mounts=tuple(places.mounts),
        cgroup=setting.cgroup,
        memory=setting.memory,
        modes=places.modes,
        mappings=setting.mappings,
        joins=extras.joins,
        sysctls=extras.sysctls,
        privileged=extras.privileged,
    )
    return Prepared(spec=spec, places=places, hosts=hosts)


def _redirected(facts: ImageFacts, plan: MountPlan | None) -> ImageFacts:
    """Return `facts` with the variables, arguments and working directory of `plan`."""
    if plan is None:
        return facts
    environment = dict(facts.environment)
    directory = facts.working_directory
    for redirect in plan.redirects:
        if redirect.variable is not None:
            environment[redirect.variable] = redirect.value
        elif redirect.argument is None and not redirect.appended:
            directory = redirect.new
    try:
        entrypoint, command = plan.redirected(facts.entrypoint, facts.command)
    except ValueError as error:
        raise EngineRefused(str(error), hint="plan again for what is run now") from error
    return replace(facts, entrypoint=entrypoint, command=command, environment=environment, working_directory=directory)


def _process(facts: ImageFacts, image: RootFilesystem) -> ProcessSpec:
    arguments = (*facts.entrypoint, *facts.command)
    if not arguments:
        raise UsageError(
            f"{printable(facts.reference)} does not say what to run",
            hint="give the command after --, as: -- nginx -g ...",
        )
    user = image.user(facts.user)
    try:
        directory = image.resolve(facts.working_directory)
    except OSError as error:
        where = printable(facts.working_directory)
        raise EngineRefused(f"the working directory {where} can't be reached: {error.strerror}") from error
    if is_pseudo(directory):
        # a link to /proc/self/fd/N would start the program outside its root (CVE-2024-21626)
        raise EngineRefused(f"the working directory {printable(facts.working_directory)} is none of the image's")
    environment = {"PATH": DEFAULT_PATH, "HOME": user.home, **facts.environment}
    return ProcessSpec(arguments=arguments, environment=environment, working_directory=directory, user=user)


def _entitled(process: ProcessSpec, extras: Extras) -> ProcessSpec:
    """Return `process` with the groups and capabilities that a pod gives it."""
    bounding = set(ALL_CAPABILITIES if extras.privileged or "ALL" in extras.added else CAPABILITIES)
    if "ALL" in extras.dropped:
        bounding = set(ALL_CAPABILITIES if "ALL" in extras.added else ())
    bounding -= {f"CAP_{name}" for name in extras.dropped}
    bounding |= {f"CAP_{name}" for name in extras.added if name != "ALL"}
    groups = (*process.user.groups, *(group for group in extras.groups if group not in process.user.groups))
    return replace(
        process,
        user=replace(process.user, groups=groups),
        capabilities=tuple(name for name in ALL_CAPABILITIES if name in bounding),
        no_new_privileges=extras.no_new_privileges,
    )


def _add_engine_files(places: Places, hostname: str, hosts: str, *, read_only: bool) -> Path:
    """Add the files that every engine puts into a container; return the one for host names."""
    places.add_file(PurePosixPath("/etc/hostname"), f"{hostname}\n", read_only=read_only)
    # no name server is reached from here: asking one that is not there fails at once, as waiting for one would not
    places.add_file(PurePosixPath("/etc/resolv.conf"), "nameserver 127.0.0.1\n", read_only=read_only)
    return places.add_file(PurePosixPath("/etc/hosts"), hosts, read_only=read_only)
