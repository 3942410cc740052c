"""A long `List` in parts: the nodes of a document of megabytes would take a hundred times its room."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import yaml

from lithify.documents.compose import MAX_DEPTH, Builder, read_events
from lithify.documents.nodes import MappingNode, Node, ScalarNode, SequenceNode

TYPE_CHECKING = False  # a name of ours, as in the modules beside this one
if TYPE_CHECKING:
    from typing import Any
else:
    Any = object

_BEGIN = (yaml.SequenceStartEvent, yaml.MappingStartEvent)
_END = (yaml.SequenceEndEvent, yaml.MappingEndEvent)
_BEFORE_ROOT = 2
"""Events before a document's root: the beginning of the stream, and of the document."""
_TAG: Any = None
"""As `documents.compose` makes it."""
_LEFT_OUT = ScalarNode("tag:yaml.org,2002:null", "", None, None)


def compose_parts(text: bytes, most: int) -> Iterator[tuple[Node, int]] | None:
    """Return what yields the root of a `List` several times, each with items from about `most` characters of `text`.

    Beside each stands how many items came before: null takes their places. None where the text is something else, is a
    template of a list, or refers to what is not there: then it has to be composed as a whole. It is read twice, as
    `kind` often comes last.
    """
    shape = _read_shape(text)
    return None if shape is None else _compose(text, most, *shape)


def _read_shape(text: bytes) -> tuple[Any, list[tuple[Node, Node]], Node, int] | None:
    """Return the event that begins the root, its entries that are scalars, the key of its items, and the number of the
    event that begins these; None where it is no such list."""
    events = enumerate(read_events(text))
    _, root = next(islice(events, _BEFORE_ROOT, None), (0, None))
    if type(root) is not yaml.MappingStartEvent or root.anchor:
        return None
    scalars: dict[str, tuple[Node, Node]] = {}
    items: tuple[Node, int] | None = None
    key: Node = None
    opened: list[str | None] = []
    whole: dict[str, bool] = {}
    before: Any = None
    for number, event in events:
        what = type(event)
        if what is before is yaml.MappingStartEvent:
            return None  # what `{{ a }}` is: a template is judged as a whole or not at all
        before = what
        if what in _END:
            if not opened:
                break
            anchor = opened.pop()
            whole |= {anchor: True} if anchor else {}
            key = key if opened else None
            continue
        if what is yaml.AliasEvent and (not opened or not whole.get(event.anchor)):
            return None  # for an entry of the root, of nothing, or of what it stands in
        if not opened and key is None:
            if what is not yaml.ScalarEvent or event.value in scalars or event.value == "<<":
                return None
            key = ScalarNode(_TAG, event.value, event.start_mark, event.end_mark, style=event.style)
            scalars[event.value] = key, _LEFT_OUT
        elif not opened and what is yaml.ScalarEvent:
            node = ScalarNode(event.tag, event.value, event.start_mark, event.end_mark, style=event.style)
            scalars[key.value] = key, node
            key = None
        elif not opened and key.value == "items" and what is yaml.SequenceStartEvent and not event.anchor:
            items = key, number
        if what is not yaml.AliasEvent and event.anchor:
            whole[event.anchor] = what is yaml.ScalarEvent
        if what in _BEGIN:
            opened.append(event.anchor)
            if len(opened) + 2 > MAX_DEPTH:
                return None
    if any(type(event) is yaml.DocumentStartEvent for _, event in events) or items is None:
        return None
    kind = scalars.get("kind", (None, _LEFT_OUT))[1].value
    return (root, list(scalars.values()), *items) if kind.endswith("List") else None


def _compose(
    text: bytes, most: int, root: Any, entries: list[tuple[Node, Node]], key: Node, begin: int
) -> Iterator[tuple[Node, int]]:
    entries = [entry for entry in entries if entry[0] is not key]
    builder = Builder()
    left_out, start = 0, -1

    def part() -> tuple[Node, int]:
        items = SequenceNode(_TAG, [_LEFT_OUT] * left_out + builder.made, key.start_mark, None)
        return MappingNode(_TAG, [*entries, (key, items)], root.start_mark, None), left_out

    for number, event in islice(enumerate(read_events(text)), _BEFORE_ROOT + 1, None):
        if number == begin:
            builder.made.clear()  # what stands before the items is there for its anchors
            start = event.start_mark.index
            continue
        if start >= 0 and not builder.depth:
            if type(event) is yaml.SequenceEndEvent:
                break
            if event.start_mark.index - start > most:
                yield part()
                left_out += len(builder.made)
                builder.made.clear()
                start = event.start_mark.index
        builder.take(event)
    yield part()
