"""Says what a written path is for. Evidence decides; names only hint.

The order of the tests is the argument: what the file is (a socket, a database, a program), then places whose life time
the filesystem hierarchy standard fixes (`/tmp`, `/run`, `/var/cache`), then what happened to it, then names. What is
left over and was still there at the end counts as state, because a volume too many costs disk and one too few costs
data.
"""

import re
from collections.abc import Container, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import PurePosixPath

from lithify.model.image import EntryType, ImageFacts
from lithify.model.mount import PathClass
from lithify.model.path import ROOT, is_code
from lithify.model.writes import Change, Write

_ETC = PurePosixPath("/etc")
IDENTITY_FILES = frozenset(
    _ETC / name
    for name in (
        "passwd", "shadow", "group", "gshadow", "subuid", "subgid", "hosts", "hostname", "resolv.conf", "mtab",
        "machine-id", "sudoers", "nsswitch.conf",
    )
)  # fmt: skip
_IDENTITY_SIBLING = re.compile(r"\.pwd\.lock|(passwd|shadow|group|gshadow|subuid|subgid|hosts|resolv\.conf)[-+.~]\S*")
"""What passwd tools and in-place editors make beside those files: `passwd-`, `group.lock`, `shadow+`."""

STORES = frozenset({"sqlite", "sqlite-wal", "database", "redis"})
"""Kinds of content that a program keeps its data in."""
STATE_CONTENT = STORES | {"private-key"}
"""Kinds of content that must not be lost."""
TEXT_CONTENT = frozenset({"text", "empty"})

_DIRECTORY_HINTS: dict[PathClass, frozenset[str]] = {
    PathClass.RUNTIME: frozenset({"run", "pid", "pids", "lock", "locks", "sock", "socks", "sockets", "supervise"}),
    PathClass.LOG: frozenset({"log", "logs", "_logs"}),
    PathClass.CACHE: frozenset({
        "cache", "caches", ".cache", "_cacache", ".npm", ".yarn", ".fontconfig", ".nv", ".ccache", "bootsnap",
        "compiled", "templates_c", "work",
    }),
    PathClass.SCRATCH: frozenset({
        "tmp", "temp", "_temp", ".tmp", "scratch",
    }),
    PathClass.STATE: frozenset({
        "data", "db", "dbs", "database", "databases", "mnesia", "upload", "uploads", "media", "storage", "spool",
        "queue", "queues", "mail", "maildir", "persist", "persistent", "state", "keys", "acme", "letsencrypt", "repo",
        "repos", "repositories", "backup", "backups", "wal", "snapshots", "attachments", "blobs",
    }),
    PathClass.CONFIG: frozenset({"etc", "conf", "conf.d", "config", "configuration", ".config", "conf-enabled"}),
}  # fmt: skip
_HINT_OF = {name: path_class for path_class, names in _DIRECTORY_HINTS.items() for name in names}

_CODE_DIRECTORIES = frozenset({"site-packages", "dist-packages", "node_modules", "gems", "plugins-bundled"})
_CODE_SUFFIXES = frozenset({
    ".so", ".py", ".rb", ".php", ".js", ".mjs", ".cjs", ".pl", ".pm", ".jar", ".war", ".class", ".dll", ".wasm",
})  # fmt: skip
_COMPILED = ("elf", "java-class", "beam")
_BESIDE = "it is code, beside the program's own"
_RUNTIME_NAME = re.compile(r"(.*[._-])?(pid|sock|socket|lock|lck)|LCK\.\..*|\.s\.PGSQL\..*", re.IGNORECASE)
_LARGEST_PID_FILE = 4096
"""Bytes; what is larger and called `.lock` is a package manager's lock file, which is no lock."""
_LOG_NAME = re.compile(r".*(\.|[_-])log([.-][\w.-]+)?|.*\.(stdout|stderr)|nohup\.out", re.IGNORECASE)
_WRITE_AHEAD_LOG = re.compile(r"\d+\.log|.*(redo|undo|binlog|ib_log|aria_log|mysql-bin|journal).*|LOG(\.old.*)?")
"""Names that end like a log and are the store itself: `000012.log` of LevelDB, `redo01.log`."""
_STATE_NAME = re.compile(
    r".*\.(db3?|sqlite[0-9]?|rdb|aof|ibd|ibdata\d*|myd|myi|frm|mdb|ldb|sst|dets|dcd|dcl|jnl|keystore|jks|p12|pfx|key|pem"
    r"|gdbm|dbm|mbox|eml)"
    r"|.*(-wal|-shm|-journal)|ibdata\d+|ssh_host_.*|acme\.json|celerybeat-schedule.*|\.erlang\.cookie|id_(rsa|ed25519)"
    r"|.*cookie_secret.*|appendonly.*|MANIFEST-\d+|PG_VERSION|crontabs?",
    re.IGNORECASE,
)
_CONFIG_NAME = re.compile(r".*\.(conf|cfg|cnf|ini|ya?ml|toml|properties|env|config|htaccess|options)", re.IGNORECASE)
_SCRIPT_TOOLS = frozenset({
    "sh", "bash", "dash", "ash", "busybox", "sed", "awk", "gawk", "mawk", "perl", "envsubst", "tee", "cp", "mv",
    "install", "touch", "cat", "gomplate", "confd", "dockerize", "jq", "yq", "crudini", "augtool",
})  # fmt: skip
"""What start scripts write configuration with."""
_INTERPRETER = re.compile(r"(python|perl|ruby|php|lua|node|nodejs|java|beam|pypy|deno|bun|tclsh)[\w.-]*")
"""Programs that tell nothing of what runs in them: a start script as well as the service."""
_HISTORY_NAME = re.compile(r"\..*_history|\.lesshst|\.viminfo|\.wget-hsts|\.dbshell|\.node_repl_history")


