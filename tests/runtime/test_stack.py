"""A patched stack on a real Swarm, in a network namespace of its own: what Swarm keeps is enough to work."""

import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.runtime.hardening import Daemon, daemon
from tests.runtime.test_formats import lithify

from lithify.engines.temporary import temporary_folder

STACK = """\
version: "3.8"
services:
  web:   # the shop
    image: IMAGE
    tmpfs: [/scratch]
    networks: [host]
networks:
  host: {external: true, name: host}   # Swarm's own need a kernel module
"""


def test_a_patched_stack_runs_read_only_on_a_swarm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, docker_nginx: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "stack.yml"
    path.write_text(STACK.replace("IMAGE", docker_nginx))
    lithify("harden", docker_nginx, "--tcp", "80", "--format", "json", "--output", "web.json")
    lithify("patch", "stack.yml", "--stack", "--plan", "web.json", "--container", "web", "--write", "--state-dir", "s")
    with temporary_folder(on_disk=True) as folder, daemon(folder) as own:
        if own is None:
            pytest.skip("needs root and dockerd")
        save = subprocess.run(["docker", "save", docker_nginx], capture_output=True, check=True, timeout=120)
        subprocess.run(["docker", "--host", own.host, "load"], input=save.stdout, check=True, timeout=120)
        own.call("swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", "127.0.0.1:2377")
        try:
            own.call("stack", "deploy", "--resolve-image", "never", "--compose-file", str(path), "shop")
            _check(own)
        finally:
            own.call("stack", "rm", "shop")
            own.call("swarm", "leave", "--force")


def _check(own: Daemon) -> None:
    container = ""
    for _ in range(60):
        container = own.call("ps", "--quiet").stdout.strip()
        if container:
            break
        time.sleep(0.5)
    assert container, own.call("service", "ps", "shop_web", "--no-trunc").stdout
    time.sleep(3)  # one that dies is replaced by another
    assert own.call("ps", "--quiet").stdout.strip() == container
    inside = own.call("exec", container, "sh", "-c", "cat /proc/self/mounts; touch /run/x /usr/x; ls -d /scratch")
    found = [line.split() for line in inside.stdout.splitlines() if line.count(" ") == 5]
    mounts = {path: (kind, set(options.split(","))) for _, path, kind, options, *_ in found}
    assert "ro" in mounts["/"][1]
    wanted = {entry["target"]: entry for entry in _volumes() if isinstance(entry, dict) and entry["type"] == "tmpfs"}
    assert wanted
    for target, entry in wanted.items():
        kind, options = mounts[target]
        assert kind == "tmpfs"
        assert {"rw", "noexec", "nosuid", "nodev", f"size={entry['tmpfs']['size'] >> 10}k"} <= options
    assert "/usr/x': Read-only file system" in inside.stderr
    assert "/run/x" not in inside.stderr
    assert "cannot access '/scratch'" in inside.stderr  # Swarm dropped it without a word


def _volumes() -> list[Any]:
    volumes = yaml.safe_load(Path("stack.yml").read_text())["services"]["web"]["volumes"]
    assert isinstance(volumes, list)
    return volumes
