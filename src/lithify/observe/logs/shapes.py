"""Reads from one message, errors already tokenised, what was tried and where: the shapes in which programs complain.

Two ways lead to the path. Some programs name it after the error (`Read-only file system: 'P'`, `[P]`), most before
(`cannot create 'P': ...`, `open P: ...`, `P (...`). Each side is looked at within a bounded window, by patterns that
are anchored at the error, so that a long line costs no more than its length.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from lithify.model.log import LogError, Operation
from lithify.observe.logs.envelopes import unescape
from lithify.observe.logs.errnos import ANY_TOKEN, has_tokens, tokens, without_tokens
from lithify.observe.logs.words import PROGRAM_OPERATIONS, operation_in, program_in

_WINDOW = 4600
"""Characters on each side of an error that are looked at: the longest path and a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What a message says, as text: nothing resolved, nothing trusted."""

    error: LogError
    path: str | None = None
    second: str | None = None
    operation: Operation = Operation.UNKNOWN
    program: str = ""
    delimited: bool = False
    """Quotes or brackets show where the path begins and ends."""
    temporary: bool = False
    """The program itself calls the file temporary."""
    deeper: bool = False
    """The path is the first directory that a helper for whole chains of them could not make."""
    certain: bool = True
    """False where the path is a guess of ours."""
    stated: bool = True
    """The error stands where a sentence reports one, not in running text."""


def read_failures(text: str) -> Iterator[Failure]:
    """Yield what each line of a tokenised message says went wrong; at most one failure a line."""
    for line in text.split("\n") if "\n" in text else (text,):
        failure = _read_line(line)
        if failure is not None:
            yield failure


def _read_line(line: str) -> Failure | None:
    best: Failure | None = None
    for position, error in tokens(line):
        left, right = line[max(0, position - _WINDOW) : position], line[position + 1 : position + 1 + _WINDOW]
        failure = _read_at(left, right, error)
        if failure.path is not None:
            return failure
        if best is None or (failure.stated and not best.stated):
            best = failure
    return best


def _read_at(left: str, right: str, error: LogError) -> Failure:
    readers = (_special, _after, _before)
    found = next((f for read in readers if (f := read(left, right)) and not has_tokens(f"{f.path}{f.second}")), None)
    if found is not None and (found.program or left.startswith(f"{found.path}: ")):
        return replace(found, error=error)
    program = program_in(left + right)
    if found is None:
        words = re.sub(r"\(\):?", " ", left[-80:])
        return Failure(error=error, operation=operation_in(words), program=program, stated=_is_stated(left, right))
    operation = found.operation
    if operation is Operation.UNKNOWN:
        operation = PROGRAM_OPERATIONS.get(program, Operation.UNKNOWN)
    return replace(found, error=error, operation=operation, program=program)


def _is_stated(left: str, right: str) -> bool:
    """Tell whether an error without a path is reported, not only spoken of."""
    before, after = left.rstrip(), right.lstrip(" .!)]}'\";,")
    return (not before or before[-1] in ":([{\"'=-,>@\u2013" or before.endswith("because")) and (
        not after or not re.match(r"(?:is|are|was|support|mode|image|mount|detected|type|driver)\b", after)
    )


# --- forms of one program that hold more than a path and an error ---


def _special(left: str, right: str) -> Failure | None:
    for mark, read in _SPECIAL:
        if mark in left:
            found = read(left, right)
            if found is not None:
                return found
    return None


_SYSCALL = re.compile(r"(?:^|[\s\]])([a-z_0-9]{3,20})\((.{1,4500})\) += -1 \Z")
_STRING = re.compile(r"\"((?:[^\"\\]|\\.)*)\"(\.\.\.)?")
_DIRECTORY = re.compile(r"(?:AT_FDCWD|\d+)<([^>]*)>, \Z")
_WRITING_CALLS: dict[str, Operation] = {
    "open": Operation.CREATE, "openat": Operation.CREATE, "openat2": Operation.CREATE, "creat": Operation.CREATE,
    "mkdir": Operation.MKDIR, "mkdirat": Operation.MKDIR, "rename": Operation.RENAME, "renameat": Operation.RENAME,
    "renameat2": Operation.RENAME, "unlink": Operation.UNLINK, "unlinkat": Operation.UNLINK, "rmdir": Operation.UNLINK,
    "link": Operation.LINK, "linkat": Operation.LINK, "symlink": Operation.LINK, "symlinkat": Operation.LINK,
    "chmod": Operation.CHMOD, "fchmodat": Operation.CHMOD, "fchmodat2": Operation.CHMOD, "chown": Operation.CHOWN,
    "lchown": Operation.CHOWN, "fchownat": Operation.CHOWN, "utimensat": Operation.TIMES, "utime": Operation.TIMES,
    "utimes": Operation.TIMES, "futimesat": Operation.TIMES, "truncate": Operation.CREATE, "mknod": Operation.CREATE,
    "mknodat": Operation.CREATE, "bind": Operation.BIND, "setxattr": Operation.CHMOD, "lsetxattr": Operation.CHMOD,
    "removexattr": Operation.CHMOD, "access": Operation.UNKNOWN, "faccessat": Operation.UNKNOWN,
    "faccessat2": Operation.UNKNOWN, "execve": Operation.EXECUTE,
}  # fmt: skip


def _read_strace(left: str, _right: str) -> Failure | None:
    """strace: `openat(AT_FDCWD, "P", O_WRONLY|O_CREAT, 0666) = -1 EROFS (...)`; with -y the directory stands beside."""
    match = _SYSCALL.search(left)
    if not match or match[1] not in _WRITING_CALLS:
        return None
    arguments = match[2]
    paths = []
    for string in _STRING.finditer(arguments):
        path = unescape(_octal(string[1]))
        base = _DIRECTORY.search(arguments[: string.start()])
        if base and not path.startswith("/"):
            path = f"{base[1].rstrip('/')}/{path}"
        paths.append(path)
    if not paths or (
        match[1].startswith("open") and not re.search(r"O_(?:WRONLY|RDWR|CREAT|TRUNC|TMPFILE)", arguments)
    ):
        return None
    operation = _WRITING_CALLS[match[1]]
    two = operation in (Operation.RENAME, Operation.LINK) and len(paths) > 1
    if "link" in match[1] and "un" not in match[1] and not two:
        return None
    return Failure(
        error=LogError.EROFS,
        path=paths[1] if two else paths[0],
        second=paths[0] if two else None,
        operation=operation,
        program="strace",
        delimited=True,
        temporary="O_TMPFILE" in arguments,
    )


def _octal(text: str) -> str:
    r"""Return `text` with strace's and git's `\303\251` turned to the bytes they stand for."""
    if not re.search(r"\\[0-7]{3}", text):
        return text
    data = re.sub(rb"\\([0-7]{3})", lambda m: bytes((int(m[1], 8) & 0xFF,)), text.encode("utf-8", "surrogateescape"))
    return data.decode("utf-8", "surrogateescape")


_RUNC_AT = re.compile(r"(?:to rootfs|rootfs_linux\.go).{0,2000}?\bat \\*\"(/[^\"\\]{1,4096})\\*\"", re.DOTALL)


def _read_runc(left: str, _right: str) -> Failure | None:
    """runc: `error mounting "SRC" to rootfs at "DST": mkdir ...`: the mount point can't be made."""
    match = _RUNC_AT.search(left)
    if not match:
        return None
    return Failure(error=LogError.EROFS, path=match[1], operation=Operation.MOUNT, program="runc", delimited=True)


