"""What a manifest holds that is to run on a cluster."""

import pytest

from lithify.errors import InvalidInput
from lithify.pipeline.clusters import read_objects

REFERENCE = "roleRef: {kind: Role, name: r}"
SUBJECTS = "subjects: [{kind: ServiceAccount, name: web}]"


@pytest.mark.parametrize(("text", "told"), [
    ("{kind: Role, rules: []}", "a Role: it has no metadata.name"),
    ("{kind: ClusterRole, metadata: []}", "a ClusterRole: it has no metadata.name"),
    ("{kind: Role, metadata: {name: r}, rules: [null]}", "Role r: its rules are no list of mappings"),
    (f"{{kind: RoleBinding, metadata: {{name: b}}, {SUBJECTS}}}", "RoleBinding b: it has no roleRef"),
    (f"{{kind: RoleBinding, metadata: {{name: b}}, roleRef: r, {SUBJECTS}}}", "RoleBinding b: it has no roleRef"),
    (
        f"{{kind: RoleBinding, metadata: {{name: b}}, {REFERENCE}, subjects: [null]}}",
        "RoleBinding b: its subjects are no list of mappings",
    ),
    (
        f"{{kind: ClusterRoleBinding, metadata: {{name: b}}, {REFERENCE}, subjects: web}}",
        "ClusterRoleBinding b: its subjects are no list of mappings",
    ),
])  # fmt: skip
def test_what_is_no_role_or_binding_is_named(text: str, told: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_objects("rbac.yaml", f"kind: List\nitems: [{text}]\n".encode())
    assert str(caught.value) == f"rbac.yaml: {told}"
    assert caught.value.hint


@pytest.mark.parametrize("text", [
    "{kind: Role, metadata: {name: r}}",
    f"{{kind: RoleBinding, metadata: {{name: b}}, {REFERENCE}, subjects: null}}",
    f"{{kind: RoleBinding, metadata: {{name: b}}, {REFERENCE}, {SUBJECTS}}}",
])  # fmt: skip
def test_roles_and_bindings_are_objects_like_others(text: str) -> None:
    assert len(read_objects("rbac.yaml", text.encode()).objects) == 1
