"""What the files of a Compose project say of its services, layer by layer: who wants to change one must know all."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from lithify.documents.nodes import to_python
from lithify.model.location import Route
from lithify.sources.base import read_bytes
from lithify.sources.compose import Compose, Fields, join, settled

_READ = frozenset(
    ("build", "command", "configs", "deploy", "entrypoint", "environment", "image", "platform", "profiles",
     "pull_policy", "read_only", "scale", "secrets", "tmpfs", "user", "userns_mode", "volumes",
     "working_dir")
)  # fmt: skip
"""What a patch depends on."""
_TABLES = ("configs", "secrets", "volumes")


@dataclass(frozen=True, slots=True)
class Layer:
    """A place that says something of a service; others are merged over it or under it."""

    path: str
    document: int
    route: Route
    asked: str = ""
    """How the file is called where it is included; nothing where it isn't."""


class Layers:
    """A project, read by its first file, whose text is `data`; `read_other` gives that of the others."""

    def __init__(self, path: str, data: bytes, read_other: Callable[[str], bytes | str] = read_bytes) -> None:
        self._compose = Compose(path, stack=False, read_other=read_other)
        self._compose.read(data)
        self._said = [one for group in reversed(self._compose.said) for one in group]
        self.not_followed = [skipped.reason for skipped in self._compose.reading.skipped]
        """What could not be read of it, in sentences."""

    @property
    def paths(self) -> set[str]:
        """Every file that is part of it, as an absolute path."""
        return {key for key, files in self._compose.opened.items() if files}

    @property
    def services(self) -> frozenset[str]:
        """What all services of all files are called."""
        return frozenset(service for _, service, _, _ in self._said)

    def of(self, name: str) -> list[Layer]:
        """Return where a service is described; what counts most comes last."""
        asked = self._compose.named
        return [
            Layer(file.path, file.document.index, place.route, asked.get(file.path, ""))
            for file, service, place, _ in self._said
            if service == name and place.node.tag != "!reset"
        ]

    def effective(self, name: str) -> dict[str, Any]:
        """Return what all layers come to; ValueError for what is no plain data. Variables stand as they are written."""
        fields: Fields = {}
        for _, service, place, own in self._said:
            if service == name:
                alone = place.node.tag in ("!reset", "!override")
                fields = join({} if alone else fields, own)
        return {key: _plain(key, places) for key, places in settled(fields).items() if key in _READ}

    def tables(self) -> dict[str, dict[str, Any]]:
        """Return the configs, secrets and volumes that any of the files declares."""
        found: dict[str, dict[str, Any]] = {key: {} for key in _TABLES}
        for file in (file for files in self._compose.opened.values() for file in files):
            for key in _TABLES:
                found[key] |= {name: to_python(place.node) for name, place in file.table(key).items()}
        return found

    def extended_by(self, layer: Layer) -> str:
        """Return the service that extends the one which stands there; nothing where none does."""
        return self._compose.extenders.get((os.path.abspath(layer.path), str(layer.route[-1])), "")


def _plain(key: str, places: Any) -> Any:
    values = [to_python(place.node) for place in places]
    if len(values) == 1:
        return values[0]
    if key == "environment":
        return {name: value for held in values for name, value in _variables(held)}
    if key == "deploy":
        return values[0]
    return [item for held in values for item in (held if isinstance(held, list) else [held]) if held is not None]


def _variables(held: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(held, dict):
        yield from held.items()
    for pair in held if isinstance(held, list) else ():
        name, sign, value = str(pair).partition("=")
        yield name, value if sign else None
