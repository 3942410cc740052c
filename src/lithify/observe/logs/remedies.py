"""Says in sentences what a failed write means and what to do about it."""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from pathlib import PurePosixPath

from lithify.engines.mounts import MountPoint, mount_holding
from lithify.model.log import Ground, LogError, LogEvent, Operation
from lithify.model.path import ROOT, printable

_TRIED = {
    Operation.CREATE: "write {path}",
    Operation.MKDIR: "make the directory {path}",
    Operation.RENAME: "rename to {path}",
    Operation.UNLINK: "remove {path}",
    Operation.LINK: "make the link {path}",
    Operation.CHMOD: "change the mode of {path}",
    Operation.CHOWN: "change the owner of {path}",
    Operation.TIMES: "set the times of {path}",
    Operation.BIND: "listen on the socket {path}",
    Operation.MOUNT: "make the mount point {path}",
    Operation.EXECUTE: "run {path}",
    Operation.UNKNOWN: "write {path}",
}
_METADATA = (Operation.CHMOD, Operation.CHOWN, Operation.TIMES)
_KUBERNETES = {
    "kubernetes.io~configmap": "a ConfigMap", "kubernetes.io~secret": "a Secret",
    "kubernetes.io~projected": "a projected volume", "kubernetes.io~downward-api": "a downward API volume",
}  # fmt: skip


def ground_of(path: PurePosixPath | None, mounts: Sequence[MountPoint]) -> tuple[Ground, MountPoint | None]:
    """Return what `path` lies on, and the mount; UNKNOWN without a path or a mount table."""
    mount = mount_holding(mounts, path) if path is not None else None
    if mount is None:
        return Ground.UNKNOWN, None
    if mount.path == ROOT:
        return Ground.ROOT, mount
    return (Ground.READ_ONLY_MOUNT if mount.read_only else Ground.WRITABLE_MOUNT), mount


def explained(event: LogEvent, mounts: Sequence[MountPoint] = ()) -> LogEvent:
    """Return `event` with its ground, cause and remedy filled in; a cause or remedy that it has already stays."""
    ground, mount = ground_of(event.path, mounts)
    if event.path is None and event.refused:
        return replace(
            event,
            cause=f"{_who(event)} met {event.error}; where is not shown: {event.refused}.",
            remedy="Look at the program itself: no place is proposed on the word of such a line.",
        )
    cause, remedy = _CAUSES[event.error](event, ground, mount)
    apart = ground in (Ground.READ_ONLY_MOUNT, Ground.WRITABLE_MOUNT) and event.error is LogError.EROFS
    if not event.remedy or apart:
        remedy = " ".join([remedy, *_notes(event)])
    else:
        named = event.path is not None and event.confidence >= _NAMED
        cause, remedy = f"{_who(event)} could not {_what(event)}. {event.cause}" if named else event.cause, event.remedy
    return replace(event, ground=ground, cause=cause, remedy=remedy)


_NAMED = 0.4
"""From this confidence on the line itself named the path."""


def _who(event: LogEvent) -> str:
    return printable(event.program) if event.program else "The program"


def _what(event: LogEvent) -> str:
    return _TRIED[event.operation].format(path=printable(event.path))


def _notes(event: LogEvent) -> list[str]:
    notes = []
    if event.refused and event.path is not None:
        notes.append(f"This path is never proposed as a place: {event.refused}.")
    if event.renames or (event.operation is Operation.RENAME and event.error is LogError.EROFS):
        notes.append(
            "A file is renamed into place there: the directory must be mounted, a mount of the one file won't do."
        )
    if event.deeper:
        notes.append("Only the first directory that is missing is named: the needed one may lie deeper.")
    if event.relative:
        notes.append("The line names a relative path: check the program's working directory.")
    return notes


# --- a read-only filesystem ---


