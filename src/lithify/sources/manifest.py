"""Workloads in Kubernetes manifests, YAML or JSON.

Every kind that holds a pod template, lists, admission reviews, OpenShift templates, and custom resources with a pod
spec wherever it stands. Values mean what kubectl reads in them. What is odd on the way (a misspelt flag, a duplicate
key, a scalar where a container should be) is kept for the rules that explain it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from types import MappingProxyType

from lithify.documents.nodes import (
    MappingNode,
    Node,
    ScalarNode,
    SequenceNode,
    boolean,
    duplicates,
    entries,
    is_null,
    scalar,
)
from lithify.documents.scalar import EVERYWHERE, NULL
from lithify.documents.yaml import Broken, Document, is_template, read_documents
from lithify.model.finding import Skipped
from lithify.model.location import Key, Location, Route
from lithify.model.quantity import parse_quantity
from lithify.model.workload import (
    CONTAINER_LISTS,
    FLAG,
    Container,
    Exemption,
    ObjectName,
    Oddity,
    SecurityContext,
    Volume,
    VolumeMount,
    Workload,
    may_hold_containers,
    resembles_flag,
)
from lithify.sources.base import EXEMPTION_KEY, CommentExemption, Reading, normal_path, parse_exemption, read_comments
from lithify.sources.custom import (
    OTHERS,
    PodSpec,
    Whole,
    at,
    further_lists,
    has_image,
    holds_containers,
    pod_specs,
    without_containers,
)

TYPE_CHECKING = False  # a name of ours: `typing` costs a tenth of the time that an audit of one file takes
if TYPE_CHECKING:
    from typing import Any

_TEMPLATE = ("spec", "template", "spec")
_PODS: dict[str, tuple[str, ...]] = {
    "Pod": ("spec",),
    "PodTemplate": ("template", "spec"),
    "CronJob": ("spec", "jobTemplate", "spec", "template", "spec"),
    **dict.fromkeys(
        (
            "Deployment",
            "StatefulSet",
            "DaemonSet",
            "ReplicaSet",
            "ReplicationController",
            "Job",
            "DeploymentConfig",
            "Rollout",
        ),
        _TEMPLATE,
    ),
}
_WORK = 5
"""Steps of merging for each container that a text has room for, beside those that any may take."""
_MOST_WORK = 20_000
_LEAST = len("{image: x},")
"""Bytes that a container takes at least."""
MOST = 20_000
"""Containers of one list that are judged: no API server takes an object with more, and each takes 9 KB meanwhile."""
_LEAST_OF_MOUNT = 2
"""What every mount says: its name and its path."""
MULTIPLIED = "its aliases multiply: more containers than the text has room for; the rest is not judged"
_MULTIPLIED_BY_ALL = "what holds for all its templates multiplies beyond measure; the rest is not judged"
_ELSEWHERE = "its pods are those of the object that workloadRef names: judged where that stands"
_SECURITY_KEYS = frozenset(
    (
        "allowPrivilegeEscalation",
        "appArmorProfile",
        "capabilities",
        "privileged",
        "procMount",
        FLAG,
        "runAsGroup",
        "runAsNonRoot",
        "runAsUser",
        "seLinuxOptions",
        "seccompProfile",
        "windowsOptions",
    )
)
_CONTAINER_KEYS = frozenset(
    (
        "args",
        "command",
        "env",
        "envFrom",
        "image",
        "imagePullPolicy",
        "lifecycle",
        "livenessProbe",
        "name",
        "ports",
        "readinessProbe",
        "resources",
        "restartPolicy",
        "securityContext",
        "startupProbe",
        "targetContainerName",
        "volumeDevices",
        "volumeMounts",
        "workingDir",
    )
)
_OS_LABELS = ("kubernetes.io/os", "beta.kubernetes.io/os")
_PATCH_UNREAD = "a patch of the pod that can't be read or applied as it stands, as with expressions: judged without it"
TEMPLATE_REASON = "a Go template outside a chart: render it first (helm template, or name the chart's folder)"


def read_manifest(path: str, data: bytes) -> Reading:
    """Return the workloads of a manifest; broken documents and templates become oddities and skips."""
    (reading,) = read_manifest_parts(path, data, len(data) + 1)
    return reading


def read_manifest_parts(path: str, data: bytes, most: int) -> Iterator[Reading]:
    """Yield what `read_manifest` returns in parts of about `most` bytes, each of whole objects, with their comments."""
    data = _valid(data)
    comments = read_comments(data)
    comments.sort(key=lambda comment: comment.line, reverse=True)
    reading = Reading(path)
    documents: list[Document] = []
    also: list[CommentExemption] = []
    manifest: _Manifest | None = None
    size, text = 0, b""
    strict = b"ontainers" in data  # kubectl stops at a broken document, and never comes to the containers behind it
    for document in read_documents(data, _judged, most, strict=strict):
        part = 0 if isinstance(document, Broken) else document.left_out
        if part or (size > most and document.text is not text):
            line = document.line if isinstance(document, Broken) else document.part_line
            read_exemptions(reading, documents, _before(comments, line), also)
            yield reading
            reading, documents, size = Reading(path), [], 0
            also = also if part else []
        begun = document.text is text
        if not begun:
            text = document.text
            size += len(text)
        reading.documents += not part
        if isinstance(document, Broken):
            if begun and reading.skipped and reading.skipped[-1].reason == TEMPLATE_REASON:
                reading.skipped.pop()  # `{{ if .x }}` can be read, what stands behind it can't
            read_broken(reading, document)
            continue
        documents.append(document)
        if comments and not part and len(text) > most:  # it may come in parts
            lines = (*_lines_of_all(document), document.find(document.root, ("items",))[0])
            also += [comment for comment in reversed(comments) if comment.line in lines]
        if b"{{" in text and _has_complex_key(document.root):
            place = Location(path, document.index, line=document.first_line + 1, column=1)
            reading.skipped.append(Skipped(place, TEMPLATE_REASON))
            continue
        if manifest is None or not part:
            manifest = _Manifest(reading, document)
        manifest.reading, manifest.document = reading, document
        manifest.read(document.root, ())
    read_exemptions(reading, documents, comments[::-1], also)
    yield reading


def _valid(data: bytes) -> bytes:
    """Return a text with replacement characters for what is no UTF-8 in it, as kubectl reads it."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return data.decode(errors="replace").encode()
    return data


