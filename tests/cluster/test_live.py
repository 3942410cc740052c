"""`lithify harden KIND/NAME -n NS`: learnt from what runs, tried in a copy, applied only when told to."""

from typing import Any

from tests.cluster.cluster import Cluster, left_behind, wait_for
from tests.cluster.manifests import STAY, deployment, shell
from tests.runtime.hardening import Lithify

SCRIPT = f"""
mkdir -p /var/cache/app
if test -e /etc/app/production; then mkdir -p /var/cache/orders; echo x > /var/cache/orders/1; fi
{STAY}
"""


def test_a_live_workload_is_learnt_from_and_changed_only_when_told(
    cluster: Cluster, lithify: Lithify, app_image: str
) -> None:
    """The place that only production writes is in the patch; the ReplicaSet's Deployment is what is patched."""
    with cluster.namespace("lithify-test-live") as namespace:
        web = _production(cluster, namespace, app_image)
        owned = cluster.get("replicasets", "-n", namespace)["items"][0]["metadata"]["name"]
        words = ("-n", namespace, "--kubeconfig", cluster.kubeconfig, "--format", "json")
        done = lithify.run("harden", f"rs/{owned}", *words, timeout=200)
        assert done.code == 0, done.out + done.err
        result = done.json()
        assert result["target"] == "deployment/web"
        (member,) = result["members"]
        places = [mount["path"] for mount in member["hardening"]["plan"]["mounts"]]
        assert places == ["/var/cache/app", "/var/cache/orders"]
        notes = " ".join(result["notes"])
        assert f"ReplicaSet/{owned} is made by Deployment/web, which was taken in its place" in notes
        assert "Helm release shop (chart web-1.2.3) manages it" in notes
        assert "Argo CD application store manages it" in notes
        assert _spec(cluster, namespace) == web["spec"]

        done = lithify.run("harden", "deployment/web", *words, "--apply", timeout=200)
        assert done.code == 0, done.err
        assert f"patched deployment/web in namespace {namespace}" in done.err
        container = _spec(cluster, namespace)["template"]["spec"]["containers"][0]
        assert container["securityContext"] == {"readOnlyRootFilesystem": True}
        cluster.kubectl("rollout", "status", "-n", namespace, "deployment/web", "--timeout=60s", timeout=70)

        done = lithify.run("harden", "deployment/none", *words)
        assert done.code == 3
        assert done.error()[0] == f"there is no Deployment none in namespace {namespace}"
    assert left_behind(cluster) == []


def _production(cluster: Cluster, namespace: str, image: str) -> Any:
    """Run a Deployment that writes more than its copy will, and return it as it is then."""
    mount = {"name": "mode", "mountPath": "/etc/app"}
    volume = {"name": "mode", "configMap": {"name": "mode", "optional": True}}
    web = deployment("web", shell(SCRIPT, image, volumeMounts=[mount]), volumes=[volume])
    web["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "Helm", "helm.sh/chart": "web-1.2.3"}
    web["metadata"]["annotations"] = {
        "meta.helm.sh/release-name": "shop",
        "argocd.argoproj.io/tracking-id": "store:apps/Deployment:shop/web",
    }
    mode = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mode"}, "data": {"production": ""}}
    cluster.apply(mode, web, namespace=namespace)
    cluster.kubectl("rollout", "status", "-n", namespace, "deployment/web", "--timeout=60s", timeout=70)
    wait_for(lambda: len(cluster.get("pods", "-n", namespace)["items"]) == 2)
    # what started with it goes on with it; the copy finds none
    cluster.kubectl("delete", "configmap", "mode", "-n", namespace)
    return cluster.get("deployment", "web", "-n", namespace)


def _spec(cluster: Cluster, namespace: str) -> Any:
    return cluster.get("deployment", "web", "-n", namespace)["spec"]
