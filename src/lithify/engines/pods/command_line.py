"""Premises for pods on Docker and Podman: a container that does nothing holds the network, volumes hold the rest."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lithify.engines.base import Container
from lithify.engines.command_line.client import Client
from lithify.engines.command_line.container_line import line_of_image
from lithify.engines.command_line.engine import CliEngine
from lithify.engines.command_line.runline import RunLine, mount_value
from lithify.engines.ownership import RUN, labels, new_run
from lithify.engines.pause import pause_program
from lithify.engines.pods.engine import Launch, Premises, Sandboxed
from lithify.errors import EngineRefused, NotPermitted
from lithify.model.image import ImageFacts
from lithify.model.path import printable
from lithify.model.pod import Pod
from lithify.model.run import Target, TargetKind

_PAUSE = "/.lithify-pause"


@dataclass
class CliHost:
    """Docker or Podman on this host, as root."""

    engine: CliEngine
    _images: dict[str, ImageFacts] = field(default_factory=dict, init=False)

    @property
    def name(self) -> str:
        """`docker` or `podman`."""
        return self.engine.name

    def read_image(self, reference: str) -> ImageFacts:
        """Return an image's configuration; NothingToExamine where the engine does not have it."""
        if reference not in self._images:
            target = Target(kind=TargetKind.IMAGE, engine=self.name, reference=reference)
            self._images[reference] = self.engine.read_image(target)
        return self._images[reference]

    def premises(self, purpose: str, claims_of: Premises | None) -> Premises:
        """Return new premises; with `claims_of` they share the claims of others that still exist."""
        self.engine.insist_on_addresses()
        if os.geteuid() != 0:
            raise NotPermitted(
                "a pod's volumes are filled in the engine's own directory, which takes root",
                hint="run lithify with sudo",
            )
        before = claims_of if isinstance(claims_of, CliPremises) else None
        return CliPremises(self, new_run(), purpose, before)

    def storage(self) -> Path | None:
        """Return a directory on the filesystem that holds upper layers."""
        return self.engine.storage()

    def sweep(self) -> Sequence[str]:
        """Remove what lithify processes that are gone left in this engine."""
        return self.engine.sweep()


