"""Takes plans to the containers of a file that they are for, and the file to the format that writes them."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from lithify.errors import InvalidInput, NothingToExamine, UsageError
from lithify.model.group import GroupHardening
from lithify.model.hardening import Hardening
from lithify.model.image import ImageFacts
from lithify.model.location import Route
from lithify.model.mount import MountPlan
from lithify.model.patch import Patched, PatchedFiles, Planned
from lithify.model.path import printable
from lithify.model.text import UTF_16
from lithify.model.workload import Container
from lithify.patch.kubernetes import Options
from lithify.patch.seeding import SEEDS
from lithify.report.wire import read_json
from lithify.sources.files import insist_on_yaml, kind_of, played_by, read_source
from lithify.sources.manifest import read_manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenPlan:
    """A plan as it was handed over, with what came along of its image."""

    source: str
    """The file it came from, for messages."""
    plan: MountPlan
    image: ImageFacts | None = None
    container: str = ""
    """Which container of the file it is for; nothing leaves that to the plan's own name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchOptions:
    """What a patch of any format may rely on."""

    kubernetes: Options = field(default_factory=Options)
    stack: bool = False
    """A Compose file is one that Swarm runs."""
    values: tuple[str, ...] = ()
    """Values files of a chart."""
    release: str = ""
    into: str = ""
    """The values file that a chart's patch is written into; a new one in the chart's folder otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """A container of a file."""

    document: int
    route: Route
    name: str
    names: tuple[str, ...]
    """What it answers to, from the plain name to the one that tells it from all others."""
    image: str = ""
    """As the file has it."""
    ours: bool = False
    """An earlier patch added it."""


_PLANS: tuple[type[GroupHardening | Hardening | MountPlan], ...] = (GroupHardening, Hardening, MountPlan)


def read_plans(path: Path, containers: Sequence[str]) -> list[GivenPlan]:
    """Return the plans in a JSON file: a plan, or what harden gave; `containers` says whom they are for, in order.

    InvalidInput where it is neither, UsageError where fewer plans than containers are there.
    """
    given = read_json(path, *_PLANS)
    source = str(path)
    if isinstance(given, GroupHardening):
        found = [
            GivenPlan(
                source=source,
                plan=member.hardening.plan,
                image=member.hardening.write_set.image,
                container=member.name,
            )
            for member in given.members
            if member.hardening is not None and member.planned
        ]
        chosen = [one for one in found if not containers or one.container in containers]
        if not chosen:
            names = ", ".join(printable(one.container) for one in found) or "none that is proved"
            raise UsageError(f"{printable(path)} has no plan for {', '.join(containers)}", hint=f"it has {names}")
        return chosen
    plan, image = (given.plan, given.write_set.image) if isinstance(given, Hardening) else (given, None)
    return [GivenPlan(source=source, plan=plan, image=image, container=container) for container in containers or ("",)]


def patch_file(path: str, data: bytes, plans: Sequence[GivenPlan], options: PatchOptions | None = None) -> Patched:
    """Return the file `data`, which stands at `path`, with each plan written into it.

    NothingToExamine where it describes no container, InvalidInput where it can't be read, UsageError where a plan fits
    none of them or several.
    """
    options = options or PatchOptions()
    if data[:2] in UTF_16:
        return _patch_utf_16(path, data, plans, options)
    kind = _kind(path, data)
    writer = _WRITERS.get(kind)
    if writer is None:
        manifest = played_by(path, data)
        raise InvalidInput(
            f"{printable(path)}: {f'files of kind {kind}' if kind else 'this file'} can't be patched",
            hint=f"it plays a manifest, give that: {printable(manifest)}"
            if manifest
            else "give a manifest, a Compose file, a Quadlet unit, an ECS task definition, a script or a chart",
        )
    places = _places(path, data, kind)
    if not places:
        if kind not in ("script", "quadlet"):
            insist_on_yaml(path, data)
        raise NothingToExamine(f"{printable(path)} describes no container", hint="is it the right file?")
    assigned = [_assign(one, places, path) for one in plans]
    patched = writer(path, data, [planned for planned, _ in assigned], options)
    return replace(patched, notes=(*_of_other_images(assigned), *patched.notes))


def _patch_utf_16(path: str, data: bytes, plans: Sequence[GivenPlan], options: PatchOptions) -> Patched:
    """Return a UTF-16 file patched: kubectl reads it, and an editor on Windows may have saved it so."""
    mark, codec = data[:2], UTF_16[data[:2]]
    try:
        text = data[2:].decode(codec)
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{printable(path)}: no UTF-16 as its first bytes say: {error.reason}") from error
    patched = patch_file(path, text.encode(), plans, options)
    return replace(patched, text=mark + patched.text.decode().encode(codec))


def patch_folder(folder: str, plans: Sequence[GivenPlan], options: PatchOptions | None = None) -> PatchedFiles:
    """Return the files that put each plan into a chart or a kustomization.

    As `patch_file`; InvalidInput where the folder is neither, EngineRefused where it does not render.
    """
    from lithify.patch.kubernetes import patch
    from lithify.pipeline.groups.rendered import read_folder

    options = options or PatchOptions()
    before, writer = read_folder(folder, options.values, options.release, options.into)
    places = _places(folder, before, "kubernetes")
    if not places:
        raise NothingToExamine(f"{printable(folder)} comes to no container", hint="is it the right folder?")
    assigned = [_assign(one, places, folder) for one in plans]
    patched = writer(before, patch(before, [planned for planned, _ in assigned], options.kubernetes))
    return replace(patched, notes=(*_of_other_images(assigned), *patched.notes))


def _kind(path: str, data: bytes) -> str:
    if os.path.basename(path).endswith((".sh", ".bash")) or data.startswith(b"#!"):
        return "script"
    return kind_of(path, data)


def _places(path: str, data: bytes, kind: str) -> list[_Place]:
    if kind == "script":
        from lithify.patch.script_line import read_lines

        found = []
        for line in read_lines(data)[1]:
            name = (line.line.value("name") if line.line else "") or ""
            names: tuple[str, ...] = (name, str(line.number), f"line {line.number}")
            image = line.line.image if line.line else ""
            found.append(_Place(document=0, route=(line.index,), name=name, names=names, image=image))
        return found
    places = []
    made: tuple[str, ...] = ()
    if kind == "quadlet":
        from lithify.documents.unit import parse_unit
        from lithify.patch.quadlet_line import line_of_unit

        with suppress(UsageError):  # which the patch tells
            made = (line_of_unit(parse_unit(data), path).value("name") or "",)  # as which it is hardened
    reading = read_manifest(path, data) if os.path.isdir(path) else read_source(path, data)
    for workload in reading.workloads:
        for container in workload.containers:
            place = container.location
            named = workload.name
            names = (container.name, *made, f"{named.name}/{container.name}", f"{named}/{container.name}")
            places.append(
                _Place(
                    document=place.document,
                    route=place.route,
                    name=container.name,
                    names=names,
                    image=container.image or "",
                    ours=_is_ours(container, kind),
                )
            )
    return _told_apart(places)


def _is_ours(container: Container, kind: str) -> bool:
    """Tell whether an earlier patch added a container."""
    if kind != "compose":
        return container.name.startswith(SEEDS)
    from lithify.engines.compose.flags import gives_volumes

    return gives_volumes(container.command)


def _told_apart(places: Sequence[_Place]) -> list[_Place]:
    """Return containers with a number behind what several of them are called."""
    called = Counter(place.names[-1] for place in places)
    met: Counter[str] = Counter()
    found = []
    for place in places:
        name = place.names[-1]
        met[name] += 1
        found.append(replace(place, names=(*place.names, f"{name}#{met[name]}")) if called[name] > 1 else place)
    return found


def _assign(given: GivenPlan, places: Sequence[_Place], path: str) -> tuple[Planned, _Place]:
    """Return the container that a plan is for, and where the file has it."""
    wish = given.container or given.plan.container
    fitting = [place for place in places if wish in place.names]
    theirs = [place for place in places if not place.ours]
    if not fitting and not given.container and len(theirs) == 1:
        fitting = theirs
    if len(fitting) != 1:
        raise _unclear(given, wish, fitting, places, path)
    place = fitting[0]
    planned = Planned(
        document=place.document, route=place.route, container=place.name, plan=given.plan, image=given.image
    )
    return planned, place


def _of_other_images(assigned: Sequence[tuple[Planned, _Place]]) -> Iterator[str]:
    """Say which plans were made for another image than the file has, as far as both names tell."""
    for planned, place in assigned:
        made_for = planned.image.reference if planned.image else planned.plan.key.image
        if _is_another(made_for, place.image):
            yield (
                f"{place.name or place.names[-1]}: the plan was made for the image {made_for}, the file has "
                f"{place.image}: make one for that, or prove this one with it"
            )


def _is_another(made_for: str, image: str) -> bool:
    """Tell whether two references are of different images, as far as both say; a path or a template says nothing."""
    if any(not name or name.startswith(("/", ".", "sha256:")) or set("${%") & set(name) for name in (made_for, image)):
        return False
    (one, its), (other, others) = _parts(made_for), _parts(image)
    return one != other or bool(its and others and its != others)


def _parts(reference: str) -> tuple[str, str]:
    """Return an image's name and tag, with what engines add where it is left out; a digest alone has no tag."""
    name, _, digest = reference.partition("@")
    folder, slash, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    name = f"{folder}{slash}{last}".removeprefix("docker.io/").removeprefix("library/")
    return name, tag or ("" if digest else "latest")


