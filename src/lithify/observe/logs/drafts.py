"""Decides what a line reports, and collects what the lines after it add.

Runtimes spread one failure over several lines: a Java trace, Node's dump of an error object, npm's block, the second
line in which a tool names the target whose temporary file the first one named. What a line leaves open waits in a
`Pending` for the lines that may complete it, a bounded number of them.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from lithify.model.log import LogError, Operation
from lithify.observe.logs.disguises import Disguise, matching
from lithify.observe.logs.envelopes import Message, unescape
from lithify.observe.logs.errnos import TOKENS, tokenise
from lithify.observe.logs.shapes import Failure, read_failures
from lithify.observe.logs.words import operation_in

_TMP = "/tmp"  # noqa: S108 - a place in containers, not a file of ours
_START = 8192
"""Characters of a message in which the forms that span lines are looked for."""
_MANY = 16
"""Failures that one record may report; each of them once."""


@dataclass(slots=True, kw_only=True)
class Draft:
    """What is known so far of one event."""

    failure: Failure
    message: Message
    line: int
    raw: str
    confidence: float | None = None
    """That the path is the path; None leaves it to how the line names it."""
    cause: str = ""
    remedy: str = ""
    climbs: bool = False
    repeats: bool = False
    """The line belongs to a trace and may repeat what its first line said."""
    counts: bool = True
    """False while only a later line can make an event of it."""


def examine(messages: Iterable[Message], *, line: int, raw: str) -> Iterator[Draft]:
    """Yield what the messages of one line report: failures with their path if there are any, else the best there is.

    `messages` are read no further than to the first that says it all: the others say the same in other words.
    """
    read: list[tuple[Message, str]] = []
    failures: list[tuple[Message, str, Failure]] = []
    pathless: list[tuple[Message, str, Failure]] = []
    for message in messages:
        text = _text(message)
        found = [(message, text, failure) for failure in read_failures(tokenise(text))]
        erofs = [item for item in found if item[2].error is LogError.EROFS]
        if any(item[2].path is not None for item in erofs):
            yield from _drafts([item for item in erofs if item[2].path is not None], line, raw)
            return
        read.append((message, text))
        failures += found
        pathless += erofs
        if erofs and _path_beside(message):
            break
    if pathless:
        yield from _pathless(pathless[-1] if _path_beside(pathless[-1][0]) else pathless[0], read, line, raw)
        return
    named = [item for item in failures if item[2].path is not None and _is_failed_write(*item[1:])]
    if hint := next(_hints(read, line, raw, vague=False), None):
        yield hint
        return
    if named:
        yield from _drafts([item for item in named if item[0] is named[0][0]], line, raw)
        return
    for message, _, failure in failures:
        if failure.error in (LogError.ENOSPC, LogError.EXDEV) and failure.stated:
            yield Draft(failure=failure, message=message, line=line, raw=raw)
            return
    begun = next(_preludes(read, line, raw), None) or next(_hints(read, line, raw, vague=True), None)
    if begun:
        yield begun


def _hints(read: Iterable[tuple[Message, str]], line: int, raw: str, *, vague: bool) -> Iterator[Draft]:
    for message, text in read:
        for row, match in matching(text, vague=vague):
            # wget's second line: `Cannot write to 'P' (Success).`
            if "(Success)" not in text:
                yield _disguised(row, match, Failure(error=row.error), message, line, raw)


def _text(message: Message) -> str:
    """Return a message's words; quotes that are still escaped belong to a layer that its envelope did not name."""
    text = message.text
    for _ in range(3):
        if '\\"' not in text:
            break
        text = unescape(text)
    return text


_MAKES = re.compile(r"creat|\bmk|touch|\bwrit|\bsav|lock|pid ?file|bind|listen|\btemp", re.IGNORECASE)


def _is_failed_write(text: str, failure: Failure) -> bool:
    """Tell whether a failure with a path is one of writing: what is missing is mostly only looked for."""
    if failure.error is not LogError.ENOENT:
        return True
    if failure.operation in (Operation.MKDIR, Operation.BIND, Operation.MOUNT):
        return True
    return failure.operation is Operation.CREATE and bool(_MAKES.search(text.replace(failure.path or "", "")))


_TRACE = ("Caused by:", "[cause]", "Wrapped by:", "Suppressed:")


