"""Workloads in ECS task definitions: as registered, as described, and as CloudFormation has them."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from lithify.documents.nodes import MappingNode, Node, ScalarNode, SequenceNode, entries, is_null
from lithify.documents.yaml import Broken, Document, read_documents
from lithify.model.location import Location, Route
from lithify.model.workload import Container, ObjectName, Oddity, Volume, VolumeMount, Workload
from lithify.sources.base import Reading, normal_path, read_comments, read_labels
from lithify.sources.manifest import MULTIPLIED, capability_names, noun, read_exemptions, room, text_of, words

_MIB = 1 << 20


def read_task_definitions(path: str, data: bytes) -> Reading:
    """Return the task definitions of a JSON or YAML file, each as a workload."""
    reading = Reading(path)
    documents = []
    for document in read_documents(data):
        reading.documents += 1
        if isinstance(document, Broken):
            place = Location(path, document.index, line=document.line, column=document.column)
            reading.oddities.append(
                Oddity("unreadable-input", f"this document can't be read: {document.reason}", place)
            )
            continue
        documents.append(document)
        left = room(document)
        for node, route, capital in _definitions(document.root, set()):
            task = _Task(path, document, left, capital=capital)
            if capital:
                task.parameters = _defaults(document.root)
            reading.workloads.append(task.read(node, route))
            left = task.left
            if left < 0:
                reading.oddities.append(Oddity("unreadable-input", MULTIPLIED, task.location(route)))
                break
    read_exemptions(reading, documents, read_comments(data))
    return reading


def _definitions(root: Node, seen: set[int]) -> Iterator[tuple[Node, Route, bool]]:
    """Yield the task definitions of a document, their routes, and whether keys start with a capital letter.

    Each list is looked at once: `seen` has the ids of those that were.
    """
    if type(root) is SequenceNode and id(root) not in seen:
        seen.add(id(root))
        for index, item in enumerate(root.value):
            yield from ((node, (index, *route), capital) for node, route, capital in _definitions(item, seen))
    if type(root) is not MappingNode:
        return
    found = entries(root)
    if "containerDefinitions" in found:
        yield root, (), False
    wrapped = found.get("taskDefinition")
    if type(wrapped) is MappingNode:
        yield wrapped, ("taskDefinition",), False
    resources = found.get("Resources")
    for name, node in entries(resources).items() if type(resources) is MappingNode else ():
        resource = entries(node) if type(node) is MappingNode else {}
        if text_of(resource.get("Type")) == "AWS::ECS::TaskDefinition" and "Properties" in resource:
            yield resource["Properties"], ("Resources", name, "Properties"), True


def _defaults(root: Node) -> dict[str, Node]:
    """Return the defaults of a CloudFormation template's parameters."""
    parameters = entries(root).get("Parameters")
    listed = entries(parameters) if type(parameters) is MappingNode else {}
    given = {name: entries(node) for name, node in listed.items() if type(node) is MappingNode}
    return {name: found["Default"] for name, found in given.items() if "Default" in found}


def _said(node: Node | None) -> str:
    """Return a text, or the one that `Fn::Sub` or `Ref` has it made of."""
    if type(node) is MappingNode and len(node.value) == 1:
        return text_of(node.value[0][1])
    return text_of(node)


def _branches(node: Node) -> list[tuple[Node, Route]]:
    """Return what a condition of CloudFormation chooses between, with the keys to each; nothing for other values."""
    if type(node) is SequenceNode and node.tag == "!If":
        return [(branch, (index,)) for index, branch in enumerate(node.value) if index]
    inner = entries(node).get("Fn::If") if type(node) is MappingNode else None
    if type(inner) is SequenceNode:
        return [(branch, ("Fn::If", index)) for index, branch in enumerate(inner.value) if index]
    return []


