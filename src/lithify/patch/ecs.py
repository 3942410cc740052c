"""Mount plans written into ECS task definitions: as registered, as described, and as CloudFormation has them.

What a task can say depends on where it runs. On EC2 a tmpfs has owner and mode, and a volume of Docker's is filled from
the image. On Fargate a place is an empty volume of the task: root's, 0755, and filled from the image only where the
image declares a VOLUME there (Amazon ECS, "Bind mounts"); what needs more is refused.

What CloudFormation computes (`!If`, `!Ref`, `Fn::...`) is never changed: which branch holds is not known. A container
in a branch is patched where it stands, and an item is added to a list beside computed ones.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from lithify.documents.edit import Draft, Editor
from lithify.documents.emit import render_block, render_json
from lithify.documents.nodes import MappingNode, ScalarNode, child
from lithify.documents.splice import Uneditable
from lithify.model.image import EntryType
from lithify.model.location import Route
from lithify.model.mount import Mount, Seed, StorageKind
from lithify.model.patch import Change, Patched, Planned, Refused
from lithify.model.path import printable

_LISTED = "containerDefinitions"
_MOUNTS = (("mountPoints",), ("linuxParameters", "tmpfs"))
_BY_HAND = "edit the task definition by hand"
_MIB = 1 << 20
_DEFAULT = 64 * _MIB
"""What a tmpfs gets where the plan has no limit: ECS wants one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOptions:
    """What a patch of a task definition may rely on."""

    fargate_tmpfs: bool = False
    """The platform version of the tasks takes a tmpfs on Fargate, which older ones refuse."""


