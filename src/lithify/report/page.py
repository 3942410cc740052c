"""Writes results for a person to read: one page, as wide as the terminal, every path printable."""

import os
import shlex
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import PurePosixPath

from lithify.model.bake import Baked
from lithify.model.hardening import Hardening
from lithify.model.image import EntryType
from lithify.model.mount import Mount, MountPlan, Seed, StorageKind
from lithify.model.path import printable
from lithify.model.quantity import render_human
from lithify.model.run import TargetKind
from lithify.model.text import counted
from lithify.model.verdict import Check, Verdict
from lithify.model.writes import BLIND_SPOTS, Write, WriteSet

Paint = Callable[[str, str], str]
"""Takes a style (`bold`, `dim`, `red`, `green`, `yellow`) and a text to the text in that style."""

_TAKES_VALUE = frozenset(("--bundle", "--device", "--driver", "--env", "--mount", "--opt", "--tmpfs", "--volume"))
_DIRECTORIES_SHOWN = 40
_NAMES_SHOWN = 6
_STORAGE = {
    StorageKind.MEMORY: "tmpfs",
    StorageKind.SCRATCH: "disk, goes with the container",
    StorageKind.VOLUME: "volume, stays",
}
_IN_A_POD = {StorageKind.MEMORY: "emptyDir", StorageKind.SCRATCH: "emptyDir", StorageKind.VOLUME: "claim, stays"}
"""Which of them are in memory the patch says, and that code may run there."""


def plain(_style: str, text: str) -> str:
    """Return `text` without any style."""
    return text


def render_hardening(result: Hardening, *, paint: Paint = plain, width: int = 80, group: bool = False) -> str:
    """Return the page of `lithify harden`; `group` says that it is one container of a file."""
    page = Page(paint, width)
    page.line(paint("bold", printable(result.target)), f"({result.engine}):", _word(paint, result.verdict))
    page.text(_before(result), "  before  ")
    for line in result.flag_alone.refused_writes[:1]:
        page.text(paint("dim", printable(line.strip())[: width * 2]), "            ")
    page.text(_after(result), "  after   ")
    _writes(page, result.write_set)
    _plan(page, result.plan, pod=result.kind is TargetKind.POD)
    _baked(page, result.baked)
    _command(page, result)
    _verdict(page, result.verdict, why_not(result.verdict, result.plan, group=group))
    if len(result.rounds) > 1:
        page.head(f"Rounds: {len(result.rounds)}")
        for round_ in result.rounds:
            told = "works" if round_.works else "; ".join(round_.found[:3]) or "does not work"
            page.text(f"{round_.number}. {printable(told)}", "  ")
    _unsettled(page, result.plan, result.write_set, result.verdict)
    for name in result.kept:
        page.text(f"left for a look: {printable(name)}", "  ")
    return page.render()


def _before(result: Hardening) -> str:
    """Say what setting the flag and nothing else comes to."""
    alone = next((check for check in result.verdict.honest if check.name == "over-tight fails"), None)
    told = alone.summary.partition(": ")[2] if alone and alone.tried else ""
    if result.flag_alone_works and not told:
        unseen = alone is not None and not alone.tried
        lost = "but what it keeps is lost" if unseen else "nothing has to be writable"
        return f"with the read-only flag alone it works{', ' if unseen else ': '}{lost}"
    return f"with the read-only flag alone: {told or 'it does not work'}"


def _after(result: Hardening) -> str:
    """Say what the plan comes to."""
    failed = [check for check in result.verdict.checks if not check.passed]
    places = places_of(result.plan)
    if failed:
        return f"with {places}: {failed[0].name}: {failed[0].summary}"
    refused = next((check.summary for check in result.verdict.refused if check.name == "root-refuses"), "")
    return f"works with {places}; {refused or 'what it refuses could not be tried'}"


def places_of(plan: MountPlan) -> str:
    """Count the places of a plan; where it has none, the target's own mounts may be writable all the same."""
    return counted(len(plan.mounts), "writable place") if plan.mounts else "0 more writable places"


def render_write_set(write_set: WriteSet, *, paint: Paint = plain, width: int = 80) -> str:
    """Return the page of `lithify learn`."""
    page = Page(paint, width)
    page.line(paint("bold", printable(write_set.container)), f"({write_set.key.engine})")
    _writes(page, write_set)
    page.head("What this can't show")
    for source in write_set.observation.sources:
        page.text(BLIND_SPOTS[source], "  - ")
    for note in write_set.observation.notes:
        page.text(printable(note), "  - ")
    return page.render()


