"""A plan put into a run line, and what that changes about it: what scripts and Quadlet units have in common."""

import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from lithify.engines.base import RunCommand
from lithify.engines.command_line.docker_flags import DockerFlags
from lithify.engines.command_line.flags import EngineHost
from lithify.engines.command_line.podman_flags import PodmanFlags
from lithify.engines.command_line.runline import MountKind, Option, RunLine, parse_run_line
from lithify.model.image import EntryType, ImageEntry, ImageFacts
from lithify.model.mount import MountPlan, Seed
from lithify.model.patch import Planned

VOLUMES = {"docker": "/var/lib/docker/volumes", "podman": "/var/lib/containers/storage/volumes"}
"""Where each engine keeps named volumes when root runs it and nobody moved them."""

_EVERYWHERE = {PurePosixPath("/tmp"), PurePosixPath("/var/tmp")}  # noqa: S108 - what images have, not where we write
"""Directories that every image has, and with mode 1777."""
_MAKES = re.compile(r"volume create( .*)? (?P<name>\S+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class LineOptions:
    """What a patch of a run line may rely on."""

    host: EngineHost | None = None
    """The host that runs it; None for one as it is installed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineChange:
    """How a line has to change."""

    after: RunLine
    added: tuple[Option, ...]
    removed: tuple[int, ...]
    """Indexes of the options that go."""
    setup: tuple[tuple[str, ...], ...]
    """Commands that have to succeed before the line does; none where the engine makes all its volumes by itself."""
    volumes: tuple[str, ...]
    """Those that the setup makes."""
    notes: tuple[str, ...]

    @property
    def nothing(self) -> bool:
        """Tell whether the line is as planned already."""
        return not (self.added or self.removed)


def change_line(line: RunLine, planned: Planned, options: LineOptions) -> LineChange:
    """Return how `line` has to change for a plan; EngineRefused where its engine can't be told."""
    command = plan_line(line, planned, options.host)
    after = parse_run_line(command.command)
    new, old = Counter(o.words for o in after.options), Counter(o.words for o in line.options)
    setup = () if all(map(_makes_itself, command.setup)) else command.setup
    return LineChange(
        after=after,
        added=tuple(_surplus(after.options, new - old)),
        removed=tuple(_surplus_indexes(line.options, old - new)),
        setup=setup,
        volumes=tuple(dict.fromkeys(name for words in setup if (name := _made(words)))),
        notes=command.notes,
    )


def named_volumes(line: RunLine, change: LineChange) -> list[str]:
    """Return the volumes that are mounted by name where the line mounted nothing."""
    known = {mount.path for mount in line.mounts()}
    added = (mount for mount in change.after.mounts() if mount.kind is MountKind.VOLUME and mount.path not in known)
    return [mount.source for mount in added if mount.source]


def plan_line(line: RunLine, planned: Planned, host: EngineHost | None = None) -> RunCommand:
    """Return the line with a plan in it, by what is known of its image, else by what the plan says of it."""
    facts = planned.image or assumed_image(line.image, planned.plan)
    host = host or EngineHost(volumes=PurePosixPath(VOLUMES[line.engine]), overlay_volumes=False)
    flags = DockerFlags if line.engine == "docker" else PodmanFlags
    return flags(line=line, image=facts, host=host).add(planned.plan).command


def assumed_image(reference: str, plan: MountPlan) -> ImageFacts:
    """Return what a plan lets one believe of an image that was not looked into.

    Each place whose content has to come back is taken for one that no tmpfs can hold, each other one for a directory
    that the image lacks: both get the form that is right whatever the image has.
    """
    seeded = [mount for mount in plan.mounts if mount.seed is not Seed.NONE]
    entries = {
        mount.path: ImageEntry(
            type=mount.type if mount.type is EntryType.FILE else EntryType.DIRECTORY,
            mode=mount.mode,
            uid=mount.uid,
            gid=mount.gid,
            entries=2,
            directories=1,
        )
        for mount in seeded
    }
    for path in _EVERYWHERE & {mount.path for mount in plan.mounts if mount.mode == 0o1777}:
        entries.setdefault(path, ImageEntry(type=EntryType.DIRECTORY, mode=0o1777, uid=0, gid=0))
    return ImageFacts(reference=reference, has_shell=True, entries=entries)


def without_redirects_of_the_image(planned: Planned) -> Planned:
    """Return what is planned without arguments that stand in an image nobody looked into."""
    if planned.image is not None:
        return planned
    kept = tuple(r for r in planned.plan.redirects if r.argument is None and not r.appended)
    return replace(planned, plan=replace(planned.plan, redirects=kept))


def setup_script(change: LineChange) -> tuple[str, tuple[str, ...]]:
    """Return a setup as shell text: the test that its volumes are there, and the steps where they are not."""
    base = shlex.join(change.after.base)
    known = "exists" if change.after.engine == "podman" else "inspect"
    names = [change.volumes] if known == "inspect" else [(name,) for name in change.volumes]
    test = " && ".join(f"{base} volume {known} {shlex.join(name)}" for name in names if name)
    return test, tuple(_step(words) for words in change.setup)


def _surplus(options: Sequence[Option], surplus: Counter[tuple[str, ...]]) -> list[Option]:
    return [options[index] for index in _surplus_indexes(options, surplus)]


def _surplus_indexes(options: Sequence[Option], surplus: Counter[tuple[str, ...]]) -> list[int]:
    """Return the last ones of each that there are too many of: the first stay."""
    left, found = Counter(surplus), []
    for index in reversed(range(len(options))):
        if left[options[index].words] > 0:
            left[options[index].words] -= 1
            found.append(index)
    return found[::-1]


def _made(words: Sequence[str]) -> str:
    """Return the volume that a command of a setup makes; nothing for other commands."""
    text = words[2] if tuple(words[:2]) == ("sh", "-c") else shlex.join(words)
    match = _MAKES.search(text)
    return match["name"] if match else ""


def _makes_itself(words: Sequence[str]) -> bool:
    """Tell whether a command makes a volume as the engine would when it first meets its name."""
    text = words[2].rpartition(" || ")[2] if tuple(words[:2]) == ("sh", "-c") else shlex.join(words)
    return re.search(r"volume create \S+\Z", text) is not None


def _step(words: Sequence[str]) -> str:
    if tuple(words[:2]) != ("sh", "-c"):
        return shlex.join(words)
    return f"{{ {words[2]}; }}" if " || " in words[2] else words[2]
