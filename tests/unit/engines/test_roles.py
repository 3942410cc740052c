"""What a copy's account may do: what the original may, within the scratch namespace."""

from typing import Any

from lithify.engines.kubernetes.roles import binding_for, role_for


def binding(kind: str, *subjects: dict[str, str]) -> dict[str, Any]:
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
    metadata = {"name": "b", "namespace": "shop"}
    return {"kind": kind, "metadata": metadata, "subjects": list(subjects), "roleRef": reference}


def account(name: str, namespace: str = "shop") -> dict[str, str]:
    return {"kind": "ServiceAccount", "name": name, "namespace": namespace}


def test_only_the_accounts_of_the_copy_move_to_the_scratch_namespace() -> None:
    person = {"kind": "User", "name": "ann"}
    everybody = {"kind": "Group", "name": "system:serviceaccounts:shop"}
    found = binding("RoleBinding", account("web"), account("other"), account("web", "elsewhere"), person, everybody)
    made = binding_for(found, frozenset(["web"]), "shop", "scratch")
    assert made is not None
    assert made["metadata"] == {"name": "b"}
    group = {"kind": "Group", "name": "system:serviceaccounts:scratch", "apiGroup": "rbac.authorization.k8s.io"}
    assert made["subjects"] == [account("web", "scratch"), group]
    assert made["roleRef"] == found["roleRef"]


def test_what_binds_others_only_is_left_out() -> None:
    assert binding_for(binding("RoleBinding", account("web", "elsewhere")), frozenset(["web"]), "shop", "s") is None
    assert binding_for({**binding("RoleBinding"), "subjects": None}, frozenset(["web"]), "shop", "s") is None


def test_a_files_binding_counts_for_whatever_namespace_it_was_rendered_for() -> None:
    made = binding_for(binding("ClusterRoleBinding", account("web", "default")), frozenset(["web"]), "", "scratch")
    assert made is not None
    assert (made["kind"], made["metadata"]["name"]) == ("RoleBinding", "cluster:b")
    assert made["subjects"] == [account("web", "scratch")]


def test_a_cluster_role_becomes_a_role_without_what_no_namespace_has() -> None:
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}, {"nonResourceURLs": ["/metrics"]}]
    made = role_for({"kind": "ClusterRole", "metadata": {"name": "r", "uid": "1"}, "rules": rules})
    assert (made["kind"], made["metadata"], made["rules"]) == ("Role", {"name": "cluster:r"}, rules[:1])
