"""Merges flags, LITHIFY_* variables and the configuration file into one frozen Settings."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from lithify.errors import UsageError
from lithify.model.text import COLORS, THRESHOLDS

ENGINES = ("bundle", "docker", "podman")
RUNTIMES = ("runc", "crun")


def default_state() -> Path:
    """Return where the bundle engine keeps what it makes: root's place, or one of an ordinary user's own."""
    if os.geteuid() == 0:
        return Path("/var/lib/lithify")
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "lithify"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What holds for a whole call. Flags beat variables beat the file beat these defaults."""

    state: Path = field(default_factory=default_state)
    """Where the bundle engine keeps layers and containers; must be able to hold an overlay's upper layer."""
    engine: str | None = None
    """Which engine runs targets; None chooses by the target."""
    runtime: str | None = None
    """The bundle engine's OCI runtime; None takes the first that is installed."""
    jobs: int = 0
    """Containers that may run at once; 0 means one per core."""
    node_image: str | None = None
    """An image that holds lithify, for pods on nodes of a cluster that can't be read from here."""
    fail_on: str = "high"
    """The severity of a finding from which an audit ends with 1."""
    skip_rule: tuple[str, ...] = ()
    """Rules that an audit does not ask."""
    baseline: str | None = None
    """A file of findings that an audit exempts."""
    color: str = "auto"
    debug: bool = False

    @property
    def parallel(self) -> int:
        """Containers that may run at once."""
        return self.jobs or os.cpu_count() or 1


_WANTED = "write the settings below a line [lithify], as: jobs = 2"


def read_settings(
    flags: Mapping[str, object], environment: Mapping[str, str] = os.environ, file: Path | None = None
) -> Settings:
    """Return the settings that hold; `flags` that are None were not given.

    The file is `file`, or LITHIFY_CONFIG, or `lithify.toml` in the working directory where there is one; it holds a
    table `[lithify]`. UsageError names the source of a value that can't be.
    """
    values: dict[str, object] = {}
    path = file or (Path(environment["LITHIFY_CONFIG"]) if environment.get("LITHIFY_CONFIG") else None)
    values.update(_read_file(path) if path else _read_file(Path("lithify.toml"), optional=True))
    for setting in fields(Settings):
        name = f"LITHIFY_{setting.name.upper()}"
        if environment.get(name):
            values[setting.name] = _checked(setting.name, environment[name], name)
    values.update(
        (name, _checked(name, value, f"--{name}"))
        for name, value in flags.items()
        if value is not None and name in {setting.name for setting in fields(Settings)}
    )
    return Settings(**values)  # type: ignore[arg-type]


def _read_file(path: Path, *, optional: bool = False) -> dict[str, object]:
    try:
        data = path.read_bytes()
    except OSError as error:
        if optional and isinstance(error, FileNotFoundError):
            return {}
        raise UsageError(f"{path}: {error.strerror}", hint="name another with --config") from error
    import tomllib

    try:
        document = tomllib.loads(data.decode())
    except (ValueError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not TOML: {error}", hint=_WANTED) from error
    table = document.get("lithify", {})
    others = [key for key in document if key != "lithify"]
    if others or not isinstance(table, dict):
        raise UsageError(f"{path}: {others[0] if others else 'lithify'!r} is not the table of settings", hint=_WANTED)
    known = {setting.name for setting in fields(Settings)}
    for key in table:
        if key not in known:
            raise UsageError(f"{path}: unknown setting {key!r}", hint=f"known are {', '.join(sorted(known))}")
    return {key: _checked(key, value, f"{path}: {key}") for key, value in table.items()}


def _checked(name: str, value: object, source: str) -> object:
    """Return `value` as the type of setting `name`; UsageError where it is none of its values."""
    choices = {"engine": ENGINES, "color": COLORS, "runtime": RUNTIMES, "fail_on": THRESHOLDS}.get(name)
    if choices:
        if value not in choices:
            raise UsageError(f"{source}: {value!r} is not one of {', '.join(choices)}", hint="choose one of these")
        return value
    if name == "state":
        return Path(str(value))
    if name in ("node_image", "baseline"):
        return str(value)
    if name == "skip_rule":
        listed = value if isinstance(value, list) else str(value).split(",")
        return tuple(filter(None, (str(one).strip() for one in listed)))
    if name == "debug":
        if str(value).lower() not in ("0", "1", "true", "false"):
            raise UsageError(f"{source}: {value!r} is neither true nor false", hint="write true or false")
        return str(value).lower() in ("1", "true")
    try:
        number = int(str(value))
    except ValueError:
        number = -1
    if number < 0:
        raise UsageError(f"{source}: {value!r} is not a whole number from 0 up", hint="0 means one per core")
    return number
