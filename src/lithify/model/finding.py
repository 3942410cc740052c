"""What an audit says: rules, findings, the containers it judged, what it skipped, and the report of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import IntEnum, StrEnum
from operator import add

from lithify.model.location import Location, Route
from lithify.model.workload import Container, Exemption, ObjectName, Workload

TYPE_CHECKING = False  # a name of ours: `typing` costs a tenth of the time that an audit of one file takes
if TYPE_CHECKING:
    from typing import Any

SCHEMA = "lithify.dev/audit-report/v1"


class Severity(IntEnum):
    """How much a finding matters; greater is worse."""

    INFO = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4

    @property
    def label(self) -> str:
        """The word that reports show."""
        return _LABELS[self]

    @classmethod
    def named(cls, label: str) -> Severity:
        """Return the severity that reports call `label`; ValueError where there is none."""
        try:
            return cls[label.upper()]
        except KeyError:
            raise ValueError(f"no such severity: {label!r}") from None


_LABELS = tuple(severity.name.lower() for severity in Severity)  # an enumeration takes long to say a name


class State(StrEnum):
    """Whether a container can write to its root filesystem."""

    READ_ONLY = "read-only"
    WRITABLE = "writable"
    REMOUNTABLE = "remountable"
    """Read-only until a process in it remounts it, as a privileged one can."""
    NOT_APPLICABLE = "not-applicable"


Edit = tuple[int, int, int, int, str]
"""Text of a file, from line and column to line and column (from 1, in characters), and what takes its place."""


class Fix:
    """What would end a finding: words for a person, and a change at a route where one is known."""

    __slots__ = ("edits", "route", "safe", "text", "value")

    def __init__(self, text: str, route: Route = (), value: Any = None, *, safe: bool = False) -> None:
        self.text = text
        self.route = route
        """The keys to what is to be set, from the root of the document that the finding is in."""
        self.value = value
        self.edits: tuple[Edit, ...] = ()
        """The same as changed text; nothing where nobody worked it out, or it can't be said without other changes."""
        self.safe = safe
        """False where the program may stop working until its writable places are mounted."""


WritablePlace = tuple[str, str, str, bool, int | None]
"""A mount that can be written: its path, its kind, the volume's name or the host's path, whether programs can be run
from it, its limit in bytes."""


class ContainerVerdict:
    """What an audit decided of one container, finding or none."""

    __slots__ = (
        "declared",
        "effective",
        "id",
        "image",
        "index",
        "injected",
        "list_name",
        "location",
        "name",
        "object",
        "places",
        "reason",
        "role",
    )

    def __init__(
        self,
        *,
        object_name: ObjectName,
        list_name: str,
        index: int,
        name: str,
        role: str,
        image: str,
        declared: bool | None,
        effective: State,
        reason: str,
        location: Location,
        places: tuple[WritablePlace, ...] = (),
        id: str = "",  # noqa: A002 - what engines call it
        injected: bool = False,
    ) -> None:
        self.object = object_name
        self.list_name = list_name
        self.index = index
        self.name = name
        self.role = role
        self.image = image
        self.declared = declared
        """The container's own flag as the engine or API server reads it."""
        self.effective = effective
        self.reason = reason
        """Why `effective` is what it is, where the flag alone does not say it."""
        self.location = location
        self.places = places
        """Where it can write besides its root filesystem, as far as its description or its mount table says."""
        self.id = id
        """What its engine calls it for ever; nothing where it is only described."""
        self.injected = injected
        """True where admission put it into a pod whose template lacks it."""

    @property
    def verdict(self) -> State:
        """The verdict on the flag alone: read-only, writable or not applicable."""
        if self.effective is State.NOT_APPLICABLE:
            return State.NOT_APPLICABLE
        return State.READ_ONLY if self.declared else State.WRITABLE


