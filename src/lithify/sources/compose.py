"""Workloads in Compose files and Swarm stacks.

A service is read as Compose would start it: `extends` and `include` followed, the override file beside it merged,
variables replaced, anchors and merge keys resolved, `!reset` and `!override` obeyed, services of every profile taken.
"""

import os
import posixpath
import re
from collections.abc import Callable, Iterator

from lithify.documents.nodes import MappingNode, Node, ScalarNode, SequenceNode, duplicates, entries, is_null
from lithify.documents.yaml import Broken, Document, read_documents
from lithify.model.finding import Skipped
from lithify.model.location import Location, Route
from lithify.model.project import DEFAULTS, project_files
from lithify.model.quantity import parse_engine_size
from lithify.model.workload import Container, ObjectName, Oddity, Volume, VolumeMount, Workload
from lithify.sources.base import (
    MAX_BYTES,
    CommentExemption,
    Reading,
    normal_path,
    read_bytes,
    read_comments,
    read_labels,
)
from lithify.sources.interpolate import interpolate, read_variables
from lithify.sources.manifest import TEMPLATE_REASON, capability_names, noun, read_exemptions

_TRUE = frozenset(("true", "yes", "y", "on"))
_FALSE = frozenset(("false", "no", "n", "off"))
_LISTS = frozenset(
    (
        "cap_add",
        "cap_drop",
        "configs",
        "devices",
        "environment",
        "labels",
        "profiles",
        "secrets",
        "security_opt",
        "tmpfs",
        "volumes",
    )
)  # joined, not replaced, when files or services are merged
_REPLACED = frozenset(("command", "entrypoint"))
"""Replaced even by null, which of other fields leaves what was there."""
_MAX_FILES = 100
_LETTERS = 1 << 24
"""Letters that variables may come to in one file."""
_LONGEST = 4096
"""Letters of a path: the kernel takes no longer one."""
_TEMPLATE_LINE = re.compile(rb"^[ \t]*\{\{", re.MULTILINE)
"""A line of a Go template's own; elsewhere on a line a stack may have one, which Swarm fills in."""
_ROOM = 20_000
"""Items of lists that the services of any project may have, however short its text is."""
_MULTIPLIED = (
    "its aliases or extends multiply: more than the text has room for; the services from here on are not judged"
)
_TOP = frozenset(("configs", "include", "models", "name", "networks", "secrets", "services", "version", "volumes"))
_OF_SERVICES = _LISTS | frozenset(
    (
        "command",
        "depends_on",
        "deploy",
        "entrypoint",
        "env_file",
        "healthcheck",
        "logging",
        "networks",
        "ports",
        "privileged",
        "read_only",
        "restart",
        "user",
    )
)
"""What services of Compose say, and those of other programs' files hardly."""
_BEFORE = "containers that run before the service: what holds for them depends on Compose's version; not judged"
_JOB = "a job, of a Compose newer than is known here: not judged"
_SWARM_ONLY = frozenset(("update_config", "rollback_config", "placement", "endpoint_mode"))


class _Place:
    """A node and the file it stands in: after a merge the parts of a service come from several files."""

    __slots__ = ("file", "node", "route")

    def __init__(self, node: Node, file: "_File", route: Route) -> None:
        self.node = node
        self.file = file
        self.route = route

    def location(self, key: str | int | None = None) -> Location:
        """Return this place, named by its key where it is an entry of a mapping."""
        document = self.file.document
        here = Location(self.file.path, document.index, (), finder=document.find, anchor=document.root)
        if key is None and self.route and type(self.route[-1]) is int:
            return here.on(self.node, self.route)  # found without going through all that stands before it
        return here.below(self.route if key is None else (*self.route, key))

    def child(self, node: Node, key: str | int) -> "_Place":
        return _Place(node, self.file, (*self.route, key))

    def text(self, node: Node | None) -> str:
        """Return the text of a scalar of this file, with its variables replaced; nothing for what is no scalar."""
        return self.file.text(node.value) if type(node) is ScalarNode and not is_null(node) else ""


Fields = dict[str, list[_Place]]
"""What a service says by key: one place for what is replaced in a merge, several for what is joined."""


