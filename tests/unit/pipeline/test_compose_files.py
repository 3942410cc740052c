"""A Compose project of several files: each plan goes where it takes effect, as Compose itself says, or nowhere."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from tests.unit.patch.plans import VOLUME, place, planned
from tests.unit.patch.programs import program
from tests.unit.patch.schemas import compose_errors

from lithify.documents.splice import Uneditable
from lithify.model.image import ImageFacts
from lithify.model.mount import Mount, Redirect
from lithify.model.patch import Patched, Planned
from lithify.pipeline.files.write_folder import revert, write_files
from lithify.pipeline.groups import compose_files
from lithify.pipeline.groups.compose_files import laid_out, patch_project
from lithify.sources.base import read_bytes

RUN = place("/run", size=1 << 20)
DATA = place("/data", VOLUME, name="kept")


def project(folder: Path, files: Mapping[str, str]) -> Path:
    """Write the files of a project; return its first."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode())
    return folder / next(iter(files))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def on(service: str, *mounts: Mount, **more: Any) -> Planned:
    return planned(*(mounts or (RUN,)), container=service, route=("services", service), **more)


def patch(path: Path, *wanted: Planned) -> Patched:
    patched = patch_project(str(path), path.read_bytes(), wanted)
    for file in patched.files:
        assert not compose_errors(file.after) - compose_errors(file.before or b"{}")
    return patched


def config(path: Path, text: bytes | None = None, overrides: tuple[Path, ...] | None = None) -> Any:
    """Return what Compose makes of the project, as it lies there or with other text; None where it refuses it."""
    files = [] if text is None else ["-f", "-", *(word for file in overrides or () for word in ("-f", str(file)))]
    words = [program("docker-compose"), "--project-directory", str(path.parent), *files, "--profile", "*"]
    done = subprocess.run(
        [*words, "config", "--format", "json"], cwd=path.parent, input=text or b"", capture_output=True, timeout=120
    )
    return json.loads(done.stdout) if done.returncode == 0 else None


def check(path: Path, *wanted: Planned) -> Patched:
    """Patch a project; hold that it comes to the plan and nothing else, that twice is once, that it is taken back."""
    folder, state = path.parent, path.parent.parent / "state"
    before, seen = contents(folder), config(path)
    patched = patch(path, *wanted)
    assert not patched.refused, patched.refused
    with laid_out(path, patched) as (text, overrides):
        laid = config(path, text, overrides)
    laid.pop("x-lithify-include", None)
    if patched.files:
        assert write_files(str(path), patched.files, state)
    else:
        path.write_bytes(patched.text)
    now = config(path)
    assert now == laid  # what is tried before anything is written is what is written
    for one in wanted:
        service, was = now["services"][one.container], seen["services"][one.container]
        assert service["read_only"] is True
        mounted = [entry.partition(":")[0] for entry in service.get("tmpfs", ())]
        mounted += [volume["target"] for volume in service.get("volumes", ())]
        assert {str(mount.path) for mount in one.plan.mounts} <= set(mounted)
        same = ("read_only", "tmpfs", "volumes", "command", "environment")
        assert {k: v for k, v in service.items() if k not in same} == {k: v for k, v in was.items() if k not in same}
    left = now["services"].keys() - {one.container for one in wanted}
    assert {name: now["services"][name] for name in left} == {name: seen["services"][name] for name in left}
    again = patch(path, *wanted)
    assert (again.text, again.files, again.refused) == (path.read_bytes(), (), ())
    if patched.files:
        revert(str(path), state)
        assert contents(folder) == before
    return patched


INCLUDED = "services:\n  db:   # the data\n    image: x\n    env_file: db.env\n    volumes: [./d:/d]\n"


def test_an_included_service_is_patched_where_it_stands(tmp_path: Path) -> None:
    path = project(
        tmp_path / "shop",
        {
            "compose.yaml": "include: [db/compose.yaml, more.yaml]\nservices:\n  web: {image: y}\n",
            "more.yaml": "include: [last.yaml]\nservices: {}\n",
            "last.yaml": "services: {last: {image: z, profiles: [some]}}\n",
            "db/compose.yaml": INCLUDED,
            "db/db.env": "A=1\n",
        },
    )
    only = check(path, on("db", RUN, DATA))
    assert [os.path.relpath(file.path, path.parent) for file in only.files] == ["db/compose.yaml"]
    (told,) = (note for note in only.notes if "for who starts the project in" in note)
    assert told.startswith(f"the patch changes {only.files[0].path}, and ")
    both = check(path, on("db", RUN, DATA), on("web"), on("last"))
    changed = ["compose.yaml", "db/compose.yaml", "last.yaml"]
    assert [os.path.relpath(file.path, path.parent) for file in both.files] == changed
    assert b"  kept: {}" in both.files[1].after


