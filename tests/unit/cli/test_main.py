"""The command line from outside: what it prints, where, and with which exit code."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import lithify
from lithify.cli import main as cli
from lithify.errors import LithifyError
from lithify.model.image import ImageFacts
from lithify.model.mount import MountPlan
from lithify.model.writes import Observation, RunKey, WriteSet
from lithify.report.wire import render_json

SOURCE = str(Path(lithify.__file__).parent.parent)


def call(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run lithify as a program of its own."""
    return subprocess.run(
        [sys.executable, "-m", "lithify", *words],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": SOURCE, **environment},
    )


def test_version_and_help_go_to_standard_output() -> None:
    version = call("--version")
    assert (version.returncode, version.stdout, version.stderr) == (0, f"lithify {lithify.__version__}\n", "")
    shown = call("--help")
    assert shown.returncode == 0
    assert all(command in shown.stdout for command in cli.COMMANDS)


@pytest.mark.parametrize(
    ("words", "environment", "told"),
    [
        (["--config", "/nope.toml"], {}, "/nope.toml: No such file"),
        ([], {"LITHIFY_CONFIG": "/nope.toml"}, "/nope.toml: No such file"),
        ([], {"LITHIFY_JOBS": "x"}, "LITHIFY_JOBS: 'x'"),
        ([], {"LITHIFY_COLOR": "purple"}, "LITHIFY_COLOR: 'purple'"),
        (["--config", "syntax.toml"], {}, "syntax.toml: not TOML"),
        ([], {}, "lithify.toml: unknown setting 'engin'"),
    ],
)
@pytest.mark.parametrize("command", ["audit", "plan", "explain"])
def test_a_setting_that_can_not_be_is_refused_by_every_command(
    command: str,
    words: list[str],
    environment: dict[str, str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Also by those that run nothing, before they read what they were given."""
    monkeypatch.chdir(tmp_path)
    Path("syntax.toml").write_text("[lithify")
    if not words and not environment:
        Path("lithify.toml").write_text('[lithify]\nengin = "x"\n')
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cli.main([command, *words, "not-read"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {told}")


def test_settings_of_file_and_variables_hold_for_audit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Flags beat variables beat the file; a setting for other commands is none of its business."""
    monkeypatch.chdir(tmp_path)
    Path("pod.yaml").write_text("kind: Pod\nspec: {containers: [{name: app, image: x}]}\n")
    Path("lithify.toml").write_text('[lithify]\ncolor = "always"\nengine = "bundle"\njobs = 1\n')

    def coloured(*words: str) -> bool:
        assert cli.main(["audit", "pod.yaml", "--no-cache", *words]) == 1
        return "\x1b[" in capsys.readouterr().out

    assert coloured()
    assert not coloured("--color", "never")
    monkeypatch.setenv("LITHIFY_COLOR", "never")
    assert not coloured()
    monkeypatch.setenv("LITHIFY_DEBUG", "1")
    assert cli.main(["audit", "nothere.yaml"]) == 3
    assert "Traceback" in capsys.readouterr().err


def test_audit_of_one_file_imports_no_more_than_it_needs(tmp_path: Path) -> None:
    """It is over before what reads settings, or writes files, would be imported."""
    (tmp_path / "pod.yaml").write_text("kind: Service\n")
    code = (
        "import sys; from lithify.cli.main import main; main(['audit', 'pod.yaml']);"
        "sys.exit(bool({'lithify.settings', 'tomllib', 'pathlib', 'tempfile', 'typing'} & set(sys.modules)))"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LITHIFY_")}
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={**environment, "PYTHONPATH": SOURCE}, timeout=60, check=False
    )
    assert run.returncode == 0


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_its_own_help(command: str) -> None:
    shown = call(command, "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith(f"usage: lithify {command} ")


@pytest.mark.parametrize(
    ("words", "told", "hint"),
    [
        (["hardn"], "no command 'hardn'", "did you mean harden?"),
        (["harden"], "nothing to work on", "name a container, an image or a directory"),
        (["harden", "--nonsense", "x"], "unrecognized arguments: --nonsense", "lithify harden --help"),
        (["harden", "--htpt=x", "."], "unrecognized arguments: --htpt=x", "did you mean --http? else see"),
        (["harden", "--jobs", "many", "."], "argument --jobs", "lithify harden --help"),
        (["harden", "--for", "soon", "."], "--for: 'soon' is not a time", "30s, 5m or 1h"),
        (["harden", "--env", "NOVALUE", "."], "--env: 'NOVALUE'", "NAME=VALUE"),
        (["harden", "--http", "ftp://x", "."], "--http: 'ftp://x': neither http nor https", "http://localhost:8080/"),
        (["prove", "--http", "localhost:eighty", "."], "--http: 'localhost:eighty'", "http://localhost:8080/"),
        (["learn", "--tcp", "99999", "."], "--tcp: 99999 is no port", "from 1 to 65535"),
        (["harden", "--check", "./no-such.sh", "."], "--check: no file ./no-such.sh", "is the path right?"),
        (["harden", "--exercise", "sh /no/such.sh x", "."], "--exercise: no file /no/such.sh", "is the path right?"),
        (["harden", "--state", "/x=perhaps", "."], "'perhaps' is neither volume nor ephemeral", "/path=volume"),
        (["harden", "--state", "x=volume", "."], "--state: 'x=volume'", "/path=volume"),
        (["harden", "--format", "json", "--format", "text", "--output", "-", "."], "2 times --format", "own --output"),
        (["learn", "--cluster", "./dir"], "no workload of the cluster is named", "deployment/web -n shop"),
        (["learn", "--attach", "pod/web", "-n", "shop"], "--attach does not go with a workload", "leave it out"),
        (["learn", "pod/web", "--cluster", "--state-dir", "x"], "--state-dir does not go with", "leave it out"),
        (["learn", "pod/web", "--cluster", "--timeout", "5s"], "--timeout does not go with", "leave it out"),
        (["learn", "pod/web", "--cluster", "--tcp", "0"], "--tcp does not go with", "leave it out"),
        (["learn", "pod/web", "--node-image", "x"], "--node-image speaks of a cluster", "or name a cluster by"),
        (["learn", "--attach", "web", "--container", "x"], "--container speaks of a cluster", "or name a cluster by"),
        (["harden", "x", "--", "docker", "run", "x"], "both a target (x) and a run line", "one or the other"),
    ],
)
def test_wrong_usage_is_told_once_on_stderr_with_what_to_do(words: list[str], told: str, hint: str) -> None:
    done = call(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert told in done.stderr
    assert hint in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["harden", "closed.yaml"], 2, "closed.yaml: Permission denied"),
        (["harden", "closed/x.yaml", "--write"], 4, "closed/x.yaml: Permission denied"),
        (["harden", "closed/rootfs", "--", "nginx"], 4, "closed/rootfs: Permission denied"),
    ],
)
def test_what_a_user_may_not_read_is_no_bug(words: list[str], code: int, told: str, tmp_path: Path) -> None:
    (tmp_path / "closed.yaml").write_text("kind: Pod\n")
    (tmp_path / "closed.yaml").chmod(0)
    (tmp_path / "closed").mkdir(mode=0)
    override = "-dac_override,-dac_read_search"  # what lets root read them all the same
    alone = ["setpriv", f"--inh-caps={override}", f"--bounding-set={override}"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*alone, sys.executable, "-m", "lithify.cli.main", *words],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": SOURCE},
    )
    assert (done.returncode, done.stdout) == (code, "")
    assert told in done.stderr
    assert "hint: name " in done.stderr


