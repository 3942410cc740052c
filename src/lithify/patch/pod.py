"""What a plan comes to in a pod: which volumes, mounts, variables and init containers, beside those it has."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from lithify.documents.edit import Draft, Editor
from lithify.model.image import EntryType
from lithify.model.location import Route
from lithify.model.mount import Mount, PathClass, Redirect, Seed, StorageKind
from lithify.model.patch import Change, Planned
from lithify.model.path import printable
from lithify.model.quantity import parse_quantity, render_human, render_quantity
from lithify.model.workload import FLAG, resembles_flag
from lithify.patch.claims import ClaimNames, joined, slug
from lithify.patch.seeding import (
    CONTENT,
    SEEDS,
    Filled,
    doer,
    fresh_start,
    image_volume,
    needs_filling,
    seeding_container,
)

IMAGE_VOLUMES = (1, 35)
"""The first version whose servers have image volumes without a gate having to be opened."""
_GATED_IMAGE_VOLUMES = (1, 31), "ImageVolume"
MOUNT_OPTIONS = (1, 37), "VolumeBindMountOptions"
_READ_ONLY_VOLUMES = frozenset({"configMap", "secret", "projected", "downwardAPI", "image"})
_MEMORY_SHARE = 0.5
_WITH_INIT = ("containers", "initContainers")
_NAME_LIMIT = 63


class Inapplicable(Exception):
    """A plan that this pod can't be given, with what would help."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.remedy = remedy


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a patch may rely on, and what only the user can choose."""

    version: tuple[int, int] | None = None
    """The server's version; None keeps to what every supported one has."""
    gates: frozenset[str] = frozenset()
    """Feature gates that are open there beside those that its version opens."""
    copier: str = ""
    """An image with a shell and cp, which fills places for images that have none; needs a server with image volumes
    where the content of an image is wanted."""
    exact_modes: bool = False
    """Give every place the owner and mode that the plan has, by an init container, not only where programs insist."""
    fresh_start: frozenset[str] = frozenset()
    """Containers that find the run-time files of their last run in the way: those are removed at each start."""
    storage_class: str = ""
    claim_size: int = 1 << 30
    """Bytes that a new claim asks for where the plan has no number."""

    def has(self, feature: tuple[tuple[int, int], str]) -> bool:
        """Tell whether the server has a feature that stands behind a gate."""
        version, gate = feature
        return self.version is not None and self.version >= version and gate in self.gates


@dataclass(slots=True)
class _Place:
    """A mount of a plan on its way into the pod."""

    mount: Mount
    memory: bool
    filled: bool
    volume: str = ""
    sub_path: str = ""


@dataclass(slots=True)
class PodPatch:
    """The edits to one document; `apply` takes one container's plan after the other."""

    editor: Editor
    draft: Draft
    options: Options
    names: ClaimNames
    planned: Sequence[Planned] = ()
    """All that is to be applied: two that write the same path share a volume."""
    changes: list[Change] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    claims: list[dict[str, Any]] = field(default_factory=list)
    """Objects that the file needs beside."""
    shared: dict[tuple[Route, PurePosixPath, StorageKind], str] = field(default_factory=dict)
    _writers: Counter[tuple[Route, PurePosixPath, StorageKind]] | None = None

    def apply(self, planned: Planned) -> None:
        """Note what `planned` takes on the draft; Uneditable or Inapplicable where it can't be had."""
        one = _One(self, planned)
        one.insist()
        places = one.places()
        one.add_storage(places)
        one.redirect(planned.plan.redirects)
        one.start_fresh(places)
        changes = set_flag(self.draft, planned.route)
        for route, text in changes:
            one.tell(route, text)

    def sharers(self, planned: Planned, mount: Mount) -> int:
        """Return how many containers of the pod are to write at the same path on the same kind of storage."""
        if self._writers is None:
            self._writers = Counter(
                wanted
                for one in self.planned
                for wanted in {(_pod_route(one.route), m.path, m.storage) for m in one.plan.mounts}
            )
        return max(self._writers[_pod_route(planned.route), mount.path, mount.storage], 1)


