"""What of the user's a trial container is kept from."""

import shlex

import pytest

from lithify.engines.command_line.runline import parse_run_line
from lithify.engines.command_line.stand_in import apart


@pytest.mark.parametrize(
    ("options", "kept_from"),
    [
        ("", ()),
        ("--network bridge", ()),
        ("--net=none", ()),
        ("--network shop", ("network shop",)),
        ("--network name=shop,alias=web --network other", ("network shop", "network other")),
        ("--network shop:ip=10.1.2.3", ("network shop",)),
        ("--net host", ("network host",)),
        ("--network container:db", ("network container:db",)),
        ("--link db:database", ("container db",)),
    ],
)
def test_networks_of_the_users_are_not_joined(options: str, kept_from: tuple[str, ...]) -> None:
    line = parse_run_line(["docker", "run", *shlex.split(options), "image", "command"])
    alone, left = apart(line)
    assert left == kept_from
    assert alone.values("network", "net", "link") == (line.values("network", "net", "link") if not left else ())


def test_podmans_own_networks_count_as_nobodys() -> None:
    line = parse_run_line(["podman", "run", "--network", "slirp4netns:allow_host_loopback=true", "image"])
    assert apart(line) == (line, ())
