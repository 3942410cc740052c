"""What goes wrong around lithify: one clear error each time, nothing of the user's touched, nothing of ours left."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.runtime.hardening import Daemon, Done, Images, Lithify, Terminal, until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the bundle engine needs root")

STAY = "trap 'exit 0' TERM; while :; do sleep 0.1; done"
PROGRAM = f"set -e; date > /run/pid; date > /tmp/data; {STAY}"
CHECK = ("--check-inside", "test -e /run/pid")
STAGES = ("learning:", "the flag alone", "round 1", "taking away each")


def written(path: Path) -> dict[str, tuple[int, ...]]:
    """Return what each entry below `path` is and when it was written; its links are shared with other tests."""
    found = ((p, p.lstat()) for p in (path, *path.rglob("*")))
    return {str(p): (s.st_mode, s.st_uid, s.st_gid, s.st_size, s.st_mtime_ns) for p, s in found}


def seen_running(lithify: Lithify, terminal: Terminal, stage: str) -> None:
    """Wait until a container of `stage` is there."""
    terminal.until(stage)
    until(lambda: any((path / "status.json").exists() for path in lithify.containers()))


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A filesystem with next to no room."""
    directory = tmp_path / "small"
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k,mode=755", "small", directory], check=True)
    yield directory
    subprocess.run(["umount", directory], check=True)


# Interrupted


@pytest.mark.parametrize("stage", STAGES)
def test_ctrl_c_leaves_nothing(lithify: Lithify, images: Images, stage: str) -> None:
    image = images.make(PROGRAM)
    before = written(image)
    terminal = lithify.terminal("harden", image, *CHECK, "--", "app")
    seen_running(lithify, terminal, stage)
    begun = time.monotonic()
    terminal.press_ctrl_c()
    done = terminal.end()
    assert done.code == 130
    assert done.err.endswith("interrupted: what was started has been removed\n")
    assert time.monotonic() - begun < 10
    assert lithify.left() == []
    assert written(image) == before


def test_ctrl_c_while_tracing_tells_of_nothing_else(lithify: Lithify, images: Images) -> None:
    """What was traced is resolved in the image's layers, which are gone by then."""
    image = images.make("while :; do echo x >>/var/tmp/traced; sleep 0.1; done")
    terminal = lithify.terminal("learn", image, "--trace", "--for", "60s", "--", "app")
    seen_running(lithify, terminal, "learning:")
    (container,) = lithify.containers()
    pid = json.loads((container / "status.json").read_text())["pid"]
    until(lambda: "TracerPid:\t0\n" not in Path(f"/proc/{pid}/status").read_text())
    file = container / "upper/var/tmp/traced"
    before = file.stat().st_size
    until(lambda: file.stat().st_size > before + 4)
    terminal.press_ctrl_c()
    done = terminal.end()
    assert done.code == 130
    assert done.err.endswith("interrupted: what was started has been removed\n")
    assert "error: " not in done.err
    assert lithify.left() == []


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_killed_lithify_left_is_swept_by_the_next(lithify: Lithify, images: Images, stage: str) -> None:
    image = images.make(PROGRAM)
    before = written(image)
    terminal = lithify.terminal("harden", image, *CHECK, "--", "app")
    seen_running(lithify, terminal, stage)
    terminal.kill()
    assert terminal.end().code == -signal.SIGKILL
    assert lithify.left() != []
    done = lithify.run("harden", image.parent / "none")
    assert done.code == 3, "nothing to do, and nothing swept for it"
    done = lithify.run("learn", image, "--", "bash", "-c", "true")
    assert done.code == 0, done.err
    assert lithify.left() == []
    assert written(image) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_being_asked_to_end_leaves_nothing(lithify: Lithify, images: Images, number: int) -> None:
    terminal = lithify.terminal("learn", images.make(PROGRAM), "--for", "60s", "--", "app")
    seen_running(lithify, terminal, "learning:")
    terminal.kill(number)
    assert terminal.end().code == 130
    assert lithify.left() == []


def test_ctrl_c_does_not_wait_for_checks(lithify: Lithify, images: Images, tmp_path: Path) -> None:
    """Runs side by side end with the first of them, whatever their checks wait for."""
    check = tmp_path / "check"
    check.write_text("#!/bin/sh\ncase $LITHIFY_CONTAINER in *without*) sleep 50 ;; esac\n")
    check.chmod(0o755)
    image = images.make(f"{{ date > /run/pid; date > /tmp/data; }} 2>/dev/null; {STAY}")
    terminal = lithify.terminal("harden", image, "--check", check, "--", "app")
    seen_running(lithify, terminal, "taking away each")
    time.sleep(1)
    begun = time.monotonic()
    terminal.press_ctrl_c()
    assert terminal.end().code == 130
    assert time.monotonic() - begun < 10


