"""Workloads of Helm charts, rendered by Helm itself; hooks and test pods are rendered too, and judged."""

import os
import re
from collections.abc import Callable, Sequence

from lithify.errors import EngineUnreachable
from lithify.model.location import Location
from lithify.sources.base import Reading, left_out, read_bytes, unreadable
from lithify.sources.manifest import read_manifest

_LIBRARY = re.compile(rb"^type:[ \t]*[\"']?library\b", re.MULTILINE)
_LONGEST = 400
_OF_VALUES = re.compile(r"\bvalues\b|\bexecut", re.IGNORECASE)
"""What a template says, or a schema, that does not get the values that it asks for."""
_PANIC = re.compile(rb"^panic: (.+)", re.MULTILINE)
_SOURCE = re.compile(rb"^# Source: (.+)$", re.MULTILINE)


def read_chart(folder: str, values: Sequence[str] = ()) -> Reading:
    """Return the workloads that `helm template` makes of the chart in `folder` with its own values and `values`.

    Places are in the rendered text, and name the template they come from. Without Helm, or where it fails, the chart
    is left out with the reason.
    """
    from lithify.engines.process import find, run

    about = read_bytes(os.path.join(folder, "Chart.yaml"))
    if isinstance(about, bytes) and _LIBRARY.search(about):
        return left_out(folder, "a library chart: what it defines is rendered in the charts that use it")
    try:
        helm = find("helm")
    except EngineUnreachable:
        return left_out(folder, "a Helm chart, and helm is not installed: its templates can't be rendered")
    command = [helm, "template", "release", folder]
    for path in values:
        command += ["--values", path]
    result = run(command, timeout=120.0, limit=64 << 20)
    if result.truncated:
        return unreadable(folder, "helm template writes more than fits")
    if result.code != 0:
        panic = _PANIC.search(result.stderr)
        broke = f"Helm itself broke down: {panic[1].decode('utf-8', 'replace').strip()}" if panic else ""
        reason = broke or _reason(result.message)
        hint = "" if values or not _OF_VALUES.search(reason) else "; what it asks for is given with --values FILE"
        return unreadable(folder, f"helm template failed: {reason}{hint}")
    reading = read_manifest(folder, result.stdout)
    reading.depends = True
    _name_templates(reading, folder, result.stdout)
    return reading


def _reason(message: str) -> str:
    """Return what Helm says after `Error:`, on one line."""
    told = message.rpartition("Error:")[2].partition("Use --debug flag")[0]
    told = " ".join(told.split()) or "no reason given"
    return told if len(told) <= _LONGEST else f"{told[:_LONGEST]}..."


def _name_templates(reading: Reading, folder: str, rendered: bytes) -> None:
    """Let each place be one of the template that it was rendered from."""
    lines = rendered.decode("utf-8", "replace").splitlines()
    starts = [(rendered.count(b"\n", 0, match.start()) + 1, match[1].decode()) for match in _SOURCE.finditer(rendered)]
    templates: dict[str, list[str]] = {}

    def of(line: int) -> str:
        name = next((name for start, name in reversed(starts) if start <= line), "")
        return os.path.join(folder, name.partition("/")[2]) if name else folder

    for location in places(reading):
        path = of(location.line)
        if path not in templates:
            data = read_bytes(path)
            templates[path] = data.decode("utf-8", "replace").splitlines() if isinstance(data, bytes) else []
        location.redirect(path, _translation(lines, templates[path]))


def _translation(rendered: list[str], template: list[str]) -> Callable[[int, int], tuple[int, int]]:
    """Return what takes a place in rendered text to one in its template: where the same line stands, else at its top.

    A line that a template computes is looked for by what stands before its value.
    """
    by_text: dict[str, int] = {}
    for number, line in enumerate(template, 1):
        by_text.setdefault(line.strip(), number)
        by_text.setdefault(line.strip().partition(":")[0] + ":", number)

    def translate(line: int, _column: int) -> tuple[int, int]:
        text = rendered[line - 1].strip() if 0 < line <= len(rendered) else ""
        found = by_text.get(text) or by_text.get(text.partition(":")[0] + ":") or 1
        shown = template[found - 1] if template else ""
        return found, len(shown) - len(shown.lstrip()) + 1

    return translate


def places(reading: Reading) -> list[Location]:
    """Return every place in a reading, each once."""
    found = [oddity.location for oddity in reading.oddities] + [skipped.location for skipped in reading.skipped]
    for workload in reading.workloads:
        found.append(workload.location)
        found += [oddity.location for oddity in workload.oddities]
        found += [volume.location for volume in workload.volumes]
        for container in workload.containers:
            found.append(container.location)
            found += [mount.location for mount in container.mounts]
    return list({id(location): location for location in found}.values())
