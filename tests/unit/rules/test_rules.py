"""Each rule finds what its page says, and is content with the page's remedy."""

import re
from pathlib import Path

import pytest

from lithify.model.finding import Finding, Severity
from lithify.pipeline.audit.files import audit
from lithify.pipeline.audit.judge import ALL, RULES

POD = "kind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - name: app\n    image: app\n"


def find(rule: str, text: str, folder: Path, name: str = "m.yaml", *, stack: bool = False) -> list[Finding]:
    """Return what one rule finds in one file."""
    path = folder / name
    path.write_text(text)
    return list(audit([str(path)], rules=[rule], stack=stack).findings())


def container(*lines: str, pod: str = "") -> str:
    """Return a pod whose container has these lines as well."""
    return POD + "".join(f"    {line}\n" for line in lines) + pod


@pytest.mark.parametrize("module", ALL, ids=lambda module: module.RULE.name)
def test_every_rule_has_a_page(module: object) -> None:
    """What, why, remediation with before and after, references; and a name that is the module's."""
    page = str(module.__doc__)
    for part in ("Remediation:", "Before::", "After::", "References:"):
        assert part in page
    name = module.RULE.name  # type: ignore[attr-defined]
    assert module.__name__.rpartition(".")[2] == name.replace("-", "_")  # type: ignore[attr-defined]
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", name)


def security(text: str) -> str:
    """Return a pod whose container has this security context."""
    return container(f"securityContext: {text}")


MOUNTS = "volumeMounts: [{name: v, mountPath: %s}]"

