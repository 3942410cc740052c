"""Every kind that runs containers is found, wherever the pod spec stands, and read with its places."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lithify.model.workload import Container
from lithify.pipeline.audit.judge import Judge
from lithify.sources import manifest
from lithify.sources.base import Reading
from lithify.sources.manifest import read_manifest

POD = "containers: [{name: c, image: x}]"
POD_SPEC = b"spec: {containers: [{name: c, image: x}]}\n"


def read(text: str) -> Reading:
    """Read a manifest."""
    return read_manifest("m.yaml", text.encode())


def containers(reading: Reading) -> list[Container]:
    """Return every container."""
    return [container for workload in reading.workloads for container in workload.containers]


@pytest.mark.parametrize(
    ("text", "pod"),
    [
        ("kind: Pod\nspec: {%s}", ("spec",)),
        ("kind: PodTemplate\ntemplate: {spec: {%s}}", ("template", "spec")),
        ("kind: Deployment\nspec: {template: {spec: {%s}}}", ("spec", "template", "spec")),
        ("kind: ReplicationController\nspec: {template: {spec: {%s}}}", ("spec", "template", "spec")),
        ("kind: Job\nspec: {template: {spec: {%s}}}", ("spec", "template", "spec")),
        (
            "kind: CronJob\nspec: {jobTemplate: {spec: {template: {spec: {%s}}}}}",
            ("spec", "jobTemplate", "spec", "template", "spec"),
        ),
        ("apiVersion: apps.openshift.io/v1\nkind: DeploymentConfig\nspec: {template: {spec: {%s}}}", None),
        ("apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nspec: {template: {spec: {%s}}}", None),
        ("apiVersion: serving.knative.dev/v1\nkind: Service\nspec: {template: {spec: {%s}}}", None),
        (
            "apiVersion: x.io/v1\nkind: Engine\nspec: {nodes: [{podTemplate: {spec: {%s}}}]}",
            ("spec", "nodes", 0, "podTemplate", "spec"),
        ),
        ("apiVersion: batch.volcano.sh/v1\nkind: Job\nspec: {tasks: [{template: {spec: {%s}}}]}", None),
        ("kind: List\nitems: [{kind: Pod, spec: {%s}}]", ("spec",)),
        ("kind: PodList\nitems: [{kind: Pod, spec: {%s}}]", ("spec",)),
        ("kind: Template\nobjects: [{kind: Pod, spec: {%s}}]", ("spec",)),
        ("kind: AdmissionReview\nrequest: {object: {kind: Pod, spec: {%s}}}", ("spec",)),
        ('{"kind": "Pod", "spec": {"containers": [{"name": "c", "image": "x"}]}}', ("spec",)),
    ],
)
def test_every_kind_is_found(text: str, pod: tuple[str, ...] | None) -> None:
    """One container is there, and the way to its pod is known."""
    reading = read(text.replace("%s", POD))
    (container,) = containers(reading)
    assert (container.name, container.image, container.list_name, container.index) == ("c", "x", "containers", 0)
    if pod is not None:
        assert container.workload.pod == pod
    assert container.location.line


def test_two_pods_in_one_object() -> None:
    """A custom resource may hold several."""
    reading = read(
        "apiVersion: x.io/v1\nkind: Cluster\nmetadata: {name: k}\nspec: {head: {template: {spec: {%s}}},"
        " worker: {template: {spec: {%s}}}}".replace("%s", POD)
    )
    assert [c.workload.pod for c in containers(reading)] == [
        ("spec", "head", "template", "spec"),
        ("spec", "worker", "template", "spec"),
    ]
    assert {c.workload.name.name for c in containers(reading)} == {"k"}


def test_steps_of_pipelines_are_containers() -> None:
    """Argo and Tekton run containers that stand in no list of that name."""
    argo = read(
        "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nspec:"
        " {templates: [{name: t, container: {image: x}}, {script: {image: y}}]}"
    )
    assert [c.image for c in containers(argo)] == ["x", "y"]
    tekton = read("apiVersion: tekton.dev/v1\nkind: Task\nspec: {steps: [{name: s, image: x}, {name: t, image: y}]}")
    assert [(c.list_name, c.name) for c in containers(tekton)] == [("steps", "s"), ("steps", "t")]


@pytest.mark.parametrize(
    "text",
    [
        "kind: ConfigMap\ndata: {a: 'containers: []'}",
        "kind: NetworkPolicy\nspec: {containers: []}",
        "kind: CustomResourceDefinition\nspec: {v: [{schema: {openAPIV3Schema: {properties: {containers: {}}}}}]}",
        "kind: VerticalPodAutoscaler\nspec: {resourcePolicy: {containerPolicies: [{containerName: x}]}}",
        "kind: Pod\nspec: ~",
        "kind: Pod\nspec: [containers]",
        "kind: Deployment\nspec: {template: containers}",
        "containers",
        "[]",
        "kind: []\ncontainers: 1",
    ],
)
def test_what_holds_no_container_gives_none(text: str) -> None:
    """Nothing is invented, and nothing fails."""
    assert not containers(read(text))


def test_virtual_machines_are_left_out_with_a_reason() -> None:
    """KubeVirt's objects have containers of their own kind."""
    reading = read(
        "apiVersion: kubevirt.io/v1\nkind: VirtualMachine\nspec:"
        " {template: {spec: {volumes: [{containerDisk: {image: x}}]}}}"
    )
    assert "KubeVirt" in reading.skipped[0].reason


