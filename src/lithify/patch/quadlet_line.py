"""The `podman run` line that a Quadlet unit comes to, as Quadlet's generator writes it.

What belongs to systemd is left out (`--replace`, `--rm`, `--cgroups=split`, `--sdnotify`): a run of ours has no service
manager around it. Specifiers are what they are for the system's manager.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from lithify.documents.unit import Unit, parse_unit, split_words
from lithify.engines.command_line.runline import RunLine, parse_run_line
from lithify.errors import UsageError
from lithify.model.path import printable

SECTION = "Container"

_ONE = {
    "Timezone": "tz", "PidsLimit": "pids-limit", "ShmSize": "shm-size", "Entrypoint": "entrypoint",
    "WorkingDir": "workdir", "IP": "ip", "IP6": "ip6", "HostName": "hostname", "StopSignal": "stop-signal",
    "StopTimeout": "stop-timeout", "Pull": "pull", "Memory": "memory", "LogDriver": "log-driver", "UserNS": "userns",
    "CgroupsMode": "cgroups",
    "HealthCmd": "health-cmd", "HealthInterval": "health-interval", "HealthOnFailure": "health-on-failure",
    "HealthRetries": "health-retries", "HealthStartPeriod": "health-start-period", "HealthTimeout": "health-timeout",
    "HealthStartupCmd": "health-startup-cmd", "HealthStartupInterval": "health-startup-interval",
    "HealthStartupRetries": "health-startup-retries", "HealthStartupSuccess": "health-startup-success",
    "HealthStartupTimeout": "health-startup-timeout",
}  # fmt: skip
_LINES = {
    "NetworkAlias": "network-alias", "Ulimit": "ulimit", "DNS": "dns", "DNSOption": "dns-option",
    "DNSSearch": "dns-search", "GroupAdd": "group-add", "AddHost": "add-host", "Tmpfs": "tmpfs", "LogOpt": "log-opt",
    "ExposeHostPort": "expose", "PublishPort": "publish", "UIDMap": "uidmap", "GIDMap": "gidmap",
}  # fmt: skip
_WORDS = {
    "AddDevice": "device", "DropCapability": "cap-drop", "AddCapability": "cap-add", "Sysctl": "sysctl",
    "Environment": "env", "Label": "label", "Annotation": "annotation", "Secret": "secret",
}  # fmt: skip
_SECURITY = {
    "SecurityLabelType": "label=type:", "SecurityLabelFileType": "label=filetype:",
    "SecurityLabelLevel": "label=level:", "SeccompProfile": "seccomp=",
}  # fmt: skip
_SWITCHES = {
    "RunInit": "init", "EnvironmentHost": "env-host", "ReadOnlyTmpfs": "read-only-tmpfs", "ReadOnly": "read-only"
}  # fmt: skip
_SPECIFIER = re.compile(r"%(.)", re.DOTALL)


def line_of_unit(unit: Unit, path: str) -> RunLine:
    """Return the line of the unit that stands at `path`, its drop-ins applied; UsageError where only systemd knows."""
    unit = _with_drop_ins(unit, path)
    if unit.malformed:
        line = unit.lines[unit.malformed[0]].strip()
        raise UsageError(
            f"{printable(path)}:{unit.malformed[0] + 1}: {printable(line)} is neither a section nor Key=value",
            hint="Quadlet refuses the whole unit for it",
        )
    try:
        words = list(_words(unit, path))
    except ValueError as error:
        raise UsageError(f"{printable(path)}: {error}", hint="see the unit's quotes") from error
    return parse_run_line([*words])


def _with_drop_ins(unit: Unit, path: str) -> Unit:
    """Return a unit as it counts: what `PATH.d/*.conf` say comes after it."""
    try:
        names = sorted(name for name in os.listdir(f"{path}.d") if name.endswith(".conf"))
    except OSError:
        return unit
    merged = replace(unit, entries=list(unit.entries), malformed=list(unit.malformed))
    for name in names:
        other = _beside(f"{path}.d", name)
        merged.entries += other.entries if other else []
    return merged


def _words(unit: Unit, path: str) -> Iterator[str]:
    expand = _expander(path)
    folder = os.path.dirname(path)
    yield "podman"
    yield from map(expand, unit.words(SECTION, "GlobalArgs"))
    yield from ("run", "--detach")
    yield f"--name={expand(container_name(unit, path))}"
    for key, flag in _ONE.items():
        if value := unit.value(SECTION, key):
            yield f"--{flag}={expand(value)}"
    for key, flag in _LINES.items():
        yield from (f"--{flag}={expand(entry.value)}" for entry in unit.all(SECTION, key))
    for key, flag in _WORDS.items():
        yield from (f"--{flag}={expand(word)}" for word in unit.words(SECTION, key))
    for key, flag in _SWITCHES.items():
        if (on := unit.boolean(SECTION, key)) is not None:
            yield f"--{flag}={'true' if on else 'false'}"
    yield from _security(unit, expand)
    yield from _storage(unit, folder, expand)
    if user := unit.value(SECTION, "User"):
        group = unit.value(SECTION, "Group")
        yield f"--user={expand(user)}{':' + expand(group) if group else ''}"
    for word in unit.words(SECTION, "EnvironmentFile"):
        yield f"--env-file={_absolute(expand(word), folder)}"
    for entry in unit.all(SECTION, "Network"):
        name, colon, options = expand(entry.value).partition(":")
        yield f"--network={_named(name, folder, 'network')}{colon}{options}"
    if pod := unit.value(SECTION, "Pod"):
        yield f"--pod={_named(expand(pod), folder, 'pod')}"
    yield from map(expand, unit.words(SECTION, "PodmanArgs"))
    yield _image(unit, folder, expand)
    command = unit.last(SECTION, "Exec")
    yield from map(expand, split_words(command.value) if command else [])


def container_name(unit: Unit, path: str) -> str:
    """Return what Quadlet calls the container, specifiers not expanded."""
    template = "@" in os.path.basename(path)
    return unit.value(SECTION, "ContainerName") or ("systemd-%p_%i" if template else "systemd-%N")


def _security(unit: Unit, expand: Callable[[str], str]) -> Iterator[str]:
    if unit.boolean(SECTION, "NoNewPrivileges"):
        yield "--security-opt=no-new-privileges"
    if unit.boolean(SECTION, "SecurityLabelDisable"):
        yield "--security-opt=label=disable"
    for key, prefix in _SECURITY.items():
        if value := unit.value(SECTION, key):
            yield f"--security-opt={prefix}{expand(value)}"
    for key in ("Mask", "Unmask"):
        yield from (f"--security-opt={key.lower()}={expand(word)}" for word in unit.words(SECTION, key))


def _storage(unit: Unit, folder: str, expand: Callable[[str], str]) -> Iterator[str]:
    if unit.boolean(SECTION, "VolatileTmp") and not unit.boolean(SECTION, "ReadOnly"):
        yield "--tmpfs=/tmp:rw,size=512M,mode=1777"
    for entry in unit.all(SECTION, "Volume"):
        source, colon, rest = expand(entry.value).partition(":")
        if colon and not source:
            yield f"--volume={rest.partition(':')[0]}"  # Quadlet leaves the options of an anonymous one out
        else:
            yield f"--volume={_source(source, folder) if colon else source}{colon}{rest}"
    for word in map(expand, unit.words(SECTION, "Mount")):
        fields = word.split(",")
        for index, field in enumerate(fields):
            key, _, value = field.partition("=")
            if key in ("src", "source"):
                fields[index] = f"{key}={_source(value, folder)}"
        yield f"--mount={','.join(fields)}"


def _image(unit: Unit, folder: str, expand: Callable[[str], str]) -> str:
    image = unit.value(SECTION, "Image")
    if not image:
        hint = "a Rootfs is hardened as a directory: lithify harden DIRECTORY"
        raise UsageError("the unit names no Image", hint=hint)
    for extension, section, key in ((".image", "Image", "Image"), (".build", "Build", "ImageTag")):
        if image.endswith(extension):
            other = _beside(folder, image)
            named = other.value(section, key) if other else ""
            if not named:
                raise UsageError(f"the unit's image is that of {printable(image)}, which names none")
            return expand(named)
    return expand(image)


def _source(source: str, folder: str) -> str:
    if source.startswith("."):
        return _absolute(source, folder)
    return _named(source, folder, "volume") if source.endswith(".volume") else source


def _named(name: str, folder: str, kind: str) -> str:
    """Return what the resource of another unit is called in Podman; other names are what they are."""
    if not name.endswith(f".{kind}"):
        return name
    other = _beside(folder, name)
    title = kind.capitalize()
    given = other.value(title, f"{title}Name") if other else ""
    return given or f"systemd-{name.removesuffix('.' + kind)}"


def _beside(folder: str, name: str) -> Unit | None:
    if "/" in name:
        return None
    try:
        with open(os.path.join(folder, name), "rb") as file:
            return parse_unit(file.read(1 << 20))
    except OSError:
        return None


def _absolute(path: str, folder: str) -> str:
    return path if os.path.isabs(path) else os.path.normpath(os.path.join(os.path.abspath(folder), path))


def _expander(path: str) -> Callable[[str], str]:
    name = os.path.basename(path).removesuffix(".container")
    prefix, at, instance = name.partition("@")
    if at and not instance:
        instance = "lithify"  # a template needs some instance to run
    full = f"{prefix}@{instance}" if at else name
    known: Mapping[str, str] = {
        "%": "%", "n": f"{full}.service", "N": full, "p": prefix, "i": instance, "I": instance, "h": "/root",
        "t": "/run", "S": "/var/lib", "C": "/var/cache", "L": "/var/log", "E": "/etc", "T": "/tmp",  # noqa: S108 - what systemd calls so
        "V": "/var/tmp",  # noqa: S108
        "u": "root", "U": "0", "g": "root", "G": "0", "s": "/bin/sh", "H": os.uname().nodename,
    }  # fmt: skip

    def of(match: re.Match[str]) -> str:
        if match[1] not in known:
            raise UsageError(
                f"{printable(path)}: the specifier {printable(match[0])} is known to systemd alone",
                hint="put its value in its place, or write %% for a percent sign",
            )
        return known[match[1]]

    return lambda text: _SPECIFIER.sub(of, text)
