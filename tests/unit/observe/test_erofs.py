"""The log reader: every shape that programs print, in every envelope, and what must never be taken for one."""

import json
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lithify.engines.mounts import MountPoint, parse_mountinfo
from lithify.model.log import Ground, LogError, LogEvent, Operation
from lithify.observe.erofs import LINE_LIMIT, LogReader, explain, read_log
from lithify.observe.logs.disguises import DISGUISES
from lithify.observe.logs.places import judge_path
from lithify.observe.logs.prefilter import candidates
from lithify.report.wire import parse, render_json

CASES = Path(__file__).parents[2] / "cases" / "logs"
ROWS: list[dict[str, Any]] = [row for file in sorted(CASES.glob("*.yaml")) for row in yaml.safe_load(file.read_text())]
NEGATIVES = (CASES / "negatives.txt").read_bytes().splitlines()

TEMPORARY = (
    "sedGkdyLp", "tmp.XXXXXXXXXX", "tmpab12cd34", "x4112714708691534786.tmp", "gpg-key1717553079", "cache~", ".#x",
    "temp-multibuf-671963517", "sess_9lchcveg3jjtkmdulg6f0smhlo", "a.pid.YNgou1", "x.1234.tmp", "group.5", "x-XXXXXX",
    "x20261122-22195-8mdoa", "passwdXXXXXX", "#sql_1_0.MYI", "temp-30806.rdb", ".tmpAbC123",
    "6f8a1b1e-1111-2222-3333-444455556666",
)  # fmt: skip
LASTING = (
    "nginx.pid", "app.log", "app.log.1", "libssl.so.3", "index.html", "client_temp", "dump.rdb", "acme.json", "tmp",
    ".s6-svscan", "ibdata1", "tmpfiles", "000000010000000000000001", "package.json", "python3.11", "site-1.2",
    ".s.PGSQL.5432.lock", "mongodb-27017.sock",
)  # fmt: skip
COMPACT = (",", ":")
ENVELOPES: dict[str, Callable[[str], str]] = {
    "none": lambda line: line,
    "colours": lambda line: f"\x1b[31m{line}\x1b[0m",
    "compose": lambda line: f"web-1  | {line}",
    "cri": lambda line: f"2024-05-12T12:00:00.123456789Z stderr F {line}",
    "docker json-file": lambda line: json.dumps(
        {"log": f"{line}\n", "stream": "stderr", "time": "2024-05-12T12:00:00.1Z"}
    ),
    "kubectl": lambda line: f"[pod/web-7d4b9c-x/app] {line}",
    "timestamp": lambda line: f"2024-05-12T12:00:00.123456789Z {line}",
    "syslog": lambda line: f"May 12 12:00:00 host app[123]: {line}",
    "syslog of RFC 5424": lambda line: f"<13>1 2024-05-12T12:00:00Z host app 12 - - {line}",
    "journald": lambda line: json.dumps({"MESSAGE": line, "_COMM": "app", "CONTAINER_NAME": "web"}),
    "journald, as bytes": lambda line: json.dumps({"MESSAGE": list(line.encode()), "_COMM": "app"}, separators=COMPACT),
    "logfmt": lambda line: f"level=error msg={json.dumps(line, ensure_ascii=False)} attempt=2",
    "json": lambda line: json.dumps({"level": "error", "msg": "it failed", "err": line}),
    "json in json": lambda line: json.dumps({"log": json.dumps({"msg": line}) + "\n", "stream": "stdout"}),
    "escaped in a sentence": lambda line: json.dumps({"msg": f"child said: {json.dumps(line)}"}),
    "three deep": lambda line: f"web-1  | 2024-05-12T12:00:00Z stderr F {json.dumps({'error': line})}",
}
CONTAINERS = {"compose": "web-1", "kubectl": "web-7d4b9c-x/app", "journald": "web", "three deep": "web-1"}


def read(text: str | bytes, **options: Any) -> list[LogEvent]:
    data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    return list(read_log(data.removesuffix(b"\n").split(b"\n"), **options))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["row"])
