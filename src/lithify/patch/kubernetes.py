"""Mount plans written into Kubernetes manifests: the flag, and all that keeps the program working under it.

A container of a pod gets `readOnlyRootFilesystem: true`, a volume and a mount for each place of its plan that no mount
of its own serves already, the plan's variables and arguments, and an init container where a place must not start empty
or must have a mode of its own. What the manifest already has is used; what it says against the plan is a refusal.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lithify.documents.edit import Editor, Splice, splice
from lithify.documents.emit import render_block
from lithify.documents.splice import Obstacle, Uneditable
from lithify.model.location import Route
from lithify.model.patch import Change, Patched, Planned, Refused
from lithify.model.workload import may_hold_containers
from lithify.patch.claims import ClaimNames
from lithify.patch.pod import Inapplicable, Options, PodPatch, set_flag

__all__ = ["Options", "by_hand", "flag_edit", "patch"]

_REMEDIES = {
    Obstacle.ALIAS: "write the container out where it stands, or plan for all that share the anchor",
    Obstacle.MERGE: "write the merged entries out where they are used",
    Obstacle.TEMPLATE: "patch the chart's values, or what helm template prints",
    Obstacle.DUPLICATE: "take one of the two keys away: the last one counts",
    Obstacle.CHECK: "this is a form of YAML that lithify does not know: please report it",
    Obstacle.UNREADABLE: "correct the file first: what can't be read can't be changed safely",
}


@dataclass(slots=True)
class _Outcome:
    """What became of one document."""

    changes: list[Change]
    notes: list[str]
    refused: dict[int, Refused]
    """By the position of the container in the list that was asked for."""


def patch(data: bytes, planned: Sequence[Planned], options: Options | None = None) -> Patched:
    """Return the manifest `data` with each plan of `planned` in it; what can't be done safely is refused."""
    options = options or Options()
    try:
        editor = Editor(data, may_hold_containers)
    except Uneditable as error:
        return Patched(text=data, refused=tuple(_refused(one, error, options) for one in planned))
    by_document: dict[int, list[int]] = {}
    for position, one in enumerate(planned):
        by_document.setdefault(one.document, []).append(position)
    refused: dict[int, Refused] = {}
    while True:
        names = ClaimNames(data)
        outcomes = [
            _patch_document(editor, positions, planned, refused, options, names) for positions in by_document.values()
        ]
        try:
            splices = editor.splices()
        except Uneditable as error:
            guilty = _guilty(error, by_document, planned, refused)
            refused.update((position, _refused(planned[position], error, options)) for position in guilty)
            editor.forget_documents()
            continue
        return Patched(
            text=splice(data, splices),
            changes=tuple(change for outcome in outcomes for change in outcome.changes),
            refused=tuple(refused[position] for position in sorted(refused)),
            notes=tuple(dict.fromkeys(note for outcome in outcomes for note in outcome.notes)),
        )


def flag_edit(data: bytes, document: int, route: Route) -> list[Splice]:
    """Return what to change in `data` so that the container at `route` says readOnlyRootFilesystem: true.

    The flag alone breaks programs: this is for a finding's fix, which says so. Uneditable where it can't be said.
    """
    editor = Editor(data, may_hold_containers)
    set_flag(editor.draft(document), route)
    return editor.splices()


def by_hand(planned: Planned, options: Options | None = None) -> str:
    """Return what a person would have to write for a container, as a part of a pod spec."""
    shell: dict[str, object] = {"kind": "Pod", "spec": {"containers": [{"name": planned.container, "image": "IMAGE"}]}}
    route: Route = ("spec", "containers", 0)
    text = "\n".join(render_block(shell, step=2, listed=0)) + "\n"
    editor = Editor(text.encode())
    draft = editor.draft(0)
    try:
        PodPatch(editor, draft, options or Options(), ClaimNames(text.encode())).apply(
            replace(planned, document=0, route=route)
        )
        return editor.apply().decode().split("spec:\n", 1)[1]
    except (Uneditable, Inapplicable):
        return ""


def _patch_document(
    editor: Editor,
    positions: list[int],
    planned: Sequence[Planned],
    refused: dict[int, Refused],
    options: Options,
    names: ClaimNames,
) -> _Outcome:
    """Patch one document, without the containers in `refused`, which grows by those that turn out impossible."""
    given = dict(names.given)
    while True:
        names.given = dict(given)  # a container that is refused after all takes no name from the others
        try:
            draft = editor.fresh(planned[positions[0]].document)
        except Uneditable as error:
            refused.update((position, _refused(planned[position], error, options)) for position in positions)
            return _Outcome([], [], refused)
        wanted = [position for position in positions if position not in refused]
        pod = PodPatch(editor, draft, options, names, [planned[position] for position in wanted])
        for position in wanted:
            try:
                pod.apply(planned[position])
            except (Uneditable, Inapplicable) as error:
                refused[position] = _refused(planned[position], error, options)
                break
        else:
            for claim in pod.claims:
                editor.add_document(claim)
            return _Outcome(pod.changes if draft.changed else [], pod.notes, refused)


def _refused(planned: Planned, error: Uneditable | Inapplicable, options: Options) -> Refused:
    remedy = error.remedy if isinstance(error, Inapplicable) else _REMEDIES.get(error.obstacle, "")
    return Refused(container=planned.container, reason=str(error), by_hand=by_hand(planned, options), remedy=remedy)


def _guilty(
    error: Uneditable, by_document: dict[int, list[int]], planned: Sequence[Planned], refused: dict[int, Refused]
) -> list[int]:
    """Return the containers that an edit which turned out impossible was made for; all of a document if unknown."""
    where = next((positions for number, positions in by_document.items() if number == error.document), [])
    positions = [position for position in where or range(len(planned)) if position not in refused]
    own = [position for position in positions if _touches(planned[position].route, error.route)]
    return own or positions


def _touches(one: Route, other: Route) -> bool:
    """Tell whether one of two routes leads through the other."""
    length = min(len(one), len(other))
    return one[:length] == other[:length]
