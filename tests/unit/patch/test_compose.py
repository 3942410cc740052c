"""Compose files: only what must change does, and Compose makes of it what was planned."""

import difflib
import json
import os
import shlex
import subprocess
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.patch import plans
from tests.unit.patch.plans import SCRATCH, VOLUME, place, planned, redirect
from tests.unit.patch.programs import present
from tests.unit.patch.schemas import compose_errors, read_compose

from lithify.model.image import EntryType, ImageFacts
from lithify.model.mount import Mount, Redirect, Seed
from lithify.model.patch import Patched, Planned
from lithify.patch import compose
from lithify.pipeline.files.write import read_original, replace_file, revert_file

SHOP = """\
# the shop
services:
  web:            # its front
    image: "nginx:1.27"
    ports:
      - "8080:80"

  cache: {image: redis}
"""


def on(service: str, *mounts: Mount, **more: Any) -> Planned:
    return planned(*mounts, container=service, route=("services", service), **more)


def patch(text: str, *mounts: Mount, service: str = "web", copier: str = "", **more: Any) -> Patched:
    """Patch one service; the file, and what is for a person to write, keep to the schema of Compose."""
    patched = compose.patch(text.encode(), [on(service, *mounts, **more)], compose.Manner(copier=copier))
    assert not compose_errors(patched.text) - compose_errors(text.encode())
    assert not [refused for refused in patched.refused if compose_errors(refused.by_hand.encode() or b"{}")]
    return patched


def added(before: str, patched: Patched) -> list[str]:
    """Return the lines that were added; fails where one was taken away."""
    assert not patched.refused, patched.refused
    lines = list(difflib.ndiff(before.splitlines(), patched.text.decode().splitlines()))
    assert not [line for line in lines if line.startswith("- ")], lines
    return [line[2:] for line in lines if line.startswith("+ ")]


def test_only_lines_are_added() -> None:
    patched = patch(
        SHOP,
        place("/run", size=1 << 20),
        place("/var/cache/nginx", uid=33, gid=33, mode=0o700, executable=True),
        place("/etc/nginx/conf.d", SCRATCH, seed=Seed.CONTENT),
        place("/data", VOLUME, name="web-data"),
    )
    assert added(SHOP, patched) == [
        "    read_only: true",
        "    tmpfs:",
        '      - "/run:noexec,nosuid,nodev,size=1m,mode=0755"',
        '      - "/var/cache/nginx:exec,nosuid,nodev,uid=33,gid=33,mode=0700"',
        "    volumes:",
        "      - web-data:/data",
        "      - /etc/nginx/conf.d",
        "volumes:",
        "  web-data: {}",
    ]


def test_a_volume_at_a_path_that_the_image_lacks_is_given_to_its_user_first(tmp_path: Path) -> None:
    text = SHOP.replace("    ports:", "    depends_on: [cache]\n    profiles: [front]\n    ports:")
    moved = place("/mnt/state", VOLUME, name="web-state", uid=101, gid=5, mode=0o700)
    patched = patch(text, moved, image=ImageFacts(reference="x", has_shell=True))
    assert not patched.refused
    services = yaml.safe_load(patched.text)["services"]
    assert services["web"]["depends_on"] == {
        "cache": {"condition": "service_started"}, "web-init": {"condition": "service_completed_successfully"},
    }  # fmt: skip
    assert services["web-init"] == {
        "image": "nginx:1.27",
        "profiles": ["front"],
        "user": "0:0",
        "entrypoint": ["sh", "-c", "chown 101:5 /mnt/state && chmod 700 /mnt/state"],
        "read_only": True,
        "network_mode": "none",
        "cap_drop": ["ALL"],
        "cap_add": ["CHOWN", "DAC_OVERRIDE", "FOWNER"],
        "security_opt": ["no-new-privileges:true"],
        "volumes": ["web-state:/mnt/state"],
    }
    assert patch(patched.text.decode(), moved, image=ImageFacts(reference="x", has_shell=True)).text == patched.text
    file = tmp_path / "compose.yaml"
    file.write_text(text)
    replace_file(read_original(file), patched.text, tmp_path / "state")
    assert file.read_bytes() == patched.text
    revert_file(file, tmp_path / "state")
    assert file.read_text() == text


