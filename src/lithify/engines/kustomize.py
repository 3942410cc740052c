"""Asks Kustomize, or kubectl in its place, what a folder comes to; nothing is fetched."""

import os
from pathlib import Path

from lithify.engines.process import find, run
from lithify.errors import EngineRefused, EngineUnreachable
from lithify.model.path import printable

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
    result = run(command, timeout=120.0, limit=64 << 20)
    if result.truncated or result.code != 0:
        lines = result.message.splitlines() or ["no reason given"]
        reason = "its output is too large" if result.truncated else lines[-1]
        raise EngineRefused(f"building {printable(folder)} failed: {printable(reason)}", hint="try `kustomize build`")
    return result.stdout


def build_with(files: dict[str, bytes]) -> bytes:
    """Return what a kustomization made of `files` alone builds; as `build` otherwise."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="lithify-kustomize-") as folder:
        for name, data in files.items():
            Path(folder, name).write_bytes(data)
        return build(folder)


def file_of(folder: str) -> str | None:
    """Return the path of the file that makes `folder` a kustomization; None where it is none."""
    return next((path for name in NAMES if os.path.exists(path := os.path.join(folder, name))), None)
