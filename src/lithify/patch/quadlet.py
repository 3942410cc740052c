"""Mount plans written into Quadlet units.

What Podman's generator makes of the keys decides (read in Podman 5.4): an anonymous `Volume=` loses its options, a
`Mount=` of a volume without a source ends the generator, and `ReadOnlyTmpfs=` is known since Podman 4.8. So places
that need more go into `PodmanArgs=`, which every release passes on.
"""

import os
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from lithify.documents.unit import Unit, add_entry, parse_unit, quote_word, replace_entry, split_words
from lithify.engines.command_line.runline import Option, RunLine
from lithify.errors import LithifyError
from lithify.model.patch import Change, Patched, Planned, Refused
from lithify.patch.line import (
    LineChange,
    LineOptions,
    change_line,
    named_volumes,
    setup_script,
    without_redirects_of_the_image,
)
from lithify.patch.quadlet_line import SECTION, line_of_unit

_KEYS = {"tmpfs": "Tmpfs", "volume": "Volume", "workdir": "WorkingDir", "env": "Environment"}
_FLAGS = {"read-only": "ReadOnly", "read-only-tmpfs": "ReadOnlyTmpfs"}


def patch(data: bytes, planned: Sequence[Planned], options: LineOptions | None = None, *, path: str) -> Patched:
    """Return the unit `data`, which stands at `path`, with the plan of its container in it.

    Other units that it names are looked up beside it. Refused where its line can't be told, or would not be as planned.
    """
    result = Patched(text=data)
    for one in planned:
        result = _patch_one(result, one, options or LineOptions(), path)
    return result


def _patch_one(result: Patched, planned: Planned, options: LineOptions, path: str) -> Patched:
    unit = parse_unit(result.text)
    try:
        line = line_of_unit(unit, path)
        change = change_line(line, without_redirects_of_the_image(planned), options)
        _insist_on_one(path, named_volumes(line, change))
        written, changes = _write(unit, line, change, planned)
        problem = _difference(line_of_unit(written, path), change.after) if not change.nothing else ""
    except (LithifyError, _Unsayable) as error:
        problem = str(error)
    if problem:
        refused = Refused(container=planned.container, reason=problem, by_hand=_by_hand(unit, planned, options, path))
        return replace(result, refused=(*result.refused, refused))
    return replace(
        result,
        text=written.render(),
        changes=(*result.changes, *changes),
        notes=(*result.notes, *change.notes, *_version_note(changes)),
    )


class _Unsayable(Exception):
    """A change that has no safe place in the unit."""


def _insist_on_one(path: str, names: Sequence[str]) -> None:
    """Raise where each instance of a template would mount the same volume."""
    if os.path.splitext(os.path.basename(path))[0].endswith("@") and names:
        name = names[0]
        raise _Unsayable(
            f"it is a template, and its instances would share the volume {name}: mount {name}-%i there first"
        )


def _write(unit: Unit, line: RunLine, change: LineChange, planned: Planned) -> tuple[Unit, list[Change]]:
    changes: list[Change] = []

    def note(key: str, text: str) -> None:
        changes.append(Change(container=planned.container, document=0, route=(SECTION, key), text=text))

    for index in change.removed:
        _removable(unit, line.options[index])
    for option in change.added:
        key, value = _entry(option)
        unit = _set(unit, key, value)
        note(key, f"{key}={value}")
    if change.after.command != line.command:
        value = " ".join(map(quote_word, change.after.command))
        unit = _replace_or_add(unit, "Exec", value)
        note("Exec", f"Exec={value}")
    if change.setup and not change.nothing:
        value = _start_pre(change)
        unit = add_entry(unit, "Service", "ExecStartPre", value)
        changes.append(
            Change(
                container=planned.container, document=0, route=("Service", "ExecStartPre"), text=f"ExecStartPre={value}"
            )
        )
    return unit, changes