def render_plan(plan: MountPlan, *, paint: Paint = plain, width: int = 80) -> str:
    """Return the page of `lithify plan`: each place with its reasons and its cost."""
    page = Page(paint, width)
    page.line(paint("bold", printable(plan.container)))
    _plan(page, plan, whole=True)
    _unsettled(page, plan, None, None)
    return page.render()


def render_proof(verdict: Verdict, plan: MountPlan, heading: str, *, paint: Paint = plain, width: int = 80) -> str:
    """Return the page of `lithify prove`: what was judged, with which places, and what came of it."""
    page = Page(paint, width)
    page.line(paint("bold", printable(heading)))
    page.text(f"read-only with {', '.join(printable(m.path) for m in plan.mounts) or 'no more places'}", "  ")
    return page.render() + render_verdict(verdict, why_not(verdict, plan), paint=paint, width=width)


def render_verdict(verdict: Verdict, why: str = "", *, paint: Paint = plain, width: int = 80) -> str:
    """Return a verdict as part of a page, an empty line before it, with `why` it is none that holds."""
    page = Page(paint, width)
    _verdict(page, verdict, why)
    return page.render()


def command_text(words: Sequence[str], width: int) -> str:
    """Return an argument list as a shell reads it, broken between options where it is too long for one line."""
    lines: list[str] = []
    for word in _with_values(words):
        if lines and len(lines[-1]) + len(word) + 3 <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(f"    {word}" if lines else word)
    return " \\\n".join(lines)


def _with_values(words: Sequence[str]) -> Iterator[str]:
    """Yield the words quoted, an option that lithify adds together with its value."""
    left = iter(words)
    for word in left:
        value = next(left, None) if word in _TAKES_VALUE else None
        yield _quoted(word) if value is None else f"{_quoted(word)} {_quoted(value)}"


def _quoted(word: str) -> str:
    """Return a word as a shell reads it; one that is not printable as bash's `$'...'` with its bytes spelt out."""
    if word.isprintable():
        return shlex.quote(word)
    plain_bytes = frozenset(range(0x20, 0x7F)) - set(b"'\\")
    return "$'" + "".join(chr(b) if b in plain_bytes else f"\\x{b:02x}" for b in os.fsencode(word)) + "'"


class Page:
    """Collects lines."""

    def __init__(self, paint: Paint, width: int) -> None:
        self.paint = paint
        self.width = width
        self._lines: list[str] = []

    def line(self, *parts: str) -> None:
        self._lines.append(" ".join(filter(None, parts)))

    def head(self, title: str) -> None:
        self._lines += ["", self.paint("bold", title)]

    def text(self, text: str, indent: str) -> None:
        """Add `text`, wrapped; lines after the first stand under its beginning."""
        self._lines += textwrap.wrap(
            text, self.width, initial_indent=indent, subsequent_indent=" " * len(indent), break_on_hyphens=False
        )

    def verbatim(self, text: str, indent: str) -> None:
        self._lines += [indent + line for line in text.splitlines()]

    def render(self) -> str:
        return "\n".join(self._lines) + "\n"


def _baked(page: Page, baked: Baked | None) -> None:
    """Show how the image has to be built first."""
    if baked is None:
        return
    page.head("Image")
    page.text(
        f"Every start writes the same to {', '.join(map(printable, baked.serves))}. With that in the image, as in what "
        f"was proved, nothing there has to be writable. What the start makes of variables is now fixed. Build it from "
        f"{printable(baked.directory)}:",
        "  ",
    )
    for line in baked.dockerfile:
        page.line("   ", printable(line))


def _command(page: Page, result: Hardening) -> None:
    """Add what starts it as planned; a member of a group has no command of its own."""
    if not result.command:
        return
    page.head("Command")
    for note in result.command_notes:
        page.text(printable(note), "  # ")
    for words in (*result.setup, result.command):
        page.verbatim(command_text(words, page.width - 2), "  ")


