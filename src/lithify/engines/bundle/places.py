"""Makes a mount plan real for an OCI runtime: directories and files on this host, and the mounts that bring them in.

Every place behaves the same at the first start and after a restart in place. A tmpfs needs help for that: runc gives
it the mode of the directory that it finds at the mount point, whatever `mode=` says, and makes a missing one 0755. So
where the image's directory is not what the plan asks for, one of ours that is lies under the tmpfs, mounted read-only.
"""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from lithify.engines.bundle.spec import SpecMount, bind
from lithify.engines.images.rootfs import DIRECTORY, RootFilesystem
from lithify.engines.tree import copy_attributes, copy_bytes, copy_file, copy_tree
from lithify.errors import EngineRefused
from lithify.model.image import EntryType
from lithify.model.mount import Mount, MountPlan, Seed, StorageKind
from lithify.model.path import ROOT, is_pseudo, printable

_SHARED_MEMORY = PurePosixPath("/dev/shm")  # noqa: S108 - the container's


@dataclass
class Places:
    """Storage for the mounts of one container, made below `directory` as each is asked for."""

    image: RootFilesystem
    """Open while places are added; not needed after."""
    directory: Path
    mounts: list[SpecMount] = field(default_factory=list)
    modes: dict[int, list[PurePosixPath]] = field(default_factory=dict)
    """Directories that runc's copy-up would give another mode."""
    fresh: list[Path] = field(default_factory=list)
    """Files that must be as new at each start; how that is lies beside each, under `NAME.new`."""
    volumes: dict[PurePosixPath, Path] = field(default_factory=dict)
    """Directories behind the image's VOLUMEs."""

    def add_plan(self, plan: MountPlan, named: Mapping[PurePosixPath, Path]) -> None:
        """Make what `plan` mounts; `named` has the directory of each volume, seeded if it is new and empty."""
        for mount in sorted(plan.mounts, key=lambda m: len(m.path.parts)):
            destination = self._destination(mount)
            if mount.type is EntryType.FILE:
                self._add_file(mount, destination, named.get(mount.path))
            elif mount.storage is StorageKind.MEMORY:
                self._add_memory(mount, destination)
            else:
                self._add_directory(mount, destination, named.get(mount.path) or self._new("scratch"))

    def add_bind(self, mount: SpecMount) -> None:
        """Add storage that others share; EngineRefused where its destination can't be reached in the image."""
        destination = self._resolve(mount.destination)
        if destination == ROOT:
            raise EngineRefused("nothing can be mounted at /")
        self.mounts.append(replace(mount, destination=destination))

    def add_image_volume(self, path: PurePosixPath) -> None:
        """Give a VOLUME of the image a directory with what the image has there, as Docker does.

        Not where the plan mounts: that takes its place.
        """
        destination = self._resolve(path)
        if destination == ROOT or is_pseudo(destination):
            raise EngineRefused(f"the image declares a volume at {printable(path)}, where none can be")
        if any(mount.destination == destination for mount in self.mounts):
            return
        source = self._new("volumes")
        with _opened(source) as target:
            if not self._copy(destination, target):
                os.fchmod(target, 0o755)
        self.mounts.append(bind(destination, source))
        self.volumes[path] = source

    def add_file(self, path: PurePosixPath, content: str, *, read_only: bool) -> Path:
        """Put a file of ours at `path`, as engines do with /etc/hosts.

        Not where something is mounted already, nor where a link of the image leads into a kernel filesystem.
        """
        source = self._new_path("files")
        source.write_text(content, encoding="utf-8")
        source.chmod(0o644)
        destination = self._resolve(path)
        if not is_pseudo(destination) and not any(mount.destination == destination for mount in self.mounts):
            self.mounts.append(bind(destination, source, "ro" if read_only else "rw"))
        return source

    def renew(self) -> None:
        """Make anew what does not outlive a stop."""
        for source in self.fresh:
            source.unlink(missing_ok=True)
            with _opened(source.parent) as parent:
                copy_file(parent, f"{source.name}.new", parent, source.name)

    def _destination(self, mount: Mount) -> PurePosixPath:
        path = self._resolve(mount.path)
        if path == ROOT or (is_pseudo(path) and not path.is_relative_to(_SHARED_MEMORY)):
            raise EngineRefused(f"nothing can be mounted at {printable(mount.path)}")
        status = self.image.status(path)
        if status is not None and stat.S_ISDIR(status.st_mode) == (mount.type is EntryType.FILE):
            found = "a directory" if stat.S_ISDIR(status.st_mode) else "no directory"
            raise EngineRefused(f"the image has {found} at {printable(mount.path)}, the plan says {mount.type.value}")
        return path

    def _resolve(self, path: PurePosixPath) -> PurePosixPath:
        try:
            return self.image.resolve(path)
        except OSError as error:
            raise EngineRefused(f"{printable(path)} can't be reached in the image: {error.strerror}") from error

    def _add_memory(self, mount: Mount, destination: PurePosixPath) -> None:
        options = ["nosuid", "nodev"] if mount.executable else ["nosuid", "nodev", "noexec"]
        options += [f"mode={mount.mode:04o}", f"uid={mount.uid}", f"gid={mount.gid}"]
        options += [f"size={mount.size}"] if mount.size is not None else []
        options += [f"nr_inodes={mount.inodes}"] if mount.inodes is not None else []
        options += ["tmpcopyup"] if mount.seed is not Seed.NONE else []
        if not self._is_as_planned(mount, destination):
            under = self._new("seeds")
            with _opened(under) as target:
                self._fill(mount, destination, target)
                self._note_modes(destination, target)
            self.mounts.append(bind(destination, under, "ro"))
        elif mount.seed is Seed.CONTENT:
            with self.image.open(destination, os.O_RDONLY | os.O_DIRECTORY) as source:
                self._note_modes(destination, source)
        self.mounts.append(
            SpecMount(destination=destination, type="tmpfs", source="tmpfs", options=tuple(options)),
        )

    def _is_as_planned(self, mount: Mount, destination: PurePosixPath) -> bool:
        """Tell whether the image's own directory gives the tmpfs the mode, and a seed the owner, of the plan."""
        status = self.image.status(destination)
        if status is None or stat.S_IMODE(status.st_mode) != mount.mode or mount.seed is Seed.SKELETON:
            return False
        return mount.seed is Seed.NONE or (status.st_uid, status.st_gid) == (mount.uid, mount.gid)

    def _note_modes(self, destination: PurePosixPath, seed: int) -> None:
        """Write down which directories of a seed have bits that a copy made through the usual umask loses."""
        for base, directories, _, descriptor in os.fwalk(".", dir_fd=seed):
            for name in directories:
                mode = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
                if stat.S_ISDIR(mode) and mode & 0o7022:
                    self.modes.setdefault(stat.S_IMODE(mode), []).append(destination / base / name)

    def _add_directory(self, mount: Mount, destination: PurePosixPath, source: Path) -> None:
        with _opened(source) as target:
            # a volume that another container has used already keeps what that one left
            if not os.listdir(target):
                self._fill(mount, destination, target)
        self.mounts.append(bind(destination, source, *_safe(mount)))

    def _add_file(self, mount: Mount, destination: PurePosixPath, volume: Path | None) -> None:
        source = volume / "file" if volume is not None else self._new_path("files")
        if not source.exists():
            self._write_file(mount, source)
        if mount.storage is StorageKind.MEMORY:
            with _opened(source.parent) as parent:
                copy_file(parent, source.name, parent, f"{source.name}.new")
            self.fresh.append(source)
        self.mounts.append(bind(destination, source, *_safe(mount)))

    def _write_file(self, mount: Mount, source: Path) -> None:
        writer = os.open(source, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            if self.image.status(mount.path) is not None:
                with self.image.open(mount.path) as reader:
                    copy_bytes(reader, writer)
            os.fchown(writer, mount.uid, mount.gid)
            os.fchmod(writer, mount.mode)
        finally:
            os.close(writer)

    def _fill(self, mount: Mount, destination: PurePosixPath, target: int) -> None:
        """Seed an empty directory and give it the plan's owner and mode."""
        if mount.seed is not Seed.NONE:
            self._copy(destination, target, directories_only=mount.seed is Seed.SKELETON)
        os.fchown(target, mount.uid, mount.gid)
        os.fchmod(target, mount.mode)

    def _copy(self, path: PurePosixPath, target: int, *, directories_only: bool = False) -> bool:
        """Copy what the image has at `path`; tell whether there is a directory."""
        status = self.image.status(path)
        if status is None or not stat.S_ISDIR(status.st_mode):
            return False
        with self.image.open(path, os.O_RDONLY | os.O_DIRECTORY) as source:
            copy_tree(source, target, directories_only=directories_only)
        return True

    def _new(self, kind: str) -> Path:
        path = self._new_path(kind)
        path.mkdir(mode=0o700)
        return path

    def _new_path(self, kind: str) -> Path:
        parent = self.directory / kind
        parent.mkdir(mode=0o700, exist_ok=True)
        return parent / str(len(os.listdir(parent)))


def mount_points(image: RootFilesystem, mounts: Sequence[SpecMount], also: PurePosixPath, layer: Path) -> None:
    """Make in `layer`, to lie over the image, what the runtime would otherwise make in the upper layer.

    These are the mount points that the image lacks and `also`, the working directory: so the upper layer holds only
    what the program wrote. Directories that the image has are given again with their attributes, times included.
    """
    files = {mount.destination for mount in mounts if mount.type == "bind" and os.path.isfile(mount.source)}
    made: list[tuple[PurePosixPath, Path]] = [(ROOT, layer)]
    for path in missing_points(image, mounts, also):
        for ancestor in reversed(path.parents):
            copy = layer / ancestor.relative_to(ROOT)
            if not copy.exists():
                copy.mkdir(mode=0o755)
                made.append((ancestor, copy))
        place = layer / path.relative_to(ROOT)
        if path in files:
            place.touch(mode=0o644)
        elif not place.exists():
            place.mkdir(mode=0o755)
    for path, copy in reversed(made):
        give_attributes(image, path, copy)


def missing_points(image: RootFilesystem, mounts: Iterable[SpecMount], *also: PurePosixPath) -> list[PurePosixPath]:
    """Return the mount points, and those of `also`, that the image lacks, parents first.

    What lies below another mount is left out: that would cover it, and the runtime makes it in there.
    """
    points = {mount.destination for mount in mounts}
    return [
        path
        for path in sorted({*points, *also}, key=lambda p: (len(p.parts), p))
        if image.status(path) is None and not any(parent in points for parent in path.parents)
    ]


def give_attributes(image: RootFilesystem, path: PurePosixPath, directory: Path) -> None:
    """Give `directory` the attributes of the image's directory at `path`, if it has one."""
    if image.status(path) is not None:
        with image.open(path, os.O_RDONLY | os.O_DIRECTORY) as source, _opened(directory) as target:
            copy_attributes(source, target)


def _safe(mount: Mount) -> tuple[str, ...]:
    return ("rw", "nosuid", "nodev") if mount.executable else ("rw", "nosuid", "nodev", "noexec")


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