class CliPremises(Sandboxed):
    """The volumes, the network and the containers of one run of a pod."""

    def __init__(self, host: CliHost, run: str, purpose: str, before: "CliPremises | None") -> None:
        super().__init__()
        self.claims: dict[str, str] = dict(before.claims) if before else {}
        """The engine's volume behind each claim."""
        self._engine = host.engine
        self._host = host
        self._run = run
        self._purpose = purpose
        self._held: list[str] = []
        """Volumes that go with these premises, or with the last that have them."""
        self._common: tuple[str, Path] | None = None
        self._memory: dict[str, Path] = {}
        for volume in self.claims.values():
            self._hold(volume)

    @property
    def _client(self) -> Client:
        return self._engine.client

    def directory(self, name: str, *, stays: bool = False) -> Path:
        """Return a directory in a volume of ours: all of the pod's share one, a claim has its own."""
        if not stays:
            path = self._shared() / name
            path.mkdir(mode=0o755)
            return path
        if name not in self.claims:
            self.claims[name] = self._make_volume(f"claim-{name}")
        return self._place(self.claims[name])

    def memory(self, name: str, size: int | None, gid: int | None) -> Path:
        """Have a volume that is a tmpfs as long as something uses it: the container that holds the network does."""
        mode = "0777" if gid is None else "2777"
        options = [f"mode={mode}", *([f"gid={gid}"] if gid is not None else [])]
        # Podman takes `size=` for a project quota
        options += [f"nr_blocks={-(-size // 4096)}"] if size else []
        words = ("--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", f"o={','.join(options)}")
        volume = self._make_volume(f"memory-{name}", *words)
        self._memory[volume] = self._place(volume)
        return self._place(volume)

    def image_directory(self, reference: str) -> Path:
        """Return a directory with an image's root filesystem: its layers, joined by a volume that can't be written."""
        known = self._client.inspect("image", reference)
        if known is None:
            raise EngineRefused(
                f"no {self._engine.name} image {printable(reference)}",
                hint=f"get it first: {self._engine.name} pull {reference}",
            )
        layers = _layers(known)
        if not layers:
            raise EngineRefused(
                f"the layers of {printable(reference)} can't be mounted by {self._engine.name} as it stores images",
                hint="run the pod on the bundle engine: --engine bundle --image NAME=PATH",
            )
        if len(layers) == 1:
            return layers[0]
        options = f"lowerdir={':'.join(map(str, layers))}"
        words = ("--opt", "type=overlay", "--opt", "device=overlay", "--opt", f"o={options}")
        volume = self._make_volume(f"image-{len(self._held)}", *words)
        self._memory[volume] = self._place(volume)
        return self._place(volume)

    def open(self, pod: Pod) -> None:
        """Start the container that holds the network, and with it every volume that is there only while it is used."""
        pause = self._shared() / ".pause"
        pause.write_bytes(pause_program())
        pause.chmod(0o755)
        line = self._line(
            pod.containers[0].image,
            f"--entrypoint={_PAUSE}",
            "--user=0:0",
            "--cap-drop=ALL",
            "--ipc=shareable",
            f"--hostname={pod.hostname}",
            *(f"--add-host={name}:{address}" for address, names in pod.hosts for name in names),
            *(f"--sysctl={name}={value}" for name, value in pod.sysctls.items()),
            "--mount",
            mount_value("type=bind", f"src={pause}", f"dst={_PAUSE}", "readonly"),
            *(
                word
                for volume in self._memory
                for word in ("--mount", mount_value("type=volume", f"src={volume}", f"dst=/.lithify/{volume}"))
            ),
        )
        self._sandbox = self._engine.create_as_it_stands(line, f"lithify-{self._run}-network", self._run)
        self._sandbox.start()

    def create(self, launch: Launch, name: str) -> Container:
        """Make a container in the pod's network."""
        assert self._sandbox is not None
        words = [
            f"--network=container:{self._sandbox.name}",
            f"--ipc=container:{self._sandbox.name}",
            # Docker takes the host's name along with its network, Podman does not
            *([f"--uts=container:{self._sandbox.name}"] if self._engine.name == "podman" else []),
            *self._words(launch),
        ]
        line = self._line(launch.image, *words)
        command = launch.arguments or ()
        if launch.idle:
            pause = self._shared() / ".pause"
            line = line.adding("--mount", mount_value("type=bind", f"src={pause}", f"dst={_PAUSE}", "readonly")).adding(
                f"--entrypoint={_PAUSE}"
            )
            command = ()
        elif launch.command is not None:
            line = line.adding(f"--entrypoint={launch.command[0]}")
            command = (*launch.command[1:], *command)
        if command:
            line = line.with_command(command)
        full = f"lithify-{self._run}-{self._purpose}-{name}"
        return self._engine.create_as_it_stands(line, full, self._run)

    def _give_back(self) -> None:
        self._engine.release(self._held)
        self._held = []

    def _words(self, launch: Launch) -> list[str]:
        security = launch.security
        words = [f"--env={name}={value}" for name, value in launch.environment.items()]
        words += [f"--user={launch.user}"] if launch.user is not None else []
        words += [f"--group-add={group}" for group in launch.groups]
        words += [f"--workdir={launch.working_directory}"] if launch.working_directory else []
        words += [f"--memory={launch.memory}"] if launch.memory else []
        words += ["--privileged"] if security.privileged else []
        words += [f"--cap-drop={name}" for name in security.dropped]
        words += [f"--cap-add={name}" for name in security.added]
        words += ["--security-opt=no-new-privileges"] if security.escalation is False else []
        words += ["--security-opt=seccomp=unconfined"] if security.seccomp == "Unconfined" else []
        words += self._root_words(read_only=launch.read_only_root)
        for bind in launch.binds:
            flags = ["readonly"] if bind.read_only else []
            words += ["--mount", mount_value("type=bind", f"src={bind.source}", f"dst={bind.path}", *flags)]
            if not bind.executable:
                self._note("what the manifest mounts noexec could be run from: the engine has no such bind")
        return words

    def _root_words(self, *, read_only: bool) -> list[str]:
        if not read_only:
            return ["--read-only=false"]
        return ["--read-only", *(["--read-only-tmpfs=false"] if self._engine.name == "podman" else [])]

    def _line(self, image: str, *words: str) -> RunLine:
        return line_of_image(self._engine.name, image, *words)

    def _shared(self) -> Path:
        if self._common is None:
            made = self._make_volume("pod")
            self._common = made, self._place(made)
        volume, path = self._common
        self._insist_on(volume, path)
        return path

    def _place(self, volume: str) -> Path:
        """Return where a volume lies on the host; EngineRefused where it does not."""
        known = self._client.inspect("volume", volume) or {}
        path = Path(str(known.get("Mountpoint") or ""))
        self._insist_on(volume, path)
        return path

    def _insist_on(self, volume: str, path: Path) -> None:
        """Raise EngineRefused where a volume of ours is gone, which only somebody else can have done."""
        if not path.is_absolute() or not path.is_dir():
            raise EngineRefused(
                f"the {self._engine.name} volume {volume}, made for this run, is gone: something else has removed it",
                hint=f"try again with nobody removing unused volumes ({self._engine.name} volume prune) meanwhile; "
                f"`--filter label!={RUN}` leaves those of lithify alone",
            )

    def _make_volume(self, name: str, *options: str) -> str:
        volume = f"lithify-{self._run}-{name}"
        marks = (word for label in labels(self._run) for word in ("--label", label))
        self._hold(volume)
        self._client.make("volume", "create", *marks, *options, volume)
        return volume

    def _hold(self, volume: str) -> None:
        self._held.append(volume)
        self._engine.hold([volume])

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes = (*self.notes, text)


def _layers(known: Mapping[str, Any]) -> list[Path]:
    """Return the layers of an image as host directories, top-most first; none where they are not that."""
    data = (known.get("GraphDriver") or {}).get("Data") or {}
    texts = [str(data.get("UpperDir") or ""), *str(data.get("LowerDir") or "").split(":")]
    # not by their short links: an option has room for 4095 bytes, and no path of ours in it
    found = [Path(os.path.realpath(text)) for text in texts if text]
    return found if all(path.is_dir() for path in found) else []
