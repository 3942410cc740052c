"""Run lines are read as Docker and Podman read them, and no word of them is ever lost."""

import re
import shutil
import subprocess
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lithify.engines.command_line.options import PROGRAM_OPTIONS, RUN_OPTIONS
from lithify.engines.command_line.runline import MountKind, RunLine, mount_value, parse_run_line
from lithify.errors import UsageError

TEXT = st.text(min_size=1, max_size=12).filter(lambda text: "\0" not in text)


@st.composite
def options(draw: st.DrawFn, engine: str) -> list[str]:
    """Return option words in one of the ways in which they can be written."""
    grammar = RUN_OPTIONS[engine]
    kind = draw(st.sampled_from(["long", "joined", "switch", "false", "letters", "glued", "apart", "equals"]))
    valued = draw(st.sampled_from(sorted(grammar.values - {"rootfs", "volume", "mount", "tmpfs"})))
    switch = draw(st.sampled_from(sorted(grammar.switches - {"rootfs"})))
    switch_letters = sorted(letter for letter, flag in grammar.letters.items() if flag in grammar.switches)
    letter = draw(st.sampled_from(sorted(set(grammar.letters) - set(switch_letters))))
    several = "".join(draw(st.lists(st.sampled_from(switch_letters), max_size=3)))
    value = draw(TEXT)
    return {
        "long": [f"--{valued}", value],
        "joined": [f"--{valued}={value}"],
        "switch": [f"--{switch}"],
        "false": [f"--{switch}=false"],
        "letters": [f"-{several}"] if several else [],
        "glued": [f"-{several}{letter}{value.lstrip('=') or 'x'}"],
        "apart": [f"-{several}{letter}", value],
        "equals": [f"-{several}{letter}={value}"],
    }[kind]


@st.composite
def lines(draw: st.DrawFn) -> list[str]:
    engine = draw(st.sampled_from(["docker", "podman"]))
    prefix = draw(st.sampled_from([[], ["sudo"], ["sudo", "-E", "-u", "me", "--"], ["env", "A=b"]]))
    program = draw(st.sampled_from([engine, f"/usr/bin/{engine}"]))
    verb = draw(st.sampled_from([["run"], ["container", "run"], ["create"]]))
    words = [word for group in draw(st.lists(options(engine), max_size=6)) for word in group]
    separator = draw(st.sampled_from([[], ["--"]]))
    image = draw(st.sampled_from(["nginx", "nginx:1.27", "r.example:5000/a/b@sha256:00"]))
    return [
        *prefix,
        program,
        "--log-level",
        "error",
        *verb,
        *words,
        *separator,
        image,
        *draw(st.lists(TEXT, max_size=3)),
    ]


@given(lines())
def test_no_word_is_lost(words: list[str]) -> None:
    """Parsing and writing back gives the same words; the image is found behind any mix of options."""
    line = parse_run_line(words)
    assert list(line.words) == words
    assert line.image.partition("@")[0].partition(":")[0].rpartition("/")[2] in ("nginx", "b", "r.example")
    assert parse_run_line(line.words) == line


@given(lines(), st.sampled_from(["detach", "env", "name", "publish", "interactive"]))
def test_a_flag_is_taken_out_alone(words: list[str], flag: str) -> None:
    """`without` removes every mention of a flag and changes the meaning of nothing else."""
    line = parse_run_line(words)
    left = line.without(flag)
    pairs = [pair for option in line.options for pair in option.flags if pair[0] != flag]
    assert [pair for option in left.options for pair in option.flags] == pairs
    assert parse_run_line(left.words).values("env") == left.values("env")


@given(lines(), TEXT)
def test_options_are_added_at_the_end(words: list[str], value: str) -> None:
    """What is added stands after the user's options and before the image."""
    line = parse_run_line(words)
    more = line.adding("--env", f"ADDED={value}", "--read-only")
    assert more.options[: len(line.options)] == line.options
    assert more.environment()["ADDED"] == value
    assert parse_run_line(more.words).image == line.image


def test_a_pasted_line() -> None:
    """One word is split as a shell would; variables before the program get an `env`."""
    line = parse_run_line(["DOCKER_HOST=ssh://h sudo docker run -it --name 'my web' \\\n -p80:80 nginx sh -c 'a b'"])
    assert line.prefix == ("env", "DOCKER_HOST=ssh://h", "sudo")
    assert line.value("name") == "my web"
    assert line.values("publish") == ("80:80",)
    assert line.command == ("sh", "-c", "a b")
    assert line.engine == "docker"


