"""Mount plans written into Swarm stacks: Compose files that `docker stack deploy` reads in a way of its own.

It takes `tmpfs:` without a word and mounts nothing (seen with Docker 28); a tmpfs among the volumes, in long syntax, is
kept with its size and without its mode.
"""

from collections.abc import Sequence
from dataclasses import replace

from lithify.documents.edit import Editor
from lithify.documents.splice import Uneditable
from lithify.model.patch import Patched, Planned, Refused
from lithify.model.path import printable
from lithify.patch import compose

_SINCE = (3, 6)
"""The version of the file's format that knows the size of a tmpfs."""


def patch(data: bytes, planned: Sequence[Planned]) -> Patched:
    """Return the stack `data` with each plan of `planned` in it; what can't be done safely is refused."""
    try:
        version = str(Editor(data).draft(0).data.get("version") or "")
    except (Uneditable, AttributeError):
        version = ""  # the patch of each service says what is wrong
    if _is_old(version):
        reason = f"the file says version {printable(version)}, which does not know the size of a tmpfs"
        refused = (Refused(container=p.container, reason=reason, remedy='say version: "3.8"') for p in planned)
        return Patched(text=data, refused=tuple(refused))
    patched = compose.patch(data, planned, compose.Manner(stack=True))
    return replace(patched, notes=(*patched.notes, *_dropped(data, planned)) if patched.changes else patched.notes)


def _is_old(version: str) -> bool:
    parts = version.split(".")
    if not all(part.isdecimal() for part in parts):
        return False
    return tuple(int(part) for part in (*parts, "0")[:2]) < _SINCE


def _dropped(data: bytes, planned: Sequence[Planned]) -> list[str]:
    """Say which services count on a `tmpfs:` that they don't get."""
    notes = []
    for one in planned:
        service = Editor(data).draft(one.document).get(one.route)
        if isinstance(service, dict) and service.get("tmpfs"):
            notes.append(f"{one.container}: its `tmpfs:` is dropped by Swarm without a word, and may go")
    return notes
