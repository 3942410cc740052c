"""What the nodes of a document mean to kubectl: keys, merge keys, scalars, plain data.

A node keeps its text, and a scalar gets its meaning only where somebody asks (`documents.scalar`). Aliases and merge
keys are never expanded more than once.
"""

from collections.abc import Callable, Iterable

from yaml.nodes import MappingNode, ScalarNode, SequenceNode

from lithify.documents.scalar import FALSE, NULL, TRUE, WORDS, Scalar, read_plain

TYPE_CHECKING = False  # a name of ours: `typing` costs a tenth of the time that an audit of one file takes
if TYPE_CHECKING:
    from typing import Any
else:
    Any = object

Node = Any
"""One of PyYAML's three node classes; told apart by `type(node) is ...`, which is what is fast."""

__all__ = ["MappingNode", "Node", "ScalarNode", "SequenceNode"]


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
        merged.update((key.value, value) for key, value in node.value if type(key) is ScalarNode and not is_merge(key))
    return merged


def duplicates(node: Node) -> list[str]:
    """Return the keys that stand in a mapping more than once."""
    seen: set[str] = set()
    twice: list[str] = []
    for key, _ in node.value:
        if type(key) is ScalarNode and not is_merge(key):
            if key.value in seen and key.value not in twice:
                twice.append(key.value)
            seen.add(key.value)
    return twice


Step = Callable[[object, str | int, set[int] | None], tuple[Node, Any] | None]
"""Finds what stands at a key, as `child` does."""


def child(
    node: object, key: str | int, seen: set[int] | None = None, step: Step | None = None
) -> tuple[Node, Any] | None:
    """Return what stands at one key or index of a node, and the mark of its place; None where nothing does.

    `seen` are the mappings that merge keys led to already, each of which is looked through once, by `step`.
    """
    if type(node) is MappingNode:
        merges = []
        for name, value in reversed(node.value):
            text = name.value
            if text == key:
                return value, name.start_mark
            if text == "<<" and is_merge(name):
                merges.append(value)
        return merged_child(merges, key, seen, step or child) if merges else None
    if type(node) is SequenceNode and isinstance(key, int) and key < len(node.value):
        return node.value[key], node.value[key].start_mark
    return None


def merged_child(merges: Iterable[Node], key: str | int, seen: set[int] | None, step: Step) -> tuple[Node, Any] | None:
    """Return what `child` does, of what merge keys lead to."""
    seen = set() if seen is None else seen
    for merge in merges:
        for source in merge.value if type(merge) is SequenceNode else (merge,):
            if type(source) is MappingNode and id(source) not in seen:
                seen.add(id(source))
                found = step(source, key, seen)
                if found is not None:
                    return found
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
        return leaf(node)
    if id(node) in made:
        return made[id(node)]
    if kind is SequenceNode:
        value = [leaf(item) if type(item) is ScalarNode else _to_python(item, made, merged) for item in node.value]
    else:
        value = {}
        for key, item in node.value:
            if type(key) is ScalarNode and key.value != "<<":
                text = key.value
                if not key.style and (text in WORDS or not text[:1].isalpha() or type(key.tag) is str):
                    text = key_text(key)
                value[text] = leaf(item) if type(item) is ScalarNode else _to_python(item, made, merged)
            else:
                for name, other in merged_pairs(key, item, merged):
                    value[key_text(name)] = _to_python(other, made, merged)
    made[id(node)] = value
    return value


def leaf(node: Node) -> Scalar:
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


def merged_pairs(key: Node, item: Node, known: dict[int, dict[Any, tuple[Node, Node]]]) -> Iterable[tuple[Node, Node]]:
    """Return one entry of a mapping, or those that it merges in; `known` are mappings that were gone through."""
    if not is_merge(key):
        return ((key, item),)
    found: dict[Any, tuple[Node, Node]] = {}
    for source in reversed(item.value) if type(item) is SequenceNode else (item,):
        if type(source) is not MappingNode:
            raise ValueError("a merge key needs a mapping or a list of mappings")
        if id(source) not in known:
            own: dict[Any, tuple[Node, Node]] = {}
            for name, other in source.value:
                pairs = merged_pairs(name, other, known)
                own.update(((one.value if type(one) is ScalarNode else id(one)), (one, value)) for one, value in pairs)
            known[id(source)] = own
        found.update(known[id(source)])
    return found.values()


def key_text(key: Node) -> str:
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


def is_merge(key: Node) -> bool:
    return type(key) is ScalarNode and key.value == "<<" and not key.style


def _merged(node: Node, known: dict[int, dict[str, Node]]) -> dict[str, Node]:
    """Follow merge keys in order, so that the later entry wins, as go-yaml v2 has it; each mapping once."""
    if id(node) in known:
        return known[id(node)]
    found: dict[str, Node] = {}
    for key, value in node.value:
        if is_merge(key):
            sources = value.value if type(value) is SequenceNode else (value,)
            for source in reversed(sources):
                if type(source) is MappingNode:
                    found.update(_merged(source, known))
        elif type(key) is ScalarNode:
            found[key.value] = value
    known[id(node)] = found
    return found
