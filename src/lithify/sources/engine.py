"""What an engine has: its containers, running and stopped, and the services of its swarm, asked for in bulk."""

from collections.abc import Iterator, Sequence
from typing import Any

from lithify.engines.command_line.client import Client, parse_json
from lithify.engines.command_line.container_line import line_of_image
from lithify.engines.mounts import MountPoint, host_mounts
from lithify.errors import EngineRefused, NothingToExamine, UsageError
from lithify.model.finding import Skipped
from lithify.model.location import Location
from lithify.model.path import printable
from lithify.sources.base import Reading
from lithify.sources.container import read_container
from lithify.sources.swarm import read_service

_BULK = 100
"""Containers asked for at once: some megabytes of answer."""
_ANSWER = 1 << 26


def read_engine(engine: str, names: Sequence[str] = ()) -> Iterator[Reading]:
    """Yield a reading of each service and of each container that `engine` has, or of those named alone.

    What was left out because it was not named, or because this node can't be asked for it, comes last, as skipped.
    NothingToExamine where a name is neither's, or where there is nothing at all; EngineUnreachable where the engine
    does not answer.
    """
    for name in names:
        if not name or name.startswith("-"):
            raise UsageError(f"{printable(name)!r} names no container", hint="give names or ids as `ps` shows them")
    client = Client.of(line_of_image(engine, "image"))  # with what LITHIFY_DOCKER_ARGS and its like add
    host = host_mounts()
    listed = _listed(client)
    services, elsewhere = _services(client)
    if not names:
        if not listed and not services:
            raise NothingToExamine(f"{engine} has no container", hint="name files instead, or another engine")
        left = set(listed)
        yield from map(read_service, _inspect(client, "service", services))
        for item in _inspect(client, "container", listed):
            left.discard(str(item.get("Id")))
            yield read_container(item, engine, host)
        left = left.intersection(_listed(client)) if left else left  # the others went meanwhile
    else:
        left = set()
        yield from _read_named(client, names, host)
    rest = len(listed) + len(services) - len(set(names)) if names else 0
    skipped = [Skipped(Location(engine, route=("services",)), elsewhere)] if elsewhere else []
    if left:
        reason = f"{engine} says nothing of {len(left)} containers that it has: {', '.join(sorted(left))}"
        skipped.append(Skipped(Location(engine, route=("containers",)), reason))
    if rest > 0:
        skipped.append(
            Skipped(Location(engine, route=("containers",)), f"{rest} more containers and services were not named")
        )
    if skipped:
        reading = Reading(engine)
        reading.skipped = skipped
        yield reading


def _read_named(client: Client, names: Sequence[str], host: Sequence[MountPoint]) -> Iterator[Reading]:
    """Yield what is named: containers by name or the beginning of an id, and services."""
    containers = list(_inspect(client, "container", names))
    left = [name for name in names if not any(_is_called(item, name) for item in containers)]
    services = list(_inspect(client, "service", left)) if left and client.engine == "docker" else []
    for name in left:
        if not any(_is_called({**item, "Name": (item.get("Spec") or {}).get("Name")}, name) for item in services):
            client.require()
            raise NothingToExamine(f"{client.engine} has no container {printable(name)!r}", hint="see its `ps --all`")
    yield from map(read_service, services)
    yield from (read_container(item, client.engine, host) for item in containers)


def _is_called(found: dict[str, Any], name: str) -> bool:
    identity = str(found.get("Id") or found.get("ID") or "")
    return str(found.get("Name") or "").removeprefix("/") == name.removeprefix("/") or identity.startswith(name)


def _services(client: Client) -> tuple[list[str], str]:
    """Return the ids of the swarm's services, and why they can't be told where there may be some."""
    if client.engine != "docker":
        return [], ""
    info = client.run("info", "--format", "{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}}")
    if info.code != 0:
        client.require()
        return [], f"whether there are services can't be told: {printable(info.message)}"
    words = _words(info.stdout)
    if words[:2] == ["active", "true"]:
        return _words(client.ask("service", "ls", "--quiet")), ""
    if words[:1] == ["active"]:
        return [], "this node is no manager of its swarm: the services are not seen, their containers here are"
    return [], ""


def _listed(client: Client) -> list[str]:
    return _words(client.ask("ps", "--all", "--quiet", "--no-trunc"))


def _words(data: bytes) -> list[str]:
    return data.decode("utf-8", "replace").split()


def _inspect(client: Client, kind: str, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield what the engine knows of `names`; those that are gone, or never were, are left out."""
    size = ("--size",) if kind == "container" else ()
    for start in range(0, len(names), _BULK):
        yield from _inspect_some(client, (kind, "inspect", *size), names[start : start + _BULK])


def _inspect_some(client: Client, command: tuple[str, ...], names: Sequence[str]) -> Iterator[dict[str, Any]]:
    result = client.run(*command, *names, limit=_ANSWER)
    if result.truncated:
        if len(names) == 1:
            raise EngineRefused(f"{client.engine} says too much of {printable(names[0])!r}", hint="remove it?")
        middle = len(names) // 2
        yield from _inspect_some(client, command, names[:middle])
        yield from _inspect_some(client, command, names[middle:])
        return
    # One that is missing fails the command; the others are told all the same.
    found = parse_json(result.stdout)
    if not isinstance(found, list):
        client.expect(result)
        raise EngineRefused(f"{client.engine} does not answer in JSON", hint=f"try `{' '.join(command)}`")
    yield from (item for item in found if isinstance(item, dict))
