"""`lithify patch` as it is typed: plans to containers, diff, write, revert, and what can't be."""

import io
import shlex
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

from lithify.cli.main import main
from lithify.cli.patch import tell_revert
from lithify.model.image import ImageFacts
from lithify.model.mount import Mount, MountPlan, StorageKind
from lithify.model.patch import unified_diff
from lithify.model.writes import RunKey
from lithify.pipeline.files.patch import GivenPlan, PatchOptions, patch_file
from lithify.report.wire import render_json
from lithify.settings import default_state

POD = """\
apiVersion: v1
kind: Pod
metadata:
  name: shop
spec:
  containers:
    - name: web  # the server
      image: nginx
    - name: log
      image: fluent
"""


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LITHIFY_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def pod(tmp_path: Path) -> Path:
    path = tmp_path / "pod.yaml"
    path.write_text(POD)
    return path


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    return write_plan(tmp_path / "plan.json", "web")


def write_plan(path: Path, container: str) -> Path:
    mount = Mount(path=PurePosixPath("/run"), storage=StorageKind.MEMORY, size=1 << 20)
    path.write_text(render_json(MountPlan(key=RunKey(image="nginx"), container=container, mounts=(mount,))))
    return path


def run(*words: object) -> int:
    return main(["patch", *map(str, words)])


