"""Image files: a root filesystem directory, an OCI image layout, a `docker save` archive.

A layout or archive is unpacked once into a directory below the state directory, named by the image's id; each layer is
held against the digest that the image names for it.
"""

import gzip
import hashlib
import json
import os
import platform
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

from lithify.engines import process
from lithify.engines.bundle.adopt import adopt
from lithify.engines.images.layers import Unpacker
from lithify.engines.images.rootfs import RootFilesystem
from lithify.engines.images.store import stored
from lithify.engines.temporary import temporary_folder
from lithify.engines.tree import copy_tree, remove_entry
from lithify.errors import EngineRefused, InvalidInput, NothingToExamine, NotPermitted
from lithify.model.image import ImageFacts
from lithify.model.path import container_path, printable
from lithify.model.run import Target, TargetKind

_JSON_LIMIT = 8 << 20
_LAYERS = 512
_MEMBERS = 100_000
_NESTING = 3
_DECOMPRESS_TIMEOUT = 3600.0
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "i686": "386", "armv7l": "arm", "ppc64le": "ppc64le"}
_INDEXES = frozenset(
    {"application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"}
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedImage:
    """An image that can be run: a directory with its root filesystem, and what it says of itself."""

    facts: ImageFacts
    rootfs: Path
    unpacked: bool = False
    """The directory is ours, made from an image file or by `adopt`; False where it is the user's."""
    notes: tuple[str, ...] = ()
    """What of the user's could not be had, in sentences."""


def load_image(target: Target, state: Path) -> LoadedImage:
    """Return what `target` runs, its own words on user, command and environment applied.

    NothingToExamine where there is nothing at its path, InvalidInput where that is no image or a broken one.
    """
    if target.kind is TargetKind.ROOTFS:
        facts = ImageFacts(reference=target.reference)
        rootfs, notes = adopt(Path(target.reference).resolve(), state)
        unpacked = rootfs != Path(target.reference).resolve()
    else:
        facts, rootfs = _unpacked(Path(target.reference), state)
        unpacked, notes = True, ()
    if target.baked:
        rootfs, unpacked = Path(target.baked), True
    with RootFilesystem(rootfs) as root:
        return LoadedImage(facts=_overridden(facts, target, root), rootfs=rootfs, unpacked=unpacked, notes=notes)


def _overridden(facts: ImageFacts, target: Target, root: RootFilesystem) -> ImageFacts:
    # an entrypoint that is given takes the image's command away, as in Docker
    entrypoint, command = facts.entrypoint, facts.command
    if target.entrypoint is not None:
        entrypoint, command = target.entrypoint, ()
    text = facts.user if target.user is None else target.user
    user = root.user(text)
    return replace(
        facts,
        user=text,
        uid=user.uid,
        gid=user.gid,
        working_directory=target.working_directory or facts.working_directory,
        entrypoint=entrypoint,
        command=target.command or command,
        environment={**facts.environment, **target.environment},
        has_shell=root.status(PurePosixPath("/bin/sh")) is not None,
    )


class _Blobs(Protocol):
    """The files that an image is made of, by their names in the layout or archive."""

    def open(self, name: str) -> Any:
        """Give a file as a context manager; InvalidInput where there is none."""

    def has(self, name: str) -> bool:
        """Tell whether there is a file of that name."""


class _LayoutBlobs:
    """The files of an OCI image layout in a directory; links do not lead out of it."""

    def __init__(self, directory: RootFilesystem) -> None:
        self._directory = directory

    def has(self, name: str) -> bool:
        return self._directory.status(PurePosixPath("/", name)) is not None

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        try:
            with (
                self._directory.open(PurePosixPath("/", name)) as descriptor,
                os.fdopen(os.dup(descriptor), "rb") as file,
            ):
                yield file
        except OSError as error:
            raise InvalidInput(f"the image layout has no readable {printable(name)}: {error.strerror}") from error


class _ArchiveBlobs:
    """The files of a tar archive, read where they lie."""

    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive
        self._members: dict[str, tarfile.TarInfo] = {}
        for number, member in enumerate(archive):
            if number >= _MEMBERS:
                raise InvalidInput(f"an archive with more than {_MEMBERS} entries holds no image")
            self._members[os.path.normpath("/" + member.name).lstrip("/")] = member

    def has(self, name: str) -> bool:
        return self._find(name) is not None

    def _find(self, name: str) -> tarfile.TarInfo | None:
        for _ in range(8):  # old Docker saves a layer that two images share as a link
            member = self._members.get(os.path.normpath("/" + name).lstrip("/"))
            if member is None or member.isreg():
                return member
            base = "" if member.islnk() else os.path.dirname(member.name)
            name = os.path.join(base, member.linkname)
        return None

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        member = self._find(name)
        file = self._archive.extractfile(member) if member is not None else None
        if file is None:
            raise InvalidInput(f"the archive has no file {printable(name)}")
        with file:
            yield file


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """An image taken apart: its configuration, and the names of its layers, lowest first."""

    config: bytes
    layers: tuple[str, ...]


@contextmanager
def _opened(path: Path) -> Iterator[_Blobs]:
    """Give the files of the layout or archive at `path`."""
    with ExitStack() as stack:
        try:
            if path.is_dir():
                blobs: _Blobs = _LayoutBlobs(stack.enter_context(RootFilesystem(path)))
            else:
                plain = stack.enter_context(_plain(stack.enter_context(open(path, "rb")), str(path)))
                blobs = _ArchiveBlobs(stack.enter_context(tarfile.open(fileobj=plain, mode="r:")))
        except FileNotFoundError as error:
            raise NothingToExamine(f"no file at {printable(path)}") from error
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise InvalidInput(
                f"{printable(path)} is no tar archive: {printable(error)}",
                hint="docker save IMAGE > FILE makes one; what describes containers is a manifest, a Compose file, ...",
            ) from error
        except OSError as error:
            raise InvalidInput(f"can't read {printable(path)}: {printable(error)}") from error
        yield blobs


def _unpacked(path: Path, state: Path) -> tuple[ImageFacts, Path]:
    """Return an image's facts and the directory with its root filesystem, unpacked now or before."""
    if os.geteuid() != 0:
        raise NotPermitted(
            "unpacking an image with its owners takes root, be it of a user namespace",
            hint="run lithify with sudo, or call lithify.engines.bundle.rootless.enter() before",
        )
    with _opened(path) as blobs:
        parts = _read_parts(blobs)
        config = _parse_json(parts.config, "the image's configuration")
        identity = hashlib.sha256(parts.config).hexdigest()
        facts = _facts(config, str(path), f"sha256:{identity}")
        return facts, stored(state, identity, lambda directory: _unpack(blobs, parts, config, directory))[0]


def copy_over(rootfs: Path, target: Path, archive: Path, removed: Sequence[PurePosixPath]) -> None:
    """Copy a root filesystem to an empty directory, take `removed` away, and unpack `archive`, if any, over it.

    As a build does with ADD and rm: links in the image lead nowhere but into the image.
    """
    with RootFilesystem(rootfs) as source, RootFilesystem(target) as copy:
        copy_tree(source.descriptor, copy.descriptor)
        for path in removed:
            with suppress(OSError), copy.open(path.parent, os.O_RDONLY | os.O_DIRECTORY) as parent:
                remove_entry(parent, path.name)
    if archive.exists():
        with closing(Unpacker(target)) as unpacker, open(archive, "rb") as file:
            unpacker.apply(file, archive.name)


def _unpack(blobs: _Blobs, parts: _Parts, config: Mapping[str, Any], directory: Path) -> tuple[str, ...]:
    """Unpack all layers into `directory`; there is nothing to note."""
    diff_ids = _strings(_object(config.get("rootfs")).get("diff_ids"))
    if len(diff_ids) != len(parts.layers):
        raise InvalidInput(f"the image has {len(parts.layers)} layers and digests for {len(diff_ids)}")
    with closing(Unpacker(directory)) as unpacker:
        for name, diff_id in zip(parts.layers, diff_ids, strict=True):
            with blobs.open(name) as packed, _plain(packed, name) as plain:
                summed = _Summed(plain)
                unpacker.apply(summed, name)
                if summed.digest() != diff_id:
                    raise InvalidInput(
                        f"layer {printable(name)} is not what the image says it is",
                        hint="make the image file again",
                    )
    return ()


class _Summed:
    """A stream that is hashed while it is read."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._sum = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._sum.update(data)
        return data

    def digest(self) -> str:
        """Return the digest of the whole stream, the rest of which is read for that."""
        while self.read(1 << 20):
            pass
        return f"sha256:{self._sum.hexdigest()}"


@contextmanager
def _plain(packed: IO[bytes], name: str) -> Iterator[IO[bytes]]:
    """Give a stream uncompressed; what it is compressed with is told by its first bytes, not by its name."""
    magic = packed.read(4)
    packed.seek(0)
    if magic[:2] == b"\x1f\x8b":
        with gzip.GzipFile(fileobj=packed) as stream:
            yield stream  # type: ignore[misc]  # a binary stream in all but name
    elif magic == b"\x28\xb5\x2f\xfd":
        with _zstd(packed, name) as stream:
            yield stream
    else:
        yield packed


@contextmanager
def _zstd(packed: IO[bytes], name: str) -> Iterator[IO[bytes]]:
    """Give a stream of zstd as plain bytes in a temporary file: Python 3.11 has no decompressor for it."""
    program = process.find("zstd")
    with temporary_folder() as folder:
        source, plain = folder / "packed", folder / "plain"
        with open(source, "wb") as file:
            while chunk := packed.read(1 << 20):
                file.write(chunk)
        result = process.run([program, "-dqo", str(plain), str(source)], timeout=_DECOMPRESS_TIMEOUT)
        if result.code != 0:
            raise InvalidInput(f"{printable(name)} can't be decompressed: {printable(result.message)}")
        with open(plain, "rb") as stream:
            yield stream


def _read_parts(blobs: _Blobs) -> _Parts:
    if blobs.has("manifest.json") and not blobs.has("oci-layout"):
        return _read_docker_manifest(blobs)
    if blobs.has("index.json"):
        return _read_oci_manifest(blobs)
    if blobs.has("manifest.json"):
        return _read_docker_manifest(blobs)
    raise InvalidInput(
        "neither an OCI image layout nor a docker save archive: no index.json and no manifest.json in it",
        hint="docker save IMAGE > FILE and skopeo copy docker://IMAGE oci:DIRECTORY make such things",
    )


def _read_docker_manifest(blobs: _Blobs) -> _Parts:
    images = _parse_json(_read(blobs, "manifest.json"), "manifest.json")
    if not isinstance(images, list) or not images:
        raise InvalidInput("manifest.json names no image")
    if len(images) > 1:
        names = sorted(str(tag) for image in images for tag in _strings(_object(image).get("RepoTags")))
        raise InvalidInput(
            f"the archive holds {len(images)} images: {printable(', '.join(names))}",
            hint="docker save one of them alone",
        )
    image = _object(images[0])
    return _Parts(config=_read(blobs, str(image.get("Config"))), layers=_bounded(_strings(image.get("Layers"))))


def _read_oci_manifest(blobs: _Blobs) -> _Parts:
    descriptors = _manifests(_parse_json(_read(blobs, "index.json"), "index.json"), blobs, _NESTING)
    digests = {str(descriptor.get("digest")): descriptor for descriptor in descriptors}
    if not digests:
        raise InvalidInput(f"the image layout has no image for {_architecture()}", hint="copy it for this platform")
    if len(digests) > 1:
        names = [
            str(_object(d.get("annotations")).get("org.opencontainers.image.ref.name", digest))
            for digest, d in digests.items()
        ]
        raise InvalidInput(
            f"the image layout holds {len(digests)} images: {printable(', '.join(sorted(names)))}",
            hint="copy one of them alone: skopeo copy oci:DIRECTORY:NAME oci:OTHER",
        )
    manifest = _object(_parse_json(_read_blob(blobs, next(iter(digests))), "the image's manifest"))
    config = _read_blob(blobs, str(_object(manifest.get("config")).get("digest")))
    layers = manifest.get("layers")
    names = [_blob_name(str(_object(layer).get("digest"))) for layer in (layers if isinstance(layers, list) else ())]
    return _Parts(config=config, layers=_bounded(names))


def _manifests(index: Any, blobs: _Blobs, nesting: int) -> Iterator[Mapping[str, Any]]:
    """Yield the descriptors of images for this platform, those in indexes within the index included."""
    listed = _object(index).get("manifests")
    for descriptor in map(_object, listed if isinstance(listed, list) else ()):
        wanted = _object(descriptor.get("platform"))
        if wanted and (wanted.get("os"), wanted.get("architecture")) != ("linux", _architecture()):
            continue
        if descriptor.get("mediaType") in _INDEXES:
            if nesting == 0:
                raise InvalidInput("the image layout nests its indexes too deep")
            inner = _parse_json(_read_blob(blobs, str(descriptor.get("digest"))), "an index of the image layout")
            yield from _manifests(inner, blobs, nesting - 1)
        else:
            yield descriptor


def _architecture() -> str:
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)


def _blob_name(digest: str) -> str:
    if not _DIGEST.fullmatch(digest):
        raise InvalidInput(f"{printable(digest)} is no sha256 digest")
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _read_blob(blobs: _Blobs, digest: str) -> bytes:
    data = _read(blobs, _blob_name(digest))
    if f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
        raise InvalidInput(f"the blob {digest} does not have that digest", hint="make the image file again")
    return data


def _read(blobs: _Blobs, name: str) -> bytes:
    with blobs.open(name) as file:
        data: bytes = file.read(_JSON_LIMIT + 1)
    if len(data) > _JSON_LIMIT:
        raise InvalidInput(f"{printable(name)} is larger than any such file should be")
    return data


def _parse_json(data: bytes, what: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{what} is no JSON: {printable(error)}") from error


def _facts(config: Any, reference: str, digest: str) -> ImageFacts:
    """Return what an image's configuration says (OCI image specification, config.md)."""
    said = _object(_object(config).get("config"))
    try:
        volumes = tuple(sorted(container_path(path) for path in _object(said.get("Volumes"))))
        working_directory = container_path(str(said.get("WorkingDir") or "/"))
    except ValueError as error:
        raise InvalidInput(f"the image's configuration: {error}") from error
    return ImageFacts(
        reference=reference,
        digest=digest,
        user=str(said.get("User") or ""),
        working_directory=working_directory,
        entrypoint=_strings(said.get("Entrypoint")),
        command=_strings(said.get("Cmd")),
        environment=dict(entry.partition("=")[::2] for entry in _strings(said.get("Env"))),
        volumes=volumes,
        exposed=tuple(sorted(_object(said.get("ExposedPorts")))),
        stop_signal=str(said.get("StopSignal") or "SIGTERM"),
    )


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _strings(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    return tuple(str(item) for item in value) if isinstance(value, list) else ()


def _bounded(layers: Any) -> tuple[str, ...]:
    names = tuple(layers)
    if len(names) > _LAYERS:
        raise EngineRefused(f"the image has {len(names)} layers, more than any engine takes")
    return names
