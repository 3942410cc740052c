"""Plain data as the nodes of a document that nobody wrote: objects that an API server answered with."""

from typing import Any

from lithify.documents.nodes import MappingNode, Node, ScalarNode, SequenceNode
from lithify.documents.yaml import Document
from lithify.model.location import Route

_TAG: Any = None
"""As `documents.compose` makes it: a scalar gets its meaning where somebody asks."""


class LiveDocument(Document):
    """One object without lines."""

    def __init__(self, index: int, value: Any) -> None:
        super().__init__(index, to_node(value), (0, b"", 0, 0, 0))

    def find(self, _anchor: object, _tail: Route) -> tuple[int, int]:
        """Return no place: there is no text."""
        return 0, 0


def to_node(value: Any) -> Node:
    """Return the node of plain JSON data."""
    kind = type(value)
    if kind is dict:
        return MappingNode(_TAG, [(ScalarNode(_TAG, key, style='"'), to_node(item)) for key, item in value.items()])
    if kind is list:
        return SequenceNode(_TAG, [to_node(item) for item in value])
    if kind is str:
        return ScalarNode(_TAG, value, style='"')
    if kind is bool:
        return ScalarNode(_TAG, "true" if value else "false")
    return ScalarNode(_TAG, "null" if value is None else str(value))