_REDIS_IN = re.compile(
    r"Failed opening the (temp )?RDB file (\S.{0,255}?) \(in server root dir (/.{0,4000}?)\) for saving"
)


def _read_redis(left: str, _right: str) -> Failure | None:
    match = _REDIS_IN.search(left)
    if not match:
        return None
    path = f"{match[3].rstrip('/')}/{match[2]}"
    return Failure(
        error=LogError.EROFS, path=path, operation=Operation.CREATE, program="redis", temporary=bool(match[1])
    )


_MISSING = re.compile(r"\b[Dd]irectory (/[^\n]{1,4000}?) is missing")


def _read_missing(left: str, _right: str) -> Failure | None:
    """apt: `List directory P is missing. - Acquire (...)`."""
    match = _MISSING.search(left)
    if not match:
        return None
    return Failure(error=LogError.EROFS, path=match[1], operation=Operation.MKDIR)


_OCAML = re.compile(r", \"(\w*)\", \"([^\"]{1,4096})\"")


def _read_ocaml(_left: str, right: str) -> Failure | None:
    match = _OCAML.match(right)
    if not match:
        return None
    return Failure(
        error=LogError.EROFS, path=match[2], operation=operation_in(match[1]), program="ocaml", delimited=True
    )


_SPECIAL: tuple[tuple[str, Callable[[str, str], Failure | None]], ...] = (
    (" = -1 ", _read_strace),
    ("= -1 ", _read_strace),
    ("rootfs", _read_runc),
    ("server root dir", _read_redis),
    ("Unix.", _read_ocaml),
    (" is missing", _read_missing),
)