class _One:
    """One container and its plan."""

    def __init__(self, pod: PodPatch, planned: Planned) -> None:
        self.pod = pod
        self.draft = pod.draft
        self.options = pod.options
        self.planned = planned
        self.route = planned.route
        self.list_name = planned.route[-2] if isinstance(planned.route[-1], int) else planned.route[-1]
        self.pod_route = _pod_route(planned.route)
        self.object_route = self._object_route()
        self.container = self.draft.get(self.route)

    def tell(self, route: Route, text: str) -> None:
        self.pod.changes.append(
            Change(container=self.planned.container, document=self.planned.document, route=route, text=text)
        )

    def note(self, text: str) -> None:
        self.pod.notes.append(f"{self.planned.container}: {text}")

    def insist(self) -> None:
        """Raise Inapplicable where the container is not what was planned for, or the plan no whole answer."""
        container, plan = self.container, self.planned.plan
        if not isinstance(container, dict):
            raise Inapplicable("no container stands there", "plan again: the file has changed since")
        name = container.get("name") or ""
        if not isinstance(name, str):
            raise Inapplicable(f"its name is no text to YAML, but {json.dumps(name)}", "put the name in quotes")
        if name != self.planned.container and (name or isinstance(self.route[-1], int)):
            raise Inapplicable(f"container {name!r} stands there now", "plan again: the file has changed since")
        if self.list_name == "ephemeralContainers":
            raise Inapplicable("an ephemeral container takes no mounts of its own", "give kubectl debug a profile")
        pod = self.draft.get(self.pod_route)
        system = pod.get("os") if isinstance(pod, dict) else None
        if isinstance(system, dict) and system.get("name") == "windows":
            raise Inapplicable("Windows has no read-only root filesystem", "")
        blocking = next((refusal for refusal in plan.refusals if refusal.blocking), None)
        if blocking is not None:
            raise Inapplicable(f"the plan refuses {printable(blocking.path)}: {blocking.reason}", blocking.remedy)
        for question in plan.questions:
            self.note(f"{question.text} ({question.option})")
        security = container.get("securityContext")
        if isinstance(security, dict) and security.get("privileged") is True:
            self.note("is privileged: a process in it can make its root writable again")

    def places(self) -> list[_Place]:
        """Return the mounts of the plan that no mount of the container serves."""
        own = [
            (PurePosixPath(str(mounted.get("mountPath", "-"))).parts, mounted)
            for mounted in _dicts(self.container.get("volumeMounts"))
        ]
        wanted = [mount for mount in self.planned.plan.mounts if not self._served(mount, own)]
        in_memory = self._in_memory(wanted)
        return [_Place(mount, mount in in_memory, self._must_fill(mount)) for mount in wanted]

    def _served(self, mount: Mount, mounted: Sequence[tuple[tuple[str, ...], dict[str, Any]]]) -> bool:
        """Tell whether a mount of the container's own lies over a place; Inapplicable where it is read-only."""
        covering = [found for found in mounted if mount.path.parts[: len(found[0])] == found[0]]
        if not covering:
            return False
        parts, own = max(covering, key=lambda found: len(found[0]))
        path = PurePosixPath(*parts)
        volume = next((v for v in self._volumes() if v.get("name") == own.get("name")), {})
        if own.get("readOnly") is True or not _READ_ONLY_VOLUMES.isdisjoint(volume):
            # runc can't make a mount point inside a mount that is read-only itself (kubernetes/kubernetes#121294)
            raise Inapplicable(
                f"{printable(mount.path)} lies in the read-only mount {printable(path)} ({own.get('name')})",
                "mount single files of that volume by subPath, or move the write elsewhere",
            )
        if path != mount.path:
            self.note(f"{printable(mount.path)} lies in the mount {printable(path)} and is writable already")
        return True

    def _in_memory(self, mounts: Iterable[Mount]) -> list[Mount]:
        """Return the places that stay in memory: as many as the container's limit bears, the largest going first.

        They are those for run-time files, and what a person's own plan has there; an emptyDir lives as long on disk,
        where it is charged to no container and the kubelet holds it to its size.
        """
        meant = (m for m in mounts if not m.classes or PathClass.RUNTIME in m.classes)
        kept = sorted((m for m in meant if m.storage is StorageKind.MEMORY), key=lambda m: (m.size or 0, str(m.path)))
        limit = _limit(self.container, "memory")
        if limit is None:
            return kept
        volumes = {volume.get("name"): volume for volume in self._volumes()}
        own = [volumes.get(m.get("name"), {}).get("emptyDir") for m in _dicts(self.container.get("volumeMounts"))]
        used = sum(_bytes(v.get("sizeLimit")) or 0 for v in _dicts(own) if v.get("medium") == "Memory")
        while kept and used + sum(mount.size or 0 for mount in kept) > limit * _MEMORY_SHARE:
            gone = kept.pop()
            self.note(
                f"{printable(gone.path)} is on disk and not in memory: the memory limit of "
                f"{render_human(limit)} would not bear {render_human(gone.size or 0)} more"
            )
        return kept

    def _must_fill(self, mount: Mount) -> bool:
        ruby = mount.mode & 0o1000 and self._is_ruby()
        if not needs_filling(mount, exact_modes=self.options.exact_modes) and not ruby:
            return False
        inevitable = mount.seed is not Seed.NONE or mount.type is EntryType.FILE
        image = self.planned.image
        shell = image is None or image.has_shell
        if self.list_name not in _WITH_INIT:
            if inevitable:
                raise Inapplicable(
                    f"{printable(mount.path)} must not start empty, and {self.list_name} take no init containers",
                    "put a step before it that fills the place",
                )
            self._note_open(mount, "no container can be started before this one")
            return False
        if shell or (self.options.copier and (mount.seed is Seed.NONE or self._image_volumes)):
            return True
        if not inevitable:
            self._note_open(mount, _NO_SHELL)
            return False
        needs = "" if self._image_volumes else ", on a server of 1.35 or later (--kubernetes-version)"
        raise Inapplicable(
            f"{printable(mount.path)} must hold what the image has there, and {_NO_SHELL}",
            f"name an image that has sh and cp with --copier{needs}",
        )

    def _note_open(self, mount: Mount, why: str) -> None:
        if mount.storage is not StorageKind.VOLUME:  # which its fsGroup opens, and nobody else's
            self.note(f"{printable(mount.path)} is open to all (mode 777) and not {mount.mode:o}: {why}")

    @property
    def _image_volumes(self) -> bool:
        version = self.options.version
        return (version is not None and version >= IMAGE_VOLUMES) or self.options.has(_GATED_IMAGE_VOLUMES)

    def _is_ruby(self) -> bool:
        """Tell whether Ruby runs there, whose tmpdir refuses a world-writable directory without sticky bit."""
        image = self.planned.image
        words = (*image.environment, *image.entrypoint, *image.command) if image is not None else ()
        return any(re.search(r"ruby|\brails|bundle|\bpuma|sidekiq|fluentd|GEM_HOME", word, re.I) for word in words)

    def add_storage(self, places: list[_Place]) -> None:
        """Add a volume and a mount for each place, and what fills them."""
        filled = []
        for place in places:
            place.volume = self._claim(place) if place.mount.storage is StorageKind.VOLUME else self._empty_dir(place)
            if place.filled:
                filled.append(Filled(mount=place.mount, volume=place.volume, sub_path=place.sub_path))
                place.sub_path = "/".join(filter(None, (place.sub_path, CONTENT)))
            entry: dict[str, Any] = {"name": place.volume, "mountPath": str(place.mount.path)}
            if place.sub_path:
                entry["subPath"] = place.sub_path
            if self.options.has(MOUNT_OPTIONS):
                entry["bindMountOptions"] = [*(() if place.mount.executable else ("noexec",)), "nosuid", "nodev"]
            self.draft.append((*self.route, "volumeMounts"), entry)
            self.tell((*self.route, "volumeMounts"), f"mounts {place.volume} at {printable(place.mount.path)}")
        if filled:
            self._fill(filled)
        self._explain(places)

    def _explain(self, places: list[_Place]) -> None:
        runnable = [printable(place.mount.path) for place in places if not place.mount.executable]
        if runnable and not self.options.has(MOUNT_OPTIONS):
            (major, minor), gate = MOUNT_OPTIONS
            self.note(
                f"programs can be run from {', '.join(runnable)}: Kubernetes has noexec for a mount only from "
                f"{major}.{minor} on, with the gate {gate}"
            )
        own = [place for place in places if place.mount.storage is not StorageKind.VOLUME]
        runtime = [place.mount.path for place in own if PathClass.RUNTIME in place.mount.classes]
        if runtime and self.planned.container not in self.options.fresh_start:
            paths = ", ".join(map(printable, runtime))
            self.note(f"what it leaves in {paths} is still there when the container restarts in its pod")
        disk = sum(place.mount.size or 0 for place in own if not place.memory)
        limit = _limit(self.container, "ephemeral-storage")
        if limit is not None and disk > limit:
            self.note(
                f"its ephemeral-storage limit of {render_human(limit)} is below the {render_human(disk)} of its "
                "places: the pod is evicted at the limit"
            )

    def _empty_dir(self, place: _Place) -> str:
        """Return the name of the emptyDir of a place, made where there is none to use."""
        mount = place.mount
        shared = (self.pod_route, mount.path, mount.storage)
        sharers = 1 if place.filled else self.pod.sharers(self.planned, mount)
        if sharers > 1:
            # The kubelet makes the directory of a subPath with the mode of the volume's top: all may write there.
            place.sub_path = self.planned.container
            if shared in self.pod.shared:
                return self.pod.shared[shared]
        source: dict[str, Any] = {"medium": "Memory"} if place.memory else {}
        if mount.size:
            source["sizeLimit"] = render_quantity(mount.size * sharers)
        name = self._volume_name(mount, {"emptyDir": source})
        if sharers > 1:
            self.pod.shared[shared] = name
        return name

    def _volume_name(self, mount: Mount, volume: dict[str, Any]) -> str:
        """Return the name of a volume of this pod that is like `volume` and mounted nowhere, added if there is none."""
        taken = {str(each.get("name")): each for each in self._volumes()}
        wish = slug(str(mount.path)) or "root"
        for name in _candidates(wish, slug(self.planned.container)):
            if name not in taken:
                self.draft.append((*self.pod_route, "volumes"), {"name": name, **volume})
                self.tell((*self.pod_route, "volumes"), f"adds the volume {name}")
                return name
            if taken[name] == {"name": name, **volume} and not self._is_mounted(name):
                return name
        raise AssertionError

    def _is_mounted(self, name: str) -> bool:
        return any(m.get("name") == name for c in self._containers() for m in _dicts(c.get("volumeMounts")))

    def _claim(self, place: _Place) -> str:
        """Return the name of a volume that outlives the pod, with the claim that it takes."""
        mount = place.mount
        kind = self._object().get("kind")
        size = render_quantity(mount.size or self.options.claim_size)
        spec: dict[str, Any] = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
        if self.options.storage_class:
            spec["storageClassName"] = self.options.storage_class
        self._let_own(mount)
        if kind == "StatefulSet":
            route = (*self.object_route, "spec", "volumeClaimTemplates")
            names = {str(v.get("name")) for v in self._volumes()}
            wish = slug(mount.name) or slug(str(mount.path))
            name = next(found for found in _candidates(wish, self.planned.container) if found not in names)
            self.draft.append(route, {"metadata": {"name": name}, "spec": spec})
            self.tell(route, f"adds the claim template {name}")
            self.note(
                "a StatefulSet that exists takes no new claim templates: delete it with --cascade=orphan, then apply"
            )
            return name
        if kind == "DaemonSet":
            raise Inapplicable(
                f"{printable(mount.path)} must outlive the pod, and a claim would be one for all nodes",
                f"say --state {mount.path}=ephemeral, or mount a hostPath there",
            )
        claim = slug(mount.name) or f"{slug(self.planned.container)}-{slug(str(mount.path))}"
        workload = self._workload()
        claim = joined(str(kind), workload, claim) if workload else claim
        namespace = self._namespace()
        wanted = (self.planned.document, self.pod_route, self.planned.container, mount.path)
        claim = self.pod.names.name_for(wanted, claim, namespace)
        if (namespace, claim) not in self.pod.names.standing:
            self._add_claim(claim, namespace, spec)
        for volume in self._volumes():  # one claim under two names in a pod is mounted for neither by some drivers
            source = volume.get("persistentVolumeClaim")
            if isinstance(source, dict) and source.get("claimName") == claim:
                return str(volume.get("name"))
        return self._volume_name(mount, {"persistentVolumeClaim": {"claimName": claim}})

    def _workload(self) -> str:
        metadata = self._object().get("metadata")
        return str(metadata.get("name") or "") if isinstance(metadata, dict) else ""

    def _namespace(self) -> str:
        metadata = self._object().get("metadata")
        return str(metadata.get("namespace") or "") if isinstance(metadata, dict) else ""

    def _add_claim(self, name: str, namespace: str, spec: dict[str, Any]) -> None:
        place = {"name": name, **({"namespace": namespace} if namespace else {})}
        claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": place, "spec": spec}
        outer = self.draft.get(())
        if isinstance(outer, dict) and isinstance(outer.get("items"), list):
            self.draft.append(("items",), claim)
        else:
            self.pod.claims.append(claim)
        self.tell((), f"adds the claim {name}")
        replicas = self.draft.get((*self.object_route, "spec", "replicas"))
        if isinstance(replicas, int) and replicas > 1:
            self.note(f"{replicas} replicas share the claim {name}, which only one node can mount")
        elif self._object().get("kind") == "Deployment" and not self._ends_first():
            self.note(
                f"an update starts the new pod while the old one still has the claim {name}: "
                "`strategy: {type: Recreate}` ends that first"
            )

    def _ends_first(self) -> bool:
        """Tell whether an update ends the old pod before it starts the new one."""
        spec = self._object().get("spec")
        strategy = spec.get("strategy") if isinstance(spec, dict) else None
        rolling = strategy.get("rollingUpdate") if isinstance(strategy, dict) else None
        surge = rolling.get("maxSurge") if isinstance(rolling, dict) else None
        return isinstance(strategy, dict) and (strategy.get("type") == "Recreate" or surge in (0, "0", "0%"))

    def _let_own(self, mount: Mount) -> None:
        """Give the pod an fsGroup where a claim, which root owns, is for somebody else."""
        route = (*self.pod_route, "securityContext")
        security = self.draft.get(route)
        known = security if isinstance(security, dict) else {}
        own = self.container.get("securityContext")
        image = self.planned.image
        default = image.uid if image is not None else mount.uid
        user = (own if isinstance(own, dict) else {}).get("runAsUser", known.get("runAsUser", default))
        if user in (0, "0") or known.get("fsGroup") is not None:
            return
        self.draft.set((*route, "fsGroup"), mount.gid)
        # Without it every file of a large volume is changed at each start, and modes that programs insist on with them.
        self.draft.set((*route, "fsGroupChangePolicy"), "OnRootMismatch")
        self.tell((*route, "fsGroup"), f"gives the group {mount.gid} the pod's volumes")

    def _fill(self, filled: list[Filled]) -> None:
        """Add the init container that fills places."""
        taken = {str(c.get("name")) for c in self._containers()}
        wish = f"{SEEDS}{slug(self.planned.container)}"
        name = next(name for name in _candidates(wish, "") if name not in taken)
        copier = self.options.copier if self.planned.image is not None and not self.planned.image.has_shell else ""
        needs_image = any(f.mount.seed is not Seed.NONE for f in filled)
        pod = self.draft.get(self.pod_route)
        who = doer(self.container, pod, self.planned.image, copier=bool(copier))
        made = seeding_container(name, self.container, filled, who, copier=copier)
        if copier and needs_image:
            self.draft.append((*self.pod_route, "volumes"), image_volume(name, self.container))
        elif copier:
            made["volumeMounts"].pop()
        route = (*self.pod_route, "initContainers")
        self.draft.prepend(route, made)
        paths = ", ".join(printable(f.mount.path) for f in filled)
        self.tell(route, f"adds the init container {name}, which makes {paths} ready")

    def redirect(self, redirects: Iterable[Redirect]) -> None:
        """Set the variables, arguments and working directory that move writes."""
        for redirect in redirects:
            if redirect.variable is not None:
                self._set_variable(redirect.variable, _literal([redirect.value])[0])
            elif redirect.argument is not None:
                self._set_argument(*redirect.argument)
            elif redirect.appended:
                self._add_arguments(_literal(redirect.appended))
            elif self.container.get("workingDir") != str(redirect.new):
                self.draft.set((*self.route, "workingDir"), str(redirect.new))
                self.tell((*self.route, "workingDir"), f"starts it in {printable(redirect.new)}")

    def _set_variable(self, name: str, value: str) -> None:
        route = (*self.route, "env")
        listed = self.container.get("env")
        for index, variable in enumerate(listed if isinstance(listed, list) else ()):
            if isinstance(variable, dict) and variable.get("name") == name:
                if variable.get("value") != value:
                    self.draft.remove((*route, index, "valueFrom"))
                    self.draft.set((*route, index, "value"), value)
                    self.tell((*route, index), f"sets {name} to {value}")
                return
        self.draft.append(route, {"name": name, "value": value})
        self.tell(route, f"sets {name} to {value}")

    def _set_argument(self, index: int, text: str) -> None:
        """Change one argument of what is started, wherever the manifest or the image says it."""
        text = _literal([text])[0]
        command, arguments = self._started()
        whole, known, added = (
            [*command, *arguments],
            self.planned.plan.key.command,
            _literal(self.planned.plan.appended),
        )
        whole = whole[: -len(added)] if added and whole[-len(added) :] == added else whole
        # The plan counts in the command it was made for, which may be the part after the image's entrypoint.
        position = index + len(whole) - len(known) if known else index
        there = whole[position] if 0 <= position < len(whole) else None
        if there == text:
            return
        if there is None or not (not known or "$(" in there or there == known[index]):
            raise Inapplicable(
                f"the plan changes argument {index} of the command, and the manifest does not have it",
                "write the command and its arguments out in the manifest, and plan again",
            )
        key, at = ("command", position) if position < len(command) else ("args", position - len(command))
        words = list(command if key == "command" else arguments)
        if self.container.get(key):
            self.draft.set((*self.route, key, at), text)
        else:
            words[at] = text
            self.draft.set((*self.route, key), words)
            if key == "command" and arguments and not self.container.get("args"):
                self.draft.set((*self.route, "args"), arguments)  # a command makes the image's own arguments void
        self.tell((*self.route, key), f"passes {text}")

    def _add_arguments(self, words: list[str]) -> None:
        """Add arguments at the end of what is started, wherever the manifest or the image says it."""
        self.container = self.draft.get(self.route)
        command, arguments = self._started()
        whole, route = [*command, *arguments], (*self.route, "args")
        if any(whole[at : at + len(words)] == words for at in range(len(whole))):
            return
        if not whole:
            raise Inapplicable(
                f"{words[0]} has to be added to its arguments, and nothing says what it starts",
                "write the command and its arguments out in the manifest, and plan again",
            )
        if self.container.get("args"):
            for word in words:
                self.draft.append(route, word)
        else:
            self.draft.set(route, [*arguments, *words])
        self.tell(route, f"adds {' '.join(words)}")

    def _started(self) -> tuple[list[str], list[str]]:
        """Return command and arguments as they are passed: the manifest's, else the image's."""
        image = self.planned.image
        command, arguments = _words(self.container.get("command")), _words(self.container.get("args"))
        if not command and image is not None:
            command = _literal(image.entrypoint)
            arguments = arguments or _literal(image.command)
        return command, arguments

    def start_fresh(self, places: list[_Place]) -> None:
        """Empty the places for run-time files at each start of the container, where that was asked for."""
        runtime = [place.mount for place in places if place.mount.may_be_emptied]
        if self.planned.container not in self.options.fresh_start or not runtime:
            return
        image = self.planned.image
        if image is not None and not image.has_shell:
            raise Inapplicable(f"its last run's files are in the way, and {_NO_SHELL}", "turn its pid file off")
        self.container = self.draft.get(self.route)
        command, arguments = self._started()
        if not command and not arguments:
            raise Inapplicable("nothing says what the container starts", "write its command out in the manifest")
        if self.container.get("command"):
            for word in reversed(fresh_start([], runtime)):
                self.draft.prepend((*self.route, "command"), word)
        else:
            self.draft.set((*self.route, "command"), fresh_start(command, runtime))
            if arguments and not self.container.get("args"):
                self.draft.set((*self.route, "args"), arguments)
        self.tell((*self.route, "command"), "empties the places of run-time files at each start")

    def _volumes(self) -> list[dict[str, Any]]:
        """Return the pod's volumes, those of claim templates among them."""
        volumes = _dicts(self.draft.get((*self.pod_route, "volumes")))
        templates = _dicts(self.draft.get((*self.object_route, "spec", "volumeClaimTemplates")))
        metadata = _dicts(template.get("metadata") for template in templates)
        return [*volumes, *({"name": each.get("name"), "persistentVolumeClaim": {}} for each in metadata)]

    def _containers(self) -> Iterator[dict[str, Any]]:
        for key in ("initContainers", "containers", "ephemeralContainers", "steps", "sidecars"):
            yield from _dicts(self.draft.get((*self.pod_route, key)))

    def _object_route(self) -> Route:
        """Return the route of the object that the pod belongs to: the innermost that has a kind of its own."""
        for length in range(len(self.pod_route), -1, -1):
            found = self.draft.get(self.pod_route[:length])
            if isinstance(found, dict) and isinstance(found.get("kind"), str) and "spec" in found:
                return self.pod_route[:length]
        return ()

    def _object(self) -> dict[str, Any]:
        found = self.draft.get(self.object_route)
        return found if isinstance(found, dict) else {}


