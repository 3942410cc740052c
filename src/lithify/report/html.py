"""A report as one self-contained page: a picture for each workload of where it can be written, and what to do.

It works without network and with scripts off (every section can be opened and read); a script adds the search.
"""

import re
import textwrap
from collections.abc import Iterator
from html import escape

from lithify.model.finding import ContainerVerdict, FileResult, Finding, Report, Severity, State, Summary, WritablePlace
from lithify.model.quantity import render_human
from lithify.model.text import counted, printable
from lithify.report.base import Write, page_text

_STATES = {
    State.READ_ONLY: ("stone", "read-only"),
    State.WRITABLE: ("soft", "writable"),
    State.REMOUNTABLE: ("crack", "read-only, can be remounted"),
    State.NOT_APPLICABLE: ("none", "not applicable"),
}

_STYLE = """
:root{color-scheme:light dark;--ink:#1c2326;--dim:#5c6a70;--line:#d5dcdf;--page:#f6f8f8;--card:#fff;--stone:#3f6f5f;
--soft:#b3261e;--crack:#b26a00;--none:#7a868b;--high:#b3261e;--medium:#9a5b00;--low:#2b6391;--info:#5c6a70}
@media(prefers-color-scheme:dark){:root{--ink:#e4eaec;--dim:#9aa8ae;--line:#344046;--page:#14191b;--card:#1d2427;
--stone:#6fb39b;--soft:#ff8a80;--crack:#ffb454;--none:#8b989e;--high:#ff8a80;--medium:#ffb454;--low:#80bfff;--info:#9aa8ae}}
*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:64rem;margin:0 auto;padding:1.5rem}h1{font-size:1.6rem;margin:0}h2{font-size:1.05rem;margin:0}
p{margin:.3rem 0}.dim{color:var(--dim)}code,.mono{font:13px/1.45 ui-monospace,Menlo,Consolas,monospace}
.numbers{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.5rem,1fr));gap:.6rem;margin:1rem 0}
.number{background:var(--card);border:1px solid var(--line);border-radius:.4rem;padding:.6rem .8rem}
.number b{display:block;font-size:1.5rem;line-height:1.2}
.bar{display:flex;height:.7rem;border-radius:.35rem;overflow:hidden;background:var(--line);margin:.4rem 0 1rem}
.bar i{display:block;height:100%;background:var(--c)}
input{width:100%;padding:.5rem .7rem;font:inherit;color:inherit;background:var(--card);border:1px solid var(--line);
border-radius:.4rem;margin:.5rem 0 1rem}.no-script .search{display:none}
details{background:var(--card);border:1px solid var(--line);border-radius:.4rem;margin:.5rem 0}
summary{padding:.55rem .8rem;cursor:pointer;display:flex;gap:.6rem;align-items:baseline;flex-wrap:wrap}
summary::before{content:"\\25b8";color:var(--dim)}details[open]>summary::before{content:"\\25be"}.inside{scroll-margin-top:3rem}
summary .where{color:var(--dim);margin-left:auto;overflow-wrap:anywhere}.inside{padding:.2rem .8rem .8rem}
.box{border:3px solid var(--c);border-radius:.4rem;padding:.55rem .7rem;margin:.6rem 0;
background:color-mix(in srgb,var(--c) 7%,transparent)}.box.soft{border-style:dashed}.stone{--c:var(--stone)}
.soft{--c:var(--soft)}.crack{--c:var(--crack)}.none{--c:var(--none)}.box>p:first-child{display:flex;gap:.6rem;flex-wrap:wrap;
align-items:baseline}
.state{color:var(--c);font-weight:600}.places{display:flex;flex-wrap:wrap;gap:.4rem;margin-top:.4rem}
.place{border:2px dashed var(--c,var(--dim));border-radius:.3rem;padding:.15rem .5rem;background:var(--card)}
.box,td{overflow-wrap:anywhere}.place{max-width:100%}
.place.runs{--c:var(--crack)}.place small{color:var(--dim);display:block}
table{border-collapse:collapse;width:100%;margin-top:.5rem}td,th{text-align:left;vertical-align:baseline;
padding:.3rem .5rem;border-top:1px solid var(--line)}th{font-weight:600;color:var(--dim);border:0}
td:first-child{white-space:nowrap}h2{min-width:0;overflow-wrap:anywhere}
.sev{font-weight:600}.critical,.high{color:var(--high)}.medium{color:var(--medium)}.low{color:var(--low)}.info{color:var(--info)}
.exempted td{color:var(--dim)}.exempted .message{text-decoration:line-through}
pre{background:var(--page);border:1px solid var(--line);border-radius:.3rem;padding:.5rem .7rem;overflow-x:auto;
font:13px/1.45 ui-monospace,Menlo,Consolas,monospace}p code{overflow-wrap:anywhere}
a{color:inherit}.hidden{display:none}@media(max-width:40rem){main{padding:.8rem}td:first-child{white-space:normal}
table,tbody,tr{display:block}tr{border-top:1px solid var(--line);padding:.3rem 0}tr:first-child{display:none}
td{display:inline-block;border:0;padding:.1rem .6rem .1rem 0}td:nth-child(2){display:block}
td:nth-child(4):not(:empty)::before{content:"line "}}
@media print{:root{print-color-adjust:exact;--page:#fff}main{max-width:none;padding:0}.search,#told{display:none}
tr,.box{break-inside:avoid}summary,tr:first-child{break-after:avoid}
details[data-t]::details-content{content-visibility:visible;block-size:auto}}
"""

