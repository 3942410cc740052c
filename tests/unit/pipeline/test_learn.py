"""What a write set is called, and so the volumes of its plan."""

import pytest

from lithify.model.run import Target, TargetKind
from lithify.pipeline.group_options import GroupOptions
from lithify.pipeline.learn import base_name
from lithify.pipeline.lines import open_script


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
