"""`lithify harden`, `learn`, `plan` and `prove` from outside, on real containers of small programs and one service."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import jsonschema
import pytest
from tests.runtime.conftest import cached, debootstrap
from tests.runtime.hardening import Daemon, Done, Images, Lithify, copy_linked, until

from lithify.model.hardening import Hardening
from lithify.model.mount import MountPlan
from lithify.model.verdict import Verdict
from lithify.model.writes import WriteSet
from lithify.report.page import render_hardening
from lithify.report.wire import parse, schema

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the bundle engine needs root")

STAY = "trap 'exit 0' TERM; while :; do sleep 0.1; done"
JSON = ("--format", "json")


def hardening(done: Done) -> Hardening:
    """Return the result, whose JSON holds to its own schema."""
    assert done.code in (0, 1), done.err
    jsonschema.Draft202012Validator(schema(Hardening)).validate(done.json())
    return parse(done.out.encode(), Hardening, source="stdout")


def write_set(done: Done) -> WriteSet:
    assert done.code == 0, done.err
    return parse(done.out.encode(), WriteSet, source="stdout")


def verdict(done: Done) -> Verdict:
    assert done.code in (0, 1), done.err
    return parse(done.out.encode(), Verdict, source="stdout")


def places(plan: MountPlan) -> dict[str, str]:
    return {str(mount.path): mount.storage.value for mount in plan.mounts}


def failed(verdict: Verdict) -> list[str]:
    return [f"{check.name}: {check.summary}" for check in verdict.checks if not check.passed]


def test_files_beside_the_code_are_moved_by_a_known_option(lithify: Lithify, tmp_path: Path) -> None:
    """A real supervisord writes its log and pid file where it stands; options added to its command move both."""
    image = tmp_path / "image"
    copy_linked(cached("supervisor", lambda directory: debootstrap(directory, "supervisor")), image)
    (image / "srv/app").mkdir()
    (image / "srv/app/worker").write_text("#!/bin/sh\nexec sleep 1000000\n")
    (image / "srv/app/worker").chmod(0o755)
    (image / "srv/app/supervisord.conf").write_text(
        "[supervisord]\nnodaemon=true\nuser=root\n[program:worker]\ncommand=/srv/app/worker\n"
        "stdout_logfile=NONE\nstderr_logfile=NONE\n"
    )
    command = ("--workdir", "/srv/app", "--", "supervisord", "-c", "/srv/app/supervisord.conf")
    result = hardening(lithify.run("harden", image, *JSON, *command, timeout=300))
    assert failed(result.verdict) == []
    moved = {str(redirect.old): redirect.appended for redirect in result.plan.redirects}
    assert moved == {
        "/srv/app/supervisord.log": ("--logfile=/mnt/supervisord-log/supervisord.log",),
        "/srv/app/supervisord.pid": ("--pidfile=/mnt/supervisord-pid/supervisord.pid",),
    }
    assert set(places(result.plan)) == {"/mnt/supervisord-log", "/mnt/supervisord-pid", "/tmp"}


def test_a_place_that_one_run_seemed_to_miss_goes_again(lithify: Lithify, images: Images, tmp_path: Path) -> None:
    """The first planned run fails by chance, its rehearsal does not: what was written there is no more than suspect."""
    silent = "{ mkdir -p /opt/__pycache__ && date > /opt/__pycache__/x.pyc; } 2>/dev/null"
    image = images.make(f"{silent}; date > /run/pid; {STAY}")
    first, check = tmp_path / "first", tmp_path / "check"
    check.write_text(f"""#!/bin/sh
