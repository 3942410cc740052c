"""Evidence decides what a path is for; names only hint."""

import pytest
from tests.unit.plan.facts import (
    DIRECTORY,
    SOCKET,
    P,
    came_and_went,
    directory,
    file,
    image,
    link,
    made,
    write,
    write_set,
)

from lithify.model.mount import PathClass, StorageKind
from lithify.model.writes import Change, Process, Write
from lithify.plan import make_plan
from lithify.plan.classify import classify, surroundings

FACTS = image(
    {
        "/app": directory(files=9, dirs=2),
        "/app/main.py": file(exe=1),
        "/app/settings.ini": file(),
        "/app/notes.txt": file(),
        "/etc/nginx/conf.d": directory(files=1),
        "/etc/nginx/conf.d/default.conf": file(),
    },
    code=("/app",),
    volumes=(),
)

CASES: list[tuple[Write, PathClass]] = [
    # what it is
    (write("/app/x", kind=SOCKET), PathClass.RUNTIME),
    (write("/var/lib/app/s.dat", content="sqlite"), PathClass.STATE),
    (write("/srv/x/unknown", content="redis"), PathClass.STATE),
    (write("/app/main.py", Change.CHANGED), PathClass.CODE),
    (write("/app/plugins/new.so", content="elf"), PathClass.CODE),
    (write("/usr/bin/tool"), PathClass.CODE),
    (write("/opt/x/site-packages/m.py"), PathClass.CODE),
    (write("/tmp/libnative1.so", content="elf"), PathClass.SCRATCH),
    # who users and hosts are
    (write("/etc/passwd", Change.REPLACED), PathClass.IDENTITY),
    (write("/etc/group.lock"), PathClass.IDENTITY),
    (came_and_went("/etc", "passwd.12", ".pwd.lock"), PathClass.IDENTITY),
    (write("/etc/resolv.conf", Change.CHANGED), PathClass.IDENTITY),
    # life times that the hierarchy standard fixes
    (write("/run/anything.db", content="sqlite"), PathClass.RUNTIME),
    (write("/var/cache/app/index.db"), PathClass.CACHE),
    (write("/home/u/.cache/tool/db.sqlite"), PathClass.CACHE),
    (came_and_went("/tmp"), PathClass.SCRATCH),
    # pid files and locks, also among state; not the lock files of package managers
    (write("/var/lib/db/main/postmaster.pid"), PathClass.RUNTIME),
    (came_and_went("/srv/app", "server.lock"), PathClass.RUNTIME),
    (write("/data/yarn.lock", size=90_000), PathClass.STATE),
    # logs, and what only sounds like one
    (write("/var/log/nginx/access.log"), PathClass.LOG),
    (write("/app/production.log"), PathClass.LOG),
    (write("/usr/local/tomcat/logs/catalina.2026-11-22.log"), PathClass.LOG),
    (write("/data/000012.log"), PathClass.STATE),
    (write("/var/lib/mysql/ib_logfile0"), PathClass.STATE),
    (write("/var/log/journal/system.journal"), PathClass.LOG),
    (made("/var/lib/knot/journal", size=33_000), PathClass.STATE),
    (write("/data/journal/j._0"), PathClass.STATE),
    (write("/opt/app/logs/index", content="database"), PathClass.STATE),
    (write("/srv/Mnesia.app/LATEST.LOG", content="database"), PathClass.STATE),
    # nothing left of it
    (came_and_went("/var/lib/nginx/body"), PathClass.SCRATCH),
    (made("/var/lib/nginx/proxy"), PathClass.SCRATCH),
    (made("/app/uploads"), PathClass.STATE),
    (came_and_went("/var/spool/postfix/active"), PathClass.STATE),
    # configuration and data that is text
    (write("/etc/nginx/conf.d/default.conf", Change.REPLACED), PathClass.CONFIG),
    (write("/app/settings.ini", Change.CHANGED, content="text"), PathClass.CONFIG),
    (write("/app/notes.txt", Change.CHANGED, content="text"), PathClass.STATE),
    (write("/var/lib/logrotate/status", content="text"), PathClass.STATE),
    (write("/etc/ssh/ssh_host_rsa_key"), PathClass.STATE),
    # the rest: what is there at the end is kept
    (write("/home/app/report"), PathClass.STATE),
    (write("/home/app/mark", size=0), PathClass.SCRATCH),
    (write("/var/lib/rabbitmq/.erlang.cookie"), PathClass.STATE),
]


@pytest.mark.parametrize(("seen", "expected"), CASES, ids=lambda v: str(v.path) if isinstance(v, Write) else "")
def test_class_of_a_write(seen: Write, expected: PathClass) -> None:
    """Each write has the class that its evidence speaks for."""
    inside = seen.change is Change.CAME_AND_WENT or seen.type is DIRECTORY
    where = surroundings(seen.path if inside else seen.path.parent, FACTS)
    assert classify(seen, where, FACTS).path_class is expected


