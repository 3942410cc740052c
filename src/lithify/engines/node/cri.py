"""What the container runtime of this node says through the CRI, asked with crictl."""

import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lithify.engines.node.containers import NodeContainer, endpoints
from lithify.engines.process import run
from lithify.errors import EngineRefused, EngineUnreachable
from lithify.model.path import printable

_BULK = 50
_LIMIT = 1 << 28


def find_crictl() -> tuple[tuple[str, ...], ...]:
    """Return how crictl is started here, once for each runtime; nothing where there is none.

    Which socket it asks is its own business (`/etc/crictl.yaml`, CONTAINER_RUNTIME_ENDPOINT); where nothing says so,
    it is told those that the node's shims belong to.
    """
    program = shutil.which("crictl")
    if program is None:
        return ()
    if os.environ.get("CONTAINER_RUNTIME_ENDPOINT") or Path("/etc/crictl.yaml").exists():
        return ((program,),)
    return tuple((program, "--runtime-endpoint", one) for one in endpoints()) or ((program,),)


def read_cri(crictl: Sequence[str]) -> Iterator[NodeContainer]:
    """Yield every container that the runtime knows, running or not.

    EngineUnreachable where it does not answer; one that goes while it is looked at is left out.
    """
    listed = _ask(crictl, "ps", "--all", "--output", "json").get("containers") or []
    names = [str(one["id"]) for one in listed if isinstance(one, dict) and one.get("id")]
    for start in range(0, len(names), _BULK):
        for name in names[start : start + _BULK]:
            found = _inspect(crictl, name)
            if found is not None:
                yield _container(name, found)


def _container(name: str, found: dict[str, Any]) -> NodeContainer:
    status, info = _mapping(found, "status"), _mapping(found, "info")
    labels = _mapping(status, "labels")
    security = _mapping(_mapping(_mapping(info, "config"), "linux"), "security_context")
    pid = info.get("pid")
    state = str(status.get("state") or "").removeprefix("CONTAINER_").lower()
    privileged = security.get("privileged", info.get("privileged"))
    image = _mapping(status, "image")
    return NodeContainer(
        id=name,
        runtime="cri",
        pid=pid if isinstance(pid, int) and state == "running" else 0,
        state=state,
        spec=_mapping(info, "runtimeSpec"),
        name=str(labels.get("io.kubernetes.container.name") or _mapping(status, "metadata").get("name") or ""),
        pod=str(labels.get("io.kubernetes.pod.name") or ""),
        namespace=str(labels.get("io.kubernetes.pod.namespace") or ""),
        image=str(image.get("userSpecifiedImage") or image.get("image") or status.get("imageRef") or ""),
        privileged=privileged if isinstance(privileged, bool) else False if security else None,
    )


def _inspect(crictl: Sequence[str], name: str) -> dict[str, Any] | None:
    result = run((*crictl, "inspect", "--output", "json", name), timeout=30.0, limit=_LIMIT)
    if result.code != 0:
        return None
    found = _parse(result.stdout)
    # Asked for one, some versions answer with a list of one.
    inner = found[0] if isinstance(found, list) and found else found
    return inner if isinstance(inner, dict) else None


def _ask(crictl: Sequence[str], *words: str) -> dict[str, Any]:
    result = run((*crictl, *words), timeout=30.0, limit=_LIMIT)
    if result.code != 0:
        raise EngineUnreachable(
            f"no answer from the node's runtime: {printable(_complaint(result.message))}",
            hint="does `crictl ps` work? name its socket with CONTAINER_RUNTIME_ENDPOINT",
        )
    found = _parse(result.stdout)
    if not isinstance(found, dict):
        raise EngineRefused("crictl does not answer in JSON", hint=f"try `{' '.join((*crictl, *words))}`")
    return found


def _complaint(log: str) -> str:
    """Return what the last line of crictl's log says; it warns of each socket that it tries before."""
    last = log.rpartition("\n")[2]
    said = re.search(r'msg="((?:[^"\\]|\\.)*)"', last)
    return re.sub(r"\\(.)", r"\1", said[1]) if said else last


def _parse(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None


def _mapping(found: dict[str, Any], key: str) -> dict[str, Any]:
    value = found.get(key)
    return value if isinstance(value, dict) else {}