def _drafts(named: Sequence[tuple[Message, str, Failure]], line: int, raw: str) -> Iterator[Draft]:
    seen = set()
    for message, text, failure in named[:_MANY]:
        beside = _path_beside(message)
        if beside.endswith(f"/{(failure.path or '').rpartition('/')[2]}") and not (failure.path or "/").startswith("/"):
            failure = replace(failure, path=beside)
        if failure.error in (LogError.EACCES, LogError.EPERM) and failure.operation is Operation.EXECUTE:
            failure = replace(failure, error=LogError.NOEXEC)
        key = (failure.path, failure.error)
        if key not in seen:
            seen.add(key)
            repeats = text.lstrip().startswith(_TRACE)
            yield Draft(failure=failure, message=message, line=line, raw=raw, repeats=repeats)


def _path_beside(message: Message) -> str:
    """Return the absolute path that the record of a message holds in a field of its own; empty where there is none."""
    names = ("path", "filename", "file", "directory", "dir")
    return next((message.fields[n] for n in names if message.fields.get(n, "").startswith("/")), "")


def _pathless(
    found: tuple[Message, str, Failure], read: Sequence[tuple[Message, str]], line: int, raw: str
) -> Iterator[Draft]:
    """Yield an event of an error whose path the line does not hold in any shape of its own."""
    message, text, failure = found
    for other, words in read:
        for row, match in matching(words, named=True):
            yield _disguised(row, match, failure, other, line, raw)
            return
    fields = message.fields
    if path := _path_beside(message):
        operation = operation_in(fields.get("syscall", "")) if "syscall" in fields else failure.operation
        failure = replace(failure, path=path, operation=operation, delimited=True)
        if fields.get("dest"):
            failure = replace(failure, path=fields["dest"], second=path)
    elif not failure.stated and not _BLOCKS.search(text):
        return
    if audit := _AUDIT_SYSCALL.match(text[:_START]):
        failure = replace(failure, program=audit[1])
    yield Draft(failure=failure, message=message, line=line, raw=raw, repeats=text.lstrip().startswith(_TRACE))


def _disguised(row: Disguise, match: re.Match[str], failure: Failure, message: Message, line: int, raw: str) -> Draft:
    named = match.groupdict().get("path")
    path = named or row.path
    tried = (row.operation, failure.operation, operation_in(match[0].partition(" /")[0]))
    failure = replace(
        failure,
        path=path,
        operation=next(o for o in tried if o is not Operation.UNKNOWN or o is tried[-1]),
        program=row.program or failure.program,
        temporary=row.temporary,
        delimited=bool(named),
    )
    return Draft(
        failure=failure,
        message=message,
        line=line,
        raw=raw,
        confidence=row.confidence if named else 0.3,
        cause=row.cause,
        remedy=row.remedy,
        climbs=row.climbs,
    )


_CURL = re.compile(r"Failed to open the file (?:/.{0,200})?\Z")
_SET_FILE = re.compile(r"\bsetFile\((/[^\n,]{1,4000}), ?(?:true|false)\) call failed")
_DUMP_CODE = re.compile(r"\s*(?:code|errno): (?:'(E[A-Z]+)'|-\d+),?\s*\Z")


def _preludes(read: Sequence[tuple[Message, str]], line: int, raw: str) -> Iterator[Draft]:
    """Yield what only becomes an event by the lines that follow."""
    for message, text in read:
        if match := _CURL.search(text):
            failure = Failure(error=LogError.EROFS, operation=Operation.CREATE, program="curl")
            # its words so far are what the next lines go on from
            begun = replace(message, text=match[0])
            yield Draft(failure=failure, message=begun, line=line, raw=raw, counts=False)
            return
        if match := _SET_FILE.search(text[:_START]):
            failure = Failure(
                error=LogError.EACCES, path=match[1], operation=Operation.CREATE, program="log4cxx", delimited=True
            )
            yield Draft(failure=failure, message=message, line=line, raw=raw, counts=False)
            return
        if (match := _DUMP_CODE.match(text)) and match[1] in TOKENS:
            failure = Failure(error=LogError(match[1]), program="node", delimited=True)
            yield Draft(failure=failure, message=message, line=line, raw=raw, counts=False)
            return


# --- what the next lines add ---


class Offer(Enum):
    """What a pending event makes of a line."""

    CONSUMED = "it belongs to the event, and more may follow"
    COMPLETED = "it belongs to the event, and nothing follows"
    RELEASED = "the event is over, and the line is none of it"


_Reader = Callable[[Draft, str], Offer]


