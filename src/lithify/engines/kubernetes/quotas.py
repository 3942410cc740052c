"""What a copy of workloads gets of their namespace's quotas: plain JSON in, plain JSON out, nothing is sent.

A copy stands for the originals: what these use is there for it, what others use is taken off. Counted are pods and what
they ask for; the limits on other objects and on storage stay as they are, since the copy's are copies themselves.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lithify.engines.kubernetes.copies import Json, containers_of, strip
from lithify.model.quantity import parse_thousandths, render_thousandths

_OF_PODS = ("pods", "count/pods")
_BARE = ("cpu", "memory", "ephemeral-storage")
"""What a quota may call the requests of without saying so."""
_JOB_LABELS = ("batch.kubernetes.io/job-name", "job-name")
_ENDED = ("Succeeded", "Failed")


def quota_for(quota: Mapping[str, Any], pods: Sequence[Mapping[str, Any]], workloads: Sequence[Json]) -> Json:
    """Return a quota for a copy of `workloads`, by what `pods` of the namespace use of the one that is there.

    Where a quota is about some of the pods only (its scopes), those of the workloads count as if they were among them:
    too much room is a milder mistake than too little.
    """
    made = strip(quota)
    own = [pod for pod in pods if any(_is_of(pod, workload) for workload in workloads)]
    used = (quota.get("status") or {}).get("used") or {}
    spec: Json = made.get("spec") or {}
    hard: Json = spec.setdefault("hard", {})
    for name, limit in hard.items():
        if name in used and (amounts := _amounts(name, own)) is not None:
            others = max(parse_thousandths(str(used[name])) - sum(amounts), 0)
            if others:
                hard[name] = render_thousandths(max(parse_thousandths(str(limit)) - others, 0))
    return made


def _is_of(pod: Mapping[str, Any], workload: Mapping[str, Any]) -> bool:
    """Tell whether a pod is a workload's, by its selector or as its Job's or by name."""
    metadata, spec = pod["metadata"], workload.get("spec") or {}
    labels = metadata.get("labels") or {}
    name = (workload.get("metadata") or {}).get("name")
    if workload.get("kind") == "Pod":
        return bool(metadata.get("name") == name)
    if workload.get("kind") == "Job" and any(labels.get(label) == name for label in _JOB_LABELS):
        return True
    selector = spec.get("selector") or {}
    wanted: Json = (selector.get("matchLabels") if "matchLabels" in selector else selector) or {}
    return bool(wanted) and all(labels.get(key) == value for key, value in wanted.items())


def _amounts(name: str, pods: Iterable[Mapping[str, Any]]) -> list[int] | None:
    """Return what each of `pods` uses of a quota's resource, in thousandths; None where that is no matter of pods."""
    alive = [pod for pod in pods if (pod.get("status") or {}).get("phase") not in _ENDED]
    if name in _OF_PODS:
        return [1000] * len(alive)
    kind, _, resource = ("requests", "", name) if name in _BARE else name.partition(".")
    if kind not in ("requests", "limits") or resource == "storage" or not resource:
        return None
    return [_asked(pod.get("spec") or {}, kind, resource) for pod in alive]


def _asked(pod: Mapping[str, Any], kind: str, resource: str) -> int:
    """Return what a pod counts for: its containers together, or its hungriest init container (Kubernetes docs)."""
    together, first = 0, 0
    for group, container in containers_of(pod):
        amount = parse_thousandths(str(((container.get("resources") or {}).get(kind) or {}).get(resource) or 0))
        if group == "containers" or container.get("restartPolicy") == "Always":
            together += amount
        else:
            first = max(first, amount)
    overhead = (pod.get("overhead") or {}).get(resource) or 0
    return max(together, first) + parse_thousandths(str(overhead))
