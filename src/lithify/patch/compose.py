"""Mount plans written into Compose files.

A service keeps the form that it has: a list of variables stays a list, a single `tmpfs` becomes a list only when a
second is added. What several services say together (an anchor, a merge key, a service that others extend) is not
touched, nor what a variable decides: there the patch is a `compose.override.yaml` for a person to put beside the file.
"""

import copy
import re
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import PurePosixPath
from typing import Any

from lithify.documents.edit import Draft, Editor
from lithify.documents.emit import render_block
from lithify.documents.nodes import MappingNode, ScalarNode, child
from lithify.documents.splice import Obstacle, Uneditable
from lithify.engines.command_line.runline import RunLine, mount_value, parse_run_line
from lithify.engines.compose.flags import (
    ONCE_DONE,
    ServicePlan,
    ServiceVolume,
    giver_image,
    giving_service,
    plan_service,
    where_given,
)
from lithify.errors import UsageError
from lithify.model.image import EntryType, ImageEntry, ImageFacts
from lithify.model.location import Route
from lithify.model.mount import MountPlan, Seed, StorageKind
from lithify.model.patch import Change, Patched, Planned, Refused
from lithify.model.path import ROOT, printable

_VARIABLE = re.compile(r"\$\$|(\$(?:\{[^}]*\}|[A-Za-z_]\w*))")
"""A variable, as its one group; `$$` stands for a dollar and is none."""
_NAME = re.compile(r"[a-zA-Z0-9][\w.-]*")
"""What a volume may be called; anything else is a path."""
_RUN_OPTIONS = {"user": "user", "working_dir": "workdir"}
OVERRIDE = (
    "Put this in compose.override.yaml beside the file, where Compose finds it by itself (or name it with a second -f)"
)

_EXTENDED = "service {} extends it, and would change with it"

Mapped = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """Who reads the file, and what may be relied on."""

    engine: str = "docker"
    """With `podman` it says what that takes through its API."""
    stack: bool = False
    """Swarm runs it, which reads the same file otherwise (`patch.stack`)."""
    copier: str = ""
    """The image that gives volumes to their user where the service's own can't."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What the whole project says, where it is more than one file."""

    service: Mapped
    """The service as all files have it."""
    services: frozenset[str]
    """What all of them are called."""
    tables: Mapping[str, Mapped]
    """Their `configs`, `secrets` and `volumes`."""
    extended_by: str = ""
    """A service of another file that extends this one."""


class _Refusal(Exception):
    """The service can't be patched; the message says why, `remedy` what would let it be."""

    def __init__(self, reason: str, remedy: str = OVERRIDE) -> None:
        super().__init__(reason)
        self.remedy = remedy


def patch(
    data: bytes,
    planned: Sequence[Planned],
    manner: Manner | None = None,
    *,
    around: Mapping[str, Around] | None = None,
) -> Patched:
    """Return the Compose file `data` with each plan of `planned` in it; what can't be done safely is refused.

    The route of a container leads to its service. A second time changes nothing.
    """
    result = Patched(text=data)
    for one in planned:
        known = around.get(str(one.route[-1])) if around else None
        result = _patch_one(result, one, manner or Manner(), known)
    return result


def is_missing(planned: Planned, service: Mapped, manner: Manner) -> bool:
    """Tell whether a service, as all files have it, lacks something of its plan; UsageError where none can tell."""
    wanted = _wanted(str(planned.route[-1]), service, _image(planned), planned.plan, manner)
    more = (wanted.tmpfs, wanted.volumes, wanted.environment, wanted.arguments, wanted.working_directory)
    return service.get("read_only") is not True or any(more)