def test_a_diff_is_what_patch_takes(pod: Path, plan: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(pod, "--plan", plan) == 0
    diff = capfd.readouterr().out
    assert pod.read_text() == POD
    assert "+        readOnlyRootFilesystem: true\n" in diff
    if shutil.which("patch"):
        subprocess.run(["patch", "--silent", pod], input=diff, text=True, check=True)
        assert run(pod, "--plan", plan) == 0
        assert capfd.readouterr().out == ""


def test_write_and_revert(pod: Path, plan: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(pod, "--plan", plan, "--write") == 0
    said = capfd.readouterr()
    assert said.out == ""
    assert f"lithify patch --revert {pod}" in said.err
    assert "sizeLimit: 1Mi" in pod.read_text()
    assert run(pod, "--plan", plan, "--write") == 0
    assert capfd.readouterr().err == f"{pod}: nothing has to change\n"
    assert run("--revert", pod) == 0
    assert pod.read_text() == POD
    assert run("--revert", pod) == 3
    assert "nothing-to-revert" in capfd.readouterr().err


def test_the_only_container_is_still_the_only_one_beside_its_seed(
    pod: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A plan that names no container of the file: what the first patch adds makes no second choice of it."""
    pod.write_text(POD.partition("    - name: log")[0])
    run_time = Mount(path=PurePosixPath("/run"), storage=StorageKind.SCRATCH, size=1 << 20, uid=7, gid=7, mode=0o700)
    plan = MountPlan(key=RunKey(image="nginx"), container="somebody", mounts=(run_time,))
    (tmp_path / "plan.json").write_text(render_json(plan))
    assert run(pod, "--plan", tmp_path / "plan.json", "--write") == 0
    assert "- name: lithify-seed-web\n" in pod.read_text()
    capfd.readouterr()
    assert run(pod, "--plan", tmp_path / "plan.json", "--write") == 0
    assert f"{pod}: nothing has to change" in capfd.readouterr().err


def test_the_only_service_is_still_the_only_one_beside_what_gives_its_volume_away(
    plan: Path, tmp_path: Path, state: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "compose.yaml"
    path.write_text("services:\n  app:\n    image: nginx\n    user: '7'\n")
    kept = Mount(path=PurePosixPath("/kept"), storage=StorageKind.VOLUME, name="kept", uid=7, gid=7, mode=0o700)
    given = MountPlan(key=RunKey(image="nginx"), container="somebody", mounts=(kept,))
    plan.write_text(render_json(given))
    assert run(path, "--plan", plan, "--copier", "busybox", "--write") == 0
    assert "\n  app-init:\n" in path.read_text()
    capfd.readouterr()
    assert run(path, "--plan", plan, "--copier", "busybox", "--write") == 0
    assert f"{path}: nothing has to change" in capfd.readouterr().err


def test_the_printed_undo_works_where_the_state_directory_is_not_known(
    pod: Path, plan: Path, state: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory came from a variable; the shell in which the command is pasted has none."""
    assert run(pod, "--plan", plan, "--write") == 0
    undo = shlex.split(capfd.readouterr().err.splitlines()[0].rpartition("take it back with: lithify ")[2])
    assert undo[-2:] == ["--state-dir", str(state)]
    monkeypatch.delenv("LITHIFY_STATE")
    assert main(undo) == 0
    assert pod.read_text() == POD


def test_the_default_state_directory_is_not_named(capfd: pytest.CaptureFixture[str]) -> None:
    tell_revert("the pod.yaml", default_state())
    assert capfd.readouterr().err.endswith("take it back with: lithify patch --revert 'the pod.yaml'\n")


def test_harden_takes_back_what_patch_wrote(pod: Path, plan: Path) -> None:
    assert run(pod, "--plan", plan, "--write") == 0
    assert main(["harden", str(pod), "--revert"]) == 0
    assert pod.read_text() == POD
    assert main(["harden", str(pod.parent / "none"), "--write"]) in (2, 3)


@pytest.mark.parametrize("name", ["log", "shop/log", "Pod/shop/log"])
def test_a_container_can_be_named(pod: Path, plan: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(pod, "--plan", plan, "--container", name, "--output", "-") == 0
    patched = capfd.readouterr().out
    assert patched.startswith(POD + "      volumeMounts:\n")


def test_two_plans_for_two_containers(pod: Path, tmp_path: Path) -> None:
    plans = [write_plan(tmp_path / f"{name}.json", name) for name in ("web", "log")]
    assert run(pod, "--plan", plans[0], "--plan", plans[1], "--output", tmp_path / "out.yaml") == 0
    assert (tmp_path / "out.yaml").read_text().count("readOnlyRootFilesystem: true") == 2
    assert pod.read_text() == POD


def test_what_is_refused_is_told_with_the_text_to_write(
    pod: Path, plan: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pod.write_text(POD.replace("image: nginx", "image: nginx\n      env: []\n      env: []"))
    before = pod.read_text().replace("env", "volumeMounts")
    pod.write_text(before)
    assert run(pod, "--plan", plan, "--write") == 1
    said = capfd.readouterr().err
    assert "stands more than once" in said
    assert "    - name: run\n" in said
    assert pod.read_text() == before


@pytest.mark.parametrize(
    ("name", "text", "code", "said"),
    [
        ("a.yaml", "a: [b", 2, "a.yaml:2:1: this document can't be read: did not find expected ',' or ']'"),
        ("a.yaml", "kind: Pod\nspec:\n  containers: [b\n", 2, "a.yaml:4:1: this document can't be read: did not find"),
        ("a.json", '{"kind": "Pod", ', 2, "a.json:2:1: this document can't be read: did not find"),
        ("compose.yaml", "services:\n  web: {", 2, "compose.yaml:3:1: this document can't be read: did not find"),
        ("a.yaml", "", 3, "a.yaml describes no container"),
        ("a.yaml", "hi there\n", 3, "a.yaml describes no container"),
    ],
)
def test_a_file_without_containers_is_told_from_one_that_can_not_be_read(
    name: str, text: str, code: int, said: str, tmp_path: Path, plan: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    path.write_text(text)
    commands = [["harden", str(path)]] if name != "compose.yaml" else []  # Compose itself says so there
    if "kind" in text or "services" in text:
        commands.append(["patch", str(path), "--plan", str(plan)])
    for command in commands:
        assert main(command) == code
        told = capfd.readouterr().err
        assert said in told
        assert "hint: " in told


def test_standard_input(plan: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(POD.encode())))
    assert run("-", "--plan", plan, "--output", "-") == 0
    assert "readOnlyRootFilesystem: true" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["POD"], 2, "no plan"),
        (["POD", "--plan", "PLAN", "--container", "none"], 2, "Pod/shop/web, Pod/shop/log"),
        (["POD", "--plan", "PLAN", "--plan", "PLAN", "--container", "web"], 2, "2 times --plan"),
        (["POD", "--plan", "POD"], 2, "not JSON"),
        (["POD", "--plan", "PLAN", "--write", "--revert"], 2, "not allowed with"),
        (["POD", "--plan", "PLAN", "--kubernetes-version", "new"], 2, "no version"),
        (["POD", "--plan", "PLAN", "--claim-size", "much"], 2, "--claim-size"),
        (["-", "--plan", "PLAN", "--write"], 2, "standard input"),
        (["PLAN", "--plan", "PLAN"], 2, "can't be patched"),
        (["LINK", "--plan", "PLAN"], 2, "is a link to"),
        (["NOTHING", "--plan", "PLAN"], 3, "no file "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_can_not_be(
    words: list[str], code: int, said: str, pod: Path, plan: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (pod.parent / "link").symlink_to(pod)
    names = {"POD": str(pod), "PLAN": str(plan), "LINK": str(pod.parent / "link"), "NOTHING": str(pod.parent / "no")}
    assert run(*(names.get(word, word) for word in words)) == code
    assert said in capfd.readouterr().err
    assert pod.read_text() == POD


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_a_file_in_utf_16_stays_one(pod: Path, plan: Path, codec: str) -> None:
    pod.write_bytes(f"\ufeff{POD}".encode(codec))
    assert run(pod, "--plan", plan, "--write") == 0
    text = pod.read_bytes().decode(codec)
    assert text[0] == "\ufeff"
    assert [line for line in text[1:].splitlines() if line in POD.splitlines()] == POD.splitlines()
    assert "        readOnlyRootFilesystem: true\n" in text
    assert run(pod, "--plan", plan, "--write") == 0
    assert pod.read_bytes().decode(codec) == text
    assert run("--revert", pod) == 0
    assert pod.read_bytes() == f"\ufeff{POD}".encode(codec)


def test_carriage_returns_alone_are_refused(pod: Path, plan: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pod.write_bytes(POD.replace("\n", "\r").encode())
    assert run(pod, "--plan", plan) == 1
    assert "its lines end in carriage returns alone" in capfd.readouterr().err


def test_containers_of_one_name_are_numbered(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Two versions of an object stand in one file, for two environments."""
    path = tmp_path / "pods.yaml"
    path.write_text(f"{POD}---\n{POD}")
    plan = write_plan(tmp_path / "plan.json", "web")
    assert run(path, "--plan", plan) == 2
    assert "Pod/shop/web#1, Pod/shop/web#2" in capfd.readouterr().err
    assert run(path, "--plan", plan, "--container", "Pod/shop/web#2", "--write") == 0
    before, after = path.read_text().split("---\n")
    assert before == POD
    assert "readOnlyRootFilesystem: true" in after


@pytest.mark.parametrize(
    ("image", "another"),
    [
        ("docker.io/library/nginx:latest", False),
        ("nginx@sha256:12", False),
        ("${NGINX}", False),
        ("nginx:1.27", True),
        ("nginx:1.27@sha256:12", True),
        ("registry.example:5000/nginx", True),
    ],
)
def test_a_plan_for_another_image_is_told_of(
    image: str, another: bool, tmp_path: Path, plan: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is written all the same: the image may be a newer build of the same program."""
    path = tmp_path / "compose.yaml"
    path.write_text(f"services:\n  web:\n    image: {image}\n")
    assert run(path, "--plan", plan) == 0
    told = capfd.readouterr()
    note = f"note: web: the plan was made for the image nginx, the file has {image}: "
    assert (note in told.err, "read_only: true" in told.out) == (another, True)


def test_an_image_that_is_pinned_by_its_digest_is_no_other(tmp_path: Path) -> None:
    """Which tag it had nobody says."""
    image = ImageFacts(reference="nginx:1.27")
    plan = MountPlan(key=RunKey(image=image.reference), container="web")
    given = GivenPlan(plan=plan, image=image, source="plan.json")
    for text, told in (("nginx@sha256:12", 0), ("nginx:1.27@sha256:12", 0), ("other@sha256:12", 1), ("nginx", 1)):
        file = f"services:\n  web:\n    image: {text}\n".encode()
        patched = patch_file(str(tmp_path / "compose.yaml"), file, [given], PatchOptions())
        assert len(patched.notes) == told


def test_a_compose_file(tmp_path: Path, plan: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "compose.yaml"
    path.write_text("services:\n  web:\n    image: nginx\n")
    assert run(path, "--plan", plan, "--output", "-") == 0
    assert "read_only: true" in capfd.readouterr().out


def test_files_that_belong_together_are_changed_and_given_back_together(
    tmp_path: Path, plan: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The diff has each file; they are written all at once, and one word takes all of it back, newest first."""
    monkeypatch.chdir(tmp_path)
    main, included = tmp_path / "compose.yaml", tmp_path / "db" / "db.yaml"
    included.parent.mkdir()
    included.write_text("services:\n  db: {image: x}\n")
    main.write_text("include: [db/db.yaml]\nservices:\n  web: {image: nginx}\n")
    both, state = (main.read_text(), included.read_text()), ("--state-dir", str(tmp_path / "state"))
    plans = ("--plan", plan, "--container", "web", "--plan", plan, "--container", "db")
    assert run("compose.yaml", *plans, *state) == 0
    diff = capfd.readouterr().out
    assert [line[4:] for line in diff.splitlines() if line.startswith("+++ ")] == ["b/compose.yaml", "b/db/db.yaml"]
    assert run("compose.yaml", *plans, *state, "--output", "new.yaml") == 2
    assert "is for one file, and db/db.yaml would change too" in capfd.readouterr().err
    assert run("./compose.yaml", *plans, *state, "--output", "new.yaml") == 2
    assert "is for one file, and db/db.yaml would change too" in capfd.readouterr().err
    assert (main.read_text(), included.read_text()) == both
    assert run("compose.yaml", *plans, *state, "--write") == 0
    assert "compose.yaml, db/db.yaml are patched; take it back with: lithify patch --revert" in capfd.readouterr().err
    assert "read_only: true" in main.read_text()
    assert "read_only: true" in included.read_text()
    included.write_text(included.read_text() + "# mine\n")
    assert run("compose.yaml", *state, "--revert") == 3
    assert "db.yaml is not what lithify wrote" in capfd.readouterr().err
    included.write_text(included.read_text().removesuffix("# mine\n"))
    once = main.read_text()
    main.write_text(once + "  late: {image: nginx}\n")  # then patched by itself: that goes first
    assert run("compose.yaml", "--plan", plan, "--container", "late", *state, "--write") == 0
    assert run("compose.yaml", *state, "--revert") == 0
    assert (main.read_text(), "read_only" in included.read_text()) == (once + "  late: {image: nginx}\n", True)
    main.write_text(once)
    assert run("compose.yaml", *state, "--revert") == 0
    assert (main.read_text(), included.read_text()) == both


def test_a_diff_of_a_long_file_is_of_the_changed_part(tmp_path: Path) -> None:
    """`patch` makes of it what was wanted, line ends and a missing last one included."""
    lines = [b"line %d\n" % number for number in range(20_000)]
    before = b"".join(lines)
    changed = [*lines[:10_000], b"new\r\n", *lines[10_001:19_990], *lines[19_991:]]
    for after in (b"".join(changed), before[:-1], before + b"x", b"x\n" + before, before + b"\n", before[7:]):
        diff = unified_diff("f", before, after)
        assert len(diff.splitlines()) < 60
        path = tmp_path / "f"
        path.write_bytes(before)
        subprocess.run(["patch", "--silent", "--binary", path], input=diff.encode(), check=True)
        assert path.read_bytes() == after
    assert unified_diff("f", before, before) == ""


@pytest.mark.parametrize("words", [[], ["--output", "-"]])
def test_a_closed_standard_output_is_told(words: list[str], pod: Path, plan: Path) -> None:
    command = [sys.executable, "-m", "lithify.cli.main", "patch", str(pod), "--plan", str(plan), *words]
    done = subprocess.run(
        ["sh", "-c", f"exec {shlex.join(command)} >&-"], stderr=subprocess.PIPE, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "error: standard output: it is closed\nhint: name a file with --output\n" in done.stderr
