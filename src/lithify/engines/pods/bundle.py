"""Premises for pods on the bundle engine: directories of ours, and a container that runs nothing for the network."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from lithify.engines import process
from lithify.engines.base import Container, Root
from lithify.engines.bundle import rootless
from lithify.engines.bundle.engine import BundleEngine
from lithify.engines.bundle.prepare import HOSTS, Extras
from lithify.engines.bundle.spec import SpecMount, bind
from lithify.engines.pause import pause_program
from lithify.engines.pods.engine import Bind, Launch, Premises, Sandboxed
from lithify.errors import EngineRefused, NothingToExamine
from lithify.model.image import ImageFacts
from lithify.model.path import printable
from lithify.model.pod import Pod
from lithify.model.run import Target, TargetKind

_PAUSE = PurePosixPath("/.lithify-pause")
_SHARED = ("network", "ipc", "uts", "user")
"""Namespaces that the containers of a pod have in common."""


@dataclass
class BundleHost:
    """The bundle engine, with what stands for each image."""

    engine: BundleEngine
    images: Mapping[str, Path]
    name: str = field(default="bundle", init=False)

    def target(self, launch: Launch) -> Target:
        """Return what runs a container."""
        image = self.image(launch.image)
        return Target(
            kind=image.kind,
            engine="bundle",
            reference=image.reference,
            entrypoint=launch.command,
            command=launch.arguments or (),
            user=launch.user,
            environment=launch.environment,
            working_directory=launch.working_directory,
            memory=launch.memory,
        )

    def image(self, reference: str) -> Target:
        """Return what stands for an image; NothingToExamine where nothing does."""
        path = self.images.get(reference) or self.images.get(reference.removesuffix(":latest"))
        if path is None:
            raise NothingToExamine(
                f"nothing stands for the image {printable(reference)}",
                hint=f"name its root filesystem, OCI layout or archive: --image {printable(reference)}=PATH",
            )
        kind = TargetKind.ARCHIVE
        if path.is_dir():
            kind = TargetKind.LAYOUT if (path / "oci-layout").is_file() else TargetKind.ROOTFS
        return Target(kind=kind, engine="bundle", reference=str(path.absolute()))

    def read_image(self, reference: str) -> ImageFacts:
        """Return an image's configuration."""
        return self.engine.read_image(self.image(reference))

    def premises(self, purpose: str, claims_of: Premises | None) -> Premises:
        """Return new premises; with `claims_of` they share the claims of others that still exist."""
        rootless.enter()
        before = claims_of if isinstance(claims_of, BundlePremises) else None
        return BundlePremises(self, purpose, before)

    def storage(self) -> Path | None:
        """Return a directory on the filesystem that holds upper layers."""
        return self.engine.storage()

    def sweep(self) -> Sequence[str]:
        """Remove what processes of ours that are gone left behind."""
        return self.engine.sweep()


class BundlePremises(Sandboxed):
    """The directories, the network and the containers of one run of a pod."""

    def __init__(self, host: BundleHost, purpose: str, before: "BundlePremises | None") -> None:
        super().__init__()
        self.claims: _Claims = before.claims if before else _Claims()
        """Directories that outlive the pod, shared with the premises before these."""
        self._host = host
        self._purpose = purpose
        self._name = f"pod-{secrets.token_hex(6)}"
        self._directory: Path | None = None
        self._pod: Pod | None = None
        self.claims.users += 1

    def directory(self, name: str, *, stays: bool = False) -> Path:
        """Return a directory of ours; for a claim one that the next premises find again."""
        if not stays:
            path = self._own() / name
            path.mkdir(mode=0o755)
            return path
        if name not in self.claims.paths:
            self.claims.paths[name] = self._host.engine.hold(f"{self._name}-claim-{name}")
        return self.claims.paths[name]

    def memory(self, name: str, size: int | None, gid: int | None) -> Path:
        """Mount a tmpfs."""
        path = self.directory(name)
        options = ["mode=0777" if gid is None else "mode=2777", *([f"gid={gid}"] if gid is not None else [])]
        options += [f"size={size}"] if size else []
        done = process.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "lithify", str(path)])
        if done.code != 0:
            raise EngineRefused(f"can't mount memory for volume {printable(name)}: {printable(done.message)}")
        return path

    def image_directory(self, reference: str) -> Path:
        """Return the root filesystem of an image."""
        return self._host.engine.root_of(self._host.image(reference))

    def open(self, pod: Pod) -> None:
        """Create a container that runs nothing and has an address."""
        self._pod = pod
        image = self._host.image(pod.containers[0].image)
        program = self._own() / ".pause"  # a runtime creates no container of a program that is not there
        program.write_bytes(pause_program())
        program.chmod(0o755)
        target = Target(
            kind=image.kind, engine="bundle", reference=image.reference, entrypoint=(str(_PAUSE),), user="0:0"
        )
        extras = Extras(binds=(bind(_PAUSE, program, "ro"),), hostname=pod.hostname, sysctls=pod.sysctls, linked=True)
        self._sandbox = self._host.engine.create(
            target, root=Root.READ_ONLY, purpose="network", idle=True, extras=extras
        )
        self._sandbox.start()

    def create(self, launch: Launch, name: str) -> Container:
        """Make a container in the pod's network."""
        assert self._sandbox is not None
        assert self._pod is not None
        pid = self._sandbox.pid()
        if pid is None:
            raise EngineRefused("what holds the pod's network has ended")
        security = launch.security
        extras = Extras(
            binds=tuple(_mounted(one) for one in launch.binds),
            joins={kind: f"/proc/{pid}/ns/{'net' if kind == 'network' else kind}" for kind in _SHARED},
            hostname=self._pod.hostname,
            hosts=self._hosts(),
            groups=launch.groups,
            added=security.added,
            dropped=security.dropped,
            privileged=security.privileged,
            no_new_privileges=security.escalation is False,
        )
        return self._host.engine.create(
            self._host.target(launch),
            root=Root.READ_ONLY if launch.read_only_root else Root.WRITABLE,
            purpose=f"{self._purpose}-{name}",
            idle=launch.idle,
            extras=extras,
        )

    def _give_back(self) -> None:
        if self._directory is not None:
            self._host.engine.let_go(self._directory)
            self._directory = None
        self.claims.users -= 1
        if self.claims.users <= 0:
            for path in self.claims.paths.values():
                self._host.engine.let_go(path)
            self.claims.paths.clear()

    def _own(self) -> Path:
        if self._directory is None:
            self._directory = self._host.engine.hold(self._name)
        return self._directory

    def _hosts(self) -> str:
        assert self._pod is not None
        own = [f"{self.address}\t{self._pod.hostname}"] if self.address else []
        aliases = [f"{address}\t{' '.join(names)}" for address, names in self._pod.hosts]
        return HOSTS + "".join(f"{line}\n" for line in (*own, *aliases))


@dataclass
class _Claims:
    """Directories behind claims, and how many premises have them."""

    paths: dict[str, Path] = field(default_factory=dict)
    users: int = 0


def _mounted(one: Bind) -> SpecMount:
    options = ["ro" if one.read_only else "rw", *([] if one.executable else ["noexec"])]
    return bind(one.path, one.source, *options)
