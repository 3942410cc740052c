"""Finds the files to examine, reads them, and says what kind of description each holds."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence

from lithify.errors import InvalidInput, NothingToExamine
from lithify.model.finding import Skipped
from lithify.model.location import Location
from lithify.model.text import printable
from lithify.sources.base import KUSTOMIZATIONS, MAX_BYTES, Reading, read_kustomization_file

TYPE_CHECKING = False  # a name of ours: `typing` costs a tenth of the time that an audit of one file takes
if TYPE_CHECKING:
    from lithify.sources.ignore import IgnoreFile


YAML_SUFFIXES = (".yaml", ".yml", ".json")
"""How the name of a file ends that may hold manifests."""
_EXTENSIONS = (*YAML_SUFFIXES, ".container")
_LEFT_OUT = frozenset((".git", ".hg", ".svn", "node_modules", ".venv", "__pycache__", ".terraform", ".tox"))
_OF_CHART = frozenset(("charts", "ci", "crds", "files", "templates", "tests"))
"""Folders of a chart that Helm and its tools read: what is in them is rendered with the chart, or is data."""
_NO_MANIFESTS = frozenset(("package-lock.json", "package.json", "tsconfig.json", "composer.lock", "pnpm-lock.yaml"))

PART = 128 << 10
"""Bytes of a manifest that are judged at once, more or less: a pod of 80 bytes may take 20,000 meanwhile."""

_OBJECT = 2 << 20
"""Bytes of a document that is looked into though no container is in sight; no API server takes a larger object."""

Input = tuple[str, str]
"""What an input is (`file`, `stdin`, `chart`, `kustomization`, `patch`, `unreadable`), and its path."""


def find_inputs(paths: Sequence[str], *, ignore: bool = True, suffixes: tuple[str, ...] = ()) -> list[Input]:
    """Return what `paths` name, folders and globs followed, in order and each once.

    `suffixes` are ends of file names that sources of others read. A path that is named is always examined; below a
    folder, what Git ignores is left out unless `ignore` is false. NothingToExamine where a path does not exist or a
    glob matches nothing.
    """
    found: dict[Input, None] = {}
    wanted = (*_EXTENSIONS, *suffixes)
    for path in paths:
        if path == "-":
            found["stdin", "-"] = None
        elif os.path.isdir(path):
            found.update(dict.fromkeys(_walk(path, ignore, wanted)))
        elif _may_be_there(path):
            found["file", path] = None
        else:
            matches = _glob(path)
            if not matches:
                raise NothingToExamine(
                    f"no file or folder {printable(path)}", hint="name a file, a folder, a glob or -"
                )
            for match in matches:
                found.update(dict.fromkeys(_walk(match, ignore, wanted) if os.path.isdir(match) else [("file", match)]))
    return _each_once(found) if len(paths) > 1 else list(found)


def _each_once(inputs: Iterable[Input]) -> list[Input]:
    """Return inputs without those that were named another way before."""
    named: dict[Input, str] = {}
    for kind, path in inputs:
        named.setdefault((kind, os.path.abspath(path) if kind != "stdin" else path), path)
    return [(kind, path) for (kind, _), path in named.items()]


def _may_be_there(path: str) -> bool:
    """Tell whether a path exists, or can't be looked at: why, its reading says."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _glob(path: str) -> list[str]:
    if not any(c in path for c in "*?["):
        return []
    import glob

    return sorted(glob.glob(path, recursive=True))


def _walk(root: str, ignore: bool, wanted: tuple[str, ...]) -> Iterator[Input]:
    """Yield what lies below a folder, by name; links to folders are not followed."""
    from lithify.sources.ignore import ignored, read_ignore_file

    files: list[IgnoreFile] = []
    if ignore:
        files = _above(root)
    base = _git_path(root) if files else ""
    stack: list[tuple[str, str, list[IgnoreFile]]] = [(root, base, files)]
    patches: set[str] = set()
    built: set[str] = set()
    while stack:
        folder, inside, rules = stack.pop()
        try:
            with os.scandir(folder) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            yield "unreadable", folder
            continue
        names = {entry.name for entry in listed}
        if "Chart.yaml" in names and "templates" in names:
            yield "chart", folder.removeprefix("./")
            listed = [entry for entry in listed if not _is_of_chart(entry)]
        elif folder == root and not names.isdisjoint(KUSTOMIZATIONS):
            from lithify.sources.kustomize import files_of

            yield "kustomization", folder
            built = files_of(folder)
        elif not names.isdisjoint(KUSTOMIZATIONS):
            patches.update(os.path.normpath(os.path.join(folder, name)) for name in _patches(folder))
        if ignore and ".gitignore" in names and (own := read_ignore_file(folder, inside)) is not None:
            rules = [*rules, own]
        below: list[tuple[str, str, list[IgnoreFile]]] = []
        for entry in listed:
            name = entry.name
            is_folder = entry.is_dir(follow_symlinks=False)
            if is_folder:
                if name not in _LEFT_OUT and not (rules and ignored(inside + name, rules, directory=True)):
                    below.append((entry.path, f"{inside}{name}/", rules))
            elif (
                name.endswith(wanted)
                and name not in _NO_MANIFESTS
                and not (built and os.path.realpath(entry.path) in built)
                and not (rules and ignored(inside + name, rules, directory=False))
            ):
                is_patch = bool(patches) and os.path.normpath(entry.path) in patches
                yield "patch" if is_patch else "file", entry.path.removeprefix("./")
        stack.extend(reversed(below))