def _patch_one(result: Patched, planned: Planned, manner: Manner, around: Around | None) -> Patched:
    name = str(planned.route[-1])
    service: Mapped = dict(around.service) if around else {}
    image = _image(planned)
    try:
        editor = Editor(result.text)
        draft = editor.draft(planned.document)
        own = draft.get(planned.route)
        if around is None and isinstance(own, dict):
            service = copy.deepcopy(own)
        _insist_on_service(draft, planned.route)
        _insist_on_last_line(draft)
        if around and around.extended_by:
            raise _Refusal(_EXTENDED.format(printable(around.extended_by)))
        if not manner.stack:
            _insist_on_files(around.tables if around else draft.data, service)
        wanted = _wanted(name, service, image, planned.plan, manner)
        _insist_on_no_single_file(name, wanted)
        writer = _Writer(draft, planned, service, image, around)
        writer.write(wanted)
        text = editor.apply()
    except (Uneditable, _Refusal, UsageError) as error:
        taken = around.services if around else ()
        by_hand = _override(name, service, image, planned.plan, manner, taken)
        reason, remedy = _why(error)
        refused = Refused(container=planned.container, reason=reason, by_hand=by_hand, remedy=remedy)
        return replace(result, refused=(*result.refused, refused))
    notes = (f"{planned.container}: {note}" for note in (*wanted.notes, *writer.notes))
    return replace(
        result,
        text=text,
        changes=(*result.changes, *writer.changes),
        notes=(*result.notes, *notes) if writer.changes else result.notes,
    )