class _Task:
    parameters: Mapping[str, Node] = MappingProxyType({})

    def __init__(self, path: str, document: Document, left: int, *, capital: bool) -> None:
        self.path = path
        self.document = document
        self.capital = capital
        self.oddities: list[Oddity] = []
        self.left = left
        """Steps to containers that may still come: more than a text can say come of aliases that multiply."""
        self.fargate = False
        """Whether it may run where nobody has a say in the engine's security options."""
        self.host_processes = False
        self.flags: dict[int, bool | None] = {}
        """What flags are that CloudFormation computes, by the id of their node."""

    def key(self, name: str) -> str:
        """Return a field's name as this file writes it."""
        return name[0].upper() + name[1:] if self.capital else name

    def fields(self, node: Node | None) -> dict[str, Node]:
        """Return a mapping's entries by their name in the ECS API."""
        found = entries(node) if type(node) is MappingNode else {}
        return {key[:1].lower() + key[1:]: value for key, value in found.items()} if self.capital else found

    def items(self, node: Node | None) -> list[tuple[int, Node]]:
        """Return the mappings of a list with their places in it."""
        listed = node.value if type(node) is SequenceNode else ()
        return [(index, item) for index, item in enumerate(listed) if type(item) is MappingNode]

    def location(self, route: Route) -> Location:
        """Return the place that a route from the root leads to."""
        root = Location(self.path, self.document.index, finder=self.document.find, anchor=self.document.root)
        return root.below(route)

    def read(self, node: Node, route: Route) -> Workload:
        """Return a task definition as a workload."""
        fields = self.fields(node)
        name = text_of(fields.get("family")) or (str(route[1]) if self.capital else "")
        workload = Workload(ObjectName("TaskDefinition", name), "ecs", self.location(route))
        platform = self.fields(fields.get("runtimePlatform"))
        if text_of(platform.get("operatingSystemFamily")).upper().startswith("WINDOWS"):
            workload.not_applicable = "Windows containers on ECS have no read-only root filesystem"
        volumes = {}
        for index, item in self.items(fields.get("volumes")):
            volume = self._volume(self.fields(item), self.location((*route, self.key("volumes"), index)))
            volumes[volume.name] = volume
        workload.volumes = tuple(volumes.values())
        listed = fields.get("containerDefinitions")
        here = (*route, self.key("containerDefinitions"))
        definitions = list(self._chosen(listed, here)) if listed is not None else []
        self.host_processes = text_of(fields.get("pidMode")) == "host"
        self.fargate = "FARGATE" in words(fields.get("requiresCompatibilities"))
        if listed is not None and type(listed) is not SequenceNode and type(listed.tag) is not str and not definitions:
            message = f"containerDefinitions is {noun(listed)}, not a list"
            self.oddities.append(Oddity("malformed-field", message, self.location(here)))
        workload.containers = tuple(
            self._container(workload, index, item, place, volumes) for index, (item, place) in enumerate(definitions)
        )
        workload.oddities = tuple(self.oddities)
        return workload

    def _chosen(self, node: Node, route: Route) -> Iterator[tuple[Node, Route]]:
        """Yield the containers below a list with their routes; of a condition those of each branch."""
        self.left -= 1
        if self.left < 0:
            return
        branches = _branches(node) if self.capital else []
        if branches:
            for branch, keys in branches:
                yield from self._chosen(branch, (*route, *keys))
        elif type(node) is SequenceNode:
            for index, item in enumerate(node.value):
                yield from self._chosen(item, (*route, index))
        elif type(node) is MappingNode and type(route[-1]) is int and not (self.capital and "Ref" in entries(node)):
            yield node, route  # a reference there is one to AWS::NoValue

    def _volume(self, fields: dict[str, Node], place: Location) -> Volume:
        kind = "volume"
        if "efsVolumeConfiguration" in fields:
            kind = "efs"
        elif "fsxWindowsFileServerVolumeConfiguration" in fields:
            kind = "fsx"
        volume = Volume(text_of(fields.get("name")), kind, place)
        source = text_of(self.fields(fields.get("host")).get("sourcePath"))
        volume.host_path = normal_path(source) if source else ""
        return volume

    def _container(
        self, workload: Workload, index: int, node: Node, route: Route, volumes: dict[str, Volume]
    ) -> Container:
        fields = self.fields(node)
        place = self.location(route)
        container = Container(workload, "containerDefinitions", index, _said(fields.get("name")), place)
        container.image = _said(fields.get("image"))
        container.command = words(fields.get("entryPoint"))
        container.arguments = words(fields.get("command"))
        security = container.security
        security.read_only_root = self._flag(fields, "readonlyRootFilesystem", place)
        for key in fields:
            if key.lower().startswith("readonly") and key != "readonlyRootFilesystem":
                message = f"{self.key(key)} is not a field and has no effect; {self.key('readonlyRootFilesystem')} is"
                self.oddities.append(Oddity("misspelt-flag", message, place / self.key(key)))
        security.privileged = text_of(fields.get("privileged")).lower() == "true"
        security.host_processes = self.host_processes
        security.run_as_user = text_of(fields.get("user")).partition(":")[0] or None
        if any(option.startswith("no-new-privileges") for option in words(fields.get("dockerSecurityOptions"))):
            security.escalation = False
        elif not self.fargate:  # there it is no field
            security.escalation = True
        linux = self.fields(fields.get("linuxParameters"))
        capabilities = self.fields(linux.get("capabilities"))
        security.added_capabilities = capability_names(words(capabilities.get("add")))
        security.dropped_capabilities = capability_names(words(capabilities.get("drop")))
        memory = text_of(fields.get("memory"))
        container.memory_limit = int(memory) * _MIB if memory.isdecimal() else None
        container.mounts = tuple(self._mounts(fields, linux, route, volumes))
        labels = fields.get("dockerLabels")
        found = entries(labels) if type(labels) is MappingNode else {}
        container.exemptions = tuple(read_labels((key, text_of(value)) for key, value in found.items()))
        return container

    def _flag(self, fields: dict[str, Node], key: str, place: Location) -> bool | None:
        node = fields.get(key)
        if node is None or is_null(node):
            return None
        if self.capital and (type(node) is not ScalarNode or type(node.tag) is str):
            return self._computed(node)
        value = node.value.lower() if type(node) is ScalarNode else ""
        # CloudFormation takes the string as well; the API's JSON wants a boolean.
        if value in ("true", "false") and (self.capital or not node.style):
            return bool(value == "true")
        shown = f"the string {node.value!r}" if type(node) is ScalarNode else noun(node)
        meant = {"true": True, "false": False}.get(value)
        message = f"{self.key(key)} is {shown}, not a boolean"
        self.oddities.append(Oddity("mistyped-flag", message, place / self.key(key), meant))
        return None

    def _computed(self, node: Node) -> bool | None:
        """Return what a flag is that CloudFormation computes: a parameter's default, what all branches agree on."""
        branches = _branches(node)
        if branches:
            if id(node) not in self.flags:
                values = {self._computed(branch) for branch, _ in branches}
                self.flags[id(node)] = values.pop() if len(values) == 1 else None
            return self.flags[id(node)]
        name = node.value if type(node) is ScalarNode and node.tag == "!Ref" else ""
        if type(node) is MappingNode:
            name = text_of(entries(node).get("Ref"))
        given = self.parameters.get(name) if name else node
        return {"true": True, "false": False}.get(text_of(given).lower())

    def _mounts(
        self, fields: dict[str, Node], linux: dict[str, Node], route: Route, volumes: dict[str, Volume]
    ) -> Iterator[VolumeMount]:
        for index, item in self.items(fields.get("mountPoints")):
            found = self.fields(item)
            path, name = text_of(found.get("containerPath")), text_of(found.get("sourceVolume"))
            place = self.location((*route, self.key("mountPoints"), index))
            if path:
                mount = VolumeMount(normal_path(path), volumes.get(name) or Volume(name, "unknown", place), place)
                mount.read_only = text_of(found.get("readOnly")).lower() == "true"
                yield mount
        for index, item in self.items(linux.get("tmpfs")):
            found = self.fields(item)
            path, size = text_of(found.get("containerPath")), text_of(found.get("size"))
            place = self.location((*route, self.key("linuxParameters"), self.key("tmpfs"), index))
            if path:
                volume = Volume("", "tmpfs", place)
                volume.memory = True
                volume.size = int(size) * _MIB if size.isdecimal() else None
                mount = VolumeMount(normal_path(path), volume, place)
                options = words(found.get("mountOptions"))
                mount.read_only = "ro" in options
                mount.executable = "exec" in options  # the engine's default is noexec
                yield mount
