"""Writes data in ways that YAML allows and no formatter would choose."""

import json
import random
from typing import Any

from lithify.documents.emit import render_block, render_scalar


class Ugly:
    """Writes data in ways that no formatter would."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.newline = self.random.choice(["\n", "\n", "\n", "\r\n"])

    def comment(self) -> str:
        return self.random.choice(["", "", "", "  # note", " #\t{x: [", "   "])

    def between(self, indent: int) -> list[str]:
        """Return lines that mean nothing."""
        choices: list[list[str]] = [[], [], [], [""], ["# note: x"], [" " * indent + "# - y", ""]]
        return self.random.choice(choices)

    def scalar(self, value: Any) -> str:
        if value is None:
            return self.random.choice(["null", "~", "Null"])
        if isinstance(value, bool):
            return self.random.choice(["true", "True", "yes", "on"] if value else ["false", "no", "Off"])
        if isinstance(value, str):
            text = render_scalar(value)
            if text == value and self.random.random() < 0.3:
                return f"'{value}'"
            return text
        return json.dumps(value)

    def flow(self, value: Any) -> str:
        pad = self.random.choice(["", " "])
        many = self.random.random() < 0.2
        gap = self.newline + " " * 24 if many else " "
        if isinstance(value, dict):
            inner = f",{gap}".join(f"{render_scalar(key)}: {self.flow(item)}" for key, item in value.items())
        elif isinstance(value, list):
            inner = f",{gap}".join(self.flow(item) for item in value)
        else:
            return self.scalar(value)
        if many and inner:
            inner = gap + inner + ("," if self.random.random() < 0.5 else "") + gap
        return f"{{{pad}{inner}{pad}}}" if isinstance(value, dict) else f"[{pad}{inner}{pad}]"

    def block(self, value: Any, indent: int) -> list[str]:
        """Return the lines of a mapping or list that has something in it."""
        lines: list[str] = []
        pad, literal = " " * indent, False
        for key, item in value.items() if isinstance(value, dict) else ((None, item) for item in value):
            lines += [] if literal else self.between(indent)
            literal = False
            head = "-" if key is None else f"{render_scalar(key)}:"
            explicit = key is not None and self.random.random() < 0.1
            if explicit:
                lines.append(f"{pad}? {render_scalar(key)}{self.comment()}")
                head = ":"
            if isinstance(item, dict | list) and item and self.random.random() < 0.75:
                deeper = self.random.choice([1, 2, 2, 4])
                if key is not None and not explicit and isinstance(item, list):
                    deeper = self.random.choice([0, 2, 4])
                inner = self.block(item, indent + deeper)
                if (
                    key is None
                    and self.random.random() < 0.8
                    and inner[0].strip()
                    and not inner[0].lstrip().startswith("#")
                ):
                    lines.append(f"{pad}-{' ' * (deeper - 1) or ' '}{inner[0].lstrip()}")
                    if deeper == 1:
                        inner = [" " + line if line else line for line in inner]
                    lines += inner[1:]
                else:
                    lines += [f"{pad}{head}{self.comment()}", *inner]
            elif isinstance(item, str) and item.endswith("\n") and render_scalar(item) != item and "\r" not in item:
                text = render_block({"k": item}, step=2, listed=0)
                style = "|" if text[0] == "k: |" else ""
                if style:
                    lines += [f"{pad}{head} |{self.comment().rstrip() if '#' in self.comment() else ''}"]
                    lines += [f"{pad}{line}" if line else line for line in text[1:]]
                    lines += self.random.choice([[], [""], ["", ""]])
                    literal = True
                else:
                    lines.append(f"{pad}{head} {self.scalar(item)}{self.comment()}")
            elif item is None and self.random.random() < 0.5:
                lines.append(f"{pad}{head}{self.comment()}")
            else:
                lines.append(f"{pad}{head} {self.flow(item)}{self.comment()}")
        return lines

    def text(self, value: Any) -> str:
        lines = self.block(value, self.random.choice([0, 0, 0, 2]))
        text = self.newline.join([*lines, *self.between(0)])
        # A literal block at the end of a file is one line end shorter without the file's.
        end = self.random.choice([self.newline, self.newline, self.newline if "|" in text else ""])
        return self.random.choice(["", "", "\ufeff"]) + text + end
