"""Proves a plan: the program works, everything else is refused, no place is too much, and the checks can fail."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from lithify.engines.base import Container, Root
from lithify.engines.host import host_of
from lithify.errors import EngineRefused
from lithify.model.behaviour import Behaviour, Phase
from lithify.model.image import EntryType
from lithify.model.mount import Mount, MountPlan, PathClass, StorageKind
from lithify.model.path import printable
from lithify.model.run import Exercise
from lithify.model.verdict import Check, Exposed, Verdict
from lithify.model.writes import Change, Write, WriteSet
from lithify.pipeline.trial import Life, Trial, Trials, Watcher
from lithify.prove.attempts import Attempts, Place, attempt
from lithify.prove.compare import compare, works
from lithify.prove.exercise import ask

Users = Mapping[PurePosixPath, Sequence[tuple[int, int]]]
"""For each planned place, the (uid, gid) of those who write there."""
_STAMP = "#[]():.,/+-TZ \t"
"""What is left before the words of a line whose time was taken out."""


class Prober(Watcher):
    """Tries the refusals and the places of a planned container while it runs, after its restart in place."""

    def __init__(
        self, plan: MountPlan, users: Users, exercise_decides: bool, ask_stopped: "Callable[[Container], bool]"
    ):
        self.places = [_place(mount, users) for mount in plan.mounts]
        self.met = Attempts()
        self.cannot_show: list[str] = []
        self.stopped_fails: bool | None = None
        self._exercise_decides = exercise_decides
        self._ask_stopped = ask_stopped

    def running(self, container: Container, pid: int) -> None:
        self.cannot_show += container.cannot_show
        self.met = host_of(container).call(attempt, pid, self.places)
        if self.met.untried:
            self.cannot_show.append(self.met.untried)

    def stopped(self, container: Container) -> None:
        if self._exercise_decides:
            self.stopped_fails = not self._ask_stopped(container)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """A planned run with its checks; what `finish_proof` still adds is missing."""

    trial: Trial
    works: tuple[Check, ...]
    refused: tuple[Check, ...]
    exposed: tuple[Exposed, ...] = ()
    cannot_show: tuple[str, ...] = ()
    stopped_fails: bool | None = None

    @property
    def holds(self) -> bool:
        """True where the program works and the rest is refused."""
        return all(check.passed for check in self.works + self.refused)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """What taking one place away did."""

    mount: Mount
    needed: bool
    summary: str


def run_planned(
    trials: Trials, plan: MountPlan, users: Users, *, keep: bool = False, as_it_stands: bool = False
) -> Proof:
    """Run the target read-only as planned, beside what the original showed, and try what it refuses.

    With `as_it_stands` the target has the plan in it already, and the engine is not asked to add it.
    """
    assert trials.original is not None

    def passes_stopped(container: Container) -> bool:
        answers = ask(
            trials.exercise, container, Phase.STARTED, trials.ports, timeout=min(5.0, trials.exercise.timeout)
        )
        return bool(answers) and all(answer.passed for answer in answers)

    prober = Prober(plan, users, _can_be_asked(trials.exercise) and not trials.original.finished, passes_stopped)
    recreate = _may_lose(plan, trials.exercise) and not trials.original.finished
    added = None if as_it_stands else plan
    life = Life(root=Root.READ_ONLY, plan=added, recreate=recreate, purpose="planned", keep=keep)
    trial = trials.run(life, prober)
    if trials.original.finished:
        _look_idle(trials, added, prober)
    checks = compare(expected(trials.original, recreate), trial.behaviour)
    return Proof(
        trial=trial,
        works=checks + prober.met.places,
        refused=prober.met.refused,
        exposed=prober.met.exposed,
        cannot_show=tuple(prober.cannot_show),
        stopped_fails=prober.stopped_fails,
    )


def _may_lose(plan: MountPlan, exercise: Exercise) -> bool:
    """Tell whether the next container is worth a look: for what lies on volumes, or for what a check misses there.

    Not where state ends with the container: only the user can have said that it may.
    """
    let_go = any(PathClass.STATE in m.classes and m.storage is not StorageKind.VOLUME for m in plan.mounts)
    looked_for = exercise.script and (exercise.check or exercise.check_inside) and not let_go
    return any(
        mount.storage is StorageKind.VOLUME or (looked_for and not set(mount.classes) <= {PathClass.RUNTIME})
        for mount in plan.mounts
    )


def _can_be_asked(exercise: Exercise) -> bool:
    """Tell whether there is a check that says yes or no, beside a script that drives."""
    asked = (exercise.check, exercise.http, exercise.tcp, exercise.check_inside, exercise.probes)
    return any(asked)


def _look_idle(trials: Trials, plan: MountPlan | None, prober: Prober) -> None:
    """Try the refusals in a container that does nothing: the program ends by itself and would not wait for them."""
    try:
        trials.look(plan, prober)
    except EngineRefused as refused:
        prober.cannot_show.append(
            f"the program ends by itself, and nothing else could be run in its container to try a write: {refused}"
        )


def expected(original: Behaviour, recreate: bool) -> Behaviour:
    """Return what a planned run has to match: with `recreate` also what a replacement must still answer."""
    if not recreate:
        return original
    checks = {answer.name for answer in original.answers if answer.phase is Phase.STARTED}
    # Not the restarted one: what a stale pid file stops as it is was learnt without.
    last = {answer.name: answer for answer in original.answers if answer.name in checks}
    return replace(
        original, answers=original.answers + tuple(replace(answer, phase=Phase.RECREATED) for answer in last.values())
    )


def drop_each(trials: Trials, plan: MountPlan, proof: Proof, places: Iterable[Mount], jobs: int) -> tuple[Dropped, ...]:
    """Run the target once without each of `places`, up to `jobs` at a time, and tell which it can't do without.

    A place is needed where the program fails. One for logs also where the program complains of what it did not complain
    of under the whole plan: a log that can't be opened is a loss, though every check passes. What fails beside other
    runs, and tells of no refused write, is asked once more alone: which places are kept must not depend on the load.
    """
    places = tuple(places)
    each = trials.run_each([_life_without(plan, mount) for mount in places], jobs)
    dropped = [_drop(trials, proof, mount, trial.behaviour) for mount, trial in zip(places, each, strict=True)]
    crowded = jobs > 1 and len(places) > 1
    for index, trial in enumerate(each):
        if crowded and dropped[index].needed and _may_be_slow(trial.behaviour):
            again = trials.run(_life_without(plan, places[index]))
            dropped[index] = _drop(trials, proof, places[index], again.behaviour)
    return tuple(dropped)


def _may_be_slow(behaviour: Behaviour) -> bool:
    """Tell whether nothing says that a write was refused: beside other runs it may only have been late."""
    return behaviour.running and not behaviour.refused_writes and not behaviour.engine_error


def _life_without(plan: MountPlan, mount: Mount) -> Life:
    without = replace(plan, mounts=tuple(m for m in plan.mounts if m is not mount))
    return Life(root=Root.READ_ONLY, plan=without, purpose=f"without {mount.path}")


def _drop(trials: Trials, proof: Proof, mount: Mount, behaviour: Behaviour) -> Dropped:
    assert trials.original is not None
    told = _trouble(trials.original, proof, [mount], behaviour)
    if not told:
        return Dropped(mount=mount, needed=False, summary=f"works without {mount.path}")
    return Dropped(mount=mount, needed=True, summary=f"without {mount.path}: {told}")


def _trouble(original: Behaviour, proof: Proof, mounts: Iterable[Mount], without: Behaviour) -> str:
    """Return what goes wrong in a run without `mounts`; nothing where it does as well as the original."""
    failed = [check for check in compare(original, without) if not check.passed]
    if failed:
        return f"{failed[0].name}: {failed[0].summary}"
    fresh = sorted(without.warnings - original.warnings - proof.trial.behaviour.warnings)
    return (
        f"the log is lost: {fresh[0].lstrip(_STAMP)}"
        if fresh and any(PathClass.LOG in one.classes for one in mounts)
        else ""
    )


def droppable(plan: MountPlan, write_set: WriteSet | None, *, decided: bool) -> tuple[Mount, ...]:
    """Return the places that a passing check is allowed to take away.

    Never state: a check that does not look for the data would call its loss a success. Where the user named no check,
    only places where nothing but metadata or passing entries were written.
    """
    places = tuple(mount for mount in plan.mounts if not _outlives(mount, plan))
    if decided or write_set is None:
        return places
    slight = {Change.METADATA, Change.OPENED, Change.CAME_AND_WENT, Change.ATTEMPTED}
    return tuple(
        mount
        for mount in places
        if all(write.change in slight for write in write_set.writes if mount.covers(write.path))
    )


def _outlives(mount: Mount, plan: MountPlan) -> bool:
    """Tell whether a place is there for what the container must not take along, and not only to be written to.

    It holds state; or it stays, as the user wished of what is none, such as a log. A volume of somebody else's plan,
    which says nothing of what it is for, is taken away unless a place around it would take its writes, and lose them.
    """
    within = any(other is not mount and other.covers(mount.path) for other in plan.mounts)
    wished = mount.storage is StorageKind.VOLUME and (within or mount.classes)
    return PathClass.STATE in mount.classes or bool(wished)


def verdict(
    trials: Trials, plan: MountPlan, proof: Proof, dropped: Sequence[Dropped], flag_alone: Trial, rounds: int
) -> Verdict:
    """Put together what the runs showed."""
    assert trials.original is not None
    honest = tuple(_honest(trials.original, plan, proof, flag_alone))
    open_ = tuple(f"it {check.summary}: a --check that does would show its need" for check in honest if not check.tried)
    return Verdict(
        works=proof.works,
        refused=proof.refused,
        minimal=tuple(_needed(mount, plan, proof, dropped) for mount in plan.mounts),
        honest=honest,
        exposed=proof.exposed,
        strength=_strength(trials),
        cannot_show=(*proof.cannot_show, *open_),
        starts=tuple(trials.starts),
        rounds=rounds,
    )


def _needed(mount: Mount, plan: MountPlan, proof: Proof, dropped: Sequence[Dropped]) -> Check:
    told = next((drop for drop in dropped if drop.mount.path == mount.path), None)
    if told is not None:
        return Check(name=f"needs {mount.path}", passed=told.needed, summary=told.summary)
    if not proof.holds:
        why = "the planned run failed"
    elif _outlives(mount, plan):
        why = "it holds what is to be kept, which a check that does not look for it would call spare"
    else:
        why = "it was written, and no check of yours says whether that matters"
    return Check(name=f"needs {mount.path}", passed=True, tried=False, summary=f"not taken away: {why}")


def _honest(original: Behaviour, plan: MountPlan, proof: Proof, flag_alone: Trial) -> Iterable[Check]:
    if plan.mounts or plan.redirects:
        told = _trouble(original, proof, plan.mounts, flag_alone.behaviour)
        summary = f"with the flag alone: {told}" if told else "passes with no place at all"
        # Who looks for none of the state can't miss it, and that is no reason to let it go.
        unseen = not told and not plan.redirects and all(PathClass.STATE in mount.classes for mount in plan.mounts)
        if unseen:
            summary += f", for nothing looks for what is kept in {', '.join(printable(m.path) for m in plan.mounts)}"
        evidence = flag_alone.behaviour.refused_writes[:3]
        yield Check(
            name="over-tight fails", passed=bool(told or unseen), summary=summary, evidence=evidence, tried=not unseen
        )
    if proof.stopped_fails is not None:
        summary = (
            "fails when the program is stopped" if proof.stopped_fails else "passes although the program is stopped"
        )
        yield Check(name="check can fail", passed=proof.stopped_fails, summary=f"the check {summary}")


def _strength(trials: Trials) -> str:
    exercise = trials.exercise
    if exercise.script and (exercise.check or exercise.check_inside or exercise.http):
        return "driven by your exercise and judged by your check"
    if exercise.decides:
        return f"judged by {exercise.words}; what that does not reach was not tried"
    return (
        "weak: it starts, stays, listens and answers as before, and survives a kill; nobody used it. "
        "Give --exercise and --check to learn and prove what its users do"
    )


def _place(mount: Mount, users: Users) -> Place:
    seen = tuple(users.get(mount.path) or ((mount.uid, mount.gid),))
    return Place(path=mount.path, users=seen, is_file=mount.type is EntryType.FILE)


def users_of(plan: MountPlan, write_set: WriteSet) -> Users:
    """Return who was seen making names in each place, or writing the file that one is, as far as anybody was."""
    users: dict[PurePosixPath, list[tuple[int, int]]] = {}
    for mount in plan.mounts:
        seen = write_set.makers(write for write in write_set.writes if write.was_seen and _is_tried_by(write, mount))
        if seen:
            users[mount.path] = sorted(seen)
    return users


def _is_tried_by(write: Write, mount: Mount) -> bool:
    """Tell whether who did `write` must be able to make names in a place, or to write the file that is one.

    Who owns a file of the image in it, or a directory deeper in it, may be let make none in the place itself.
    """
    if mount.type is EntryType.FILE:
        return write.path == mount.path
    in_place = write.change in (Change.CHANGED, Change.OPENED, Change.METADATA, Change.ATTEMPTED)
    return not in_place and mount.path in (write.path, write.path.parent)


def still_works(trials: Trials, trial: Trial) -> bool:
    """Tell whether a run matches the original."""
    assert trials.original is not None
    return works(trials.original, trial.behaviour)
