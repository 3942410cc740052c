"""`lithify harden` of Kubernetes manifests without a cluster: patched, proved from the patched file, and what fails."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
import yaml
from tests.runtime.hardening import Daemon, Done, Images, Lithify, until

from lithify.model.group import GroupHardening, Member
from lithify.report.wire import parse, schema

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the bundle engine needs root")

JSON = ("--format", "json")
STAY = "trap 'exit 0' TERM; while :; do sleep 0.1; done"


def group(done: Done) -> GroupHardening:
    """Return the result, whose JSON holds to its own schema."""
    assert done.code in (0, 1), done.err
    jsonschema.Draft202012Validator(schema(GroupHardening)).validate(done.json())
    return parse(done.out.encode(), GroupHardening, source="stdout")


def members(result: GroupHardening) -> dict[str, Member]:
    return {member.name: member for member in result.members}


def trouble(result: GroupHardening) -> list[str]:
    """Name every check that failed, and what was refused."""
    found = [f"{refused.container}: {refused.reason}" for refused in result.refused]
    for member in result.members:
        found += [member.trouble] if member.trouble else []
        for verdict in (member.hardening and member.hardening.verdict, member.together):
            for check in verdict.checks if verdict else ():
                found += [] if check.passed else [f"{member.name}: {check.name}: {check.summary}"]
    return found


def places(member: Member) -> dict[str, str]:
    assert member.hardening is not None
    return {str(mount.path): mount.storage.value for mount in member.hardening.plan.mounts}


def script(text: str) -> str:
    """Return a command of a manifest that runs `text`."""
    return json.dumps(["sh", "-c", text])


def manifest(file: Path, text: str) -> Path:
    file.write_text(text)
    return file


WEB = """\
# the shop's front
apiVersion: v1
kind: ConfigMap
metadata: {name: pages}
data:
  index.html: "hello\\n"
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}   # keep this
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: nginx
        image: "nginx:1.22"
        command: [nginx, -g, daemon off;]
        ports: [{name: http, containerPort: 80}]
        readinessProbe: {httpGet: {path: /pages/index.html, port: http}}
        volumeMounts:
        - {name: pages, mountPath: /var/www/html/pages}
      volumes:
      - name: pages
        configMap: {name: pages}
"""


def test_nginx_in_a_deployment(lithify: Lithify, nginx_rootfs: Path, tmp_path: Path) -> None:
    """Dies of the flag alone; the patched file runs as it stands, and hardening it again changes nothing."""
    file = manifest(tmp_path / "deploy.yaml", WEB)
    image = ("--image", f"nginx:1.22={nginx_rootfs}")
    result = group(lithify.run("harden", file, *image, *JSON))
    assert trouble(result) == []
    assert result.proved
    (nginx,) = result.members
    assert nginx.hardening is not None
    assert not nginx.hardening.flag_alone_works
    assert nginx.hardening.rounds[-1].works
    assert nginx.together is not None
    assert any(check.name.startswith("readiness-probe") for check in nginx.together.works)
    assert any("no kubelet" in text for text in nginx.together.cannot_show)
    assert file.read_text() == WEB, "without --write the file is left alone"
    before, after = yaml.safe_load_all(WEB), list(yaml.safe_load_all(result.text))
    assert after[0] == next(before)
    (container,) = after[1]["spec"]["template"]["spec"]["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert result.text.startswith("# the shop's front\n")
    assert "metadata: {name: web}   # keep this\n" in result.text
    assert {line for line in result.diff.splitlines() if line.startswith("-") and line[1:2] != "-"} == set()

    file.write_text(result.text)
    again = group(lithify.run("harden", file, *image, *JSON))
    assert trouble(again) == []
    assert (again.diff, again.text) == ("", result.text)
    assert all(member.hardening and member.hardening.flag_alone_works for member in again.members)


def test_an_init_container_a_sidecar_and_another_user(lithify: Lithify, images: Images, tmp_path: Path) -> None:
    """All three are hardened, each beside the others as planned, and share an emptyDir as before."""
    image = images.make(files={"var/cache/app": None, "var/cache/app/index/base": "1\n"})
    os.chown(image / "var/cache/app/index", 1000, 1000)
    os.chown(image / "var/cache/app", 1000, 1000)
    text = f"""\
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: store}}
spec:
  serviceName: store
  template:
    spec:
      securityContext: {{runAsUser: 1000, runAsGroup: 3000, fsGroup: 2000, runAsNonRoot: true}}
      initContainers:
      - name: prepare
        image: app
        command: {script("echo work > /var/tmp/half && cp /var/tmp/half /shared/seed")}
        volumeMounts: [{{name: shared, mountPath: /shared}}]
      - name: helper
        image: app
        restartPolicy: Always
        command: {script(f"mkdir -p /tmp/helper || exit 1; echo up > /shared/beat; {STAY}")}
        startupProbe: {{exec: {{command: [test, -s, /shared/beat]}}}}
        volumeMounts: [{{name: shared, mountPath: /shared}}]
      containers:
      - name: app
        image: app
        command: {
        script(
            "grep work /shared/seed && grep up /shared/beat || exit 1; "
            f"grep 1 /var/cache/app/index/base && date > /var/cache/app/index/new || exit 1; {STAY}"
        )
    }
        readinessProbe: {{exec: {{command: [test, -s, /var/cache/app/index/new]}}}}
        volumeMounts: [{{name: shared, mountPath: /shared}}, {{name: data, mountPath: /data}}]
      volumes: [{{name: shared, emptyDir: {{}}}}]
  volumeClaimTemplates: [{{metadata: {{name: data}}, spec: {{accessModes: [ReadWriteOnce]}}}}]
