"""Compose files are read as Compose starts them, with the place of everything."""

import gc
import os
from pathlib import Path

import pytest

from lithify.model.workload import Container
from lithify.sources.base import Reading
from lithify.sources.compose import read_compose
from lithify.sources.interpolate import interpolate, read_variables


def read(folder: Path, text: str, name: str = "compose.yaml", *, stack: bool = False) -> Reading:
    """Write a Compose file and read it."""
    path = folder / name
    path.write_text(text)
    return read_compose(str(path), text.encode(), stack=stack)


def services(reading: Reading) -> dict[str, Container]:
    """Return the services by name."""
    return {c.name: c for workload in reading.workloads for c in workload.containers}


def flags(reading: Reading) -> dict[str, bool | None]:
    """Return the flag of each service."""
    return {name: container.security.read_only_root for name, container in services(reading).items()}


def test_flags_and_places(tmp_path: Path) -> None:
    """Booleans in every spelling Compose takes, and where they stand."""
    reading = read(
        tmp_path,
        "services:\n  a: {image: x, read_only: true}\n  b:\n    image: x\n    read_only: 'yes'\n"
        "  c:\n    image: x\n    read_only: false\n  d:\n    build: .\n  e: {image: x, read_only: ~}\n",
    )
    assert flags(reading) == {"a": True, "b": True, "c": False, "d": None, "e": None}
    place = services(reading)["c"].location
    assert (place.line, place.column) == (6, 3)
    assert ((place / "read_only").line, (place / "read_only").column) == (8, 5)


def test_extends_include_override_anchors_and_profiles(tmp_path: Path) -> None:
    """What a service is made of may stand in several files; each part keeps its place."""
    (tmp_path / "base.yaml").write_text(
        "services:\n  base:\n    image: x\n    read_only: true\n    cap_drop: [ALL]\n    tmpfs: [/tmp]\n"
    )
    (tmp_path / "more.yaml").write_text("services:\n  included: {image: y, profiles: [debug]}\n")
    (tmp_path / "compose.override.yaml").write_text("services:\n  late: {read_only: true, tmpfs: /run}\n")
    reading = read(
        tmp_path,
        "include: [more.yaml, missing.yaml]\nx-common: &common {read_only: true}\nservices:\n"
        "  web:\n    extends: {file: base.yaml, service: base}\n    tmpfs: [/run]\n"
        "  job: {<<: *common, image: x}\n  same: {extends: job, read_only: false}\n  late: {image: z}\n",
    )
    assert flags(reading) == {"web": True, "job": True, "same": False, "late": True, "included": None}
    found = services(reading)
    assert [m.path for m in found["web"].mounts] == ["/tmp", "/run"]
    assert found["web"].security.capabilities_dropped
    assert found["web"].mounts[0].location.path.endswith("base.yaml")
    assert found["web"].mounts[0].location.line == 6
    assert found["included"].location.path.endswith("more.yaml")
    assert [m.path for m in found["late"].mounts] == ["/run"]
    assert ["missing.yaml" in skipped.reason for skipped in reading.skipped] == [True]


def test_reset_and_override(tmp_path: Path) -> None:
    """`!reset` takes an inherited value away, `!override` replaces an inherited list."""
    reading = read(
        tmp_path,
        "services:\n  base: {image: x, read_only: true, volumes: ['/a', '/b'], cap_add: [SYS_ADMIN]}\n"
        "  web:\n    extends: base\n    read_only: !reset null\n    cap_add: !reset []\n"
        "    volumes: !override ['/c']\n",
    )
    web = services(reading)["web"]
    assert web.security.read_only_root is None
    assert web.security.added_capabilities == ()
    assert [m.path for m in web.mounts] == ["/c"]


