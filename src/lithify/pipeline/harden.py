"""The main job: learn, plan, prove, and go round again until the proof holds or nothing more can be learnt."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lithify.engines.base import Baker, Engine, Root, Surveyor
from lithify.errors import UsageError
from lithify.model.bake import Baked
from lithify.model.hardening import Hardening, Round
from lithify.model.image import ImageFacts
from lithify.model.mount import Mount, MountPlan, Tolerated
from lithify.model.path import printable
from lithify.model.run import Exercise, Target
from lithify.model.text import counted
from lithify.model.verdict import Verdict
from lithify.model.writes import WriteSet
from lithify.pipeline.bake import Batch, Kitchen, find_batches, insist_on_room
from lithify.pipeline.diagnose import diagnose
from lithify.pipeline.learn import joined, learn
from lithify.pipeline.prove import Dropped, Proof, drop_each, droppable, run_planned, still_works, users_of, verdict
from lithify.pipeline.trial import Life, Trial, Trials
from lithify.plan import PlanSettings, make_plan

ROUNDS = 6
"""Planned runs that `harden` tries at the most before it says that it can't."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the user asked of a hardening besides target and exercise."""

    settings: PlanSettings = field(default_factory=PlanSettings)
    jobs: int = 1
    """Containers that may run at once when places are taken away."""
    live: bool = True
    """Listen to the kernel for names that come and go, where it lets us."""
    trace: bool = False
    """Trace system calls while learning."""
    keep: bool = False
    """Leave the container that was run last; the result names it."""
    rounds: int = ROUNDS
    """Planned runs at the most."""
    known: tuple[WriteSet, ...] = ()
    """What is known of the same program from elsewhere: its replicas in production."""
    bake: Path | None = None
    """Where to write what the image can be given so that fewer places are needed; None leaves the image as it is."""


def harden(
    engine: Engine,
    target: Target,
    exercise: Exercise,
    wishes: Wishes | None = None,
    *,
    tell: Callable[[str], None] = lambda _: None,
) -> Hardening:
    """Return how `target` runs with a read-only root: the writes, the plan, the command and the proof.

    Nothing of the user's is touched, and nothing that was started is left (but with `keep`). Raises TargetBroken where
    the program does not even work with a writable root, EngineUnreachable where the engine goes away, UsageError where
    `bake` is for an engine that has no image, or in a directory that holds something.
    """
    wishes = wishes or Wishes()
    if wishes.bake is not None:
        insist_on_room(wishes.bake)
        if not isinstance(engine, Baker):
            raise UsageError(f"--bake: {engine.name} has no image that could be copied", hint="leave it out")
    trials, write_set, alone = _begin(engine, target, exercise, wishes, tell)
    return _Hardener(trials, write_set, alone, wishes).run()


