"""Picks the places: the fewest of least weight that serve every need, exactly, by dynamic programming on the tree.

Candidates are the directories that are written, their common parents as far as nothing forbids them, single files where
mounts of those can work, and paths that a variable or option moves. A parent with only one needy child is never better
than the child, so the tree holds just the needs, what was rejected, and the points where their paths part: its size
follows the number of written directories, not the depth of their paths.

For each node the least cost is known for three situations: nothing above it is mounted, something that ends with the
container is, or something that stays is. A place below another one costs its own weight without the image entries,
which the outer place has exposed already. Ties go to the deeper place, then to storage that ends with the container.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from itertools import pairwise
from pathlib import PurePosixPath

from lithify.model.image import EntryType
from lithify.model.mount import PathClass, Seed
from lithify.model.path import ROOT
from lithify.model.writes import Change
from lithify.plan.ground import Ground, place_label
from lithify.plan.needs import Need
from lithify.plan.redirect import Option
from lithify.plan.seed import Footprint, choose_seed, counts, footprint
from lithify.plan.settings import PlanSettings, StateDecision

PLACE = 16
"""A mount: a line in somebody's manifest, and one more directory to attack."""
KEPT = 4
"""More for storage that stays: somebody has to look after it."""
UPWARD = 16
"""More for a directory in which the program makes no names itself: worth it from three needy children on."""
FILE = 4
"""A file of the image that becomes writable: a dot file of a home is run by every shell."""
DIRECTORY = 1
"""A directory of the image in which names can be made."""
HIDDEN = 8
"""An entry of the image that disappears."""
SEED_UNIT = 256 << 10
"""Bytes to copy at a start that weigh 1."""
EXECUTABLE = 200
"""A program of the image that becomes writable."""
HEAVIEST = 10**7
"""No place weighs more, so that even the worst one is better than a refusal."""
REDIRECT = 120
"""A variable or option that moves a write: worth it where a place would expose or hide dozens of entries."""
UNSURE = 60
"""More for one that only a table names."""
SINGLE = 600
"""A mount of one file: breaks with the first editor or library that writes a new file and renames it."""
KEPT_TOO_LONG = {PathClass.RUNTIME: 18, PathClass.SCRATCH: 6, PathClass.CACHE: 6, PathClass.LOG: 6}
"""What it weighs that something short-lived lands on storage that stays. A stale pid file is worth a place of its own:
it can stop the next start."""
REFUSED = 10**9
IMPOSSIBLE = 10**15


class Above(IntEnum):
    """What the nearest place at or above a node is."""

    NOTHING = 0
    ENDING = 1
    """Storage that ends with the container."""
    STAYING = 2
    """Storage that outlives it."""


class Means(IntEnum):
    """How a choice serves what is below it."""

    PLACE = 0
    FILES = 1
    REDIRECT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One thing that can be done at a node."""

    means: Means
    kind: Above
    cost: int
    nested_cost: int
    """What it costs below another place."""
    option: Option | None = None


@dataclass(slots=True, kw_only=True)
class Node:
    """A path of the tree, with what is needed right there."""

    path: PurePosixPath
    parent: int
    needs: list[Need] = field(default_factory=list)
    choices: Sequence[Choice] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A choice that was made, with the needs it serves."""

    path: PurePosixPath
    means: Means
    staying: bool
    needs: tuple[Need, ...]
    option: Option | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cover:
    """Where every need is served, or that it is not."""

    places: tuple[Place, ...]
    unserved: tuple[Need, ...]
    cost: int


def serve_cost(need: Need, above: Above) -> int:
    """Return what it weighs that `need` meets the situation `above`."""
    if above is Above.NOTHING:
        return 0 if need.optional else REFUSED
    if above is Above.ENDING:
        return IMPOSSIBLE if need.persistent else 0
    return max((KEPT_TOO_LONG.get(c, 0) for c in need.classes), default=0) if not need.persistent else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """The least cost, and what was chosen for it."""

    cost: int
    made: tuple[Choice | None, ...]
    """For each node the choice made there."""
    holders: tuple[int, ...]
    """For each node the node whose choice serves its needs; -1 where nothing does."""