"""
    file = manifest(tmp_path / "store.yaml", text)
    result = group(lithify.run("harden", file, "--image", f"app={image}", *JSON))
    assert trouble(result) == []
    assert result.proved
    found = members(result)
    assert list(found) == ["prepare", "helper", "app"]
    assert set(places(found["prepare"])) == {"/var/tmp"}
    assert {path.split("/")[1] for path in places(found["helper"])} == {"tmp"}
    assert all(path.startswith("/var/cache/app") for path in places(found["app"]))
    assert all(member.together is not None for member in result.members)


def test_a_job_beside_a_deployment_in_one_file(lithify: Lithify, images: Images, tmp_path: Path) -> None:
    """Containers of the same name are told apart by their objects; one of them can be chosen."""
    image = images.make()
    container = "[{{name: app, image: app, command: {}}}]"
    job = container.format(script("mkdir -p /run/job; date > /run/job/stamp && cat /run/job/stamp"))
    stay = container.format(script(f"date > /run/app.pid || exit 1; {STAY}"))
    file = manifest(
        tmp_path / "all.yaml",
        f"""\
apiVersion: v1
kind: List
items:
- apiVersion: batch/v1
  kind: CronJob
  metadata: {{name: nightly}}
  spec: {{jobTemplate: {{spec: {{template: {{spec: {{restartPolicy: Never, containers: {job}}}}}}}}}}}
- apiVersion: v1
  kind: Pod
  metadata: {{name: web}}
  spec:
    containers: {stay}
""",
    )
    done = lithify.run("harden", file, "--image", f"app={image}", *JSON)
    result = group(done)
    assert trouble(result) == []
    found = members(result)
    assert list(found) == ["CronJob/nightly/app", "Pod/web/app"]
    job_member = found["CronJob/nightly/app"]
    assert job_member.hardening is not None
    assert job_member.hardening.original.finished
    one = group(lithify.run("harden", file, "--image", f"app={image}", "--container", "Pod/web/app", *JSON))
    assert list(members(one)) == ["Pod/web/app"]
    assert yaml.safe_load(one.text)["items"][0] == yaml.safe_load(file.read_text())["items"][0]
    none = lithify.run("harden", file, "--image", f"app={image}", "--container", "db")
    told, hint = none.error()
    assert (none.code, "has no db" in told, "Pod/web/app" in hint) == (2, True, True)


def test_a_pid_file_that_is_in_the_way(lithify: Lithify, images: Images, tmp_path: Path) -> None:
    """An emptyDir keeps it over a kill, where the container's own layer went: the file gets a start that removes it."""
    program = "test ! -e /run/app.pid || { echo runs already >&2; exit 1; }; echo $$ > /run/app.pid || exit 1; " + STAY
    image = images.make(program)
    file = manifest(
        tmp_path / "pod.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n"
        "  - {name: app, image: app, command: [/usr/local/bin/app]}\n",
    )
    result = group(lithify.run("harden", file, "--image", f"app={image}", *JSON))
    assert trouble(result) == []
    (container,) = yaml.safe_load(result.text)["spec"]["containers"]
    assert container["command"][:2] == ["sh", "-c"]
    assert container["command"][-1] == "/usr/local/bin/app"


