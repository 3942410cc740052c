"""Runs one container through its life and writes down how it behaved.

A life: start, get ready, be exercised, be killed and started again in place, stop when asked; with `recreate` a second
container takes over the volumes of the first. A trial that is held against an original ends at the first difference.
"""

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import groupby, islice
from pathlib import PurePosixPath
from threading import Event

from lithify.engines.base import Container, Engine, Root
from lithify.engines.host import host_of
from lithify.engines.process import uninterrupted
from lithify.errors import EngineRefused, LithifyError, was_interrupted
from lithify.model.behaviour import Answer, Behaviour, Phase
from lithify.model.log import LogError, LogEvent, Operation
from lithify.model.mount import MountPlan
from lithify.model.run import Exercise, Target
from lithify.model.verdict import Start
from lithify.model.writes import Change, Source, WriteSet
from lithify.observe.erofs import read_log
from lithify.observe.look import Look, is_alive, look
from lithify.observe.warnings import normalised, warning_lines
from lithify.plan.needs import changes_metadata
from lithify.prove.compare import works
from lithify.prove.exercise import answer_of_port, ask, drive

_POLL = 0.1
_SETTLED = 1.5
"""Seconds without a new process or listener and almost no work done, after which a program counts as ready."""
_SETTLED_FAILING = 8.0
"""The same where a check still fails: it may be one that passes only once the program was used."""
_BUSY = 0.1
"""Share of a core above which a program is still at work: a JVM that starts opens no port for seconds."""
_LOG_LIMIT = 1 << 20
_DENIED = re.compile(r"read-only file ?system|permission denied|\bE(?:ROFS|ACCES)\b", re.IGNORECASE)
"""How programs name the two errors, by strerror and by name."""
_LINES_KEPT = 200
"""Lines of a log that go into a result: who complains more often says nothing new."""
_BETWEEN = 1.0
"""Seconds in which a program that the original kept running has to be seen: `while sleep 1; do work; done`."""
_GRACE = 10.0
"""Seconds that a program has to end when asked, as engines have it; a deaf one is not asked for so long again."""
_PATIENCE = 4.0
"""How many times longer than the original a run may take to get ready before it counts as not getting there."""


class Watcher:
    """Looks at a container during its life; this one looks away. Those who want to see more override its methods."""

    def created(self, container: Container) -> None:
        """The container exists and was not started yet."""

    def started(self, container: Container, pid: int) -> None:
        """It was started, for the first time or again."""

    def exercised(self, container: Container, pid: int) -> None:
        """It runs, was exercised, and will now be killed."""

    def running(self, container: Container, pid: int) -> None:
        """It runs for the last time, and will now be stopped."""

    def stopped(self, container: Container) -> None:
        """It was stopped and still exists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """How much of its life a container is taken through."""

    root: Root
    plan: MountPlan | None = None
    restart: bool = True
    recreate: bool = False
    purpose: str = "run"
    keep: bool = False

    @property
    def slug(self) -> str:
        """The purpose as a part of a container's name."""
        return re.sub(r"[^a-z0-9]+", "-", self.purpose.lower()).strip("-")[:40]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What one container showed."""

    behaviour: Behaviour
    log: bytes = b""
    events: tuple[LogEvent, ...] = ()
    """What the log says of writes that failed: hints."""
    restarts: int = 0
    kept: str | None = None
    """The container's name where it was left for a look."""
    cannot_show: tuple[str, ...] = ()
    """What its container leaves open, in sentences."""