def solve(nodes: Sequence[Node]) -> Solution:
    """Return the choices of least cost. `nodes` stand parents first; one without a parent has -1 for it.

    What a redirect moves is elsewhere afterwards, so no place below it can serve anything; mounts of single files serve
    nothing but their own node.
    """
    own = [[sum(serve_cost(need, above) for need in node.needs) for above in Above] for node in nodes]
    flat = [list(costs) for costs in own]
    best = [list(costs) for costs in own]
    chosen: list[list[Choice | None]] = [[None, None, None] for _ in nodes]
    for index in range(len(nodes) - 1, -1, -1):
        # Children come later in the order, so their costs have been added already.
        node, plain, moved = nodes[index], list(best[index]), flat[index]
        for above in Above:
            for choice in node.choices:
                if choice.means is Means.FILES:
                    inner = own[index][choice.kind] + plain[above] - own[index][above]
                else:
                    inner = (moved if choice.means is Means.REDIRECT else plain)[choice.kind]
                total = inner + (choice.cost if above is Above.NOTHING else choice.nested_cost)
                if total < best[index][above]:
                    best[index][above] = total
                    chosen[index][above] = choice
        if node.parent >= 0:
            for above in Above:
                best[node.parent][above] += best[index][above]
                flat[node.parent][above] += moved[above]
    cost = sum(best[index][Above.NOTHING] for index, node in enumerate(nodes) if node.parent < 0)
    return _trace(nodes, chosen, cost)


def _trace(nodes: Sequence[Node], chosen: Sequence[Sequence[Choice | None]], cost: int) -> Solution:
    made: list[Choice | None] = [None] * len(nodes)
    holders = [-1] * len(nodes)
    passed = [-1] * len(nodes)  # what serves the nodes below
    for index, node in enumerate(nodes):
        holder = passed[node.parent] if node.parent >= 0 else -1
        outer = made[holder] if holder >= 0 else None
        if outer is None or outer.means is not Means.REDIRECT:
            made[index] = chosen[index][outer.kind if outer is not None else Above.NOTHING]
        choice = made[index]
        holders[index] = holder if choice is None else index
        passed[index] = holder if choice is None or choice.means is Means.FILES else index
    return Solution(cost=cost, made=tuple(made), holders=tuple(holders))


def cover(needs: Sequence[Need], options: dict[PurePosixPath, Option], ground: Ground, settings: PlanSettings) -> Cover:
    """Return the places of least weight that serve `needs`."""
    nodes = _tree(needs, options, settings)
    _offer(nodes, options, ground, settings)
    solution = solve(nodes)
    serving: dict[int, list[Need]] = {}
    unserved: list[Need] = []
    for holder, node in zip(solution.holders, nodes, strict=True):
        if holder >= 0:
            serving.setdefault(holder, []).extend(node.needs)
        else:
            unserved.extend(node.needs)
    places = [
        Place(
            path=nodes[index].path,
            means=choice.means,
            staying=choice.kind is Above.STAYING,
            needs=tuple(serving[index]),
            option=choice.option,
        )
        for index, choice in enumerate(solution.made)
        if choice is not None and serving.get(index)
    ]
    return Cover(places=tuple(places), unserved=tuple(unserved), cost=solution.cost)


def _tree(needs: Sequence[Need], options: dict[PurePosixPath, Option], settings: PlanSettings) -> list[Node]:
    """Return the nodes, parents first: needs, what options move, and the points where paths part."""
    by_path: dict[tuple[str, ...], list[Need]] = {}
    for need in needs:
        by_path.setdefault(need.path.parts, []).append(need)
        if need.single:
            by_path.setdefault(need.path.parent.parts, [])
        elif place_label(need.path) in settings.rejected:
            above = need.path.parent
            while place_label(above) in settings.rejected:
                above = above.parent
            by_path.setdefault(above.parts, [])
    for path in options:
        by_path.setdefault(path.parts, [])
    ordered = sorted(by_path)
    for left, right in pairwise(ordered):
        by_path.setdefault(left[: _common(left, right)], [])
    nodes: list[Node] = []
    stack: list[int] = []
    for parts in sorted(by_path):
        while stack and not _begins(parts, nodes[stack[-1]].path.parts):
            stack.pop()
        needed = by_path[parts]
        path = needed[0].path if needed else PurePosixPath(*parts)
        nodes.append(Node(path=path, parent=stack[-1] if stack else -1, needs=needed))
        stack.append(len(nodes) - 1)
    return nodes


def _common(left: tuple[str, ...], right: tuple[str, ...]) -> int:
    """Return how many parts two different paths, in their order, begin with together."""
    length = len(left) - 1
    if left[:length] == right[:length]:  # mostly, for they are sorted
        return length + (left[-1:] == right[length : length + 1])
    length = 0
    for a, b in zip(left, right, strict=False):
        if a != b:
            break
        length += 1
    return length