def test_includes_of_includes_with_overrides_and_directories_of_their_own(tmp_path: Path) -> None:
    path = project(
        tmp_path / "shop",
        {
            "compose.yaml": "include:\n- path: [a/one.yaml, a/two.yaml]\n  env_file: my.env\n"
            "- path: ../other/c.yaml\n  project_directory: a\n",
            "a/one.yaml": "include: [b/deep.yml]\nservices: {one: {image: 'x:${TAG}', volumes: ['./v:/v']}}\n",
            "a/two.yaml": "services: {one: {tmpfs: !override [/x], read_only: false}}\n",
            "a/b/deep.yml": "services:\n  deep: {image: x, volumes: ['./w:/w']}\n",
            "my.env": "TAG=7\n",
            "../other/c.yaml": "services:\n  c: {image: x, volumes: ['./u:/u']}\n",
        },
    )
    patched = check(path, on("one"), on("deep"), on("c"))
    changed = [os.path.relpath(file.path, path.parent) for file in patched.files]
    assert sorted(changed) == ["../other/c.yaml", "a/b/deep.yml", "a/two.yaml"]


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("{image: y}", "compose.yaml"),
        ("{read_only: false}", "compose.override.yaml"),
        ("{tmpfs: !override [/x]}", "compose.override.yaml"),
        ("!override {image: z}", "compose.override.yaml"),
        ("{read_only: true, tmpfs: ['/run:size=5m']}", ""),
    ],
)
def test_an_override_file_decides_where_the_plan_takes_effect(tmp_path: Path, override: str, changed: str) -> None:
    path = project(
        tmp_path / "shop",
        {
            "compose.yaml": "services:\n  web:\n    image: x\n    tmpfs: [/tmp]\n",
            "compose.override.yaml": f"services:\n  web: {override}\n",
        },
    )
    before = path.read_bytes()
    patched = check(path, on("web"))
    found = [os.path.basename(file.path) for file in patched.files]
    assert (found or ["compose.yaml"] * (patched.text != before)) == ([changed] if changed else [])


@pytest.mark.parametrize("named", ["compose.override.yml", "docker-compose.override.yaml"])
def test_an_override_file_may_have_any_of_its_names(tmp_path: Path, named: str) -> None:
    """Compose takes the first that is there, whatever the other file is called."""
    path = project(
        tmp_path / "shop",
        {"compose.yaml": "services:\n  web: {image: x}\n", named: "services:\n  web: {read_only: false}\n"},
    )
    (file,) = check(path, on("web")).files
    assert os.path.basename(file.path) == named


def test_documents_of_a_file_are_merged_too(tmp_path: Path) -> None:
    text = "services:\n  web: {image: x}\n---\nservices:\n  web:\n    read_only: false  # for now\n"
    patched = check(project(tmp_path / "shop", {"compose.yaml": text}), on("web"))
    assert patched.text.startswith(text.replace("false  # for now\n", "true  # for now\n    tmpfs:\n").encode())


