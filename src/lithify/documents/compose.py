"""Composes YAML into nodes with the line and column of everything; what is no YAML to Kubernetes is refused.

Built on PyYAML's C composer with its resolver taken out. That is three times as fast as a loader, and gives positions.
Bad input is bounded: nesting is limited, because the C composer recurses; an alias that contains itself is refused, as
kubectl refuses it.
"""

import re
from collections.abc import Iterator
from operator import is_

import yaml

from lithify.documents.nodes import (
    MappingNode,
    Node,
    ScalarNode,
    SequenceNode,
    is_merge,
    is_null,
    key_text,
    leaf,
    merged_pairs,
)

TYPE_CHECKING = False  # a name of ours: `typing` costs a tenth of the time that an audit of one file takes
if TYPE_CHECKING:
    from typing import Any
else:
    Any = object

_Parser: Any
try:
    from yaml._yaml import CParser

    _Parser = CParser
except ImportError:  # PyYAML without its C part: the same answers, 20 times slower
    _Parser = None

HAVE_LIBYAML = _Parser is not None

MAX_DEPTH = 1000
"""Levels of nesting; kubectl stops at 10,000, and no object comes near either."""

_SUSPICIOUS = 400


class TooDeep(yaml.YAMLError):
    """The document is nested deeper than any object may be."""


class Refused(yaml.MarkedYAMLError):
    """The document is YAML, but not one that Kubernetes reads."""


def compose(text: bytes) -> Iterator[Node]:
    """Yield the roots of the documents in `text` that hold anything; a last line counts as ended, as kubectl has it."""
    text = ended(text)
    openers = len(text) - len(text.translate(None, b"[{-?"))
    deep = openers > _SUSPICIOUS and _could_be_deep(text)
    aliases = b"*" in text and b"&" in text
    if deep or _Composer is None:
        roots = _compose_events(text)
    else:
        roots = _compose_fast(text)
        if aliases:
            try:
                roots = iter(list(roots))
            except yaml.composer.ComposerError:
                roots = _compose_events(text)  # PyYAML refuses an anchor that is defined anew; YAML and kubectl don't
    for root in roots:
        if aliases:
            _refuse_cycles(root)
        if not is_null(root):
            yield root


def ended(text: bytes) -> bytes:
    """Return text with its last line ended, as kubectl takes it."""
    return text if text.endswith(b"\n") else text + b"\n"


def check(text: bytes) -> None:
    """Raise what is wrong with a document, as `compose` does; nodes are made only where aliases may lead nowhere."""
    if _Parser is None or b"*" in text:
        for _ in compose(text):
            pass
    else:
        _Parser(ended(text)).raw_parse()


def refuse_no_json(root: Node) -> None:
    """Raise Refused for what `to_python` can't take, with its place."""
    seen: set[int] = set()
    merged: dict[int, dict[Any, tuple[Node, Node]]] = {}
    stack = [root]
    while stack:
        at = node = stack.pop()
        try:
            if type(node) is ScalarNode:
                leaf(node)
            elif id(node) in seen:
                continue
            elif type(node) is SequenceNode:
                stack += reversed(node.value)
            else:
                for at, item in node.value:
                    if is_merge(at):
                        merged_pairs(at, item, merged)
                    else:
                        key_text(at)
                stack += (item for _, item in reversed(node.value))
            seen.add(id(node))
        except ValueError as error:
            raise Refused(None, None, str(error), at.start_mark) from None


def _could_be_deep(text: bytes) -> bool:
    """Tell whether brackets or compact lists could nest beyond what the C stack bears; cheap, and errs on yes."""
    if re.search(rb"(?:[-?][ \t]+){8}", text):
        return True
    opened = text.count(b"[") + text.count(b"{")
    if opened <= _SUSPICIOUS:
        return False
    depth = deepest = 0
    for bracket in re.findall(rb"[\[\]{}]", text):
        depth += 1 if bracket in b"[{" else -1
        depth = max(depth, 0)
        deepest = max(deepest, depth)
    return deepest > _SUSPICIOUS // 2