@dataclass
class Trials:
    """Runs containers of one target; knows the original's behaviour once that has been seen."""

    engine: Engine
    target: Target
    exercise: Exercise
    original: Behaviour | None = None
    live: bool = True
    """Listen to the kernel for names that come and go, where it lets us."""
    trace: bool = False
    """Trace system calls while learning."""
    beyond: frozenset[PurePosixPath] = frozenset()
    """Paths that are known to be written, though not in our runs."""
    learnt: WriteSet | None = None
    """What the original was seen to write, once it was."""
    gently: bool = False
    """Ask it to end before it is started again in place, for one that saves only then; else it is killed."""
    grace: float = _GRACE
    starts: list[Start] = field(default_factory=list)
    """Every container start so far, in the order in which they ended."""
    tell: Callable[[str], None] = lambda _: None
    cancelled: Event = field(default_factory=Event)
    """Set once nobody waits for the runs any more."""
    _living: list[Container] = field(default_factory=list)

    @cached_property
    def ports(self) -> Mapping[int, int]:
        """Ports that the target publishes on the host, each with the container's own."""
        return self.engine.ports(self.target)

    def run(self, life: Life, watcher: Watcher | None = None) -> Trial:
        """Take a new container through `life` and remove it again, whatever happens."""
        container = self.engine.create(self.target, root=life.root, plan=life.plan, purpose=life.slug)
        self._living.append(container)
        course = _Course(self, container, life, watcher or Watcher())
        kept = False
        try:
            trial = course.run()
            if life.recreate and course.same():
                trial = self._recreate(trial, container, life)
            if life.keep:
                container.keep()
                kept = True
                trial = replace(trial, kept=container.name)  # which says by now that it is to be kept
            return trial
        finally:
            self._living.remove(container)
            if not kept:
                with uninterrupted():
                    container.remove()

    def run_each(self, lives: Sequence[Life], jobs: int) -> list[Trial]:
        """Take a container through each of `lives`, up to `jobs` at a time; an error or interrupt ends them all."""
        with ThreadPoolExecutor(max_workers=jobs) as pool:
            try:
                return list(pool.map(self.run, lives))
            except BaseException:
                self._cancel()
                raise

    def _cancel(self) -> None:
        """Have other threads' runs come to their end, in which they remove their containers."""
        self.cancelled.set()
        for container in tuple(self._living):
            with suppress(LithifyError):
                container.kill()

    def look(self, plan: MountPlan | None, watcher: Watcher) -> None:
        """Show `watcher` a planned container in which the program does not run, as if it ran for the last time.

        EngineRefused where the engine can't have one.
        """
        container = self.engine.create(self.target, root=Root.READ_ONLY, plan=plan, purpose="look", idle=True)
        begun = time.monotonic()
        try:
            container.start()
            pid = container.pid()
            if pid is not None:
                watcher.running(container, pid)
                container.kill()
            self.starts.append(Start(purpose="look", seconds=round(time.monotonic() - begun, 2)))
        finally:
            with uninterrupted():
                container.remove()

    def _recreate(self, trial: Trial, before: Container, life: Life) -> Trial:
        """Start a second container with the volumes of `before`, and add what it showed."""
        container = self.engine.create(self.target, root=life.root, plan=life.plan, purpose=life.slug, storage=before)
        course = _Course(self, container, replace(life, restart=False), Watcher(), first=Phase.RECREATED)
        try:
            again = course.run()
        finally:
            with uninterrupted():
                container.remove()
        behaviour = replace(
            trial.behaviour,
            started=again.behaviour.started,
            running=trial.behaviour.running and again.behaviour.running,
            exit_code=again.behaviour.exit_code,
            answers=trial.behaviour.answers + again.behaviour.answers,
            warnings=trial.behaviour.warnings | again.behaviour.warnings,
            refused_writes=trial.behaviour.refused_writes + again.behaviour.refused_writes,
        )
        return replace(
            trial,
            behaviour=behaviour,
            log=trial.log + again.log,
            events=trial.events + again.events,
        )


class _NotStarted(Exception):
    """The engine refused to start a container; the message has its words. What it refuses later is no verdict."""


