"""A mount plan in the words of `podman run`.

How Podman differs (seen on 4.3 with runc 1.1): `--read-only` alone makes `/run`, `/tmp` and `/var/tmp` writable, and
newer ones take `/dev/shm` away with them. A tmpfs is filled from the image unless told not to (what lies in it loses
write bits of group and others), takes `U` for "belongs
to the container's user" but no `uid=`, `gid=` or `nr_inodes=`. Volumes take `noexec` as they are mounted, and a new one
belongs to the container's user where the image has nothing there. A tmpfs as a volume takes any owner, and its size
only as `nr_blocks=` (`size=` is a project quota to Podman).
"""

import mmap
import shlex
from collections.abc import Iterable
from dataclasses import replace
from pathlib import PurePosixPath

from lithify.engines.command_line.flags import PlanFlags, permissions
from lithify.engines.command_line.runline import mount_value
from lithify.errors import EngineRefused
from lithify.model.image import EntryType
from lithify.model.mount import Mount, MountPlan, Seed
from lithify.model.path import ROOT, printable

_UMASK = 0o022
_SHARED_MEMORY = PurePosixPath("/dev/shm")  # noqa: S108 - the container's


class PodmanFlags(PlanFlags):
    """Adds a plan to a `podman run` line."""

    def add_read_only(self, plan: MountPlan, taken: Iterable[PurePosixPath]) -> None:
        """Add `--read-only` without the places that come with it; shared memory stays, as it does with Docker."""
        if not self.line.switch("read-only"):
            self.line = self.line.without("read-only").adding("--read-only")
        given = self.line.value("read-only-tmpfs")
        if given is None:
            self.say("--read-only-tmpfs=false")
        elif self.line.switch("read-only-tmpfs"):
            self.note("/run, /tmp and /var/tmp are writable, as the line has it (--read-only-tmpfs)")
            return
        own = (self.line.value("ipc") or "private") in ("private", "shareable", "")
        planned = {mount.path for mount in plan.mounts}
        if own and _SHARED_MEMORY not in {*taken, *planned}:
            size = self.line.value("shm-size") or "64m"
            self.say("--tmpfs", f"{_SHARED_MEMORY}:rw,noexec,nosuid,nodev,size={size},mode=1777")

    def add_memory(self, mount: Mount) -> None:
        """Add a tmpfs, several where a copy-up would spoil modes, or a volume where that can't be had."""
        if not self.seeded(mount) or not self._spoils(mount):
            self._add_place(mount)
            return
        skeleton = self.skeleton(mount)
        if skeleton is None or any(self._owner(place) is None for place in skeleton):
            self.note("on disk: what the image has there loses modes when a tmpfs is filled with it", mount.path)
            self.add_scratch(mount)
            return
        for place in (mount, *skeleton):
            self._add_place(replace(place, seed=Seed.NONE))

    def _add_place(self, mount: Mount) -> None:
        owner = self._owner(mount)
        if owner is not None and self.keeps_mode(mount) and not set(str(mount.path)) & set(":,"):
            copy = "tmpcopyup" if self.seeded(mount) else "notmpcopyup"
            if mount.inodes:
                self.note("no limit to the number of files: Podman has none for a tmpfs", mount.path)
            self.add_tmpfs(mount, copy, *owner)
        elif self.seeded(mount) or self.host.rootless:
            self.note("on disk: Podman can't give a tmpfs both this owner and what the image has there", mount.path)
            self.add_scratch(mount)
        else:
            self._add_memory_volume(mount)

    def add_scratch(self, mount: Mount) -> None:
        """Add an anonymous volume, or a named one where the owner can't be had otherwise."""
        if self.entry(mount) is None and (self._owner(mount) is None or mount.mode != 0o755):
            self.note("a named volume, which outlives the container: an anonymous one would be the user's", mount.path)
            self.add_volume(mount)
            return
        self._note_limits(mount)
        self.say("--mount", mount_value("type=volume", f"dst={mount.path}", *permissions(mount)))

    def add_volume(self, mount: Mount) -> None:
        """Add a named volume."""
        name = self.volume_name(mount)
        self._note_limits(mount)
        options = ["--opt", f"o=uid={mount.uid},gid={mount.gid}"] if self.entry(mount) is None else []
        self.make_volume(name, *options)
        if self.entry(mount) is None and mount.mode != 0o755:
            self._set_mode(mount, name)
        self._mount_volume(mount, name)

    def add_file(self, mount: Mount) -> None:
        """Bind a copy of the file that lies in a volume, filled from the image with the directory it is in."""
        if self.entry(mount) is None or mount.path.parent == ROOT:
            raise EngineRefused(
                f"podman can't make the single file {printable(mount.path)}",
                hint="plan its directory, or make the file on the host and add -v FILE:PATH yourself",
            )
        name = self.volume_name(mount)
        self.make_volume(name)
        helper = self.helper(name, f"{name}:{mount.path.parent}")
        # Podman fills a volume when it prepares the container, before anything of the image runs.
        self.setup.append(self.engine("init", helper))
        self.end_helper(helper)
        self.note("a copy in a volume (with the rest of its directory), which outlives the container", mount.path)
        source = self.host.volumes / name / "_data" / mount.path.name
        self.say("--mount", mount_value("type=bind", f"src={source}", f"dst={mount.path}", *permissions(mount)))

    def make_volume(self, name: str, *options: str) -> None:
        """Have a volume made unless there is one: `podman volume create` fails then."""
        if name not in self.volumes:
            create = self.engine_script("volume", "create", *self.label_words, *options, name)
            self.shell(f"{self.engine_script('volume', 'exists', name)} || {create}")
            self.volumes.append(name)

    def helper(self, name: str, *mounts: str) -> str:
        """As for any engine; limits that the host needs are taken from the line."""
        container = super().helper(name, *mounts)
        *words, image, command = self.setup.pop()
        limits = (word for value in self.line.values("ulimit") for word in ("--ulimit", value))
        self.setup.append((*words, *limits, image, command))
        return container

    def _spoils(self, mount: Mount) -> bool:
        """Tell whether a copy-up changes modes: the runtime makes what it copies under its own umask, 022."""
        return any(entry.mode & _UMASK and entry.type is not EntryType.SYMLINK for _, entry in self.below(mount))

    def _owner(self, mount: Mount) -> list[str] | None:
        """Return the tmpfs option that gives a place its owner; None where there is none."""
        if (mount.uid, mount.gid) == (self.image.uid, self.image.gid):
            return ["U"] if mount.uid or mount.gid else []
        return [] if (mount.uid, mount.gid) == (0, 0) else None

    def _add_memory_volume(self, mount: Mount) -> None:
        name = self.volume_name(mount)
        settings = [f"uid={mount.uid}", f"gid={mount.gid}", f"mode={mount.mode:04o}"]
        if mount.size:
            settings.append(f"nr_blocks={-(-mount.size // mmap.PAGESIZE)}")
        if mount.inodes:
            settings.append(f"nr_inodes={mount.inodes}")
        self.make_volume(name, "--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", f"o={','.join(settings)}")
        self._mount_volume(mount, name)
        self._tmpfs.add(mount.path)

    def _mount_volume(self, mount: Mount, name: str) -> None:
        copy = ["nocopy"] if mount.seed is Seed.NONE else []
        if ":" in str(mount.path):
            self.say("--mount", mount_value("type=volume", f"src={name}", f"dst={mount.path}", *permissions(mount)))
        else:
            self.say("--volume", f"{name}:{mount.path}:{','.join((*permissions(mount), *copy))}")

    def _set_mode(self, mount: Mount, name: str) -> None:
        if not self.image.has_shell:
            self.note(f"its mode is 0755, not {mount.mode:04o}: the image has no shell to change it with", mount.path)
            return
        limits = tuple(word for value in self.line.values("ulimit") for word in ("--ulimit", value))
        script = shlex.join(["chmod", f"{mount.mode:04o}", str(mount.path)])
        self.setup.append(
            self.engine(
                "run", "--rm", *self.label_words, *limits, "--network", "none", "--user", "0:0", "--entrypoint", "",
                "--volume", f"{name}:{mount.path}", self.line.image, "/bin/sh", "-c", script,
            )
        )  # fmt: skip

    def _note_limits(self, mount: Mount) -> None:
        if mount.size or mount.inodes:
            self.note("no limit to what it may hold: volumes have none without a project quota", mount.path)