FOUND: list[tuple[str, str, Severity, str]] = [
    ("writable-root-filesystem", POD, Severity.HIGH, "container 'app' can write to its root filesystem"),
    ("writable-root-filesystem", security("{readOnlyRootFilesystem: false}"), Severity.HIGH, "can write"),
    (
        "remountable-root-filesystem",
        security("{privileged: true, readOnlyRootFilesystem: true}"),
        Severity.HIGH,
        "has no",
    ),
    ("remountable-root-filesystem", security("{privileged: true}"), Severity.HIGH, "would have no effect"),
    ("remountable-root-filesystem", security("{capabilities: {add: [CAP_SYS_ADMIN]}}"), Severity.HIGH, "CAP_SYS_ADMIN"),
    ("remountable-root-filesystem", security("{capabilities: {add: [ALL]}}"), Severity.HIGH, "CAP_SYS_ADMIN"),
    (
        "remountable-root-filesystem",
        container("securityContext: {capabilities: {add: [SYS_PTRACE]}}", pod="  hostPID: true\n"),
        Severity.HIGH,
        "has CAP_SYS_PTRACE among the host's processes and can write to its root filesystem by theirs",
    ),
    ("privilege-escalation", POD, Severity.MEDIUM, "gain more privileges"),
    ("runs-as-root", security("{runAsUser: 0}"), Severity.MEDIUM, "runs as root"),
    ("runs-as-root", POD, Severity.LOW, "unless its image"),
    ("capabilities-not-dropped", security("{capabilities: {drop: [NET_RAW]}}"), Severity.LOW, "does not drop"),
    (
        "writable-host-path",
        container(MOUNTS % "/host", pod="  volumes: [{name: v, hostPath: {path: /etc/cron.d}}]\n"),
        Severity.HIGH,
        "the host's /etc/cron.d at /host",
    ),
    (
        "writable-host-path",
        container(MOUNTS % "/host", pod="  volumes: [{name: v, hostPath: {path: /mnt/data}}]\n"),
        Severity.MEDIUM,
        "/mnt/data",
    ),
    (
        "writable-host-path",
        container(MOUNTS % "/d", pod="  volumes: [{name: v, hostPath: {path: /run/docker.sock}}]\n"),
        Severity.HIGH,
        "docker.sock",
    ),
    (
        "writable-system-path",
        container(MOUNTS % "/usr", pod="  volumes: [{name: v, emptyDir: {}}]\n"),
        Severity.HIGH,
        "/usr",
    ),
    (
        "writable-system-path",
        container(MOUNTS % "/usr/bin/x/", pod="  volumes: [{name: v}]\n"),
        Severity.HIGH,
        "/usr/bin/x",
    ),
    (
        "writable-and-executable",
        container(MOUNTS % "/tmp", pod="  volumes: [{name: v, emptyDir: {}}]\n"),
        Severity.INFO,
        "/tmp",
    ),
    (
        "hidden-image-content",
        container(MOUNTS % "/etc/nginx", pod="  volumes: [{name: v, emptyDir: {}}]\n"),
        Severity.INFO,
        "/etc/nginx",
    ),
    (
        "writable-host-path",
        container(
            "volumeMounts: [{name: v, mountPath: /s, readOnly: true}]",
            pod="  volumes: [{name: v, hostPath: {path: /var/run/../run/docker.sock}}]\n",
        ),
        Severity.HIGH,
        "command the engine through the host's /var/run/docker.sock at /s: a read-only mount does not stop that",
    ),
    (
        "writable-host-path",
        container(
            "volumeMounts: [{name: v, mountPath: /host, readOnly: true, recursiveReadOnly: Disabled}]",
            pod="  volumes: [{name: v, hostPath: {path: /}}]\n",
        ),
        Severity.LOW,
        "mounted below the host's / at /host",
    ),
    (
        "writable-host-path",
        container(MOUNTS % "/host", pod="  volumes: [{name: v, hostPath: {path: /var/run/containerd/x}}]\n"),
        Severity.HIGH,
        "/var/run/containerd/x",
    ),
    (
        "runs-as-root",
        security("{runAsNonRoot: false}") + "  securityContext: {runAsNonRoot: true}\n",
        Severity.LOW,
        "unless",
    ),
    ("unbounded-scratch", POD + "  volumes: [{name: v, emptyDir: {}}]\n", Severity.LOW, "disk without limit"),
    ("unbounded-scratch", POD + "  volumes: [{name: v, emptyDir: {medium: Memory}}]\n", Severity.MEDIUM, "memory"),
    (
        "memory-beyond-limit",
        container(
            MOUNTS % "/tmp",
            "resources: {limits: {memory: 64Mi}}",
            pod="  volumes: [{name: v, emptyDir: {medium: Memory, sizeLimit: 64Mi}}]\n",
        ),
        Severity.MEDIUM,
        "64 MiB",
    ),
    ("unbounded-scratch", POD + "  volumes: [{name: v, emptyDir: {sizeLimit: 0}}]\n", Severity.LOW, "disk without"),
    (
        "memory-beyond-limit",
        container(
            MOUNTS % "/tmp",
            pod="  resources: {limits: {memory: 32Mi}}\n"
            "  volumes: [{name: v, emptyDir: {medium: Memory, sizeLimit: 64Mi}}]\n",
        ),
        Severity.MEDIUM,
        "its memory limit is 32 MiB",
    ),
    (
        "memory-beyond-limit",
        container(
            MOUNTS % "/dev/shm",
            "resources: {limits: {memory: 64Mi}}",
            pod="  volumes: [{name: v, emptyDir: {medium: Memory}}]\n",
        ),
        Severity.MEDIUM,
        "may hold 64 MiB, its memory limit is 64 MiB",
    ),
    ("no-ephemeral-storage-limit", POD, Severity.LOW, "no limit"),
    (
        "sysctl-by-privileged-container",
        container("command: [sysctl, -w, a.b=1]", "securityContext: {privileged: true}"),
        Severity.LOW,
        "can ask for itself",
    ),
    (
        "sysctl-by-privileged-container",
        container("command: [sysctl, -w, net.core.somaxconn=4096]", "securityContext: {privileged: true}"),
        Severity.LOW,
        "can ask for itself",
    ),
    (
        "sysctl-by-privileged-container",
        container(
            "command: [sh, -c, 'sysctl net.core.somaxconn=1; sysctl -w vm.max_map_count=262144']",
            "securityContext: {privileged: true}",
        ),
        Severity.LOW,
        "to set vm.max_map_count for the whole node",
    ),
    (
        "sysctl-by-privileged-container",
        container(
            "command: [sh, -c, 'echo 8192 > /proc/sys/fs/inotify/max_user_watches']",
            "securityContext: {privileged: true}",
        ),
        Severity.LOW,
        "to set fs.inotify.max_user_watches for the whole node",
    ),
    ("pod-level-flag", POD + "  securityContext: {readOnlyRootFilesystem: true}\n", Severity.MEDIUM, "no effect"),
    ("misspelt-flag", security("{readOnlyFilesystem: true}"), Severity.MEDIUM, "readOnlyFilesystem"),
    ("mistyped-flag", security('{readOnlyRootFilesystem: "true"}'), Severity.HIGH, "the string 'true'"),
    ("ambiguous-flag", security("{readOnlyRootFilesystem: yes}"), Severity.LOW, "yes is true to kubectl"),
    ("duplicate-key", security("{privileged: true, privileged: false}"), Severity.MEDIUM, "'privileged'"),
    ("malformed-field", security("[]"), Severity.MEDIUM, "a list"),
    ("unreadable-input", POD + "\tx: y\n", Severity.HIGH, "can't be read"),
    (
        "exemption-expired",
        "# lithify: ignore[runs-as-root] x until=2020-01-01\n" + POD,
        Severity.MEDIUM,
        "ended on 2020-01-01",
    ),
    ("exemption-without-reason", "# lithify: ignore[runs-as-root]\n" + POD, Severity.LOW, "no reason"),
]
COMPOSE: list[tuple[str, str, Severity, str]] = [
    (
        "remountable-root-filesystem",
        "{image: x, pid: host, cap_add: [SYS_PTRACE]}",
        Severity.HIGH,
        "CAP_SYS_PTRACE among",
    ),
    ("writable-root-filesystem", "{image: x}", Severity.HIGH, "service 'app' can write"),
    ("privilege-escalation", "{image: x}", Severity.MEDIUM, "service 'app'"),
    ("writable-host-path", "{image: x, volumes: ['/var/run/docker.sock:/s']}", Severity.HIGH, "docker.sock"),
    ("writable-host-path", "{image: x, volumes: ['/run/docker.sock:/s:ro']}", Severity.HIGH, "does not stop that"),
    ("writable-host-path", "{image: x, volumes: ['./data:/data']}", Severity.LOW, "./data"),
    (
        "writable-host-path",
        "{image: x, volumes: [{type: bind, source: /, target: /h, read_only: true, bind: {recursive: writable}}]}",
        Severity.LOW,
        "mounted below the host's / at /h",
    ),
    ("writable-host-path", "{image: x, volumes: ['/srv/../etc:/data']}", Severity.HIGH, "the host's /etc at"),
    ("writable-and-executable", "{image: x, tmpfs: ['/tmp:exec']}", Severity.LOW, "/tmp"),
    ("unbounded-scratch", "{image: x, tmpfs: [/tmp], mem_limit: 64m}", Severity.LOW, "memory without limit"),
    ("unbounded-scratch", "{image: x, tmpfs: ['/tmp:size=0']}", Severity.MEDIUM, "memory without limit"),
    ("runs-as-root", "{image: x, user: '00:7'}", Severity.MEDIUM, "runs as root"),
    ("anonymous-volume", "{image: x, volumes: [/data]}", Severity.LOW, "/data"),
    ("inline-config-refused", "{image: x, read_only: true, configs: [c]}", Severity.MEDIUM, "config 'c'"),
    (
        "inline-config-refused",
        "{image: x, read_only: true, tmpfs: [/d], volumes: ['d:/e'], configs: [{source: c, target: /d/c}]}",
        Severity.MEDIUM,
        "config 'c'",
    ),
]
CONTENT: list[tuple[str, str]] = [
    ("remountable-root-filesystem", security("{capabilities: {add: [ALL], drop: [CAP_SYS_ADMIN]}}")),
    ("remountable-root-filesystem", security("{capabilities: {add: [SYS_PTRACE]}}")),
    ("remountable-root-filesystem", container("securityContext: {}", pod="  hostPID: true\n")),
    (
        "memory-beyond-limit",
        container(
            MOUNTS % "/tmp",
            "resources: {limits: {memory: 0}}",
            pod="  volumes: [{name: v, emptyDir: {medium: Memory, sizeLimit: 64Mi}}]\n",
        ),
    ),
    ("writable-root-filesystem", security("{readOnlyRootFilesystem: true}")),
    ("remountable-root-filesystem", security("{readOnlyRootFilesystem: true, capabilities: {add: [NET_ADMIN]}}")),
    ("privilege-escalation", security("{allowPrivilegeEscalation: false}")),
    ("runs-as-root", security("{runAsNonRoot: true}")),
    ("runs-as-root", POD + "  securityContext: {runAsUser: 1000}\n"),
    ("capabilities-not-dropped", security("{capabilities: {drop: [ALL], add: [CHOWN]}}")),
    (
        "writable-host-path",
        container(
            "volumeMounts: [{name: v, mountPath: /h, readOnly: true}]",
            pod="  volumes: [{name: v, hostPath: {path: /etc}}]\n",
        ),
    ),
    ("writable-system-path", container(MOUNTS % "/usr/share/app/cache", pod="  volumes: [{name: v, emptyDir: {}}]\n")),
    ("writable-system-path", container(MOUNTS % "/etc", pod="  volumes: [{name: v, configMap: {name: c}}]\n")),
    ("hidden-image-content", container(MOUNTS % "/opt/app/cache", pod="  volumes: [{name: v, emptyDir: {}}]\n")),
    (
        "hidden-image-content",
        container(
            MOUNTS % "/etc/nginx",
            pod="  initContainers: [{name: i, image: app, volumeMounts: [{name: v, mountPath: /seed}]}]\n"
            "  volumes: [{name: v, emptyDir: {}}]\n",
        ),
    ),
    ("unbounded-scratch", POD + "  volumes: [{name: v, emptyDir: {sizeLimit: 1Mi}}, {name: c, configMap: {}}]\n"),
    ("no-ephemeral-storage-limit", container("resources: {limits: {ephemeral-storage: 1Gi}}")),
    ("sysctl-by-privileged-container", container("command: [sh, -c, 'id']", "securityContext: {privileged: true}")),
    (
        "writable-system-path",
        container(MOUNTS % "/usr/bin", pod="  volumes: [{name: v, persistentVolumeClaim: {readOnly: true}}]\n"),
    ),
    ("writable-host-path", container(MOUNTS % "/d", pod="  volumes: [{name: v, hostPath: null, emptyDir: {}}]\n")),
    (
        "writable-host-path",
        container(
            "volumeMounts: [{name: v, mountPath: /host, readOnly: true, recursiveReadOnly: IfPossible}]",
            pod="  volumes: [{name: v, hostPath: {path: /}}]\n",
        ),
    ),
    (
        "writable-host-path",
        container(
            "volumeMounts: [{name: v, mountPath: /data, readOnly: true}]",
            pod="  volumes: [{name: v, hostPath: {path: /mnt/data}}]\n",
        ),
    ),
    ("runs-as-root", security("{runAsNonRoot: null}") + "  securityContext: {runAsNonRoot: true}\n"),
    (
        "unbounded-scratch",
        container(
            "resources: {limits: {ephemeral-storage: 1Gi}}",
            pod="  initContainers: [{name: i, image: i}]\n  volumes: [{name: v, emptyDir: {}}]\n",
        ),
    ),
    ("unbounded-scratch", POD + "  volumes: [{name: v, emptyDir: {medium: HugePages-2Mi}}]\n"),
    ("writable-root-filesystem", POD + "  os: {name: windows}\n"),
    ("writable-root-filesystem", POD + "  nodeSelector: {kubernetes.io/os: windows}\n"),
]