case $1 in *planned*) [ -e {first} ] || echo "$1" > {first} ;; esac
[ "$1" != "$(cat {first} 2>/dev/null)" ] && kill -0 "$LITHIFY_PID"
""")
    check.chmod(0o755)
    result = hardening(lithify.run("harden", image, "--check", check, "--timeout", "5", *JSON, "--", "app"))
    assert [name for each in result.rounds for name in each.changed] == ["gives /opt/__pycache__ a place"]
    assert failed(result.verdict) == []
    assert "/opt/__pycache__" not in places(result.plan)


@pytest.mark.parametrize("code", [0, 1])
def test_a_stale_pid_file_of_the_layer_is_no_fault_of_the_program(lithify: Lithify, images: Images, code: int) -> None:
    """It stops the second start of a container with a writable root, and of none whose /run ends with each start."""
    image = images.make(
        f"[ ! -e /run/app.pid ] || {{ echo runs already >&2; exit {code}; }}; echo $$ >/run/app.pid; {STAY}"
    )
    result = hardening(lithify.run("harden", image, *JSON, "--", "app"))
    assert failed(result.verdict) == []
    assert places(result.plan) == {"/run": "memory"}
    assert "as it is, it does not start again after it was killed: runs already" in result.write_set.observation.notes


def test_a_job_that_ends_well_is_proved(lithify: Lithify, images: Images) -> None:
    """A program that does its work and ends has to end the same way; it is not waited for."""
    image = images.make("mkdir -p /run/job; date > /run/job/stamp && cat /run/job/stamp")
    result = hardening(lithify.run("harden", image, *JSON, "--", "app"))
    assert failed(result.verdict) == []
    assert result.verdict.proved
    assert result.original.finished
    assert not result.flag_alone_works
    assert places(result.plan) == {"/run": "memory"} or places(result.plan) == {"/run/job": "memory"}


def test_a_job_that_fails_is_nothing_to_learn_from(lithify: Lithify, images: Images) -> None:
    image = images.make("echo the database is not there >&2; exit 3")
    done = lithify.run("harden", image, "--", "app")
    told, hint = done.error()
    assert done.code == 3
    assert "ends with exit code 3 even with a writable root: the database is not there" in told
    assert "make it run as it is" in hint


def test_a_sticky_tmp_stays_sticky(lithify: Lithify, images: Images) -> None:
    image = images.make(f"[ -k /tmp ] && echo data > /tmp/app.$$ || exit 1\ntouch /tmp/ready; {STAY}")
    result = hardening(lithify.run("harden", image, "--check-inside", "test -e /tmp/ready", *JSON, "--", "app"))
    assert failed(result.verdict) == []
    (place,) = result.plan.mounts
    assert (str(place.path), place.mode) == ("/tmp", 0o1777)
    assert not place.executable


def test_code_runs_from_where_it_was_seen_to_and_nowhere_else(lithify: Lithify, images: Images) -> None:
    """A program that unpacks a helper in /tmp and runs it keeps doing so; its other place lets nothing run."""
    program = f"""
        set -e
        mkdir -p /run/app; date > /run/app/state
        cp /bin/sleep /tmp/helper; /tmp/helper 1000 &
        {STAY}"""
    image = images.make(program)
    check = "test -s /run/app/state && grep -q helper /proc/[0-9]*/comm"
    done = lithify.run("harden", image, "--check-inside", f"sh -c '{check}'", *JSON, "--", "app")
    result = hardening(done)
    assert failed(result.verdict) == []
    assert {str(m.path): m.executable for m in result.plan.mounts}["/tmp"]
    assert [str(m.path) for m in result.plan.mounts if m.executable] == ["/tmp"]
    assert len(result.plan.mounts) == 2
    exposed = {str(exposed.path): exposed.executable for exposed in result.verdict.exposed}
    assert exposed["/tmp"]
    assert not any(able for path, able in exposed.items() if path.startswith("/run"))


def test_writes_that_the_program_shrugs_off_get_no_place(lithify: Lithify, images: Images) -> None:
    """A user's check decides: what the program does without stays read-only."""
    program = f"""
        mkdir -p /run/app && date > /run/app/pid || exit 1
        {{ date > /var/cache/app.stamp; date > /var/log/usage; }} 2>/dev/null
        {STAY}"""
    image = images.make(program)
    result = hardening(lithify.run("harden", image, "--check-inside", "test -s /run/app/pid", *JSON, "--", "app"))
    assert failed(result.verdict) == []
    assert [path for path in places(result.plan) if not path.startswith("/run")] == []
    assert PurePosixPath("/var/cache") in {t.path for t in result.plan.tolerated if t.proved}


def test_a_log_without_which_the_program_goes_on_is_proved(lithify: Lithify, images: Images) -> None:
    """All that the flag alone costs is the log: that is what an over-tight plan fails by, too."""
    log = "{ date > /var/log/app.log; } 2>/dev/null || echo 'error: unable to open the log' >&2"
    image = images.make(f"{log}; {STAY}")
    done = lithify.run("harden", image, "--check-inside", "true", *JSON, "--", "app")
    result = hardening(done)
    assert failed(result.verdict) == []
    assert list(places(result.plan)) == ["/var/log"]
    (told,) = [check.summary for check in result.verdict.honest if check.name == "over-tight fails"]
    assert told.startswith("with the flag alone: the log is lost: ")
    assert result.flag_alone_works