def test_a_declared_volume_is_state_until_its_name_says_otherwise() -> None:
    """An image declares a VOLUME for what it wants kept; for `/tmp` too, which is scratch all the same."""
    facts = image(volumes=(P("/store"), P("/tmp")))
    for path, expected in (("/store/x", PathClass.STATE), ("/tmp/x", PathClass.SCRATCH)):
        seen = write(path, size=0)
        assert classify(seen, surroundings(seen.path.parent, facts), facts).path_class is expected


@pytest.mark.parametrize(
    ("by", "resident", "expected"),
    [
        ("/usr/bin/sentinel", {"/usr/bin/sentinel"}, PathClass.STATE),
        ("/usr/bin/sentinel", set(), PathClass.CONFIG),  # it came and went: a tool of the start
        ("/usr/bin/sed", {"/usr/bin/sed", "/usr/bin/sentinel"}, PathClass.CONFIG),
        ("/usr/bin/python3.11", {"/usr/bin/python3.11"}, PathClass.CONFIG),  # may be a start script as well
    ],
)
def test_settings_that_the_service_itself_writes_are_state(by: str, resident: set[str], expected: PathClass) -> None:
    """A start script writes the same each time; a service writes what it was told, and reads it back."""
    seen = write("/etc/nginx/conf.d/default.conf", Change.REPLACED, by=by, content="text")
    assert classify(seen, surroundings(seen.path.parent, FACTS), FACTS, resident).path_class is expected
    below = made("/home/app/.config", size=100, entries=3, by=by)
    assert classify(below, surroundings(below.path, FACTS), FACTS, resident).path_class is expected
    room = made("/home/app/.config/torrents", by=by)
    assert classify(room, surroundings(room.path, FACTS), FACTS, resident).path_class is expected


def test_a_socket_alone_where_state_lies_asks_whether_more_comes() -> None:
    """Accounts that nobody registered while it was observed would go with the memory."""
    went = write("/var/lib/chat", Change.CAME_AND_WENT, by="/usr/bin/chat:5", names=("chat.sock",))
    plan = make_plan(write_set(went, facts=image({"/var/lib/chat": directory(uid=5)})))
    assert [mount.storage for mount in plan.mounts] == [StorageKind.MEMORY]
    assert [question.option for question in plan.questions] == ["--state /var/lib/chat=volume"]


def test_data_left_in_tmp_asks_whether_it_is_data() -> None:
    """ZooKeeper's own example keeps its data there; what a process leaves by its number is not asked about."""
    made_up = (made("/tmp/nsd-xfr-1", size=9), made("/tmp/hsperfdata_root", size=9), made("/tmp/empty"))
    store = made("/tmp/zookeeper", size=9_000, entries=5)
    for data, asked in ((store, ["--state /tmp/zookeeper=volume"]), (made_up[0], [])):
        plan = make_plan(write_set(data, *made_up[1:]))
        assert [question.option for question in plan.questions] == asked


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("sentinel", "/etc/s/s.conf"), StorageKind.VOLUME),
        (("/usr/bin/sentinel",), StorageKind.VOLUME),
        (("/start", "sentinel"), StorageKind.MEMORY),  # it may have written that before it became the service
    ],
)
def test_a_script_that_becomes_the_service_is_not_the_service(command: tuple[str, ...], expected: StorageKind) -> None:
    """What was written shortly before `exec` shows as written by the program that came after it."""
    entries = {"/etc/s": directory(files=1), "/etc/s/s.conf": file(), "/usr/bin/sentinel": link("/usr/bin/server")}
    writes = write("/etc/s/s.conf", Change.CHANGED, by="/usr/bin/server:0", content="text")
    learnt = write_set(writes, facts=image(entries, command=command), processes=(Process(program="/usr/bin/server"),))
    (mount,) = make_plan(learnt).mounts
    assert mount.storage is expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("root.key.tmp", "root.key", "new.root.key", "root.key-journal"), {PathClass.STATE}),
        (("root.key.tmp", "body"), {PathClass.STATE, PathClass.SCRATCH}),
        (("root.keys",), {PathClass.STATE, PathClass.SCRATCH}),
    ],
)
def test_temporary_names_of_a_file_that_stayed_are_for_what_it_is(
    names: tuple[str, ...], expected: set[PathClass]
) -> None:
    """A key that is written anew and renamed is no scratch; what else passes there is."""
    writes = (write("/var/lib/unbound/root.key"), came_and_went("/var/lib/unbound", *names))
    plan = make_plan(write_set(*writes, facts=image({"/var/lib/unbound": directory(uid=5)})))
    assert [set(mount.classes) for mount in plan.mounts] == [expected]