class _Writer:
    """Says in a service what its plan asks for."""

    def __init__(
        self, draft: Draft, planned: Planned, service: Mapped, image: ImageFacts, around: Around | None
    ) -> None:
        self.draft = draft
        self.planned = planned
        self.route = planned.route
        self.service = service
        """As all files have it, where they are known."""
        self.own: Mapped = copy.deepcopy(draft.get(planned.route))
        """As it stands here."""
        self.around = around
        self.image = image
        self.changes: list[Change] = []
        self.notes: list[str] = []

    def write(self, wanted: ServicePlan) -> None:
        """Make every change; Uneditable or _Refusal where one can't be made."""
        if self.service.get("read_only") is not True:
            self._insist_on_literal("read_only", self.own.get("read_only"))
            self._set("read_only", True, "sets read_only")
        self._add_tmpfs(wanted.tmpfs)
        names = self._add_named(wanted)
        for volume in wanted.volumes:
            self._append("volumes", render_volume(volume, names.get(volume.name, volume.name)), f"mounts {volume.path}")
        self._set_environment(wanted.environment)
        self._set_arguments(wanted.arguments)
        if wanted.working_directory is not None:
            self._insist_on_literal("working_dir", self.own.get("working_dir"))
            self._set("working_dir", _escaped(wanted.working_directory), "sets working_dir")
        given = tuple(mount for mount in wanted.given_away if not self._is_given(wanted.standing.get(mount.path)))
        if given:
            self._add_giver(replace(wanted, given_away=given), names)

    def _add_tmpfs(self, entries: Sequence[str]) -> None:
        present = self.own.get("tmpfs")
        if isinstance(present, str) and entries:
            self._set("tmpfs", [present, *map(_escaped, entries)], f"adds {', '.join(map(_path_of, entries))} to tmpfs")
            return
        for entry in entries:
            self._append("tmpfs", _escaped(entry), f"mounts a tmpfs on {_path_of(entry)}")

    def _add_named(self, wanted: ServicePlan) -> dict[str, str]:
        """Add top-level volumes; return what each is called, since a name may be taken."""
        names: dict[str, str] = {}
        present = self.draft.get(("volumes",))
        taken = set(present) if isinstance(present, dict) else set()
        if self.around:
            taken |= self.around.tables["volumes"].keys()
        for key, options in wanted.named.items():
            number, name = 2, key
            while name in taken:
                number, name = number + 1, f"{key}-{number}"
            names[key] = name
            taken.add(name)
            self._insist_on_own("volumes", ())
            self.draft.set(("volumes", name), {"driver_opts": _escaped_all(options)} if options else {})
            self._changed(("volumes", name), f"adds the volume {name}")
        if wanted.named and _scaled(self.service):
            self.notes.append("its replicas share the volumes that are added")
        return names

    def _is_given(self, volume: str | None) -> bool:
        """Tell whether the service waits for another that has ended with a volume, or it is not the project's own."""
        if volume is None:
            return False
        tables = self.around.tables if self.around else self.draft.data
        volumes = tables.get("volumes") or {}
        if volume not in volumes or (volumes[volume] or {}).get("external"):
            return True
        depends = self.own.get("depends_on")
        others = self.draft.get(self.route[:-1])
        for other, how in depends.items() if isinstance(depends, dict) else ():
            ends_first = isinstance(how, dict) and how.get("condition") == ONCE_DONE["condition"]
            if ends_first and (other not in others or volume in _sources(others[other])):
                return True
        return False

    def _add_giver(self, wanted: ServicePlan, names: Mapping[str, str]) -> None:
        """Add the service that gives volumes to their user, and have this one wait until that was done."""
        taken = {*self.draft.get(self.route[:-1]), *(self.around.services if self.around else ())}
        name = _giver_name(str(self.route[-1]), taken)
        depends = self.own.get("depends_on")
        if isinstance(depends, list):
            kept = {other: {"condition": "service_started"} for other in depends}
            self._set("depends_on", {**kept, name: ONCE_DONE}, f"waits for {name}")
        else:
            self._set_at(("depends_on", name), ONCE_DONE, f"waits for {name}")
        route = (*self.route[:-1], name)
        self.draft.set(route, _giver(wanted, names, self.service))
        places = ", ".join(printable(mount.path) for mount in wanted.given_away)
        self._changed(route, f"adds the service {name}, which gives {places} to its user")

    def _set_environment(self, variables: Mapping[str, str]) -> None:
        present = self.own.get("environment")
        for name, value in variables.items():
            text = f"sets the variable {name}"
            if isinstance(present, list):
                at = next((i for i, item in enumerate(present) if str(item).partition("=")[0] == name), None)
                if at is None:
                    self._append("environment", _escaped(f"{name}={value}"), text)
                    continue
                self._insist_on_literal(f"the variable {name}", present[at])
                self._set_at(("environment", at), _escaped(f"{name}={value}"), text)
            else:
                self._insist_on_literal(f"the variable {name}", (present or {}).get(name))
                self._set_at(("environment", name), _escaped(value), text)

    def _set_arguments(self, arguments: Mapping[int, str]) -> None:
        if not arguments:
            return
        present = self.own.get("command")
        self._insist_on_literal("command", present)
        if isinstance(present, list):
            for index, word in arguments.items():
                if index < len(present):
                    self._set_at(("command", index), _escaped(word), f"changes argument {index + 1} of the command")
                else:
                    self._append("command", _escaped(word), "adds an argument to the command")
            return
        command = list(_command(self.service) or self.image.command)
        if not command or (present is None and "extends" in self.own and not self.around):
            raise _Refusal("its command, of which an argument has to change, is not in this file")
        for index, word in arguments.items():
            command[index : index + 1] = [word]
        self._set("command", [_escaped(word) for word in command], "changes the arguments of the command")

    def _insist_on_literal(self, what: str, value: object) -> None:
        """Raise _Refusal where a variable decides what stands there: that is the user's to change."""
        texts = value if isinstance(value, list) else [value]
        if any(isinstance(text, str) and any(_VARIABLE.findall(text)) for text in texts):
            raise _Refusal(f"{what} is set by a variable: {printable(str(value))}")

    def _insist_on_own(self, key: str, route: Route) -> None:
        """Raise _Refusal where `key` has a tag that takes away what other files say."""
        node: Any = self.draft.document.root
        for step in (*route, key):
            found = child(node, step)
            if found is None:
                return
            node = found[0]
        if node.tag == "!reset":
            raise _Refusal(f"{key} is taken away here by !reset")

    def _set(self, key: str, value: object, text: str) -> None:
        self._set_at((key,), value, text)

    def _set_at(self, tail: Route, value: object, text: str) -> None:
        self._insist_on_own(str(tail[0]), self.route)
        self.draft.set((*self.route, *tail), value)
        self._changed((*self.route, *tail), text)

    def _append(self, key: str, item: object, text: str) -> None:
        self._insist_on_own(key, self.route)
        self.draft.append((*self.route, key), item)
        self._changed((*self.route, key), text)

    def _changed(self, route: Route, text: str) -> None:
        planned = self.planned
        self.changes.append(Change(container=planned.container, document=planned.document, route=route, text=text))


