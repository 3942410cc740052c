"""Runs root filesystem directories and image files with an overlay and an OCI runtime: no daemon, no registry.

What the user gives is the overlay's lower layer and never written. Each start has a shim (`shim.py`) beside it that
holds the mounts, the log and the exit code, so nothing depends on lithify staying alive.
"""

import errno
import fcntl
import hashlib
import os
import secrets
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath

from lithify.engines import process
from lithify.engines.attached import ProcessContainer, cgroup_directories, find_process
from lithify.engines.base import Container, Exit, Root, RunCommand, UpperLayer
from lithify.engines.bundle import network, rootless, shim
from lithify.engines.bundle.network import Link
from lithify.engines.bundle.places import give_attributes, mount_points
from lithify.engines.bundle.prepare import HOSTS, NO_EXTRAS, Extras, Prepared, Setting, prepare
from lithify.engines.bundle.render import give_up_bundles, render_bundle
from lithify.engines.bundle.runtime import Runtime, said
from lithify.engines.bundle.state import (
    RunDirectory,
    abandoned,
    discard,
    is_alive,
    read_json,
    read_record,
    write_record,
)
from lithify.engines.images.image import LoadedImage, copy_over, load_image
from lithify.engines.images.rootfs import RootFilesystem
from lithify.engines.images.store import discard_partial
from lithify.engines.tree import remove_tree
from lithify.errors import EngineRefused, EngineUnreachable, LithifyError, NotPermitted
from lithify.model.bake import ARCHIVE
from lithify.model.image import ImageFacts
from lithify.model.mount import MountPlan, StorageKind
from lithify.model.path import ROOT, printable
from lithify.model.run import Target

STATE = Path("/var/lib/lithify")
RUNTIMES = ("runc", "crun")
CANNOT_SHOW = (
    "the bundle engine sets no seccomp or AppArmor profile, as Docker and Kubernetes do by default",
    "its containers reach this host only: what needs another host or a name server was not exercised",
)
"""What every proof on this engine leaves open."""

_LOG_LIMIT = 8 << 20
_CREATE_TIMEOUT = 60.0
_END_TIMEOUT = 20.0
_GRACE = 3.0
_NAME_LENGTH = 12


