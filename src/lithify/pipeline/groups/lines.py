"""Files of run lines as groups: a Quadlet unit, and the `docker run` and `podman run` lines of a script."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lithify.documents.unit import parse_unit
from lithify.engines.command_line.engine import CliEngine
from lithify.engines.command_line.runline import RunLine
from lithify.errors import NothingToExamine, UsageError
from lithify.model.group import MemberPlan
from lithify.model.patch import Patched, Planned, Refused
from lithify.model.path import printable
from lithify.model.run import Target, TargetKind
from lithify.patch import quadlet, script
from lithify.patch.line import LineOptions
from lithify.patch.quadlet_line import line_of_unit
from lithify.patch.script_line import ScriptLine, read_lines
from lithify.pipeline.groups.group import Case, Group
from lithify.pipeline.groups.options import GroupOptions
from lithify.pipeline.target import make_cli_engine

_SYSTEMD = (
    "the service that Quadlet makes of the unit was not started: its dependencies, its restarts and its readiness "
    "(sd_notify) are systemd's"
)


def open_unit(path: str, data: bytes, options: GroupOptions) -> Group:
    """Return the container of a Quadlet unit as a group.

    UsageError where its line can't be told without systemd, or needs the other containers of a pod.
    """
    unit = line_of_unit(parse_unit(data), path)
    if pod := unit.value("pod"):
        raise UsageError(
            f"{printable(path)} is a unit of the pod {printable(pod)}, whose other containers it may need",
            hint=f"harden its image, and write the plan into the unit: lithify patch {path} --plan PLAN.json",
        )
    name = unit.value("name") or path
    return LineGroup(path=path, data=data, options=options, lines={name: unit}, cannot_show=(_SYSTEMD,))


def open_script(path: str, data: bytes, options: GroupOptions) -> Group:
    """Return the containers that a script starts as a group.

    NothingToExamine where it starts none, UsageError where a line that is asked for is not certain.
    """
    text, found = read_lines(data, path)
    if not found:
        raise NothingToExamine(f"{printable(path)} starts no container", hint="name a script with docker run lines")
    names = [name for line in found for name in (line.container, f"line {line.number}")]
    options.insist_on(path, names, dict.fromkeys(filter(None, names)))
    lines: dict[str, RunLine] = {}
    numbers: dict[str, ScriptLine] = {}
    left: list[Refused] = []
    for line in found:
        name = line.container
        if name in numbers:
            name = f"line {line.number}"
        if options.only and not {name, f"line {line.number}"} & set(options.only):
            continue
        try:
            if line.line is None:
                raise UsageError(f"line {line.number} can't be told: {line.trouble}", hint="write its options out")
            lines[name] = line.certain(text)
            numbers[name] = line
        except UsageError as error:
            left.append(Refused(container=name, reason=str(error), remedy=error.hint))
    if not lines:
        raise UsageError(f"{printable(path)}: {left[0].reason}", hint=left[0].remedy)
    indexes = {name: line.index for name, line in numbers.items()}
    return LineGroup(path=path, data=data, options=options, lines=lines, indexes=indexes, left=tuple(left))


@dataclass(frozen=True, kw_only=True)
class LineGroup:
    """Containers that are started by lines of one file, each by itself."""

    path: str
    data: bytes
    options: GroupOptions
    lines: Mapping[str, RunLine]
    indexes: Mapping[str, int] | None = None
    """Which run line of the script each is; None for a unit."""
    left: tuple[Refused, ...] = ()
    cannot_show: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The file."""
        return self.path

    @property
    def engine(self) -> str:
        """`docker`, `podman`, or both."""
        return " and ".join(sorted({line.engine for line in self.lines.values()}))

    @property
    def text(self) -> bytes:
        """The file as it is."""
        return self.data

    @property
    def members(self) -> Sequence[str]:
        """The containers, in the order of the file."""
        return list(self.lines)

    def engine_for(self, member: str, plans: Mapping[str, MemberPlan]) -> Case:
        """Return what runs a line; others are not started for it."""
        del plans
        engine, target = self._engine(member)
        return engine, target, self.options.exercise

    def patch(self, plans: Mapping[str, MemberPlan]) -> Patched:
        """Return the file with the plans in it: the very lines that were proved, or a refusal."""
        result = Patched(text=self.data, refused=self.left)
        for name, member in plans.items():
            engine, target = self._engine(name)
            facts, host = engine.look(target, member.plan)
            route = ("Container",) if self.indexes is None else (self.indexes[name],)
            planned = Planned(document=0, route=route, container=name, plan=member.plan, image=facts)
            options = LineOptions(host=host)
            if self.indexes is None:
                patched = quadlet.patch(result.text, [planned], options, path=self.path)
            else:
                patched = script.patch(result.text, [planned], options)
            result = replace(
                patched,
                changes=(*result.changes, *patched.changes),
                refused=(*result.refused, *patched.refused),
                notes=(*result.notes, *patched.notes),
            )
        return result

    def as_patched(self, patched: Patched) -> Group | None:
        """Return None: each line was proved by itself, and what is written is that line."""
        del patched
        return None

    def _engine(self, member: str) -> tuple[CliEngine, Target]:
        line = self.lines[member]
        # one that is called by its place shares an image with another, and must not share its volumes
        reference = member if member.startswith("line ") else " ".join(line.words)
        target = Target(kind=TargetKind.LINE, engine=line.engine, reference=reference, line=line.words)
        return make_cli_engine(line.engine), target
