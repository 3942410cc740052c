"""Asks Kustomize, or kubectl in its place, what a folder comes to; nothing is fetched."""

import os
import re
from pathlib import Path

from lithify.engines.process import OFFLINE, find, run
from lithify.errors import EngineRefused, EngineUnreachable
from lithify.model.path import printable

_MANY = 5000
_LONGEST = 400
_ASKED = re.compile(r"transport '[^']*' not allowed|proxyconnect")
_NAMED = re.compile(r"accumulating resources from '([^']+)'")
_LOGGED = re.compile(r'^E\d{4} [\d:.]+ +\d+ \S+\] "command failed" err=')
"""What some builds of kubectl put before an error: when, by which process, from which line of theirs."""

NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
"""Names of the file that makes a folder one of Kustomize, in the order in which it looks."""


def build(folder: str) -> bytes:
    """Return what the kustomization in `folder` builds.

    EngineRefused with its own words where it fails, EngineUnreachable where neither program is installed.
    """
    try:
        command = [find("kustomize"), "build", folder]
    except EngineUnreachable:
        try:
            command = [find("kubectl"), "kustomize", folder]
        except EngineUnreachable as error:
            hint = "install one: https://kubectl.docs.kubernetes.io/installation/kustomize"
            raise EngineUnreachable("neither kustomize nor kubectl is installed", hint=hint) from error
    result = run(command, timeout=120.0, limit=64 << 20, environment=OFFLINE)
    if result.truncated or result.code != 0:
        reason = "its output is too large" if result.truncated else reason_of(result.message)
        raise EngineRefused(f"building {printable(folder)} failed: {printable(reason)}", hint="try `kustomize build`")
    return result.stdout


def reason_of(message: str) -> str:
    """Return the error in what a build has printed: all its lines as one, or their end, where the cause stands."""
    if _ASKED.search(message):
        named = _NAMED.findall(message)
        return f"{named[-1] if named else 'what it names'} is not on this machine, and nothing is fetched"
    _, error, rest = message.partition("Error: ")
    if error:
        whole = " ".join((error + rest).split())
        return whole if len(whole) <= _LONGEST else f"...{whole[-_LONGEST:]}"
    told = [line.strip() for line in message.splitlines() if re.search(r"\w", line)]
    return _LOGGED.sub("", told[-1]) if told else "no reason given"


def build_with(files: dict[str, bytes]) -> bytes:
    """Return what a kustomization made of `files` alone builds; as `build` otherwise."""
    from lithify.engines.temporary import temporary_folder

    with temporary_folder() as folder:
        for name, data in files.items():
            (folder / name).write_bytes(data)
        return build(str(folder))


def file_of(folder: str) -> str | None:
    """Return the path of the file that makes `folder` a kustomization; None where it is none."""
    return next((path for name in NAMES if os.path.exists(path := os.path.join(folder, name))), None)


def build_changed(folder: str, files: dict[str, bytes]) -> bytes:
    """Return what the kustomization in `folder` would build with `files` (paths in that folder) as they are given.

    It is built in a copy of all that it names, so that nothing of the user's is touched; as `build` otherwise.
    """
    import shutil

    from lithify.engines.temporary import temporary_folder

    named = _named_files(os.path.abspath(folder))
    top = os.path.commonpath([os.path.abspath(folder), *map(os.path.dirname, named)])
    with temporary_folder() as copy:
        for path in named:
            target = os.path.join(copy, os.path.relpath(path, top))
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copyfile(path, target)
        inside = os.path.normpath(os.path.join(copy, os.path.relpath(os.path.abspath(folder), top)))
        os.makedirs(inside, exist_ok=True)
        for path, data in files.items():
            Path(inside, os.path.relpath(os.path.abspath(path), os.path.abspath(folder))).write_bytes(data)
        return build(inside)


def _named_files(folder: str) -> list[str]:
    """Return the kustomization in `folder`, every file that it names, and those of the folders that it names."""
    found: dict[str, None] = {}
    folders = [folder]
    seen: set[str] = set()
    while folders:
        here = folders.pop()
        if here in seen:
            continue
        seen.add(here)
        own = file_of(here)
        if own is None:  # a chart, or whatever else is taken as a whole
            for parent, _, names in os.walk(here):
                found.update((os.path.join(parent, name), None) for name in names)
        else:
            found[own] = None
            for text in _texts(own):
                path = os.path.normpath(os.path.join(here, text))
                if os.path.isfile(path):
                    found[path] = None
                elif os.path.isdir(path) and path not in (here, "/") and not here.startswith(path + "/"):
                    folders.append(path)
        if len(found) > _MANY or len(seen) > _MANY:
            raise EngineRefused(
                f"{printable(folder)} names more files than can be tried", hint="apply the patch by hand"
            )
    return [path for path in found if os.path.isfile(path)]


def _texts(path: str) -> list[str]:
    """Return every text in a kustomization that may name a file, also as `key=path`."""
    import yaml

    with open(path, "rb") as file:
        data = file.read(4 << 20)
    try:
        texts = [event.value for event in yaml.parse(data) if isinstance(event, yaml.ScalarEvent)]
    except yaml.YAMLError:
        return []
    texts += [text.partition("=")[2] for text in texts if "=" in text]
    return [text for text in texts if text and "\n" not in text and "\0" not in text and len(text) < 1000]
