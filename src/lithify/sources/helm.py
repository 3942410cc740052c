"""Workloads of Helm charts, rendered by Helm itself; hooks and test pods are rendered too, and judged."""

import os
import re
from bisect import bisect
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher

from lithify.errors import EngineUnreachable
from lithify.model.location import Location
from lithify.sources.base import Reading, left_out, read_bytes, unreadable
from lithify.sources.manifest import read_manifest

_LIBRARY = re.compile(rb"^type:[ \t]*[\"']?library\b", re.MULTILINE)
_LONGEST = 400
_LARGE = 1 << 21
"""Pairs of lines, rendered and of a template, of which all are compared."""
_OF_VALUES = re.compile(r"\bvalues\b|\bexecut", re.IGNORECASE)
"""What a template says, or a schema, that does not get the values that it asks for."""
_PANIC = re.compile(rb"^panic: (.+)", re.MULTILINE)
_SOURCE = re.compile("# Source: (.+)")

Translation = Callable[[int, int], tuple[int, int]]
"""Takes line and column of one text to those of another."""


def read_chart(folder: str, values: Sequence[str] = ()) -> Reading:
    """Return the workloads that `helm template` makes of the chart in `folder` with its own values and `values`.

    Places are in the rendered text, and name the template they come from. Without Helm, or where it fails, the chart
    is left out with the reason.
    """
    from lithify.engines.process import OFFLINE, find, run

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
    result = run(command, timeout=120.0, limit=64 << 20, environment=OFFLINE)
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
    starts = [number for number, line in enumerate(lines) if line.startswith("---")]
    documents: dict[int, tuple[str, Translation]] = {}
    templates: dict[str, list[str]] = {}
    for location in places(reading):
        index = bisect(starts, location.line - 1)
        if index not in documents:
            start, end = (starts[index - 1] if index else 0), (starts[index] if index < len(starts) else len(lines))
            source = next((match[1] for line in lines[start:end] if (match := _SOURCE.match(line))), "")
            path = os.path.join(folder, source.partition("/")[2]) if source else folder
            if path not in templates:
                data = read_bytes(path)
                templates[path] = data.decode("utf-8", "replace").splitlines() if isinstance(data, bytes) else []
            documents[index] = path, _translation(lines[start:end], start, templates[path])
        location.redirect(*documents[index])


def _translation(rendered: list[str], start: int, template: list[str]) -> Translation:
    """Return what takes a place in a rendered document to the one in its template.

    Lines are rendered in the order of the template. One that it has literally stands there with its blanks, of one that
    it computes a part of what stands before the value. What comes from elsewhere, by an `include`, is where that is.
    """
    own = [_key(line) for line in template]
    literal, computed = {key for key, exact in own if exact}, {key for key, exact in own if not exact}
    seen = [(line.rstrip(), True) if line.rstrip() in literal else _stem(line, computed) for line in rendered]
    numbers = [number for number, key in enumerate(own) if key[0]]
    large = len(seen) * len(numbers) > _LARGE  # lines that are everywhere then tell nothing, or it takes hours
    matcher = SequenceMatcher(None, seen, [own[number] for number in numbers], autojunk=large)
    known = {
        block.a + step: numbers[block.b + step] for block in matcher.get_matching_blocks() for step in range(block.size)
    }

    ordered = sorted(known)

    def translate(line: int, column: int) -> tuple[int, int]:
        index = line - 1 - start
        if index in known:
            return known[index] + 1, column
        place = bisect(ordered, index)
        before = known[ordered[place - 1]] if place else -1
        found = min(before + 1, max(len(template) - 1, 0))
        shown = template[found] if template else ""
        return found + 1, len(shown) - len(shown.lstrip()) + 1

    return translate


def _key(line: str) -> tuple[str, bool]:
    """Return what a line of a template is found by, and whether it is rendered as it is."""
    literal, braces, _ = line.partition("{{")
    if not braces:
        return line.rstrip(), True
    return (literal.partition(":")[0].rstrip() + ":" if ":" in literal else ""), False


def _stem(line: str, computed: set[str]) -> tuple[str, bool]:
    """Return what a rendered line has in common with the one that computed it; nothing where no line did."""
    stem = line.partition(":")[0].rstrip() + ":"
    return (stem if stem in computed else "\0", False)


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
