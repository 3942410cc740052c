"""Asks lithify itself on other nodes of a cluster, in short-lived privileged pods of ours there.

Such a pod shares the node's processes and network and waits; what is asked and answered are lines, over the standard
streams of a `lithify answer` that is run in it. Nothing of the node is mounted into it, nothing but the answers leaves
it, and it ends by itself some minutes after the last that was run in it. It lives in a scratch namespace (see
`scratch`), gone afterwards and swept after a crash.
"""

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from threading import Event, Lock, Thread
from typing import Any

from lithify.engines.host import QUIET
from lithify.engines.kubernetes.client import NAMESPACE, POD
from lithify.engines.kubernetes.scratch import ACCOUNT, Json, Premises
from lithify.engines.kubernetes.streams import ERRORS, OUTPUT, Streams
from lithify.engines.node.kubelet import HOPELESS
from lithify.errors import EngineRefused, EngineUnreachable, LithifyError, NotPermitted
from lithify.model.path import printable

_POLL = 0.2
_PATIENCE = 8.0
"""Seconds after which an image that can't be pulled, or a pod that no node takes, counts as a refusal."""
_LONGEST = 300.0
"""Seconds that the pods may take until they run, their image pulled."""
_VERSION = 300.0
"""Seconds that an image may take to tell its version."""
_LIMIT = 64 << 20
"""Bytes of an answer."""
_ALIVE = 20.0
"""Seconds between two signs of life on lines that nobody uses."""
_WORDS = 4096
"""Bytes of what lithify on a node says beside its answers that are kept for an error."""


class Line:
    """A `lithify answer` on a node, for one question at a time."""

    def __init__(self, streams: Streams, node: str) -> None:
        self._streams = streams
        self._node = node
        self._rest = bytearray()
        self._errors = b""
        self._used = Lock()
        self.lost = False
        """A sign of life could not be given."""

    def ask(self, question: bytes, timeout: float) -> bytes:
        """Return the line that it answers; the first question is none, and answered by who it is.

        EngineUnreachable where it is gone, or there is no answer in time, or too much of one.
        """
        deadline = time.monotonic() + timeout
        with self._used:
            if question:
                self._streams.send(question + b"\n")
            searched = 0
            while (end := self._rest.find(b"\n", searched)) < 0:
                searched = len(self._rest)
                self._receive(deadline, timeout)
            line = bytes(self._rest[:end])
            del self._rest[: end + 1]
        return line

    def _receive(self, deadline: float, timeout: float) -> None:
        try:
            received = self._streams.receive(deadline)
        except TimeoutError:
            raise EngineUnreachable(
                f"lithify on node {printable(self._node)} did not answer within {timeout:g} s",
                hint="is that node overloaded? or run lithify there",
            ) from None
        if received is None:
            said = printable(self._errors.decode("utf-8", "replace").strip())
            raise EngineUnreachable(
                f"lithify on node {printable(self._node)} ended: {said or 'it said nothing'}",
                hint="see what it says, then run this again",
            )
        channel, data = received
        if channel == ERRORS:
            self._errors = (self._errors + data)[-_WORDS:]
        if channel != OUTPUT:
            return
        self._rest += data
        if len(self._rest) > _LIMIT:
            raise EngineUnreachable(
                f"lithify on node {printable(self._node)} answered with more than {_LIMIT >> 20} MiB",
                hint="run it on that node itself",
            )

    @property
    def in_use(self) -> bool:
        """Tell whether somebody waits for an answer."""
        return self._used.locked()

    def keep_alive(self) -> None:
        """Give a sign of life, unless it is in use."""
        if self._used.acquire(blocking=False):
            try:
                self._streams.send(b"\n")
            except EngineUnreachable:
                self.lost = True
            finally:
                self._used.release()

    def close(self) -> None:
        """Close it: lithify there ends."""
        self._streams.close()


