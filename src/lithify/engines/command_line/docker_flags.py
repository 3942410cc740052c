"""A mount plan in the words of `docker run`.

What Docker can't say, and what stands in for it (seen on 20.10 with runc 1.1):

- `--tmpfs` can't copy up what the image has. A skeleton of few directories becomes a tmpfs each; anything else an
  anonymous volume, which Docker fills from the image when it makes the container.
- `--tmpfs` ignores `mode=` where the image has the directory, and forgets it at a restart where the image lacks it. A
  volume of type tmpfs keeps owner, mode and options.
- A volume is executable, and `o=bind,noexec` does not change that: the kernel takes no new flags with a first bind
  mount. An overlay mounted over its own upper directory is a mount of its own, takes `noexec`, is filled from the image
  like any volume, and its data lie in the very volume that is named. An anonymous volume can't be had so.
- A new volume on a directory that the image lacks belongs to root: `docker cp` of a tar entry sets owner and mode.
"""

import shlex
from collections.abc import Iterable
from pathlib import PurePosixPath

from lithify.engines.command_line.flags import PlanFlags, permissions
from lithify.engines.command_line.runline import mount_value
from lithify.errors import EngineRefused
from lithify.model.mount import Mount, MountPlan, Seed
from lithify.model.path import printable
from lithify.model.quantity import render_engine_size