def render_volume(volume: ServiceVolume, name: str) -> str | Mapped:
    """Return an entry of a service's `volumes`, in short syntax where that says it all."""
    path = _escaped(str(volume.path))
    if volume.memory:
        return {"type": "tmpfs", "target": path, **({"tmpfs": {"size": volume.size}} if volume.size else {})}
    if not volume.no_copy and not set(path) & set(":\\"):
        return f"{name}:{path}" if name else path
    entry = {"type": "volume", **({"source": name} if name else {}), "target": path}
    return {**entry, "volume": {"nocopy": True}} if volume.no_copy else entry


def _giver_name(service: str, taken: Collection[str]) -> str:
    """Return what the service beside `service` is called that gives volumes away."""
    numbered = (f"{service}-init-{number}" if number else f"{service}-init" for number in count())
    return next(name for name in numbered if name not in taken)


def _giver(wanted: ServicePlan, names: Mapping[str, str], service: Mapped) -> Mapped:
    """Return the service that gives volumes of `service` to their user, run with its image where and when that is."""
    keys = ("pull_policy", "profiles") if wanted.giver == service.get("image") else ("profiles",)
    kept = {"image": wanted.giver, **{key: service[key] for key in keys if key in service}}
    kept |= where_given(wanted, service)
    made = giving_service(wanted, names)
    volumes = [render_volume(ServiceVolume(path=path), source) for path, source in wanted.sources(names).items()]
    words = made["entrypoint"]
    assert isinstance(words, list)
    return {**kept, **made, "entrypoint": list(map(_escaped, words)), "volumes": volumes}


def render_override(name: str, wanted: ServicePlan, around: Mapped, taken: Collection[str]) -> str:
    """Return a Compose file that adds a plan to a service of another, which has it as `around`, others as `taken`."""
    service: Mapped = {"read_only": True}
    if wanted.tmpfs:
        service["tmpfs"] = list(map(_escaped, wanted.tmpfs))
    volumes = [render_volume(volume, volume.name) for volume in wanted.volumes]
    volumes += [f"./{mount.path.name}:{_escaped(str(mount.path))}" for mount in wanted.files]
    if volumes:
        service["volumes"] = volumes
    if wanted.environment:
        service["environment"] = _escaped_all(wanted.environment)
    if wanted.working_directory is not None:
        service["working_dir"] = _escaped(wanted.working_directory)
    model: Mapped = {"services": {name: service}}
    if wanted.given_away:
        giver = _giver_name(name, taken)
        service["depends_on"] = {giver: ONCE_DONE}
        model["services"][giver] = _giver(wanted, {key: key for key in wanted.named}, around)
    if wanted.named:
        model["volumes"] = {
            key: {"driver_opts": _escaped_all(options)} if options else {} for key, options in wanted.named.items()
        }
    return "\n".join(render_block(model, step=2, listed=2)) + "\n"


def by_hand(planned: Planned, service: Mapped, manner: Manner, taken: Collection[str] = ()) -> str:
    """Return what a person may put into an override file, for a service as all files have it, beside those `taken`."""
    name = str(planned.route[-1])
    return _override(name, service, _image(planned), planned.plan, manner, taken)