def _judged(text: bytes) -> bool:
    """Tell whether a document may have something to be judged, or is a template: only its nodes say that it is one."""
    return may_hold_containers(text) or b"{{" in text


def _before(comments: list[CommentExemption], line: int) -> list[CommentExemption]:
    """Take from the end of `comments` those that speak of what stands before a line."""
    taken = []
    while comments and comments[-1].line < line:
        taken.append(comments.pop())
    return taken


def read_object(path: str, value: Mapping[str, Any], *, index: int = 0, route: Route = ()) -> Reading:
    """Return the workloads of a live object; `route` is where it stands in the object that `path` names."""
    from lithify.documents.live import LiveDocument

    reading = Reading(path)
    reading.documents = 1
    document = LiveDocument(index, value)
    manifest = _Manifest(reading, document)
    manifest.annotated = True
    manifest.read(document.root, route)
    return reading


def read_annotations(metadata: Mapping[str, Any]) -> Iterator[Exemption]:
    """Yield the exemptions that annotations and labels of a live object give."""
    for origin in ("annotations", "labels"):
        for key, value in (metadata.get(origin) or {}).items():
            if key.startswith(EXEMPTION_KEY):
                yield parse_exemption(key.removeprefix(EXEMPTION_KEY), str(value), origin=origin.rstrip("s"))


def template_route(kind: str) -> Route:
    """Return the keys from an object of `kind` to its pod template; nothing for a pod, and for kinds of others."""
    return _PODS.get(kind, ())[:-1]


def read_exemptions(
    reading: Reading,
    documents: list[Document],
    comments: list[CommentExemption],
    also: Sequence[CommentExemption] = (),
    others: Mapping[tuple[str, int], Document] = MappingProxyType({}),
) -> None:
    """Take the exemptions that comments give into `reading`, with the lines their targets are found by.

    What is said of a document's first line, or of its kind, is said of the whole document: `also` are those that stand
    in other parts of it. `others` are documents of other files, by path and index.
    """
    again = [CommentExemption(one.exemption, one.line, again=True) for one in also if one not in comments]
    comments = sorted([*comments, *again], key=lambda comment: comment.line)
    if not comments:
        return
    by_index = {document.index: document for document in documents}

    def lines(location: Location) -> list[int]:
        document = others.get((location.path, location.document)) or by_index.get(location.document)
        if document is None:
            return [location.line]
        return [*_lines_of_all(document), *document.entry_lines(location.route)]

    reading.lines = lines
    reading.comments = comments


def _lines_of_all(document: Document) -> tuple[int, int]:
    first = document.root.start_mark.line + document.first_line + 1
    return first, document.find(document.root, ("kind",))[0]


