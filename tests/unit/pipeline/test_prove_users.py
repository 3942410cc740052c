"""Who a place is tried as."""

from pathlib import PurePosixPath

from tests.unit.plan.facts import write, write_set

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