class BundleEngine:
    """Runs targets of kind ROOTFS, LAYOUT and ARCHIVE; keeps everything it makes below `state`.

    An ordinary user's process moves, at the first call that needs it, into a user namespace (`rootless.enter`).
    """

    name = "bundle"

    def __init__(self, runtime: str | None = None, state: Path = STATE) -> None:
        self._runtime_name = runtime
        self._state = Path(os.path.realpath(state))  # runc takes no root below a symbolic link
        self._run: RunDirectory | None = None
        self._users: dict[Path, set[str]] = {}
        self._baked: set[str] = set()
        self._held: set[Path] = set()
        self._lock = threading.Lock()

    def read_image(self, target: Target) -> ImageFacts:
        """Return the configuration of what `target` runs, `entries` left empty."""
        rootless.enter()
        return load_image(target, self._state).facts

    def create(
        self,
        target: Target,
        *,
        root: Root,
        plan: MountPlan | None = None,
        purpose: str = "run",
        storage: Container | None = None,
        idle: bool = False,
        extras: Extras = NO_EXTRAS,
    ) -> "BundleContainer":
        """Make a container of `target`, not started; see `Engine.create`. `extras` are what it has as one of a pod.

        NotPermitted where this user may not be root even of a user namespace, EngineUnreachable without an OCI
        runtime, EngineRefused for a plan that can't be made here.
        """
        rootless.enter()
        image = load_image(target, self._state)
        self._insist_on_a_place_outside(image.rootfs)
        name = f"lithify-{_plain(purpose)}-{secrets.token_hex(_NAME_LENGTH // 2)}"
        with self._lock, _needing_room(self._state):
            self._run = self._run or RunDirectory(self._state)
            try:
                runtime = Runtime(self._runtime(), self._run.runtime)
                named = self._volumes(name, plan, storage)
                directory = self._run.container(name)
                directory.mkdir(mode=0o700)
            except BaseException:
                self._release()
                raise
        container = BundleContainer(self, name, directory, runtime, image, idle=idle, extras=extras)
        try:
            with _needing_room(self._state):
                container.prepare(root, plan, named, target.memory)
        except BaseException:
            with suppress(LithifyError):
                container.remove()
            raise
        return container

    def storage(self) -> Path | None:
        """Return a host directory on the filesystem that holds upper layers; None before `rootless.enter`."""
        if os.geteuid() != 0:
            return None
        with self._lock, _needing_room(self._state):
            if self._run is None:
                self._run = RunDirectory(self._state)
                weakref.finalize(self, self._run.release)  # where no container follows whose end would do so
            return self._run.path

    def hold(self, name: str) -> Path:
        """Return a new directory of ours for what several containers share, until `let_go`."""
        with self._lock, _needing_room(self._state):
            self._run = self._run or RunDirectory(self._state)
            path = self._run.volumes / name
            path.mkdir(mode=0o711)
            self._held.add(path)
            return path

    def let_go(self, path: Path) -> None:
        """Remove a directory that `hold` gave."""
        with self._lock:
            if path in self._held:
                self._held.remove(path)
                discard(path)
                self._release()

    def root_of(self, target: Target) -> Path:
        """Return the directory with the root filesystem of `target`, not to be written to."""
        return load_image(target, self._state).rootfs

    def render(self, target: Target, plan: MountPlan) -> RunCommand:
        """Return what starts `target` read-only as planned: the OCI runtime on a bundle, which is written here.

        The bundle lies in the state directory, under a name that is the same for the same target and plan; it stays
        among the last KEPT_BUNDLES, and for good once something was written in it.
        """
        rootless.enter()
        image = load_image(target, self._state)
        plan = _bare(plan)
        made_of = hashlib.sha256(repr((target, image, plan)).encode("utf-8", "backslashreplace")).hexdigest()
        name = f"{_plain(Path(target.reference).name) or 'bundle'}-{made_of[:_NAME_LENGTH]}"
        directory = self._state / "bundles" / name
        with _needing_room(directory):
            rendered = render_bundle(image, plan, directory, memory=target.memory)
            give_up_bundles(directory.parent)
        # an ordinary user's runtime has no state directory that is sure to exist
        state = ("--root", str(self._state / "runtime")) if rootless.entered() else ()
        command = (self._runtime(), *state, "run", "--bundle", str(directory), name)
        return RunCommand(command=command, notes=rendered.notes)

    def ports(self, target: Target) -> Mapping[int, int]:  # noqa: ARG002 - a bundle publishes nothing
        """Return nothing: a bundle's ports are its own."""
        return {}

    def attach(self, reference: str) -> Container | None:
        """Return the container of a pid, a cgroup, or a container of ours that was kept; to be looked at only."""
        pid = find_process(reference)
        if pid is None:
            pid = next(self._kept(reference), None)
        return None if pid is None else ProcessContainer(pid, reference)

    def sweep(self, *, kept: bool = False) -> Sequence[str]:
        """Remove what processes of ours that are gone left behind; return what it was.

        With `kept` containers that were left for a look as well.
        """
        rootless.enter()
        swept: list[str] = []
        with abandoned(self._state) as runs:
            for run in runs:
                swept += self._sweep_run(run, kept=kept)
        return [*swept, *discard_partial(self._state)]

    def image_of(self, target: Target) -> str:
        """Return the name of the directory or file: what it is called in an engine only the user knows."""
        return Path(target.reference).name

    def bake(
        self,
        target: Target,
        directory: Path,
        dockerfile: Sequence[str],  # noqa: ARG002 - for engines that can build
        removed: Sequence[PurePosixPath],
    ) -> Target:
        """Return a target that runs a copy of the root filesystem with an archive unpacked over it."""
        rootfs = load_image(replace(target, baked=""), self._state).rootfs
        with self._lock, _needing_room(self._state):
            self._run = self._run or RunDirectory(self._state)
            copy = self._run.path / "baked" / secrets.token_hex(4)
            self._baked.add(str(copy))
        with _needing_room(self._state):
            copy.mkdir(parents=True)
            copy_over(rootfs, copy, directory / ARCHIVE, removed)
        return replace(target, baked=str(copy))

    def discard(self, target: Target) -> None:
        """Remove the copy."""
        with self._lock:
            self._baked.discard(target.baked)
            remove_tree(Path(target.baked))
            self._release()

    def forget(self, container: "BundleContainer") -> None:
        """Remove volumes that `container` was the last to use, and the run directory with the last container."""
        with self._lock:
            for volume, users in list(self._users.items()):
                users.discard(container.name)
                if not users:
                    del self._users[volume]
                    remove_tree(volume)
            self._release()

    def _insist_on_a_place_outside(self, rootfs: Path) -> None:
        """Refuse what the kernel refuses with ELOOP: layers that lie in the very directory they are laid over."""
        lower, state = os.path.realpath(rootfs), os.path.realpath(self._state)
        if Path(state).is_relative_to(lower) and _device(Path(state)) == _device(Path(lower)):
            raise EngineRefused(
                f"{printable(self._state)} lies in {printable(rootfs)}, over which its layers are to be laid",
                hint="name a directory elsewhere, on another filesystem for /, with --state-dir",
            )

    def _release(self) -> None:
        """Give the run directory up where nothing is in it."""
        if self._run is not None and not (self._held or self._baked or self._run.holds_any()):
            self._run.release()
            self._run = None

    def _runtime(self) -> str:
        if self._runtime_name:
            return self._runtime_name
        import shutil

        return next((name for name in RUNTIMES if shutil.which(name)), RUNTIMES[0])

    def _volumes(self, name: str, plan: MountPlan | None, storage: Container | None) -> dict[PurePosixPath, Path]:
        """Return a directory for each volume of `plan`: that of `storage`, or a new one."""
        assert self._run is not None
        shared = storage.named if isinstance(storage, BundleContainer) else {}
        named: dict[PurePosixPath, Path] = {}
        for mount in plan.mounts if plan else ():
            if mount.storage is StorageKind.VOLUME:
                path = shared.get(mount.path)
                if path is None:
                    path = self._run.volumes / f"{name}-{len(named)}"
                    path.mkdir(mode=0o700)
                named[mount.path] = path
                self._users.setdefault(path, set()).add(name)
        return named

    def _kept(self, name: str) -> Iterator[int]:
        if "/" in name or not name.startswith("lithify-"):
            return
        for directory in (self._state / "runs").glob(f"*/containers/{name}"):
            status = read_record(directory / "status.json")
            if is_alive(status):
                yield int(status["pid"])

    def _sweep_run(self, run: Path, *, kept: bool) -> Iterator[str]:
        stays = False
        containers = run / "containers"
        for directory in sorted(containers.iterdir()) if containers.is_dir() else ():
            if (directory / "kept").exists() and not kept:
                stays = True
                continue
            _dismantle(directory, run / "runtime")
            yield f"container {printable(directory.name)}"
        if not stays:
            discard(run)


