"""What the kernel says is mounted, and where the overlay of a container's root has its layers.

`/proc/PID/mountinfo` is the same for every engine, so the upper layer of a container of Docker, Podman, containerd,
CRI-O or a bare OCI runtime is found in one way: by the pid of any process in it.
"""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lithify.engines.base import UpperLayer
from lithify.errors import NotPermitted

_LIMIT = 64 << 20
_HOST = "/proc/1/root"
"""Where a pod that shares its node's processes sees the node's own root."""
_MOST_LINKS = 40
"""As many as the kernel follows."""
_OCTAL = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True, kw_only=True)
class MountPoint:
    """One line of mountinfo, its escapes undone."""

    id: int
    parent: int
    device: str
    """`major:minor`, the same for every mount of one filesystem."""
    root: PurePosixPath
    """The directory of the filesystem that is mounted: `/` unless it is a bind mount of a part."""
    path: PurePosixPath
    """Where it is mounted, as the process sees it."""
    options: tuple[str, ...]
    """Of this mount: `ro`, `noexec`, `nosuid`, ..."""
    propagation: tuple[str, ...]
    """`shared:N`, `master:N`, ...; nothing where the mount is private."""
    filesystem: str
    """Its type: `overlay`, `tmpfs`, `ext4`, ..."""
    source: str
    super_options: tuple[tuple[str, str], ...]
    """Of the filesystem, as (name, value) in order; the value is empty where there is none."""

    @property
    def read_only(self) -> bool:
        """Writes fail with EROFS here: by the mount's own flag or the filesystem's."""
        return "ro" in self.options or ("ro", "") in self.super_options

    @property
    def executable(self) -> bool:
        """Programs can be run from here."""
        return "noexec" not in self.options

    def option(self, name: str) -> str | None:
        """Return the value of the filesystem's option `name`; None where it has none."""
        return next((value for key, value in self.super_options if key == name), None)


def read_mounts(pid: int | str = "self") -> tuple[MountPoint, ...]:
    """Return the mounts that process `pid` sees, in the order they were made; nothing where the process is gone.

    Raises NotPermitted for a process that we may not look at.
    """
    try:
        with open(f"/proc/{pid}/mountinfo", "rb") as file:
            return parse_mountinfo(file.read(_LIMIT))
    except (FileNotFoundError, ProcessLookupError):
        return ()
    except OSError as error:  # a zombie has no mount namespace any more: EINVAL
        if isinstance(error, PermissionError):
            raise NotPermitted(f"may not read the mounts of process {pid}", hint="run lithify as root") from error
        return ()


def parse_mountinfo(data: bytes) -> tuple[MountPoint, ...]:
    """Return the mounts that `data` names (proc_pid_mountinfo(5)); a line that is none is left out."""
    return tuple(mount for line in data.split(b"\n") if (mount := _parse_line(line)) is not None)


def _parse_line(line: bytes) -> MountPoint | None:
    # A line ends in ' - type source options'; the optional fields before the dash vary in number.
    fields = line.split(b" ")
    try:
        dash = fields.index(b"-", 6)
        kind, source, *options = fields[dash + 1 :]
        return MountPoint(
            id=int(fields[0]),
            parent=int(fields[1]),
            device=fields[2].decode("ascii"),
            root=PurePosixPath(unescape(fields[3])),
            path=PurePosixPath(unescape(fields[4])),
            options=tuple(unescape(fields[5]).split(",")),
            propagation=tuple(os.fsdecode(field) for field in fields[6:dash]),
            filesystem=unescape(kind),
            source=unescape(source),
            super_options=_parse_options(b" ".join(options)),
        )
    except (ValueError, UnicodeDecodeError):
        return None


def _parse_options(data: bytes) -> tuple[tuple[str, str], ...]:
    # The kernel writes a comma inside a value as \054, so splitting comes before unescaping.
    pairs = (part.partition(b"=") for part in data.split(b",") if part)
    return tuple((unescape(name), unescape(value)) for name, _, value in pairs)