def test_what_names_an_included_service_is_merged_over_it(tmp_path: Path) -> None:
    """By the file that includes it, by the override beside that, and as what a service extends; as Compose 5.5 does."""
    (tmp_path / "more").mkdir()
    (tmp_path / "more/db.yaml").write_text(
        "services:\n  db: {image: x, tmpfs: [/run]}\n  queue: {image: y, read_only: true, user: '7'}\n"
        "  cache: {image: z, privileged: true}\nvolumes: {kept: {driver_opts: {type: tmpfs, o: size=1m}}}\n"
    )
    (tmp_path / "compose.override.yaml").write_text("services: {cache: {read_only: true, privileged: !reset null}}\n")
    reading = read(
        tmp_path,
        "include: [more/db.yaml]\nservices:\n  db: {read_only: true, tmpfs: [/tmp], volumes: ['kept:/kept']}\n"
        "  web: {extends: queue, image: w}\n",
    )
    assert not reading.skipped
    assert flags(reading) == {"db": True, "queue": True, "cache": True, "web": True}
    found = services(reading)
    assert [m.path for m in found["db"].mounts] == ["/run", "/tmp", "/kept"]
    assert found["db"].mounts[2].volume.size == 1 << 20
    assert found["db"].location.path.endswith("db.yaml")
    assert found["web"].security.run_as_user == "7"
    assert not found["cache"].security.privileged


def test_a_bind_is_one_however_its_source_is_written(tmp_path: Path) -> None:
    """The long form says what it is: a relative path needs no dot in it."""
    reading = read(tmp_path, "services: {a: {image: x, volumes: [{type: bind, source: conf, target: /etc/conf}]}}\n")
    (mount,) = services(reading)["a"].mounts
    assert (mount.volume.kind, mount.volume.host_path) == ("bind", "conf")


def test_a_template_of_a_compose_file_is_left_out(tmp_path: Path) -> None:
    """Only what is made of it can be judged; a file that is broken otherwise is a finding."""
    for text, skipped, oddities in (("{{ if .x }}\n", 1, 0), ("]\n", 0, 1)):
        reading = read(tmp_path, f"services:\n  a: {{image: x}}\n{text}")
        assert (len(reading.skipped), len(reading.oddities)) == (skipped, oddities)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("version: '3'\nservices:\n  web:\n    environment: [A=1]\n  db: {}\n", True),
        ("services: {web: {read_only: true}}\nx-more: 1\n", True),
        ("services:\n  App\\Mailer: {arguments: ['%a%'], tags: [x]}\n", False),
        ("services: {web: {environment: x}}\nparameters: {}\n", False),
    ],
)
def test_a_file_of_parts_alone_is_told(tmp_path: Path, text: str, told: bool) -> None:
    """What is merged into other files says nothing by itself; the services of other programs are none."""
    reading = read(tmp_path, text, "quickstart-debug.yml")
    assert not reading.workloads
    assert [skipped.location.line for skipped in reading.skipped] == [1] * told


def test_what_an_override_says_of_a_volume_counts(tmp_path: Path) -> None:
    """Over what the file below says, and that over what an included one does."""

    def sized(**sizes: str) -> str:
        listed = (f"{name}: {{driver_opts: {{type: tmpfs, o: size={size}}}}}" for name, size in sizes.items())
        return f"volumes: {{{', '.join(listed)}}}\n"

    (tmp_path / "more.yaml").write_text("services: {b: {image: x}}\n" + sized(low="1k"))
    (tmp_path / "compose.override.yaml").write_text("services: {a: {user: '1'}}\n" + sized(top="2k"))
    text = "include: [more.yaml]\nservices: {a: {image: x, volumes: ['low:/l', 'top:/t']}}\n" + sized(
        low="3k", top="4k"
    )
    reading = read(tmp_path, text)
    assert {m.path: m.volume.size for m in services(reading)["a"].mounts} == {"/l": 3 << 10, "/t": 2 << 10}


def test_null_leaves_what_was_there(tmp_path: Path) -> None:
    """In a merge null says nothing; but for a command, which is the image's again."""
    (tmp_path / "compose.override.yaml").write_text("services: {a: {read_only: ~, tmpfs: ~, command: ~, cap_add: ~}}\n")
    reading = read(
        tmp_path, "services: {a: {image: x, read_only: true, tmpfs: /run, command: [sh], cap_add: [SYS_ADMIN]}}\n"
    )
    (container,) = services(reading).values()
    assert container.security.read_only_root
    assert container.security.added_capabilities == ("SYS_ADMIN",)
    assert [m.path for m in container.mounts] == ["/run"]
    assert container.arguments == ()