def _writes(page: Page, write_set: WriteSet) -> None:
    seen = write_set.observation
    page.head("Written")
    page.text(
        f"in {seen.seconds:g} s, {printable(seen.exercise) or 'as it ran'}; "
        f"known from {', '.join(seen.sources) or 'nothing'}",
        "  ",
    )
    directories = _by_directory(write_set.writes)
    if not directories:
        page.text("nothing", "  ")
    for directory, writes in list(directories.items())[:_DIRECTORIES_SHOWN]:
        page.text(f"{printable(directory)}  {page.paint('dim', _who(writes))}", "  ")
        for what, names in _by_change(directory, writes).items():
            shown = ", ".join(printable(name) for name in names[:_NAMES_SHOWN])
            more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
            page.text(f"{what}: {shown}{more}" if shown else what, "      ")
    if len(directories) > _DIRECTORIES_SHOWN:
        left = len(directories) - _DIRECTORIES_SHOWN
        page.text(f"... and in {left} directories more; --format json has them all", "  ")


def _by_directory(writes: Iterable[Write]) -> dict[PurePosixPath, list[Write]]:
    found: dict[PurePosixPath, list[Write]] = {}
    for write in writes:
        found.setdefault(write.directory, []).append(write)
    return dict(sorted(found.items()))


def _by_change(directory: PurePosixPath, writes: Iterable[Write]) -> dict[str, list[str]]:
    """Return the names in a directory by what happened to them, in the words of the page."""
    found: dict[str, list[str]] = {}
    for write in writes:
        what = write.change.value.replace("-", " ")
        if write.path == directory:
            found.setdefault(what, []).extend(write.names)
            continue
        size = render_human(write.size) if write.size else ""
        below = f"{counted(write.entries - 1, 'entry')} below" if write.entries > 1 else ""
        told = ", ".join(filter(None, [below, size, "code runs from it" if write.executed else ""]))
        found.setdefault(what, []).append(f"{write.path.name}{f' ({told})' if told else ''}")
    return found


def _who(writes: Iterable[Write]) -> str:
    """Return who wrote, by which evidence: `by nginx as user 0, 33 (upper-layer, live-names)`."""
    programs = sorted({writer.program.rpartition("/")[2] for write in writes for writer in write.writers})
    users = sorted({str(writer.uid) for write in writes for writer in write.writers if writer.uid is not None})
    sources = sorted({source.value for write in writes for source in write.evidence})
    by = f"by {', '.join(map(printable, programs[:4]))} " if programs else ""
    as_user = f"as user {', '.join(users)} " if programs and users else ""
    return f"{by}{as_user}({', '.join(sources)})"


def _plan(page: Page, plan: MountPlan, *, whole: bool = False, pod: bool = False) -> None:
    """Add the plan, in the words of a `pod` where it is for one; `whole` gives every reason and cost, else one reason
    a place."""
    page.head("Plan")
    if not plan.mounts and not plan.redirects:
        page.text(
            "no more places: the root filesystem read-only, and nothing writable but what is mounted there already and "
            "what the engine gives",
            "  ",
        )
    for mount in plan.mounts:
        page.text(f"{page.paint('green', printable(mount.path))}  {_mount(mount, pod=pod)}", "  ")
        for reason in mount.reasons if whole else (mount.why,):
            page.text(printable(reason), "      ")
        if whole and (cost := _cost(mount)):
            page.text(cost, "      ")
    for redirect in plan.redirects:
        page.text(f"{printable(redirect.old)} moves to {printable(redirect.new)} by {printable(redirect.how)}", "  ")
        page.text(printable(redirect.reason), "      ")


def _mount(mount: Mount, *, pod: bool = False) -> str:
    parts = [(_IN_A_POD if pod else _STORAGE)[mount.storage]]
    if mount.type is EntryType.FILE:
        parts.append("this file only")
    if mount.size:
        parts.append(f"at most {render_human(mount.size)}")
    if mount.executable or not pod:
        parts.append("code may run" if mount.executable else "noexec")
    parts.append(f"{mount.uid}:{mount.gid} {mount.mode:04o}")
    if mount.seed is not Seed.NONE:
        parts.append("seeded with the image's " + ("directories" if mount.seed is Seed.SKELETON else "content"))
    if mount.classes:
        parts.append("/".join(kind.value for kind in mount.classes))
    return ", ".join(parts)


def _cost(mount: Mount) -> str:
    parts = []
    if mount.writable_entries:
        verb = "becomes" if mount.writable_entries == 1 else "become"
        parts.append(f"{counted(mount.writable_entries, 'image entry')} {verb} writable")
    if mount.hidden_entries:
        verb = "is" if mount.hidden_entries == 1 else "are"
        parts.append(f"{counted(mount.hidden_entries, 'image entry')} {verb} hidden")
    if mount.seed_bytes:
        parts.append(f"{render_human(mount.seed_bytes)} to copy at start")
    return f"cost: {', '.join(parts)}" if parts else ""


