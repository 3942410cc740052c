"""What a scratch namespace has of the one that it stands for."""

from tests.cluster.cluster import Cluster

from lithify.engines.kubernetes.client import Cluster as Connection
from lithify.engines.kubernetes.copies import Needs
from lithify.engines.kubernetes.scratch import Premises


def test_an_account_may_do_in_the_copys_namespace_what_it_may_in_its_own(cluster: Cluster) -> None:
    """By roles of the namespace, of the cluster and of the file; and nowhere else."""
    with cluster.namespace("lithify-test-roles") as source:
        cluster.kubectl("create", "serviceaccount", "web", "-n", source)
        words = ("--namespace", source, "--serviceaccount", f"{source}:web")
        cluster.kubectl("create", "role", "maps", "-n", source, "--verb=get", "--resource=configmaps")
        cluster.kubectl("create", "rolebinding", "maps", "--role=maps", *words)
        cluster.kubectl("create", "clusterrolebinding", source, "--clusterrole=view", *words[2:])
        rules = [{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["delete"]}]
        held = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "lithify-t"}}
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "lithify-t"}
        subjects = [{"kind": "ServiceAccount", "name": "web", "namespace": "default"}]
        bound = {"kind": "ClusterRoleBinding", "metadata": {"name": "t"}, "subjects": subjects, "roleRef": reference}
        notes: list[str] = []
        try:
            with Premises(lambda: Connection.connect(kubeconfig=str(cluster.kubeconfig)), source) as premises:
                copy = premises.make("roles")
                premises.bring(copy, Needs(accounts=frozenset(["web"])), ())
                premises.bind(copy, frozenset(["web"]), [{**held, "rules": rules}, bound], notes)

                def may(verb: str, resource: str, namespace: str = copy) -> bool:
                    account = f"--as=system:serviceaccount:{copy}:web"
                    asked = ("auth", "can-i", verb, resource, account, "-n", namespace)
                    return cluster.kubectl(*asked, check=False).strip() == "yes"

                assert may("get", "configmaps")
                assert may("list", "pods")
                assert may("delete", "deployments.apps")
                assert not may("delete", "configmaps")
                assert not may("list", "pods", "default")
                assert notes == []
                # nobody gives it back: it goes with the premises
            assert cluster.kubectl("get", "namespace", copy, check=False) == ""
        finally:
            cluster.kubectl("delete", "clusterrolebinding", source, "--ignore-not-found")


def test_roles_that_we_may_not_give_are_named(cluster: Cluster) -> None:
    with cluster.namespace("lithify-test-poor") as source:
        cluster.kubectl("create", "serviceaccount", "web", "-n", source)
        cluster.kubectl("create", "role", "maps", "-n", source, "--verb=get", "--resource=configmaps")
        cluster.kubectl("create", "rolebinding", "maps", "-n", source, "--role=maps", f"--serviceaccount={source}:web")
        cluster.kubectl("create", "serviceaccount", "poor", "-n", source)
        allowed = "--resource=namespaces,serviceaccounts,pods,limitranges,rolebindings,roles"
        cluster.kubectl("create", "clusterrole", source, "--verb=get,list,create,delete,patch", allowed)
        words = (f"--clusterrole={source}", f"--serviceaccount={source}:poor")
        cluster.kubectl("create", "clusterrolebinding", source, *words)
        notes: list[str] = []
        try:
            kubeconfig = cluster.as_account("poor", source)
            with Premises(lambda: Connection.connect(kubeconfig=str(kubeconfig)), source) as premises:
                copy = premises.make("poor")
                premises.bring(copy, Needs(accounts=frozenset(["web"])), ())
                premises.bind(copy, frozenset(["web"]), (), notes)
            hidden, refused = notes
            assert "missing: the right to list clusterrolebindings" in hidden
            assert refused.startswith("Role maps was not given to the copy's accounts, which we may not do:")
        finally:
            cluster.kubectl("delete", "clusterrole,clusterrolebinding", source, "--ignore-not-found")
