"""Makes the fixes of findings real: the change of text that each would be, in the file as it is now.

Only what can be said without a guess: the flag alone breaks most programs (`lithify harden` says what goes with it),
and so do a limit that nobody measured and a read-only mount over what a program writes. Those stay words.
"""

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from lithify.documents.edit import Draft, Editor, Splice, splice
from lithify.documents.splice import Obstacle, Uneditable
from lithify.documents.unit import add_entry, parse_unit, replace_entry
from lithify.model.finding import Edit, FileResult, Finding, Fix
from lithify.model.workload import may_hold_containers
from lithify.pipeline.audit.judge import Judge
from lithify.rules import tmpfs_dropped_by_swarm
from lithify.sources.base import read_bytes
from lithify.sources.files import kind_of, read_source

EDITED_UP_TO = 100
"""Inputs up to which it is done: each edit is worked out by itself, and held against what the file then says."""
_GUESSES = frozenset(
    ("no-ephemeral-storage-limit", "unbounded-scratch", "writable-host-path", "writable-root-filesystem")
)
_KEPT_BY_SWARM = frozenset(("", "rw", "noexec", "nosuid", "nodev"))
"""Options of a tmpfs that hold for each of Swarm's without being said."""
_LONGEST_OBJECT = 1 << 20
"""Bytes up to which a document is taken apart for edits."""
_LONGEST = 256 << 10
"""Bytes up to which files other than manifests are judged again with each edit."""


def add_edits(result: FileResult, left: int, *, stack: bool = False) -> int:
    """Note, with each fix that can be said so, the text to be changed; `stack` reads Compose files as Swarm does.

    `left` bytes may be read again for it; what then is left for further parts of the same input is returned.
    """
    fixable: dict[str, list[Finding]] = {}
    for finding in result.findings:
        if _is_fixable(finding, result.path):
            fixable.setdefault(finding.location.path, []).append(finding)
    for path, findings in fixable.items():
        left = _add_edits(path, findings, left, stack=stack) if left > 0 else 0
    return left


def _add_edits(path: str, fixable: list[Finding], left: int, *, stack: bool) -> int:
    data = read_bytes(path)
    kind = "" if isinstance(data, str) else kind_of(path, data)
    if isinstance(data, str) or (kind != "kubernetes" and len(data) > _LONGEST):
        return 0
    try:
        data.decode()
        touched = {finding.location.document for finding in fixable}
        editor = None if kind == "quadlet" else Editor(data, _worth_it if kind == "kubernetes" else None, touched)
    except (Uneditable, UnicodeDecodeError):
        return 0
    splices = _of_unit(data) if editor is None else _of_document(editor)
    lengths = {one.index: len(one.text) for one in editor.documents()} if editor and kind == "kubernetes" else {}
    for finding in fixable:
        assert finding.fix is not None
        left -= lengths.get(finding.location.document, 2 * len(data))
        if left < 0:
            break
        found = splices(finding, finding.fix)
        if found and (kind == "kubernetes" or _ends(path, data, found, finding, stack=stack)):
            finding.fix.edits = tuple(_edit(data, one) for one in found)
    return left


def _worth_it(text: bytes) -> bool:
    return len(text) <= _LONGEST_OBJECT and may_hold_containers(text)


def _is_fixable(finding: Finding, path: str) -> bool:
    fix = finding.fix
    return (
        fix is not None
        and bool(fix.route)
        and fix.value is not None
        and finding.exemption is None
        and finding.rule not in _GUESSES
        and (finding.location.path == path or (finding.object is not None and finding.object.kind == "ComposeService"))
    )


def _of_document(editor: Editor) -> Callable[[Finding, Fix], list[Splice]]:
    """Return what gives the changes of one fix alone; none where it can't be said without touching something else."""

    def splices(finding: Finding, fix: Fix) -> list[Splice]:
        index = finding.location.document
        try:
            _write(editor.fresh(index), finding, fix)
            return editor.splices()
        except Uneditable:
            return []
        finally:
            editor.forget(index)

    return splices


def _write(draft: Draft, finding: Finding, fix: Fix) -> None:
    if finding.rule == "tmpfs-dropped-by-swarm":
        _take_tmpfs(draft, finding)
    present = draft.get(fix.route)
    if isinstance(fix.value, list) and isinstance(present, list):
        for item in fix.value:
            if item not in present:
                draft.append(fix.route, item)
    else:
        draft.set(fix.route, fix.value)


def _take_tmpfs(draft: Draft, finding: Finding) -> None:
    """Take a service's `tmpfs:` away, whose places the fix adds to the volumes; Uneditable where one says more."""
    key = tmpfs_dropped_by_swarm.key_of(finding.location.route)
    held: Any = draft.get(key)
    for text in held if isinstance(held, list) else [held]:
        for option in str(text).partition(":")[2].split(","):
            if option not in _KEPT_BY_SWARM and not re.fullmatch(r"size=\w+", option):
                raise Uneditable(Obstacle.TYPE, f"Swarm has no {option} for a tmpfs", key)
    draft.remove(key)


def _of_unit(data: bytes) -> Callable[[Finding, Fix], list[Splice]]:
    """Return what gives the change of one fix in a unit file: a switch set, or an entry added to a list."""
    unit = parse_unit(data)

    def splices(_finding: Finding, fix: Fix) -> list[Splice]:
        section, key = map(str, fix.route[-2:])
        value = " ".join(fix.value).lower() if isinstance(fix.value, list) else str(fix.value).lower()
        entry = None if isinstance(fix.value, list) else unit.last(section, key)
        changed = (replace_entry(unit, entry, value) if entry else add_entry(unit, section, key, value)).render()
        return [] if unit.malformed else [_difference(data, changed)]

    return splices


def _difference(before: bytes, after: bytes) -> Splice:
    """Return the one stretch, of whole lines, in which two texts differ."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    start = next((n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    tail = 0
    while tail < min(len(old), len(new)) - start and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    begin, end = sum(map(len, old[:start])), len(before) - sum(map(len, old[len(old) - tail :]))
    return begin, end, b"".join(new[start : len(new) - tail])


def _ends(path: str, data: bytes, splices: list[Splice], finding: Finding, *, stack: bool) -> bool:
    """Tell whether a file with these changes has that finding no more and no other: other files may say otherwise."""
    judge = Judge("")
    before, after = (
        Counter((one.rule, one.message) for one in judge.judge(read_source(path, text, stack=stack)).findings)
        for text in (data, splice(data, splices))
    )
    told = (finding.rule, finding.message)
    return after[told] < before[told] and after <= before


def _edit(data: bytes, splice: Splice) -> Edit:
    begin, end, text = splice
    return *_position(data, begin), *_position(data, end), text.decode()


def _position(data: bytes, offset: int) -> tuple[int, int]:
    """Return line and column, from 1 and in characters."""
    start = data.rfind(b"\n", 0, offset) + 1
    return data.count(b"\n", 0, offset) + 1, len(data[start:offset].decode()) + 1
