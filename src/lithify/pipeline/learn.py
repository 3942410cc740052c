"""Learns what a program writes: a life of the container with the root writable, and everything that saw it."""

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from threading import Event
from typing import TYPE_CHECKING, TypeVar

from lithify.engines.base import Container, Engine, Root, UpperLayer
from lithify.engines.ids import IdMap
from lithify.engines.mounts import read_mounts
from lithify.errors import NothingToExamine, TargetBroken
from lithify.model.image import ImageEntry, ImageFacts
from lithify.model.path import PSEUDO, ROOT
from lithify.model.run import Exercise, Target
from lithify.model.writes import Observation, Process, RunKey, Source, Write, WriteSet
from lithify.observe.diff import writes_of_diff
from lithify.observe.image import find_code_roots, has_shell, read_image_entries
from lithify.observe.merge import merge_writes
from lithify.observe.overlay import read_upper_layer
from lithify.observe.processes import read_open_files, read_process, read_processes
from lithify.observe.volumes import read_volume
from lithify.pipeline.target import Overrides, choose, choose_in_pod, choose_running
from lithify.pipeline.trial import Life, Trial, Trials, Watcher
from lithify.settings import Settings

if TYPE_CHECKING:
    from lithify.observe.live import LiveNames
    from lithify.observe.trace import Trace

