"""What puts image content, owners and modes into the places of a pod before its containers start.

An emptyDir starts empty, belongs to root and is open to everybody. Only root could change that; but anybody may make a
directory in it. So an init container that runs as the container's own user makes that directory, fills it, gives it
its mode, and moves it to its name in one step; the container mounts it by `subPath`. Run again (the node restarted,
the copy was interrupted), it leaves alone what is there and starts over with what is half done.

What it runs is written for each place by itself, as a person would write it who knows the image: an empty directory
takes a `mkdir`, directories that are known are named, and owners are given only where the user may and must.
"""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePosixPath
from typing import Any

from lithify.model.image import EntryType, ImageEntry, ImageFacts
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

_MANY = 12
"""More directories than this are walked in the image rather than named."""
_MIGHT = frozenset({"CHOWN", "DAC_OVERRIDE", "FOWNER"})
"""What makes root the one who may read everything and give it away."""
_TREE = """\
dirs() (
  for d in "$1"/* "$1"/.[!.]* "$1"/..?*; do
    if [ -d "$d" ] && [ ! -L "$d" ]; then
      mkdir "$2/${d##*/}"
      dirs "$d" "$2/${d##*/}"
%s      chmod `stat -c %%a "$d"` "$2/${d##*/}"
    fi
  done
)
"""
_FRESH = """\
mount_of() {
  while read -r key id; do
    [ "$key" != mnt_id: ] || echo "$id"
  done 3<"$1" </proc/self/fdinfo/3
}
fresh() (
  on=`mount_of "$1"`
  for f in "$1"/* "$1"/.[!.]* "$1"/..?*; do
    if [ ! -d "$f" ] || [ -L "$f" ]; then
      rm -f "$f"
    elif [ "`mount_of "$f"`" = "${on:-unknown}" ]; then
      fresh "$f" "$2"
      [ "$2" ] || rmdir "$f"
    fi
  done
) 2>/dev/null
"""
_TREE_OWN = """\
      chown `stat -c %u:%g "$d"` "$2/${d##*/}"
"""


_OPEN = "chmod -R u+rwX new 2>/dev/null || :"
"""Only root removes what is in a directory that is closed to writing."""


SEEDS = "lithify-seed-"
"""What the names of init containers begin with that put something into places."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """A place and the volume that is to be filled for it."""

    mount: Mount
    volume: str
    sub_path: str = ""
    """Where in the volume; nothing for its top."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doer:
    """Who fills places, and what is known of the image that they are filled from."""

    user: int | None = None
    """Nothing where neither the manifest nor the image says it."""
    mighty: bool | None = None
    """Root with all that makes it root; None where that is not known."""
    image: ImageFacts | None = None

    @property
    def if_it_may(self) -> str:
        """What follows a `chown` that may fail."""
        return "" if self.mighty else " 2>/dev/null || :"


def doer(container: Mapping[str, Any], pod: Mapping[str, Any], image: ImageFacts | None, *, copier: bool) -> Doer:
    """Return as whom an init container fills places for `container`; a copier brings a user of its own."""
    levels = [level for each in (container, pod) if isinstance(level := each.get("securityContext"), dict)]
    said = [level["runAsUser"] for level in levels if isinstance(level.get("runAsUser"), int)]
    user = said[0] if said else None if copier or image is None else image.uid
    rooted = not any(level.get("runAsNonRoot") is True for level in levels)
    mighty = None if user is None and rooted else user == 0
    capabilities = levels[0].get("capabilities") if levels and "securityContext" in container else None
    if mighty and isinstance(capabilities, dict):
        kept = {str(name).removeprefix("CAP_") for name in capabilities.get("add") or ()}
        lost = {str(name).removeprefix("CAP_") for name in capabilities.get("drop") or ()}
        if "ALL" not in kept and (_MIGHT - kept if "ALL" in lost else lost & _MIGHT - kept):
            mighty = None
    return Doer(user=user, mighty=mighty, image=image)


def needs_filling(mount: Mount, *, exact_modes: bool) -> bool:
    """Tell whether the top of a fresh volume would not serve: for content, a file, a strict mode, a claim's owner."""
    strict = mount.mode & 0o7 == 0  # programs that keep others out tend to insist on it: ssh, PostgreSQL, RabbitMQ
    owned = mount.storage is StorageKind.VOLUME and mount.uid != 0
    return mount.seed is not Seed.NONE or mount.type is EntryType.FILE or strict or owned or exact_modes


def seeding_container(
    name: str, container: dict[str, Any], filled: Iterable[Filled], who: Doer, *, copier: str = ""
) -> dict[str, Any]:
    """Return the init container that fills places for `container`, as its user and with its image.

    With `copier`, that image is run instead, and the container's own is mounted beside it (`image_volume`).
    """
    places = list(filled)
    made: dict[str, Any] = {"name": name, "image": copier or container.get("image", "")}
    if "imagePullPolicy" in container and not copier:
        made["imagePullPolicy"] = container["imagePullPolicy"]
    words = command(places, who, source=_SOURCE if copier else PurePosixPath("/"))
    made["command"] = [word.replace("$(", "$$(") for word in words]
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


