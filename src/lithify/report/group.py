"""Writes the hardening of a group for a person to read: a page for each member, then the file's diff."""

from lithify.model.group import GroupHardening, Member
from lithify.model.path import printable
from lithify.report.page import Page, Paint, places_of, plain, render_hardening, render_verdict, why_not


def render_group(result: GroupHardening, *, paint: Paint = plain, width: int = 80) -> str:
    """Return the page of `lithify harden FILE`."""
    pages = [_member(member, paint, width) for member in result.members]
    return "\n".join([*pages, _whole(result, paint, width)])


def _member(member: Member, paint: Paint, width: int) -> str:
    page = Page(paint, width)
    page.line(paint("bold", f"=== {printable(member.name)}"))
    if member.hardening is None:
        page.text(printable(member.trouble), "  ")
        return page.render()
    text = page.render() + render_hardening(member.hardening, paint=paint, width=width, group=True)
    if member.together is not None:
        head = Page(paint, width)
        head.head("All together, as the patched file stands")
        text += head.render() + render_verdict(member.together, _why_not_together(member), paint=paint, width=width)
    return text


def _whole(result: GroupHardening, paint: Paint, width: int) -> str:
    page = Page(paint, width)
    word = paint("green", "PROVED") if result.proved else paint("red", "NOT PROVED")
    page.line(paint("bold", f"=== {printable(result.target)}"), f"({result.engine}):", word)
    for member in result.members:
        page.text(printable(f"{member.name}: {_word(member)}"), "  ")
    if result.refused:
        names = dict.fromkeys(refused.container for refused in result.refused)
        page.text(printable(f"not in the file: {', '.join(names)}; 'Left for you' says why and what to do"), "  ")
    if result.diff:
        page.head("Patch")
        page.verbatim("\n".join(_painted(line, paint) for line in result.diff.splitlines()), "")
    elif any(member.planned for member in result.members):
        page.head("Patch")
        page.text(unchanged(result), "  ")
    for note in result.notes:
        page.text(printable(note), "  # ")
    if result.refused:
        page.head("Left for you")
        for refused in result.refused:
            page.text(printable(f"{refused.container}: {refused.reason}. {refused.remedy}".rstrip(" .")), "  - ")
            page.verbatim("\n".join(map(printable, refused.by_hand.splitlines())), "      ")
    if result.cannot_show:
        page.head("What such a run can't show")
        for text in result.cannot_show:
            page.text(printable(text), "  - ")
    return page.render()


def unchanged(result: GroupHardening) -> str:
    """Say why a file has no diff."""
    if result.refused:
        return "what has to change is left for you"
    return "nothing has to change" if result.proved else "not all of it is proved"


def _why_not_together(member: Member) -> str:
    assert member.hardening is not None
    return why_not(member.together, member.hardening.plan, group=True) if member.together is not None else ""


def _word(member: Member) -> str:
    if member.hardening is None:
        return f"does not work as it is: {member.trouble}; make it start and pass the check by hand first"
    if not member.planned:
        why = why_not(member.hardening.verdict, member.hardening.plan, group=True)
        return f"not proved, so it stays as it is: {why}"
    count = places_of(member.hardening.plan)
    if member.together is None:
        return f"proved, {count}"
    if not member.proved:
        return f"fails beside the others as patched: {_why_not_together(member)}"
    return f"proved, alone and beside the others, {count}"


def _painted(line: str, paint: Paint) -> str:
    style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
    text = printable(line)
    return paint(style, text) if style and not line.startswith(("+++", "---")) else text