def test_security_is_inherited_and_read_as_kubectl_does() -> None:
    """Pod-level identity holds for containers that say nothing; booleans mean what YAML 1.1 says."""
    (first, second) = containers(
        read(
            "kind: Pod\nspec:\n  securityContext: {runAsUser: 0o17, runAsNonRoot: yes,"
            " seccompProfile: {type: RuntimeDefault}}\n"
            "  containers:\n  - {name: a, image: x}\n"
            "  - {name: b, image: x, securityContext: {runAsUser: 0, privileged: on, allowPrivilegeEscalation: no,\n"
            "      capabilities: {add: [CAP_sys_admin], drop: [all]}}}\n"
        )
    )
    assert (first.security.run_as_user, first.security.run_as_non_root, first.security.seccomp) == (
        15,
        True,
        "RuntimeDefault",
    )
    assert second.security.run_as_user == 0
    assert second.security.privileged
    assert second.security.escalation is False
    assert second.security.added_capabilities == ("SYS_ADMIN",)
    assert second.security.capabilities_dropped


def test_volumes_and_limits() -> None:
    """Mounts know their volume, also one of a claim template or one that is missing."""
    (container,) = containers(
        read(
            "kind: StatefulSet\nspec:\n  volumeClaimTemplates: [{metadata: {name: data}}]\n  template:\n    spec:\n"
            "      volumes:\n      - {name: tmp, emptyDir: {medium: Memory, sizeLimit: 64Mi}}\n"
            "      - {name: host, hostPath: {path: /etc/}}\n"
            "      - {name: conf, configMap: {name: x}}\n"
            "      containers:\n      - name: a\n        image: x\n"
            "        resources: {limits: {memory: 128Mi, ephemeral-storage: 1Gi}}\n"
            "        volumeMounts:\n        - {name: tmp, mountPath: /tmp/, bindMountOptions: [noexec]}\n"
            "        - {name: host, mountPath: //host/../h, readOnly: true}\n"
            "        - {name: conf, mountPath: /etc/app}\n"
            "        - {name: data, mountPath: /data, subPath: a}\n        - {name: none, mountPath: /none}\n"
        )
    )
    assert (container.memory_limit, container.ephemeral_storage_limit) == (128 << 20, 1 << 30)
    seen = {
        m.path: (m.volume.kind, m.volume.size, m.volume.memory, m.volume.host_path, m.writable, m.executable)
        for m in container.mounts
    }
    assert seen == {
        "/tmp": ("emptyDir", 64 << 20, True, "", True, False),
        "/h": ("hostPath", None, False, "/etc", False, True),
        "/etc/app": ("configMap", None, False, "", False, True),
        "/data": ("persistentVolumeClaim", None, False, "", True, True),
        "/none": ("unknown", None, False, "", True, True),
    }


