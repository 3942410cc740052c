"""What every start writes the same, put into a copy of the image and proved: with real containers."""

import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from tests.runtime.hardening import Images, Lithify

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

SETTLES = """
if [ ! -e /etc/app/app.conf ]; then
    mkdir -p /etc/app/conf.d
    echo "listen 80" >/etc/app/app.conf
    ln -s ../app.conf /etc/app/conf.d/on || exit 3
    chown -R 33:33 /etc/app || exit 4
fi
[ ! -e /etc/app-default ] || rm /etc/app-default || exit 5
grep -q "listen 80" /etc/app/conf.d/on || exit 6
trap 'exit 0' TERM
sleep 1000 & wait
"""
"""Writes its configuration if it is not there yet, and takes away what the package brought."""
REWRITES = """
echo "listen 80" >/etc/app.conf || exit 3
trap 'exit 0' TERM
sleep 1000 & wait
"""
REWRITES_REFUSED = """
sed -i "s/listen .*/listen 80/" /etc/app/app.conf || exit 3
trap 'exit 0' TERM
sleep 1000 & wait
"""
"""Puts a new file in the place of one, as `postconf -e` does."""
RANDOM = """
[ -e /etc/app.key ] || head -c 16 /dev/urandom >/etc/app.key || exit 3
trap 'exit 0' TERM
sleep 1000 & wait
"""
CHECK = ("--check", "sleep 0.7; kill -0 $LITHIFY_PID")
"""It is still there once it had the time to write what it writes."""


def paths(found: dict[str, object]) -> set[str]:
    plan = found["plan"]
    assert isinstance(plan, dict)
    return {mount["path"] for mount in plan["mounts"]}


def test_what_every_start_writes_the_same_needs_no_place(lithify: Lithify, images: Images, tmp_path: Path) -> None:
    image = images.make(SETTLES, {"etc/app-default": "default\n"})
    done = lithify.run("harden", image, *CHECK, "--bake", tmp_path / "bake", "--format", "json", "--", "app")
    assert done.code == 0, done.err + done.out
    found = done.json()
    assert paths(found) == set()
    baked = found["baked"]
    assert baked["removed"] == ["/etc/app-default"]
    assert baked["dockerfile"] == (tmp_path / "bake/Dockerfile").read_text().splitlines()
    assert 'RUN ["rm", "-rf", "--", "/etc/app-default"]' in baked["dockerfile"]
    with tarfile.open(tmp_path / "bake/baked.tar") as archive:
        members = {member.name: member for member in archive}
    assert members["etc/app/app.conf"].uid == 33
    assert members["etc/app/conf.d/on"].linkname == "../app.conf"
    assert (image / "etc/app-default").exists(), "the user's own image stays as it is"
    assert not (image / "etc/app").exists()
    bundle = Path(found["command"][found["command"].index("--bundle") + 1])
    assert (bundle / "rootfs/etc/app/app.conf").exists()


@pytest.mark.parametrize("program", [REWRITES, RANDOM], ids=["rewritten all the same", "never the same"])
def test_what_can_not_be_baked_in_keeps_its_place(
    lithify: Lithify, images: Images, tmp_path: Path, program: str
) -> None:
    image = images.make(program, {"etc/app.conf": "listen 8080\n", "etc/app.key": ""} if program is REWRITES else {})
    baked = lithify.run("harden", image, *CHECK, "--bake", tmp_path / "bake", "--format", "json", "--", "app")
    plain = lithify.run("harden", image, *CHECK, "--format", "json", "--", "app")
    assert baked.code == plain.code
    assert baked.json()["baked"] is None
    assert paths(baked.json()) == paths(plain.json())
    assert not (tmp_path / "bake").exists()


def test_what_is_rewritten_as_the_image_has_it_is_not_to_be_baked(lithify: Lithify, images: Images) -> None:
    """Nor is it where the place is refused, for its directory holds programs: the bytes are there already."""
    files = {"etc/app/app.conf": "listen 80\n", "etc/app/hook": "#!/bin/sh\n"}
    image = images.make(REWRITES_REFUSED, files)
    (image / "etc/app/hook").chmod(0o755)
    done = lithify.run("harden", image, *CHECK, "--format", "json", "--", "app")
    assert done.code == 1, done.err + done.out
    (refusal,) = done.json()["plan"]["refusals"]
    assert refusal["path"] in ("/etc/app", "/etc/app/app.conf")
    assert "--bake" not in refusal["remedy"]
    assert refusal["remedy"].startswith("leave out of the start what rewrites app.conf")


def test_nothing_of_the_users_is_overwritten(lithify: Lithify, images: Images, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    done = lithify.run("harden", images.make(SETTLES), "--bake", tmp_path, "--", "no-such-program")
    assert done.code == 2
    assert "--bake" in done.error()[0]
    assert (tmp_path / "mine").read_text() == "mine"


def ask(engine: str, *words: str) -> list[str]:
    return subprocess.run([engine, *words], capture_output=True, check=True, text=True, timeout=60).stdout.split()


def made_of(engine: str, base: str, images: list[str]) -> set[str]:
    """Return which of `images` are `base` or made of it."""
    (layer,) = json.loads(" ".join(ask(engine, "image", "inspect", base)))[0]["RootFS"]["Layers"]
    known = subprocess.run([engine, "image", "inspect", *images], capture_output=True, check=False, timeout=60).stdout
    return {one["Id"] for one in json.loads(known) if layer in one["RootFS"]["Layers"]}


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_an_engine_builds_the_copy_and_forgets_it(
    engine: str, lithify: Lithify, images: Images, tmp_path: Path
) -> None:
    if not shutil.which(engine) or subprocess.run([engine, "info"], capture_output=True, check=False).returncode:
        pytest.skip(f"needs a {engine} that works")
    name = f"localhost/lithify-test-bake:{os.getpid()}"
    with subprocess.Popen(["tar", "-C", images.make(SETTLES, {"etc/app-default": ""}), "-c", "."],
                          stdout=subprocess.PIPE) as tar:  # fmt: skip
        subprocess.run([engine, "import", "-", name], stdin=tar.stdout, check=True, capture_output=True, timeout=120)
    limits = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
    base = ("podman", "--runtime", "runc", "--cgroup-manager", "cgroupfs") if engine == "podman" else ("docker",)
    try:
        line = (*base, "run", *(limits if engine == "podman" else ()), name, "app")
        done = lithify.run("harden", *CHECK, "--bake", tmp_path / "bake", "--format", "json", "--", *line)
        assert done.code == 0, done.err + done.out
        found = done.json()
        assert paths(found) == set()
        assert found["baked"]["dockerfile"][0] == f"FROM {name}"
        assert name in found["command"]
        (base_id,) = made_of(engine, name, [name])
        assert made_of(engine, name, ask(engine, "images", "--all", "--quiet", "--no-trunc")) == {base_id}
    finally:
        subprocess.run([engine, "rmi", "--force", name], check=True, capture_output=True, timeout=60)