MOVED = place("/mnt/state", VOLUME, name="web-state", uid=101, gid=5)


@pytest.mark.parametrize(("more", "given"), [
    ("", True),
    (("    depends_on:\n      own: {condition: service_completed_successfully, required: true}\n"
     "  own: {image: x, volumes: ['web-state:/x']}\n"), False),
    ("    depends_on: {own: {condition: service_started}}\n  own: {image: x, volumes: ['web-state:/x']}\n", True),
    ("    depends_on: {own: {condition: service_completed_successfully}}\n  own: {image: x}\n", True),
])  # fmt: skip
@pytest.mark.parametrize("volume", [
    "web-state:/mnt/state", "{type: volume, source: web-state, target: /mnt/state}"
])  # fmt: skip
def test_a_volume_that_stands_is_given_to_its_user_unless_a_service_does_so(
    volume: str, more: str, given: bool
) -> None:
    """A file that was patched before there were such services gets one."""
    head = f"services:\n  web:\n    image: x\n    read_only: true\n    volumes:\n      - {volume}\n"
    text = f"{head}{more}volumes:\n  web-state:\n"
    image = ImageFacts(reference="x", has_shell=True)
    patched = patch(text, MOVED, image=image)
    services = yaml.safe_load(patched.text)["services"]
    assert ("web-init" in services) == given
    if given:
        assert services["web-init"]["volumes"] == ["web-state:/mnt/state"]
        assert services["web"]["depends_on"]["web-init"] == {"condition": "service_completed_successfully"}
    assert services["web"]["volumes"] == yaml.safe_load(text)["services"]["web"]["volumes"]
    assert patch(patched.text.decode(), MOVED, image=image).text == patched.text
    external = text.replace("web-state:\n", "web-state: {external: true}\n")
    assert patch(external, MOVED, image=image).text.decode() == external


@pytest.mark.parametrize("service", ["image: web\n    build: .", "build: .", 'image: "nginx:1.27"\n    platform: x/y'])
def test_a_copier_gives_volumes_where_an_image_can_not(service: str) -> None:
    """Images without a shell, and those that the project builds."""
    text = SHOP.replace('image: "nginx:1.27"', f"{service}\n    userns_mode: host")
    patched = patch(text, MOVED, image=ImageFacts(reference="x"), copier="tools:1")
    services = yaml.safe_load(patched.text)["services"]
    assert services["web-init"].items() >= {"image": "tools:1", "userns_mode": "host", "user": "0:0"}.items()
    assert not {"build", "platform", "pull_policy"} & services["web-init"].keys()
    assert "root's at first" not in str(patched.notes)


@pytest.mark.parametrize("gone", ["image: web\n    build: .", "build: ."])
def test_an_image_that_the_project_builds_is_to_have_the_directory(gone: str) -> None:
    text = SHOP.replace('image: "nginx:1.27"', gone)
    moved = place("/mnt/state", VOLUME, name="web-state", uid=101, gid=5)
    patched = patch(text, moved, image=ImageFacts(reference="x", has_shell=True))
    assert "web-init" not in patched.text.decode()
    assert any("RUN install -d -o 101 -g 5 /mnt/state" in note for note in patched.notes)


def test_the_override_for_a_person_has_the_service_that_gives_a_volume_away() -> None:
    text = SHOP.replace("  cache:", "  other: {extends: web}\n\n  cache:")
    (refused,) = patch(
        text, place("/mnt/state", VOLUME, name="s", uid=101), image=ImageFacts(reference="x", has_shell=True)
    ).refused
    assert "extends it" in refused.reason
    services = yaml.safe_load(refused.by_hand)["services"]
    assert services["web-init"]["image"] == "nginx:1.27"
    assert services["web"]["depends_on"] == {"web-init": {"condition": "service_completed_successfully"}}


def test_what_stands_on_one_line_stays_on_it() -> None:
    patched = patch(SHOP, place("/tmp", mode=0o1777), service="cache")
    assert b"  cache: {image: redis, read_only: true, tmpfs: [" in patched.text
    assert patched.text.decode().splitlines()[:-1] == SHOP.splitlines()[:-1]


