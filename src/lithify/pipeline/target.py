"""Takes what the user pointed at to an engine and a target."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from lithify.engines.base import Container, Engine
from lithify.errors import EngineUnreachable, NothingToExamine, UsageError
from lithify.model.path import printable
from lithify.model.run import Target, TargetKind
from lithify.settings import Settings

if TYPE_CHECKING:
    from lithify.engines.command_line.engine import CliEngine

_RUN_PROGRAMS = ("docker", "podman")
_WANTED = (
    "name a container, an image or a directory: lithify ... NAME; or give the whole line that starts the container: "
    "lithify ... -- docker run [OPTIONS] IMAGE [COMMAND]"
)
_OF_A_PATH = ("/", "./", "../", "~")
"""What no name of an image or container begins with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """What the user said about running a target of the bundle engine, which has no command line of its own."""

    user: str | None = None
    """A name, a number, `user:group`; None leaves it to the image."""
    environment: Mapping[str, str] = field(default_factory=dict)
    working_directory: str | None = None
    """A path in the container."""
    entrypoint: str | None = None
    """A program; an empty one takes the image's away."""
    memory: int | None = None
    """Limit in bytes."""
    join_networks: bool = False
    """Of any engine: let trials join the networks that a run line names."""

    @property
    def given(self) -> bool:
        """Tell whether anything was said at all."""
        return bool(
            self.user or self.environment or self.working_directory or self.entrypoint is not None or self.memory
        )


def choose(
    text: str | None, words: Sequence[str], settings: Settings, overrides: Overrides | None = None
) -> tuple[Engine, Target]:
    """Return the engine and target for `text`, or for a run line in `words` (what stood after `--`).

    A directory or file on this host goes to the bundle engine; `docker:NAME` and `podman:NAME`, or a setting, name the
    engine of an image or container; else Docker is asked, then Podman. UsageError, NothingToExamine or
    EngineUnreachable where there is no such thing.
    """
    overrides = overrides or Overrides()
    line_engine = _engine_of_line(words)
    if line_engine is not None:
        if text is not None:
            raise UsageError(f"both a target ({printable(text)}) and a run line after --", hint="give one or the other")
        target = Target(
            kind=TargetKind.LINE,
            engine=line_engine,
            reference=" ".join(words),
            line=tuple(words),
            join_networks=overrides.join_networks,
        )
        return make_engine(line_engine, settings), target
    if text is None:
        raise UsageError(_no_target(words), hint=_WANTED)
    kind = _kind_of_path(text)
    if kind is not None and settings.engine in (None, "bundle"):
        return make_engine("bundle", settings), _bundle_target(kind, text, words, overrides)
    if kind is None and text.startswith(_OF_A_PATH):
        raise NothingToExamine(f"no directory or file {printable(text)}", hint="is the path right?")
    if overrides.given or words:
        raise UsageError(
            "--user, --env, --workdir, --entrypoint, --memory and a command are for root filesystems and image files",
            hint="for an image, give the whole line: lithify ... -- docker run [OPTIONS] IMAGE [COMMAND]",
        )
    engine, target = _engine_target(text, settings)
    return engine, replace(target, join_networks=overrides.join_networks)


def choose_running(text: str | None, settings: Settings) -> tuple[Engine | None, Container, Target]:
    """Return a container that already exists: by its name in Docker or Podman, a pid of it, or its control group.

    `pod:UID/NAME` and `node:NAME` are containers of this node, whatever runs them, as is a name that neither of the two
    engines has; of these only a process is known, and no engine is returned. NothingToExamine where there is none.
    """
    if text is None:
        raise UsageError("nothing to attach to", hint="name a container, the pid of a process in it, or its cgroup")
    if (known := choose_in_pod(text) or _choose_on_node(text)) is not None:
        return None, *known
    prefix, _, rest = text.partition(":")
    anywhere, of_processes = False, text.isdigit() or text.startswith("/")
    if prefix in _RUN_PROGRAMS and rest:
        names, text = [prefix], rest
    elif settings.engine:
        names = [settings.engine]
    elif of_processes:
        names = ["bundle"]
    else:
        names, anywhere = list(_RUN_PROGRAMS), os.geteuid() == 0
    trouble: dict[str, EngineUnreachable] = {}
    for name in names:
        try:
            engine = make_engine(name, settings)
            container = engine.attach(text)
        except EngineUnreachable as error:
            trouble[name] = error
            continue
        if container is not None:
            return engine, container, Target(kind=TargetKind.CONTAINER, engine=name, reference=text)
    if anywhere and (known := _running_here(text)) is not None:
        return None, *known
    _insist_on_answer(names, trouble)
    if of_processes and names == ["bundle"]:
        raise NothingToExamine(
            f"no process or control group {printable(text)} on this host",
            hint="name a container, the pid of a process in it, or its control group",
        )
    here = "on this host and " if anywhere else ""
    raise NothingToExamine(f"no container {printable(text)}", hint=f"looked {here}in {_looked_in(names, trouble)}")


def _choose_on_node(text: str) -> tuple[Container, Target] | None:
    """Return the container that `node:NAME` is on this node, whatever runs it; None for other text.

    NothingToExamine where none is called so, NotPermitted where others' processes can't be looked into.
    """
    prefix, _, name = text.partition(":")
    if prefix != "node" or not name:
        return None
    found = _running_here(name)
    if found is None:
        raise NothingToExamine(
            f"no container {printable(name)} runs on this node", hint="`lithify audit --node` names those that do"
        )
    return found


