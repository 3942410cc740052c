"""Quadlet units and ECS task definitions are read as their engines read them."""

from pathlib import Path

import pytest

from lithify.model.workload import Container
from lithify.sources.base import Reading
from lithify.sources.ecs import read_task_definitions
from lithify.sources.quadlet import read_quadlet


def containers(reading: Reading) -> list[Container]:
    """Return every container."""
    return [container for workload in reading.workloads for container in workload.containers]


UNIT = """\
# a unit
[Unit]
Description=Web

[Container]
Image=docker.io/library/nginx
ReadOnly=true
Tmpfs=/cache:size=64m,noexec
Volume=data:/data
Volume=/etc/app:/etc/app:ro
Volume=/anonymous
Mount=type=bind,source=/srv,target=/srv,ro
DropCapability=all
AddCapability=CAP_NET_BIND_SERVICE \\
  chown
NoNewPrivileges=yes
User=1000:1000
PodmanArgs=--memory 64m --privileged
"""


def test_a_unit(tmp_path: Path) -> None:
    """Keys, lists, continued lines and raw arguments all count; Podman's own tmpfs are there."""
    path = tmp_path / "web.container"
    path.write_text(UNIT)
    (container,) = containers(read_quadlet(str(path), UNIT.encode()))
    security = container.security
    assert container.workload.name.name == "web"
    assert security.read_only_root is True
    assert security.privileged
    assert security.escalation is False
    assert security.run_as_user == "1000"
    assert security.capabilities_dropped
    assert security.added_capabilities == ("NET_BIND_SERVICE", "CHOWN")
    assert (container.location / "ReadOnly").line == 7
    assert (container.location / "Missing").line == 6
    seen = {m.path: (m.volume.kind, m.writable, m.executable, m.volume.size) for m in container.mounts}
    assert seen == {
        "/run": ("tmpfs", True, True, None),
        "/tmp": ("tmpfs", True, True, None),
        "/var/tmp": ("tmpfs", True, True, None),
        "/cache": ("tmpfs", True, False, 64 << 20),
        "/data": ("volume", True, True, None),
        "/etc/app": ("bind", False, True, None),
        "/anonymous": ("anonymous", True, True, None),
        "/srv": ("bind", False, True, None),
    }


def test_a_drop_in_has_the_last_word(tmp_path: Path) -> None:
    """What a drop-in sets holds, and its place is its own."""
    path = tmp_path / "web.container"
    path.write_text("[Container]\nImage=x\nReadOnly=false\n")
    (tmp_path / "web.container.d").mkdir()
    (tmp_path / "web.container.d" / "10-hard.conf").write_text(
        "[Container]\nReadOnly=true\nReadOnlyTmpfs=no\nreadonly=1\n"
    )
    reading = read_quadlet(str(path), path.read_bytes())
    (container,) = containers(reading)
    assert container.security.read_only_root is True
    assert not container.mounts
    assert [(o.rule, o.location.line) for o in reading.workloads[0].oddities] == [("misspelt-flag", 4)]


@pytest.mark.parametrize(
    ("lines", "mounts"),
    [
        ('PodmanArgs=--read-only --tmpfs /a --volume data:/b:ro "--mount=type=bind,src=/s,dst=/c"', "/a /b=ro /c"),
        ('Mount=type=tmpfs,dst=/a "type=bind,source=/s s,target=/b"', "/a /b"),
        ("VolatileTmp=yes", "/tmp=512M"),
        ("VolatileTmp=yes\nReadOnly=yes\nPodmanArgs=--read-only-tmpfs=false", ""),
    ],
)
def test_places_of_a_unit(lines: str, mounts: str) -> None:
    """As Podman 5.4's generator takes them to a run line, held against it on 500 units."""
    (container,) = containers(read_quadlet("x.container", f"[Container]\nImage=x\n{lines}\n".encode()))
    said = {True: "=ro", False: ""}
    assert mounts == " ".join(
        m.path + ("=512M" if m.volume.size == 512 << 20 else said[m.read_only])
        for m in container.mounts
        if m.volume.name != "podman"
    )
    assert container.security.read_only_root is (True if "read-only" in lines else None)


