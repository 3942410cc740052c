"""A machine of Debian 13 for tests: its engines and its Python, in namespaces of their own, on this kernel.

Its root is an overlay over a tree that was installed once. All that runs in it ends with its first process, and all
that it wrote lies in one directory.
"""

import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.runtime.hardening import Done, until

import lithify

PACKAGES = (
    "docker.io", "docker-cli", "containerd", "runc", "crun", "podman", "conmon", "netavark", "nftables", "iptables",
    "iproute2", "ca-certificates", "python3", "python3-msgspec", "python3-yaml", "busybox-static",
)  # fmt: skip
NAME = f"trixie-{hashlib.sha256(' '.join(PACKAGES).encode()).hexdigest()[:12]}"
"""What its tree is called in the cache."""

_DATA = ("docker", "containerd", "containers", "mapped")
"""What of /var/lib must not lie on an overlay, since it holds the layers of others."""
_ENVIRONMENT = (
    "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "COLUMNS=200",
    "PYTHONPATH=/opt/lithify", "PYTHONDONTWRITEBYTECODE=1", "PODMAN_IGNORE_CGROUPSV1_WARNING=1",
)  # fmt: skip
_BOOT = f"""
set -e
tree=$1 data=$2 source=$3
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=$tree,upperdir=$data/upper,workdir=$data/work" "$data/root"
cd "$data/root"
mkdir -p old opt/lithify
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs tmpfs run
for name in {" ".join(_DATA)}; do mkdir -p var/lib/$name; mount --bind "$data/$name" var/lib/$name; done
mount --bind "$source" opt/lithify
ip link set lo up
pivot_root . old
cd /
umount --lazy old
echo up
while :; do sleep 1000 & wait $!; done
"""


@dataclass(frozen=True)
class Machine:
    """A machine that is up."""

    init: int
    """Its first process, by this host's number."""

    def run(self, *words: str, stdin: str = "", timeout: float = 300.0) -> Done:
        """Run a program in it to its end."""
        enter = ("nsenter", f"--target={self.init}", "--mount", "--net", "--pid", "--root", "--wd", "--", *_ENVIRONMENT)
        done = subprocess.run([*enter, *words], capture_output=True, text=True, timeout=timeout, input=stdin)
        return Done(done.returncode, done.stdout, done.stderr)

    def ask(self, *words: str, stdin: str = "") -> str:
        """Return what a program writes that has to succeed."""
        done = self.run(*words, stdin=stdin)
        assert done.code == 0, f"{words}: {done.err}{done.out}"
        return done.out.strip()

    def lithify(self, *words: str, host: str = "") -> Done:
        """Run lithify in it, by its own Python; `host` names another Docker."""
        told = (f"DOCKER_HOST={host}",) if host else ()
        return self.run("env", *told, "python3", "-m", "lithify.cli.main", *words)

    def start(self, command: str, *, ready: str) -> None:
        """Start a daemon, and wait until the shell command `ready` succeeds."""
        log = f"/var/log/{command.split()[0]}.log"
        self.ask("sh", "-c", f"{command} >>{log} 2>&1 </dev/null &")
        try:
            until(lambda: self.run("sh", "-c", ready).code == 0, 60)
        except AssertionError:
            raise AssertionError(self.ask("tail", log)) from None


@contextmanager
def machine(tree: Path, directory: Path) -> Iterator[Machine]:
    """Give a machine whose root is `tree`; what it writes goes to `directory`, which is removed with it."""
    for name in ("upper", "work", "root", *_DATA):
        (directory / name).mkdir(parents=True)
    source = Path(lithify.__file__).parent.parent
    first: list[int] = []
    words = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "bash", "-c", _BOOT, "boot"]
    with subprocess.Popen([*words, tree, directory, source], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as boot:
        assert boot.stdout is not None
        try:
            said = boot.stdout.readline()
            assert said == b"up\n", said + boot.stdout.read()
            first += map(int, Path(f"/proc/{boot.pid}/task/{boot.pid}/children").read_text().split())
            yield Machine(first[0])
        finally:
            boot.kill()
            boot.wait(30)
            # a first process is gone only when all others of its namespace are
            until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in first), 60)
            shutil.rmtree(directory)
