"""Edits YAML and JSON at routes and changes no other byte.

What is wanted is noted on the nodes that the parser found and, at the same time, on the plain data of the document. The
text is then changed at the parser's marks, from the end, and read again: what comes out must be exactly the data that
was wanted, or nothing is changed at all. What can't be said without touching something else is refused (`Uneditable`).
"""

import itertools
import json
import marshal
import re
from collections.abc import Callable, Iterable, Iterator, Set
from typing import Any

from lithify.documents.emit import render_block, render_json
from lithify.documents.nodes import MappingNode, Node, ScalarNode, SequenceNode, entries, to_python
from lithify.documents.splice import USUAL, Edit, Obstacle, Piece, Uneditable, Writer
from lithify.documents.yaml import Broken, Document, is_json, is_template, read_documents
from lithify.model.location import Key, Route
from lithify.model.text import UTF_16

Splice = tuple[int, int, bytes]
"""Bytes of a file, from and to, and what takes their place."""


_TOO_MANY_WAYS = 100_000


class Draft:
    """One document of a file, and what is to be changed in it."""

    def __init__(self, document: Document, original: str) -> None:
        self.document = document
        self.original = original
        try:
            self.data = to_python(document.root)
            """The document as plain data, with every edit so far; to be read, not changed."""
        except ValueError as error:
            if is_template(document.text):
                raise Uneditable(Obstacle.TEMPLATE, "the document is a Go template") from error
            raise Uneditable(Obstacle.UNREADABLE, f"kubectl refuses what stands here: {error}") from error
        self._edits: dict[int, Edit] = {}
        self._reached: dict[tuple[Route, bool], tuple[Node | None, Any, Route]] = {}
        """What `_reach` found, as long as no entry has changed since."""
        self._shifts: dict[int, int] = {}
        """For lists of the data, by id, how many items were put before those that the text has."""
        self.shared = _paths(document.root) if b"*" in document.text and b"&" in document.text else {}
        """How many ways lead to each node that more than one leads to, by id."""
        if sum(self.shared.values()) > _TOO_MANY_WAYS:
            raise Uneditable(Obstacle.ALIAS, "its aliases multiply beyond all measure")

    @property
    def changed(self) -> bool:
        """True once something is to be changed."""
        return bool(self._edits)

    def get(self, route: Route) -> Any:
        """Return the plain data at `route`, edits included; None where nothing stands there."""
        value = self.data
        for key in route:
            value = value.get(key) if type(value) is dict and type(key) is str else self._step(value, key)
            if value is None:
                return None
        return value

    def _step(self, value: Any, key: Key) -> Any:
        """Return what plain data has at one key; items are counted without those that were put before them."""
        if isinstance(value, dict):
            return value.get(str(key))
        if isinstance(value, list) and isinstance(key, int):
            index = key + self._shifts.get(id(value), 0)
            return value[index] if 0 <= index < len(value) else None
        return None

    def set(self, route: Route, value: Any) -> None:
        """Say `value` at `route`, making mappings on the way where nothing or null stands; the same again is none."""
        if self._stands(route) and _same(self.get(route), value):
            node, _, at = self._reach(route[:-1], make=True)
            if id(node) in self._edits and route[-1] in self._edits[id(node)].set:
                self._edits[id(node)].routes.add(at)
            return
        self._assign(route, _copied(value))

    def append(self, route: Route, item: Any) -> None:
        """Add `item` at the end of the list at `route`, which is made where nothing or null stands."""
        self._extend(route, _copied(item), front=False)

    def prepend(self, route: Route, item: Any) -> None:
        """Add `item` before the first of the list at `route`; routes go on to count the items that were there."""
        self._extend(route, _copied(item), front=True)

    def remove(self, route: Route) -> None:
        """Take away the entry of a mapping at `route`; nothing to do where none stands."""
        if not self._stands(route):
            return
        node, held, at = self._reach(route[:-1], make=False)
        key = str(route[-1])
        if not isinstance(held, dict):
            raise Uneditable(Obstacle.TYPE, "an item of a list can't be taken away", at)
        if node is not None:
            self._insist_on_own(node, key, at)
            edit = self._edit(node, at)
            edit.set.pop(key, None)
            if _child(node, key) is not None:
                edit.removed.add(key)
        self._reached.clear()
        del held[key]

    def rename(self, route: Route, name: str) -> None:
        """Give the entry of a mapping at `route` the key `name` and leave its value."""
        node, held, at = self._reach(route[:-1], make=False)
        key = str(route[-1])
        if node is None or _child(node, key) is None or key not in held:
            raise Uneditable(Obstacle.MISSING, f"there is no {_shown(route)}", route)
        if _child(node, name) is not None:
            raise Uneditable(Obstacle.DUPLICATE, f"{name} stands there already", route)
        self._insist_on_own(node, key, at)
        self._edit(node, at).renamed[key] = name
        self._reached.clear()
        held[name] = held.pop(key)

    def splices(self) -> list[Splice]:
        """Return what to change in the file, in order; Uneditable where the text can't be changed safely."""
        self._insist_on_all_sharers()
        writer = Writer(self.document, self.original, self.shared)
        found = sorted((piece for edit in self._edits.values() for piece in writer.pieces(edit)), key=Piece.order)
        for before, after in itertools.pairwise(found):
            if after.begin < before.end:
                raise Uneditable(Obstacle.CHECK, "two edits touch the same text")
        position, offset, splices = 0, self.document.start, []
        plain = self.original.isascii()
        for piece in found:
            between, own = self.original[position : piece.begin], self.original[piece.begin : piece.end]
            begin = offset + (len(between) if plain else len(between.encode()))
            offset = begin + (len(own) if plain else len(own.encode()))
            position = piece.end
            splices.append((begin, offset, piece.text.encode()))
        return splices

    def _stands(self, route: Route) -> bool:
        held = self.get(route[:-1])
        if isinstance(held, list):
            return isinstance(route[-1], int) and route[-1] < len(held)
        return isinstance(held, dict) and str(route[-1]) in held

    def _assign(self, route: Route, value: Any) -> None:
        node, held, at = self._reach(route[:-1], make=True)
        key = route[-1]
        if isinstance(held, list):
            if not isinstance(key, int) or key >= len(held):
                raise Uneditable(Obstacle.MISSING, f"there is no {_shown(route)}", at)
            held[key + self._shifts.get(id(held), 0)] = value
            self._reached.clear()
        else:
            if key in held:
                self._reached.clear()  # what was below it is not there any more
            held[key] = value
        if node is not None:
            self._insist_on_own(node, key, at)
            edit = self._edit(node, at)
            renamed = next((old for old, new in edit.renamed.items() if new == key), key)
            edit.set[renamed] = value

    def _extend(self, route: Route, item: Any, *, front: bool) -> None:
        present = self.get(route)
        if not present:
            if present not in (None, []):
                raise Uneditable(Obstacle.TYPE, f"{_shown(route)} is not a list", route)
            self._assign(route, [item])
            return
        node, held, at = self._reach(route, make=False)
        if not isinstance(held, list):
            raise Uneditable(Obstacle.TYPE, f"{_shown(route)} is not a list", route)
        if node is not None:
            edit = self._edit(node, at)
            edit.prepended.insert(0, item) if front else edit.appended.append(item)
            if front:
                self._shifts[id(held)] = self._shifts.get(id(held), 0) + 1
        held.insert(0, item) if front else held.append(item)

    def _reach(self, route: Route, *, make: bool) -> tuple[Node | None, Any, Route]:
        """Return the node and the data at `route`; no node for what is new. Missing mappings are made if `make`."""
        known = self._reached.get((route, make))
        if known is None:
            known = self._walk(route, make=make)
            self._reached[route, make] = known
        return known

    def _walk(self, route: Route, *, make: bool) -> tuple[Node | None, Any, Route]:
        node: Node | None
        node, held = self.document.root, self.data
        if route:
            node, held, _ = self._reach(route[:-1], make=make)
            node, held = self._step_into(node, held, route, make=make)
        if not isinstance(held, dict | list):
            obstacle = Obstacle.TEMPLATE if isinstance(held, str) and "{{" in held else Obstacle.TYPE
            raise Uneditable(obstacle, f"{_shown(route)} is {held!r:.60}, neither a mapping nor a list", route)
        return node, held, route

    def _step_into(self, node: Node | None, held: Any, route: Route, *, make: bool) -> tuple[Node | None, Any]:
        """Return node and data at the end of `route`, of which all but the last step leads to those that are given."""
        key = route[-1]
        following = self._step(held, key)
        if following is None or (make and following == {} and node is not None and not self._emptied(node, key)):
            if not make or not isinstance(held, dict):
                raise Uneditable(Obstacle.MISSING, f"there is no {_shown(route)}", route[:-1])
            following = {}
            self._assign(route, following)
            return None, following
        if node is not None:
            edit = self._edits.get(id(node))
            if edit is not None and key in edit.set:
                return None, following
            self._insist_on_own(node, key, route[:-1])
            node = self._below(node, key)
        return node, following

    def _emptied(self, node: Node, key: Key) -> bool:
        """Tell whether a mapping that has nothing in it any more still has text in the file."""
        found = self._below(node, key)
        return type(found) is MappingNode and bool(found.value)

    def _below(self, node: Node | None, key: Key) -> Node | None:
        """Return what a node itself holds at a key, by the name that the key has now."""
        edit = self._edits.get(id(node))
        if edit is not None and edit.renamed:
            key = next((old for old, new in edit.renamed.items() if new == key), key)
        return _child(node, key)

    def _edit(self, node: Node, at: Route) -> "Edit":
        edit = self._edits.setdefault(id(node), Edit(node))
        edit.routes.add(at)
        return edit

    def _insist_on_own(self, node: Node, key: Key, at: Route) -> None:
        """Raise Uneditable where `key` of a mapping is not said once, by itself and literally."""
        if type(node) is not MappingNode:
            return
        said, merges = 0, False
        for name, _ in node.value:
            if type(name) is not ScalarNode:
                raise Uneditable(Obstacle.TEMPLATE, f"{_shown(at)} holds a templated value", at)
            said += name.value == key
            merges = merges or name.value == "<<"
        if said > 1:
            raise Uneditable(Obstacle.DUPLICATE, f"key {key!r} stands more than once in {_shown(at)}", at)
        if merges and key in {name for source in _merge_sources(node) for name in entries(source)}:
            raise Uneditable(Obstacle.MERGE, f"{_shown((*at, key))} comes from a merge key", at)

    def _insist_on_all_sharers(self) -> None:
        """Raise Uneditable where a node that is to be changed is used elsewhere too."""
        for edit in self._edits.values():
            if self.shared.get(id(edit.node), 1) > len(edit.routes):
                at = min(edit.routes, key=lambda route: (len(route), str(route)))
                raise Uneditable(Obstacle.ALIAS, f"{_shown(at)} is shared, by an anchor, with another place", at)