def why_not(verdict: Verdict, plan: MountPlan, *, group: bool = False) -> str:
    """Return in a sentence why a verdict is not PROVED and what to do; nothing where it is.

    `group` says that the container is one of a file, where a check may ask another of them.
    """
    if verdict.proved:
        return ""
    failed = next((check for check in verdict.checks if not check.passed), None)
    if failed is None:
        side = "whether it works" if not verdict.works else "what is refused"
        return f"{side} could not be tried; 'Left for you' says why"
    return f"{failed.name}: {failed.summary}; {_what_to_do(failed, verdict, plan, group=group)}"


def _what_to_do(failed: Check, verdict: Verdict, plan: MountPlan, *, group: bool) -> str:
    if failed in verdict.refused:
        return "take from it what lets it do that (privileged, CAP_SYS_ADMIN, writable mounts), or leave it out"
    if failed in verdict.minimal:
        return "take that place out of the plan"
    if failed.name == "check can fail" and group:
        return (
            "what is asked says nothing of this one: give it a healthcheck or probe in the file, or a --check that "
            "needs it, or harden those that are asked with --service NAME"
        )
    if failed in verdict.honest:
        return "give a check that needs the program and what it writes: --check, --http, --tcp, --exercise"
    if any(refusal.blocking for refusal in plan.refusals) or plan.questions:
        return "'Left for you' says what to decide"
    denied = {check.name for check in verdict.works if not check.passed and "EACCES" in check.summary}
    for mount in plan.mounts:
        path = printable(mount.path)
        if f"place {path}" in denied:
            return f"the image needs that place, owned by its user: RUN install -d -o {mount.uid} -g {mount.gid} {path}"
    if failed.evidence:
        return "it needs a place for what was refused, as said below, or an option that moves it"
    return "look at its log (--keep leaves the container), and at what it does while it is checked"


def _verdict(page: Page, verdict: Verdict, why: str) -> None:
    page.head(f"Verdict: {_word(page.paint, verdict)}")
    if why:
        page.text(printable(f"why: {why}"), "  ")
    for title, checks in (
        ("works", verdict.works),
        ("refused", verdict.refused),
        ("minimal", verdict.minimal),
        ("honest", verdict.honest),
    ):
        for check in checks:
            page.text(_check(page.paint, title, check), "  ")
            if not check.passed:
                for evidence in check.evidence[:5]:
                    page.text(printable(evidence), "        ")
    if verdict.exposed:
        listed = ", ".join(f"{printable(e.path)}{' (code can run)' if e.executable else ''}" for e in verdict.exposed)
        page.text(f"stays writable: {listed}", "  ")
    if verdict.strength:
        page.text(f"strength: {printable(verdict.strength)}", "  ")
    page.text(f"{counted(len(verdict.starts), 'start')} in {counted(verdict.rounds, 'round')}", "  ")


def _word(paint: Paint, verdict: Verdict) -> str:
    return paint("green", "PROVED") if verdict.proved else paint("red", "NOT PROVED")


def _check(paint: Paint, title: str, check: Check) -> str:
    judged = paint("green", "ok  ") if check.passed else paint("red", "FAIL")
    return f"{judged if check.tried else '--  '} {title}: {printable(check.name)}: {printable(check.summary)}"


def _unsettled(page: Page, plan: MountPlan, write_set: WriteSet | None, verdict: Verdict | None) -> None:
    lines = list(_open_points(plan, write_set, verdict))
    if not lines:
        return
    page.head("Left for you")
    for line in lines:
        page.text(printable(line), "  - ")


def _open_points(plan: MountPlan, write_set: WriteSet | None, verdict: Verdict | None) -> Iterator[str]:
    for refusal in plan.refusals:
        if refusal.blocking:
            yield f"{refusal.path} must not be writable: {refusal.reason} What to do: {refusal.remedy}"
        else:
            yield f"{refusal.path} stays read-only, and the program lives without it: {refusal.reason}"
    for question in plan.questions:
        yield f"{question.text} Decide with {question.option}"
    for tolerated in plan.tolerated:
        yield f"{tolerated.path} stays read-only: {tolerated.reason}"
    for text in plan.unexercised:
        yield f"not exercised: {text}"
    yield from write_set.observation.notes if write_set else ()
    yield from verdict.cannot_show if verdict else ()
