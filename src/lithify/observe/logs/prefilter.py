"""Finds, cheaply, the lines of a block that may report a failed write.

A hundred texts are looked for, and almost no line of a log holds one. So a piece of the log is first cut down to its
letters, which takes half of it away, and searched for parts that many of the texts share. Only where a part is found
are the texts that it stands for searched for in the piece itself.
"""

from lithify.observe.logs import disguises, errnos

_PIECE = 1 << 16
_SMALL = bytes.maketrans(bytes(range(65, 91)), bytes(range(97, 123)))
_NO_LETTERS = bytes(byte for byte in range(128) if not chr(byte).isalpha())

_FORMS = (b"setfile(", b"accessdeniedexception: ", b"code: 'e", b"type=syscall", b"failed to open the file ")
"""What begins a report that goes on in the next lines, or is one only in Java."""
_BYTES = b'"MESSAGE":['
"""journald's JSON holds a message that is not UTF-8 as an array of numbers: nothing to search for."""
_SHARED = (
    b"only", b"permi", b"writable", b"temporary", b"couldnot", b"cannot", b"nospaceleft", b"crossdevice", b"busy",
    b"wfly", b"unableto", b"failedto",
)  # fmt: skip
"""Parts that stand for several texts each, rare in what logs say otherwise."""


def _letters(text: bytes) -> bytes:
    """Return the ASCII letters of `text`, made small, and what is not ASCII."""
    return text.translate(_SMALL, _NO_LETTERS)


def _by_part(texts: tuple[bytes, ...]) -> dict[bytes, tuple[bytes, ...]]:
    """Return the parts to search letters for, each with the texts that it stands for."""
    known: dict[bytes, list[bytes]] = {}
    for text in sorted(texts, key=len):
        letters = _letters(text)
        part = next((part for part in (*_SHARED, *known) if part in letters), letters)
        known.setdefault(part, []).append(text)
    return {part: tuple(stands) for part, stands in known.items()}


_ASCII = _by_part((*errnos.NEEDLES, *disguises.NEEDLES, *_FORMS))
_NON_ASCII = _by_part(errnos.NON_ASCII_NEEDLES)


def candidates(block: bytes) -> list[int]:
    """Return where the lines of `block` begin that may report a failed write, in order."""
    starts: list[int] = []
    begin = 0
    while begin < len(block):
        end = block.find(b"\n", begin + _PIECE) + 1 or len(block)
        starts += [begin + start for start in _search(block[begin:end])]
        begin = end
    return starts


def _search(piece: bytes) -> list[int]:
    letters = _letters(piece)
    texts = [text for part, stands in _ASCII.items() if part in letters for text in stands]
    if not piece.isascii():
        texts += [text for part, stands in _NON_ASCII.items() if part in letters for text in stands]
    starts = _line_starts(piece, _BYTES) if _BYTES in piece else set()
    if texts:
        lowered = piece.lower()
        starts = starts.union(*(_line_starts(lowered, text) for text in texts))
    return sorted(starts)


def _line_starts(piece: bytes, text: bytes) -> set[int]:
    """Return where the lines begin that hold `text`."""
    starts = set()
    found = piece.find(text)
    while found >= 0:
        starts.add(piece.rfind(b"\n", 0, found) + 1)
        end = piece.find(b"\n", found)
        found = piece.find(text, end) if end >= 0 else -1
    return starts
