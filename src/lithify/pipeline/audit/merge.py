"""Joins audit reports: the shards of a corpus, or several hosts. What they hold waits in a file, and not in memory."""

from __future__ import annotations

import marshal
from array import array
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import IO, Any

from lithify.model.finding import SCHEMA, FileResult, Report, Rule
from lithify.pipeline.audit.judge import ALL
from lithify.pipeline.audit.spool import Spool
from lithify.report.json import parse_result, parse_rule, read_members

_LISTS = ("containers", "findings", "skipped")


def merge_reports(files: Iterable[IO[str]]) -> Report:
    """Return JSON reports of audits as one; ValueError where a file has none of ours.

    Rules are those of all of them; inputs come in the order of the files, each with all that is said of it.
    """
    shards: list[_Shard] = []
    rules: dict[str, Rule] = {}
    version = today = ""
    for file in files:
        try:
            shard = _Shard(file)
            rules.update((rule.name, rule) for rule in map(parse_rule, shard.head["rules"]))
            version, today = max(version, shard.head["tool"]["version"]), max(today, shard.head["date"])
        except (KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
            raise ValueError(f"no audit report: {type(error).__name__}: {error}") from error
        shards.append(shard)
    pages = {module.RULE.name: module for module in ALL}
    return Report(
        lambda: (result for shard in shards for result in shard.results()),
        examined=sum(shard.inputs for shard in shards),
        silent=sum(shard.silent for shard in shards),
        rules=[(rule, pages.get(rule.name)) for rule in rules.values()],
        tool_version=version,
        today=today,
    )


class _Shard:
    """One report, put down input by input."""

    def __init__(self, file: IO[str]) -> None:
        self.head: dict[str, Any] = {"rules": []}
        self._spool = Spool()
        self._paths: dict[str, int] = {}
        self._read(file)
        if self.head["schema"] != SCHEMA:
            raise ValueError(f"schema {self.head['schema']!r} is not {SCHEMA!r}")
        self.inputs: int = self.head["summary"]["inputs"]
        if type(self.inputs) is not int or self.inputs < 0:
            raise ValueError(f"its summary counts {self.inputs!r} inputs")
        self.silent = max(self.inputs - len(self._paths), 0)  # what a chart renders is told by template
        self._order = array("I", sorted(range(len(self._spool)), key=self._spool.number))
        for _ in self.results():  # what can't be understood is told before anything is written
            pass

    def results(self) -> Iterator[FileResult]:
        """Yield what is said of each input of which anything is."""
        paths = iter(self._paths)
        for _, stretches in groupby(self._order, self._spool.number):
            items: dict[str, list[Any]] = {name: [] for name in _LISTS}
            for which in stretches:
                parts, begin, size = self._spool.stretch(which)
                for part in parts.parts(begin, size):
                    name, item = marshal.loads(part)  # noqa: S302 - ours
                    items[name].append(item)
            yield parse_result(next(paths), **items)

    def _read(self, file: IO[str]) -> None:
        """Keep the items of each list, those of one input that follow each other together."""
        number = -1
        for name, item in read_members(file):
            if name not in _LISTS:
                if name == "rules":
                    self.head[name].append(item)
                else:
                    self.head[name] = item
                continue
            own = self._paths.setdefault(item["file"], len(self._paths))
            if own != number and number >= 0:
                self._spool.end(number, b"")
            number = own
            self._spool.keep(marshal.dumps((name, item)))
        if number >= 0:
            self._spool.end(number, b"")
