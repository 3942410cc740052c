"""What an engine of workflows makes of a template: what holds for all, defaults, patches, each found at its place."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lithify.documents.nodes import Node
from lithify.model.workload import Container
from lithify.sources import custom
from lithify.sources.manifest import read_manifest

WORKFLOW = "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nspec:\n"


def containers(text: str) -> list[Container]:
    """Return every container of a manifest."""
    reading = read_manifest("m.yaml", text.encode())
    return [container for workload in reading.workloads for container in workload.containers]


def test_what_a_workflow_says_for_all_holds_for_its_templates() -> None:
    """Volumes, claims and the security context of its pods stand once, above the templates."""
    first, second, third = containers(
        WORKFLOW + "  securityContext: {runAsUser: 7}\n"
        "  volumes: [{name: h, hostPath: {path: /etc}}]\n"
        "  volumeClaimTemplates: [{metadata: {name: c}}]\n"
        "  templates:\n"
        "  - container: {image: a, volumeMounts: [{name: h, mountPath: /h}, {name: c, mountPath: /c}]}\n"
        "  - {securityContext: {runAsNonRoot: true}, script: {image: b}}\n"
        "  - volumes: [{name: t, emptyDir: {}}]\n"
        "    containerSet:\n      volumeMounts: [{name: h, mountPath: /all}]\n"
        "      containers: [{name: s, image: c, volumeMounts: [{name: t, mountPath: /t}]}]\n"
    )
    assert [(mount.volume.kind, mount.volume.host_path) for mount in first.mounts] == [
        ("hostPath", "/etc"),
        ("persistentVolumeClaim", ""),
    ]
    assert first.mounts[0].volume.location.route == ("spec", "volumes", 0)
    assert (first.security.run_as_user, second.security.run_as_user, third.security.run_as_user) == (7, None, 7)
    assert second.security.run_as_non_root
    mount, common = third.mounts
    assert (mount.volume.kind, mount.volume.location.route) == ("emptyDir", ("spec", "templates", 2, "volumes", 0))
    assert (common.path, common.volume.host_path) == ("/all", "/etc")
    assert [len(one.workload.volumes) for one in (first, second, third)] == [2, 0, 1]


def test_what_holds_for_all_may_not_multiply() -> None:
    """A thousand mounts in the defaults of a thousand templates: what is left is told, and not judged."""
    mounts = ", ".join(f"{{name: v, mountPath: /{number}}}" for number in range(1000))
    text = f"  templateDefaults: {{container: {{image: a, volumeMounts: [{mounts}]}}}}\n  templates:\n"
    reading = read_manifest("m.yaml", (WORKFLOW + text + "  - container: {args: [x]}\n" * 1000).encode())
    assert 0 < len(reading.workloads) < 100
    assert ["the rest is not judged" in one.message for one in reading.oddities] == [True]


@pytest.mark.parametrize(
    "said",
    [
        "templateDefaults: {" + ", ".join(f"k{one}: v" for one in range(5000)) + "}",
        f"podSpecPatch: '{{a: {'x' * 50000}}}'",
    ],
)
def test_what_aliases_lead_to_is_read_once(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a workflow within a workflow, as often as there are some."""
    key, _, value = said.partition(": ")
    below: list[Node] = []
    real = custom._below

    def counted(root: Node) -> Iterator[Node]:
        below.append(root)
        return real(root)

    monkeypatch.setattr(custom, "_below", counted)
    parts = f"  - {{templates: [], {key}: *a}}\n" * 50
    (one,) = containers(WORKFLOW + f"  a: &a {value}\n  l:\n{parts}  templates: [{{container: {{image: x}}}}]\n")
    assert one.image == "x"
    assert len([root for root in below if root is not None]) == 1


@pytest.mark.parametrize("template", ["text", "[a, b]", "3"])
def test_what_is_no_template_of_a_pod_says_nothing(template: str) -> None:
    """The step is judged all the same."""
    head = "apiVersion: tekton.dev/v1\nkind: TaskRun\nspec:\n"
    (step,) = containers(head + f"  podTemplate: {template}\n  taskSpec: {{steps: [{{image: x}}]}}\n")
    assert (step.image, step.mounts) == ("x", ())


def test_what_a_run_says_for_its_tasks_holds_for_their_steps() -> None:
    """Tekton keeps it in a pod template."""
    (step,) = containers(
        "apiVersion: tekton.dev/v1\nkind: PipelineRun\nspec:\n"
        "  taskRunTemplate: {podTemplate: {securityContext: {runAsUser: 5}, volumes: [{name: v, emptyDir: {}}]}}\n"
        "  pipelineSpec: {tasks: [{taskSpec: {steps: [{image: y, volumeMounts: [{name: v, mountPath: /v}]}]}}]}\n"
    )
    assert (step.security.run_as_user, step.mounts[0].volume.kind) == (5, "emptyDir")


def test_a_pod_template_of_a_run_that_is_none_is_passed_over() -> None:
    """Text, as of a template that nobody has rendered."""
    text = "apiVersion: tekton.dev/v1\nkind: TaskRun\nspec: {podTemplate: x, taskSpec: {steps: [{image: y}]}}\n"
    (step,) = containers(text)
    assert step.image == "y"