class Readers:
    """Pods of ours, one on each node that is asked, of an image that holds lithify in the same `version` as this."""

    def __init__(self, premises: Premises, image: str, version: str) -> None:
        self._premises = premises
        self._image = image
        self._version = version
        self._namespace = ""
        self._pods: dict[str, str] = {}
        """The name of each node's pod."""
        self._lines: set[Line] = set()
        self._closed = Event()

    def __enter__(self) -> "Readers":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        with suppress(*(() if error is None else (LithifyError,))):  # the first failure is the one to hear of
            self.close()

    def open(self, nodes: Iterable[str], lifetime: float) -> None:
        """Have a pod run on each of `nodes` for `lifetime` seconds at the most, whatever taints these have.

        NotPermitted, before anything is made, with the rights that are missing; EngineRefused, with the node's name,
        where the pod is refused, does not start, or holds another lithify.
        """
        self._open([{"nodeName": node, "tolerations": [{"operator": "Exists"}]} for node in nodes], lifetime)

    def place(self, demands: Mapping[str, Any], lifetime: float) -> str:
        """Have a pod run on a node of the scheduler's choice, and return that; raises as `open` does.

        `demands` are those fields of a pod's spec that say which nodes can have it.
        """
        self._open([demands], lifetime)
        (node,) = self._pods
        return node

    def _open(self, demands: Iterable[Mapping[str, Any]], lifetime: float) -> None:
        self._check_rights()
        self._namespace = self._premises.make_privileged("read", lifetime)
        waiting = {}
        for number, demanded in enumerate(demands, 1):
            waiting[f"reader-{number}"] = node = str(demanded.get("nodeName") or "")
            self._create(f"reader-{number}", node, demanded, int(lifetime))
        self._await_running(waiting)
        for node in self._pods:
            self._check_version(node)
        Thread(target=self._keep_alive, name="readers", daemon=True).start()

    def line(self, node: str) -> Line:
        """Return a new line to lithify on a node."""
        streams = self._premises.cluster.streams(self._pods[node], self._namespace, ["lithify", "answer"], talks=True)
        line = Line(streams, node)
        self._lines.add(line)
        return line

    def drop(self, line: Line) -> None:
        """Close a line."""
        self._lines.discard(line)
        line.close()

    def fate(self, node: str) -> str:
        """Return what became of the pod on a node; nothing where it runs, or nobody can tell."""
        with suppress(LithifyError):
            pod = self._premises.cluster.get(POD, self._pods[node], self._namespace)
            if pod is None or pod["metadata"].get("deletionTimestamp"):
                return "its pod was removed"
            status = pod.get("status") or {}
            if status.get("phase") in ("Failed", "Succeeded"):
                return f"its pod ended: {printable(_why_ended(status)[:500])}"
        return ""

    def close(self) -> None:
        """Have the pods removed, without waiting for them to be gone: `Premises.close` does."""
        self._closed.set()
        if self._namespace:
            self._premises.remove(self._namespace)
            self._namespace = ""
        for line in tuple(self._lines):
            if not line.in_use:  # whoever uses it hears of the end, and drops it
                self.drop(line)

    def _keep_alive(self) -> None:
        while not self._closed.wait(_ALIVE):
            for line in tuple(self._lines):
                line.keep_alive()

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
                f"the context {printable(cluster.name)} may not do what looking into other nodes needs",
                hint=f"missing: the right to {', '.join(missing)}, in every namespace",
            )

    def _create(self, name: str, node: str, demanded: Mapping[str, Any], lifetime: int) -> None:
        made = waiting_pod(name, self._premises.marks(self._namespace), demanded, self._image, lifetime)
        try:
            self._premises.cluster.create(made, self._namespace)
        except (NotPermitted, EngineRefused) as error:  # the rights were there: it is admission's word
            raise EngineRefused(
                f"the cluster refuses the pod that would look into {_called(node)}: {error}",
                hint="its admission says why: a privileged pod that shares the node's processes has to be let in",
            ) from error

    def _await_running(self, waiting: dict[str, str]) -> None:
        begun = time.monotonic()
        while waiting:
            waited = time.monotonic() - begun
            for pod in self._premises.cluster.objects(POD, self._namespace):
                name, placed = str(pod["metadata"]["name"]), str((pod.get("spec") or {}).get("nodeName") or "")
                if name in waiting and self._runs(pod, placed, waited):
                    self._pods[placed] = name
                    del waiting[name]
            if waiting and waited > _LONGEST:
                raise self._not_started(next(iter(waiting.values())), f"it does not run after {_LONGEST:g} s")
            if waiting:
                time.sleep(_POLL)

    def _runs(self, pod: Mapping[str, Any], node: str, waited: float) -> bool:
        status = pod.get("status") or {}
        if status.get("phase") in ("Failed", "Succeeded"):
            raise self._not_started(node, _why_ended(status))
        for condition in status.get("conditions") or ():
            if condition.get("reason") == "Unschedulable" and waited > _PATIENCE:
                raise self._not_started(node, f"no node takes it: {condition.get('message')}")
        for state in _states(status):
            reason = str((state.get("waiting") or {}).get("reason"))
            if reason in HOPELESS and (waited > _PATIENCE or "Pull" not in reason or reason == "ErrImageNeverPull"):
                raise self._not_started(node, f"{reason}: {(state['waiting']).get('message') or ''}")
        return any(state.get("running") for state in _states(status))

    def _not_started(self, node: str, why: str) -> EngineRefused:
        return EngineRefused(
            f"the pod of image {printable(self._image)} that would look into {_called(node)} does not start: "
            f"{printable(why.strip()[:500])}",
            hint="name one with --node-image that holds lithify, sh and sleep, and that every node has or can pull",
        )

    def _check_version(self, node: str) -> None:
        wanted = f"lithify {self._version}"
        done = self._premises.cluster.execute(
            self._pods[node], self._namespace, ["lithify", "--version"], timeout=_VERSION, limit=1 << 16, apart=True
        )
        found = printable((done.output or done.errors).decode("utf-8", "replace").strip()[:200])
        if done.code != 0 or found != wanted:
            what = f"says {found!r}" if done.code == 0 else f"has no lithify that can be run: {found}"
            raise EngineRefused(
                f"the image {printable(self._image)} on node {printable(node)} {what}; this is {wanted}",
                hint="name an image that holds the same version with --node-image",
            )


