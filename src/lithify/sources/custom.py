"""Pod specs in custom resources, wherever they stand, and what an engine of workflows makes of them.

An operator takes a pod from more than one place: Argo runs a template with what its workflow says for all, over the
defaults of templates and under patches. What is read is the whole of it; where it stands is the template.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from lithify.documents.nodes import MappingNode, Node, ScalarNode, SequenceNode, entries, is_null
from lithify.model.location import Route
from lithify.model.workload import CONTAINER_LISTS

TYPE_CHECKING = False  # a name of ours: `typing` costs a tenth of the time that an audit of one file takes
if TYPE_CHECKING:
    from typing import Any

_ARGO, _TEKTON = "argoproj.io/", "tekton.dev/"
_STEPS: dict[str, dict[str, bool]] = {
    # What runs as a container without standing in a list of that name: key -> list or single.
    _ARGO: {"container": False, "script": False, "sidecars": True},
    _TEKTON: {"steps": True, "sidecars": True},
}
OTHERS = {"container": False, "sidecars": True}
"""Those of every other API, where what is called so may as well be something else."""
_TEMPLATES = ("templates", "inline", "template")
_TYPES = ("container", "containerSet", "script")
"""What a template of Argo may run: it takes of its defaults what it is itself."""
_FOR_ALL = ("securityContext", "nodeSelector", "affinity")
"""What a workflow says for every pod whose template does not say it itself, and a run of Tekton for its tasks'."""
_POD_TEMPLATES = (("podTemplate",), ("taskRunTemplate", "podTemplate"))
_OF_CHARTS = frozenset(("values", "valuesObject", "postRenderers", "patchesStrategicMerge"))
"""Where custom resources keep values for charts, and patches of what these make: no container there is a whole one."""
_POLICY = "a policy: what looks like containers there are patterns, not what runs"
_WITHOUT_CONTAINERS = {
    "kubevirt.io/": "a KubeVirt machine has no container root filesystem of its own: its disk is the machine's",
    "kyverno.io/": _POLICY,
    "policies.kyverno.io/": _POLICY,
    "constraints.gatekeeper.sh/": _POLICY,
    "mutations.gatekeeper.sh/": _POLICY,
}
_WITHOUT_PREFIXES = tuple(_WITHOUT_CONTAINERS)
_TEXT = "a manifest as text, which the workflow makes an object of: not judged, keep it in a file of its own"
_PATCH = "podSpecPatch"
_MAIN = "main"
"""What Argo calls the container of a template."""
_MERGE_KEYS = {
    **dict.fromkeys((*CONTAINER_LISTS, "env", "sidecars", "volumes"), "name"),
    "ports": "containerPort",
    "volumeDevices": "devicePath",
    "volumeMounts": "mountPath",
}
"""By what items of a list are the same to a strategic merge patch; lists of other names are replaced."""

_DEEPEST = 100
_MOST = 20_000
"""Levels and entries that a patch may come to: a whole pod has a tenth of that."""

Place = tuple[Node, Route]


class PodSpec:
    """What looks like a pod spec, and what an engine adds to it."""

    __slots__ = ("around", "cost", "defaults", "node", "patches", "route", "steps", "template")

    def __init__(self, node: Node, route: Route, template: Node | None = None) -> None:
        self.node = node
        self.route = route
        """The keys from the object to it."""
        self.template = template
        """The metadata of its template."""
        self.steps: dict[str, bool] = {}
        """Keys beside the lists of containers that hold some: a list, or one; none in kinds of Kubernetes' own."""
        self.around: list[Place] = []
        """What says something for every pod within, outermost first."""
        self.defaults: dict[str, Node] = {}
        """What its workflow says for every template that does not say it itself."""
        self.patches: list[Place] = []
        """Strategic merge patches of the pod, in order, each with the place of the text that it is read from."""
        self.cost = 0
        """The steps it takes to read it: nodes of defaults and patches that change it, mounts of all its containers."""


def steps_of(api_version: str) -> dict[str, bool]:
    """Return the keys under which objects of an API keep containers, and whether each holds a list of them."""
    return next((found for prefix, found in _STEPS.items() if api_version.startswith(prefix)), OTHERS)


def without_containers(api_version: str) -> str:
    """Return why what looks like containers in objects of an API is none; nothing where it is some."""
    if not api_version.startswith(_WITHOUT_PREFIXES):
        return ""
    return next(reason for prefix, reason in _WITHOUT_CONTAINERS.items() if api_version.startswith(prefix))