@dataclass(slots=True)
class Pending:
    """An event that waits for the lines which may complete it."""

    draft: Draft
    _read: _Reader
    _left: int

    def offer(self, messages: Sequence[Message]) -> Offer:
        """Take what a line of the same container, by its messages, adds to the event."""
        self._left -= 1
        if self._left < 0:
            return Offer.RELEASED
        offers = (self._read(self.draft, message.text) for message in messages)
        return next((offer for offer in offers if offer is not Offer.RELEASED), Offer.RELEASED)


_BLOCKS = re.compile(r"\bnpm (?:ERR!|error)|type=SYSCALL")
_SHADOW_LOCK = re.compile(r"/etc/(?:passwd|group|shadow|gshadow|subuid|subgid)\.(?:\d+|lock)\Z")


def awaiting(draft: Draft) -> Pending | None:
    """Return what `draft` waits for; None where its line says all."""
    failure = draft.failure
    if not draft.counts and failure.program in _CONTINUED:
        return Pending(draft, *_CONTINUED[failure.program])
    if failure.error is LogError.DISGUISE and _PIECE.match(draft.raw):
        return Pending(draft, _read_rest, 3)
    if "type=SYSCALL" in draft.message.text and (serial := _AUDIT_SERIAL.search(draft.message.text)):
        return Pending(draft, _AuditReader(serial[1]), 12)
    if failure.program == "npm":
        return Pending(draft, _read_npm, 40)
    if failure.program == "node" or _DUMP_CODE.match(draft.message.text):
        return Pending(draft, _read_node, 60)
    if failure.path is None and failure.program == "java":
        return Pending(draft, _read_java, 12)
    if failure.path is None and failure.error is LogError.EROFS and not draft.cause:
        return Pending(draft, _read_neighbour, 2)
    if failure.path and (failure.program == "apache" or _SHADOW_LOCK.search(failure.path)):
        return Pending(draft, _read_target, 1)
    return None


def _name(draft: Draft, path: str, *, second: str | None = None) -> None:
    draft.failure = replace(draft.failure, path=path, second=second, delimited=True, temporary=False)
    draft.counts = True


_NODE_MORE = re.compile(
    r"\s*(?:at |\}|\[cause\]|Emitted 'error'|(errno|code|syscall|path|dest): (?:'([^'\n]{1,4200})')?)"
)


def _read_node(draft: Draft, text: str) -> Offer:
    match = _NODE_MORE.match(text)
    if not match:
        return Offer.RELEASED
    key, value = match[1], match[2]
    if key == "syscall" and draft.failure.operation is Operation.UNKNOWN:
        draft.failure = replace(draft.failure, operation=operation_in(value or ""))
    elif key == "path" and value and draft.failure.path is None:
        _name(draft, value)
    elif key == "dest" and value and draft.failure.second is None and draft.failure.path not in (None, value):
        _name(draft, value, second=draft.failure.path)
    return Offer.COMPLETED if text.strip().startswith("}") else Offer.CONSUMED


_NPM = re.compile(r".{0,200}?\bnpm (?:ERR!|error) (?:(code|syscall|path|dest|errno|rofs)\b ?(.*))?", re.DOTALL)


def _read_npm(draft: Draft, text: str) -> Offer:
    match = _NPM.match(text)
    if not match:
        return Offer.RELEASED
    key, value = match[1], (match[2] or "").strip()
    if key == "syscall":
        draft.failure = replace(draft.failure, operation=operation_in(value))
    elif key == "path" and value:
        _name(draft, value)
    elif key == "dest" and value and draft.failure.path:
        _name(draft, value, second=draft.failure.path)
    return Offer.CONSUMED


_JAVA_MORE = re.compile(r"\s+at |\s*\.\.\. \d+ (?:more|common)")


def _read_java(draft: Draft, text: str) -> Offer:
    if not _JAVA_MORE.match(text):
        return Offer.RELEASED
    if re.search(r"createTemp(?:File|Directory)|TempFileHelper|TempDirectory", text):
        draft.failure = replace(draft.failure, path=_TMP, operation=Operation.CREATE)
        draft.confidence = 0.3
        draft.cause = "Java makes temporary files in java.io.tmpdir, which is /tmp unless it is set."
        draft.remedy = "Mount a tmpfs there, or set -Djava.io.tmpdir to a directory that is writable."
    return Offer.CONSUMED


_COMPLAINS = re.compile(r"could not|can ?not|can't|unable|fail|error|refus|another|running on", re.IGNORECASE)
_ON_SOCKET = re.compile(r"running on socket: (/\S{1,4000}) \?")


