"""Mount plans written for Helm charts: as values where the chart's own reach the containers, else after rendering.

What the manifests should say is worked out on what Helm renders. Values that come out in the right places are found by
rendering with markers; what they can't say goes into a Kustomize patch that Helm pipes its output through
(`--post-renderer`: a program for Helm 3, a plugin for Helm 4). Both are rendered again, and have to give exactly what
was planned, or are not written.
"""

import copy
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lithify.documents.edit import Editor
from lithify.documents.emit import render_block, render_json
from lithify.documents.splice import Uneditable
from lithify.engines.helm import Chart
from lithify.engines.kustomize import build_with
from lithify.errors import EngineRefused, EngineUnreachable, LithifyError
from lithify.model.json_patch import pointer
from lithify.model.location import Route
from lithify.model.patch import Change, Patched, PatchedFile, PatchedFiles, Refused
from lithify.patch.claims import JOINT, ClaimNames, slug
from lithify.patch.difference import name_test, normal, patch_of
from lithify.patch.pods import (
    Need,
    ObjectId,
    Place,
    added,
    additions,
    containers_of,
    id_of,
    needs,
    pods_of,
    read_objects,
    seeds_of,
    twins,
    with_claims,
)
from lithify.patch.values import Value, Values, get

_HOOK = "helm.sh/hook"
_KEEP = {"helm.sh/resource-policy": "keep"}
_ADDED = "claims.yaml"
_TRIED = 12
"""Values of one object that are tried without each other before none of them is used."""
_Chosen = dict[Value, list[Need]]
_POST_RENDER = """\
#!/bin/sh
# Changes what Helm rendered as kustomization.yaml says. Helm 3: --post-renderer THIS-FILE; Helm 4: install its folder
# as a plugin (helm plugin install FOLDER) and name that: --post-renderer lithify-NAME
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$here"/*.yaml "$work"
cat >"$work/rendered.yaml"
if command -v kustomize >/dev/null; then kustomize build "$work"; else kubectl kustomize "$work"; fi || {
  echo "lithify: with these values the chart renders other containers than were hardened: harden it with them" >&2
  exit 1
}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartOptions:
    """Where the patch of a chart goes."""

    into: str = ""
    """A values file to write into (the chart's own, or one of the user's); a new one in the chart's folder else."""
    values: bool = True
    """Values may be written; else everything is done after rendering."""


def patch(chart: Chart, before: bytes, after: Patched, options: ChartOptions | None = None) -> PatchedFiles:
    """Return the files that make `chart` render as `after`, which is `before`, what it renders, with the plans in it.

    EngineRefused, EngineUnreachable and InvalidInput where Helm is not there or the chart does not render.
    """
    return _ChartPatch(chart, before, after, options or ChartOptions()).run()


