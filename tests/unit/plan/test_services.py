"""What a plan comes to for services that people run: write sets as they were seen, plans as an expert makes them."""

from dataclasses import dataclass, field
from pathlib import PurePosixPath

import pytest
from tests.unit.plan.facts import SOCKET, P, came_and_went, directory, file, image, link, made, write, write_set

from lithify.model.image import EntryType
from lithify.model.mount import Mount, MountPlan, Seed
from lithify.model.writes import Change, Process, Source, Write, Writer, WriterStyle, WriteSet
from lithify.plan import PlanSettings, StateDecision, make_plan


def shown(mount: Mount) -> str:
    """Put a mount into few words: `memory`, `volume content`, `file scratch`, `memory exec`."""
    words = ["file"] if mount.type is EntryType.FILE else []
    words.append(mount.storage.value)
    if mount.seed is not Seed.NONE:
        words.append(mount.seed.value)
    if mount.executable:
        words.append("exec")
    return " ".join(words)


@dataclass(frozen=True, kw_only=True)
class Case:
    name: str
    writes: WriteSet
    places: dict[str, str]
    refused: tuple[str, ...] = ()
    redirected: dict[str, str] = field(default_factory=dict)
    settings: PlanSettings = field(default_factory=PlanSettings)

    def __str__(self) -> str:
        return self.name


PYTHON, PG, RABBIT = "/usr/bin/python3.11:1000", "/usr/lib/postgresql/15/bin/postgres:106", "/usr/bin/beam.smp:100"
PGDATA = "/var/lib/postgresql/15/main"


def nginx() -> WriteSet:
    temporary = ("client", "proxy", "fastcgi", "scgi", "uwsgi")
    return write_set(
        write("/etc/nginx/conf.d/default.conf", Change.REPLACED, by="/usr/bin/sed:0", content="text"),
        write("/run/nginx.pid", by="/usr/sbin/nginx:0"),
        *(made(f"/var/cache/nginx/{name}_temp", uid=101, mode=0o700, by="/usr/sbin/nginx:0") for name in temporary),
        facts=image(
            {
                "/etc/nginx": directory(files=20, dirs=5, size=30_000),
                "/etc/nginx/conf.d": directory(files=1, size=1000),
                "/etc/nginx/conf.d/default.conf": file(size=1000),
                "/var/cache/nginx": directory(),
            }
        ),
    )


def apache() -> WriteSet:
    return write_set(
        write("/run/apache2/apache2.pid", by="/usr/sbin/apache2:0"),
        write("/run/apache2/cgisock.1", kind=SOCKET),
        came_and_went("/run/lock/apache2"),
        write("/var/log/apache2/error.log", Change.OPENED),
        facts=image(
            {
                "/run": directory(dirs=3),
                "/run/apache2": directory(),
                "/run/lock/apache2": directory(uid=33),
                "/var/log/apache2": directory(mode=0o750, gid=4, files=1),
                "/var/log/apache2/error.log": file(size=0),
            }
        ),
    )


def redis() -> WriteSet:
    return write_set(
        write("/data/dump.rdb", content="redis", uid=999, size=2 << 20, style=WriterStyle.RENAME),
        made("/data/appendonlydir", uid=999, by="/usr/bin/redis-server:999"),
        write("/data/appendonlydir/appendonly.aof.1.base.rdb", size=1 << 20),
        facts=image({"/data": directory(uid=999)}),
    )


def postgres() -> WriteSet:
    return write_set(
        write(f"{PGDATA}/postmaster.pid", by=PG),
        came_and_went(f"{PGDATA}/pg_stat_tmp", "global.tmp", by=PG),
        write(f"{PGDATA}/base/1/1259", Change.CHANGED, size=100_000, by=PG),
        write(f"{PGDATA}/pg_wal/000000010000000000000002", size=16 << 20, by=PG),
        write("/run/postgresql/.s.PGSQL.5432", kind=SOCKET, by=PG),
        write("/run/postgresql/.s.PGSQL.5432.lock", by=PG),
        write("/var/log/postgresql/postgresql-15-main.log", by=PG),
        facts=image(
            {
                "/var/lib/postgresql": directory(uid=106, files=970, dirs=28, size=40 << 20),
                "/var/lib/postgresql/15": directory(uid=106, files=970, dirs=27, size=40 << 20),
                PGDATA: directory(mode=0o700, uid=106, files=970, dirs=26, size=40 << 20),
                f"{PGDATA}/base": directory(uid=106, files=900, dirs=3, size=22 << 20),
                f"{PGDATA}/base/1": directory(uid=106, files=300, size=7 << 20),
                f"{PGDATA}/base/1/1259": file(),
                f"{PGDATA}/pg_wal": directory(uid=106, files=1, dirs=1, size=16 << 20),
                f"{PGDATA}/pg_stat_tmp": directory(uid=106, mode=0o700),
                "/run/postgresql": directory(mode=0o2775, uid=106),
                "/var/log/postgresql": directory(mode=0o1775, gid=106),
            }
        ),
    )


