"""A Kubernetes node, whole and real, in namespaces of its own: API server, controllers, scheduler, kubelet, containerd.

Everything of it is in a process, a mount and a network namespace whose first process is a pause: when that is killed
the kernel ends the rest, mounts and interfaces included, so that nothing can be left but the node's own folder and its
control groups. Nothing of the host's network changes but one veth pair and two routes, gone with the namespace; by them
the host reaches the API server, the pods and the services.

`python -m tests.cluster.node up|down|kubeconfig|import [--folder FOLDER] [ARCHIVE...]` keeps one for a person's work.
"""

import argparse
import hashlib
import io
import json
import os
import secrets
import shutil
import signal
import ssl
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BUILD = Path(__file__).parents[2] / ".ci" / "cluster-programs"
FOLDER = Path.home() / ".cache" / "lithify-tests" / "cluster" / "node"
NODE = "node1"
SECOND = "node2"
SECOND_ONLY = {"key": "lithify-test", "value": SECOND, "effect": "NoSchedule"}
"""The taint of a second node: pods of other tests stay away from it, whose images it does not have."""
PAUSE = "docker.io/lithify-test/pause:1"
DAEMONS = ("containerd", "containerd-shim-runc-v2", "ctr", "kube-apiserver", "kubelet", "kubectl", "pause")
DEBIAN = ("etcd", "runc", "ip", "unshare", "nsenter", "setpriv", "/usr/lib/cni/bridge", "/usr/lib/cni/portmap")


_STORAGE = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": "directory", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
    "provisioner": "kubernetes.io/host-path",
}
"""Storage for claims."""


class NodeUnavailable(Exception):
    """No node can be had on this machine: the reason, fit for a skip."""


def find_programs(*names: str) -> Path:
    """Return the folder of the built programs; builds `names` where they are missing, minutes the first time."""
    if os.geteuid() != 0:
        raise NodeUnavailable("needs root")
    done = subprocess.run([BUILD, *names], capture_output=True, text=True, timeout=3000, check=False)
    if done.returncode != 0:
        raise NodeUnavailable(done.stderr.strip() or "the programs could not be built")
    folder = Path(done.stdout.strip())
    for name in names:
        if not (folder / name).exists():
            reason = folder.parent / "missing" / name
            raise NodeUnavailable(reason.read_text() if reason.exists() else f"{name} is not built")
    return folder


@dataclass(frozen=True, slots=True)
class Addresses:
    """What a node has of the address space: many of them can be up beside each other."""

    index: int

    @property
    def link(self) -> str:
        """The host's end of the veth pair."""
        return f"lithify{self.index}"

    @property
    def host(self) -> str:
        return f"10.250.{self.index}.1"

    @property
    def node(self) -> str:
        return f"10.250.{self.index}.2"

    @property
    def pods(self) -> str:
        return f"10.244.{self.index}.0/24"

    def pod(self, number: int) -> str:
        """An address of a pod."""
        return f"10.244.{self.index}.{number}"

    @property
    def services(self) -> str:
        return f"10.96.{self.index}.0/24"


