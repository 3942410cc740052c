"""Where something stands in an input: a route of keys; line and column come late.

Plain classes with slots, here and in `workload` and `finding`: `audit` of one file may not cost the import of
`dataclasses`, and a run over thousands of files makes hundreds of thousands of these.
"""

# ruff: noqa: SLF001 - a place makes its copies itself, slot by slot

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
        line: int = 0,
        column: int = 0,
    ) -> None:
        self.path = path
        self.document = document
        """Index of the document in its file, empty ones not counted."""
        self.route = route
        self._finder = finder
        self._anchor = anchor
        self._tail: Route = ()
        self._line = line
        self._column = column

    def __truediv__(self, key: Key) -> "Location":
        """Return the place one key deeper; where nothing stands there, it is found at the nearest place above."""
        return self.below((key,))

    def on(self, anchor: object, keys: Route) -> "Location":
        """Return the place that `keys` lead to from here, found by what its document has there."""
        place = self.below(keys)
        place._anchor = anchor
        place._tail = ()
        return place

    def below(self, keys: Route) -> "Location":
        """Return the place that `keys` lead to from here."""
        if not keys:
            return self
        place = Location.__new__(
            Location
        )  # the busiest line of an audit: a call with eight keywords costs five times this
        place.path = self.path
        place.document = self.document
        place.route = self.route + keys
        place._finder = self._finder
        place._anchor = self._anchor
        place._tail = self._tail + keys
        place._line = 0 if self._finder else self._line
        place._column = 0 if self._finder else self._column
        return place

    def redirect(self, path: str, translate: Callable[[int, int], tuple[int, int]]) -> None:
        """Make this place, and those below it, one of another file: `translate` takes line and column there."""
        finder = self._finder
        self.path = path
        if finder is None:
            self._line, self._column = translate(self._line, self._column)
        else:
            self._finder = lambda anchor, tail: translate(*finder(anchor, tail))
            self._line = self._column = 0

    def find(self) -> tuple[int, int]:
        """Return line and column, from 1, the column in characters; zeros where the input has no lines."""
        if not self._line and self._finder is not None:
            self._line, self._column = self._finder(self._anchor, self._tail)
        return self._line, self._column

    def settle(self) -> None:
        """Find it now, for good: its document is no longer needed for that, and no longer kept."""
        self.find()
        self._finder = self._anchor = None

    @property
    def line(self) -> int:
        """Line from 1; 0 where the input has no lines."""
        return self.find()[0]

    @property
    def column(self) -> int:
        """Column from 1, in characters; 0 where the input has no lines."""
        return self.find()[1]

    def __str__(self) -> str:
        line, column = self.find()
        return f"{self.path}:{line}:{column}" if line else self.path
