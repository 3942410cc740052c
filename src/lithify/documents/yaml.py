"""YAML and JSON as Kubernetes reads them, document by document.

They are told apart first, so that one that is broken does not hide the others. What is in one is composed with the line
and column of everything (`documents.compose`), and read as kubectl does (`documents.nodes`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import yaml

from lithify.documents.compose import check, compose, ended, refuse_no_json
from lithify.documents.nodes import MappingNode, Node, ScalarNode, child, is_merge, merged_child
from lithify.model.location import Route
from lithify.model.text import as_utf8

TYPE_CHECKING = False  # a name of ours: `typing` costs a tenth of the time that an audit of one file takes
if TYPE_CHECKING:
    from typing import Any

_WIDE = 100
"""Entries of a mapping from which on an index of them pays."""
_CONTENT = re.compile(rb"^[ \t]*[^#\s]", re.MULTILINE)


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

    __slots__ = ("end", "first_line", "index", "left_out", "pad", "root", "start", "text", "wide")

    def __init__(self, index: int, root: Node, chunk: Chunk, left_out: int = 0) -> None:
        self.index = index
        self.root = root
        self.left_out = left_out
        """Of a long list that comes in several documents, the items that came in those before; null stands for each."""
        self.first_line, self.text, self.start, self.end, self.pad = chunk
        self.wide: dict[int, tuple[dict[str | int, tuple[Node, Any]], list[Node]]] | None = None
        """What stands at the keys of large mappings, by their id, and what they merge in: no key is looked for among
        all the others."""

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
        node, mark, step = anchor, getattr(anchor, "start_mark", None), self._step
        for key in tail:
            wide = type(node) is MappingNode and len(node.value) > _WIDE
            found = step(node, key, None) if wide else child(node, key, None, step)
            if found is None:
                break
            node, mark = found
        return (mark.line + self.first_line + 1, mark.column + 1) if mark else (self.first_line + 1, 1)

    def entry_lines(self, route: Route) -> list[int]:
        """Return the line, from 1, on which each step of `route` from the root stands, as far as it leads."""
        lines, node, step = [], self.root, self._step
        for key in route:
            wide = type(node) is MappingNode and len(node.value) > _WIDE
            found = step(node, key, None) if wide else child(node, key, None, step)
            if found is None:
                break
            node, mark = found
            lines.append(mark.line + self.first_line + 1)
        return lines

    def _step(self, node: object, key: str | int, seen: set[int] | None = None) -> tuple[Node, Any] | None:
        if type(node) is not MappingNode or len(node.value) <= _WIDE:
            return child(node, key, seen, self._step)
        self.wide = self.wide or {}
        if id(node) not in self.wide:
            named = [(name, value) for name, value in node.value if type(name) is ScalarNode]
            at = {name.value: (value, name.start_mark) for name, value in named}
            self.wide[id(node)] = at, [value for name, value in reversed(named) if is_merge(name)]
        at, merges = self.wide[id(node)]
        return at.get(key) or merged_child(merges, key, seen, self._step)


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
        if isinstance(chunk, Broken):
            chunk.index = index
            index += 1
            yield chunk
            continue
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

                parts = compose_parts(ended(text), most)
                for root, left_out in parts or ():
                    if odd:
                        refuse_no_json(root)
                    yield Document(index, root, chunk, left_out)
                if parts is not None:
                    index += 1
                    continue
            for root in compose(text):
                if odd:
                    refuse_no_json(root)
                yield Document(index, root, chunk)
                index += 1
        except yaml.YAMLError as error:
            yield _broken(index, first_line, text, error)
            index += 1


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
    chunks = _json_chunks(data) if _looks_like_json(data) else None
    return chunks is not None and not any(isinstance(chunk, Broken) for chunk in chunks)


def _looks_like_json(data: bytes) -> bool:
    return data[:64].lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{"


_JSON_START = re.compile(r"^\{", re.MULTILINE)
_PARSE = 20
"""How much dearer it is to parse a character than to count lines up to it, as an error does."""
_PATIENCE = 40
"""How often the lines of a file are counted for objects behind broken ones."""
_LITTLE = 1 << 24


def _json_chunks(data: bytes) -> list[Chunk | Broken] | None:
    """Cut concatenated JSON into its objects; None where it isn't JSON (a flow mapping or a template starts so too).

    One that is broken behind a good one ends where the next line begins with an object. kubectl stops there.
    """
    from json import JSONDecoder

    decoder = JSONDecoder()
    chunks: list[Chunk | Broken] = []
    line = position = tried = 0
    try:
        text = data.decode("utf-8-sig")
    except ValueError:
        return None
    offset = len(data) - len(text.encode())  # of the byte order mark
    while position < len(text):
        start = _JSON_SPACE.match(text, position).end()  # type: ignore[union-attr]
        line += text.count("\n", position, start)
        if start == len(text):
            break
        offset += len(text[position:start].encode())
        try:
            _, position = decoder.raw_decode(text, start)
        except (ValueError, RecursionError) as error:
            if not chunks or text[start] != "{":
                return None
            at = getattr(error, "pos", len(text))
            tried += at + (at - start) * _PARSE
            following = _JSON_START.search(text, start + 1) if tried < _PATIENCE * len(text) + _LITTLE else None
            position = following.start() if following else len(text)
            own = text[start:position]
            broken = chunks[-1]
            if not isinstance(broken, Broken):
                chunks.append(broken := _broken_json(error, line, own))
            if following is None:
                broken.reason += "; the rest of the file is not read"
        else:
            # libyaml counts columns from where its input starts: give it the whole first line.
            pad = start - text.rfind("\n", 0, start) - 1
            own = text[start:position]
            chunk = (" " * pad + _NOT_YAML.sub("\ufffd", own)).encode()
            # JSON pairs surrogates, YAML has no such escape.
            chunks.append((line, _SURROGATE.sub(rb"\1      \\ufffd", chunk), offset, offset + len(own.encode()), pad))
        offset += len(own.encode())
        line += text.count("\n", start, position)
    return chunks


def _broken_json(error: Exception, line: int, text: str) -> Broken:
    reason = str(getattr(error, "msg", "")) or "nested too deeply"
    reason = f"no JSON: {reason[:1].lower()}{reason[1:]}"
    return Broken(0, getattr(error, "lineno", line + 1), getattr(error, "colno", 1), reason, text.encode())


def _fault(text: bytes, *, odd: bool) -> yaml.YAMLError | None:
    """Return what is wrong with a document; nodes are made only where that takes some, or it is `odd`."""
    try:
        if odd:
            for root in compose(text):
                refuse_no_json(root)
        else:
            check(text)
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
