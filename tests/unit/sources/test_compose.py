"""Compose files are read as Compose starts them, with the place of everything."""

from pathlib import Path

import pytest

from lithify.model.workload import Container
from lithify.sources.base import Reading
from lithify.sources.compose import read_compose
from lithify.sources.interpolate import interpolate


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
        ("$A ${A} $$A", "1 1 $A"),
        ("${B:-d} ${B-d} ${A:+y} ${B:+y}", "d d y "),
        ("${E:-d} ${E-d}", "d "),
        ("${B:-${A}} ${B:-${C:-x}}!", "1 x!"),
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