def test_a_tmpfs_that_docker_would_give_another_mode_is_a_volume_in_memory() -> None:
    image = ImageFacts(reference="x")  # nothing at /scratch: Docker makes it, 0755
    patched = patch(SHOP, place("/scratch", mode=0o1777, size=1 << 20), image=image)
    assert added(SHOP, patched) == [
        "    read_only: true",
        "    volumes:",
        "      - type: volume",
        "        source: web-scratch",
        "        target: /scratch",
        "        volume:",
        "          nocopy: true",
        "volumes:",
        "  web-scratch:",
        "    driver_opts:",
        "      type: tmpfs",
        "      device: tmpfs",
        '      o: "noexec,nosuid,nodev,size=1m,mode=1777"',
    ]


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        ("environment: [A=1, TMPDIR=/tmp]", {"environment": ["A=1", "TMPDIR=/run/$$x"]}),
        ("environment: [A=1]", {"environment": ["A=1", "TMPDIR=/run/$$x"]}),
        ("environment: {TMPDIR: /tmp}", {"environment": {"TMPDIR": "/run/$$x"}}),
        ("environment: {A: 1}", {"environment": {"A": 1, "TMPDIR": "/run/$$x"}}),
        ("working_dir: /", {"environment": {"TMPDIR": "/run/$$x"}}),
    ],
)
def test_variables_keep_their_form(service: str, expected: dict[str, Any]) -> None:
    text = f"services:\n  web:\n    image: x\n    {service}\n"
    patched = patch(text, redirects=(redirect("TMPDIR", "/run/$x"),))
    assert not patched.refused
    found = yaml.safe_load(patched.text)["services"]["web"]
    assert {**found, "read_only": True} == {**yaml.safe_load(text)["services"]["web"], "read_only": True, **expected}


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        ("command: [serve, --dir, /srv]", ["serve", "--dir", "/run/d"]),
        ("command: serve --dir /srv", ["serve", "--dir", "/run/d"]),
        ("user: '5'", ["of-the-image", "--dir", "/run/d"]),
    ],
)
def test_an_argument_is_changed_where_the_command_stands(service: str, expected: list[str]) -> None:
    argument = Redirect(old=PurePosixPath("/srv"), new=PurePosixPath("/run/d"), argument=(2, "/run/d"))
    image = ImageFacts(reference="x", command=("of-the-image", "--dir", "/srv"))
    patched = patch(f"services:\n  web:\n    image: x\n    {service}\n", redirects=(argument,), image=image)
    assert not patched.refused
    assert yaml.safe_load(patched.text)["services"]["web"]["command"] == expected


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        ("command: [serve, fast]", ["serve", "fast", "--log=/run/$$x"]),
        ("command: serve fast", ["serve", "fast", "--log=/run/$$x"]),
        ("user: '5'", ["of-the-image", "--log=/run/$$x"]),
    ],
)
def test_an_argument_is_added_where_the_command_stands(service: str, expected: list[str]) -> None:
    added = Redirect(old=PurePosixPath("/srv"), new=PurePosixPath("/run"), appended=("--log=/run/$x",))
    image = ImageFacts(reference="x", command=("of-the-image",))
    once = patch(f"services:\n  web:\n    image: x\n    {service}\n", redirects=(added,), image=image)
    assert not once.refused
    assert yaml.safe_load(once.text)["services"]["web"]["command"] == expected
    assert patch(once.text.decode(), redirects=(added,), image=image).text == once.text


def test_a_single_tmpfs_becomes_a_list() -> None:
    patched = patch("services: {web: {image: x, tmpfs: /run}}\n", place("/tmp"))
    assert yaml.safe_load(patched.text)["services"]["web"]["tmpfs"] == [
        "/run",
        "/tmp:noexec,nosuid,nodev,mode=0755",
    ]


