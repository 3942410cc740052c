"""YAML and JSON as Kubernetes reads them, with the line and column of everything.

Built on PyYAML's C composer with its resolver taken out: nodes keep their text, and a scalar gets its meaning only
where somebody asks (`documents.scalar`). That is three times as fast as a loader, and gives positions. Bad input is
bounded: documents are told apart first, so that one that is broken does not hide the others; nesting is limited,
because the C composer recurses; an alias that contains itself is refused, as kubectl refuses it; aliases and merge
keys are never expanded more than once.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from operator import is_

import yaml
from yaml.nodes import MappingNode, ScalarNode, SequenceNode

from lithify.documents.scalar import FALSE, NULL, TRUE, WORDS, Scalar, read_plain
from lithify.model.location import Route
from lithify.model.text import as_utf8

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

Node = Any
"""One of PyYAML's three node classes; told apart by `type(node) is ...`, which is what is fast."""

__all__ = ["HAVE_LIBYAML", "Broken", "Document", "MappingNode", "Node", "ScalarNode", "SequenceNode", "read_documents"]

MAX_DEPTH = 1000
"""Levels of nesting; kubectl stops at 10,000, and no object comes near either."""

_SUSPICIOUS = 400
_CONTENT = re.compile(rb"^[ \t]*[^#\s]", re.MULTILINE)


class TooDeep(yaml.YAMLError):
    """The document is nested deeper than any object may be."""


class Refused(yaml.MarkedYAMLError):
    """The document is YAML, but not one that Kubernetes reads."""


class Broken:
    """A document that can't be read, with the place and the reason."""

    __slots__ = ("column", "index", "line", "reason", "text")

    def __init__(self, index: int, line: int, column: int, reason: str, text: bytes) -> None:
        self.index = index
        self.line = line
        self.column = column
        self.reason = reason
        self.text = text


def is_template(text: bytes) -> bool:
    """Tell whether a document that is no YAML may be some once it was rendered as a Go template, as in charts."""
    return b"{{" in text and b"}}" in text


class Document:
    """One document of a file: its root node, and the line it starts at."""

    __slots__ = ("end", "first_line", "index", "left_out", "pad", "root", "start", "text")

    def __init__(self, index: int, root: Node, chunk: "Chunk", left_out: int = 0) -> None:
        self.index = index
        self.root = root
        self.left_out = left_out
        """Of a long list that comes in several documents, the items that came in those before; null stands for each."""
        self.first_line, self.text, self.start, self.end, self.pad = chunk

    @property
    def part_line(self) -> int:
        """The line, from 1, from which it differs from the document before."""
        if not self.left_out:
            return self.first_line + 1
        items = child(self.root, "items")
        return self.find(items[0].value[self.left_out], ())[0] if items is not None else 0

    def find(self, anchor: object, tail: Route) -> tuple[int, int]:
        """Return line and column, from 1, of what `tail` leads to below the node `anchor`.

        A key of a mapping stands where the key is; where the way ends early, so does the answer.
        """
        node, mark = anchor, getattr(anchor, "start_mark", None)
        for key in tail:
            step = child(node, key)
            if step is None:
                break
            node, mark = step
        return (mark.line + self.first_line + 1, mark.column + 1) if mark else (self.first_line + 1, 1)

    def entry_lines(self, route: Route) -> list[int]:
        """Return the line, from 1, on which each step of `route` from the root stands, as far as it leads."""
        lines, node = [], self.root
        for key in route:
            step = child(node, key)
            if step is None:
                break
            node, mark = step
            lines.append(mark.line + self.first_line + 1)
        return lines


Chunk = tuple[int, bytes, int, int, int]
"""A part of a file that is parsed by itself: its first line, the text that the parser gets, the bytes of the file that
it stands for (from, to), and how many characters the parser's text has before them."""