@dataclass(frozen=True, slots=True, kw_only=True)
class Classified:
    """What a write is for."""

    path_class: PathClass
    certain: bool
    """False where only a name, or nothing at all, speaks for it."""
    because: str
    """Half a sentence: "it is a socket"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a directory's own path, the image and the user's mounts say of everything written in it."""

    fixed: PathClass | None
    """Life time that the hierarchy standard fixes: `/tmp`, `/run`, a cache."""
    hint: PathClass | None
    """What the nearest telling name on the path suggests."""
    standard: PathClass | None
    """What the hierarchy standard says of it in general: `/var/lib` is state, until something better is known."""
    volume: PurePosixPath | None
    """The image's VOLUME that holds it."""
    in_program: bool
    """It is, or lies below, a directory that holds the program itself."""
    in_system: bool
    """It is, or lies below, a directory of nothing but programs, as `/usr/bin`."""
    in_modules: bool
    """It lies in a tree of installed libraries, as `site-packages`."""


def surroundings(directory: PurePosixPath, image: ImageFacts) -> Surroundings:
    """Return what is known of everything in `directory`."""
    parts = directory.parts[1:]
    roots = image.code_roots
    return Surroundings(
        fixed=_fixed(parts),
        hint=_hint(parts),
        standard=PathClass.STATE if parts[:2] in (("var", "lib"), ("var", "opt")) or parts[:1] == ("srv",) else None,
        volume=deepest_holding(directory, image.volumes),
        in_program=directory in roots or any(root != ROOT and directory.is_relative_to(root) for root in roots),
        in_system=is_code(directory),
        in_modules=not _CODE_DIRECTORIES.isdisjoint(parts) and "__pycache__" not in parts and ".cache" not in parts,
    )


def deepest_holding(path: PurePosixPath, places: Sequence[PurePosixPath]) -> PurePosixPath | None:
    """Return the deepest of `places` that is `path` or lies above it."""
    if not places:
        return None
    return max((p for p in places if path.is_relative_to(p)), key=lambda p: (len(p.parts), p), default=None)


def _fixed(parts: tuple[str, ...]) -> PathClass | None:
    match parts:
        case ("tmp", *_) | ("var", "tmp", *_):
            return PathClass.SCRATCH
        case ("run", *_) | ("var", "run", *_) | ("var", "lock", *_):
            return PathClass.RUNTIME
        case ("var", "cache", *_):
            return PathClass.CACHE
    return PathClass.CACHE if ".cache" in parts or "__pycache__" in parts else None


def _hint(parts: tuple[str, ...]) -> PathClass | None:
    for name in reversed(parts):
        hint = _hint_of(name)
        if hint is not None:
            return hint
    return None


@lru_cache(maxsize=4096)
def _hint_of(name: str) -> PathClass | None:
    lower = name.lower()
    if lower.endswith(("_temp", "-temp", "_tmp", "-tmp", ".tmp")):
        return _HINT_OF.get(lower, PathClass.SCRATCH)
    if lower.endswith(("-cache", "_cache")):
        return _HINT_OF.get(lower, PathClass.CACHE)
    return _HINT_OF.get(lower)