def test_what_is_mounted_already_stays() -> None:
    text = """\
services:
  web:
    image: x
    read_only: true
    tmpfs: ["/run:size=1m"]
    volumes:
      - ${DATA:-./data}:/data
      - {type: volume, target: /cache}
"""
    patched = patch(text, place("/run"), place("/data", VOLUME, name="d"), place("/cache", SCRATCH))
    assert patched.text == text.encode()
    assert not patched.refused
    assert not patched.changes


def test_a_taken_name_of_a_volume_is_left_to_its_owner() -> None:
    text = "services:\n  web:\n    image: x\nvolumes:\n  web-data:\n    external: true\n"
    patched = patch(text, place("/data", VOLUME, name="web-data"))
    found = yaml.safe_load(patched.text)
    assert found["volumes"] == {"web-data": {"external": True}, "web-data-2": {}}
    assert found["services"]["web"]["volumes"] == ["web-data-2:/data"]


ANCHORS = """\
x-base: &base
  image: x
  tmpfs: [/run]
services:
  web:
    <<: *base
  worker: &worker
    image: y
  other:
    <<: *worker
  plain: {image: z}
"""


@pytest.mark.parametrize(
    ("text", "service", "reason"),
    [
        (ANCHORS, "web", "comes from a merge key"),
        (ANCHORS, "worker", "is shared, by an anchor"),
        ("services:\n  web: {image: x}\n  b: {extends: web}\n", "web", "service b extends it"),
        ("services:\n  web: {image: x}\n  b: {extends: {service: web}}\n", "web", "service b extends it"),
        ("services:\n  web: {image: x, read_only: '${RO:-false}'}\n", "web", "read_only is set by a variable"),
        ("services:\n  web: {image: x, tmpfs: !reset []}\n", "web", "tmpfs is taken away here by !reset"),
        ("include: [a.yaml]\nservices:\n  b: {image: x}\n", "web", "the service is not in this file"),
        ("services:\n  web: {image: x, provider: {type: y}}\n", "web", "it has a provider"),
        (
            "services:\n  web: {image: x, configs: [c]}\nconfigs: {c: {content: hi}}\n",
            "web",
            "the config c, which has `content`",
        ),
        (
            "services:\n  web: {image: x, secrets: [{source: s}]}\nsecrets: {s: {environment: HOME}}\n",
            "web",
            "the secret s, which has `environment`",
        ),
    ],
)
def test_what_others_say_too_is_left_to_a_person(text: str, service: str, reason: str) -> None:
    patched = patch(text, place("/tmp", mode=0o1777, size=1 << 20), service=service)
    assert patched.text == text.encode()
    (refused,) = patched.refused
    assert reason in refused.reason
    by_hand = yaml.safe_load(refused.by_hand)
    assert by_hand["services"][service]["read_only"] is True
    assert by_hand["services"][service]["tmpfs"] == ["/tmp:noexec,nosuid,nodev,size=1m,mode=1777"]


def test_a_merge_key_that_brings_nothing_of_it_is_no_obstacle() -> None:
    text = "x-log: &log\n  logging: {driver: json-file}\nservices:\n  web:\n    <<: *log\n    image: x\n"
    patched = patch(text, place("/tmp"))
    assert not patched.refused
    assert yaml.safe_load(patched.text)["services"]["web"]["tmpfs"]


def test_a_single_file_is_left_to_a_person() -> None:
    patched = patch(SHOP, place("/etc/app.conf", SCRATCH, type=EntryType.FILE))
    (refused,) = patched.refused
    assert "docker compose cp web:/etc/app.conf ./app.conf" in refused.remedy
    assert yaml.safe_load(refused.by_hand)["services"]["web"]["volumes"] == ["./app.conf:/etc/app.conf"]


def test_one_refusal_does_not_hold_up_the_others() -> None:
    planned_services = [on(name, place("/tmp")) for name in ("web", "plain", "worker")]
    patched = compose.patch(ANCHORS.encode(), planned_services)
    assert [refused.container for refused in patched.refused] == ["web", "worker"]
    assert "read_only: true" in patched.text.decode().splitlines()[-1]


def test_a_broken_file_is_refused() -> None:
    patched = patch("services: [\n", place("/tmp"))
    assert patched.text == b"services: [\n"
    assert patched.refused[0].remedy == "Make it a file that Compose reads"


