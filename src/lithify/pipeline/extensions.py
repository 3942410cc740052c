"""Rules, sources and reports of others: what installed distributions offer as entry points.

Most machines have none, and `audit` of one file is over in a few hundredths of a second: so the files that name entry
points are looked through for our groups first, and `importlib.metadata` is loaded only where one of them is there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from lithify.errors import UsageError
from lithify.model.finding import Finding, Rule
from lithify.model.workload import Workload

TYPE_CHECKING = False  # a name of ours: `typing` costs a tenth of the time that an audit of one file takes
if TYPE_CHECKING:
    from typing import Any

RULES = "lithify.rules"
SOURCES = "lithify.sources"
REPORTS = "lithify.reports"

_LIMIT = 1 << 20


class Extension:
    """One entry point: its name, whose it is, and what it leads to."""

    __slots__ = ("distribution", "name", "value")

    def __init__(self, name: str, distribution: str, value: Any) -> None:
        self.name = name
        self.distribution = distribution
        """Its distribution's name and version."""
        self.value = value


def find_extensions(group: str) -> list[Extension]:
    """Return what installed distributions offer in `group`, by name; UsageError where one can't be loaded."""
    if not _mentioned(group):
        return []
    from importlib.metadata import entry_points

    found = []
    for point in sorted(entry_points(group=group)):
        owner = f"{point.dist.name} {point.dist.version}" if point.dist is not None else "somebody"
        try:
            value = point.load()
        except Exception as error:  # whatever the module of another does when it is imported
            raise UsageError(
                f"{point.name} of {owner} ({group}) can't be loaded: {type(error).__name__}: {error}",
                hint=f"mend or remove {owner}",
            ) from error
        found.append(Extension(point.name, owner, value))
    return found


class ForeignRule:
    """A rule of others: its errors name whose they are."""

    def __init__(self, extension: Extension) -> None:
        self.RULE: Rule = extension.value.RULE
        self.__doc__ = extension.value.__doc__
        self._check = extension.value.check
        self._owner = extension.distribution

    def check(self, workload: Workload) -> Iterator[Finding]:
        """Yield what is wrong with `workload`; UsageError where the rule itself fails."""
        try:
            yield from self._check(workload)
        except Exception as error:
            raise UsageError(
                f"rule {self.RULE.name} of {self._owner} failed: {type(error).__name__}: {error}",
                hint=f"leave it out with --skip-rule {self.RULE.name}, and tell its authors",
            ) from error


def foreign_rules(taken: set[str]) -> list[ForeignRule]:
    """Return the rules of others; UsageError for one that is none, or whose name is `taken`."""
    rules = []
    for extension in find_extensions(RULES):
        rule = getattr(extension.value, "RULE", None)
        if not isinstance(rule, Rule) or not callable(getattr(extension.value, "check", None)):
            raise _misfit(extension, "has no RULE and check(workload)")
        if not (extension.value.__doc__ or "").strip():
            raise _misfit(extension, "has no docstring, which is its page")
        if rule.name in taken:
            raise _misfit(extension, f"takes the name {rule.name!r}, which is another rule's")
        taken.add(rule.name)
        rules.append(ForeignRule(extension))
    return rules


def foreign_sources() -> list[Extension]:
    """Return the sources of others; UsageError for one that is none."""
    sources = find_extensions(SOURCES)
    for extension in sources:
        value = extension.value
        if not all(callable(getattr(value, name, None)) for name in ("wanted", "read")):
            raise _misfit(extension, "has no wanted(path, data) and read(path, data)")
        if not isinstance(getattr(value, "SUFFIXES", None), tuple):
            raise _misfit(extension, "has no SUFFIXES, a tuple of the file names' ends that it reads")
    return sources


def find_report(name: str) -> Any:
    """Return the report of others that is called `name`; None where there is none."""
    for extension in find_extensions(REPORTS):
        if extension.name == name:
            if not callable(getattr(extension.value, "render", None)):
                raise _misfit(extension, "has no render(report, write)")
            return extension.value
    return None


def report_names() -> list[str]:
    """Return what the reports of others are called."""
    return [extension.name for extension in find_extensions(REPORTS)]


def _misfit(extension: Extension, reason: str) -> UsageError:
    message = f"{extension.name} of {extension.distribution} {reason}"
    return UsageError(message, hint=f"mend or remove {extension.distribution}; see CONTRIBUTING.md")


_found: dict[tuple[str, ...], bytes] = {}


def _mentioned(group: str) -> bool:
    """Tell whether an installed distribution names `group`."""
    path = tuple(sys.path)
    if path not in _found:
        _found.clear()
        _found[path] = b"\n".join(data for folder in path for data in _tables(folder) if b"[lithify." in data)
    return f"[{group}]".encode() in _found[path]


def _tables(folder: str) -> Iterator[bytes]:
    """Yield what the distributions in a folder of the module search path say of their entry points."""
    try:
        with os.scandir(folder or ".") as entries:
            names = [entry.name for entry in entries if entry.name.endswith((".dist-info", ".egg-info"))]
    except OSError:
        return
    for name in names:
        try:
            descriptor = os.open(f"{folder or '.'}/{name}/entry_points.txt", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            yield os.read(descriptor, _LIMIT)
        finally:
            os.close(descriptor)
