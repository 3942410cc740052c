"""What lithify keeps for the next run, and what it gives up."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lithify.engines.bundle.render import give_up_bundles, render_bundle
from lithify.engines.bundle.state import write_record
from lithify.engines.images.image import LoadedImage
from lithify.engines.images.store import give_up, stored
from lithify.model.image import ImageFacts
from lithify.model.mount import MountPlan
from lithify.model.writes import RunKey

_MAKE = """
import sys
from pathlib import Path
from lithify.engines.images.store import stored

def make(directory):
    (directory / "file").write_bytes(b"x" * 8192)
    return ["a note"]

for name in sys.argv[2:]:
    stored(Path(sys.argv[1]), name, make)
print("made", flush=True)
sys.stdin.read()
"""


def make_elsewhere(state: Path, *names: str, stay: bool = False) -> "subprocess.Popen[bytes]":
    """Make root filesystems in another process, which goes on using them while it is there."""
    process = subprocess.Popen(
        [sys.executable, "-c", _MAKE, state, *names], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"made\n"
    if not stay:
        process.communicate(timeout=10)
    return process


def kept(state: Path) -> set[str]:
    return {path.name for path in (state / "images").iterdir() if not path.name.startswith(".")}


def test_the_one_used_longest_ago_goes_first(tmp_path: Path) -> None:
    for name in ("first", "second", "third"):
        make_elsewhere(tmp_path, name)
        time.sleep(0.02)
    make_elsewhere(tmp_path, "first")  # used again
    give_up(tmp_path, images=2)
    assert kept(tmp_path) == {"first", "third"}
    give_up(tmp_path, size=12000)
    assert kept(tmp_path) == {"first"}
    give_up(tmp_path, size=0)
    assert kept(tmp_path) == {"first"}, "the last one is not worth making again"


def test_one_in_use_stays(tmp_path: Path) -> None:
    user = make_elsewhere(tmp_path, "held", stay=True)
    make_elsewhere(tmp_path, "by-a-kept-container", "later", "latest")
    container = tmp_path / "runs/1-2-3/containers/kept"
    container.mkdir(parents=True)
    write_record(container / "container.json", {"image": str(tmp_path / "images/by-a-kept-container")})
    give_up(tmp_path, images=1)
    assert kept(tmp_path) == {"held", "by-a-kept-container", "latest"}
    user.communicate(timeout=10)
    give_up(tmp_path, images=1)
    assert kept(tmp_path) == {"by-a-kept-container", "latest"}


def test_what_was_noted_is_told_again(tmp_path: Path) -> None:
    make_elsewhere(tmp_path, "one")
    directory, notes = stored(tmp_path, "one", lambda _: pytest.fail("it is there"))
    assert notes == ("a note",)
    assert (directory / "file").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="writing a bundle gives files to others, which takes root")
def test_bundles_that_nobody_wrote_to_are_given_up(tmp_path: Path) -> None:
    rootfs = tmp_path / "rootfs"
    rootfs.mkdir()
    facts = ImageFacts(reference="test", command=("true",), volumes=())
    image = LoadedImage(facts=facts, rootfs=rootfs)
    plan = MountPlan(key=RunKey(image="test"), container="test")
    bundles = [tmp_path / "bundles" / name for name in ("used", "old", "older", "new")]
    for bundle in bundles:
        render_bundle(image, plan, bundle)
        time.sleep(0.02)
    (bundles[0] / "files/0").write_text("somebody's data")
    render_bundle(image, plan, bundles[1])  # asked for again
    give_up_bundles(tmp_path / "bundles", kept=2)
    assert {path.name for path in (tmp_path / "bundles").iterdir()} == {"used", "old", "new"}