@pytest.mark.parametrize(
    ("security", "rule"),
    [
        ("{readOnlyFilesystem: true}", "misspelt-flag"),
        ("{readonlyRootFilesystem: true}", "misspelt-flag"),
        ("{readOnlyRootFileSystem: true}", "misspelt-flag"),
        ("{read_only: true}", "misspelt-flag"),
        ('{readOnlyRootFilesystem: "true"}', "mistyped-flag"),
        ("{readOnlyRootFilesystem: tRue}", "mistyped-flag"),
        ("{readOnlyRootFilesystem: 1}", "mistyped-flag"),
        ("{readOnlyRootFilesystem: [true]}", "mistyped-flag"),
        ("{readOnlyRootFilesystem: y}", "ambiguous-flag"),
        ("{readOnlyRootFilesystem: false, readOnlyRootFilesystem: true}", "duplicate-key"),
        ("[]", "malformed-field"),
        ("true", "malformed-field"),
    ],
)
def test_oddities_of_the_flag(security: str, rule: str) -> None:
    """Whatever stands in the flag's place is explained."""
    reading = read(f"kind: Pod\nspec:\n  containers:\n  - name: a\n    image: x\n    securityContext: {security}\n")
    (oddity,) = reading.workloads[0].oddities
    assert oddity.rule == rule
    assert oddity.location.line == 6


def test_the_flag_on_the_container_itself() -> None:
    """One level too high is explained too."""
    reading = read("kind: Pod\nspec:\n  containers:\n  - name: a\n    image: x\n    readOnlyRootFilesystem: true\n")
    assert [(o.rule, o.location.line) for o in reading.workloads[0].oddities] == [("misspelt-flag", 6)]


WORDS = st.sampled_from(
    (
        "kind", "Pod", "List", "items", "spec", "template", "containers", "initContainers", "name", "image", "true",
        "~", "securityContext", "readOnlyRootFilesystem", "volumes", "volumeMounts", "mountPath", "emptyDir", "<<",
    )
)  # fmt: skip


@given(
    st.recursive(
        WORDS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=5), max_leaves=40
    )
)
def test_no_shape_raises(value: object) -> None:
    """Whatever stands where, reading it ends without an exception."""
    import json

    text = json.dumps(value).replace('"~"', "null").replace('"true"', "true")
    reading = read_manifest("m.yaml", b"# ontainers\n" + text.encode())
    for container in containers(reading):
        assert container.location.line


ONE = "kind: Pod\nspec: {containers: [{name: a, image: x}]}\n"


@pytest.mark.parametrize(
    ("text", "line", "column", "reason"),
    [
        ("data:\n\ta: b", 6, 1, "found character that cannot start any token"),
        ('data: {a: "b}', 6, 1, "found unexpected end of stream"),
        ("data: *nowhere", 5, 7, "found undefined alias"),
        ("data: &a [*a]", 5, 7, "an anchor contains itself"),
        ("data: [1, 2", 6, 1, "did not find expected ',' or ']'"),
        ("data: %x", 5, 7, "found character that cannot start any token"),
        ("data: a: b", 5, 8, "mapping values are not allowed in this context"),
        ("data: 'x\0y'", 5, 9, "control characters are not allowed"),
        ("<<: 3", 5, 1, "a merge key needs a mapping or a list of mappings"),
        ("data: {<<: [null]}", 5, 8, "a merge key needs a mapping or a list of mappings"),
        ("data: {<<: {a: -.inf}}", 5, 16, "no such number in JSON: -inf"),
        ("data: {null: a}", 5, 8, "a key must be text"),
        ("data: {? [a] : b}", 5, 10, "a key must be text"),
        ("data: {a: !!int x}", 5, 11, "not of type int: 'x'"),
        ("data: {a: !!binary '*'}", 5, 11, "not base64"),
    ],
)
def test_a_broken_document_without_containers_is_told(text: str, line: int, column: int, reason: str) -> None:
    """kubectl refuses it, and never comes to what stands behind it; here that is judged all the same."""
    reading = read_manifest("x.yaml", f"{ONE}---\nkind: ConfigMap\n{text}\n---\n{ONE}".encode())
    assert [workload.location.document for workload in reading.workloads] == [0, 2]
    (oddity,) = reading.oddities
    place = oddity.location
    assert (oddity.rule, place.document, place.line, place.column) == ("unreadable-input", 1, line, column)
    assert oddity.message == f"this document can't be read: {reason}"