def test_state_that_no_check_looks_for_is_kept_and_said(lithify: Lithify, images: Images) -> None:
    """The program swallows that it can't save: the check passes with the flag alone, and that decides nothing."""
    image = images.make(f"{{ mkdir -p /var/lib/app && echo row > /var/lib/app/app.db; }} 2>/dev/null; {STAY}")
    done = lithify.run("harden", image, "--check-inside", "true", *JSON, "--", "app")
    result = hardening(done)
    assert (done.code, failed(result.verdict)) == (0, [])
    assert places(result.plan) == {"/var/lib/app": "volume"}
    (told,) = [check for check in result.verdict.honest if check.name == "over-tight fails"]
    assert not told.tried
    page = " ".join(render_hardening(result).split())
    assert "with the read-only flag alone it works, but what it keeps is lost" in page
    assert "nothing looks for what is kept in /var/lib/app: a --check that does would show its need" in page


def test_state_never_lies_in_memory_unless_the_user_says_so(lithify: Lithify, images: Images) -> None:
    program = f"mkdir -p /var/lib/app; echo row >> /var/lib/app/app.db || exit 1; {STAY}"
    image = images.make(program, {"var/lib/app/app.db": "SQLite format 3\0 and rows\n"})
    learnt = lithify.run("learn", image, *JSON, "--", "app")
    writes = image.parent / "writes.json"
    writes.write_text(learnt.out)
    plan = parse(lithify.run("plan", writes, *JSON).out.encode(), MountPlan, source="stdout")
    assert places(plan) == {"/var/lib/app": "volume"}
    done = lithify.run("plan", writes, "--state", "/var/lib/app=ephemeral", *JSON)
    decided = parse(done.out.encode(), MountPlan, source="stdout")
    assert done.code == 0
    assert places(decided)["/var/lib/app"] in ("memory", "scratch")
    check = "grep -q row /var/lib/app/app.db"
    result = hardening(lithify.run("harden", image, "--check-inside", check, *JSON, "--", "app"))
    assert failed(result.verdict) == []
    assert places(result.plan) == {"/var/lib/app": "volume"}
    recreated = [check.passed for check in result.verdict.works if check.name == "check-inside (recreated)"]
    assert recreated == [True]


def test_what_a_check_misses_in_the_next_container_is_kept(lithify: Lithify, images: Images) -> None:
    """A cache by its path, in which the check looks for what the exercise wrote: what is lost there counts as lost."""
    image = images.make(
        f"echo x > /var/cache/app/index || exit 1; trap 'echo row > /var/cache/app/last' USR1; {STAY}",
        {"var/cache/app": None},
    )
    cache = "/proc/$LITHIFY_PID/root/var/cache/app"
    exercise = f"kill -USR1 $LITHIFY_PID; until [ -s {cache}/last ]; do sleep 0.05; done"
    check = f"[ -s {cache}/index ] && {{ [ $LITHIFY_PHASE = started ] || [ -s {cache}/last ]; }}"
    asked = ("--exercise", exercise, "--check", check, *JSON)
    result = hardening(lithify.run("harden", image, *asked, "--", "app"))
    assert failed(result.verdict) == []
    assert places(result.plan) == {"/var/cache/app": "volume"}
    assert [each.changed for each in result.rounds] == [("keeps /var/cache/app on a volume",), ()]
    result = hardening(lithify.run("harden", image, "--state", "/var/cache/app=ephemeral", *asked, "--", "app"))
    assert not result.verdict.proved
    assert "check (recreated)" in [told.partition(":")[0] for told in failed(result.verdict)]
    assert len(result.rounds) == 1