def read_documents(
    data: bytes, wanted: Callable[[bytes], bool] | None = None, most: int = 0, *, strict: bool = False
) -> Iterator[Document | Broken]:
    """Yield the documents of a YAML or JSON file, empty ones left out, each on its own whether it can be read or not.

    Where `wanted` says no to a document's text, it is counted and not composed; `strict` yields it where it is broken
    all the same, and takes what kubectl can't turn into JSON for broken. A `List` of more than `most` bytes comes as
    several documents of one index, each with kind, version and the next of its items.
    """
    data = as_utf8(data)
    chunks = _json_chunks(data) if _looks_like_json(data) else None
    index = 0
    for chunk in chunks or _chunks(data):
        first_line, text = chunk[:2]
        odd = strict and chunks is None and _is_odd(text) and b"{{" not in text
        if wanted is not None and not wanted(text):
            error = _fault(text, odd=odd) if strict and chunks is None else None
            if error is not None:
                yield _broken(index, first_line, text, error)
            if error is not None or _CONTENT.search(text):
                index += 1
            continue
        try:
            if 0 < most < len(text) and b"items" in text:
                from lithify.documents.lists import compose_parts

                parts = compose_parts(text if text.endswith(b"\n") else text + b"\n", most)
                for root, left_out in parts or ():
                    if odd:
                        _refuse_no_json(root)
                    yield Document(index, root, chunk, left_out)
                if parts is not None:
                    index += 1
                    continue
            for root in _compose(text):
                if odd:
                    _refuse_no_json(root)
                yield Document(index, root, chunk)
                index += 1
        except yaml.YAMLError as error:
            yield _broken(index, first_line, text, error)
            index += 1


def entries(node: Node, *, explicit_first: bool = False) -> dict[str, Node]:
    """Return what a mapping holds by key, merge keys followed; for a duplicate the last one, as kubectl has it.

    To kubectl the later of an entry and a merge key wins; `explicit_first` lets the entry win, as go-yaml v3 and YAML's
    own description of merge keys have it.
    """
    try:
        found: dict[str, Node] = {key.value: value for key, value in node.value}
    except TypeError:  # a key that is itself a list or mapping
        found = {key.value: value for key, value in node.value if type(key) is ScalarNode}
    if "<<" not in found:
        return found
    merged = _merged(node, {})
    if explicit_first:
        merged.update((key.value, value) for key, value in node.value if type(key) is ScalarNode and not _is_merge(key))
    return merged


def duplicates(node: Node) -> list[str]:
    """Return the keys that stand in a mapping more than once."""
    seen: set[str] = set()
    twice: list[str] = []
    for key, _ in node.value:
        if type(key) is ScalarNode and not _is_merge(key):
            if key.value in seen and key.value not in twice:
                twice.append(key.value)
            seen.add(key.value)
    return twice


def child(node: object, key: str | int, seen: set[int] | None = None) -> tuple[Node, Any] | None:
    """Return what stands at one key or index of a node, and the mark of its place; None where nothing does.

    `seen` are the mappings that merge keys led to already: each is looked through once.
    """
    if type(node) is MappingNode:
        merges = []
        for name, value in reversed(node.value):
            text = name.value
            if text == key:
                return value, name.start_mark
            if text == "<<" and _is_merge(name):
                merges.append(value)
        for merge in merges:
            seen = set() if seen is None else seen
            for source in merge.value if type(merge) is SequenceNode else (merge,):
                if type(source) is MappingNode and id(source) not in seen:
                    seen.add(id(source))
                    found = child(source, key, seen)
                    if found is not None:
                        return found
    elif type(node) is SequenceNode and isinstance(key, int) and key < len(node.value):
        return node.value[key], node.value[key].start_mark
    return None


def scalar(node: Node) -> Scalar:
    """Return what kubectl reads in a scalar node; ValueError where its tag and its text don't agree."""
    tag = node.tag
    if type(tag) is str:  # what a tag of one's own stands before is text, whatever it looks like
        return _tagged(tag[18:], node.value) if tag.startswith("tag:yaml.org,2002:") else node.value
    return node.value if node.style else read_plain(node.value)


def is_null(node: Node | None) -> bool:
    """Tell whether nothing stands there, or null in one of its spellings."""
    return node is None or (type(node) is ScalarNode and not node.style and node.value in NULL)


def boolean(node: Node) -> bool | None:
    """Return true or false as kubectl reads it, None for everything else."""
    if type(node) is ScalarNode and type(node.tag) is not str:
        if not node.style:
            if node.value in TRUE:
                return True
            if node.value in FALSE:
                return False
        return None
    value = scalar(node) if type(node) is ScalarNode else None
    return value if isinstance(value, bool) else None


def to_python(node: Node) -> Any:
    """Return the plain data that kubectl makes of a node; ValueError for what it refuses to turn into JSON.

    Shared nodes give shared objects: an alias bomb stays as small as its text.
    """
    return _to_python(node, {}, {})


