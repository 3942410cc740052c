"""Hardens containers that run together: one after the other, each beside the others as they are planned by then.

A Compose project, the pods of a manifest, a workload of a cluster are each a `Group`. What is patched is their file;
the last proof runs what the patched file says, as it stands, where the group can run it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

from lithify.engines.base import Engine
from lithify.errors import TargetBroken, was_interrupted
from lithify.model.group import GroupFile, GroupHardening, Member, MemberPlan
from lithify.model.hardening import Hardening
from lithify.model.patch import Patched, PatchedFile, Refused, unified_diff
from lithify.model.run import Exercise, Target
from lithify.model.verdict import Verdict
from lithify.model.writes import WriteSet
from lithify.pipeline.harden import Wishes, harden
from lithify.pipeline.prove import run_planned, users_of
from lithify.pipeline.trial import Trials

Case = tuple[Engine, Target, Exercise]
"""What hardens one member: an engine whose containers start the whole group, the member's target, and its check."""


class Group(Protocol):
    """Containers that run together, and the file that describes them."""

    @property
    def name(self) -> str:
        """What the user pointed at: a path, `deployment/web`."""

    @property
    def engine(self) -> str:
        """What runs it: `docker compose`, `pod on docker`, `cluster NAME`."""

    @property
    def text(self) -> bytes:
        """The file as it is; nothing where the group is in no file."""

    @property
    def members(self) -> Sequence[str]:
        """The containers to harden, in the order in which that is best done."""

    @property
    def cannot_show(self) -> tuple[str, ...]:
        """What runs of this group leave open, in sentences."""

    def engine_for(self, member: str, plans: Mapping[str, MemberPlan]) -> Case:
        """Return what runs `member` within the group, the members that are in `plans` as planned there.

        A container that the engine makes stands for the member; its start starts the whole group. A group that
        `as_patched` gave runs as its file stands: its engine is asked for a read-only root and no plan, and adds
        nothing of its own.
        """

    def patch(self, plans: Mapping[str, MemberPlan]) -> Patched:
        """Return the file with the plans of the members in it; what it refuses is named as the members are."""

    def as_patched(self, patched: Patched) -> "Group | None":
        """Return the group that a patched file describes; None where it can't be run."""


@runtime_checkable
class Flexible(Protocol):
    """A group that can put the plan of a member into its file in more than one way."""

    def try_otherwise(self, member: str, failed: Hardening) -> bool:
        """Change how the member's plan is written, now that it failed; False where there is nothing else to try."""

    def unsaid(self) -> Mapping[str, Refused]:
        """Return the plans, by member, that the file's kind can't say: a run of them could not even be tried."""


@runtime_checkable
class Informed(Protocol):
    """A group of which something is known before any run of ours."""

    def known(self, member: str) -> tuple[WriteSet, ...]:
        """Return what the running containers of a member have written."""


def harden_group(
    group: Group, wishes: Wishes | None = None, *, tell: Callable[[str], None] = lambda _: None
) -> GroupHardening:
    """Return how each member runs with a read-only root, the patch, and the proof of all together.

    A member that does not work as it is, or whose plan does not hold, is told of and left out of the patch. Raises
    TargetBroken where that is all there is, EngineUnreachable where the engine goes away.
    """
    wishes = wishes or Wishes()
    members: list[Member] = []
    plans: dict[str, MemberPlan] = {}
    broken: list[TargetBroken] = []
    for name in group.members:
        member = first = _harden_member(group, name, plans, wishes, tell, broken)
        while _can_try_otherwise(group, member):
            tell(f"{name}: the same, written otherwise")
            member = _harden_member(group, name, plans, wishes, tell, broken)
        member = member if member.planned else first
        members.append(member)
        if member.planned and member.hardening is not None:
            plans[name] = MemberPlan(plan=member.hardening.plan, image=member.hardening.write_set.image)
    if broken and len(broken) == len(members):
        raise broken[0]
    if not plans:
        return _result(group, members, None)
    patched = group.patch(plans)
    return _result(group, _together(group, members, patched, wishes, tell), patched)


def _harden_member(
    group: Group,
    name: str,
    plans: Mapping[str, MemberPlan],
    wishes: Wishes,
    tell: Callable[[str], None],
    broken: list[TargetBroken],
) -> Member:
    engine, target, exercise = group.engine_for(name, plans)
    if isinstance(group, Informed):
        wishes = replace(wishes, known=group.known(name))
    try:
        return Member(
            name=name, hardening=harden(engine, target, exercise, wishes, tell=lambda text: tell(f"{name}: {text}"))
        )
    except TargetBroken as trouble:
        if was_interrupted(trouble):
            raise
        broken.append(trouble)
        tell(f"{name}: {trouble}")
        return Member(name=name, trouble=str(trouble))


def _can_try_otherwise(group: Group, member: Member) -> bool:
    failed = None if member.planned else member.hardening
    return failed is not None and isinstance(group, Flexible) and group.try_otherwise(member.name, failed)


def _together(
    group: Group, members: Sequence[Member], patched: Patched, wishes: Wishes, tell: Callable[[str], None]
) -> list[Member]:
    """Add to each planned member how it does as the patched file has it, the others beside it."""
    final = group.as_patched(patched)
    if final is None:
        return list(members)
    left_out = {refused.container for refused in patched.refused}
    found = []
    for member in members:
        if member.planned and member.name not in left_out:
            tell(f"{member.name}: all together, as the patched file stands")
            member = replace(member, together=_prove_as_it_stands(final, member, wishes))
        found.append(member)
    return found


def _prove_as_it_stands(group: Group, member: Member, wishes: Wishes) -> Verdict:
    hardening = member.hardening
    assert hardening is not None
    engine, target, exercise = group.engine_for(member.name, {})
    trials = Trials(engine=engine, target=target, exercise=exercise, original=hardening.original, live=wishes.live)
    trials.gently = hardening.write_set.observation.asked_to_end
    users = users_of(hardening.plan, hardening.write_set)
    proof = run_planned(trials, hardening.plan, users, as_it_stands=True)
    return Verdict(
        works=proof.works,
        refused=proof.refused,
        exposed=proof.exposed,
        cannot_show=proof.cannot_show,
        strength="the patched file itself, all its containers together",
        starts=tuple(trials.starts),
    )


def _unsaid(group: Group, members: Sequence[Member]) -> tuple[Refused, ...]:
    unsaid = group.unsaid() if isinstance(group, Flexible) else {}
    return tuple(unsaid[member.name] for member in members if not member.planned and member.name in unsaid)


def _result(group: Group, members: Sequence[Member], patched: Patched | None) -> GroupHardening:
    return GroupHardening(
        target=group.name,
        engine=group.engine,
        members=tuple(members),
        diff=_diff(group, patched) if patched else "",
        files=tuple(map(_file, patched.files)) if patched else (),
        text=patched.text.decode("utf-8", "surrogateescape") if patched else "",
        refused=(*(patched.refused if patched else ()), *_unsaid(group, members)),
        notes=patched.notes if patched else (),
        cannot_show=group.cannot_show,
    )


def _diff(group: Group, patched: Patched) -> str:
    if patched.folder or patched.files:
        return "".join(file.diff for file in patched.files)
    return unified_diff(group.name, group.text, patched.text)


def _file(file: PatchedFile) -> GroupFile:
    before = None if file.before is None else file.before.decode("utf-8", "surrogateescape")
    text = file.after.decode("utf-8", "surrogateescape")
    return GroupFile(path=file.path, text=text, before=before, executable=file.executable)
