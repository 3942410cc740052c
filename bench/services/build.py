"""Builds the services' images: `python -m bench.services.build [--engine docker,podman] [NAME...]`.

Each becomes an OCI image layout and a root filesystem directory below the cache, and on request an image of Docker or
Podman. All share one Debian base layer. What is built stays, until the folder it was built from changes.
"""

import argparse
import fcntl
import hashlib
import io
import json
import os
import shutil
import stat
import subprocess
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from bench.here import insist_on
from bench.services.service import HERE, Service, read_services

RELEASE = "bookworm"
FORMAT = 3
"""Counts up when what is made of the same folder changes."""
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
KEY_LABEL = "dev.lithify.bench.key"
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/lintian/*")
"""What the images go without, as slim images of distributions do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer as a gzip-compressed tar file."""

    path: Path
    digest: str
    """Of the file: `sha256:...`."""
    diff_id: str
    """Of the tar archive within."""

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.path.stat().st_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """Where the image of a service is."""

    service: Service
    layout: Path
    """OCI image layout, tagged `latest`."""
    rootfs: Path
    """The same as one directory, without the image's configuration."""
    config: Path
    """The image's configuration as JSON."""


def cache_directory() -> Path:
    """Return where images are kept: LITHIFY_TEST_CACHE, or lithify-tests in the user's cache."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("LITHIFY_TEST_CACHE") or Path(home) / "lithify-tests") / "services"


@contextmanager
def locked(name: str) -> Iterator[Path]:
    """Hold the cache's lock of that name, so that two builds of one thing wait for each other; yields the cache."""
    cache = cache_directory()
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield cache


def run(command: Sequence[str | Path], environment: Mapping[str, str | Path] | None = None) -> None:
    """Run a program that must succeed; what it prints is shown only where it fails."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **{name: str(value) for name, value in (environment or {}).items()}},
        check=False,
    )
    if done.returncode:
        tail = done.stdout.decode(errors="replace")[-4000:]
        raise SystemExit(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{tail}")


def write_layer(tree: Path, path: Path) -> Layer:
    """Pack `tree` into the layer file `path`; raises SystemExit where tar fails."""
    tar = subprocess.Popen(
        ["tar", "--sort=name", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-C", tree, "-cf", "-", "."],
        stdout=subprocess.PIPE,
    )
    assert tar.stdout is not None
    packed, plain, compressor = hashlib.sha256(), hashlib.sha256(), zlib.compressobj(1, wbits=31)
    with open(path, "wb") as file, tar.stdout as stream:
        while block := stream.read(1 << 20):
            plain.update(block)
            data = compressor.compress(block)
            packed.update(data)
            file.write(data)
        data = compressor.flush()
        packed.update(data)
        file.write(data)
    if tar.wait():
        raise SystemExit(f"tar could not pack {tree}")
    return Layer(path=path, digest=f"sha256:{packed.hexdigest()}", diff_id=f"sha256:{plain.hexdigest()}")


def mark_deletions(upper: Path) -> None:
    """Turn overlayfs's marks for deleted entries and replaced directories into those of an image layer."""
    for directory, _, names in os.walk(upper):
        here = Path(directory)
        if "trusted.overlay.opaque" in os.listxattr(here):
            (here / ".wh..wh..opq").touch()
        for name in names:
            found = (here / name).lstat()
            if stat.S_ISCHR(found.st_mode) and found.st_rdev == 0:
                (here / name).unlink()
                (here / f".wh.{name}").touch()


def build_base() -> tuple[Path, Layer]:
    """Return the Debian root filesystem that all services share, and its layer; made once."""
    key = hashlib.sha256(f"{FORMAT} {RELEASE} {LEFT_OUT}".encode()).hexdigest()[:16]
    with locked("base") as cache:
        made = cache / f"base-{key}"
        facts = made / "layer.json"
        if not facts.exists():
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir()
            make_base(made / "rootfs")
            layer = write_layer(made / "rootfs", made / "layer.tar.gz")
            facts.write_text(json.dumps({"digest": layer.digest, "diff_id": layer.diff_id}))
        return made / "rootfs", Layer(path=made / "layer.tar.gz", **json.loads(facts.read_text()))


def make_base(rootfs: Path) -> None:
    """Fill `rootfs` with a minimal Debian, as the base images of the big registries are."""
    left_out = [f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT]
    options = ['--aptopt=Acquire::Languages "none"', '--aptopt=Acquire::Check-Valid-Until "false"']
    run(["mmdebstrap", "--mode=root", "--variant=minbase", *options, *left_out, RELEASE, rootfs])
    for device in (rootfs / "dev").iterdir():
        shutil.rmtree(device) if device.is_dir() and not device.is_symlink() else device.unlink()
    policy = rootfs / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    (rootfs / "etc/resolv.conf").write_text("")
    (rootfs / "etc/hostname").write_text("localhost\n")


def assemble(lower: Path, work: Path, packages: Sequence[str], **variables: str | Path) -> Path:
    """Run `assemble.sh` in namespaces of its own and return the upper layer it filled."""
    apt = cache_directory() / "apt"
    for directory in ("lists/partial", "archives/partial"):
        (apt / directory).mkdir(parents=True, exist_ok=True)
    for directory in ("upper", "work", "merged"):
        (work / directory).mkdir(parents=True)
    places = {"UPPER": work / "upper", "WORK": work / "work", "MERGED": work / "merged", "APT": apt}
    with locked("apt"):
        run(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation=private", HERE / "assemble.sh"],
            {"LOWER": lower, "PACKAGES": " ".join(packages), **places, **variables},
        )
    return work / "upper"


def copy_files(source: Path, target: Path) -> None:
    """Copy a folder's files, so that modes depend on nothing but the execute bit that git keeps."""
    for path in sorted(source.rglob("*")):
        place = target / path.relative_to(source)
        if path.is_symlink():
            place.symlink_to(path.readlink())
        elif path.is_dir():
            place.mkdir(mode=0o755, parents=True, exist_ok=True)
        else:
            place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            shutil.copyfile(path, place)
            place.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)


def image_config(service: Service, layers: Sequence[Layer], key: str) -> dict[str, Any]:
    """Return the OCI image configuration of a service."""
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    environment = {"PATH": path, **service.environment}
    config: dict[str, Any] = {
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "WorkingDir": str(service.working_directory),
        "StopSignal": service.stop_signal,
        "Labels": {KEY_LABEL: key},
    }
    optional: dict[str, Any] = {
        "User": service.user,
        "Entrypoint": list(service.entrypoint),
        "Cmd": list(service.command),
        "Volumes": {str(volume): {} for volume in service.volumes},
        "ExposedPorts": {f"{port}/tcp": {} for port in service.ports},
    }
    config.update({name: value for name, value in optional.items() if value})
    return {
        "created": "2026-01-01T00:00:00Z",
        "architecture": ARCHITECTURES.get(os.uname().machine, os.uname().machine),
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [{"created": "2026-01-01T00:00:00Z", "created_by": service.name} for _ in layers],
    }


def write_layout(layout: Path, config: Mapping[str, Any], layers: Sequence[Layer]) -> None:
    """Write an OCI image layout; layer files are linked into it, not copied."""
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def write_blob(value: Mapping[str, Any], media_type: str) -> dict[str, Any]:
        data = json.dumps(value, separators=(",", ":")).encode()
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    prefix = "application/vnd.oci.image"
    described = []
    for layer in layers:
        (blobs / layer.digest.removeprefix("sha256:")).hardlink_to(layer.path)
        described.append({"mediaType": f"{prefix}.layer.v1.tar+gzip", "digest": layer.digest, "size": layer.size})
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{prefix}.manifest.v1+json",
        "config": write_blob(config, f"{prefix}.config.v1+json"),
        "layers": described,
    }
    reference = write_blob(manifest, f"{prefix}.manifest.v1+json")
    reference["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [reference]}))
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')


def build(service: Service) -> Built:
    """Return the image of a service, made now if its folder changed since; raises SystemExit where that fails."""
    base, base_layer = build_base()
    key = hashlib.sha256(f"{FORMAT} {base_layer.diff_id} {service.key()}".encode()).hexdigest()[:16]
    with locked(service.name) as cache:
        made = cache / service.name / key
        built = Built(service=service, layout=made / "oci", rootfs=made / "rootfs", config=made / "config.json")
        if not made.exists():
            shutil.rmtree(made.parent, ignore_errors=True)
            partial = made.with_suffix(".partial")
            partial.mkdir(parents=True)
            make_image(service, partial, base, base_layer, key)
            partial.rename(made)
        return built


def make_image(service: Service, made: Path, base: Path, base_layer: Layer, key: str) -> None:
    """Fill `made` with the root filesystem, the configuration and the layout of a service."""
    stage = made / "stage"
    stage.mkdir()
    copy_files(service.folder / "files", stage)
    if (service.folder / "compile").exists():
        # In a layer that is thrown away: compilers are no part of the image.
        folder = service.folder.resolve()
        packages = [*service.packages, *service.build_packages]
        upper = assemble(base, made / "compile", packages, FOLDER=folder, RUN="compile")
        run(["cp", "-a", f"{upper}/out/.", stage])
    rootfs = made / "rootfs"
    if service.scratch:
        stage.rename(rootfs)
        layers = [write_layer(rootfs, made / "layer.tar.gz")]
    else:
        rootfs.mkdir()
        setup: dict[str, str | Path] = {"FILES": stage, "ROOTFS": rootfs}
        if (service.folder / "setup").exists():
            setup["SETUP"] = service.folder / "setup"
        upper = assemble(base, made / "image", service.packages, **setup)
        mark_deletions(upper)
        layers = [base_layer, write_layer(upper, made / "layer.tar.gz")]
    config = image_config(service, layers, key)
    (made / "config.json").write_text(json.dumps(config, indent=1))
    write_layout(made / "oci", config, layers)
    for leftover in ("stage", "image", "compile"):
        shutil.rmtree(made / leftover, ignore_errors=True)
    (made / "layer.tar.gz").unlink()


def load(built: Built, engine: str) -> str:
    """Give the image to `docker` or `podman`, unless it has it; return the name it has there."""
    config = json.loads(built.config.read_text())
    template = f'{{{{index .Config.Labels "{KEY_LABEL}"}}}}'
    if engine == "podman":
        template = f'{{{{index .Labels "{KEY_LABEL}"}}}}'
    has = subprocess.run(
        [engine, "image", "inspect", "--format", template, built.service.image],
        capture_output=True,
        text=True,
        check=False,
    )
    if has.stdout.strip() != config["config"]["Labels"][KEY_LABEL]:
        loading = subprocess.Popen([engine, "load", "--quiet"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        assert loading.stdin is not None
        with loading.stdin as pipe:
            write_archive(built, pipe)
        if loading.wait():
            raise SystemExit(f"{engine} could not load {built.service.image}")
        remove_outdated(engine)
    return built.service.image


def remove_outdated(engine: str) -> None:
    """Remove images of ours that lost their name to a newer one; those still in use stay."""
    ours = ["--filter", "dangling=true", "--filter", f"label={KEY_LABEL}"]
    listed = subprocess.run([engine, "images", "--quiet", *ours], capture_output=True, text=True, check=False)
    for image in listed.stdout.split():
        subprocess.run([engine, "rmi", image], capture_output=True, check=False)


def write_archive(built: Built, stream: IO[bytes]) -> None:
    """Write the image to `stream` as `docker save` does."""
    blobs = built.layout / "blobs" / "sha256"
    index = json.loads((built.layout / "index.json").read_bytes())
    manifest_digest = index["manifests"][0]["digest"].removeprefix("sha256:")
    manifest = json.loads((blobs / manifest_digest).read_bytes())
    layers = [layer["digest"].removeprefix("sha256:") for layer in manifest["layers"]]
    config = manifest["config"]["digest"].removeprefix("sha256:")
    tag = f"{built.service.image}:latest"
    described = [{"Config": f"{config}.json", "RepoTags": [tag], "Layers": [f"{layer}.tar" for layer in layers]}]
    with tarfile.open(fileobj=stream, mode="w|") as archive:
        for layer in layers:
            archive.add(blobs / layer, f"{layer}.tar")
        archive.add(blobs / config, f"{config}.json")
        text = json.dumps(described).encode()
        entry = tarfile.TarInfo("manifest.json")
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text))


def main() -> None:
    """Build the services named, or all, and print where each is."""
    parser = argparse.ArgumentParser(prog="python -m bench.services.build", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="service (default: all)")
    parser.add_argument("--engine", default="docker", help="engines to load it into, by comma (default: docker)")
    options = parser.parse_args()
    engines = [engine for engine in options.engine.split(",") if engine and engine != "bundle"]
    for engine in engines:
        insist_on(engine)
    for service in read_services(tuple(options.names)):
        built = build(service)
        for engine in engines:
            load(built, engine)
        print(f"{service.name}\t{built.layout}", flush=True)


if __name__ == "__main__":
    main()