def test_words_of_a_unit() -> None:
    """Quotes and escapes are systemd's; what is handed to Podman as it is may say its value in the next word."""
    text = (
        '[Container]\nImage="quay.io/x"\nUser="7:8"\nExec="a b" \\110i \\\n  c\nAddCapability=chown,kill "NET_RAW"\n'
        "PodmanArgs=--cap-add SYS_ADMIN,sys_time --cap-drop=all --privileged=0 --security-opt no-new-privileges\n"
        "PodmanArgs=--env X=--privileged -u 9\n"
    )
    (container,) = containers(read_quadlet("x.container", text.encode()))
    security = container.security
    assert (container.image, container.arguments) == ("quay.io/x", ("a b", "Hi", "c"))
    assert security.added_capabilities == ("CHOWN", "KILL", "NET_RAW", "SYS_ADMIN", "SYS_TIME")
    assert security.dropped_capabilities == ("ALL",)
    assert (security.privileged, security.escalation, security.run_as_user) == (False, False, "9")


def test_a_task_definition() -> None:
    """The flag, its misspellings, mounts and tmpfs, with their lines."""
    text = """{
  "family": "web",
  "volumes": [{"name": "data"}, {"name": "etc", "host": {"sourcePath": "/etc"}}],
  "containerDefinitions": [
    {"name": "a", "image": "x", "readonlyRootFilesystem": true, "user": "1000", "memory": 128,
     "linuxParameters": {"tmpfs": [{"containerPath": "/tmp", "size": 64, "mountOptions": ["exec"]}],
                         "capabilities": {"drop": ["ALL"]}},
     "mountPoints": [{"sourceVolume": "etc", "containerPath": "/host", "readOnly": true}]},
    {"name": "b", "image": "x",
     "readOnlyRootFilesystem": true}
  ]
}"""
    reading = read_task_definitions("task.json", text.encode())
    first, second = containers(reading)
    assert (first.security.read_only_root, second.security.read_only_root) == (True, None)
    assert first.security.capabilities_dropped
    assert first.memory_limit == 128 << 20
    seen = {m.path: (m.volume.kind, m.volume.host_path, m.writable, m.executable, m.volume.size) for m in first.mounts}
    assert seen == {"/host": ("volume", "/etc", False, True, None), "/tmp": ("tmpfs", "", True, True, 64 << 20)}
    assert [(o.rule, o.location.line) for o in reading.workloads[0].oddities] == [("misspelt-flag", 10)]


def test_cloudformation() -> None:
    """Capital keys, intrinsic functions and all."""
    text = """\
Resources:
  Task:
    Type: AWS::ECS::TaskDefinition
    Properties:
      RuntimePlatform: {OperatingSystemFamily: WINDOWS_SERVER_2022_CORE}
      ContainerDefinitions:
      - Name: app
        Image: !Sub "${Repository}:1"
        ReadonlyRootFilesystem: "true"
"""
    reading = read_task_definitions("stack.yaml", text.encode())
    (container,) = containers(reading)
    assert container.security.read_only_root is True
    assert container.workload.name.name == "Task"
    assert "Windows" in container.workload.not_applicable


TASK = "Resources:\n  Task:\n    Type: AWS::ECS::TaskDefinition\n    Properties:\n      ContainerDefinitions: "


def doubled(first: str, listed: str, levels: int) -> str:
    """Return lines in which each names the one before it twice."""
    lines = [f"a{n}: &a{n} {listed % ((f'*a{n - 1}',) * 2)}\n" for n in range(1, levels + 1)]
    return f"a0: &a0 {first}\n{''.join(lines)}"


@pytest.mark.parametrize("listed", ["[%s, %s]", "!If [c, %s, %s]"])
def test_of_aliases_that_multiply_as_many_containers_are_read_as_the_text_has_room_for(listed: str) -> None:
    text = doubled("[{Name: a, Image: x}]", listed, 40) + f"{TASK}*a40\n"
    reading = read_task_definitions("stack.yaml", text.encode())
    assert 10 < len(containers(reading)) < len(text) // 4
    assert ["its aliases multiply" in oddity.message for oddity in reading.oddities] == [True]
    lists = doubled("[]", "[%s, %s]", 40) + "a: {containerDefinitions: *a40}\n"
    assert not containers(read_task_definitions("task.yaml", lists.encode()))


def test_a_flag_of_conditions_that_multiply_is_computed_once() -> None:
    text = doubled("true", "!If [c, %s, %s]", 40) + f"{TASK}[{{Image: x, ReadonlyRootFilesystem: *a40}}]\n"
    (container,) = containers(read_task_definitions("stack.yaml", text.encode()))
    assert container.security.read_only_root is True


def test_lists_of_task_definitions_that_multiply_are_read_once() -> None:
    text = "- &a0 [{containerDefinitions: [{image: x}]}]\n"
    text += "".join(f"- &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
    assert len(containers(read_task_definitions("tasks.yaml", text.encode()))) == 1