class BundleContainer:
    """A container that the bundle engine made."""

    engine = "bundle"

    def __init__(
        self,
        engine: BundleEngine,
        name: str,
        directory: Path,
        runtime: Runtime,
        image: LoadedImage,
        *,
        idle: bool,
        extras: Extras,
    ) -> None:
        self.name = name
        self.named: Mapping[PurePosixPath, Path] = {}
        """The directory of each named volume, by the path at which a plan mounts it."""
        self.notes: tuple[str, ...] = ()
        """What could not be made as an engine makes it, in sentences."""
        self._engine = engine
        self._directory = directory
        self._runtime = runtime
        self._image = image
        self._idle = idle
        self._extras = extras
        self._prepared: Prepared | None = None
        self._link: Link | None = None

    def prepare(
        self, root: Root, plan: MountPlan | None, named: Mapping[PurePosixPath, Path], memory: int | None
    ) -> None:
        """Lay out everything that the runtime is given."""
        self.named = named
        record = {"runtime": self._runtime.name, "link": self._link_name, "image": str(self._image.rootfs)}
        write_record(self._directory / "container.json", record)
        for name in ("root", "upper", "work", "points"):
            (self._directory / name).mkdir(mode=0o755)
        cgroups = self._runtime.cgroups
        with RootFilesystem(self._image.rootfs) as image:
            prepared = prepare(
                self._image.facts,
                image,
                plan,
                Setting(
                    directory=self._directory,
                    root=self._directory / "root",
                    read_only=root is Root.READ_ONLY,
                    hostname=self._hostname,
                    named=named,
                    cgroup=f"/{self.name}" if cgroups else None,
                    memory=memory if cgroups else None,
                    extras=self._extras,
                ),
            )
            mounts = prepared.spec.all_mounts()
            mount_points(image, mounts, prepared.spec.process.working_directory, self._directory / "points")
            give_attributes(image, ROOT, self._directory / "upper")
        if memory and not cgroups:
            self._note("the memory limit is not set: no cgroup can be made here")
        write_record(self._directory / "config.json", prepared.spec.render())
        self._prepared = prepared

    def start(self) -> None:
        """Start it; raises EngineRefused, with the runtime's words, where it can't be started."""
        assert self._prepared is not None
        if self.pid() is not None:
            raise EngineRefused(f"{self.name} runs already")
        self._await_end(_END_TIMEOUT)
        self._runtime.delete(self.name)
        for name in ("status.json", "shim.json", "exit.json", "pid", "runtime.log"):
            (self._directory / name).unlink(missing_ok=True)
        with _needing_room(self._directory):
            self._prepared.places.renew()
        try:
            with _needing_room(self._directory):
                pid = self._create()
            if not self._extras.joins and (self._extras.linked or not self._idle):
                self._connect(pid)
            if not self._idle:
                self._runtime.start(self.name)
        except BaseException:
            with suppress(LithifyError):
                self.kill()
            raise

    def _create(self) -> int:
        """Have a shim create the container; return its pid."""
        orders = self._directory / "orders.json"
        write_record(orders, self._orders())
        command = [sys.executable, "-I", "-S", str(shim.__file__), str(orders)]
        result = process.run(command, timeout=_CREATE_TIMEOUT)
        status = read_record(self._directory / "status.json")
        if "pid" in status:
            return int(status["pid"])
        answer = read_json(result.stdout)
        why = said(self._directory / "runtime.log") or answer.get("error") or result.message or "no answer"
        message = f"{self._runtime.name} can't create {self.name}: {printable(why)}"
        if answer.get("errno") in (errno.EPERM, errno.EACCES):
            raise NotPermitted(message, hint="it takes CAP_SYS_ADMIN: in a container, one that is privileged")
        if answer.get("errno"):
            raise EngineRefused(message, hint="can the filesystem hold an overlay? LITHIFY_STATE names another")
        raise EngineRefused(message)

    def _orders(self) -> dict[str, object]:
        directory = self._directory
        lowers = f"{_escaped(directory / 'points', colon=True)}:{_escaped(self._image.rootfs, colon=True)}"
        layers = f"upperdir={_escaped(directory / 'upper')},workdir={_escaped(directory / 'work')}"
        options = f"lowerdir={lowers},{layers},index=off,metacopy=off"
        # marks in user.* are all that a user namespace may set; the kernel then follows no redirect, and wants no word
        options += ",userxattr" if rootless.in_user_namespace() else ",redirect_dir=off"
        if len(os.fsencode(options)) >= os.sysconf("SC_PAGE_SIZE"):  # as much as mount(2) takes
            raise EngineRefused(
                f"the path of {printable(self._image.rootfs)} is too long for an overlay", hint="give it a shorter one"
            )
        pid_file, log = directory / "pid", directory / "runtime.log"
        return {
            "directory": str(directory),
            "overlay": options,
            "root": str(directory / "root"),
            "hide": list(self._runtime.hidden),
            "cover": list(self._runtime.covered),
            "create": self._runtime.create(self.name, bundle=directory, pid_file=pid_file, log=log),
            "pid_file": str(pid_file),
            "shim": str(directory / "shim.json"),
            "status": str(directory / "status.json"),
            "exit": str(directory / "exit.json"),
            "log": str(directory / "log"),
            "log_limit": _LOG_LIMIT,
        }

    def _connect(self, pid: int) -> None:
        link = network.connect(pid, self._link_name)
        if isinstance(link, Link):
            self._link = link
            assert self._prepared is not None
            # in place: the container has this very file mounted already
            self._prepared.hosts.write_text(f"{HOSTS}{link.container}\t{self._hostname}\n", encoding="utf-8")
        else:
            self._note(link)

    def pid(self) -> int | None:
        """Return the host's pid of its first process; None while it does not run."""
        status = read_record(self._directory / "status.json")
        return int(status["pid"]) if is_alive(status) else None

    def exit_code(self) -> int | None:
        """Return its last exit code; None while it runs, and before its first start."""
        if self.pid() is None:
            self._await_end(_END_TIMEOUT)
        code = read_record(self._directory / "exit.json").get("code")
        if code is None and read_record(self._directory / "status.json") and self.pid() is None:
            return 255  # somebody killed the shim: the kernel told nobody else
        return code if isinstance(code, int) else None

    def address(self) -> str | None:
        """Return the address at which the host reaches it; None while it does not run or has loopback only."""
        return str(self._link.container) if self._link is not None and self.pid() is not None else None

    def stop(self, timeout: float) -> int:
        """Ask it to end by its stop signal, kill it after `timeout` seconds, return the exit code."""
        pid = self.pid()
        if pid is not None:
            _signal(pid, _number(self._image.facts.stop_signal))
            if not self._await_end(timeout):
                self.kill()
        code = self.exit_code()
        return 255 if code is None else code

    def kill(self) -> None:
        """End it by SIGKILL; the container itself stays and can be started again."""
        pid = self.pid()
        if pid is not None:
            _signal(pid, signal.SIGKILL)
        if not self._await_end(_END_TIMEOUT):
            raise EngineRefused(f"{self.name} does not end")

    def _await_end(self, timeout: float) -> bool:
        """Wait until process and shim are gone, and with them the overlay; tell whether they are."""
        return _await_gone(self._directory, timeout)

    def logs(self, limit: int = 1 << 20) -> bytes:
        """Return the last `limit` bytes of its standard output and error of all its starts, in order.

        What is kept is bounded as well: at least the last 8 MiB.
        """
        late = _tail(self._directory / "log", limit)
        early = _tail(self._directory / "log.1", limit - len(late)) if len(late) < limit else b""
        return early + late

    def execute(self, command: Sequence[str], *, user: str | None = None, timeout: float = 30.0) -> Exit:
        """Run `command` inside; code 124 where it took longer than `timeout`, 127 where it could not be started."""
        if self.pid() is None:
            raise EngineRefused(f"{self.name} does not run")
        assert self._prepared is not None
        spec = replace(self._prepared.spec.process, arguments=tuple(command))
        if user is not None:
            with RootFilesystem(self._image.rootfs) as image:
                who = image.user(user)
            spec = replace(spec, user=who, environment={**spec.environment, "HOME": who.home})
        token = secrets.token_hex(4)
        request, pid_file = self._directory / f"exec-{token}.json", self._directory / f"exec-{token}.pid"
        write_record(request, spec.render())
        late = threading.Event()

        def cut_short() -> None:
            late.set()
            _kill_session(pid_file)

        # what runs inside is killed first and the runtime reaps it: the container can't end before each of its corpses
        timer = threading.Timer(timeout, cut_short)
        timer.start()
        try:
            words = ("exec", "--process", str(request), "--pid-file", str(pid_file), self.name)
            result = process.run(self._runtime.visible(*words), timeout=timeout + _GRACE)
            output = result.stdout + result.stderr
            if late.is_set():
                return Exit(code=process.TIMED_OUT, output=output)
            return Exit(code=result.code if pid_file.exists() else 127, output=output)
        finally:
            timer.cancel()
            request.unlink(missing_ok=True)
            pid_file.unlink(missing_ok=True)

    def upper_layer(self) -> UpperLayer | None:
        """Return its overlay. What the runtime needs made lies in a layer of its own: nothing in the upper is noise."""
        assert self._prepared is not None
        return UpperLayer(
            upper=self._directory / "upper",
            lowers=(self._directory / "points", self._image.rootfs),
            noise=frozenset(mount.destination for mount in self._prepared.spec.all_mounts()),
            user_xattr=rootless.in_user_namespace(),
        )

    def volumes(self) -> Mapping[PurePosixPath, Path]:
        """Return the directories behind the image's VOLUMEs."""
        return dict(self._prepared.places.volumes) if self._prepared else {}

    def diff(self) -> Sequence[tuple[str, PurePosixPath]] | None:
        """Return None: there is no engine that could say more than the upper layer."""
        return None

    def keep(self) -> None:
        """Leave it for a look: neither this process nor a later sweep removes it."""
        (self._directory / "kept").touch()

    def remove(self) -> None:
        """Remove it with everything that was made for it; no error where it is gone already."""
        _dismantle(self._directory, self._runtime.state)
        self._engine.forget(self)

    @property
    def cannot_show(self) -> tuple[str, ...]:
        """What a proof in this container leaves open, in sentences for a verdict."""
        apart = (rootless.NETWORK_APART,) if rootless.entered() else ()
        return (*CANNOT_SHOW, *apart, *self._image.notes, *self.notes)

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes = (*self.notes, text)

    @property
    def _hostname(self) -> str:
        return self._extras.hostname or self.name[-_NAME_LENGTH:]

    @property
    def _link_name(self) -> str:
        return f"li{self.name[-_NAME_LENGTH:]}"  # the kernel takes 15 characters


