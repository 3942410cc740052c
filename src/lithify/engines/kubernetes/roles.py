"""What the accounts of copied pods may do: roles and their bindings as they are in a scratch namespace.

Plain JSON in, plain JSON out, nothing is sent. A copy's account may do there what the original may do in its own
namespace; what that may do in every namespace, the copy may do in its own.
"""

from collections.abc import Mapping
from typing import Any

from lithify.engines.kubernetes.copies import Json, strip

API = "rbac.authorization.k8s.io/v1"
BINDINGS = ("RoleBinding", "ClusterRoleBinding")
ROLES = ("Role", "ClusterRole")
_GROUP = "system:serviceaccounts:"


def flaw(found: Mapping[str, Any]) -> str:
    """Return what keeps a role or binding of a file from being one; nothing where it can be given to accounts."""
    metadata = found.get("metadata")
    if not isinstance(metadata, dict) or not metadata.get("name"):
        return "it has no metadata.name"
    for key in ("rules", "subjects"):
        listed = found.get(key)
        if listed is not None and not (isinstance(listed, list) and all(isinstance(one, dict) for one in listed)):
            return f"its {key} are no list of mappings"
    return "it has no roleRef" if found.get("subjects") and not isinstance(found.get("roleRef"), dict) else ""


def binding_for(binding: Mapping[str, Any], accounts: frozenset[str], home: str, namespace: str) -> Json | None:
    """Return the RoleBinding that gives the copies of `accounts` what `binding` gives those of namespace `home`.

    Of whatever namespace where `home` is empty: of one that a file was rendered for. None where it gives them nothing,
    or gives it to all accounts there are, the copies included.
    """
    subjects = [
        moved
        for subject in binding.get("subjects") or ()
        if (moved := _moved(subject, accounts, home, namespace)) is not None
    ]
    if not subjects:
        return None
    name = str(binding["metadata"]["name"])
    prefix = "cluster:" if binding.get("kind") == "ClusterRoleBinding" else ""
    return {
        "apiVersion": API,
        "kind": "RoleBinding",
        "metadata": {"name": f"{prefix}{name}"},
        "subjects": subjects,
        "roleRef": dict(binding["roleRef"]),
    }


def role_for(role: Mapping[str, Any]) -> Json:
    """Return a role as one of a namespace: without what lies in none, or is put together of others."""
    made = strip(role)
    prefix = "cluster:" if role.get("kind") == "ClusterRole" else ""
    rules = [rule for rule in made.get("rules") or () if not rule.get("nonResourceURLs")]
    return {
        "apiVersion": API,
        "kind": "Role",
        "metadata": {"name": f"{prefix}{made['metadata']['name']}"},
        "rules": rules,
    }


def _moved(subject: Mapping[str, Any], accounts: frozenset[str], home: str, namespace: str) -> Json | None:
    kind, name = subject.get("kind"), str(subject.get("name"))
    if kind == "ServiceAccount" and name in accounts and home in ("", subject.get("namespace")):
        return {"kind": kind, "name": name, "namespace": namespace}
    if kind == "Group" and name.startswith(_GROUP) and home in ("", name.removeprefix(_GROUP)):
        return {"kind": kind, "name": _GROUP + namespace, "apiGroup": API.partition("/")[0]}
    return None
