"""The line of a container that stands in for the user's: the same program, none of the user's names, ports or storage.

A writable bind mount or named volume of the user is never handed over. A directory becomes an overlay with the user's
below and ours on top, so that nothing is copied; a file, or a directory where no overlay can be had, becomes a copy.
"""

import os
import shlex
import stat
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from lithify.engines.command_line.client import Client
from lithify.engines.command_line.flags import EngineHost
from lithify.engines.command_line.runline import LineMount, MountKind, RunLine, mount_value
from lithify.engines.process import run
from lithify.errors import EngineRefused, NotPermitted
from lithify.model.path import printable

_NO_ONES = frozenset({"", "bridge", "default", "none", "private", "podman", "slirp4netns", "pasta"})
"""Networks in which nobody is but the container, or who was put there by default."""
COPY_LIMIT = 1 << 30
"""Bytes of the user's that are copied for one run; more is refused."""

_NOT_OURS = (
    "name", "rm", "rmi", "restart", "detach", "detach-keys", "attach", "sig-proxy", "publish", "publish-all", "cidfile",
    "pidfile", "conmon-pidfile", "pod", "pod-id-file", "replace", "ip", "ip6", "mac-address", "network-alias",
    "net-alias", "log-driver", "log-opt", "pull", "quiet", "help", "label", "label-file", "requires",
)  # fmt: skip
"""What names, publishes or ties the user's container, tells other programs what to do with it, or says how to wait."""
_KERNEL = tuple(PurePosixPath(path) for path in ("/dev", "/proc", "/sys", "/run/udev", "/lib/modules"))
"""Host directories that hold no storage: what is bound from there is what the program works on."""


def bare(line: RunLine) -> RunLine:
    """Return `line` without what belongs to the user's own container; `volumes-from` and mounts are still in it."""
    return line.without(*_NOT_OURS)


def apart(line: RunLine) -> tuple[RunLine, tuple[str, ...]]:
    """Return `line` on the engine's own network, and the networks of the user's or the host's that it would join.

    A database there would be written to by every trial, and killed clients are none of its business.
    """
    joined = [name for value in line.values("network", "net") if (name := _network_name(value)) not in _NO_ONES]
    linked = [value.partition(":")[0] for value in line.values("link")]
    if not joined and not linked:
        return line, ()
    named = [f"network {printable(name)}" for name in joined] + [f"container {printable(name)}" for name in linked]
    return line.without("network", "net", "link", "link-local-ip"), tuple(dict.fromkeys(named))


def _network_name(value: str) -> str:
    """Return the network that a value of `--network` names: `db`, `db:ip=...`, `name=db,alias=x`, `container:web`."""
    fields = dict(field.partition("=")[::2] for field in value.split(","))
    name = fields.get("name", value)
    mode = name.partition(":")[0]
    return name if mode in ("container", "ns") else mode