def test_a_shape_is_read(row: dict[str, Any]) -> None:
    """Everything that the case tells of a line comes out as it says."""
    events = read(row["log"])
    assert events, "nothing was found"
    told = {key: row[key] for key in _TOLD if key in row}
    assert {key: getattr(events[0], key) for key in told} == told
    assert bool(events[0].refused) == row.get("refused", bool(events[0].refused))
    assert _found(row, events) == _expected(row)
    for event in events:
        assert event.cause
        assert event.remedy.endswith(".")
        assert event.raw.isprintable()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["row"])
def test_a_shape_is_read_in_every_envelope(row: dict[str, Any]) -> None:
    """Error, paths and operation come out the same, whatever is put around the lines."""
    wrong = {}
    for envelope, wrap in ENVELOPES.items():
        events = read("".join(f"{wrap(line)}\n" for line in row["log"].removesuffix("\n").split("\n")))
        found = _found(row, events)
        if found != _expected(row) or events[0].container != CONTAINERS.get(envelope, ""):
            wrong[envelope] = found
    assert wrong == {}


_TOLD = ("program", "confidence", "relative", "folded", "renames", "deeper")


def _expected(row: dict[str, Any]) -> dict[str, object]:
    expected = {"error": row.get("error", "EROFS"), "path": row.get("path")}
    return expected | {key: row[key] for key in ("second", "operation", "place", "events") if key in row}


def _found(row: dict[str, Any], events: list[LogEvent]) -> dict[str, object]:
    if not events:
        return {}
    found: dict[str, object] = {key: _plain(getattr(events[0], key)) for key in _expected(row) if key != "events"}
    return found | ({"events": len(events)} if "events" in row else {})


def _plain(value: object) -> object:
    return None if value is None else str(value)


def test_the_cases_cover_every_kind_of_error_and_operation() -> None:
    assert {row.get("error", "EROFS") for row in ROWS} == set(LogError)
    assert {row.get("operation", "unknown") for row in ROWS} == set(Operation)


def test_every_disguise_has_a_case() -> None:
    unmatched = [row.needle for row in DISGUISES if not any(row.pattern.search(case["log"]) for case in ROWS)]
    assert unmatched == []


@pytest.mark.parametrize("envelope", ["none", "compose", "cri", "docker json-file", "json", "logfmt"])
@pytest.mark.parametrize("line", NEGATIVES, ids=lambda line: line.decode()[:40])
def test_what_only_looks_like_it_is_no_event(line: bytes, envelope: str) -> None:
    assert read(ENVELOPES[envelope](line.decode())) == []


@pytest.mark.parametrize(
    "text",
    [
        "Das Dateisystem ist nur lesbar",
        "Système de fichiers accessible en lecture seulement",
        "Sistema de ficheros de sólo lectura",
        "只读文件系统",
        "読み込み専用ファイルシステムです",
        "Файловая система доступна только для чтения",
    ],
)
def test_translations_of_the_error_are_known(text: str) -> None:
    (event,) = read(f"touch: /srv/x: {text}\n")
    assert (event.error, event.path) == (LogError.EROFS, PurePosixPath("/srv/x"))