_CODE = re.compile(r"`([^`]+)`")

_SCRIPT = """
document.body.classList.remove("no-script");
const field=document.querySelector("input"),cards=[...document.querySelectorAll("details[data-t]")],
told=document.querySelector("#told");
field.addEventListener("input",()=>{const words=field.value.toLowerCase().split(/\\s+/).filter(Boolean);let shown=0;
for(const card of cards){const fits=words.every(word=>card.dataset.t.includes(word));
card.classList.toggle("hidden",!fits);shown+=fits}
told.textContent=words.length?shown+" of "+cards.length+" shown":""});
"""


def render(report: Report, write: Write) -> None:
    """Write the page: a card for each workload, those with high findings open, in the order of the inputs."""
    summary = report.summary
    write(
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>lithify audit, {_text(report.today)}</title><style>{_STYLE}</style></head>"
        '<body class="no-script"><main>\n'
    )
    write(_head(report, summary))
    write(
        '<label class="search">Search<input type="search" placeholder="name, image, path, rule"></label>'
        '<p id="told" role="status"></p>\n'
    )
    for result in report.results():
        for card in _cards(result):
            write(card)
    skipped = "".join(f"<li><code>{_text(one.location)}</code> {_text(one.reason)}</li>\n" for one in report.skipped())
    if skipped:
        write(f"<h2>Skipped</h2><ul>{skipped}</ul>\n")
    write(_pages(report))
    write(f"</main><script>{_SCRIPT}</script></body></html>\n")


def _head(report: Report, summary: Summary) -> str:
    numbers = [counted(summary.containers, "container"), f"{summary.writable:,} with a writable root"]
    numbers += [counted(count, f"{level.label} finding") for level, count in summary.by_severity.items() if count]
    numbers += [f"{summary.not_applicable:,} not applicable"] if summary.not_applicable else []
    numbers += [f"{summary.exempted:,} exempted"] if summary.exempted else []
    parts = (number.partition(" ") for number in numbers)
    boxes = "".join(f'<div class="number"><b>{value}</b>{name}</div>' for value, _, name in parts)
    judged = summary.read_only + summary.writable
    share = 100 * summary.read_only / judged if judged else 0
    bar = f'<i class="stone" style="width:{share:.2f}%"></i><i class="soft" style="flex:1"></i>'
    return (
        f'<h1>What can still be written</h1><p class="dim">{_text(report.today)}, {counted(summary.files, "input")}, '
        f"lithify {_text(report.tool_version)}</p>\n"
        f'<div class="numbers">{boxes}</div>\n'
        + (
            f'<p>{int(share)} % of the root filesystems are read-only.</p><div class="bar">{bar}</div>\n'
            if judged
            else ""
        )
    )


def _cards(result: FileResult) -> Iterator[str]:
    """Yield a card for each object of an input, and one for what belongs to none."""
    groups: dict[tuple[str, str, str, int], tuple[list[ContainerVerdict], list[Finding]]] = {}
    for container in result.containers:
        named = container.object
        key = (named.kind, named.namespace, named.name, container.location.document)
        groups.setdefault(key, ([], []))[0].append(container)
    for finding in result.findings:
        other = finding.object
        key = (other.kind, other.namespace, other.name, finding.location.document) if other else ("", "", "", -1)
        groups.setdefault(key, ([], []))[1].append(finding)
    for (kind, namespace, name, _), (containers, findings) in groups.items():
        title = f"{kind} {name}".strip() or "This input"
        yield _card(result.path, title, namespace, containers, findings)


def _card(path: str, title: str, namespace: str, containers: list[ContainerVerdict], findings: list[Finding]) -> str:
    counted = [finding for finding in findings if finding.exemption is None]
    worst = max((finding.severity for finding in counted), default=None)
    applies = any(container.effective is not State.NOT_APPLICABLE for container in containers)
    quiet = "exempted" if findings else "clean" if applies or not containers else "not applicable"
    label = (
        f'<span class="sev {worst.label}">{worst.label}</span>'
        if worst is not None
        else f'<span class="dim">{quiet}</span>'
    )
    words = [path, title, namespace, *(f"{c.name} {c.image} {c.effective.value}" for c in containers)]
    words += [f"{finding.rule} {finding.message} {finding.severity.label}" for finding in findings]
    opened = " open" if worst is not None and worst >= Severity.HIGH else ""
    place = f"{path}{f', namespace {namespace}' if namespace else ''}"
    pictures = "".join(map(_picture, containers))
    return (
        f'<details{opened} data-t="{_text(" ".join(words).lower())}"><summary><h2>{_text(title)}</h2>{label}'
        f'<span class="where mono">{_text(place)}</span></summary>'
        f'<div class="inside">{pictures}{_table(findings)}</div></details>\n'
    )