def _begins(parts: tuple[str, ...], start: tuple[str, ...]) -> bool:
    return parts[: len(start)] == start


@dataclass(slots=True)
class _Below:
    """What all needs at and below a node come to."""

    classes: frozenset[PathClass] = frozenset()
    used: bool = False
    lossy: bool = False
    """Image content would be needed at the new place of a redirect, which can't have it."""


def _offer(nodes: list[Node], options: dict[PurePosixPath, Option], ground: Ground, settings: PlanSettings) -> None:
    below = [_Below() for _ in nodes]
    direct = [False] * len(nodes)
    # What the user keeps has a place of its own; what else is written above it does not have to stay as well.
    kept = {node.path for node in nodes if settings.state_decisions.get(node.path) is StateDecision.VOLUME}
    parted = {above for path in kept for above in path.parents}
    for index in range(len(nodes) - 1, -1, -1):
        node, sums = nodes[index], below[index]
        for need in node.needs:
            sums.classes |= need.classes
            used = uses_image(need)
            sums.used |= used
            sums.lossy |= used and not need.classes <= {PathClass.CACHE, PathClass.SCRATCH, PathClass.LOG}
            direct[index] |= not need.single
        if node.parent >= 0:
            outer = below[node.parent]
            outer.classes |= sums.classes
            outer.used |= sums.used
            outer.lossy |= sums.lossy
            # A single file, and a directory that was made, are names in their parent.
            is_name = any(need.single or need.made for need in node.needs)
            direct[node.parent] |= is_name and len(nodes[node.parent].path.parts) == len(node.path.parts) - 1
        node.choices = _choices(node, sums, direct[index], options.get(node.path), ground, settings)
        if node.path in parted and node.needs and not any(need.persistent for need in node.needs):
            node.choices = [choice for choice in node.choices if choice.kind is not Above.STAYING]


def uses_image(need: Need) -> bool:
    """Tell whether files of the image were opened, changed or replaced there."""
    return any(
        s.write.change in (Change.CHANGED, Change.OPENED)
        or (s.write.change in (Change.REPLACED, Change.METADATA) and s.write.type is not EntryType.DIRECTORY)
        for s in need.seen
    )


def _choices(
    node: Node, below: _Below, written: bool, option: Option | None, ground: Ground, settings: PlanSettings
) -> list[Choice]:
    choices: list[Choice] = []
    # Where a file and a directory of one path were written, it is about the directory.
    single = next(iter(node.needs)) if node.needs and all(need.single for need in node.needs) else None
    if single is None and node.path != ROOT and ground.objection(node.path, written=written) is None:
        print_ = footprint(ground.entry(node.path))
        seed = choose_seed(node.path, print_, below.classes, used=below.used, settings=settings)
        choices.extend(_places(PLACE + (0 if written else UPWARD), min(HEAVIEST, weigh_image(print_, seed))))
    if option is not None and option.label not in settings.rejected and not below.lossy:
        hidden = footprint(ground.entry(node.path)).files if single is None else 0
        weight = PLACE + REDIRECT + (0 if option.certain else UNSURE) + min(HEAVIEST, HIDDEN * hidden)
        for kind, more in ((Above.ENDING, 0), (Above.STAYING, KEPT)):
            cost = weight + more
            choices.append(Choice(means=Means.REDIRECT, kind=kind, cost=cost, nested_cost=cost, option=option))
    if single is not None and single.files:
        kind = Above.STAYING if single.persistent else Above.ENDING
        cost = SINGLE * len(single.files)
        choices.append(Choice(means=Means.FILES, kind=kind, cost=cost, nested_cost=cost))
    return choices


@lru_cache(maxsize=1024)
def _places(weight: int, image: int) -> tuple[Choice, ...]:
    """Return the places that weigh so much, with so much of it for what the image has there."""
    return tuple(
        Choice(means=Means.PLACE, kind=kind, cost=weight + more + image, nested_cost=weight + more)
        for kind, more in ((Above.ENDING, 0), (Above.STAYING, KEPT))
    )


def weigh_image(print_: Footprint, seed: Seed) -> int:
    """Return what the image's share of a place weighs."""
    if seed is Seed.NONE:
        return 0
    _, hidden, size = counts(print_, seed)
    files, executables = (print_.files, print_.executables) if seed is Seed.CONTENT else (0, 0)
    return (
        FILE * files + DIRECTORY * print_.directories + HIDDEN * hidden + EXECUTABLE * executables + size // SEED_UNIT
    )