def unescape(field: bytes) -> str:
    """Return a field of mountinfo with its octal escapes (space, tab, newline, backslash, comma, ...) undone."""
    return os.fsdecode(_OCTAL.sub(lambda match: bytes((int(match[1], 8) & 0xFF,)), field))


def root_mount(mounts: Iterable[MountPoint]) -> MountPoint | None:
    """Return the mount that is the root filesystem: the last one made on `/`, which covers any before it."""
    return next((mount for mount in reversed(tuple(mounts)) if mount.path == PurePosixPath("/")), None)


def process_root(mounts: Iterable[MountPoint]) -> MountPoint | None:
    """Return the mount that paths start from: what is mounted over `/` later is not seen by those already inside."""
    table = tuple(mounts)
    known = {mount.id for mount in table}
    root = PurePosixPath("/")
    return next((mount for mount in table if mount.path == root and mount.parent not in known), root_mount(table))


def visible_mounts(mounts: Iterable[MountPoint]) -> tuple[MountPoint, ...]:
    """Return the mounts that a path leads to, the root first: those that none made later lies over."""
    table = tuple(mounts)
    root = process_root(table)
    if root is None:
        return ()
    children: dict[int, list[MountPoint]] = {}
    for mount in table:
        if mount.path != root.path:
            children.setdefault(mount.parent, []).append(mount)
    found, waiting = [root], [root]
    while waiting:
        beside = children.pop(waiting.pop().id, [])
        taken = {mount.path for mount in beside}
        for mount in beside:
            # One below the place of another on the same parent was there first, and is covered by it.
            if not any(parent in taken for parent in mount.path.parents):
                waiting.append(mount)
                if all(child.path != mount.path for child in children.get(mount.id, ())):
                    found.append(mount)
    return tuple(found)


def mount_holding(mounts: Iterable[MountPoint], path: PurePosixPath) -> MountPoint | None:
    """Return the mount in which `path` lies, links not looked at."""
    holding = [(len(m.path.parts), index, m) for index, m in enumerate(mounts) if path.is_relative_to(m.path)]
    return max(holding, key=lambda item: item[:2], default=(0, 0, None))[2]


def root_overlay(pid: int, noise: frozenset[PurePosixPath] = frozenset()) -> UpperLayer | None:
    """Return the layers under the root of process `pid`, as host directories.

    None where its root is no overlay, has no upper layer, or has layers that neither this mount namespace shows nor the
    one of process 1: the host's, from a pod that shares its processes. Raises NotPermitted for a process that we may
    not look at.
    """
    root = root_mount(read_mounts(pid))
    if root is None or root.filesystem != "overlay":
        return None
    return overlay_layers(root, _homes(root, pid), noise)


def overlay_layers(
    mount: MountPoint, homes: Iterable[Path] = (), noise: frozenset[PurePosixPath] = frozenset()
) -> UpperLayer | None:
    """Return the layers of an overlay mount; `homes` are directories that relative ones may start from."""
    upper_option = mount.option("upperdir")
    if upper_option is None:
        return None
    bases = (Path("/"), *homes)
    for view in ("", _HOST):
        upper = _existing((upper_option, _unquote(upper_option)), bases, view)
        lowers = [_existing(spellings, bases, view) for spellings in _lower_spellings(mount)]
        if upper is not None and lowers and None not in lowers:
            return UpperLayer(
                upper=upper,
                lowers=tuple(lower for lower in lowers if lower is not None),
                noise=noise,
                user_xattr=mount.option("userxattr") is not None,
            )
    return None


def _homes(root: MountPoint, pid: int) -> Iterator[Path]:
    """Yield where relative layers may start.

    Engines whose options outgrow a page mount from their home directory with `l/SHORT` for a layer and `ID/merged` for
    the mount point, which their own mount namespace still shows: the engine's, or the one of whoever started `pid`.
    """
    if all(os.path.isabs(value) for name, value in root.super_options if name in ("upperdir", "lowerdir")):
        return
    viewers: tuple[int | str, ...] = ("self", 1, *_ancestors(pid))
    for viewer in viewers:
        try:
            seen = read_mounts(viewer)
        except NotPermitted:
            continue
        for mount in seen:
            if mount.device == root.device and mount.path != PurePosixPath("/"):
                yield Path(mount.path.parent.parent)
                yield Path(mount.path.parent)