def test_what_is_saved_only_when_asked_to_end_is_kept(lithify: Lithify, images: Images) -> None:
    """A kill loses it with a writable root, too: that must not make a plan right that never lets it be saved."""
    saves = "trap 'mkdir -p /var/lib/app; cp /run/row /var/lib/app/row || echo lost; exit 0' TERM"
    program = f"cp /var/lib/app/row /run/row || rm -f /run/row; trap 'echo row > /run/row' USR1; {saves}"
    image = images.make(f"{program}; touch /run/ready || exit 1; while :; do sleep 0.1; done")
    row = "/proc/$LITHIFY_PID/root/run/row"
    exercise = f"kill -USR1 $LITHIFY_PID; until [ -s {row} ]; do sleep 0.05; done"
    check = f"[ -e {row.replace('row', 'ready')} ] && {{ [ $LITHIFY_PHASE = started ] || [ -s {row} ]; }}"
    done = lithify.run("harden", image, "--exercise", exercise, "--check", check, *JSON, "--", "app")
    result = hardening(done)
    assert failed(result.verdict) == []
    assert places(result.plan) == {"/run": "memory", "/var/lib/app": "volume"}
    later = {check.name: check.summary for check in result.verdict.works}
    assert [later[f"check ({phase})"] for phase in ("restarted", "recreated")] == ["exit 0", "exit 0"]
    assert result.write_set.observation.asked_to_end
    assert any("it saves late" in note for note in result.write_set.observation.notes)


def test_a_chown_to_the_owner_that_is_there_is_no_loss(lithify: Lithify, images: Images) -> None:
    """The log says that it was refused; nothing would have been different, and no place is asked for it."""
    image = images.make(f"chown 0:0 /usr/local/bin/app; echo x > /run/app.state || exit 1; {STAY}")
    result = hardening(lithify.run("harden", image, "--check-inside", "test -s /run/app.state", *JSON, "--", "app"))
    assert failed(result.verdict) == []
    assert places(result.plan) == {"/run": "memory"}
    assert len(result.rounds) == 1
    assert any("Read-only" in line for line in result.flag_alone.refused_writes)


def test_what_has_no_place_ends_the_rounds_at_once(lithify: Lithify, images: Images) -> None:
    """Another run of the same plan could not come out differently, and the page shows the plan that was tried."""
    stamp = "/etc/app.stamp"
    program = f"date > {stamp}.1 && mv {stamp}.1 {stamp} || exit 1; date > /run/stamp || exit 1; {STAY}"
    result = hardening(lithify.run("harden", images.make(program), *JSON, "--", "app"))
    assert not result.verdict.proved
    assert places(result.plan) == {"/run": "memory"}
    assert [str(refusal.path) for refusal in result.plan.refusals if refusal.blocking] == ["/etc"]
    assert len(result.rounds) == 1


def test_a_program_that_rewrites_itself_gets_no_place_and_exit_code_1(lithify: Lithify, images: Images) -> None:
    """What no plan may allow is refused with a remedy, and the page says that nothing is proved."""
    image = images.make(f"echo '# patched' >> /usr/local/bin/app || exit 1; {STAY}")
    page = image.parent / "page"
    both = ("--format", "text", "--output", page, *JSON, "--output", "-")
    done = lithify.run("harden", image, "--check-inside", "true", *both, "--", "app")
    result = hardening(done)
    assert (done.code, result.verdict.proved) == (1, False)
    assert "NOT PROVED" in page.read_text()
    assert "/usr/local/bin" in page.read_text()
    assert not any(str(mount.path).startswith("/usr") for mount in result.plan.mounts)
    assert any(refusal.blocking and str(refusal.path).startswith("/usr/local/bin") for refusal in result.plan.refusals)


def test_an_image_without_a_shell(lithify: Lithify, static_rootfs: Path, tmp_path: Path) -> None:
    image = tmp_path / "static"
    shutil.copytree(static_rootfs, image)
    (image / "state").mkdir()
    done = lithify.run("harden", image, "--tcp", "8080", *JSON, "--", "/probe", "serve", "8080", "/state/hits")
    result = hardening(done)
    assert failed(result.verdict) == []
    assert not result.write_set.image.has_shell
    assert list(places(result.plan)) == ["/state"]


