"""A copy of workloads gets of a quota what others leave, and what the originals use themselves."""

from typing import Any

from lithify.engines.kubernetes.copies import Json
from lithify.engines.kubernetes.quotas import quota_for


def pod(name: str, *, phase: str = "Running", init: Json | None = None, **requests: str) -> Json:
    containers = [{"name": "app", "resources": {"requests": requests, "limits": requests}}]
    spec: Json = {"containers": containers}
    if init is not None:
        spec["initContainers"] = [init]
    return {"metadata": {"name": f"{name}-1", "labels": {"app": name}}, "spec": spec, "status": {"phase": phase}}


def quota(used: Json, **hard: str) -> Json:
    names = {name.replace("_", "."): value for name, value in hard.items()}
    return {"kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": names}, "status": {"used": used}}


def room(found: Json, *pods: Json, workload: Json | None = None) -> Any:
    web = {"kind": "Deployment", "metadata": {"name": "web"}, "spec": {"selector": {"matchLabels": {"app": "web"}}}}
    return quota_for(found, pods, [workload or web])["spec"]["hard"]


def test_what_others_use_is_taken_off_and_what_the_originals_use_is_not() -> None:
    found = quota({"requests.cpu": "700m", "pods": "3"}, requests_cpu="1", pods="4")
    ended = pod("web", phase="Succeeded", cpu="9")
    pods = [pod("web", cpu="250m"), pod("web", cpu="250m"), pod("shop", cpu="200m"), ended]
    assert room(found, *pods) == {"requests.cpu": "800m", "pods": "3"}


def test_limits_of_other_objects_and_of_storage_stay() -> None:
    used = {"configmaps": "3", "requests.storage": "1Gi", "count/secrets": "2"}
    hard = {"configmaps": "3", "requests_storage": "1Gi", "count/secrets": "2"}
    assert room(quota(used, **hard)) == {"configmaps": "3", "requests.storage": "1Gi", "count/secrets": "2"}


def test_there_is_never_less_than_nothing_nor_more_than_the_limit() -> None:
    assert room(quota({"memory": "3Gi"}, memory="1Gi")) == {"memory": "0"}
    assert room(quota({"memory": "1Gi"}, memory="2Gi"), pod("web", memory="4Gi")) == {"memory": "2Gi"}


def test_an_init_container_counts_where_it_asks_for_more_and_a_sidecar_always() -> None:
    first = {"name": "init", "resources": {"requests": {"cpu": "2"}}}
    used = {"cpu": "4"}
    assert room(quota(used, cpu="5"), pod("web", cpu="1", init=first)) == {"cpu": "3"}
    beside = {**first, "restartPolicy": "Always"}
    assert room(quota(used, cpu="5"), pod("web", cpu="1", init=beside)) == {"cpu": "4"}


def test_the_pods_of_a_job_and_a_pod_by_name_are_known() -> None:
    found = quota({"pods": "2"}, pods="2")
    job = {"kind": "Job", "metadata": {"name": "web"}, "spec": {}}
    of_job = {"metadata": {"name": "web-x", "labels": {"batch.kubernetes.io/job-name": "web"}}, "spec": {}}
    assert room(found, of_job, workload=job) == {"pods": "1"}
    assert room(found, pod("web"), workload={"kind": "Pod", "metadata": {"name": "web-1"}}) == {"pods": "1"}
    nobody = {"kind": "Deployment", "metadata": {"name": "web"}, "spec": {"selector": {}}}
    assert room(found, pod("web"), workload=nobody) == {"pods": "0"}