class TestPaths:
    """What is made of the text that stands for a path."""

    def test_a_relative_path_is_resolved_and_doubted(self) -> None:
        (event,) = read("open acme.json: read-only file system\n", working_directory=PurePosixPath("/srv/app"))
        assert (str(event.path), event.relative, event.confidence) == ("/srv/app/acme.json", True, 0.4)
        assert "relative" in event.remedy

    def test_bytes_that_are_not_utf8_are_kept(self) -> None:
        (event,) = read(b"tee: /srv/caf\xe9: Read-only file system\n")
        assert event.path is not None
        assert str(event.path).encode("utf-8", "surrogateescape") == b"/srv/caf\xe9"
        assert event.cause.isprintable()

    @pytest.mark.parametrize(
        ("path", "shown", "why"),
        [
            ("/srv/../etc/shadow", None, "'..'"),
            ("/srv/a\\x1b[2Jb", None, "control"),
            ("/new", "/new", ""),
            ("/", "/", "root itself"),
            ("/proc/sys/kernel/x", "/proc/sys/kernel/x", "kernel"),
            ("/dev/shm/x", "/dev/shm/x", ""),
            ("/usr/bin/x", "/usr/bin/x", "programs"),
            ("/.tmpAbC123", "/.tmpAbC123", "root itself"),
            ("/" + "a" * 5000, None, ""),
        ],
    )
    def test_what_may_not_be_proposed_is_refused(self, path: str, shown: str | None, why: str) -> None:
        (event,) = read(f"OSError: [Errno 30] Read-only file system: '{path}'\n")
        assert _plain(event.path) == shown
        assert why in event.refused
        assert event.usable == (shown is not None and not why)

    @pytest.mark.parametrize(
        "name",
        TEMPORARY,
    )
    def test_temporary_names_are_folded_to_their_directory(self, name: str) -> None:
        assert judge_path(f"/srv/{name}", PurePosixPath("/")).folded

    @pytest.mark.parametrize(
        "name",
        LASTING,
    )
    def test_lasting_names_are_not(self, name: str) -> None:
        assert not judge_path(f"/srv/{name}", PurePosixPath("/")).folded

    def test_a_temporary_sibling_means_a_rename_and_says_so(self) -> None:
        (event,) = read("sed: couldn't open temporary file /srv/conf/sedAbC123: Read-only file system\n")
        assert event.renames
        assert "directory must be mounted" in event.remedy


MOUNTS = parse_mountinfo(
    b"1 0 0:50 / / ro,relatime - overlay overlay ro\n"
    b"2 1 8:1 /var/lib/kubelet/pods/1/volumes/kubernetes.io~configmap/conf /etc/app ro - ext4 /dev/sda1 rw\n"
    b"3 1 8:1 /srv/static /srv/static ro - ext4 /dev/sda1 rw\n"
    b"4 1 8:2 /var/lib/docker/volumes/data/_data /data rw - ext4 /dev/sdb1 rw\n"
    b"5 1 0:51 / /tmp rw - tmpfs tmpfs rw\n"
)


@pytest.mark.parametrize(
    ("path", "ground", "said", "advice"),
    [
        ("/var/cache/x", Ground.ROOT, "read-only root", "tmpfs"),
        ("/etc/app/x", Ground.READ_ONLY_MOUNT, "a ConfigMap, mounted read-only at /etc/app", "Leave the root"),
        ("/srv/static/x", Ground.READ_ONLY_MOUNT, "mounted read-only at /srv/static", "Leave the root"),
        ("/data/x", Ground.WRITABLE_MOUNT, "a volume is mounted writable at /data", "repair the storage"),
    ],
)
def test_the_mount_table_tells_the_root_from_other_mounts(path: str, ground: Ground, said: str, advice: str) -> None:
    (event,) = read(f"touch: cannot touch '{path}': Read-only file system\n", mounts=MOUNTS)
    assert event.ground is ground
    assert said in event.cause
    assert advice in event.remedy


def test_without_a_mount_table_nothing_is_claimed_about_the_root() -> None:
    (event,) = read("touch: cannot touch '/x/y': Read-only file system\n")
    assert event.ground is Ground.UNKNOWN
    assert "root filesystem" not in event.cause


def test_errors_on_a_planned_mount_name_it() -> None:
    mounts: tuple[MountPoint, ...] = MOUNTS
    (event,) = read("mkdir: cannot create directory '/tmp/x': Permission denied\n", mounts=mounts)
    assert "a tmpfs at /tmp" in event.cause


