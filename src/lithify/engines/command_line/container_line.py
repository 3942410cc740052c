"""The run line that starts the same as an existing container, or just an image."""

import os
import shlex
from collections.abc import Collection, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from lithify.engines.command_line.runline import RunLine, mount_value, parse_run_line
from lithify.errors import UsageError

_PLAIN = (
    ("CapAdd", "cap-add"), ("CapDrop", "cap-drop"), ("SecurityOpt", "security-opt"), ("ExtraHosts", "add-host"),
    ("Dns", "dns"), ("DnsSearch", "dns-search"), ("DnsOptions", "dns-option"), ("GroupAdd", "group-add"),
    ("Links", "link"), ("VolumesFrom", "volumes-from"), ("DeviceCgroupRules", "device-cgroup-rule"),
)  # fmt: skip
"""Lists of the host configuration that are options as they stand."""
_SWITCHES = (("Privileged", "privileged"), ("PublishAllPorts", "publish-all"), ("Init", "init"),
             ("ReadonlyRootfs", "read-only"), ("OomKillDisable", "oom-kill-disable"))  # fmt: skip
_NUMBERS = (
    ("Memory", "memory"), ("MemoryReservation", "memory-reservation"), ("CpuShares", "cpu-shares"),
    ("CpuPeriod", "cpu-period"), ("CpuQuota", "cpu-quota"), ("OomScoreAdj", "oom-score-adj"),
)  # fmt: skip
_MODES = (
    ("IpcMode", "ipc", ("", "private", "shareable")),
    ("PidMode", "pid", ("", "private")),
    ("UTSMode", "uts", ("", "private")),
    ("UsernsMode", "userns", ("",)),
    ("NetworkMode", "network", ("", "default", "bridge", "private")),
)
_HEX = frozenset("0123456789abcdef")
_STANDARD_SHM = (0, 64 << 20, 65536000)


def line_of_image(engine: str, image: str, *more: str) -> RunLine:
    """Return the line that starts an image; LITHIFY_DOCKER_ARGS, LITHIFY_PODMAN_RUN_ARGS and their like add to it.

    The former stand after the program, the latter after `run`: for hosts on which an engine works only with them.
    """
    name = engine.upper()
    program, options = (
        _split(variable) for variable in (f"LITHIFY_{name}_ARGS", f"LITHIFY_{name}_RUN_ARGS")
    )  # fmt: skip
    return parse_run_line([engine, *program, "run", "--detach", *options, *more, "--", image]).without_separator()


def line_of_container(engine: str, known: Mapping[str, Any], image: Mapping[str, Any]) -> RunLine:
    """Return the line that starts the same as a container, from what `inspect` says of it and its image.

    Podman remembers the line itself. From Docker it is put together; labels are left out, as they tell other programs
    what to do with the container.
    """
    written = (known.get("Config") or {}).get("CreateCommand")
    if isinstance(written, list) and written:
        try:
            return parse_run_line([engine, *map(str, written[1:])])
        except UsageError:
            pass  # made by a pod, a compose file or the API: put together as below
    config, base = known.get("Config") or {}, image.get("Config") or {}
    host = known.get("HostConfig") or {}
    words = [
        *_identity(known, config, base),
        *_mounts(known, host, base.get("Volumes") or {}),
        *_limits(host),
        *_network(known, host),
        *_rest(host),
    ]
    entrypoint, command = _command(config, base)
    reference = str(config.get("Image") or known.get("Image"))
    if reference not in (image.get("RepoTags") or [reference]):
        reference = str(known.get("Image") or reference)
    line = line_of_image(engine, reference, *words, *entrypoint)
    return line.with_command(command)


def _split(variable: str) -> list[str]:
    try:
        return shlex.split(os.environ.get(variable, ""))
    except ValueError as error:
        raise UsageError(f"can't read {variable}: {error}", hint="is a quote left open?") from error


def _identity(known: Mapping[str, Any], config: Mapping[str, Any], base: Mapping[str, Any]) -> Iterator[str]:
    yield f"--name={str(known.get('Name', '')).lstrip('/')}"
    hostname = str(config.get("Hostname") or "")
    if hostname and not str(known.get("Id", "")).startswith(hostname):
        yield f"--hostname={hostname}"
    for key, flag in (("User", "user"), ("WorkingDir", "workdir"), ("StopSignal", "stop-signal")):
        if config.get(key) and config.get(key) != base.get(key):
            yield f"--{flag}={config[key]}"
    for text in config.get("Env") or []:
        if text not in (base.get("Env") or []):
            yield f"--env={text}"
    for key, flag in (("Tty", "tty"), ("OpenStdin", "interactive")):
        if config.get(key):
            yield f"--{flag}"
    if config.get("StopTimeout"):
        yield f"--stop-timeout={config['StopTimeout']}"
    if config.get("Domainname"):
        yield f"--domainname={config['Domainname']}"