def _to_python(node: Node, made: dict[int, Any], merged: dict[int, dict[Any, tuple[Node, Node]]]) -> Any:
    value: Any
    kind = type(node)
    if kind is ScalarNode:
        return _leaf(node)
    if id(node) in made:
        return made[id(node)]
    if kind is SequenceNode:
        value = [_leaf(item) if type(item) is ScalarNode else _to_python(item, made, merged) for item in node.value]
    else:
        value = {}
        for key, item in node.value:
            if type(key) is ScalarNode and key.value != "<<":
                text = key.value
                if not key.style and (text in WORDS or not text[:1].isalpha() or type(key.tag) is str):
                    text = _key_text(key)
                value[text] = _leaf(item) if type(item) is ScalarNode else _to_python(item, made, merged)
            else:
                for name, other in _merged_pairs(key, item, merged):
                    value[_key_text(name)] = _to_python(other, made, merged)
    made[id(node)] = value
    return value


def _leaf(node: Node) -> Scalar:
    """Return what JSON has for a scalar node; what most of them are is told without being taken apart."""
    text: str = node.value
    if type(node.tag) is not str:
        if node.style:
            return text
        if text[:1].isalpha():
            return WORDS.get(text, text)
    value = scalar(node)
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        raise ValueError(f"no such number in JSON: {value}")
    return value


def _merged_pairs(key: Node, item: Node, known: dict[int, dict[Any, tuple[Node, Node]]]) -> Iterable[tuple[Node, Node]]:
    """Return one entry of a mapping, or those that it merges in; `known` are mappings that were gone through."""
    if not _is_merge(key):
        return ((key, item),)
    found: dict[Any, tuple[Node, Node]] = {}
    for source in reversed(item.value) if type(item) is SequenceNode else (item,):
        if type(source) is not MappingNode:
            raise ValueError("a merge key needs a mapping or a list of mappings")
        if id(source) not in known:
            own: dict[Any, tuple[Node, Node]] = {}
            for name, other in source.value:
                pairs = _merged_pairs(name, other, known)
                own.update(((one.value if type(one) is ScalarNode else id(one)), (one, value)) for one, value in pairs)
            known[id(source)] = own
        found.update(known[id(source)])
    return found.values()


def _key_text(key: Node) -> str:
    value = scalar(key) if type(key) is ScalarNode else None
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        raise ValueError("a key must be text")
    return str(value)


def _tagged(tag: str, text: str) -> Scalar:
    if tag in ("int", "float", "bool"):
        value = read_plain(text)
        if isinstance(value, bool) != (tag == "bool") or not isinstance(value, int | float):
            raise ValueError(f"not of type {tag}: {text!r}")
        return value
    if tag == "binary":
        import base64

        try:
            return base64.b64decode(text.replace("\n", ""), validate=True).decode(errors="replace")
        except ValueError as error:
            raise ValueError("not base64") from error
    return None if tag == "null" else text


def _is_merge(key: Node) -> bool:
    return type(key) is ScalarNode and key.value == "<<" and not key.style


def _merged(node: Node, known: dict[int, dict[str, Node]]) -> dict[str, Node]:
    """Follow merge keys in order, so that the later entry wins, as go-yaml v2 has it; each mapping once."""
    if id(node) in known:
        return known[id(node)]
    found: dict[str, Node] = {}
    for key, value in node.value:
        if _is_merge(key):
            sources = value.value if type(value) is SequenceNode else (value,)
            for source in reversed(sources):
                if type(source) is MappingNode:
                    found.update(_merged(source, known))
        elif type(key) is ScalarNode:
            found[key.value] = value
    known[id(node)] = found
    return found


def _chunks(data: bytes) -> Iterator[Chunk]:
    """Cut at separator lines as kubectl does (`---` alone or with a comment, `---#` too)."""
    start = line = 0
    position = 0 if data.startswith(b"---") else data.find(b"\n---") + 1
    while position or (start == 0 and data.startswith(b"---")):
        end = data.find(b"\n", position)
        end = len(data) if end < 0 else end
        rest = data[position + 3 : end].strip()
        if not rest or rest[:1] == b"#" or data[position + 3 : position + 4] in (b" ", b"\t"):
            yield line, data[start:position], start, position, 0
            # Content on the marker's own line (`--- {kind: Pod}`) needs the marker.
            following = position if rest and rest[:1] != b"#" else min(end + 1, len(data))
            line += data.count(b"\n", start, following)
            start = following
        if end >= len(data):
            break
        position = data.find(b"\n---", end) + 1
        if not position:
            break
    yield line, data[start:], start, len(data), 0