_WORDS = st.sampled_from(("a", "x y", "$$HOME", "${X:-1}", "it's", "/srv", "#no", "on"))
_FIELDS: dict[str, st.SearchStrategy[object]] = {
    "command": st.one_of(_WORDS.map(shlex.quote), st.lists(_WORDS, min_size=1, max_size=3)),
    "environment": st.one_of(
        st.dictionaries(st.sampled_from(("A", "HOME")), st.one_of(_WORDS, st.integers(0, 9), st.none()), max_size=2),
        st.lists(st.sampled_from(("A=1", "HOME=/root", "B")), unique=True, max_size=2),
    ),
    "tmpfs": st.one_of(st.just("/run"), st.lists(st.sampled_from(("/run", "/tmp:size=1m")), unique=True, max_size=2)),
    "volumes": st.lists(
        st.sampled_from(("/anon", "v:/srv/v", "./d:/var/log/a%b:ro", "${D:-x}:/opt/x")), unique=True, max_size=3
    ),
    "read_only": st.booleans(),
    "working_dir": st.just("/srv"),
}


@st.composite
def _files(draw: st.DrawFn) -> str:
    """Compose files in the styles that people and programs write."""
    service = {"image": "x", **draw(st.fixed_dictionaries({}, optional=_FIELDS))}
    model: dict[str, Any] = {"services": {"web": service, "other": {"image": "y"}}}
    if draw(st.booleans()):
        model["volumes"] = {"v": None, "web-tmp": {}}
    style = draw(st.sampled_from(("block", "indented", "flow", "json")))
    if style == "json":
        return json.dumps(model, indent=draw(st.sampled_from((None, 2))))
    text: str = yaml.safe_dump(model, sort_keys=False, default_flow_style=style == "flow", width=1000)
    if style == "indented":
        text = text.replace("\n", "\n\n# a comment\n", 1)
    return text.replace("\n", "\r\n") if draw(st.booleans()) else text


@settings(max_examples=400, deadline=None)
@given(_files(), plans.mounts, st.booleans())
def test_the_plan_is_in_it_and_nothing_else_has_changed(text: str, mounts: list[Mount], redirected: bool) -> None:
    redirects = (redirect("HOME", "/run/h$"),) if redirected else ()
    data = text.encode()
    patched = patch(text, *mounts, redirects=redirects)
    again = compose.patch(patched.text, [on("web", *mounts, redirects=redirects)])
    assert again.text == patched.text
    before, after = yaml.safe_load(data), yaml.safe_load(patched.text)
    if patched.refused:
        assert patched.text == data
        assert "is set by a variable" in patched.refused[0].reason
        return
    assert not compose_errors(patched.text)
    web, was = after["services"].pop("web"), before["services"].pop("web")
    assert web.pop("read_only") is True
    was.pop("read_only", None)
    _same_variables(was.pop("environment", None) or {}, web.pop("environment", None) or {}, redirected)
    for key in ("tmpfs", "volumes"):
        new, old = (
            known if isinstance(known, list) else [known] if known else []
            for known in (web.pop(key, None), was.pop(key, None))
        )
        assert new[: len(old)] == old
    assert web == was
    volumes = after.pop("volumes", None) or {}
    for name, known in (before.pop("volumes", None) or {}).items():
        assert volumes[name] == known
    assert after == before
    if "\r\n" in text:
        assert patched.text.count(b"\n") == patched.text.count(b"\r\n")


def _same_variables(old: Any, new: Any, redirected: bool) -> None:
    pairs = [
        known if isinstance(known, dict) else dict(str(word).partition("=")[::2] for word in known)
        for known in (old, new)
    ]
    if redirected:
        assert pairs[1].pop("HOME") == "/run/h$$"
        pairs[0].pop("HOME", None)
    assert pairs[0] == pairs[1]


