"""A copy of a workload never meets its original, and the original's description stays as it is."""

import copy
from typing import Any

import pytest

from lithify.engines.kubernetes.copies import Change, Copied, Json, Place, copies, needs_of, pin

POD = ("spec", "template", "spec")


def deployment(**pod: Any) -> Json:
    spec = {"containers": [{"name": "app", "image": "app"}], **pod}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop", "uid": "1", "resourceVersion": "2", "labels": {"a": "b"}},
        "spec": {"replicas": 3, "template": {"metadata": {"labels": {"app": "web"}}, "spec": spec}},
        "status": {"replicas": 3},
    }


def copied(*objects: Json, read_only: bool | None = None, idle: bool = False, pod: tuple[str, ...] = POD) -> Copied:
    """Return the copy of the first object's workload beside the others, which have no pods."""
    before = copy.deepcopy(objects)
    place = Place(object=0, pod=pod, number=0)
    found = copies(objects, [place], place, "app", Change(read_only=read_only, idle=idle))
    assert objects == before
    return found


def test_a_copy_is_one_replica_without_what_the_server_added() -> None:
    made = copied(deployment()).workload
    assert made["metadata"] == {"name": "web", "labels": {"a": "b"}}
    assert made["spec"]["replicas"] == 1
    assert "status" not in made
    assert made["spec"]["template"]["metadata"]["labels"] == {"app": "web", "lithify.dev/workload": "0"}


def test_a_copy_has_no_network_of_the_host() -> None:
    """Two processes can't listen on one port of it, the original's and the copy's."""
    found = copied(deployment(containers=[{"name": "app"}], hostNetwork=True))
    assert "hostNetwork" not in found.workload["spec"]["template"]["spec"]
    assert found.notes == ("the copy of web had a network of its own, not the host's",)


def test_host_ports_and_paths_that_could_be_written_to_are_left_out() -> None:
    container = {
        "name": "app",
        "ports": [{"containerPort": 80, "hostPort": 8080}],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "logs", "mountPath": "/l", "readOnly": True}],
    }
    volumes = [{"name": "data", "hostPath": {"path": "/srv"}}, {"name": "logs", "hostPath": {"path": "/var/log"}}]
    found = copied(deployment(containers=[container], volumes=volumes))
    spec = found.workload["spec"]["template"]["spec"]
    assert spec["containers"][0]["ports"] == [{"containerPort": 80}]
    assert spec["volumes"] == [{"name": "data", "emptyDir": {}}, {"name": "logs", "hostPath": {"path": "/var/log"}}]
    assert len(found.notes) == 2


@pytest.mark.parametrize("wanted", [True, False])
def test_only_the_members_root_is_changed(wanted: bool) -> None:
    security = {"runAsUser": 1, "readOnlyRootFilesystem": not wanted}
    others = [{"name": "app", "securityContext": security}, {"name": "beside", "securityContext": security}]
    first, second = copied(deployment(containers=others), read_only=wanted).workload["spec"]["template"]["spec"][
        "containers"
    ]
    assert first["securityContext"] == {"runAsUser": 1, "readOnlyRootFilesystem": wanted}
    assert second["securityContext"] == security


def test_services_and_claims_are_new_ones() -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {
            "type": "LoadBalancer",
            "clusterIP": "10.0.0.1",
            "loadBalancerIP": "1.2.3.4",
            "ports": [{"port": 80, "nodePort": 30000}],
        },
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "annotations": {"pv.kubernetes.io/bound-by-controller": "yes", "own": "1"}},
        "spec": {"volumeName": "pv1", "storageClassName": "fast"},
    }
    scaler = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"}}
    found = copied(deployment(), service, claim, scaler)
    assert [one["spec"] for one in found.support] == [
        {"type": "ClusterIP", "ports": [{"port": 80}]},
        {"storageClassName": "fast"},
    ]
    assert found.support[1]["metadata"]["annotations"] == {"own": "1"}
    assert found.notes == ("HorizontalPodAutoscaler/web was left out of the copy",)


def test_a_cron_job_runs_as_its_job() -> None:
    pod = {"containers": [{"name": "app"}]}
    cron = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "report"},
        "spec": {"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": {"spec": pod}}}},
    }
    found = copied(cron, idle=True, pod=("spec", "jobTemplate", "spec", "template", "spec"))
    assert (found.workload["kind"], found.workload["metadata"]["name"]) == ("Job", "report")
    assert found.template()["spec"]["containers"] == [{"name": "app", "command": ["sleep"], "args": ["86400"]}]


def test_the_pod_of_a_stateful_set_has_its_claims_when_admission_looks_at_it() -> None:
    made = deployment()
    made["kind"] = "StatefulSet"
    made["spec"]["volumeClaimTemplates"] = [{"metadata": {"name": "data"}}]
    found = copied(made)
    assert found.template()["spec"]["volumes"] == [{"name": "data", "emptyDir": {}}]
    assert "volumes" not in found.workload["spec"]["template"]["spec"]


def test_what_pods_refer_to_is_found_wherever_it_is_said() -> None:
    container = {
        "name": "app",
        "envFrom": [{"configMapRef": {"name": "env"}}, {"secretRef": {"name": "maybe", "optional": True}}],
        "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "key", "key": "a"}}}, {"name": "B", "value": "b"}],
    }
    sources = [{"secret": {"name": "projected"}}, {"configMap": {"name": "held"}}]
    volumes = [
        {"name": "a", "configMap": {"name": "volume", "optional": True}},
        {"name": "b", "projected": {"sources": sources}},
        {"name": "c", "persistentVolumeClaim": {"claimName": "data"}},
    ]
    pod = {
        "serviceAccountName": "runner",
        "imagePullSecrets": [{"name": "pull"}],
        "initContainers": [{"name": "init", "envFrom": [{"configMapRef": {"name": "volume"}}]}],
        "containers": [container],
        "volumes": volumes,
    }
    needs = needs_of([pod], [{"kind": "ConfigMap", "metadata": {"name": "held"}}])
    assert needs.config_maps == {"env": False, "volume": False}
    assert needs.secrets == {"pull": True, "projected": False, "maybe": True, "key": False}
    assert (needs.claims, needs.accounts) == (frozenset({"data"}), frozenset({"runner"}))


def test_a_pod_is_pinned_beside_what_it_asks_of_nodes() -> None:
    terms: list[Json] = [{"matchExpressions": [{"key": "disk", "operator": "Exists"}]}, {}]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    pod: Json = {"affinity": {"nodeAffinity": required, "podAffinity": {}}}
    notes: list[str] = []
    pin(pod, "one", notes)
    assert not notes
    wanted = {"key": "metadata.name", "operator": "In", "values": ["one"]}
    found = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert found == [{**terms[0], "matchFields": [wanted]}, {"matchFields": [wanted]}]


def test_a_pinned_pod_waits_for_no_other_pods() -> None:
    """They are not in its namespace, and two copies of one that keeps apart from itself are on one node."""
    apart = {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "kubernetes.io/hostname"}]}
    spread = [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]
    for asked in (
        {"affinity": {"podAntiAffinity": apart}}, {"affinity": {"podAffinity": apart}},
        {"topologySpreadConstraints": spread},
    ):  # fmt: skip
        pod: Json = dict(asked)
        notes: list[str] = []
        pin(pod, "one", notes)
        assert list(pod) == ["affinity"]
        assert list(pod["affinity"]) == ["nodeAffinity"]
        (note,) = notes
        assert "all copies ran on one" in note
