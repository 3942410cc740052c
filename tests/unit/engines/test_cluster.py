"""Which process is taken for a container's own; real ones are looked for in `tests/cluster`."""

from typing import Any, cast

from lithify.engines.kubernetes.engine import MemberContainer
from lithify.engines.node.kubelet import Sighting, identity

FIRST, SECOND = "a1" * 32, "b2" * 32


class FakeFinder:
    """Finds what it is told to."""

    def __init__(self) -> None:
        self.found: Sighting | None = None

    def find(self, uid: str, but: tuple[int, int] | None) -> Sighting | None:
        del uid
        return None if self.found is None or self.found.process == but else self.found


def test_a_probe_that_outlives_what_it_probed_is_no_new_start() -> None:
    """The thread that a process is named by ends before its last one, and only that takes the others along."""
    finder = FakeFinder()
    container = MemberContainer(cast(Any, None))
    found = []
    for process, by in (((10, 1), FIRST), ((11, 2), FIRST), ((12, 3), SECOND)):
        finder.found = Sighting(process=process, identity=by, layer=None, volumes=())
        found.append(container._find(cast(Any, finder), container._process))
    assert found == [True, False, True]
    assert container._process == (12, 3)


def test_the_innermost_container_is_the_one() -> None:
    """As where the node itself is a container of Docker's."""
    assert identity(f"3:cpu:/docker/{FIRST}/kubelet/kubepods/pod7/{SECOND}\n") == SECOND
    assert identity("0::/user.slice\n") == ""
