"""A mount plan in the words of a Compose service.

Compose hands `tmpfs:` entries to the engine as they stand, so that what holds for `docker run --tmpfs` holds here (see
`docker_flags`). What a run line has set up by commands beside it, a file has to say itself:

- a tmpfs of which Docker would forget the mode is a top-level volume with `driver_opts: {type: tmpfs}`;
- a named volume can't be given `noexec`, and a file can't be copied out of the image;
- a volume on a directory that the image lacks is root's: a service beside it, which ends before it, gives that away.
"""

import mmap
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import PurePosixPath
from typing import Any, ClassVar

from lithify.engines.command_line.docker_flags import DockerFlags
from lithify.engines.command_line.flags import EngineHost, PlanFlags, permissions
from lithify.engines.command_line.podman_flags import PodmanFlags
from lithify.engines.command_line.runline import MountKind, RunLine
from lithify.errors import EngineRefused
from lithify.model.image import ImageFacts
from lithify.model.mount import Mount, MountPlan, Seed
from lithify.model.path import printable
from lithify.model.quantity import render_engine_size


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceVolume:
    """An entry of a service's `volumes`."""

    path: PurePosixPath
    name: str = ""
    """Its key in the top-level `volumes`; empty for an anonymous one."""
    no_copy: bool = False
    """Nothing of the image is copied into it."""
    memory: bool = False
    """A tmpfs in long syntax, the only one that Swarm keeps."""
    size: int | None = None
    """Limit of a tmpfs in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePlan:
    """What a service says when it is read-only as planned, besides what it says already."""

    tmpfs: tuple[str, ...] = ()
    """Entries in short syntax, the only one that knows an owner."""
    volumes: tuple[ServiceVolume, ...] = ()
    named: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Top-level volumes by key, each with its `driver_opts`; none for a plain one."""
    environment: Mapping[str, str] = field(default_factory=dict)
    arguments: Mapping[int, str] = field(default_factory=dict)
    """What stands anew in the command, by index."""
    working_directory: str | None = None
    files: tuple[Mount, ...] = ()
    """Single files to make writable, which a Compose file alone can't."""
    given_away: tuple[Mount, ...] = ()
    """Places on named volumes that the engine makes root's, and that are another user's (`giving_service`)."""
    standing: Mapping[PurePosixPath, str] = field(default_factory=dict)
    """The volumes of those places that the service mounts already."""
    giver: str = ""
    """The image of the service that gives them away."""
    notes: tuple[str, ...] = ()

    def sources(self, names: Mapping[str, str]) -> dict[PurePosixPath, str]:
        """Return the volume of each place in `given_away`; `names` has what the project calls those of the plan."""
        known = {volume.path: names[volume.name] for volume in self.volumes if volume.name} | dict(self.standing)
        return {mount.path: known[mount.path] for mount in self.given_away}


ONCE_DONE = {"condition": "service_completed_successfully"}
"""How a service depends on the one that gives its volumes away."""
_NO_HOST = EngineHost(volumes=PurePosixPath("/nowhere"), overlay_volumes=False)
"""A file can't count on the directories of the host that it is used on."""


def plan_service(
    line: RunLine, image: ImageFacts, plan: MountPlan, *, stack: bool = False, giver: str = ""
) -> ServicePlan:
    """Return what makes a service read-only as planned, in a stack's words where Swarm is to run it.

    `line` is the run line that the service comes to, named as the service is: where it mounts something already,
    nothing is added, so that a second time changes nothing. `giver` is the image that may be run by a service beside
    it (`giver_image`).
    """
    kind = StackFlags if stack else PodmanComposeFlags if line.engine == "podman" else ComposeFlags
    flags: _Collected = kind(line=line, image=image, host=_NO_HOST)
    flags.gives_away = bool(giver) and flags.may_give
    notes = flags.add(plan).command.notes
    named = {mount.path: mount.source for mount in line.mounts() if mount.kind is MountKind.VOLUME and mount.source}
    standing = [mount for mount in plan.mounts if mount.path in named and flags.gives_away and flags.needs_owner(mount)]
    return ServicePlan(
        tmpfs=tuple(flags.tmpfs),
        volumes=tuple(flags.places),
        named=flags.named,
        environment=flags.variables,
        arguments=flags.arguments,
        working_directory=flags.working_directory,
        files=tuple(flags.files),
        given_away=(*flags.given_away, *standing),
        standing={mount.path: named[mount.path] for mount in standing},
        giver=giver,
        notes=notes,
    )


