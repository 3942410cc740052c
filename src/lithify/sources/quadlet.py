"""Workloads in Quadlet units: `.container` files that Podman turns into services, with their drop-ins."""

import os
from collections import Counter

from lithify.documents.unit import parse_unit, split_words
from lithify.model.location import Location, Route
from lithify.model.quantity import parse_engine_size
from lithify.model.workload import Container, ObjectName, Oddity, Volume, VolumeMount, Workload
from lithify.sources.base import Reading, normal_path, read_comments, read_labels
from lithify.sources.manifest import capability_names

_TRUE = frozenset(("1", "yes", "true", "on"))
_FALSE = frozenset(("0", "no", "false", "off"))
_GO_TRUE = frozenset(("", "1", "t", "T", "true", "True", "TRUE"))
"""What a switch on Podman's command line is on with; nothing behind it among them."""
_NO_ESCALATION = frozenset(("no-new-privileges", "no-new-privileges:true"))
_LONG = {"-l": "--label", "-m": "--memory", "-u": "--user", "-v": "--volume"}
_WITH_VALUE = frozenset(
    (*_LONG, *_LONG.values(), "--cap-add", "--cap-drop", "--mount", "--pid", "--security-opt", "--tmpfs")
)
"""Options of Podman that matter here and whose value may be the next word."""
_READ_ONLY_TMPFS = ("/run", "/tmp", "/var/tmp")  # noqa: S108 - what Podman mounts, not where we write


class _Entry:
    """One `Key=value` of a unit or of a drop-in."""

    __slots__ = ("key", "line", "path", "value")

    def __init__(self, key: str, value: str, path: str, line: int) -> None:
        self.key = key
        self.value = value
        self.path = path
        self.line = line

    @property
    def word(self) -> str:
        """Its value, where one is meant, without the quotes that may stand around it."""
        return self.value.strip('"')

    @property
    def words(self) -> list[str]:
        """Its value as systemd splits it."""
        try:
            return split_words(self.value)
        except ValueError:  # a quote is left open
            return self.value.split()


def read_quadlet(path: str, data: bytes) -> Reading:
    """Return the container that a Quadlet unit describes, drop-ins beside it applied."""
    reading = Reading(path)
    reading.documents = 1
    entries = _parse(data, path, reading)
    for drop_in in _drop_ins(path):
        from lithify.sources.base import read_bytes

        reading.depends = True
        more = read_bytes(drop_in)
        if isinstance(more, bytes):
            entries += _parse(more, drop_in, reading)
    if entries:
        reading.workloads.append(_Unit(path, entries).read())
    if b"lithify:" in data:
        text = data.decode("utf-8", "replace").removeprefix("\ufeff")
        head = next(
            (n for n, line in enumerate(text.splitlines(), 1) if line.strip() and line.strip()[0] not in "#;"), 1
        )
        section = next((n for n, line in enumerate(text.splitlines(), 1) if line.strip() == "[Container]"), 1)
        reading.lines = lambda location: [head, section, location.line]
        reading.comments = read_comments(data)
    return reading


def _drop_ins(path: str) -> list[str]:
    """Return the drop-ins of a unit, in the order that they apply.

    They lie in `container.d`, in the folders of names that end at a dash (`web-.container.d` for `web-1.container`), in
    that of the template, and in its own; of files of one name the narrowest folder counts (podman-systemd.unit).
    """
    folder, name = os.path.split(path)
    stem = name.removesuffix(".container")
    template, at, instance = stem.partition("@")
    dashes = [number + 1 for number, letter in enumerate(template) if letter == "-" and number + 1 < len(template)]
    stems = [stem, *([template + "@"] if at and instance else []), *(template[:end] for end in reversed(dashes))]
    found: dict[str, str] = {}
    for below in [*(f"{one}.container.d" for one in stems), "container.d"]:
        try:
            listed = os.listdir(os.path.join(folder, below))
        except OSError:
            continue
        for one in listed:
            if one.endswith(".conf"):
                found.setdefault(one, os.path.join(folder, below, one))
    return [found[one] for one in sorted(found)]


def _parse(data: bytes, path: str, reading: Reading) -> list[_Entry]:
    unit = parse_unit(data)
    for index in unit.malformed:
        message = f"{unit.lines[index].strip()!r} is neither a section nor Key=value: Podman refuses the unit"
        reading.oddities.append(Oddity("malformed-field", message, Location(path, line=index + 1, column=1)))
    return [_Entry(e.key, e.value, path, e.first + 1) for e in unit.entries if e.section == "Container"]


