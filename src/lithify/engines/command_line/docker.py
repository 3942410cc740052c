"""Docker: its images looked into with `docker cp`, which needs no shell in them, no start, and not this host."""

import os
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from lithify.engines.attached import NOISE
from lithify.engines.base import UpperLayer
from lithify.engines.command_line.client import Client, parse_json
from lithify.engines.command_line.docker_flags import DockerFlags
from lithify.engines.command_line.engine import CliEngine, EngineInfo, ImageView
from lithify.engines.command_line.flags import EngineHost, PlanFlags
from lithify.engines.command_line.runline import RunLine
from lithify.engines.command_line.stand_in import DockerViews, Views
from lithify.engines.ids import IdMap
from lithify.engines.images.rootfs import RootFilesystem, User
from lithify.engines.node.containerd import snapshot_layers
from lithify.engines.ownership import labels, new_run
from lithify.engines.temporary import temporary_folder
from lithify.errors import EngineUnreachable
from lithify.model.image import EntryType, ImageEntry, ImageFacts
from lithify.model.mount import Mount, Seed

_DIRECTORIES = 64
"""Directories of a seed after which it does not matter how many more there are."""
_LISTED_BYTES = 64 << 20
_DATABASE_LIMIT = 4 << 20
_RANGE = 65536
_SHELL = PurePosixPath("/bin/sh")
_TYPES = {
    tarfile.DIRTYPE: EntryType.DIRECTORY,
    tarfile.SYMTYPE: EntryType.SYMLINK,
    tarfile.FIFOTYPE: EntryType.FIFO,
    tarfile.CHRTYPE: EntryType.DEVICE,
    tarfile.BLKTYPE: EntryType.DEVICE,
}


@dataclass
class DockerEngine(CliEngine):
    """Docker 20.10 and newer, with the overlay2 driver or the containerd image store."""

    name = "docker"
    _users: dict[tuple[str, str], tuple[User, bool]] = field(default_factory=dict, init=False)
    """Who a user is in an image, and whether that has a shell."""
    _snapshotter: str | None = field(default=None, init=False)
    """Containerd's, where that keeps the images."""
    _containerd: tuple[str, str] = field(default=("", "moby"), init=False)
    """Its socket, where the daemon says so (from 27 on), and the namespace of Docker's containers in it."""

    def _read_info(self) -> EngineInfo:
        info = parse_json(self._client.ask("info", "--format", "{{json .}}"))
        if not isinstance(info, dict) or info.get("ServerErrors"):
            self._client.require()
            raise EngineUnreachable("docker does not say what it is", hint="try `docker info`")
        system = os.uname()
        local = (info.get("KernelVersion"), info.get("Name")) == (system.release, system.nodename)
        directory = PurePosixPath(str(info.get("DockerRootDir") or "/var/lib/docker"))
        rootless = any("name=rootless" in str(option) for option in info.get("SecurityOptions") or [])
        driver = str(info.get("Driver", ""))
        types = dict(pair for pair in info.get("DriverStatus") or [] if len(pair) == 2)
        self._snapshotter = (
            driver if str(types.get("driver-type", "")).startswith("io.containerd.snapshotter") else None
        )
        containerd = info.get("Containerd") or {}
        namespace = (containerd.get("Namespaces") or {}).get("Containers")
        self._containerd = (str(containerd.get("Address") or ""), str(namespace or "moby"))
        snapshots = Path("/var/lib/containerd")
        layers = snapshots if driver == "overlayfs" and snapshots.is_dir() else Path(directory)
        return EngineInfo(
            host=EngineHost(
                volumes=directory / "volumes",
                overlay_volumes=driver.startswith("overlay") and not rootless,
                rootless=rootless,
            ),
            local=local,
            layers=layers if local else None,
            system=str(info.get("OSType") or "linux"),
            ids=remapped_ids(info),
        )

    def _look(self, client: Client, image: str, user: str, places: Iterable[Mount]) -> ImageView:
        peek = _Peek(client, image, self._info.ids)
        try:
            known = self._users.get((image, user))
            if known is None:
                known = self._users[image, user] = (peek.user(user), peek.entry(_SHELL, follow=True) is not None)
            entries: dict[PurePosixPath, ImageEntry] = {}
            for mount in places:
                # A look that is no deeper than the seed needs; one that went deeper serves as well.
                deep = (f"{image} in depth", mount.path)
                key = deep if mount.seed is not Seed.NONE or deep in self._entries else (image, mount.path)
                if key not in self._entries:
                    self._entries[key] = peek.tree(mount.path, deep=key == deep)
                entries |= self._entries[key]
            return ImageView(uid=known[0].uid, gid=known[0].gid, has_shell=known[1], entries=entries)
        finally:
            peek.close()

    def _flags(self, line: RunLine, image: ImageFacts, prefix: str, labels: tuple[str, ...]) -> PlanFlags:
        return DockerFlags(line=line, image=image, host=self._info.host, prefix=prefix, labels=labels)

    def _views(self, prefix: str, labels: tuple[str, ...], present: frozenset[str]) -> Views:
        return DockerViews(client=self._client, host=self._info.host, prefix=prefix, labels=labels, present=present)

    def _layer_at_rest(self, known: Mapping[str, Any]) -> UpperLayer | None:
        """Find the layers of overlay2 by the record that Docker keeps of them, those of containerd by asking it."""
        root, noise = self._info.layers, NOISE | _mount_points(known)
        if root is None or not known.get("Id"):
            return None
        if self._snapshotter is not None:
            socket, namespace = self._containerd
            return snapshot_layers([socket] if socket else [], namespace, self._snapshotter, str(known["Id"]), noise)
        if known.get("Driver") != "overlay2":
            return None
        try:
            mounts = root / "image" / "overlay2" / "layerdb" / "mounts"
            layer = root / "overlay2" / (mounts / str(known["Id"]) / "mount-id").read_text(encoding="ascii").strip()
            shorts = (layer / "lower").read_text(encoding="ascii").strip().split(":")
            lowers = tuple(Path(os.path.realpath(root / "overlay2" / short)) for short in shorts)
        except (OSError, UnicodeDecodeError):
            return None
        upper = layer / "diff"
        if not all(path.is_dir() for path in (upper, *lowers)):
            return None
        mapped = (known.get("HostConfig") or {}).get("UsernsMode") != "host"
        return UpperLayer(upper=upper, lowers=lowers, noise=noise, ids=self._info.ids if mapped else IdMap())


