"""Takes a log line out of what engines, shippers and log libraries put around it.

Envelopes nest: Compose around logfmt, CRI around JSON around an escaped message. They are taken off from the outside
in, a bounded number of them, until the program's own words are left.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

_DEPTH = 6
"""Envelopes that are taken off; more is an attack, not a log."""
_LEAVES = 64
"""Values of one record that are looked at."""

_ANSI = re.compile(
    r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[@-Z\\^_]|#033\[[0-9;]*m|\^\[\[[0-9;]*m"
)

_TIME = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?: ?Z|[+-]\d\d:?\d\d)?"
_CRI = re.compile(rf"({_TIME}) (?:stdout|stderr) [FP](?::\S+)? ")
_STAMP = re.compile(rf"({_TIME}) (?!\Z)")
_KUBECTL = re.compile(r"\[(?:pod/)?([\w.-]{1,253}/[\w.-]{1,253})\] ")
_COMPOSE = re.compile(r"\[?([A-Za-z0-9][\w.@-]{0,252})\]? +\|(?: |\Z)")
_SYSLOG_5424 = re.compile(r"<\d{1,3}>1 (\S+) \S+ (\S+) \S+ \S+ (?:-|(?:\[[^\]]*\])+) ?")
_LONE_SURROGATE = re.compile("[\ud800-\udbff\udc00-\udc7f]")
"""What neither UTF-8 nor surrogateescape makes: only an escape can spell it, and no path can hold it."""
_SYSLOG = re.compile(
    rf"(?:<\d{{1,3}}>)?(?:([A-Z][a-z]{{2}} [ \d]\d \d\d:\d\d:\d\d)|({_TIME})) (?!-)[\w.:-]{{0,254}}[\w-] "
    r"([A-Za-z_(][\w.@/()-]{0,80})(?(2)(?:\[\d+\]|(?<= kernel))|(?:\[\d+\])?): "
)
_SHIPPERS = frozenset({"docker", "dockerd", "containerd", "podman", "conmon", "systemd", "kernel", "crio", "kubelet"})
"""Programs that pass on what others say: their name is not the writer's."""

_PAIR = re.compile(r"(?<![\w.])([A-Za-z_][\w.]{0,60})=(?:\"((?:[^\"\\]|\\.)*)\"?|([^\s\"]+))")
_QUOTED = re.compile(r"[^\"]{1,300}[:=] ?\"(.*)\"\Z", re.DOTALL)
"""A whole message in quotes behind somebody's words."""
_ESCAPED = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}

