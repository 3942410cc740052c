"""Finds the stretches of a YAML or JSON text that change where an entry or item is set, added or taken away.

Works at the marks that the parser left on its nodes. New lines follow the document's own style: indentation, whether
lists are indented below their key, line ends, one line or many in flow style.
"""

import re
from collections.abc import Collection, Iterator
from enum import StrEnum
from typing import Any

from lithify.documents.emit import render_entry, render_flow, render_item, render_json, render_scalar
from lithify.documents.nodes import MappingNode, Node, ScalarNode, SequenceNode
from lithify.documents.yaml import Document
from lithify.model.location import Key, Route

_PROPERTIES = re.compile(r"(?:[&!][^\s,\[\]{}]*(?:\s+|\#[^\n]*\n)*)+")
_ALIAS = re.compile(r"(?:\s+|\#[^\n]*(?:\n|\Z)|-(?=\s)|[:,?])*\*[^\s,\[\]{}]+")


class Obstacle(StrEnum):
    """What kind of thing stands in the way of an edit."""

    ALIAS = "alias"
    """The place is shared, by an anchor, with another that must stay as it is."""
    MERGE = "merge key"
    TEMPLATE = "template"
    DUPLICATE = "duplicate key"
    MISSING = "missing"
    """Nothing stands at the route."""
    TYPE = "type"
    """Something else stands there than could be edited."""
    UNREADABLE = "unreadable"
    CHECK = "check"
    """The text came out as other data than was wanted: a form of YAML that this module does not know."""


class Uneditable(Exception):
    """An edit that can't be made without changing something else; the file stays as it was."""

    def __init__(self, obstacle: Obstacle, reason: str, route: Route = ()) -> None:
        super().__init__(reason)
        self.obstacle = obstacle
        self.reason = reason
        self.route = route
        self.document: int | None = None


class Edit:
    """What is to become of one mapping or list."""

    __slots__ = ("appended", "node", "prepended", "removed", "renamed", "routes", "set")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.routes: set[Route] = set()
        self.set: dict[Key, Any] = {}
        self.removed: set[Key] = set()
        self.renamed: dict[str, str] = {}
        self.prepended: list[Any] = []
        self.appended: list[Any] = []


class Piece:
    """One stretch of a document's text, in characters, and what takes its place."""

    __slots__ = ("begin", "column", "end", "rank", "text")

    def __init__(self, begin: int, end: int, text: str, column: int = 0, rank: int = 0) -> None:
        self.begin = begin
        self.end = end
        self.text = text
        self.column = column
        self.rank = rank

    def order(self) -> tuple[int, int, int, int]:
        """Sort by place; of lines added at one place, what is nested deeper comes first."""
        return self.begin, self.end, -self.column, self.rank


_VALUE, _ITEM, _ENTRY = range(3)
_WIDTH = 120
"""Up to where a new item stands on one line, where the item before it does."""


