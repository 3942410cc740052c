"""What every source gives, and the pieces that several of them share."""

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator

from lithify.model.finding import Skipped
from lithify.model.location import Location
from lithify.model.workload import Exemption, Oddity, Workload

EXEMPTION_KEY = "lithify.dev/ignore."
"""What annotations and labels that exempt from a rule start with; the rule's name follows."""

KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")
"""Names of the file that makes a folder one of Kustomize."""

MAX_BYTES = 64 << 20
"""Larger files are left out; no API server takes an object of a fortieth of that."""

_COMMENT = re.compile(r"#\s*lithify:\s*ignore\b[ \t]*(?:\[([^\]]*)\])?[ \t]*(.*)")
_MOST_NAMED = 100
"""Rules that one comment may name: there are fewer."""
_SEPARATOR = re.compile(r"---\s*(?:#.*)?")
"""What ends a document and says nothing: a comment above it speaks of the next one."""
_FIELD = re.compile(r"[;,]?\s{0,9}\(?\b(owner|until)\s*[=:]\s*([^\s;,)]+)\)?")


class Reading:
    """What one file holds: workloads, what is odd about it outside of them, and what was left out."""

    __slots__ = (
        "comments",
        "depends",
        "documents",
        "lines",
        "oddities",
        "parts",
        "path",
        "pod",
        "skipped",
        "workloads",
    )

    def __init__(self, path: str) -> None:
        self.path = path
        self.pod = ""
        """The live pod that it is of; nothing where it is of none."""
        self.workloads: list[Workload] = []
        self.oddities: list[Oddity] = []
        self.skipped: list[Skipped] = []
        self.documents = 0
        self.comments: list[CommentExemption] = []
        self.lines: Callable[[Location], list[int]] = lambda location: [location.line]
        """Takes a place to the lines on which the steps of its route stand, outermost first."""
        self.depends = False
        """True where the answer depends on more than this file: on others, or on the environment."""
        self.parts: dict[str, tuple[str, ...]] = {}
        """Other files that are judged with this one, by their real path, each with what is not of what it describes."""


class CommentExemption:
    """A `# lithify: ignore[...]` comment: what it exempts from, and the line it speaks of."""

    __slots__ = ("again", "exemption", "line", "path")

    def __init__(self, exemption: Exemption, line: int, path: str = "", *, again: bool = False) -> None:
        self.exemption = exemption
        self.path = path
        """The file that it speaks of; nothing where the input is one file."""
        self.line = line
        """The line, from 1, whose node it covers, with all that is below."""
        self.again = again
        """True in every part of an input but the one that it stands in."""


def parse_exemption(rule: str, text: str, *, origin: str, line: int = 0) -> Exemption:
    """Return the exemption that `text` gives for `rule`: a reason, with `owner=NAME` and `until=YYYY-MM-DD` in it."""
    fields = dict(_FIELD.findall(text))
    reason = _FIELD.sub("", text).strip(" \t-:;,")
    return Exemption(
        rule, reason, owner=fields.get("owner", ""), until=fields.get("until", ""), origin=origin, line=line
    )


def read_labels(labels: Iterable[tuple[str, object]]) -> Iterator[Exemption]:
    """Yield the exemptions that labels of a container or service give."""
    for key, value in labels:
        if key.startswith(EXEMPTION_KEY):
            yield parse_exemption(key.removeprefix(EXEMPTION_KEY), str(value), origin="label")


def read_comments(data: bytes, path: str = "", *, again: bool = False) -> list[CommentExemption]:
    """Return the exemptions that comments in a file give, with `path` and `again` as they are of each.

    A comment after something speaks of what begins on its line; one on a line of its own of what begins next.
    """
    if b"lithify:" not in data:
        return []
    found = _read_comments(data.decode("utf-8", "replace"))
    return [CommentExemption(exemption, line, path, again=again) for exemption, line in found]


def _read_comments(text: str) -> Iterator[tuple[Exemption, int]]:
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        match = _COMMENT.search(line)
        if not match:
            continue
        target = number
        if line.lstrip().startswith("#"):
            target = next((n for n in range(number + 1, len(lines) + 1) if _has_content(lines[n - 1])), number)
        for rule in (match[1] or "").split(",", _MOST_NAMED):
            exemption = parse_exemption(rule.strip(), match[2], origin="comment", line=number)
            yield exemption, target


def _has_content(line: str) -> bool:
    stripped = line.strip()
    return bool(stripped) and not stripped.startswith("#") and not _SEPARATOR.fullmatch(line)


def normal_path(path: str) -> str:
    """Return a container path without a slash at its end, without `.` and without `//`."""
    if "//" in path or "/." in path:
        import posixpath

        path = posixpath.normpath(path)
        path = "/" + path.lstrip("/") if path.startswith("/") else path
    return path.rstrip("/") or "/"


_DESCRIPTORS = ("/dev/fd/", "/proc/self/fd/")
"""Where a shell's `<(helm template web)` is, a pipe that somebody writes to."""


def read_bytes(path: str) -> bytes | str:
    """Return what is in a file, or why it can't be read: a pipe nobody writes to does not hold up a run."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return error.strerror or str(error)
    except ValueError:  # a null character, or half of a pair
        return "no name of a file"
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            if not (stat.S_ISFIFO(status.st_mode) and path.startswith(_DESCRIPTORS)):
                return "not a regular file"
            os.set_blocking(descriptor, True)
        if status.st_size > MAX_BYTES:
            return f"larger than {MAX_BYTES >> 20} MiB"
        data = os.read(descriptor, status.st_size + 1)
        # One that is as long as it said ends there: a byte more was asked for.
        while len(data) != status.st_size and len(data) <= MAX_BYTES and (more := os.read(descriptor, 1 << 20)):
            data += more
        return data if len(data) <= MAX_BYTES else f"larger than {MAX_BYTES >> 20} MiB"
    except OSError as error:
        return error.strerror or str(error)
    finally:
        os.close(descriptor)


def read_kustomization_file(folder: str) -> bytes:
    """Return what makes a folder one of Kustomize; nothing where nothing does, or it can't be read."""
    return next(
        (data for name in KUSTOMIZATIONS if isinstance(data := read_bytes(os.path.join(folder, name)), bytes)), b""
    )


def unreadable(path: str, reason: str) -> Reading:
    """Return the reading of a file that can't be read."""
    reading = Reading(path)
    reading.oddities.append(Oddity("unreadable-input", f"can't be read: {reason}", Location(path)))
    return reading


def left_out(path: str, reason: str) -> Reading:
    """Return the reading of an input that is not judged."""
    reading = Reading(path)
    reading.skipped.append(Skipped(Location(path), reason))
    return reading