def test_what_a_base_file_says_counts(tmp_path: Path) -> None:
    """An argument of a command that stands in the file it extends; a place that is mounted there."""
    path = project(
        tmp_path / "shop",
        {
            "compose.yaml": "services:\n  web:\n    extends: {file: base.yaml, service: base}\n    user: '5'\n",
            "base.yaml": "services:\n  base: {image: x, command: [serve, --dir, /srv], tmpfs: /run}\n",
        },
    )
    argument = Redirect(old=PurePosixPath("/srv"), new=PurePosixPath("/run/d"), argument=(2, "/run/d"))
    patched = check(path, on("web", redirects=(argument,)))
    assert not patched.files
    assert b"tmpfs" not in patched.text
    path.write_bytes(patched.text)
    assert config(path)["services"]["web"]["command"] == ["serve", "--dir", "/run/d"]


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (
            {"compose.yaml": "include: ['${WHERE}/db.yaml']\n", ".env": "WHERE=a\n", "a/db.yaml": INCLUDED},
            "a path that a variable decides: ${WHERE}/db.yaml",
        ),
        (
            {
                "compose.yaml": "include: [../common/db.yaml]\n",
                "../common/db.yaml": INCLUDED,
                "../blog/compose.yml": "include:\n- path: ../common/db.yaml\nservices: {blog: {image: x}}\n",
            },
            "uses as well, and would change with it",
        ),
        (
            {
                "compose.yaml": "include: [../common/db.yaml]\n",
                "../common/db.yaml": INCLUDED,
                "../blog/x.yml": "services: {blog: {extends: {file: ../common/db.yaml, service: db}}}\n",
            },
            "uses as well, and would change with it",
        ),
        (
            {
                "compose.yaml": "include: [../base.yaml]\n",
                "../base.yaml": INCLUDED,
                "../.devcontainer/docker-compose.yml": "services: {db: {extends: {file: ../base.yaml, service: db}}}\n",
            },
            ".devcontainer/docker-compose.yml uses as well",
        ),
        (
            {
                "compose.yaml": "include: [../common/db.yaml]\n",
                "../common/db.yaml": INCLUDED,
                "../a/b/c/d/e/f/compose.yaml": "include: [../../../../../../common/db.yaml]\n",
            },
            "a/b/c/d/e/f/compose.yaml uses as well",
        ),
        (
            {
                "compose.yaml": "include: [db.yaml]\nservices: {b: {extends: {file: db.yaml, service: db}}}\n",
                "db.yaml": INCLUDED,
            },
            "service b extends it, and would change with it",
        ),
        ({"compose.yaml": "include: ['oci://reg/db:1']\nservices: {b: {image: x}}\n"}, "it is not on this machine"),
        (
            {"compose.yaml": "include: ['https://github.com/a/b.git']\nservices: {b: {image: x}}\n"},
            "it is not on this machine",
        ),
        (
            {"compose.yaml": "include: [db.yaml]\n", "db.yaml": "x-a: &a {tmpfs: /x}\n" + INCLUDED + "    <<: *a\n"},
            "and there services.db.tmpfs comes from a merge key",
        ),
        (
            {
                "compose.yaml": "services: {db: {image: x}, b: {image: y}}\n",
                "compose.override.yaml": "services: {db: !reset null}\n",
            },
            "is taken back by another file",
        ),
        (
            {
                "compose.yaml": "services:\n  db: {image: x}\n",
                "compose.override.yaml": "services:\n  db: {read_only: false, tmpfs: !reset []}\n",
            },
            "what would stand in",
        ),
    ],
)
def test_what_is_not_ours_to_change_is_left(tmp_path: Path, files: dict[str, str], reason: str) -> None:
    path = project(tmp_path / "shop", files)
    (path.parent / "d").mkdir()
    before = contents(tmp_path)
    patched = patch(path, on("db"))
    assert (patched.text, patched.files) == (path.read_bytes(), ())
    (refused,) = patched.refused
    assert reason in refused.reason
    assert "compose.override.yaml" in refused.remedy
    assert contents(tmp_path) == before
    if "would change" in reason or "variable" in reason:
        for name in ("a", "../common", "."):
            (path.parent / name).mkdir(exist_ok=True)
            (path.parent / name / "db.env").touch()
        (path.parent / "compose.override.yaml").write_text(refused.by_hand)
        assert config(path)["services"]["db"]["read_only"] is True


def test_an_include_that_comes_from_a_merge_key_can_not_be_tried(tmp_path: Path) -> None:
    """It is patched all the same, where nobody asks for it to be run before it is written."""
    files = {"compose.yaml": "x-i: &i {include: [db.yaml]}\n<<: *i\nservices: {b: {image: x}}\n", "db.yaml": INCLUDED}
    path = project(tmp_path / "shop", files)
    patched = patch(path, on("db"))
    assert not patched.refused
    with pytest.raises(Uneditable), laid_out(path, patched):
        pass


def test_a_link_is_named(tmp_path: Path) -> None:
    path = project(tmp_path / "shop", {"compose.yaml": "include: [db.yaml]\n", "../db.yaml": INCLUDED})
    (path.parent / "db.yaml").symlink_to("../db.yaml")
    (refused,) = patch(path, on("db")).refused
    assert "which is a link to" in refused.reason