class TestLines:
    """How lines are put together and counted."""

    def test_the_line_number_counts_every_line(self) -> None:
        log = b"hello\n\n" * 50_000 + b"open /srv/x: read-only file system\n" + b"bye\n" * 7
        explanation = explain([log])
        assert explanation.causes[0].first.line == 100_001
        assert explanation.lines == 100_008

    def test_pieces_may_be_cut_anywhere(self) -> None:
        text = "".join(row["log"] for row in ROWS).encode() * 3
        whole = [event for reader in [LogReader()] for event in (*reader.feed(text), *reader.finish())]
        for size in (1, 7, 4096, 65_536):
            reader = LogReader()
            pieces = [text[at : at + size] for at in range(0, len(text), size)]
            assert [e for piece in pieces for e in reader.feed(piece)] + list(reader.finish()) == whole
            assert reader.lines == text.count(b"\n")

    def test_a_log_without_a_last_line_end_is_read_whole(self) -> None:
        assert len(read(b"open /srv/x: read-only file system")) == 1

    def test_an_item_may_hold_several_lines(self) -> None:
        assert len(list(read_log([b"open /a: read-only file system\nopen /b: read-only file system"]))) == 2

    @pytest.mark.parametrize("whole", [True, False])
    def test_pieces_of_a_line_are_joined(self, whole: bool) -> None:
        """What conmon (CRI-O, Podman) makes of one complaint that a program writes in three pieces."""
        at = b"2024-05-12T12:00:00.123456789+00:00 stderr"
        log = b"%s F hello\n%s P mkdir: \n%s P cannot create directory '/srv/x'\n%s P : Read-only file system\n%s F \n"
        log %= (at, at, at, at, at)
        events = list(read_log([log] if whole else log.splitlines(keepends=True)))
        assert [(str(event.path), event.program, event.line) for event in events] == [("/srv/x", "mkdir", 4)]

    def test_lines_of_two_containers_may_alternate(self) -> None:
        log = (
            "a-1  | groupmod: /etc/group.5: Read-only file system\n"
            "b-1  | java.io.IOException: Read-only file system\n"
            "a-1  | groupmod: cannot lock /etc/group; try again later.\n"
            "b-1  | \tat java.base/java.io.File.createTempFile(File.java:2179)\n"
        )
        found = {(event.container, _plain(event.path)) for event in read(log)}
        assert found == {("a-1", "/etc/group"), ("b-1", "/tmp")}

    def test_a_block_of_one_runtime_does_not_swallow_what_follows(self) -> None:
        log = (
            "Error: EROFS: read-only file system, open '/srv/a'\n    at x (y:1:2)\nopen /srv/b: read-only file system\n"
        )
        assert [str(event.path) for event in read(log)] == ["/srv/a", "/srv/b"]

    def test_a_joined_go_error_names_each_path_once(self) -> None:
        log = 'level=error err="mkdir /srv/a: read-only file system\\nmkdir /srv/b: read-only file system"\n'
        assert [str(event.path) for event in read(log)] == ["/srv/a", "/srv/b"]


def test_events_are_counted_by_what_they_say() -> None:
    log = "".join(
        f'web-1  | 2024/01/02 17:05:{n:02d} [crit] 7#7: open() "/srv/t/{n:010d}" failed (30: Read-only file system)\n'
        for n in range(40)
    )
    log += "db-1  | touch: cannot touch '/srv/t/x': Read-only file system\nKilled\n"
    causes = explain([log.encode()], source="").causes
    assert [(cause.first.container, _plain(cause.place), cause.count) for cause in causes] == [
        ("web-1", "/srv/t", 40),
        ("db-1", "/srv/t/x", 1),
        ("", None, 1),
    ]
    first = causes[0]
    assert (first.first.line, first.last_line, len(first.names)) == (1, 40, 5)


def test_places_beyond_the_limit_are_counted_not_listed() -> None:
    explanation = explain([b"".join(b"open /srv/p%dq: read-only file system\n" % n for n in range(6000))])
    assert len(explanation.causes) == 5000
    assert (explanation.events, explanation.omitted) == (6000, 1000)


def test_an_explanation_survives_its_json() -> None:
    explanation = explain(["".join(row["log"] for row in ROWS).encode(), b"tee: /srv/caf\xe9: Read-only file system\n"])
    assert parse(render_json(explanation).encode(), type(explanation), source="test") == explanation