# An engine that goes away


def test_a_runtime_that_goes_away(lithify: Lithify, images: Images, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("runc", "ip", "nsenter", "mount", "umount", "unshare", "env", "sh"):
        (programs / name).symlink_to(str(shutil.which(name)))
    words = ("harden", images.make(PROGRAM), "--runtime", "runc", *CHECK, "--", "app")
    terminal = lithify.terminal(*words, PATH=str(programs))
    seen_running(lithify, terminal, "round 1")
    (programs / "runc").unlink()
    done = terminal.end()
    assert done.code == 4
    told, hint = done.error()
    assert "runc" in told
    assert hint == "install it: apt-get install runc"


@pytest.fixture
def docker(own_docker: Daemon, lithify: Lithify, images: Images) -> Iterator[Daemon]:
    """A Docker of our own with something of a user's in it, all of which must be there afterwards as it was."""
    lithify.environment, lithify.enter = {"DOCKER_HOST": own_docker.host}, own_docker.enter
    with subprocess.Popen(["tar", "-C", images.base, "-c", "."], stdout=subprocess.PIPE) as archive:
        own_docker.ask_with(archive.stdout, "import", "-", "lean:1")
    own_docker.ask("volume", "create", "theirs")
    own_docker.ask("network", "create", "--internal", "theirs")
    own_docker.ask("run", "-d", "--name", "theirs", "-v", "theirs:/data", "lean:1", "bash", "-c", STAY)
    yield own_docker
    own_docker.ask("rm", "--force", "theirs")
    own_docker.ask("volume", "rm", "theirs")
    own_docker.ask("network", "rm", "theirs")


LINE = ("--", "docker", "run", "-v", "theirs:/data", "lean:1", "bash", "-c", f"echo x > /data/x; {PROGRAM}")


def test_docker_interrupted_and_killed(docker: Daemon, lithify: Lithify) -> None:
    before = docker.everything()
    for stage in ("learning:", "the flag alone", "taking away each"):
        terminal = lithify.terminal("harden", *CHECK, *LINE)
        terminal.until(stage)
        time.sleep(0.7)
        terminal.press_ctrl_c()
        done = terminal.end()
        assert (done.code, docker.everything()) == (130, before), f"{stage}: {done.err}"
    terminal = lithify.terminal("harden", *CHECK, *LINE)
    terminal.until("round 1")
    until(lambda: len(docker.everything()["containers"]) > len(before["containers"]))
    terminal.kill()
    terminal.end()
    assert docker.everything() != before
    assert lithify.run("learn", "--", "docker", "run", "lean:1", "true").code == 0
    assert docker.everything() == before


def test_docker_that_goes_away(docker: Daemon, lithify: Lithify) -> None:
    """A daemon that dies half-way ends it; once it is back the next start takes away what is left of ours."""
    before = docker.everything()
    terminal = lithify.terminal("harden", *CHECK, *LINE)
    terminal.until("round 1")
    time.sleep(0.5)
    docker.stop(signal.SIGKILL)
    done = terminal.end()
    assert done.code == 4
    told, hint = done.error()
    assert "no answer from docker" in told
    assert "is the daemon running" in hint
    assert lithify.run("harden", *LINE).code == 4
    docker.start()
    docker.ask("start", "theirs")
    assert lithify.run("learn", "--", "docker", "run", "lean:1", "true").code == 0
    after = docker.everything()
    # the daemon makes its own bridge network anew, and nothing else may differ
    assert {**after, "networks": []} == {**before, "networks": []}
    assert len(after["networks"]) == len(before["networks"])


# Programs that misbehave


@pytest.mark.parametrize(
    ("program", "options", "told"),
    [
        ("echo no licence >&2; exit 1", (), "ends with exit code 1 even with a writable root: no licence"),
        (STAY, ("--tcp", "80"), "fails its tcp even with a writable root: port 80"),
        (STAY, ("--check", "echo not ready; exit 7"), "fails its check even with a writable root: exit 7: not ready"),
        (
            "echo no port; exit 0",
            ("--check", "echo no answer; exit 7"),
            "fails its check even with a writable root, having ended with exit code 0 (no port): exit 7: no answer",
        ),
        ("printf '\\e]0;title\\a\\xff last words' >&2; exit 1", (), r"\x1b]0;title\x07"),
    ],
)
def test_a_program_that_does_not_work_as_it_is(
    lithify: Lithify, images: Images, program: str, options: tuple[str, ...], told: str
) -> None:
    image = images.make(program)
    begun = time.monotonic()
    done = lithify.run("harden", image, "--timeout", "2s", *options, "--", "app")
    assert done.code == 3
    assert told in done.error()[0]
    assert "\x1b" not in done.err
    assert "make" in done.error()[1]
    assert time.monotonic() - begun < 30


def test_a_program_that_floods_its_log(lithify: Lithify, images: Images) -> None:
    flood = "while :; do echo 'cannot open /srv/x: Read-only file system, again and again and again'; done"
    image = images.make(f"date > /run/pid || exit 1\ntrap 'exit 0' TERM\n{flood}")
    done = lithify.run("harden", image, "--timeout", "2s", *CHECK, "--format", "json", "--", "app")
    assert done.code in (0, 1), done.err
    assert len(done.out) < 1 << 20
    assert [mount["path"] for mount in done.json()["plan"]["mounts"]] == ["/run"], "a log widens nothing"


# Names and links


def test_names_that_are_meant_to_harm(lithify: Lithify, images: Images) -> None:
    """Escapes, line ends and bytes that are no text come out of no terminal, and through JSON unchanged."""
    program = r"""
        mkdir -p /srv/app; cd /srv/app
        mkdir $'a\nb' $'\e[31mred' $'\xff\xfe'
        date > $'a\nb/x\ty'; date > $'\e[31mred/\e]0;title\a'; date > $'\xff\xfe/\xc3('; date > $'new\r\nline\u202e'
        mkdir $'/opt/\e[5mplace\xff' $'/opt/\e[5mother'; date > $'/opt/\e[5mother/x'
        printf '\e[2J\xff WARN cannot open \e[31m/srv/a: odd\n' >&2
    """
    image = images.make(program + STAY)
    terminal = lithify.terminal("harden", image, "--check-inside", "true", "--color", "never", "--", "app")
    shown = terminal.end(120).err
    assert "\\x1b[5mother" in shown
    assert [c for c in shown if not c.isprintable() and c != "\n"] == []
    learnt = lithify.run("learn", image, "--format", "json", "--", "app")
    paths = {write["path"] for write in json.loads(learnt.out)["writes"]}
    assert {"/srv/app", "/opt/\x1b[5mplace\udcff", "/opt/\x1b[5mother"} <= paths


def test_a_command_with_names_that_are_meant_to_harm(docker: Daemon, lithify: Lithify) -> None:
    """The line on the page is one that a shell reads as the JSON has it, whatever is in it."""
    line = (
        "docker",
        "run",
        "-e",
        "ODD=a\x1b[31m'\n\u202eb",
        "lean:1",
        "bash",
        "-c",
        f"date > /tmp/x || exit 1; {STAY}",
    )
    file = lithify.state.parent / "result.json"
    both = ("--format", "text", "--output", "-", "--format", "json", "--output", file)
    done = lithify.run("harden", "--check-inside", "test -s /tmp/x", *both, "--", *line)
    assert done.code == 0, done.out + done.err
    assert [c for c in done.out if not c.isprintable() and c != "\n"] == []
    shown = done.out[done.out.index("\nCommand\n") + 9 : done.out.index("\nVerdict")]
    shown = "".join(part for part in shown.splitlines(keepends=True) if not part.startswith("  #"))
    read = subprocess.run(["bash", "-c", f"docker() {{ printf '%s\\0' \"$@\"; }}\n{shown}"], capture_output=True)
    result = json.loads(file.read_text())
    assert read.stdout.decode().split("\0")[:-1][-len(result["command"]) + 1 :] == result["command"][1:]


def test_links_that_lead_out(lithify: Lithify, images: Images, tmp_path: Path) -> None:
    """Absolute, by `..`, through /proc, in circles, swapped while we look: nothing of the host's is read or changed."""
    host = tmp_path / "host"
    (host / "below").mkdir(parents=True)
    (host / "name-on-the-host").write_text("content-on-the-host")
    program = rf"""
        cd /srv/app
        ln -s {host} absolute; ln -s ../../../../../../../..{host} up
        ln -s /proc/1/root{host} proc; ln -s circle circle
        rm -rf /opt/data && ln -s {host} /opt/data
        ( while :; do rm -rf swap; ln -s {host} swap; rm -f swap; mkdir swap; : > swap/file; done ) 2>/dev/null &
        date > /run/pid
        {STAY}"""
    image = images.make(program, {"srv/app/absolute.orig": "", "opt/data/file": "x"})
    before = written(host)
    learnt = lithify.run("learn", image, *CHECK, "--for", "2s", "--format", "json", "--", "app")
    assert learnt.code == 0, learnt.err
    found = {write["path"]: write for write in learnt.json()["writes"]}
    assert found["/opt/data"]["type"] == "symlink"
    assert found["/opt/data"]["change"] == "replaced"
    assert "on-the-host" not in learnt.out
    assert not any(path.startswith(str(host)) for path in found)
    writes = tmp_path / "writes.json"
    writes.write_text(learnt.out)
    plan = lithify.run("plan", writes, "--format", "json")
    assert plan.code in (0, 1), plan.err
    assert not any(mount["path"].startswith(str(host)) for mount in plan.json()["mounts"])
    assert written(host) == before


def test_an_image_whose_links_lead_out(lithify: Lithify, images: Images, tmp_path: Path) -> None:
    """A place of the image that is a link to the host's is neither seeded from there nor written to."""
    host = tmp_path / "host"
    host.mkdir()
    (host / "name-on-the-host").write_text("content-on-the-host")
    image = images.make(
        f"date > /run/pid && date > /var/cache/app/x || exit 1; ls -R /var/cache/app/; {STAY}", {"var/cache/x": None}
    )
    for name, target in (
        ("var/cache/app", "x"),
        ("var/cache/x/out", str(host)),
        ("var/cache/x/up", "../" * 9 + f"{host}"),
    ):
        (image / name).symlink_to(target)
    before = written(host)
    done = lithify.run("harden", image, *CHECK, "--format", "json", "--", "app")
    assert done.code == 0, done.out + done.err
    assert "on-the-host" not in done.out
    assert written(host) == before


# Much, and moving


def test_a_layer_that_changes_while_it_is_read(lithify: Lithify, images: Images) -> None:
    work = ": > $w/$((i%50))/b/$i; [ $((i%7)) = 0 ] && rm -rf $w/$(((i+25)%50)); i=$((i+1))"
    program = f"""
        mkdir -p /var/cache/app; cd /var/cache/app; date > /run/pid
        for w in 1 2; do ( i=0; while :; do mkdir -p $w/$((i%50))/b; {work}; done ) 2>/dev/null & done
        trap 'kill 0; exit 0' TERM; while :; do sleep 0.1; done"""
    done = lithify.run("learn", images.make(program), *CHECK, "--for", "1s", "--format", "json", "--", "app")
    assert done.code == 0, done.err
    assert any(write["path"].startswith("/var/cache/app") for write in done.json()["writes"])


def test_ten_thousand_written_directories(lithify: Lithify, images: Images) -> None:
    """They come to the one place that holds them, in bounded time and on a page of bounded length."""
    image = images.make(f"cd /srv/app; for d in */*; do : > $d/new; done; date > /run/pid; {STAY}")
    for first in range(100):
        for second in range(100):
            os.makedirs(image / f"srv/app/{first}/{second}")
    writes = lithify.state.parent / "writes.json"
    both = ("--format", "json", "--output", writes, "--format", "text", "--output", "-")
    learnt = lithify.run("learn", image, *CHECK, *both, "--", "app")
    assert learnt.code == 0, learnt.err
    assert len(learnt.out.splitlines()) < 150
    begun = time.monotonic()
    plan = lithify.run("plan", writes, "--format", "json")
    assert time.monotonic() - begun < 30
    assert sorted(mount["path"] for mount in plan.json()["mounts"]) == ["/run", "/srv/app"]


def test_two_at_once_leave_each_other_alone(lithify: Lithify, images: Images) -> None:
    """A start sweeps what is abandoned, not what another lithify is at work on."""
    image = images.make(PROGRAM)
    first = lithify.terminal("harden", image, *CHECK, "--for", "1s", "--", "app")
    seen_running(lithify, first, "learning:")
    while first.process.poll() is None:
        assert lithify.run("learn", image, "--", "bash", "-c", "true").code == 0
    done = first.end()
    assert done.code == 0, done.err


def test_a_bundle_of_which_half_was_written_is_written_anew(lithify: Lithify, images: Images) -> None:
    image = images.make("date > /tmp/x")
    assert lithify.run("harden", image, "--", "app").code == 0
    (bundle,) = (lithify.state / "bundles").iterdir()
    before = (bundle / "config.json").read_text()
    (bundle / "lithify.json").write_text('{"pid": 4194305, "start": 1}')
    (bundle / "config.json").write_text("{")
    assert lithify.run("harden", image, "--", "app").code == 0
    assert json.loads((bundle / "config.json").read_text()) == json.loads(before)


# Places for results


def test_a_full_disk_costs_no_result(lithify: Lithify, images: Images, small: Path, tmp_path: Path) -> None:
    image = images.make("date > /tmp/x")
    output, other = small / "writes.json", tmp_path / "page"
    output.write_text("of yesterday")
    (small / "filler").write_bytes(b"x" * 8192)
    both = ("--format", "json", "--output", output, "--format", "text", "--output", other)
    (tmp_path / "tmp").mkdir()
    done = lithify.run("learn", image, *both, "--", "app", "and an argument " * 500, TMPDIR=str(tmp_path / "tmp"))
    assert done.code == 2
    told, hint = done.error()
    assert told == f"{output}: No space left on device"
    (rescued,) = (tmp_path / "tmp").iterdir()
    assert str(rescued) in hint
    assert json.loads(rescued.read_text())["schema"] == "lithify.dev/write-set/v1"
    assert output.read_text() == "of yesterday"
    assert sorted(os.listdir(small)) == ["filler", "writes.json"]
    assert "/tmp" in other.read_text()


def test_a_place_that_takes_no_result_is_told_first(lithify: Lithify, images: Images, tmp_path: Path) -> None:
    for place, told in ((tmp_path / "none" / "x.json", "No such file or directory"), (tmp_path, "Is a directory")):
        done = lithify.run("harden", images.directory, "--output", place, "--", "app")
        assert done.code == 2
        assert done.error()[0] == f"{place}: {told}"
    assert not lithify.state.exists(), "nothing was begun"


def test_standard_output_that_takes_nothing(lithify: Lithify, images: Images, tmp_path: Path) -> None:
    writes = tmp_path / "writes.json"
    assert (
        lithify.run("learn", images.make("date > /tmp/x"), "--format", "json", "--output", writes, "--", "app").code
        == 0
    )
    command = [sys.executable, "-m", "lithify.cli.main", "plan", str(writes)]
    environment = lithify.environment_with({})
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=environment, timeout=60)
    assert Done(done.returncode, "", done.stderr.decode()).error()[0] == "standard output: No space left on device"
    assert done.returncode == 2
    closed = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *command], capture_output=True, env=environment, timeout=60
    )
    assert (closed.returncode, closed.stderr.count(b"error: standard output: it is closed")) == (2, 1)
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe:
        gone = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, env=environment, timeout=60)
    assert (gone.returncode, gone.stderr) == (0, b"")