def supervised_php() -> WriteSet:
    return write_set(
        write("/run/supervisord.pid"),
        write("/run/supervisor.sock", kind=SOCKET),
        write("/run/php/php8.2-fpm.sock", kind=SOCKET),
        write("/run/nginx.pid"),
        write("/var/log/supervisor/supervisord.log"),
        came_and_went("/tmp", "tmpab12x9"),
        *(made(f"/var/lib/nginx/{name}", uid=33, mode=0o700) for name in ("body", "proxy", "fastcgi", "uwsgi", "scgi")),
        write("/var/lib/php/sessions/sess_ab12"),
        facts=image(
            {
                "/run": directory(dirs=2),
                "/run/php": directory(uid=33),
                "/var/log/supervisor": directory(),
                "/var/lib/nginx": directory(),
                "/var/lib/php": directory(files=20, dirs=6),
                "/var/lib/php/sessions": directory(mode=0o1733),
            }
        ),
    )


def gunicorn(*arguments: str) -> WriteSet:
    return write_set(
        made("/app/uploads", uid=1000, by=PYTHON),
        write("/app/uploads/a.bin", size=300_000, by=PYTHON),
        write("/app/schedule", content="data", by=PYTHON, size=16_384),
        made("/app/__pycache__"),
        write("/app/__pycache__/app.cpython-311.pyc"),
        came_and_went("/tmp", "wgunicorn-x8x8x"),
        facts=image({"/app": directory(uid=1000, files=5)}, code=("/app",), working_directory=P("/app")),
        command=("gunicorn", *arguments),
        processes=(Process(program=PYTHON.partition(":")[0], working_directory=P("/app")),),
    )


def node() -> WriteSet:
    return write_set(
        made("/home/node/.npm", uid=1000),
        made("/home/node/.npm/_cacache", uid=1000),
        write("/home/node/.npm/_cacache/index"),
        facts=image(
            {"/home/node": directory(uid=1000, files=3), "/home/node/app": directory(files=9)}, code=("/home/node/app",)
        ),
    )


def tomcat() -> WriteSet:
    return write_set(
        write("/var/log/tomcat10/catalina.2026-11-22.log"),
        made("/var/cache/tomcat10/Catalina", uid=998),
        made("/tmp/hsperfdata_tomcat", uid=998),
        write("/tmp/hsperfdata_tomcat/7"),
        came_and_went("/tmp", "libjna123.so", executed=True),
        made("/var/lib/tomcat10/conf/Catalina", uid=998),
        facts=image(
            {
                "/var/log/tomcat10": directory(mode=0o2770, uid=998),
                "/var/cache/tomcat10": directory(uid=998),
                "/var/lib/tomcat10": directory(files=3, dirs=9),
                "/var/lib/tomcat10/conf": link("/etc/tomcat10"),
                "/etc/tomcat10": directory(files=9, dirs=2, gid=998),
            },
            code=("/usr/share/tomcat10",),
        ),
    )


def rabbitmq() -> WriteSet:
    return write_set(
        write("/var/lib/rabbitmq/.erlang.cookie", mode=0o400, uid=100, by=RABBIT),
        made("/var/lib/rabbitmq/mnesia", uid=100, by=RABBIT),
        made("/var/lib/rabbitmq/mnesia/rabbit@app", uid=100, by=RABBIT),
        write("/var/lib/rabbitmq/mnesia/rabbit@app/LATEST.LOG", by=RABBIT),
        write("/var/log/rabbitmq/rabbit@app.log"),
        facts=image({"/var/lib/rabbitmq": directory(uid=100), "/var/log/rabbitmq": directory(uid=100)}),
    )


def sqlite(*writes: Write, baked: bool = False, variable: bool = False) -> WriteSet:
    return write_set(
        *writes,
        facts=image(
            {"/app": directory(files=4, uid=1000)} | ({"/app/data.db": file(uid=1000, size=8192)} if baked else {}),
            code=("/app",),
        ),
        processes=(Process(program="/usr/bin/python3", path_variables=(("DB", "/app/data.db"),) if variable else ()),),
    )


