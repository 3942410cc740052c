"""Turns a container's root filesystem read-only and keeps the program in it working.

The names in `__all__` are the public API; each is imported when it is first used, so that importing lithify costs
nothing.
"""

__version__ = "0.1.0"

_HOME = {
    "Exercise": "lithify.model.run",
    "Explanation": "lithify.model.log",
    "GivenPlan": "lithify.pipeline.files.patch",
    "GroupHardening": "lithify.model.group",
    "GroupOptions": "lithify.pipeline.groups.options",
    "Hardening": "lithify.model.hardening",
    "LithifyError": "lithify.errors",
    "MountPlan": "lithify.model.mount",
    "Overrides": "lithify.pipeline.target",
    "PatchOptions": "lithify.pipeline.files.patch",
    "PlanSettings": "lithify.plan",
    "Report": "lithify.model.finding",
    "Settings": "lithify.settings",
    "Severity": "lithify.model.finding",
    "Target": "lithify.model.run",
    "Verdict": "lithify.model.verdict",
    "Wishes": "lithify.pipeline.harden",
    "WriteSet": "lithify.model.writes",
    "audit": "lithify.pipeline.audit.files",
    "audit_cluster": "lithify.pipeline.audit.cluster",
    "audit_engine": "lithify.pipeline.audit.engine",
    "audit_node": "lithify.pipeline.audit.cluster",
    "choose": "lithify.pipeline.target",
    "explain_container": "lithify.pipeline.explain",
    "explain_file": "lithify.pipeline.explain",
    "harden": "lithify.pipeline.harden",
    "harden_group": "lithify.pipeline.groups.group",
    "learn_attached": "lithify.pipeline.learn",
    "learn_target": "lithify.pipeline.learn",
    "make_plan": "lithify.plan",
    "open_group": "lithify.pipeline.groups.openers",
    "patch_file": "lithify.pipeline.files.patch",
    "patch_folder": "lithify.pipeline.files.patch",
    "prove_plan": "lithify.pipeline.harden",
    "read_json": "lithify.report.wire",
    "read_original": "lithify.pipeline.files.write",
    "render_json": "lithify.report.wire",
    "replace_file": "lithify.pipeline.files.write",
    "revert": "lithify.pipeline.files.write_folder",
}

__all__ = [
    "Exercise",
    "Explanation",
    "GivenPlan",
    "GroupHardening",
    "GroupOptions",
    "Hardening",
    "LithifyError",
    "MountPlan",
    "Overrides",
    "PatchOptions",
    "PlanSettings",
    "Report",
    "Settings",
    "Severity",
    "Target",
    "Verdict",
    "Wishes",
    "WriteSet",
    "__version__",
    "audit",
    "audit_cluster",
    "audit_engine",
    "audit_node",
    "choose",
    "explain_container",
    "explain_file",
    "harden",
    "harden_group",
    "learn_attached",
    "learn_target",
    "make_plan",
    "open_group",
    "patch_file",
    "patch_folder",
    "prove_plan",
    "read_json",
    "read_original",
    "render_json",
    "replace_file",
    "revert",
]

TYPE_CHECKING = False  # type checkers know the name; importing typing would cost half of an interpreter's start
if TYPE_CHECKING:
    from lithify.errors import LithifyError
    from lithify.model.finding import Report, Severity
    from lithify.model.group import GroupHardening
    from lithify.model.hardening import Hardening
    from lithify.model.log import Explanation
    from lithify.model.mount import MountPlan
    from lithify.model.run import Exercise, Target
    from lithify.model.verdict import Verdict
    from lithify.model.writes import WriteSet
    from lithify.pipeline.audit.cluster import audit_cluster, audit_node
    from lithify.pipeline.audit.engine import audit_engine
    from lithify.pipeline.audit.files import audit
    from lithify.pipeline.explain import explain_container, explain_file
    from lithify.pipeline.files.patch import GivenPlan, PatchOptions, patch_file, patch_folder
    from lithify.pipeline.files.write import read_original, replace_file
    from lithify.pipeline.files.write_folder import revert
    from lithify.pipeline.groups.group import harden_group
    from lithify.pipeline.groups.openers import open_group
    from lithify.pipeline.groups.options import GroupOptions
    from lithify.pipeline.harden import Wishes, harden, prove_plan
    from lithify.pipeline.learn import learn_attached, learn_target
    from lithify.pipeline.target import Overrides, choose
    from lithify.plan import PlanSettings, make_plan
    from lithify.report.wire import read_json, render_json
    from lithify.settings import Settings


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)