class Node:
    """A node in `folder`, which holds everything that it writes, every log included."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder = folder
        self.programs = programs
        self.kubeconfig = folder / "kubeconfig"
        self._processes: list[subprocess.Popen[bytes]] = []

    @classmethod
    def find(cls, kubeconfig: Path) -> "Node | None":
        """Return the node that `kubeconfig` was written by; None where it is of another cluster."""
        state = kubeconfig.parent / "node.json"
        if not state.exists():
            return None
        return cls(kubeconfig.parent, Path(json.loads(state.read_text())["programs"]))

    def up(self, *, outlive: bool = False) -> None:
        """Start it and wait until pods can be scheduled; unless it may outlive this process it ends with it."""
        lacking = [name for name in DEBIAN if shutil.which(name) is None]
        if lacking:
            raise NodeUnavailable(f"lacks {', '.join(lacking)}: .ci/packages test installs them")
        for name in ("etcd", "pki", "cni", "kubelet", "containerd", "lib", "log", "logs", "tmp"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        init = self._namespaces(outlive)
        try:
            addresses = _connect(init)
            state = {"init": init, "index": addresses.index, "programs": str(self.programs)}
            (self.folder / "node.json").write_text(json.dumps(state))
            self._start_all(init, addresses)
        except BaseException:
            self.down()
            raise

    def join(self) -> "Node":
        """Start a second node of the same cluster, a kubelet and a containerd in this one's network, and return it."""
        state = self._state()
        assert state is not None
        second, addresses = Node(self.folder / SECOND, self.programs), Addresses(state["index"])
        for name in ("pki", "cni", "kubelet", "containerd", "lib", "log", "logs", "tmp"):
            (second.folder / name).mkdir(parents=True, exist_ok=True)
        init = second._namespaces(False, network=state["init"])
        groups = f"lithify-node-{addresses.index}-{SECOND}"
        try:
            (second.folder / "node.json").write_text(json.dumps({**state, "init": init, "groups": groups}))
            shutil.copy(self.kubeconfig, second.kubeconfig)
            for name, text in _second_configuration(second.folder, addresses, groups).items():
                (second.folder / name).write_text(text)
            second._start(init, "containerd", *_first_daemons(second.folder, addresses)["containerd"])
            _wait(lambda: second._ctr_answers(), 30, "the second containerd", second.folder)
            second._import_pause()
            kubelet = _other_daemons(second.folder, addresses)["kubelet"]
            second._start(init, "kubelet", *(word.replace(NODE, SECOND) for word in kubelet))
            _wait(lambda: second._ready(SECOND), 90, "the second node to be ready", second.folder)
        except BaseException:
            second.down()
            raise
        return second

    def down(self) -> None:
        """End it and remove its folder; no error where it is gone already."""
        state = self._state()
        if state is not None:
            with suppress(ProcessLookupError):
                os.kill(state["init"], signal.SIGKILL)
            for process in self._processes:
                process.wait(timeout=30)
            link = Path("/sys/class/net") / Addresses(state["index"]).link
            is_second = "groups" in state
            gone = lambda: (is_second or not link.exists()) and not _alive(state["init"])  # noqa: E731
            _wait(gone, 30, "the end of its namespaces")
            _remove_groups(state.get("groups", f"lithify-node-{state['index']}"))
            if is_second:
                self.kubectl("delete", "node", SECOND, "--ignore-not-found")
        shutil.rmtree(self.folder, ignore_errors=True)

    def is_up(self) -> bool:
        """Tell whether it runs."""
        state = self._state()
        return state is not None and _alive(state["init"])

    def kubectl(self, *words: str, stdin: str | None = None, check: bool = True, timeout: float = 60) -> str:
        """Return what kubectl printed."""
        return run_kubectl(self.programs, self.kubeconfig, *words, stdin=stdin, check=check, timeout=timeout)

    def import_image(self, archive: Path) -> None:
        """Give the node the image in `archive`, as `docker save` or `skopeo copy` write one."""
        self._ctr("images", "import", "--no-unpack", str(archive))

    def _ctr(self, *words: str) -> str:
        program, socket = str(self.programs / "ctr"), str(self.folder / "containerd.sock")
        command = [program, "--address", socket, "--namespace", "k8s.io", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _state(self) -> dict[str, Any] | None:
        try:
            found = json.loads((self.folder / "node.json").read_text())
        except FileNotFoundError:
            return None
        assert isinstance(found, dict)
        return found

    def _namespaces(self, outlive: bool, network: int | None = None) -> int:
        """Start the first process of new namespaces and return its pid as the host sees it.

        With `network` it shares the one of that process.
        """
        joined = ["--net"] if network is None else []
        there = [] if network is None else ["nsenter", "--target", str(network), "--net"]
        kept = [] if outlive else ["setpriv", "--pdeathsig", "KILL"]
        command = [*there, *kept, "unshare", "--mount", *joined, "--pid", "--fork", "--kill-child", "--mount-proc"]
        outer = subprocess.Popen(
            [*command, self.programs / "pause"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=outlive,
        )
        self._processes.append(outer)
        children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")

        def started() -> bool:
            found = children.read_text().split()
            return bool(found) and os.readlink(f"/proc/{found[0]}/exe") == str(self.programs / "pause")

        _wait(started, 10, "its first process")
        init = int(children.read_text().split()[0])
        # what the kubelet and the network plugins write under fixed paths stays out of the host's; /proc is of the new
        # process namespace, and kubelet wants mounts to spread to its pods
        self._within(init, "mount", "--make-rshared", "/")
        self._within(init, "mount", "--bind", str(self.folder / "lib"), "/var/lib")
        self._within(init, "mount", "--bind", str(self.folder / "log"), "/var/log")
        self._within(init, "mount", "--bind", str(self.folder / "tmp"), "/tmp")
        self._within(init, "mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/run")
        return init

    def _within(self, init: int, *command: str) -> None:
        subprocess.run([*_enter(init), *command], check=True, timeout=30)

    def _start(self, init: int, name: str, *command: str) -> None:
        environment = {"PATH": f"{self.programs}:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(self.folder)}
        with open(self.folder / "logs" / f"{name}.log", "wb") as log:
            daemon = subprocess.Popen(
                [*_enter(init), f"--wdns={self.folder}", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        self._processes.append(daemon)

    def _start_all(self, init: int, addresses: Addresses) -> None:
        token = secrets.token_hex(16)
        for name, text in _configuration(self.folder, addresses, token).items():
            descriptor = os.open(self.folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "w") as file:
                file.write(text)
        subprocess.run(
            ["openssl", "genrsa", "-out", self.folder / "pki/sa.key", "2048"], check=True, capture_output=True
        )
        for name, command in _first_daemons(self.folder, addresses).items():
            self._start(init, name, *command)
        certificate = self.folder / "pki/apiserver.crt"
        _wait(certificate.exists, 60, "the API server's certificate", self.folder)
        self._write_kubeconfig(addresses, token, certificate)
        _wait(lambda: self._get("/readyz") == b"ok", 90, "the API server", self.folder)
        for name, command in _other_daemons(self.folder, addresses).items():
            self._start(init, name, *command)
        _wait(lambda: self._ctr_answers(), 30, "containerd", self.folder)
        self._import_pause()
        _wait(lambda: self._ready(NODE), 90, "the node to be ready", self.folder)
        self.kubectl("apply", "--filename=-", stdin=json.dumps(_STORAGE))

    def _import_pause(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            archive = Path(folder) / "pause.tar"
            write_image(archive, PAUSE, [_layer_of(self.programs / "pause")], {"Entrypoint": ["/pause"]})
            self.import_image(archive)

    def _ctr_answers(self) -> bool:
        try:
            self._ctr("version")
        except AssertionError:
            return False
        return True

    def _write_kubeconfig(self, addresses: Addresses, token: str, certificate: Path) -> None:
        cluster = {"server": f"https://{addresses.node}:6443", "certificate-authority": str(certificate)}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
            "current-context": "test",
        }
        self.kubeconfig.write_text(json.dumps(content, indent=1))

    def _get(self, path: str) -> bytes:
        """Return what the API server answers; nothing where it does not, or refuses. Cheaper than a kubectl a look."""
        config = json.loads(self.kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        request = urllib.request.Request(cluster["server"] + path, headers={"Authorization": f"Bearer {user['token']}"})
        context = ssl.create_default_context(cafile=cluster["certificate-authority"])
        try:
            with urllib.request.urlopen(request, timeout=10, context=context) as answer:
                found = answer.read()
        except OSError:
            return b""
        assert isinstance(found, bytes)
        return found

    def _ready(self, name: str) -> bool:
        account = self._get("/api/v1/namespaces/default/serviceaccounts/default")
        node = json.loads(self._get(f"/api/v1/nodes/{name}") or b"{}")
        conditions = node.get("status", {}).get("conditions", [])
        return bool(account) and {"type": "Ready", "status": "True"} in [
            {"type": each["type"], "status": each["status"]} for each in conditions
        ]


def run_kubectl(
    programs: Path,
    kubeconfig: Path,
    *words: str,
    stdin: str | None = None,
    check: bool = True,
    timeout: float = 60,
) -> str:
    """Return what kubectl printed on its standard output; an assertion fails, with its error, where it failed."""
    done = subprocess.run(
        [programs / "kubectl", *words],
        input=stdin if stdin is not None else "",
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, "KUBECONFIG": str(kubeconfig), "KUBECACHEDIR": str(kubeconfig.parent / "kubectl-cache")},
    )
    assert not check or done.returncode == 0, done.stderr
    return done.stdout


def write_image(target: Path, name: str, layers: Sequence[bytes | Path], config: Mapping[str, object]) -> None:
    """Write an image archive as `docker save` does: `layers` are tar files, the lowest first."""
    identities = [_digest(layer) for layer in layers]
    document = {
        "architecture": "amd64",
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{identity}" for identity in identities]},
    }
    described = json.dumps(document).encode()
    described_name = hashlib.sha256(described).hexdigest() + ".json"
    manifest = [{"Config": described_name, "RepoTags": [name], "Layers": [f"{each}.tar" for each in identities]}]
    with tarfile.open(target, "w") as archive:
        for identity, layer in zip(identities, layers, strict=True):
            _add_layer(archive, f"{identity}.tar", layer)
        _add_layer(archive, described_name, described)
        _add_layer(archive, "manifest.json", json.dumps(manifest).encode())


def pack_directory(directory: Path, target: Path) -> Path:
    """Write `directory`, a root filesystem, as a layer and return it."""
    command = ["tar", "--create", f"--file={target}", "--numeric-owner", "--xattrs", f"--directory={directory}", "."]
    subprocess.run(command, check=True, timeout=300)
    return target


def _digest(layer: bytes | Path) -> str:
    if isinstance(layer, bytes):
        return hashlib.sha256(layer).hexdigest()
    with open(layer, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _add_layer(archive: tarfile.TarFile, name: str, layer: bytes | Path) -> None:
    if isinstance(layer, Path):
        archive.add(layer, name)
        return
    member = tarfile.TarInfo(name)
    member.size = len(layer)
    archive.addfile(member, io.BytesIO(layer))


def _layer_of(program: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(program, program.name)
    return buffer.getvalue()


def _enter(init: int) -> list[str]:
    # not `ip netns exec`: that mounts a fresh /sys, and the kubelet finds no control groups
    return ["nsenter", "--target", str(init), "--mount", "--net", "--pid"]


def _connect(init: int) -> Addresses:
    """Join the namespace of `init` and the host by a veth pair on the first addresses that are free."""
    for index in range(200):
        addresses = Addresses(index)
        made = ["ip", "link", "add", addresses.link, "type", "veth", "peer", "name", "eth0", "netns", str(init)]
        if subprocess.run(made, capture_output=True, check=False).returncode == 0:
            break
    else:
        raise NodeUnavailable("no veth pair can be made")
    inside = ["nsenter", "--target", str(init), "--net", "ip"]
    for command in (
        ["ip", "addr", "add", f"{addresses.host}/24", "dev", addresses.link],
        ["ip", "link", "set", addresses.link, "up"],
        [*inside, "link", "set", "lo", "up"],
        [*inside, "addr", "add", f"{addresses.node}/24", "dev", "eth0"],
        [*inside, "link", "set", "eth0", "up"],
        [*inside, "route", "add", "default", "via", addresses.host],
        [*_enter(init), "sysctl", "-qw", "net.ipv4.ip_forward=1"],
        ["ip", "route", "add", addresses.pods, "via", addresses.node],
        ["ip", "route", "add", addresses.services, "via", addresses.node],
    ):
        subprocess.run(command, check=True, timeout=10)
    return addresses


def _first_daemons(folder: Path, addresses: Addresses) -> dict[str, list[str]]:
    etcd, peer = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
    return {
        "etcd": [
            "etcd", f"--data-dir={folder}/etcd", "--unsafe-no-fsync", f"--listen-client-urls={etcd}",
            f"--advertise-client-urls={etcd}", f"--listen-peer-urls={peer}",
        ],
        "containerd": ["containerd", "-c", "containerd.toml"],
        "apiserver": [
            "kube-apiserver", f"--etcd-servers={etcd}", "--cert-dir=pki", "--secure-port=6443",
            "--bind-address=0.0.0.0", f"--advertise-address={addresses.node}",
            f"--service-cluster-ip-range={addresses.services}", "--authorization-mode=RBAC", "--allow-privileged=true",
            "--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file=pki/sa.key",
            "--service-account-signing-key-file=pki/sa.key", "--token-auth-file=tokens.csv",
            # else logs and exec look the node's name up in the domain name system
            "--kubelet-preferred-address-types=InternalIP", "--endpoint-reconciler-type=master-count",
        ],
    }  # fmt: skip


def _other_daemons(folder: Path, addresses: Addresses) -> dict[str, list[str]]:
    local = ["--kubeconfig=kubeconfig", "--leader-elect=false", "--bind-address=127.0.0.1"]
    keys = ["--service-account-private-key-file=pki/sa.key", "--root-ca-file=pki/apiserver.crt"]
    # the controller for tests that makes directories of /tmp into volumes, and removes them again
    storage = ["--enable-hostpath-provisioner"]
    return {
        "controllers": ["kube-controller-manager", *local, *keys, *storage],
        "scheduler": ["kube-scheduler", *local],
        "proxy": ["kube-proxy", "--config=proxy.json"],
        "kubelet": [
            "kubelet", "--config=kubelet.json", "--kubeconfig=kubeconfig", f"--root-dir={folder}/kubelet",
            f"--hostname-override={NODE}", f"--node-ip={addresses.node}", "--cert-dir=pki",
        ],
    }  # fmt: skip


def _network(addresses: Addresses, **bounds: str) -> str:
    """Return how pods are joined to the network; `bounds` keep two nodes of one network apart."""
    pods = {"subnet": addresses.pods, **bounds}
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": {"type": "host-local", "ranges": [[pods]], "routes": [{"dst": "0.0.0.0/0"}]},
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return json.dumps({"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge, portmap]})


def _kubelet(folder: Path, groups: str, **more: object) -> str:
    kubelet = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{folder}/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{groups}",
        "cgroupsPerQOS": False,
        "enforceNodeAllocatable": [],
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "resolvConf": f"{folder}/resolv.conf",
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 99,
        "imageGCLowThresholdPercent": 98,
    }
    return json.dumps({**kubelet, **more})


def _containerd(folder: Path) -> str:
    return f"""version = 3
root = '{folder}/containerd/root'
state = '{folder}/containerd/state'
[grpc]
  address = '{folder}/containerd.sock'
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = '{PAUSE}'
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = 'io.containerd.runc.v2'
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ['/usr/lib/cni']
    conf_dir = '{folder}/cni'
"""


def _configuration(folder: Path, addresses: Addresses, token: str) -> dict[str, str]:
    """Return the files that the daemons read, by name."""
    proxy = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": f"{folder}/kubeconfig"},
        "mode": "iptables",
        "conntrack": {"maxPerCore": 0, "min": 0},
        "hostnameOverride": NODE,
    }
    return {
        "cni/10-bridge.conflist": _network(addresses, rangeEnd=addresses.pod(199)),
        "containerd.toml": _containerd(folder),
        "kubelet.json": _kubelet(folder, f"lithify-node-{addresses.index}"),
        "proxy.json": json.dumps(proxy),
        "resolv.conf": f"nameserver {addresses.host}\n",
        "tokens.csv": f"{token},admin,admin,system:masters\n",
    }


def _second_configuration(folder: Path, addresses: Addresses, groups: str) -> dict[str, str]:
    """Return the same for a node beside another in one network."""
    apart = {"port": 10350, "healthzPort": 10348, "registerWithTaints": [SECOND_ONLY]}
    return {
        "cni/10-bridge.conflist": _network(addresses, rangeStart=addresses.pod(200)),
        "containerd.toml": _containerd(folder),
        "kubelet.json": _kubelet(folder, groups, **apart),
        "resolv.conf": f"nameserver {addresses.host}\n",
    }


def _remove_groups(name: str) -> None:
    """Remove the control groups that the node's pods were in, deepest first."""
    roots = [Path(mount) / name for mount in _group_mounts()]
    for root in roots:
        for folder, _, _ in os.walk(root, topdown=False):
            with suppress(OSError):
                os.rmdir(folder)


def _group_mounts() -> list[str]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [fields[1] for fields in map(str.split, lines) if fields[2] in ("cgroup", "cgroup2")]


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _wait(holds: Callable[[], bool], seconds: float, what: str, folder: Path | None = None) -> None:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            logs = sorted((folder / "logs").iterdir()) if folder else []
            tails = [f"{log.name}: {log.read_bytes()[-800:].decode(errors='replace')}" for log in logs]
            raise NodeUnavailable("\n".join([f"waited {seconds:.0f} s in vain for {what}", *tails]))
        time.sleep(0.1)


def main() -> int:
    """Keep a node up for a person's work."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.node", description=main.__doc__)
    parser.add_argument("command", choices=("up", "down", "kubeconfig", "import"))
    parser.add_argument("archives", nargs="*", type=Path, help="image archives as `docker save` writes them")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args()
    node = Node(options.folder.resolve(), find_programs(*DAEMONS))
    if options.command == "up" and not node.is_up():
        node.down()
        node.up(outlive=True)
    elif options.command == "down":
        node.down()
        return 0
    if not node.is_up():
        print("error: no node is up", file=sys.stderr)
        return 4
    for archive in options.archives:
        node.import_image(archive)
    print(node.kubeconfig)
    return 0


if __name__ == "__main__":
    sys.exit(main())