def read_broken(reading: Reading, broken: Broken) -> None:
    """Say in `reading` that a document can't be read: an oddity, or a skip where it is a template."""
    place = Location(reading.path, broken.index, line=broken.line, column=broken.column)
    if is_template(broken.text):
        reading.skipped.append(Skipped(place, TEMPLATE_REASON))
    else:
        reading.oddities.append(Oddity("unreadable-input", f"this document can't be read: {broken.reason}", place))


def _has_complex_key(root: Node) -> bool:
    """Tell whether a key is a mapping: what `{{ .Values.x }}` is to a YAML parser."""
    seen: set[int] = set()
    stack = [root]
    while stack:
        node = stack.pop()
        if type(node) is ScalarNode or id(node) in seen:
            continue
        seen.add(id(node))
        if type(node) is SequenceNode:
            stack.extend(node.value)
            continue
        for key, value in node.value:
            if type(key) is MappingNode:
                return True
            stack.append(value)
    return False


def text_of(node: Node | None) -> str:
    """Return the text of a scalar; nothing for null and for what is no scalar."""
    return node.value if type(node) is ScalarNode and (node.style or node.value not in NULL) else ""


def noun(node: Node) -> str:
    """Say what a node is, for a message."""
    if is_null(node):
        return "null"
    return {ScalarNode: "a scalar", SequenceNode: "a list", MappingNode: "a mapping"}[type(node)]


def words(node: Node | None) -> tuple[str, ...]:
    """Return the scalars of a list, or the one that stands alone."""
    if node is None:
        return ()
    if type(node) is SequenceNode:
        return tuple(item.value for item in node.value if type(item) is ScalarNode)
    return (text,) if (text := text_of(node)) else ()


def quantity(node: Node | None) -> int | None:
    """Return a quantity in whole units, None where there is none that can be read."""
    text = text_of(node)
    try:
        return parse_quantity(text) if text else None
    except (ValueError, OverflowError):
        return None


def room(document: Document) -> int:
    """Return how many containers a document's text can say without aliases that multiply."""
    return len(document.text) // _LEAST + 100 if document.text else 1 << 30