def _bare(plan: MountPlan) -> MountPlan:
    """Return what of a plan makes a difference to a container: no reasons, and nothing that stays as it is."""
    return MountPlan(
        key=plan.key,
        container=plan.container,
        mounts=tuple(replace(mount, reasons=(), confidence=1.0) for mount in plan.mounts),
        redirects=tuple(replace(redirect, reason="") for redirect in plan.redirects),
    )


@contextmanager
def _needing_room(directory: Path) -> Iterator[None]:
    """Turn a full disk under `directory` into EngineRefused."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        hint = "make room, or name another directory with --state-dir"
        raise EngineRefused(f"{printable(directory)}: {error.strerror}", hint=hint) from error


def _device(path: Path) -> int:
    """Return the filesystem that holds `path`, or would once it is made."""
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    return existing.stat().st_dev


def _escaped(path: Path, *, colon: bool = False) -> str:
    """Return a path as overlay's options take it (kernel docs): commas split options, colons split lower layers."""
    text = str(path).replace("\\", "\\\\").replace(",", "\\,")
    return text.replace(":", "\\:") if colon else text


def _dismantle(directory: Path, runtime_state: Path) -> None:
    """End what runs in a container's directory and remove it with all that belongs to it, whoever made it."""
    with _held(directory) as there:
        if not there:
            return
        record = read_record(directory / "container.json")
        status = read_record(directory / "status.json")
        if is_alive(status):
            _signal(int(status["pid"]), signal.SIGKILL)
        gone = _await_gone(directory, _END_TIMEOUT)
        try:
            Runtime(str(record.get("runtime", RUNTIMES[0])), runtime_state).delete(directory.name)
        except EngineUnreachable:
            gone = False  # the runtime was taken away since: what it would have ended, we do
        if not gone:
            _kill_shim(directory)
        for group in cgroup_directories(f"/{directory.name}"):  # of a runtime that was killed half-way
            with suppress(OSError):
                os.rmdir(group)
        network.disconnect(str(record.get("link", "")))
        remove_tree(directory)


