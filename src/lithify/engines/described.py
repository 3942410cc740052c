"""What engines have in common whose containers a manifest describes: there is little else to say about them."""

from collections.abc import Mapping

from lithify.engines.base import Container, RunCommand
from lithify.model.mount import MountPlan
from lithify.model.run import Target


class DescribedEngine:
    """Answers for containers that have no command line, publish nothing and are found by other ways than a name."""

    def render(self, target: Target, plan: MountPlan) -> RunCommand:  # noqa: ARG002 - a pod has no command line
        """Return no command: what starts a pod as planned is its patched manifest."""
        return RunCommand(command=())

    def ports(self, target: Target) -> Mapping[int, int]:  # noqa: ARG002
        """Return nothing: a pod's ports are reached at its own address."""
        return {}

    def attach(self, reference: str) -> Container | None:  # noqa: ARG002
        """Return None: a live workload is learnt from by its own way, and pods exist in clusters only."""
        return None
