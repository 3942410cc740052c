"""Turns the text that stands for a path in a log line into a container path, trusted no further than it deserves."""

import posixpath
import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from lithify.model.path import CODE, ROOT, is_pseudo

_LONGEST = 4096
"""Bytes of the longest path the kernel takes, PATH_MAX."""
_SHARED_MEMORY = PurePosixPath("/dev/shm")  # noqa: S108 - a place that containers may write, not a file of ours

# Names that helpers make up: what matters is the directory they stand in.
_TEMPORARY = re.compile(
    r"""
      sed[A-Za-z0-9]{6}
    | \.?tmp[A-Za-z0-9_]{6,8} | (?:.*[.\-_])?tmp\.[A-Za-z0-9]{6,12}
    | .*\.te?mp(?:[.\-_][A-Za-z0-9]{1,24})? | .*[\-_]tmp[.\-_][A-Za-z0-9]{1,24}
    | .*X{6,}(?:\.\w{1,10})?
    | sess_[\w,\-]{8,} | php[A-Za-z0-9]{6} | \#sql.* | temp-(?:\w+-)?\d+\.\w{1,10} | \.nfs[0-9a-f]{8,}
    | .*~ | \.\#.* | .*\.sw[a-z] | .*\.(?:lock|lck)\.\d+
    | \d{6,20} | .*[.\-_]\d{6,}(?:\.\w{1,10})? | .*\D\d{8,}(?:\.\w{1,10})? | .*\d{8}-\d+-[a-z0-9]{4,10}(?:\.\w{1,10})?
    | .*[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}.*
    | (?!.*\.(?:so|log)\.).*[A-Za-z]\.\d{1,7}
    | .*[.\-_](?=[A-Za-z]*\d)(?=[a-z0-9]*[A-Z])[A-Za-z0-9]{6}
    | (?=\w*\d)(?=\w*[A-Z])(?=\w*[a-z])\w{10}
    """,
    re.VERBOSE | re.DOTALL,
)
_SIBLING = re.compile(
    r"sed\w{6}|temp-.+|.+~|.+\.te?mp|.+[.\-_]te?mp[.\-_]\w+|\.#.+|.+X{6,}|.+\.\d{1,7}|.+[.\-_](?=[A-Za-z]*\d)\w{6}",
    re.DOTALL,
)
_SCRATCH = tuple(PurePosixPath(p) for p in ("/tmp", "/var/tmp", "/usr/tmp", "/dev/shm"))  # noqa: S108
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class LogPath:
    """A path as a line names it, resolved and judged."""

    path: PurePosixPath | None
    """None where it can't even be shown as a path."""
    relative: bool = False
    folded: bool = False
    renames: bool = False
    refused: str = ""


def judge_path(
    text: str, working_directory: PurePosixPath, *, temporary: bool = False, normalise: bool = False
) -> LogPath:
    """Return the path that `text` names; `refused` says why it may not be proposed.

    `temporary`: the line itself calls the file temporary. `normalise`: resolve `..` by the letter, for the few
    programs that print such paths; the result is shown and not proposed, as links may make it another.
    """
    if _UNPRINTABLE.search(text):
        return LogPath(None, refused="its path holds control characters")
    if not text.strip() or len(text.encode("utf-8", "surrogateescape")) > _LONGEST:
        return LogPath(None, refused="it names no path that the kernel would take")
    path = PurePosixPath(text)
    relative = not path.is_absolute()
    path = PurePosixPath("/" + str(working_directory / path).lstrip("/"))
    if ".." in path.parts:
        if not normalise:
            return LogPath(None, relative=relative, refused="its path climbs with '..'")
        path = PurePosixPath(posixpath.normpath(path))
        return LogPath(path, relative=relative, refused="its path climbs with '..'")
    folded = temporary or is_temporary(path)
    renames = folded and path.parent not in _SCRATCH and bool(_SIBLING.fullmatch(path.name))
    return LogPath(path, relative=relative, folded=folded, renames=renames, refused=_refusal(path, folded=folded))


def is_temporary(path: PurePosixPath) -> bool:
    """Tell whether a helper made the name up, so that another run will use another."""
    return bool(_TEMPORARY.fullmatch(path.name[:256]))


def _refusal(path: PurePosixPath, *, folded: bool) -> str:
    place = path.parent if folded else path
    if place == ROOT or path == ROOT:
        return "it is the root itself"
    if is_pseudo(path) and not path.is_relative_to(_SHARED_MEMORY):
        return "it lies on a filesystem of the kernel"
    if any(path.is_relative_to(code) for code in CODE):
        return "it lies in a directory of programs"
    return ""
