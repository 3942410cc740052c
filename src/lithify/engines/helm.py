"""Asks Helm what a chart comes to. Nothing is fetched, and no cluster is asked."""

import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from lithify.engines.process import OFFLINE, find, run
from lithify.errors import EngineRefused, EngineUnreachable, InvalidInput
from lithify.model.path import printable

_LIMIT = 64 << 20
_MAX_FILE = 4 << 20
_SHOWN = "templates/lithify-effective-values.yaml"
_SHOW_VALUES = "values: {{ .Values | toJson | toJson }}\n"
RELEASE = "release"
"""What the release is called where the user does not say; names in a patch hold for every release."""


@dataclass(frozen=True)
class Chart:
    """A chart in a folder, with the values that its user gives."""

    folder: str
    values: tuple[str, ...] = ()
    """Files for `--values`, later ones win."""
    release: str = RELEASE
    namespace: str = ""

    @cached_property
    def program(self) -> str:
        """Return Helm's path; EngineUnreachable where it is not installed."""
        try:
            return find("helm")
        except EngineUnreachable as error:
            error.hint = "install it: https://helm.sh/docs/intro/install"
            raise

    @cached_property
    def name(self) -> str:
        """Return what the chart is called, its folder's name where it does not say."""
        for line in _read(os.path.join(self.folder, "Chart.yaml")).decode("utf-8", "replace").splitlines():
            key, _, value = line.partition(":")
            if key == "name" and value.strip():
                return value.partition(" #")[0].strip().strip("'\"")
        return os.path.basename(os.path.abspath(self.folder))

    def render(self, overlay: Mapping[str, Any] | None = None, *, release: str = "", more: Sequence[str] = ()) -> bytes:
        """Return the manifests, `overlay` over the user's values; EngineRefused with Helm's words where it fails."""
        command = [self.program, "template", release or self.release, self.folder]
        command += [word for path in self.values for word in ("--values", path)]
        command += ["--namespace", self.namespace] if self.namespace else []
        if overlay:
            command += ["--values", "-"]
        result = run(
            [*command, *more],
            input=json.dumps(overlay or {}).encode(),
            timeout=120.0,
            limit=_LIMIT,
            environment=OFFLINE,
        )
        if result.truncated:
            raise EngineRefused("helm template writes more than fits", hint="render the chart and name the files")
        if result.code != 0:
            lines = result.message.splitlines() or ["no reason given"]
            reason = next((line for line in lines if line.startswith("Error:")), lines[-1])
            hint = "try `helm template` on it; name values files with --values"
            raise EngineRefused(f"helm template failed: {printable(reason.removeprefix('Error: '))}", hint=hint)
        return result.stdout

    def templates(self) -> str:
        """Return the text of all templates, those of subcharts included."""
        return "\n".join(
            data.decode("utf-8", "replace")
            for name, data in self._files().items()
            if "/templates/" in f"/{name}" and name.endswith((".yaml", ".yml", ".tpl", ".txt", ".json"))
        )

    def effective_values(self) -> dict[str, Any]:
        """Return the values that the templates see: defaults, subcharts' and the user's, merged by Helm itself.

        A copy of the chart gets a template that prints them.
        """
        import shutil

        from lithify.engines.temporary import temporary_folder

        with temporary_folder() as folder:
            copied = os.path.join(folder, "chart")
            try:
                shutil.copytree(self.folder, copied, symlinks=True)
                os.makedirs(os.path.join(copied, "templates"), exist_ok=True)
                with open(os.path.join(copied, _SHOWN), "w", encoding="utf-8") as file:
                    file.write(_SHOW_VALUES)
            except (OSError, shutil.Error) as error:
                raise InvalidInput(f"can't copy {printable(self.folder)}: {error}", hint="may you read it?") from error
            shown = replace(self, folder=copied).render(more=("--show-only", _SHOWN))
        line = next(line for line in shown.splitlines() if line.startswith(b"values: "))
        values = json.loads(json.loads(line.removeprefix(b"values: ")))
        return values if isinstance(values, dict) else {}

    def _files(self) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for folder, folders, files in os.walk(self.folder):
            folders[:] = [name for name in folders if not os.path.islink(os.path.join(folder, name))]
            for name in files:
                path = os.path.join(folder, name)
                inside = os.path.relpath(path, self.folder)
                if inside.startswith("charts/") and name.endswith((".tgz", ".tar.gz")):
                    found.update(_packed(path))
                elif "templates" in inside.split("/"):
                    found[inside] = _read(path)
        return found


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_MAX_FILE)
    except OSError as error:
        raise InvalidInput(f"can't read {printable(path)}: {error.strerror}") from error


def _packed(path: str) -> dict[str, bytes]:
    """Return the templates of a packed subchart; nothing is unpacked to disk."""
    found = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                if member.isreg() and member.size <= _MAX_FILE and "/templates/" in member.name:
                    opened = archive.extractfile(member)
                    found[f"charts/{member.name}"] = opened.read() if opened else b""
    except (OSError, tarfile.TarError):
        return {}  # Helm itself says so, in its own words
    return found
