"""The config.json that is made for a container."""

import json
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from lithify.engines.bundle.spec import CAPABILITIES, ProcessSpec, Spec, SpecMount, bind
from lithify.engines.images.rootfs import User


def render(*mounts: SpecMount, user: User | None = None, **fields: Any) -> dict[str, Any]:
    process = ProcessSpec(
        arguments=("/app", "--x"),
        environment={"A": "b=c"},
        working_directory=PurePosixPath("/srv"),
        user=user or User(uid=0, gid=0),
    )
    spec = Spec(root=Path("/root/fs"), read_only=True, process=process, hostname="h", mounts=mounts, **fields)
    rendered = spec.render()
    assert json.loads(json.dumps(rendered)) == rendered
    return rendered


def test_parents_are_mounted_before_what_is_in_them() -> None:
    deep = bind(PurePosixPath("/run/a/b"), Path("/deep"))
    seed = bind(PurePosixPath("/run"), Path("/seed"), "ro")
    memory = SpecMount(destination=PurePosixPath("/run"), type="tmpfs", source="tmpfs", options=("tmpcopyup",))
    order = [(mount["destination"], mount["type"]) for mount in render(deep, seed, memory)["mounts"]]
    assert order.index(("/run", "bind")) < order.index(("/run", "tmpfs")) < order.index(("/run/a/b", "bind"))
    assert order.index(("/dev", "tmpfs")) < order.index(("/dev/shm", "tmpfs"))


def test_a_mount_of_the_plan_takes_the_place_of_the_kernels() -> None:
    own = SpecMount(destination=PurePosixPath("/dev/shm"), type="tmpfs", source="mine")
    shared = [mount for mount in render(own)["mounts"] if mount["destination"] == "/dev/shm"]
    assert [mount["source"] for mount in shared] == ["mine"]


@pytest.mark.parametrize(("uid", "held"), [(0, CAPABILITIES), (1000, ())])
def test_only_root_holds_capabilities(uid: int, held: tuple[str, ...]) -> None:
    process = render(user=User(uid=uid, gid=7, groups=(8, 9)))["process"]
    assert process["user"] == {"uid": uid, "gid": 7, "additionalGids": [8, 9]}
    assert tuple(process["capabilities"]["effective"]) == held
    assert tuple(process["capabilities"]["bounding"]) == CAPABILITIES
    assert process["env"] == ["A=b=c"]


def test_limits_and_cgroups() -> None:
    without = render()
    assert "cgroupsPath" not in without["linux"]
    assert not any(mount["type"] == "cgroup" for mount in without["mounts"])
    assert "hooks" not in without
    with_all = render(cgroup="/c", memory=1 << 20, modes={0o2775: [PurePosixPath("/run/x")]})
    assert with_all["linux"]["cgroupsPath"] == "/c"
    assert with_all["linux"]["resources"]["memory"]["limit"] == 1 << 20
    hook = with_all["hooks"]["createContainer"][0]
    assert hook["args"] == ["chmod", "2775", "--", "/root/fs/run/x"]
    rules = with_all["linux"]["resources"]["devices"]
    assert rules[0] == {"allow": False, "access": "rwm"}