PROBE = """\
apiVersion: v1
kind: Pod
metadata: {name: probe}
spec:
  containers:
  - name: app
    image: probe:1
    command: [/probe, serve, "8080", /state/data]
    readinessProbe: {tcpSocket: {port: 8080}}
"""


def test_an_image_without_a_shell(lithify: Lithify, static_rootfs: Path, lean_rootfs: Path, tmp_path: Path) -> None:
    """What the image has in a place comes back by another image's shell, as the run of the patched file shows."""
    root = tmp_path / "root"
    (root / "state").mkdir(parents=True)
    (root / "state" / "data").write_text("seed")
    (root / "probe").write_bytes((static_rootfs / "probe").read_bytes())
    (root / "probe").chmod(0o755)
    file = manifest(tmp_path / "probe.yaml", PROBE)
    decided = ("--image", f"probe:1={root}", "--state", "/state=ephemeral")
    copier = ("--image", f"tools:1={lean_rootfs}", "--copier", "tools:1", "--kubernetes-version", "1.36")
    result = group(lithify.run("harden", file, *decided, *copier, *JSON))
    assert trouble(result) == []
    assert list(places(result.members[0])) == ["/state"]
    spec = yaml.safe_load(result.text)["spec"]
    assert [volume["image"]["reference"] for volume in spec["volumes"] if "image" in volume] == ["probe:1"]
    assert [container["image"] for container in spec["initContainers"]] == ["tools:1"]

    without = group(lithify.run("harden", file, *decided, *JSON))
    (refused,) = without.refused
    assert (refused.container, "the image has no shell" in refused.reason) == ("app", True)
    assert "--copier" in refused.remedy
    assert not without.proved
    assert without.diff == ""
    (hardening,) = [member.hardening for member in without.members if member.hardening is not None]
    assert "the image has no shell" in hardening.rounds[0].found[0]


def test_a_member_that_is_broken_does_not_hide_the_other(lithify: Lithify, images: Images, tmp_path: Path) -> None:
    image = images.make()
    file = manifest(
        tmp_path / "two.yaml",
        f"""\
apiVersion: v1
kind: Pod
metadata: {{name: two}}
spec:
  containers:
  - {{name: good, image: app, command: {script(f"date > /run/x || exit 1; {STAY}")}}}
  - {{name: bad, image: app, command: {script("echo no licence >&2; exit 3")}}}
""",
    )
    done = lithify.run("harden", file, "--image", f"app={image}")
    assert done.code == 1
    assert "good: proved" in done.out
    assert "bad: does not work as it is" in done.out
    assert "ends with exit code 3 even with a writable root: no licence" in " ".join(done.out.split())
    assert "NOT PROVED" in done.out


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (f"command: {script('exit 4')}", "ends with exit code 4 even with a writable root"),
        (
            f"command: {script(STAY)}\n    readinessProbe: {{exec: {{command: [test, -e, /never]}}}}",
            "fails its readiness-probe even with a writable root",
        ),
        ("command: [/no/such/program]", "can't be started"),
        (f"command: {script(STAY)}\n    securityContext: {{runAsNonRoot: true}}", "would run as root"),
    ],
)
def test_what_does_not_work_as_it_is(lithify: Lithify, images: Images, tmp_path: Path, fields: str, told: str) -> None:
    head = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - name: app\n    image: app\n    "
    file = manifest(tmp_path / "pod.yaml", f"{head}{fields}\n")
    done = lithify.run("harden", file, "--image", f"app={images.make()}")
    message, hint = done.error()
    assert done.code == 3
    assert told in message
    assert hint
    assert file.read_text() == f"{head}{fields}\n"


def test_a_folder_of_manifests_is_no_root_filesystem(lithify: Lithify, tmp_path: Path) -> None:
    (tmp_path / "k8s").mkdir()
    manifest(tmp_path / "k8s" / "deploy.yaml", WEB)
    done = lithify.run("harden", tmp_path / "k8s")
    told, hint = done.error()
    assert (done.code, "neither a chart nor a kustomization" in told, "deploy.yaml" in hint) == (2, True, True)


def test_a_config_map_that_is_elsewhere(lithify: Lithify, images: Images, tmp_path: Path) -> None:
    text = f"""\
apiVersion: v1
kind: Pod
metadata: {{name: p}}
spec:
  containers:
  - name: app
    image: app
    command: {script(f'test "$MODE" = fast || exit 1; {STAY}')}
    envFrom: [{{configMapRef: {{name: settings}}}}]
"""
    file = manifest(tmp_path / "pod.yaml", text)
    image = ("--image", f"app={images.make()}")
    done = lithify.run("harden", file, *image)
    message, hint = done.error()
    assert done.code == 2
    assert "Pod/p" in message
    assert "refers to the config map settings, which is not in the file" in message
    assert "--with FILE" in hint
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "settings.yaml").write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {MODE: fast}\n"
    )
    found = group(lithify.run("harden", file, *image, "--with", tmp_path / "more", *JSON))
    assert trouble(found) == []


