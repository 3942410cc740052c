"""Which of a pod's containers a user's check is about."""

import pytest

from lithify.model.pod import Role
from lithify.model.run import Exercise
from lithify.pipeline.groups.pods import find_meant

INIT, SIDECAR, APP = (Role.INIT, [80]), (Role.SIDECAR, [90]), (Role.APP, [80])


@pytest.mark.parametrize(
    ("tcp", "containers", "meant"),
    [
        (None, [INIT, SIDECAR, APP, APP], 2),
        (80, [INIT, SIDECAR, APP], 2),
        (90, [INIT, SIDECAR, APP], 1),
        (70, [SIDECAR, (Role.APP, []), APP], 1),
        (80, [(Role.APP, []), APP], 1),
        (None, [INIT, SIDECAR], None),
    ],
)
def test_it_is_the_one_that_declares_the_port_else_the_first_app(
    tcp: int | None, containers: list[tuple[Role, list[int]]], meant: int | None
) -> None:
    assert find_meant(Exercise(tcp=tcp), containers) == meant
