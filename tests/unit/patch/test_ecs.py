"""ECS task definitions: each launch type gets what it can say, the rest is refused."""

import json
from dataclasses import replace
from pathlib import PurePosixPath

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.patch import plans
from tests.unit.patch.plans import SCRATCH, VOLUME, place, planned, redirect

from lithify.model.image import EntryType, ImageFacts
from lithify.model.mount import Mount, Redirect, Seed
from lithify.model.patch import Patched
from lithify.patch import ecs
from lithify.patch.ecs import TaskOptions

TASK = b"""{
    "family": "shop",
    "requiresCompatibilities": ["EC2"],
    "containerDefinitions": [
        {"name": "web", "image": "web:1", "readonlyRootFilesystem": false, "memory": 512},
        {
            "name": "side",
            "image": "side:1"
        }
    ]
}
"""
FARGATE = TASK.replace(b"EC2", b"FARGATE")
CLOUD = b"""\
Resources:
  Task:
    Type: AWS::ECS::TaskDefinition
    Properties:
      Family: !Ref Name   # kept
      ContainerDefinitions:
        - Name: web
          Image: !Sub "${Registry}/web:1"
          MountPoints:
            - {SourceVolume: data, ContainerPath: /data}
      Volumes: [{Name: data}]
"""


def patch(data: bytes, *mounts: Mount, image: ImageFacts | None = None, options: TaskOptions | None = None) -> Patched:
    route = ("Resources", "Task", "Properties", "ContainerDefinitions", 0)
    one = planned(
        *mounts,
        route=route if data is CLOUD or b"Resources" in data else ("containerDefinitions", 0),
        redirects=(redirect("HOME", "/tmp"),),
        image=image,
    )
    return ecs.patch(data, [one], options)


def test_on_ec2_a_tmpfs_has_size_owner_and_mode() -> None:
    patched = patch(TASK, place("/tmp", mode=0o1777, size=3_000_000), place("/run/web", uid=101, gid=5))
    assert not patched.refused
    before, after = json.loads(TASK), json.loads(patched.text)
    before["containerDefinitions"][0].update(
        readonlyRootFilesystem=True,
        linuxParameters={
            "tmpfs": [
                {
                    "containerPath": "/tmp",
                    "size": 3,
                    "mountOptions": ["rw", "noexec", "nosuid", "nodev", "mode=1777"],
                },
                {
                    "containerPath": "/run/web",
                    "size": 64,
                    "mountOptions": ["rw", "noexec", "nosuid", "nodev", "mode=0755", "uid=101", "gid=5"],
                },
            ]
        },
        environment=[{"name": "HOME", "value": "/tmp"}],
    )
    assert after == before
    assert [line for line in TASK.splitlines() if line not in patched.text.splitlines()] == [TASK.splitlines()[4]]
    assert any("ECS wants one" in note for note in patched.notes)


def test_on_ec2_disk_is_a_volume_of_dockers() -> None:
    patched = patch(TASK, place("/cache", SCRATCH, seed=Seed.CONTENT), place("/data", VOLUME, name="web-data"))
    task = json.loads(patched.text)
    assert task["volumes"] == [
        {"name": "web-cache", "dockerVolumeConfiguration": {"scope": "task", "driver": "local"}},
        {
            "name": "web-data",
            "dockerVolumeConfiguration": {"scope": "shared", "autoprovision": True, "driver": "local"},
        },
    ]
    assert [mount["containerPath"] for mount in task["containerDefinitions"][0]["mountPoints"]] == ["/cache", "/data"]
    assert any("stays on the instance" in note for note in patched.notes)


def test_on_fargate_a_place_is_an_empty_volume() -> None:
    patched = patch(FARGATE, place("/run"), place("/var/log", SCRATCH))
    task = json.loads(patched.text)
    assert not patched.refused
    assert task["volumes"] == [{"name": "web-run"}, {"name": "web-var-log"}]
    assert "linuxParameters" not in task["containerDefinitions"][0]
    assert patch(patched.text, place("/run"), place("/var/log", SCRATCH)).text == patched.text


