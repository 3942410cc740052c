"""Runs the containers of a pod together without a cluster, one of them standing for all: the member.

Init containers come first and in order, sidecars among them, then the apps. All share a network, their emptyDirs and
what the manifest gives them; what dies beside the member is started again, as a kubelet would. Where a pod's storage
and network come from is the premises' business: one implementation for Docker and Podman, one for bundles.
"""

import os
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Protocol

from lithify.engines.base import Container, Exit, Root, UpperLayer
from lithify.engines.described import DescribedEngine
from lithify.engines.pods.files import fill_files, give_group, part_of
from lithify.engines.process import uninterrupted
from lithify.errors import EngineRefused, LithifyError
from lithify.model.image import ImageFacts
from lithify.model.mount import MountPlan
from lithify.model.path import printable
from lithify.model.pod import Pod, PodContainer, PodVolume, Role, Security, VolumeKind, environment_of, expand
from lithify.model.run import Probe, Target

_INIT_TIMEOUT = 300.0
"""Seconds that an init container, or a sidecar's startup probe, may take."""
_POLL = 0.05
_BACK_OFF = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before a container that ended beside the member is started again, by how often that was."""
_COPIED = 1 << 20
"""Bytes of a file of the host's that a hostPath names and a container gets a copy of."""

CANNOT_SHOW = (
    "no kubelet, scheduler, admission or API server took part, and no network policy or service",
    "limits of disk-backed volumes were not enforced, and all of a pod's storage was this host's own",
)
"""What every run of a pod without a cluster leaves open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """A directory or file of the premises at a path of a container."""

    path: PurePosixPath
    source: Path
    read_only: bool = False
    executable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """One container, everything about it worked out."""

    name: str
    image: str
    command: tuple[str, ...] | None = None
    arguments: tuple[str, ...] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    working_directory: PurePosixPath | None = None
    user: str | None = None
    groups: tuple[int, ...] = ()
    binds: tuple[Bind, ...] = ()
    memory: int | None = None
    security: Security = field(default_factory=Security)
    read_only_root: bool = False
    idle: bool = False


class Premises(Protocol):
    """Where one run of a pod lives: its storage, its network, its containers. All of it goes with `remove`."""

    @property
    def address(self) -> str | None:
        """The pod's address as the host reaches it; None where there is none, and before `open`."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What this run could not be given."""

    def directory(self, name: str, *, stays: bool = False) -> Path:
        """Return a host directory for a volume: new, or with `stays` that of the run whose claims this one has."""

    def memory(self, name: str, size: int | None, gid: int | None) -> Path:
        """Return a host directory that is a tmpfs once the premises are open."""

    def image_directory(self, reference: str) -> Path:
        """Return a host directory with the root filesystem of an image, not to be written to."""

    def open(self, pod: Pod) -> None:
        """Start what holds the network and the memory of the pod."""

    def create(self, launch: Launch, name: str) -> Container:
        """Make a container in the pod's network, not started."""

    def keep(self) -> None:
        """Leave everything for a look."""

    def remove(self) -> None:
        """Remove everything; no error where it is gone already."""


class Sandboxed:
    """Premises whose network is held by a container that does nothing."""

    notes: tuple[str, ...] = ()

    def __init__(self) -> None:
        self._sandbox: Container | None = None
        self._kept = False

    @property
    def address(self) -> str | None:
        """The address of the container that holds the network."""
        return self._sandbox.address() if self._sandbox is not None else None

    def keep(self) -> None:
        """Leave the network and the storage."""
        self._kept = True
        if self._sandbox is not None:
            self._sandbox.keep()

    def remove(self) -> None:
        """Remove the network and the storage."""
        if self._kept:
            return
        if self._sandbox is not None:
            self._sandbox.remove()
            self._sandbox = None
        self._give_back()

    def _give_back(self) -> None:
        """Remove the storage; no error where it is gone already."""
        raise NotImplementedError