# --- the path after the error ---

_REPR = r"b?(?:'(?:[^'\\]|\\.){1,4200}'|\"(?:[^\"\\]|\\.){1,4200}\")"
_AFTER_REPR = re.compile(rf" ?: ({_REPR})(?: -> ({_REPR}))?")
_AFTER_NODE = re.compile(
    r", ([a-z][a-z_0-9]{2,19}) '([^\n]{1,4200}?)'(?: -> '([^\n]{1,4200}?)')?(?=\s*\Z|[\"\\,;)}\]>]|\s+at |\s*[{\[])"
)
_AFTER_RUBY = re.compile(
    rf" (?:@ (\w+) |- (connect\(2\)|bind\(2\)) for |)(?:- )?"
    rf"(?:\(([^\n,]{{1,4200}}), ([^\n]{{1,4200}}?)\)|([^\n]{{1,4200}}?))"
    rf"(?: \(Errno::{ANY_TOKEN}\))?>?\s*\Z"
)
_AFTER_BRACKETS = re.compile(r"\)?:? \[([./][^\]\n]{0,4200})\](?: \[([./][^\]\n]{0,4200})\])?")
_AFTER_AT = re.compile(r" at path \\?\"([^\"\\]{1,4200})\\?\"")
_AFTER_DUMP = re.compile(r"\bpath: '([^'\n]{1,4200})'(?:,\s*dest: '([^'\n]{1,4200})')?")
_AFTER_SYSCALL = re.compile(r"\bsyscall: '(\w{1,30})'")
_AFTER_SENTENCE = re.compile(r": (?:AH\d{5}: )?(.*)", re.DOTALL)
_AFTER_PLAIN = re.compile(r"(?:: ?| )(/[^\n]{1,4200})\Z")


_EXCEPTION = re.compile(r"\w+(?:Error|Exception): ?\Z")


def _after(left: str, right: str) -> Failure | None:
    if match := _AFTER_REPR.match(right):
        first, second = _unquote_repr(match[1]), _unquote_repr(match[2]) if match[2] else None
        path, origin = (second, first) if second is not None else (first, None)
        return Failure(
            error=LogError.EROFS, path=path, second=origin, delimited=True,
            operation=Operation.RENAME if origin else operation_in(_EXCEPTION.sub("", left[-80:])),
            program="dotnet" if right[0] == " " else "python",
        )  # fmt: skip
    if match := _AFTER_NODE.match(right):
        path, origin = (match[3], match[2]) if match[3] else (match[2], None)
        return Failure(
            error=LogError.EROFS,
            path=path,
            second=origin,
            operation=operation_in(match[1]),
            program="node",
            delimited=True,
        )
    if right.startswith((" @ ", " - ")):
        return _after_ruby(left, right)
    if match := _AFTER_BRACKETS.match(right):
        path, origin = (match[2], match[1]) if match[2] else (match[1], None)
        return Failure(
            error=LogError.EROFS, path=path, second=origin, operation=operation_in(left[-200:]), delimited=True
        )
    if match := _AFTER_AT.match(right):
        return Failure(error=LogError.EROFS, path=match[1], operation=operation_in(left[-200:]), delimited=True)
    if match := _AFTER_DUMP.search(right[:1200]):
        path, origin = (match[2], match[1]) if match[2] else (match[1], None)
        call = _AFTER_SYSCALL.search(right[:1200])
        return Failure(
            error=LogError.EROFS, path=path, second=origin, program="node", delimited=True,
            operation=operation_in(call[1]) if call else Operation.UNKNOWN,
        )  # fmt: skip
    if left.endswith("listen ") and (match := _AFTER_PLAIN.match(right)):
        return Failure(error=LogError.EROFS, path=match[1], operation=Operation.BIND, program="node")
    if not left.strip() or re.search(r"(?:\]|:\d+:|zsh:) *\Z", left):
        return _after_sentence(right)
    return None


