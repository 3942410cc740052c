"""Commands of a shell script, word by word, with the place of each: enough of POSIX shell and Bash to find them.

Nothing is run and nothing guessed: a word whose value only a running shell knows says so.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\+?=")
_KEYWORDS = frozenset(("if", "then", "else", "elif", "do", "while", "until", "time", "!", "{", "}", "fi", "done"))
_MAYBE = frozenset(("if", "case", "for", "select", "while", "until"))
"""Words that begin commands which may be run, or not, or again."""
_MAYBE_ENDS = frozenset(("fi", "esac", "done"))
_OPERATORS = ";&|()\n"
_ARRAY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\+?=\Z")
_ELEMENTS = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\[@\]\}")
_GLOB = frozenset("*?[~{")
_DEPTH = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A piece of a word: text as it is, or something that the shell puts there."""

    text: str
    """The literal text, or the expansion as it is written."""
    variable: str = ""
    """Whose value it is; nothing for text and for expansions that are more than a variable."""
    default: str | None = None
    """What stands for the variable where it is not set or empty, as in `${NAME:-default}`."""
    literal: bool = True
    quoted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One word of a command, where it stands in the script."""

    start: int
    end: int
    parts: tuple[Part, ...]

    def value(self, variables: Mapping[str, str | None] | None = None, *, all_known: bool = False) -> str | None:
        """Return what the shell makes of it, `variables` known; None where that is not one certain word.

        A variable that is None is one that only the shell knows. With `all_known` there are none but these,
        so that a default stands for one that is not among them.
        """
        known = variables or {}
        pieces = []
        for part in self.parts:
            value = known.get(part.variable) if part.variable else None
            if all_known and part.default is not None and (value is not None or part.variable not in known):
                value = value or part.default
            elif part.default is not None:
                value = value or None
            if part.literal:
                pieces.append(part.text)
            elif value is not None:
                if not part.quoted and (not value or set(value) & set(" \t\n*?[")):
                    return None
                pieces.append(value)
            else:
                return None
        return "".join(pieces)

    @property
    def one(self) -> bool:
        """Tell whether it is one word whatever it holds: no list and no unquoted expansion on its own."""
        whole = len(self.parts) == 1 and not self.parts[0].quoted and not self.parts[0].literal
        return not whole and not any("@" in part.text or "*" in part.text for part in self.parts if not part.literal)

    @property
    def shown(self) -> str:
        """The word without its quotes, expansions as they are written."""
        return "".join(part.text for part in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One simple command."""

    words: tuple[Word, ...]
    """Without redirections."""
    alone: bool
    """It begins its line, and nothing before it on that line or by an operator leads to it."""
    nested: bool = False
    """It stands in a command substitution."""


@dataclass(slots=True)
class Script:
    """A script's text, and the simple commands in it."""

    text: str
    commands: list[Command] = field(default_factory=list)
    arrays: dict[str, tuple[Word, ...] | None] = field(default_factory=dict)
    """The words of each array; None for one that is set more than once or in some runs only, added to, or has keys."""

    def spelt_out(self, words: Iterable[Word]) -> tuple[Word, ...]:
        """Return words with those of an array, where they stand there, in the place of `"${ARRAY[@]}"`."""
        return tuple(element for word in words for element in self._elements(word) or (word,))

    def _elements(self, word: Word) -> tuple[Word, ...] | None:
        found = _ELEMENTS.fullmatch(word.shown)
        quoted = all(part.quoted for part in word.parts)
        if not found or not quoted or self._alters(found[1]):
            return None
        return self.arrays.get(found[1])

    def _alters(self, array: str) -> bool:
        """Tell whether something else than one assignment sets a part of an array, or takes it away."""
        readers = r"\b(?:read|mapfile|readarray|unset|local|declare|typeset)\b[^\n;]*"
        return bool(re.search(rf"\b{array}\[[^\]@*]*\]\+?=|{readers}\b{array}\b(?!\+?=)", self.text))

    def variables(self, environment: Mapping[str, str] | None = None) -> dict[str, str | None]:
        """Return the variables that the script sets; None for one set more than once, or to what only the shell knows.

        With the `environment` that it runs in, those of it besides, and what the script makes of them.
        """
        assigned = [pair for command in self.commands for pair in _assigned(command)]
        times = Counter(name for name, _ in assigned)
        known: dict[str, str | None] = dict(environment or {})
        for name, word in assigned:
            if times[name] == 1 and word is not None:
                value = word.value(known, all_known=environment is not None)
                known[name] = None if value is None else value.partition("=")[2]
            else:
                known[name] = None
        return known


def parse_script(data: bytes) -> Script:
    """Return the commands of a script; ValueError where a quote or bracket is left open."""
    script = Script(data.decode("utf-8", "surrogateescape"))
    _Parser(script).run()
    return script


