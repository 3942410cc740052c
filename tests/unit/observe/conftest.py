"""A real overlay to write into, as a container would."""

import os
import subprocess
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pytest

from lithify.engines.base import UpperLayer
from lithify.model.writes import Write
from lithify.observe.overlay import read_upper_layer

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting an overlay needs root")


@dataclass
class Overlay:
    """An overlay mount whose lower layers a test fills before it mounts, and whose root it then writes."""

    base: Path
    noise: frozenset[PurePosixPath] = frozenset()
    options: str = ""
    layers: int = 1
    mounted: bool = field(default=False, init=False)

    @property
    def lowers(self) -> tuple[Path, ...]:
        """Layer directories, top-most first."""
        paths = tuple(self.base / f"lower{index}" for index in range(self.layers))
        for path in paths:
            path.mkdir(exist_ok=True)
        return paths

    @property
    def lower(self) -> Path:
        """The bottom layer."""
        return self.lowers[-1]

    @property
    def upper(self) -> Path:
        return self.base / "upper"

    @property
    def root(self) -> Path:
        """Where the overlay is mounted; mounts it the first time."""
        merged = self.base / "merged"
        if not self.mounted:
            for name in ("upper", "work", "merged"):
                (self.base / name).mkdir(exist_ok=True)
            lowers = ":".join(map(str, self.lowers))
            options = f"lowerdir={lowers},upperdir={self.upper},workdir={self.base / 'work'}{self.options}"
            subprocess.run(["mount", "-t", "overlay", "lithify-test", "-o", options, merged], check=True)
            self.mounted = True
        return merged

    @property
    def layer(self) -> UpperLayer:
        return UpperLayer(
            upper=self.upper, lowers=self.lowers, noise=self.noise, user_xattr="userxattr" in self.options
        )

    def old(self, path: str, text: str = "old\n", mode: int | None = None) -> Path:
        """Put a file into the bottom layer, or a directory where `path` ends in a slash, all of it an hour old."""
        target = self.lower / path.rstrip("/")
        if path.endswith("/"):
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        if mode is not None:
            target.chmod(mode)
        self.age(target)
        return target

    def age(self, target: Path, seconds: int = 3600) -> None:
        """Set the times of `target` and of the directories above it back."""
        for each in (target, *target.parents):
            if not each.is_relative_to(self.base) or each == self.base:
                break
            if not each.is_symlink():
                os.utime(each, ns=(10**18 - seconds, 10**18 - seconds))

    def read(self, **options: int) -> dict[str, Write]:
        """Return what the upper layer tells, by path."""
        return {str(write.path): write for write in read_upper_layer(self.layer, **options)[0]}

    def unmount(self) -> None:
        if self.mounted:
            subprocess.run(["umount", self.base / "merged"], check=True)
            self.mounted = False


@pytest.fixture
def overlay(tmp_path: Path) -> Iterator[Overlay]:
    """An overlay, not mounted yet."""
    made = Overlay(base=tmp_path)
    try:
        yield made
    finally:
        made.unmount()


def run_inside(root: Path, act: Callable[[], object]) -> int:
    """Run `act` in a child whose root is `root`, as a container's process would; return the child's pid."""
    with warnings.catch_warnings():
        # The listener's thread holds no lock that the child needs: it calls the kernel and nothing else.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.chroot(root)
            os.chdir("/")
            act()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    return pid