def _after_ruby(left: str, right: str) -> Failure | None:
    match = _AFTER_RUBY.match(right)
    if not match:
        return None
    origin, path = (match[3], match[4]) if match[3] else (None, match[5])
    function = match[1] or match[2] or ""
    operation = operation_in(function)
    if function == "apply2files":  # chmod, chown, utime and unlink alike: the method stands before
        method = re.search(r"[`'](?:\w+[.#])*(\w+)': *(?:Errno::)?\Z", left)
        operation = operation_in(method[1]) if method else Operation.UNKNOWN
    return Failure(error=LogError.EROFS, path=path, second=origin, operation=operation, program="ruby", delimited=True)


def _after_sentence(right: str) -> Failure | None:
    """Errors that come first: Apache's `(30)Read-only file system: AH00099: could not create P`, zsh's `...: P`."""
    match = _AFTER_SENTENCE.match(right)
    if not match:
        return None
    rest = match[1].rstrip()
    if rest.startswith("/"):
        return Failure(error=LogError.EROFS, path=rest, operation=Operation.CREATE)
    return _phrase(rest.rstrip("."))


def _unquote_repr(text: str) -> str:
    """Return the path in a Python literal: `'P'`, or `b'P'` with its bytes."""
    binary, inner = text.startswith("b"), text.lstrip("b")[1:-1]
    if "\\" not in inner:
        return inner
    data = re.sub(
        rb"\\x([0-9a-fA-F]{2})" if binary else rb"(?!)",
        lambda m: bytes((int(m[1], 16),)),
        inner.encode("utf-8", "surrogateescape"),
    )
    inner = re.sub(
        r"\\udc([89a-f][0-9a-f])", lambda m: chr(0xDC00 + int(m[1], 16)), data.decode("utf-8", "surrogateescape")
    )
    inner = re.sub(r"\\x([0-9a-fA-F]{2})", lambda m: chr(int(m[1], 16)), inner)
    return unescape(inner)


# --- the path before the error ---

_ATTEMPT = (
    r"(?:open|create|mkdir|mkfifo|unlink|utime|rename|chmod|chown|write|change|mode|ownership|owner|file|temp|temporary|"
    r"name|make|stream|remove|delete|target|link|symlink|lock|set|times|it|directory|save|append|update|access|to|for|a|"
    r"the|new|writing|output|hard|backup|uid|gid|\d+,?|[r-][w-][xs-][-rwxst]{6})"
)
_TRAILERS: tuple[re.Pattern[str], ...] = tuple(
    re.compile(pattern)
    for pattern in (
        r"[\s.:;,(]*\b(?:[a-z]\w*\.)+[A-Z]\w*(?:Exception|Error)\Z",
        r",? failed(?: with)?\Z",
        r",? because\Z",
        r" (?:could not|can ?not|can't) be (?:opened|created|written|saved|renamed|removed)(?: in append mode)?\Z",
        r" (?:isn't|is not|not) writable\Z",
        r" \(while [^()]{1,180}\)\Z",
        r"[,:]? (?:error|reason)\Z",
        r" for (?:writing|output|reading and writing|append(?:ing)?|write|saving|reading/writing|update)\Z",
        (
            r"[:;] (?:[Cc]an ?not|[Cc]an't|[Cc]ould not|[Ff]ailed to|[Ff]ailed|[Uu]nable to) "
            rf"{_ATTEMPT}(?: {_ATTEMPT}){{0,5}}\Z"
        ),
        r": (?:open|openFile|openBinaryFile|withFile|withBinaryFile|createDirectory|removeLink|renamePath)\Z",
        rf"[\s:(]*{ANY_TOKEN}\Z",
    )
)
_STEP = re.compile(r" - [A-Za-z]{2,24} ?\(\Z")
"""apt names the call that failed before the error: `Could not open lock file P - open (30: ...)`."""
# What the last of a trailer's words may be: most lines hold none, and need no closer look.
_LAST_WORD = re.compile(
    rf"(?:(?:Exception|Error|failed|with|because|reason|appending|saving|reading/writing|update|error|open\w*|with\w*|"
    rf"createDirectory|removeLink|renamePath|reading|append|opened|created|written|saved|renamed|removed|deleted|writable|[^()]\))|{_ATTEMPT}|{ANY_TOKEN})\Z"
)
_JOINTS = " \t(:[,-\u2013"


