"""Where something stands in an input: a route of keys; line and column come late.

Plain classes with slots, here and in `workload` and `finding`: `audit` of one file may not cost the import of
`dataclasses`, and a run over thousands of files makes hundreds of thousands of these.
"""

from collections.abc import Callable

Key = str | int
Route = tuple[Key, ...]
Finder = Callable[[object, Route], tuple[int, int]]
"""Takes an anchor (whatever the document has there) and the keys below it to line and column, both from 1."""


class Location:
    """A place in an input: the path of the file (or the name of the live object), a document in it, a route of keys."""

    __slots__ = ("_anchor", "_column", "_finder", "_line", "_tail", "document", "path", "route")

    def __init__(
        self,
        path: str,
        document: int = 0,
        route: Route = (),
        *,
        finder: Finder | None = None,
        anchor: object = None,
        tail: Route = (),
        line: int = 0,
        column: int = 0,
    ) -> None:
        self.path = path
        self.document = document
        """Index of the document in its file, empty ones not counted."""
        self.route = route
        self._finder = finder
        self._anchor = anchor
        self._tail = tail
        self._line = line
        self._column = column

    def __truediv__(self, key: Key) -> "Location":
        """Return the place one key deeper; where nothing stands there, it is found at the nearest place above."""
        return self.below((key,))

    def below(self, keys: Route) -> "Location":
        """Return the place that `keys` lead to from here."""
        if not keys:
            return self
        return Location(
            self.path,
            self.document,
            self.route + keys,
            finder=self._finder,
            anchor=self._anchor,
            tail=self._tail + keys,
            line=0 if self._finder else self._line,
            column=0 if self._finder else self._column,
        )

    def _find(self) -> None:
        if self._finder is not None and not self._line:
            self._line, self._column = self._finder(self._anchor, self._tail)

    @property
    def line(self) -> int:
        """Line from 1; 0 where the input has no lines."""
        self._find()
        return self._line

    @property
    def column(self) -> int:
        """Column from 1, in characters; 0 where the input has no lines."""
        self._find()
        return self._column

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}" if self.line else self.path