@contextmanager
def _held(directory: Path) -> Iterator[bool]:
    """Wait until no shim is in the middle of a create and keep others from beginning one; whether there is a directory.

    A shim whose lithify was killed goes on until its container is created, and only then is there something to end.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        _await(lambda: _locked(descriptor), _CREATE_TIMEOUT)
        yield directory.exists()
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _kill_shim(directory: Path) -> None:
    record = read_record(directory / "shim.json")
    if is_alive(record):
        _signal(int(record["pid"]), signal.SIGKILL)
        _await_gone(directory, 1.0)


def _await_gone(directory: Path, timeout: float) -> bool:
    """Wait until a container's process and shim are gone; tell whether they are."""
    records = (directory / "status.json", directory / "shim.json")
    return _await(lambda: not any(is_alive(read_record(record)) for record in records), timeout)


def _await(condition: Callable[[], bool], timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    pause = 0.002
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)
    return True


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
    except PermissionError as error:
        if not rootless.kill_outside(pid, number):
            raise NotPermitted(f"may not signal process {pid}", hint="run lithify as root") from error


def _kill_session(pid_file: Path) -> None:
    """Kill what an `exec` that ran out of time started: its session, as far as that is inside the container."""
    try:
        leader = int(pid_file.read_text(encoding="ascii"))
        session, inside = os.getsid(leader), os.readlink(f"/proc/{leader}/ns/pid")
    except (OSError, ValueError):
        return
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.getsid(int(name)) == session and os.readlink(f"/proc/{name}/ns/pid") == inside:
                _signal(int(name), signal.SIGKILL)
        except OSError:
            continue


def _number(name: str) -> int:
    """Return the number of a signal as images name it (`SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`); SIGTERM for nonsense."""
    text = name.strip().upper().removeprefix("SIG")
    base, plus, offset = text.partition("+")
    if text.isdecimal() and 0 < int(text) < signal.NSIG:
        return int(text)
    number = getattr(signal, f"SIG{base}", signal.SIGTERM)
    return int(number) + (int(offset) if plus and offset.isdecimal() else 0)


def _tail(path: Path, limit: int) -> bytes:
    try:
        with open(path, "rb") as file:
            file.seek(max(os.fstat(file.fileno()).st_size - limit, 0))
            return file.read(limit)
    except FileNotFoundError:
        return b""


def _plain(text: str) -> str:
    """Return `text` fit for a name: lower case letters, digits and dashes."""
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in text.lower())[:40].strip("-")