def _entry(option: Option) -> tuple[str, str]:
    """Return the key and value that say an option."""
    flag, value = option.flags[0]
    if flag in _FLAGS:
        return _FLAGS[flag], value
    plain = "\n" not in value and value.strip() == value and not value.startswith('"')
    if flag in ("env",):
        return _KEYS[flag], quote_word(value)
    # Without a source Quadlet forgets the options, so that only the path may stand there.
    if flag in _KEYS and plain and not (flag == "volume" and value.startswith(":")):
        return _KEYS[flag], value.replace("%", "%%")
    source = any(field.startswith(("src=", "source=")) for field in value.split(","))
    if flag == "mount" and source:
        return "Mount", quote_word(value)
    if flag == "mount" and set(value.split(",")[1:]) == {value.split(",")[1]} and value.startswith("type=volume,dst="):
        return "Volume", value.removeprefix("type=volume,dst=").replace("%", "%%")
    return "PodmanArgs", quote_word(f"--{flag}={value}")


def _set(unit: Unit, key: str, value: str) -> Unit:
    if key in ("ReadOnly", "ReadOnlyTmpfs", "WorkingDir"):
        return _replace_or_add(unit, key, value)
    if key == "Environment":
        return _set_variable(unit, value)
    return add_entry(unit, SECTION, key, value)


def _replace_or_add(unit: Unit, key: str, value: str) -> Unit:
    entry = unit.last(SECTION, key)
    return replace_entry(unit, entry, value) if entry else add_entry(unit, SECTION, key, value)


def _set_variable(unit: Unit, value: str) -> Unit:
    """Write a variable where it is set already, its neighbours on that line kept, else anew."""
    name = split_words(value)[0].partition("=")[0]
    for entry in unit.all(SECTION, "Environment"):
        words = split_words(entry.value)
        if any(word.partition("=")[0] == name for word in words):
            if len(words) == 1:
                return replace_entry(unit, entry, value)
            raise _Unsayable(f"{name} is set among others in one Environment= line")
    return add_entry(unit, SECTION, "Environment", value)


def _removable(unit: Unit, option: Option) -> None:
    """Raise where what has to go does not stand in a key of its own, which is then written anew."""
    flags = {flag for flag, _ in option.flags}
    stands = {
        "read-only": unit.last(SECTION, "ReadOnly"),
        "read-only-tmpfs": unit.last(SECTION, "ReadOnlyTmpfs"),
        "workdir": unit.last(SECTION, "WorkingDir"),
        "env": unit.last(SECTION, "Environment"),
    }
    if not all(stands.get(flag) for flag in flags):
        raise _Unsayable(f"{shlex.join(option.words)} stands in PodmanArgs= or a drop-in, and has to go")


def _start_pre(change: LineChange) -> str:
    """Return the setup as one command that does nothing where the volumes are there."""
    test, steps = setup_script(change)
    script = " && ".join(steps)
    script = f"{{ {test}; }} || {{ {script}; }}" if test else script
    return f"/bin/sh -c {quote_word(script).replace('$', '$$')}"


def _difference(is_now: RunLine, wanted: RunLine) -> str:
    """Say what the unit does not come to although it should; nothing where it is as planned."""
    flags, needed = (Counter(f for o in line.options for f in o.flags) for line in (is_now, wanted))
    missing = [f"--{flag}={value}" for flag, value in (needed - flags) + (flags - needed)]
    if is_now.command != wanted.command:
        missing.append(shlex.join(wanted.command))
    return f"the unit would not come to what was planned: {', '.join(missing)}" if missing else ""


def _by_hand(unit: Unit, planned: Planned, options: LineOptions, path: str) -> str:
    """Return the lines that a person would add."""
    try:
        line = line_of_unit(unit, path)
        change = change_line(line, without_redirects_of_the_image(planned), options)
    except LithifyError:
        places = "\n".join(f"Tmpfs={mount.path}" for mount in planned.plan.mounts)
        return f"[{SECTION}]\nReadOnly=true\nReadOnlyTmpfs=false\n{places}\n"
    lines = ["=".join(_entry(option)) for option in change.added]
    return "\n".join([f"[{SECTION}]", *lines, ""])


def _version_note(changes: Sequence[Change]) -> list[str]:
    keys = {change.route[-1] for change in changes}
    return ["ReadOnlyTmpfs= needs Podman 4.8 or newer"] if "ReadOnlyTmpfs" in keys else []
