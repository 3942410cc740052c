"""Says what no mount should solve, and what to do about it instead."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import PurePosixPath

from lithify.model.mount import PathClass, Refusal
from lithify.model.path import ROOT, printable
from lithify.model.writes import Change, WriteSet
from lithify.plan.explain import who_wrote_what
from lithify.plan.ground import Ground
from lithify.plan.needs import Need, Seen, directory_of, leaves_as_before

_OPTIONS = (
    (r"celerybeat-schedule.*", "celery beat takes `--schedule=/some/mount/celerybeat-schedule`"),
    (r"apiserver\.local\.config|apiserver\.(crt|key)", "API servers take `--cert-dir=/some/mount`"),
    (r"acme\.json", "Traefik takes `--certificatesresolvers.NAME.acme.storage=/some/mount/acme.json`"),
    (r"plugins-storage", "set the working directory to a mount: Traefik finds its plugins by relative name"),
    (r"hs_err_pid.*", "JVMs take `-XX:ErrorFile=/some/mount/hs_err_%p.log`"),
    (r".*\.hprof", "JVMs take `-XX:HeapDumpPath=/some/mount`"),
    (r"nohup\.out", "start the program in the foreground, without nohup"),
    (r"core(\.\d+)?", "core dumps: set the limit to 0, or `kernel.core_pattern` on the node"),
    (r".*\.pid", "most daemons take an option that moves or omits the pid file"),
)
"""Options by which well-known names move, by the programs' documentation."""
_MOST_NAMES = 3


def refuse(needs: Iterable[Need], barred: Iterable[Seen], write_set: WriteSet, ground: Ground) -> list[Refusal]:
    """Return a refusal for each directory whose writes nothing could serve; `barred` are not among them."""
    changed = {seen.write.directory for seen in barred}
    groups: dict[PurePosixPath, list[Need]] = {}
    for need in needs:
        groups.setdefault(directory_of(need), []).append(need)
    refusals = []
    for directory in sorted(groups):
        seen = [s for need in groups[directory] for s in need.seen]
        objection = ground.objection(directory, written=True) or "no place was left to try"
        optional = all(need.optional for need in groups[directory])
        if optional:
            what = "entries of the image are removed here, which is no reason to make the directory writable"
        else:
            whole = len({s.write.path for s in seen}) > 1 or seen[0].write.path == directory
            what = objection if whole else f"its directory must stay read-only: {objection}"
        refusal = _refusal(directory, seen, what, write_set, blocking=not optional)
        if not optional and directory not in changed and objection == ground.executables(directory, written=True):
            known = f"where it is data all the same, `--state {printable(directory)}=volume`: nothing runs from there"
            refusal = replace(refusal, remedy=f"{refusal.remedy.removesuffix('.')}; or, {known}.")
        refusals.append(refusal)
    return refusals


def refuse_barred(barred: Iterable[Seen], write_set: WriteSet) -> list[Refusal]:
    """Return a refusal for each directory in which code, or what says who users and hosts are, is changed."""
    groups: dict[tuple[PurePosixPath, PathClass], list[Seen]] = {}
    for seen in barred:
        groups.setdefault((seen.write.directory, seen.path_class), []).append(seen)
    refusals = []
    for (directory, path_class), seen_there in sorted(groups.items()):
        if path_class is PathClass.CODE:
            what = "the program changes its own code, which a read-only root is there to stop"
        else:
            what = "who can write these files can become any user"
        refusals.append(_refusal(directory, seen_there, what, write_set, blocking=True))
    return refusals


def _refusal(directory: PurePosixPath, seen: list[Seen], what: str, write_set: WriteSet, *, blocking: bool) -> Refusal:
    classes = sorted({s.path_class for s in seen}, key=list(_RANK).index)
    paths = sorted({s.write.path for s in seen})
    path = paths[0] if len(paths) == 1 else directory
    reason = " ".join([f"{what[0].upper()}{what[1:]}.", *who_wrote_what(seen, directory)])
    return Refusal(
        path=path,
        path_class=classes[0],
        reason=reason,
        remedy=_remedy(directory, seen, classes[0], write_set),
        blocking=blocking,
    )