def giver_image(service: Mapping[str, Any], image: ImageFacts, copier: str = "") -> str:
    """Return the image that may give volumes to the user of a service: its own, else `copier`.

    Its own is one that has a shell and that its project does not build: from the user's own Dockerfile the directory
    comes better.
    """
    own = str(service.get("image") or "")
    return own if own and not service.get("build") and image.has_shell else copier


def giving_service(plan: ServicePlan, names: Mapping[str, str]) -> dict[str, object]:
    """Return the service, its image left out, that gives each place of `given_away` to its user, and ends.

    It comes to the same however often it runs, and looks at nothing below a place. `names` has what the project calls
    the volumes of the plan.
    """
    calls = []
    for (uid, gid, mode), mounts in groupby(plan.given_away, key=lambda mount: (mount.uid, mount.gid, mount.mode)):
        paths = [str(mount.path) for mount in mounts]
        calls += [["chown", f"{uid}:{gid}", *paths], ["chmod", f"{mode:o}", *paths]]
    script = " && ".join(map(shlex.join, calls))
    return {
        "user": "0:0",
        "entrypoint": ["sh", "-c", script],
        "read_only": True,
        "network_mode": "none",
        "cap_drop": ["ALL"],
        "cap_add": ["CHOWN", "DAC_OVERRIDE", "FOWNER"],
        "security_opt": ["no-new-privileges:true"],
        "volumes": [
            {"type": "volume", "source": source, "target": str(path)} for path, source in plan.sources(names).items()
        ],
    }


def gives_volumes(entrypoint: Sequence[str]) -> bool:
    """Tell whether a service is one of ours that gives volumes away."""
    shell, option, script, *_ = (*entrypoint, "", "", "")
    return (shell, option) == ("sh", "-c") and script.startswith("chown ")


def where_given(plan: ServicePlan, service: Mapping[str, Any]) -> dict[str, object]:
    """Return what the service that gives volumes away takes from the one that has them, beside when it runs."""
    keys = ["userns_mode"]  # what its users are on the host
    if plan.giver == service.get("image"):
        keys.append("platform")  # which of the image's builds it is
    return {key: service[key] for key in keys if key in service}


@dataclass
class _Collected(PlanFlags):
    """Collects what a plan comes to in a service, where other classes write a run line."""

    tmpfs: list[str] = field(default_factory=list, init=False)
    places: list[ServiceVolume] = field(default_factory=list, init=False)
    named: dict[str, dict[str, str]] = field(default_factory=dict, init=False)
    variables: dict[str, str] = field(default_factory=dict, init=False)
    arguments: dict[int, str] = field(default_factory=dict, init=False)
    working_directory: str | None = field(default=None, init=False)
    files: list[Mount] = field(default_factory=list, init=False)
    may_give: ClassVar[bool] = False
    """A service beside it may give its volumes to their user, for which it waits (`giving_service`)."""
    gives_away: bool = field(default=False, init=False)
    given_away: list[Mount] = field(default_factory=list, init=False)

    def add_scratch(self, mount: Mount) -> None:
        """Add an anonymous volume, or a named one where another service has to mount it too."""
        if self.gives_away and self.needs_owner(mount):
            self.note("a named volume, which outlives the container: an anonymous one would be root's", mount.path)
            self.add_volume(mount)
            return
        if not mount.executable:
            self.note("programs can be run from here: a Compose file can't say noexec of a volume", mount.path)
        self._add_volume_entry(mount, "")

    def add_volume(self, mount: Mount) -> None:
        """Add a named volume."""
        if not mount.executable:
            self.note("programs can be run from here: a Compose file can't say noexec of a volume", mount.path)
        name = self.volume_name(mount)
        self.named[name] = {}
        self._add_volume_entry(mount, name)

    def add_file(self, mount: Mount) -> None:
        """Leave it to whoever can copy a file out of the image."""
        self.files.append(mount)
        self.note("a copy of the file, which has to be made once", mount.path)

    def add_tmpfs(self, mount: Mount, *options: str) -> None:
        """Add an entry of `tmpfs`; noexec is said although Docker would add it: Podman would not."""
        parts = [
            *permissions(mount),
            *([f"size={render_engine_size(mount.size)}"] if mount.size else []),
            *options,
            f"mode={mount.mode:04o}",
        ]
        if not mount.size:
            self.note("no size limit, so up to half of the host's memory", mount.path)
        self.tmpfs.append(f"{mount.path}:{','.join(parts)}")
        self._tmpfs.add(mount.path)

    def add_tmpfs_volume(self, mount: Mount, *settings: str) -> None:
        """Add a named volume in memory: empty whenever no container has it."""
        name = self.volume_name(mount)
        self.named[name] = {"type": "tmpfs", "device": "tmpfs", "o": ",".join(settings)}
        self.places.append(ServiceVolume(path=mount.path, name=name, no_copy=True))
        self._tmpfs.add(mount.path)

    def _add_volume_entry(self, mount: Mount, name: str) -> None:
        if mount.size or mount.inodes:
            self.note("no limit to what it may hold: volumes have none", mount.path)
        entry = self.entry(mount)
        if self.needs_owner(mount) and self.gives_away:
            self.given_away.append(mount)
        elif self.needs_owner(mount):
            made = shlex.join(("install", "-d", "-o", str(mount.uid), "-g", str(mount.gid), str(mount.path)))
            other = ", or an image with a shell is named with --copier" if self.may_give else ""
            self.note(
                "root's at first: the image lacks the directory, so that the engine makes it; a program that is not "
                f"root needs it there (RUN {made}){other}",
                mount.path,
            )
        plain = entry is not None and (entry.uid, entry.gid, entry.mode) == (0, 0, 0o755)
        hides = entry is not None and entry.entries > 0 and mount.seed is Seed.NONE and plain
        self.places.append(ServiceVolume(path=mount.path, name=name, no_copy=hides))

    def _set_variable(self, name: str, value: str) -> None:
        if self.line.environment().get(name) != value:
            self.variables[name] = value

    def _set_option(self, flag: str, value: str) -> None:
        assert flag == "workdir", flag
        if self.line.value(flag) != value:
            self.working_directory = value

    def _start_by(self, entrypoint: tuple[str, ...], command: tuple[str, ...], *, new_entrypoint: bool) -> None:
        if new_entrypoint:
            raise EngineRefused(
                f"an argument of the entrypoint has to change: {printable(' '.join(entrypoint))}",
                hint="change it in the file or the image, and plan again",
            )
        present = self.line.command or self.image.command
        known = dict(enumerate(present))
        self.arguments = {index: word for index, word in enumerate(command) if known.get(index) != word}


