"""What inspect says, taken to workloads; what needs no engine to be tried."""

import os
from typing import Any

import pytest

from lithify.engines.node.containers import NodeContainer
from lithify.model.finding import FileResult, State
from lithify.pipeline.audit.judge import Judge
from lithify.sources.container import read_container
from lithify.sources.node import read_node_container
from lithify.sources.swarm import read_service


def judged(**found: Any) -> FileResult:
    """Return what came of a container of Docker that does not run, with these fields."""
    base = {"Id": "f" * 64, "Name": "/web", "Config": {}, "HostConfig": {}, "State": {"Running": False}}
    return Judge("2026-01-01").judge(read_container({**base, **found}, "docker", ()))


def rules(result: FileResult) -> set[str]:
    return {finding.rule for finding in result.findings}


@pytest.mark.parametrize("found", [{"Platform": "windows"}, {"HostConfig": {"Isolation": "hyperv"}}])
def test_windows_is_not_applicable(found: dict[str, Any]) -> None:
    result = judged(**found)
    assert [c.verdict for c in result.containers] == [State.NOT_APPLICABLE]
    assert "writable-root-filesystem" not in rules(result)


def test_nothing_is_believed_of_a_pid_that_is_another_container_or_host() -> None:
    """The engine's pid may be one of another machine: its mount table is then not that of the container."""
    result = judged(State={"Running": True, "Pid": os.getpid()}, HostConfig={"ReadonlyRootfs": True})
    (container,) = result.containers
    assert container.effective is State.READ_ONLY
    assert "can't be seen from here" in container.reason


@pytest.mark.parametrize(
    "found",
    [
        {},
        {"Name": None, "Config": None, "HostConfig": None, "State": None, "Mounts": None, "SizeRw": None},
        {"Config": [], "HostConfig": "x", "Mounts": [None, {}, {"Destination": ""}], "State": {"Running": True}},
        {"State": {"Running": True, "Pid": 1 << 30}, "HostConfig": {"Tmpfs": {"/a": None}, "Mounts": [1]}},
    ],
)
def test_odd_answers_end_nothing(found: dict[str, Any]) -> None:
    """Fields that are missing or of another type count as not said."""
    assert judged(**found).containers[0].effective is State.WRITABLE


@pytest.mark.parametrize("odd", [None, 3, "x", [1], [{"type": [1]}], {"a": 1}], ids=str)
@pytest.mark.parametrize(
    "keys",
    ["process", "process.args", "process.capabilities.bounding", "linux.namespaces", "mounts", "root"],
)
def test_odd_configurations_of_a_runtime_end_nothing(keys: str, odd: object) -> None:
    """A bundle's configuration is another program's: whatever stands there, the container is judged."""
    for key in reversed(keys.split(".")):
        odd = {key: odd}
    assert isinstance(odd, dict)
    (workload,) = read_node_container(NodeContainer(id="d4" * 32, runtime="cri-o", spec=odd), ()).workloads
    assert workload.containers[0].security.read_only_root is False


@pytest.mark.parametrize(("size", "found"), [(None, False), (12, False), (4096, False), (5 << 20, True)])
def test_data_in_the_layer_is_told(size: int | None, found: bool) -> None:
    """The few bytes that engines leave there do not count."""
    result = judged(SizeRw=size)
    told = [finding.message for finding in result.findings if finding.rule == "data-in-container-layer"]
    assert told == (["container 'web' keeps 5.0 MiB in a layer that goes with it"] if found else [])


@pytest.mark.parametrize(("user", "root"), [("", True), ("0", True), ("root:root", True), ("0:7", True), ("7", False)])
def test_the_image_has_no_more_to_say_of_the_user(user: str, root: bool) -> None:
    assert ("runs-as-root" in rules(judged(Config={"User": user}))) is root


@pytest.mark.parametrize(
    ("bounding", "added", "kept"), [([], [], False), (["CAP_KILL"], ["KILL"], False), (["CAP_KILL"], [], True)]
)
def test_podman_says_what_is_left(bounding: list[str], added: list[str], kept: bool) -> None:
    """`--cap-drop all` leaves no `ALL` behind in Podman's words."""
    result = judged(BoundingCaps=bounding, HostConfig={"CapAdd": added, "CapDrop": ["CAP_CHOWN"]})
    assert ("capabilities-not-dropped" in rules(result)) is kept


