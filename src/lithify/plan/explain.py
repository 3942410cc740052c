"""Says in sentences who wrote what, and how that is known."""

from collections.abc import Iterable
from pathlib import PurePosixPath

from lithify.model.mount import PathClass
from lithify.model.path import printable
from lithify.model.writes import Change, Source, Writer
from lithify.plan.needs import Need, Seen, distinct

_SHOWN = 3
_VERBS = {
    Change.CREATED: "made",
    Change.CHANGED: "changed",
    Change.OPENED: "opened for writing",
    Change.METADATA: "set owner or mode of",
    Change.DELETED: "removed",
    Change.REPLACED: "replaced",
    Change.CAME_AND_WENT: "made and removed",
    Change.ATTEMPTED: "tried to write",
}
_SOURCES = {
    Source.LAYER: "the upper layer",
    Source.VOLUME: "the image's volume",
    Source.PROCESSES: "open files",
    Source.LIVE: "the kernel's events",
    Source.TRACE: "a system-call trace",
    Source.LOG: "a log line",
    Source.DIFF: "the engine's diff",
    Source.IMAGE: "the image",
    Source.PROOF: "a run that failed without it",
}
_WORDS = {
    PathClass.SCRATCH: "scratch",
    PathClass.RUNTIME: "run-time files",
    PathClass.CACHE: "a cache",
    PathClass.LOG: "logs",
    PathClass.STATE: "state",
    PathClass.CONFIG: "configuration",
    PathClass.CODE: "code",
    PathClass.IDENTITY: "users and hosts",
}


def who_wrote_what(seen: Iterable[Seen], place: PurePosixPath) -> list[str]:
    """Return a sentence for each thing that was done, by all programs of a user that did it; names from `place` on."""
    groups: dict[tuple[str, str, Change], list[Seen]] = {}
    for one in sorted(seen, key=lambda s: s.write.path.parts):
        writers = [_writer(writer) for writer in one.write.writers] or [("A process that was not seen", "")]
        for program, user in writers:
            groups.setdefault((program, user, one.write.change), []).append(one)
    said: dict[tuple[str, str], list[str]] = {}
    for (program, user, change), members in sorted(groups.items()):
        names = [name for member in members[:_SHOWN] for name in _names(member, place)]
        count = sum(max(1, m.write.entries, len(m.write.names)) for m in members)
        more = count - len(names[:_SHOWN])
        shown = ", ".join(names[:_SHOWN]) + (f" and {more} more" if more else "")
        sources = sorted({source for member in members for source in member.write.evidence})
        known = " and ".join(_SOURCES[source] for source in sources)
        said.setdefault((user, f"{_VERBS[change]} {shown}; known from {known}."), []).append(program)
    return [f"{_listed(programs)}{user} {what}" for (user, what), programs in said.items()]


def _listed(programs: list[str]) -> str:
    *others, last = programs
    return f"{', '.join(others)} and {last}" if others else last


def _writer(writer: Writer) -> tuple[str, str]:
    """Return a program and its user, as they are shown."""
    name = printable(writer.program.rpartition("/")[2] or writer.program)
    return name, "" if writer.uid is None else f" (uid {writer.uid})"


def _names(seen: Seen, place: PurePosixPath) -> list[str]:
    write = seen.write
    if write.change is Change.CAME_AND_WENT:
        if write.names:
            return [printable(name) for name in write.names]
        return ["names that are gone" if write.path == place else f"names in {_relative(write.path, place)}"]
    return [_relative(write.path, place)]


def _relative(path: PurePosixPath, place: PurePosixPath) -> str:
    if path == place:
        return printable(path)
    return printable(path.relative_to(place) if path.is_relative_to(place) else path)


def what_for(needs: Iterable[Need]) -> str:
    """Return a sentence that says what a place is for, and what speaks for each."""
    because: dict[PathClass, set[str]] = {}
    unsure: set[PathClass] = set()
    kept = False
    for need in needs:
        kept |= need.persistent
        for classified in distinct(need.seen):
            because.setdefault(classified.path_class, set()).add(classified.because)
            if not classified.certain:
                unsure.add(classified.path_class)
    parts = []
    for path_class in sorted(because):
        hedge = ", probably" if path_class in unsure else ""
        parts.append(f"{_WORDS[path_class]}{hedge} ({sorted(because[path_class])[0]})")
    all_the_same = ", and kept all the same: you said so, or a check looks for it later"
    return f"It is for {', and for '.join(parts)}{all_the_same * (kept and PathClass.STATE not in because)}."