def classify(
    write: Write, where: Surroundings, image: ImageFacts, resident: Container[str] = frozenset()
) -> Classified:
    """Return what `write` is for; `where` belongs to the directory that holds it, or to itself where it is one.

    `resident` is the program that the container was started with, and that runs.
    """
    return (
        _as_identity(write)
        or _as_code(write, where, image)
        or _as_kind(write)
        or _as_fixed(where)
        or _as_runtime(write)
        or _as_content(write)
        or _as_log(write, where)
        or _as_transient(write, where, resident)
        or _as_named(write, where, image, resident)
        or _as_remainder(write, where)
    )


def _as_identity(write: Write) -> Classified | None:
    path = write.path
    if path.parts[:2] != _ETC.parts:
        return None
    if path in IDENTITY_FILES or (path.parent == _ETC and _IDENTITY_SIBLING.fullmatch(path.name)):
        return _certain(PathClass.IDENTITY, "it says who the users and hosts are")
    if write.change is not Change.CAME_AND_WENT or path != _ETC or not write.names:
        return None
    if all(path / name in IDENTITY_FILES or _IDENTITY_SIBLING.fullmatch(name) for name in write.names):
        return _certain(PathClass.IDENTITY, "the users' and hosts' files are edited there")
    return None


def _as_code(write: Write, where: Surroundings, image: ImageFacts) -> Classified | None:
    beside = where.fixed is None and (where.in_modules or (where.in_program and where.hint is None))
    if write.type is EntryType.DIRECTORY and write.change is Change.CREATED:
        if write.path in image.code_roots:
            return _certain(PathClass.CODE, "it is code that a start makes, and that runs from there")
        told = _fixed(write.path.parts[1:]) or _hint_of(write.path.name)
        return _certain(PathClass.CODE, _BESIDE) if beside and not told and write.content in _COMPILED else None
    if write.type is EntryType.DIRECTORY or write.change in (Change.CAME_AND_WENT, Change.OPENED, Change.METADATA):
        return None
    entry = image.entry(write.path)
    if entry is not None and entry.type is EntryType.FILE and entry.executables and where.fixed is None:
        return _certain(PathClass.CODE, "it changes a program or library of the image")
    if where.in_system:
        return _certain(PathClass.CODE, "it lies among the system's programs")
    if beside and (write.content in _COMPILED or write.path.suffix.lower() in _CODE_SUFFIXES):
        return _certain(PathClass.CODE, _BESIDE)
    return None


def _as_kind(write: Write) -> Classified | None:
    if write.type in (EntryType.SOCKET, EntryType.FIFO):
        return _certain(PathClass.RUNTIME, f"it is a {write.type.value}")
    if write.content == "socket":
        return _certain(PathClass.RUNTIME, "it holds sockets")
    return None


def _as_fixed(where: Surroundings) -> Classified | None:
    words = {
        PathClass.SCRATCH: "it lies where temporary files go",
        PathClass.RUNTIME: "it lies where run-time files go, which no start expects to find",
        PathClass.CACHE: "it lies in a cache, which can always be made again",
    }
    return _certain(where.fixed, words[where.fixed]) if where.fixed is not None else None


def _as_runtime(write: Write) -> Classified | None:
    names = write.names if write.change is Change.CAME_AND_WENT else (write.path.name,)
    came_and_went = write.change is Change.CAME_AND_WENT
    if not names or (write.type is EntryType.DIRECTORY and not came_and_went) or write.size > _LARGEST_PID_FILE:
        return None
    if all(_RUNTIME_NAME.fullmatch(_last(name)) for name in names):
        return _certain(PathClass.RUNTIME, "it is a pid file, socket or lock by its name")
    return None


def _as_log(write: Write, where: Surroundings) -> Classified | None:
    if write.type is EntryType.DIRECTORY or write.change is Change.CAME_AND_WENT:
        return None
    if PathClass.STATE in (where.hint, where.standard) and _WRITE_AHEAD_LOG.fullmatch(write.path.name):
        return _certain(PathClass.STATE, "it is a store's own log, from which it recovers")
    if where.hint in (PathClass.STATE, PathClass.CACHE) or _WRITE_AHEAD_LOG.fullmatch(write.path.name):
        return None
    if _LOG_NAME.fullmatch(write.path.name):
        return _certain(PathClass.LOG, "it is a log by its name")
    return None