class _Hardener:
    """Goes round from plan to proof until it holds."""

    def __init__(self, trials: Trials, write_set: WriteSet, alone: Trial, wishes: Wishes) -> None:
        self.trials = trials
        self.write_set = write_set
        self.alone = alone
        self.wishes = wishes
        self.settings = wishes.settings
        self.rounds: list[Round] = []
        self.dropped: list[Dropped] = []
        self.baked: Baked | None = None

    def run(self) -> Hardening:
        if self.wishes.bake is None:
            return self._run()
        engine = self.trials.engine
        assert isinstance(engine, Baker)
        kitchen = Kitchen(self.trials, engine, self.write_set.image.user, self.wishes.bake)
        try:
            self._bake(kitchen)
            return self._run()
        except BaseException:
            kitchen.take_out()
            raise
        finally:
            kitchen.clear()

    def _bake(self, kitchen: Kitchen) -> None:
        """Put into a copy of the image what a planned run can then do without, all at once or one after the other."""
        plan = make_plan(self.write_set, self.settings)
        batches = find_batches(self.trials, self.write_set, plan)
        good: tuple[Batch, ...] = ()
        for tried in [batches, *([batch] for batch in batches if len(batches) > 1)] if batches else []:
            wanted = (*good, *tried)
            self.trials.tell(f"baking in what makes {_served(tried)} needless")
            if self._works_baked(kitchen, wanted):
                good = wanted
                if tried is batches:
                    break
        kitchen.take_out()
        if good:
            self.settings = self._without_baked(good)
            self.baked = kitchen.bake(good)

    def _works_baked(self, kitchen: Kitchen, batches: Sequence[Batch]) -> bool:
        kitchen.take_out()
        kitchen.bake(batches)
        plan = make_plan(self.write_set, self._without_baked(batches))
        proof = run_planned(self.trials, plan, users_of(plan, self.write_set))
        return all(check.passed for check in proof.works)

    def _without_baked(self, batches: Sequence[Batch]) -> PlanSettings:
        served = {batch.serves for batch in batches}
        return replace(self.settings, dropped=self.settings.dropped | served)

    def _run(self) -> Hardening:
        plan, proof = self._until_it_works()
        if proof.holds:
            plan, proof = self._take_away(plan, proof)
        if self.wishes.keep:
            proof = run_planned(self.trials, plan, users_of(plan, self.write_set), keep=True)
        return self._result(plan, proof)

    def _until_it_works(self) -> tuple[MountPlan, Proof]:
        while True:
            plan = make_plan(self.write_set, self.settings)
            self.trials.tell(f"round {len(self.rounds) + 1}: read-only with {counted(len(plan.mounts), 'place')}")
            proof = run_planned(self.trials, plan, users_of(plan, self.write_set))
            number = len(self.rounds) + 1
            if all(check.passed for check in proof.works) or number >= self.wishes.rounds:
                self.rounds.append(Round(number=number, works=proof.holds))
                return plan, proof
            self.trials.tell("it does not work yet: the same with a writable root, to see what is missing")
            diagnosis = diagnose(self.trials, plan, proof.trial, self.write_set, self.settings, self.wishes.jobs)
            refused = filter(None, [proof.trial.behaviour.engine_error])
            found = (*refused, *diagnosis.found)
            self.rounds.append(Round(number=number, works=False, found=found, changed=diagnosis.changed))
            if not diagnosis.helps:
                return plan, proof
            self.settings, self.write_set = diagnosis.settings, diagnosis.write_set
            again = make_plan(self.write_set, self.settings)
            if (again.mounts, again.redirects) == (plan.mounts, plan.redirects):
                return again, proof  # what was found may have no place: its refusal is the answer

    def _take_away(self, plan: MountPlan, proof: Proof) -> tuple[MountPlan, Proof]:
        """Take each place away in turn; what the program can do without goes, and the rest is proved again."""
        tried: set[object] = set()
        while True:
            decided = self.trials.exercise.decides
            places = [
                mount
                for mount in droppable(plan, self.write_set, decided=decided)
                if mount.path not in tried and not self._is_known(mount)
            ]
            if not places:
                return plan, proof
            self.trials.tell(f"taking away each of {counted(len(places), 'place')} in turn")
            dropped = drop_each(self.trials, plan, proof, places, self.wishes.jobs)
            self.dropped += dropped
            tried |= {drop.mount.path for drop in dropped}
            spare = [drop.mount for drop in dropped if not drop.needed]
            if spare:
                plan, proof = self._without(plan, proof, spare)

    def _is_known(self, mount: Mount) -> bool:
        """Tell whether a place is written where our runs don't reach, so that they can't call it spare."""
        return any(mount.covers(path) for path in self.trials.beyond)

    def _without(self, plan: MountPlan, proof: Proof, spare: list[Mount]) -> tuple[MountPlan, Proof]:
        """Drop all spare places at once; where they are only spare for each other's sake, one after the other."""
        for group in [spare] if len(spare) == 1 else [spare, *([mount] for mount in spare)]:
            gone = {mount.path for mount in group}
            # one run failed without it, by chance as is seen now
            widened = {
                path: why for path, why in self.settings.widened.items() if gone.isdisjoint((path, *path.parents))
            }
            settings = replace(self.settings, dropped=self.settings.dropped | gone, widened=widened)
            narrower = make_plan(self.write_set, settings)
            again = run_planned(self.trials, narrower, users_of(narrower, self.write_set))
            if again.holds:
                self.settings, plan, proof = settings, narrower, again
                if group is spare:
                    break
            else:
                told = next(check for check in again.works + again.refused if not check.passed)
                self._keep(group, f"needed once others are gone: {told.name}: {told.summary}")
        return plan, proof

    def _keep(self, group: list[Mount], why: str) -> None:
        if len(group) == 1:
            self.dropped = [
                replace(drop, needed=True, summary=why) if drop.mount.path == group[0].path else drop
                for drop in self.dropped
            ]

    def _result(self, plan: MountPlan, proof: Proof) -> Hardening:
        trials = self.trials
        assert trials.original is not None
        plan = _settled(plan, proof)
        command = trials.engine.render(trials.target, plan)
        kept = tuple(filter(None, [proof.trial.kept]))
        return Hardening(
            target=trials.target.title,
            kind=trials.target.kind,
            engine=trials.engine.name,
            write_set=replace(self.write_set, image=self._surveyed(plan)),
            plan=plan,
            command=command.command,
            setup=command.setup,
            command_notes=command.notes,
            verdict=verdict(trials, plan, proof, self.dropped, self.alone, len(self.rounds)),
            original=trials.original,
            flag_alone=self.alone.behaviour,
            flag_alone_works=still_works(trials, self.alone),
            rounds=tuple(self.rounds),
            baked=self.baked,
            kept=kept,
        )

    def _surveyed(self, plan: MountPlan) -> ImageFacts:
        """Return the image with all that it has at the plan's places: a patch that is made later depends on it."""
        image, engine = self.write_set.image, self.trials.engine
        if not isinstance(engine, Surveyor):
            return image
        found = engine.read_places(self.trials.target, plan.mounts)
        return replace(image, entries={**found.entries, **image.entries})