@pytest.mark.parametrize(
    ("mount", "reason"),
    [
        (place("/tmp", mode=0o1777), "root's and 0755"),
        (place("/cache", SCRATCH, uid=101), "root's and 0755"),
        (place("/cache", SCRATCH, seed=Seed.CONTENT), "a declared VOLUME alone"),
        (place("/data", VOLUME), "EFS"),
        (place("/etc/x", type=EntryType.FILE), "single file"),
    ],
)
def test_what_fargate_cannot_say_is_refused(mount: Mount, reason: str) -> None:
    patched = patch(FARGATE, mount)
    assert patched.text == FARGATE
    assert reason in patched.refused[0].reason
    assert patched.refused[0].remedy


def test_a_declared_volume_brings_owner_and_content_on_fargate() -> None:
    image = ImageFacts(reference="x", volumes=(PurePosixPath("/cache"),))
    patched = patch(FARGATE, place("/cache", SCRATCH, uid=101, seed=Seed.CONTENT), image=image)
    assert not patched.refused
    assert json.loads(patched.text)["volumes"] == [{"name": "web-cache"}]


def test_a_tmpfs_on_fargate_is_used_where_its_platform_has_it() -> None:
    patched = patch(FARGATE, place("/tmp", mode=0o1777), options=TaskOptions(fargate_tmpfs=True))
    assert b'"linuxParameters"' in patched.text


def test_cloudformation_keeps_its_case_its_tags_and_its_comments() -> None:
    patched = patch(CLOUD, place("/tmp", mode=0o1777, size=1 << 20), place("/data", VOLUME))
    assert not patched.refused
    assert patched.text.decode() == CLOUD.decode().replace(
        "ContainerPath: /data}\n",
        "ContainerPath: /data}\n"
        "          ReadonlyRootFilesystem: true\n"
        "          LinuxParameters:\n            Tmpfs:\n              - ContainerPath: /tmp\n                Size: 1\n"
        "                MountOptions:\n                  - rw\n                  - noexec\n"
        "                  - nosuid\n                  - nodev\n                  - mode=1777\n"
        "          Environment:\n            - Name: HOME\n              Value: /tmp\n",
    )


def test_windows_and_changed_arguments_are_refused() -> None:
    windows = TASK.replace(
        b'"family"', b'"runtimePlatform": {"operatingSystemFamily": "WINDOWS_SERVER_2022_CORE"}, "family"'
    )
    assert "Windows" in patch(windows, place("/tmp")).refused[0].reason
    one = planned(place("/tmp"), route=("containerDefinitions", 0))
    argument = Redirect(old=PurePosixPath("/a"), new=PurePosixPath("/tmp"), argument=(1, "--dir=/tmp"))
    one = replace(one, plan=replace(one.plan, redirects=(argument,)))
    assert "an argument has to change" in ecs.patch(TASK, [one]).refused[0].reason
    added = replace(argument, argument=None, appended=("--dir=/tmp",))
    one = replace(one, plan=replace(one.plan, redirects=(added,)))
    assert "an argument has to change" in ecs.patch(TASK, [one]).refused[0].reason


@given(mounts=plans.mounts, data=st.sampled_from((TASK, FARGATE, CLOUD)))
def test_twice_changes_nothing_and_what_is_refused_is_left_alone(mounts: list[Mount], data: bytes) -> None:
    once = patch(data, *mounts)
    assert patch(once.text, *mounts).text == once.text
    if once.refused:
        assert once.text == data
    elif data is CLOUD:
        assert b"Family: !Ref Name   # kept" in once.text
        yaml.compose(once.text)
    else:
        assert json.loads(once.text)["containerDefinitions"][0]["readonlyRootFilesystem"] is True
        assert json.loads(once.text)["containerDefinitions"][1] == {"name": "side", "image": "side:1"}


CONDITIONS = """\
Resources:
  Task:
    Type: AWS::ECS::TaskDefinition
    Properties:
      RequiresCompatibilities: [EC2]
      ContainerDefinitions:
        - Name: web
          Image: web:1
          MountPoints:
            - !If [Data, {SourceVolume: web-cache, ContainerPath: /data}, !Ref AWS::NoValue]
        - Fn::If:
            - Agent
            - Name: agent
              Image: agent:1
            - !Ref AWS::NoValue
      Volumes:
        - !If [Data, {Name: web-cache}, !Ref AWS::NoValue]
"""
LISTED = ("Resources", "Task", "Properties", "ContainerDefinitions")


