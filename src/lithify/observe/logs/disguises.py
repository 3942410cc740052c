"""Lines that mean a read-only root, or a bad mount, and do not name the error or the path.

Each row says what the text comes from in the field, where the write most likely went and what helps. A row is a hint:
its confidence is low unless the line itself names the path.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lithify.model.log import LogError, Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class Disguise:
    """One text that stands for a failed write."""

    needle: str
    """Stands in every such line once its ASCII letters are made small."""
    pattern: re.Pattern[str]
    """Matches the line; the group `path` is the path, where the line holds it."""
    error: LogError = LogError.DISGUISE
    operation: Operation = Operation.UNKNOWN
    path: str | None = None
    """Where the write most likely went, where the line does not say."""
    program: str = ""
    confidence: float = 0.3
    temporary: bool = False
    climbs: bool = False
    """The program prints paths with `..` in them."""
    vague: bool = False
    """The text says little: any error that the line names says more."""
    beside_error: bool = False
    """The line names an error too, and is found by that."""
    cause: str = ""
    remedy: str = ""


def _row(needle: str, pattern: str, **facts: Any) -> Disguise:
    return Disguise(needle=needle, pattern=re.compile(pattern, re.IGNORECASE), **facts)


_LONGEST = 8192
"""Characters of a message that are looked at."""
_TMP = "/tmp"  # noqa: S108 - a place in containers, not a file of ours
_TMP_REMEDY = "Mount a tmpfs on /tmp with mode 1777, or point TMPDIR at a directory that is writable."
_P = r"(?P<path>(?<![\w/.\-])/[^\s'\"`,;)\]]{1,4000})"
_FILE = "It could not write a file there; the usual reason is a read-only root."
_PID = "Mount a small tmpfs on the directory, owned by the user it runs as, or turn the file off."

_ATTEMPTS = tuple(
    f"{failed} {verb}"
    for failed in ("could not", "can not", "cannot", "can't", "unable to", "failed to")
    for verb in ("create", "write", "mkdir", "save")
    if failed != "can't" or verb in ("create", "write")
)
"""Openings of sentences that tell of a failed write without the error: the least of hints, and only with a path."""

DISGUISES: tuple[Disguise, ...] = (
    # --- the error is named, the path is not ---
    _row(
        "temp file for here",
        r"cannot create temp file for here-?doc(?:ument)?|cannot create temp file for here-?string",
        error=LogError.EROFS,
        operation=Operation.CREATE,
        path=_TMP,
        cause="The shell keeps a here-document in a temporary file, in TMPDIR or else in /tmp.",
        remedy=_TMP_REMEDY,
        beside_error=True,
    ),
    _row(
        "unable to lock database",
        r"unable to lock database",
        error=LogError.EROFS,
        program="apk",
        path="/lib/apk/db",
        cause="apk locks its database before it installs anything.",
        remedy="Install packages when the image is built: a running container should not change its own programs.",
        beside_error=True,
    ),
    _row(
        "vju_make_workdir",
        r"vju_make_workdir|VJ_make_workdir",
        error=LogError.EROFS,
        operation=Operation.MKDIR,
        program="varnishd",
        cause="Varnish could not set up its working directory, the one that -n names.",
        remedy="Mount a tmpfs on the working directory (-n, usually below /var/lib/varnish), executable: "
        "it loads its compiled configuration from there.",
        beside_error=True,
    ),
    _row(
        "append-only file",
        r"can't open the append-only file",
        error=LogError.EROFS,
        program="redis",
        operation=Operation.CREATE,
        cause="Redis could not open its append-only file in its data directory.",
        remedy="Give the directory that `CONFIG GET dir` names a volume that survives the container.",
        beside_error=True,
    ),
    _row(
        "failed opening .rdb",
        r"failed opening \.rdb for saving",
        error=LogError.EROFS,
        program="redis",
        operation=Operation.CREATE,
        cause="Redis could not save its snapshot in its data directory.",
        remedy="Give the directory that `CONFIG GET dir` names a volume that survives the container, or turn "
        'snapshots off (`save ""`).',
        beside_error=True,
    ),
    _row(
        "rewriting config file",
        r"rewriting config file",
        error=LogError.EROFS,
        program="redis",
        operation=Operation.RENAME,
        cause="Redis rewrites its configuration by a temporary file beside it.",
        remedy="Keep the configuration in the image or a read-only mount, and do without CONFIG REWRITE.",
        beside_error=True,
    ),
    _row(
        "in a file operation",
        r"innodb: .*operating system error number 30 in a file operation",
        error=LogError.EROFS,
        program="mysqld",
        path="/var/lib/mysql",
        cause="InnoDB could not write in its data directory.",
        remedy="Put the data directory on a volume; the lines before this one name the file.",
        beside_error=True,
    ),
    _row(
        "remounting filesystem read-only",
        r"remounting filesystem read-only",
        error=LogError.EROFS,
        program="kernel",
        cause="The kernel made a filesystem read-only after an error on its disk: no container's root.",
        remedy="Stop and repair the storage; no mount helps.",
    ),
    _row(
        "not using locking for read",
        rf"not using locking for read[ -]only lock file {_P}",
        error=LogError.EROFS,
        program="apt",
        operation=Operation.CREATE,
        confidence=0.6,
        cause="apt found its lock file on a read-only filesystem.",
        remedy="Install packages when the image is built: a running container should not change its own programs.",
    ),
    # --- nginx's and others' own start scripts ---
    _row(
        "read-only file system?",
        rf"can ?not modify {_P} \(read-only file system\?\)",
        error=LogError.EROFS,
        operation=Operation.CREATE,
        confidence=0.6,
        cause="The start script found the file not writable and went on without its change: the feature is off.",
        remedy="Render the file when the image is built, or mount the finished one read-only; "
        "accept it only if the feature (IPv6 listening, templates, tuning) is not wanted.",
    ),
    _row(
        "is not writable",
        rf"exists, but {_P} is not writable",
        error=LogError.EROFS,
        operation=Operation.CREATE,
        confidence=0.6,
        cause="The start script could not render its templates: what they configure is missing.",
        remedy="Mount the output directory, seeded with what the image has there, or render when the image is built.",
    ),
    _row(
        "wflyds0024",
        rf"WFLYDS0024: {_P} is not writable",
        error=LogError.EROFS,
        operation=Operation.CREATE,
        program="wildfly",
        confidence=0.6,
        cause="WildFly keeps markers beside its deployments.",
        remedy="Mount standalone/{configuration,data,log,tmp,deployments}, seeded, or use its read-only configuration.",
    ),
    _row(
        "wflyctl0276",
        rf"WFLYCTL0276: Failed to delete file {_P}",
        operation=Operation.UNLINK,
        program="wildfly",
        cause="WildFly could not clear its history or temporary files.",
        remedy="Mount standalone/{configuration,data,log,tmp,deployments}, seeded, or use its read-only configuration.",
    ),
    _row(
        "is read-only",
        rf"because {_P} is read-only",
        error=LogError.EROFS,
        operation=Operation.CREATE,
        confidence=0.6,
        cause="The file can't be changed where it lies.",
        remedy="Make the change when the image is built, or name another file to the program.",
    ),
    _row(
        "not writable",
        rf"(?:file|directory|folder|path|dir) ['\"`]?{_P}['\"`]? (?:is|was) not writable",
        operation=Operation.CREATE,
        cause="The program tested the path and found it not writable.",
        remedy="Mount that place, owned by the user the program runs as.",
    ),
    _row(
        "not writable",
        rf"{_P}['\"`]? is not writable",
        operation=Operation.CREATE,
        cause="The program tested the path and found it not writable.",
        remedy="Mount that place, owned by the user the program runs as.",
    ),
    _row(
        "is not writable: /",
        rf"is not writable: {_P}",
        program="ruby",
        operation=Operation.CREATE,
        cause="Ruby looks for a directory for temporary files and may not write in this one.",
        remedy=_TMP_REMEDY,
    ),
    _row(
        "world-writable: /",
        rf"(?:system temporary path|directory) is world-writable: {_P}",
        program="ruby",
        operation=Operation.CREATE,
        cause="Ruby refuses a directory that everybody may write and that lacks the sticky bit.",
        remedy="Mount it with mode 1777; on Kubernetes an emptyDir is 0777: let an init container make a "
        "directory below it with mode 0700 or 1777, and point TMPDIR at that.",
    ),
    _row(
        "read-only directory:",
        r"lock file on a read-only directory: (?P<path>/[^\s,]{1,4000})",
        error=LogError.EROFS,
        operation=Operation.CREATE,
        program="mongod",
        confidence=0.6,
        cause="MongoDB could not create its lock file in its data directory.",
        remedy="Put the data directory on a volume that survives the container.",
    ),
    # --- temporary directories ---
    _row(
        "no usable temporary directory",
        rf"no usable temporary directory found in \[['\"]{_P}",
        program="python",
        operation=Operation.CREATE,
        cause="Python tried every directory it knows and could write in none.",
        remedy=_TMP_REMEDY,
    ),
    _row(
        "no usable temporary",
        r"no usable temporary (?:directory|file)",
        program="python",
        path=_TMP,
        operation=Operation.CREATE,
        cause="Python tried every directory it knows and could write in none.",
        remedy=_TMP_REMEDY,
    ),
    _row(
        "find a temporary directory",
        r"could not find a temporary directory",
        program="ruby",
        path=_TMP,
        operation=Operation.CREATE,
        cause="Ruby found no directory for temporary files that it may write and that has the sticky bit.",
        remedy="Mount /tmp with mode 1777; on Kubernetes an emptyDir is 0777: let an init container make a "
        "directory below it with mode 0700 or 1777, and point TMPDIR at that.",
    ),
    _row(
        "java.io.tmpdir is set to",
        rf"java\.io\.tmpdir is set to {_P}",
        program="java",
        operation=Operation.CREATE,
        cause="The servlet container could not make its working directory in java.io.tmpdir.",
        remedy="Mount a tmpfs there, or set -Djava.io.tmpdir to a directory that is writable.",
    ),
    _row(
        "parent for temp dir",
        r"parent for temp dir not configured correctly",
        program="java",
        path=_TMP,
        operation=Operation.MKDIR,
        cause="Jetty could not make its working directory in java.io.tmpdir.",
        remedy="Mount a tmpfs on /tmp, or set -Djava.io.tmpdir to a directory that is writable.",
    ),
    _row(
        "failed to create a temporary file in",
        rf"failed to create a temporary file in {_P}",
        operation=Operation.CREATE,
        cause="It could not create a temporary file there.",
        remedy=_TMP_REMEDY,
    ),
    _row(
        "temporary directory",
        rf"temporary directory {_P} does not exist and it was not possible to create it",
        operation=Operation.MKDIR,
        climbs=True,
        cause="It could not make its directory for temporary files.",
        remedy="Mount a tmpfs there, or name another directory by the program's option.",
    ),
    _row(
        "writable cache directory",
        r"matplotlib requires access to a writable cache directory",
        program="matplotlib",
        operation=Operation.MKDIR,
        cause="Matplotlib builds its font cache below HOME or MPLCONFIGDIR.",
        remedy="Set MPLCONFIGDIR to a directory that is writable, such as one below /tmp.",
    ),
    _row(
        "no locator available for file",
        r"no locator available for file",
        program="numba",
        operation=Operation.CREATE,
        cause="Numba caches compiled functions beside their source, or in NUMBA_CACHE_DIR; the file named "
        "is the source, not a place to mount.",
        remedy="Set NUMBA_CACHE_DIR to a directory that is writable.",
    ),
    _row(
        "cache has been disabled",
        rf"the directory ['\"]{_P}['\"] or its parent directory is not owned",
        program="pip",
        operation=Operation.CREATE,
        cause="pip can't use its cache below HOME and works without it.",
        remedy="Install when the image is built; else set PIP_CACHE_DIR or PIP_NO_CACHE_DIR=1.",
    ),
    # --- runtimes that die before they can speak ---
    _row(
        "coreclr",
        r"Failed to (?:create|initialize) CoreCLR, HRESULT: 0x8(?:007000E|0004005|0070008)",
        program="dotnet",
        path=_TMP,
        operation=Operation.BIND,
        cause=".NET makes the socket of its diagnostics in /tmp before anything else, and gives up where it can't.",
        remedy="Mount a tmpfs on /tmp; or set DOTNET_EnableDiagnostics=0 and lose dumps and profiling.",
    ),
    _row(
        "--database is required",
        r"crashpad_handler: --database is required",
        program="chromium",
        operation=Operation.MKDIR,
        cause="Chromium found no configuration directory that it may write for its crash reports.",
        remedy="Set XDG_CONFIG_HOME and XDG_CACHE_HOME (or HOME) to a writable directory, and mount /tmp.",
    ),
    _row(
        "failed to map segment",
        rf"(?:{_P}: )?failed to map segment from shared object",
        error=LogError.NOEXEC,
        operation=Operation.EXECUTE,
        confidence=0.6,
        cause="A library was unpacked to a place that is mounted noexec, and can't be mapped as code.",
        remedy="Allow execution there (`exec` on that tmpfs), better on a directory of its own that the program is "
        "pointed to (-Djava.io.tmpdir, the library's own option).",
    ),
    _row(
        "remounting exec just in case",
        r"remounting exec just in case|s6-mount: fatal: unable to mount tmpfs on (?P<path>/run)",
        error=LogError.NOEXEC,
        operation=Operation.EXECUTE,
        path="/run",
        program="s6",
        cause="s6-overlay runs its programs from /run, which is mounted noexec.",
        remedy="Mount /run with exec (`--tmpfs /run:exec,mode=755`) and set S6_READ_ONLY_ROOT=1.",
    ),
    _row(
        "unable to mount tmpfs on /run",
        r"unable to mount tmpfs on (?P<path>/run)",
        error=LogError.NOEXEC,
        path="/run",
        operation=Operation.EXECUTE,
        program="s6",
        cause="s6-overlay runs its programs from /run, which is mounted noexec.",
        remedy="Mount /run with exec (`--tmpfs /run:exec,mode=755`) and set S6_READ_ONLY_ROOT=1.",
    ),
    _row(
        "exec: /",
        rf"exec: {_P}: (?:permission denied|operation not permitted)",
        error=LogError.NOEXEC,
        operation=Operation.EXECUTE,
        confidence=0.6,
        cause="The program may not be run from where it lies: the place is "
        "mounted noexec, or the file lost its execute bit.",
        remedy="Allow execution there (`exec` on that tmpfs), there alone; s6-overlay also wants S6_READ_ONLY_ROOT=1.",
        beside_error=True,
    ),
    # --- pid files, locks, sockets, logs without the error ---
    _row(
        "pidfile",
        rf"(?:could not|can ?not|can't|unable to|failed to) (?:write|create|open) (?:the )?pid ?file:? ['\"]?{_P}",
        operation=Operation.CREATE,
        cause="It could not write its pid file.",
        remedy=_PID,
    ),
    _row(
        "pid file",
        rf"(?:could not|can ?not|can't|unable to|failed to) (?:write|create|open) (?:the )?pid ?file:? ['\"(]?{_P}",
        operation=Operation.CREATE,
        cause="It could not write its pid file.",
        remedy=_PID,
    ),
    _row(
        "pid file",
        r"(?:could not|can ?not|can't|unable to|failed to) (?:write|create|open) (?:the )?pid ?file\b",
        operation=Operation.CREATE,
        path="/run",
        cause="It could not write its pid file, most likely below /run.",
        remedy=_PID,
    ),
    _row(
        "could not log pid to file",
        rf"could not log pid to file {_P}",
        program="apache",
        operation=Operation.CREATE,
        cause="Apache could not write its pid file.",
        remedy=_PID,
    ),
    _row(
        "could not open error log file",
        rf"could not open error log file {_P}",
        program="apache",
        operation=Operation.CREATE,
        cause="Apache could not open its error log.",
        remedy="Send the log to the standard error (ErrorLog /dev/stderr), or give it a sized volume.",
    ),
    _row(
        "missing privilege separation directory",
        rf"missing privilege separation directory: {_P}",
        program="sshd",
        operation=Operation.MKDIR,
        cause="sshd needs this empty directory, and a mount hides it or nothing could make it.",
        remedy="Re-create it at every start (a mount with its skeleton), or mount deeper so that the image's stays.",
    ),
    _row(
        "cannot lock /etc/",
        rf"cannot lock {_P}; try again later",
        operation=Operation.CREATE,
        cause="The user database is changed by a lock file and a temporary file beside it, in /etc.",
        remedy="Start the container with the final uid and gid (--user, runAsUser) and unset PUID and PGID; "
        "/etc stays read-only.",
    ),
    _row(
        "unix socket lock file",
        r"could not create unix socket lock file (?P<path>/\S{1,4000}?)\.?\s*$",
        program="mysqld",
        operation=Operation.CREATE,
        cause="The server makes a lock beside its socket.",
        remedy="Mount a tmpfs on the socket's directory, owned by the server's user.",
    ),
    _row(
        "cannot create the file: /",
        r"cannot create the file: (?P<path>/[^\s\\]{1,4000})",
        operation=Operation.CREATE,
        cause=_FILE,
        remedy="Mount the directory, seeded with what the image has there.",
    ),
    _row(
        "error writing to the directory",
        rf"error writing to the directory: {_P}",
        program="npm",
        operation=Operation.CREATE,
        cause="npm writes logs and cache below HOME.",
        remedy="Set npm_config_cache and npm_config_logs_dir to a directory that is writable, such as one below /tmp.",
    ),
    _row(
        "accessdeniedexception: ",
        r"AccessDeniedException: (?P<path>/[^\n]{1,4000})",
        program="java",
        error=LogError.EACCES,
        confidence=0.6,
        cause="The owner or mode of the directory does not let this user write.",
        remedy="Give the place the uid, gid and mode of the process that writes.",
    ),
    _row(
        "failure while writing changes",
        rf"failure while writing changes to {_P}",
        operation=Operation.CREATE,
        cause="The user database is changed by a lock file and a temporary file beside it, in /etc.",
        remedy="Start the container with the final uid and gid (--user, runAsUser) and unset PUID and PGID; "
        "/etc stays read-only.",
    ),
    _row(
        "cannot open an http server",
        r"cannot open an http server: .*\bEROFS\b",
        error=LogError.EROFS,
        program="supervisord",
        operation=Operation.BIND,
        beside_error=True,
        cause="supervisord could not make the socket that its [unix_http_server] section names.",
        remedy=_PID,
    ),
    _row(
        "is denied",
        r"access to the path '(?P<path>/[^']{1,4000})' is denied",
        error=LogError.EACCES,
        program="dotnet",
        confidence=0.6,
        cause="The owner or mode of the directory does not let this user write.",
        remedy="Give the place the uid, gid and mode of the process that writes.",
    ),
    _row(
        "obtain node lock",
        rf"failed to obtain node locks?, tried \[*{_P}",
        operation=Operation.CREATE,
        cause="The data directory could not be locked: it is not writable, or another node holds it.",
        remedy="Mount a volume that survives the container there, owned by the user the program runs as.",
    ),
    _row(
        "writable directory",
        rf"['\"]{_P}['\"] must be a writable directory",
        operation=Operation.CREATE,
        cause="The program tested the directory and found it not writable.",
        remedy="Mount that place, owned by the user the program runs as.",
    ),
    *(
        _row(
            f"unable to {verb} the",
            rf"unable to {verb} the \"[^\"]{{1,60}}\" directory \({_P}",
            program="php",
            operation=Operation.MKDIR,
            cause="Symfony could not make or write one of its directories.",
            remedy="Warm the cache up when the image is built; mount the directories that change, such as var/log.",
        )
        for verb in ("create", "write in")
    ),
    _row(
        "unable to create [/",
        rf"unable to create \[{_P}",
        program="java",
        operation=Operation.MKDIR,
        cause=_FILE,
        remedy="Mount the directory, owned by the user the program runs as.",
    ),
    *(
        _row(
            needle,
            rf"{needle.replace('can not', 'can ?not')}(?: to)? (?:the |a |an |its |new )?(?:[\w-]+ ){{0,4}}"
            rf"(?:(?:at|in|file|directory|dir|folder)\b:? )?\W?{_P}",
            cause=_FILE,
            remedy="Mount the directory, owned by the user the program runs as.",
            vague=True,
        )
        for needle in _ATTEMPTS
    ),
    # --- databases ---
    _row(
        "readonly database",
        r"attempt to write a readonly database",
        program="sqlite",
        operation=Operation.CREATE,
        cause="SQLite needs to write the database's directory too: it keeps a journal beside the file.",
        remedy="Mount the directory of the database as a volume; if nothing is ever written, open it with immutable=1.",
    ),
    _row(
        "unable to open database",
        r"unable to open database (?:file|\"(?P<path>/[^\"]{1,4000})\")",
        program="sqlite",
        operation=Operation.CREATE,
        cause="SQLite could not open or create the database, or the journal beside it.",
        remedy="Mount the directory of the database as a volume.",
    ),
    _row(
        "database is locked",
        r"database is locked|SQLITE_BUSY",
        program="sqlite",
        confidence=0.0,
        cause="Something holds the database, or a writer died half-way, often by an earlier failed write.",
        remedy="Look at the first failed write of the log; this one is a consequence.",
    ),
    _row(
        "misconf redis",
        r"MISCONF Redis is configured to save RDB snapshots",
        program="redis",
        path="/data",
        operation=Operation.CREATE,
        cause="Redis can't save its snapshot and refuses writes until it can.",
        remedy="Give the directory that `CONFIG GET dir` names a volume that survives the container.",
    ),
    # --- features that went quietly ---
    _row(
        "could not find plugin definition",
        r"could not find plugin definition",
        operation=Operation.CREATE,
        cause="The directory of plugins was empty or could not be written.",
        remedy="Bake the plugins into the image, or mount their directory seeded with what the image has there.",
    ),
    _row(
        "plugins are disabled",
        r"plugins are disabled",
        operation=Operation.CREATE,
        cause="The directory of plugins could not be written, and the program went on without them.",
        remedy="Bake the plugins into the image, or mount their directory.",
    ),
    _row(
        "running terraform version",
        r"running terraform version: : exit status \d+",
        confidence=0.0,
        cause="A child process failed without a word; the usual reason is a directory that it could not write.",
        remedy="Trace the children: `lithify learn --trace` names what they tried.",
    ),
    _row(
        "worker timeout",
        r"\[CRITICAL\] WORKER TIMEOUT",
        program="gunicorn",
        path=_TMP,
        operation=Operation.CREATE,
        cause="Gunicorn's workers show that they live by a temporary file; without it they are killed and restarted.",
        remedy="Mount /tmp, or start it with --worker-tmp-dir /dev/shm.",
    ),
    # --- the engine and the cluster ---
    _row(
        "marked read-only",
        r"container rootfs is marked read-only",
        program="docker",
        operation=Operation.CREATE,
        cause="The engine was asked to copy a file into a container whose root is read-only: `docker cp`, or Compose's "
        "inline configs and secrets.",
        remedy="Write the content to a file and use `file:`, which is a mount; copy only into a writable mount.",
    ),
    _row(
        "usage of emptydir volume",
        r"usage of emptydir volume \"(?P<name>[^\"]{1,253})\" exceeds the limit",
        program="kubelet",
        error=LogError.ENOSPC,
        cause="The volume grew beyond its sizeLimit and the kubelet evicted the pod.",
        remedy="Raise the sizeLimit to what was seen and a margin, and keep logs and caches apart.",
    ),
    _row(
        "emptydir usage exceeds",
        r"emptydir usage exceeds the limit",
        program="kubelet",
        error=LogError.ENOSPC,
        cause="The volume grew beyond its sizeLimit and the kubelet evicted the pod.",
        remedy="Raise the sizeLimit to what was seen and a margin, and keep logs and caches apart.",
    ),
    _row(
        "oomkilled",
        r"\bOOMKilled\b",
        program="kubelet",
        cause="The container went over its memory limit; what lies on tmpfs counts against it.",
        remedy="Lower the size of memory-backed mounts, put big ones on disk, or raise the limit.",
    ),
    _row(
        "killed",
        r"^\s*Killed\s*$",
        confidence=0.0,
        cause="The kernel killed the process, most often for memory; what lies on tmpfs counts against the limit.",
        remedy="Lower the size of memory-backed mounts, put big ones on disk, or raise the limit.",
    ),
    _row(
        "already running",
        r"daemon is already running|\(pid \d+\) already running|a server is already running|"
        r"already running \(?pid",
        operation=Operation.CREATE,
        cause="A pid file of the process before is still there: the new mount keeps it over a restart.",
        remedy="Put pid files on a tmpfs of their own, or remove them at every start.",
    ),
    _row(
        "are too open",
        rf"permissions (?:0?[0-7]{{3,4}} )?for ['\"]?{_P}['\"]? are too open",
        operation=Operation.CHMOD,
        cause="The mount's mode or fsGroup gave others access to a file that must be private.",
        remedy="Set the file's mode again at every start, or use fsGroupChangePolicy: OnRootMismatch.",
    ),
    _row(
        "accessible by owner only",
        r"must be accessible by owner only",
        operation=Operation.CHMOD,
        cause="The mount's mode or fsGroup gave others access to a file that must be private.",
        remedy="Set the file's mode again at every start, or use fsGroupChangePolicy: OnRootMismatch.",
    ),
    _row(
        "bad permissions",
        r"bad permissions",
        operation=Operation.CHMOD,
        cause="The mount's mode or fsGroup gave others access to a file that must be private.",
        remedy="Set the file's mode again at every start, or use fsGroupChangePolicy: OnRootMismatch.",
    ),
    _row(
        "certificate signed by unknown authority",
        r"x509: certificate signed by unknown authority",
        confidence=0.0,
        cause="If this began with the read-only root: the start script could not import the internal CA.",
        remedy="Import it when the image is built, or mount a finished bundle and name it by SSL_CERT_FILE.",
    ),
    _row(
        "pkix path building failed",
        r"PKIX path building failed",
        program="java",
        confidence=0.0,
        cause="If this began with the read-only root: the start script could not import the internal CA.",
        remedy="Import it when the image is built, or mount a trust store and name it by -Djavax.net.ssl.trustStore.",
    ),
)

NEEDLES = tuple(dict.fromkeys(row.needle.encode() for row in DISGUISES if not row.beside_error))


def matching(text: str, *, named: bool = False, vague: bool = False) -> Iterator[tuple[Disguise, re.Match[str]]]:
    """Yield the rows that `text` is one of, the vague ones or the others.

    `named`: it names EROFS already, so that a row need only add the path.
    """
    text = text[:_LONGEST]
    lowered = text.lower()
    for row in DISGUISES:
        if row.vague is vague and row.needle in lowered and (not named or row.error is LogError.EROFS):
            match = row.pattern.search(text)
            if match:
                yield row, match