def test_labels_exempt() -> None:
    labels = {"lithify.dev/ignore.writable-root-filesystem": "installs plugins owner=web"}
    result = judged(Config={"Labels": labels})
    (finding,) = [finding for finding in result.findings if finding.rule == "writable-root-filesystem"]
    assert finding.exemption is not None
    assert (finding.exemption.reason, finding.exemption.owner) == ("installs plugins", "web")


def test_each_tmpfs_is_a_finding_of_its_own() -> None:
    """Two of one container differ in place and fingerprint, so that a baseline tells them apart."""
    result = judged(HostConfig={"Tmpfs": {"/a": "", "/b": "size=0", "/c": "size=1m"}})
    found = [finding for finding in result.findings if finding.rule == "unbounded-scratch"]
    assert [finding.message for finding in found] == [
        "tmpfs on /a can use memory without limit",
        "tmpfs on /b can use memory without limit",
    ]
    assert len({finding.fingerprint for finding in found}) == 2


def service(**template: Any) -> FileResult:
    """Return what came of a service with this task template."""
    spec = {"Name": "web", "Labels": {}, "TaskTemplate": template}
    return Judge("2026-01-01").judge(read_service({"ID": "abc", "Spec": spec}))


def test_a_service_is_judged_by_its_template() -> None:
    mounts = [
        {"Type": "bind", "Source": "/etc", "Target": "/host"},
        {"Type": "tmpfs", "Target": "/tmp", "TmpfsOptions": {"SizeBytes": 1 << 20}},
        {"Type": "volume", "Target": "/usr/bin"},
    ]
    result = service(
        ContainerSpec={"Image": "web@sha256:1", "ReadOnly": True, "Mounts": mounts},
        Resources={"Limits": {"MemoryBytes": 1 << 20}},
    )
    (container,) = result.containers
    assert (container.verdict, container.image) == (State.READ_ONLY, "web")
    assert {"writable-host-path", "writable-system-path", "anonymous-volume", "memory-beyond-limit"} <= rules(result)
    assert "privilege-escalation" not in rules(result)  # not for a service to say


@pytest.mark.parametrize(
    ("systems", "state"),
    [((), State.WRITABLE), (("windows",), State.NOT_APPLICABLE), (("windows", "linux"), State.WRITABLE)],
)
def test_a_service_for_windows_is_not_applicable(systems: tuple[str, ...], state: State) -> None:
    placement = {"Platforms": [{"OS": system} for system in systems]}
    assert service(ContainerSpec={}, Placement=placement).containers[0].effective is state


def test_what_holds_a_pod_of_podman_is_named_as_that() -> None:
    """To the check it is a container like others; that it can't be given the flag is no advice."""
    result = judged(IsInfra=True)
    (finding,) = [one for one in result.findings if one.rule == "writable-root-filesystem"]
    assert finding.message == "infra container 'web' can write to its root filesystem"
    assert finding.fix is None
    assert result.containers[0].role == "infra"


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ({}, "make it anew with --read-only"),
        (
            {"com.docker.compose.service": "web", "com.docker.compose.project.config_files": "/srv/compose.yaml"},
            "set read_only for service web in /srv/compose.yaml",
        ),
        ({"com.docker.swarm.service.name": "shop_web"}, "set it with `docker service update --read-only shop_web`"),
        ({"PODMAN_SYSTEMD_UNIT": "web.service"}, "set ReadOnly=true in unit web.service"),
    ],
)
def test_a_remedy_is_for_what_keeps_the_container(labels: dict[str, str], told: str) -> None:
    """What is made anew by hand comes back without the flag."""
    (finding,) = [one for one in judged(Config={"Labels": labels}).findings if one.rule == "writable-root-filesystem"]
    assert finding.fix is not None
    assert finding.fix.text == f"{told} and mount what `lithify plan` lists"
