"""What the replicas of a workload have written, on all nodes.

Those whose processes are in reach are read here, the others by lithify in a pod on their node.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import Event

from lithify import __version__
from lithify.engines.kubernetes.copies import Json
from lithify.engines.kubernetes.readers import Readers
from lithify.engines.kubernetes.scratch import Premises
from lithify.engines.node.kubelet import PodContainer, ProcessFinder
from lithify.errors import EngineRefused, NothingToExamine
from lithify.model.path import printable
from lithify.model.run import Target, TargetKind
from lithify.model.writes import WriteSet
from lithify.pipeline.elsewhere import PATIENCE, NodeHost
from lithify.pipeline.learn import learn_pod, learn_process

_AT_ONCE = 8
"""Containers that are read at the same time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One container of one pod of a workload."""

    member: str
    """What its container is called among all of the workload."""
    container: str
    pod: Json

    @property
    def uid(self) -> str:
        """The pod's."""
        return str(self.pod["metadata"].get("uid", ""))

    @property
    def node(self) -> str:
        """The name of the node that it is on; nothing while it is on none."""
        return str((self.pod.get("spec") or {}).get("nodeName") or "")

    @property
    def runs(self) -> bool:
        """Tell whether the API server has it as running."""
        return (self._status.get("state") or {}).get("running") is not None

    @property
    def image(self) -> str:
        """The digest of its image, else its name."""
        named = str(self._status.get("imageID") or "").rpartition("@")[2].removeprefix("docker://")
        return named or str(self._status.get("image") or "")

    @property
    def _status(self) -> Json:
        status = self.pod.get("status") or {}
        every = (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ()))
        return next((one for one in every if one.get("name") == self.container), {})

    def __str__(self) -> str:
        return f"{self.pod['metadata']['name']}/{self.container}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """How replicas are looked at."""

    seconds: float = 0.0
    """For how long, beyond what they have written so far."""
    live: bool = True
    """Names are watched as they come and go meanwhile."""
    node_image: str | None = None
    """What pods on nodes run that can't be looked into from here; None leaves these out."""


def learn_replicas(
    premises: Premises, replicas: Sequence[Replica], watch: Watch
) -> tuple[Mapping[str, tuple[WriteSet, ...]], list[str]]:
    """Return what all of `replicas` that run have written, by member, and notes on what was not seen."""
    running = [one for one in replicas if one.runs and one.node]
    engine = f"cluster {premises.cluster.name}"
    here = {id(one): pid for one in running if (pid := _pid(one))}
    elsewhere = [one for one in running if id(one) not in here]
    nodes = sorted({one.node for one in elsewhere})
    notes = []
    if nodes and watch.node_image is None:
        unread, pods = {one.uid for one in elsewhere}, {one.uid for one in running}
        notes.append(
            f"{len(unread)} of {len(pods)} pods can't be looked into from here (on "
            f"{', '.join(map(printable, nodes))}), so that what they wrote was not read: name an image that holds "
            "lithify with --node-image"
        )
        elsewhere = []
    # The readers go first, also after a failure: with their pods end the questions that threads still wait for.
    readers = Readers(premises, watch.node_image or "", __version__)
    cancelled = Event()
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool, readers, _cancelling(cancelled, pool):
        if elsewhere:
            rounds = -(-len(running) // _AT_ONCE)
            readers.open(nodes, lifetime=(rounds + 1) * (PATIENCE + watch.seconds))
        hosts = {node: NodeHost(readers, node, watch.seconds) for node in nodes}

        def learn(replica: Replica) -> WriteSet | None:
            pid = here.get(id(replica))
            if pid:
                found = _learn_here(engine, replica, pid, watch, cancelled)
            else:
                host = hosts[replica.node]
                found = host.call(learn_pod, replica.uid, replica.container, watch.seconds, live=watch.live)
            return _as_of(replica, engine, found) if found else None

        wanted = [*(one for one in running if id(one) in here), *elsewhere]
        known: dict[str, tuple[WriteSet, ...]] = {}
        learning = [pool.submit(learn, one) for one in wanted]
        for one in as_completed(learning):
            one.result()  # a failure is heard of when it happens, not when those before it are done
        for replica, done in zip(wanted, learning, strict=True):
            if (found := done.result()) is not None:
                known[replica.member] = (*known.get(replica.member, ()), found)
    return known, notes


@contextmanager
def _cancelling(cancelled: Event, pool: ThreadPoolExecutor) -> Iterator[None]:
    """Set `cancelled`, and begin nothing more, where the block fails or is interrupted."""
    try:
        yield
    except BaseException:
        cancelled.set()
        pool.shutdown(wait=False, cancel_futures=True)
        raise


def _pid(replica: Replica) -> int:
    """Return the pid of its first process; 0 where that is not to be seen, or not to be looked into, from here."""
    found = ProcessFinder(replica.container).first_process(replica.uid) if os.geteuid() == 0 else None
    return found[0] if found else 0


def _learn_here(engine: str, replica: Replica, pid: int, watch: Watch, cancelled: Event) -> WriteSet | None:
    target = Target(kind=TargetKind.POD, engine=engine, reference=str(replica))
    try:
        view = PodContainer(pid, str(replica))
        return learn_process(engine, view, target, watch.seconds, lambda _: None, live=watch.live, cancelled=cancelled)
    except (NothingToExamine, EngineRefused):  # it ended meanwhile
        return None


def _as_of(replica: Replica, engine: str, found: WriteSet) -> WriteSet:
    """Return a write set as one of the workload: of its image, under the name of its container."""
    key = replace(found.key, engine=engine, image=replica.image or found.key.image)
    digest = replica.image if replica.image.startswith("sha256:") else found.image.digest
    return replace(found, key=key, container=replica.container, image=replace(found.image, digest=digest))
