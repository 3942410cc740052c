"""The cases of tests/cases/patch: a manifest, the plans for it, and what becomes of it."""

import json
from pathlib import Path
from typing import Any

import msgspec

from lithify.model.image import ImageFacts
from lithify.model.mount import MountPlan
from lithify.model.patch import Patched, Planned
from lithify.model.writes import RunKey
from lithify.patch.kubernetes import Options
from lithify.report.wire import _decode

ROOT = Path(__file__).parents[2] / "cases" / "patch"
CASES = sorted(path.name for path in ROOT.iterdir() if path.is_dir()) if ROOT.is_dir() else []


class Case:
    """One folder of tests/cases/patch."""

    def __init__(self, name: str) -> None:
        self.folder = ROOT / name
        (self.path,) = self.folder.glob("before.*")
        self.before = self.path.read_bytes()
        asked = json.loads((self.folder / "plan.json").read_text())
        self.planned = [planned_of(one) for one in asked["planned"]]
        self.options = msgspec.convert(asked.get("options", {}), Options)

    @property
    def after(self) -> bytes:
        return (self.folder / f"after{self.path.suffix}").read_bytes()

    @property
    def said(self) -> str:
        return (self.folder / "said.txt").read_text()


def planned_of(value: dict[str, Any]) -> Planned:
    """Return what a case's JSON says of one container."""
    plan: dict[str, Any] = {key: value[key] for key in ("mounts", "redirects", "refusals", "questions") if key in value}
    key = RunKey(image=value["container"], command=tuple(value.get("command", ())))
    image = msgspec.convert(value["image"], ImageFacts, dec_hook=_decode) if "image" in value else None
    plan |= {"key": msgspec.to_builtins(key), "container": value["container"]}
    return Planned(
        document=value["document"],
        route=tuple(value["route"]),
        container=value["container"],
        plan=msgspec.convert(plan, MountPlan, dec_hook=_decode),
        image=image,
    )


def said(patched: Patched) -> str:
    """Return what a patch says beside the file."""
    lines = [f"change: {change.container}: {change.text}" for change in patched.changes]
    lines += [f"note: {note}" for note in patched.notes]
    for refused in patched.refused:
        lines.append(f"refused: {refused.container}: {refused.reason} -> {refused.remedy}")
        lines += [f"  | {line}".rstrip() for line in refused.by_hand.splitlines()]
    return "".join(f"{line}\n" for line in lines)