@given(plans.mounts)
def test_every_place_is_mounted_once(mounts: list[Mount]) -> None:
    """Each planned place is mounted, by whatever entry says it."""
    patched = patch("services: {web: {image: x}}\n", *mounts)
    service = yaml.safe_load(patched.text)["services"]["web"]
    found = [str(entry).partition(":")[0] for entry in service.get("tmpfs", ())]
    volumes = service.get("volumes", ())
    found += [entry["target"] if isinstance(entry, dict) else entry.rpartition(":")[2] for entry in volumes]
    assert sorted(found) == sorted(str(mount.path).replace("$", "$$") for mount in mounts)


UGLY = sorted((Path(__file__).parents[2] / "cases" / "ugly-compose").iterdir())
_PLACES = (
    place("/tmp", size=1 << 20, mode=0o1777),
    place("/var/cache/x$y", SCRATCH, seed=Seed.CONTENT),
    place("/var/lib/w", VOLUME, name="data", uid=33, gid=33, mode=0o700),
    place("/srv/m", uid=5, mode=0o700, size=4096),
)


@pytest.mark.parametrize("path", UGLY, ids=lambda path: path.stem)
def test_collected_files(path: Path, tmp_path: Path) -> None:
    """Every service of every file at hand: patched or refused with a reason; again is nothing; it is taken back."""
    data = path.read_bytes()
    before = read_compose(data)
    wanted = [on(name, *_PLACES, redirects=(redirect("HOME", "/tmp/$h"),)) for name in before["services"]]
    once = compose.patch(data, wanted)
    assert all(refused.reason for refused in once.refused)
    assert compose.patch(once.text, wanted).text == once.text
    assert not compose_errors(once.text) - compose_errors(data)
    _check_services(before, read_compose(once.text), {refused.container for refused in once.refused})
    for line in data.splitlines():
        assert not line.strip().startswith(b"#") or line in once.text.splitlines()
    if once.text == data:
        return
    file = tmp_path / "compose.yaml"
    file.write_bytes(data)
    for name in ("c", "s", ".env", "a.env"):
        (tmp_path / name).touch()
    (tmp_path / "common.yaml").write_text("services: {base: {image: y}}\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "compose.yaml").write_text("services: {included: {image: y}}\n")
    seen = _read_by_compose(file)
    replace_file(read_original(file), once.text, tmp_path / "state")
    if seen is not None:
        _check_services(seen, _read_by_compose(file), {"included", *(refused.container for refused in once.refused)})
    revert_file(file, tmp_path / "state")
    assert file.read_bytes() == data


def _read_by_compose(file: Path) -> Any:
    """Return what Compose itself makes of a file; nothing where it refuses it, or is not here."""
    words = [*present("docker-compose"), "-f", str(file), "--profile", "*", "config", "--format", "json"]
    if not present("docker-compose"):
        return None
    environment = {**os.environ, "PW": "x", "TAG": "1"}
    done = subprocess.run(words, capture_output=True, env=environment, timeout=120)
    return json.loads(done.stdout) if done.returncode == 0 else None


def _check_services(before: Any, after: Any, left: set[str]) -> None:
    """Hold each service against what it was: what the plan says is added, and nothing else has changed."""
    assert list(after["services"]) == list(before["services"])
    assert {key: after[key] for key in after if key not in ("services", "volumes")} == {
        key: before[key] for key in before if key not in ("services", "volumes")
    }
    assert (before.get("volumes") or {}).items() <= (after.get("volumes") or {}).items()
    for name, service in after["services"].items():
        was = before["services"][name]
        if name in left:
            assert service == was
            continue
        assert service["read_only"] is True
        assert _variables_of(service) == {**_variables_of(was), "HOME": "/tmp/$$h"}
        for key in ("tmpfs", "volumes"):
            new, old = ([held] if isinstance(held := each.get(key) or [], str) else held for each in (service, was))
            assert [item for item in new if item in old] == old
        assert _others(service) == _others(was)


def _variables_of(service: dict[str, Any]) -> dict[str, Any]:
    held = service.get("environment") or {}
    return held if isinstance(held, dict) else dict(str(word).partition("=")[::2] for word in held)


def _others(service: dict[str, Any]) -> dict[str, Any]:
    planned_for = ("read_only", "tmpfs", "volumes", "environment")
    return {key: value for key, value in service.items() if key not in planned_for}