class ComposeFlags(_Collected, DockerFlags):
    """A service that Docker runs."""

    may_give = True

    def _add_tmpfs_volume(self, mount: Mount, settings: str) -> None:
        self.add_tmpfs_volume(mount, settings)


class PodmanComposeFlags(_Collected, PodmanFlags):
    """A service that Podman runs, by its API that is like Docker's; a tmpfs has no owner there but root."""

    def add_read_only(self, plan: MountPlan, taken: Iterable[PurePosixPath]) -> None:  # noqa: ARG002 - others need it
        """Say what comes with it."""
        self.note("Podman makes /run, /tmp and /var/tmp writable with it, and a Compose file can't say otherwise")

    def _owner(self, mount: Mount) -> list[str] | None:
        return [] if (mount.uid, mount.gid) == (0, 0) else None

    def _add_memory_volume(self, mount: Mount) -> None:
        owner = (f"uid={mount.uid}", f"gid={mount.gid}", f"mode={mount.mode:04o}")
        size = (f"nr_blocks={-(-mount.size // mmap.PAGESIZE)}",) if mount.size else ()
        self.add_tmpfs_volume(mount, *permissions(mount), *owner, *size)


class StackFlags(ComposeFlags):
    """The same for a stack: Swarm drops `tmpfs:`, and keeps the size alone of a tmpfs among the volumes.

    Such a tmpfs is root's and not executable; its mode is that of the directory in the image, or 1777 where the image
    has none. Where that would keep the program out, the place is an anonymous volume, which Docker fills from the
    image with owner and mode. No service waits for another.
    """

    may_give = False

    def _add_tmpfs(self, mount: Mount) -> None:
        entry = self.entry(mount)
        if mount.executable:
            self.note("on disk: a tmpfs of Swarm can't be executable", mount.path)
            self.add_scratch(mount)
            return
        if entry is not None and ((entry.uid, entry.gid) != (0, 0) or mount.uid) and not entry.mode & 0o002:
            self.note("on disk: a tmpfs of Swarm has no owner but root", mount.path)
            self.add_scratch(mount)
            return
        if entry is None and mount.mode != 0o1777:
            self.note("root's, and writable for everybody: Swarm knows neither owner nor mode of a tmpfs", mount.path)
        if not mount.size:
            self.note("no size limit, so up to half of the host's memory", mount.path)
        if mount.inodes:
            self.note("no limit to the number of files: Swarm has none", mount.path)
        self.places.append(ServiceVolume(path=mount.path, memory=True, size=mount.size))
        self._tmpfs.add(mount.path)