def _before(left: str, right: str) -> Failure | None:
    left, tried = _strip_trailers(left, right)
    if not left:
        return None
    found = (
        _quoted(left)
        or _bracketed(left)
        or _arrow(left)
        or _java(left)
        or _call(left)
        or _phrase(left)
        or _segment(left)
    )
    if found is None or found.operation is not Operation.UNKNOWN:
        return found
    return replace(found, operation=operation_in(tried))


def _strip_trailers(left: str, right: str) -> tuple[str, str]:
    """Return `left` up to the end of the path, and the words about the attempt that stood between path and error."""
    if right[:1] in ("'", '"') and left.endswith(right[0]):
        left = left[:-1]  # Perl's autodie quotes the error too
    if step := _STEP.search(left[-40:]):
        left = left[: len(left) - len(step[0])]
    left, tried = _joint(left), ""
    for _ in range(4):
        if not _LAST_WORD.search(left[-60:]):
            break
        tail = max(0, len(left) - 200)
        match = next((found for trailer in _TRAILERS if (found := trailer.search(left[tail:]))), None)
        if not match:
            break
        tried = match[0] + tried
        left = _joint(left[: tail + match.start()])
    return left, without_tokens(tried)


def _joint(left: str) -> str:
    left = left.rstrip(_JOINTS)
    return left[:-1] if left.endswith(").") else left


_QUOTES = {"'": "'`", '"': '"', "\u2019": "\u2018", "\u201d": "\u201c", "`": "`", "»": "«", "」": "「"}
_TWO = re.compile("(?<=[\"'\u2019\u201d`»」]),? (?:to|->|as|and|into|onto|over) \\Z")
_NAME = re.compile(r"[\w.@+~#/%-][^\"'{}<>|\n]{0,255}")


def _last_quoted(text: str) -> tuple[str, str] | None:
    """Return what stands in the quotes that close at the end of `text`, and what stands before them."""
    opening = _QUOTES.get(text[-1:])
    if not opening:
        return None
    start = len(text) - 1
    for _ in range(64):
        start = max(text.rfind(quote, 0, start) for quote in opening)
        if start < 0:
            return None
        if start == 0 or not (text[start - 1].isalnum() or text[start - 1] == "\\"):
            inner = text[start + 1 : -1]
            return text[:start], unescape(inner) if '\\"' in inner else inner
    return None


def _quoted(left: str) -> Failure | None:
    """`cannot create regular file 'P'`, `rename() "A" to "B"`, with any quotes."""
    found = _last_quoted(left)
    if not found:
        return None
    words, path = found
    second = None
    if two := _TWO.search(words):
        first = _last_quoted(words[: two.start()])
        if first:
            words, second = first
    operation = operation_in(words[-80:])
    path = path.removeprefix("unix:")
    if not path.startswith("/") and (operation is Operation.UNKNOWN or not _NAME.fullmatch(path)):
        return None
    return Failure(
        error=LogError.EROFS, path=path, second=second, operation=operation, delimited=True,
        temporary=bool(_SAYS_TEMPORARY.search(words[-80:])),
    )  # fmt: skip


_SAYS_TEMPORARY = re.compile(r"\btemp(?:orary)?(?:[ _-]?file| name| cache)|via template", re.IGNORECASE)
_FUNCTION = re.compile(r"[A-Za-z_][\w\\]*(?:(?:::|->)\w+)*\Z")
_FLAGS = re.compile(r", ?(?:O_\w+|[rwax]b?\+?\b).*\Z", re.DOTALL)