_NO_SHELL = "the image has no shell"


def set_flag(draft: Draft, route: Route) -> list[tuple[Route, str]]:
    """Say readOnlyRootFilesystem: true for the container at `route`; return what was done, nothing where it stood."""
    done: list[tuple[Route, str]] = []
    container = draft.get(route)
    security = (*route, "securityContext")
    for key in list(container) if isinstance(container, dict) else ():
        if key == FLAG or resembles_flag(key):
            draft.remove((*route, key))
            done.append(((*route, key), f"takes {key} away, which has no effect where it stands"))
        elif key.lower() == "securitycontext" and key != "securityContext" and "securityContext" not in container:
            draft.rename((*route, key), "securityContext")
            done.append(((*route, key), f"corrects {key}"))
    declared = draft.get(security)
    for key in list(declared) if isinstance(declared, dict) else ():
        if resembles_flag(key):
            if FLAG in declared:
                draft.remove((*security, key))
            else:
                draft.rename((*security, key), FLAG)
            done.append(((*security, key), f"corrects {key}"))
    if draft.get((*security, FLAG)) is not True:
        done.append(((*security, FLAG), f"sets {FLAG}"))
    draft.set((*security, FLAG), True)
    pod = (*_pod_route(route), "securityContext")
    shared = draft.get(pod)
    for key in list(shared) if isinstance(shared, dict) else ():
        if key == FLAG or resembles_flag(key):
            draft.remove((*pod, key))
            done.append(((*pod, key), f"takes {key} away, which has no effect for a whole pod"))
    return done