class DockerFlags(PlanFlags):
    """Adds a plan to a `docker run` line."""

    def add_read_only(self, plan: MountPlan, taken: Iterable[PurePosixPath]) -> None:  # noqa: ARG002 - others need it
        """Add `--read-only`; Docker makes nothing writable with it."""
        if not self.line.switch("read-only"):
            self.line = self.line.without("read-only").adding("--read-only")

    def add_memory(self, mount: Mount) -> None:
        """Add a tmpfs, several where the image has directories in it, or a volume where it has more."""
        if not self.seeded(mount):
            self._add_tmpfs(mount)
            return
        skeleton = self.skeleton(mount)
        if skeleton is None:
            self.note("on disk, since Docker can't fill a tmpfs from the image: it outlives a restart", mount.path)
            self.add_scratch(mount)
            return
        for place in (mount, *skeleton):
            self._add_tmpfs(place)

    def add_scratch(self, mount: Mount) -> None:
        """Add an anonymous volume, or a named one where owner or mode can't be had otherwise."""
        if self.needs_owner(mount):
            self.note("a named volume, which outlives the container: an anonymous one would be root's", mount.path)
            self.add_volume(mount)
            return
        if not mount.executable:
            self.note("programs can be run from here: Docker has no noexec for anonymous volumes", mount.path)
        self._note_limits(mount)
        self.say("--mount", mount_value("type=volume", f"dst={mount.path}", *self._nocopy(mount)))

    def add_volume(self, mount: Mount) -> None:
        """Add a named volume, not executable where that can be had."""
        name = self.volume_name(mount)
        if mount.executable or not self._overlay_volume(name):
            if not mount.executable:
                self.note("programs can be run from here: this host has no overlay volumes", mount.path)
            self.make_volume(name)
        self._note_limits(mount)
        if self.needs_owner(mount):
            helper = self.helper(name, f"{name}:{mount.path}")
            self._put_directory(mount, helper)
            self.end_helper(helper)
        self.say("--mount", mount_value("type=volume", f"src={name}", f"dst={mount.path}", *self._nocopy(mount)))

    def add_file(self, mount: Mount) -> None:
        """Bind a copy of the file that lies in a volume.

        That needs no directory on the host that someone has to choose, works with a remote engine, and goes with
        `docker volume rm`.
        """
        name, inside = self.volume_name(mount), PurePosixPath("/lithify")
        self.make_volume(name)
        helper = self.helper(name, f"{name}:{inside}")
        target = self.engine_script("cp", "-", f"{helper}:{inside}")
        if self.entry(mount):
            # By a file in between: Docker holds a container's lock while it streams out of it, so that a pipe from a
            # container into the same one never ends.
            taken = self.engine_script("cp", f"{helper}:{mount.path}", "-")
            self.shell(f'file=$(mktemp) && {taken} > "$file" && {target} < "$file" && rm "$file"')
        else:
            rename = _tar(mount, mount.path.name)
            self.shell(f'file=$(mktemp) && {rename} --directory=/ "${{file#/}}" | {target} && rm "$file"')
        self.end_helper(helper)
        self.note("a copy in a volume, which outlives the container", mount.path)
        source = self.host.volumes / name / "_data" / mount.path.name
        self.say("--mount", mount_value("type=bind", f"src={source}", f"dst={mount.path}"))

    def _add_tmpfs(self, mount: Mount) -> None:
        owner = [f"{key}={value}" for key, value in (("uid", mount.uid), ("gid", mount.gid)) if value]
        inodes = [f"nr_inodes={mount.inodes}"] if mount.inodes else []
        if self.keeps_mode(mount) and not set(str(mount.path)) & set(":,"):
            self.add_tmpfs(mount, *inodes, *owner)
            return
        size = [f"size={render_engine_size(mount.size)}"] if mount.size else []
        self._add_tmpfs_volume(mount, ",".join([*permissions(mount), *size, *inodes, *owner, f"mode={mount.mode:04o}"]))
        self._tmpfs.add(mount.path)

    def _add_tmpfs_volume(self, mount: Mount, settings: str) -> None:
        fields = ["type=volume", f"dst={mount.path}", "volume-nocopy", "volume-driver=local"]
        options = ["type=tmpfs", "device=tmpfs", f"o={settings}"]
        self.say("--mount", mount_value(*fields, *(f"volume-opt={option}" for option in options)))

    def _overlay_volume(self, name: str) -> bool:
        """Have a volume made that is an overlay over its own directory; False where that can't be."""
        if not self.host.overlay_volumes or set(str(self.host.volumes)) & set(":,\\"):
            return False
        lower, work = f"{name}.lower", f"{name}.work"
        self.make_volume(lower)
        self.make_volume(work)
        layers = (("lowerdir", lower), ("upperdir", name), ("workdir", work))
        options = [*(f"{key}={self.host.volumes / volume / '_data'}" for key, volume in layers), "noexec,nosuid,nodev"]
        self.make_volume(
            name, "--driver", "local", "--opt", "type=overlay", "--opt", "device=overlay",
            "--opt", f"o={','.join(options)}",
        )  # fmt: skip
        return True

    def _nocopy(self, mount: Mount) -> list[str]:
        """Leave out what the image has there, unless its owner and mode come with it."""
        entry = self.entry(mount)
        plain = entry is not None and (entry.uid, entry.gid, entry.mode) == (0, 0, 0o755)
        return ["volume-nocopy"] if mount.seed is Seed.NONE and plain else []

    def _note_limits(self, mount: Mount) -> None:
        if mount.size or mount.inodes:
            self.note("no limit to what it may hold: Docker has none for volumes", mount.path)

    def _put_directory(self, mount: Mount, helper: str) -> None:
        """Give the root of a volume its owner and mode."""
        put = self.engine_script("cp", "-", f"{helper}:{mount.path.parent}")
        self.shell(f"{_tar(mount, mount.path.name)} --directory=/ . | {put}")


def _tar(mount: Mount, name: str) -> str:
    """A tar command that takes whatever it is given for `name`, with the owner and mode of a place."""
    if "\n" in name:
        raise EngineRefused(f"can't make {printable(mount.path)}", hint="its name holds a line end")
    escaped = "".join(f"\\{c}" if c in "\\&," else c for c in name)
    words = [
        "tar", "--create", "--no-recursion", f"--owner={mount.uid}", f"--group={mount.gid}",
        f"--mode={mount.mode:04o}", f"--transform=s,.*,{escaped},",
    ]  # fmt: skip
    return shlex.join(words)