class _Course:
    """One container on its way through life."""

    def __init__(
        self, trials: Trials, container: Container, life: Life, watcher: Watcher, first: Phase = Phase.STARTED
    ) -> None:
        self.trials = trials
        self.container = container
        self.life = life
        self.watcher = watcher
        self.first = first
        self.answers: list[Answer] = []
        self.restarts = 0
        self.programs: frozenset[str] | None = None
        self.listeners: frozenset[str] | None = None
        self.ready_after = 0.0
        self.running = False
        self.exit_code: int | None = None

    def run(self) -> Trial:
        self.watcher.created(self.container)
        try:
            self._live()
        except _NotStarted as refused:
            return self._trial(engine_error=str(refused))
        return self._trial()

    def same(self) -> bool:
        """Tell whether nothing has differed from the original so far."""
        original = self.trials.original
        return original is None or works(self._so_far(original), self._behaviour())

    def _live(self) -> None:
        pid = self._start(self.first)
        if self.first is Phase.STARTED and self.running and self.same():
            self._exercise(pid)
        if self.running and self.life.restart and self.same():
            self.watcher.exercised(self.container, pid)
            if self.trials.gently:
                self.trials.tell("asked to end, started again")
                self._stop()
            else:
                self.trials.tell("killed, started again")
                self.container.kill()
            pid = self._start(Phase.RESTARTED)
        if self.running:
            self.watcher.running(self.container, pid)
            self._stop()
        self.watcher.stopped(self.container)

    def _stop(self) -> None:
        grace, begun = self.trials.grace, time.monotonic()
        self.container.stop(timeout=grace)
        if time.monotonic() - begun >= grace:
            self.trials.grace = 1.0

    def _start(self, phase: Phase) -> int:
        """Start it, wait until it is ready or gone, and ask the checks; returns its pid, 0 where it is gone."""
        begun = time.monotonic()
        if self.trials.cancelled.is_set():
            raise _NotStarted("nobody waits for it any more")
        try:
            self.container.start()
        except EngineRefused as refused:
            if was_interrupted(refused):
                raise
            raise _NotStarted(str(refused)) from refused
        pid = self.container.pid() or 0
        if pid:
            self.watcher.started(self.container, pid)
        self.ready_after = self._wait(pid, phase, begun)
        self._look(pid)
        seconds = round(time.monotonic() - begun, 2)
        self.trials.starts.append(Start(purpose=f"{self.life.purpose}: {phase.value}", seconds=seconds))
        self.restarts += phase is Phase.RESTARTED
        return pid

    def _wait(self, pid: int, phase: Phase, begun: float) -> float:
        """Wait until the checks pass, or the program has settled and they still don't; seconds from the start."""
        original = self.trials.original
        patience = self.trials.exercise.timeout
        if original is not None:
            patience = min(patience, max(_PATIENCE * original.ready_after, 5.0) + 2.0)
        rest = _Rest()
        answers: tuple[Answer, ...] = ()
        cancelled = self.trials.cancelled
        seen = self._see(pid)
        while time.monotonic() - begun < patience and seen.alive and not cancelled.is_set():
            resting = rest.seconds(seen)
            if self.trials.exercise.decides and self._came_up(seen.listeners):
                answers = self._ask(phase)
                if answers and all(answer.passed for answer in answers):
                    break
            if resting >= (_SETTLED_FAILING if answers else _SETTLED) and self._fails_too(answers):
                break
            time.sleep(_POLL)
            seen = self._see(pid)
        if not answers:
            answers = self._ask(phase) if self._lives(pid) or self.container.exit_code() == 0 else ()
        self.answers += answers
        return time.monotonic() - begun

    def _came_up(self, listeners: frozenset[str]) -> bool:
        """Tell whether it is worth asking: the original's listeners are there, or it is the original."""
        original = self.trials.original
        return original is None or original.listeners <= listeners

    def _fails_too(self, answers: tuple[Answer, ...]) -> bool:
        """Tell whether each failing answer failed in the original as well, so that waiting longer changes nothing."""
        original = self.trials.original
        passed = {(a.name, a.phase) for a in original.answers if a.passed} if original else set()
        return not any((answer.name, answer.phase) in passed for answer in answers if not answer.passed)

    def _ask(self, phase: Phase) -> tuple[Answer, ...]:
        exercise = self.trials.exercise
        return ask(
            exercise,
            self.container,
            phase,
            self.trials.ports,
            timeout=exercise.timeout,
            cancelled=self.trials.cancelled,
        )

    def _exercise(self, pid: int) -> None:
        exercise = self.trials.exercise
        done = drive(exercise, self.container, Phase.EXERCISED, cancelled=self.trials.cancelled)
        if done is not None:
            self.answers.append(done)
            if done.passed:
                self.answers += self._ask(Phase.EXERCISED)
        if exercise.seconds:
            _sleep_while(exercise.seconds, lambda: self._lives(pid))
        if not exercise.decides:
            self.answers += self._own_questions(Phase.EXERCISED)
        self._look(pid)

    def _own_questions(self, phase: Phase) -> list[Answer]:
        """Ask each TCP port what it says: all that can be compared where the user named no check."""
        original = self.trials.original
        names = (self.listeners or frozenset()) if original is None else original.listeners
        ports = sorted(int(name.split("/")[1]) for name in names if name.startswith("tcp/"))
        return [
            Answer(name=f"answer tcp/{port}", phase=phase, passed=True, detail=answer_of_port(self.container, port))
            for port in ports[:8]
        ]

    def _see(self, pid: int) -> Look:
        """Look at it where it runs; `pid` is 0 where it does not."""
        return host_of(self.container).call(look, pid) if pid else Look()

    def _lives(self, pid: int) -> bool:
        """Tell no more than whether it runs: a look goes through every process there."""
        return bool(pid) and host_of(self.container).call(is_alive, pid)

    def _look(self, pid: int) -> None:
        """Take down whether it runs, and what it has listened on and which programs it has run all along."""
        seen = self._see(pid)
        self.running = seen.alive
        if self.running:
            self.listeners = seen.listeners if self.listeners is None else self.listeners & seen.listeners
            programs = self._kept_running(pid, seen)
            self.programs = programs if self.programs is None else self.programs & programs
        else:
            self.exit_code = self.container.exit_code()

    def _kept_running(self, pid: int, seen: Look) -> frozenset[str]:
        """Return what runs now; what the original ran may be between two of its short programs, and is waited for."""
        programs, begun = seen.programs, time.monotonic()
        wanted = self.trials.original.programs if self.trials.original else frozenset()
        while not wanted <= programs and time.monotonic() - begun < _BETWEEN and seen.alive:
            time.sleep(_POLL / 5)
            seen = self._see(pid)
            programs |= seen.programs
        return programs

    def _log(self) -> bytes:
        """Return the end of the log; a line of which the beginning is gone would tell of another path."""
        log = self.container.logs(_LOG_LIMIT)
        return log if len(log) < _LOG_LIMIT else log.partition(b"\n")[2]

    def _behaviour(self, engine_error: str = "") -> Behaviour:
        log = self._log()
        refused = {event: _refused_place(event) for event in _events(log)}
        original = self.trials.original
        known = original.refused_places if original else frozenset()
        return Behaviour(
            started=not engine_error,
            running=self.running,
            exit_code=self.exit_code,
            ready_after=self.ready_after,
            listeners=self.listeners or frozenset(),
            programs=self.programs or frozenset(),
            answers=tuple(self.answers),
            warnings=warning_lines(log),
            refused_writes=_once(
                event.raw
                for event, place in refused.items()
                if place not in known
                and not has_no_effect(event, self.trials.learnt)
                and not failed_before(event, original)
            ),
            refused_places=frozenset(refused.values()),
            engine_error=engine_error,
        )

    def _so_far(self, original: Behaviour) -> Behaviour:
        """Return the original as far as this run has got: what was not asked yet can't differ yet."""
        asked = {answer.phase for answer in self.answers} | {self.first}
        return replace(original, answers=tuple(answer for answer in original.answers if answer.phase in asked))

    def _trial(self, engine_error: str = "") -> Trial:
        log = self._log()
        return Trial(
            behaviour=self._behaviour(engine_error),
            log=log,
            events=_events(log),
            restarts=self.restarts,
            cannot_show=self.container.cannot_show,
        )