class Finding:
    """One thing that is not as it should be, where, in which container, and what would help."""

    __slots__ = ("also", "container", "exemption", "fix", "location", "message", "object", "rule", "severity")

    def __init__(
        self,
        rule: str,
        severity: Severity,
        message: str,
        location: Location,
        object_name: ObjectName | None = None,
        container: ContainerVerdict | Container | None = None,
        fix: Fix | None = None,
        exemption: Exemption | None = None,
    ) -> None:
        self.rule = rule
        self.severity = severity
        self.message = message
        self.location = location
        self.object = object_name
        self.container = container
        self.also: tuple[ContainerVerdict, ...] = ()
        """Further containers that it is said of once for all: the same one in other pods of one object."""
        self.fix = fix
        self.exemption = exemption
        """Why it is accepted; it then counts towards no exit code."""

    @property
    def fingerprint(self) -> str:
        """What stays the same when lines move: rule, path, object and container."""
        named = self.object
        container = self.container
        parts = [self.rule, self.location.path]
        if named is not None:
            parts += [named.kind, named.namespace, named.name]
        if container is not None:
            parts.append(f"{container.list_name}/{container.name or container.index}")
        route = self.location.route
        tail = () if self.rule in _ONE_PER_CONTAINER else route[-2:] if route and type(route[-1]) is int else route[-1:]
        return "|".join([*parts, *map(str, tail)])


_ONE_PER_CONTAINER = frozenset(("writable-root-filesystem",))
"""Their place moves when a security context is added, and is not part of what they are."""


class Rule:
    """What an audit checks, by its one name."""

    __slots__ = ("ids", "name", "severity", "title")

    def __init__(
        self, name: str, severity: Severity, title: str, ids: Mapping[str, tuple[str, ...]] | None = None
    ) -> None:
        self.name = name
        self.severity = severity
        self.title = title
        """What is wrong, in a few words."""
        self.ids = ids or {}
        """What others call it: by benchmark or scanner."""

    def finding(
        self,
        subject: Container | Workload,
        message: str,
        *route: str | int,
        location: Location | None = None,
        fix: Fix | None = None,
        severity: Severity | None = None,
    ) -> Finding:
        """Return a finding on `subject`, at `location`, or at `route` below the subject's own place.

        A fix at that same `route` is one of the document's from then on.
        """
        place = location or subject.location.below(route)
        if fix is not None and route and fix.route == route:
            fix.route = place.route
        severity = self.severity if severity is None else severity
        if isinstance(subject, Container):
            return Finding(self.name, severity, message, place, subject.workload.name, subject, fix)
        return Finding(self.name, severity, message, place, subject.name, None, fix)


class Skipped:
    """An input, or an object in it, that was not judged, and why."""

    __slots__ = ("location", "reason")

    def __init__(self, location: Location, reason: str) -> None:
        self.location = location
        self.reason = reason


class FileResult:
    """All that came of one input, or of a part of a large one."""

    __slots__ = ("containers", "continued", "documents", "findings", "items", "numbers", "path", "skipped", "text")

    def __init__(self, path: str) -> None:
        self.path = path
        self.continued = False
        """True for what comes after the first part of an input that is too large to be judged at once."""
        self.findings: list[Finding] = []
        self.containers: list[ContainerVerdict] = []
        self.skipped: list[Skipped] = []
        self.documents = 0
        """Objects that could hold containers and were read."""
        self.text: str | None = None
        """Its lines in a text report, where whoever judged it has written them already."""
        self.items: tuple[str, str, str] | None = None
        """Its findings, containers and skips in a JSON report, where whoever judged it has written these."""
        self.numbers: Numbers | None = None
        """Its part of a summary, where it was counted already."""


class LazyResult(FileResult):
    """A result that is read from its packed form when somebody asks for more than its lines and numbers."""

    __slots__ = ("_load",)

    def __init__(
        self,
        path: str,
        text: str | None,
        items: tuple[str, str, str] | None,
        numbers: Numbers,
        load: Callable[[FileResult], None],
    ) -> None:
        # What is not set here is set by `load` when it is first asked for.
        self.path = path
        self.continued = False
        self.text = text
        self.items = items
        self.numbers = numbers
        self._load = load

    def __getattr__(self, name: str) -> Any:
        if name not in ("findings", "containers", "skipped", "documents"):
            raise AttributeError(name)
        self._load(self)
        return getattr(self, name)


Numbers = tuple[int, int, int, int, int, tuple[int, ...]]
"""Containers, writable ones, read-only ones, exempted findings, skips, and findings by severity from the lowest."""