def _pod_route(route: Route) -> Route:
    return route[:-2] if isinstance(route[-1], int) else route[:-1]


def _dicts(value: object) -> list[dict[str, Any]]:
    """Return the mappings in a list; none for what is no list."""
    if value is None or isinstance(value, str | dict | int | float):
        return []
    return [item for item in value if isinstance(item, dict)]  # type: ignore[attr-defined]


def _literal(words: Iterable[str]) -> list[str]:
    """Return words as Kubernetes takes them for themselves, and not for references to variables."""
    return [word.replace("$(", "$$(") for word in words]


def _words(value: object) -> list[str]:
    return [str(word) for word in value] if isinstance(value, list) else []


def _limit(container: dict[str, Any], resource: str) -> int | None:
    resources = container.get("resources")
    limits = resources.get("limits") if isinstance(resources, dict) else None
    return _bytes(limits.get(resource)) if isinstance(limits, dict) else None


def _bytes(value: object) -> int | None:
    try:
        return parse_quantity(str(value)) if value is not None else None
    except ValueError:
        return None


def _candidates(name: str, owner: str) -> Iterator[str]:
    """Yield names for one thing, each a DNS label, the plainest first."""
    yield _label(name)
    if owner:
        yield _label(f"{owner}-{name}")
    number = 2
    while True:
        yield f"{_label(name, _NAME_LIMIT - len(str(number)) - 1)}-{number}"
        number += 1


def _label(text: str, limit: int = _NAME_LIMIT) -> str:
    return text[:limit].strip("-") or "lithify"
