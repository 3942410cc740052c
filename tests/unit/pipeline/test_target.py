"""What the user pointed at becomes a target of the right engine, or an error that says what to do."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from lithify.errors import EngineUnreachable, NothingToExamine, UsageError
from lithify.model.run import Target, TargetKind
from lithify.pipeline.target import Overrides, choose, choose_running
from lithify.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state=tmp_path / "state")


def test_a_directory_is_a_root_filesystem_with_the_command_after_the_dashes(tmp_path: Path, settings: Settings) -> None:
    overrides = Overrides(user="web", environment={"MODE": "x"}, working_directory="/srv", entrypoint="", memory=1)
    engine, target = choose(str(tmp_path), ["web", "--port", "80"], settings, overrides)
    assert (engine.name, target.kind, target.reference) == ("bundle", TargetKind.ROOTFS, str(tmp_path))
    assert target.command == ("web", "--port", "80")
    assert (target.user, target.environment, str(target.working_directory)) == ("web", {"MODE": "x"}, "/srv")
    assert target.entrypoint == ()
    assert target.memory == 1


def test_a_layout_and_an_archive_are_told_from_a_directory(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "oci-layout").write_text("{}")
    archive = tmp_path / "web.tar"
    archive.write_bytes(b"")
    assert choose(str(tmp_path), [], settings)[1].kind is TargetKind.LAYOUT
    assert choose(str(archive), [], settings)[1].kind is TargetKind.ARCHIVE


@pytest.mark.parametrize(
    ("line", "engine"),
    [
        ("docker run -d nginx", "docker"),
        ("sudo docker run nginx", "docker"),
        ("sudo -E /usr/bin/podman run nginx", "podman"),
        ("DOCKER_HOST=unix:///run/x.sock docker container run nginx", "docker"),
        ("podman --cgroup-manager cgroupfs run nginx", "podman"),
    ],
)
def test_a_run_line_goes_to_the_engine_it_names(line: str, engine: str, settings: Settings) -> None:
    chosen, target = choose(None, line.split(), settings)
    assert (chosen.name, target.kind, target.engine) == (engine, TargetKind.LINE, engine)
    assert target.line == tuple(line.split())


def test_a_command_that_only_mentions_an_engine_is_no_run_line(tmp_path: Path, settings: Settings) -> None:
    _, target = choose(str(tmp_path), ["sh", "-c", "docker run nginx"], settings)
    assert (target.kind, target.command[0]) == (TargetKind.ROOTFS, "sh")


@pytest.mark.parametrize(
    ("text", "words", "told"),
    [
        (None, [], "nothing to work on"),
        (None, ["web"], "web: a command, and nothing before -- to run it in"),
        (None, ["docker", "exec", "web", "sh"], "docker exec: not a line that starts a container"),
        ("web", ["docker", "run", "web"], "both a target"),
        ("docker:web", ["web"], "are for root filesystems"),
    ],
)
def test_what_can_not_be_meant_is_refused(text: str | None, words: list[str], told: str, settings: Settings) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        choose(text, words, settings)
    assert caught.value.hint


def test_a_path_that_is_none_is_named(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(NothingToExamine, match=r"no directory or file .*/none"):
        choose(str(tmp_path / "none"), [], Settings(engine="bundle", state=settings.state))


def test_an_engine_that_could_not_be_asked_is_not_said_to_have_been(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client without its daemon beside one that answers and knows of nothing."""
    for name, script in {"docker": "echo permission denied >&2; exit 1", "podman": "echo 5.4.2; [ $1 = info ]"}.items():
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    told = "podman; not in docker: no answer from docker: permission denied"
    with pytest.raises(NothingToExamine, match="no directory, file, container or image web") as caught:
        choose("web", [], settings)
    assert caught.value.hint.startswith(f"looked on this host and in {told}; ")
    with pytest.raises(NothingToExamine, match="no container web") as caught:
        choose_running("web", settings)
    assert caught.value.hint == f"looked {'on this host and ' if os.geteuid() == 0 else ''}in {told}"
    (tmp_path / "podman").unlink()
    for find in (lambda: choose("web", [], settings), lambda: choose_running("web", settings)):
        with pytest.raises(EngineUnreachable, match="no answer from docker: permission denied"):
            find()


@pytest.mark.parametrize(
    ("words", "title"),
    [
        (("docker", "run", "web:1", "sh", "-c", "a & exec b"), "docker run web:1 sh -c 'a & exec b'"),
        (("docker", "run", "-p", "80:80", "web:1"), "docker run -p 80:80 web:1"),
    ],
)
def test_a_run_line_is_shown_as_it_may_be_pasted(words: tuple[str, ...], title: str) -> None:
    """Without its quotes the second half would be another command; an image stays what it is called."""
    line = Target(kind=TargetKind.LINE, engine="docker", reference=" ".join(words), line=words)
    assert line.title == title
    assert replace(line, kind=TargetKind.IMAGE, reference="web:1").title == "web:1"


@pytest.mark.parametrize("text", [str(2**22 + 1), "/no/such/group"])
def test_a_process_that_is_not_there_is_called_one(text: str, settings: Settings) -> None:
    """No engine was asked for it: /proc was looked at."""
    with pytest.raises(NothingToExamine, match=f"no process or control group {text} on this host"):
        choose_running(text, settings)
