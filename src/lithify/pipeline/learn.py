"""Learns what a program writes: a life of the container with the root writable, and everything that saw it."""

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

from lithify.engines.attached import shares_our_root
from lithify.engines.base import Container, Engine, Root
from lithify.engines.command_line.runline import parse_run_line
from lithify.engines.host import Host, host_of
from lithify.engines.node.containers import read_start
from lithify.errors import EngineRefused, NothingToExamine, NotPermitted, TargetBroken
from lithify.model.behaviour import Phase
from lithify.model.image import ImageFacts
from lithify.model.run import Exercise, Target, TargetKind
from lithify.model.writes import Observation, RunKey, WriteSet
from lithify.observe.collect import Collected, Collector, Volumes
from lithify.observe.merge import merge_writes
from lithify.observe.processes import read_process
from lithify.pipeline.target import choose_in_pod, choose_running
from lithify.pipeline.trial import Life, Trial, Trials, Watcher
from lithify.settings import Settings

_SAVES_AT_THE_END = (
    "as it is, your check misses something after a kill, and nothing after it was asked to end: it saves late, and was "
    "asked to end before each second start. A crash loses that with or without a read-only root"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """What a program writes, and how it behaved while that was learnt."""

    write_set: WriteSet
    trial: Trial


class Learner(Watcher):
    """Has the evidence of one container's life collected where it runs."""

    def __init__(
        self, host: Host, image: ImageFacts, storage: Path | None, *, live: bool = True, trace: bool = False
    ) -> None:
        self._collected: Collected | None = None
        self._held = ExitStack()
        self._collector = self._held.enter_context(host.hold(Collector, image, storage, live=live, trace=trace))

    def created(self, container: Container) -> None:
        self._collector.follow(container.upper_layer())

    def started(self, container: Container, pid: int) -> None:
        self._collector.start(pid, container.upper_layer(), _volumes(container))

    def exercised(self, container: Container, pid: int) -> None:
        self._collector.look(pid)
        self._read(container)

    def running(self, container: Container, pid: int) -> None:
        self.exercised(container, pid)

    def stopped(self, container: Container) -> None:
        self._read(container)
        self._finish(there=True)

    def close(self) -> None:
        """Stop watching; to be called whatever happened, more than once if need be."""
        if self._collected is None:
            self._finish(there=False)

    def _finish(self, *, there: bool) -> None:
        self._collected = self._collector.finish(there=there)
        self._held.close()

    @property
    def collected(self) -> Collected:
        """What was seen, once it is closed."""
        assert self._collected is not None
        return self._collected

    def _read(self, container: Container) -> None:
        self._collector.read(container.upper_layer(), _volumes(container), container.diff())


def _volumes(container: Container) -> Volumes:
    return tuple(container.volumes().items())


def learn(trials: Trials, *, keep: bool = False) -> Learnt:
    """Run the target once with a writable root and return what it wrote.

    Raises TargetBroken where it does not even work like that.
    """
    begun = time.monotonic()
    engine = trials.engine
    image = engine.read_image(trials.target)

    def watched(life: Life) -> tuple[Learner, Trial]:
        learner = Learner(host_of(engine), image, engine.storage(), live=trials.live, trace=trials.trace)
        try:
            return learner, trials.run(life, learner)
        finally:
            learner.close()

    life = Life(root=Root.WRITABLE, purpose="learn", keep=keep)
    learner, trial = watched(life)
    notes: tuple[str, ...] = ()
    if trial.restarts and not trial.behaviour.running:
        # a stale pid file in the layer stops some programs, and none where it lies in memory: no fault of theirs
        notes = (f"as it is, it does not start again after it was killed: {_last_line(trial)}",)
        trials.tell("it does not start again as it is: learning without that")
        learner, trial = watched(replace(life, restart=False))
    elif trials.target.kind is not TargetKind.POD and _lost_by_the_kill(trial):
        # a pod's container that is started again has a new root layer: what was saved there is gone either way
        trials.tell("the kill lost what the check looks for: asking it to end instead")
        trials.gently = True
        second, asked = watched(life)
        trials.gently = asked.restarts > 0 and asked.behaviour.running and not _lost_by_the_kill(asked)
        if trials.gently:
            notes = (_SAVES_AT_THE_END,)
            learner, trial = second, asked
    _insist_that_it_works(trial, trials.target)
    write_set = _write_set(engine.name, trials.target, learner.collected, time.monotonic() - begun)
    observation = replace(
        write_set.observation,
        exercise=trials.exercise.words,
        restarts=trial.restarts,
        asked_to_end=trials.gently,
        notes=(*write_set.observation.notes, *notes),
    )
    return Learnt(write_set=replace(write_set, observation=observation), trial=trial)


def _lost_by_the_kill(trial: Trial) -> bool:
    """Tell whether a check misses, since the program was killed, what it found before."""
    answers = trial.behaviour.answers
    found = {answer.name for answer in answers if answer.passed and answer.phase is Phase.EXERCISED}
    return any(a.name in found and not a.passed for a in answers if a.phase is Phase.RESTARTED)


def learn_target(
    engine: Engine,
    target: Target,
    exercise: Exercise,
    *,
    live: bool = True,
    trace: bool = False,
    keep: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> WriteSet:
    """Return what a target writes with its root writable, run once by us.

    Raises TargetBroken where it does not work as it is, EngineUnreachable where the engine goes away.
    """
    for swept in engine.sweep():
        tell(f"removed what an earlier run left: {swept}")
    tell(f"learning: {target.title} with a writable root")
    trials = Trials(engine=engine, target=target, exercise=exercise, live=live, trace=trace, tell=tell)
    return learn(trials, keep=keep).write_set


def learn_attached(
    text: str | None,
    settings: Settings,
    seconds: float = 0.0,
    *,
    live: bool = True,
    tell: Callable[[str], None] = lambda _: None,
) -> WriteSet:
    """Return what a container that already runs has written, watched for `seconds` more and not touched.

    `text` is its name, a pid or its control group. Raises NothingToExamine where there is none.
    """
    engine, container, target = choose_running(text, settings)
    if engine is None:
        return learn_process(target.engine, container, target, seconds, tell, live=live)
    return learn_running(engine, container, target, seconds, tell, live=live)


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
    image = _image_of_process(container, target)
    return _watch(engine, image, container, target, seconds, tell, storage=None, live=live, cancelled=cancelled)


def learn_pod(uid: str, container: str, seconds: float, *, live: bool) -> WriteSet | None:
    """Return the same of a container of the pod `uid` on this node; None where it does not run."""
    try:
        found = choose_in_pod(f"pod:{uid}/{container}")
        return learn_process(found[0].engine, *found, seconds, lambda _: None, live=live) if found else None
    except (NothingToExamine, EngineRefused):  # it ended meanwhile
        return None


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
    learner = Learner(host_of(container), image, layer.upper if layer else storage, live=live)
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
    write_set = _write_set(engine, target, learner.collected, time.monotonic() - begun)
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


def _image_of_process(container: Container, target: Target) -> ImageFacts:
    """Return as much of the image as one of its processes tells: who it is, where it stands and how it was called."""
    hint = "name a container, or the pid of a process in it"
    pid = container.pid()
    if pid and shares_our_root(pid):
        raise NothingToExamine(
            f"process {target.reference} is in no container: its root filesystem is that of lithify itself", hint=hint
        )
    process = read_process(pid) if pid else None
    if process is None and container.pid():
        first = "" if os.geteuid() == 0 else "run lithify as root, and "
        raise NotPermitted(f"process {target.reference} may not be looked at", hint=f"{first}{hint}")
    if process is None or pid is None:
        raise NothingToExamine(f"no process {target.reference}", hint=hint)
    start = read_start(pid) or process
    return ImageFacts(
        reference=target.reference,
        uid=start.uid,
        gid=start.gid,
        working_directory=start.working_directory,
        command=start.arguments,
    )


def _write_set(engine: str, target: Target, seen: Collected, seconds: float) -> WriteSet:
    return WriteSet(
        key=run_key(engine, target, seen.image),
        container=base_name(target),
        image=seen.image,
        writes=seen.writes,
        processes=seen.processes,
        memory_limit=target.memory,
        mounted=seen.mounted,
        observation=Observation(seconds=round(seconds, 1), sources=seen.sources, notes=seen.notes),
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


def base_name(target: Target) -> str:
    """Return a short name for what runs: what a line calls it, else the last part of its path or image, untagged."""
    reference = target.reference
    if target.kind is TargetKind.LINE and reference == " ".join(target.line):
        line = parse_run_line(target.line)
        reference = line.value("name") or line.image
    last = reference.rstrip("/").rpartition("/")[2]
    return last.partition("@")[0].partition(":")[0].removesuffix(".tar") or "container"


def _last_line(trial: Trial) -> str:
    return (trial.log.decode("utf-8", "replace").strip().splitlines() or ["its log is empty"])[-1]


def _insist_that_it_works(trial: Trial, target: Target) -> None:
    behaviour = trial.behaviour
    besides = "".join(f"; {told}" for told in trial.cannot_show)
    if not behaviour.started:
        raise TargetBroken(
            f"{target.title} can't be started: {behaviour.engine_error}",
            hint=f"make it run as it is, then try again{besides}",
        )
    if not behaviour.running and behaviour.exit_code:
        raise TargetBroken(
            f"{target.title} ends with exit code {behaviour.exit_code} even with a writable root: {_last_line(trial)}",
            hint=f"make it run as it is, then try again; lithify learn --keep leaves it for a look{besides}",
        )
    failed = [answer for answer in behaviour.answers if not answer.passed]
    passed = {answer.name for answer in behaviour.answers if answer.passed}
    broken = [answer for answer in failed if answer.name not in passed]
    if broken:
        asked = "exercise" if broken[0].name == "exercise" else "check"
        ended = "" if behaviour.running else f", having ended with exit code 0 ({_last_line(trial)})"
        raise TargetBroken(
            f"{target.title} fails its {broken[0].name} even with a writable root{ended}: {broken[0].detail}",
            hint=f"make the {asked} pass on the container as it is, then try again{besides}",
        )