_WAIT = """\
n=0
while [ $n -lt "$1" ]; do
  sleep 5
  n=$((n + 5))
  for p in /proc/[0-9]*; do
    if [ "$p/root" -ef / ] && read -r c; then
      case $c in sh | sleep) ;; *) n=0 ;; esac
    fi <$p/comm
  done 2>/dev/null
done
"""
"""Waits until nothing but this was run below the same root for as long; the pod sees all processes of its node."""


def waiting_pod(
    name: str, marks: Mapping[str, str], demanded: Mapping[str, Any], image: str, lifetime: int, quiet: int = QUIET
) -> Json:
    """Return the pod that waits on a node for questions, until there were none for `quiet` seconds."""
    container = {
        "name": "reader",
        "image": image,
        "command": ["sh", "-c", _WAIT, "sh", str(quiet)],
        "securityContext": {"privileged": True, "readOnlyRootFilesystem": True, "runAsUser": 0, "runAsGroup": 0},
    }
    spec = {
        **demanded,
        "hostPID": True,
        "hostNetwork": True,
        "restartPolicy": "Never",
        "activeDeadlineSeconds": lifetime,
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "containers": [container],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": dict(marks)}, "spec": spec}


def _called(node: str) -> str:
    return f"node {printable(node)}" if node else "a node"


def _states(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [one.get("state") or {} for one in status.get("containerStatuses") or ()]


def _why_ended(status: Mapping[str, Any]) -> str:
    told = ": ".join(str(status[key]) for key in ("reason", "message") if status.get(key))
    ends = [state["terminated"] for state in _states(status) if state.get("terminated")]
    return told or next((str(end.get("message") or end.get("reason")) for end in ends), "it ended at once")
