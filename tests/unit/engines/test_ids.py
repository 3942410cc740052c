"""How the users of a container are numbered on the host."""

import os

import pytest

from lithify.engines.command_line.docker import remapped_ids
from lithify.engines.ids import IdMap


def test_ids_go_both_ways_and_strangers_stay() -> None:
    ids = IdMap(uids=((0, 1000, 1), (1, 100000, 65535)), gids=((0, 200000, 65536),))
    assert [ids.uid(host) for host in (1000, 100000, 100032)] == [0, 1, 33]
    assert [ids.host_uid(inside) for inside in (0, 1, 33)] == [1000, 100000, 100032]
    assert (ids.gid(200005), ids.host_gid(5)) == (5, 200005)
    assert ids.uid(7) == 7
    assert ids.changes


def test_the_own_namespace_changes_nothing() -> None:
    ids = IdMap.read(os.getpid())
    assert (ids.uid(33), ids.host_gid(33)) == (33, 33)
    assert IdMap.read(2**22 + 1) == IdMap()


@pytest.mark.parametrize(
    ("directory", "options", "changes"),
    [
        ("/var/lib/docker/500000.600000", ["name=seccomp,profile=builtin", "name=userns"], True),
        ("/var/lib/docker", ["name=userns"], False),
        ("/srv/10.20", ["name=seccomp"], False),
        (None, None, False),
    ],
)
def test_a_daemon_that_remaps_is_known_by_its_own_words(
    directory: str | None, options: list[str] | None, changes: bool
) -> None:
    ids = remapped_ids({"DockerRootDir": directory, "SecurityOptions": options})
    assert ids.changes == changes
    assert not changes or (ids.uid(500033), ids.gid(600004)) == (33, 4)