class Editor:
    """A file, and what is to be changed in its documents."""

    def __init__(
        self, data: bytes, wanted: Callable[[bytes], bool] | None = None, only: Set[int] | None = None
    ) -> None:
        """Read the documents whose text is `wanted`, and keep those with an index in `only`, and what shares text with
        them; all without these."""
        if data[:2] in UTF_16:
            raise Uneditable(Obstacle.TYPE, "the file is UTF-16; save it as UTF-8")
        if b"\r" in data and b"\n" not in data:
            raise Uneditable(Obstacle.TYPE, "its lines end in carriage returns alone; save it with line feeds")
        self.data = data
        self._documents: dict[int, Document | Broken] = {}
        for _, group in itertools.groupby(read_documents(data, wanted), lambda one: one.text):
            read = {one.index: one for one in group}
            if only is not None and min(read) > max(only, default=-1):
                break
            if only is None or not only.isdisjoint(read.keys()):
                self._documents |= read
        self._by_start: dict[int, list[Document]] = {}
        for document in self._documents.values():
            if isinstance(document, Document):
                self._by_start.setdefault(document.start, []).append(document)
        self._drafts: dict[int, Draft] = {}
        self._added: list[dict[str, Any]] = []

    def documents(self) -> Iterator[Document]:
        """Yield the documents that can be read."""
        return (found for found in self._documents.values() if isinstance(found, Document))

    def draft(self, index: int) -> Draft:
        """Return the document `index` for editing; Uneditable where it can't be read."""
        draft = self._drafts.get(index)
        return draft if draft is not None else self.fresh(index)

    def fresh(self, index: int) -> Draft:
        """Return the document `index` for editing, all edits so far forgotten."""
        document = self._documents.get(index)
        if document is None:
            raise Uneditable(Obstacle.MISSING, f"the file has no document {index + 1}")
        if isinstance(document, Broken):
            template = is_template(document.text)
            obstacle, what = (
                (Obstacle.TEMPLATE, "the document is a Go template: ") if template else (Obstacle.UNREADABLE, "")
            )
            raise Uneditable(obstacle, f"{what}line {document.line}: {document.reason}")
        self._drafts.pop(index, None)
        draft = Draft(document, self.data[document.start : document.end].decode())
        self._drafts[index] = draft
        return draft

    def forget(self, index: int) -> None:
        """Take back every edit of the document `index`."""
        self._drafts.pop(index, None)

    def splices(self) -> list[Splice]:
        """Return what to change in the file, in order; Uneditable as for `apply`."""
        splices: list[Splice] = []
        chunks: dict[int, list[Draft]] = {}
        for draft in self._drafts.values():
            if draft.changed:
                chunks.setdefault(draft.document.start, []).append(draft)
        for start, drafts in sorted(chunks.items()):
            try:
                own = sorted((found for draft in drafts for found in draft.splices()), key=lambda found: found[:2])
                self._check(start, drafts, own)
            except Uneditable as error:
                error.document = drafts[0].document.index
                raise
            splices += own
        return [*splices, *self._additions()]

    def add_document(self, value: dict[str, Any]) -> None:
        """Add a document at the end of the file, indented as its others; to JSON a further object, as kubectl reads."""
        self._added.append(_copied(value))

    def forget_documents(self) -> None:
        """Take back what `add_document` added."""
        self._added.clear()

    def _additions(self) -> list[Splice]:
        if not self._added:
            return []
        newline = "\r\n" if 2 * self.data.count(b"\r\n") > self.data.count(b"\n") else "\n"
        if is_json(self.data):
            indent = min(re.findall(r"(?m)^[ \t]+(?=\S)", self.data.decode()), key=len, default=None)
            compact = indent is None and b'": ' not in self.data
            texts = (render_json(value, indent=indent, compact=compact) for value in self._added)
            lines = [line for text in texts for line in text.splitlines()]
        else:
            like = [one for one in self.documents() if not one.root.flow_style][-1:]
            style = USUAL
            if like:
                style = Writer(like[0], self.data[like[0].start : like[0].end].decode(), ()).style()
            lines = [line for value in self._added for line in ("---", *render_block(value, **style))]
            if re.search(rb"(?:\A|\n)---[ \t]*\s*\Z", self.data):
                lines = lines[1:]  # the file ends with one
        text = ("" if self.data.endswith(b"\n") else newline) + newline.join(lines) + newline
        found = list(read_documents(text.encode()))
        if [to_python(each.root) for each in found if isinstance(each, Document)] != self._added:
            raise Uneditable(Obstacle.CHECK, "the added document came out as other data than was wanted")
        return [(len(self.data), len(self.data), text.encode())]

    def apply(self) -> bytes:
        """Return the file with every edit; Uneditable where it would not come out as exactly what was wanted."""
        return splice(self.data, self.splices())

    def _check(self, start: int, drafts: list[Draft], splices: list[Splice]) -> None:
        """Read the changed part again: each document in it must be exactly the data that was wanted."""
        end = drafts[0].document.end
        text = splice(self.data[start:end], [(begin - start, stop - start, new) for begin, stop, new in splices])
        changed = {draft.document.index: draft.data for draft in drafts}
        wanted = [
            changed[document.index] if document.index in changed else to_python(document.root)
            for document in self._by_start[start]
        ]
        found = list(read_documents(text))
        if len(found) != len(wanted):
            raise Uneditable(Obstacle.CHECK, "the text came out as another number of documents")
        for document, data in zip(found, wanted, strict=True):
            if isinstance(document, Broken):
                raise Uneditable(Obstacle.CHECK, f"the text came out unreadable: {document.reason}")
            try:
                same = _same(to_python(document.root), data)
            except ValueError:
                same = False
            if not same:
                raise Uneditable(Obstacle.CHECK, "the text came out as other data than was wanted")


