"""Workloads of other kinds than Deployments, and what has to outlive a pod."""

from pathlib import Path

import yaml
from tests.cluster.cluster import Cluster
from tests.cluster.manifests import STAY, Json, deployment, pod, shell, text
from tests.cluster.test_harden import harden, proved
from tests.runtime.hardening import Lithify


def test_state_outlives_the_pod_that_wrote_it(
    cluster: Cluster, lithify: Lithify, app_image: str, tmp_path: Path
) -> None:
    """The claim that a plan adds is in the patch; the pod that replaces the first finds what that wrote."""
    script = f"mkdir -p /var/lib/app; test -e /var/lib/app/first || echo $HOSTNAME > /var/lib/app/first; {STAY}"
    file = tmp_path / "app.yaml"
    file.write_text(yaml.safe_dump(deployment("app", shell(script, app_image))))
    words = ("--state", "/var/lib/app=volume", "--check-inside", "test -s /var/lib/app/first", "--format", "json")
    result = proved(harden(lithify, cluster, file, *words))
    (member,) = result["members"]
    assert [mount["storage"] for mount in member["hardening"]["plan"]["mounts"]] == ["volume"]
    works = [check["name"] for check in member["hardening"]["verdict"]["works"]]
    assert "check-inside (recreated)" in works
    assert "kind: PersistentVolumeClaim" in result["text"]


def test_a_stateful_set_and_a_cron_job(cluster: Cluster, lithify: Lithify, app_image: str, tmp_path: Path) -> None:
    """One runs with a claim of its own; the other runs as the Job that it would start, and comes to its end."""
    stateful = _stateful_set(shell(f"mkdir -p /var/cache/db; date >> /data/log; {STAY}", app_image), claim="data")
    cron = _cron_job(shell("mkdir -p /var/cache/report; sleep 1; echo done", app_image))
    file = tmp_path / "two.yaml"
    file.write_text(text(stateful, cron))
    result = proved(harden(lithify, cluster, file, "--format", "json", timeout=300))
    assert _places(result) == {"StatefulSet/db/app": ["/var/cache/db"], "CronJob/report/app": ["/var/cache/report"]}


def test_a_daemon_set_and_a_replica_set(cluster: Cluster, lithify: Lithify, app_image: str, tmp_path: Path) -> None:
    """The first runs one pod, on this node only; what its hooks write has a place as well."""
    start, stop = (
        {"exec": {"command": ["sh", "-c", f"mkdir -p /var/cache/{name} && touch /var/cache/{name}/word"]}}
        for name in ("first", "last")
    )
    agent = shell(f"mkdir -p /var/cache/agent; {STAY}", app_image, lifecycle={"postStart": start, "preStop": stop})
    daemons = deployment("agent", agent)
    daemons["kind"] = "DaemonSet"
    del daemons["spec"]["replicas"]
    replicas = deployment("web", shell(f"mkdir -p /var/cache/web; {STAY}", app_image))
    replicas["kind"] = "ReplicaSet"
    file = tmp_path / "two.yaml"
    file.write_text(text(daemons, replicas))
    result = proved(harden(lithify, cluster, file, "--format", "json", timeout=400))
    assert _places(result) == {
        "DaemonSet/agent/app": ["/var/cache/agent", "/var/cache/first", "/var/cache/last"],
        "ReplicaSet/web/app": ["/var/cache/web"],
    }


def test_a_job_and_a_pod_by_itself(cluster: Cluster, lithify: Lithify, app_image: str, tmp_path: Path) -> None:
    job = deployment("once", shell("mkdir -p /var/cache/once; sleep 1", app_image))
    job |= {"apiVersion": "batch/v1", "kind": "Job"}
    job["spec"] = {"template": job["spec"]["template"], "completions": 2}
    job["spec"]["template"]["spec"]["restartPolicy"] = "Never"
    file = tmp_path / "two.yaml"
    file.write_text(text(job, pod("alone", shell(f"mkdir -p /var/cache/alone; {STAY}", app_image))))
    result = proved(harden(lithify, cluster, file, "--format", "json", timeout=400))
    assert _places(result) == {"Job/once/app": ["/var/cache/once"], "Pod/alone/app": ["/var/cache/alone"]}


def _places(result: Json) -> dict[str, list[str]]:
    return {
        member["name"]: [mount["path"] for mount in member["hardening"]["plan"]["mounts"]]
        for member in result["members"]
    }


def _stateful_set(container: Json, claim: str) -> Json:
    made = deployment("db", {**container, "volumeMounts": [{"name": claim, "mountPath": "/data"}]})
    request = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    made["kind"] = "StatefulSet"
    made["spec"] |= {
        "serviceName": "db",
        "volumeClaimTemplates": [{"metadata": {"name": claim}, "spec": request}],
    }
    return made


def _cron_job(container: Json) -> Json:
    pod = {"restartPolicy": "Never", "containers": [{**container, "imagePullPolicy": "Never"}]}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "report"},
        "spec": {"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": {"spec": pod}}}},
    }