def _read_only(event: LogEvent, ground: Ground, mount: MountPoint | None) -> tuple[str, str]:
    if event.path is None:
        return (
            f"{_who(event)} tried to write where the filesystem is read-only; the line does not say where.",
            "Look at the lines around it, or let `lithify learn` see what the program writes.",
        )
    tried = f"{_who(event)} could not {_what(event)}"
    if ground is Ground.READ_ONLY_MOUNT and mount is not None:
        return (
            f"{tried}: it lies on {_kind(mount)}, mounted read-only at {printable(mount.path)}, not on the root.",
            (
                "Leave the root as it is. Let that mount be writable if it is meant to be; where it is configuration, "
                "let the program write elsewhere, or copy it into a writable mount at start."
            ),
        )
    if ground is Ground.WRITABLE_MOUNT and mount is not None:
        return (
            (
                f"{tried}, though {_kind(mount)} is mounted writable at {printable(mount.path)}: its storage turned "
                "read-only, as it does after a disk or server fault."
            ),
            "Look at the host's kernel log and repair the storage. No mount and no plan mends this.",
        )
    where = "the read-only root filesystem" if ground is Ground.ROOT else "a filesystem that is read-only"
    return f"{tried}: it lies on {where}.", _place_remedy(event)


def _kind(mount: MountPoint) -> str:
    source = str(mount.root)
    for mark, name in _KUBERNETES.items():
        if mark in source:
            return name
    if "kubernetes.io~empty-dir" in source:
        return "an emptyDir"
    if "/volumes/" in source:
        return "a volume"
    return "a tmpfs" if mount.filesystem == "tmpfs" else "a mount of its own"


_BUILD = "Do this when the image is built: a running container should not change its own programs. "
_HOME_VARIABLES = (
    ("/.npm", "npm_config_cache"),
    ("/corepack", "COREPACK_HOME"),
    ("/yarn", "YARN_CACHE_FOLDER"),
    ("pip", "PIP_CACHE_DIR"),
    ("matplotlib", "MPLCONFIGDIR"),
    ("numba", "NUMBA_CACHE_DIR"),
    ("huggingface", "HF_HOME"),
    ("/torch", "TORCH_HOME"),
    ("triton", "TRITON_CACHE_DIR"),
    ("fontconfig", "XDG_CACHE_HOME"),
    ("/.ansible", "ANSIBLE_LOCAL_TEMP"),
    ("/.gnupg", "GNUPGHOME"),
    ("/.kube", "KUBECACHEDIR"),
    ("/helm", "HELM_CACHE_HOME"),
    ("/.dotnet", "DOTNET_CLI_HOME"),
    ("/.bundle", "BUNDLE_USER_HOME"),
    ("/go-build", "GOCACHE"),
    ("/.cargo", "CARGO_HOME"),
    ("/.gradle", "GRADLE_USER_HOME"),
    ("/.docker", "DOCKER_CONFIG"),
    ("/.aws", "AWS_CONFIG_FILE"),
    ("_history", "HISTFILE"),
    ("/.config", "XDG_CONFIG_HOME"),
    ("/.local/share", "XDG_DATA_HOME"),
    ("/.local/state", "XDG_STATE_HOME"),
    ("/.cache", "XDG_CACHE_HOME"),
)

