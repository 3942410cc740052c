"""Charts and kustomizations as groups: the pods that they come to are hardened, and the folder is patched."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Protocol

from lithify.engines import kustomize as kustomize_engine
from lithify.engines.helm import RELEASE, Chart
from lithify.engines.kubernetes.copies import HOOK
from lithify.errors import InvalidInput
from lithify.model.group import MemberPlan
from lithify.model.hardening import Hardening
from lithify.model.patch import Patched, PatchedFiles, Refused
from lithify.model.path import printable
from lithify.patch import helm, kustomize
from lithify.patch.helm import ChartOptions
from lithify.patch.pods import read_objects
from lithify.pipeline.groups.group import Case, Flexible, Group
from lithify.pipeline.groups.options import GroupOptions
from lithify.pipeline.groups.pods import open_pods

Writer = Callable[[bytes, Patched], PatchedFiles]
"""Takes what a folder comes to, and the same with plans in it, to the files that make it come to that."""


def is_chart(folder: str) -> bool:
    """Tell whether a folder holds a Helm chart."""
    return os.path.isfile(os.path.join(folder, "Chart.yaml"))


def is_kustomization(folder: str) -> bool:
    """Tell whether a folder is one of Kustomize."""
    return kustomize_engine.file_of(folder) is not None


def chart_writer(chart: Chart, into: str = "") -> Writer:
    """Return what writes plans for a chart: into a values file where one is named."""
    return lambda before, after: helm.patch(chart, before, after, ChartOptions(into=into))


def kustomization_writer(folder: str) -> Writer:
    """Return what writes plans for a kustomization."""
    return lambda before, after: kustomize.patch(folder, before, after)


def read_folder(
    folder: str, values: Sequence[str] = (), release: str = "", into: str = "", namespace: str = ""
) -> tuple[bytes, Writer]:
    """Return what a chart or kustomization comes to, and what writes plans for it; InvalidInput where it is neither."""
    if is_chart(folder):
        chart = Chart(folder, values=tuple(values), release=release or RELEASE, namespace=namespace)
        return chart.render(), chart_writer(chart, into)
    if is_kustomization(folder):
        return kustomize_engine.build(folder), kustomization_writer(folder)
    raise InvalidInput(
        f"{printable(folder)} is neither a chart nor a kustomization", hint="name a folder with a Chart.yaml, or a file"
    )


def open_chart(folder: str, options: GroupOptions) -> Group:
    """Return the pods of a chart as a group, as Helm renders it; EngineRefused where it does not."""
    namespace = options.cluster.namespace if options.cluster else ""
    before, writer = read_folder(folder, options.values, options.release, options.into, namespace)
    if not options.only:
        options = replace(options, only=_without_tests(before))
    return _open_rendered(folder, before, options, writer, "helm template")


def open_kustomization(folder: str, options: GroupOptions) -> Group:
    """Return the pods of a kustomization as a group, as it is built; EngineRefused where it is not."""
    before, writer = read_folder(folder)
    return _open_rendered(folder, before, options, writer, "kustomize build")


def _open_rendered(folder: str, before: bytes, options: GroupOptions, writer: Writer, kind: str) -> Group:
    """Return the pods of manifests on the cluster where one is named, else on an engine of this host."""
    if options.cluster is None:
        return RenderedGroup(inner=open_pods(folder, before, options), before=before, writer=writer, kind=kind)
    from lithify.pipeline.groups.clusters import open_cluster

    return RenderedGroup(inner=open_cluster(folder, before, options), before=before, writer=writer, kind=kind)


class ManifestGroup(Group, Flexible, Protocol):
    """Containers of a manifest, wherever they run."""

    def called(self) -> Mapping[str, str]:
        """Return each member by how a patch of a rendered manifest names its container."""


@dataclass(frozen=True, kw_only=True)
class RenderedGroup(AbstractContextManager["RenderedGroup"]):
    """Pods that a folder comes to."""

    inner: ManifestGroup
    before: bytes
    writer: Writer
    kind: str
    """What makes manifests of the folder."""

    def __exit__(self, *error: object) -> None:
        if isinstance(self.inner, AbstractContextManager):
            self.inner.__exit__(None, None, None)

    @property
    def name(self) -> str:
        """The folder."""
        return self.inner.name

    @property
    def engine(self) -> str:
        """`helm template, pod on docker`."""
        return f"{self.kind}, {self.inner.engine}"

    @property
    def text(self) -> bytes:
        """The manifests that the folder comes to as it is."""
        return self.before

    @property
    def members(self) -> Sequence[str]:
        """Every container of the manifests."""
        return self.inner.members

    @property
    def cannot_show(self) -> tuple[str, ...]:
        """What the pods alone leave open."""
        hooks = any(HOOK in ((item.get("metadata") or {}).get("annotations") or {}) for item in self._objects())
        note = "Helm's hooks ran as pods of their own, not in the order of a release" if hooks else ""
        return (*self.inner.cannot_show, *filter(None, [note]))

    def engine_for(self, member: str, plans: Mapping[str, MemberPlan]) -> Case:
        """Return what runs a container in its pod."""
        return self.inner.engine_for(member, plans)

    def patch(self, plans: Mapping[str, MemberPlan]) -> Patched:
        """Return the files of the folder with the plans in them, and what it comes to then."""
        patched = self.inner.patch(plans)
        written = self.writer(self.before, patched)
        names = self.inner.called()
        refused = tuple(replace(each, container=names.get(each.container, each.container)) for each in written.refused)
        command = (f"from now on: {' '.join(written.command)}",) if written.command else ()
        return Patched(
            text=written.manifests or self.before,
            changes=written.changes,
            refused=refused,
            notes=(*written.notes, *command),
            files=written.files,
            folder=True,
        )

    def try_otherwise(self, member: str, failed: Hardening) -> bool:
        """Write the member's plan otherwise, where its pod knows how."""
        return self.inner.try_otherwise(member, failed)

    def unsaid(self) -> Mapping[str, Refused]:
        """Return the plans that no manifest can say."""
        return self.inner.unsaid()

    def as_patched(self, patched: Patched) -> Group | None:
        """Return the pods that the patched folder comes to; None where that could not be tried."""
        if patched.text == self.before:
            return None
        return self.inner.as_patched(patched)

    def _objects(self) -> list[dict[str, Any]]:
        return read_objects(self.before)


def _without_tests(rendered: bytes) -> tuple[str, ...]:
    """Return the containers to harden where a chart has pods for `helm test`, which no release runs; else nothing."""
    names: list[str] = []
    left_out = False
    for item in read_objects(rendered):
        metadata = item.get("metadata") or {}
        hooks = str((metadata.get("annotations") or {}).get(HOOK) or "").split(",")
        if any(hook.strip().startswith("test") for hook in hooks):
            left_out = True
            continue
        from lithify.patch.pods import pods_of

        for _, pod in pods_of(item):
            listed = [*(pod.get("initContainers") or []), *(pod.get("containers") or [])]
            names += [f"{item.get('kind')}/{metadata.get('name')}/{container.get('name')}" for container in listed]
    return tuple(names) if left_out else ()
