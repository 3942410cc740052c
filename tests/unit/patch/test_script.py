"""Run lines in shell scripts: found, changed in place, left alone where only a shell knows."""

import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.patch import plans
from tests.unit.patch.plans import SCRATCH, VOLUME, place, planned

from lithify.documents.shell import parse_script
from lithify.errors import InvalidInput, UsageError
from lithify.model.mount import Mount, Seed
from lithify.model.patch import Patched
from lithify.patch import script
from lithify.patch.script_line import read_lines

SCRIPT = b"""\
#!/bin/sh
# docker run in a comment
IMAGE=web:1
cat <<END
docker run not-this
END
docker rm -f web || true
  docker run -d \\
    --name web \\
    -p "${PORT:-80}":80 \\
    -v $PWD/conf:/etc/web:ro \\
    $IMAGE serve --say 'a b'   # the shop
"""


def patch(data: bytes, *mounts: Mount, index: int = 0) -> Patched:
    return script.patch(data, [planned(*mounts, route=(index,))])


def test_options_are_added_one_a_line_where_the_script_has_it_so() -> None:
    patched = patch(SCRIPT, place("/tmp", mode=0o1777), place("/var/log", SCRATCH, seed=Seed.CONTENT))
    assert not patched.refused
    assert patched.text.decode() == SCRIPT.decode().replace(
        "    $IMAGE serve",
        "    --read-only \\\n    --tmpfs /tmp:rw,noexec,nosuid,nodev,mode=1777 \\\n"
        "    --mount type=volume,dst=/var/log \\\n    $IMAGE serve",
    )


ARRAY = b"""\
OPTIONS=(-d --name web   # as always
  --env "A=b c" \\
  -p 80:80)
run() {
  docker run "${OPTIONS[@]}" \\
    --tmpfs /run \\
    web:1 "$@"
}
"""


def test_options_that_stand_in_an_array_are_known_and_stay_there() -> None:
    patched = patch(ARRAY, place("/run"), place("/tmp", mode=0o1777))
    assert not patched.refused
    added = "    --read-only \\\n    --tmpfs /tmp:rw,noexec,nosuid,nodev,mode=1777 \\\n"
    assert patched.text.decode() == ARRAY.decode().replace("    web:1", f"{added}    web:1")
    assert patch(patched.text, place("/run"), place("/tmp", mode=0o1777)).text == patched.text
    (line,) = read_lines(ARRAY)[1]
    assert line.line is not None
    assert line.container == "web"
    assert line.line.environment() == {"A": "b c"}


@pytest.mark.parametrize(("old", "new"), [
    (b"run() {", b"OPTIONS+=(--rm)\nrun() {"),
    (b"run() {", b"OPTIONS[1]=--rm\nrun() {"),
    (b"run() {", b"if x; then OPTIONS=(--rm); fi\nrun() {"),
    (b"run() {", b"read -ra OPTIONS\nrun() {"),
    (b"OPTIONS=(-d", b"[ -t 0 ] &&\nOPTIONS=(-d"),
    (b"OPTIONS=(-d", b"for each in 1 2; do\nrun; done | (OPTIONS=(-d"),
    (b"OPTIONS=(-d --name web   # as always\n  --env \"A=b c\" \\\n  -p 80:80)",
     b"case $1 in\n  web) f x;;\n  *)\n    OPTIONS=(-p 80:80);;\nesac"),
    (b"OPTIONS=(-d --name web   # as always\n  --env \"A=b c\" \\\n  -p 80:80)", b"if x\nthen\nOPTIONS=(-d)\nfi"),
    (b'"${OPTIONS[@]}"', b"${OPTIONS[@]}"),
    (b'"${OPTIONS[@]}"', b'"${OPTIONS[*]}"'),
    (b"OPTIONS=(-d", b"OPTIONS=([0]=-d"),
    (b"OPTIONS=(-d", b'OPTIONS=(-d "${MORE[@]}"'),
])  # fmt: skip
def test_an_array_that_only_a_running_shell_knows_is_left_alone(old: bytes, new: bytes) -> None:
    text = ARRAY.replace(old, new)
    assert text != ARRAY
    patched = patch(text, place("/tmp"))
    assert patched.text == text
    assert "any number of words" in patched.refused[0].reason


def test_an_array_after_what_may_not_be_run_is_known() -> None:
    before = b"if x && (y); then for a in b; do case $a in b) c;; esac; done; fi\nf() { true; }\nx || y\n"
    assert not patch(before + ARRAY, place("/tmp")).refused


def test_what_has_to_change_in_an_array_is_for_a_person() -> None:
    text = ARRAY.replace(b"-p 80:80", b"-p 80:80 web:1").replace(b"    web:1 ", b"    ")
    patched = patch(text, place("/tmp"))
    assert patched.text == text
    assert "stands in an array" in patched.refused[0].reason
    assert "--read-only" in patched.refused[0].by_hand