def _bracketed(left: str) -> Failure | None:
    """`file_put_contents(P)`, `open(P, O_RDWR)`, `rename(A,B)`, `error_log (P)`."""
    if not left.endswith(")"):
        return None
    depth, start = 0, len(left)
    while start:
        start -= 1
        depth += {")": 1, "(": -1}.get(left[start], 0)
        if not depth:
            break
    else:
        return None
    inner, words = left[start + 1 : -1], left[:start]
    function = _FUNCTION.search(words[-100:])
    operation = operation_in(function[0] if function else words[-60:])
    inner, second = _FLAGS.sub("", inner).strip("'\""), None
    if function and operation in (Operation.RENAME, Operation.LINK, Operation.CREATE) and re.search(r",\s?[/.]", inner):
        second, _, inner = inner.partition(",")
        inner = inner.strip(" '\"")
    known = inner.startswith("/") or (
        bool(function) and operation is not Operation.UNKNOWN and bool(_NAME.fullmatch(inner))
    )
    if not known:
        return None
    return Failure(error=LogError.EROFS, path=inner, second=second, operation=operation, delimited=True)


def _arrow(left: str) -> Failure | None:
    """Java NIO: `FileSystemException: A -> B`."""
    first, arrow, path = left.rpartition(" -> ")
    origin = first.rpartition(": ")[2]
    if not arrow or not path or not (origin.startswith("/") or path.startswith("/")):
        return None
    return Failure(
        error=LogError.EROFS, path=path, second=origin, operation=Operation.RENAME, delimited=left[-1:] != " "
    )


_JAVA = re.compile(r"\b(FileNotFound|FileSystem|AccessDenied|NoSuchFile)Exception: ([^\n]+)\Z")


def _java(left: str) -> Failure | None:
    """`FileNotFoundException: P (`, `FileSystemException: P: `."""
    match = _JAVA.search(left)
    if not match:
        return None
    operation = Operation.CREATE if match[1] == "FileNotFound" else Operation.UNKNOWN
    return Failure(error=LogError.EROFS, path=match[2], operation=operation, program="java", delimited=True)


_CALLS = (
    "open", "openat", "mkdir", "mkdirat", "mkdtemp", "unlink", "unlinkat", "remove", "rmdir", "rename", "renameat",
    "symlink", "symlinkat", "link", "linkat", "chmod", "fchmodat", "chown", "lchown", "fchownat", "chtimes",
    "utimensat", "truncate", "mknod", "mkfifo", "write", "create", "creat", "copyfile", "setxattr", "lsetxattr", "bind",
    "mount", "fork/exec", "exec", "spawn", "listen unix", "listen unixgram", "listen unixpacket",
)  # fmt: skip
_CALL = re.compile(rf"(?:^|(?<=[\s\"'(\[=:>]))({'|'.join(_CALLS)}) (?=[/.\w@~])")
_NOUN_PHRASE = re.compile(r"(?:[a-z-]{1,20} ){1,4}(?=/)")
_OUTER = re.compile(r"(?<![\w/])/[^\s:'\"(),;]{1,400}")


def _call(left: str) -> Failure | None:
    """Go: `open P`, `rename A B`, wrapped in the words of whoever passed the error on."""
    left = left.removesuffix(": bind")
    match = None
    for match in _CALL.finditer(left):
        rest = left[match.end() :]
        starts = match.start() == 0 or left[: match.start()].endswith((": ", '"', "(", "[", "=", "\t", "> ", ". "))
        if starts and (rest.startswith("/") or ": " not in rest):
            break
    else:
        return None
    call, rest = match[1], left[match.end() :]
    operation = operation_in(call)
    if operation in (Operation.RENAME, Operation.LINK) and (two := _two_paths(rest)):
        return Failure(error=LogError.EROFS, path=two[1], second=two[0], operation=operation)
    if noun := _NOUN_PHRASE.match(rest):
        rest = rest[noun.end() :]
    if not rest.startswith("/") and not (_NAME.fullmatch(rest) and " " not in rest):
        return None
    return _widen(Failure(error=LogError.EROFS, path=rest, operation=operation), left[: match.start()])


def _two_paths(text: str) -> tuple[str, str] | None:
    """Part `A B`: at the last space before an absolute path, else where there is only one."""
    first, space, second = text.rpartition(" /")
    if space:
        return first, f"/{second}"
    first, space, second = text.partition(" ")
    return (first, second) if space and " " not in second else None