def _is_of_chart(entry: os.DirEntry[str]) -> bool:
    """Tell whether an entry of a chart's folder is the chart's own, and not what somebody keeps beside it."""
    if entry.is_dir(follow_symlinks=False):
        return entry.name in _OF_CHART
    return entry.name.startswith(("Chart.", "values", "requirements."))


def _patches(folder: str) -> Iterable[str]:
    """Return the files that the kustomization of a folder merges into others: parts of objects, not to be judged."""
    data = read_kustomization_file(folder)
    if b"patch" not in data:
        return ()
    from lithify.sources.kustomize import patch_files

    return patch_files(data)


def _above(root: str) -> list[IgnoreFile]:
    """Return the ignore files between the working tree's top and `root`, if `root` lies in one."""
    from lithify.sources.ignore import read_ignore_file

    top = _git_top(root)
    if top is None:
        return []
    relative = os.path.relpath(os.path.realpath(root), top)
    folders, base = [top], [""]
    for part in [] if relative == "." else relative.split(os.sep)[:-1]:
        folders.append(os.path.join(folders[-1], part))
        base.append(f"{base[-1]}{part}/")
    if relative == ".":
        return []  # the walk reads the top's own
    return [
        file
        for folder, inside in zip(folders, base, strict=True)
        if (file := read_ignore_file(folder, inside)) is not None
    ]


def _git_top(root: str) -> str | None:
    folder = os.path.realpath(root)
    while True:
        if os.path.lexists(os.path.join(folder, ".git")):
            return folder
        parent = os.path.dirname(folder)
        if parent == folder:
            return None
        folder = parent


def _git_path(root: str) -> str:
    top = _git_top(root)
    relative = os.path.relpath(os.path.realpath(root), top) if top else "."
    return "" if relative == "." else relative + "/"


def read_stdin() -> bytes | str:
    """Return what is on standard input, or why it can't be read."""
    if sys.stdin is None:
        return "it is closed"
    data = sys.stdin.buffer.read(MAX_BYTES + 1)
    return data if len(data) <= MAX_BYTES else f"larger than {MAX_BYTES >> 20} MiB"


def kind_by_name(path: str) -> str:
    """Say what a file's name has to do with what it describes; nothing for a name like all others."""
    if path.endswith(".container"):
        return "quadlet"
    if path.endswith((".sh", ".bash")):
        return "script"
    return "compose" if os.path.basename(path).startswith(("compose.", "docker-compose.")) else ""


def kind_of(path: str, data: bytes) -> str:
    """Say what a file describes: `kubernetes`, `compose`, `quadlet`, `ecs`, `script`, or nothing of ours."""
    by_name = kind_by_name(path)
    if by_name in ("quadlet", "script"):
        return by_name
    if data.startswith(b"#!") and b"sh" in data[: data.find(b"\n")]:
        return "script"
    kind = _has_key(b"kind", data)  # it stands at the top, and is found at once
    services = not kind and _has_key(b"services", data)
    if b"ontainerDefinitions" in data and not kind and not services:
        return "ecs"
    if services or (not kind and b'"services"' in data and (by_name == "compose" or b'"kind"' not in data)):
        return "compose"
    return "kubernetes" if b"ontainers" in data or b"kind" in data or path == "-" else by_name


def _has_services(data: bytes) -> bool:
    return _has_key(b"services", data) or b'"services"' in data


def _has_key(key: bytes, data: bytes) -> bool:
    """Tell whether a key of YAML begins a line, and stands in none of its values."""
    return data.startswith((key + b":", b"\xef\xbb\xbf" + key + b":")) or b"\n" + key + b":" in data


