"""Finds the names that the kernel's errors go by in logs, and puts one token in the place of each.

Programs dress one error in many ways: `[Errno 30] Read-only file system`, `(30: Read-only file system)`, `EROFS: ...`,
`os error 30`, or a translation. With a token in its place the shapes around it need not know which error it is.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from lithify.model.log import LogError

_FIRST = 0xD801
"""The first token. High surrogates: decoding can't produce them, and envelopes leave none that an escape spelt."""


@dataclass(frozen=True, slots=True)
class _Name:
    error: LogError
    number: int
    symbols: tuple[str, ...]
    texts: tuple[str, ...]
    """What strerror(3) says; that of EROFS also as glibc 2.36 translates it."""


_EROFS_TEXTS = (
    "Read-only file system", "Read-only filesystem", "Read only file system", "Readonly file system",
    "Файлова система само за четене", "El sistema de fitxers és només de lectura", "Systém souborů je pouze pro čtení",
    "Filsystem med kun læseadgang", "Das Dateisystem ist nur lesbar", "Αναγνώσιμο-μόνο σύστημα αρχείων",
    "Nur-lega dosiersistemo", "Sistema de ficheros de sólo lectura", "Sistema de archivos de sólo lectura",
    "Sistema de archivos de solo lectura", "Kirjoitussuojattu tiedostojärjestelmä",
    "Système de fichiers accessible en lecture seulement", "Sistema de ficheiros de só lectura",
    "Datotečni sustav je samo za čitanje", "Írásvédett fájlrendszer", "Sistem berkas baca-saja",
    "File system in sola lettura", "Failų sistema tik skaitymui",
    "読み込み専用ファイルシステムです", "읽기전용 파일 시스템",
    "Filsystem med kun lesetilgang", "Bestandssysteem is alleen-lezen", "System plików wyłącznie do odczytu",
    "Sistema de ficheiros só de leitura", "Sistema de arquivos somente para leitura",
    "Файловая система доступна только для чтения", "Súborový systém dovoľuje len čítanie",
    "Datotečni sistem je zgolj za branje", "Систем датотека само за читање", "Skrivskyddat filsystem",
    "Salt-okunur dosya sistemi", "Файлова система тільки для зчитування", "Hệ thống tập tin chỉ cho đọc",
    "只读文件系统", "唯讀的檔案系統", "唯讀檔案系統",
)  # fmt: skip
_EBUSY_TEXTS = ("Device or resource busy", "Resource busy or locked", "Text file busy", "Text file is busy")
_EXDEV_TEXTS = ("Invalid cross-device link", "Cross-device link not permitted")

_NAMES = (
    _Name(LogError.EROFS, 30, ("EROFS",), _EROFS_TEXTS),
    _Name(LogError.EACCES, 13, ("EACCES",), ("Permission denied",)),
    _Name(LogError.EPERM, 1, ("EPERM",), ("Operation not permitted",)),
    _Name(LogError.ENOSPC, 28, ("ENOSPC",), ("No space left on device",)),
    _Name(LogError.EBUSY, 16, ("EBUSY", "ETXTBSY"), _EBUSY_TEXTS),
    _Name(LogError.EXDEV, 18, ("EXDEV",), _EXDEV_TEXTS),
    _Name(LogError.ENOENT, 2, ("ENOENT",), ("No such file or directory",)),
)

TOKENS = {name.error: chr(_FIRST + index) for index, name in enumerate(_NAMES)}
ANY_TOKEN = f"[{chr(_FIRST)}-{chr(_FIRST + len(_NAMES) - 1)}]"
_ERRORS = {token: error for error, token in TOKENS.items()}


def _needles(*, ascii_only: bool) -> tuple[bytes, ...]:
    # Without their first letters, which may stand for a capital that bytes.lower leaves as it is.
    texts = (text[1:] for name in _NAMES for text in name.texts)
    return tuple(dict.fromkeys(text.encode().lower() for text in texts if text.isascii() == ascii_only))


NEEDLES = (
    *_needles(ascii_only=True),
    b"erofs", b"errno", b"errcode: ", b"os error 30", b"error number 30",
)  # fmt: skip
"""A line that names an error holds one of these once its ASCII letters are made small, or one of the next."""
NON_ASCII_NEEDLES = _needles(ascii_only=False)