class _Refusal(Exception):
    """The task definition can't say it."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.remedy = remedy


def patch(data: bytes, planned: Sequence[Planned], options: TaskOptions | None = None) -> Patched:
    """Return the task definitions `data` with each plan of `planned` in them; what they can't say is refused.

    The route of a container leads to its definition. A second time changes nothing.
    """
    result = Patched(text=data)
    for one in planned:
        result = _patch_one(result, one, options or TaskOptions())
    return result


def _patch_one(result: Patched, planned: Planned, options: TaskOptions) -> Patched:
    reason, remedy = "", _BY_HAND
    try:
        editor = Editor(result.text)
        writer = _Writer(editor.draft(planned.document), planned, options)
        writer.write()
        text = editor.apply()
    except Uneditable as error:
        reason = str(error)
    except _Refusal as error:
        reason, remedy = str(error), error.remedy
    if reason:
        by_hand = _by_hand(result.text, planned, options)
        refused = Refused(container=planned.container, reason=reason, by_hand=by_hand, remedy=remedy)
        return replace(result, refused=(*result.refused, refused))
    notes = (f"{planned.container}: {note}" for note in dict.fromkeys(writer.notes))
    return replace(
        result,
        text=text,
        changes=(*result.changes, *writer.changes),
        notes=(*result.notes, *notes) if writer.changes else result.notes,
    )


def _by_hand(text: bytes, planned: Planned, options: TaskOptions) -> str:
    """Return what a person would have to write for a container, as a part of a task definition as `text` has them."""
    listed = next((key for key in map(str, planned.route) if key.lower() == _LISTED.lower()), _LISTED)
    name, flag = ("name", "readonlyRootFilesystem") if listed == _LISTED else ("Name", "ReadonlyRootFilesystem")
    shell: dict[str, Any] = {listed: [{name: planned.container}]}
    try:
        writer = _Writer(Editor(text).draft(planned.document), planned, options)
        platforms = writer.key("requiresCompatibilities")
        shell = {platforms: ["FARGATE" if writer.fargate else "EC2"], **shell}
        as_json = text.lstrip()[:1] == b"{"
        draft = render_json(shell, indent="  ") if as_json else "\n".join(render_block(shell, step=2, listed=2)) + "\n"
        editor = Editor(draft.encode())
        _Writer(editor.draft(0), replace(planned, document=0, route=(listed, 0)), options).write()
        return editor.apply().decode()
    except (Uneditable, _Refusal):
        return render_json({flag: True}, indent="  ")


class _Writer:
    def __init__(self, draft: Draft, planned: Planned, options: TaskOptions) -> None:
        self.draft = draft
        self.planned = planned
        self.route = planned.route
        at = next((at for at, key in enumerate(planned.route) if str(key).lower() == _LISTED.lower()), 0)
        self.task = planned.route[:at]
        self.capital = str(planned.route[at])[:1].isupper()
        self.options = options
        self.changes: list[Change] = []
        self.notes: list[str] = []

    def key(self, name: str) -> str:
        """Return a field's name as this file writes it."""
        return name[0].upper() + name[1:] if self.capital else name

    def field(self, *names: str) -> Any:
        """Return what the container's definition has at a route of fields."""
        return self.draft.get((*self.route, *map(self.key, names)))

    @property
    def fargate(self) -> bool:
        """Tell whether the task may run on Fargate: what it takes serves on EC2 too."""
        route = (*self.task, self.key("requiresCompatibilities"))
        wanted = self.draft.get(route)
        listed = wanted if isinstance(wanted, list) else [wanted]
        if any(self._computed(one) for one in (route, *((*route, index) for index in range(len(listed))))):
            return True
        return any(str(item).upper() in ("FARGATE", "MANAGED_INSTANCES") for item in listed)

    def write(self) -> None:
        """Make every change; Uneditable or _Refusal where one can't be made."""
        if not isinstance(self.draft.get(self.route), dict):
            raise _Refusal("the container is not in this file", "name the file that defines it")
        platform = self.draft.get((*self.task, self.key("runtimePlatform"), self.key("operatingSystemFamily")))
        if str(platform or "").upper().startswith("WINDOWS"):
            raise _Refusal("Windows containers on ECS have no read-only root filesystem", "")
        if self.field("readonlyRootFilesystem") is not True:
            self._set((self.key("readonlyRootFilesystem"),), True, "sets readonlyRootFilesystem")
        taken = {self._path(item) for names in _MOUNTS for item in self._listed(*names)}
        self._insist_on_no_maybe()
        for mount in self.planned.plan.mounts:
            if str(mount.path) not in taken:
                self._add(mount)
        for redirect in self.planned.plan.redirects:
            if redirect.variable is None:
                what = "an argument" if redirect.argument or redirect.appended else "the working directory"
                raise _Refusal(
                    f"{what} has to change ({printable(redirect.old)} to {printable(redirect.new)})",
                    "change it in the definition, and plan again",
                )
            self._set_variable(redirect.variable, redirect.value)

    def _listed(self, *names: str) -> list[Any]:
        found = self.field(*names)
        return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []

    def _node(self, route: Route) -> Any:
        node: Any = self.draft.document.root
        for step in route:
            node = (child(node, step) or (None,))[0]
        return node

    def _computed(self, route: Route) -> str:
        """Return by what CloudFormation computes the value at a route; nothing for one that stands there."""
        node = self._node(route)
        if not self.capital or node is None:
            return ""
        if type(node.tag) is str and node.tag.startswith("!") and node.tag[1:2].isalpha():
            return str(node.tag)
        keys = [str(key.value) for key, _ in node.value] if type(node) is MappingNode else []
        return keys[0] if len(keys) == 1 and (keys[0].startswith("Fn::") or keys[0] == "Ref") else ""

    def _insist_on_literal(self, route: Route) -> None:
        """Raise _Refusal where CloudFormation computes what stands at a route, or above it in the definition."""
        for length in range(len(self.task) + 1, len(route) + 1):
            function = self._computed(route[:length])
            branch = length < len(self.route) and route[:length] == self.route[:length]
            if function and not branch:
                line = self.draft.document.find(self.draft.document.root, route[:length])[0]
                raise _Refusal(
                    f"{_dotted(route[len(self.task) : length])} (line {line}) is computed by {function}",
                    "put it into each branch that may hold, and plan again",
                )

    def _insist_on_no_maybe(self) -> None:
        """Raise _Refusal where it is computed whether something is mounted at a place of the plan."""
        wanted = {str(mount.path) for mount in self.planned.plan.mounts}
        for names in _MOUNTS:
            route = (*self.route, *map(self.key, names))
            for index in range(len(found)) if isinstance(found := self.draft.get(route), list) else ():
                maybe = {text.rstrip("/") for text in _scalars(self._node((*route, index)))} & wanted
                if maybe and self._computed((*route, index)):
                    self._insist_on_literal((*route, index))

    def _path(self, item: dict[str, Any]) -> str:
        return str(item.get(self.key("containerPath")) or "").rstrip("/")

    def _add(self, mount: Mount) -> None:
        if mount.type is EntryType.FILE:
            raise _Refusal(
                f"the single file {printable(mount.path)} has to be writable, and no task can copy it out of an image",
                "let the image have it in a directory of its own",
            )
        filled = mount.seed is not Seed.NONE
        if mount.storage is StorageKind.MEMORY and not filled and (not self.fargate or self.options.fargate_tmpfs):
            self._add_tmpfs(mount)
        elif self.fargate:
            self._add_fargate(mount)
        else:
            self._add_docker_volume(mount)

    def _add_tmpfs(self, mount: Mount) -> None:
        size = -(-(mount.size or _DEFAULT) // _MIB)
        if not mount.size:
            self.notes.append(f"{size} MiB, as the plan has no limit and ECS wants one: {printable(mount.path)}")
        options = ["rw", "exec" if mount.executable else "noexec", "nosuid", "nodev", f"mode={mount.mode:04o}"]
        options += [f"{key}={value}" for key, value in (("uid", mount.uid), ("gid", mount.gid)) if value]
        item = {"containerPath": str(mount.path), "size": size, "mountOptions": options}
        self._append(("linuxParameters", "tmpfs"), item, f"mounts a tmpfs on {printable(mount.path)}")

    def _add_fargate(self, mount: Mount) -> None:
        declared = self.planned.image is not None and mount.path in self.planned.image.volumes
        path = printable(mount.path)
        if mount.storage is StorageKind.VOLUME:
            raise _Refusal(
                f"{path} has to survive the task, and on Fargate only a file system of EFS does",
                "add a volume with efsVolumeConfiguration and its mountPoint, and plan again",
            )
        if mount.seed is not Seed.NONE and not declared:
            raise _Refusal(
                f"{path} needs what the image has there, which Fargate copies for a declared VOLUME alone",
                f'add VOLUME ["{path}"] to the Dockerfile',
            )
        if (mount.uid or mount.gid or mount.mode & 0o1000) and not declared:
            raise _Refusal(
                f"{path} has to be that of {mount.uid}:{mount.gid}, mode {mount.mode:04o}, and an empty volume of "
                "Fargate is root's and 0755",
                f'make it in the Dockerfile with that owner, and add VOLUME ["{path}"]',
            )
        self.notes.append(f"on the task's disk, which has no limit of its own: {path}")
        self._mount(mount, {})

    def _add_docker_volume(self, mount: Mount) -> None:
        lasting = mount.storage is StorageKind.VOLUME
        if lasting:
            self.notes.append(f"stays on the instance that the task ran on: {printable(mount.path)}")
        if mount.size:
            self.notes.append(f"no limit to what it may hold: {printable(mount.path)}")
        if not mount.executable:
            self.notes.append(f"programs can be run from here: {printable(mount.path)}")
        docker: dict[str, Any] = {"scope": "shared", "autoprovision": True} if lasting else {"scope": "task"}
        self._mount(mount, {"dockerVolumeConfiguration": {**docker, "driver": "local"}})

    def _mount(self, mount: Mount, configuration: dict[str, Any]) -> None:
        taken = _scalars(self._node((*self.task, self.key("volumes"))))
        name = base = mount.name or _word(f"{self.planned.container}-{mount.path}")
        number = 1
        while name in taken:
            number += 1
            name = f"{base}-{number}"
        volume = self._cased({"name": name, **configuration})
        self._insist_on_literal((*self.task, self.key("volumes")))
        self.draft.append((*self.task, self.key("volumes")), volume)
        self._changed((*self.task, self.key("volumes")), f"adds the volume {name}")
        item = {"sourceVolume": name, "containerPath": str(mount.path), "readOnly": False}
        self._append(("mountPoints",), item, f"mounts {printable(mount.path)}")

    def _set_variable(self, name: str, value: str) -> None:
        for index, item in enumerate(self._listed("environment")):
            if item.get(self.key("name")) == name:
                if item.get(self.key("value")) != value:
                    self._set((self.key("environment"), index, self.key("value")), value, f"sets the variable {name}")
                return
        self._append(("environment",), {"name": name, "value": value}, f"sets the variable {name}")

    def _set(self, tail: Route, value: Any, text: str) -> None:
        self._insist_on_literal((*self.route, *tail))
        self.draft.set((*self.route, *tail), value)
        self._changed((*self.route, *tail), text)

    def _append(self, names: tuple[str, ...], item: dict[str, Any], text: str) -> None:
        route = (*self.route, *map(self.key, names))
        self._insist_on_literal(route)
        self.draft.append(route, self._cased(item))
        self._changed(route, text)

    def _cased(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {self.key(key): self._cased(item) for key, item in value.items()}
        return value

    def _changed(self, route: Route, text: str) -> None:
        planned = self.planned
        self.changes.append(Change(container=planned.container, document=planned.document, route=route, text=text))


def _scalars(node: Any) -> set[str]:
    """Return every text below a node, so that a name which a branch may give is not given again."""
    found: set[str] = set()
    waiting, seen = [node], set()
    while waiting:
        one = waiting.pop()
        if type(one) is ScalarNode:
            found.add(str(one.value))
        elif one is not None and id(one) not in seen:
            seen.add(id(one))
            waiting += [value for _, value in one.value] if type(one) is MappingNode else one.value
    return found


def _dotted(route: Route) -> str:
    return ".".join(printable(str(key)) for key in route)


def _word(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-")[:200]
