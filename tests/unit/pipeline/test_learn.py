"""What a write set is called, and so the volumes of its plan; which process is in no container."""

import codecs
import os
import subprocess
from collections.abc import Iterator

import pytest

from lithify.engines.attached import ProcessContainer
from lithify.errors import LithifyError, NothingToExamine, NotPermitted
from lithify.model.run import Target, TargetKind
from lithify.pipeline.groups.lines import open_script
from lithify.pipeline.groups.options import GroupOptions
from lithify.pipeline.learn import base_name, learn_process


@pytest.mark.parametrize(
    ("kind", "reference", "name"),
    [
        (TargetKind.LINE, "podman --runtime runc run -d --ulimit nofile=9:9 localhost/shop/web:1", "web"),
        (TargetKind.LINE, "docker run --name the-web -v /srv/data:/data web:1 serve", "the-web"),
        (TargetKind.IMAGE, "registry.example:5000/shop/web@sha256:12", "web"),
        (TargetKind.ARCHIVE, "/srv/web.tar", "web"),
        (TargetKind.ROOTFS, "/", "container"),
    ],
)
def test_a_target_has_a_short_name(kind: TargetKind, reference: str, name: str) -> None:
    line = tuple(reference.split()) if kind is TargetKind.LINE else ()
    assert base_name(Target(kind=kind, engine="docker", reference=reference, line=line)) == name


def test_lines_of_one_image_have_names_of_their_own() -> None:
    """Their volumes are called after them."""
    text = b"docker run -p 1:80 shop/web\ndocker run -p 2:80 shop/web\ndocker run --name db redis\n"
    group = open_script("run.sh", text, GroupOptions())
    names = [base_name(group.engine_for(member, {})[1]) for member in group.members]
    assert names == ["web", "line 2", "db"]


@pytest.fixture
def neighbour() -> Iterator[ProcessContainer]:
    """A process of this machine's own."""
    with subprocess.Popen(["sleep", "1000"]) as running:
        yield ProcessContainer(running.pid, str(running.pid))
        running.kill()


def _learn_of(container: ProcessContainer) -> LithifyError:
    target = Target(kind=TargetKind.CONTAINER, engine="bundle", reference=container.name)
    with pytest.raises(LithifyError) as caught:
        learn_process("bundle", container, target, 0, lambda _: None, live=False)
    return caught.value


def test_a_process_in_no_container_is_told_as_such(neighbour: ProcessContainer) -> None:
    """It exists, and what it writes is no container's; once it is gone, that is said."""
    told = _learn_of(neighbour)
    assert isinstance(told, NothingToExamine)
    assert str(told).startswith(f"process {neighbour.name} is in no container")
    os.kill(int(neighbour.name), 9)
    os.waitpid(int(neighbour.name), 0)
    assert str(_learn_of(neighbour)) == f"no process {neighbour.name}"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has processes that another user may not look at")
def test_a_process_that_we_may_not_look_at_is_no_missing_one(neighbour: ProcessContainer) -> None:
    """Whoever is not root sees that it is there, and no more."""
    codecs.lookup("ascii")  # whose module another user may not be let to load
    os.seteuid(65534)
    try:
        told = _learn_of(neighbour)
    finally:
        os.seteuid(0)
    assert isinstance(told, NotPermitted)
    assert str(told) == f"process {neighbour.name} may not be looked at"