_RANK = (
    PathClass.CODE, PathClass.IDENTITY, PathClass.STATE, PathClass.CONFIG, PathClass.LOG, PathClass.RUNTIME,
    PathClass.CACHE, PathClass.SCRATCH,
)  # fmt: skip
"""Which class names a refusal that is about several."""


def _remedy(directory: PurePosixPath, seen: list[Seen], path_class: PathClass, write_set: WriteSet) -> str:
    names = sorted({printable(s.write.path.name) for s in seen if s.write.change is not Change.CAME_AND_WENT})
    known = [text for pattern, text in _OPTIONS if any(re.fullmatch(pattern, name) for name in names)]
    remedies = [*known, *_general(directory, seen, path_class, names)]
    if path_class not in (PathClass.CODE, PathClass.IDENTITY):
        remedies += _elsewhere(directory, write_set)
    return "; or ".join(remedies) + "."


def _elsewhere(directory: PurePosixPath, write_set: WriteSet) -> Iterator[str]:
    """Say how a relative name is made elsewhere."""
    went = {process.working_directory for process in write_set.processes}
    started = write_set.image.working_directory
    if directory not in (*went, started):
        return
    if directory == started:
        how = "start it in a mount (`--workdir`, `workingDir`)"
    else:
        how = f"have it change to a mount, by the option or line that makes it leave {printable(started)},"
    yield (
        f"it is the working directory, so the name may be a relative one: where the program finds its code by "
        f"absolute path, {how} instead of {printable(directory)}"
    )


def _general(directory: PurePosixPath, seen: list[Seen], path_class: PathClass, names: list[str]) -> list[str]:
    shown = " ".join(names[:_MOST_NAMES]) + (" ..." if len(names) > _MOST_NAMES else "")
    where = printable(directory)
    if all(s.write.change is Change.DELETED for s in seen):
        targets = " ".join(printable(s.write.path) for s in seen[:_MOST_NAMES])
        return [f"leave out of the image what the start removes: `RUN rm -r {targets}`"]
    if all(s.write.change is Change.OPENED for s in seen):
        return [f"nothing was changed there: leave out of the start what opens or chowns {shown}"]
    if leaves_as_before(seen) and path_class is not PathClass.IDENTITY:
        return [
            f"leave out of the start what rewrites {shown}: the image has the same bytes already",
            f"point the program to a copy of {where} in a mount, by the option that names its configuration",
        ]
    match path_class:
        case PathClass.IDENTITY:
            return _identity(names)
        case PathClass.CODE:
            return [
                f"do it when the image is built, by a `RUN` that makes {shown}, and switch it off at run time",
            ]
        case PathClass.CONFIG:
            return [
                f"write it in the image, not at the start, if that never changes: `COPY {shown or 'FILES'} {where}/`",
                "let `harden --bake DIR` find that out and prove it",
                "mount the finished files read-only",
                "point the program to a rendered copy in a mount, by the option that names its configuration",
            ]
        case PathClass.LOG:
            return [
                "log to standard output or error",
                f"link it there in the image: `RUN ln -sf /dev/stdout {where}/{names[0] if names else 'LOG'}`",
            ]
    inside = "data" if directory == ROOT else f"{directory.name}-data"
    what = shown or "what is written"
    return [f"move {what} to a directory of its own, as /var/lib/{printable(inside)}, by an option of the program"]


def _identity(names: list[str]) -> list[str]:
    if any(name.startswith(("hosts", "resolv", "hostname")) for name in names):
        return ["give the engine the entries: `--add-host`, `--dns`, `--hostname`, `hostAliases`, `dnsConfig`"]
    return [
        "start as the final user (`--user`, `runAsUser`), without variables that ask for a mapping (PUID, PGID)",
        "add the user when the image is built",
        "preload nss_wrapper",
        "mount a finished /etc/passwd and /etc/group read-only",
    ]