def leave_out_broken(reading: Reading, data: bytes) -> None:
    """Leave out what can't be read in a file that says nowhere that it is ours: nobody could apply it.

    An editor's settings, in JSON with comments, speak of containers too.
    """
    if reading.workloads or _says_what_it_is(reading.path, data):
        return
    reason = "neither YAML nor JSON, and no apiVersion in it: nothing that anybody could apply"
    reading.skipped += [Skipped(oddity.location, reason) for oddity in reading.oddities]
    reading.oddities = []


def _says_what_it_is(path: str, data: bytes) -> bool:
    """Tell whether a file gives itself out for a manifest or a Compose file, whatever is wrong with it."""
    if b"apiVersion" in data or _has_key(b"kind", data) or kind_by_name(path):
        return True
    return _has_services(data) and not path.endswith(".json")


def insist_on_yaml(path: str, data: bytes) -> None:
    """Raise InvalidInput for the first document that is neither YAML nor JSON; what only a template makes so is let by.

    For a file in which nothing was found: what is asked for may stand behind the mistake.
    """
    from lithify.documents.yaml import Broken, is_template, read_documents

    for document in read_documents(data):
        if isinstance(document, Broken) and not is_template(document.text):
            raise InvalidInput(
                f"{printable(path)}:{document.line}:{document.column}: this document can't be read: "
                f"{printable(document.reason)}",
                hint="make it YAML or JSON that kubectl reads",
            )


def played_by(path: str, data: bytes) -> str:
    """Return the manifest that a `.kube` unit of Quadlet plays, which is the file to name; nothing for other files."""
    from lithify.documents.unit import parse_unit

    named = parse_unit(data).value("Kube", "Yaml") if path.endswith(".kube") else ""
    return os.path.normpath(os.path.join(os.path.dirname(path), named)) if named else ""


def read_source(path: str, data: bytes, *, stack: bool = False) -> Reading:
    """Return the workloads of a file of any kind; one that describes none gives an empty reading."""
    kind = kind_of(path, data)
    reading = _read_as(kind, path, data, stack=stack)
    if kind in ("compose", "ecs", "kubernetes") and not (reading.workloads or reading.oddities):
        # What tells the kinds apart may stand in a value, and is not to hide the rest.
        for other, told in (("kubernetes", b"ontainers" in data), ("compose", _has_services(data))):
            if told and other != kind:
                found = _read_as(other, path, data, stack=stack)
                if found.workloads:
                    return found
    return reading


def _read_as(kind: str, path: str, data: bytes, *, stack: bool) -> Reading:
    if kind == "kubernetes":
        from lithify.sources.manifest import read_manifest

        return read_manifest(path, data)
    if kind == "compose":
        from lithify.sources.compose import read_compose

        return read_compose(path, data, stack=stack)
    if kind == "quadlet":
        from lithify.sources.quadlet import read_quadlet

        return read_quadlet(path, data)
    if kind == "ecs":
        from lithify.sources.ecs import read_task_definitions

        return read_task_definitions(path, data)
    return Reading(path)


def read_named(path: str, data: bytes) -> Reading:
    """Return what is to be said of a file that was named though it describes no container.

    What is broken is an oddity. What holds no object at all is left out: nobody is to think that it was judged.
    """
    from lithify.documents.nodes import MappingNode, entries
    from lithify.documents.yaml import Broken, read_documents
    from lithify.sources.manifest import read_broken

    reading = Reading(path)
    objects = False
    documents = read_documents(data, _of_objects_size) if path == "-" or path.endswith(YAML_SUFFIXES) else ()
    for document in documents:
        if isinstance(document, Broken):
            read_broken(reading, document)
        elif type(document.root) is MappingNode and "kind" in entries(document.root):
            objects = True
    if not objects and not reading.oddities and not reading.skipped:
        manifest = played_by(path, data)
        reason = f"it plays {printable(manifest)}: name that" if manifest else "nothing in it describes a container"
        reading.skipped.append(Skipped(Location(path), reason))
    return reading


def _of_objects_size(text: bytes) -> bool:
    return len(text) <= _OBJECT


def read_parts(path: str, data: bytes, *, stack: bool = False) -> Iterator[Reading]:
    """Yield what `read_source` returns: of a large manifest in several parts, in order, so that none fills memory."""
    if len(data) > PART and kind_of(path, data) == "kubernetes":
        from lithify.sources.manifest import read_manifest_parts

        yield from read_manifest_parts(path, data, PART)
    else:
        yield read_source(path, data, stack=stack)