class _ChartPatch:
    def __init__(self, chart: Chart, before: bytes, after: Patched, options: ChartOptions) -> None:
        self.chart = chart
        self.after = after
        self.options = options
        self.old = read_objects(before)
        new = read_objects(after.text)
        names = self._called(before, [id_of(claim)[2] for claim in added(self.old, new)])
        self.new = [with_claims(item, names) for item in new]
        self.wanted = needs(self.old, self.new)
        self.added = [_kept(item) for item in added(self.old, self.new)]
        self.notes: list[str] = []

    def run(self) -> PatchedFiles:
        if not self.wanted:
            return PatchedFiles(refused=self.after.refused, notes=self.after.notes, manifests=self.after.text)
        if alike := twins(self.old):
            return self._refuse_twins(alike)
        overlay, said, values = self._by_values() if self.options.values else ({}, [], None)
        rendered = self.chart.render(overlay) if overlay else None
        objects = read_objects(rendered) if rendered else self.old
        left = needs(objects, self._desired(objects))
        files: list[PatchedFile] = []
        refused = list(self.after.refused)
        if overlay and values is not None:
            files.append(self._values_file(overlay, said, values))
        hooks = [item for item in self.old if _HOOK in ((item.get("metadata") or {}).get("annotations") or {})]
        patched = b""
        post: list[PatchedFile] = []
        if left:
            ours = {id_of(item) for item in hooks}
            refused += self._refuse_hooks([need for need in left if need.place.object in ours])
            left = [need for need in left if need.place.object not in ours]
        if self.added:
            called = ", ".join(id_of(item)[2] for item in self.added)
            self.notes.append(f"a namespace takes one release: what is kept is called {called} whatever the release is")
        if left or self.added:
            post, patched, problem = self._by_post_render(objects, {need.place.object for need in left})
            if problem:
                concerned = {str(need.place) for need in left or self.wanted if need.place.container}
                refused += [Refused(container=name, reason=problem) for name in sorted(concerned)]
            files += post
        unchanged = all(not file.changed for file in files)
        command = self._command(files, bool(post))
        return PatchedFiles(
            files=() if unchanged else tuple(files),
            changes=() if unchanged else (*self._changes(said, left),),
            refused=tuple(refused),
            notes=(*self.after.notes, *self.notes),
            command=command,
            manifests=self._manifests(patched, rendered, objects, tried=bool(patched) or not (left or self.added)),
        )

    def _manifests(
        self, patched: bytes, rendered: bytes | None, objects: list[dict[str, Any]], *, tried: bool
    ) -> bytes:
        """Return all that comes out, hooks included; nothing where a part of it was not tried."""
        if not tried:
            return b""
        hooks = "".join(f"\n---\n{render_json(item)}" for item in objects if _is_hook(item))
        return patched + hooks.encode() if patched else rendered or b""

    def _refuse_twins(self, alike: Sequence[ObjectId]) -> PatchedFiles:
        kind, _, name = alike[0]
        reason = f"the chart renders several objects of kind {kind} with the same name ({name or 'none'})"
        containers = dict.fromkeys(str(need.place) for need in self.wanted if need.place.container)
        refused = (Refused(container=one, reason=reason, remedy="give each a name") for one in containers)
        return PatchedFiles(refused=(*self.after.refused, *refused), notes=self.after.notes)

    def _called(self, before: bytes, claims: Sequence[str]) -> dict[str, str]:
        """Return the names that claims get, by those of the plan; none is that of another, or of one of the chart's."""
        names = ClaimNames(before)
        names.given = {("", name): self.chart for _, name in names.standing | names.mounted}
        ours = read_objects(_read(os.path.join(self.folder, _ADDED)) or b"")
        names.standing.update(("", id_of(claim)[2]) for claim in ours)
        return {name: names.name_for(name, self._without_release(name), "") for name in claims}

    def _without_release(self, name: str) -> str:
        """Return a name that does for every release: the release's own stands in those of its workloads."""
        rest = name.removeprefix(f"{self.chart.release}-").lstrip("-")
        own = slug(self.chart.name)
        if rest.startswith(f"{own}{JOINT}"):
            return rest
        return f"{own}{JOINT}{rest.removeprefix(f'{own}-')}"

    # values

    def _by_values(self) -> tuple[dict[str, Any], list[tuple[Value, Need]], Values | None]:
        """Return the values that say most of what is wanted, none where they would say anything else as well."""
        values = Values(self.chart)
        reached = values.reached([need for need in self.wanted if need.sayable])
        chosen = _choose(reached, self.wanted)
        while chosen:
            overlay = values.overlay(chosen)
            wrong = self._wrong(overlay)
            if not wrong:
                return overlay, [(value, need) for value, meets in chosen.items() for need in meets], values
            chosen = self._fewer(values, chosen, wrong)
        return {}, [], None

    def _fewer(self, values: Values, chosen: _Chosen, wrong: set[Place]) -> _Chosen:
        """Return what is left without the value that spoils one of the objects, else without all that reach it."""
        spoilt = min(place.object for place in wrong)
        concerned = [value for value in chosen if spoilt in {place.object for place in value.reaches}]
        for one in concerned[:_TRIED]:
            rest = {value: meets for value, meets in chosen.items() if value is not one}
            if rest and spoilt not in {place.object for place in self._wrong(values.overlay(rest))}:
                return rest
        return {value: meets for value, meets in chosen.items() if value not in concerned} if concerned else {}

    def _wrong(self, overlay: Mapping[str, Any]) -> set[Place]:
        """Return the places that come out otherwise than planned, beyond what is merely still missing."""
        try:
            objects = read_objects(self.chart.render(overlay))
        except (EngineRefused, LithifyError):
            return {need.place for need in self.wanted}
        if [id_of(item) for item in objects] != [id_of(item) for item in self.old]:
            return {need.place for need in self.wanted}
        missing = {(n.place, n.field, n.leaf, repr(n.value)) for n in self.wanted}
        found = needs(objects, self._desired(objects))
        wrong = {n.place for n in found if (n.place, n.field, n.leaf, repr(n.value)) not in missing}
        again = {id_of(item): _plain(item) for item in read_objects(self.chart.render())}
        for before, item in zip(self.old, objects, strict=True):
            stable = again.get(id_of(item)) == _plain(
                before
            )  # else it is made anew at each rendering: a random password
            if stable and _plain(item) != _plain(before):
                wrong |= {need.place for need in self.wanted}
        return wrong

    def _desired(self, objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return `objects` with the pod specs that are planned."""
        planned = {id_of(item): item for item in self.new}
        result = []
        for item in objects:
            wanted = planned.get(id_of(item))
            if wanted is not None:
                item = copy.deepcopy(item)
                for route, pod in pods_of(wanted):
                    _put(item, route, pod)
            result.append(item)
        return result

    def _values_file(self, overlay: dict[str, Any], said: Sequence[tuple[Value, Need]], values: Values) -> PatchedFile:
        if self.options.into:
            try:
                return _edited(self.options.into, overlay, said)
            except Uneditable as error:
                self.notes.append(
                    f"{self.options.into} can't be edited safely ({error}): the values stand in a new file"
                )
        path = os.path.join(self.folder, "values.yaml")
        lists = sorted(".".join(map(str, value.route)) for value, _ in said if get(values.effective, value.route))
        head = ["# What lithify found this chart's containers to need; give it after all other values files."]
        if any(value.shape == "list" for value, _ in said) and lists:
            head.append("# Helm replaces lists, so that those here hold what the chart's values have as well.")
        text = "\n".join([*head, *render_block(overlay, step=2, listed=2), ""]).encode()
        return PatchedFile(path=path, before=_read(path), after=text)

    # after rendering

    def _by_post_render(
        self, objects: list[dict[str, Any]], which: set[ObjectId]
    ) -> tuple[list[PatchedFile], bytes, str]:
        """Return the files of a post-renderer, what comes out of it, and what is wrong with that."""
        names = self._names()
        problem, built, kustomization = "", b"", b""
        for by_index in (False, True):
            kustomization = self._kustomization(objects, which, names, by_index=by_index)
            problem, built = self._try(objects, which, kustomization)
            if not problem:
                break
        if problem:
            return [], b"", problem
        plugin = _PLUGIN.format(name=self._plugin_name())
        files = (
            *((name, data, False) for name, data in self._added_files().items()),
            ("kustomization.yaml", kustomization, False),
            ("plugin.yaml", plugin.encode(), False),
            ("post-render", _POST_RENDER.encode(), True),
        )
        return (
            [
                PatchedFile(
                    path=(path := os.path.join(self.folder, name)), before=_read(path), after=data, executable=run
                )
                for name, data, run in files
            ],
            built,
            "",
        )

    def _kustomization(
        self, objects: list[dict[str, Any]], which: set[ObjectId], names: Mapping[ObjectId, str], *, by_index: bool
    ) -> bytes:
        patches = [
            patch
            for before, after in zip(objects, self._desired(objects), strict=True)
            if id_of(before) in which
            for patch in _kustomize_patches(
                before, after, names.get(id_of(before), id_of(before)[2]), by_index=by_index
            )
        ]
        fields = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": ["rendered.yaml", *self._added_files()],
            **({"patches": patches} if patches else {}),
        }
        head = (
            "# Applied to what Helm renders, by post-render beside this file. Tests come first: other containers than\n"
            "# were hardened are refused. Copies give what fills places the image that its container has by now."
        )
        return "\n".join([head, *render_block(fields, step=2, listed=2), ""]).encode()

    def _added_files(self) -> dict[str, bytes]:
        """Return the file of what no object of the chart stands for: claims."""
        if not self.added:
            return {}
        head = "# Storage that outlives the pods, and the release: Helm keeps it when that is uninstalled.\n"
        texts = ("\n".join([*render_block(item, step=2, listed=2), ""]) for item in self.added)
        return {_ADDED: (head + "---\n".join(texts)).encode()}

    def _try(self, objects: list[dict[str, Any]], which: set[ObjectId], kustomization: bytes) -> tuple[str, bytes]:
        """Return what is wrong with a patch after rendering, and what comes out of it."""
        rendered = "\n---\n".join(render_json(item) for item in objects if not _is_hook(item)).encode()
        try:
            made = self._added_files()
            built = build_with({"kustomization.yaml": kustomization, "rendered.yaml": rendered, **made})
        except EngineRefused as error:
            return str(error), b""
        except EngineUnreachable as error:
            self.notes.append(f"the patch after rendering was not tried: {error}")
            return "", b""
        found = {id_of(item): normal(item) for item in read_objects(built)}
        names = [id_of(item) for item in (*objects, *self.added)]
        for item in (*self._desired(objects), *self.added):
            # what is not to change must not; objects without pods may share a name
            told = id_of(item) in which or (names.count(id_of(item)) == 1 and not _is_hook(item))
            if told and found.get(id_of(item)) != normal(item):
                return "Kustomize makes something else of the patch than was planned", b""
        return "", built

    def _names(self) -> dict[ObjectId, str]:
        """Return the expression that each object's name follows, whatever the release is called."""
        other = "lithify-other"
        try:
            again = read_objects(self.chart.render(release=other))
        except LithifyError:
            return {}
        if len(again) != len(self.old):
            return {}
        found = {}
        for item, twin in zip(self.old, again, strict=True):
            name, renamed = id_of(item)[2], id_of(twin)[2]
            if name != renamed and name.replace(self.chart.release, other) == renamed:
                pattern = ".*".join(part.replace(".", r"\.") for part in name.split(self.chart.release))
                if len(self._alike(id_of(item)[0], pattern)) == 1:
                    found[id_of(item)] = pattern
                else:
                    self.notes.append(f"the patch of {name} is for a release called {self.chart.release} alone")
        return found

    def _alike(self, kind: str, pattern: str) -> list[ObjectId]:
        """Return the objects that a patch of this kind and name would meet."""
        found = map(id_of, self.old)
        return [one for one in found if one[0] == kind and re.fullmatch(pattern, one[2])]

    def _refuse_hooks(self, left: Sequence[Need]) -> list[Refused]:
        reason = "it is a hook, which Helm hands to no post-renderer, and no value of the chart reaches it"
        containers = dict.fromkeys(str(need.place) for need in left if need.place.container)
        objects = {need.place.object for need in left}
        by_hand = "---\n".join(
            "\n".join([*render_block(patch_of(old, new), step=2, listed=2), ""])
            for old, new in zip(self.old, self._desired(self.old), strict=True)
            if id_of(old) in objects
        )
        remedy = "let the chart's template say it, or take values for it"
        return [Refused(container=name, reason=reason, by_hand=by_hand, remedy=remedy) for name in containers]

    def _changes(self, said: Sequence[tuple[Value, Need]], left: Sequence[Need]) -> list[Change]:
        changes = [
            Change(
                container=str(need.place),
                document=0,
                route=value.route,
                text="sets " + ".".join(map(str, value.said(need))),
            )
            for value, need in said
        ]
        after = dict.fromkeys((str(need.place), need.field or "pod") for need in left)
        changes += [
            Change(container=name, document=0, route=(), text=f"patches {field} after rendering")
            for name, field in after
        ]
        return list(dict.fromkeys([*changes, *additions(self.added, ())]))

    @property
    def folder(self) -> str:
        """Where in the chart our files stand; Helm installs a plugin under its folder's name, so no two are alike."""
        return os.path.join(self.chart.folder, self._plugin_name())

    def _plugin_name(self) -> str:
        return "lithify-" + re.sub(r"[^a-z0-9-]+", "-", self.chart.name.lower())

    def _command(self, files: Sequence[PatchedFile], post: bool) -> tuple[str, ...]:
        """Return how the chart is installed from now on."""
        if not files:
            return ()
        words = ["helm", "upgrade", "--install", "RELEASE", self.chart.folder]
        words += [word for path in self.chart.values for word in ("--values", path)]
        ours = next((file.path for file in files if file.path.endswith("values.yaml")), "")
        chart_values = os.path.join(self.chart.folder, "values.yaml")
        if ours and ours not in self.chart.values and os.path.abspath(ours) != os.path.abspath(chart_values):
            words += ["--values", ours]
        if post:
            words += ["--post-renderer", os.path.join(self.folder, "post-render")]
            self.notes.append(
                f"Helm 4 takes a plugin: helm plugin install {self.folder}, then --post-renderer {self._plugin_name()}"
            )
        return tuple(words)


_PLUGIN = """\
apiVersion: v1
type: postrenderer/v1
name: {name}
version: 0.1.0
runtime: subprocess
runtimeConfig:
  platformCommand:
    - command: ${{HELM_PLUGIN_DIR}}/post-render
"""


def _choose(reached: Sequence[Value], wanted: Sequence[Need]) -> dict[Value, list[Need]]:
    """Return which value says which needs: the one that reaches most of the places that need it, and no other."""
    by_want: dict[tuple[str, str, str], list[Need]] = {}
    for need in wanted:
        if need.sayable:
            by_want.setdefault((need.field, need.leaf, repr(need.value)), []).append(need)
    chosen: dict[Value, list[Need]] = {}
    for (field, _, _), alike in by_want.items():
        open_places = {need.place for need in alike}
        fitting = [
            value
            for value in reached
            if value.reaches <= open_places
            and (value.field == field or (value.field == "flag" and field == "securityContext"))
        ]
        # a map before a bare flag, then the widest, then the shortest way
        for value in sorted(fitting, key=lambda v: (v.shape == "flag", -len(v.reaches), len(v.route), str(v.route))):
            mine = [need for need in alike if need.place in value.reaches and need.place in open_places]
            if value.shape == "flag" and any(need.leaf != "readOnlyRootFilesystem" for need in mine):
                continue
            if value.reaches <= open_places and mine:
                chosen.setdefault(value, []).extend(mine)
                open_places -= value.reaches
    return chosen


def _kustomize_patches(
    before: dict[str, Any], after: dict[str, Any], name: str, *, by_index: bool
) -> Iterator[dict[str, Any]]:
    """Yield the entries of `patches:` that make `after` of `before`, and fail where the containers are others."""
    # no namespace: charts write down that of the release, which differs from one to the next
    target = {"kind": id_of(before)[0], "name": name}
    if "/" in str(before.get("apiVersion")):
        group, _, version = str(before["apiVersion"]).partition("/")
        target = {"group": group, "version": version, **target}
    value = patch_of(before, after, by_index=by_index)
    values = [value, list(_images(before, after))]
    if isinstance(value, dict):
        value = {**value, "metadata": {**value["metadata"], "name": before["metadata"]["name"]}}
        value["metadata"].pop("namespace", None)
        # or a container that is not rendered would be made by its patch, without an image
        values = [list(_tests(before, after)), value, values[1]]
    for each in values:
        if each:
            yield {"target": target, "patch": "\n".join([*render_block(each, step=2, listed=2), ""])}


def _tests(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield, as a JSON patch, that each container which is changed stands where it stood."""
    for (route, old), (_, new) in zip(pods_of(before), pods_of(after), strict=True):
        planned = {one["name"]: one for _, _, one in containers_of(new)}
        for key, index, one in containers_of(old):
            if planned.get(one["name"]) != one:
                yield name_test(pointer(*route, key, index), one["name"])


def _images(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield, as a JSON patch, what gives each seed the image of its container, which the next values may change."""
    for (route, old), (_, new) in zip(pods_of(before), pods_of(after), strict=True):
        places = {one["name"]: pointer(*route, key, index) for key, index, one in containers_of(new)}
        for seed, (_, owner) in seeds_of(old, new).items():
            yield name_test(places[owner], owner)
            yield {"op": "copy", "from": f"{places[owner]}/image", "path": f"{places[seed]}/image"}


def _edited(path: str, overlay: dict[str, Any], said: Sequence[tuple[Value, Need]]) -> PatchedFile:
    """Return a values file with the overlay in it: lists that stand there already are added to."""
    data = _read(path)
    editor = Editor(data or b"{}\n")
    draft = editor.draft(0)
    for value in dict.fromkeys(value for value, _ in said):
        wanted = get(overlay, value.route)
        present = draft.get(value.route)
        if value.shape == "list" and isinstance(present, list) and wanted[: len(present)] == present:
            for item in wanted[len(present) :]:
                draft.append(value.route, item)
        elif isinstance(wanted, dict):
            for key, item in wanted.items():
                draft.set((*value.route, key), item)
        else:
            draft.set(value.route, wanted)
    return PatchedFile(path=path, before=data, after=editor.apply())


def _put(item: Any, route: Route, value: Any) -> None:
    for key in route[:-1]:
        item = item[key]
    if route:
        item[route[-1]] = value


def _kept(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object that is to be in the namespace of the release, and to outlive the release."""
    metadata = {key: value for key, value in item["metadata"].items() if key != "namespace"}
    return {**item, "metadata": {**metadata, "annotations": {**(metadata.get("annotations") or {}), **_KEEP}}}


def _is_hook(item: Mapping[str, Any]) -> bool:
    return _HOOK in ((item.get("metadata") or {}).get("annotations") or {})


def _plain(item: Mapping[str, Any]) -> Any:
    """Return an object without its pod specs and annotations, which hold sums over others."""
    made = copy.deepcopy(dict(item))
    for _, pod in list(pods_of(made)):
        pod.clear()

    def strip(value: Any) -> None:
        if isinstance(value, dict):
            value.pop("annotations", None)
            for below in value.values():
                strip(below)

    strip(made)
    return made


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read(16 << 20)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EngineRefused(f"can't read {path}: {error.strerror}", hint="may you read it?") from error