def test_a_reset_reaches_below_what_its_service_extends(tmp_path: Path) -> None:
    """What an override takes away is gone from the file below as from what it extends."""
    (tmp_path / "base.yaml").write_text("services: {base: {image: x, volumes: ['/c'], read_only: true}}\n")
    (tmp_path / "compose.override.yaml").write_text(
        "services: {a: {extends: {file: base.yaml, service: base}, read_only: !reset null, volumes: !reset []}}\n"
    )
    reading = read(tmp_path, "services: {a: {image: x, read_only: true, volumes: ['/a']}}\n")
    (container,) = services(reading).values()
    assert container.security.read_only_root is None
    assert not container.mounts


def test_labels_are_merged_by_their_keys(tmp_path: Path) -> None:
    """An exemption stays where an override adds other labels, and changes where it says it again."""
    (tmp_path / "compose.override.yaml").write_text(
        "services: {a: {labels: [lithify.dev/ignore.runs-as-root=new, other=1]}}\n"
    )
    labels = "{lithify.dev/ignore.runs-as-root: old, lithify.dev/ignore.unbounded-scratch: kept}"
    reading = read(tmp_path, f"services: {{a: {{image: x, labels: {labels}}}}}\n")
    (container,) = services(reading).values()
    assert {one.rule: one.reason for one in container.exemptions} == {
        "runs-as-root": "new",
        "unbounded-scratch": "kept",
    }


def test_nothing_stays_of_a_project_that_was_read(tmp_path: Path) -> None:
    """An audit of thousands collects no garbage: references alone free what was read."""

    def files() -> int:
        return sum(type(one).__module__ == "lithify.sources.compose" for one in gc.get_objects())

    (tmp_path / "base.yaml").write_text("services: {base: {image: x}, low: {image: y}}\nvolumes: {v: {}}\n")
    text = "include: [base.yaml]\nservices: {a: {extends: {file: base.yaml, service: low}, volumes: ['v:/v']}}\n"
    gc.collect()
    gc.disable()
    try:
        before = files()
        reading = read(tmp_path, text)
        assert len(reading.workloads) == 3
        for workload in reading.workloads:
            workload.containers = ()  # as an audit does
        del reading, workload
        assert files() == before
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "services",
    [
        "".join(f"  s{n}: *base\n" for n in range(3000)),
        "".join(f"  s{n}: {{<<: *base}}\n" for n in range(3000)),
        "  base: *base\n" + "".join(f"  s{n}: {{extends: base}}\n" for n in range(3000)),
    ],
    ids=["aliases", "merges", "extends"],
)
def test_services_that_multiply_are_bounded(tmp_path: Path, services: str) -> None:
    """Sixty thousand bytes could say nine million mounts; that there are more is an oddity."""
    places = ", ".join(f"/v{n}" for n in range(3000))
    text = f"x-base: &base {{image: x, tmpfs: [{places}]}}\nservices:\n{services}"
    reading = read(tmp_path, text)
    assert 0 < sum(len(c.mounts) for w in reading.workloads for c in w.containers) < len(text)
    assert [oddity.rule for oddity in reading.oddities] == ["unreadable-input"]


@pytest.mark.parametrize("named", ['include: ["{}"]', 'include: [{{path: c.yaml, env_file: "{}"}}]'])
def test_names_that_no_file_has_are_told(tmp_path: Path, named: str) -> None:
    """A null character in a path, which the system does not take; a pipe as `.env`, to which nobody writes."""
    os.mkfifo(tmp_path / ".env")
    (tmp_path / "c.yaml").write_text("services: {c: {image: x}}\n")
    extends = 'services: {a: {image: x}, b: {image: y, extends: {file: "d\\0", service: d}}}\n'
    reading = read(tmp_path, named.format("a\\0b") + "\n" + extends)
    assert flags(reading).keys() >= {"a", "b"}
    assert "is not followed: No such file" in reading.skipped[-1].reason


def test_variables_that_multiply_are_bounded(tmp_path: Path) -> None:
    """A few letters for 64 KiB each time: in an environment file, and in a list."""
    (tmp_path / ".env").write_text("A=" + "x" * 65_000 + "\n" + "".join(f"B{n}=$A\n" for n in range(1000)))
    assert sum(map(len, read_variables(str(tmp_path)).values())) < 20 << 20
    reading = read(tmp_path, f"services: {{a: {{image: x, command: [{', '.join(['$A'] * 1000)}]}}}}\n")
    assert sum(map(len, services(reading)["a"].arguments)) < 20 << 20
    assert [oddity.rule for oddity in reading.oddities] == ["unreadable-input"]


