"""Finds out why a planned run failed, and what the next plan must know.

A log line is the program's own word: it says where to look first and never widens a plan by itself. What widens it is
a *rehearsal*: the same plan with the root left writable. Where the program works like that, the layer names every
write that the plan had no place for. Where it does not, a place itself is at fault: hidden content, too small, not
executable, the wrong owner; each is tried by itself.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from lithify.engines.base import Root
from lithify.engines.host import host_of
from lithify.model.behaviour import Phase
from lithify.model.image import EntryType, ImageFacts
from lithify.model.log import LogError, LogEvent
from lithify.model.mount import Mount, MountPlan, StorageKind
from lithify.model.writes import Write, WriteSet
from lithify.observe.merge import merge_writes
from lithify.pipeline.learn import Learner
from lithify.pipeline.prove import expected, still_works
from lithify.pipeline.trial import Life, Trial, Trials
from lithify.plan import Owner, PlanSettings, StateDecision, alternatives_of, make_plan
from lithify.prove.compare import works

_GROWTH = 8
_ROOM = 256 << 20
"""Bytes a place gets at least once it was too small: stores that allocate ahead use little of what they ask for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What a failed run taught; `settings` and `write_set` are for the next plan."""

    settings: PlanSettings
    write_set: WriteSet
    found: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    @property
    def helps(self) -> bool:
        """Tell whether another round can come out differently."""
        return bool(self.changed)


def diagnose(
    trials: Trials, plan: MountPlan, failed: Trial, write_set: WriteSet, settings: PlanSettings, jobs: int
) -> Diagnosis:
    """Return what the next plan must know after the run `failed` under `plan`."""
    if _is_missed_later(trials, failed):
        keeping = _try_keeping(trials, plan, write_set, settings, jobs)
        if keeping.helps or StateDecision.EPHEMERAL in settings.state_decisions.values():
            return keeping
    events = failed.events
    engine = trials.engine
    learner = Learner(host_of(engine), write_set.image, engine.storage(), live=trials.live)
    try:
        rehearsal = trials.run(Life(root=Root.WRITABLE, plan=plan, purpose="rehearsal"), learner)
    finally:
        learner.close()
    missed = tuple(write for write in learner.collected.writes if plan.mount_for(write.path) is None)
    if still_works(trials, rehearsal):
        return _widen(events, missed, learner.collected.image, write_set, settings)
    by_log = _hints(plan, (*events, *rehearsal.events), write_set, settings)
    if by_log.helps:
        return by_log
    return _try_generous(trials, plan, write_set, settings, jobs)


def _is_missed_later(trials: Trials, failed: Trial) -> bool:
    """Tell whether all was well until it was killed, and a check misses something since.

    A run ends at its first difference, so nothing else was wrong before.
    """
    assert trials.original is not None
    passed = {a.name for a in trials.original.answers if a.passed and a.phase is Phase.RESTARTED}
    later = (Phase.RESTARTED, Phase.RECREATED)
    return any(a.name in passed and not a.passed for a in failed.behaviour.answers if a.phase in later)


def _try_keeping(trials: Trials, plan: MountPlan, write_set: WriteSet, settings: PlanSettings, jobs: int) -> Diagnosis:
    """Find the place that ends with the program or its container and holds what the check looks for afterwards.

    What the user lets go is left out: then the loss is the answer.
    """
    moved = {redirect.new: redirect.old for redirect in plan.redirects}
    ending = [moved.get(m.path, m.path) for m in plan.mounts if m.storage is not StorageKind.VOLUME]
    ending = [path for path in ending if settings.decision(path) is None]
    groups = [[path] for path in ending] + [ending] * (len(ending) > 1)
    kept = [
        replace(settings, state_decisions={**settings.state_decisions, **dict.fromkeys(paths, StateDecision.VOLUME)})
        for paths in groups
    ]
    assert trials.original is not None
    again = not trials.original.finished
    wanted = expected(trials.original, again)
    plans = [make_plan(write_set, one) for one in kept]
    lives = [Life(root=Root.READ_ONLY, plan=plan, recreate=again, purpose="keeping") for plan in plans]
    for paths, one, trial in zip(groups, kept, trials.run_each(lives, jobs), strict=True):
        if works(wanted, trial.behaviour):
            found = tuple(f"{path}: a check misses later what was written there" for path in paths)
            return Diagnosis(
                settings=one,
                write_set=write_set,
                found=found,
                changed=tuple(f"keeps {path} on a volume" for path in paths),
            )
    return Diagnosis(settings=settings, write_set=write_set)


def _widen(
    events: Sequence[LogEvent],
    missed: Sequence[Write],
    image: ImageFacts,
    write_set: WriteSet,
    settings: PlanSettings,
) -> Diagnosis:
    """Give a place to what the rehearsal wrote: first to what the log complained of, else to all of it."""
    known = set(settings.widened)
    fresh = [write for write in missed if write.path not in known]
    named = {event.place for event in events if event.usable and event.error is LogError.EROFS}
    chosen = [write for write in fresh if named & {write.path, write.path.parent, write.directory}] or fresh
    widened = dict(settings.widened)
    for write in chosen:
        widened[write.path] = "a run without it failed, and the same run with it worked"
    return Diagnosis(
        settings=replace(settings, widened=widened),
        write_set=replace(
            write_set,
            writes=merge_writes(write_set.writes, chosen),
            image=replace(write_set.image, entries={**image.entries, **write_set.image.entries}),
        ),
        found=tuple(f"{write.path}: {write.change.value}, and the plan had no place for it" for write in chosen[:20]),
        changed=tuple(f"gives {write.path} a place" for write in chosen[:20]),
    )


def _hints(plan: MountPlan, events: Iterable[LogEvent], write_set: WriteSet, settings: PlanSettings) -> Diagnosis:
    """Take what the log says about planned places to the settings; a run will tell whether that was it."""
    found: list[str] = []
    changed: list[str] = []
    for event in events:
        mount = plan.mount_for(event.path) if event.usable and event.path is not None else None
        if mount is None:
            continue
        after, what = _hint(mount, event, write_set, settings)
        if what and after != settings:
            settings = after
            found.append(f"{mount.path}: {event.raw[:160]}")
            changed.append(what)
    return Diagnosis(settings=settings, write_set=write_set, found=tuple(found), changed=tuple(changed))


def _hint(mount: Mount, event: LogEvent, write_set: WriteSet, settings: PlanSettings) -> tuple[PlanSettings, str]:
    at = mount.path
    if event.error is LogError.ENOSPC:
        return _larger(settings, mount), f"gives {at} more room"
    if event.error is LogError.NOEXEC:
        return replace(settings, executable=settings.executable | {at}), f"lets code run from {at}"
    if event.error is LogError.ENOENT:
        return replace(settings, needs_seed=settings.needs_seed | {at}), f"puts the image's content back at {at}"
    if event.error in (LogError.EACCES, LogError.EPERM):
        owner = _writer(mount, write_set)
        if owner is not None and at not in settings.owners:
            return replace(settings, owners={**settings.owners, at: owner}), f"gives {at} to user {owner.uid}"
        return replace(settings, needs_seed=settings.needs_seed | {at}), f"puts the image's content back at {at}"
    if event.error in (LogError.EBUSY, LogError.EXDEV) and mount.type is EntryType.FILE:
        rejected = settings.rejected | set(alternatives_of(mount))
        return replace(settings, rejected=rejected), f"gives up the single-file mount {at}"
    return settings, ""


def _larger(settings: PlanSettings, mount: Mount) -> PlanSettings:
    size = max((mount.size or 0) * _GROWTH, _ROOM, settings.larger.get(mount.path, 0) * _GROWTH)
    return replace(settings, larger={**settings.larger, mount.path: size})


def _writer(mount: Mount, write_set: WriteSet) -> Owner | None:
    """Return the one user besides root that was seen writing there; None where it is nobody or several."""
    seen = write_set.makers(write for write in write_set.writes if mount.covers(write.path))
    others = [ids for ids in seen if ids[0] != 0]
    if len(others) != 1:
        return None
    uid, gid = others[0]
    return Owner(uid=uid, gid=gid)


def _try_generous(trials: Trials, plan: MountPlan, write_set: WriteSet, settings: PlanSettings, jobs: int) -> Diagnosis:
    """Give every place one more right at a time until the program works, then find the place that needed it."""
    for what, give in _GENEROUS.items():
        generous = settings
        for mount in plan.mounts:
            generous = give(generous, mount)
        if generous == settings or not _rehearse(trials, make_plan(write_set, generous)):
            continue
        single = [(mount, give(settings, mount)) for mount in plan.mounts]
        lives = [_rehearsal(make_plan(write_set, one)) for _, one in single]
        worked = [still_works(trials, trial) for trial in trials.run_each(lives, jobs)]
        for (mount, one), well in zip(single, worked, strict=True):
            if well:
                found = f"{mount.path} failed the program until it was {what}"
                return Diagnosis(settings=one, write_set=write_set, found=(found,), changed=(f"{mount.path}: {what}",))
        found = f"several places failed the program until they were {what}"
        return Diagnosis(settings=generous, write_set=write_set, found=(found,), changed=(f"all places: {what}",))
    rejectable = [name for mount in plan.mounts for name in alternatives_of(mount)]
    rejectable += [name for redirect in plan.redirects for name in alternatives_of(redirect)]
    without = [replace(settings, rejected=settings.rejected | {name}) for name in rejectable]
    lives = [_rehearsal(make_plan(write_set, one)) for one in without]
    for name, one, trial in zip(rejectable, without, trials.run_each(lives, jobs), strict=True):
        if still_works(trials, trial):
            return Diagnosis(settings=one, write_set=write_set, changed=(f"gives up: {name}",))
    return Diagnosis(settings=settings, write_set=write_set)


def _rehearse(trials: Trials, plan: MountPlan) -> bool:
    return still_works(trials, trials.run(_rehearsal(plan)))


def _rehearsal(plan: MountPlan) -> Life:
    return Life(root=Root.WRITABLE, plan=plan, purpose="rehearsal")


_GENEROUS: Mapping[str, Callable[[PlanSettings, Mount], PlanSettings]] = {
    "seeded with the image's content": lambda s, m: replace(s, needs_seed=s.needs_seed | {m.path}),
    "executable": lambda s, m: replace(s, executable=s.executable | {m.path}),
    "larger": _larger,
}