_BY_TEXT = {text.lower(): name for name in _NAMES for text in name.texts}
_BY_SYMBOL = {symbol: name for name in _NAMES for symbol in name.symbols}
_TEXT = re.compile("(?:" + "|".join(map(re.escape, _BY_TEXT)) + r")(?!\w)")
_SYMBOL = re.compile(r"\b(?:" + "|".join(_BY_SYMBOL) + r")\b(?! \(device| file ?system| support| image)")
# What EROFS goes by where neither text nor symbol stands. `code: 30` counts only inside Rust's `Os { code: 30`:
# elsewhere it is an exit code. erofs is a filesystem's name too, and counts where Erlang prints a reason.
_NUMBER = re.compile(
    r"\berrno[ :=]+-?30\b|\berrcode: ?30\b|\bos err(?:no|or) 30\b|\berror number 30\b|\bstatus code = 30\b|"
    r"(?<=\{ )code: 30\b|\bexit=-30\b|(?<!type: )(?<=: )erofs(?=[\"')}\]]*\s*\Z)|(?<=,)\s?erofs(?=\})"
)
_AROUND = 80
"""Characters before an error's text that may belong to it."""


@cache
def _before(name: _Name) -> re.Pattern[str]:
    """What may stand before an error's text: what only precedes it, or what opens a bracket or quote around it."""
    n, symbol = name.number, "(?:" + "|".join(name.symbols).lower() + ")"
    return re.compile(
        rf"(?:\[errno {n}\] ?|\({n}\) ?|\b{n}: |\b{symbol}: |\b(?:os errno|errcode:|errno[ :=]) ?{n} - )\Z|"
        rf"(?P<opens>\b{symbol} \(|\berrno[ :=]+{n} [(\"]|\berrcode: {n} \"|"
        rf"\b(?:os|io|permission|filenotfound)error\({n}, '|\bos \{{ code: {n}, kind: \w+, message: \")\Z"
    )


@cache
def _after(name: _Name) -> re.Pattern[str]:
    n = name.number
    return re.compile(rf" \((?:os error )?{n}\)| \[{n}\]| \(errno[ =:]+{n}\)")


_CLOSING = re.compile(r"'\)|[)\"]?(?: \})?")
_ALL_TOKENS = re.compile(ANY_TOKEN)


def tokenise(text: str) -> str:
    """Return `text` with a token in the place of each error that it names."""
    text = _replace_texts(text)
    text = _SYMBOL.sub(lambda match: TOKENS[_BY_SYMBOL[match[0]].error], text)
    lowered = _lower(text)
    if "30" not in lowered and "erofs" not in lowered:
        return text
    return _splice(text, ((match.start(), match.end(), LogError.EROFS) for match in _NUMBER.finditer(lowered)))


def _replace_texts(text: str) -> str:
    lowered = _lower(text)
    spans = []
    for match in _TEXT.finditer(lowered):
        name, start, end = _BY_TEXT[match[0]], match.start(), match.end()
        if before := _before(name).search(lowered[max(0, start - _AROUND) : start]):
            start -= before.end() - before.start()
            closing = _CLOSING.match(lowered, end)
            end = closing.end() if before["opens"] and closing else end
        elif after := _after(name).match(lowered, end):
            end = after.end()
        spans.append((start, end, name.error))
    return _splice(text, spans)


def _splice(text: str, spans: Iterable[tuple[int, int, LogError]]) -> str:
    parts, at = [], 0
    for start, end, error in spans:
        if start >= at:
            parts += [text[at:start], TOKENS[error]]
            at = end
    return "".join([*parts, text[at:]])


def _lower(text: str) -> str:
    """Return `text` in small letters, each character at its place."""
    lowered = text.lower()
    return lowered if len(lowered) == len(text) else "".join(c.lower()[0] for c in text)


def tokens(text: str, limit: int = 4) -> list[tuple[int, LogError]]:
    """Return where tokens stand, those of EROFS first, each with its error; at most `limit` of them."""
    found = [(match.start(), _ERRORS[match[0]]) for match in _ALL_TOKENS.finditer(text)]
    return sorted(found, key=lambda item: (item[1] is not LogError.EROFS, item[0]))[:limit]


def has_tokens(text: str) -> bool:
    """Tell whether a token stands in `text`."""
    return bool(_ALL_TOKENS.search(text))


def without_tokens(text: str) -> str:
    """Return `text` with the tokens left out."""
    return _ALL_TOKENS.sub("", text)