class _File:
    """One document of a Compose file: its services and the top-level tables that they name."""

    def __init__(self, path: str, document: Document, variables: dict[str, str], folder: str) -> None:
        self.path = path
        self.document = document
        self.variables = variables
        self.folder = folder
        """What its relative paths start from: an include may name another than its own."""
        self.root = _Place(document.root, self, ())
        self.fields = entries(document.root, explicit_first=True)
        self.included: dict[str, Fields] = {}
        """Services of the files that it includes, which its own of the same names are merged over."""
        self._tables: dict[str, dict[str, _Place]] = {}
        self.letters = _LETTERS
        """What its variables may still come to; less than nothing where some was left out."""

    def text(self, text: str) -> str:
        """Return a text with its variables replaced."""
        if "$" not in text:
            return text
        text = interpolate(text, self.variables)
        self.letters -= len(text)
        return text if self.letters >= 0 else ""

    def forget(self) -> None:
        """Let go of what points back here: an audit counts references, and collects nothing else."""
        del self.root
        self._tables.clear()
        self.included.clear()

    def table(self, key: str) -> dict[str, _Place]:
        """Return a top-level mapping by name."""
        if key not in self._tables:
            node = self.fields.get(key)
            found = entries(node, explicit_first=True) if type(node) is MappingNode else {}
            place = self.root.child(node, key)
            self._tables[key] = {name: place.child(item, name) for name, item in found.items()}
        return self._tables[key]


def read_compose(path: str, data: bytes, *, stack: bool = False) -> Reading:
    """Return the services of a Compose file, and those of the files that it includes.

    What can't be followed (a missing file, a URL) becomes an oddity or a skip. Nothing for a file that has `services`
    and is no Compose file, as other programs' configurations are.
    """
    compose = Compose(path, stack=stack, as_started=True)
    reading = compose.read(data)
    for file in (file for held in compose.opened.values() for file in held):
        file.forget()
    return reading


