"""A scratch copy of a Compose project: nothing of the user's in it, and all that the services need."""

import json
from typing import Any

import pytest

from lithify.engines.command_line.runline import parse_run_line
from lithify.engines.compose.flags import giver_image, plan_service
from lithify.engines.compose.project import Project, Scratch
from lithify.errors import EngineRefused, NothingToExamine
from lithify.model.image import EntryType, ImageEntry, ImageFacts
from lithify.model.mount import Mount, MountPlan, Seed, StorageKind
from lithify.model.path import container_path
from lithify.model.writes import RunKey

NO_SHELL = ImageFacts(reference="x")


def project(services: dict[str, Any], *active: str, **tables: Any) -> Project:
    model = {"name": "shop", "services": {k: {"image": "x", **v} for k, v in services.items()}, **tables}
    return Project.of(json.dumps(model).encode(), active or services)


def scratch(found: Project, *services: str) -> dict[str, Any]:
    made = Scratch.of(found, "lithify-1-run", {"mine": "1"}, services or found.services)
    model = json.loads(made.render())
    assert isinstance(model, dict)
    return {**model, "notes": made.notes}


def test_names_ports_labels_and_policies_are_not_taken_over() -> None:
    service = {
        "container_name": "the-web",
        "ports": [{"target": 80, "published": "8080", "protocol": "tcp"}],
        "labels": {"traefik.enable": "true"},
        "build": {"context": "."},
        "profiles": ["x"],
        "restart": "always",
        "scale": 3,
        "mac_address": "02:00:00:00:00:01",
        "logging": {"driver": "syslog"},
        "networks": {"default": None},
        "deploy": {"replicas": 2, "resources": {"limits": {"memory": "64m"}}},
    }
    found = scratch(project({"web": service}))["services"]["web"]
    assert found == {
        "image": "x",
        "container_name": "lithify-1-run-web",
        "labels": {"mine": "1"},
        "pull_policy": "never",
        "logging": {"driver": "json-file", "options": {"max-size": "16m"}},
        "restart": "on-failure:20",
        "networks": {"default": {"aliases": ["the-web"]}},
        "deploy": {"resources": {"limits": {"memory": "64m"}}},
    }


def test_networks_are_its_own() -> None:
    web = {
        "networks": {"front": {"ipv4_address": "172.30.0.5", "aliases": ["www"]}, "shared": None, "host": None},
    }
    networks = {
        "front": {"name": "shop_front", "ipam": {"config": [{"subnet": "172.30.0.0/24"}]}, "internal": True},
        "shared": {"name": "proxy", "external": True},
        "host": {"name": "host", "external": True},
        "unused": {"name": "shop_unused"},
    }
    model = scratch(project({"web": web}, networks=networks))
    assert model["networks"] == {
        "front": {"name": "lithify-1-run-front", "labels": {"mine": "1"}, "internal": True},
        "shared": {"name": "lithify-1-run-shared", "labels": {"mine": "1"}},
        "host": {"name": "host", "external": True},
    }
    assert model["services"]["web"]["networks"]["front"] == {"aliases": ["www"]}
    assert [note.split(":")[0] for note in model["notes"]] == [
        "web does not have its fixed address on network front",
        "network shared is not the project's own",
    ]


def test_a_dollar_comes_out_as_it_went_in() -> None:
    found = project({"web": {"environment": {"A": "$$HOME"}, "command": ["sh", "-c", "echo $$$$"]}})
    assert found.service("web")["environment"] == {"A": "$HOME"}
    assert found.line("web").command == ("sh", "-c", "echo $$")
    assert scratch(found)["services"]["web"]["environment"] == {"A": "$$HOME"}


def test_who_runs_together() -> None:
    found = project(
        {
            "web": {"depends_on": {"db": {"condition": "service_healthy"}}},
            "db": {},
            "side": {"network_mode": "service:web"},
            "debug": {"profiles": ["tools"], "depends_on": {"db": {}}},
            "tool": {"profiles": ["tools"]},
            "off": {"deploy": {"replicas": 0}},
        },
        "web", "db", "side", "off",
    )  # fmt: skip
    assert found.needed_by("side") == {"web", "db"}
    assert found.together_with("web") == {"web", "db", "side"}
    assert found.together_with("debug") == {"web", "db", "side", "debug", "tool"}


