"""Makes the fixes of findings real: the change of text that each would be, in the file as it is now.

Not for `writable-root-filesystem`: the flag alone breaks most programs, and `lithify harden` says what goes with it.
"""

from lithify.documents.edit import Editor, Splice
from lithify.documents.splice import Uneditable
from lithify.model.finding import Edit, FileResult, Finding
from lithify.model.workload import may_hold_containers
from lithify.sources.base import read_bytes
from lithify.sources.files import kind_of

EDITED_UP_TO = 100
"""Inputs up to which it is done: each edit is worked out by itself, and held against what the file then says."""
_NEVER = frozenset(("writable-root-filesystem",))


def add_edits(result: FileResult) -> None:
    """Note, with each fix of a Kubernetes manifest that can be said so, the text to be changed."""
    fixable = [finding for finding in result.findings if _is_fixable(finding, result.path)]
    if not fixable:
        return
    data = read_bytes(result.path)
    if isinstance(data, str) or kind_of(result.path, data) != "kubernetes":
        return
    try:
        editor = Editor(data, may_hold_containers)
        data.decode()
    except (Uneditable, UnicodeDecodeError):
        return
    for finding in fixable:
        splices = _splices(editor, finding)
        if splices and finding.fix is not None:
            finding.fix.edits = tuple(_edit(data, one) for one in splices)


def _is_fixable(finding: Finding, path: str) -> bool:
    fix = finding.fix
    return (
        fix is not None
        and bool(fix.route)
        and fix.value is not None
        and finding.exemption is None
        and finding.rule not in _NEVER
        and finding.location.path == path
    )


def _splices(editor: Editor, finding: Finding) -> list[Splice]:
    """Return what one fix alone changes; nothing where it can't be said without touching something else."""
    assert finding.fix is not None
    index = finding.location.document
    try:
        editor.fresh(index).set(finding.fix.route, finding.fix.value)
        return editor.splices()
    except Uneditable:
        return []
    finally:
        editor.forget(index)


def _edit(data: bytes, splice: Splice) -> Edit:
    begin, end, text = splice
    return *_position(data, begin), *_position(data, end), text.decode()


def _position(data: bytes, offset: int) -> tuple[int, int]:
    """Return line and column, from 1 and in characters."""
    start = data.rfind(b"\n", 0, offset) + 1
    return data.count(b"\n", 0, offset) + 1, len(data[start:offset].decode()) + 1