class Compose:
    """A Compose file that is being read, with those that belong to it."""

    def __init__(
        self,
        path: str,
        *,
        stack: bool,
        as_started: bool = False,
        read_other: Callable[[str], bytes | str] = read_bytes,
    ) -> None:
        self.reading = Reading(path)
        self.reading.depends = True
        self.stack = stack
        self.read_other = read_other
        self.opened: dict[str, list[_File]] = {}
        """What was read for its own services, or for those that others extend."""
        self.as_started = as_started
        self.told: set[str] = set()
        """Files whose services are told, by real path; none is told twice."""
        self.bytes = 0
        """How much was read of other files."""
        self.merged: set[str] = set()
        """Files, by real path, that the environment file beside the first has merged over it."""
        self.variables: dict[tuple[str, tuple[str, ...]], dict[str, str]] = {}
        """What environment files say, by folder and names."""
        self.comments: list[CommentExemption] = []
        """What comments in other files exempt from."""
        self.known: dict[tuple[_File, Route], Fields] = {}
        """Services with what they extend: each is put together once, however many extend it."""
        self.said: list[list[tuple[_File, str, _Place, Fields]]] = []
        """What each service is made of, by what is merged; what a file includes comes after it."""
        self.named: dict[str, str] = {}
        """Included files, by path, as they were asked for."""
        self.extenders: dict[tuple[str, str], str] = {}
        """Who extends a service, by that one's file and name."""

    def read(self, data: bytes) -> Reading:
        reading, path = self.reading, self.reading.path
        folder = os.path.dirname(path)
        variables = read_variables(folder)
        listed = self._listed(folder, variables)
        if not listed and self._overrides(path):
            reading.skipped.append(Skipped(Location(path), "an override: it is judged merged into the file beside it"))
            return reading
        documents = list(read_documents(data))
        for broken in documents:
            if isinstance(broken, Broken):
                place = Location(path, broken.index, line=broken.line, column=broken.column)
                if _TEMPLATE_LINE.search(broken.text):
                    reading.skipped.append(Skipped(place, TEMPLATE_REASON))
                    continue
                reading.oddities.append(Oddity("unreadable-input", f"this file can't be read: {broken.reason}", place))
        whole = [document for document in documents if isinstance(document, Document)]
        roots = [document for document in whole if type(document.root) is MappingNode]
        ours = any(_is_compose(document.root) for document in roots)
        files = [_File(path, document, variables, folder) for document in roots] if ours else []
        reading.documents = len(files)
        if files:
            self.opened[os.path.abspath(path)] = files
            self.told.add(os.path.realpath(path))
            over = listed[1:] if listed[:1] == [os.path.normpath(path)] else [] if listed else self._override(path)
            self.told.update(map(os.path.realpath, over))
            self.merged.update(map(os.path.realpath, over if listed else []))
            here = Location(path, line=1, column=1)
            others = [one for other in over for one in self._open(other, here if listed else None, variables, folder)]
            self._read_layers([*files, *others])
        elif any(_is_first_format(document.root) for document in roots) and os.path.basename(path) in DEFAULTS:
            reason = "Compose's first format, services without `services:`: no Compose of today reads it"
            reading.skipped.append(Skipped(Location(path, line=1, column=1), reason))
        elif any(_is_part(document.root) for document in roots):
            reason = "a part that is merged into other Compose files: none of its services has image or build"
            reading.skipped.append(Skipped(Location(path, line=1, column=1), reason))
        elif os.path.basename(path) in DEFAULTS:
            for document in roots:
                services = entries(document.root).get("services")
                if services is not None and type(services) is not MappingNode and not is_null(services):
                    place = Location(path, document.index, ("services",), finder=document.find, anchor=services)
                    message = f"services is {noun(services)}, not a mapping: Compose refuses the file"
                    reading.oddities.append(Oddity("malformed-field", message, place))
        if files:
            named = {(file.path, file.document.index): file.document for held in self.opened.values() for file in held}
            read_exemptions(reading, whole, [*read_comments(data, path), *self.comments], others=named)
            reading.parts = dict(self._parts())
        return reading

    def _parts(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield the files that are judged with this one, and which services of each are not.

        An override beside a file is merged into it where that is started by itself, and nowhere else. One that services
        are extended from may be started by itself as well: so it is if Compose looks for its name, if it has other
        services or includes files of its own.
        """
        for key, files in self.opened.items():
            folder, name = os.path.split(key)
            default, override = _project_files(folder)
            if not files or key == os.path.abspath(self.reading.path):
                continue
            if override and name in (default, override) and os.path.realpath(key) not in self.merged:
                continue
            if os.path.realpath(key) in self.told:
                yield os.path.realpath(key), ()
            elif os.path.basename(key) not in DEFAULTS and not any("include" in file.fields for file in files):
                names = dict.fromkeys(name for file in files for name in file.table("services"))
                yield os.path.realpath(key), tuple(name for name in names if (key, name) not in self.extenders)

    def _overrides(self, path: str) -> bool:
        folder, name = os.path.split(path)
        return name == _project_files(folder)[1]

    def _override(self, path: str) -> list[str]:
        folder, name = os.path.split(path)
        default, override = _project_files(folder)
        return [os.path.join(folder, override)] if name == default and override else []

    def _listed(self, folder: str, variables: dict[str, str]) -> list[str]:
        """Return the files that the environment file of a folder has Compose read there instead of those it looks for.

        Our own environment speaks of no folder.
        """
        if not self.as_started or "COMPOSE_FILE" in os.environ or not variables.get("COMPOSE_FILE"):
            return []
        names = variables["COMPOSE_FILE"].split(variables.get("COMPOSE_PATH_SEPARATOR") or os.pathsep)
        return [os.path.normpath(os.path.join(folder, name)) for name in names]

    def _read_layers(self, layers: list[_File]) -> None:
        """Read the services of a project, of whose files and documents each is merged over those before it."""
        stack = self.stack or any(_is_stack(file) for file in layers)
        services, places = self._merged(layers)
        # What is included comes first, as what names it is merged over it.
        told = [held for key, held in reversed(self.opened.items()) if os.path.realpath(key) in self.told]
        files = [*(file for held in told for file in held if file not in layers), *layers]
        tables = {
            key: {name: place for file in files for name, place in file.table(key).items()}
            for key in ("volumes", "configs", "secrets")
        }
        named = [file.fields["name"] for file in layers if "name" in file.fields]
        namespace = named[-1].value if named and type(named[-1]) is ScalarNode else ""
        left = _ROOM + sum(len(file.document.text) for held in self.opened.values() for file in held) // 4
        for index, (name, said) in enumerate(services.items()):
            place, fields = places[name], settled(said)
            left -= sum(
                len(part.node.value) for held in fields.values() for part in held if type(part.node) is not ScalarNode
            )
            if left < 0:
                self.reading.oddities.append(Oddity("unreadable-input", _MULTIPLIED, place.location()))
                break
            if type(place.node) is not MappingNode:
                message = f"service {name!r} is {noun(place.node)}, not a mapping"
                self.reading.oddities.append(Oddity("malformed-field", message, place.location()))
            elif not fields.keys() & {"image", "build", "provider"}:
                reason = f"service {name!r} has neither image nor build: part of another file"
                self.reading.skipped.append(Skipped(place.location(), reason))
            elif "provider" not in fields or "image" in fields:
                source = "stack" if stack else "compose"
                workload = _Service(fields, tables).read(name, index, place, namespace, source)
                self.reading.workloads.append(workload)
                self.reading.skipped += (Skipped(part.location(), _BEFORE) for part in fields.get("pre_start", ())[-1:])
        for file in files:
            self.reading.skipped += (Skipped(job.location(), _JOB) for job in file.table("jobs").values())
            if file.letters < 0:
                message = "its variables come to more text than any file has: what stands there is taken for empty"
                self.reading.oddities.append(Oddity("unreadable-input", message, file.root.location()))

    def _merged(self, layers: list[_File]) -> tuple[dict[str, Fields], dict[str, _Place]]:
        """Return what each service comes to, and where it stands first: the files' own, and those they include."""
        said: list[tuple[_File, str, _Place, Fields]] = []
        self.said.append(said)
        services: dict[str, Fields] = {}
        places: dict[str, _Place] = {}
        for file in layers:
            self._take_included(file, places)
            for name, place in file.table("services").items():
                if place.node.tag == "!reset":
                    said.append((file, name, place, {}))
                    file.included.pop(name, None)
                    services.pop(name, None)
                    continue
                below = {} if place.node.tag == "!override" else services.get(name, {})
                said.append((file, name, place, self._fields(file, place, 0)))
                services[name] = join(below, said[-1][3])
                places.setdefault(name, place)
            for name in file.included.keys() - file.table("services").keys():
                services[name] = join(services.get(name, {}), file.included[name])
        own_first = dict.fromkeys((*(name for _, name, _, _ in said), *places))
        return {name: services[name] for name in own_first if name in services}, places

    def _take_included(self, file: _File, places: dict[str, _Place]) -> None:
        """Read the files that one includes, whose services are merged under its own before these extend others."""
        node = file.fields.get("include")
        listed = node.value if type(node) is SequenceNode else ()
        for index, item in enumerate(listed):
            place = file.root.child(node, "include").child(item, index)
            found = entries(item) if type(item) is MappingNode else {"path": item}
            named = {self._beside(file, name): name for name in _names(found.get("path"))}
            paths = list(named)
            new = [path for path in paths if path not in self.named]
            self.named |= named
            wanted = [path for path in new if os.path.realpath(path) not in self.told]
            if not wanted:
                continue
            folder = next((self._beside(file, name) for name in _names(found.get("project_directory"))), None)
            if folder is None:
                folder = os.path.dirname(paths[0]) if paths else ""
            given = tuple(self._beside(file, name) for name in _names(found.get("env_file")))
            asked = ("", given) if given else (folder, (".env",))
            if asked not in self.variables:
                self.variables[asked] = read_variables(*asked)
            variables = {**self.variables[asked], **file.variables}  # what the including file knows counts more
            self.told.update(map(os.path.realpath, wanted))
            layers = [one for path in wanted for one in self._open(path, place.location(), variables, folder)]
            services, standing = self._merged(layers)
            for name, fields in services.items():
                known = file.included.get(name)
                file.included[name] = fields if known is None else join(fields, known)
                places.setdefault(name, standing[name])

    def _beside(self, file: _File, name: str) -> str:
        name = interpolate(name, file.variables)
        name = name.replace("\0", "\ufffd")  # nothing is called so
        return name if name == "" or "://" in name else os.path.normpath(os.path.join(file.folder, name))

    def _open(self, path: str, asked: Location | None, variables: dict[str, str], folder: str) -> list[_File]:
        """Return the documents of another file, none where it can't be read; `asked` says who wants it.

        `folder` is what its own relative paths start from.
        """
        key = os.path.abspath(path)
        self.opened[key] = []
        problem = ""
        if "://" in path or path.startswith(("oci:", "git@")):
            problem = "it is not on this machine"
        elif len(self.opened) > _MAX_FILES:
            problem = f"more than {_MAX_FILES} files belong together"
        elif self.bytes > MAX_BYTES:
            problem = f"more than {MAX_BYTES >> 20} MiB belong together"
        else:
            data = self.read_other(path)
            if isinstance(data, str):
                problem = data
            else:
                self.bytes += len(data)
                documents = list(read_documents(data))
                broken = next((one for one in documents if isinstance(one, Broken)), None)
                whole = [one for one in documents if isinstance(one, Document) and type(one.root) is MappingNode]
                if whole and broken is None:
                    self.comments += read_comments(data, path, again=os.path.realpath(key) not in self.told)
                    self.opened[key] = [_File(path, document, variables, folder) for document in whole]
                    return self.opened[key]
                problem = "it holds no mapping" if broken is None else broken.reason
        if asked is not None:
            self.reading.skipped.append(Skipped(asked, f"{path} is not followed: {problem}"))
        return []

    def _fields(self, file: _File, place: _Place, depth: int) -> Fields:
        """Return what a service says, with what it extends below it."""
        if type(place.node) is not MappingNode:
            return {}
        key = file, place.route
        if key in self.known:
            return self.known[key]
        found = entries(place.node, explicit_first=True)
        own: Fields = {name: [place.child(node, name)] for name, node in found.items()}
        if str(place.route[-1]) in file.included and place.node.tag != "!override":
            own = join(file.included[str(place.route[-1])], own)
        if len(found) != len(place.node.value):
            for name in duplicates(place.node):
                message = f"key {name!r} stands here more than once"
                self.reading.oddities.append(Oddity("duplicate-key", message, place.location(name)))
        self.known[key] = own  # to who extends itself this adds nothing
        extends = found.get("extends")
        if extends is not None and depth <= 20:
            self.known[key] = join(self._extended(file, extends, place, depth), own)
        return self.known[key]

    def _extended(self, file: _File, extends: Node, place: _Place, depth: int) -> Fields:
        asked = entries(extends) if type(extends) is MappingNode else {"service": extends}
        name = asked.get("service")
        named = asked.get("file")
        others = [file]
        if named is not None and type(named) is ScalarNode:
            path = self._beside(file, named.value)
            known = self.opened.get(os.path.abspath(path))
            if known is None:
                known = self._open(path, place.location("extends"), file.variables, os.path.dirname(path))
            others = known
        if type(name) is ScalarNode:
            target = file.path if named is None or type(named) is not ScalarNode else self._beside(file, named.value)
            self.extenders[os.path.abspath(target), name.value] = str(place.route[-1])
        base: Fields = {}
        for other in others:
            service = other.table("services").get(name.value) if type(name) is ScalarNode else None
            if service is not None:
                base = join(base, self._fields(other, service, depth + 1))
            elif type(name) is ScalarNode:
                base = join(base, other.included.get(name.value, {}))
        # What is local to a service is not inherited.
        return {key: value for key, value in base.items() if key not in ("depends_on", "links", "volumes_from")}


def join(base: Fields, own: Fields) -> Fields:
    """Return two services as one: lists are joined, the rest replaced; `!override` ends what was below, so does
    `!reset`, which stays for what may come below yet: `settled` takes it out.

    What stands on both sides comes in once: it would double at each level of services that share what they extend.
    """
    joined = dict(base)
    for key, places in own.items():
        below = joined.get(key, [])
        if places[-1].node.tag in ("!reset", "!override"):
            joined[key] = places
        elif key in joined and key not in _REPLACED and is_null(places[-1].node):
            continue
        elif below and below[-1].node.tag == "!reset":
            joined[key] = places
        elif key in _LISTS:
            joined[key] = _less(below, places) + places
        elif key == "deploy":
            joined[key] = places + _less(below, places)  # asked in this order, limit by limit
        else:
            joined[key] = places
    return joined


def settled(fields: Fields) -> Fields:
    """Return what a service says without what is `!reset`."""
    return {key: places for key, places in fields.items() if places[-1].node.tag != "!reset"}


def _less(below: list[_Place], places: list[_Place]) -> list[_Place]:
    """Return what stands below without what is said again."""
    again = set(places)
    return [place for place in below if place not in again]


def _project_files(folder: str) -> tuple[str, str]:
    return project_files(lambda name: os.path.exists(os.path.join(folder, name)))


def _names(node: Node | None) -> list[str]:
    """Return the text of a scalar, or of the scalars in a list."""
    listed = node.value if type(node) is SequenceNode else () if node is None else (node,)
    return [one.value for one in listed if type(one) is ScalarNode and not is_null(one)]


def _is_first_format(root: Node) -> bool:
    services = entries(root).values() if type(root) is MappingNode else ()
    return any(type(one) is MappingNode and entries(one).keys() & {"image", "build"} for one in services)


def _is_compose(root: Node) -> bool:
    found = entries(root)
    services = found.get("services")
    if type(services) is not MappingNode or not services.value:
        return "include" in found and type(found["include"]) is SequenceNode
    for service in entries(services).values():
        if type(service) is MappingNode and entries(service).keys() & {"image", "build", "extends", "provider"}:
            return True
    return False


def _is_part(root: Node) -> bool:
    """Tell whether a document says something of services that others describe, as files for `-f` do."""
    found = entries(root) if type(root) is MappingNode else {}
    services = found.get("services")
    if type(services) is not MappingNode or not all(key in _TOP or key.startswith("x-") for key in found):
        return False
    return any(
        type(service) is MappingNode and not entries(service).keys().isdisjoint(_OF_SERVICES)
        for service in entries(services).values()
    )


def _is_stack(file: _File) -> bool:
    """Tell whether only Swarm would do all that the file asks for, or its name says that it is a stack."""
    if re.search(r"(?:^|[-_.])(?:stack|swarm)(?:[-_.]|$)", os.path.basename(file.path)):
        return True
    for place in file.table("services").values():
        deploy = entries(place.node).get("deploy") if type(place.node) is MappingNode else None
        if type(deploy) is MappingNode and entries(deploy).keys() & _SWARM_ONLY:
            return True
    return False


class _Service:
    """Reads one service, its parts from wherever they stand."""

    def __init__(self, fields: Fields, tables: dict[str, dict[str, _Place]]) -> None:
        self.fields = fields
        self.tables = tables
        self.oddities: list[Oddity] = []

    def scalar(self, key: str) -> str:
        places = self.fields.get(key)
        return places[-1].text(places[-1].node) if places else ""

    def words(self, key: str) -> tuple[str, ...]:
        """Return the texts of a list, of every place that says `key`."""
        return tuple(place.text(place.node) for place in self.listed(key))

    def listed(self, key: str) -> Iterator[_Place]:
        """Yield the items of a list, or the one that stands alone, of every place that says `key`."""
        for place in self.fields.get(key, ()):
            if type(place.node) is SequenceNode:
                for index, item in enumerate(place.node.value):
                    yield place.child(item, index)
            elif not is_null(place.node):
                yield place

    def read(self, name: str, index: int, place: _Place, namespace: str, source: str) -> Workload:
        here = place.location()
        workload = Workload(
            ObjectName("StackService" if source == "stack" else "ComposeService", name, namespace), source, here
        )
        container = Container(workload, "services", index, name, here)
        container.image = self.scalar("image")
        container.command = self.words("entrypoint")
        container.arguments = self.words("command")
        security = container.security
        security.read_only_root = self._flag("read_only")
        for key in self.fields:
            squeezed = key.lower().replace("_", "").replace("-", "")
            if squeezed.startswith(("readonly", "readroot")) and key != "read_only":
                message = f"{key} is not a field and has no effect; read_only is"
                self.oddities.append(Oddity("misspelt-flag", message, self.fields[key][-1].location()))
        # Swarm leaves these out of what it starts.
        security.privileged = source == "compose" and self._flag("privileged") is True
        security.host_processes = source == "compose" and self.scalar("pid") == "host"
        security.run_as_user = self.scalar("user").partition(":")[0] or None
        security.added_capabilities = capability_names(self.words("cap_add"))
        security.dropped_capabilities = capability_names(self.words("cap_drop"))
        options = [word.replace("=", ":") for word in self.words("security_opt")]
        if any(option in ("no-new-privileges", "no-new-privileges:true") for option in options):
            security.escalation = False
        security.seccomp = next((o.partition(":")[2] for o in options if o.startswith("seccomp:")), "")
        container.memory_limit = self._memory()
        container.mounts = tuple(self._mounts(stack=source == "stack"))
        container.inline_files = tuple(self._inline_files(container))
        container.exemptions = tuple(read_labels(self._labels().items()))
        if self.scalar("platform").startswith("windows") or self.scalar("isolation") in ("hyperv", "process"):
            workload.not_applicable = "Windows containers have no read-only root filesystem"
        workload.containers = (container,)
        workload.volumes = tuple(
            {id(m.volume): m.volume for m in container.mounts if m.volume.kind == "tmpfs"}.values()
        )
        workload.oddities = tuple(self.oddities)
        return workload

    def _flag(self, key: str) -> bool | None:
        places = self.fields.get(key)
        if not places or is_null(places[-1].node):
            return None
        node = places[-1].node
        text = places[-1].text(node)
        value = text.strip().lower()
        if value in _TRUE or value in _FALSE:
            return value in _TRUE
        if key == "read_only":
            shown = repr(text) if type(node) is ScalarNode else noun(node)
            if type(node) is ScalarNode and "$" in node.value:
                shown += f" (from {node.value!r})"
            message = f"{key} is {shown}, not a boolean: Compose refuses the file"
            self.oddities.append(Oddity("mistyped-flag", message, places[-1].location()))
        return None

    def _size(self, text: str) -> int | None:
        try:
            return 0 if text.endswith("%") else parse_engine_size(text) or None
        except ValueError:
            return None

    def _memory(self) -> int | None:
        limit = self.scalar("mem_limit")
        if limit:
            return self._size(limit)
        for place in self.fields.get("deploy", ()):
            node: Node | None = place.node
            for key in ("resources", "limits", "memory"):
                node = entries(node).get(key) if type(node) is MappingNode else None
            if node is not None:
                return self._size(place.text(node))
        return None

    def _mounts(self, *, stack: bool) -> Iterator[VolumeMount]:
        by_path: dict[str, VolumeMount] = {}
        for item in self.listed("tmpfs"):
            path, _, options = item.text(item.node).partition(":")
            if path:
                mount = by_path[normal_path(path)] = self._tmpfs(path, options.split(","), item)
                mount.dropped = stack
        for item in self.listed("volumes"):
            named = self._long(item) if type(item.node) is MappingNode else self._short(item)
            if named is not None:
                by_path[named.path] = named
        yield from by_path.values()

    def _tmpfs(self, path: str, options: list[str], item: _Place) -> VolumeMount:
        volume = Volume("", "tmpfs", item.location())
        volume.memory = True
        size = next((option[5:] for option in options if option.startswith("size=")), None)
        volume.size = self._size(size) if size else None
        mount = VolumeMount(normal_path(path), volume, item.location())
        mount.read_only = "ro" in options
        mount.executable = "exec" in options  # the engine's default is noexec
        return mount

    def _short(self, item: _Place) -> VolumeMount | None:
        text = item.text(item.node)
        drive = re.match(r"[A-Za-z]:\\", text)
        parts = text[drive.end() if drive else 0 :].split(":")
        if drive:
            parts[0] = drive[0] + parts[0]
        if not parts[0]:
            return None
        source, target = (parts[0], parts[1]) if len(parts) > 1 else ("", parts[0])
        options = parts[2].split(",") if len(parts) > 2 else []
        mount = VolumeMount(normal_path(target), self._volume(source, item), item.location())
        mount.read_only = "ro" in options
        mount.executable = mount.executable and "noexec" not in options
        return mount

    def _volume(self, source: str, item: _Place) -> Volume:
        if not source:
            return Volume("", "anonymous", item.location())
        if source.startswith((".", "/", "~")) or re.match(r"[A-Za-z]:[\\/]", source):
            volume = Volume(source, "bind", item.location())
            volume.host_path = normal_path(source) if source.startswith("/") else source.rstrip("/")
            return volume
        volume = Volume(source, "volume", item.location())
        declared = self.tables["volumes"].get(source)
        options = entries(declared.node).get("driver_opts") if declared and type(declared.node) is MappingNode else None
        if declared and type(options) is MappingNode:
            given = {key: declared.text(node) for key, node in entries(options).items()}
            flags = given.get("o", "").split(",")
            if given.get("type") == "tmpfs":
                volume.memory = True
                size = next((flag[5:] for flag in flags if flag.startswith("size=")), "")
                volume.size = self._size(size) if size else None
            elif "bind" in flags:
                volume.host_path = given.get("device", "")
        return volume

    def _long(self, item: _Place) -> VolumeMount | None:
        found = entries(item.node, explicit_first=True)
        target = item.text(found.get("target"))
        if not target:
            return None
        kind = item.text(found.get("type")) or "volume"
        if kind == "tmpfs":
            node = found.get("tmpfs")
            inside = entries(node) if type(node) is MappingNode else {}
            size = item.text(inside.get("size"))
            mount = self._tmpfs(target, [f"size={size}"] if size else [], item)
        else:
            volume = self._volume(item.text(found.get("source")), item)
            if kind == "bind" and volume.kind != "bind":
                volume.kind, volume.host_path = "bind", item.text(found.get("source"))
            if kind == "image":
                volume.kind = "image"
            mount = VolumeMount(normal_path(target), volume, item.location())
        mount.read_only = mount.read_only or item.text(found.get("read_only")).lower() in _TRUE
        bind = found.get("bind")
        mount.open_below = type(bind) is MappingNode and item.text(entries(bind).get("recursive")) == "writable"
        return mount

    def _inline_files(self, container: Container) -> Iterator[tuple[str, Location]]:
        """Yield what is copied into the root filesystem; what lies in a volume, the engine copies into that."""
        kinds = ("anonymous", "bind", "volume")
        volumes = {m.path.rstrip("/") for m in container.mounts if m.writable and m.volume.kind in kinds}
        ways_of = (("configs", "/", ("content", "environment")), ("secrets", "/run/secrets/", ("environment",)))
        for key, folder, ways in ways_of:
            for item in self.listed(key):
                said = entries(item.node) if type(item.node) is MappingNode else {"source": item.node}
                source = said.get("source")
                target = posixpath.join(folder, item.text(said.get("target")) or item.text(source))
                if len(target) > _LONGEST or any(
                    target[: slash.start()] in volumes for slash in re.finditer("/", target)
                ):
                    continue
                declared = self.tables[key].get(item.text(source))
                given = entries(declared.node) if declared and type(declared.node) is MappingNode else {}
                if any(way in given for way in ways):
                    yield f"{key.rstrip('s')} {item.text(source)!r}", item.location()

    def _labels(self) -> dict[str, str]:
        """Return the labels of its containers, and those that Swarm gives to the service."""
        given = [(place, place.node) for place in self.fields.get("labels", ())]
        for place in self.fields.get("deploy", ()):
            node = entries(place.node).get("labels") if type(place.node) is MappingNode else None
            given += [(place, node)] if node is not None else []
        labels: dict[str, str] = {}
        for place, node in given:
            if type(node) is MappingNode:
                labels |= {key: place.text(value) for key, value in entries(node).items()}
            elif type(node) is SequenceNode:
                labels |= dict(place.text(item).partition("=")[::2] for item in node.value)
        return labels