def _running_here(name: str) -> tuple[Container, Target] | None:
    """Return the container of this node that is called `name`."""
    from lithify.engines.node.containers import find_container
    from lithify.engines.node.kubelet import PodContainer

    found = find_container(name)
    if found is None:
        return None
    return PodContainer(found.pid, name), Target(kind=TargetKind.POD, engine=found.runtime, reference=name)


def choose_in_pod(text: str) -> tuple[Container, Target] | None:
    """Return the container that `pod:UID/NAME` is on this node, whatever runtime its kubelet has; None for other text.

    NothingToExamine where it does not run here.
    """
    prefix, _, rest = text.partition(":")
    uid, _, name = rest.partition("/")
    if prefix != "pod" or not re.fullmatch(r"[0-9A-Za-z-]+", uid) or not re.fullmatch(r"[0-9a-z-]+", name):
        return None
    from lithify.engines.node.kubelet import PodContainer, ProcessFinder

    process = ProcessFinder(name).first_process(uid)
    if process is None:
        raise NothingToExamine(
            f"no container {name} of a pod {uid} runs on this host", hint="is it this node's? run lithify as root"
        )
    return PodContainer(process[0], rest), Target(kind=TargetKind.POD, engine="kubelet", reference=rest)


def make_engine(name: str, settings: Settings) -> Engine:
    """Return the engine of that name; raises EngineUnreachable where it is not there."""
    if name in _RUN_PROGRAMS:
        return make_cli_engine(name)
    from lithify.engines.bundle.engine import BundleEngine

    return BundleEngine(runtime=settings.runtime, state=settings.state)


def make_cli_engine(name: str) -> "CliEngine":
    """Return Docker or Podman by name."""
    if name == "docker":
        from lithify.engines.command_line.docker import DockerEngine

        return DockerEngine()
    from lithify.engines.command_line.podman import PodmanEngine

    return PodmanEngine()


def _engine_of_line(words: Sequence[str]) -> str | None:
    """Return which engine a run line is for; None for a mere command."""
    for index, word in enumerate(words[:6]):
        name = word.rpartition("/")[2]
        if name in _RUN_PROGRAMS and "run" in words[index + 1 :]:
            return name
        if name not in ("sudo", "env") and not word.startswith("-") and "=" not in word:
            return None
    return None


def _no_target(words: Sequence[str]) -> str:
    """Say what is wrong where nothing stands before `--`, and no run line after it."""
    if not words:
        return "nothing to work on"
    told = printable(" ".join(words[:2]))
    if words[0].rpartition("/")[2] in _RUN_PROGRAMS:
        return f"{told}: not a line that starts a container"
    return f"{told}: a command, and nothing before -- to run it in"


def _kind_of_path(text: str) -> TargetKind | None:
    path = Path(text)
    if path.is_dir():
        return TargetKind.LAYOUT if (path / "oci-layout").is_file() else TargetKind.ROOTFS
    return TargetKind.ARCHIVE if path.is_file() else None


def _bundle_target(kind: TargetKind, text: str, words: Sequence[str], overrides: Overrides) -> Target:
    workdir = overrides.working_directory
    return Target(
        kind=kind,
        engine="bundle",
        reference=str(Path(text).absolute()),
        command=tuple(words),
        entrypoint=None if overrides.entrypoint is None else tuple(filter(None, [overrides.entrypoint])),
        user=overrides.user,
        environment=overrides.environment,
        working_directory=PurePosixPath(workdir) if workdir else None,
        memory=overrides.memory,
    )


def _engine_target(text: str, settings: Settings) -> tuple[Engine, Target]:
    prefix, _, rest = text.partition(":")
    if prefix in _RUN_PROGRAMS and rest:
        names, text = [prefix], rest
    elif settings.engine == "bundle":
        raise NothingToExamine(f"no directory or file {printable(text)}", hint="is the path right?")
    else:
        names = [settings.engine] if settings.engine else list(_RUN_PROGRAMS)
    trouble: dict[str, EngineUnreachable] = {}
    for name in names:
        try:
            engine = make_engine(name, settings)
            kind = _kind_in_engine(engine, name, text)
        except EngineUnreachable as error:
            trouble[name] = error
            continue
        if kind is not None:
            return engine, Target(kind=kind, engine=name, reference=text)
    _insist_on_answer(names, trouble)
    raise NothingToExamine(
        f"no directory, file, container or image {printable(text)}",
        hint=f"looked on this host and in {_looked_in(names, trouble)}; is it pulled, and is the name right?",
    )


def _insist_on_answer(names: Sequence[str], trouble: Mapping[str, EngineUnreachable]) -> None:
    """Raise what the first engine said where none of them could be asked."""
    if len(trouble) == len(names):
        raise trouble[names[0]]


def _looked_in(names: Sequence[str], trouble: Mapping[str, EngineUnreachable]) -> str:
    """Say which engines were asked, and of the others why not."""
    asked = " and ".join(name for name in names if name not in trouble)
    return "; ".join([asked, *(f"not in {name}: {error}" for name, error in trouble.items())])


def _kind_in_engine(engine: Engine, name: str, text: str) -> TargetKind | None:
    """Return whether `text` is a container or an image there; a container's name wins."""
    if engine.attach(text) is not None:
        return TargetKind.CONTAINER
    try:
        engine.read_image(Target(kind=TargetKind.IMAGE, engine=name, reference=text))
    except NothingToExamine:
        return None
    return TargetKind.IMAGE
