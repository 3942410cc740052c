"""What the user said about containers that run together."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lithify.engines.kubernetes.client import Cluster
from lithify.errors import UsageError
from lithify.model.path import printable
from lithify.model.run import Exercise
from lithify.patch.kubernetes import Options
from lithify.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterOptions:
    """Which cluster a proof is made on, and as what namespace's guest."""

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str = ""
    """Whose config maps, secrets, claims, limits, ... are copied; empty for the manifest's own, else the context's."""

    def connect(self) -> Cluster:
        """Return a connection; nothing is sent yet."""
        return Cluster.connect(kubeconfig=self.kubeconfig, context=self.context)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupOptions:
    """What the user said about a group besides naming it."""

    settings: Settings = field(default_factory=Settings)
    exercise: Exercise = field(default_factory=Exercise)
    """Holds for every member that is hardened; where it does not decide, the group's own checks do."""
    only: tuple[str, ...] = ()
    """Members to harden, by name; all where there is none."""
    cluster: ClusterOptions | None = None
    """Where the pods run; None for an engine of this host."""
    images: Mapping[str, Path] = field(default_factory=dict)
    """What stands for an image on the bundle engine: a root filesystem directory, a layout, an archive."""
    beside: tuple[Path, ...] = ()
    """Files or folders with what the file refers to and does not hold: config maps, secrets."""
    manifest: Options = field(default_factory=Options)
    """What a patch of a manifest may rely on."""
    values: tuple[str, ...] = ()
    """Values files of a chart."""
    release: str = ""
    into: str = ""
    """The values file that a chart's patch is written into; a new one in the chart's folder otherwise."""

    def insist_on(self, path: str, names: Iterable[str], shown: Iterable[str]) -> None:
        """Raise UsageError where a member that was asked for is none of `names`; `shown` are those to choose from."""
        known = frozenset(names)
        for name in self.only:
            if name not in known:
                raise UsageError(
                    f"--service, --container: {printable(path)} has no {printable(name)}",
                    hint=f"it has {', '.join(map(printable, shown)) or 'none at all'}",
                )