def test_what_reaches_the_engine_runs_only_where_it_must() -> None:
    """A second watchtower would update the user's containers."""
    socket = {"type": "bind", "source": "/var/run/docker.sock", "target": "/var/run/docker.sock", "read_only": True}
    services = {
        "watchtower": {"volumes": [socket]},
        "proxy": {"volumes": [socket]},
        "app": {"depends_on": {"proxy": {}}},
        "page": {},
    }
    found = project(services)
    assert found.together_with("page") == {"page"}
    assert found.left_out_with("page") == {"watchtower", "proxy", "app"}
    assert found.together_with("app") == {"app", "proxy", "page"}
    assert found.together_with("watchtower") == {"watchtower", "page"}


@pytest.mark.parametrize(
    ("service", "said"),
    [
        ({"provider": {"type": "x"}}, "not a container"),
        ({"volumes_from": ["container:theirs"]}, "no part of the project"),
    ],
)
def test_what_can_not_be_copied_is_refused(service: dict[str, Any], said: str) -> None:
    with pytest.raises(EngineRefused, match=said):
        scratch(project({"web": service}))


def test_a_service_that_is_not_there() -> None:
    with pytest.raises(NothingToExamine, match="no service lacking"):
        project({"web": {}}).service("lacking")


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        ({"test": ["CMD", "redis-cli", "ping"]}, ("redis-cli", "ping")),
        ({"test": ["CMD-SHELL", "curl -f localhost || exit 1"]}, ("/bin/sh", "-c", "curl -f localhost || exit 1")),
        ({"test": ["NONE"]}, ()),
        ({"test": ["CMD", "x"], "disable": True}, ()),
        ({}, ()),
    ],
)
def test_health_check(check: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert project({"web": {"healthcheck": check}}).health("web") == expected


def test_the_line_of_a_service_says_what_is_mounted_and_set() -> None:
    service = {
        "entrypoint": ["/start", "-x"],
        "command": ["serve"],
        "user": "5:6",
        "environment": {"A": "1", "B": None},
        "tmpfs": ["/run:size=1m"],
        "volumes": [
            {"type": "bind", "source": "/srv,x", "target": "/srv", "read_only": True},
            {"type": "volume", "target": "/anon", "volume": {}},
        ],
        "configs": [{"source": "c"}],
        "secrets": [{"source": "s", "target": "word"}],
        "deploy": {"resources": {"limits": {"memory": "67108864"}}},
    }
    line = project({"web": service}).line("web")
    assert [str(mount.path) for mount in line.mounts()] == ["/c", "/run/secrets/word", "/run", "/srv", "/anon"]
    assert line.environment() == {"A": "1", "B": None}
    assert line.value("memory") == "67108864"
    assert line.value("entrypoint") == '["/start", "-x"]'
    assert line.command == ("serve",)


def test_a_plan_adds_to_what_a_service_mounts() -> None:
    """A file is left out of the service: the engine copies it."""
    found = project({"web": {"tmpfs": ["/tmp"], "volumes": [{"type": "volume", "source": "d", "target": "/d"}]}})
    image = ImageFacts(
        reference="x",
        entries={container_path("/run"): ImageEntry(type=EntryType.DIRECTORY, mode=0o755, uid=0, gid=0)},
    )
    mounts = (
        Mount(path=container_path("/run"), storage=StorageKind.MEMORY, size=1 << 20),
        Mount(path=container_path("/odd"), storage=StorageKind.MEMORY, mode=0o1777, name="web-odd"),
        Mount(path=container_path("/d"), storage=StorageKind.VOLUME),
        Mount(path=container_path("/cache"), storage=StorageKind.SCRATCH, seed=Seed.CONTENT),
        Mount(path=container_path("/etc/x.conf"), storage=StorageKind.SCRATCH, type=EntryType.FILE),
    )
    plan = plan_service(found.line("web"), image, MountPlan(key=RunKey(image="x"), container="web", mounts=mounts))
    assert [str(mount.path) for mount in plan.files] == ["/etc/x.conf"]
    made = Scratch.of(found, "s", {}, ["web"])
    made.plan("web", plan)
    model = json.loads(made.render())
    web = model["services"]["web"]
    assert web["read_only"] is True
    assert web["tmpfs"] == ["/tmp", "/run:noexec,nosuid,nodev,size=1m,mode=0755"]
    assert [volume["target"] for volume in web["volumes"]] == ["/d", "/cache", "/odd"]
    assert model["volumes"]["planned-web-web-odd"]["driver_opts"] == {
        "type": "tmpfs", "device": "tmpfs", "o": "noexec,nosuid,nodev,mode=1777",
    }  # fmt: skip


def test_a_volume_that_is_not_its_users_is_told_with_its_remedy() -> None:
    """An image that is built here can have the directory; so must one that has no shell."""
    moved = Mount(path=container_path("/mnt/state"), storage=StorageKind.VOLUME, uid=1000, gid=1000)
    line = project({"web": {}}).line("web")
    plan = MountPlan(key=RunKey(image="x"), container="", mounts=(moved,))
    shell = ImageFacts(reference="x", has_shell=True)
    for image, service in ((shell, {"image": "x", "build": "."}), (shell, {"build": "."}), (NO_SHELL, {"image": "x"})):
        assert giver_image(service, image, "tools") == "tools"
        made = plan_service(line, image, plan, giver=giver_image(service, image))
        assert not made.given_away
        (told,) = (note for note in made.notes if "root's at first" in note)
        assert "RUN install -d -o 1000 -g 1000 /mnt/state" in told
        assert "--copier" in told


@pytest.mark.parametrize(("engine", "stack"), [("docker", True), ("podman", False)])
def test_no_image_is_asked_for_where_no_service_would_run_it(engine: str, stack: bool) -> None:
    line = parse_run_line([engine, "run", "--name=web", "x"])
    moved = Mount(path=container_path("/mnt/state"), storage=StorageKind.VOLUME, uid=1000, gid=1000)
    plan = MountPlan(key=RunKey(image="x"), container="", mounts=(moved,))
    made = plan_service(line, NO_SHELL, plan, stack=stack, giver="tools")
    assert not made.given_away
    (told,) = (note for note in made.notes if "root's at first" in note)
    assert "--copier" not in told


def test_a_service_beside_it_gives_volumes_to_their_user_before_it_starts() -> None:
    found = project({"web": {"image": "x", "depends_on": {"db": {"condition": "service_healthy"}}}, "db": {}})
    mounts = (
        Mount(path=container_path("/mnt/state"), storage=StorageKind.VOLUME, uid=1000, gid=1000, name="state"),
        Mount(path=container_path("/mnt/cache"), storage=StorageKind.SCRATCH, uid=1000, gid=5, mode=0o700, name="c"),
    )
    plan = MountPlan(key=RunKey(image="x"), container="web", mounts=mounts)
    made = Scratch.of(found, "s", {"mine": "yes"}, ["web", "db"])
    made.plan("web", plan_service(found.line("web"), ImageFacts(reference="x", has_shell=True), plan, giver="x"))
    services = json.loads(made.render())["services"]
    giver = services["planned-web-init"]
    assert services["web"]["depends_on"]["db"] == {"condition": "service_healthy"}
    assert services["web"]["depends_on"]["planned-web-init"]["condition"] == "service_completed_successfully"
    assert giver["labels"] == {"mine": "yes"}
    assert giver["image"] == "x"
    assert giver["user"] == "0:0"
    assert giver["entrypoint"][:2] == ["sh", "-c"]
    assert giver["entrypoint"][2].split(" && ") == [
        "chown 1000:5 /mnt/cache", "chmod 700 /mnt/cache", "chown 1000:1000 /mnt/state", "chmod 755 /mnt/state",
    ]  # fmt: skip
    assert {volume["source"] for volume in giver["volumes"]} == {"planned-web-c", "planned-web-state"}
