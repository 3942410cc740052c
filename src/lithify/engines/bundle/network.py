"""A network of two for each bundle container: the host and it, joined by a veth pair, reaching nothing else.

Nothing else of the host's network changes: no bridge, no forwarding, no packet filter. The pair is the container's:
when its network namespace goes, the kernel takes both ends away.
"""

import ipaddress
import itertools
import json
import os
import random
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from lithify.engines import process
from lithify.engines.process import Result
from lithify.errors import EngineUnreachable

RANGE = IPv4Network("198.18.0.0/15")
"""Set aside for tests between two devices (RFC 2544): no host should have a route there."""
_TRIES = 64
LONELY = "the container has a network of its own and the host can't reach it: "


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """The host's end of a container's network."""

    name: str
    network: IPv4Network

    @property
    def host(self) -> IPv4Address:
        """The host's address in it."""
        return self.network[1]

    @property
    def container(self) -> IPv4Address:
        """The container's address in it."""
        return self.network[2]


def connect(pid: int, name: str) -> Link | str:
    """Join the network namespace of process `pid` to the host's by a new link `name`; say why not, where that fails."""
    try:
        program = process.find("ip", package="iproute2")
        enter = process.find("nsenter", package="util-linux")
    except EngineUnreachable as missing:
        return f"{LONELY}{missing}"
    taken = _taken(program)
    free = (IPv4Network((int(RANGE[0]) + 4 * random.randrange(1 << 15), 30)) for _ in range(_TRIES))  # noqa: S311
    for network in free:
        if any(network.overlaps(other) for other in taken):
            continue
        link = Link(name=name, network=network)
        result = _make(program, enter, link, pid)
        if result.code == 0:
            return link
        disconnect(name)
        return f"{LONELY}{result.message.splitlines()[0] if result.message else 'ip failed'}"
    return f"{LONELY}no address in {RANGE} is free"


def _make(program: str, enter: str, link: Link, pid: int) -> Result:
    outside = (
        f"link add {link.name} type veth peer name eth0 netns {pid}\n"
        f"address add {link.host}/30 dev {link.name}\n"
        f"link set {link.name} up\n"
    )
    # the way out leads to the host, which does not forward it: a program that asks for its own address finds one
    inside = (
        "link set lo up\n"
        f"address add {link.container}/30 dev eth0\n"
        "link set eth0 up\n"
        f"route add default via {link.host}\n"
    )
    result = process.run([program, "-batch", "-"], input=outside.encode())
    if result.code != 0:
        return result
    return process.run([enter, f"--net=/proc/{pid}/ns/net", program, "-batch", "-"], input=inside.encode())


def disconnect(name: str) -> None:
    """Take a link away if it is still there."""
    if os.path.exists(f"/sys/class/net/{name}"):
        process.run(["ip", "link", "delete", name])


def _taken(program: str) -> list[IPv4Network]:
    """Return the networks that this host already routes, the default route left out."""
    result = process.run([program, "-json", "-4", "route", "show", "table", "all"])
    try:
        routes = json.loads(result.stdout or b"[]")
    except ValueError:
        return []
    taken = []
    for route in routes:
        try:
            network = ipaddress.ip_network(route.get("dst", ""), strict=False)
        except ValueError:  # 'default'
            continue
        if isinstance(network, IPv4Network) and network.prefixlen:
            taken.append(network)
    return taken


def local_address(pid: int) -> str | None:
    """Return an address of process `pid` other than loopback, by its network namespace; None where it has none."""
    try:
        lines = Path(f"/proc/{pid}/net/fib_trie").read_text(encoding="ascii", errors="replace").splitlines()
        shared = os.stat(f"/proc/{pid}/ns/net").st_ino == os.stat("/proc/self/ns/net").st_ino
    except OSError:
        return None
    if shared:
        return "127.0.0.1"
    for line, following in itertools.pairwise(lines):
        if "host LOCAL" in following:
            address = line.split()[-1]
            if not address.startswith("127."):
                return address
    return None