class Host(Protocol):
    """An engine that can give premises to pods."""

    @property
    def name(self) -> str:
        """`docker`, `podman` or `bundle`."""

    def read_image(self, reference: str) -> ImageFacts:
        """Return the configuration of an image; NothingToExamine where it is not there."""

    def premises(self, purpose: str, claims_of: Premises | None) -> Premises:
        """Return new premises; with `claims_of` they share the claims of others that still exist."""

    def storage(self) -> Path | None:
        """See `engines.base.Engine.storage`."""

    def sweep(self) -> Sequence[str]:
        """See `engines.base.Engine.sweep`."""


Arrange = Callable[[MountPlan], Pod]
"""Takes a plan of the member to the pod as its manifest would have it then; EngineRefused where none can say it."""
AskProbe = Callable[[Probe, Container], bool]


@dataclass
class PodEngine(DescribedEngine):
    """Runs a pod for the sake of one of its containers."""

    host: Host
    pod: Pod
    member: str
    arrange: Arrange
    ask: AskProbe
    as_it_stands: bool = False
    """The pod is run as its manifest has it, whatever root is asked for."""

    @property
    def name(self) -> str:
        """`pod on docker`."""
        return f"pod on {self.host.name}"

    def read_image(self, target: Target) -> ImageFacts:  # noqa: ARG002 - the member says it all
        """Return the image's configuration with what the manifest sets for the member."""
        container = self.pod.container(self.member)
        facts = self.host.read_image(container.image)
        return facts_of(container, facts, environment_of(container, {}))

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
        """Make a pod, not started; what it needs is made as it starts, in the order a kubelet has."""
        refused: EngineRefused | None = None
        pod = self.pod
        if plan is not None:
            try:
                pod = self.arrange(plan)
            except EngineRefused as refusal:
                refused = refusal  # told at its start, as an engine does with what it can't run
        before = storage.premises if isinstance(storage, MemberContainer) else None
        read_only: bool | None = None
        if not self.as_it_stands and (root is Root.WRITABLE or plan is None):
            read_only = root is Root.READ_ONLY
        course = _Course(pod=pod, member=self.member, read_only=read_only, idle=idle, ask=self.ask, refused=refused)
        return MemberContainer(self, course, self.host.premises(purpose, before))

    def storage(self) -> Path | None:
        """Return a host directory on the filesystem that holds upper layers."""
        return self.host.storage()

    def sweep(self) -> Sequence[str]:
        """Remove what earlier lithify processes that are gone left behind."""
        return self.host.sweep()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Course:
    """What is run, and how."""

    pod: Pod
    member: str
    read_only: bool | None
    """Of the member's root; None leaves it to the manifest."""
    idle: bool
    ask: AskProbe
    refused: EngineRefused | None = None
    """Why there is no such pod."""


