"""The Indexed Job of `examples/indexed-job`, as it stands: parts on several pods, joined to what one run says."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from bench.corpus import write_corpus
from tests.cluster.cluster import Cluster, wait_for
from tests.runtime.conftest import cached, debootstrap
from tests.runtime.hardening import Lithify

import lithify as package
from lithify.engines.temporary import temporary_folder

EXAMPLES = Path(__file__).parents[2] / "examples" / "indexed-job"
FILES = 120


def build(directory: Path) -> None:
    """Make Debian's Python with what lithify needs; lithify itself comes later, as it changes."""
    debootstrap(directory, "python3")
    wheels = ["--only-binary=:all:", "--python-version=3.11", "--implementation=cp", "PyYAML>=6,<7", "msgspec>=0.18,<1"]
    target = directory / "opt" / "lithify"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", f"--target={target}", *wheels], check=True)
    program = directory / "usr" / "local" / "bin" / "lithify"
    program.write_text('#!/bin/sh\nPYTHONPATH=/opt/lithify exec python3 -m lithify.cli.main "$@"\n')
    program.chmod(0o755)


@pytest.fixture(scope="module")
def image(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image that the example names, with this lithify in it."""
    root = tmp_path_factory.mktemp("image") / "root"
    subprocess.run(["cp", "--archive", cached("python3-lithify", build), root], check=True)
    source = Path(package.__file__).parent
    shutil.copytree(source, root / "opt/lithify/lithify", ignore=shutil.ignore_patterns("__pycache__"))
    try:
        return cluster.import_root("docker.io/library/lithify:latest", root)
    finally:
        shutil.rmtree(root)


def volume(name: str, namespace: str, folder: Path) -> list[dict[str, Any]]:
    """Return a volume in a folder of the node, and the claim to it."""
    size = {"storage": "1Gi"}
    claim = {"namespace": namespace, "name": name}
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": f"{namespace}-{name}"},
            "spec": {
                "capacity": size,
                "accessModes": ["ReadWriteMany"],
                "storageClassName": "",
                "claimRef": claim,
                "hostPath": {"path": str(folder)},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name},
            "spec": {"accessModes": ["ReadWriteMany"], "storageClassName": "", "resources": {"requests": size}},
        },
    ]


def ended(cluster: Cluster, namespace: str, name: str) -> bool:
    """Tell whether a job is complete; the test fails where it failed."""
    found = cluster.get("job", name, "-n", namespace)["status"].get("conditions", [])
    states = {one["type"] for one in found if one["status"] == "True"}
    assert "Failed" not in states, told_by(cluster, namespace)
    return "Complete" in states


def told_by(cluster: Cluster, namespace: str) -> str:
    """Return what can be known of the pods of a namespace."""
    pods = cluster.kubectl("get", "pods", "-n", namespace, "-o", "wide", check=False)
    names = [line.split()[0] for line in pods.splitlines()[1:]]
    logs = [cluster.kubectl("logs", "-n", namespace, name, "--tail=5", check=False) for name in names]
    return "\n".join((pods, *logs))


@pytest.fixture
def disk() -> Iterator[Path]:
    """A folder that pods may read: not pytest's own directory, for the node has a /tmp of its own."""
    with temporary_folder(on_disk=True) as folder:
        folder.chmod(0o755)  # the pods read it as nobody
        yield folder


def test_the_parts_of_a_job_join_to_the_whole(cluster: Cluster, image: str, lithify: Lithify, disk: Path) -> None:
    if cluster.node is None:
        pytest.skip("the volumes are folders of this host")
    manifests, reports = disk / "manifests", disk / "reports"
    reports.mkdir()
    reports.chmod(0o777)
    write_corpus(str(manifests), FILES, 7)
    with cluster.namespace("lithify-test-shards") as namespace:
        volumes = [
            item
            for name, folder in (("manifests", manifests), ("reports", reports))
            for item in volume(name, namespace, folder)
        ]
        try:
            cluster.apply(*volumes, namespace=namespace)
            for name, file in (("lithify-audit", "audit.yaml"), ("lithify-merge", "merge.yaml")):
                job = yaml.safe_load((EXAMPLES / file).read_text())
                # The image is there already, and nowhere else; two cores take two pods at once.
                job["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] = "Never"
                job["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "100m"
                cluster.apply(job, namespace=namespace)
                wait_for(lambda: ended(cluster, namespace, name), 90, lambda: told_by(cluster, namespace))  # noqa: B023
        finally:
            for item in volumes:
                if item["kind"] == "PersistentVolume":
                    cluster.kubectl("delete", "pv", item["metadata"]["name"], "--wait=false", check=False)
    parts = [json.loads((reports / f"{index}.json").read_text()) for index in range(4)]
    assert sum(part["summary"]["inputs"] for part in parts) == FILES
    assert all(0 < part["summary"]["inputs"] < FILES for part in parts)
    joined = json.loads((reports / "audit.json").read_text())
    run = lithify.run("audit", manifests, "--no-cache", "--format=json", "--fail-on=never")
    whole = json.loads(run.out)
    assert joined["summary"] == whole["summary"]

    def told(report: dict[str, Any], below: str) -> list[tuple[str, str, int]]:
        return sorted((f["file"].removeprefix(below), f["rule"], f["line"]) for f in report["findings"])

    assert told(joined, "/manifests/") == told(whole, f"{manifests}/")
    assert (reports / "audit.html").read_text().startswith("<!doctype html>")
    assert len(json.loads((reports / "audit.sarif").read_text())["runs"][0]["results"]) == len(joined["findings"])
