"""Image files of every kind that people have, good and broken."""

import fcntl
import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from lithify.engines.images.image import load_image
from lithify.engines.images.store import discard_partial
from lithify.errors import InvalidInput, LithifyError, NothingToExamine
from lithify.model.run import Target, TargetKind

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="unpacking gives files away, which takes root")

CONFIG = {
    "User": "app",
    "Env": ["PATH=/bin", "EMPTY=", "A=b=c"],
    "Entrypoint": ["/app", "--serve"],
    "Cmd": ["80"],
    "WorkingDir": "/srv",
    "Volumes": {"/data": {}, "/var/lib/app/": {}},
    "ExposedPorts": {"80/tcp": {}},
    "StopSignal": "SIGQUIT",
}
PASSWD = b"root:x:0:0::/root:/bin/sh\napp:x:101:102::/srv:/bin/sh\n"


def layer(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return stream.getvalue()


LAYERS = [layer({"etc/passwd": PASSWD, "old": b"old", "bin/sh": b"#!"}), layer({".wh.old": b"", "new": b"new"})]


def whole(data: bytes) -> bytes:
    return data


def zstd(data: bytes) -> bytes:
    return subprocess.run(["zstd", "-q"], input=data, stdout=subprocess.PIPE, check=True).stdout


PACKED: dict[Callable[[bytes], bytes], str] = {whole: "", gzip.compress: "+gzip", zstd: "+zstd"}


class Layout:
    """An OCI image layout under construction."""

    def __init__(self, directory: Path, pack: Callable[[bytes], bytes] = gzip.compress) -> None:
        self.directory = directory
        (directory / "blobs" / "sha256").mkdir(parents=True)
        (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        self.config = {
            "architecture": "amd64",
            "os": "linux",
            "config": CONFIG,
            "rootfs": {"type": "layers", "diff_ids": [digest(data) for data in LAYERS]},
        }
        self.layers = [self.blob(pack(data), "layer") for data in LAYERS]
        for made in self.layers:
            made["mediaType"] = f"application/vnd.oci.image.layer.v1.tar{PACKED[pack]}"

    def blob(self, data: bytes, kind: str) -> dict[str, Any]:
        (self.directory / "blobs" / "sha256" / digest(data).removeprefix("sha256:")).write_bytes(data)
        return {"mediaType": f"application/vnd.oci.image.{kind}.v1+json", "digest": digest(data), "size": len(data)}

    def manifest(self) -> dict[str, Any]:
        config = self.blob(json.dumps(self.config).encode(), "config")
        return self.blob(json.dumps({"schemaVersion": 2, "config": config, "layers": self.layers}).encode(), "manifest")

    def write(self, *manifests: dict[str, Any]) -> Path:
        index = {"schemaVersion": 2, "manifests": list(manifests or [self.manifest()])}
        (self.directory / "index.json").write_text(json.dumps(index))
        return self.directory


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def target(path: Path, **fields: Any) -> Target:
    kind = TargetKind.LAYOUT if path.is_dir() else TargetKind.ARCHIVE
    return Target(kind=kind, engine="bundle", reference=str(path), **fields)


def check(path: Path, state: Path) -> None:
    """Load an image made of LAYERS and CONFIG, and see that it is."""
    image = load_image(target(path), state)
    facts = image.facts
    assert (facts.user, facts.uid, facts.gid) == ("app", 101, 102)
    assert (facts.entrypoint, facts.command) == (("/app", "--serve"), ("80",))
    assert facts.environment == {"PATH": "/bin", "EMPTY": "", "A": "b=c"}
    assert facts.volumes == (PurePosixPath("/data"), PurePosixPath("/var/lib/app"))
    assert (facts.working_directory, facts.exposed) == (PurePosixPath("/srv"), ("80/tcp",))
    assert (facts.stop_signal, facts.has_shell) == ("SIGQUIT", True)
    assert facts.digest
    assert facts.digest.startswith("sha256:")
    assert image.unpacked
    assert sorted(os.listdir(image.rootfs)) == ["bin", "etc", "new"]


@pytest.mark.parametrize("pack", [gzip.compress, whole, zstd])
def test_a_layout(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    if pack is zstd and not shutil.which("zstd"):
        pytest.skip("needs zstd")
    check(Layout(tmp_path / "layout", pack).write(), tmp_path / "state")


def test_an_image_is_unpacked_once(tmp_path: Path) -> None:
    path = Layout(tmp_path / "layout").write()
    first = load_image(target(path), tmp_path / "state")
    (first.rootfs / "mark").touch()
    assert load_image(target(path), tmp_path / "state").rootfs == first.rootfs
    assert (first.rootfs / "mark").exists()
    assert not list((tmp_path / "state" / "images").glob("*.partial"))


def test_an_image_unpacked_in_part_is_begun_again_or_swept(tmp_path: Path) -> None:
    path, state = Layout(tmp_path / "layout").write(), tmp_path / "state"
    rootfs = load_image(target(path), state).rootfs
    partial = rootfs.with_name(f".{rootfs.name}.partial")
    rootfs.rename(partial)
    (partial / "left").touch()
    assert not (load_image(target(path), state).rootfs / "left").exists()
    partial.mkdir()
    with open(partial.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert list(discard_partial(state)) == []
    assert len(list(discard_partial(state))) == 1
    assert not partial.exists()
    assert rootfs.exists()


@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive"])
@pytest.mark.parametrize("compressed", [False, True])
def test_an_archive_made_by_skopeo(tmp_path: Path, kind: str, compressed: bool) -> None:
    if not shutil.which("skopeo"):
        pytest.skip("needs skopeo")
    layout = Layout(tmp_path / "layout").write()
    file = tmp_path / "image.tar"
    command = ["skopeo", "copy", "--quiet", "--insecure-policy", f"oci:{layout}", f"{kind}:{file}:test/image:1"]
    subprocess.run(command, check=True, timeout=60)
    if compressed:
        file.write_bytes(gzip.compress(file.read_bytes()))
    check(file, tmp_path / "state")


def test_an_archive_of_old_docker_with_linked_layers(tmp_path: Path) -> None:
    """Docker before 25 wrote ID/layer.tar, and a link to it where two images share a layer."""
    config = json.dumps(Layout(tmp_path / "layout").config).encode()
    manifest = [{"Config": "abc.json", "RepoTags": ["test:1"], "Layers": ["one/layer.tar", "two/layer.tar"]}]
    file = tmp_path / "saved.tar"
    with tarfile.open(file, "w") as archive:
        for name, data in (("shared/layer.tar", LAYERS[0]), ("two/layer.tar", LAYERS[1]), ("abc.json", config),
                           ("manifest.json", json.dumps(manifest).encode())):  # fmt: skip
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        member = tarfile.TarInfo("one/layer.tar")
        member.type, member.linkname = tarfile.SYMTYPE, "../shared/layer.tar"
        archive.addfile(member)
    check(file, tmp_path / "state")


def test_the_image_for_this_platform_is_taken(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    mine = {**layout.manifest(), "platform": {"os": "linux", "architecture": "amd64"}}
    other = {**layout.blob(b"{}", "manifest"), "platform": {"os": "linux", "architecture": "s390x"}}
    attestation = {**layout.blob(b"[]", "manifest"), "platform": {"os": "unknown", "architecture": "unknown"}}
    inner = layout.blob(json.dumps({"manifests": [other, mine, attestation]}).encode(), "index")
    check(layout.write(inner), tmp_path / "state")


def test_a_text_is_no_archive_and_what_makes_one_is_told(tmp_path: Path) -> None:
    text = tmp_path / "readme.txt"
    text.write_text("hi there\n")
    with pytest.raises(InvalidInput, match=r"readme.txt is no tar archive") as caught:
        load_image(target(text), tmp_path / "state")
    assert "docker save" in caught.value.hint


def test_what_the_user_says_counts(tmp_path: Path) -> None:
    path = Layout(tmp_path / "layout").write()
    facts = load_image(target(path, command=("81",), environment={"A": "x"}, user="0:7"), tmp_path / "state").facts
    assert (facts.entrypoint, facts.command) == (("/app", "--serve"), ("81",))
    assert (facts.environment["A"], facts.uid, facts.gid) == ("x", 0, 7)
    facts = load_image(target(path, entrypoint=("/bin/sh",)), tmp_path / "state").facts
    assert (facts.entrypoint, facts.command) == (("/bin/sh",), ())
    with pytest.raises(InvalidInput, match="no user nobody-here"):
        load_image(target(path, user="nobody-here"), tmp_path / "state")


def broken(make: Callable[[Layout], object]) -> Callable[[Path], Path]:
    def build(directory: Path) -> Path:
        layout = Layout(directory)
        made = make(layout)
        return made if isinstance(made, Path) else layout.write()

    return build


def _swap_layer(layout: Layout) -> None:
    (layout.directory / "blobs/sha256" / layout.layers[1]["digest"][7:]).write_bytes(gzip.compress(LAYERS[0]))


def _swap_manifest(layout: Layout) -> Path:
    manifest = layout.manifest()
    (layout.directory / "blobs/sha256" / manifest["digest"][7:]).write_bytes(b"{}")
    return layout.write(manifest)


def _escape(layout: Layout) -> Path:
    return layout.write({"digest": "sha256:../../../../etc/passwd"})


def _two(layout: Layout) -> Path:
    first = {**layout.manifest(), "annotations": {"org.opencontainers.image.ref.name": "a\x1b[31m"}}
    layout.config["author"] = "another"
    return layout.write(first, layout.manifest())


BROKEN = {
    "a-layer-of-another-image": broken(_swap_layer),
    "a-manifest-of-another-image": broken(_swap_manifest),
    "a-digest-that-climbs": broken(_escape),
    "two-images": broken(_two),
    "no-image": broken(lambda layout: (layout.directory / "index.json").write_text("{}") and layout.directory),
    "no-json": broken(lambda layout: (layout.directory / "index.json").write_text("{") and layout.directory),
    "deep-json": broken(lambda layout: (layout.directory / "index.json").write_text("[" * 10**6) and layout.directory),
    "a-truncated-layer": broken(
        lambda layout: os.truncate(layout.directory / "blobs/sha256" / layout.layers[0]["digest"][7:], 50)
    ),
    "fewer-digests": broken(lambda layout: layout.config["rootfs"].pop("diff_ids")),  # type: ignore[attr-defined]
    "a-relative-volume": broken(lambda layout: layout.config.update(config={"Volumes": {"../x": {}}})),
    "another-platform": broken(
        lambda layout: layout.write({**layout.manifest(), "platform": {"os": "linux", "architecture": "z80"}})
    ),
}


@pytest.mark.parametrize("make", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_image_is_one_clear_error(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    path = make(tmp_path / "layout")
    with pytest.raises(InvalidInput) as caught:
        load_image(target(path), tmp_path / "state")
    assert str(caught.value).isprintable()
    images = tmp_path / "state" / "images"
    assert [name for name in os.listdir(images) if not name.endswith(".lock")] == [] if images.exists() else True


@pytest.mark.parametrize("data", [b"", b"nothing", gzip.compress(b"nothing"), b"\x1f\x8bnothing", b"x" * 2000])
def test_a_file_that_is_no_image(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(data)
    with pytest.raises(InvalidInput):
        load_image(target(file), tmp_path / "state")


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(NothingToExamine):
        load_image(target(tmp_path / "none"), tmp_path / "state")
    with pytest.raises(LithifyError):
        load_image(Target(kind=TargetKind.LAYOUT, engine="bundle", reference=str(tmp_path)), tmp_path / "state")