def _unclear(given: GivenPlan, wish: str, fitting: Sequence[_Place], places: Sequence[_Place], path: str) -> UsageError:
    known = ", ".join(printable(place.names[-1]) for place in (fitting or places)[:20])
    if fitting:
        return UsageError(
            f"{printable(path)} has {len(fitting)} containers that {printable(wish)} could be",
            hint=f"say which with --container: {known}",
        )
    return UsageError(
        f"{printable(path)} has no container {printable(wish)}, which {printable(given.source)} is for",
        hint=f"say which with --container: {known}",
    )


def _kubernetes(path: str, data: bytes, planned: Sequence[Planned], options: PatchOptions) -> Patched:
    from lithify.patch.kubernetes import patch

    del path
    return patch(data, planned, options.kubernetes)


def _compose(path: str, data: bytes, planned: Sequence[Planned], options: PatchOptions) -> Patched:
    if options.stack:
        from lithify.patch import stack

        return stack.patch(data, planned)
    from lithify.patch.compose import Manner
    from lithify.pipeline.groups.compose_files import patch_project

    return patch_project(path, data, planned, Manner(copier=options.kubernetes.copier))


def _ecs(path: str, data: bytes, planned: Sequence[Planned], options: PatchOptions) -> Patched:
    from lithify.patch.ecs import patch

    del path, options
    return patch(data, planned)


def _quadlet(path: str, data: bytes, planned: Sequence[Planned], options: PatchOptions) -> Patched:
    from lithify.patch.quadlet import patch

    del options
    return patch(data, planned, path=path)


def _script(path: str, data: bytes, planned: Sequence[Planned], options: PatchOptions) -> Patched:
    from lithify.patch.script import patch

    del path, options
    return patch(data, planned)


_WRITERS: dict[str, Callable[[str, bytes, Sequence[Planned], PatchOptions], Patched]] = {
    "kubernetes": _kubernetes,
    "compose": _compose,
    "quadlet": _quadlet,
    "script": _script,
    "ecs": _ecs,
}