def test_what_a_volume_has_is_no_content_of_the_root(tmp_path: Path) -> None:
    """A configuration below one is copied there; beside one, and where the name only begins alike, it is not."""
    head = "configs: {c: {content: x}}\nservices:\n  a:\n    image: x\n    volumes: [/v/, /w/x]\n    configs:\n"
    targets = ("/v/a/b", "/va", "/w/y", "/w/x/y", "/w/x")
    reading = read(tmp_path, head + "".join(f"    - {{source: c, target: {target}}}\n" for target in targets))
    lines = [place.line for _, place in services(reading)["a"].inline_files]
    assert lines == [8, 9, 11]


def test_extends_in_a_circle_ends(tmp_path: Path) -> None:
    """Services that extend each other are read, once."""
    reading = read(tmp_path, "services:\n  a: {image: x, extends: b}\n  b: {image: y, extends: a, read_only: true}\n")
    assert flags(reading) == {"a": True, "b": True}


def test_extends_through_many_documents_takes_each_service_once(tmp_path: Path) -> None:
    """Each document of a file has each service, and each extends what stands in all of them: no more work for that."""
    chain = "".join(
        f"  s{n}: {{extends: {{file: base.yaml, service: s{n + 1}}}, tmpfs: [/t{n}], deploy: {{replicas: 1}}}}\n"
        for n in range(18)
    )
    (tmp_path / "base.yaml").write_text("---\n".join(f"services:\n{chain}  s18: {{image: x}}\n" for _ in range(3)))
    reading = read(tmp_path, "services:\n  web: {extends: {file: base.yaml, service: s0}, read_only: true}\n")
    assert flags(reading) == {"web": True}
    assert len(services(reading)["web"].mounts) == 18


def test_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment beats `.env`, and both beat a default."""
    monkeypatch.setenv("FROM_ENVIRONMENT", "true")
    (tmp_path / ".env").write_text("# values\nFROM_FILE='true'\nFROM_ENVIRONMENT=false\n")
    reading = read(
        tmp_path,
        "services:\n  a: {image: 'x:${TAG:-1}', read_only: '${FROM_FILE}'}\n"
        "  b: {image: x, read_only: $FROM_ENVIRONMENT}\n"
        "  c: {image: x, read_only: '${NOT_SET_ANYWHERE:-true}'}\n  d: {image: x, read_only: '${NOT_SET_ANYWHERE}'}\n",
    )
    assert flags(reading) == {"a": True, "b": True, "c": True, "d": None}
    assert services(reading)["a"].image == "x:1"
    assert [oddity.rule for w in reading.workloads for oddity in w.oddities] == ["mistyped-flag"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=1\nexport B='$A' # no\nC=\"$A\\t\\$\"  # yes\nD=${B:-x}${U:-u} #\n", ["1", "$A", "1\t$", "$Au"]),
        ("\ufeffA: yaml\n\n# A=2\nB = sp\nC=a#b\nD\n", ["yaml", "sp", "a#b", ""]),
        ('A=\'it\\\'s\\n\'\nB="two\nlines"\r\nC=x\r\nD="\\061\\0101\\q"', ["it's\\n", "two\nlines", "x", "\\61A\\q"]),
        ("A=1\n?=2\nB=3\n", ["1", "", "", ""]),
        ("A=x\nB=" + "$A" * 100_000 + "\nC=" + "$B" * 100 + "\nD=$A", ["x", "x" * 65_536, "x" * 65_536, "x"]),
    ],
    ids=["quotes", "other spellings", "escapes", "no setting", "bounded"],
)
def test_environment_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: list[str]) -> None:
    """An environment file says what Compose's own reader makes of it (held against it, Compose 5.5)."""
    for name in "ABCDU":
        monkeypatch.delenv(name, raising=False)
    (tmp_path / ".env").write_bytes(text.encode())
    found = read_variables(str(tmp_path))
    assert [found.get(name, "") for name in "ABCD"] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$A ${A} $$A", "1 1 $A"),
        ("${B:-d} ${B-d} ${A:+y} ${B:+y}", "d d y "),
        ("${E:-d} ${E-d}", "d "),
        ("${B:-${A}} ${B:-${C:-x}}!", "1 x!"),
        ("$${A:+${A}}", "${A:+1}"),
        ('${B:-{"a": {}}}${A:-{}}${A', '{"a": {}}1${A'),
        ("${A:-" * 200_000, "${A:-" * 200_000),
        ("${A", "${A"),
        ("plain", "plain"),
    ],
)
def test_interpolation(text: str, expected: str) -> None:
    """Each form of a variable gives what Compose gives."""
    assert interpolate(text, {"A": "1", "E": ""}) == expected