def _override(
    name: str,
    service: object,
    image: ImageFacts,
    plan: MountPlan,
    manner: Manner,
    taken: Collection[str],
) -> str:
    """Return the override for a service; nothing where it can't even be told what that would be."""
    try:
        known = service if isinstance(service, dict) else {}
        wanted = _wanted(name, known, image, plan, manner)
    except UsageError:
        return ""
    return render_override(name, wanted, known, taken)


def _why(error: Exception) -> tuple[str, str]:
    """Return reason and remedy for a person."""
    if isinstance(error, _Refusal):
        return str(error), error.remedy
    if isinstance(error, Uneditable) and error.obstacle is Obstacle.UNREADABLE:
        return str(error), "Make it a file that Compose reads"
    return str(error), OVERRIDE


def _insist_on_service(draft: Draft, route: Route) -> None:
    service = draft.get(route)
    if not isinstance(service, dict):
        raise _Refusal("the service is not in this file, but in one that it includes or that is merged over it")
    if service.get("provider"):
        raise _Refusal("the service is no container: it has a provider", "")
    name = str(route[-1])
    for other, known in (draft.get(route[:-1]) or {}).items():
        extends = known.get("extends") if isinstance(known, dict) else None
        if extends == name or (
            isinstance(extends, dict) and extends.get("service") == name and not extends.get("file")
        ):
            raise _Refusal(_EXTENDED.format(printable(str(other))))


def _insist_on_files(model: Mapping[str, Any], service: Mapped) -> None:
    """Raise _Refusal where Compose would have to copy a config or secret into the read-only container."""
    for table in ("configs", "secrets"):
        known = model.get(table)
        for entry in service.get(table) or ():
            name = str(entry.get("source") if isinstance(entry, dict) else entry)
            item = (known.get(name) if isinstance(known, dict) else None) or {}
            inline = [key for key in ("content", "environment") if isinstance(item, dict) and item.get(key) is not None]
            if inline:
                raise _Refusal(
                    f"Compose does not start a read-only service with the {table[:-1]} {printable(name)}, "
                    f"which has `{inline[0]}`",
                    f"Put it in a file and say `file: ./{printable(name)}` in its place",
                )


def _insist_on_last_line(draft: Draft) -> None:
    """Raise _Refusal where text after the last line would change it: to Compose a block that ends a file has no end."""
    text, node = draft.original, draft.document.root
    while type(node) is not ScalarNode and node.value:
        node = node.value[-1][1] if type(node) is MappingNode else node.value[-1]
    if type(node) is ScalarNode and node.style in ("|", ">") and not text.endswith("\n"):
        raise _Refusal("the file ends in the middle of a block of text", "End its last line, and patch it again")


def _insist_on_no_single_file(name: str, wanted: ServicePlan) -> None:
    for mount in wanted.files:
        path = printable(mount.path)
        raise _Refusal(
            f"the single file {path} has to be writable, and a Compose file can't copy one out of the image",
            f"Copy it once (docker compose create {name}; docker compose cp {name}:{path} ./{mount.path.name}); "
            f"then {OVERRIDE[0].lower()}{OVERRIDE[1:]}",
        )


def _image(planned: Planned) -> ImageFacts:
    """Return what is known of the image; where nothing is, what the plan says of each place is believed of it."""
    if planned.image is not None:
        return planned.image
    entries: dict[PurePosixPath, ImageEntry] = {}
    for mount in planned.plan.mounts:
        held = max(mount.writable_entries, int(mount.seed is not Seed.NONE))
        directories = 0 if mount.seed is Seed.CONTENT else held
        if mount.storage is not StorageKind.VOLUME or held:
            entries[mount.path] = ImageEntry(
                type=EntryType.DIRECTORY,
                mode=mount.mode,
                uid=mount.uid,
                gid=mount.gid,
                entries=held,
                directories=directories,
            )
    return ImageFacts(reference=planned.plan.key.image, entries=entries)


