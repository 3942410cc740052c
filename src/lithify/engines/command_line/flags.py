"""A mount plan in the words of `docker run` and `podman run`: what both engines say alike.

What holds for a tmpfs at its first start need not hold after a restart in place: where the image lacks the directory,
the engine makes the mount point when it first starts the container, 0755 and root's, and a tmpfs takes the mode of its
mount point (runc). So each place is written in a form that gives the same owner and mode at every start.
"""

import re
import shlex
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from lithify.engines.base import RunCommand
from lithify.engines.command_line.runline import LineMount, MountKind, RunLine
from lithify.errors import EngineRefused
from lithify.model.image import EntryType, ImageEntry, ImageFacts
from lithify.model.mount import Mount, MountPlan, Redirect, Seed, StorageKind
from lithify.model.path import printable
from lithify.model.quantity import render_engine_size

MANY = 8
"""More directories than this are not worth a tmpfs each."""
GUARDED = ("nosuid", "nodev")
"""Options that every place gets where the engine has them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineHost:
    """What the host of an engine lets a run line do."""

    volumes: PurePosixPath
    """The directory in which the engine keeps named volumes."""
    overlay_volumes: bool = True
    """It can mount an overlay as a volume."""
    rootless: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedLine:
    """A run line with a plan in it, and the volumes that its setup makes."""

    command: RunCommand
    line: RunLine
    volumes: tuple[str, ...] = ()
    """Each after those it is made of."""


@dataclass
class PlanFlags(ABC):
    """Adds a plan to a run line; one subclass an engine."""

    line: RunLine
    image: ImageFacts
    """With an entry for each planned path that the image has."""
    host: EngineHost
    prefix: str = ""
    """Comes before the name of every volume and helper container."""
    labels: tuple[str, ...] = ()
    """`key=value`, for every volume and helper container."""
    setup: list[tuple[str, ...]] = field(default_factory=list, init=False)
    volumes: list[str] = field(default_factory=list, init=False)
    _notes: dict[str, list[PurePosixPath]] = field(default_factory=dict, init=False)
    _tmpfs: set[PurePosixPath] = field(default_factory=set, init=False)
    """Places on an empty tmpfs: below these a mount point is made anew at each start."""

    def add(self, plan: MountPlan) -> PlannedLine:
        """Return the line, read-only as planned. What it has already is kept, so that a second time changes nothing."""
        taken = {mount.path: mount for mount in self.line.mounts()}
        self.add_read_only(plan, taken.keys())
        for mount in sorted(plan.mounts, key=lambda m: (len(m.path.parts), m.path)):
            if mount.path in taken:
                self._keep(taken[mount.path])
            elif mount.type is EntryType.FILE:
                self.add_file(mount)
            elif mount.storage is StorageKind.MEMORY:
                self.add_memory(mount)
            elif mount.storage is StorageKind.SCRATCH:
                self.add_scratch(mount)
            else:
                self.add_volume(mount)
        for redirect in plan.redirects:
            self._redirect(redirect)
        self._set_arguments(plan)
        notes = tuple(f"{note}: {_listed(paths)}" if paths else note for note, paths in self._notes.items())
        command = RunCommand(command=self.line.words, setup=tuple(self.setup), notes=notes)
        return PlannedLine(command=command, line=self.line, volumes=tuple(self.volumes))

    @abstractmethod
    def add_read_only(self, plan: MountPlan, taken: Iterable[PurePosixPath]) -> None:
        """Make the root read-only, and nothing writable that is not planned."""

    @abstractmethod
    def add_memory(self, mount: Mount) -> None:
        """Add a place in memory."""

    @abstractmethod
    def add_scratch(self, mount: Mount) -> None:
        """Add a place on disk that goes with the container."""

    @abstractmethod
    def add_volume(self, mount: Mount) -> None:
        """Add a place on disk that stays."""

    @abstractmethod
    def add_file(self, mount: Mount) -> None:
        """Add a single file, with what the image has in it."""

    def say(self, *words: str) -> None:
        """Add options to the line."""
        self.line = self.line.adding(*words)

    def note(self, text: str, path: PurePosixPath | None = None) -> None:
        """Tell something that the plan asks for and the line can't give; paths with the same note share a line."""
        self._notes.setdefault(text, []).extend([path] if path else [])

    def entry(self, mount: Mount) -> ImageEntry | None:
        """What the image has at the place itself."""
        return self.image.entry(mount.path)

    def needs_owner(self, mount: Mount) -> bool:
        """Tell whether a new volume would have another owner or mode than planned: the image lacks the directory."""
        return self.entry(mount) is None and (mount.uid, mount.gid, mount.mode) != (0, 0, 0o755)

    def seeded(self, mount: Mount) -> bool:
        """Tell whether there is image content that has to come back."""
        entry = self.entry(mount)
        return mount.seed is not Seed.NONE and entry is not None and entry.entries > 0

    def keeps_mode(self, mount: Mount) -> bool:
        """Tell whether a tmpfs has the planned mode at every start without further ado."""
        if any(mount.path.is_relative_to(tmpfs) for tmpfs in self._tmpfs):
            return True
        entry = self.entry(mount)
        return mount.mode == (entry.mode if entry else 0o755)

    def skeleton(self, mount: Mount) -> list[Mount] | None:
        """The directories that must be in a place, each a place of its own; None where they are many or hold files."""
        entry, below = self.entry(mount), self.image.directories(mount.path)
        if entry is None or below is None or len(below) > MANY or (mount.seed is Seed.CONTENT and entry.files):
            return None
        return [
            Mount(
                path=path,
                storage=mount.storage,
                size=mount.size,
                inodes=mount.inodes,
                uid=entry.uid,
                gid=entry.gid,
                mode=entry.mode,
                executable=mount.executable,
            )
            for path, entry in below.items()
        ]

    def below(self, mount: Mount) -> list[tuple[PurePosixPath, ImageEntry]]:
        """What is known of the image's content of a place."""
        entries = self.image.entries.items()
        return [(path, entry) for path, entry in entries if path != mount.path and path.is_relative_to(mount.path)]

    def add_tmpfs(self, mount: Mount, *options: str) -> None:
        """Add `--tmpfs`, owner not included."""
        parts = [
            "rw",
            *permissions(mount),
            *([f"size={render_engine_size(mount.size)}"] if mount.size else []),
            *options,
            f"mode={mount.mode:04o}",
        ]
        if not mount.size:
            self.note("no size limit, so up to half of the host's memory", mount.path)
        self.say("--tmpfs", f"{mount.path}:{','.join(parts)}")
        self._tmpfs.add(mount.path)

    def volume_name(self, mount: Mount) -> str:
        """What the volume behind a place is called."""
        owner = self.line.value("name") or self.line.image.rpartition("/")[2].partition("@")[0].partition(":")[0]
        return self.prefix + (mount.name or _word(f"{owner}-{str(mount.path).strip('/')}"))

    def engine(self, *words: str) -> tuple[str, ...]:
        """A command of the engine, as the user calls it."""
        return (*self.line.base, *words)

    def make_volume(self, name: str, *options: str) -> None:
        """Have a volume made before the line is run."""
        if name not in self.volumes:
            self.setup.append(self.engine("volume", "create", *self.label_words, *options, name))
            self.volumes.append(name)

    @property
    def label_words(self) -> tuple[str, ...]:
        """Our labels as options."""
        return tuple(word for label in self.labels for word in ("--label", label))

    def shell(self, script: str) -> None:
        """Have a shell command run on the host."""
        self.setup.append(("sh", "-c", script))

    def engine_script(self, *words: str) -> str:
        """A command of the engine as part of a shell command."""
        return shlex.join(self.engine(*words))

    def helper(self, name: str, *mounts: str) -> str:
        """Have a container of the image made that is never started; return its name."""
        container = helper_name(name)
        words = (word for mount in mounts for word in ("--volume", mount))
        # The command is there for images that name none; it never runs.
        self.setup.append(
            self.engine("create", "--name", container, *self.label_words, *words, self.line.image, "true")
        )
        return container

    def end_helper(self, container: str) -> None:
        """Have that container removed, with the volumes that the image declares."""
        self.setup.append(self.engine("rm", "--force", "--volumes", container))

    def _keep(self, present: LineMount) -> None:
        if present.read_only:
            self.note("stays read-only, as the line has it, although the plan makes it writable", present.path)
        if present.kind is MountKind.TMPFS:
            self._tmpfs.add(present.path)

    def _redirect(self, redirect: Redirect) -> None:
        if redirect.variable is not None:
            self._set_variable(redirect.variable, redirect.value)
        elif redirect.argument is None and not redirect.appended:
            self._set_option("workdir", str(redirect.new))

    def _set_variable(self, name: str, value: str) -> None:
        """Set it where the line sets it already, or anew."""
        for option in self.line.options:
            for flag, text in option.flags:
                if flag == "env" and text.partition("=")[0] == name and len(option.flags) == 1:
                    if text != f"{name}={value}":
                        self.line = self.line.replacing(option, "--env", f"{name}={value}")
                    return
        self.say("--env", f"{name}={value}")

    def _set_option(self, flag: str, value: str) -> None:
        if self.line.value(flag) != value:
            self.line = self.line.without(flag).adding(f"--{flag}", value)

    def _set_arguments(self, plan: MountPlan) -> None:
        """Start the container as the plan has it."""
        present = (self.image.entrypoint, self.line.command or self.image.command)
        try:
            wanted = plan.redirected(*present)
        except ValueError as error:
            raise EngineRefused(str(error), hint="plan again for what is run now") from error
        if wanted != present:
            self._start_by(*wanted, new_entrypoint=wanted[0] != present[0])

    def _start_by(self, entrypoint: tuple[str, ...], command: tuple[str, ...], *, new_entrypoint: bool) -> None:
        if new_entrypoint:
            self._set_option("entrypoint", entrypoint[0])
            command = (*entrypoint[1:], *command)
        self.line = self.line.with_command(command)


def helper_name(volume: str) -> str:
    """What the container is called through which a volume is filled."""
    return f"{volume}.setup"


def permissions(mount: Mount) -> tuple[str, ...]:
    """The mount options that say what may be done in a place."""
    return ("exec" if mount.executable else "noexec", *GUARDED)


def _word(text: str) -> str:
    """Return `text` as a name that engines take for volumes."""
    word = re.sub(r"[^a-zA-Z0-9_.-]+", "-", text).strip("-.")
    return word if len(word) > 1 else f"lithify-{word}"


def _listed(paths: Iterable[PurePosixPath]) -> str:
    return ", ".join(printable(path) for path in sorted(set(paths)))
