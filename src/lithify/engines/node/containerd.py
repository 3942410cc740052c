"""Where containerd keeps the layers of a container that does not run, asked with its own `ctr`.

A container that runs shows them in its mount table. One at rest is mounted nowhere: the snapshotter alone knows which
of its numbered directories are the container's, and says so as the mount that it would make.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import PurePosixPath

from lithify.engines.base import UpperLayer
from lithify.engines.mounts import MountPoint, host_view, overlay_layers
from lithify.engines.process import run
from lithify.model.path import ROOT

_SOCKETS = ("/run/containerd/containerd.sock", "/run/docker/containerd/containerd.sock")
"""Of the system's containerd, and of one that a dockerd has started for itself (its `--exec-root` as installed)."""


def snapshot_layers(
    sockets: Sequence[str], namespace: str, snapshotter: str, key: str, noise: frozenset[PurePosixPath]
) -> UpperLayer | None:
    """Return the layers of the snapshot `key`, from the first of `sockets`, or of the usual ones, that has it.

    None where there is no `ctr`, none that answers, no such snapshot, or none that is an overlay on this host.
    """
    client, view = _client()
    for socket in dict.fromkeys((*sockets, *filter(None, [os.environ.get("CONTAINERD_ADDRESS")]), *_SOCKETS)):
        if client and os.access(f"{view}{socket}", os.R_OK | os.W_OK):
            words = ("--address", socket, "--namespace", namespace, "--timeout", "10s", "--connect-timeout", "5s")
            result = run((*client, *words, "snapshots", "--snapshotter", snapshotter, "mounts", "/", key), timeout=30.0)
            mount = _parse_mount(result.stdout.decode("utf-8", "surrogateescape")) if result.code == 0 else None
            if mount is not None:
                return overlay_layers(mount, noise=noise)
    return None


def _client() -> tuple[tuple[str, ...], str]:
    """Return how `ctr` is called, nothing where there is none, and the root under which it finds its paths.

    In a pod that shares its node's processes it is the node's.
    """
    view = host_view()
    if view:
        return ("nsenter", "--target", "1", "--mount", "ctr") if shutil.which("nsenter") else (), view
    program = shutil.which("ctr")
    return (program,) if program else (), ""


def _parse_mount(text: str) -> MountPoint | None:
    """Return the mount that `mount -t overlay overlay / -o index=off,upperdir=...,lowerdir=...` would make."""
    head, _, options = text.strip().partition(" -o ")
    if head.split()[:3] != ["mount", "-t", "overlay"]:
        return None
    pairs = (option.partition("=") for option in options.split(","))
    return MountPoint(
        id=0,
        parent=0,
        device="",
        root=ROOT,
        path=ROOT,
        options=(),
        propagation=(),
        filesystem="overlay",
        source="overlay",
        super_options=tuple((name, value) for name, _, value in pairs),
    )
