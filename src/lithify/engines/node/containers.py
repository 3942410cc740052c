"""The containers that run on this host, whatever started them: by their shims and monitors, and the bundles of these.

A shim of containerd (Kubernetes, Docker) works in the bundle of its first container, and the other containers of the
pod lie beside it; conmon (CRI-O, Podman) is told its bundle. A bundle's `config.json` says what the runtime was asked
for, the mount table of its first process what came of it. No daemon is asked, so none needs to answer.
"""

import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any

from lithify.engines.bundle.state import start_time
from lithify.engines.mounts import MountPoint, read_mounts, root_overlay
from lithify.errors import NothingToExamine, NotPermitted
from lithify.model.path import printable

_ID = re.compile(rb"[0-9a-f]{64}")
_SPEC_LIMIT = 16 << 20
_SHORT = 1 << 16
_ENTRIES = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeContainer:
    """One container of this host, running or known to its runtime."""

    id: str
    runtime: str
    """Who manages it: `containerd`, `docker`, `cri-o`, `podman`, or `cri` where the CRI was asked."""
    pid: int = 0
    """Its first process, 0 where it does not run."""
    state: str = "running"
    """As the runtime calls it: `running`, `exited`, `created`, `unknown`."""
    spec: Mapping[str, Any] = field(default_factory=dict)
    """The OCI configuration that it was made from; empty where it is not there to be read."""
    name: str = ""
    """What it is called in its pod, or by its engine."""
    pod: str = ""
    namespace: str = ""
    image: str = ""
    privileged: bool | None = None
    """What the runtime was asked for; None where only its capabilities tell."""

    @property
    def title(self) -> str:
        """`NAMESPACE/POD/CONTAINER`, or as much as is known of it; else the short id."""
        return "/".join(part for part in (self.namespace, self.pod, self.name) if part) or self.id[:12]

    def is_called(self, name: str) -> bool:
        """Tell whether `name` means it: its own, its pod's, both, its pod's with the namespace, or eight of its id."""
        beside = ((self.namespace, self.pod), (self.pod, self.name))
        names = (self.pod, self.name, *("/".join(pair) for pair in beside if all(pair)), self.title)
        return bool(name) and (name in names or (len(name) >= 8 and self.id.startswith(name)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a runtime was asked to start in a container, whatever became of that process since."""

    arguments: tuple[str, ...]
    uid: int
    gid: int
    working_directory: PurePosixPath
    environment: Mapping[str, str]


_NAMES = ("io.kubernetes.cri.container-name", "io.kubernetes.container.name")
_PODS = ("io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name")
_NAMESPACES = ("io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace")
_IMAGES = ("io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName", "io.podman.annotations.image")
_TYPES = ("io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType")
_CRIO_NAME = re.compile(r"k8s_([^_]+)_([^_]+)_([^_]+)_[^_]*_\d+")
"""What CRI-O calls a container, whoever asked for it: its name, pod, namespace, the pod's uid, the attempt."""


def read_node() -> Iterator[NodeContainer]:
    """Yield the containers that shims and monitors of this host serve, the sandboxes of pods left out.

    NotPermitted where others' processes can't be looked into.
    """
    if os.geteuid() != 0:
        raise NotPermitted("the shims of a node are looked into as root only", hint="run lithify as root")
    seen: set[str] = set()
    pids = pids_here()
    for runtime, bundle, pidfile in _bundles():
        identity = _identity(bundle)
        if identity in seen:
            continue
        seen.add(identity)
        spec = _read_spec(bundle)
        annotations = spec.get("annotations")
        annotations = annotations if isinstance(annotations, dict) else {}
        if _first(annotations, _TYPES) == "sandbox":
            continue
        told = _CRIO_NAME.fullmatch(_first(annotations, ("io.kubernetes.cri-o.Name",)))
        name, pod, namespace = told.groups() if told else ("", "", "")
        yield NodeContainer(
            id=identity,
            runtime=runtime,
            pid=pids.get(identity) or _pid(pidfile),
            spec=spec,
            name=_first(annotations, _NAMES) or name,
            pod=_first(annotations, _PODS) or pod,
            namespace=_first(annotations, _NAMESPACES) or namespace,
            image=_first(annotations, _IMAGES),
        )


def find_container(name: str) -> NodeContainer | None:
    """Return the running container of this host that `name` means; None where none is called so.

    NotPermitted as `read_node`; NothingToExamine where several are.
    """
    found = [one for one in read_node() if one.is_called(name) and _runs(one)]
    if len(found) > 1:
        several = ", ".join(f"{one.title} ({one.id[:12]})" for one in found)
        raise NothingToExamine(
            f"{len(found)} containers of this node are called {printable(name)}: {printable(several)}",
            hint="name one of them whole, or its id",
        )
    return found[0] if found else None


def _runs(one: NodeContainer) -> bool:
    try:
        return one.pid > 0 and is_of(one.pid, one.id, read_mounts(one.pid))
    except (OSError, NotPermitted):
        return False


def read_start(pid: int) -> Start | None:
    """Return what the container of process `pid` was started with; None where no bundle of this host says so."""
    around = _containers_around(pid)
    for _, bundle, _ in _bundles() if around else ():
        if _identity(bundle) == around[-1]:
            return _start(_read_spec(bundle).get("process"))
    return None


def _start(process: object) -> Start | None:
    """Return the `process` of a `config.json`; None where it is none that starts anything."""
    match process:
        case {"args": [*words], "cwd": str(directory), "user": {**user}, **rest} if words:
            uid, gid = (number if isinstance(number := user.get(name), int) else 0 for name in ("uid", "gid"))
            variables = rest.get("env")
            pairs = (str(one).partition("=") for one in (variables if isinstance(variables, list) else ()))
            return Start(
                arguments=tuple(map(str, words)),
                uid=uid,
                gid=gid,
                working_directory=PurePosixPath(directory),
                environment={name: value for name, _, value in pairs},
            )
    return None


def is_of(pid: int, identity: str, mounts: Iterable[MountPoint]) -> bool:
    """Tell whether process `pid`, which has these mounts, is in the container: it may be old, or of another host."""
    if len(identity) < 32:
        return False
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="replace") as file:
            if identity in file.read(1 << 16):
                return True
    except OSError:
        return False
    return any(identity in str(mount.root) for mount in mounts)  # its hosts file, where it has no cgroup of its own


def pids_here() -> dict[str, int]:
    """Return the first process of each container of this host, by the container's id; as far as we may look."""
    found: dict[str, tuple[int, int]] = {}
    for pid in _pids():
        held_by = _containers_around(pid)
        started = start_time(pid) if held_by else None
        if started is not None:  # numbers start over, so the lowest need not be the first
            found[held_by[-1]] = min(found.get(held_by[-1], (started, pid)), (started, pid))
    return {identity: pid for identity, (_, pid) in found.items()}


def _containers_around(pid: int | str) -> list[str]:
    """Return the ids of the containers that a process is in, by its control groups, the outermost first."""
    # The monitor of a container has its id in its own control group as well.
    lines = [line for line in _read(f"/proc/{pid}/cgroup", _SHORT).splitlines() if b"conmon" not in line]
    return [match.decode() for match in _ID.findall(b"\n".join(lines))]


def layer_bytes(pid: int) -> int | None:
    """Return how many bytes the files hold in the upper layer under the root of process `pid`.

    None where its root is no overlay that we can look into, or holds too much to be counted here.
    """
    try:
        layer = root_overlay(pid)
    except NotPermitted:
        return None
    if layer is None:
        return None
    total, left = 0, _ENTRIES
    try:
        for _, folders, files, descriptor in os.fwalk(layer.upper):  # by descriptors, and never through a link
            left -= len(folders) + len(files)
            if left < 0:
                return None
            for name in files:
                status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    except OSError:
        return None  # changed while it was looked at
    return total


def endpoints() -> tuple[str, ...]:
    """Return the sockets of the containerds whose shims run here, for a client of the CRI."""
    found = []
    for pid in _monitors():
        words = _command(pid)
        if words and os.path.basename(words[0]).startswith("containerd-shim") and "k8s.io" in words:
            found += [after for word, after in pairwise(words) if word in ("-address", "--address")]
    return tuple(f"unix://{one.removeprefix('unix://')}" for one in dict.fromkeys(found))


def _bundles() -> Iterator[tuple[str, str, str]]:
    """Yield who manages it, each bundle, and the file with its first process; as that process sees them, or we do."""
    for pid in _monitors():
        words = _command(pid)
        program = os.path.basename(words[0]) if words else ""
        if program.startswith("containerd-shim"):
            try:
                beside = os.path.dirname(os.readlink(f"/proc/{pid}/cwd"))
                home = f"/proc/{pid}/root{beside}"
                bundles = sorted(entry.name for entry in os.scandir(home) if entry.is_dir(follow_symlinks=False))
            except OSError:
                continue
            manager = "docker" if beside.endswith("/moby") else "containerd"
            yield from ((manager, f"{home}/{name}", f"{home}/{name}/init.pid") for name in bundles)
        elif program == "conmon":
            told = dict(pairwise(words))
            bundle = told.get("-b") or told.get("--bundle")
            pidfile = told.get("-p") or told.get("--container-pidfile")
            if bundle:
                # Only Podman has its monitor call it back when the container ends.
                manager = "podman" if any(os.path.basename(one) == "podman" for one in words) else "cri-o"
                yield manager, f"/proc/{pid}/root{bundle}", f"/proc/{pid}/root{pidfile or f'{bundle}/pidfile'}"


def _monitors() -> list[int]:
    """Return the processes that may be a shim or monitor, root's first.

    One that is itself in a container, if not the one that we are in, could call itself what it likes.
    """
    ours = set(_containers_around("self"))
    found = [pid for pid in _pids() if ours.issuperset(_containers_around(pid))]
    return sorted(found, key=lambda pid: (_owner(pid) != 0, pid))


def _owner(pid: int) -> int:
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return -1


def _identity(bundle: str) -> str:
    name = os.path.basename(bundle)
    return os.path.basename(os.path.dirname(bundle)) if name == "userdata" else name


def _pid(pidfile: str) -> int:
    """Return the pid that the runtime noted: one of its own pid namespace, to be believed only if it fits."""
    text = _read(pidfile, 32).strip()
    return int(text) if text.isdigit() and os.path.exists(f"/proc/{int(text)}") else 0


def _read_spec(bundle: str) -> dict[str, Any]:
    try:
        found = json.loads(_read(f"{bundle}/config.json", _SPEC_LIMIT))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _first(annotations: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    return next((str(annotations[key]) for key in keys if annotations.get(key)), "")


def _pids() -> list[int]:
    return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())


def _command(pid: int) -> list[str]:
    return [os.fsdecode(word) for word in _read(f"/proc/{pid}/cmdline", _SHORT).split(b"\0")[:-1]]


def _read(path: str, limit: int) -> bytes:
    """Return the beginning of a file of a process or runtime; nothing where it is gone or may not be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        data = bytearray()
        while len(data) < limit and (more := os.read(descriptor, min(limit - len(data), 1 << 20))):
            data += more
        return bytes(data)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