def prove_plan(
    engine: Engine,
    target: Target,
    plan: MountPlan,
    exercise: Exercise,
    wishes: Wishes | None = None,
    *,
    tell: Callable[[str], None] = lambda _: None,
) -> Verdict:
    """Judge a plan as it stands, whoever wrote it: nothing in it is changed, a place too much fails it.

    Raises as `harden` does.
    """
    wishes = wishes or Wishes()
    trials, write_set, alone = _begin(engine, target, exercise, wishes, tell)
    tell(f"read-only with {counted(len(plan.mounts), 'place')}")
    proof = run_planned(trials, plan, users_of(plan, write_set), keep=wishes.keep)
    dropped: tuple[Dropped, ...] = ()
    if proof.holds:
        places = droppable(plan, write_set, decided=exercise.decides)
        tell(f"taking away each of {counted(len(places), 'place')} in turn")
        dropped = drop_each(trials, plan, proof, places, wishes.jobs)
    return verdict(trials, plan, proof, dropped, alone, rounds=1)


def _begin(
    engine: Engine, target: Target, exercise: Exercise, wishes: Wishes, tell: Callable[[str], None]
) -> tuple[Trials, WriteSet, Trial]:
    """See what the target writes and how it behaves, and how it dies of the flag alone."""
    for swept in engine.sweep():
        tell(f"removed what an earlier run left: {swept}")
    trials = Trials(engine=engine, target=target, exercise=exercise, live=wishes.live, trace=wishes.trace, tell=tell)
    tell(f"learning: {target.title} with a writable root")
    learnt = learn(trials)
    trials.learnt = learnt.write_set
    write_set = joined(learnt.write_set, wishes.known)
    trials.beyond = frozenset(write.path for write in write_set.writes) - {w.path for w in learnt.write_set.writes}
    trials.original = learnt.trial.behaviour
    tell("the flag alone: read-only, no place to write")
    alone = trials.run(Life(root=Root.READ_ONLY, plan=empty_plan(write_set), purpose="flag alone"))
    return trials, write_set, alone


def empty_plan(write_set: WriteSet) -> MountPlan:
    """Return a plan with no place at all: what setting the flag alone comes to."""
    return MountPlan(key=write_set.key, container=write_set.container)


def _settled(plan: MountPlan, proof: Proof) -> MountPlan:
    """Mark what the proof settled: a write that the program did without blocks nothing."""
    if not proof.holds:
        return plan
    return replace(
        plan,
        refusals=tuple(replace(refusal, blocking=False) for refusal in plan.refusals),
        tolerated=tuple(_proved(tolerated) for tolerated in plan.tolerated),
    )


def _proved(tolerated: Tolerated) -> Tolerated:
    return replace(tolerated, proved=True)


def _served(batches: Sequence[Batch]) -> str:
    return ", ".join(printable(batch.serves) for batch in batches)