CASES = (
    Case(
        name="nginx: its sed -i makes conf.d the place",
        writes=nginx(),
        places={"/etc/nginx/conf.d": "memory content", "/run": "memory skeleton", "/var/cache/nginx": "memory"},
    ),
    Case(
        name="apache: narrow places, no wide one on /run",
        writes=apache(),
        places={
            "/run/apache2": "memory",
            "/run/lock/apache2": "memory",
            "/var/log/apache2": "scratch content",
        },
    ),
    Case(name="redis: one volume", writes=redis(), places={"/data": "volume"}),
    Case(
        name="redis that may forget",
        writes=redis(),
        places={"/data": "scratch"},
        settings=PlanSettings(state_decisions={P("/data"): StateDecision.EPHEMERAL}),
    ),
    Case(
        name="postgres: the cluster that the package made is the seed",
        writes=postgres(),
        places={PGDATA: "volume content", "/run/postgresql": "memory", "/var/log/postgresql": "scratch"},
    ),
    Case(
        name="php-fpm and nginx under supervisor",
        writes=supervised_php(),
        places={
            "/run": "memory skeleton",
            "/tmp": "memory",
            "/var/lib/nginx": "memory",
            "/var/lib/php/sessions": "volume",
            "/var/log/supervisor": "scratch",
        },
    ),
    Case(
        name="gunicorn: uploads are a place of their own, the schedule beside the code is refused",
        writes=gunicorn(),
        places={"/app/uploads": "volume", "/tmp": "memory"},
        refused=("/app/schedule",),
    ),
    Case(
        name="gunicorn whose command names the schedule",
        writes=gunicorn("--schedule=/app/schedule"),
        places={"/app/uploads": "volume", "/tmp": "memory", "/mnt/schedule": "volume"},
        redirected={"/app/schedule": "--schedule=/mnt/schedule/schedule"},
    ),
    Case(
        name="gunicorn whose command names the schedule by a relative name",
        writes=gunicorn("--schedule", "schedule"),
        places={"/app/uploads": "volume", "/tmp": "memory", "/mnt/schedule": "volume"},
        redirected={"/app/schedule": "/mnt/schedule/schedule"},
    ),
    Case(name="node: only the cache in the home", writes=node(), places={"/home/node/.npm": "memory"}),
    Case(
        name="tomcat: code runs from /tmp, a link in conf is followed",
        writes=tomcat(),
        places={
            "/etc/tomcat10/Catalina": "memory",
            "/tmp": "memory exec",
            "/var/cache/tomcat10": "memory",
            "/var/log/tomcat10": "scratch",
        },
    ),
    Case(
        name="rabbitmq",
        writes=rabbitmq(),
        places={"/var/lib/rabbitmq": "volume", "/var/log/rabbitmq": "scratch"},
    ),
    Case(
        name="sqlite in WAL mode that the image brings, beside the code: three files",
        writes=sqlite(
            write("/app/data.db", Change.CHANGED, content="sqlite", in_place=True),
            came_and_went("/app", "data.db-wal", "data.db-shm"),
            baked=True,
        ),
        places={
            "/app/data.db": "file volume content",
            "/app/data.db-shm": "file volume",
            "/app/data.db-wal": "file volume",
        },
    ),
    Case(
        name="sqlite that is made beside the code: it needs a rollback journal first, so no file mounts",
        writes=sqlite(write("/app/data.db", content="sqlite", in_place=True), write("/app/data.db-wal", in_place=True)),
        places={},
        refused=("/app",),
    ),
    Case(
        name="sqlite beside the code, named by a variable",
        writes=sqlite(
            write("/app/data.db", content="sqlite", in_place=True),
            came_and_went("/app", "data.db-journal"),
            variable=True,
        ),
        places={"/mnt/db": "volume"},
        redirected={"/app/data.db": "/mnt/db/data.db"},
    ),
    Case(
        name="cron and logrotate",
        writes=write_set(
            write("/run/crond.pid", by="/usr/sbin/cron:0"),
            write("/var/lib/logrotate/status", content="text"),
            came_and_went("/var/lib/logrotate", "status.tmp"),
            write("/var/log/app/app.log.1"),
            facts=image({"/var/lib/logrotate": directory(), "/var/log/app": directory()}),
        ),
        places={"/run": "memory skeleton", "/var/lib/logrotate": "volume", "/var/log/app": "scratch"},
    ),
    Case(name="memcached: nothing", writes=write_set(), places={}),
    Case(
        name="static binary that writes to the root directory",
        writes=write_set(write("/store.db", uid=65532), facts=image({"/": directory(files=3)}, code=("/",))),
        places={},
        refused=("/store.db",),
    ),
    Case(
        name="users mapped at start",
        writes=write_set(write("/etc/passwd", Change.REPLACED), write("/etc/group", Change.REPLACED)),
        places={},
        refused=("/etc",),
    ),
    Case(
        name="plugins downloaded beside the program's own",
        writes=write_set(
            write("/usr/share/grafana/plugins-bundled/p.so", content="elf"),
            facts=image({"/usr/share/grafana": directory(files=900)}, code=("/usr/share/grafana",)),
        ),
        places={},
        refused=("/usr/share/grafana/plugins-bundled/p.so",),
    ),
    Case(
        name="an image's VOLUME, written below",
        writes=write_set(
            write("/var/lib/store/a/b.dat"), facts=image({}, volumes=(P("/var/lib/store"),)), container="shop"
        ),
        places={"/var/lib/store": "volume"},
    ),
    Case(
        name="what the user mounts needs nothing",
        writes=write_set(write("/data/x"), write("/dev/shm/y"), write("/proc/self/z"), mounted=(P("/data"),)),
        places={},
    ),
    Case(
        name="directory of programs written by its init: no cover, the child alone",
        writes=write_set(
            made("/init/files"),
            write("/init/files/a"),
            facts=image({"/init": directory(files=3, exe=2)}),
        ),
        places={"/init/files": "volume"},
    ),
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_plan_of_a_service(case: Case) -> None:
    """The plan has the places, redirects and refusals that an expert would choose."""
    plan = make_plan(case.writes, case.settings)
    assert {str(mount.path): shown(mount) for mount in plan.mounts} == case.places
    assert {str(r.old): r.value or (r.argument or (0, ""))[1] for r in plan.redirects} == case.redirected
    assert tuple(str(refusal.path) for refusal in plan.refusals) == case.refused
    assert all(refusal.remedy for refusal in plan.refusals)
    assert all(mount.reasons for mount in plan.mounts)
    assert make_plan(case.writes, case.settings) == plan


def place(plan: MountPlan, path: str) -> Mount:
    """Return the mount at a path."""
    return next(mount for mount in plan.mounts if mount.path == PurePosixPath(path))


def test_owner_mode_and_counts_of_a_seeded_volume() -> None:
    """The cluster's own directory sets owner and mode, and everything below it becomes writable."""
    mount = place(make_plan(postgres()), PGDATA)
    assert (mount.uid, mount.gid, mount.mode) == (106, 106, 0o700)
    assert (mount.writable_entries, mount.hidden_entries, mount.seed_bytes) == (996, 0, 40 << 20)
    assert mount.name == "app-var-lib-postgresql-15-main"
    assert mount.size is None


def test_reasons_name_writer_evidence_and_size() -> None:
    """A person reads who wrote what, how that is known, and why the place is as large as it is."""
    words = " ".join(place(make_plan(nginx()), "/run").reasons)
    assert "nginx (uid 0) made nginx.pid; known from the upper layer." in words
    assert "never less than 4.0 MiB" in words
    assert "1 directory here and no files" in words


def test_programs_that_did_the_same_are_named_together() -> None:
    """A script of sed, mv and rm is one sentence; another user's program is another."""
    uids = {"sed": 5, "mv": 5, "rm": 5, "cp": 7}
    writers = tuple(Writer(program=f"/usr/bin/{program}", uid=uid) for program, uid in uids.items())
    seen = write("/srv/d/list", writers=writers, evidence=(Source.LIVE,))
    [place] = make_plan(write_set(seen, facts=image({"/srv/d": directory()}))).mounts
    told = [reason for reason in place.reasons if "made list" in reason]
    assert told == [
        "cp (uid 7) made list; known from the kernel's events.",
        "mv, rm and sed (uid 5) made list; known from the kernel's events.",
    ]


def test_side_files_belong_to_the_owner_of_the_database() -> None:
    """Files that the image lacks get the owner of the one they stand beside."""
    case = next(c for c in CASES if "three files" in c.name)
    plan = make_plan(case.writes)
    assert {mount.uid for mount in plan.mounts} == {1000}
    assert len({mount.name for mount in plan.mounts}) == 3