@pytest.mark.parametrize("link", ["linked", "blog/linked.yaml"])
def test_who_includes_it_by_a_link_uses_it_too(tmp_path: Path, link: str) -> None:
    files = {"compose.yaml": "include: [../common/db.yaml]\n", "../common/db.yaml": INCLUDED}
    path = project(tmp_path / "shop", {**files, "../blog/compose.yaml": "include: [../linked/db.yaml, linked.yaml]\n"})
    (tmp_path / link).symlink_to(tmp_path / ("common/db.yaml" if link.endswith(".yaml") else "common"))
    (refused,) = patch(path, on("db")).refused
    assert "blog/compose.yaml uses as well" in refused.reason


def test_one_search_is_for_all_services_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    services = {name: "".join(f"  {name}{number}: {{image: x}}\n" for number in range(4)) for name in "abc"}
    path = project(
        tmp_path / "shop",
        {
            "compose.yaml": "include: [a.yaml, b.yaml, c.yaml]\n",
            **{f"{name}.yaml": f"services:\n{text}" for name, text in services.items()},
            "near/compose.yaml": "include: [../c.yaml]\n",
        },
    )
    looked: list[str] = []

    def read(path: str) -> bytes | str:
        looked.append(path)
        return read_bytes(path)

    monkeypatch.setattr(compose_files, "read_bytes", read)
    wanted = [on(f"{name}{number}") for name in "abc" for number in range(4)]
    patched = patch_project(str(path), path.read_bytes(), wanted)
    assert [os.path.basename(file.path) for file in patched.files] == ["a.yaml", "b.yaml"]
    assert [refused.container for refused in patched.refused] == ["c0", "c1", "c2", "c3"]
    assert looked.count(str(path.parent / "near" / "compose.yaml")) == 1


def test_standard_input_changes_no_other_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = project(tmp_path / "shop", {"compose.yaml": "include: [db.yaml]\n", "db.yaml": INCLUDED})
    monkeypatch.chdir(path.parent)
    (refused,) = patch_project("-", path.read_bytes(), [on("db")]).refused
    assert "only standard input is patched here" in refused.reason


def test_the_service_that_gives_a_volume_away_is_run_where_and_when_its_own_is(tmp_path: Path) -> None:
    """By what all files say: under a name that none of them has, and not of an image that one of them builds."""
    files = {
        "compose.yaml": "services:\n  web: {image: x, userns_mode: host, profiles: [front]}\n  app: {image: x}\n",
        "compose.override.yaml": "services:\n  web: {profiles: [shop]}\n  web-init: {image: z}\n  app: {build: .}\n",
    }
    path = project(tmp_path / "shop", files)
    moved = place("/mnt/state", VOLUME, name="state", uid=101)
    wanted = [on(name, moved, image=ImageFacts(reference="x", has_shell=True)) for name in ("web", "app")]
    patched = patch(path, *wanted)
    assert not patched.refused
    with laid_out(path, patched) as (text, overrides):
        services = config(path, text, overrides)["services"]
    assert services.keys() == {"web", "app", "web-init", "web-init-1"}
    assert services["web-init"]["image"] == "z"
    giver = services["web-init-1"]
    assert (giver["image"], giver["userns_mode"], giver["user"]) == ("x", "host", "0:0")
    assert sorted(giver["profiles"]) == sorted(services["web"]["profiles"])
    assert any("app: " in note and "RUN install -d -o 101" in note for note in patched.notes)
    path.write_bytes(patched.text)
    again = patch(path, *wanted)
    assert (again.text, again.files, again.refused) == (patched.text, (), ())


def test_an_override_for_a_person_changes_no_other_service(tmp_path: Path) -> None:
    text = "services:\n  web: {image: x}\n  web-init: {image: z}\n  more: {extends: web}\n"
    path = project(tmp_path / "shop", {"compose.yaml": text})
    moved = place("/mnt/state", VOLUME, name="state", uid=101)
    (refused,) = patch(path, on("web", moved, image=ImageFacts(reference="x", has_shell=True))).refused
    path.with_name("compose.override.yaml").write_text(refused.by_hand)
    services = config(path)["services"]
    assert services["web"]["depends_on"].keys() == {"web-init-1"}
    assert services["web-init"]["image"] == "z"