@pytest.mark.parametrize("words", ["plan", "learn --merge", "report merge", "audit", "explain", "harden", "prove"])
def test_what_is_to_be_examined_and_is_not_there_is_the_same_to_every_command(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that only an option names is wrong usage."""
    assert cli.main([*words.split(), "./not-there.json"]) == 3
    assert "not-there.json\nhint: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("patch not-there.yaml --plan plan.json", 3),
        ("patch not-there.yaml --revert", 3),
        ("patch not-there.yaml --plan not-there.json", 2),
        ("prove ./rootfs --plan not-there.json -- true", 2),
        ("harden pod.yaml --image x=./not-there", 2),
        ("audit pod.yaml --baseline not-there.json", 2),
        ("explain pod.yaml --mountinfo not-there", 2),
    ],
)
def test_a_file_that_is_not_there(
    words: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wrong usage where an option names it, else nothing to examine."""
    monkeypatch.chdir(tmp_path)
    Path("rootfs").mkdir()
    Path("pod.yaml").write_text("kind: Pod\nspec: {containers: [{name: app, image: x}]}\n")
    Path("plan.json").write_text(render_json(MountPlan(key=RunKey(image="x"), container="app")))
    assert cli.main(words.split()) == code
    assert "not-there" in capsys.readouterr().err


def test_a_stage_reads_what_the_one_before_it_prints(tmp_path: Path) -> None:
    """By a pipe, as `-` or as a shell's `<(...)`."""
    image, seen = ImageFacts(reference="x"), Observation(seconds=1)
    writes = WriteSet(key=RunKey(image="x"), container="app", image=image, writes=(), observation=seen)
    (tmp_path / "writes.json").write_text(render_json(writes))
    (tmp_path / "pod.yaml").write_text("kind: Pod\nspec: {containers: [{name: app, image: x}]}\n")
    script = """
        lithify() { "$PYTHON" -m lithify "$@"; }
        lithify plan --format json - < writes.json | lithify patch pod.yaml --plan - > diff
        lithify plan --format json <(cat writes.json) | lithify learn --merge - && exit 1
        lithify audit --fail-on never <(cat pod.yaml)
        lithify audit --format json pod.yaml | lithify report merge --format markdown -
    """
    done = subprocess.run(
        ["bash", "-ec", script],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": SOURCE, "PYTHON": sys.executable},
    )
    assert "readOnlyRootFilesystem: true" in (tmp_path / "diff").read_text(), done.stderr
    assert "standard input: its schema is 'lithify.dev/mount-plan/v1'" in done.stderr
    assert "# lithify audit" in done.stdout
    assert ":2:21: high: container 'app' can write to its root filesystem" in done.stdout


def test_debug_shows_where_an_error_comes_from() -> None:
    assert "Traceback" in call("hardn", "--debug").stderr


def test_a_control_character_of_the_users_is_not_printed() -> None:
    done = call("harden", "--engine", "bundle", "evil\x1b[31m")
    assert done.returncode == 3
    assert "\x1b" not in done.stderr
    assert "\\x1b[31m" in done.stderr


def interrupted(script: str) -> subprocess.CompletedProcess[str]:
    """Run `lithify plan` where reading its arguments is `work()` of a script."""
    script = f"""
import os, signal, time, lithify.cli.arguments as a, lithify.cli.main as m
from lithify.errors import EngineRefused
signal.signal(signal.SIGINT, signal.default_int_handler)
def press():
    os.kill(os.getpid(), signal.SIGINT)
{script}
a.parse = lambda *_: work()
raise SystemExit(m.main(['plan', 'x']))
"""
    return subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": SOURCE},
    )


