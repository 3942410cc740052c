"""The cluster that the tests of this folder talk to: a node of their own, or whatever LITHIFY_TEST_KUBECONFIG names."""

import json
import os
import select
import shlex
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.cluster.node import Node, pack_directory, run_kubectl, write_image


@dataclass(frozen=True)
class Cluster:
    """A cluster with an administrator's rights in it."""

    kubeconfig: Path
    programs: Path
    work: Path
    """A directory for what is made on the way."""
    node: Node | None = None
    """The node it is, where that runs on this host: pods' processes and upper layers are in reach."""

    def kubectl(self, *words: str, stdin: str | None = None, check: bool = True, timeout: float = 60) -> str:
        """Return what kubectl printed; an assertion fails, with its error, where it failed."""
        return run_kubectl(self.programs, self.kubeconfig, *words, stdin=stdin, check=check, timeout=timeout)

    def get(self, *words: str) -> Any:
        """Return what `kubectl get` says, decoded."""
        return json.loads(self.kubectl("get", *words, "--output=json"))

    def apply(self, *documents: Mapping[str, Any], namespace: str) -> None:
        """Make or change objects."""
        listed = {"apiVersion": "v1", "kind": "List", "items": documents}
        self.kubectl("apply", "--namespace", namespace, "--filename=-", stdin=json.dumps(listed))

    @contextmanager
    def namespace(self, name: str) -> Iterator[str]:
        """Give a namespace of one test, gone with everything in it at the end."""
        self.kubectl("create", "namespace", name)
        try:
            wait_for(lambda: self.kubectl("get", "-n", name, "serviceaccount", "default", check=False), 30)
            yield name
        finally:
            self.kubectl("delete", "namespace", name, "--wait=true", timeout=120)

    def as_account(self, name: str, namespace: str) -> Path:
        """Return a kubeconfig with the rights of a service account."""
        token = self.kubectl("create", "token", name, "-n", namespace).strip()
        content = json.loads(self.kubectl("config", "view", "--raw", "--minify", "--output=json"))
        content["users"][0]["user"] = {"token": token}
        path = self.work / f"{namespace}-{name}"
        path.write_text(json.dumps(content))
        return path

    def import_image(self, archive: Path) -> None:
        """Make the image in `archive` known to every node; `imagePullPolicy: Never` finds it."""
        if self.node is not None:
            self.node.import_image(archive)
            return
        command = os.environ.get("LITHIFY_TEST_IMPORT")
        if not command:
            pytest.skip("LITHIFY_TEST_IMPORT names no command that takes an image archive to the nodes of this cluster")
        subprocess.run([*shlex.split(command), archive], check=True, timeout=600)

    def import_root(self, name: str, root: Path, *, beside: Sequence[Node] = (), **config: object) -> str:
        """Make the root filesystem in the directory `root` an image of the nodes, with `config` as Docker spells it."""
        layer = pack_directory(root, self.work / "layer.tar")
        archive = self.work / "image.tar"
        try:
            write_image(archive, name, [layer], config)
            self.import_image(archive)
            for node in beside:
                node.import_image(archive)
        finally:
            layer.unlink()
            archive.unlink(missing_ok=True)
        return name


@contextmanager
def forwarder(cluster: Cluster, server: socket.socket | None = None) -> Iterator[tuple[Path, Callable[[], None]]]:
    """Give a kubeconfig that leads to the API server by a detour, and what cuts that off.

    The detour is by a port of ours, or one that a `server` on a loopback elsewhere listens at.
    """
    content = json.loads(cluster.kubectl("config", "view", "--raw", "--minify", "--flatten", "--output=json"))
    entry = content["clusters"][0]["cluster"]
    address = urlsplit(entry["server"])
    ends: list[socket.socket] = []
    with closing(server or socket.create_server(("127.0.0.1", 0))) as listening:
        port = listening.getsockname()[1]
        entry["server"] = f"https://127.0.0.1:{port}"
        entry["tls-server-name"] = str(address.hostname)
        kubeconfig = cluster.work / f"detour-{port}"
        kubeconfig.write_text(json.dumps(content))

        def accept() -> None:
            while True:
                try:
                    near = listening.accept()[0]
                except OSError:
                    return
                far = socket.create_connection((address.hostname or "", address.port or 443))
                ends.extend((near, far))
                threading.Thread(target=pump, args=(near, far), daemon=True).start()

        def pump(near: socket.socket, far: socket.socket) -> None:
            try:
                while True:
                    for one in select.select([near, far], [], [])[0]:
                        data = one.recv(1 << 16)
                        if not data:
                            return
                        (far if one is near else near).sendall(data)
            except (OSError, ValueError):
                return
            finally:
                near.close()
                far.close()

        def cut() -> None:
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            listening.close()
            for end in ends:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

        threading.Thread(target=accept, daemon=True).start()
        yield kubeconfig, cut
        cut()
        for end in ends:
            end.close()


def left_behind(cluster: Cluster) -> list[str]:
    """Return the scratch namespaces whose lithify is gone; somebody else's that still runs may use the cluster too."""
    found = cluster.get("namespaces", "--selector=dev.lithify.run")["items"]
    owners = {one["metadata"]["name"]: one["metadata"]["labels"]["dev.lithify.owner"] for one in found}
    return [name for name, owner in owners.items() if not Path("/proc", owner.partition("-")[0]).exists()]


def wait_for(holds: Callable[[], object], seconds: float = 60, what: Callable[[], str] = lambda: "") -> None:
    """Wait until `holds` does; fails the test, with the words of `what`, where it never does."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"waited {seconds:.0f} s in vain {what()}"
        time.sleep(0.2)