class _Around:
    """What holds for all that stands below: the API, and the workflow and template of Argo."""

    __slots__ = ("cost", "defaults", "known", "patches", "places", "steps")

    def __init__(self, steps: dict[str, bool], known: _Known) -> None:
        self.steps = steps
        self.known = known
        self.places: list[Place] = []
        self.defaults: dict[str, Node] = {}
        self.patches: list[Place] = []
        self.cost = 0

    def within(self, found: dict[str, Node], node: Node, route: Route) -> _Around:
        """Return what holds within a mapping."""
        version = found.get("apiVersion") if route else None
        if type(version) is ScalarNode and "kind" in found:
            return _Around(steps_of(version.value), self.known)  # an object in an object
        inner = _Around(self.steps, self.known)
        if self.steps is _STEPS[_TEKTON]:
            told = ((at(node, *keys), (*route, *keys)) for keys in _POD_TEMPLATES)
            inner.places = [(held, below) for held, below in told if type(held) is MappingNode]
            return inner if inner.places else self
        if self.steps is not _STEPS[_ARGO] or not ("templates" in found or "containerSet" in found):
            return self
        if "templates" in found:
            inner.places, inner.patches = [(node, route)], self.known.patches_of(found, route)
            defaults = found.get("templateDefaults")
            inner.defaults = self.known.entries(defaults)
            inner.cost = self.known.size(defaults)
        else:
            inner.places = [*self.places, (node, route)]
            inner.patches = [*self.patches, *self.known.patches_of(found, route)]
            inner.cost = self.cost
        return inner


class _Known:
    """What was worked out of nodes of one object, each once: aliases may lead to one from everywhere."""

    __slots__ = ("_entries", "_patches", "_sizes")

    def __init__(self) -> None:
        self._entries: dict[int, dict[str, Node]] = {}
        self._patches: dict[int, Node | None] = {}
        self._sizes: dict[int, int] = {}

    def patches_of(self, found: dict[str, Node], route: Route) -> list[Place]:
        """Return the patch that a mapping has for pods, if it has one."""
        patch = found.get(_PATCH)
        if type(patch) is not ScalarNode or not patch.value.strip():
            return []
        if id(patch) not in self._patches:
            self._patches[id(patch)] = _read_patch(patch)
        return [(self._patches[id(patch)], (*route, _PATCH))]

    def entries(self, node: Node | None) -> dict[str, Node]:
        """Return what a mapping holds, nothing for what is none."""
        if type(node) is not MappingNode:
            return {}
        if id(node) not in self._entries:
            self._entries[id(node)] = entries(node)
        return self._entries[id(node)]

    def size(self, root: Node | None) -> int:
        """Return how many nodes stand there and below."""
        if id(root) not in self._sizes:
            self._sizes[id(root)] = sum(1 for _ in _below(root))
        return self._sizes[id(root)]


def _read_patch(text: Node) -> Node | None:
    """Return what a text says, every node of it at the text's own place; None where it is no mapping."""
    from lithify.documents.yaml import Document, read_documents

    documents = list(read_documents(text.value.encode("utf-8", "replace")))
    if len(documents) != 1 or not isinstance(documents[0], Document) or type(documents[0].root) is not MappingNode:
        return None
    for node in _below(documents[0].root):
        node.start_mark = text.start_mark
        if type(node) is MappingNode and any(type(key) is not ScalarNode for key, _ in node.value):  # `{{ x }}`
            return None
    return documents[0].root


def _below(root: Node | None) -> Iterator[Node]:
    """Yield a node and all that are below it, each once."""
    seen: set[int] = set()
    stack = [] if root is None else [root]
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if type(node) is SequenceNode:
            stack += node.value
        elif type(node) is MappingNode:
            stack += (one for pair in node.value for one in pair)


