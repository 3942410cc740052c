"""The network between the host and one container."""

import os
from ipaddress import IPv4Network

import pytest

from lithify.engines.bundle.network import RANGE, Link, connect, disconnect, local_address


def test_a_link_has_two_ends() -> None:
    link = Link(name="x", network=IPv4Network("198.18.0.4/30"))
    assert (str(link.host), str(link.container)) == ("198.18.0.5", "198.18.0.6")
    assert link.network.subnet_of(RANGE)


def test_without_ip_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    why = connect(os.getpid(), "li-test")
    assert isinstance(why, str)
    assert "ip is not installed" in why


def test_a_link_that_can_not_be_made_leaves_nothing() -> None:
    before = set(os.listdir("/sys/class/net"))
    why = connect(2**22, "li-test")
    assert isinstance(why, str)
    assert why.isprintable()
    assert set(os.listdir("/sys/class/net")) == before
    disconnect("li-test")


def test_our_own_namespace_is_reached_by_loopback() -> None:
    assert local_address(os.getpid()) == "127.0.0.1"
    assert local_address(2**22) is None