@pytest.fixture
def docker(own_docker: Daemon, lithify: Lithify, lean_rootfs: Path) -> Iterator[Daemon]:
    """A Docker of the tests' own with an image `small:1`; what is in it is counted before and after."""
    with subprocess.Popen(["tar", "-C", lean_rootfs, "-c", "."], stdout=subprocess.PIPE) as archive:
        own_docker.ask_with(archive.stdout, "import", "-", "small:1")
    lithify.environment, lithify.enter = {"DOCKER_HOST": own_docker.host}, own_docker.enter
    before = own_docker.everything()
    yield own_docker
    assert own_docker.everything() == before


ON_DOCKER = f"""\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: two}}
spec:
  template:
    spec:
      securityContext: {{runAsUser: 1000, fsGroup: 2000}}
      containers:
      - name: app
        image: small:1
        command: {script(f"until test -s /shared/beat; do sleep 0.1; done; date > /var/tmp/x || exit 1; {STAY}")}
        readinessProbe: {{exec: {{command: [test, -s, /var/tmp/x]}}}}
        volumeMounts: [{{name: shared, mountPath: /shared}}]
      - name: beat
        image: small:1
        command: {script(f"date > /shared/beat; {STAY}")}
        volumeMounts: [{{name: shared, mountPath: /shared}}]
      volumes: [{{name: shared, emptyDir: {{medium: Memory, sizeLimit: 1Mi}}}}]
"""


def test_on_docker(docker: Daemon, lithify: Lithify, tmp_path: Path) -> None:
    file = manifest(tmp_path / "two.yaml", ON_DOCKER)
    result = group(lithify.run("harden", file, "--container", "app", *JSON))
    assert trouble(result) == []
    assert result.engine == "pod on docker"
    assert list(places(result.members[0])) == ["/var/tmp"]
    (container, other) = yaml.safe_load(result.text)["spec"]["template"]["spec"]["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert other == yaml.safe_load(ON_DOCKER)["spec"]["template"]["spec"]["containers"][1]


def test_ctrl_c_on_docker_leaves_nothing(docker: Daemon, lithify: Lithify, tmp_path: Path) -> None:
    file = manifest(tmp_path / "two.yaml", ON_DOCKER)
    terminal = lithify.terminal("harden", file, "--container", "app", "--for", "30s")
    terminal.until("learning")
    until(lambda: docker.ask("ps", "--quiet").count("\n") == 2, 30)
    terminal.press_ctrl_c()
    assert terminal.end().code == 130


SLOW = """\
apiVersion: v1
kind: Pod
metadata: {{name: p}}
spec:
  containers:
  - {{name: app, image: app, command: {0}, volumeMounts: [{{name: m, mountPath: /m}}]}}
  - {{name: other, image: app, command: {0}}}
  volumes: [{{name: m, emptyDir: {{medium: Memory}}}}]
"""


def test_ctrl_c_leaves_nothing(lithify: Lithify, images: Images, tmp_path: Path) -> None:
    file = manifest(tmp_path / "pod.yaml", SLOW.format(script(STAY)))
    terminal = lithify.terminal("harden", file, "--image", f"app={images.make()}", "--for", "30s")
    terminal.until("learning")
    until(lambda: len(lithify.containers()) == 3)
    terminal.press_ctrl_c()
    done = terminal.end()
    assert done.code == 130
    assert "what was started has been removed" in done.err
    assert lithify.left() == []


def test_what_a_killed_run_left_is_swept_by_the_next(lithify: Lithify, images: Images, tmp_path: Path) -> None:
    file = manifest(tmp_path / "pod.yaml", SLOW.format(script(STAY)))
    image = ("--image", f"app={images.make()}")
    terminal = lithify.terminal("harden", file, *image, "--for", "30s")
    terminal.until("learning")
    until(lambda: len(lithify.containers()) == 3)
    terminal.kill(signal.SIGKILL)
    terminal.end()
    assert lithify.left()
    result = group(lithify.run("harden", file, *image, "--container", "app", *JSON))
    assert trouble(result) == []
    assert lithify.left() == []