def test_what_is_no_json_is_told_with_its_containers() -> None:
    """kubectl refuses the pod: none of its containers is to be called judged."""
    text = "kind: Pod\nmetadata: {labels: {<<: 3}}\nspec: {containers: [{name: c, image: x}]}\n"
    reading = read(text)
    assert [(one.location.line, one.location.column) for one in reading.oddities] == [(2, 21)]
    assert not reading.workloads
    assert not read(text.replace("3", "{a: b}")).oddities


def test_what_is_no_utf_8_is_read_as_kubectl_reads_it() -> None:
    """With a replacement character for each; it refuses nothing, and the pod runs."""
    (workload,) = read_manifest("x.yaml", b'# \xff\nkind: Pod\nmetadata: {name: "a\xff"}\n' + POD_SPEC).workloads
    assert (workload.name.name, len(workload.containers)) == ("a\ufffd", 1)


def test_a_template_without_containers_is_skipped() -> None:
    """It may look like YAML with a mapping as a key; a text that holds braces is no template."""
    reading = read_manifest(
        "x.yaml", f"{ONE}---\nkind: ConfigMap\ndata: {{{{ .x }}}}\n---\nkind: Secret\ndata: '{{{{ x }}}}'\n".encode()
    )
    assert [(one.location.document, one.reason.split(":")[0]) for one in reading.skipped] == [
        (1, "a Go template outside a chart")
    ]


def test_templates_of_a_workflow_are_told_apart() -> None:
    """Their containers have no names: each is called as its template is, and a baseline exempts that one."""
    text = "{name: %s, container: {image: x}}"
    reading = read(
        f"apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nspec: {{templates: [{text % 'a'}, {text % 'b'}]}}"
    )
    findings = Judge("2026-11-22", ["writable-root-filesystem"]).judge(reading).findings
    assert [finding.fingerprint.rpartition("|")[2] for finding in findings] == ["container/a", "container/b"]


def test_lists_that_multiply_are_bounded() -> None:
    """Forty lists, each with the one before twice, are 2^40 ways to one object."""
    head = "kind: List\nl0: &l0 {kind: List, items: [{containers: []}]}\n"
    lists = "".join(f"l{n}: &l{n} {{kind: List, items: [*l{n - 1}, *l{n - 1}]}}\n" for n in range(1, 41))
    reading = read_manifest("m.yaml", f"{head}{lists}items: [*l40]\n".encode())
    assert [oddity.rule for oddity in reading.oddities] == ["unreadable-input"]
    assert 0 < len(reading.skipped) < 5000


def test_more_containers_than_an_object_can_have_are_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million of them may not fill the memory; that there are more is said."""
    monkeypatch.setattr(manifest, "MOST", 3)
    text = "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n" + "".join(f"  - {{name: c{n}}}\n" for n in range(5))
    result = Judge("2026-01-01", ["unreadable-input"]).judge(read_manifest("pod.yaml", text.encode()))
    assert [container.name for container in result.containers] == ["c0", "c1", "c2"]
    assert [(one.location.line, one.message) for one in result.findings] == [
        (8, "containers has 5 entries, more than any API server takes: the rest is not judged")
    ]
