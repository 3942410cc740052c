"""The host that a container's processes run on: where functions are called that look at them.

What a run knows of a container beyond its engine's word, it knows from there: by /proc, by the layers, by the network.
Such functions take and give values only, and go by the number of a process, which means nothing elsewhere. Where they
are called is the one thing that differs between a container on this host and one on the node of a cluster.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import ParamSpec, Protocol, TypeVar, runtime_checkable

QUIET = 600
"""Seconds after which what answers on another host ends where it heard nothing from who asked: that may be gone."""
Given = ParamSpec("Given")
Result = TypeVar("Result")


class Host(Protocol):
    """A host whose processes, layers and networks can be looked at."""

    def call(self, function: Callable[Given, Result], /, *given: Given.args, **named: Given.kwargs) -> Result:
        """Return what `function` returns there. EngineUnreachable where the host can't be asked any more."""

    def hold(
        self, kind: Callable[Given, Result], /, *given: Given.args, **named: Given.kwargs
    ) -> AbstractContextManager[Result]:
        """Give an object made and kept there, for as long as the block lasts: only its methods can be used."""


class Here:
    """The host that lithify itself runs on."""

    def call(self, function: Callable[Given, Result], /, *given: Given.args, **named: Given.kwargs) -> Result:
        """Call it."""
        return function(*given, **named)

    def hold(
        self, kind: Callable[Given, Result], /, *given: Given.args, **named: Given.kwargs
    ) -> AbstractContextManager[Result]:
        """Make it."""
        return nullcontext(kind(*given, **named))


HERE: Host = Here()


@runtime_checkable
class Hosted(Protocol):
    """An engine or container whose containers' processes may be on another host."""

    @property
    def where(self) -> Host:
        """The host that they are on."""


def host_of(found: object) -> Host:
    """Return the host that the processes of a container, or of an engine's containers, run on."""
    return found.where if isinstance(found, Hosted) else HERE