LINES = st.one_of(
    st.binary(max_size=300),
    st.sampled_from([row["log"].encode() for row in ROWS]),
    st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
)
PARTS = st.sampled_from([
    "Read-only file system", "EROFS", "[Errno 30] ", "(30: ", "'", '"', ": ", " -> ", "/srv/x", "\\", "{", "}", "[",
    "]", "open ", "cannot create ", "msg=", '"err":', "\\ud800", "\\udc00", "\x1b[31m", "\r", "\t", "web-1  | ", "(",
    " @ x - ", ")", "failed", "type=SYSCALL ", "exit=-30", "npm ERR! code ", "Os { code: 30, ", "b'", "\\x00",
    "\u2018", "\u2019", ", open '",
])  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(LINES, max_size=8))
def test_nothing_that_is_read_raises_and_all_that_comes_out_is_printable(lines: list[bytes]) -> None:
    for event in read_log(lines):
        assert (event.raw + event.cause + event.remedy + event.container + event.program + event.time).isprintable()
        assert 0 <= event.confidence <= 1
        if event.path is not None:
            assert event.path.is_absolute()
            assert "\0" not in str(event.path)
            str(event.path).encode("utf-8", "surrogateescape")


@settings(max_examples=300, deadline=None)
@given(st.lists(PARTS, max_size=25).map("".join))
def test_bits_of_shapes_in_any_order_do_no_harm(line: str) -> None:
    for event in read(line):
        assert (event.raw + event.cause + event.remedy + event.container + event.program).isprintable()
        if event.path is not None:
            str(event.path).encode("utf-8", "surrogateescape")


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(ROWS), st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\n"), max_size=60))
def test_the_search_misses_no_line_that_is_read(row: dict[str, Any], before: str) -> None:
    """What the reader finds in a line by itself, the search over a block finds too."""
    line = row["log"].encode().splitlines()[0]
    block = before.encode() + b"\n" + b"nothing here\n" * 50 + line + b"\n"
    alone = bool(candidates(line + b"\n"))
    assert (len(before.encode()) + 1 + 13 * 50 in candidates(block)) == alone


HOSTILE = {
    "quotes": "'" * 60_000 + ": Read-only file system",
    "open quotes": " 'a" * 20_000 + "': Read-only file system",
    "brackets": "(" * 30_000 + ")" * 30_000 + ": Read-only file system",
    "slashes": " /a" * 20_000 + ": Read-only file system",
    "verbs": "cannot open " * 5_000 + ": Read-only file system",
    "errors": "Read-only file system " * 2_500,
    "arrows": "EROFS: read-only file system, open '" + "' -> '" * 10_000,
    "pairs": 'err="Read-only file system" ' * 2_000,
    "escapes": "\\" * 60_000 + "Read-only file system",
    "nesting": '{"a":' * 12_000 + "Read-only file system",
    "ruby": "Read-only file system @ x - (" + ", " * 30_000,
    "audit": "type=SYSCALL " * 4_000 + "exit=-30",
    "colours": "\x1b[" * 30_000 + "Read-only file system",
    "setfile": "setFile(/" * 6_000,
    "pidfile": "can't create pidfile /" * 2_500,
    "several": "Read-only file system\r" * 2_500,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_line_costs_no_more_than_its_length(name: str) -> None:
    line = HOSTILE[name].encode()
    start = time.process_time()
    read(line)
    assert time.process_time() - start < 2.0


def test_a_huge_line_is_cut_and_read_on_after_it() -> None:
    start = time.process_time()
    huge = b"open /srv/a: read-only file system " + b"x" * (100 << 20) + b"\n"
    events = list(read_log([huge, b"open /srv/b: read-only file system\n"]))
    assert time.process_time() - start < 10.0
    assert [event.line for event in events] == [1, 2]
    assert all(len(event.raw) <= 400 for event in events)
    assert len(huge) > LINE_LIMIT


def test_no_advice_mounts_all_of_etc() -> None:
    """What lies right in it can be mounted as a file alone."""
    (event,) = read("touch: cannot touch '/etc/x': Read-only file system\n")
    assert "mount /etc/x alone, seeded from the image; never all of /etc. A single file" in event.remedy
    (event,) = read("touch: cannot touch '/etc/app/x': Read-only file system\n")
    assert "mount /etc/app alone" in event.remedy
    assert event.remedy.endswith("never all of /etc.")