def _assigned(command: Command) -> list[tuple[str, Word | None]]:
    """Return the variables that a command sets, each with the word that does; None where that does not say to what."""
    words = [word.shown for word in command.words]
    if not words:
        return []
    if words[0] in ("export", "readonly", "local", "declare", "typeset"):
        rest = [word for word in command.words[1:] if _ASSIGNMENT.match(word.shown)]
    elif all(map(_ASSIGNMENT.match, words)):
        rest = list(command.words)
    elif words[0] in ("read", "unset", "for", "select", "getopts", "mapfile", "readarray", "printf"):
        return [(word, None) for word in words[1:] if _NAME.fullmatch(word)]
    else:
        return []  # assignments before a command hold for that command alone
    pairs: list[tuple[str, Word | None]] = []
    for word in rest:
        name = word.shown.partition("=")[0]
        pairs.append((name.rstrip("+"), None if name.endswith("+") else word))
    return pairs


class _Parser:
    def __init__(self, script: Script) -> None:
        self.script = script
        self.text = script.text
        self.at = 0
        self.heredocs: list[tuple[str, bool]] = []
        self.depth = 0
        self.maybe = 0
        """How many commands around this may be run, or not, or again."""
        self.subshells = 0
        self.led = False
        """Whether this is run depends on the command before."""

    def run(self) -> None:
        self.list_("", nested=False)

    def list_(self, closing: str, *, nested: bool) -> None:
        """Read commands until `closing`, which is taken as well."""
        self.depth += 1
        if self.depth > _DEPTH:
            raise ValueError("nested too deeply")
        words: list[Word] = []
        alone = not nested

        def done() -> None:
            if words:
                self.script.commands.append(Command(words=tuple(words), alone=alone, nested=nested))
            words.clear()

        while self.at < len(self.text):
            letter = self.text[self.at]
            if letter in " \t\r":
                self.at += 1
            elif self.text.startswith(("\\\n", "\\\r\n"), self.at):
                self.at = self.text.index("\n", self.at) + 1
            elif letter == "#":
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            elif closing and letter == closing:
                done()
                self.at += 1
                self.depth -= 1
                return
            elif letter in _OPERATORS:
                self.subshells += (letter == "(" and not words) - (letter == ")" and self.subshells > 0)
                self.led = letter in "&|" or (self.led and letter == "\n" and not self.ends_statement())
                done()
                if letter == "\n":
                    self.at += 1
                    self.heredoc_bodies()
                    alone = not nested and self.ends_statement()
                else:
                    self.at += 1
                    alone = False
            elif letter in "<>":
                self.redirection()
            else:
                word = self.word()
                following = self.text[self.at : self.at + 1]
                if following == "(" and _ARRAY.match(word.shown):
                    word = self.array(word)
                if word.shown.isdecimal() and following in ("<", ">") and following:
                    continue
                if not words:
                    self.maybe += (word.shown in _MAYBE) - (word.shown in _MAYBE_ENDS and self.maybe > 0)
                if not words and word.shown in _KEYWORDS:
                    alone = False
                    continue
                words.append(word)
        if closing:
            raise ValueError(f"{closing} is missing")
        done()
        self.depth -= 1

    def array(self, name: Word) -> Word:
        """Read the words of an array, and return the assignment."""
        self.at += 1
        words: list[Word] = []
        while self.text[self.at : self.at + 1] != ")":
            if self.at >= len(self.text):
                raise ValueError(") is missing")
            letter = self.text[self.at]
            if letter == "#":
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            elif letter in " \t\r\n\\" and (letter != "\\" or self.text.startswith(("\\\n", "\\\r\n"), self.at)):
                self.at += 1
            else:
                words.append(self.word())
        self.at += 1
        if not all(_ASSIGNMENT.match(word.shown) for word in words):  # which may be one that is run later
            self.script.commands.append(Command(words=tuple(words), alone=False))
        shown = name.shown.rstrip("+=")
        always = self.depth == 1 and not self.maybe and not self.subshells and not self.led
        known = always and shown not in self.script.arrays and "+" not in name.shown
        keyed = any(word.shown.startswith("[") for word in words)
        self.script.arrays[shown] = tuple(words) if known and not keyed else None
        value = Part(text=self.text[name.end : self.at], literal=False)
        return Word(start=name.start, end=self.at, parts=(*name.parts, value))

    def ends_statement(self) -> bool:
        """Tell whether what comes on the next line begins anew: the line before does not end in an operator."""
        before = self.text[: self.at].rstrip()
        line = before[before.rfind("\n") + 1 :]
        return not line.partition(" #")[0].rstrip().endswith(("|", "&&", "||"))

    def redirection(self) -> None:
        operator = re.compile(r"<<<|<<-?|<>|>>|>\||[<>]&?").match(self.text, self.at)
        assert operator is not None
        self.at = operator.end()
        while self.at < len(self.text) and self.text[self.at] in " \t":
            self.at += 1
        if self.text[self.at : self.at + 1] == "(":  # process substitution
            self.at += 1
            self.list_(")", nested=True)
            return
        if self.at < len(self.text) and self.text[self.at] not in _OPERATORS:
            target = self.word()
            if operator[0] in ("<<", "<<-"):
                self.heredocs.append((target.shown, operator[0] == "<<-"))

    def heredoc_bodies(self) -> None:
        """Skip what the redirections of the line before take in."""
        for delimiter, tabs in self.heredocs:
            while self.at < len(self.text):
                end = self.text.find("\n", self.at)
                line = self.text[self.at : len(self.text) if end < 0 else end]
                self.at = len(self.text) if end < 0 else end + 1
                if (line.lstrip("\t") if tabs else line).rstrip("\r") == delimiter:
                    break
        self.heredocs.clear()

    def word(self) -> Word:
        start = self.at
        parts: list[Part] = []
        literal = ""

        def flush(*, quoted: bool = False) -> None:
            nonlocal literal
            if literal or quoted:
                parts.append(Part(text=literal, quoted=quoted))
            literal = ""

        while self.at < len(self.text) and self.text[self.at] not in " \t\n;&|()<>\r":
            letter = self.text[self.at]
            if letter == "'":
                flush()
                end = self.text.find("'", self.at + 1)
                if end < 0:
                    raise ValueError("a quote is left open")
                parts.append(Part(text=self.text[self.at + 1 : end], quoted=True))
                self.at = end + 1
            elif letter == '"':
                flush()
                self.double_quoted(parts)
            elif letter in "$`":
                flush()
                parts.append(self.expansion(quoted=False))
            elif letter == "\\":
                if self.text.startswith(("\\\n", "\\\r\n"), self.at):
                    break
                literal += self.text[self.at + 1 : self.at + 2]
                self.at += 2
            elif letter in _GLOB and (letter != "~" or self.at == start):
                flush()
                parts.append(Part(text=letter, literal=False))
                self.at += 1
            else:
                literal += letter
                self.at += 1
        flush()
        if self.at == start:
            self.at += 1
        return Word(start=start, end=self.at, parts=tuple(parts))

    def double_quoted(self, parts: list[Part]) -> None:
        self.at += 1
        literal = ""
        parts.append(Part(text="", quoted=True))
        while self.at < len(self.text):
            letter = self.text[self.at]
            if letter == '"':
                parts.append(Part(text=literal, quoted=True))
                self.at += 1
                return
            if letter == "\\" and self.text[self.at + 1 : self.at + 2] in ("$", "`", '"', "\\", "\n"):
                following = self.text[self.at + 1]
                literal += "" if following == "\n" else following
                self.at += 2
            elif letter in "$`":
                parts.append(Part(text=literal, quoted=True))
                literal = ""
                parts.append(self.expansion(quoted=True))
            else:
                literal += letter
                self.at += 1
        raise ValueError("a quote is left open")

    def expansion(self, *, quoted: bool) -> Part:
        start = self.at
        if self.text[start] == "`":
            end = self.text.find("`", start + 1)
            if end < 0:
                raise ValueError("a backquote is left open")
            self.at = end + 1
        elif self.text.startswith("$((", start):
            end = self.text.find("))", start)
            if end < 0:
                raise ValueError("$(( is left open")
            self.at = end + 2
        elif self.text.startswith("$(", start):
            self.at += 2
            pending, self.heredocs = self.heredocs, []
            self.list_(")", nested=True)
            self.heredocs = pending
        elif self.text.startswith("${", start):
            self.at = self.brace(start + 2)
        elif self.text.startswith("$'", start) and not quoted:
            self.at += 2
            while self.at < len(self.text) and self.text[self.at] != "'":
                self.at += 2 if self.text[self.at] == "\\" else 1
            self.at += 1
        elif name := _NAME.match(self.text, start + 1):
            self.at = name.end()
        else:
            self.at += 2 if self.text[start + 1 : start + 2] in tuple("@*#?$!-0123456789") else 1
            if self.at == start + 1:
                return Part(text="$", quoted=quoted)
        shown = self.text[start : self.at]
        name = re.fullmatch(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?::-([^$`\\\"'}]*))?\})", shown, re.ASCII)
        variable = (name[1] or name[2]) if name else ""
        return Part(text=shown, variable=variable, default=name[3] if name else None, literal=False, quoted=quoted)

    def brace(self, at: int) -> int:
        """Return where `${` ends."""
        depth = 1
        while at < len(self.text):
            letter = self.text[at]
            if letter == "\\":
                at += 1
            elif letter == "'" and depth == 1 and '"' not in self.text[self.at : at]:
                end = self.text.find("'", at + 1)
                at = end if end > 0 else at
            elif letter == "{":
                depth += 1
            elif letter == "}":
                depth -= 1
                if not depth:
                    return at + 1
            at += 1
        raise ValueError("${ is left open")