class _Manifest:
    """Reads the objects of one document."""

    def __init__(self, reading: Reading, document: Document) -> None:
        self.reading = reading
        self.document = document
        self.annotated = EXEMPTION_KEY.encode() in document.text
        self.oddities: list[Oddity] = []
        self.left = room(document)
        """Containers that may still come: more than a text can say come of aliases that multiply."""
        self.objects = len(document.text) // len("{},") + 100 if document.text else 1 << 30
        """Objects and lists of them that may still come: aliases of lists multiply too."""
        self.work = _MOST_WORK + self.left * _WORK
        """Steps that may still be taken to merge what holds for many templates into each."""
        self.shared: dict[int, dict[str, Volume]] = {}
        """Volumes that stand above the templates of an object, by where."""
        self.told: set[object] = set()
        """Those of them that one of its workloads has already, and its patches that were said not to be readable."""
        self.host_process = b"hostProcess" in document.text or not document.text
        """Whether a container may say of itself that it is a process of a Windows host."""
        self.parameters: dict[str, Node] = {}
        """Defaults of an OpenShift template's parameters."""

    def location(self, node: Node, route: Route) -> Location:
        return Location(self.reading.path, self.document.index, route, finder=self.document.find, anchor=node)

    def fields(self, node: Node | None, place: Location, *keys: Key) -> dict[str, Node]:
        """Return the entries of the mapping that `keys` lead to from `place`, none for what is none.

        Duplicate keys are kept as an oddity.
        """
        if type(node) is not MappingNode:
            return {}
        found = entries(node)
        if len(found) != len(node.value):
            self._notice_duplicates(node, place.below(keys))
        return found

    def _notice_duplicates(self, node: Node, location: Location) -> None:
        for key in duplicates(node):
            message = f"key {key!r} stands here more than once: the last one counts, the others are lost"
            self.oddities.append(Oddity("duplicate-key", message, location / key))

    def read(self, node: Node, route: Route, api_version: str = "", kind: str = "") -> None:
        """Read an object, or each of those in a list; what an item of a list need not say is `api_version`, `kind`."""
        self.objects -= 1
        if self.objects <= 0:
            if self.objects == 0:
                message = "its aliases multiply: more objects than the text has room for; the rest is not judged"
                self.reading.oddities.append(Oddity("unreadable-input", message, self.location(node, route)))
            return
        if type(node) is SequenceNode:  # kubectl takes no bare list, other tools write one
            for index, item in enumerate(node.value):
                self.read(item, (*route, index))
            return
        if type(node) is not MappingNode:
            return
        place = self.location(node, route)
        self.oddities = []
        fields = self.fields(node, place)
        kind_node = fields.get("kind")
        if kind_node is not None and not is_null(kind_node):
            api_version = text_of(fields.get("apiVersion"))
            kind = (
                kind_node.value
                if type(kind_node) is ScalarNode
                else "<dict>"
                if type(kind_node) is MappingNode
                else "<list>"
            )
        elif not kind or text_of(fields.get("apiVersion")):
            self.reading.skipped.append(Skipped(place, "no kind: not a Kubernetes object"))
            return
        inner = self._inner(kind, fields, route)
        if inner is not None:
            # The API server leaves both out in a list of one kind, and kubectl puts them in again.
            own = (api_version, kind.removesuffix("List")) if kind.endswith("List") else ()
            for item, item_route in inner:
                self.read(item, item_route, *own)
            return
        self._read_workloads(node, fields, ObjectName(kind, api_version=api_version), place)

    def _inner(self, kind: str, fields: dict[str, Node], route: Route) -> Iterator[tuple[Node, Route]] | None:
        """Return the objects that an object of this kind only wraps; None where it is itself one."""
        key = "items" if kind.endswith("List") else "objects" if kind == "Template" else ""
        held = fields.get(key) if key else None
        if held is not None:
            if type(held) is not SequenceNode:
                return iter(())
            if kind == "Template" and type(fields.get("parameters")) is SequenceNode:
                given = [entries(one) for one in fields["parameters"].value if type(one) is MappingNode]
                self.parameters = {text_of(one.get("name")): one["value"] for one in given if "value" in one}
            left_out = 0 if route else self.document.left_out
            items = enumerate(held.value[left_out:], left_out)
            return ((item, (*route, key, index)) for index, item in items)
        if kind == "AdmissionReview":
            request = fields.get("request")
            held = entries(request).get("object") if type(request) is MappingNode else None
            return iter(() if held is None else ((held, (*route, "request", "object")),))
        return None

    def _read_workloads(self, node: Node, fields: dict[str, Node], name: ObjectName, place: Location) -> None:
        kind, api_version = name.kind, name.api_version
        if reason := without_containers(api_version):
            self.reading.skipped.append(Skipped(place, reason))
            return
        metadata = self.fields(fields.get("metadata"), place, "metadata")
        name.name = text_of(metadata.get("name")) or text_of(metadata.get("generateName"))
        name.namespace = text_of(metadata.get("namespace"))
        exemptions = self._annotations(metadata) if self.annotated else ()
        pods = list(self._pods(node, fields, name, place))
        if not pods and kind == "Rollout" and type(at(node, "spec", "workloadRef")) is MappingNode:
            self.reading.skipped.append(Skipped(place / "spec" / "workloadRef", _ELSEWHERE))
        head, self.oddities = self.oddities, []
        self.shared, self.told = {}, set()
        for spec in pods:
            self.work -= spec.cost
            if self.left < 0 or self.work < 0:
                message = MULTIPLIED if self.left < 0 else _MULTIPLIED_BY_ALL
                self.reading.oddities.append(Oddity("unreadable-input", message, place))
                break
            self.oddities = []
            workload = Workload(name, "kubernetes", place)
            workload.pod = spec.route
            own = self._annotations(entries(spec.template)) if self.annotated and spec.template is not None else ()
            workload.exemptions = exemptions + own
            self._read_pod(workload, spec, node)
            workload.oddities = (*head, *self.oddities)
            head = []
            self.left -= len(workload.containers)
            self.reading.workloads.append(workload)
        if head:
            workload = Workload(name, "kubernetes", place)
            workload.oddities = tuple(head)
            self.reading.workloads.append(workload)

    def _annotations(self, metadata: dict[str, Node]) -> tuple[Exemption, ...]:
        found = []
        for origin in ("annotations", "labels"):
            node = metadata.get(origin)
            for key, value in entries(node).items() if type(node) is MappingNode else ():
                if key.startswith(EXEMPTION_KEY):
                    rule = key.removeprefix(EXEMPTION_KEY)
                    found.append(parse_exemption(rule, text_of(value), origin=origin.rstrip("s")))
        return tuple(found)

    def _pods(self, root: Node, fields: dict[str, Node], name: ObjectName, place: Location) -> Iterator[PodSpec]:
        """Yield each pod spec of an object."""
        route, api_version = _PODS.get(name.kind), name.api_version
        if route is not None:
            template: Node = None
            node: Node = fields.get(route[0])
            for depth, key in enumerate(route[1:], 1):
                found = entries(node) if type(node) is MappingNode else {}
                if found and len(found) != len(node.value):
                    self._notice_duplicates(node, place.below(route[:depth]))
                template = found.get("metadata")
                node = found.get(key)
            if type(node) is MappingNode:
                yield PodSpec(node, route, template if type(template) is MappingNode else None)
                return
        if name.kind == "StepAction" and api_version.startswith("tekton.dev/"):
            yield PodSpec(root, ())  # one step, told by its `spec`
            return
        yield from pod_specs(
            root, api_version, lambda route, reason: self.reading.skipped.append(Skipped(place.below(route), reason))
        )

    def _read_pod(self, workload: Workload, spec: PodSpec, root: Node) -> None:
        place = workload.location.on(spec.node, spec.route)
        fields = self.fields(spec.node, place)
        whole = Whole(spec) if spec.around else None
        if whole is not None:
            fields = whole.fields
            for route in whole.unread:
                if route not in self.told:
                    self.told.add(route)
                    self.reading.skipped.append(Skipped(workload.location.below(route), _PATCH_UNREAD))
        workload.not_applicable = _not_applicable(fields, by_container=self.host_process)
        inherited = self._read_pod_security(fields, place, workload)
        volumes: MutableMapping[str, Volume] = self._read_volumes(fields, place)
        if workload.name.kind == "StatefulSet":
            self._read_claims(volumes, at(root, "spec"), workload.location / "spec")
        workload.volumes = tuple(volumes.values())
        if spec.around:
            from collections import ChainMap

            volumes = ChainMap(volumes, *(self._volumes_of(*one, workload.location) for one in reversed(spec.around)))
        containers: list[Container] = []
        for list_name in CONTAINER_LISTS:
            listed = fields.get(list_name)
            if listed is not None and not is_null(listed) and (spec.steps is not OTHERS or holds_containers(listed)):
                containers += self._read_list(workload, list_name, listed, place, inherited, volumes)
        for key in () if workload.name.kind in _PODS else further_lists(fields):
            containers += self._read_list(workload, key, fields[key], place, inherited, volumes)
        for key, many in spec.steps.items():
            node = fields.get(key)
            if key == "steps" and type(node) is SequenceNode:
                containers += self._read_steps(workload, node, fields.get("stepTemplate"), place, inherited, volumes)
            elif many and type(node) is SequenceNode and (spec.steps is not OTHERS or holds_containers(node)):
                containers += self._read_list(workload, key, node, place, inherited, volumes)
            elif not many and type(node) is MappingNode and (spec.steps is not OTHERS or has_image(node)):
                container = self._read_container(workload, key, 0, node, place / key, inherited, volumes)
                container.name = container.name or text_of(fields.get("name"))  # it is called as its template is
                containers.append(container)
        for index, (node, route) in enumerate(whole.added if whole is not None else ()):
            here = workload.location.below(route)
            containers.append(self._read_container(workload, str(route[-1]), index, node, here, inherited, volumes))
        if workload.name.kind == "StepAction" and type(fields.get("spec")) is MappingNode:
            step = self._read_container(workload, "spec", 0, fields["spec"], place / "spec", inherited, volumes)
            containers.append(step)
        common = fields.get("volumeMounts") if spec.around else None  # what a set of containers has in each
        if type(common) is SequenceNode:
            mounts = tuple(self._read_mounts(common, place / "volumeMounts", volumes))
            for container in containers:
                container.mounts += mounts
        for container in containers if spec.steps else ():
            container.partial = not container.image
        workload.containers = tuple(containers)
        together = quantity(at(fields.get("resources"), "limits", "memory")) if "resources" in fields else None
        for container in containers if together else ():
            container.memory_limit = container.memory_limit or together
        if spec.around:
            workload.volumes += tuple(self._used_first(containers, workload.volumes))

    def _volumes_of(self, node: Node, route: Route, place: Location) -> dict[str, Volume]:
        """Return the volumes and claims that stand above the templates."""
        if id(node) not in self.shared:
            here = self.location(node, (*place.route, *route))
            self.shared[id(node)] = self._read_volumes(entries(node), here)
            self._read_claims(self.shared[id(node)], node, here)
        return self.shared[id(node)]

    def _used_first(self, containers: list[Container], own: tuple[Volume, ...]) -> Iterator[Volume]:
        """Yield the volumes from above that containers mount, each for the first workload that does."""
        known = {id(volume) for volume in own}
        for container in containers:
            for mount in container.mounts:
                volume = mount.volume
                if volume.kind != "unknown" and id(volume) not in known and id(volume) not in self.told:
                    self.told.add(id(volume))
                    yield volume

    def _read_steps(
        self,
        workload: Workload,
        listed: Node,
        template: Node | None,
        place: Location,
        inherited: SecurityContext,
        volumes: Mapping[str, Volume],
    ) -> Iterator[Container]:
        """Yield the steps of a Tekton task, each over the task's step template; what others define is left out."""
        common = entries(template) if type(template) is MappingNode else {}
        if common:
            inherited = self._read_security(common.get("securityContext"), place / "stepTemplate", inherited)
        for index, item in enumerate(listed.value):
            step = entries(item) if type(item) is MappingNode else {}
            if "ref" in step and "image" not in step:
                reason = "a step that a StepAction defines: judged where that stands"
                self.reading.skipped.append(Skipped(place / "steps" / index, reason))
        for container in self._read_list(workload, "steps", listed, place, inherited, volumes):
            container.image = container.image or text_of(common.get("image"))
            if container.image:
                yield container

    def _read_list(
        self,
        workload: Workload,
        list_name: str,
        listed: Node,
        place: Location,
        inherited: SecurityContext,
        volumes: Mapping[str, Volume],
    ) -> Iterator[Container]:
        here = place / list_name
        if type(listed) is not SequenceNode:
            self.oddities.append(Oddity("malformed-field", f"{list_name} is {noun(listed)}, not a list", here))
            return
        if len(listed.value) > MOST:
            message = (
                f"{list_name} has {len(listed.value)} entries, more than any API server takes: the rest is not judged"
            )
            self.oddities.append(Oddity("unreadable-input", message, here / MOST))
        for index, item in enumerate(listed.value[:MOST]):
            if type(item) is MappingNode:
                yield self._read_container(
                    workload, list_name, index, item, here.on(item, (index,)), inherited, volumes
                )
            else:
                message = f"{list_name}[{index}] is {noun(item)}, not a container"
                self.oddities.append(Oddity("malformed-field", message, here / index))

    def _read_pod_security(self, fields: dict[str, Node], place: Location, workload: Workload) -> SecurityContext:
        context = SecurityContext()
        declared = self.fields(fields.get("securityContext"), place, "securityContext")
        # Elsewhere in a custom resource it may be what its operator makes of a container.
        of_pod = workload.name.kind in _PODS or (len(place.route) > 1 and str(place.route[-2]).endswith("emplate"))
        for key in declared if of_pod else ():
            if key == FLAG or resembles_flag(key):
                message = f"{key} in the pod's securityContext has no effect: the field exists for containers only"
                self.oddities.append(Oddity("pod-level-flag", message, place.below(("securityContext", key))))
        self._read_identity(context, declared)
        host_users = fields.get("hostUsers")
        context.user_namespace = host_users is not None and boolean(host_users) is False
        host_processes = fields.get("hostPID")
        context.host_processes = host_processes is not None and boolean(host_processes) is True
        return context

    def _read_identity(self, context: SecurityContext, declared: dict[str, Node]) -> None:
        user = declared.get("runAsUser")
        if user is not None and not is_null(user) and type(user) is ScalarNode:
            value = scalar(user) if not user.style else user.value
            context.run_as_user = value if isinstance(value, int) and not isinstance(value, bool) else str(value)
        non_root = declared.get("runAsNonRoot")
        if non_root is not None and not is_null(non_root):
            context.run_as_non_root = boolean(non_root)
        profile = declared.get("seccompProfile")
        if type(profile) is MappingNode:
            context.seccomp = text_of(entries(profile).get("type"))

    def _read_container(
        self,
        workload: Workload,
        list_name: str,
        index: int,
        node: Node,
        place: Location,
        inherited: SecurityContext,
        volumes: Mapping[str, Volume],
    ) -> Container:
        fields = self.fields(node, place)
        security = self._read_security(fields.get("securityContext"), place, inherited)
        container = Container(workload, list_name, index, text_of(fields.get("name")), place, security)
        container.image = text_of(fields.get("image"))
        if list_name.lower().endswith("initcontainers"):
            container.role = "sidecar" if text_of(fields.get("restartPolicy")) == "Always" else "init"
        elif list_name == "ephemeralContainers":
            container.role = "ephemeral"
        container.command = words(fields.get("command"))
        container.arguments = words(fields.get("args")) or words(fields.get("script"))
        for key in () if _CONTAINER_KEYS.issuperset(fields) else fields.keys() - _CONTAINER_KEYS:
            if key == FLAG or resembles_flag(key):
                message = f"{key} stands on the container itself, where it has no effect: it belongs in securityContext"
                self.oddities.append(Oddity("misspelt-flag", message, place / key))
            elif key.lower() == "securitycontext":
                message = f"{key} is not a field; securityContext is"
                self.oddities.append(Oddity("misspelt-flag", message, place / key))
        resources = fields.get("resources")
        if type(resources) is MappingNode:
            limits = entries(resources).get("limits")
            if type(limits) is MappingNode:
                limit = entries(limits)
                container.memory_limit = quantity(limit.get("memory")) or None
                container.ephemeral_storage_limit = quantity(limit.get("ephemeral-storage"))
        mounts = fields.get("volumeMounts")
        if type(mounts) is SequenceNode and mounts.value:
            container.mounts = tuple(self._read_mounts(mounts, place / "volumeMounts", volumes))
        return container

    def _read_security(self, node: Node | None, place: Location, inherited: SecurityContext) -> SecurityContext:
        """Return what `node`, the securityContext of what stands at `place`, makes of the one that it inherits."""
        if node is None:
            return inherited
        context = SecurityContext()
        context.run_as_user = inherited.run_as_user
        context.run_as_non_root = inherited.run_as_non_root
        context.seccomp = inherited.seccomp
        context.user_namespace = inherited.user_namespace
        context.host_processes = inherited.host_processes
        context.read_only_root = inherited.read_only_root
        context.privileged = inherited.privileged
        context.escalation = inherited.escalation
        context.added_capabilities = inherited.added_capabilities
        context.dropped_capabilities = inherited.dropped_capabilities
        if type(node) is not MappingNode:
            if not is_null(node):
                message = f"securityContext is {noun(node)}, not a mapping: the API server refuses the object"
                self.oddities.append(Oddity("malformed-field", message, place / "securityContext"))
            return context
        declared = self.fields(node, place, "securityContext")
        flag = declared.get(FLAG)
        if flag is not None:
            context.read_only_root = self._read_flag(flag, place.below(("securityContext", FLAG)))
        for key in () if _SECURITY_KEYS.issuperset(declared) else declared.keys() - _SECURITY_KEYS:
            if resembles_flag(key):
                message = f"{key} is not a field and has no effect; {FLAG} is"
                self.oddities.append(Oddity("misspelt-flag", message, place.below(("securityContext", key))))
        self._read_identity(context, declared)
        privileged = declared.get("privileged")
        if privileged is not None:
            context.privileged = boolean(privileged) is True
        escalation = declared.get("allowPrivilegeEscalation")
        if escalation is not None:
            context.escalation = boolean(escalation)
        capabilities = declared.get("capabilities")
        if type(capabilities) is MappingNode:
            lists = entries(capabilities)
            context.added_capabilities = capability_names(words(lists.get("add")))
            context.dropped_capabilities = capability_names(words(lists.get("drop")))
        return context

    def _read_flag(self, node: Node, place: Location) -> bool | None:
        """Return the flag as kubectl reads it; what it refuses, and what others read differently, is an oddity."""
        if is_null(node):
            return None
        if self.parameters and type(node) is ScalarNode and node.value[:3] == "${{" and node.value[-2:] == "}}":
            default = self.parameters.get(node.value[3:-2].strip())  # the template writes the bare value there
            return {"true": True, "false": False}.get(text_of(default))
        value = boolean(node)
        if value is None:
            shown = noun(node)
            if type(node) is ScalarNode:
                shown = f"the string {node.value!r}" if node.style or isinstance(scalar(node), str) else node.value
            message = f"{FLAG} is {shown}, not a boolean: the API server refuses the object"
            meant = {"true": True, "false": False}.get(node.value.lower()) if type(node) is ScalarNode else None
            self.oddities.append(Oddity("mistyped-flag", message, place, meant))
        elif not node.style and node.value not in EVERYWHERE and type(node.tag) is not str:
            meaning = "true" if value else "false"
            message = f"{FLAG}: {node.value} is {meaning} to kubectl and a string to tools that read YAML 1.2"
            self.oddities.append(Oddity("ambiguous-flag", message, place))
        return value

    def _read_volumes(self, fields: dict[str, Node], place: Location) -> dict[str, Volume]:
        volumes: dict[str, Volume] = {}
        listed = fields.get("volumes")
        for index, item in enumerate(listed.value) if type(listed) is SequenceNode else ():
            if type(item) is not MappingNode:
                continue
            found = entries(item)
            kind = next((key for key, value in found.items() if key != "name" and not is_null(value)), "emptyDir")
            name = text_of(found.get("name"))
            volume = Volume(name, kind, place.on(item, ("volumes", index)))
            node = found.get(kind)
            if kind == "emptyDir":
                medium = text_of(at(node, "medium"))
                volume.memory = medium == "Memory"
                volume.size = quantity(at(node, "sizeLimit")) or None  # nothing is no limit
                if volume.size is None and medium.startswith("HugePages"):
                    volume.size = 0  # what the pod may have of them bounds it
            elif kind == "hostPath":
                volume.host_path = normal_path(text_of(at(node, "path")))
            else:
                protected = at(node, "readOnly")
                volume.protected = protected is not None and boolean(protected) is True
            volumes[name] = volume
        return volumes

    def _read_claims(self, volumes: MutableMapping[str, Volume], spec: Node, place: Location) -> None:
        """Read the claims that a stateful set or workflow makes for its pods."""
        listed = at(spec, "volumeClaimTemplates")
        for index, item in enumerate(listed.value) if type(listed) is SequenceNode else ():
            metadata = entries(item).get("metadata") if type(item) is MappingNode else None
            name = text_of(entries(metadata).get("name")) if type(metadata) is MappingNode else ""
            route = (*place.route, "volumeClaimTemplates", index)
            volumes[name] = Volume(name, "persistentVolumeClaim", self.location(item, route))

    def _read_mounts(self, listed: Node, here: Location, volumes: Mapping[str, Volume]) -> Iterator[VolumeMount]:
        for index, item in enumerate(listed.value):
            if type(item) is not MappingNode:
                continue
            place = here.on(item, (index,))
            found = self.fields(item, place)
            path = text_of(found.get("mountPath"))
            if not path:
                continue
            name = text_of(found.get("name"))
            mount = VolumeMount(normal_path(path), volumes.get(name) or Volume(name, "unknown", place), place)
            read_only = found.get("readOnly")
            mount.read_only = read_only is not None and boolean(read_only) is True
            if len(found) > _LEAST_OF_MOUNT:
                mount.sub_path = text_of(found.get("subPath")) or text_of(found.get("subPathExpr"))
                mount.executable = "noexec" not in words(found.get("bindMountOptions"))
                mount.open_below = text_of(found.get("recursiveReadOnly")) in ("", "Disabled")
            yield mount


