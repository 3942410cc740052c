"""What audit checks: a module a rule, its docstring the rule's page.

`CHECKED` look at workloads. `NOTICED` are raised where something odd is met: by the sources as they read, or by the
pipeline as it applies exemptions.
"""

from types import ModuleType

from lithify.rules import (
    ambiguous_flag,
    anonymous_volume,
    capabilities_not_dropped,
    data_in_container_layer,
    duplicate_key,
    exemption_expired,
    exemption_without_reason,
    hidden_image_content,
    inline_config_refused,
    malformed_field,
    memory_beyond_limit,
    misspelt_flag,
    mistyped_flag,
    no_ephemeral_storage_limit,
    pod_level_flag,
    privilege_escalation,
    remountable_root_filesystem,
    runs_as_root,
    sysctl_by_privileged_container,
    tmpfs_dropped_by_swarm,
    unbounded_scratch,
    unreadable_input,
    writable_and_executable,
    writable_host_path,
    writable_root_filesystem,
    writable_system_path,
)
from lithify.rules.base import RuleModule

CHECKED: tuple[RuleModule, ...] = (
    writable_root_filesystem,
    remountable_root_filesystem,
    writable_system_path,
    writable_host_path,
    privilege_escalation,
    runs_as_root,
    capabilities_not_dropped,
    unbounded_scratch,
    memory_beyond_limit,
    no_ephemeral_storage_limit,
    writable_and_executable,
    hidden_image_content,
    anonymous_volume,
    tmpfs_dropped_by_swarm,
    inline_config_refused,
    sysctl_by_privileged_container,
    data_in_container_layer,
)

NOTICED: tuple[ModuleType, ...] = (
    pod_level_flag,
    misspelt_flag,
    mistyped_flag,
    ambiguous_flag,
    duplicate_key,
    malformed_field,
    unreadable_input,
    exemption_expired,
    exemption_without_reason,
)

__all__ = ["CHECKED", "NOTICED", "RuleModule"]