def _read_neighbour(draft: Draft, text: str) -> Offer:
    """The next line often names the path that the error's own line leaves out."""
    if match := _ON_SOCKET.search(text):
        draft.failure = replace(draft.failure, path=match[1], operation=Operation.BIND)
        draft.confidence = 0.6
        return Offer.COMPLETED
    if not _COMPLAINS.search(text):
        return Offer.RELEASED
    tokenised = tokenise(text)
    if tokenised != text:
        return Offer.RELEASED
    failure = next(read_failures(f"{text.rstrip(' .')}: {TOKENS[LogError.EROFS]}"), None)
    if failure is None or not (failure.path or "").startswith("/"):
        return Offer.RELEASED
    draft.failure = replace(
        failure,
        program=draft.failure.program or failure.program,
        operation=failure.operation or draft.failure.operation,
    )
    draft.confidence = 0.3
    return Offer.COMPLETED


_TARGET = re.compile(r"could not log pid to file (/\S{1,4000})|cannot lock (/[^;\n]{1,4000}); try again")


def _read_target(draft: Draft, text: str) -> Offer:
    """The second line names the file whose temporary sibling could not be made."""
    match = _TARGET.search(text)
    path = match and (match[1] or match[2])
    if not path or not (draft.failure.path or "").startswith(path):
        return Offer.RELEASED
    _name(draft, path)
    return Offer.COMPLETED


_PIECE = re.compile(r"\S+ std(?:out|err) P ")


def _read_rest(draft: Draft, text: str) -> Offer:
    """A hint from a piece of a line gives way to the error that the rest of the line names."""
    if tokenise(text) == text:
        return Offer.RELEASED if text.strip() else Offer.CONSUMED
    draft.counts = False
    return Offer.RELEASED


def _read_curl(draft: Draft, text: str) -> Offer:
    """curl breaks its warnings at 79 columns, within words too."""
    match = re.search(r"Warning: (.*)\Z", text)
    if not match:
        return Offer.RELEASED
    draft.message = replace(draft.message, text=draft.message.text + match[1])
    failure = next(read_failures(tokenise(draft.message.text)), None)
    if failure is None or failure.path is None:
        return Offer.CONSUMED
    draft.failure = replace(failure, program="curl")
    draft.counts = True
    return Offer.COMPLETED


def _read_log4cxx(draft: Draft, text: str) -> Offer:
    match = re.search(r"IO Exception : status code = (\d+)", text)
    if match:
        error = {"30": LogError.EROFS, "28": LogError.ENOSPC, "2": LogError.ENOENT}.get(match[1], LogError.EACCES)
        draft.failure = replace(draft.failure, error=error)
        draft.counts = True
        return Offer.COMPLETED
    return Offer.CONSUMED if text.startswith("log4cxx") else Offer.RELEASED


_CONTINUED: dict[str, tuple[_Reader, int]] = {"log4cxx": (_read_log4cxx, 4), "curl": (_read_curl, 70)}
"""What only becomes an event by its next lines: who reads them, and how many at most."""
_AUDIT_SYSCALL = re.compile(r".{0,200}?type=SYSCALL .{0,4000}\bcomm=\"([^\"]{1,200})\"")
_AUDIT_SERIAL = re.compile(r"\bmsg=audit\(([\d.]+:\d+)\)")
_AUDIT_NAME = re.compile(
    r"type=(CWD|PATH) .{0,4000}?\b(?:name|cwd)=(?:\"([^\"]*)\"|([0-9A-F]+)\b)(?:.{0,4000}?\bnametype=(\w+))?"
)


class _AuditReader:
    """auditd writes one event as several records with one serial: the call, the working directory, each path."""

    def __init__(self, serial: str) -> None:
        self._serial = serial
        self._directory = "/"

    def __call__(self, draft: Draft, text: str) -> Offer:
        serial = _AUDIT_SERIAL.search(text)
        if not serial or serial[1] != self._serial:
            return Offer.RELEASED
        match = _AUDIT_NAME.search(text)
        if match:
            name = match[2] if match[2] is not None else bytes.fromhex(match[3]).decode("utf-8", "surrogateescape")
            if match[1] == "CWD":
                self._directory = name
            elif draft.failure.path is None or match[4] != "PARENT":
                _name(draft, name if name.startswith("/") else f"{self._directory.rstrip('/')}/{name}")
        return Offer.CONSUMED
