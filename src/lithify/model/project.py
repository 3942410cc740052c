"""Which files Compose reads where nobody names one."""

from collections.abc import Callable

DEFAULTS = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
"""Names of a project's file; the first that is there counts."""
OVERRIDES = (
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
)
"""Names of the file that is merged into it, whatever that one is called; the first that is there counts."""


def project_files(there: Callable[[str], bool]) -> tuple[str, str]:
    """Return the names of a folder's Compose file and its override, nothing for one that is not `there`."""
    default = next(filter(there, DEFAULTS), "")
    return default, next(filter(there, OVERRIDES), "") if default else ""
