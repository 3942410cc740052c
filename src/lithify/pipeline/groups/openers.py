"""Takes what the user pointed at to a group of containers, where it is a file that describes some."""

from collections.abc import Callable
from pathlib import Path

from lithify.errors import InvalidInput, NothingToExamine, UsageError
from lithify.model.path import printable
from lithify.model.text import UTF_16
from lithify.pipeline.groups.group import Group
from lithify.pipeline.groups.options import GroupOptions
from lithify.sources.base import MAX_BYTES, read_bytes
from lithify.sources.files import YAML_SUFFIXES, insist_on_yaml, kind_of, played_by

_HEAD = 4096
_OF_A_ROOT = ("bin", "usr", "etc", "lib", "oci-layout")
"""One of these is in every root filesystem or image layout that anybody keeps."""


Opener = Callable[[str, bytes, GroupOptions], Group]
"""Takes a file's path and text to the group that it describes."""


def open_group(text: str, options: GroupOptions) -> Group | None:
    """Return the group that a file describes; None where `text` names no file of containers.

    One on a cluster is a context manager, and to be left. InvalidInput where the file can't be read, NothingToExamine
    where it is YAML that describes none, UsageError where it is of a kind that can't be run, or not on a cluster.
    """
    path = Path(text)
    if path.is_dir():
        return _open_folder(text, options)
    if _is_utf_16(path):
        raise UsageError(
            f"{printable(text)} is UTF-16", hint="save it as UTF-8; lithify patch writes a plan into it as it is"
        )
    if not path.is_file() or _is_binary(path):
        return None
    data = read_bytes(text)
    if isinstance(data, str):
        raise InvalidInput(f"{printable(text)}: {data}", hint="name a file that you may read")
    kind = kind_of(text, data)
    if manifest := played_by(text, data):
        raise UsageError(f"{printable(text)} is a unit that plays a manifest", hint=f"name that: {printable(manifest)}")
    if not kind:
        if path.suffix in YAML_SUFFIXES and options.settings.engine in (None, "bundle"):
            raise _nothing_in(text, data)
        return None
    if options.cluster is not None and kind != "kubernetes":
        raise UsageError(
            f"{printable(text)}: a cluster proves no file of kind {kind}",
            hint="name a manifest, a chart or a kustomization; or leave out --cluster, --context and -n",
        )
    opener = _OPENERS.get(kind)
    if opener is None:
        raise UsageError(
            f"{printable(text)}: lithify can't run a file of kind {kind}",
            hint="harden the image or run line, then put its plan in the file with lithify patch",
        )
    return opener(text, data, options)


def _nothing_in(text: str, data: bytes) -> NothingToExamine:
    """Return what to say of YAML without a container; InvalidInput where it is no YAML."""
    insist_on_yaml(text, data)
    return NothingToExamine(
        f"{printable(text)} describes no container", hint="name a manifest, a Compose file, a chart or a kustomization"
    )


def _is_binary(path: Path) -> bool:
    """Tell whether a file is an image archive rather than text."""
    try:
        with path.open("rb") as file:
            return b"\0" in file.read(_HEAD) or path.stat().st_size > MAX_BYTES
    except OSError:
        return False  # why it can't be read is told by whoever reads it


def _is_utf_16(path: Path) -> bool:
    """Tell whether a manifest is of an encoding that engines are not handed."""
    if path.suffix not in YAML_SUFFIXES or not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return file.read(2) in UTF_16
    except OSError:
        return False  # as above


def _open_manifest(text: str, data: bytes, options: GroupOptions) -> Group:
    if options.cluster is not None:
        from lithify.pipeline.groups.clusters import open_cluster

        return open_cluster(text, data, options)
    from lithify.pipeline.groups.pods import open_pods

    return open_pods(text, data, options)


def _open_compose(text: str, data: bytes, options: GroupOptions) -> Group:
    from lithify.pipeline.groups.compose import open_compose

    return open_compose(text, data, options)


def _open_folder(text: str, options: GroupOptions) -> Group | None:
    from lithify.pipeline.groups.rendered import is_chart, is_kustomization, open_chart, open_kustomization

    if is_chart(text):
        return open_chart(text, options)
    if is_kustomization(text):
        return open_kustomization(text, options)
    files = [path.name for path in Path(text).glob("*.y*ml") if path.is_file()]
    if files and not any(Path(text, name).exists() for name in _OF_A_ROOT):
        raise UsageError(
            f"{printable(text)} is a folder of files, neither a chart nor a kustomization",
            hint=f"name one of its files, as {printable(str(Path(text, sorted(files)[0])))}; --with takes the folder",
        )
    return None


def _open_unit(text: str, data: bytes, options: GroupOptions) -> Group:
    from lithify.pipeline.groups.lines import open_unit

    return open_unit(text, data, options)


def _open_script(text: str, data: bytes, options: GroupOptions) -> Group:
    from lithify.pipeline.groups.lines import open_script

    return open_script(text, data, options)


_OPENERS: dict[str, Opener] = {
    "compose": _open_compose,
    "kubernetes": _open_manifest,
    "quadlet": _open_unit,
    "script": _open_script,
}
"""By the kind of file, as `sources.files.kind_of` names it."""