_Composer: Any = None
if _Parser is not None:
    # libyaml's composer without a resolver: no tag is worked out, only the tags that are written stand in the nodes.
    # What is called for every node, and has nothing to do, is C: a function of ours takes twice the time to do nothing.
    _Composer = type(
        "_Composer",
        (_Parser,),
        {
            "resolve": lambda _self, _kind, _value, _implicit: None,
            "descend_resolver": is_,  # of parent and index
            "ascend_resolver": tuple,  # of nothing
        },
    )


def _compose_fast(text: bytes) -> Iterator[Node]:
    composer = _Composer(text)
    while composer.check_node():
        yield composer.get_node()


class _EventParser(yaml.reader.Reader, yaml.scanner.Scanner, yaml.parser.Parser):
    """PyYAML's own parser, without constructor or resolver."""

    def __init__(self, text: bytes) -> None:
        yaml.reader.Reader.__init__(self, text)
        yaml.scanner.Scanner.__init__(self)
        yaml.parser.Parser.__init__(self)


def _compose_events(text: bytes) -> Iterator[Node]:
    """Compose from parser events, without recursion and with a limit on depth: the careful way, and the only one
    where PyYAML has no C part."""
    builder = Builder()
    for event in read_events(text):
        if type(event) is yaml.DocumentEndEvent:
            yield builder.made.pop()
            builder = Builder()
        else:
            builder.take(event)


def read_events(text: bytes) -> Iterator[Any]:
    """Yield the events of YAML text."""
    parser: Any = _EventParser(text) if _Parser is None else _Parser(text)
    while parser.check_event():
        yield parser.get_event()


class Builder:
    """Makes nodes of events."""

    def __init__(self) -> None:
        self.made: list[Node] = []
        """What is whole, or begun."""
        self._anchors: dict[str, Node] = {}
        self._stack = [self.made]
        self._nodes: list[Node] = []

    @property
    def depth(self) -> int:
        """How many of the nodes are not whole yet."""
        return len(self._nodes)

    def take(self, event: Any) -> None:
        """Take one more event; Refused for an alias of nothing, TooDeep beyond `MAX_DEPTH`."""
        stack, kind = self._stack, type(event)
        if kind is yaml.AliasEvent:
            if event.anchor not in self._anchors:
                raise Refused(None, None, f"unknown anchor {event.anchor!r} referenced", event.start_mark)
            stack[-1].append(self._anchors[event.anchor])
        elif kind is yaml.ScalarEvent:
            node: Node = ScalarNode(_tag(event), event.value, event.start_mark, event.end_mark, style=event.style)
            stack[-1].append(node)
            if event.anchor:
                self._anchors[event.anchor] = node
        elif kind in (yaml.SequenceStartEvent, yaml.MappingStartEvent):
            make = SequenceNode if kind is yaml.SequenceStartEvent else MappingNode
            node = make(_tag(event), [], event.start_mark, None, flow_style=event.flow_style)
            stack[-1].append(node)
            if event.anchor:
                self._anchors[event.anchor] = node
            self._nodes.append(node)
            stack.append(node.value)
            if len(stack) > MAX_DEPTH:
                raise TooDeep(f"nested deeper than {MAX_DEPTH} levels")
        elif kind in (yaml.SequenceEndEvent, yaml.MappingEndEvent):
            values, node = stack.pop(), self._nodes.pop()
            node.end_mark = event.end_mark
            if type(node) is MappingNode:
                node.value = list(zip(values[::2], values[1::2], strict=True))


def _tag(event: Any) -> Any:
    return event.tag if event.tag and event.tag != "!" else None


def _refuse_cycles(root: Node) -> None:
    """Raise Refused where a node contains itself; each node is visited once."""
    open_nodes: set[int] = set()
    done: set[int] = set()
    stack: list[tuple[Node, bool]] = [(root, False)]
    while stack:
        node, leaving = stack.pop()
        if leaving:
            open_nodes.discard(id(node))
            done.add(id(node))
            continue
        if type(node) is ScalarNode or id(node) in done:
            continue
        if id(node) in open_nodes:
            raise Refused(None, None, "an anchor contains itself", node.start_mark)
        open_nodes.add(id(node))
        stack.append((node, True))
        if type(node) is MappingNode:
            for key, value in node.value:
                stack.append((key, False))
                stack.append((value, False))
        else:
            stack.extend((item, False) for item in node.value)