def capability_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return capabilities as this model writes them: upper case, without CAP_."""
    return tuple(name.upper().removeprefix("CAP_") for name in names)


def _not_applicable(pod: dict[str, Node], *, by_container: bool) -> str:
    """Say why a pod can't have a read-only root at all: on Windows it can't.

    `by_container` asks the containers as well: all or none of them are processes of the host.
    """
    os_field = pod.get("os")
    named = text_of(entries(os_field).get("name")) if type(os_field) is MappingNode else ""
    selector = pod.get("nodeSelector")
    labels = entries(selector) if type(selector) is MappingNode else {}
    windows = named == "windows" or any(text_of(labels.get(label)) == "windows" for label in _OS_LABELS)
    holders = [pod, *_items_of(pod)] if by_container else [pod]
    host_process = any(_is_host_process(one.get("securityContext")) for one in holders)
    if windows or host_process or _only_windows(pod.get("affinity")):
        return "Windows containers have no read-only root filesystem: the field must be unset there"
    return ""


def _items_of(pod: dict[str, Node]) -> Iterator[dict[str, Node]]:
    for list_name in CONTAINER_LISTS:
        yield from map(entries, _mappings(pod.get(list_name)))


def _mappings(listed: Node | None) -> Iterator[Node]:
    """Yield the mappings of a list."""
    return (item for item in (listed.value if type(listed) is SequenceNode else ()) if type(item) is MappingNode)


def _is_host_process(security: Node | None) -> bool:
    flag = at(security, "windowsOptions", "hostProcess")
    return flag is not None and boolean(flag) is True


def _only_windows(affinity: Node | None) -> bool:
    """Tell whether each way to place a pod that it requires asks for a node with Windows."""
    required = at(affinity, "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")
    terms = required.value if type(required) is SequenceNode else ()
    return bool(terms) and all(any(_wants_windows(one) for one in _expressions(term)) for term in terms)


def _expressions(term: Node) -> list[dict[str, Node]]:
    listed = at(term, "matchExpressions")
    return [entries(one) for one in _mappings(listed)]


def _wants_windows(expression: dict[str, Node]) -> bool:
    label, operator = text_of(expression.get("key")), text_of(expression.get("operator"))
    return label in _OS_LABELS and operator == "In" and words(expression.get("values")) == ("windows",)
