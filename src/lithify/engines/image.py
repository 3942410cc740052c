"""Image files: a root filesystem directory, an OCI image layout, a `docker save` archive."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lithify.engines.rootfs import RootFilesystem
from lithify.errors import InvalidInput
from lithify.model.image import ImageFacts
from lithify.model.run import Target, TargetKind


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedImage:
    """An image that can be run: a directory with its root filesystem, and what it says of itself."""

    facts: ImageFacts
    rootfs: Path
    unpacked: bool = False
    """The directory is ours, unpacked from an image file; False where it is the user's."""


def load_image(target: Target, state: Path) -> LoadedImage:
    """Return what `target` runs, its own words on user, command and environment applied."""
    if target.kind is not TargetKind.ROOTFS:
        raise InvalidInput(f"{target.kind.value} is not supported yet")
    rootfs = Path(target.reference).resolve()
    return LoadedImage(facts=overridden(ImageFacts(reference=target.reference), target, rootfs), rootfs=rootfs)


def overridden(facts: ImageFacts, target: Target, rootfs: Path) -> ImageFacts:
    """Return the facts of an image as `target` runs it."""
    from dataclasses import replace

    entrypoint = facts.entrypoint if target.entrypoint is None else target.entrypoint
    # an entrypoint that is given takes the image's command away, as in Docker
    command = facts.command if target.entrypoint is None else ()
    text = facts.user if target.user is None else target.user
    with RootFilesystem(rootfs) as root:
        user = root.user(text)
        shell = root.status(PurePosixPath("/bin/sh")) is not None
    return replace(
        facts,
        user=text,
        uid=user.uid,
        gid=user.gid,
        working_directory=target.working_directory or facts.working_directory,
        entrypoint=entrypoint,
        command=target.command or command,
        environment={**facts.environment, **target.environment},
        has_shell=shell,
    )