def test_an_interrupt_ends_with_130() -> None:
    done = interrupted("work = press")
    assert done.returncode == 130
    assert done.stderr.startswith("interrupted")


def test_an_interrupt_in_a_finalizer_is_not_lost() -> None:
    """Python drops what is raised there and goes on, where connections and files are closed all the time."""
    script = "class Last:\n    def __del__(self): press()\ndef work():\n    Last()\n    time.sleep(60)"
    done = interrupted(script)
    assert (done.returncode, done.stderr) == (130, "interrupted: what was started has been removed\n")


def test_an_interrupt_in_a_finalizer_leaves_alone_what_must_not_be_interrupted() -> None:
    script = (
        "from lithify.engines.process import uninterrupted\nclass Last:\n    def __del__(self): press()\n"
        "def work():\n    Last()\n    with uninterrupted():\n        time.sleep(0.5)\n"
        "        print('whole', flush=True)\n    time.sleep(60)"
    )
    done = interrupted(script)
    assert (done.returncode, done.stdout) == (130, "whole\n")


def test_an_interrupt_after_which_something_could_not_be_removed_says_so_and_ends_with_130() -> None:
    script = "def work():\n    try: press()\n    finally: raise EngineRefused('it stays', hint='remove it')"
    done = interrupted(script)
    assert done.returncode == 130
    assert done.stderr.startswith("error: it stays\nhint: remove it\n")


