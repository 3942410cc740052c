"""What puts image content, owners and modes into the places of a pod before its containers start.

An emptyDir starts empty, belongs to root and is open to everybody. Only root could change that; but anybody may make a
directory in it. So an init container that runs as the container's own user makes that directory, fills it, gives it
its mode, and moves it to its name in one step; the container mounts it by `subPath`. Run again (the node restarted,
the copy was interrupted), it leaves alone what is there and starts over with what is half done.
"""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from lithify.model.image import EntryType
from lithify.model.mount import Mount, Seed, StorageKind
from lithify.model.workload import FLAG

CONTENT = "content"
"""The directory of a volume that a container mounts once it is filled."""
AT = PurePosixPath("/lithify")
"""Where the init container has the volumes that it fills."""
_SOURCE = PurePosixPath("/lithify-image")
_KEPT_SECURITY = (
    "runAsUser",
    "runAsGroup",
    "runAsNonRoot",
    "capabilities",
    "seccompProfile",
    "seLinuxOptions",
    "appArmorProfile",
)

_OWN = """\
own() {
  chown `stat -c %u:%g "$1"` "$2" 2>/dev/null || :
  chmod `stat -c %a "$1"` "$2"
}
"""
_TREE = """\
tree() (
  for e in "$1"/* "$1"/.[!.]* "$1"/..?*; do
    t=$2/${e##*/}
    if [ -d "$e" ] && [ ! -L "$e" ]; then
      mkdir "$t"
      [ ! -x "$e" ] || tree "$e" "$t" "$3"
      own "$e" "$t"
    elif [ "$3" = content ] && [ -L "$e" ]; then
      cp -P "$e" "$t"
    elif [ "$3" = content ] && [ -f "$e" ] && [ -r "$e" ]; then
      cp "$e" "$t"
      own "$e" "$t"
    fi
  done
)
"""
_SEED = """\
seed() {
  [ ! -e "$2/content" ] || return 0
  rm -rf "$2/new"
  mkdir "$2/new"
%s  chown "$4" "$2/new" 2>/dev/null || :
  chmod "$5" "$2/new"
  mv "$2/new" "$2/content"
}
"""
_CONTENT = """\
  [ "$3" != content ] || cp -a "$1/." "$2/new" 2>/dev/null || {
    rm -rf "$2/new"
    mkdir "$2/new"
    tree "$1" "$2/new" content
  }
"""
_SKELETON = """\
  [ "$3" != skeleton ] || tree "$1" "$2/new" skeleton
"""
_FILE = """\
file() {
  [ ! -e "$2/content" ] || return 0
  : > "$2/new"
  [ "$3" = none ] || cp "$1" "$2/new"
  chown "$4" "$2/new" 2>/dev/null || :
  chmod "$5" "$2/new"
  mv "$2/new" "$2/content"
}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """A place and the volume that is to be filled for it."""

    mount: Mount
    volume: str
    sub_path: str = ""
    """Where in the volume; nothing for its top."""


def needs_filling(mount: Mount, *, exact_modes: bool) -> bool:
    """Tell whether the top of a fresh volume would not serve: for content, a file, a strict mode, a claim's owner."""
    strict = mount.mode & 0o7 == 0  # programs that keep others out tend to insist on it: ssh, PostgreSQL, RabbitMQ
    owned = mount.storage is StorageKind.VOLUME and mount.uid != 0
    return mount.seed is not Seed.NONE or mount.type is EntryType.FILE or strict or owned or exact_modes


def seeding_container(
    name: str, container: dict[str, Any], filled: Iterable[Filled], *, copier: str = ""
) -> dict[str, Any]:
    """Return the init container that fills places for `container`, as its user and with its image.

    With `copier`, that image is run instead, and the container's own is mounted beside it (`image_volume`).
    """
    places = list(filled)
    made: dict[str, Any] = {"name": name, "image": copier or container.get("image", "")}
    if "imagePullPolicy" in container and not copier:
        made["imagePullPolicy"] = container["imagePullPolicy"]
    made["command"] = ["sh", "-ceu"]
    made["args"] = [script(places, source=_SOURCE if copier else PurePosixPath("/"))]
    security = container.get("securityContext")
    kept = security if isinstance(security, dict) else {}
    made["securityContext"] = {
        **{key: kept[key] for key in _KEPT_SECURITY if kept.get(key) is not None},
        "allowPrivilegeEscalation": False,
        FLAG: True,
    }
    if isinstance(container.get("resources"), dict) and container["resources"]:
        made["resources"] = {key: value for key, value in container["resources"].items() if key != "claims"}
    made["volumeMounts"] = [
        {"name": place.volume, "mountPath": str(AT / place.volume), **_sub(place.sub_path)} for place in places
    ]
    if copier:
        made["volumeMounts"].append({"name": f"{name}-image", "mountPath": str(_SOURCE), "readOnly": True})
    return made


def image_volume(name: str, container: dict[str, Any]) -> dict[str, Any]:
    """Return the volume that shows a container's image to the init container `name`."""
    source = {"reference": container.get("image", "")}
    if "imagePullPolicy" in container:
        source["pullPolicy"] = container["imagePullPolicy"]
    return {"name": f"{name}-image", "image": source}


def script(places: Iterable[Filled], *, source: PurePosixPath, at: PurePosixPath = AT) -> str:
    """Return what the init container runs: plain POSIX shell, in which nothing looks like a variable of Kubernetes.

    `source` is where the image is, and below `at` stands each volume by its name.
    """
    calls, kinds = [], set()
    for place in places:
        mount = place.mount
        kind = "file" if mount.type is EntryType.FILE else mount.seed.value
        kinds.add(kind)
        words = [
            "file" if kind == "file" else "seed",
            str(source / mount.path.relative_to("/")),
            str(at / place.volume),
            mount.seed.value,
            f"{mount.uid}:{mount.gid}",
            f"{mount.mode:o}",
        ]
        calls.append(" ".join(map(shlex.quote, words)).replace("$(", "$$(") + "\n")
    head = "# Fills the writable places from the image, once.\n"
    walks = bool(kinds & {"content", "skeleton"})
    copies = (_CONTENT if "content" in kinds else "") + (_SKELETON if "skeleton" in kinds else "")
    seed = _SEED % copies if kinds - {"file"} else ""
    parts = [_OWN + _TREE if walks else "", seed, _FILE if "file" in kinds else ""]
    return head + "".join(parts) + "".join(calls)


def fresh_start(command: list[str], places: Iterable[PurePosixPath]) -> list[str]:
    """Return `command` behind a shell that first empties `places`: what the last run left there is in the way."""
    globs = " ".join(f"{shlex.quote(str(path))}/{glob}" for path in places for glob in ("*", ".[!.]*", "..?*"))
    return ["sh", "-c", f'rm -rf {globs.replace("$(", "$$(")}; exec "$@"', "lithify", *command]


def _sub(path: str) -> dict[str, str]:
    return {"subPath": path} if path else {}