@pytest.mark.parametrize(("rule", "text", "severity", "words"), FOUND)
def test_rules_find(rule: str, text: str, severity: Severity, words: str, tmp_path: Path) -> None:
    """One finding, of the severity and with the words that are due."""
    (finding,) = find(rule, text, tmp_path)
    assert finding.severity is severity
    assert words in finding.message
    assert finding.location.line


@pytest.mark.parametrize(("rule", "service", "severity", "words"), COMPOSE)
def test_rules_find_in_compose_files(rule: str, service: str, severity: Severity, words: str, tmp_path: Path) -> None:
    """The same rules speak of services."""
    text = f"services:\n  app: {service}\nconfigs: {{c: {{content: x}}}}\n"
    (finding,) = find(rule, text, tmp_path, "compose.yaml")
    assert finding.severity is severity
    assert words in finding.message


def test_an_inline_config_in_a_volume_is_copied_there(tmp_path: Path) -> None:
    """The engine refuses to write into the root filesystem, not into what is mounted over it."""
    service = "{image: x, read_only: true, volumes: ['d:/etc/app'], configs: [{source: c, target: /etc/app/c.conf}]}"
    text = f"services:\n  app: {service}\nconfigs: {{c: {{content: x}}}}\nvolumes: {{d: }}\n"
    assert not find("inline-config-refused", text, tmp_path, "compose.yaml")