def command(places: Sequence[Filled], who: Doer, *, source: PurePosixPath, at: PurePosixPath = AT) -> list[str]:
    """Return what the init container runs: a `mkdir` where that is all, else plain POSIX shell.

    `source` is where the image is, and below `at` stands each volume by its name.
    """
    empty = [_empty_directory(place, who, at) for place in places]
    modes = {place.mount.mode for place in places}
    if all(empty) and len(modes) == 1:
        return ["mkdir", "-p", "-m", f"{modes.pop():o}", *empty]
    lines: list[str] = []
    for place, directory in zip(places, empty, strict=True):
        if directory:
            lines.append(shlex.join(["mkdir", "-p", "-m", f"{place.mount.mode:o}", directory]))
            continue
        lines += [
            shlex.join(["cd", str(at / place.volume)]),
            f"if [ ! -e {CONTENT} ]; then",
            *([f"  {_OPEN}"] if _may_be_closed(place.mount, who) else []),
            "  rm -rf new",
            *(f"  {line}" for line in _made(place.mount, who, source)),
            f"  mv new {CONTENT}",
            "fi",
        ]
    text = "".join(f"{line}\n" for line in lines)
    if "\n  dirs " in text:
        own = "" if who.mighty is False else _TREE_OWN.replace("\n", f"{who.if_it_may}\n")
        text = _TREE % own + text
    return ["sh", "-ec", text]


def _empty_directory(place: Filled, who: Doer, at: PurePosixPath) -> str:
    """Return the directory that one `mkdir` makes for a place; nothing where it takes more."""
    mount = place.mount
    alone = mount.type is not EntryType.FILE and mount.seed is Seed.NONE and not _gives(mount.uid, mount.gid, who)
    return str(at / place.volume / CONTENT) if alone else ""


def _may_be_closed(mount: Mount, who: Doer) -> bool:
    """Tell whether a copy that was interrupted may have left directories that its user can't write to."""
    return not who.mighty and mount.type is not EntryType.FILE and _named(mount, who) is None


def _made(mount: Mount, who: Doer, source: PurePosixPath) -> Iterator[str]:
    """Yield what makes `new` what a place has to start with."""
    own = shlex.quote(str(source / mount.path.relative_to("/")))
    entry = who.image.entry(mount.path) if who.image is not None else None
    if mount.type is EntryType.FILE:
        yield f"cp -p {own} new" if mount.seed is not Seed.NONE else ": > new"
        yield from _chown([("new", mount.uid, mount.gid)], who)
        yield f"chmod {mount.mode:o} new"
        return
    directories = _named(mount, who)
    if directories is not None:
        for mode, group in groupby(directories, key=lambda found: found[1].mode):
            yield shlex.join(["mkdir", "-m", f"{mode:o}", *(name for name, _ in group)])
        yield from _chown([(name, found.uid, found.gid) for name, found in directories], who)
        return
    if mount.seed is Seed.SKELETON:
        yield from ("mkdir new", f"dirs {own} new")
        entry = None
    elif who.mighty:
        yield f"cp -a {own} new"
    else:
        yield "mkdir new"
        yield "# what this user may not read is left out; a full volume is an error"
        yield f"cp -a {own}/. new || echo > full"
        yield "rm -f full"
    if entry is None or (entry.uid, entry.gid) != (mount.uid, mount.gid):
        yield from _chown([("new", mount.uid, mount.gid)], who, copied=mount.seed is Seed.CONTENT)
    if entry is None or entry.mode != mount.mode:
        yield f"chmod {mount.mode:o} new"


def _named(mount: Mount, who: Doer) -> list[tuple[str, ImageEntry]] | None:
    """Return the directories that a place starts with and nothing else, each below `new`, parents first; else None."""
    top = ImageEntry(type=EntryType.DIRECTORY, mode=mount.mode, uid=mount.uid, gid=mount.gid)
    if mount.seed is Seed.NONE:
        return [("new", top)]
    entry = who.image.entry(mount.path) if who.image is not None else None
    known = who.image.directories(mount.path) if who.image is not None else None
    if entry is None or known is None or len(known) > _MANY or (mount.seed is Seed.CONTENT and entry.files):
        return None
    below = [(str("new" / path.relative_to(mount.path)), found) for path, found in known.items()]
    # What its owner may not write has to be made before it is closed, and what is setgid before it hands that on.
    plain = all(found.mode & 0o2300 == 0o300 for _, found in (("new", top), *below))
    return [("new", top), *below] if plain else None


def _chown(wanted: Iterable[tuple[str, int, int]], who: Doer, *, copied: bool = False) -> Iterator[str]:
    """Yield what gives files to their owners, as far as they are not made by them."""
    given = [(f"{uid}:{gid}", name) for name, uid, gid in wanted if _gives(uid, gid, who, copied=copied)]
    for owner, group in groupby(given, key=lambda found: found[0]):
        yield shlex.join(["chown", owner, *(name for _, name in group)]) + who.if_it_may


def _gives(uid: int, gid: int, who: Doer, *, copied: bool = False) -> bool:
    """Tell whether something has to be given to an owner, and may be: what root makes is root's, as of all others.

    What was `copied` with its owner is root's only by being given back.
    """
    return who.mighty is not False and (copied or (uid, gid) != (0, 0))


def fresh_start(started: list[str], places: Iterable[Mount]) -> list[str]:
    """Return `started` behind a shell that first removes what the last run left in `places`, which is in the way.

    Directories go where the image has none there. Whatever else is mounted below stays, a claim, a volume that others
    share, and what was put there since: a directory is gone into only where the kernel says that it is of the same
    mount. That tells a bind of the same disk as well, which its device number would not (Linux 3.15, proc(5): mnt_id).
    """
    calls = [
        shlex.join(["fresh", str(place.path), *(["keep"] if place.seed is not Seed.NONE else [])]) for place in places
    ]
    text = "".join(f"{line}\n" for line in (*calls, 'exec "$@"'))
    return ["sh", "-c", _FRESH + text.replace("$(", "$$("), "lithify", *started]


def _sub(path: str) -> dict[str, str]:
    return {"subPath": path} if path else {}