def test_a_device_is_written_to_and_stays(lithify: Lithify, images: Images, tmp_path: Path) -> None:
    """Who runs lithify as root with `--output /dev/null` must have a /dev/null afterwards."""
    null, link, file = tmp_path / "null", tmp_path / "link", tmp_path / "file"
    os.mknod(null, 0o600 | 0o020000, os.makedev(1, 3))
    file.write_text("old")
    file.chmod(0o640)
    link.symlink_to(file)
    both = ("--format", "json", "--output", null, "--format", "json", "--output", link)
    assert lithify.run("learn", images.make("date > /tmp/x"), *both, "--", "app").code == 0
    assert null.is_char_device()
    assert link.is_symlink()
    assert json.loads(file.read_text())
    assert file.stat().st_mode & 0o777 == 0o640


def test_a_state_directory_within_the_target(lithify: Lithify, images: Images) -> None:
    image = images.make("date > /tmp/x")
    done = lithify.run("learn", image, "--state-dir", image / "var/lib/lithify", "--", "app")
    assert done.code == 4
    assert done.error()[0] == f"{image}/var/lib/lithify lies in {image}, over which its layers are to be laid"


def test_a_state_directory_without_room(lithify: Lithify, images: Images, small: Path) -> None:
    (small / "filler").write_bytes(b"x" * 12288)
    done = lithify.run("learn", images.make("date > /tmp/x"), "--state-dir", small / "state", "--", "app")
    assert done.code == 4
    told, hint = done.error()
    assert told == f"{small}/state: No space left on device" or "No space left on device" in told
    assert "--state-dir" in hint or "LITHIFY_STATE" in hint
    runs = small / "state" / "runs"
    assert not runs.exists() or os.listdir(runs) == []