def condition(text: str, *mounts: Mount, container: str = "web", at: tuple[str | int, ...] = (0,)) -> Patched:
    one = planned(*mounts, container=container, route=(*LISTED, *at), redirects=(redirect("HOME", "/tmp"),))
    return ecs.patch(text.encode(), [one])


def test_items_are_added_beside_what_a_condition_adds() -> None:
    """Under a name that no branch gives."""
    patched = condition(CONDITIONS, place("/cache", SCRATCH))
    assert not patched.refused
    text = patched.text.decode()
    assert [line for line in CONDITIONS.splitlines() if line not in text.splitlines()] == []
    assert "            - SourceVolume: web-cache-2\n              ContainerPath: /cache\n" in text
    assert condition(text, place("/cache", SCRATCH)).text == patched.text


def test_a_container_in_a_branch_is_patched_where_it_stands() -> None:
    patched = condition(CONDITIONS, place("/cache", SCRATCH), container="agent", at=(1, "Fn::If", 1))
    assert not patched.refused
    assert "              Image: agent:1\n              ReadonlyRootFilesystem: true\n" in patched.text.decode()
    assert "        - Name: agent-cache\n" in patched.text.decode()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("Image: web:1", "ReadonlyRootFilesystem: !If [Prod, true, false]", "ReadonlyRootFilesystem (line 8)"),
        ("Image: web:1", 'Environment: !If [Prod, [], !Ref "AWS::NoValue"]', "Environment (line 8)"),
        ("Image: web:1", "Environment: [{Name: HOME, Value: !Ref Home}]", "Environment.0.Value (line 8)"),
        ("Image: web:1", "LinuxParameters: {Fn::If: [Prod, {}, {}]}", "LinuxParameters (line 8)"),
        ("ContainerPath: /data", "ContainerPath: /cache/", "MountPoints.0 (line 10)"),
        ("- !If [Data, {Name: web-cache}", "!If [Data, [{Name: web-cache}]", "Volumes (line 16)"),
    ],
)
def test_what_is_computed_is_left_with_its_line_and_all_that_has_to_be_added(old: str, new: str, told: str) -> None:
    """Which branch holds is for CloudFormation to know."""
    text = CONDITIONS.replace(old, new)
    patched = condition(text, place("/tmp"), place("/cache", SCRATCH))
    (refused,) = patched.refused
    assert told in refused.reason
    assert patched.text == text.encode()
    (definition,) = yaml.safe_load(refused.by_hand)["ContainerDefinitions"]
    assert definition["ReadonlyRootFilesystem"] is True
    assert definition["MountPoints"][0]["ContainerPath"] == "/cache"


def test_a_launch_type_that_is_computed_is_taken_for_fargate() -> None:
    """What Fargate takes serves on EC2 too; the other way round it does not."""
    text = CONDITIONS.replace("[EC2]", "!If [Prod, [FARGATE], [EC2]]")
    patched = condition(text, place("/cache", SCRATCH))
    assert not patched.refused
    assert "DockerVolumeConfiguration" not in patched.text.decode()


@pytest.mark.parametrize("wanted", ["5", "true", "{a: b}", "null", "FARGATE", "[[FARGATE]]"])
def test_a_launch_type_of_any_shape_raises_nothing(wanted: str) -> None:
    """Somebody else refuses the task; a word alone is believed."""
    patched = condition(CONDITIONS.replace("[EC2]", wanted), place("/cache", SCRATCH))
    assert not patched.refused
    assert ("DockerVolumeConfiguration" in patched.text.decode()) == (wanted != "FARGATE")


def test_what_no_task_can_have_is_left_with_the_flag_as_the_file_would_write_it() -> None:
    (refused,) = condition(CONDITIONS.replace("[EC2]", "[FARGATE]"), place("/data", VOLUME)).refused
    assert yaml.safe_load(refused.by_hand) == {"ReadonlyRootFilesystem": True}
