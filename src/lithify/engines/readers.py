"""Asks lithify itself on other nodes of a cluster, in short-lived privileged pods of ours there.

Such a pod shares the node's processes and waits; a question is a command of lithify's that is run in it, the answer
what that prints. Nothing of the node is mounted into it, nothing but the answer leaves it, and it ends by itself where
nobody takes it away. It lives in a scratch namespace (see `scratch`), gone afterwards and swept after a crash.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from lithify.engines.kubelet import HOPELESS
from lithify.engines.kubernetes import NAMESPACE, POD
from lithify.engines.process import TIMED_OUT
from lithify.engines.scratch import ACCOUNT, Json, Premises
from lithify.errors import EngineRefused, LithifyError, NotPermitted
from lithify.model.path import printable

_POLL = 0.2
_PATIENCE = 8.0
"""Seconds after which an image that can't be pulled counts as a refusal."""
_LONGEST = 300.0
"""Seconds that the pods may take until they run, their image pulled."""
_ANSWER = 300.0
"""Seconds that a question may take beyond the time that it watches."""
_LIMIT = 64 << 20
"""Bytes of an answer."""
_NOTHING = 3
"""Lithify's exit code where there is nothing to examine."""


class Readers:
    """Pods of ours, one on each node that is asked, of an image that holds lithify in the same `version` as this.

    `seconds` is for how long questions may watch.
    """

    def __init__(self, premises: Premises, image: str, version: str, seconds: float) -> None:
        self._premises = premises
        self._image = image
        self._version = version
        self._seconds = seconds
        self._namespace = ""
        self._pods: dict[str, str] = {}
        """The name of each node's pod."""

    def __enter__(self) -> "Readers":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        with suppress(*(() if error is None else (LithifyError,))):  # the first failure is the one to hear of
            self.close()

    def open(self, nodes: Iterable[str], rounds: int = 1) -> None:
        """Have a pod run on each of `nodes`, for as long as so many questions after each other take at the most.

        NotPermitted, before anything is made, with the rights that are missing; EngineRefused, with the node's name,
        where the pod is refused, does not start, or holds another lithify.
        """
        self._check_rights()
        lifetime = int(_LONGEST + (rounds + 1) * _ANSWER + rounds * self._seconds)
        self._namespace = self._premises.make_privileged("read", lifetime)
        for number, node in enumerate(nodes, 1):
            self._create(f"reader-{number}", node, lifetime)
            self._pods[node] = f"reader-{number}"
        self._await_running()
        for node in self._pods:
            self._check_version(node)

    def ask(self, node: str, words: Sequence[str]) -> bytes | None:
        """Return what `lithify WORDS` prints on a node; None where it finds nothing to examine.

        EngineRefused where it fails otherwise, takes too long or has too much to say.
        """
        timeout = self._seconds + _ANSWER
        done = self._premises.cluster.execute(
            self._pods[node], self._namespace, ["lithify", *words], timeout=timeout, limit=_LIMIT + 1, apart=True
        )
        if done.code == TIMED_OUT:
            raise EngineRefused(
                f"lithify on node {printable(node)} did not answer within {timeout:g} s",
                hint="is that node overloaded? or run lithify there",
            )
        if len(done.output) > _LIMIT:
            raise EngineRefused(
                f"lithify on node {printable(node)} answered with more than {_LIMIT >> 20} MiB",
                hint="run it on that node itself",
            )
        if done.code in (0, _NOTHING):
            return done.output if done.code == 0 else None
        told = printable(done.errors.decode("utf-8", "replace").strip().removeprefix("error: ")[:1000])
        raise EngineRefused(
            f"lithify on node {printable(node)} failed (exit code {done.code}): {told or 'it said nothing'}",
            hint=f"is {printable(self._image)} made as docs/how-to/cluster.md says?",
        )

    def close(self) -> None:
        """Have the pods removed, without waiting for them to be gone: `Premises.close` does."""
        if self._namespace:
            self._premises.remove(self._namespace)
            self._namespace = ""
        self._pods.clear()

    def _check_rights(self) -> None:
        wanted = (
            ("create", NAMESPACE, ""),
            ("delete", NAMESPACE, ""),
            ("get", NAMESPACE, ""),
            ("get", ACCOUNT, ""),
            ("create", POD, ""),
            ("list", POD, ""),
            ("delete", POD, ""),
            ("create", POD, "exec"),
        )
        cluster = self._premises.cluster
        missing = [
            f"{verb} {resource}{'/' + sub if sub else ''}"
            for verb, resource, sub in wanted
            if not cluster.allows(verb, resource, "lithify-read" if resource.namespaced else None, subresource=sub)
        ]
        if missing:
            raise NotPermitted(
                f"the context {printable(cluster.name)} may not do what reading on other nodes needs",
                hint=f"missing: the right to {', '.join(missing)}, in every namespace",
            )

    def _create(self, name: str, node: str, lifetime: int) -> None:
        made = _pod(name, self._premises.marks(self._namespace), node, self._image, lifetime)
        try:
            self._premises.cluster.create(made, self._namespace)
        except (NotPermitted, EngineRefused) as error:  # the rights were there: it is admission's word
            raise EngineRefused(
                f"the cluster refuses the pod that would read on node {printable(node)}: {error}",
                hint="its admission says why: a privileged pod that shares the node's processes has to be let in",
            ) from error

    def _await_running(self) -> None:
        begun = time.monotonic()
        waiting = {name: node for node, name in self._pods.items()}
        while waiting:
            waited = time.monotonic() - begun
            for pod in self._premises.cluster.objects(POD, self._namespace):
                node = waiting.get(str(pod["metadata"]["name"]))
                if node is not None and self._runs(pod, node, waited):
                    del waiting[str(pod["metadata"]["name"])]
            if waiting and waited > _LONGEST:
                raise self._not_started(next(iter(waiting.values())), f"it does not run after {_LONGEST:g} s")
            if waiting:
                time.sleep(_POLL)

    def _runs(self, pod: Mapping[str, Any], node: str, waited: float) -> bool:
        status = pod.get("status") or {}
        if status.get("phase") in ("Failed", "Succeeded"):
            raise self._not_started(node, str(status.get("message") or status.get("reason") or _end(status)))
        for state in _states(status):
            reason = str((state.get("waiting") or {}).get("reason"))
            if reason in HOPELESS and (waited > _PATIENCE or "Pull" not in reason or reason == "ErrImageNeverPull"):
                raise self._not_started(node, f"{reason}: {(state['waiting']).get('message') or ''}")
        return any(state.get("running") for state in _states(status))

    def _not_started(self, node: str, why: str) -> EngineRefused:
        return EngineRefused(
            f"the pod of image {printable(self._image)} that would read on node {printable(node)} does not start: "
            f"{printable(why.strip()[:500])}",
            hint="name an image that holds lithify and sleep, and that every node has or can pull, with --node-image",
        )

    def _check_version(self, node: str) -> None:
        wanted = f"lithify {self._version}"
        done = self._premises.cluster.execute(
            self._pods[node], self._namespace, ["lithify", "--version"], timeout=_ANSWER, limit=1 << 16, apart=True
        )
        found = printable((done.output or done.errors).decode("utf-8", "replace").strip()[:200])
        if done.code != 0 or found != wanted:
            what = f"says {found!r}" if done.code == 0 else f"has no lithify that can be run: {found}"
            raise EngineRefused(
                f"the image {printable(self._image)} on node {printable(node)} {what}; this is {wanted}",
                hint="name an image that holds the same version with --node-image",
            )


def _pod(name: str, marks: Mapping[str, str], node: str, image: str, lifetime: int) -> Json:
    """Return the pod that waits on a node, whatever taints that has, for questions."""
    container = {
        "name": "reader",
        "image": image,
        "command": ["sleep", str(lifetime)],
        "securityContext": {"privileged": True, "readOnlyRootFilesystem": True, "runAsUser": 0, "runAsGroup": 0},
    }
    spec = {
        "nodeName": node,
        "tolerations": [{"operator": "Exists"}],
        "hostPID": True,
        "restartPolicy": "Never",
        "activeDeadlineSeconds": lifetime,
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "containers": [container],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": dict(marks)}, "spec": spec}


def _states(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [one.get("state") or {} for one in status.get("containerStatuses") or ()]


def _end(status: Mapping[str, Any]) -> str:
    ends = [state["terminated"] for state in _states(status) if state.get("terminated")]
    return next((str(end.get("message") or end.get("reason")) for end in ends), "it ended at once")