class MemberContainer:
    """The member of a pod that runs; its start is the whole pod's."""

    def __init__(self, engine: PodEngine, course: _Course, premises: Premises) -> None:
        self.premises = premises
        self._engine = engine
        self._pod = course.pod
        self._course = course
        self._member: Container | None = None
        self._others: list[_Other] = []
        self._volumes: dict[str, Path] = {}
        self._cancelled = threading.Event()
        self._keeper: threading.Thread | None = None
        self._earlier_log = b""
        """What the member wrote at earlier starts, or what held its pod up wrote."""
        self._up = False
        self._kept = False

    # The Protocol of containers.

    @property
    def name(self) -> str:
        """The engine's name for the member."""
        return self._member.name if self._member is not None else self._course.member

    @property
    def engine(self) -> str:
        """`docker`, `podman` or `bundle`: whose container the member is."""
        return self._engine.host.name

    @property
    def cannot_show(self) -> tuple[str, ...]:
        """What a proof in this pod leaves open."""
        own = self._member.cannot_show if self._member is not None else ()
        return tuple(dict.fromkeys((*CANNOT_SHOW, *self._pod.cannot_show, *self.premises.notes, *own)))

    def start(self) -> None:
        """Start the pod; once it runs the member alone, anew as a kubelet does: another layer, the same volumes."""
        if self._member is None and not self._up:
            self._bring_up()
            return
        if self._member is not None:
            self._earlier_log += self._member.logs()
            with uninterrupted():
                self._member.remove()
                self._member = None
        self._start_member(self._pod.container(self._course.member))

    def pid(self) -> int | None:
        """Return the host's pid of the member's first process."""
        return self._member.pid() if self._member is not None else None

    def exit_code(self) -> int | None:
        """Return the member's last exit code."""
        return self._member.exit_code() if self._member is not None else None

    def address(self) -> str | None:
        """Return the pod's address."""
        return self.premises.address

    def stop(self, timeout: float) -> int:
        """Stop the member as a kubelet would, and kill what runs beside it."""
        self._let_others_be()
        code = self._member.stop(timeout) if self._member is not None else 0
        for other in self._others:
            other.container.kill()
        return code

    def kill(self) -> None:
        """End the member by SIGKILL; while the pod comes up, end that."""
        if self._member is not None:
            self._member.kill()
        elif not self._up:
            self._cancelled.set()

    def logs(self, limit: int = 1 << 20) -> bytes:
        """Return what the member wrote; where the pod did not come up, what the container wrote that held it up."""
        latest = self._member.logs(limit) if self._member is not None else b""
        return (self._earlier_log + latest)[-limit:]

    def execute(self, command: Sequence[str], *, user: str | None = None, timeout: float = 30.0) -> Exit:
        """Run a command in the member."""
        if self._member is None:
            raise EngineRefused(f"{printable(self.name)} does not run")
        return self._member.execute(command, user=user, timeout=timeout)

    def upper_layer(self) -> UpperLayer | None:
        """Return the member's overlay."""
        return self._member.upper_layer() if self._member is not None else None

    def volumes(self) -> Mapping[PurePosixPath, Path]:
        """Return the directories behind the VOLUMEs of the member's image."""
        return self._member.volumes() if self._member is not None else {}

    def diff(self) -> Sequence[tuple[str, PurePosixPath]] | None:
        """Return what the engine says of the member."""
        return self._member.diff() if self._member is not None else None

    def keep(self) -> None:
        """Leave the whole pod for a look."""
        self._kept = True
        for container in self._containers():
            container.keep()
        self.premises.keep()

    def remove(self) -> None:
        """Remove the whole pod."""
        self._let_others_be()
        if self._kept:
            return
        for container in self._containers():
            container.remove()
        self.premises.remove()

    def _containers(self) -> list[Container]:
        own = [self._member] if self._member is not None else []
        return [*own, *(other.container for other in self._others)]

    # The pod's life.

    def _bring_up(self) -> None:
        if self._course.refused is not None:
            raise self._course.refused
        self._make_volumes()
        self.premises.open(self._pod)
        self._give_groups()
        for container in self._pod.containers:
            is_member = container.name == self._course.member
            if is_member:
                self._start_member(container)
                if container.role is Role.INIT:
                    break  # what comes later waits for its end
            elif container.role is Role.INIT:
                self._run_to_its_end(container)
            elif not (self._course.idle and container.role is Role.APP):
                self._start_other(container)
        self._up = True
        if self._others:
            self._keeper = threading.Thread(target=self._keep_running, name="pod", daemon=True)
            self._keeper.start()

    def _start_member(self, container: PodContainer) -> None:
        made = self._create(container, idle=self._course.idle)
        try:
            made.start()
        except BaseException:
            with suppress(LithifyError), uninterrupted():
                made.remove()
            raise
        self._member = made
        if not self._course.idle:
            self._run_post_start(container, made)

    def _start_other(self, container: PodContainer) -> None:
        made = self._create(container)
        self._others.append(_Other(spec=container, container=made))
        made.start()
        self._run_post_start(container, made)
        startup = [probe for probe in container.probes if probe.name == "startup"]
        if container.role is Role.SIDECAR and startup:
            self._await(
                lambda: all(self._course.ask(probe, made) for probe in startup),
                f"sidecar {container.name} does not pass its startup probe",
                made,
            )

    def _run_to_its_end(self, container: PodContainer) -> None:
        made = self._create(container)
        try:
            made.start()
            pid = made.pid()
            self._await(
                lambda: pid is None or not os.path.exists(f"/proc/{pid}"),
                f"init container {container.name} does not come to its end",
                made,
            )
            code = made.exit_code()
            if code:
                self._earlier_log = made.logs()
                said = self._earlier_log.decode("utf-8", "replace").strip().splitlines()[-1:]
                told = f": {printable(said[0][:300])}" if said else ""
                raise EngineRefused(f"init container {container.name} ends with exit code {code}{told}")
        finally:
            with uninterrupted():
                made.remove()

    def _await(self, condition: Callable[[], bool], message: str, container: Container) -> None:
        deadline = time.monotonic() + _INIT_TIMEOUT
        while not condition():
            if self._cancelled.is_set() or time.monotonic() > deadline:
                self._earlier_log = container.logs()
                raise EngineRefused(message)
            time.sleep(_POLL)

    def _run_post_start(self, container: PodContainer, made: Container) -> None:
        if container.post_start and made.pid() is not None:
            done = made.execute(container.post_start)
            if done.code:
                raise EngineRefused(f"what container {container.name} does after its start ends with {done.code}")

    def _keep_running(self) -> None:
        """Start again what ends beside the member."""
        while not self._cancelled.wait(_BACK_OFF[0]):
            for other in self._others:
                try:
                    other.look(self._pod.restart_policy)
                except LithifyError:
                    continue  # gone, or going: the member's own run tells what that means

    def _let_others_be(self) -> None:
        self._cancelled.set()
        if self._keeper is not None:
            self._keeper.join(timeout=60.0)
            self._keeper = None

    # What it is made of.

    def _make_volumes(self) -> None:
        for volume in self._pod.volumes:
            self._volumes[volume.name] = self._make_volume(volume)

    def _make_volume(self, volume: PodVolume) -> Path:
        if volume.kind is VolumeKind.EMPTY and volume.memory:
            return self.premises.memory(volume.name, volume.size, self._pod.fs_group)
        if volume.kind is VolumeKind.IMAGE:
            return self.premises.image_directory(volume.reference)
        directory = self.premises.directory(volume.name, stays=volume.kind is VolumeKind.CLAIM)
        if volume.kind is VolumeKind.FILES:
            fill_files(directory, volume.files)
        else:
            os.chmod(directory, 0o777)  # noqa: S103 - a kubelet does the same: who may write is the pod's affair
        if volume.kind is VolumeKind.HOST and volume.host_type in ("", "File", "FileOrCreate"):
            return _copy_of_host_file(directory, Path(volume.reference), volume.host_type)
        return directory

    def _give_groups(self) -> None:
        if self._pod.fs_group is None:
            return
        kinds = (VolumeKind.EMPTY, VolumeKind.FILES, VolumeKind.CLAIM)
        for volume in self._pod.volumes:
            if volume.kind in kinds and not volume.memory:
                files = volume.kind is VolumeKind.FILES
                give_group(self._volumes[volume.name], self._pod.fs_group, read_only=files)

    def _create(self, container: PodContainer, *, idle: bool = False) -> Container:
        launch = self._launch(container, idle=idle)
        _insist_on_a_user(self._engine.host, container)
        return self.premises.create(launch, container.name)

    def _launch(self, container: PodContainer, *, idle: bool) -> Launch:
        late = self._late()
        environment = environment_of(container, late)
        security = container.security
        read_only = security.read_only_root
        if container.name == self._course.member and self._course.read_only is not None:
            read_only = self._course.read_only
        group = f":{security.group}" if security.group is not None else ""
        user = None if security.user is None else f"{security.user}{group}"
        if user is None and group:
            own = self._engine.host.read_image(container.image).user or "0"
            user = own.partition(":")[0] + group
        groups = (*self._pod.groups, *([self._pod.fs_group] if self._pod.fs_group is not None else []))
        return Launch(
            name=container.name,
            image=container.image,
            command=_expanded(container.command, environment),
            arguments=_expanded(container.arguments, environment),
            environment=environment,
            working_directory=container.working_directory,
            user=user,
            groups=groups,
            binds=tuple(self._binds(container, environment)),
            memory=container.memory,
            security=security,
            read_only_root=read_only,
            idle=idle,
        )

    def _late(self) -> dict[str, str]:
        address = self.premises.address or ""
        node = os.uname().nodename
        return {
            "status.podIP": address,
            "status.podIPs": address,
            "status.hostIP": address,
            "status.hostIPs": address,
            "spec.nodeName": node,
        }

    def _binds(self, container: PodContainer, environment: Mapping[str, str]) -> Iterator[Bind]:
        for mount in container.mounts:
            volume = self._pod.volume(mount.volume)
            assert volume is not None
            part = mount.sub_path or expand(mount.sub_path_expression, environment)
            source = self._volumes[mount.volume]
            never = volume.kind in (VolumeKind.FILES, VolumeKind.IMAGE)
            yield Bind(
                path=mount.path,
                source=part_of(source, part, make=not never) if part else source,
                read_only=mount.read_only or never,
                executable=mount.executable,
            )


