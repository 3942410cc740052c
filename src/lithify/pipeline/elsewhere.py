"""A node of a cluster as a host whose processes are looked at from another machine."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, ParamSpec, TypeVar, cast

from lithify import __version__
from lithify.engines.kubernetes.copies import Json
from lithify.engines.kubernetes.readers import Line, Readers
from lithify.engines.kubernetes.scratch import LIFETIME, Premises
from lithify.engines.node.kubelet import sees_pods
from lithify.errors import EngineRefused, EngineUnreachable, LithifyError, NothingToExamine, NotPermitted
from lithify.model.path import printable
from lithify.pipeline.questions import check_greeting, spell, understand

PATIENCE = 300.0
"""Seconds that an answer may take, beyond the time for which it was asked to watch."""

Given = ParamSpec("Given")
Result = TypeVar("Result")


class NodeHost:
    """A node that a pod of ours is on; `seconds` is for how long what is called there may watch.

    Calls of several threads go over several lines, which are kept for the next; what is held has one of its own.
    """

    def __init__(self, readers: Readers, node: str, seconds: float = 0.0) -> None:
        self._readers = readers
        self._node = node
        self._patience = PATIENCE + seconds
        self._idle: list[Line] = []

    def call(self, function: Callable[Given, Result], /, *given: Given.args, **named: Given.kwargs) -> Result:
        """Return what `function` returns there; raises what it raised, EngineUnreachable where the node is gone."""
        with self._line() as line:
            return cast(Result, self._ask(line, function, given, named))

    @contextmanager
    def _hold(self, kind: Any, given: tuple[Any, ...], named: Mapping[str, Any]) -> Iterator[Any]:
        with self._line() as line:
            self._ask(line, kind, given, named)
            yield _Held(lambda method, *given, **named: self._ask(line, getattr(kind, method), given, named))

    def hold(
        self, kind: Callable[Given, Result], /, *given: Given.args, **named: Given.kwargs
    ) -> AbstractContextManager[Result]:
        """Give what stands for an object that is made and kept there."""
        return self._hold(kind, given, named)

    @contextmanager
    def _line(self) -> Iterator[Line]:
        """Give a line that nobody else uses; one on which anything went wrong is not used again."""
        line = self._take() or self._open()
        try:
            yield line
        except BaseException:
            self._readers.drop(line)
            raise
        self._idle.append(line)

    def _take(self) -> Line | None:
        while True:
            try:
                line = self._idle.pop()
            except IndexError:
                return None
            if not line.lost:
                return line
            self._readers.drop(line)

    def _open(self) -> Line:
        with self._losing():
            line = self._readers.line(self._node)
            try:
                check_greeting(line.ask(b"", PATIENCE), self._name)
            except BaseException:
                self._readers.drop(line)
                raise
            return line

    def _ask(self, line: Line, function: Callable[..., Any], given: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        with self._losing():
            answer = line.ask(spell(function, given, named), self._patience)
        return understand(answer, function, self._name)

    @contextmanager
    def _losing(self) -> Iterator[None]:
        """Tell of a node that is lost with what became of the pod there."""
        try:
            yield
        except (EngineRefused, NotPermitted):
            raise
        except (EngineUnreachable, NothingToExamine) as error:
            fate = self._readers.fate(self._node)
            raise EngineUnreachable(
                f"node {printable(self._node)} can't be looked into any more: {fate or error}",
                hint="nothing of the run is left but what the next start removes; see the node, then start again",
            ) from error

    @property
    def _name(self) -> str:
        return f"the answer of node {printable(self._node)}"


class _Held:
    """Stands for an object on another host: has its methods."""

    def __init__(self, ask: Callable[..., Any]) -> None:
        self._ask = ask

    def __getattr__(self, method: str) -> Callable[..., Any]:
        return lambda *given, **named: self._ask(method, *given, **named)


def settle(premises: Premises, image: str | None, pods: Sequence[Json]) -> None:
    """Have copies of `pods` run where they can be looked into: on this host where it is a node, else by a pod of ours.

    That is of `image`, and on a node that the scheduler would give to the pods as well. Raises as `Readers.place` does,
    EngineUnreachable where there is no image and this host is no node.
    """
    if image is None:
        premises.node()
        return
    if sees_pods():
        try:
            premises.node()
        except EngineUnreachable:  # pods of another cluster
            pass
        else:
            return
    readers = Readers(premises, image, __version__)
    try:
        node = readers.place(_demands(pods), LIFETIME)
        premises.settle(node, NodeHost(readers, node), readers.close)
    except BaseException:
        with suppress(LithifyError):
            readers.close()
        raise


def _demands(pods: Sequence[Json]) -> Json:
    """Return what pods that are to run on one node say about it, other pods aside."""
    selected = {"kubernetes.io/os": "linux"}
    tolerated: list[Any] = []
    for pod in pods:
        selected |= pod.get("nodeSelector") or {}
        tolerated += pod.get("tolerations") or ()
    affine = [found for pod in pods if (found := (pod.get("affinity") or {}).get("nodeAffinity"))]
    affinity = {"affinity": {"nodeAffinity": affine[0]}} if affine else {}
    return {"nodeSelector": selected, "tolerations": tolerated, **affinity}