def test_a_line_of_its_own_gets_them_before_the_image() -> None:
    patched = patch(b"id=$(podman run --rm web:1 id)\n", place("/tmp", mode=0o1777))
    assert patched.text == (
        b"id=$(podman run --rm --read-only --read-only-tmpfs=false"
        b" --tmpfs /dev/shm:rw,noexec,nosuid,nodev,size=64m,mode=1777"
        b" --tmpfs /tmp:rw,noexec,nosuid,nodev,notmpcopyup,mode=1777 web:1 id)\n"
    )


def test_a_volume_with_an_owner_is_made_once_and_never_filled_again() -> None:
    mount = place("/var/lib/web", VOLUME, name="data", uid=5, gid=6, mode=0o700)
    patched = patch(SCRIPT, mount)
    assert not patched.refused
    text = patched.text.decode()
    head, _, rest = text.partition("  docker run -d")
    assert "  if ! { docker volume inspect data; } >/dev/null 2>&1; then\n    docker volume create data\n" in head
    assert head.endswith("  fi\n")
    assert "--mount type=volume,src=data,dst=/var/lib/web \\\n" in rest
    assert patch(patched.text, mount).text == patched.text


def test_two_lines_of_a_script_are_told_apart_by_their_index(tmp_path: Path) -> None:
    data = b"docker run --name a web:1\npodman run --name b web:1 # two\n"
    mount = place("/var/lib/web", VOLUME, uid=5, gid=6, mode=0o700)
    plan = [planned(mount, route=(0,), container="a"), planned(mount, route=(1,), container="b")]
    once = script.patch(data, plan)
    assert not once.refused
    assert [line.container for line in read_lines(once.text)[1]] == ["a", "b"]
    assert script.patch(once.text, plan).text == once.text
    assert once.text.splitlines()[-1].endswith(b"web:1 # two")


def test_what_would_need_lines_before_it_is_refused_within_a_command() -> None:
    data = b"test -e x && docker run web:1\n"
    patched = patch(data, place("/var/lib/web", VOLUME, uid=5, gid=6))
    assert patched.text == data
    assert "does not stand by itself" in patched.refused[0].reason
    assert "docker volume create" in patched.refused[0].by_hand


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"docker run $OPTIONS web:1", "any number of words"),
        (b'docker run "$@" web:1', "any number of words"),
        (b"docker run ${OPTIONS[@]} web:1", "any number of words"),
        (b"docker run --made-up web:1", "does not know"),
        (b"docker run", "names no image"),
    ],
)
def test_what_only_a_shell_knows_is_refused(line: bytes, reason: str) -> None:
    patched = patch(line + b"\n", place("/tmp"))
    assert patched.text == line + b"\n"
    assert reason in patched.refused[0].reason
    assert patched.refused[0].remedy


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("docker run x", 1),
        ("sudo -E docker run x; docker ps; echo docker run y", 1),
        ("for i in 1 2; do docker run x $i; done", 1),
        ("DOCKER_HOST=h /usr/bin/docker --debug container run x && podman create y", 2),
        ('echo "$(docker run x)" `date`', 1),
        ("exec docker run x", 1),
        ("if docker run x; then :; fi", 1),
        ("docker exec x docker run y", 0),
        ("ssh host 'docker run x'", 0),
        ("cat <<-E\n\tdocker run x\n\tE\ndocker run y", 1),
        ("docker run -e A='x\ny' \\\n # no comment\n", 1),
        ("a=(docker run x)", 1),
    ],
)
def test_run_lines_are_found_where_a_shell_would_run_them(text: str, count: int) -> None:
    assert len(read_lines(text.encode())[1]) == count


@pytest.mark.parametrize("text", ["echo 'open", 'echo "open', "echo $(open", "echo ${open", "echo `open"])
def test_a_script_that_is_left_open_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        read_lines(text.encode())


@pytest.mark.parametrize(
    ("word", "known", "value"),
    [
        ("$A", {"A": "x"}, "x"),
        ('"${A}b"', {"A": "x y"}, "x yb"),
        ("$A", {"A": "x y"}, None),
        ("${A:-b}", {}, "b"),
        ("${A:-b}", {"A": "c"}, "c"),
        ("${A:-b}", {"A": ""}, "b"),
        ("${A:-$B}", {}, None),
        ("${A%x}", {"A": "ax"}, None),
        ("$1", {}, None),
        ("$(date)", {}, None),
        ("*.txt", {}, None),
        ("'$A'", {}, "$A"),
    ],
)
def test_a_word_is_what_a_shell_would_make_of_it(word: str, known: dict[str, str], value: str | None) -> None:
    (command,) = (c for c in parse_script(f"x {word}".encode()).commands if not c.nested)
    assert command.words[1].value(known, all_known=True) == value