def _command(config: Mapping[str, Any], base: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return the entrypoint option, and what stands after the image."""
    entrypoint, command = (_listed(config.get(key)) for key in ("Entrypoint", "Cmd"))
    if entrypoint == _listed(base.get("Entrypoint")):
        return [], [] if command == _listed(base.get("Cmd")) else command
    # Only the first word of an entrypoint can be an option; the others go before the command.
    return [f"--entrypoint={entrypoint[0] if entrypoint else ''}"], [*entrypoint[1:], *command]


def _listed(value: object) -> list[str]:
    if isinstance(value, str):
        return [value] if value else []
    return [str(word) for word in value] if isinstance(value, list) else []


def _mounts(known: Mapping[str, Any], host: Mapping[str, Any], declared: Collection[str]) -> Iterator[str]:
    """Yield the mounts that somebody asked for: anonymous volumes that the image declares come by themselves."""
    done = set()
    for bind in host.get("Binds") or []:
        source, _, rest = str(bind).partition(":")
        if not _is_anonymous(source):  # Podman lists the image's own as well
            yield f"--volume={bind}"
            done.add(PurePosixPath(rest.partition(":")[0] or source))
    for path, options in (host.get("Tmpfs") or {}).items():
        yield f"--tmpfs={path}:{options}" if options else f"--tmpfs={path}"
        done.add(PurePosixPath(path))
    for mount in known.get("Mounts") or []:
        path, kind = str(mount.get("Destination", "")), mount.get("Type")
        source = str(mount.get("Name") if kind == "volume" else mount.get("Source") or "")
        if PurePosixPath(path) in done or kind not in ("bind", "volume", "tmpfs"):
            continue
        if kind == "volume" and _is_anonymous(source):
            if path not in declared:
                yield f"--volume={path}"
            continue
        fields = [f"type={kind}", *([f"src={source}"] if source and kind != "tmpfs" else []), f"dst={path}"]
        yield f"--mount={mount_value(*fields, *([] if mount.get('RW', True) else ['readonly']))}"


def _is_anonymous(volume: str) -> bool:
    return len(volume) == 64 and set(volume) <= _HEX


def _limits(host: Mapping[str, Any]) -> Iterator[str]:
    for key, flag in _NUMBERS:
        if host.get(key):
            yield f"--{flag}={host[key]}"
    swap = host.get("MemorySwap")
    if swap and host.get("Memory") and swap != 2 * host["Memory"]:
        yield f"--memory-swap={swap}"
    if host.get("NanoCpus"):
        yield f"--cpus={host['NanoCpus'] / 1e9:g}"
    for key, flag in (("CpusetCpus", "cpuset-cpus"), ("CpusetMems", "cpuset-mems")):
        if host.get(key):
            yield f"--{flag}={host[key]}"
    if (host.get("PidsLimit") or 0) > 0:
        yield f"--pids-limit={host['PidsLimit']}"
    if host.get("ShmSize") not in (None, *_STANDARD_SHM):
        yield f"--shm-size={host['ShmSize']}"
    for limit in host.get("Ulimits") or []:
        name = str(limit.get("Name", "")).lower().removeprefix("rlimit_")
        yield f"--ulimit={name}={limit.get('Soft')}:{limit.get('Hard')}"
    for name, value in (host.get("Sysctls") or {}).items():
        yield f"--sysctl={name}={value}"


def _network(known: Mapping[str, Any], host: Mapping[str, Any]) -> Iterator[str]:
    for key, flag, usual in _MODES:
        if (host.get(key) or "") not in usual:
            yield f"--{flag}={host[key]}"
    for port, bindings in (host.get("PortBindings") or {}).items():
        for binding in bindings or [{}]:
            address, outside = binding.get("HostIp") or "", binding.get("HostPort") or ""
            address = f"[{address}]" if ":" in address else address
            yield f"--publish={address + ':' if address else ''}{outside + ':' if outside or address else ''}{port}"
    exposed = (known.get("Config") or {}).get("ExposedPorts") or {}
    published = host.get("PortBindings") or {}
    if host.get("PublishAllPorts"):
        yield from (f"--expose={port}" for port in exposed if port not in published)


def _rest(host: Mapping[str, Any]) -> Iterator[str]:
    for key, flag in _PLAIN:
        yield from (f"--{flag}={value}" for value in host.get(key) or [])
    for key, flag in _SWITCHES:
        if host.get(key):
            yield f"--{flag}"
    for device in host.get("Devices") or []:
        rights = device.get("CgroupPermissions") or "rwm"
        yield f"--device={device.get('PathOnHost')}:{device.get('PathInContainer')}:{rights}"
    for request in host.get("DeviceRequests") or []:
        if any("gpu" in capability for capability in request.get("Capabilities") or []):
            devices = ",".join(request.get("DeviceIDs") or [])
            yield f"--gpus={f'device={devices}' if devices else 'all'}"
    if host.get("Runtime") not in (None, "", "runc", "oci", "crun"):
        yield f"--runtime={host['Runtime']}"
    policy = host.get("RestartPolicy") or {}
    if policy.get("Name") not in (None, "", "no"):
        count = policy.get("MaximumRetryCount")
        yield f"--restart={policy['Name']}{f':{count}' if count else ''}"