@pytest.mark.parametrize(
    ("patch", "flag", "user", "mounts"),
    [
        ("containers: [{name: main, securityContext: {readOnlyRootFilesystem: true}}]", True, 3, ["/a"]),
        ('{"containers": [{"name": "main", "securityContext": null}]}', None, None, ["/a"]),
        ("containers: [{name: main, securityContext: {$patch: replace, runAsUser: 4}}]", None, 4, ["/a"]),
        ("containers: [{name: main, volumeMounts: [{name: v, mountPath: /b}]}]", False, 3, ["/a", "/b"]),
        ("containers: [{name: main, volumeMounts: [{$patch: delete, mountPath: /a}]}]", False, 3, []),
        ("containers: [{name: main, volumeMounts: [{$patch: replace}, {name: v, mountPath: /c}]}]", False, 3, ["/c"]),
        ("containers: [{name: wait, securityContext: {readOnlyRootFilesystem: true}}]", False, 3, ["/a"]),
        ("securityContext: {runAsUser: 9}", False, 3, ["/a"]),
        ("[]", False, 3, ["/a"]),
        ("text", False, 3, ["/a"]),
        ("{a: b", False, 3, ["/a"]),
    ],
)
def test_a_patch_of_the_pod_changes_what_is_judged(
    patch: str, flag: object, user: int | None, mounts: list[str]
) -> None:
    """A strategic merge: mappings key by key, mounts by path, null and directives take away."""
    text = (
        "  templates:\n  - name: t\n    container:\n      image: a\n"
        "      securityContext: {readOnlyRootFilesystem: false, runAsUser: 3}\n"
        "      volumeMounts: [{name: v, mountPath: /a}]\n"
        f"    podSpecPatch: |\n      {patch}\n"
    )
    (container,) = containers(WORKFLOW + text)
    assert (container.security.read_only_root, container.security.run_as_user) == (flag, user)
    assert [mount.path for mount in container.mounts] == mounts
    assert (container.name, container.location.line, container.location.column) == ("t", 6, 5)


def test_a_mistake_in_a_patch_is_told_at_its_container() -> None:
    """It is text: its own lines are none of the file's."""
    patch = "'{containers: [{name: main, securityContext: {readOnlyRootFilesystem: \"true\"}}]}'"
    text = f"{WORKFLOW}  podSpecPatch: {patch}\n  templates:\n  - name: t\n    container: {{image: a}}\n"
    (workload,) = read_manifest("m.yaml", text.encode()).workloads
    assert [(one.rule, one.location.line) for one in workload.oddities] == [("mistyped-flag", 7)]


def test_a_patch_that_can_not_be_read_is_told_once() -> None:
    """Its expressions are filled in when it runs; the containers are judged as they stand."""
    text = (
        WORKFLOW + "  podSpecPatch: 'containers: [{name: {{x}}}]'\n  templates:\n" + "  - container: {image: a}\n" * 2
    )
    reading = read_manifest("m.yaml", text.encode())
    assert [(one.location.line, one.location.route) for one in reading.skipped] == [(4, ("spec", "podSpecPatch"))]
    assert len(reading.workloads) == 2


def _deep(levels: int) -> str:
    return "{a: " * levels + "1" + "}" * levels


def _bomb(levels: int, indent: str) -> str:
    lines = ["l0: &l0 {x: 1}", *(f"l{n}: &l{n} {{p: *l{n - 1}, q: *l{n - 1}}}" for n in range(1, levels))]
    return "".join(f"{indent}{line}\n" for line in lines)


@pytest.mark.parametrize("where", ["podSpecPatch: |", "templateDefaults:"])
@pytest.mark.parametrize("hostile", ["deep", "aliases", "wide"])
def test_patches_and_defaults_are_applied_within_bounds(where: str, hostile: str) -> None:
    """Deeper or longer than any pod, they are passed over and said so: the time does not grow with what they make."""
    value = {"deep": f"      {_deep(600)}\n", "aliases": _bomb(40, "      "), "wide": _bomb(2, "      ")}[hostile]
    value = f"    affinity:\n{value}"
    many = "".join(f"    k{n}: 1\n" for n in range(21_000)) if hostile == "wide" else ""
    text = (
        f"{WORKFLOW}  {where}\n{many}{value}  templates:\n  - name: t\n    container: {{image: a}}\n" + f"{many}{value}"
    )
    reading = read_manifest("m.yaml", text.encode())
    assert [one.image for workload in reading.workloads for one in workload.containers] == ["a"]
    assert [one.reason.startswith("a patch of the pod that can't be") for one in reading.skipped] == [True]


KEYS = st.sampled_from(
    (
        "apiVersion", "kind", "spec", "templates", "templateDefaults", "podSpecPatch", "inline", "container", "script",
        "containerSet", "containers", "sidecars", "volumes", "volumeMounts", "securityContext", "podTemplate", "steps",
        "taskRunTemplate", "taskSpec", "stepTemplate", "resource", "manifest", "image", "name", "$patch",
    )
)  # fmt: skip
LEAVES = st.sampled_from(
    ("argoproj.io/v1", "tekton.dev/v1", "main", "delete", "replace", "{{x}}", "{", "containers: [{name: main}]", None)
)


@given(
    st.sampled_from(("argoproj.io/v1", "tekton.dev/v1", "x.io/v1")),
    st.recursive(
        LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6), max_leaves=40
    ),
)
def test_no_shape_of_a_workflow_raises(api_version: str, spec: object) -> None:
    """Whatever stands where, and whatever is merged into what."""
    text = json.dumps({"apiVersion": api_version, "kind": "W", "spec": {"templates": [spec, spec], "taskSpec": spec}})
    for container in containers(text):
        assert container.location.line == 1