def _widen(failure: Failure, outer: str) -> Failure:
    """Prefer the whole path in the words around a call: `unable to create directory /a/b: mkdir a: ...`.

    A helper that makes a chain of directories names only the first that is missing.
    """
    inner = failure.path or ""
    if failure.operation is not Operation.MKDIR and inner.startswith("/"):
        return failure
    for match in _OUTER.finditer(outer[-600:]):
        whole = match[0].rstrip(".,;:)")
        if inner.startswith("/"):
            if whole.startswith(f"{inner.rstrip('/')}/"):
                return replace(failure, path=whole)
        elif whole.endswith(f"/{inner}") or f"/{inner}/" in whole:
            return replace(failure, path=whole)
    return replace(failure, deeper=failure.operation is Operation.MKDIR)


_PHRASE = re.compile(
    r"(?:[Cc]an ?not|[Cc]an't|[Cc]ouldn't|[Cc]ould not|[Uu]nable to|[Nn]ot able to|"
    r"[Pp]roblem(?= \w+ing )|[Ff]ail(?:ed|s|ure)?(?: to| in)?|[Ee]rror(?= \w+ing | when | while )|"
    r"\b(?:mkdir|open|bind)\(\)(?: to)?)(?= )"
)
_NOUNS = frozenset(
    [
        "mkdir",
        "open",
        "create",
        "file",
        "dir",
        "directory",
        "mkfifo",
        "write",
        "unlink",
        "remove",
        "chmod",
        "chown",
        "rename",
        "touch",
        "pidfile",
        "logfile",
        "database",
    ]
)


def _phrase(left: str) -> Failure | None:
    """`cannot create P`, `Can't open or create P`, `unable to mkdir P`, `could not lock config file P`."""
    match = None
    for match in _PHRASE.finditer(left):  # noqa: B007 - the last one is wanted
        pass
    if match is None:
        return None
    rest = left[match.end() :]
    words, slash, path = rest.partition(" /")
    if slash and len(words) <= 120:
        path = f"/{path}"
    elif unix := re.search(r" unix:(/.*)\Z", rest):
        words, path = rest[: unix.start()], unix[1]
    else:
        words, _, path = rest.rpartition(" ")
        last = words.rpartition(" ")[2]
        shell = last == "create" and bool(_AFTER_LINE.search(left[: match.start()].rstrip(": ")))
        named = last in _NOUNS and (bool(re.search(r"[./_-]", path)) or shell or last in ("mkdir", "dir", "directory"))
        if not named or not _NAME.fullmatch(path):
            return None
    operation = operation_in(f"{match[0]} {words}")
    return Failure(error=LogError.EROFS, path=path, operation=operation, temporary=bool(_SAYS_TEMPORARY.search(words)))


_AFTER_LINE = re.compile(r": (?:line )?\d+(?:: eval)?\Z|\[\d+\]\Z|:\d+\Z")
_DASH_LINE = re.compile(r"\A[^\s:]+: \d+\Z")
_OPENED = re.compile(r"[\"'(=\[](/[^\"'\n]{1,4200})\Z")


def _segment(left: str) -> Failure | None:
    """`prog: P`, bash's `script: line 3: P`, `P` alone: the last part that colons set off."""
    left = left.rpartition("\t")[2]
    head, colon, path = left.rpartition(": ")
    shell = bool(colon and _AFTER_LINE.search(head))
    if path.startswith("/") or (path.startswith(("./", "../")) and " " not in path):
        plain = path
    elif shell or (colon and program_in(left) in PROGRAM_OPERATIONS):
        plain = path if _NAME.fullmatch(path) and path not in _NOUNS and not _PHRASE.match(path) else ""
    else:
        plain = ""
    if not plain and colon:
        # a path may hold a colon and a space itself
        start = head.rfind(": /")
        name = head[start + 2 :]
        if (
            start > 0
            and not _AFTER_LINE.search(head)
            and _NAME.fullmatch(path)
            and operation_in(path) is Operation.UNKNOWN
        ):
            plain = f"{name}: {path}" if " " not in name else ""
    if not plain and (opened := _OPENED.search(path)):
        plain = opened[1]
    if not plain:
        return None
    # dash says `cannot create` where it redirects, so what it only names it could not run
    operation = Operation.EXECUTE if _DASH_LINE.search(head) else Operation.CREATE if shell else Operation.UNKNOWN
    return Failure(error=LogError.EROFS, path=plain, operation=operation)