def _as_content(write: Write) -> Classified | None:
    if write.content in STATE_CONTENT:
        return _certain(PathClass.STATE, f"its content is {write.content}")
    return None


def _as_transient(write: Write, where: Surroundings, resident: Container[str]) -> Classified | None:
    """Judge what left no bytes behind: nothing of it was lost, but a name may say that more is to come."""
    # A directory stands for what is folded below it, files that stayed too: then it has a size.
    made_empty = write.change is Change.CREATED and write.type is EntryType.DIRECTORY and write.content is None
    if write.size or not (write.change is Change.CAME_AND_WENT or made_empty):
        return None
    if where.hint is PathClass.CONFIG and made_empty and _is_kept_by_service(write, resident):
        return _hinted(PathClass.STATE, OWN_SETTINGS)  # it made room there for what is to come
    if where.hint is not None:
        return _hinted(where.hint)
    if where.volume is not None:
        return _hinted(PathClass.STATE, "the image declares it as a volume")
    return _hinted(PathClass.SCRATCH, "nothing of it was left")


def _as_named(write: Write, where: Surroundings, image: ImageFacts, resident: Container[str]) -> Classified | None:
    name = write.path.name
    if _HISTORY_NAME.fullmatch(name):
        return _hinted(PathClass.SCRATCH, "it is a tool's history")
    file = write.type is not EntryType.DIRECTORY
    if file and _STATE_NAME.fullmatch(name) and where.hint not in (PathClass.CACHE, PathClass.SCRATCH):
        return _hinted(PathClass.STATE, "its name is one of a database, key or store")
    if (
        file
        and where.hint in (None, PathClass.CONFIG)
        and where.standard is None
        and _is_rewritten(write, where, image)
    ):
        if _is_kept_by_service(write, resident):
            return _hinted(PathClass.STATE, OWN_SETTINGS)
        return _hinted(PathClass.CONFIG, "it is text that the start writes, as configuration is")
    if where.hint is PathClass.CONFIG and write.size and _is_kept_by_service(write, resident):
        return _hinted(PathClass.STATE, OWN_SETTINGS)
    if where.hint is not None:
        return _hinted(where.hint)
    if where.standard is not None:
        return _hinted(where.standard, "it lies where the hierarchy standard keeps state")
    return None


def _is_rewritten(write: Write, where: Surroundings, image: ImageFacts) -> bool:
    """Tell whether a file looks like configuration that a start script fills in, not like data kept as text."""
    if write.content is not None and write.content not in TEXT_CONTENT:
        return False
    named = bool(_CONFIG_NAME.fullmatch(write.path.name))
    if where.hint is PathClass.CONFIG:
        return named or write.content in TEXT_CONTENT
    by_script = any(_last(writer.program) in _SCRIPT_TOOLS for writer in write.writers)
    replaced = write.change in (Change.CHANGED, Change.REPLACED) and image.entry(write.path) is not None
    return (named and replaced) or (by_script and (named or replaced))


def _is_kept_by_service(write: Write, resident: Container[str]) -> bool:
    """Tell whether the service itself writes it, who reads it back at the next start, and no start script."""
    return bool(write.writers) and all(
        writer.program in resident
        and _last(writer.program) not in _SCRIPT_TOOLS
        and not _INTERPRETER.fullmatch(_last(writer.program))
        for writer in write.writers
    )


OWN_SETTINGS = "the program keeps its own settings there, and finds its last word at the next start"
LEFT_OVER = "it was still there at the end, and nothing says that it can be made again"


def _as_remainder(write: Write, where: Surroundings) -> Classified:
    if where.volume is not None:
        return _hinted(PathClass.STATE, "the image declares it as a volume")
    if write.change in (Change.DELETED, Change.METADATA):
        return _hinted(PathClass.CONFIG, "it changes what the image has")
    if write.type is EntryType.SYMLINK or write.size == 0:
        return _hinted(PathClass.SCRATCH, "it holds no bytes")
    return _hinted(PathClass.STATE, LEFT_OVER)


def _last(name: str) -> str:
    return name.rpartition("/")[2]


@cache  # there are few of them, for very many writes
def _certain(path_class: PathClass, because: str) -> Classified:
    return Classified(path_class=path_class, certain=True, because=because)


@cache
def _hinted(path_class: PathClass, because: str = "") -> Classified:
    return Classified(
        path_class=path_class, certain=False, because=because or f"the directory's name says {path_class.value}"
    )