_SHOWN = 40
"""Places of a container that are drawn."""


def _picture(container: ContainerVerdict) -> str:
    """Return a container as a box, firm or dashed as its root filesystem is, with its writable places in it."""
    style, words = _STATES[container.effective]
    because = f" <span class='dim'>({_text(container.reason)})</span>" if container.reason else ""
    role = f"{container.role} " if container.role else ""
    name = container.name or f"#{container.index}"
    places = "".join(map(_place, container.places[:_SHOWN]))
    if len(container.places) > _SHOWN:  # those of a whole host, come in with its `/`
        places += f'<span class="dim">and {len(container.places) - _SHOWN} more: the JSON report has them</span>'
    if not places and container.effective in (State.READ_ONLY, State.REMOUNTABLE):
        places = '<span class="dim">no writable mount</span>'
    return (
        f'<div class="box {style}"><p><b>{_text(role)}{_text(name)}</b><code>{_text(container.image)}</code>'
        f'<span class="state">/ is {words}</span>{because}</p><div class="places">{places}</div></div>'
    )


_LIMITED = ("emptyDir", "tmpfs")
"""Kinds of places that should say how much they take."""


def _place(place: WritablePlace) -> str:
    path, kind, source, executable, size = place
    told = [kind + (f" {source}" if source else "")]
    told += [render_human(size)] if size else ["no limit"] if kind in _LIMITED else []
    told += ["programs run from it"] if executable else []
    style = "place runs" if executable else "place"
    return f'<span class="{style}"><code>{_text(path)}</code><small>{_text(", ".join(told))}</small></span>'


def _table(findings: list[Finding]) -> str:
    if not findings:
        return ""
    rows = []
    for finding in sorted(findings, key=lambda f: (f.exemption is not None, -f.severity, f.location.line)):
        exemption = finding.exemption
        told = f'<span class="message">{_prose(finding.message)}</span>'
        if exemption is not None:
            parts = [
                exemption.reason or "no reason given",
                exemption.owner,
                exemption.until and f"until {exemption.until}",
            ]
            told += f"<br>exempted: {_text(', '.join(filter(None, parts)))}"
        elif finding.fix is not None:
            told += f'<br><span class="dim">{_prose(finding.fix.text)}</span>'
        severity = finding.severity.label
        rows.append(
            f'<tr{" class=exempted" if exemption else ""}><td class="sev {severity}">{severity}</td>'
            f'<td>{told}</td><td><a href="#{finding.rule}"><code>{finding.rule}</code></a></td>'
            f'<td class="mono">{finding.location.line or ""}</td></tr>'
        )
    return f"<table><tr><th>severity<th>finding<th>rule<th>line</tr>{''.join(rows)}</table>"


def _pages(report: Report) -> str:
    pages = []
    for rule, module in report.rules:
        elsewhere = "; ".join(f"{where} {', '.join(ids)}" for where, ids in rule.ids.items())
        text = page_text(getattr(module, "__doc__", None) or rule.title)
        # The name stands inside, so that a link to it opens what is closed.
        pages.append(
            f'<details><summary><h2>{rule.name}</h2><span class="sev {rule.severity.label}">'
            f"{rule.severity.label}</span><span>{_text(rule.title)}</span></summary>"
            f'<div class="inside" id="{rule.name}">'
            f"{''.join(map(_paragraph, text.split(_BETWEEN)))}"
            + (f"<p class='dim'>Elsewhere: {_text(elsewhere)}</p>" if elsewhere else "")
            + "</div></details>"
        )
    return f"<h2 style='margin-top:2rem'>Rules</h2>{''.join(pages)}\n"


_BETWEEN = "\n\n"


def _paragraph(text: str) -> str:
    """Return a paragraph of a rule's page; what is indented there is code."""
    if text.startswith("    "):
        return f"<pre>{_text(textwrap.dedent(text), lines=True)}</pre>"
    return f"<p>{_prose(' '.join(text.splitlines()))}</p>"


def _prose(text: object) -> str:
    return _CODE.sub(r"<code>\1</code>", _text(text))


def _text(text: object, *, lines: bool = False) -> str:
    shown = "\n".join(map(printable, str(text).splitlines())) if lines else printable(text)
    return escape(shown)