def test_a_bug_says_so_and_ends_with_70(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("boom")

    monkeypatch.setattr("lithify.cli.arguments.parse", broken)
    assert cli.main(["plan", "x"]) == 70
    assert "a bug in lithify: ZeroDivisionError: boom" in capsys.readouterr().err


@pytest.mark.parametrize("error", LithifyError.__subclasses__())
def test_every_error_ends_with_its_own_exit_code(
    error: type[LithifyError], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise error("what is wrong", hint="what to do")

    monkeypatch.setattr("lithify.cli.arguments.parse", fail)
    assert cli.main(["plan", "x"]) == error.exit_code
    assert f"error: what is wrong\nhint: what to do\npage: lithify help {error.page}\n" == capsys.readouterr().err


@pytest.mark.parametrize("error", [LithifyError, *LithifyError.__subclasses__()])
def test_help_prints_the_page_that_an_error_names(
    error: type[LithifyError], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["help", error.page]) == 0
    assert capsys.readouterr().out.startswith(f"# {error.page}\n")


def test_help_of_a_command_is_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["help", "plan"]) == 0
    assert capsys.readouterr().out.startswith("usage: lithify plan ")
    assert cli.main(["help", "help"]) == 0
    assert capsys.readouterr().out.startswith("usage: lithify help ")
    assert cli.main(["help", "nothing"]) == 2
    assert "no command and no page 'nothing'\nhint: pages: conflict, " in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["audit", "--no-cache", "."], ["audit", "--format", "json", "."], ["audit", "--list-rules"], ["--help"],
        ["audit", "--explain", "runs-as-root"], ["help", "usage"], ["help", "audit"], ["--version"],
    ],
)  # fmt: skip
def test_a_full_disk_behind_standard_output_is_no_bug(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("services: {web: {image: nginx}}\n")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "lithify.cli.main", *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": SOURCE},
            timeout=60,
            check=False,
        )
    told = "error: standard output: No space left on device\nhint: name a file with --output\n"
    assert (done.returncode, done.stderr) == (2, f"{told}page: lithify help output-failed\n")


@pytest.mark.parametrize("where", ["2>/dev/full", "2>&-"])
def test_an_error_that_can_not_be_shown_keeps_its_exit_code(where: str) -> None:
    """And it never comes among the results."""
    command = f"exec {sys.executable} -m lithify plan nothing {where}"
    environment = {**os.environ, "PYTHONPATH": SOURCE}
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout) == (3, "")


@pytest.mark.parametrize(
    ("words", "told"), [("explain", "error: standard input is closed"), ("audit -", "can't be read: it is closed")]
)
def test_a_closed_standard_input_is_told(words: str, told: str, tmp_path: Path) -> None:
    command = f"exec {sys.executable} -m lithify.cli.main {words} <&-"
    environment = {**os.environ, "PYTHONPATH": SOURCE}
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert told in done.stdout + done.stderr