@given(st.lists(st.text("ab c'\"$\\*~\n\t;|&()<>#", max_size=6), min_size=1, max_size=5))
def test_quoted_words_are_read_as_a_shell_reads_them(words: list[str]) -> None:
    text = "printf x " + shlex.join(words)
    (command,) = parse_script(text.encode()).commands
    assert [word.value() for word in command.words] == ["printf", "x", *words]


@given(st.text("ab'\"$\\{}()`\n ;|&<>#=-", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parsed = parse_script(text.encode())
    except ValueError:
        return
    for command in parsed.commands:
        for word in command.words:
            assert 0 <= word.start < word.end <= len(text) + 1


@given(
    mounts=plans.mounts,
    engine=st.sampled_from(("docker", "podman")),
    more=st.sampled_from(("", "--read-only=false ", "--tmpfs /run ", "-v cache:/var/tmp ", "-itd ")),
    ending=st.sampled_from(("\n", "\r\n")),
)
def test_twice_changes_nothing(mounts: list[Mount], engine: str, more: str, ending: str) -> None:
    text = SCRIPT.decode().replace("docker run -d ", f"{engine} run {more}").replace("\n", ending)
    once = patch(text.encode(), *mounts)
    assert patch(once.text, *mounts).text == once.text
    if once.refused:
        assert once.text == text.encode()
    else:
        for line in text.split(ending):
            assert line in once.text.decode() or "--read-only=false" in line


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("for n in a b; do\n  docker run -d --name web-$n x:1\ndone\n", "its container is named by a variable"),
        ('run() {\n  docker run -d --name web "$1"\n}\nrun x:1\n', "what has to be made first depends on a variable"),
    ],
)
def test_a_volume_is_for_one_container_of_a_known_image(text: str, reason: str) -> None:
    """A line that starts several would have them share it; what makes it ready needs the image's name."""
    owned = place("/var/lib/web", VOLUME, name="data", uid=5, mode=0o700)
    (refused,) = patch(text.encode(), owned).refused
    assert reason in refused.reason
    assert "--mount" in refused.by_hand
    assert not patch(text.encode(), place("/tmp", mode=0o1777)).refused


def test_lines_are_called_by_their_numbers_before_the_patch() -> None:
    owned = place("/var/lib/web", VOLUME, name="data", uid=5)
    lines = b"docker run --name one x:1\necho | docker run -i --name two x:1\ndocker run $O --name three x:1\n"
    patched = script.patch(lines, [planned(owned, container=f"c{index}", route=(index,)) for index in range(3)])
    assert [(one.container, one.reason.partition(" can't")[0].partition(" has")[0]) for one in patched.refused] == [
        ("c1", "line 2"),
        ("c2", "line 3"),
    ]
    assert b"--name one --read-only" in patched.text


def test_the_changed_script_is_one_that_a_shell_takes(tmp_path: Path) -> None:
    """The shell hands the engine exactly the words that were planned."""
    patched = patch(SCRIPT, place("/o'neill x"), place("/var/lib/web", VOLUME, name="data", uid=5, gid=6))
    engine = tmp_path / "docker"
    engine.write_text('#!/bin/sh\nprintf "%s\\n" "$*" >>"$LOG"\n[ "$1" != volume ] || [ "$2" != inspect ]\n')
    engine.chmod(0o755)
    (tmp_path / "run.sh").write_bytes(patched.text)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "LOG": str(tmp_path / "log"), "PWD": str(tmp_path)}
    subprocess.run(["sh", "run.sh"], cwd=tmp_path, env=environment, check=True, timeout=30, capture_output=True)
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines[1] == "volume inspect data"
    assert lines[2].startswith("volume create")
    assert "--tmpfs /o'neill x:rw," in lines[-1]
    assert lines[-1].endswith("--mount type=volume,src=data,dst=/var/lib/web web:1 serve --say a b")


@pytest.mark.parametrize(
    ("before", "name"),
    [
        ("", "theirs"),
        ("NAME=ours\n", "ours"),
        ("NAME=${NAME:-ours}\n", "theirs"),
        ('OTHER="${OTHER:-ours}"\nNAME=$OTHER-1\n', "ours-1"),
        ("NAME=a\n[ -z $1 ] || NAME=b\n", None),
        ("NAME=${1:-a}\n", None),
    ],
)
def test_a_line_runs_with_what_the_script_and_its_environment_set(
    before: str, name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAME", "theirs")
    monkeypatch.delenv("OTHER", raising=False)
    read, [line] = read_lines(f'{before}docker run --name "${{NAME:-default}}" x:1\n'.encode())
    if name is None:
        with pytest.raises(UsageError, match="only the script knows"):
            line.certain(read)
    else:
        assert line.certain(read).value("name") == name
