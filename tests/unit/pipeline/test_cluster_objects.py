"""What a manifest holds that is to run on a cluster."""

from pathlib import Path

import pytest

from lithify.errors import InvalidInput, LithifyError
from lithify.pipeline.groups.clusters import open_cluster, read_objects
from lithify.pipeline.groups.options import ClusterOptions, GroupOptions

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


POD = b"{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {containers: [{name: app, image: x}]}}"


def test_a_file_beside_is_read_before_a_cluster_is_asked(tmp_path: Path) -> None:
    """What a connection would hold open is not there yet when such a file turns out broken."""
    beside = tmp_path / "broken.yaml"
    beside.write_text("kind: [\n")
    cluster = ClusterOptions(kubeconfig=str(tmp_path / "none"))
    with pytest.raises(InvalidInput, match=r"broken\.yaml:"):
        open_cluster("pod.yaml", POD, GroupOptions(beside=(beside,), cluster=cluster))
    with pytest.raises(LithifyError, match="none"):
        open_cluster("pod.yaml", POD, GroupOptions(cluster=cluster))
