"""Which files Git ignores, by the `.gitignore` files on the way to them."""

import os
import re


class IgnoreFile:
    """The patterns of one `.gitignore`, for the folder it stands in and all below."""

    __slots__ = ("base", "patterns")

    def __init__(self, base: str, text: str) -> None:
        self.base = base
        """The folder it speaks of, with a slash at its end; nothing for the one that the walk begins in."""
        self.patterns = [pattern for line in text.splitlines() if (pattern := _pattern(line)) is not None]

    def says(self, path: str, *, directory: bool) -> bool | None:
        """Tell whether `path` is ignored; None where no pattern speaks of it."""
        if not path.startswith(self.base):
            return None
        inside = path[len(self.base) :]
        for expression, ignored, directories_only in reversed(self.patterns):
            if (directory or not directories_only) and expression.match(inside):
                return ignored
        return None


def ignored(path: str, files: list[IgnoreFile], *, directory: bool) -> bool:
    """Tell whether Git ignores `path`; the file nearest to it has the last word."""
    for file in reversed(files):
        said = file.says(path, directory=directory)
        if said is not None:
            return said
    return False


def read_ignore_file(folder: str, base: str) -> IgnoreFile | None:
    """Return what the `.gitignore` of `folder` says, None where it says nothing or can't be read."""
    try:
        descriptor = os.open(os.path.join(folder, ".gitignore"), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        text = os.read(descriptor, 1 << 20).decode("utf-8", "replace")
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return IgnoreFile(base, text)


def _pattern(line: str) -> tuple[re.Pattern[str], bool, bool] | None:
    """Return a line as an expression, whether it ignores (`!` takes back), and whether it means folders only."""
    line = line.rstrip("\r")
    line = re.sub(r"(?<!\\) +$", "", line)
    if not line or line.startswith("#"):
        return None
    takes_back = line.startswith("!")
    line = line.removeprefix("!").removeprefix("\\") if takes_back or line.startswith("\\") else line
    directories_only = line.endswith("/")
    line = line.removesuffix("/")
    anchored = "/" in line
    line = line.removeprefix("/")
    if not line:
        return None
    try:
        expression = re.compile(("" if anchored else "(?:.*/)?") + _translate(line) + r"\Z")
    except re.error:
        return None
    return expression, not takes_back, directories_only


def _translate(glob: str) -> str:
    """Return a glob of Git's as a regular expression: `**` crosses folders, `*` and `?` do not."""
    result, position = "", 0
    while position < len(glob):
        if glob.startswith("**/", position) and (position == 0 or glob[position - 1] == "/"):
            result, position = result + "(?:.*/)?", position + 3
        elif glob[position:] == "**" and position and glob[position - 1] == "/":
            result, position = result + ".+", position + 2
        elif glob[position] == "*":
            result, position = result + "[^/]*", position + 1
            while glob[position : position + 1] == "*":
                position += 1
        elif glob[position] == "?":
            result, position = result + "[^/]", position + 1
        elif glob[position] == "[" and (end := glob.find("]", position + 2)) > 0:
            inside = re.sub(r"[\\\[&~|]", r"\\\g<0>", glob[position + 1 : end])
            result += "[" + ("^" + inside[1:] if inside[0] in "!^" else inside) + "]"
            position = end + 1
        else:
            if glob[position] == "\\" and position + 1 < len(glob):
                position += 1
            result, position = result + re.escape(glob[position]), position + 1
    return result