class Writer:
    """Finds the stretches of a document's text that its edits change."""

    def __init__(self, document: Document, text: str, shared: Collection[int]) -> None:
        self.text = text
        self.shared = shared
        """The nodes that are reached in more than one way, by id."""
        self.root = document.root
        self.shift = text.startswith("\ufeff") - document.pad
        self.json = bool(self.root.flow_style) and _is_quoted(self.root)
        self.compact = '": ' not in text
        self.newline = "\r\n" if 2 * text.count("\r\n") > text.count("\n") else "\n"
        self._found: _Found | None = None

    def pieces(self, edit: Edit) -> Iterator[Piece]:
        """Yield what to change for one mapping or list."""
        if type(edit.node) is MappingNode:
            yield from self._mapping_pieces(edit)
        else:
            yield from self._list_pieces(edit)

    def _mapping_pieces(self, edit: Edit) -> Iterator[Piece]:
        node = edit.node
        known = {name.value: (name, value) for name, value in node.value}
        for old, new in edit.renamed.items():
            name = known[old][0]
            quote = name.style or ""
            yield Piece(self._at(name.start_mark), self._at(name.end_mark), f"{quote}{new}{quote}")
        fresh = {str(key): value for key, value in edit.set.items() if key not in known}
        gone = edit.removed - edit.set.keys()
        if fresh and node.flow_style and len(gone) == len(node.value):
            text = (", " if not (self.json and self.compact) else ",").join(
                self._flow_text(key, value, "", None) for key, value in fresh.items()
            )
            yield Piece(self._at(node.value[0][0].start_mark), self._end_of_last(node), text)
            return
        last = len(edit.removed) == len(node.value) and not edit.set
        for name, _ in node.value:
            if name.value in gone:
                piece = self._removal(node, name, gone, only=last)
                if piece is not None:
                    yield piece
        for key, value in edit.set.items():
            if key in known:
                yield from self._replacement(*known[str(key)], value, flow=node.flow_style)
        if not fresh:
            return
        if node.flow_style:
            yield from self._flow_addition(node, list(fresh.items()))
            return
        column = self._column(node.value[0][0])
        style = self.style(node)
        lines = [line for key, value in fresh.items() for line in render_entry(key, value, **style)]
        yield self._lines(self._end_with_comments(node, column), lines, column, _ENTRY)

    def _list_pieces(self, edit: Edit) -> Iterator[Piece]:
        node = edit.node
        for index, value in edit.set.items():
            item = node.value[int(index)]
            if isinstance(value, dict | list):
                raise Uneditable(Obstacle.TYPE, "an item of a list can't be replaced by more than a scalar")
            begin, end = self._extent(item, self._at(node.start_mark))
            yield Piece(begin, end, render_json(value) if self.json else render_flow(value))
        if node.flow_style:
            if edit.prepended:
                yield self._flow_front(node, edit.prepended)
            if edit.appended:
                yield from self._flow_addition(node, [(None, item) for item in edit.appended])
            return
        column = self._dash_column(node)
        style = self.style(node)
        if edit.prepended:
            lines = [line for item in edit.prepended for line in render_item(item, **style)]
            yield self._front(node, lines, column)
        if edit.appended:
            lines = []
            for item in edit.appended:
                short = f"{'-':<{style['gap']}}{render_flow(item, self._pad(node.value[-1]))}"
                fits = column + len(short) <= _WIDTH and isinstance(item, dict) and "\\n" not in short
                as_last = fits and self._on_one_line(node.value[-1])
                lines += [short] if as_last else render_item(item, **style)
            yield self._lines(self._end_with_comments(node, column), lines, column, _ITEM)

    def _replacement(self, name: Node, value: Node, new: Any, *, flow: bool) -> Iterator[Piece]:
        colon = self._colon(name)
        begin, end = self._extent(value, colon)
        if type(value) is not ScalarNode and value.value and not value.flow_style and begin >= colon:
            raise Uneditable(Obstacle.TYPE, f"{name.value} holds more than a scalar")
        if type(value) is ScalarNode and value.style in ("|", ">"):
            raise Uneditable(Obstacle.TYPE, f"{name.value} is a block scalar")
        space = "" if self.text[colon:begin].endswith((" ", "\t", "\n")) else " "
        if flow:
            if self.json and self.compact:
                space = ""
            if type(value) is not ScalarNode and "#" in self.text[begin:end]:
                raise Uneditable(Obstacle.TYPE, f"the value of {name.value} has comments in it")
            yield Piece(begin, end, space + (render_json(new, compact=self.compact) if self.json else render_flow(new)))
            return
        style = self.style()
        column = self._column(name)
        head, *rest = render_entry(name.value, new, **style)
        head = head[len(render_entry(name.value, None, **style)[0]) - len("null") :]
        if not rest:
            yield Piece(begin, end, space + head)
            return
        if "\n" in self.text[colon:end]:
            # An empty collection on a line of its own, or with comments in it, is filled where it is.
            if type(value) is ScalarNode or self.text[begin] != render_flow(new)[0]:
                raise Uneditable(Obstacle.TYPE, f"the value of {name.value} stands on a line of its own")
            yield Piece(begin + 1, begin + 1, render_flow(new)[1:-1])
            return
        properties = self.text[colon:begin].rstrip()
        yield Piece(colon + len(properties), end, f" {head}" if head else "")
        yield self._lines(end, rest, column, _VALUE, literal=head == "|")

    def _removal(self, node: Node, name: Node, gone: Collection[Key], *, only: bool) -> Piece | None:
        """Return what takes an entry away; `gone` are the keys of all that go. None where another takes it along."""
        index = next(index for index, (key, _) in enumerate(node.value) if key is name)
        begin, end = self._start(name), self._end(node.value[index][1], self._at(name.end_mark))
        if only:
            first, last = self._start(node.value[0][0]), self._end_of_last(node)
            if len(node.value) > 1:
                raise Uneditable(Obstacle.TYPE, "every entry of a mapping can't be taken away")
            if node.flow_style:
                comma = re.compile(r"\s*,").match(self.text, last, self._at(node.end_mark))
                return Piece(first, comma.end() if comma else last, "")
            colon = len(self.text[:first].rstrip())
            return Piece(colon, last, " {}") if self.text[colon - 1 : colon] == ":" else Piece(first, last, "{}")
        stays = next((key for key, _ in node.value[index + 1 :] if key.value not in gone), None)
        if stays is not None and all(key.value in gone for key, _ in node.value[:index]) and self._on_dash_line(node):
            return None if index else self._from_dash(begin, stays)
        line = self.text.rfind("\n", 0, begin) + 1
        if not node.flow_style and not self.text[line:begin].strip("\ufeff \t"):
            ends = self._next_line(end) == len(self.text) and not self.text.endswith("\n")
            if line and ends and not (index and node.value[index - 1][0].value in gone):
                line -= 1 + self.text.endswith("\r\n", 0, line)  # what ends the line before would end the file
                return Piece(line, len(self.text), "")
            return Piece(line, self._next_line(end), "")
        if stays is not None:
            return Piece(begin, self._start(node.value[index + 1][0]), "")
        if not node.flow_style:
            raise Uneditable(Obstacle.TYPE, f"{name.value} can't be taken away")
        return Piece(self._end(node.value[index - 1][1], self._at(node.value[index - 1][0].end_mark)), end, "")

    def _on_dash_line(self, node: Node) -> bool:
        """Tell whether the first entry of a block mapping stands behind the dash of an item, or behind a `?` or `:`."""
        return (
            not node.flow_style
            and self._own_line(self._start(node.value[0][0])) is None
            and self._column(node.value[0][0]) != 0
        )

    def _from_dash(self, begin: int, stays: Node) -> Piece:
        """Return what puts the first entry that stays where the first of all stood; Uneditable for comments between."""
        end = self._start(stays)
        lines = self.text[begin:end].splitlines()
        if any(line.lstrip().startswith("#") for line in lines[1:]):
            raise Uneditable(Obstacle.TYPE, f"{stays.value} has a comment above it, for which there would be no place")
        return Piece(begin, end, "")

    def _flow_addition(self, node: Node, added: list[tuple[str | None, Any]]) -> Iterator[Piece]:
        """Add entries or items at the end of a flow collection that has some."""
        last = node.value[-1][0] if type(node) is MappingNode else node.value[-1]
        begin, end = self._at(last.start_mark), self._end_of_last(node)
        own = self._own_line(begin) if begin >= self._at(node.start_mark) else None
        comma = re.compile(r"(?:\s|#[^\n]*\n)*,").match(self.text, end)
        if own is None:
            pad = self._pad(node if type(node) is MappingNode else last)
            texts = [self._flow_text(key, value, "", None, pad) for key, value in added]
            at = comma.end() if comma else end
            space = "" if self.json and self.compact else " "
            joined = f",{space}".join(texts)
            yield Piece(at, at, f"{space}{joined}" if comma else f",{space}{joined}")
            return
        unit, short = self._unit(node, own), self._on_one_line(last) and type(node) is not MappingNode
        texts, pad = [], self._pad(last)
        for key, value in added:
            text = self._flow_text(key, value, own, None, pad)
            fits = short and len(own) + len(text) <= _WIDTH
            texts.append(own + (text if fits else self._flow_text(key, value, own, unit)))
        joined = f",{self.newline}".join(texts)
        at = comma.end() if comma else end
        stop = self.text.find("\n", at)
        stop = len(self.text) if stop < 0 else stop - (self.text[stop - 1] == "\r")
        if re.fullmatch(r"[ \t]*(?:#.*)?", self.text[at:stop]):
            if not comma:
                yield Piece(end, end, ",", rank=-1)
            yield Piece(stop, stop, self.newline + joined)
        else:
            yield Piece(at, at, ("" if comma else ",") + self.newline + joined)

    def _on_one_line(self, item: Node) -> bool:
        """Tell whether an item is a mapping in flow style that stands on one line."""
        if type(item) is not MappingNode or not item.flow_style:
            return False
        return "\n" not in self.text[self._at(item.start_mark) : self._at(item.end_mark)]

    def _flow_front(self, node: Node, items: list[Any]) -> Piece:
        open_ = self._content(node) + 1
        first = self._at(node.value[0].start_mark)
        own = self._own_line(first) if first >= open_ else None
        if own is None:
            space = "" if self.json and self.compact else " "
            texts = (self._flow_text(None, item, "", None, self._pad(node.value[0])) for item in items)
            at = max(first, open_)
            return Piece(at, at, "".join(f"{text},{space}" for text in texts))
        unit = self._unit(node, own)
        text = "".join(f"{self.newline}{own}{self._flow_text(None, item, own, unit)}," for item in items)
        return Piece(open_, open_, text)

    def _pad(self, node: Node) -> str:
        """Return what stands behind the brace of a mapping on one line."""
        if not self._on_one_line(node):
            return ""
        begin = self._content(node) + 1
        return " " if node.value and self.text[begin : begin + 1] == " " else ""

    def _flow_text(self, key: str | None, value: Any, own: str, unit: str | None, pad: str = "") -> str:
        if not self.json:
            text = render_flow(value, pad)
            return text if key is None else f"{render_scalar(key)}: {text}"
        if pad:
            text = render_flow(value, pad, render_json)
        else:
            text = render_json(value, indent=unit, compact=self.compact and unit is None)
        text = text.replace("\n", self.newline + own)
        colon = ":" if self.compact and unit is None else ": "
        return text if key is None else f"{render_json(key)}{colon}{text}"

    def _front(self, node: Node, lines: list[str], column: int) -> Piece:
        """Put lines before the first item of a block list, above the comments that stand over it."""
        line = self.text.rfind("\n", 0, self._dash(node)) + 1
        if self.text[line : self._dash(node)].strip(" \ufeff"):
            raise Uneditable(Obstacle.TYPE, "a list that begins on the line of another can't be added to in front")
        while line:
            above = self.text.rfind("\n", 0, line - 1) + 1
            content = self.text[above:line].strip("\ufeff \t\r\n")
            if content and not content.startswith("#"):
                break
            line = above
        pad = " " * column
        text = "".join(f"{pad}{text}{self.newline}" if text else self.newline for text in lines)
        if line == 0 and self.text.startswith("\ufeff"):
            line = 1
        return Piece(line, line, text, column, _VALUE)

    def _lines(self, end: int, lines: list[str], column: int, rank: int, *, literal: bool = False) -> Piece:
        """Put lines after the one that the text at `end` stands on."""
        at = self._next_line(end)
        pad = " " * column
        padded = [pad + line if line else line for line in lines]
        if at == len(self.text) and not self.text.endswith("\n"):
            text = "".join(self.newline + line for line in padded)
            if literal or _ends_in_literal(lines):
                text += self.newline
        else:
            text = "".join(line + self.newline for line in padded)
        return Piece(at, at, text, column, rank)

    def _at(self, mark: Any) -> int:
        return min(int(mark.index) + self.shift, len(self.text))

    def _start(self, name: Node) -> int:
        """Return where the entry of a key begins: with its `?` where it has one."""
        start = self._at(name.start_mark)
        before = self.text[max(start - 80, 0) : start].rstrip(" \t")
        return start - min(start, 80) + len(before) - 1 if before.endswith("?") else start

    def _column(self, name: Node) -> int:
        return int(name.start_mark.column) - (self._at(name.start_mark) - self._start(name))

    def _colon(self, name: Node) -> int:
        """Return where the value of a key may begin: after its colon."""
        found = re.compile(r"(?:[ \t\r\n]|#[^\n]*\n)*:").match(self.text, self._at(name.end_mark))
        if not found:
            raise Uneditable(Obstacle.TYPE, f"{name.value} has no colon")
        return found.end()

    def _extent(self, node: Node, floor: int) -> tuple[int, int]:
        """Return where a node's text begins, anchors aside, and where it ends; for an alias that of the alias."""
        if self._at(node.start_mark) < floor:
            found = _ALIAS.match(self.text, floor)
            if not found:
                raise Uneditable(Obstacle.ALIAS, "an alias was not found in the text")
            return self.text.rindex("*", floor, found.end()), found.end()
        begin = self._content(node)
        return begin, max(begin, self._end(node, floor))

    def _content(self, node: Node) -> int:
        """Return where a node begins, its anchor and tag aside."""
        start = self._at(node.start_mark)
        found = _PROPERTIES.match(self.text, start) if self.text[start : start + 1] in ("&", "!") else None
        return min(found.end(), self._at(node.end_mark)) if found and node.end_mark else start

    def _dash(self, node: Node) -> int:
        return self._content(node)

    def _dash_column(self, node: Node) -> int:
        dash = self._dash(node)
        line = self.text.rfind("\n", 0, dash) + 1
        return dash - line - self.text.startswith("\ufeff", line)

    def _end(self, node: Node, floor: int) -> int:
        """Return where the text of a node ends, without what is behind it on the line; a block scalar ends a line."""
        start = self._at(node.start_mark)
        if start < floor:
            found = _ALIAS.match(self.text, floor)
            if not found:
                raise Uneditable(Obstacle.ALIAS, "an alias was not found in the text")
            return found.end()
        if type(node) is ScalarNode:
            return self._block_end(node) if node.style in ("|", ">") else self._at(node.end_mark)
        return self._at(node.end_mark) if node.flow_style else self._end_of_last(node)

    def _end_of_last(self, node: Node) -> int:
        if type(node) is MappingNode:
            name, value = node.value[-1]
            return self._end(value, self._at(name.end_mark))
        end = self._at(node.start_mark)
        # An alias in a list is known by standing before the item ahead of it ended.
        items = node.value if any(id(item) in self.shared for item in node.value) else node.value[-1:]
        for item in items:
            end = self._end(item, end)
        return end

    def _end_with_comments(self, node: Node, column: int) -> int:
        """Return where a block collection ends, with the comments below its last entry that are indented deeper."""
        end = self._end(node, 0)
        while (begin := self._next_line(end)) < len(self.text):
            line = self.text[begin : self._next_line(begin + 1)]
            if not line.lstrip().startswith("#") or len(line) - len(line.lstrip()) <= column:
                break
            end = begin + len(line.rstrip("\r\n"))
        return end

    def _block_end(self, node: Node) -> int:
        end = self._at(node.end_mark)
        header = self.text[self._content(node) :].split("\n", 1)[0]
        if "+" in header.split("#")[0]:
            return end
        while True:
            line = self.text.rfind("\n", 0, end - 1) + 1
            if self.text[line:end].strip("\r\n") or line <= self._at(node.start_mark):
                return end
            end = line

    def _next_line(self, end: int) -> int:
        if end and self.text[end - 1] == "\n":
            return end
        following = self.text.find("\n", end)
        return len(self.text) if following < 0 else following + 1

    def _own_line(self, begin: int) -> str | None:
        """Return the indentation of what stands first on its line at `begin`; None where it doesn't."""
        lead = self.text[self.text.rfind("\n", 0, begin) + 1 : begin]
        return None if lead.strip(" \t") or "\n" not in self.text[:begin] else lead

    def _unit(self, node: Node, own: str) -> str:
        """Return by how much a flow collection's entries are indented."""
        start = self._at(node.start_mark)
        line = self.text.rfind("\n", 0, start) + 1
        outer = re.compile(r"[ \t]*").match(self.text, line)
        lead = outer[0] if outer else ""
        return own[len(lead) :] if own.startswith(lead) and len(own) > len(lead) else "  "

    def style(self, node: Node | None = None) -> dict[str, int]:
        """Return how far `node`, else the document, indents mappings below a key and lists, and items from a dash."""
        found = self._indents(node or self.root)
        if None in found.values():
            if self._found is None:
                self._found = self._indents(self.root)
            found = {key: self._found[key] if value is None else value for key, value in found.items()}
        return {key: USUAL[key] if value is None else value for key, value in found.items()}

    def _indents(self, root: Node) -> "_Found":
        found: _Found = dict.fromkeys(USUAL)
        stack: list[Node] = [root]
        for node in stack:  # which grows
            if None not in found.values() or len(stack) > _LOOKED_AT:
                break
            if type(node) is SequenceNode:
                first = node.value[0] if node.value and not node.flow_style else None
                if first is not None and found["gap"] is None and first.start_mark.line == node.start_mark.line:
                    found["gap"] = max(first.start_mark.column - self._dash_column(node), 2)
                stack.extend(item for item in node.value if type(item) is not ScalarNode)
            elif type(node) is MappingNode and not node.flow_style:
                for name, value in node.value:
                    if type(value) is ScalarNode or value.flow_style or value.start_mark.index < name.start_mark.index:
                        continue
                    stack.append(value)
                    column = self._column(name)
                    if type(value) is MappingNode and found["step"] is None:
                        found["step"] = self._column(value.value[0][0]) - column
                    elif type(value) is SequenceNode and found["listed"] is None:
                        found["listed"] = max(self._dash_column(value) - column, 0)
        return found


_LOOKED_AT = 2000
"""Nodes that are looked at to see how far a document indents."""
USUAL = {"step": 2, "listed": 0, "gap": 2}
_Found = dict[str, int | None]


def _is_quoted(root: Node) -> bool:
    """Tell whether the keys of a mapping are quoted as JSON has it."""
    return type(root) is MappingNode and all(key.style == '"' for key, _ in root.value)


def _ends_in_literal(lines: list[str]) -> bool:
    """Tell whether the last of new lines is one of a literal block, which ends with a line end of its own."""
    for index in range(len(lines) - 1, -1, -1):
        if lines[index].endswith("|"):
            indent = len(lines[index]) - len(lines[index].lstrip())
            return all(not line or line.startswith(" " * (indent + 1)) for line in lines[index + 1 :])
    return False