def _ancestors(pid: int, limit: int = 8) -> Iterator[int]:
    for _ in range(limit):
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                # The name in brackets may hold anything, brackets and spaces too: fields count from the last bracket.
                pid = int(file.read(4096).rpartition(b")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            return
        if pid <= 1:
            return
        yield pid


def _lower_spellings(mount: MountPoint) -> list[tuple[str, ...]]:
    """Return, top-most first, how each lower directory may be spelt on disk.

    `lowerdir=a:b` holds all, with backslashes before colons of a name; `lowerdir+=a` (new mount interface) holds one,
    as it is. Data-only layers (after `::`) name no entries and are left out.
    """
    single: list[tuple[str, ...]] = [(value,) for name, value in mount.super_options if name == "lowerdir+"]
    if single:
        return single
    text = mount.option("lowerdir") or ""
    parts = re.findall(r"(?:\\.|[^:\\])+|::?", text, flags=re.DOTALL)
    directories = parts[: parts.index("::")] if "::" in parts else parts
    return [(part, _unquote(part)) for part in directories if part != ":"]


def _unquote(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def _existing(spellings: Iterable[str], bases: Iterable[Path], view: str) -> Path | None:
    """Return the first directory among `bases`/`spellings`, its own short link (`l/SHORT`) resolved.

    `view` is the root that they are looked for under, a link of /proc, and stays in front: nothing else leads there.
    """
    for base in bases:
        for spelling in spellings:
            path = os.path.join(base, spelling)
            path = view + resolved_within(view, path) if view else os.path.realpath(path)
            if os.path.isdir(path):
                return Path(path)
    return None


def host_directory(path: str) -> Path | None:
    """Return where a directory of this host is found from here; None where it is not to be seen."""
    return next((found for view in ("", _HOST) if (found := _existing((path,), (Path("/"),), view))), None)


def host_view() -> str:
    """Return what to put before paths of the host: nothing, but in a pod that shares its node's processes."""
    try:
        shared = os.stat("/proc/1/ns/mnt").st_ino == os.stat("/proc/self/ns/mnt").st_ino
    except OSError:  # we may not look
        return ""
    return "" if shared else _HOST


def split_view(path: Path) -> tuple[str, str]:
    """Return the root that a directory of a layer is found under, nothing for our own, and its path below that."""
    text = str(path)
    return (_HOST, text.removeprefix(_HOST)) if text.startswith(f"{_HOST}/") else ("", text)


def host_mounts() -> tuple[MountPoint, ...]:
    """Return the mounts of this host; nothing where they may not be read."""
    try:
        return read_mounts(1 if host_view() else "self")
    except NotPermitted:
        return ()


def path_on_host(mount: MountPoint, host: Iterable[MountPoint]) -> str:
    """Return where what `mount` shows lies on the host, by the host's own mounts; nothing where none of them has it."""
    holding = [one for one in host if one.device == mount.device and mount.root.is_relative_to(one.root)]
    nearest = max(holding, key=lambda one: (len(one.root.parts), -len(one.path.parts)), default=None)
    return "" if nearest is None else str(nearest.path / mount.root.relative_to(nearest.root))


def resolved_within(view: str, path: str) -> str:
    """Return a path under another root with its links resolved as there: the kernel would take `/...` for ours."""
    resolved, rest, links = "", path.split("/")[::-1], 0
    while rest and links < _MOST_LINKS:
        part = rest.pop()
        if part == "..":
            resolved = resolved.rpartition("/")[0]
        elif part not in ("", "."):
            try:
                link = os.readlink(f"{view}{resolved}/{part}")
            except OSError:  # no link, or nothing at all: whoever asked sees
                resolved = f"{resolved}/{part}"
                continue
            links += 1
            resolved = "" if link.startswith("/") else resolved
            rest += link.split("/")[::-1]
    return path if rest else resolved or "/"