_PLACES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), remedy)
    for pattern, remedy in (
        (
            r"/(?:proc|sys)/",
            (
                "The kernel's settings are read-only in every container that is not privileged: set them "
                "from outside (`--sysctl`, securityContext.sysctls)."
            ),
        ),
        (
            r"/dev/shm",  # noqa: S108
            "Mount a tmpfs on /dev/shm (`--shm-size`, an emptyDir of medium Memory): programs share memory there.",
        ),
        (
            r"/etc/(?:passwd|group|shadow|gshadow|subuid|subgid|\.pwd\.lock)",
            (
                "Start the container with the final uid and gid (--user, runAsUser) and unset PUID and PGID. "
                "/etc stays read-only."
            ),
        ),
        (
            r"/etc/(?:hosts|resolv\.conf|hostname)",
            "Let the engine write this file: --add-host and --dns, extra_hosts, hostAliases, dnsConfig.",
        ),
        (
            r".*(?:cacerts|/ca-certificates|/etc/ssl/|/etc/pki/|trust-?store|\.jks|\.p12)",
            (
                "Import certificates when the image is built, or mount a finished store, named by SSL_CERT_FILE, "
                "NODE_EXTRA_CA_CERTS or -Djavax.net.ssl.trustStore."
            ),
        ),
        (r"/etc/ld\.so\.cache", f"{_BUILD}ldconfig belongs to the image's build."),
        (
            r"(?:/var)?/run/(?:s6|xtables)|.*/\.s6-svscan",
            (
                "Mount a tmpfs on /run, executable for s6-overlay (`--tmpfs /run:exec,mode=755`), and set "
                "S6_READ_ONLY_ROOT=1."
            ),
        ),
        (
            r".*/__pycache__|.*\.pyc",
            "Leave it read-only: Python works without. PYTHONDONTWRITEBYTECODE=1 stops the try.",
        ),
        (
            r".*/bootsnap",
            "Leave it read-only with BOOTSNAP_READONLY=true, or set BOOTSNAP_CACHE_DIR to a writable directory.",
        ),
        (
            r".*/\.next/",
            (
                "Build the pages beforehand and turn the run-time cache off (isrFlushToDisk: false), or mount the "
                "cache alone: the image's own half of it must stay visible."
            ),
        ),
        (r".*/hsperfdata_", "Leave it read-only: the JVM works without. -XX:-UsePerfData stops the try."),
        (
            r"(?:/var|/usr)?/tmp(?:/|\Z)",
            "Mount a tmpfs on {tmp} with mode 1777 (`--tmpfs {tmp}:mode=1777,size=64m`; an emptyDir with a sizeLimit).",
        ),
        (
            r"/var/log/|.*/logs?/|.*\.log\Z",
            "Send the log to standard output if the program can; else give {directory} a volume with a size.",
        ),
        (
            r"(?:/var)?/run/|.*\.(?:pid|sock|socket|lock|lck)\Z",
            (
                "Mount a small tmpfs on {directory}, owned by the user that writes; what lies there must not outlive "
                "the container."
            ),
        ),
        (
            r"/(?:usr/)?(?:bin|sbin|lib\w*|libexec)(?:/|\Z)|/usr/(?:local/(?:bin|sbin|lib)|share)/|/opt/.*/(?:bin|lib|plugins?)/",
            f"{_BUILD}A directory of programs must never be writable.",
        ),
        (
            r"/etc/",
            (
                "Render the configuration when the image is built, or mount the finished file read-only; where it must "
                "change at every start, mount {alone} alone, seeded from the image; never all of /etc.{single}"
            ),
        ),
        (
            r"/var/cache/|.*/cache/",
            "Mount a tmpfs or an emptyDir with a size on {directory}; what is cached may be lost.",
        ),
        (
            r"/var/(?:lib|spool|opt)/|/data(?:/|\Z)|/srv/|.*\.(?:db|sqlite3?|rdb|aof|mdb|wal)\Z|.*/(?:uploads?|storage)/",
            "Mount a volume that survives the container on {directory}: this looks like data that must not be lost.",
        ),
    )
)
_ETC = PurePosixPath("/etc")
_HOME = re.compile(
    r"(?:/root|/home/[^/]+|/nonexistent|/var/www)?/(?:\.[^/]+)(?:/|\Z)|/(?:root|nonexistent|home/[^/]+)(?:/|\Z)"
)


def _place_remedy(event: LogEvent) -> str:
    path, place = str(event.path), event.place
    assert place is not None
    if event.operation in _METADATA:
        return (
            "Nothing but its mode, owner or times was to change. Run as the final user, or set them at build time; "
            "often the failure does no harm and no mount is needed."
        )
    if event.operation is Operation.MOUNT:
        return "Make the mount point in the image, or mount it under a directory that is not itself mounted read-only."
    directory = place if event.folded or event.operation is Operation.MKDIR else place.parent
    tmp = next((t for t in ("/var/tmp", "/usr/tmp") if path.startswith(t)), "/tmp")  # noqa: S108
    shown = "its directory" if directory == ROOT else printable(directory)
    alone, single = shown, ""
    if directory == _ETC:
        alone, single = printable(place), " A single file that is mounted can't be replaced by a renamed one."
    if event.relative:
        return (
            "Give the program an absolute path in a writable mount by its option, or start it in one; "
            "a directory that holds the program itself must not be mounted over."
        )
    if _HOME.match(path):
        variable = next((variable for part, variable in _HOME_VARIABLES if part in path), "HOME")
        return (
            f"Set {variable} to a writable directory such as one below /tmp; "
            "mount the one place only where that won't do."
        )
    for pattern, remedy in _PLACES:
        if pattern.match(path):
            words = (("{directory}", shown), ("{alone}", alone), ("{single}", single), ("{tmp}", tmp))
            return reduce(lambda text, word: text.replace(*word), words, remedy)
    if directory == ROOT:
        return "Have it write to a directory of its own by its option: the root itself can't be mounted over."
    return (
        f"Mount {shown} and nothing wider: seeded if the image has files there, a volume that stays if the data must; "
        "`lithify harden` finds out which."
    )


