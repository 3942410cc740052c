"""Who a place is tried as."""

from pathlib import PurePosixPath

import pytest
from tests.unit.plan.facts import directory, image, made, write, write_set

from lithify.model.mount import Mount, MountPlan, StorageKind
from lithify.model.writes import Writer
from lithify.pipeline.prove import users_of


def test_a_place_is_tried_as_who_made_its_files() -> None:
    """A daemon that gave up root after it opened its lock is not asked to open it again."""
    seen = write_set(
        write("/opt/x/x.lock", uid=0, gid=0, by="p:33"),
        write("/opt/x/data/f", uid=33, gid=33, by="p:33"),
        write("/opt/x/data/given-away", uid=7, gid=7, writers=(Writer(program="p"),)),  # by nobody knows whom
    )
    mounts = tuple(
        Mount(path=PurePosixPath(path), storage=StorageKind.MEMORY) for path in ("/opt/x/x.lock", "/opt/x/data")
    )
    users = users_of(MountPlan(key=seen.key, container="c", mounts=mounts), seen)
    assert users == {PurePosixPath("/opt/x/x.lock"): [(0, 0)], PurePosixPath("/opt/x/data"): [(33, 33)]}


@pytest.mark.parametrize(
    ("mode", "gid", "users"),
    [
        (0o755, 0, [(0, 0)]),  # its user can make nothing there: root did, and gave it away
        (0o2777, 0, [(33, 33)]),  # what is made there is of the directory's group
        (0o777, 0, [(33, 33)]),  # so it is on some filesystems (grpid)
        (0o2775, 0, [(33, 33)]),  # by a supplementary group
        (0o755, 33, [(33, 33)]),
    ],
)
@pytest.mark.parametrize("of_the_image", [True, False])
def test_a_group_tells_of_root_only_where_the_directory_gave_none(
    mode: int, gid: int, users: list[tuple[int, int]], of_the_image: bool
) -> None:
    """Who is taken for root by mistake is never tried, and the place may be closed to it unnoticed."""
    there = directory(mode=mode, uid=0, gid=0)
    seen = write_set(
        *(() if of_the_image else (made("/var/cache/app", mode=mode, uid=0, gid=0),)),
        write("/var/cache/app/f", uid=33, gid=gid, by="p:33"),
        facts=image({"/var/cache/app": there} if of_the_image else {}),
    )
    place = Mount(path=PurePosixPath("/var/cache/app"), storage=StorageKind.MEMORY)
    assert users_of(MountPlan(key=seen.key, container="c", mounts=(place,)), seen) == {place.path: users}