_NOT_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""Characters that JSON strings may hold and YAML may not, or that YAML counts as line ends."""
_JSON_SPACE = re.compile(r"\s*")
_SURROGATE = re.compile(rb"(?<!\\)((?:\\\\)*)\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")


def is_json(data: bytes) -> bool:
    """Tell whether a file is made of JSON objects, one or several, as kubectl tells it from YAML."""
    return _looks_like_json(data) and _json_chunks(data) is not None


def _looks_like_json(data: bytes) -> bool:
    return data[:64].lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{"


def _json_chunks(data: bytes) -> list[Chunk] | None:
    """Cut concatenated JSON into its objects; None where it isn't JSON (a flow mapping or a template starts so too)."""
    from json import JSONDecoder

    decoder = JSONDecoder()
    try:
        text = data.decode("utf-8-sig")
        chunks: list[Chunk] = []
        line = position = 0
        offset = len(data) - len(text.encode())  # of the byte order mark
        while position < len(text):
            start = _JSON_SPACE.match(text, position).end()  # type: ignore[union-attr]
            line += text.count("\n", position, start)
            if start == len(text):
                break
            offset += len(text[position:start].encode())
            _, position = decoder.raw_decode(text, start)
            # libyaml counts columns from where its input starts: give it the whole first line.
            pad = start - text.rfind("\n", 0, start) - 1
            own = text[start:position]
            chunk = (" " * pad + _NOT_YAML.sub("\ufffd", own)).encode()
            end = offset + len(own.encode())
            # JSON pairs surrogates, YAML has no such escape.
            chunks.append((line, _SURROGATE.sub(rb"\1      \\ufffd", chunk), offset, end, pad))
            offset = end
            line += text.count("\n", start, position)
    except (ValueError, RecursionError):
        return None
    return chunks


def _compose(text: bytes) -> Iterator[Node]:
    """Yield the roots of the documents in `text` that hold anything; a last line counts as ended, as kubectl has it."""
    if not text.endswith(b"\n"):
        text += b"\n"
    openers = text.count(b"[") + text.count(b"{") + text.count(b"-") + text.count(b"?")
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


def _fault(text: bytes, *, odd: bool) -> yaml.YAMLError | None:
    """Return what is wrong with a document; nodes are made only where aliases may lead nowhere, or it is `odd`."""
    try:
        if _Parser is None or odd or b"*" in text:
            for root in _compose(text):
                if odd:
                    _refuse_no_json(root)
        else:
            _Parser(text if text.endswith(b"\n") else text + b"\n").raw_parse()
    except yaml.YAMLError as error:
        return error
    return None


def _is_odd(text: bytes) -> bool:
    """Tell whether a text has in it what kubectl may read and not turn into JSON; most texts that have it are well."""
    # One byte is found many times as fast as several are.
    return (
        (b"<" in text and b"<<" in text)
        or (b"!" in text and b"!!" in text)
        or (b"?" in text and b"? " in text)
        or b"~" in text
        or b"null" in text
        or b".inf" in text
        or b".nan" in text
    )


def _refuse_no_json(root: Node) -> None:
    """Raise Refused for what `to_python` can't take, with its place."""
    seen: set[int] = set()
    merged: dict[int, dict[Any, tuple[Node, Node]]] = {}
    stack = [root]
    while stack:
        at = node = stack.pop()
        try:
            if type(node) is ScalarNode:
                _leaf(node)
            elif id(node) in seen:
                continue
            elif type(node) is SequenceNode:
                stack += reversed(node.value)
            else:
                for at, item in node.value:
                    if _is_merge(at):
                        _merged_pairs(at, item, merged)
                    else:
                        _key_text(at)
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


def _broken(index: int, first_line: int, text: bytes, error: yaml.YAMLError) -> Broken:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is not None:
        reason = getattr(error, "problem", None) or getattr(error, "context", None) or "not YAML"
        return Broken(index, first_line + mark.line + 1, mark.column + 1, str(reason), text)
    position = getattr(error, "position", None)
    if isinstance(position, int):  # a byte that can't be read
        line = text.count(b"\n", 0, position)
        column = position - text.rfind(b"\n", 0, position) - 1
        return Broken(index, first_line + line + 1, max(column, 0) + 1, str(getattr(error, "reason", error)), text)
    return Broken(index, first_line + 1, 1, str(error) or "not YAML", text)
