"""The cover is exact: dynamic programming finds what trying everything finds."""

from collections.abc import Sequence
from itertools import product
from pathlib import PurePosixPath

from hypothesis import given, settings
from hypothesis import strategies as st

from lithify.model.image import EntryType
from lithify.model.mount import PathClass
from lithify.model.writes import Change, Write
from lithify.plan.classify import Classified
from lithify.plan.cover import Above, Choice, Means, Node, serve_cost, solve
from lithify.plan.needs import Need, Seen


def need(path: PurePosixPath, path_class: PathClass, *, optional: bool) -> Need:
    write = Write(path=path / "name", change=Change.CREATED, type=EntryType.FILE)
    seen = Seen(write=write, classified=Classified(path_class=path_class, certain=True, because=""))
    return Need(
        path=path,
        seen=(seen,),
        classes=frozenset({path_class}),
        persistent=path_class is PathClass.STATE,
        optional=optional,
    )


@st.composite
def trees(draw: st.DrawFn) -> list[Node]:
    nodes: list[Node] = []
    for index in range(draw(st.integers(1, 6))):
        parent = draw(st.integers(-1, index - 1))
        outer = nodes[parent].path if parent >= 0 else PurePosixPath("/")
        path = outer / str(index)
        classes = draw(st.lists(st.sampled_from(list(PathClass)), max_size=2))
        needs = [need(path, path_class, optional=draw(st.booleans())) for path_class in classes]
        choices = draw(
            st.lists(
                st.builds(
                    lambda means, kind, cost, nested: Choice(means=means, kind=kind, cost=cost, nested_cost=nested),
                    st.sampled_from(list(Means)),
                    st.sampled_from([Above.ENDING, Above.STAYING]),
                    st.integers(1, 60),
                    st.integers(1, 30),
                ),
                max_size=3,
            )
        )
        nodes.append(Node(path=path, parent=parent, needs=needs, choices=choices))
    return nodes


def weigh(nodes: Sequence[Node], made: Sequence[Choice | None]) -> int | None:
    """Return what a combination of choices weighs; None where one of them lies below a redirect."""
    cost = 0
    outer: list[Choice | None] = []
    for node, choice in zip(nodes, made, strict=True):
        above = outer[node.parent] if node.parent >= 0 else None
        if choice is not None:
            if above is not None and above.means is Means.REDIRECT:
                return None
            cost += choice.cost if above is None else choice.nested_cost
        holder = choice or above
        outer.append(above if choice is not None and choice.means is Means.FILES else holder)
        cost += sum(serve_cost(need, holder.kind if holder else Above.NOTHING) for need in node.needs)
    return cost


@given(trees())
@settings(max_examples=300, deadline=None)
def test_no_combination_of_choices_weighs_less(nodes: list[Node]) -> None:
    """The solution weighs what it says, and no other weighs less."""
    solution = solve(nodes)
    everything = product(*[[None, *node.choices] for node in nodes])
    weights = [weight for made in everything if (weight := weigh(nodes, made)) is not None]
    assert solution.cost == min(weights)
    assert weigh(nodes, solution.made) == solution.cost


def test_a_tie_goes_to_the_deeper_place() -> None:
    """Where parent and child weigh the same, the directory that is written is the place."""
    place = Choice(means=Means.PLACE, kind=Above.ENDING, cost=16, nested_cost=16)
    child = need(PurePosixPath("/a/b"), PathClass.SCRATCH, optional=False)
    nodes = [
        Node(path=PurePosixPath("/a"), parent=-1, choices=[place]),
        Node(path=PurePosixPath("/a/b"), parent=0, needs=[child], choices=[place]),
    ]
    assert solve(nodes).made == (None, place)