def remapped_ids(info: Mapping[str, Any]) -> IdMap:
    """Return how ids are mapped under userns-remap; what the daemon packs of a container has the host's.

    The daemon says where the ranges begin in the name of its directory, and not how long they are: as useradd has it.
    """
    options = info.get("SecurityOptions") or []
    first = re.fullmatch(r"(\d+)\.(\d+)", PurePosixPath(str(info.get("DockerRootDir"))).name)
    if first is None or not any("name=userns" in str(option) for option in options):
        return IdMap()
    return IdMap(uids=((0, int(first[1]), _RANGE),), gids=((0, int(first[2]), _RANGE),))


def _mount_points(known: Mapping[str, Any]) -> frozenset[PurePosixPath]:
    host = known.get("HostConfig") or {}
    named = [str(mount.get("Destination", "/")) for mount in known.get("Mounts") or []]
    return frozenset(map(PurePosixPath, [*named, *(host.get("Tmpfs") or {})]))


class _Peek:
    """Looks into an image through a container that is made when first needed, never started, and removed."""

    def __init__(self, client: Client, image: str, ids: IdMap) -> None:
        self._client = client
        self._image = image
        self._ids = ids
        self._container: str | None = None

    def close(self) -> None:
        """Remove the container."""
        if self._container is not None:
            self._client.remove(self._container)

    def user(self, text: str) -> User:
        """Return who `text` is by the image's own user database."""
        if not text:
            return User(uid=0, gid=0)
        with temporary_folder() as folder:
            (folder / "etc").mkdir()
            for name in ("passwd", "group"):
                (folder / "etc" / name).write_bytes(self._content(PurePosixPath("/etc") / name))
            with RootFilesystem(folder) as root:
                return root.user(text)

    def entry(self, path: PurePosixPath, *, follow: bool = False) -> ImageEntry | None:
        """Return what stands at `path` itself; a directory is not looked into."""
        with self._archive(path, follow=follow) as archive:
            member = next(iter(archive), None) if archive else None
            return self._entry(member) if member else None

    def tree(self, path: PurePosixPath, *, deep: bool) -> dict[PurePosixPath, ImageEntry]:
        """Return what stands at `path`, and with `deep` the directories below it, as long as they are few."""
        if not deep:
            entry = self.entry(path)
            return {path: entry} if entry else {}
        found: dict[PurePosixPath, ImageEntry] = {}
        entries = size = executables = 0
        with self._archive(path) as archive:
            for member in archive or ():
                # The archive starts at the last name of the path that was asked for.
                place = path.joinpath(*PurePosixPath(member.name).parts[1:])
                entries += place != path
                size += member.size
                executables += member.isfile() and bool(member.mode & 0o111)
                if place == path or member.isdir():
                    found[place] = self._entry(member)
                if len(found) > _DIRECTORIES or size > _LISTED_BYTES:
                    break
        if path in found:
            found[path] = replace(
                found[path], size=size, entries=entries, directories=len(found) - 1, executables=executables
            )
        return found

    def _content(self, path: PurePosixPath) -> bytes:
        with self._archive(path, follow=True) as archive:
            member = next(iter(archive), None) if archive else None
            file = archive.extractfile(member) if archive and member and member.isfile() else None
            return file.read(_DATABASE_LIMIT) if file else b""

    @contextmanager
    def _archive(self, path: PurePosixPath, *, follow: bool = False) -> Iterator[tarfile.TarFile | None]:
        """Give what the engine packs of `path`; None where there is nothing."""
        if self._container is None:
            self._create()
        links = ("--follow-link",) if follow else ()
        with self._client.stream("cp", *links, f"{self._container}:{path}", "-") as stream:
            archive = _opened(stream)
            try:
                yield archive
            finally:
                if archive is not None:
                    archive.close()

    def _entry(self, member: tarfile.TarInfo) -> ImageEntry:
        return ImageEntry(
            type=_TYPES.get(member.type, EntryType.FILE),
            mode=member.mode & 0o7777,
            uid=self._ids.uid(member.uid),
            gid=self._ids.gid(member.gid),
            size=member.size,
            target=member.linkname if member.issym() else None,
        )

    def _create(self) -> None:
        run = new_run()
        self._container = f"lithify-{run}-look"  # known before it is there: an interrupt comes when it is
        words = (word for label in labels(run) for word in ("--label", label))
        self._client.make("create", "--name", self._container, *words, "--network=none", self._image, "true")


def _opened(stream: BinaryIO) -> tarfile.TarFile | None:
    try:
        return tarfile.open(fileobj=stream, mode="r|", errors="surrogateescape")
    except tarfile.ReadError:
        return None
