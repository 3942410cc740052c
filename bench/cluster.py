"""How `lithify audit --cluster` grows with a cluster: `python -m bench.cluster [--pods 10000]`.

Against a fake API server on loopback, in a process of its own, that serves pods as large as real ones (8 KB), ten to a
Deployment and a hundred to a namespace. Prints pods/s, requests and peak memory for a tenth of the pods and for all of
them; exit code 1 where memory grows by more than a quarter.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from tests.fake_apiserver import Reply, serving, write_config

from bench.audit import measure
from lithify.engines.temporary import temporary_folder

_GOAL = 1.25
_IN_NAMESPACE, _IN_DEPLOYMENT = 100, 10


def pod(number: int) -> dict[str, Any]:
    """Return one pod, as an API server lists it."""
    deployment = number // _IN_DEPLOYMENT
    reference = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": f"web-{deployment}", "controller": True}
    containers: list[dict[str, Any]] = [
        {"name": name, "image": f"registry.example/{name}:1", "resources": {}, "volumeMounts": []}
        for name in ("app", "proxy")
    ]
    return {
        "metadata": {
            "name": f"web-{deployment}-{number}",
            "namespace": f"team-{number // _IN_NAMESPACE:05}",
            "uid": f"uid-{number}",
            "ownerReferences": [reference],
            "managedFields": [{"manager": "kubelet", "fieldsV1": {f"f:field-{n}": {} for n in range(220)}}],
            "annotations": {f"example.com/{n}": "x" * 60 for n in range(12)},
        },
        "spec": {"nodeName": "far", "containers": containers, "volumes": []},
        "status": {"containerStatuses": [{"name": one["name"], "state": {"running": {}}} for one in containers]},
    }


def cluster_of(count: int) -> Any:
    """Return what answers for a cluster of so many pods."""

    def script(_method: str, path: str, query: dict[str, str], _body: Any) -> Reply:
        name = path.rpartition("/")[2]
        if path == "/api/v1/pods":
            first, size = int(query.get("continue") or 0), int(query["limit"])
            more = str(first + size) if first + size < count else ""
            items = [pod(number) for number in range(first, min(first + size, count))]
            return 200, {"metadata": {"continue": more}, "items": items}
        if path == "/apis/apps/v1":
            kinds = (("replicasets", "ReplicaSet"), ("deployments", "Deployment"))
            return 200, {"resources": [{"name": name, "kind": kind, "namespaced": True} for name, kind in kinds]}
        if "/replicasets/" in path:
            owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name, "controller": True}
            template = {"spec": {"containers": [{"name": "app"}]}}
            return 200, {"metadata": {"ownerReferences": [owner]}, "spec": {"template": template}}
        return 200, {"metadata": {}, "pods": []}

    return script


def run(count: int, folder: Path) -> tuple[float, float, int, int]:
    """Return seconds, seconds of processors, peak bytes and requests for an audit of `count` pods."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        with serving(cluster_of(count)) as server:
            os.write(writer, server.address.encode())
            while os.getppid() != 1 and not (folder / "done").exists():
                time.sleep(0.05)
            (folder / "asked").write_text(str(len(server.asked)))
        os._exit(0)
    os.close(writer)
    config = write_config(folder / "config", os.read(reader, 100).decode())
    os.close(reader)
    command = [sys.executable, "-m", "lithify.cli.main", "audit", "--cluster", "--kubeconfig", str(config)]
    seconds, processor, peak = measure([*command, "--fail-on", "never"], dict(os.environ))
    (folder / "done").touch()
    os.waitpid(child, 0)
    return seconds, processor, peak, int((folder / "asked").read_text())


def main() -> int:
    """Measure, print, and return 1 where memory grows with the cluster."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pods", type=int, default=10_000)
    options = parser.parse_args()
    size = len(json.dumps(pod(0)))
    peaks = []
    for count in (options.pods // 10, options.pods):
        with temporary_folder() as folder:
            seconds, processor, peak, asked = run(count, folder)
        peaks.append(peak)
        rate = f"{count / seconds:6.0f} pods/s"
        print(
            f"{count:6} pods of {size / 1e3:.1f} KB: {seconds:6.2f} s, {processor:6.2f} s of processors, {rate}, "
            f"{asked} requests, {peak / 1e6:.1f} MB"
        )
    grown = peaks[1] / peaks[0]
    print(f"{'ok    ' if grown <= _GOAL else 'MISSED'} memory, ten times the pods: {grown:.2f} (at most {_GOAL})")
    return 0 if grown <= _GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