def test_mounts(tmp_path: Path) -> None:
    """Short and long forms say the same things."""
    reading = read(
        tmp_path,
        "services:\n  a:\n    image: x\n    mem_limit: 64m\n    tmpfs: ['/tmp:size=32m,exec', /run]\n    volumes:\n"
        "    - ./conf:/etc/app:ro\n    - data:/data\n    - /anonymous\n    - fast:/fast\n"
        "    - {type: bind, source: /etc, target: /host, read_only: true}\n"
        "    - {type: tmpfs, target: /cache, tmpfs: {size: 1048576}}\n"
        "volumes:\n  data:\n  fast: {driver_opts: {type: tmpfs, device: tmpfs, o: 'size=1m'}}\n",
    )
    container = services(reading)["a"]
    assert container.memory_limit == 64 << 20
    seen = {
        m.path: (m.volume.kind, m.volume.host_path, m.writable, m.executable, m.volume.size) for m in container.mounts
    }
    assert seen == {
        "/tmp": ("tmpfs", "", True, True, 32 << 20),
        "/run": ("tmpfs", "", True, False, None),
        "/etc/app": ("bind", "./conf", False, True, None),
        "/data": ("volume", "", True, True, None),
        "/anonymous": ("anonymous", "", True, True, None),
        "/fast": ("volume", "", True, True, 1 << 20),
        "/host": ("bind", "/etc", False, True, None),
        "/cache": ("tmpfs", "", True, False, 1 << 20),
    }


def test_stacks_are_told_from_compose_files(tmp_path: Path) -> None:
    """Swarm's own keys, the file's name or an option make it a stack."""
    plain = "services:\n  a: {image: x, tmpfs: [/tmp]}\n"
    assert read(tmp_path, plain).workloads[0].source == "compose"
    assert read(tmp_path, plain, "web-stack.yml").workloads[0].source == "stack"
    assert read(tmp_path, plain, stack=True).workloads[0].source == "stack"
    swarm = "services:\n  a: {image: x, deploy: {placement: {constraints: [node.role == worker]}}}\n"
    assert read(tmp_path, swarm).workloads[0].source == "stack"


@pytest.mark.parametrize(
    "text",
    [
        "services:\n  app.mailer: {class: App\\Mailer, autowire: true}\n",  # another program's configuration
        "services: [postgres]\n",
        "services:\n",
        "- services: {}\n",
        "services: {a: 1, b: [2], c: ~}\n",
    ],
)
def test_what_is_no_compose_file_is_left_alone(text: str, tmp_path: Path) -> None:
    """Other files with a key of that name give nothing, and no error."""
    reading = read(tmp_path, text, "config.yaml")
    assert not reading.workloads
    assert not reading.oddities


def test_an_override_is_judged_with_its_file_only(tmp_path: Path) -> None:
    """Beside its file an override is left out, with the reason."""
    (tmp_path / "compose.yaml").write_text("services: {a: {image: x}}")
    reading = read(tmp_path, "services: {a: {read_only: true}}", "compose.override.yaml")
    assert not reading.workloads
    assert "override" in reading.skipped[0].reason


def test_containers_of_a_newer_compose_are_told_as_left_out(tmp_path: Path) -> None:
    """Its releases differ in what they make of the fields, so that no verdict would be true of all."""
    text = "services:\n  a:\n    image: x\n    pre_start:\n    - command: [id]\njobs:\n  b: {image: y}\n"
    reading = read(tmp_path, text)
    assert flags(reading) == {"a": None}
    assert [(one.location.line, "not judged" in one.reason) for one in reading.skipped] == [(4, True), (7, True)]