@dataclass
class _Other:
    """A container beside the member."""

    spec: PodContainer
    container: Container
    restarts: int = 0
    since: float | None = None

    def look(self, policy: str) -> None:
        """Start it again where it has ended and its back-off is over."""
        if self.container.pid() is not None:
            self.since = None
            return
        always = policy == "Always" or self.spec.role is Role.SIDECAR
        if not always and (policy == "Never" or self.container.exit_code() == 0):
            return
        now = time.monotonic()
        self.since = self.since or now
        if now - self.since >= _BACK_OFF[min(self.restarts, len(_BACK_OFF) - 1)]:
            self.restarts += 1
            self.since = None
            self.container.start()


def facts_of(container: PodContainer, facts: ImageFacts, environment: Mapping[str, str]) -> ImageFacts:
    """Return an image's configuration as a container of a pod runs it."""
    from dataclasses import replace

    security = container.security
    user, uid, gid = facts.user, facts.uid, facts.gid
    if security.user is not None:
        user, uid = str(security.user), security.user
        gid = facts.gid if security.user == facts.uid else 0
    if security.group is not None:
        gid = security.group
        user = f"{user or 0}:{gid}"
    # a command takes the image's own arguments away, arguments alone keep its entrypoint
    entrypoint = facts.entrypoint if container.command is None else container.command
    kept = facts.command if container.command is None else ()
    return replace(
        facts,
        user=user,
        uid=uid,
        gid=gid,
        entrypoint=_expanded(entrypoint, environment) or (),
        command=_expanded(kept if container.arguments is None else container.arguments, environment) or (),
        working_directory=container.working_directory or facts.working_directory,
        environment={**facts.environment, **environment},
    )


def _expanded(words: tuple[str, ...] | None, environment: Mapping[str, str]) -> tuple[str, ...] | None:
    return None if words is None else tuple(expand(word, environment) for word in words)


def _insist_on_a_user(host: Host, container: PodContainer) -> None:
    """Refuse what a kubelet refuses: a container that must not run as root and would."""
    security = container.security
    if not security.non_root:
        return
    uid = security.user
    if uid is None:
        uid = host.read_image(container.image).uid
    if uid == 0:
        raise EngineRefused(f"container {container.name} has runAsNonRoot and would run as root")


def _copy_of_host_file(directory: Path, source: Path, kind: str) -> Path:
    """Return a copy of a small file that a hostPath names, an empty one where it must be there; else the directory."""
    target = directory / "file"
    try:
        status = os.stat(source)
        # what only some may read on this host is no business of a manifest's
        if stat.S_ISREG(status.st_mode) and status.st_size <= _COPIED and status.st_mode & 0o004:
            target.write_bytes(source.read_bytes())
            return target
    except OSError:
        pass  # it is the node's, and need not be here
    if kind:
        target.touch()
        return target
    return directory
