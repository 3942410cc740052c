"""A Compose project as `docker compose config` resolves it, and the scratch copy of it that a trial runs.

In the copy nothing bears a name of the user's project, no port is published, no network or label of the user's takes
part, and no policy restarts what is being looked at. Storage is exchanged by whoever can make it (`engine`,
beside this).
"""

import copy
import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from lithify.engines.command_line.runline import RunLine, mount_value, parse_run_line
from lithify.engines.compose.flags import ONCE_DONE, ServicePlan, giving_service, where_given
from lithify.errors import EngineRefused, NothingToExamine
from lithify.model.path import printable

Service = dict[str, Any]

_NOT_OURS = (
    "build", "container_name", "credential_spec", "deploy", "develop", "external_links", "label_file",
    "labels", "logging", "mac_address", "ports", "profiles", "pull_policy", "restart", "scale", "attach",
)  # fmt: skip
"""What names, publishes, builds, multiplies or restarts the user's containers, or tells other programs about them."""
_ADDRESSES = ("ipv4_address", "ipv6_address", "link_local_ips", "mac_address")
_SOCKETS = frozenset(("docker.sock", "podman.sock", "containerd.sock", "crio.sock"))
_HOLD_SOCKETS = frozenset(("/", "/run", "/var/run", "/var", "/run/podman", "/run/containerd", "/run/crio"))
_OF_THE_HOST = ("host", "none", "bridge")
_NETWORK_KEYS = ("internal", "enable_ipv6", "enable_ipv4", "attachable")
_LOG = {"driver": "json-file", "options": {"max-size": "16m"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """The user's project, every file of it joined and every variable replaced."""

    name: str
    services: Mapping[str, Service]
    """All of them, whatever their profile."""
    active: frozenset[str]
    """Those that `up` starts."""
    tables: Mapping[str, Mapping[str, Any]]
    """`networks`, `volumes`, `configs` and `secrets` by name."""

    engine: str = "docker"
    """What runs it: `docker` or `podman`."""

    @classmethod
    def of(cls, text: bytes, active: Iterable[str], engine: str = "docker") -> "Project":
        """Return what `config --format json` printed; a `$` stands there twice."""
        model = _undoubled(json.loads(text))
        return cls(
            engine=engine,
            name=str(model.get("name", "")),
            services=model.get("services") or {},
            active=frozenset(active),
            tables={key: model.get(key) or {} for key in ("networks", "volumes", "configs", "secrets")},
        )

    def service(self, name: str) -> Service:
        """Return a service by name; NothingToExamine where there is none."""
        if name not in self.services:
            known = ", ".join(sorted(map(printable, self.services))) or "none at all"
            raise NothingToExamine(f"no service {printable(name)} in this project", hint=f"it has {known}")
        return self.services[name]

    def image(self, name: str) -> str:
        """Return the image of a service: what it names, or what Compose calls the one that it builds."""
        service = self.service(name)
        return str(service.get("image") or f"{self.name}-{name}")

    def needed_by(self, name: str) -> frozenset[str]:
        """Return the services that have to run before `name` does, and theirs."""
        found: set[str] = set()
        waiting = [name]
        while waiting:
            for other in _requires(self.services.get(waiting.pop(), {})):
                if other in self.services and other not in found and other != name:
                    found.add(other)
                    waiting.append(other)
        return frozenset(found)

    def together_with(self, name: str) -> frozenset[str]:
        """Return the services that run when `name` does: those that are on, and what it needs, its profiles on."""
        on = set(self.service(name).get("profiles") or ())
        profiled = {other for other, service in self.services.items() if on & set(service.get("profiles") or ())}
        chosen = self.active | profiled | {name}
        for other in tuple(chosen):
            chosen |= self.needed_by(other)
        must = self.needed_by(name) | {name}
        return frozenset(
            must | {other for other in chosen if _replicas(self.services[other]) and self._harmless(other)}
        )

    def left_out_with(self, name: str) -> frozenset[str]:
        """Return the services that are on and yet don't run when `name` does: a copy would drive the user's engine."""
        return frozenset(
            other for other in self.active - self.together_with(name) if _replicas(self.services[other]) != 0
        )

    def drives_engine(self, name: str) -> bool:
        """Tell whether a service reaches the engine: what it does there, a copy of it would do to the user's own."""
        service = self.service(name)
        sources = [str(v.get("source", "")) for v in service.get("volumes") or () if v.get("type") == "bind"]
        return bool(service.get("use_api_socket")) or any(
            PurePosixPath(source).name in _SOCKETS or source in _HOLD_SOCKETS for source in sources
        )

    def _harmless(self, name: str) -> bool:
        return not any(map(self.drives_engine, self.needed_by(name) | {name}))

    def line(self, name: str) -> RunLine:
        """Return the run line that a service comes to, to be read for what it says of itself; it is never run."""
        service = self.service(name)
        words = [self.engine, "run", f"--name={name}"]
        for key, flag in (("user", "user"), ("working_dir", "workdir"), ("stop_signal", "stop-signal")):
            if service.get(key):
                words.append(f"--{flag}={service[key]}")
        entrypoint = service.get("entrypoint")
        if entrypoint is not None:
            words.append(f"--entrypoint={json.dumps(_words(entrypoint))}")
        limit = _memory_limit(service)
        if limit:
            words.append(f"--memory={limit}")
        for variable, value in (service.get("environment") or {}).items():
            words.append(f"--env={variable}" if value is None else f"--env={variable}={value}")
        words += [f"--volume={path}" for path in _joined(service)]
        words += [f"--tmpfs={entry}" for entry in _words(service.get("tmpfs"))]
        words += [f"--mount={mount}" for mount in map(_mount, service.get("volumes") or ()) if mount]
        return parse_run_line([*words, "--", self.image(name), *_words(service.get("command"))])

    def ports(self, name: str) -> dict[int, int]:
        """Return the TCP ports that a service publishes, each with its own port behind it; no ranges."""
        found = {}
        for port in self.service(name).get("ports") or ():
            published = str(port.get("published", ""))
            if port.get("protocol", "tcp") == "tcp" and published.isdigit() and isinstance(port.get("target"), int):
                found[int(published)] = int(port["target"])
        return found

    def health(self, name: str) -> tuple[str, ...]:
        """Return the command of a service's own health check; nothing where it has none of its own."""
        check = self.service(name).get("healthcheck") or {}
        test = [] if check.get("disable") else check.get("test") or []
        words = [str(word) for word in test] if isinstance(test, list) else ["CMD-SHELL", str(test)]
        if words[:1] == ["CMD"]:
            return tuple(words[1:])
        return ("/bin/sh", "-c", words[1]) if words[:1] == ["CMD-SHELL"] and len(words) > 1 else ()


@dataclass
class Scratch:
    """A copy of a project under a name of its own, on its way to be run."""

    project: Project
    name: str
    """Of the project; everything in it is named after it."""
    labels: Mapping[str, str]
    services: dict[str, Service] = field(default_factory=dict)
    networks: dict[str, Any] = field(default_factory=dict)
    volumes: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """What of the project is not in the copy, in sentences."""

    @classmethod
    def of(cls, project: Project, name: str, labels: Mapping[str, str], services: Iterable[str]) -> "Scratch":
        """Return a copy of `services`, without anything that would touch or meet the user's own."""
        scratch = cls(project=project, name=name, labels=labels)
        chosen = sorted(services)
        for service in chosen:
            scratch.services[service] = scratch._service(service, chosen)
        scratch._add_networks()
        return scratch

    def container(self, service: str) -> str:
        """Return what the container of a service is called."""
        return f"{self.name}-{service}"

    def plan(self, service: str, plan: ServicePlan) -> None:
        """Make a service read-only as planned."""
        known = self.services[service]
        known["read_only"] = True
        known["tmpfs"] = [*_words(known.get("tmpfs")), *plan.tmpfs]
        volumes = known.setdefault("volumes", [])
        # Two services may want the same name, and one of the user's may have it.
        names = {key: f"planned-{service}-{key}" for key in plan.named}
        for key, options in plan.named.items():
            self.add_volume(names[key], dict(options))
        for volume in plan.volumes:
            entry: Service = {"type": "volume", "target": str(volume.path), "volume": {"nocopy": volume.no_copy}}
            volumes.append({**entry, "source": names[volume.name]} if volume.name else entry)
        if plan.environment:
            known["environment"] = {**(known.get("environment") or {}), **plan.environment}
        if plan.working_directory:
            known["working_dir"] = plan.working_directory
        if plan.given_away:
            giver = f"planned-{service}-init"
            known["depends_on"] = {**known.get("depends_on", {}), giver: ONCE_DONE}
            self.services[giver] = {
                **giving_service(plan, names),
                **self._ours(giver, plan.giver),
                **where_given(plan, known),
            }

    def add_volume(self, key: str, options: Mapping[str, str]) -> None:
        """Add a top-level volume that goes with the project."""
        self.volumes[key] = {"name": f"{self.name}-{key}", "labels": dict(self.labels)}
        if options:
            self.volumes[key] |= {"driver": "local", "driver_opts": dict(options)}

    def render(self, *, without: str = "") -> bytes:
        """Return the project as a Compose file; `without` one service's being waited for."""
        services = self.services
        if without:
            services = {name: _not_waiting_for(service, without) for name, service in services.items()}
        model = {
            "name": self.name,
            "services": services,
            "networks": self.networks,
            "volumes": self.volumes,
            **{key: self.project.tables[key] for key in ("configs", "secrets")},
        }
        return json.dumps({key: value for key, value in model.items() if value}).replace("$", "$$").encode()

    def _service(self, name: str, chosen: Sequence[str]) -> Service:
        known = self.project.service(name)
        if "provider" in known:
            raise EngineRefused(
                f"service {printable(name)} is not a container (it has a provider)",
                hint="name the service to harden with --service; one that needs this one can't be tried",
            )
        service = {key: copy.deepcopy(value) for key, value in known.items() if key not in _NOT_OURS}
        service |= self._ours(name, self.project.image(name))
        service["restart"] = "no" if str(known.get("restart", "no")) in ("", "no") else "on-failure:20"
        resources = (known.get("deploy") or {}).get("resources")
        if resources:
            service["deploy"] = {"resources": resources}
        depends = service.get("depends_on") or {}
        service["depends_on"] = {other: how for other, how in depends.items() if other in chosen}
        if any(str(entry).startswith("container:") for entry in service.get("volumes_from") or ()):
            raise EngineRefused(
                f"service {printable(name)} takes the volumes of a container that is no part of the project",
                hint="name those volumes in the file instead of volumes_from",
            )
        self._join_networks(name, service, known)
        return {key: value for key, value in service.items() if value not in (None, {}, [])}

    def _ours(self, name: str, image: str) -> Service:
        return {
            "image": image,
            "container_name": self.container(name),
            "labels": dict(self.labels),
            "pull_policy": "never",
            "logging": _LOG,
        }

    def _join_networks(self, name: str, service: Service, known: Service) -> None:
        """Have a service found under the names that it had, and at whatever address it gets."""
        joined = service.get("networks")
        if joined is None:
            return
        names = [str(known["container_name"])] if known.get("container_name") else []
        for key, how in joined.items():
            kept = {k: v for k, v in (how or {}).items() if k not in _ADDRESSES}
            if len(kept) != len(how or {}):
                self.notes.append(f"{name} does not have its fixed address on network {key}")
            joined[key] = {**kept, "aliases": [*kept.get("aliases", ()), *names]}

    def _add_networks(self) -> None:
        for key in sorted({key for service in self.services.values() for key in service.get("networks") or ()}):
            known = self.project.tables["networks"].get(key) or {}
            if known.get("external") and known.get("name") in _OF_THE_HOST:
                self.networks[key] = known
                continue
            if known.get("external"):
                self.notes.append(f"network {key} is not the project's own: an empty one stands in for it")
            kept = {k: known[k] for k in _NETWORK_KEYS if k in known}
            self.networks[key] = {**kept, "name": f"{self.name}-{key}", "labels": dict(self.labels)}


def mounted_sources(services: Mapping[str, Service]) -> Iterator[tuple[Service, bool]]:
    """Yield each bind mount and named volume of the services, and whether something may write to it."""
    for service in services.values():
        for volume in service.get("volumes") or ():
            if volume.get("type") in ("bind", "volume") and volume.get("source"):
                yield volume, not volume.get("read_only")


def _requires(service: Service) -> Iterator[str]:
    yield from service.get("depends_on") or {}
    for key in ("links", "volumes_from"):
        yield from (str(entry).partition(":")[0] for entry in service.get(key) or ())
    for key in ("network_mode", "ipc", "pid"):
        kind, _, name = str(service.get(key) or "").partition(":")
        if kind == "service":
            yield name


def _not_waiting_for(service: Service, name: str) -> Service:
    depends = {other: how for other, how in (service.get("depends_on") or {}).items() if other != name}
    return {**service, "depends_on": depends}


def _replicas(service: Service) -> int:
    count = (service.get("deploy") or {}).get("replicas", service.get("scale", 1))
    return count if isinstance(count, int) else 1


def _memory_limit(service: Service) -> object:
    limits = ((service.get("deploy") or {}).get("resources") or {}).get("limits") or {}
    return service.get("mem_limit") or limits.get("memory")


def _joined(service: Service) -> Iterator[str]:
    """Yield where configs and secrets come to lie, which a plan must not cover again."""
    for key, parent in (("configs", "/"), ("secrets", "/run/secrets")):
        for entry in service.get(key) or ():
            yield str(PurePosixPath(parent) / str(entry.get("target") or entry.get("source")))


def _mount(volume: Service) -> str | None:
    """Return one entry of a service's volumes as a value for `--mount`."""
    kind = str(volume.get("type", "volume"))
    if not volume.get("target"):
        return None
    fields = [f"type={kind}", f"dst={volume['target']}"]
    if volume.get("source"):
        fields.append(f"src={volume['source']}")
    if volume.get("read_only"):
        fields.append("readonly")
    return mount_value(*fields)


def _words(value: object) -> list[str]:
    if isinstance(value, str):
        return shlex.split(value)
    return [str(word) for word in value] if isinstance(value, list) else []


def _undoubled(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("$$", "$")
    if isinstance(value, list):
        return [_undoubled(item) for item in value]
    return {key: _undoubled(item) for key, item in value.items()} if isinstance(value, dict) else value