def test_nginx_and_the_command_that_comes_out(lithify: Lithify, nginx_rootfs: Path) -> None:
    """A real service, proved; what the JSON says to run is run, and serves."""
    options = ("--http", "http://localhost/", *JSON)
    result = hardening(lithify.run("harden", nginx_rootfs, *options, "--", "nginx", "-g", "daemon off;"))
    assert failed(result.verdict) == []
    assert not result.flag_alone_works
    assert result.flag_alone.refused_writes
    assert not any(mount.executable for mount in result.plan.mounts)
    name = result.command[-1]
    for words in result.setup:
        subprocess.run(words, check=True, timeout=60)
    with open(lithify.state / "log", "wb") as log:
        runs = subprocess.Popen(result.command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        ask = ["runc", "exec", name, "sh", "-c", "exec 3<>/dev/tcp/127.0.0.1/80"]
        ask[3:] = ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/80; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; head -1 <&3"]
        until(lambda: b" 200 " in subprocess.run(ask, capture_output=True, timeout=30).stdout)
        itself = ["runc", "exec", name, "sh", "-c", "getent hosts $(hostname)"]
        assert subprocess.run(itself, capture_output=True, timeout=30).stdout.startswith(b"127.0.1.1")
        write = ["runc", "exec", name, "touch", "/usr/share/nginx/html/x"]
        refused = subprocess.run(write, capture_output=True, timeout=30)
        assert b"Read-only file system" in refused.stderr
    finally:
        subprocess.run(["runc", "kill", name, "KILL"], capture_output=True, timeout=30)
        runs.wait(30)
        subprocess.run(["runc", "delete", "--force", name], capture_output=True, timeout=30)


def test_results_go_where_they_were_asked_to(lithify: Lithify, images: Images, tmp_path: Path) -> None:
    """Formats and files come in pairs; a file that was there is replaced, and - is standard output."""
    image = images.make("date > /tmp/stamp")
    page, data = tmp_path / "page.txt", tmp_path / "result.json"
    page.write_text("of yesterday")
    both = ("--format", "text", "--output", page, "--format", "json", "--output", data)
    done = lithify.run("harden", image, *both, "--format", "text", "--output", "-", "--", "app")
    assert (done.code, done.err) == (0, "")
    assert parse(data.read_bytes(), Hardening, source="file").verdict.proved
    assert page.read_text() == done.out
    assert "PROVED" in done.out
    assert sorted(os.listdir(tmp_path)) == sorted([image.name, page.name, data.name, "state"])


def test_learn_merge_plan_and_prove_by_themselves(lithify: Lithify, images: Images, tmp_path: Path) -> None:
    """Each stage takes what the one before left in a file; joined write sets give the places of both."""
    image = images.make(f'for file; do date > "$file" || exit 1; done; {STAY}')
    sets = []
    for place in ("/tmp/a", "/var/tmp/b"):
        sets.append(tmp_path / f"{place.rpartition('/')[2]}.json")
        done = lithify.run("learn", image, *JSON, "--output", sets[-1], "--", "app", place)
        assert (done.code, done.out, done.err) == (0, "", "")
    joined, plan = tmp_path / "joined.json", tmp_path / "plan.json"
    assert lithify.run("learn", "--merge", *sets, *JSON, "--output", joined).code == 0
    written = {str(write.path) for write in parse(joined.read_bytes(), WriteSet, source="joined").writes}
    assert {"/tmp/a", "/var/tmp/b"} <= written
    assert lithify.run("plan", joined, *JSON, "--output", plan).code == 0
    assert set(places(parse(plan.read_bytes(), MountPlan, source="plan"))) == {"/tmp", "/var/tmp"}
    done = lithify.run("prove", image, "--plan", plan, *JSON, "--", "app", "/tmp/a", "/var/tmp/b")
    assert (done.code, failed(verdict(done))) == (0, [])


def test_a_plan_that_is_too_wide_is_not_proved(lithify: Lithify, images: Images) -> None:
    image = images.make(f"mkdir -p /run/app; date > /run/app/pid || exit 1; {STAY}")
    mounts = ("--tmpfs", "/run", "--tmpfs", "/srv:size=1m")
    done = lithify.run("prove", image, *mounts, "--check-inside", "test -s /run/app/pid", *JSON, "--", "app")
    assert done.code == 1
    assert failed(verdict(done)) == ["needs /srv: works without /srv"]


def test_a_plan_that_is_too_tight_is_not_proved(lithify: Lithify, images: Images) -> None:
    image = images.make(f"mkdir -p /run/app; date > /run/app/pid || exit 1; {STAY}")
    done = lithify.run("prove", image, "--tmpfs", "/srv", "--", "app")
    assert done.code == 1
    assert "NOT PROVED" in done.out
    assert "/run/app" in done.out
    assert "  --   minimal: needs /srv: not taken away" in done.out, "what was not tried is not ok"


def test_a_container_that_is_kept_stays_until_somebody_removes_it(lithify: Lithify, images: Images) -> None:
    image = images.make(f"date > /tmp/stamp || exit 1; {STAY}")
    options = ("--check-inside", "test -e /tmp/stamp", *JSON, "--", "app")
    result = hardening(lithify.run("harden", image, "--keep", *options))
    (name,) = result.kept
    assert lithify.run("learn", image, *options).code == 0, "a later start leaves it"
    (directory,) = lithify.containers()
    assert directory.name == name
    from lithify.engines.bundle.engine import BundleEngine

    assert BundleEngine(state=lithify.state).sweep(kept=True) == [f"container {name}"]


@pytest.fixture(scope="module")
def web(own_docker: Daemon, nginx_rootfs: Path) -> str:
    with subprocess.Popen(["tar", "-C", nginx_rootfs, "-c", "."], stdout=subprocess.PIPE) as archive:
        own_docker.ask_with(archive.stdout, "import", "--change", 'CMD ["nginx","-g","daemon off;"]', "-", "web:1")
    return "web:1"


@pytest.fixture
def docker(own_docker: Daemon, lithify: Lithify) -> Iterator[Daemon]:
    """A Docker of the tests' own, everything in which is counted before and after."""
    lithify.environment, lithify.enter = {"DOCKER_HOST": own_docker.host}, own_docker.enter
    before = own_docker.everything()
    yield own_docker
    assert own_docker.everything() == before


def test_a_line_and_the_line_that_comes_out(docker: Daemon, lithify: Lithify, web: str) -> None:
    line = ("docker", "run", "-d", "--name", "web", "-p", "127.0.0.1:18080:80", web)
    done = lithify.run("harden", "--http", "http://localhost:18080/", *JSON, "--", *line)
    result = hardening(done)
    assert failed(result.verdict) == []
    assert not result.flag_alone_works
    try:
        for words in (*result.setup, result.command):
            assert words[0] == "docker"
            docker.ask(*words[1:])
        address = docker.ask("inspect", "--format", "{{.NetworkSettings.IPAddress}}", "web")
        until(
            lambda: (
                subprocess.run([*docker.enter, "curl", "-sf", f"http://{address}/"], capture_output=True).returncode
                == 0
            )
        )
        write = docker.call("exec", "web", "touch", "/usr/share/nginx/html/x")
        assert "Read-only file system" in write.stderr
    finally:
        docker.call("rm", "--force", "--volumes", "web")
        for words in result.setup:
            if words[1:3] == ("volume", "create"):
                docker.call("volume", "rm", words[-1])


def test_a_running_container_is_watched_and_not_touched(docker: Daemon, lithify: Lithify, web: str) -> None:
    docker.ask("run", "-d", "--name", "theirs", web)
    try:
        until(lambda: docker.ask("logs", "theirs") is not None)
        before = json.loads(docker.ask("inspect", "theirs"))
        pid = before[0]["State"]["Pid"]
        told = [lithify.run("learn", "--attach", "theirs", "--for", "1s", *JSON)]
        told += [lithify.run("learn", "--attach", of, *JSON) for of in (str(pid), f"node:{before[0]['Id']}")]
        for done in told:
            written = write_set(done)
            assert not written.observation.from_start
            assert {"/var/lib/nginx/body", "/run/nginx.pid"} <= {str(write.path) for write in written.writes}
            # as it was started, not as it calls itself by now: nginx: master process nginx -g daemon off;
            assert written.key.command == tuple(before[0]["Config"]["Cmd"])
        assert json.loads(docker.ask("inspect", "theirs")) == before
    finally:
        docker.ask("rm", "--force", "--volumes", "theirs")


def test_a_plan_that_somebody_else_wrote(docker: Daemon, lithify: Lithify, web: str) -> None:
    """`prove --tmpfs ... -- docker run ...` says yes to the narrow plan, no to one that lacks a place."""
    script = f"mkdir -p /run/app && date > /run/app/pid || exit 1; {STAY}"
    line = ("docker", "run", web, "bash", "-c", script)
    check = ("--check-inside", "test -s /run/app/pid")
    good = lithify.run("prove", "--tmpfs", "/run", *check, *JSON, "--", *line)
    assert (good.code, failed(verdict(good))) == (0, [])
    bad = lithify.run("prove", "--tmpfs", "/var/tmp", *check, "--", *line)
    assert bad.code == 1
    assert "NOT PROVED" in bad.out