QUADLET: list[tuple[str, str, str]] = [
    ("hidden-image-content", "Tmpfs=/etc/app:notmpcopyup", "/etc/app"),
    ("hidden-image-content", "Tmpfs=/etc/app", ""),
    ("hidden-image-content", "Mount=type=tmpfs,destination=/etc/app,notmpcopyup", "/etc/app"),
    ("hidden-image-content", "Mount=type=tmpfs,destination=/etc/app", ""),
    ("anonymous-volume", "Mount=type=volume,destination=/data", "/data"),
    ("writable-host-path", "Volume=/etc:/data", "can write to the host's /etc"),
    ("writable-host-path", "Volume=/etc:/data:O", ""),
    ("writable-host-path", "Volume=/run/podman/podman.sock:/s:ro", "does not stop that"),
    ("writable-host-path", "Volume=/:/host:ro", "mounted below"),
    ("writable-host-path", "Volume=/:/host:rro", ""),
    ("writable-host-path", "PodmanArgs=-v /etc:/data", "can write to the host's /etc"),
    ("writable-host-path", "PodmanArgs=--mount type=bind,source=/etc,target=/data", "can write to the host's /etc"),
    ("remountable-root-filesystem", "PodmanArgs=--cap-add SYS_ADMIN", "has CAP_SYS_ADMIN"),
    (
        "remountable-root-filesystem",
        "PodmanArgs=--pid host --cap-add SYS_PTRACE",
        "has CAP_SYS_PTRACE among the host's processes",
    ),
    ("remountable-root-filesystem", "PodmanArgs=--cap-add SYS_PTRACE", ""),
    ("remountable-root-filesystem", "PodmanArgs=--label SYS_ADMIN --cap-add=NET_ADMIN", ""),
    ("privilege-escalation", "PodmanArgs=--security-opt no-new-privileges", ""),
    ("runs-as-root", "PodmanArgs=--user 1000:1000", ""),
    ("runs-as-root", "PodmanArgs=-u 0", "runs as root"),
]