@dataclass
class Views(ABC):
    """Gives a line storage of its own in place of the user's; one subclass an engine."""

    client: Client
    host: EngineHost
    prefix: str
    """Of everything that is made here, volumes of the plan included."""
    labels: tuple[str, ...]
    present: frozenset[str] = frozenset()
    """Volumes that exist already, because another container of ours has them."""
    volumes: list[str] = field(default_factory=list)
    """Made or taken over, each after those it is made of."""

    def replace(self, line: RunLine) -> RunLine:
        """Return `line` with a view or copy in the place of each writable mount of the user's."""
        line = self._spell_out(line)
        for number, mount in enumerate(line.mounts()):
            words = self._stand_in(mount, f"{self.prefix}user{number}", line)
            if words is not None:
                line = line.replacing(mount.option, *words)
        return line

    @abstractmethod
    def overlay(self, mount: LineMount, source: Path, name: str) -> tuple[str, ...]:
        """Return the option that mounts a view of the directory `source`."""

    @abstractmethod
    def fill(self, name: str, source: Path, line: RunLine) -> None:
        """Copy a file or directory into the new volume `name`."""

    def make_overlay(self, source: Path, name: str) -> None:
        """Make a volume that is an overlay: the user's directory below, one of ours on top."""
        upper, work = f"{name}.upper", f"{name}.work"
        layers = f"lowerdir={source},upperdir={self.directory(upper)},workdir={self.directory(work)}"
        self.volumes.append(name)
        self.make(upper)
        self.make(work)
        self.volumes.remove(name)
        self.make(name, "--driver", "local", "--opt", "type=overlay", "--opt", "device=overlay", "--opt", f"o={layers}")

    def make(self, name: str, *options: str) -> None:
        """Make a volume."""
        self.volumes.append(name)
        if name not in self.present:
            words = (word for label in self.labels for word in ("--label", label))
            self.client.make("volume", "create", *words, *options, name)

    def directory(self, volume: str) -> PurePosixPath:
        """Where the engine keeps the content of a volume."""
        return self.host.volumes / volume / "_data"

    def _stand_in(self, mount: LineMount, name: str, line: RunLine) -> tuple[str, ...] | None:
        """Return the option that takes the place of the user's; None where that can stay."""
        if mount.kind is MountKind.BIND:
            return self._bind(mount, name, line)
        if mount.kind is MountKind.VOLUME and mount.source and not mount.source.startswith(self.prefix):
            return self._volume(mount, name, line)
        return None

    def _bind(self, mount: LineMount, name: str, line: RunLine) -> tuple[str, ...] | None:
        source = Path(os.path.abspath(mount.source))
        ours = self.host.volumes
        if mount.read_only or (
            source.is_relative_to(ours) and source.relative_to(ours).parts[0].startswith(self.prefix)
        ):
            return None
        if any(PurePosixPath(source).is_relative_to(kernel) for kernel in _KERNEL):
            return None
        try:
            status = os.stat(source)
        except FileNotFoundError:
            # The engine would make the directory, as root, on the user's host.
            self.make(name)
            return ("--mount", mount_value("type=volume", f"src={name}", f"dst={mount.path}"))
        except OSError as error:
            raise NotPermitted(f"may not look at {printable(source)}", hint="run lithify as root") from error
        if stat.S_ISDIR(status.st_mode):
            return self._view(mount, source, name, line)
        if not stat.S_ISREG(status.st_mode):
            return None  # a socket or device is no storage, and nothing works without it
        if name not in self.present:
            self._check_size(source)
        self._copy(name, source, line)
        copy = self.directory(name) / source.name
        return ("--mount", mount_value("type=bind", f"src={copy}", f"dst={mount.path}"))

    def _volume(self, mount: LineMount, name: str, line: RunLine) -> tuple[str, ...] | None:
        known = self.client.inspect("volume", mount.source)
        if known is None:
            self.make(name)
            read_only = ["readonly"] if mount.read_only else []
            return ("--mount", mount_value("type=volume", f"src={name}", f"dst={mount.path}", *read_only))
        if mount.read_only:
            return None
        plain = known.get("Driver", "local") == "local" and not known.get("Options")
        if not plain:
            raise EngineRefused(
                f"the volume {printable(mount.source)} is not a plain one, so that no view of it can be made",
                hint="try it with a plain volume in its place",
            )
        return self._view(mount, Path(str(known.get("Mountpoint", ""))), name, line)

    def _view(self, mount: LineMount, source: Path, name: str, line: RunLine) -> tuple[str, ...]:
        # An overlay can't lie in its own lower directory.
        apart = not self.host.volumes.is_relative_to(source)
        if self.host.overlay_volumes and apart and not set(str(source)) & set(":,\\"):
            return self.overlay(mount, source, name)
        if name not in self.present:
            self._check_size(source)
        self._copy(name, source, line)
        return ("--mount", mount_value("type=volume", f"src={name}", f"dst={mount.path}", *self.no_copy_up))

    no_copy_up: tuple[str, ...] = ()
    """The field of `--mount` that keeps image content out of a volume."""

    def _copy(self, name: str, source: Path, line: RunLine) -> None:
        new = name not in self.present
        self.make(name)
        if new:
            self.fill(name, source, line)

    def _check_size(self, source: Path) -> None:
        result = run(["du", "--summarize", "--block-size=1", "--one-file-system", "--", str(source)], timeout=60.0)
        size = result.stdout.split(b"\t", 1)[0]
        if result.code != 0 or not size.isdigit() or int(size) > COPY_LIMIT:
            raise EngineRefused(
                f"{printable(source)} is writable storage of yours, and too much to copy for a trial run",
                hint="try it with a smaller directory or another volume in its place",
            )

    def _spell_out(self, line: RunLine) -> RunLine:
        """Replace `--volumes-from` by the mounts that it brings."""
        for value in line.values("volumes-from"):
            name, _, mode = value.partition(":")
            known = self.client.inspect("container", name)
            for entry in (known or {}).get("Mounts") or []:
                source = str(entry.get("Name") or entry.get("Source") or "")
                suffix = ":ro" if mode == "ro" or not entry.get("RW", True) else ""
                if entry.get("Type") in ("bind", "volume") and not _covered(line, str(entry["Destination"])):
                    line = line.adding("--volume", f"{source}:{entry['Destination']}{suffix}")
        return line.without("volumes-from")