class Report:
    """A whole run: what came of each input, in order, as often as it is iterated."""

    __slots__ = ("_results", "_summary", "examined", "rules", "silent", "today", "tool_version")

    def __init__(
        self,
        results: Callable[[], Iterator[FileResult]],
        *,
        examined: int,
        rules: Iterable[tuple[Rule, Any]],
        tool_version: str,
        today: str,
        silent: int = 0,
    ) -> None:
        self._results = results
        self._summary: Summary | None = None
        self.examined = examined
        """Inputs that were looked at, findings or none."""
        self.silent = silent
        """How many of them are not among the results: all that is known is that nothing was said of them."""
        self.rules = tuple(rules)
        """Every rule that was asked, with the module whose docstring is its page."""
        self.tool_version = tool_version
        self.today = today

    def results(self) -> Iterator[FileResult]:
        """Yield what came of each input."""
        summary = Summary()
        summary.files = self.silent
        for result in self._results():
            summary.add(result)
            yield result
        self._summary = summary

    @property
    def summary(self) -> Summary:
        """The numbers of the run; free of cost once the results have been gone through."""
        if self._summary is None:
            for _ in self.results():
                pass
        assert self._summary is not None
        return self._summary

    def findings(self) -> Iterator[Finding]:
        """Yield every finding, exempted ones included, input by input in the order of their lines."""
        for result in self.results():
            yield from result.findings

    def containers(self) -> Iterator[ContainerVerdict]:
        """Yield every container that was judged, finding or none."""
        for result in self.results():
            yield from result.containers

    def skipped(self) -> Iterator[Skipped]:
        """Yield everything that was not judged, with its reason."""
        for result in self.results():
            yield from result.skipped

    def with_result(self, result: FileResult) -> Report:
        """Return this report with one more input at its end."""

        def results() -> Iterator[FileResult]:
            yield from self.results()
            yield result

        return Report(
            results,
            examined=self.examined,
            rules=self.rules,
            tool_version=self.tool_version,
            today=self.today,
            silent=self.silent,
        )

    def worst(self) -> Severity | None:
        """Return the greatest severity among the findings that nobody exempted; None where there is none."""
        return max((severity for severity, count in self.summary.by_severity.items() if count), default=None)


class Summary:
    """The numbers of a report."""

    __slots__ = ("_severities", "containers", "exempted", "files", "left_out", "read_only", "skipped", "writable")

    def __init__(self) -> None:
        self.files = 0
        self.left_out = 0
        """Inputs of which nothing was judged."""
        self.containers = 0
        self.writable = 0
        self.read_only = 0
        self.exempted = 0
        self.skipped = 0
        self._severities = [0] * len(Severity)

    @property
    def by_severity(self) -> dict[Severity, int]:
        """Findings that nobody exempted, by severity from the highest."""
        return {severity: self._severities[severity] for severity in reversed(Severity)}

    def add(self, result: FileResult) -> None:
        """Count one more input, or what is left of the one before."""
        containers, writable, read_only, exempted, skipped, severities = result.numbers or numbers(result)
        self.files += not result.continued
        self.left_out += bool(skipped and not (containers or exempted or any(severities) or result.continued))
        self.containers += containers
        self.writable += writable
        self.read_only += read_only
        self.exempted += exempted
        self.skipped += skipped
        self._severities = [*map(add, self._severities, severities)]

    @property
    def not_applicable(self) -> int:
        """Containers that have no read-only root filesystem to ask for, as those of Windows."""
        return self.containers - self.writable - self.read_only

    @property
    def findings(self) -> int:
        """All findings that nobody exempted."""
        return sum(self._severities)


def numbers(result: FileResult) -> Numbers:
    """Return the numbers of one input."""
    states = [container.effective for container in result.containers]
    read_only = states.count(State.READ_ONLY)
    writable = len(states) - read_only - states.count(State.NOT_APPLICABLE)
    counts = [0] * len(Severity)
    exempted = 0
    for finding in result.findings:
        if finding.exemption is not None:
            exempted += 1
        else:
            counts[finding.severity] += 1
    return len(states), writable, read_only, exempted, len(result.skipped), tuple(counts)
