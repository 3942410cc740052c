"""Plans that the tests of every format write."""

from pathlib import PurePosixPath

from hypothesis import strategies as st

from lithify.model.image import ImageFacts
from lithify.model.location import Route
from lithify.model.mount import Mount, MountPlan, Redirect, Seed, StorageKind
from lithify.model.patch import Planned
from lithify.model.writes import RunKey

MEMORY, SCRATCH, VOLUME = StorageKind.MEMORY, StorageKind.SCRATCH, StorageKind.VOLUME


def place(path: str, storage: StorageKind = MEMORY, **more: object) -> Mount:
    return Mount(path=PurePosixPath(path), storage=storage, **more)  # type: ignore[arg-type]


def planned(
    *mounts: Mount,
    container: str = "web",
    route: Route = (),
    document: int = 0,
    redirects: tuple[Redirect, ...] = (),
    image: ImageFacts | None = None,
) -> Planned:
    plan = MountPlan(key=RunKey(image="x"), container=container, mounts=mounts, redirects=redirects)
    return Planned(document=document, route=route, container=container, plan=plan, image=image)


def redirect(name: str, value: str) -> Redirect:
    return Redirect(old=PurePosixPath("/root"), new=PurePosixPath(value), variable=name, value=value)


_PATHS = ("/tmp", "/run", "/var/tmp", "/var/cache/web", "/var/lib/web data", "/var/log/a%b", "/srv/$x", "/o'neill")
mounts = st.lists(
    st.builds(
        place,
        st.sampled_from(_PATHS),
        st.sampled_from(StorageKind),
        size=st.sampled_from((None, 1 << 20, 3000)),
        uid=st.sampled_from((0, 101)),
        gid=st.sampled_from((0, 101)),
        mode=st.sampled_from((0o755, 0o700, 0o1777)),
        seed=st.sampled_from(Seed),
        executable=st.booleans(),
    ),
    max_size=4,
    unique_by=lambda mount: mount.path,
)
