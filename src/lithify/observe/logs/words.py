"""Knows the words of programs: who printed a line, and what the line says was tried."""

import re

from lithify.model.log import Operation
from lithify.observe.logs.errnos import ANY_TOKEN

_OPERATIONS: tuple[tuple[re.Pattern[str], Operation], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), operation)
    for pattern, operation in (
        (r"mkdir|mkdtemp|director(?:y|ies)\b(?! of)(?!.*\bfile\b)|work tree dir|append-only dir", Operation.MKDIR),
        (r"renam|\bmov(?:e|ing)\b|replace", Operation.RENAME),
        (r"unlink|remov|delet|rmdir|clean", Operation.UNLINK),
        (r"chmod|(?:change|changing|set|setting) (?:the )?(?:mode|permissions)|apply2files", Operation.CHMOD),
        (r"chown|chgrp|ownership|changing group|\bowner", Operation.CHOWN),
        (r"\bbind|listen|socket(?! lock)|connect\(2\)", Operation.BIND),
        (r"symlink|\blink|symbolic|hard link", Operation.LINK),
        (r"utime|chtimes|preserving times|setting times|set times", Operation.TIMES),
        (r"\bmount", Operation.MOUNT),
        (r"\bexec|spawn|\brun (?:program|command)|\bexecut", Operation.EXECUTE),
        (r"creat|open|writ|touch|sav|lock|cop(?:y|ies)|edit|truncat|mk(?:fifo|nod|stemp)|pid ?file|append|stor|put",
         Operation.CREATE),
    )
)  # fmt: skip
PROGRAM_OPERATIONS = {
    "touch": Operation.CREATE, "tee": Operation.CREATE, "cp": Operation.CREATE, "dd": Operation.CREATE,
    "split": Operation.CREATE, "truncate": Operation.CREATE, "tac": Operation.CREATE, "install": Operation.CREATE,
    "gzip": Operation.CREATE, "xz": Operation.CREATE, "mkfifo": Operation.CREATE, "mknod": Operation.CREATE,
    "wget": Operation.CREATE, "curl": Operation.CREATE, "mkdir": Operation.MKDIR, "rmdir": Operation.UNLINK,
    "rm": Operation.UNLINK, "mv": Operation.RENAME, "ln": Operation.LINK, "chmod": Operation.CHMOD,
    "chown": Operation.CHOWN, "chgrp": Operation.CHOWN, "usermod": Operation.CREATE, "groupmod": Operation.CREATE,
    "useradd": Operation.CREATE, "groupadd": Operation.CREATE, "mount": Operation.MOUNT, "tar": Operation.CREATE,
}  # fmt: skip


def operation_in(words: str) -> Operation:
    """Return what `words`, a program's own for what it tried, stand for."""
    return next((operation for pattern, operation in _OPERATIONS if pattern.search(words)), Operation.UNKNOWN)


_PREFIX = re.compile(
    r"(?:\[[^\]]{0,80}\] *)*(?=[^\s:]*[A-Za-z])([\w./\-][\w.+@/\-]{0,200})(?:\[\d+(?::\d+)?\]|:\d+)?: "
)
_NOT_A_PROGRAM = re.compile(
    r"(?:error|err|warn(?:ing)?|fatal|panic|info|notice|debug|crit(?:ical)?|alert|emerg|severe|exception|failed|failure|"
    r"caused|by|level|msg|time|stderr|stdout|hint|detail|context|e|w|f|i|unexpected|uncaught|reason|message|open|write|"
    r"rename|unlink|remove|bind|initialization|traceback|note|-e)\Z|.*(?:Error|Exception)\Z|.*\d{4}.*\Z",
    re.IGNORECASE,
)
_MARKS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), program)
    for pattern, program in (
        (r"\[(?:emerg|alert|crit|error|warn|notice)\] \d+#\d+: ", "nginx"),
        (r"\bAH\d{5}: ", "apache"),
        (r"\bnpm (?:ERR!|error) ", "npm"),
        (r"\b(?:PHP )?(?:Warning|Notice|Fatal error|Deprecated): .* on line \d+|\bin \S+ on line \d+\s*\Z", "php"),
        (rf"Errno::{ANY_TOKEN}|\(Errno::| @ (?:rb_|dir_|apply2)", "ruby"),
        (r"\bjava\.[a-z]+\.|\bCaused by: |\tat [\w.$]+\(", "java"),
        (r"\bSystem\.[A-Z]\w+\.", "dotnet"),
        (r"\b\d+:[XCSM] \d\d? [A-Z][a-z]{2} ", "redis"),
        (r"\b(?:FATAL|ERROR|PANIC|LOG|WARNING):  ", "postgres"),
        (r"\[MY-\d+\]|InnoDB: |mysqld", "mysqld"),
        (r"\bunbound\[", "unbound"),
        (r"\bWFLY[A-Z]+\d+", "wildfly"),
        (r"\b(?:OS|IO|Permission|FileNotFound|FileExists)Error: ", "python"),
        (r"rootfs_linux\.go|\brunc\b|\bto rootfs\b", "runc"),
        (r"\bpanic: |^goroutine ", "go"),
        (r" at \S.* line \d+\.?\s*\Z", "perl"),
        (r"\(File\.Error\)", "elixir"),
        (r"\[haproxy|\bBinding \[.*\] for (?:frontend|backend|proxy)", "haproxy"),
    )
)  # fmt: skip


def program_in(text: str) -> str:
    """Return what printed `text`, as far as it says so itself; empty where it does not."""
    text = text[:2000]
    if match := _PREFIX.match(text.lstrip()):
        name = match[1].rpartition("/")[2]
        if name and not _NOT_A_PROGRAM.match(name):
            return name
    return next((program for pattern, program in _MARKS if pattern.search(text)), "")