class _Unit:
    def __init__(self, path: str, entries: list[_Entry]) -> None:
        self.path = path
        self.entries = entries
        self.oddities: list[Oddity] = []
        count = Counter[str]()
        self.ordinals: dict[int, int] = {}
        for entry in self.entries:
            self.ordinals[id(entry)] = count[entry.key]
            count[entry.key] += 1

    def last(self, key: str) -> _Entry | None:
        """Return the entry that counts where one value is meant."""
        entry = next((entry for entry in reversed(self.entries) if entry.key == key), None)
        return entry if entry is not None and entry.value else None

    def all(self, key: str) -> list[_Entry]:
        """Return the entries of a list; an empty value takes back what came before."""
        found: list[_Entry] = []
        for entry in self.entries:
            if entry.key == key and entry.value:
                found.append(entry)
            elif entry.key == key:
                found.clear()
        return found

    def find(self, _anchor: object, tail: Route) -> tuple[int, int]:
        """Return the line of a key, or of the unit's section."""
        entry = self.last(str(tail[0])) if tail else None
        if entry is None or entry.path != self.path:
            entry = self.entries[0]
        return entry.line, 1

    def place(self, entry: _Entry) -> Location:
        """Return where an entry stands; the third of those that repeat a key is `Container`, its key, 2."""
        route = ("Container", entry.key, self.ordinals[id(entry)])
        return Location(entry.path, 0, route, line=entry.line, column=1)

    def read(self) -> Workload:
        """Return the unit as a workload with one container."""
        name = os.path.basename(self.path).removesuffix(".container")
        here = Location(self.path, 0, ("Container",), finder=self.find, anchor=self)
        workload = Workload(ObjectName("Quadlet", name), "quadlet", here)
        named = self.last("ContainerName")
        container = Container(workload, "Container", 0, named.word if named else name, here)
        image = self.last("Image")
        container.image = image.word if image else ""
        command = self.last("Exec")
        container.arguments = tuple(command.words) if command else ()
        arguments = self._podman_arguments()
        self._read_security(container, arguments)
        memory = self.last("Memory")
        limits = [memory.word] if memory else []
        limits += [value for option, value, _ in arguments if option == "--memory"]
        container.memory_limit = _size(limits[-1]) if limits else None
        container.mounts = tuple(self._mounts(container, arguments))
        workload.containers = (container,)
        workload.volumes = tuple(
            m.volume for m in container.mounts if m.volume.kind == "tmpfs" and m.volume.name != "podman"
        )
        workload.oddities = tuple(self.oddities)
        labels = [word for entry in self.all("Label") for word in entry.words]
        labels += [value for option, value, _ in arguments if option == "--label"]
        container.exemptions = tuple(read_labels(label.partition("=")[::2] for label in labels))
        return workload

    def _podman_arguments(self) -> list[tuple[str, str, _Entry]]:
        """Return the options that are handed to Podman as they are, with their values."""
        found = []
        for entry in self.all("PodmanArgs"):
            words = iter(entry.words)
            for word in words:
                option, separator, value = word.partition("=")
                if not separator and option in _WITH_VALUE:
                    value = next(words, "")
                found.append((_LONG.get(option, option), value, entry))
        return found

    def _boolean(self, key: str) -> bool | None:
        entry = next((entry for entry in reversed(self.entries) if entry.key == key), None)
        if entry is None or not entry.value:  # to Podman an empty value is false, and takes back what came before
            return None if entry is None else False
        value = entry.word.lower()
        if value in _TRUE or value in _FALSE:
            return value in _TRUE
        if key == "ReadOnly":
            message = f"{key} is {entry.value!r}, not a boolean: it counts as false"
            self.oddities.append(Oddity("mistyped-flag", message, self.place(entry)))
        return None

    def _read_security(self, container: Container, arguments: list[tuple[str, str, _Entry]]) -> None:
        security = container.security
        security.read_only_root = self._boolean("ReadOnly")
        for entry in self.entries:
            squeezed = entry.key.lower().replace("_", "").replace("-", "")
            if squeezed.startswith(("readonly", "readroot")) and entry.key not in ("ReadOnly", "ReadOnlyTmpfs"):
                message = f"{entry.key} is not a key, and Podman refuses the unit for it; ReadOnly is one"
                self.oddities.append(Oddity("misspelt-flag", message, self.place(entry)))
        user = self.last("User")
        owner = user.word if user else ""
        security.user_namespace = self.last("UserNS") is not None
        if self._boolean("NoNewPrivileges"):
            security.escalation = False
        added = [word for entry in self.all("AddCapability") for word in entry.words]
        dropped = [word for entry in self.all("DropCapability") for word in entry.words]
        for option, value, _ in arguments:
            if option == "--read-only":
                security.read_only_root = value in _GO_TRUE
            elif option == "--privileged":
                security.privileged = value in _GO_TRUE
            elif option == "--pid":
                security.host_processes = value == "host"
            elif option == "--user":
                owner = value
            elif option == "--security-opt" and value.replace("=", ":") in _NO_ESCALATION:
                security.escalation = False
            elif option == "--cap-add":
                added.append(value)
            elif option == "--cap-drop":
                dropped.append(value)
        security.run_as_user = owner.partition(":")[0] or None
        security.added_capabilities = capability_names(tuple(",".join(added).split(",") if added else ()))
        security.dropped_capabilities = capability_names(tuple(",".join(dropped).split(",") if dropped else ()))

    def _mounts(self, container: Container, arguments: list[tuple[str, str, _Entry]]) -> list[VolumeMount]:
        by_path: dict[str, VolumeMount] = {}
        own = self._boolean("ReadOnlyTmpfs") is not False
        own = next((value in _GO_TRUE for name, value, _ in reversed(arguments) if name == "--read-only-tmpfs"), own)
        if container.security.read_only_root and own:
            for path in _READ_ONLY_TMPFS:  # Podman's own, with exec and without a size
                by_path[path] = self._tmpfs(path, container.location, name="podman")
        entry = self.last("VolatileTmp")
        if entry is not None and self._boolean("VolatileTmp") and self._boolean("ReadOnly") is not True:
            by_path["/tmp"] = self._tmpfs("/tmp:size=512M", self.place(entry))  # noqa: S108 - what Podman mounts
        made = [self._tmpfs(entry.value, self.place(entry)) for entry in self.all("Tmpfs")]
        made += [self._tmpfs(value, self.place(entry)) for option, value, entry in arguments if option == "--tmpfs"]
        made += [self._volume(entry.value, entry) for entry in self.all("Volume")]
        made += [self._volume(value, entry) for option, value, entry in arguments if option == "--volume"]
        mounted = [(word, entry) for entry in self.all("Mount") for word in entry.words]
        mounted += [(value, entry) for option, value, entry in arguments if option == "--mount"]
        by_path |= {mount.path: mount for mount in made}
        for word, entry in mounted:
            found = self._mount(word, entry)
            if found is not None:
                by_path[found.path] = found
        return list(by_path.values())

    def _tmpfs(self, text: str, place: Location, name: str = "") -> VolumeMount:
        path, _, said = text.partition(":")
        options = said.split(",")
        volume = Volume(name, "tmpfs", place)
        volume.memory = True
        size = next((option[5:] for option in options if option.startswith("size=")), None)
        volume.size = _size(size) if size else None
        mount = VolumeMount(normal_path(path), volume, place)
        mount.read_only = "ro" in options
        mount.executable = "noexec" not in options  # Podman's default is exec
        mount.filled = "notmpcopyup" not in options
        return mount

    def _volume(self, text: str, entry: _Entry) -> VolumeMount:
        parts = text.split(":")
        source, target = (parts[0], parts[1]) if len(parts) > 1 else ("", parts[0])
        options = parts[2].split(",") if len(parts) > 2 else []
        if not source:
            volume = Volume("", "anonymous", self.place(entry))
        elif "O" in options:  # what is written goes with the container
            volume = Volume(source, "overlay", self.place(entry))
        elif source.startswith((".", "/", "%h", "%")):
            volume = Volume(source, "bind", self.place(entry))
            volume.host_path = normal_path(source)
        else:
            volume = Volume(source, "volume", self.place(entry))
        mount = VolumeMount(normal_path(target), volume, self.place(entry))
        mount.read_only = "ro" in options or "rro" in options
        mount.open_below = "rro" not in options
        mount.executable = "noexec" not in options
        return mount

    def _mount(self, text: str, entry: _Entry) -> VolumeMount | None:
        given = dict(part.partition("=")[::2] for part in text.split(","))
        target = given.get("target") or given.get("destination") or given.get("dst")
        if not target:
            return None
        kind = given.get("type", "volume")
        source = given.get("source") or given.get("src") or ""
        known = {"bind": "bind", "tmpfs": "tmpfs", "image": "image"}
        volume = Volume(source, known.get(kind, "volume" if source else "anonymous"), self.place(entry))
        if kind == "bind":
            volume.host_path = normal_path(source)
        elif kind == "tmpfs":
            volume.memory = True
            size = given.get("tmpfs-size") or given.get("size")
            volume.size = _size(size) if size else None
        mount = VolumeMount(normal_path(target), volume, self.place(entry))
        mount.read_only = any(key in given and given[key] in ("", "true") for key in ("ro", "readonly", "read-only"))
        mount.executable = "noexec" not in given
        mount.filled = mount.filled or (kind == "tmpfs" and "notmpcopyup" not in given)
        mount.open_below = kind == "bind"
        return mount


def _size(text: str) -> int | None:
    try:
        return 0 if text.endswith("%") else parse_engine_size(text) or None
    except ValueError:
        return None