@pytest.mark.parametrize(("rule", "line", "words"), QUADLET)
def test_rules_know_what_podman_does(rule: str, line: str, words: str, tmp_path: Path) -> None:
    """Its tmpfs takes what the image has there, its overlay keeps the host's directory, its `ro` is one mount deep."""
    found = find(rule, f"[Container]\nImage=x\n{line}\n", tmp_path, "app.container")
    assert [words in one.message for one in found] == ([True] if words else [])


@pytest.mark.parametrize("privilege", ["privileged: true", "capabilities: {add: [CAP_SYS_ADMIN]}"])
def test_no_fix_that_the_api_server_refuses(privilege: str, tmp_path: Path) -> None:
    """A privileged container can't be told to gain no privileges: the privilege has to go first."""
    (finding,) = find("privilege-escalation", security(f"{{{privilege}}}"), tmp_path)
    assert finding.fix is None
    (finding,) = find("privilege-escalation", security("{capabilities: {add: [NET_ADMIN]}}"), tmp_path)
    assert finding.fix is not None
    assert finding.fix.value is False


TASKS: list[tuple[str, str, int]] = [
    ("", "", 1),
    ("", ', "dockerSecurityOptions": ["no-new-privileges"]', 0),
    ('"requiresCompatibilities": ["EC2", "FARGATE"], ', "", 0),
]


@pytest.mark.parametrize(("task", "own", "found"), TASKS)
def test_tasks_on_instances_can_rule_escalation_out(task: str, own: str, found: int, tmp_path: Path) -> None:
    """An ECS task has a field for it, but not on Fargate."""
    text = '{%s"containerDefinitions": [{"name": "a", "image": "x"%s}]}' % (task, own)  # noqa: UP031 - braces
    assert len(find("privilege-escalation", text, tmp_path, "task.json")) == found


def test_a_task_that_sees_the_hosts_processes(tmp_path: Path) -> None:
    own = '"linuxParameters": {"capabilities": {"add": ["SYS_PTRACE"]}}'
    for mode, found in (('"pidMode": "host", ', 1), ("", 0)):
        text = '{%s"containerDefinitions": [{"name": "a", "image": "x", %s}]}' % (mode, own)  # noqa: UP031 - braces
        assert len(find("remountable-root-filesystem", text, tmp_path, "task.json")) == found


def test_swarm_drops_tmpfs(tmp_path: Path) -> None:
    """Only the short key is dropped, and only by Swarm, whatever services are called."""
    service = "{image: x, tmpfs: [/tmp], volumes: [{type: tmpfs, target: /run}]}"
    text = f"services:\n  tmpfs: {service}\n"
    (finding,) = find("tmpfs-dropped-by-swarm", text, tmp_path, stack=True)
    assert "/tmp" in finding.message
    assert not find("tmpfs-dropped-by-swarm", text, tmp_path)
    (verdict,) = audit([str(tmp_path)], stack=True).containers()
    assert [place[0] for place in verdict.places] == ["/run"]


@pytest.mark.parametrize(("rule", "text"), CONTENT)
def test_rules_are_content(rule: str, text: str, tmp_path: Path) -> None:
    """Where the remedy is applied there is nothing to say."""
    assert not find(rule, text, tmp_path)


def test_names_of_others_are_few_enough_for_code_hosts() -> None:
    """GitHub refuses a SARIF file in which a rule has more than 20 tags; `security` is one of them."""
    for module in ALL:
        assert sum(map(len, module.RULE.ids.values())) < 20


def test_every_rule_is_tested() -> None:
    """No rule is without a case that it finds; what only a container that exists can have is tested by its source."""
    elsewhere = {"tmpfs-dropped-by-swarm", "data-in-container-layer"}
    assert {case[0] for case in FOUND + COMPOSE} | elsewhere == set(RULES)