def pod_specs(root: Node, api_version: str, leave_out: Callable[[Route, str], None]) -> Iterator[PodSpec]:
    """Yield what looks like a pod spec, wherever it stands in an object; each node is looked at once.

    `leave_out` is told the way to what is not looked at there, and why.
    """
    seen: set[int] = set()
    stack: list[tuple[Node, Route, Node | None, _Around]] = [(root, (), None, _Around(steps_of(api_version), _Known()))]
    while stack:
        node, route, above, around = stack.pop()
        if type(node) is ScalarNode or id(node) in seen:
            continue
        seen.add(id(node))
        if type(node) is SequenceNode:
            stack.extend((item, (*route, index), None, around) for index, item in reversed(list(enumerate(node.value))))
            continue
        found = entries(node)
        if (
            route
            and "kind" in found
            and "spec" in found
            and (reason := without_containers(_text(found.get("apiVersion"))))
        ):
            leave_out(route, reason)
            continue
        if (
            around.steps is _STEPS[_ARGO]
            and route[-1:] == ("resource",)
            and "ontainers" in _text(found.get("manifest"))
        ):
            leave_out((*route, "manifest"), _TEXT)
        inner = around.within(found, node, route)
        defaults = around.defaults if _is_argo_template(route) and not found.keys().isdisjoint(_TYPES) else {}
        named = {key: defaults[key] for key in found.keys() & defaults.keys()}  # a part of it may have the image
        if route and any(_is_pod_spec(one, route, inner.steps) for one in (found, named)):
            template = entries(above).get("metadata") if type(above) is MappingNode else None
            spec = PodSpec(node, route, template if type(template) is MappingNode else None)
            spec.steps = inner.steps
            if around.places:
                spec.around, spec.defaults = around.places, defaults
                spec.patches = [*around.patches, *around.known.patches_of(found, route)]
                spec.cost = around.cost + sum(around.known.size(patch) for patch, _ in spec.patches)
                spec.cost += _length(found.get("volumeMounts")) * _length(found.get("containers"))
            yield spec
        stack.extend(
            (value, (*route, key), node, inner)
            for key, value in reversed(found.items())
            if key not in CONTAINER_LISTS and key not in _OF_CHARTS
        )


def at(node: Node | None, *keys: str) -> Node | None:
    """Return what a route of keys leads to."""
    for key in keys:
        node = entries(node).get(key) if type(node) is MappingNode else None
    return node


def _text(node: Node | None) -> str:
    return str(node.value) if type(node) is ScalarNode else ""


def _length(node: Node | None) -> int:
    return len(node.value) if type(node) is SequenceNode else 0


def further_lists(found: dict[str, Node]) -> Iterator[str]:
    """Yield the keys under which a custom resource keeps containers beside those of an operator: `extraContainers`."""
    for key in found:
        if key.endswith("Containers") and key not in CONTAINER_LISTS and holds_images(found[key]):
            yield key


def holds_images(listed: Node | None) -> bool:
    """Tell whether a list has an item with an image, as lists of containers have."""
    return any(has_image(item) for item in (listed.value if type(listed) is SequenceNode else ()))


def holds_containers(listed: Node | None) -> bool:
    """Tell whether a list has an item that may be a container, or a part of one: with a name or an image."""
    items = listed.value if type(listed) is SequenceNode else ()
    return any(type(item) is MappingNode and not entries(item).keys().isdisjoint(("image", "name")) for item in items)


def has_image(node: Node | None) -> bool:
    """Tell whether a mapping names an image."""
    return type(node) is MappingNode and type(entries(node).get("image")) is ScalarNode


def _is_pod_spec(found: dict[str, Node], route: Route, steps: dict[str, bool]) -> bool:
    if any(further_lists(found)):
        return True
    for key in CONTAINER_LISTS:
        listed = found.get(key)
        if holds_images(listed):
            return True
        # `podTemplate`, as Flink has it
        of_template = route[-1] == "spec" and str(route[-2:][0]).endswith("emplate")
        if of_template and holds_containers(listed):
            return True
    for key, many in steps.items():
        node = found.get(key)
        if holds_images(node) if many else has_image(node) and (steps is OTHERS or _is_argo_template(route)):
            return True
    return "steps" in steps and "steps" in found and has_image(found.get("stepTemplate"))


def _is_argo_template(route: Route) -> bool:
    """Tell whether a route leads to a template of a workflow: an item of a list of them, or one that stands alone."""
    last = next((key for key in reversed(route[-2:]) if type(key) is not int), "")
    return last in _TEMPLATES


def _over(defaults: dict[str, Node], found: dict[str, Node]) -> dict[str, Node]:
    """Return a template over the defaults of its workflow; _TooMuch where they can't be put together."""
    if not defaults:
        return found
    return _Merge().mappings({key: defaults[key] for key in defaults if key in found or key not in _TYPES}, found)


