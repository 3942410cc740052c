"""Tells whether to colour, for all commands alike: https://no-color.org, https://force-color.org."""

import os


def wants_color(choice: str, *, terminal: bool) -> bool:
    """Tell whether to colour: the user's choice, then NO_COLOR and FORCE_COLOR, then whether it is a terminal."""
    if choice != "auto":
        return choice == "always"
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (terminal and os.environ.get("TERM") != "dumb")