def _wanted(name: str, service: Mapped, image: ImageFacts, plan: MountPlan, manner: Manner) -> ServicePlan:
    line = _line(name, service, manner.engine, stack=manner.stack)
    return plan_service(line, image, plan, stack=manner.stack, giver=giver_image(service, image, manner.copier))


def _line(name: str, service: Mapped, engine: str, *, stack: bool) -> RunLine:
    """Return the run line that a service comes to, as far as a plan depends on it; Swarm mounts no `tmpfs:`."""
    words = [engine, "run", f"--name={name}"]
    for key, flag in _RUN_OPTIONS.items():
        if service.get(key) is not None:
            words.append(f"--{flag}={service[key]}")
    words += [f"--env={pair}" for pair in _variables(service.get("environment"))]
    entries = [] if stack else _strings(service.get("tmpfs"))
    words += [f"--tmpfs={_unescaped(entry)}" for entry in entries if entry.startswith("/")]
    words += [f"--mount={mount}" for mount in _mounts(service.get("volumes"))]
    return parse_run_line([*words, "--", str(service.get("image") or "image"), *_command(service)])


def _variables(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (f"{name}={_unescaped(str(text))}" for name, text in value.items() if text is not None)
    else:
        yield from map(_unescaped, _strings(value))


def _mounts(value: object) -> Iterator[str]:
    """Yield what `volumes` mounts, as values for `--mount`; what a variable decides is left out."""
    for entry in value if isinstance(value, list) else ():
        if isinstance(entry, dict):
            kind, target, read_only = str(entry.get("type", "volume")), str(entry.get("target")), entry.get("read_only")
            source = str(entry.get("source") or "")
        else:
            parts = _VARIABLE.sub(lambda found: "variable" if found[1] else "$$", str(entry)).split(":")
            target = parts[1] if len(parts) > 1 else parts[0]
            kind, read_only = "volume", len(parts) > 2 and "ro" in parts[2].split(",")
            source = parts[0] if len(parts) > 1 else ""
        if PurePosixPath(target).is_relative_to(ROOT):
            words = [f"src={source}"] if kind == "volume" and _NAME.fullmatch(source) else []
            words += ["readonly"] if read_only is True else []
            yield mount_value(f"type={kind}", f"dst={_unescaped(target)}", *words)


def _sources(service: object) -> set[str]:
    """Return the named volumes that a service mounts."""
    volumes = service.get("volumes") if isinstance(service, dict) else None
    lines = parse_run_line(["docker", "run", *(f"--mount={mount}" for mount in _mounts(volumes)), "--", "x"])
    return {mount.source for mount in lines.mounts() if mount.source}


def _command(service: Mapped) -> list[str]:
    command = service.get("command")
    if isinstance(command, str):
        try:
            return [_unescaped(word) for word in shlex.split(command)]
        except ValueError as error:
            raise _Refusal(f"its command can't be split into words: {error}") from error
    return [_unescaped(word) for word in _strings(command)]


def _strings(value: object) -> list[str]:
    if isinstance(value, list):
        return [str(item) for item in value]
    return [value] if isinstance(value, str) else []


def _scaled(service: Mapped) -> bool:
    deploy = service.get("deploy")
    count = service.get("scale", deploy.get("replicas") if isinstance(deploy, dict) else None)
    return isinstance(count, int) and count > 1


def _path_of(entry: str) -> str:
    return printable(entry.partition(":")[0])


def _escaped(text: str) -> str:
    """Return text in which Compose finds no variable."""
    return text.replace("$", "$$")


def _escaped_all(texts: Mapping[str, str]) -> dict[str, str]:
    return {key: _escaped(text) for key, text in texts.items()}


def _unescaped(text: str) -> str:
    return text.replace("$$", "$")