class Whole:
    """A pod spec with everything that its engine makes of it."""

    __slots__ = ("added", "fields", "unread")

    def __init__(self, spec: PodSpec) -> None:
        self.unread: list[Route] = []
        """Patches that can't be applied as they stand, and the pod itself where its defaults can't be."""
        self.added: list[Place] = []
        """Containers that only a patch has, each with the place of the patch."""
        self.fields: dict[str, Node] = {}
        for node, _ in spec.around:
            self.fields.update((key, value) for key, value in entries(node).items() if key in _FOR_ALL)
        own = entries(spec.node)
        try:
            own = _over(spec.defaults, own)
        except _TooMuch:
            self.unread.append(spec.route)
        self.fields.update(own)
        for patch, route in spec.patches:
            before = dict(self.fields)
            try:
                if patch is None:
                    raise _TooMuch
                self._apply(_Merge(), entries(patch), route)
            except _TooMuch:
                self.fields = before
                self.unread.append(route)

    def _apply(self, merge: _Merge, patch: dict[str, Node], route: Route) -> None:
        """Let a patch change the pod: `main` in it is what the template runs."""
        listed = patch.pop("containers", None)
        self.fields = merge.mappings(self.fields, patch)
        for item in listed.value if type(listed) is SequenceNode else ():
            name = _name(item)
            if not any(self._replace(merge, key, item, name) for key in ("containers", "sidecars")):
                single = next((key for key in ("container", "script") if key in self.fields), "")
                if name == _MAIN and single:
                    self.fields[single] = merge.nodes(self.fields[single], _without_name(item))
                elif has_image(item):
                    self.added.append((item, route))

    def _replace(self, merge: _Merge, key: str, item: Node, name: str) -> bool:
        """Merge an item into the one of its name in a list, if there is one."""
        listed = self.fields.get(key)
        if type(listed) is not SequenceNode or name not in map(_name, listed.value):
            return False
        change = SequenceNode(listed.tag, [item], listed.start_mark)
        self.fields[key] = merge.lists(listed, change, "name")
        return True


def _name(node: Node) -> str:
    return _text(at(node, "name"))


def _without_name(node: Node) -> Node:
    """Return a container that is called as its template is."""
    return MappingNode(node.tag, [(key, value) for key, value in node.value if key.value != "name"], node.start_mark)


class _TooMuch(Exception):
    """A patch and what it changes are deeper or longer than those of any pod."""


class _Merge:
    """Applies strategic merge patches, of which aliases may make many times their text."""

    __slots__ = ("_depth", "_left")

    def __init__(self) -> None:
        self._depth = 0
        self._left = _MOST

    def nodes(self, base: Node | None, patch: Node) -> Node:
        """Return a node with a patch applied; it stands where the first one stood."""
        if type(base) is not MappingNode or type(patch) is not MappingNode or _directive(patch) == "replace":
            return patch
        found = self.mappings(entries(base), entries(patch))
        keys = {key.value: key for node in (patch, base) for key, _ in node.value if type(key) is ScalarNode}
        pairs = [(keys.get(key) or _key(key, base), value) for key, value in found.items()]
        return MappingNode(base.tag, pairs, base.start_mark)

    def mappings(self, base: dict[str, Node], patch: dict[str, Node]) -> dict[str, Node]:
        """Return what a mapping holds, under a patch."""
        self._enter(len(base) + len(patch))
        found = dict(base)
        for key, value in patch.items():
            if key[:1] == "$":
                continue
            if is_null(value) or _directive(value) == "delete":
                found.pop(key, None)
            elif type(value) is SequenceNode and key in _MERGE_KEYS and type(found.get(key)) is SequenceNode:
                found[key] = self.lists(found[key], value, _MERGE_KEYS[key])
            else:
                found[key] = self.nodes(found.get(key), value)
        self._depth -= 1
        return found

    def lists(self, base: Node, patch: Node, by: str) -> Node:
        """Return a list whose items are the same where their `by` is, under a patch."""
        self._enter(len(base.value) + len(patch.value))
        self._depth -= 1
        if any(_directive(item) == "replace" for item in patch.value):
            items: Iterable[Node] = [item for item in patch.value if not _directive(item)]
            return SequenceNode(base.tag, list(items), base.start_mark)
        found: dict[object, Node] = {}
        for item in (*base.value, *patch.value):
            key = entries(item).get(by) if type(item) is MappingNode else None
            name: object = key.value if type(key) is ScalarNode else id(item)
            if _directive(item) == "delete":
                found.pop(name, None)
            else:
                found[name] = self.nodes(found.get(name), item)
        return SequenceNode(base.tag, list(found.values()), base.start_mark)

    def _enter(self, length: int) -> None:
        self._depth += 1
        self._left -= length
        if self._depth > _DEEPEST or self._left < 0:
            raise _TooMuch


def _key(key: str, holder: Node) -> Node:
    tag: Any = None  # as `documents.compose` makes it
    return ScalarNode(tag, key, holder.start_mark)


def _directive(node: Node) -> str:
    return _text(at(node, "$patch"))
