"""Podman: what differs from Docker."""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from lithify.engines.attached import NOISE
from lithify.engines.base import UpperLayer
from lithify.engines.bundle import rootless
from lithify.engines.command_line.client import Client, parse_json
from lithify.engines.command_line.engine import CliEngine, EngineInfo, ImageView
from lithify.engines.command_line.flags import EngineHost, PlanFlags
from lithify.engines.command_line.podman_flags import PodmanFlags
from lithify.engines.command_line.runline import RunLine
from lithify.engines.command_line.stand_in import PodmanViews, PodmanVolumeViews, Views
from lithify.engines.images.rootfs import RootFilesystem
from lithify.errors import EngineUnreachable
from lithify.model.image import EntryType, ImageEntry, ImageFacts
from lithify.model.mount import Mount

_ENTRIES = 50_000
"""Entries below a place after which it does not matter how many more there are."""
_NAMED = 64
_DATABASES = frozenset({PurePosixPath("/etc/passwd"), PurePosixPath("/etc/group")})
_SHELL = PurePosixPath("/bin/sh")


@dataclass
class PodmanEngine(CliEngine):
    """Podman 4 and 5, of root or of a user."""

    name = "podman"

    def _read_info(self) -> EngineInfo:
        info = parse_json(self._client.ask("info", "--format", "json"))
        if not isinstance(info, dict):
            raise EngineUnreachable("podman does not say what it is", hint="try `podman info`")
        host, store = info.get("host") or {}, info.get("store") or {}
        graph = PurePosixPath(str(store.get("graphRoot") or "/var/lib/containers/storage"))
        ordinary = bool((host.get("security") or {}).get("rootless"))
        system = os.uname()
        local = (host.get("kernel"), host.get("hostname")) == (system.release, system.nodename)
        local = local and not host.get("serviceIsRemote")
        if local and ordinary:
            rootless.join_podman(self._client.base)
        return EngineInfo(
            host=EngineHost(
                volumes=PurePosixPath(str(store.get("volumePath") or graph / "volumes")),
                overlay_volumes=True,
                rootless=ordinary,
            ),
            secluded=ordinary,
            leaves_open=(rootless.WITHIN_ITS_NETWORK,) if ordinary else (),
            local=local,
            layers=Path(graph) if local else None,
            system=str(host.get("os") or "linux"),
        )

    def _look(self, client: Client, image: str, user: str, places: Iterable[Mount]) -> ImageView:
        """Look into the image where Podman mounts it: what `podman cp` packs has the container user's ids."""
        with _mounted(client, image) as directory, RootFilesystem(directory) as root:
            entries: dict[PurePosixPath, ImageEntry] = {}
            for mount in places:
                entries |= _entries(root, mount.path)
            who = root.user(user)
            shell = root.status(_SHELL) is not None
            return ImageView(uid=who.uid, gid=who.gid, has_shell=shell, entries=entries)

    def _flags(self, line: RunLine, image: ImageFacts, prefix: str, labels: tuple[str, ...]) -> PlanFlags:
        return PodmanFlags(line=line, image=image, host=self._info.host, prefix=prefix, labels=labels)

    def _views(self, prefix: str, labels: tuple[str, ...], present: frozenset[str]) -> Views:
        return PodmanViews(client=self._client, host=self._info.host, prefix=prefix, labels=labels, present=present)

    def views(self, prefix: str, marks: tuple[str, ...]) -> Views:
        """Return what makes stand-ins that have a name."""
        return PodmanVolumeViews(client=self._client, host=self._info.host, prefix=prefix, labels=marks)

    def _layer_at_rest(self, known: Mapping[str, Any]) -> UpperLayer | None:
        """Find the layers by what Podman says of its storage, which is the same whatever image format there is."""
        driver = known.get("GraphDriver") or {}
        data = driver.get("Data") or {}
        if driver.get("Name") != "overlay" or not data.get("UpperDir"):
            return None
        upper = Path(data["UpperDir"])
        if not _by_kernel(upper):
            return None
        lowers = tuple(Path(os.path.realpath(lower)) for lower in str(data.get("LowerDir", "")).split(":"))
        if not all(path.is_dir() for path in (upper, *lowers)):
            return None
        points = frozenset(PurePosixPath(str(mount.get("Destination", "/"))) for mount in known.get("Mounts") or [])
        tmpfs = frozenset(map(PurePosixPath, (known.get("HostConfig") or {}).get("Tmpfs") or {}))
        marks = rootless.in_user_namespace()
        return _without_users(UpperLayer(upper=upper, lowers=lowers, noise=NOISE | points | tmpfs, user_xattr=marks))

    def layer_of(self, known: Mapping[str, Any], pid: int | None) -> UpperLayer | None:
        """Return the layers of a container, what Podman writes into them left out."""
        layer = super().layer_of(known, pid)
        return _without_users(layer) if layer is not None else None


def _by_kernel(upper: Path) -> bool:
    """Tell whether the kernel writes a layer: fuse-overlayfs leaves other marks and times of directories in it.

    The storage keeps in a file whether a program mounts for it (containers/storage, drivers/overlay).
    """
    try:
        return (upper.parents[1] / ".has-mount-program").read_bytes() != b"true"
    except OSError:
        return True


def _without_users(layer: UpperLayer) -> UpperLayer:
    """Return the layer, the user databases that the image lacks being noise: Podman writes them for whom it runs."""
    lacking = {path for path in _DATABASES if not any(os.path.lexists(f"{lower}{path}") for lower in layer.lowers)}
    return replace(layer, noise=layer.noise | lacking)


@contextmanager
def _mounted(client: Client, image: str) -> Iterator[Path]:
    """Give the directory in which an image is mounted as long as the block runs."""
    directory = client.ask("image", "mount", image).decode("utf-8", "surrogateescape").rstrip("\n")
    try:
        yield Path(directory)
    finally:
        client.run("image", "unmount", image)


def _entries(root: RootFilesystem, path: PurePosixPath) -> dict[PurePosixPath, ImageEntry]:
    """Return what stands at `path`, how much is below it, and of that the directories and what others may write."""
    status = root.status(path)
    if status is None:
        return {}
    found: dict[PurePosixPath, ImageEntry] = {}
    entries = directories = 0
    if stat.S_ISDIR(status.st_mode):
        with root.open(path, os.O_RDONLY | os.O_DIRECTORY) as top:
            for where, names, files, descriptor in os.fwalk(".", dir_fd=top, follow_symlinks=False):
                entries += len(names) + len(files)
                for name in (*names, *files):
                    below = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                    directories += stat.S_ISDIR(below.st_mode)
                    if len(found) < _NAMED and (stat.S_ISDIR(below.st_mode) or below.st_mode & 0o022):
                        found[path / where / name] = _entry(below)
                if entries > _ENTRIES:
                    break
    found[path] = replace(_entry(status), entries=entries, directories=directories)
    return found


def _entry(status: os.stat_result) -> ImageEntry:
    kinds = {stat.S_IFDIR: EntryType.DIRECTORY, stat.S_IFREG: EntryType.FILE, stat.S_IFLNK: EntryType.SYMLINK}
    return ImageEntry(
        type=kinds.get(stat.S_IFMT(status.st_mode), EntryType.UNKNOWN),
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        size=status.st_size,
    )
