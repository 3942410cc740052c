"""What every source gives, and the pieces that several of them share."""

import re
from collections.abc import Callable, Iterator

from lithify.model.finding import Skipped
from lithify.model.location import Location
from lithify.model.workload import Exemption, Oddity, Workload

EXEMPTION_KEY = "lithify.dev/ignore."
"""What annotations and labels that exempt from a rule start with; the rule's name follows."""

_COMMENT = re.compile(r"#\s*lithify:\s*ignore\[([^\]]*)\][ \t]*(.*)")
_FIELD = re.compile(r"[;,]?\s*\(?\b(owner|until)\s*[=:]\s*([^\s;,)]+)\)?")


class Reading:
    """What one file holds: workloads, what is odd about it outside of them, and what was left out."""

    __slots__ = ("comments", "depends", "documents", "lines", "oddities", "path", "skipped", "workloads")

    def __init__(self, path: str) -> None:
        self.path = path
        self.workloads: list[Workload] = []
        self.oddities: list[Oddity] = []
        self.skipped: list[Skipped] = []
        self.documents = 0
        self.comments: list[CommentExemption] = []
        self.lines: Callable[[Location], list[int]] = lambda location: [location.line]
        """Takes a place to the lines on which the steps of its route stand, outermost first."""
        self.depends = False
        """True where the answer depends on more than this file: on others, or on the environment."""


class CommentExemption:
    """A `# lithify: ignore[...]` comment: what it exempts from, and the line it speaks of."""

    __slots__ = ("exemption", "line")

    def __init__(self, exemption: Exemption, line: int) -> None:
        self.exemption = exemption
        self.line = line
        """The line, from 1, whose node it covers, with all that is below."""


def parse_exemption(rule: str, text: str, *, origin: str, line: int = 0) -> Exemption:
    """Return the exemption that `text` gives for `rule`: a reason, with `owner=NAME` and `until=YYYY-MM-DD` in it."""
    fields = dict(_FIELD.findall(text))
    reason = _FIELD.sub("", text).strip(" \t-:;,")
    return Exemption(
        rule, reason, owner=fields.get("owner", ""), until=fields.get("until", ""), origin=origin, line=line
    )


def read_comments(text: str) -> Iterator[CommentExemption]:
    """Yield the exemptions that comments in `text` give.

    A comment after something speaks of what begins on its line; one on a line of its own of what begins next.
    """
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        match = _COMMENT.search(line)
        if not match:
            continue
        target = number
        if line.lstrip().startswith("#"):
            target = next((n for n in range(number + 1, len(lines) + 1) if _has_content(lines[n - 1])), number)
        for rule in match[1].split(","):
            exemption = parse_exemption(rule.strip(), match[2], origin="comment", line=number)
            yield CommentExemption(exemption, target)


def _has_content(line: str) -> bool:
    stripped = line.strip()
    return bool(stripped) and not stripped.startswith("#")


def nowhere(_path: str) -> bool:
    """Say of every file that it is not examined by itself."""
    return False


def normal_path(path: str) -> str:
    """Return a container path without a slash at its end, without `.` and without `//`."""
    if "//" in path or "/." in path:
        import posixpath

        path = posixpath.normpath(path)
        path = "/" + path.lstrip("/") if path.startswith("/") else path
    return path.rstrip("/") or "/"