class _Rest:
    """Knows for how long a container has neither changed nor worked."""

    def __init__(self) -> None:
        self._states: set[object] = set()
        self._worked = 0.0
        self._looked = self._since = time.monotonic()

    def seconds(self, seen: Look) -> float:
        """Take in how it looks now; return for how long there has been nothing new."""
        now, state = time.monotonic(), (seen.listeners, seen.programs)
        busy = seen.cpu - self._worked > _BUSY * (now - self._looked)
        if busy or state not in self._states:  # one that was met before is only a program that comes and goes
            self._since = now
        self._states.add(state)
        self._worked, self._looked = seen.cpu, now
        return now - self._since


def _events(log: bytes) -> tuple[LogEvent, ...]:
    """Return what a log says of failed writes; of a line that is repeated without end only once."""
    lines = [line for line, _ in groupby(log.splitlines())]
    return tuple(event for event in read_log(lines) if event.error is not LogError.DISGUISE)


def has_no_effect(event: LogEvent, learnt: WriteSet | None) -> bool:
    """Tell whether a refused write would have given an entry of the image the owner and mode that it has anyway."""
    if event.error is not LogError.EROFS or event.operation not in (Operation.CHMOD, Operation.CHOWN):
        return False
    if learnt is None or Source.LAYER not in learnt.observation.sources:
        return False  # nothing else would have shown it
    entry = learnt.image.entry(event.path) if event.path is not None and not event.relative else None
    made = (Change.CREATED, Change.REPLACED, Change.DELETED)
    return entry is not None and not any(
        write.change in made or changes_metadata(write, entry) for write in learnt.writes if write.path == event.path
    )


def failed_before(event: LogEvent, original: Behaviour | None) -> bool:
    """Tell whether the original complained of the same in the same words, for want of a right.

    The kernel says that a filesystem is read-only before it looks at rights.
    """
    if original is None or event.error is not LogError.EROFS:
        return False
    return _DENIED.sub("denied", normalised(event.raw)) in _denied(original.warnings)


@lru_cache(maxsize=4)
def _denied(lines: frozenset[str]) -> frozenset[str]:
    """Return lines with one word for both errors: once, as a log may complain thousands of times."""
    return frozenset(_DENIED.sub("denied", line) for line in lines)


def _once(lines: Iterable[str]) -> tuple[str, ...]:
    """Return each line once, the first of a flood only."""
    return tuple(islice(dict.fromkeys(lines), _LINES_KEPT))


def _refused_place(event: LogEvent) -> str:
    """Name what a refused write was about, in a form in which two runs can be compared."""
    return str(event.place) if event.place is not None else normalised(event.raw)


def _sleep_while(seconds: float, condition: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and condition():
        time.sleep(min(_POLL, max(end - time.monotonic(), 0)))