@pytest.mark.parametrize(
    ("words", "path", "kind", "source", "read_only"),
    [
        ("-v /a:/b:ro,z", "/b", MountKind.BIND, "/a", True),
        ("-v data:/var/lib/x", "/var/lib/x", MountKind.VOLUME, "data", False),
        ("-v=./here:/b/", "/b", MountKind.BIND, "./here", False),
        ("--volume /only", "/only", MountKind.VOLUME, "", False),
        ("--tmpfs /run:size=1m,ro", "/run", MountKind.TMPFS, "", True),
        ("--mount type=bind,source=/a,target=/b,readonly", "/b", MountKind.BIND, "/a", True),
        ("--mount type=bind,src=/a,dst=/b,ro=false", "/b", MountKind.BIND, "/a", False),
        ("--mount dst=/c,volume-opt=type=tmpfs", "/c", MountKind.VOLUME, "", False),
        ("--mount 'type=volume,dst=/c,\"volume-opt=o=a,b\"'", "/c", MountKind.VOLUME, "", False),
        ("--mount type=tmpfs,destination=/t", "/t", MountKind.TMPFS, "", False),
        ("--mount type=image,source=x,dst=/t", "/t", MountKind.OTHER, "x", False),
    ],
)
def test_mounts(words: str, path: str, kind: MountKind, source: str, read_only: bool) -> None:
    """Every way to mount something is understood."""
    (mount,) = parse_run_line([f"docker run {words} nginx"]).mounts()
    assert (mount.path, mount.kind, mount.source, mount.read_only) == (PurePosixPath(path), kind, source, read_only)


@given(st.lists(TEXT.filter(lambda text: "\r" not in text and "\n" not in text), min_size=1, max_size=4))
def test_mount_values_are_read_back(fields: list[str]) -> None:
    """Fields with commas and quotes survive."""
    value = mount_value("type=volume", "dst=/x", *(f"volume-opt={field}" for field in fields))
    (mount,) = parse_run_line(["docker", "run", "--mount", value, "nginx"]).mounts()
    assert mount.options == ("type=volume", "dst=/x", *(f"volume-opt={field}" for field in fields))


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["docker"],
        ["docker", "ps"],
        ["docker", "run"],
        ["docker", "run", "-it"],
        ["docker", "run", "--name"],
        ["docker", "run", "--no-such-option", "x", "nginx"],
        ["docker", "run", "-Z", "nginx"],
        ["docker", "run", ""],
        ["nerdctl", "run", "nginx"],
        ["rm", "-rf", "docker", "run"],
        ["docker run 'nginx"],
        ["podman", "run", "--rootfs", "/dir"],
    ],
)
def test_what_is_no_run_line(words: list[str]) -> None:
    """Each has an error that says what to do."""
    with pytest.raises(UsageError) as caught:
        parse_run_line(words)
    assert caught.value.hint


@pytest.mark.parametrize("text", ["-v relative", "-v /a:../b", "--mount dst=", "-v a:b:c:d", "--mount '\"open'"])
def test_unreadable_mounts(text: str) -> None:
    """A mount that can't be understood is refused, not passed over."""
    with pytest.raises(UsageError):
        parse_run_line([f"docker run {text} nginx"]).mounts()


def test_unknown_options_pass_with_their_value() -> None:
    """An option newer than the tables is fine where nothing can be misread."""
    line = parse_run_line(["docker", "run", "--from-the-future=7", "nginx"])
    assert line.value("from-the-future") == "7"


def test_switches() -> None:
    """The last mention counts."""
    line = parse_run_line(["docker", "run", "--read-only", "--read-only=false", "--rm=true", "nginx"])
    assert (line.switch("read-only"), line.switch("rm"), line.switch("privileged")) == (False, True, False)


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_tables_know_every_option_of_the_program(engine: str) -> None:
    """Help of the installed program and our tables agree on names, letters and values."""
    if not shutil.which(engine):
        pytest.skip(f"needs {engine}")
    for words, grammar in ((["run"], RUN_OPTIONS[engine]), ([], PROGRAM_OPTIONS[engine])):
        text = subprocess.run([engine, *words, "--help"], capture_output=True, text=True, check=True).stdout
        found = re.findall(r"^ {2,8}(?:-(.), )?--([a-z0-9-]+)(?: (\S+))?(?= {2,}|\n|$)", text, re.MULTILINE)
        assert len(found) > 5
        for letter, name, value in found:
            assert name in (grammar.values if value else grammar.switches), name
            assert not letter or grammar.letters[letter] == name


def test_lines_are_values() -> None:
    """Two parses of the same words are equal."""
    line = parse_run_line(["docker", "run", "-d", "nginx"])
    assert line == parse_run_line(["docker", "run", "-d", "nginx"])
    assert isinstance(line, RunLine)