_TEXT_KEYS = frozenset({
    "msg", "message", "log", "error", "err", "exception", "reason", "stack", "stack_trace", "stacktrace", "detail",
    "cause", "textpayload", "event", "exc_info",
})  # fmt: skip
_CONTAINER_KEYS = frozenset({"container_name", "containername", "container", "kubernetes.container_name"})
_POD_KEYS = frozenset({"pod_name", "podname", "pod", "kubernetes.pod_name"})
_PROGRAM_KEYS = frozenset({"_comm", "syslog_identifier", "program", "process.name"})
_TIME_KEYS = frozenset({"time", "ts", "timestamp", "@timestamp"})
_PATH_KEYS = frozenset({"path", "file", "filename", "dir", "directory", "dest", "target", "syscall", "code", "errno"})
_KEYS = _TEXT_KEYS | _CONTAINER_KEYS | _POD_KEYS | _PROGRAM_KEYS | _TIME_KEYS | _PATH_KEYS


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A program's own words, with what the envelopes told about them."""

    text: str
    container: str = ""
    program: str = ""
    time: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Values of the record that may name a path: `path`, `dest`, `syscall`, `code`, ..."""


def unwrap(line: str) -> Iterator[Message]:
    """Yield the messages in a line: one for each text of a record, the best first, or the line as a whole."""
    yield from _unwrap(Message(text=line), _DEPTH)


def _unwrap(message: Message, depth: int) -> Iterator[Message]:
    if _ANSI.search(message.text):
        message = replace(message, text=_ANSI.sub("", message.text))
    message = _take_prefixes(message)
    text = message.text
    if depth and text.lstrip().startswith("{") and (record := _json_leaves(text.lstrip())):
        texts = tuple(_from_record(message, record, depth))
        if texts:
            yield from texts
            return
    if depth and '="' in text:
        pairs = _PAIR.findall(text)[:_LEAVES]
        # a bare value is a word, not a message
        record = [
            (key, unescape(quoted) or bare)
            for key, quoted, bare in pairs
            if _last_word(key) in (_KEYS if quoted else _KEYS - _TEXT_KEYS)
        ]
        yield from _from_record(message, record, depth)
    if depth and text.endswith('"') and (quoted := _QUOTED.match(text)):
        yield from _unwrap(replace(message, text=unescape(quoted[1])), depth - 1)
    yield message


def _from_record(message: Message, record: list[tuple[str, str]], depth: int) -> Iterator[Message]:
    """Yield the texts of a record, each unwrapped in turn; nothing where it holds none."""
    named = {key.lower(): value for key, value in reversed(record)}
    pod = next((named[key] for key in _POD_KEYS if key in named), "")
    container = next((named[key] for key in _CONTAINER_KEYS if key in named), "")
    message = replace(
        message,
        container="/".join(part for part in (pod, container) if part) or message.container,
        program=next((named[key] for key in sorted(_PROGRAM_KEYS) if key in named), "") or message.program,
        time=next((named[key] for key in sorted(_TIME_KEYS) if key in named), "") or message.time,
        fields={**message.fields, **{key: value for key, value in named.items() if key in _PATH_KEYS}},
    )
    texts = [value for key, value in record if _last_word(key) in _TEXT_KEYS and value]
    others = [value for key, value in record if _last_word(key) not in _KEYS and " " in value]
    for value in (*texts, *others):
        yield from _unwrap(replace(message, text=value.rstrip("\r\n")), depth - 1)


def _last_word(key: str) -> str:
    return key.lower().rpartition(".")[2]


def _take_prefixes(message: Message) -> Message:
    """Take off what stands before the message on its line."""
    for _ in range(_DEPTH):
        text = message.text
        if match := _CRI.match(text):
            message = replace(message, text=text[match.end() :], time=match[1])
        elif match := _SYSLOG_5424.match(text):
            message = _from_syslog(message, match.end(), match[1], match[2])
        elif match := _SYSLOG.match(text):
            message = _from_syslog(message, match.end(), match[1] or match[2], match[3])
        elif match := _STAMP.match(text):
            message = replace(message, text=text[match.end() :], time=message.time or match[1])
        elif match := _KUBECTL.match(text) or (None if message.container else _COMPOSE.match(text)):
            message = replace(message, text=text[match.end() :], container=match[1])
        else:
            break
    return message


def _from_syslog(message: Message, end: int, time: str, program: str) -> Message:
    program = message.program if program in _SHIPPERS else program.rpartition("/")[2]
    return replace(message, text=message.text[end:], time=time, program=program)


def _json_leaves(text: str) -> list[tuple[str, str]]:
    """Return (key, text) for the scalars of a JSON object, nested ones by their innermost key, those of texts first."""
    try:
        value, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return _broken_json_leaves(text)
    leaves: list[tuple[str, str]] = []
    pending: list[tuple[str, object, int]] = [("", value, 0)]
    while pending and len(leaves) < _LEAVES:
        key, value, depth = pending.pop()
        if isinstance(value, dict) and depth < _DEPTH:
            pending += [(str(k), v, depth + 1) for k, v in reversed(list(value.items())[:_LEAVES])]
        elif isinstance(value, list) and value and all(type(v) is int and 0 <= v < 256 for v in value):
            # journald's way to write a message that is not UTF-8, or holds escapes
            leaves.append((key, bytes(value).decode("utf-8", "surrogateescape")))
        elif isinstance(value, list) and depth < _DEPTH:
            pending += [(key, v, depth + 1) for v in reversed(value[:_LEAVES])]
        elif isinstance(value, str | int):
            leaves.append((key, _LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", str(value))))
    return leaves


def _broken_json_leaves(text: str) -> list[tuple[str, str]]:
    """Return what can be told of an object that was cut short."""
    pairs = re.findall(r"\"([\w.@]{1,60})\" ?: ?\"((?:[^\"\\]|\\.)*)", text)
    return [(key, unescape(value)) for key, value in pairs[:_LEAVES]]


def unescape(text: str) -> str:
    r"""Return `text` with one layer of backslash escapes undone: `\"`, `\\`, `\n`, `\u2018`."""
    if "\\" not in text:
        return text
    text = _ESCAPED.sub(lambda match: chr(int(match[1], 16)) if match[1] else _ESCAPES.get(match[2], match[2]), text)
    return _LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)
