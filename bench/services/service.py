"""A service as its folder describes it."""

import hashlib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One folder: what its image holds, how it is started, and what has to survive."""

    folder: Path
    summary: str
    packages: tuple[str, ...] = ()
    """Debian packages in the image."""
    build_packages: tuple[str, ...] = ()
    """Debian packages that the folder's `compile` needs; they stay out of the image."""
    scratch: bool = False
    """The image holds only what `compile` left in /out: no distribution, no shell."""
    user: str = ""
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    working_directory: PurePosixPath = PurePosixPath("/")
    volumes: tuple[PurePosixPath, ...] = ()
    """What the image declares as VOLUME."""
    ports: tuple[int, ...] = ()
    stop_signal: str = "SIGTERM"
    memory: int | None = None
    """Memory limit in bytes that the container is run with."""
    marker: str = ""
    """What must survive a new container, in words; nothing where the service keeps nothing."""
    state: tuple[PurePosixPath, ...] = ()
    """Where that lies in the image."""
    code: tuple[PurePosixPath, ...] = ()
    """Directories that hold the program, where that is not /usr."""
    podman: bool = False
    """One of those that are measured on Podman as well."""
    timeout: float = 60.0
    """Seconds that the exercise or the check may take."""

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def image(self) -> str:
        """What the image is called in Docker and Podman."""
        return f"lithify-bench/{self.name}"

    @property
    def exercise(self) -> Path:
        """Host program that drives the service as its users do."""
        return self.folder / "exercise"

    @property
    def check(self) -> Path:
        """Host program that tells whether the service works and answers as it should."""
        return self.folder / "check"

    def key(self) -> str:
        """Return a hash of everything the image is made of: it changes when the image has to be built again."""
        digest = hashlib.sha256()
        of_the_image: tuple[str, ...] = (
            "packages",
            "build_packages",
            "scratch",
            "user",
            "entrypoint",
            "command",
            "environment",
        )
        of_the_image += ("working_directory", "volumes", "ports", "stop_signal")
        digest.update(repr([(name, getattr(self, name)) for name in of_the_image]).encode())
        outside = {self.folder / name for name in ("service.toml", "check", "exercise")}
        for path in sorted(set(self.folder.rglob("*")) - outside):
            if path.is_symlink():
                digest.update(f"{path.relative_to(self.folder)} -> {path.readlink()}\n".encode())
            elif path.is_file():
                executable = bool(path.stat().st_mode & 0o100)
                digest.update(f"{path.relative_to(self.folder)} {executable}\n".encode())
                digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()[:16]


def read_service(folder: Path) -> Service:
    """Return the service that `folder` describes; raises TypeError for a setting that does not exist."""
    settings = tomllib.loads((folder / "service.toml").read_text())
    for name in ("packages", "build_packages", "entrypoint", "command", "ports"):
        settings[name] = tuple(settings.get(name, ()))
    for name in ("volumes", "state", "code"):
        settings[name] = tuple(map(PurePosixPath, settings.get(name, ())))
    settings["working_directory"] = PurePosixPath(settings.get("working_directory", "/"))
    if "memory_mib" in settings:
        settings["memory"] = settings.pop("memory_mib") << 20
    return Service(folder=folder, **settings)


def read_services(only: tuple[str, ...] = ()) -> Iterator[Service]:
    """Yield the services by name, all of them unless `only` names some; raises KeyError for one that is not there."""
    folders = {path.parent.name: path.parent for path in sorted(HERE.glob("*/service.toml"))}
    for name in only or folders:
        yield read_service(folders[name])