# --- what follows once mounts are there ---


def _at(mount: MountPoint | None, ground: Ground) -> str:
    if mount is None or ground not in (Ground.READ_ONLY_MOUNT, Ground.WRITABLE_MOUNT):
        return ""
    return f" ({_kind(mount)} at {printable(mount.path)})"


def _denied(event: LogEvent, ground: Ground, mount: MountPoint | None) -> tuple[str, str]:
    if event.operation is Operation.CHOWN:
        return (
            f"{_who(event)} may not {_what(event)}{_at(mount, ground)}: that takes CAP_CHOWN.",
            "Run as the final user, and give the mount that owner (uid=, gid=, fsGroup): then nothing needs changing.",
        )
    return (
        (
            f"{_who(event)} was not allowed to {_what(event)}{_at(mount, ground)}: owner or mode of the place "
            f"refuse that user."
        ),
        "Give the mount the uid, gid and mode of the process that writes (uid=, gid=, mode=; fsGroup on Kubernetes).",
    )


def _missing(event: LogEvent, ground: Ground, mount: MountPoint | None) -> tuple[str, str]:
    return (
        f"{_who(event)} could not {_what(event)}{_at(mount, ground)}: the directory it belongs in is not there.",
        (
            "If a mount covers it, the mount hides the image's directories: mount deeper, or re-create them (seed "
            "skeleton). If none does, the directory could not be made on the read-only root: mount it."
        ),
    )


def _busy(event: LogEvent, ground: Ground, mount: MountPoint | None) -> tuple[str, str]:
    return (
        (
            f"{_who(event)} could not {_what(event)}{_at(mount, ground)}: it is a mount point or in use, and can't "
            f"be replaced."
        ),
        "A file that is renamed into place needs its directory mounted, not the file alone.",
    )


def _across(event: LogEvent, ground: Ground, mount: MountPoint | None) -> tuple[str, str]:
    return (
        (
            f"{_who(event)} could not {_what(event)}{_at(mount, ground)}: the temporary file lies on another mount "
            f"than its target."
        ),
        "Put both on one mount, or point the program's temporary directory at the target's mount.",
    )


def _full(event: LogEvent, ground: Ground, mount: MountPoint | None) -> tuple[str, str]:
    return (
        f"{_who(event)} could not {_what(event)}{_at(mount, ground)}: there is no space or no inode left.",
        "Raise the mount's size; a program that allocates ahead needs more than its files show.",
    )


def _not_executable(event: LogEvent, ground: Ground, mount: MountPoint | None) -> tuple[str, str]:
    return (
        f"{_who(event)} could not {_what(event)}{_at(mount, ground)}: code may not be run from there.",
        "Allow execution on that place alone (`exec` on the tmpfs).",
    )


def _disguised(event: LogEvent, _ground: Ground, _mount: MountPoint | None) -> tuple[str, str]:
    return event.cause, event.remedy


_CAUSES = {
    LogError.EROFS: _read_only,
    LogError.EACCES: _denied,
    LogError.EPERM: _denied,
    LogError.ENOENT: _missing,
    LogError.EBUSY: _busy,
    LogError.EXDEV: _across,
    LogError.ENOSPC: _full,
    LogError.NOEXEC: _not_executable,
    LogError.DISGUISE: _disguised,
}