def splice(data: bytes, splices: Iterable[Splice]) -> bytes:
    """Return `data` with each of `splices`, which are in order and do not overlap."""
    parts, position = [], 0
    for begin, end, text in splices:
        parts += [data[position:begin], text]
        position = end
    return b"".join((*parts, data[position:]))


def _child(node: Node | None, key: Key) -> Node | None:
    """Return what a node itself holds at a key or index, merge keys not followed."""
    if type(node) is MappingNode:
        return next((value for name, value in reversed(node.value) if name.value == key), None)
    if type(node) is SequenceNode and isinstance(key, int) and 0 <= key < len(node.value):
        return node.value[key]
    return None


def _merge_sources(node: Node) -> Iterator[Node]:
    for name, value in node.value:
        if name.value == "<<" and not name.style:
            yield from (item for item in (value.value if type(value) is SequenceNode else (value,)))


def _paths(root: Node) -> dict[int, int]:
    """Return, for each node that is reached from `root` in more than one way, in how many."""
    order: list[Node] = []
    seen: set[int] = set()
    stack: list[tuple[Node, bool]] = [(root, False)]
    while stack:
        node, leaving = stack.pop()
        if leaving:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack.extend((item, False) for item in _held(node))
    ways = {id(root): 1}
    for node in reversed(order):
        for item in _held(node):
            ways[id(item)] = ways.get(id(item), 0) + ways[id(node)]
    return {node: count for node, count in ways.items() if count > 1}


def _held(node: Node) -> Iterator[Node]:
    if type(node) is MappingNode:
        yield from (value for _, value in node.value)
    elif type(node) is SequenceNode:
        yield from node.value


def _same(one: Any, other: Any) -> bool:
    """Tell whether two pieces of data are the same to JSON: 1, 1.0 and true are three values."""
    # Most are the same in the same order, which is told ten times as fast.
    if one is other or marshal.dumps(one, _PLAIN) == marshal.dumps(other, _PLAIN):
        return True
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


_PLAIN = 2
"""The last format of marshal in which what is shared is written out each time."""


def _copied(value: Any) -> Any:
    """Return plain data anew, so that whoever gave it may change theirs."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


def _shown(route: Route) -> str:
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in route)
    return text.lstrip(".") or "the document"
