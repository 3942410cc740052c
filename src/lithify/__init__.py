"""Turns a container's root filesystem read-only and keeps the program in it working.

The names in `__all__` are the public API; each is imported when it is first used, so that importing lithify costs
nothing.
"""

__version__ = "0.1.0"

_HOME = {
    "Exercise": "lithify.model.run",
    "GroupHardening": "lithify.model.group",
    "GroupOptions": "lithify.pipeline.group_options",
    "Hardening": "lithify.model.hardening",
    "LithifyError": "lithify.errors",
    "MountPlan": "lithify.model.mount",
    "Overrides": "lithify.pipeline.target",
    "PlanSettings": "lithify.plan",
    "Settings": "lithify.settings",
    "Target": "lithify.model.run",
    "Verdict": "lithify.model.verdict",
    "Wishes": "lithify.pipeline.harden",
    "WriteSet": "lithify.model.writes",
    "choose": "lithify.pipeline.target",
    "harden": "lithify.pipeline.harden",
    "harden_group": "lithify.pipeline.group",
    "learn_target": "lithify.pipeline.learn",
    "make_plan": "lithify.plan",
    "open_group": "lithify.pipeline.groups",
    "prove": "lithify.pipeline.harden",
}

__all__ = [
    "Exercise",
    "GroupHardening",
    "GroupOptions",
    "Hardening",
    "LithifyError",
    "MountPlan",
    "Overrides",
    "PlanSettings",
    "Settings",
    "Target",
    "Verdict",
    "Wishes",
    "WriteSet",
    "__version__",
    "choose",
    "harden",
    "harden_group",
    "learn_target",
    "make_plan",
    "open_group",
    "prove",
]

TYPE_CHECKING = False  # type checkers know the name; importing typing would cost half of an interpreter's start
if TYPE_CHECKING:
    from lithify.errors import LithifyError
    from lithify.model.group import GroupHardening
    from lithify.model.hardening import Hardening
    from lithify.model.mount import MountPlan
    from lithify.model.run import Exercise, Target
    from lithify.model.verdict import Verdict
    from lithify.model.writes import WriteSet
    from lithify.pipeline.group import harden_group
    from lithify.pipeline.group_options import GroupOptions
    from lithify.pipeline.groups import open_group
    from lithify.pipeline.harden import Wishes, harden, prove
    from lithify.pipeline.learn import learn_target
    from lithify.pipeline.target import Overrides, choose
    from lithify.plan import PlanSettings, make_plan
    from lithify.settings import Settings


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)