_ENGINE_FILES = frozenset(PurePosixPath(p) for p in ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf"))


Owned = TypeVar("Owned", Write, ImageEntry)


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """What a program writes, and how it behaved while that was learnt."""

    write_set: WriteSet
    trial: Trial


class Learner(Watcher):
    """Collects the evidence of one container's life."""

    def __init__(self, image: ImageFacts, storage: Path | None, *, live: bool = True, trace: bool = False) -> None:
        self.image = image
        """The image's facts; with the entries that were written once the container was seen to stop."""
        self.layer: UpperLayer | None = None
        self.groups: list[Iterable[Write]] = []
        self.notes: list[str] = []
        self.sources: set[Source] = set()
        self.processes: dict[tuple[str, int], Process] = {}
        self.mounted: tuple[PurePosixPath, ...] = ()
        self.memory_limit: int | None = None
        self.ids = IdMap()
        """The container's users on this host, where layers and volumes have them."""
        self._stack = ExitStack()
        self._traces: list[Trace] | None = [] if trace else None
        self._live: LiveNames | None = None
        reason = self._listen(storage) if live else "it was switched off"
        if reason:
            self.notes.append(f"names that came and went were not watched live: {reason}")

    def _listen(self, storage: Path | None) -> str | None:
        """Start to watch live, or return why that can't be had."""
        from lithify.observe.live import LiveNames, available

        reason = available(storage) if storage else "the layers are not on this host"
        if not reason and storage:
            self._live = self._stack.enter_context(LiveNames([storage]))
        return reason

    def created(self, container: Container) -> None:
        self._look_at_layer(container)

    def started(self, container: Container, pid: int) -> None:
        self._look_at_layer(container)
        self.ids = IdMap.read(pid)
        self._follow(pid)
        volumes = container.volumes()
        if self._live is not None:
            for path, directory in volumes.items():
                self._live.watch(directory, path)
        self.mounted = tuple(m for m in _users_mounts(pid) if m not in volumes)

    def _follow(self, pid: int) -> None:
        """Trace the system calls of a container that has just been started, where that was asked for."""
        if self._traces is None:
            return
        from lithify.observe.trace import Trace, available

        reason = available(pid)
        if reason:
            self.notes.append(f"system calls were not traced: {reason}")
        else:
            self._traces.append(self._stack.enter_context(Trace(pid)))

    def exercised(self, container: Container, pid: int) -> None:
        self._look_at_processes(pid)
        self._read(container)

    def running(self, container: Container, pid: int) -> None:
        self._look_at_processes(pid)
        self._read(container)

    def stopped(self, container: Container) -> None:
        self._read(container)
        self.close()
        self._look_at_image()

    def close(self) -> None:
        """Stop watching and take what was seen live; to be called whatever happened, more than once if need be."""
        self._stack.close()
        for trace in self._traces or ():
            writes, notes = trace.writes(self.layer.lowers if self.layer else ())
            self.groups.append(writes)
            self.notes += notes
            self.sources.add(Source.TRACE)
        self._traces = None
        if self._live is not None:
            writes, notes = self._live.writes(self.layer)
            self.groups.append(writes)
            self.notes += notes
            self.sources.add(Source.LIVE)
            self._live = None

    def writes(self) -> tuple[Write, ...]:
        """Return everything that was seen, a path once."""
        return merge_writes(*self.groups)

    def _look_at_layer(self, container: Container) -> None:
        layer = container.upper_layer()
        # a kubelet that starts a container again gives it a new layer
        if layer is not None and (self.layer is None or layer.upper != self.layer.upper):
            self.layer = layer
            if layer.ids.changes:
                self.ids = layer.ids
            if self._live is not None:
                self._live.watch(layer.upper)

    def _look_at_image(self) -> None:
        """Read what the image has where something was written, while the container still holds its layers."""
        if self.layer is None:
            return
        lowers, user_xattr = self.layer.lowers, self.layer.user_xattr
        paths = [write.path for write in self.writes()] + [*self.image.volumes, self.image.working_directory]
        entries = read_image_entries(lowers, paths, user_xattr=user_xattr)
        self.image = replace(
            self.image,
            entries=dict(zip(entries, self._as_inside(entries.values()), strict=True)),
            code_roots=find_code_roots(lowers, self.image, self.processes.values(), user_xattr=user_xattr),
            has_shell=has_shell(lowers, user_xattr=user_xattr),
        )

    def _look_at_processes(self, pid: int) -> None:
        for process in read_processes(pid):
            self.processes.setdefault((process.program, process.uid), process)
        self.groups.append(read_open_files(pid))
        self.sources.add(Source.PROCESSES)

    def _read(self, container: Container) -> None:
        self._look_at_layer(container)
        if self.layer is not None:
            writes, notes = read_upper_layer(self.layer)
            self.sources.add(Source.LAYER)
        else:
            entries = container.diff()
            if entries is None:
                self.notes.append("the container's layer could not be read")
                return
            writes, notes = writes_of_diff(entries)
            self.sources.add(Source.DIFF)
        self.groups.append(self._as_inside(writes))
        self.notes += notes
        lowers = self.layer.lowers if self.layer else ()
        for path, directory in container.volumes().items():
            self.groups.append(self._as_inside(read_volume(path, directory, lowers)))
            self.sources.add(Source.VOLUME)

    def _as_inside(self, owned: Iterable[Owned]) -> list[Owned]:
        """Return writes or image entries with the owner's number in the container."""
        if not self.ids.changes:
            return list(owned)
        return [
            replace(
                one,
                uid=None if one.uid is None else self.ids.uid(one.uid),
                gid=None if one.gid is None else self.ids.gid(one.gid),
            )
            for one in owned
        ]


def learn(trials: Trials, *, keep: bool = False) -> Learnt:
    """Run the target once with a writable root and return what it wrote.

    Raises TargetBroken where it does not even work like that.
    """
    begun = time.monotonic()
    learner = Learner(
        trials.engine.read_image(trials.target), trials.engine.storage(), live=trials.live, trace=trials.trace
    )
    try:
        trial = trials.run(Life(root=Root.WRITABLE, purpose="learn", keep=keep), learner)
    finally:
        learner.close()
    _insist_that_it_works(trial, trials.target)
    write_set = _write_set(trials.engine.name, trials.target, learner, time.monotonic() - begun)
    observation = replace(write_set.observation, exercise=trials.exercise.words, restarts=trial.restarts)
    return Learnt(write_set=replace(write_set, observation=observation), trial=trial)


def learn_target(
    text: str | None,
    words: Sequence[str],
    settings: Settings,
    overrides: Overrides,
    exercise: Exercise,
    *,
    attach: bool = False,
    live: bool = True,
    trace: bool = False,
    keep: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> WriteSet:
    """Return what the target writes: run once by us, or with `attach` watched as it runs already.

    Raises NothingToExamine where there is no such target, TargetBroken where it does not work as it is.
    """
    if attach and text is not None and (found := choose_in_pod(text)) is not None:
        return learn_process(found[1].engine, *found, exercise.seconds, tell, live=live)
    if attach:
        engine, container, target = choose_running(text, settings)
        return learn_running(engine, container, target, exercise.seconds, tell, live=live)
    engine, target = choose(text, words, settings, overrides)
    for swept in engine.sweep():
        tell(f"removed what an earlier run left: {swept}")
    tell(f"learning: {target.reference} with a writable root")
    trials = Trials(engine=engine, target=target, exercise=exercise, live=live, trace=trace, tell=tell)
    return learn(trials, keep=keep).write_set


def learn_running(
    engine: Engine, container: Container, target: Target, seconds: float, tell: Callable[[str], None], *, live: bool
) -> WriteSet:
    """Return what a container that already exists has written, watched for `seconds` more and not touched."""
    if engine.name == "bundle":  # which knows no more of a process than the kernel, and would make a place of its own
        return learn_process(engine.name, container, target, seconds, tell, live=live)
    image = engine.read_image(target)
    return _watch(engine.name, image, container, target, seconds, tell, storage=engine.storage(), live=live)


def learn_process(
    engine: str,
    container: Container,
    target: Target,
    seconds: float,
    tell: Callable[[str], None],
    *,
    live: bool,
    cancelled: Event | None = None,
) -> WriteSet:
    """Return the same of a container of which only a process is known; `engine` names what runs it.

    Once `cancelled` is set it is watched no longer.
    """
    image = _image_of_process(container.pid(), target)
    return _watch(engine, image, container, target, seconds, tell, storage=None, live=live, cancelled=cancelled)


def _watch(
    engine: str,
    image: ImageFacts,
    container: Container,
    target: Target,
    seconds: float,
    tell: Callable[[str], None],
    *,
    storage: Path | None,
    live: bool,
    cancelled: Event | None = None,
) -> WriteSet:
    begun = time.monotonic()
    pid = container.pid()
    layer = container.upper_layer()
    learner = Learner(image, layer.upper if layer else storage, live=live)
    try:
        if pid:
            learner.started(container, pid)
            if seconds:
                tell(f"watching {container.name} for {seconds:g} s")
                (cancelled or Event()).wait(seconds)
            learner.running(container, pid)
        learner.stopped(container)
    finally:
        learner.close()
    write_set = _write_set(engine, target, learner, time.monotonic() - begun)
    note = "it was not watched from its start: what came and went before is known by directory times only"
    observation = replace(write_set.observation, from_start=False, notes=(*write_set.observation.notes, note))
    return replace(write_set, observation=observation)


def joined(write_set: WriteSet, others: Iterable[WriteSet]) -> WriteSet:
    """Return `write_set` with what others saw of the same program elsewhere: replicas, the one in production."""
    for other in others:
        processes = {(process.program, process.uid): process for process in (*other.processes, *write_set.processes)}
        observation, seen = write_set.observation, other.observation
        write_set = replace(
            write_set,
            image=replace(write_set.image, entries={**other.image.entries, **write_set.image.entries}),
            writes=merge_writes(write_set.writes, other.writes),
            processes=tuple(processes.values()),
            observation=replace(
                observation,
                sources=tuple(sorted({*observation.sources, *seen.sources})),
                notes=tuple(dict.fromkeys((*observation.notes, *seen.notes))),
            ),
        )
    return write_set


def _image_of_process(pid: int | None, target: Target) -> ImageFacts:
    """Return as much of the image as one of its processes tells: who it is, where it stands and how it was called."""
    process = read_process(pid) if pid else None
    if process is None:
        raise NothingToExamine(f"no process {target.reference}", hint="name a container, or the pid of a process in it")
    return ImageFacts(
        reference=target.reference,
        uid=process.uid,
        gid=process.gid,
        working_directory=process.working_directory,
        command=process.arguments,
    )


def _write_set(engine: str, target: Target, learner: Learner, seconds: float) -> WriteSet:
    return WriteSet(
        key=run_key(engine, target, learner.image),
        container=_base_name(target),
        image=learner.image,
        writes=learner.writes(),
        processes=tuple(learner.processes.values()),
        memory_limit=learner.memory_limit or target.memory,
        mounted=learner.mounted,
        observation=Observation(
            seconds=round(seconds, 1),
            sources=tuple(sorted(learner.sources)),
            notes=tuple(dict.fromkeys(learner.notes)),
        ),
    )


def run_key(engine: str, target: Target, image: ImageFacts) -> RunKey:
    """Return what a write set of `target` holds for; the environment goes in as a hash only."""
    environment: Mapping[str, str] = {**image.environment, **target.environment}
    digest = hashlib.sha256("\0".join(f"{k}={v}" for k, v in sorted(environment.items())).encode("utf-8", "replace"))
    return RunKey(
        image=image.digest or image.reference,
        user=target.user or image.user,
        command=(image.entrypoint if target.entrypoint is None else target.entrypoint)
        + (target.command or image.command),
        environment=digest.hexdigest()[:16],
        engine=engine,
    )


def _base_name(target: Target) -> str:
    """Return a short name for what runs: the last part of its path or reference, without tag and digest."""
    last = target.reference.rstrip("/").rpartition("/")[2]
    return last.partition("@")[0].partition(":")[0].removesuffix(".tar") or "container"


def _users_mounts(pid: int) -> tuple[PurePosixPath, ...]:
    """Return the places that were mounted writable because somebody asked for them."""
    return tuple(
        dict.fromkeys(
            mount.path
            for mount in read_mounts(pid)
            if not mount.read_only
            and mount.path != ROOT
            and mount.path not in _ENGINE_FILES
            and not any(mount.path.is_relative_to(pseudo) for pseudo in PSEUDO)
        )
    )


def _insist_that_it_works(trial: Trial, target: Target) -> None:
    behaviour = trial.behaviour
    besides = "".join(f"; {told}" for told in trial.cannot_show)
    if not behaviour.started:
        raise TargetBroken(
            f"{target.reference} can't be started: {behaviour.engine_error}",
            hint=f"make it run as it is, then try again{besides}",
        )
    last_line = trial.log.decode("utf-8", "replace").strip().splitlines()[-1:] or ["its log is empty"]
    if not behaviour.running and behaviour.exit_code:
        raise TargetBroken(
            f"{target.reference} ends with exit code {behaviour.exit_code} even with a writable root: {last_line[0]}",
            hint=f"make it run as it is, then try again; --keep leaves the container for a look{besides}",
        )
    failed = [answer for answer in behaviour.answers if not answer.passed]
    passed = {answer.name for answer in behaviour.answers if answer.passed}
    broken = [answer for answer in failed if answer.name not in passed]
    if broken:
        raise TargetBroken(
            f"{target.reference} fails its {broken[0].name} even with a writable root: {broken[0].detail}",
            hint=f"make the check pass on the container as it is, then try again{besides}",
        )