def _covered(line: RunLine, path: str) -> bool:
    return any(mount.path == PurePosixPath(path) for mount in line.mounts())


class DockerViews(Views):
    """Views for Docker: an overlay as a volume, which the daemon mounts and unmounts itself."""

    no_copy_up = ("volume-nocopy",)

    def overlay(self, mount: LineMount, source: Path, name: str) -> tuple[str, ...]:
        """Return a volume that is an overlay."""
        self.make_overlay(source, name)
        # A volume of the user's is filled from the image where it is empty; a bind mount is not.
        copy = () if mount.kind is MountKind.VOLUME and "nocopy" not in mount.options else self.no_copy_up
        return ("--mount", mount_value("type=volume", f"src={name}", f"dst={mount.path}", *copy))

    def fill(self, name: str, source: Path, line: RunLine) -> None:
        """Copy through a container that is never started: the daemon may write where we may not."""
        helper = f"{name}.setup"
        words = tuple(word for label in self.labels for word in ("--label", label))
        try:
            self.client.make("create", "--name", helper, *words, "--volume", f"{name}:/lithify", line.image, "true")
            parent, what = (source, ".") if source.is_dir() else (source.parent, source.name)
            take = shlex.join(["tar", "--create", f"--directory={parent}", "--", what])
            put = shlex.join([*self.client.base, "cp", "-", f"{helper}:/lithify"])
            self.client.expect(self.client.run_words(["sh", "-c", f"{take} | {put}"], timeout=300.0))
        finally:
            self.client.remove(helper)


class PodmanViews(Views):
    """Views for Podman, which mounts an overlay for a volume with `:O`."""

    def overlay(self, mount: LineMount, source: Path, name: str) -> tuple[str, ...]:
        """Return `:O` with an upper directory of our own, so that a restart finds what was written."""
        upper, work = f"{name}.upper", f"{name}.work"
        self.make(upper)
        self.make(work)
        options = [option for option in mount.options if option in ("z", "Z", "U", "exec", "noexec")]
        layers = ("O", f"upperdir={self.directory(upper)}", f"workdir={self.directory(work)}")
        return ("--volume", f"{source}:{mount.path}:{','.join((*layers, *options))}")

    def fill(self, name: str, source: Path, line: RunLine) -> None:  # noqa: ARG002 - Docker needs the image
        """Copy into the directory of the volume, which belongs to whoever runs Podman."""
        from lithify.engines.images.rootfs import DIRECTORY
        from lithify.engines.tree import copy_file, copy_tree

        target = os.open(self.directory(name), DIRECTORY)
        try:
            opened = os.open(source if source.is_dir() else source.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                if source.is_dir():
                    copy_tree(opened, target)
                else:
                    copy_file(opened, source.name, target, source.name)
            finally:
                os.close(opened)
        finally:
            os.close(target)


class PodmanVolumeViews(PodmanViews):
    """Views for Podman as volumes with a name: where `:O` can't be said, as in a Compose file."""

    def overlay(self, mount: LineMount, source: Path, name: str) -> tuple[str, ...]:
        """Return a volume that is an overlay."""
        self.make_overlay(source, name)
        return ("--mount", mount_value("type=volume", f"src={name}", f"dst={mount.path}"))
