"""Audit gives the verdicts that are due, container by container, and no bad file ends a run."""

import csv
import json
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from lithify.model.finding import Report, State
from lithify.pipeline.audit import files as pipeline
from lithify.pipeline.audit.files import audit
from lithify.report import json as json_report
from lithify.report.text import render_summary
from lithify.sources.base import Reading, read_bytes
from lithify.sources.files import read_parts

CASES = Path(__file__).parents[2] / "cases" / "audit"
VERDICTS = {State.READ_ONLY: "ro", State.WRITABLE: "writable", State.NOT_APPLICABLE: "n/a"}

with (CASES / "expected.tsv").open() as table:
    EXPECTED = list(csv.DictReader(table, delimiter="\t"))
FILES = sorted({row["path"] for row in EXPECTED})


def verdicts(report: Report) -> dict[str, str]:
    """Return the verdict of each container that was judged, by the name it has in the table."""
    return {
        f"{c.location.document}/{c.object.kind}/{c.object.name}/{c.list_name}[{c.index}]/{c.name}": VERDICTS[c.verdict]
        for c in report.containers()
    }


@pytest.mark.parametrize("name", FILES)
def test_every_container_has_its_verdict(name: str) -> None:
    """No container is missed, none is invented, and each is what kubectl would make of it."""
    expected = {row["container"]: row["verdict"] for row in EXPECTED if row["path"] == name and row["container"] != "-"}
    assert verdicts(audit([str(CASES / name)])) == expected


@pytest.mark.parametrize(
    ("name", "rules"),
    {
        "string-true.yaml": {"mistyped-flag", "writable-root-filesystem"},
        "yaml11-yes.yaml": {"ambiguous-flag"},
        "pod-level.yaml": {"pod-level-flag", "writable-root-filesystem"},
        "trg-4.07-snippet.yaml": {"pod-level-flag"},
        "dup-key-containers.yaml": {"duplicate-key", "writable-root-filesystem"},
        "tab-indent.yaml": {"unreadable-input"},
        "recursive-alias.yaml": {"unreadable-input"},
        "deep.yaml": {"unreadable-input"},
        "containers-not-list.yaml": {"malformed-field"},
        "container-scalar.yaml": {"malformed-field", "writable-root-filesystem"},
        "privileged-ro.yaml": {"remountable-root-filesystem", "writable-host-path"},
        "emptydir-on-root.yaml": {"writable-system-path", "unbounded-scratch"},
        "alias-bomb.yaml": set(),
        "comments-only.yaml": set(),
        "empty.yaml": set(),
        "separators.yaml": set(),
        "windows-osname.yaml": set(),
        "helm-template.yaml": set(),
    }.items(),
)
def test_what_is_wrong_is_said(name: str, rules: set[str]) -> None:
    """Each shape has the findings it is there for."""
    common = {"privilege-escalation", "runs-as-root", "capabilities-not-dropped", "no-ephemeral-storage-limit"}
    found = {f.rule for f in audit([str(CASES / name)]).findings()} - common - {"writable-and-executable"}
    assert found == rules


def test_a_template_is_skipped_and_said() -> None:
    """A Go template is neither judged nor an error."""
    (skipped,) = audit([str(CASES / "helm-template.yaml")]).skipped()
    assert "Go template" in skipped.reason


def test_a_rollout_of_another_object_says_so(tmp_path: Path) -> None:
    """It has no pods of its own, and nobody is to think that they were judged."""
    path = tmp_path / "rollout.yaml"
    path.write_text(
        "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nspec: {workloadRef: {kind: Deployment, name: x}}\n"
    )
    (skipped,) = audit([str(path)]).skipped()
    assert "workloadRef" in skipped.reason
    assert skipped.location.column == 8


def test_containers_of_windows_are_counted_apart() -> None:
    """What the flag does not exist for is neither writable nor read-only, and the numbers say so."""
    report = audit([str(CASES / "windows-osname.yaml")])
    assert report.summary.not_applicable == report.summary.containers == 1
    assert "1 not applicable" in render_summary(report.summary)


def test_an_ephemeral_container_has_no_fix() -> None:
    """What can't be changed in a live pod is told without a patch."""
    findings = [f for f in audit([str(CASES / "ephemeral.yaml")]).findings() if f.rule == "writable-root-filesystem"]
    assert [f.fix for f in findings] == [None]


def write_many(folder: Path, count: int) -> None:
    """Write manifests, each with a container of its own, every third read-only."""
    for number in range(count):
        flag = "true" if number % 3 == 0 else "false"
        (folder / f"{number:04}.yaml").write_text(
            f"kind: Pod\nmetadata: {{name: p{number}}}\nspec:\n  containers:\n  - name: c{number}\n"
            f"    image: x\n    securityContext: {{readOnlyRootFilesystem: {flag}}}\n"
        )


def as_json(report: Report) -> str:
    """Return a report as its JSON text."""
    parts: list[str] = []
    json_report.render(report, parts.append)
    return "".join(parts)


def test_many_files_give_the_same_on_any_number_of_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Order and content do not depend on who read what, nor on the cache."""
    write_many(tmp_path, 60)
    alone = as_json(audit([str(tmp_path)]))
    monkeypatch.setattr(pipeline, "PARALLEL_FROM", 10)
    cache = str(tmp_path / "cache")
    for workers in (1, 2, 3):
        assert as_json(audit([str(tmp_path)], workers=workers, cache=cache)) == alone
    assert os.listdir(cache)
    (tmp_path / "0007.yaml").write_text("kind: Pod\nspec: {containers: [{name: new, image: x}]}\n")
    changed = as_json(audit([str(tmp_path)], cache=cache))
    assert changed == as_json(audit([str(tmp_path)]))
    assert json.loads(changed)["summary"]["containers"] == 60


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_process_that_dies_takes_only_its_file_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What kills its reader is reported, and everything else is judged."""
    write_many(tmp_path, 40)
    monkeypatch.setattr(pipeline, "PARALLEL_FROM", 10)
    # a server of another test may still have a thread, with which audit would not fork
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    parent = os.getpid()
    original = read_parts
    victim = tmp_path / "victim"

    def deadly(path: str, data: bytes, **options: Any) -> Iterator[Reading]:
        if os.getpid() == parent:
            end = time.monotonic() + 30
            while not victim.exists() and time.monotonic() < end:  # whatever the child takes first is its last
                time.sleep(0.01)
        elif not victim.exists() or victim.read_text() == path:
            victim.write_text(path)
            os.kill(os.getpid(), 9)
        return original(path, data, **options)

    monkeypatch.setattr(pipeline, "read_parts", deadly)
    report = audit([str(tmp_path)], workers=2)
    assert len(list(report.containers())) == 39
    (finding,) = [f for f in report.findings() if f.rule == "unreadable-input"]
    assert finding.location.path == victim.read_text()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_what_a_dead_process_had_from_the_cache_is_taken_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second run of which one process is killed once reports what the first did."""
    write_many(tmp_path, 40)
    monkeypatch.setattr(pipeline, "PARALLEL_FROM", 10)
    monkeypatch.setattr(threading, "active_count", lambda: 1)  # as above
    cache = str(tmp_path / "cache")
    first = as_json(audit([str(tmp_path)], workers=2, cache=cache))
    parent = os.getpid()
    original = read_bytes
    killed = tmp_path / "killed"

    def deadly(path: str) -> bytes | str:
        if os.getpid() == parent:
            end = time.monotonic() + 30
            while not killed.exists() and time.monotonic() < end:  # the child has its turn before all are taken
                time.sleep(0.01)
        elif not killed.exists():
            killed.touch()
            os.kill(os.getpid(), 9)
        return original(path)

    monkeypatch.setattr(pipeline, "read_bytes", deadly)
    assert as_json(audit([str(tmp_path)], workers=2, cache=cache)) == first
    assert killed.exists()


PROJECT = {
    "compose.yaml": "include: [parts/db.yaml]\nservices:\n  web: {extends: {file: common.yaml, service: base}}\n",
    "common.yaml": "services:\n  base: {image: x, extends: lower}\n  lower: {image: y}\n",
    "parts/db.yaml": "include: [deep.yaml]\nservices:\n  db: {image: z}\n",
    "parts/deep.yaml": "services:\n  deep: {image: q}\n",
}


def lay(folder: Path, files: Mapping[str, str]) -> None:
    """Write the files of a project."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def told(report: Report) -> tuple[list[str], dict[str, str]]:
    """Return the judged containers with file and line, and the files that are said to be parts, of which ones."""
    judged, parts = [], {}
    for result in report.results():
        judged += [f"{Path(c.location.path).name}:{c.location.line} {c.name}" for c in result.containers]
        for skipped in result.skipped:
            assert re.fullmatch("only a part of .*: judged there", skipped.reason)
            parts[Path(skipped.location.path).name] = skipped.reason.split()[4].rstrip(",").rpartition("/")[2]
    return sorted(judged), parts


@pytest.mark.parametrize("shape", ["folder", "globs", "named", "spelt twice", "json", "parts first"])
def test_a_project_of_several_files_is_judged_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: str) -> None:
    """Each service at the line that a person edits; files that are only parts say of what."""
    lay(tmp_path, PROJECT)
    monkeypatch.chdir(tmp_path)
    paths = {
        "globs": ["*.yaml", "parts/*"],
        "named": list(PROJECT),
        "spelt twice": [".", "./compose.yaml", str(tmp_path / "parts/db.yaml"), "parts/../compose.yaml"],
        "parts first": ["parts", "common.yaml", "compose.yaml"],
    }.get(shape, ["."])
    found, parts = told(audit(paths, as_json=shape == "json"))
    assert found == ["compose.yaml:3 web", "db.yaml:3 db", "deep.yaml:2 deep"]
    assert parts == dict.fromkeys(["common.yaml", "db.yaml", "deep.yaml"], "compose.yaml")


def test_a_part_that_is_named_alone_is_judged(tmp_path: Path) -> None:
    """Nobody else tells it then."""
    lay(tmp_path, PROJECT)
    assert told(audit([str(tmp_path / "parts")])) == (["db.yaml:3 db", "deep.yaml:2 deep"], {"deep.yaml": "db.yaml"})
    assert told(audit([str(tmp_path / "common.yaml")])) == (["common.yaml:2 base", "common.yaml:3 lower"], {})


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("shards", [1, 3])
def test_parts_are_known_on_every_core_and_in_every_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shards: int
) -> None:
    """Whoever reads a part need not be who reads what it is part of."""
    monkeypatch.setattr(pipeline, "PARALLEL_FROM", 2)
    monkeypatch.setattr(threading, "active_count", lambda: 1)  # as above
    for number in range(30):
        lay(tmp_path / f"p{number}", PROJECT)
    reports = [audit([str(tmp_path)], workers=2, shard=(index, shards)) for index in range(1, shards + 1)]
    found = [name for report in reports for name in told(report)[0]]
    assert sorted(found) == sorted(["compose.yaml:3 web", "db.yaml:3 db", "deep.yaml:2 deep"] * 30)


def service(name: str, *extended: str) -> str:
    """Return a Compose file of one service, which extends another's of some file."""
    what = "extends: {{file: {}, service: {}}}".format(*extended) if extended else "image: x"
    return f"services: {{{name}: {{{what}}}}}\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        # who extends one service of a file leaves the others to it
        ({"a": service("a", "b", "b"), "b": "services: {b: {image: x}, c: {image: x}}"}, ["a:1 a", "b:1 b", "b:1 c"]),
        # unless a third one extends these
        (
            {
                "a": service("a", "b", "b"),
                "b": "services: {b: {image: x}, c: {image: x}}",
                "d": service("d", "b", "c"),
            },
            ["a:1 a", "d:1 d"],
        ),
        # what Compose starts by its name is a project, whoever extends it
        ({"compose": service("a"), "prod": service("p", "compose", "a")}, ["compose:1 a", "prod:1 p"]),
        # two projects that include one file both run its services
        (
            {"a": "include: [c]\n" + service("a"), "b": "include: [c]\n" + service("b"), "c": service("c")},
            ["a:2 a", "b:2 b", "c:1 c", "c:1 c"],
        ),
        # a circle, which Compose refuses: once all the same
        ({"a": "include: [b]\n" + service("a"), "b": "include: [a]\n" + service("b")}, ["a:2 a", "b:2 b"]),
        (
            {
                "a": "include: [b]\n" + service("a"),
                "b": "include: [c]\n" + service("b"),
                "c": "include: [b]\n" + service("c"),
            },
            ["a:2 a", "b:2 b", "c:2 c"],
        ),
    ],
)
def test_no_service_is_lost_to_who_uses_its_file(tmp_path: Path, files: dict[str, str], expected: list[str]) -> None:
    """A file is only a part where all of its services are judged with others."""
    names = re.compile(r"(?<=\[)[abc](?=\])|(?<=file: )\w+")
    lay(tmp_path, {f"{name}.yaml": names.sub(r"\g<0>.yaml", text) for name, text in files.items()})
    assert [line.replace(".yaml", "") for line in told(audit([str(tmp_path)]))[0]] == expected


def test_the_environment_file_may_say_what_a_project_is_made_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compose started in that folder reads those files, and not the override that it looks for otherwise."""
    monkeypatch.delenv("COMPOSE_FILE", raising=False)
    lay(
        tmp_path,
        {
            ".env": "COMPOSE_FILE=compose.yaml:more/prod.yaml:missing.yaml\n",
            "compose.yaml": service("web"),
            "compose.override.yaml": "services: {web: {image: y, read_only: false}}\n",
            "more/prod.yaml": "services: {web: {read_only: true}, log: {image: z}}\n",
        },
    )
    report = audit([str(tmp_path)])
    found = [(c.name, c.declared, Path(c.location.path).name) for c in report.containers()]
    assert sorted(found, key=str) == [
        ("log", None, "prod.yaml"),
        ("web", False, "compose.override.yaml"),
        ("web", True, "compose.yaml"),
    ]
    reasons = " ".join(skipped.reason for skipped in report.skipped())
    assert "missing.yaml is not followed: No such file" in reasons
    assert "compose.yaml, which includes, extends or merges it: judged there" in reasons


def test_an_override_is_merged_where_its_file_is_started(tmp_path: Path) -> None:
    """Who includes that file leaves the override out: with it, it is a project of its own."""
    files = {
        "compose.yaml": "include: [db/compose.yaml]\nservices: {web: {image: x}}\n",
        "compose.override.yaml": "services: {web: {read_only: true}}\n",
        "db/compose.yaml": "services: {db: {image: x}}\n",
        "db/compose.override.yaml": "services: {db: {read_only: true}, more: {image: y}}\n",
    }
    lay(tmp_path, files)
    report = audit([str(tmp_path)])
    found = sorted((c.name, c.declared is True) for c in report.containers())
    assert found == [("db", False), ("db", True), ("more", False), ("web", True)]
    assert {skipped.reason for skipped in report.skipped()} == {
        "an override: it is judged merged into the file beside it"
    }


def test_a_link_to_a_part_is_a_part(tmp_path: Path) -> None:
    """Under whatever name the file is an input."""
    lay(tmp_path, PROJECT)
    (tmp_path / "zlink.yaml").symlink_to("parts/db.yaml")
    found, parts = told(audit([str(tmp_path)]))
    assert found == ["compose.yaml:3 web", "db.yaml:3 db", "deep.yaml:2 deep"]
    assert parts["zlink.yaml"] == "compose.yaml"


def test_comments_and_edits_in_files_that_belong_to_a_project(tmp_path: Path) -> None:
    """An exemption holds in the file that it stands in, and nowhere else; a fix names that file's text."""
    lay(
        tmp_path,
        {
            "compose.yaml": "include: [db.yaml]\nservices:\n  web: {image: x}\n"
            "  app: {image: x}  # lithify: ignore[*] own\n",
            "db.yaml": "services:\n  db: {image: x}\n  # lithify: ignore[writable-root-filesystem] cache\n"
            "  cache:\n    image: x\n    cap_drop: [ALL]\n",
        },
    )  # fmt: skip
    result = next(iter(audit([str(tmp_path)], edits=True).results()))
    roots = {f.container.name: f for f in result.findings if f.rule == "writable-root-filesystem" and f.container}
    assert {name: bool(f.exemption) for name, f in roots.items()} == {
        "web": False,
        "app": True,
        "db": False,
        "cache": True,
    }
    assert [f.location.path.rpartition("/")[2] for f in result.findings] == sorted(
        f.location.path.rpartition("/")[2] for f in result.findings
    )
    escalation = next(
        f for f in result.findings if f.rule == "privilege-escalation" and f.container and f.container.name == "db"
    )
    assert escalation.fix is not None
    assert escalation.fix.edits


def test_an_included_file_is_judged_with_the_variables_that_are_given_to_it(tmp_path: Path) -> None:
    """Those of the last file count."""
    (tmp_path / "compose.yaml").write_text("include: [{path: more.yaml, env_file: [a.env, b.env]}]\n")
    (tmp_path / "more.yaml").write_text("services: {b: {image: x, read_only: '${LITHIFY_TEST_RO:-false}'}}\n")
    (tmp_path / "a.env").write_text("LITHIFY_TEST_RO=false\n")
    (tmp_path / "b.env").write_text("LITHIFY_TEST_RO=true\n")
    found = [container.declared for result in audit([str(tmp_path)]).results() for container in result.containers]
    assert found == [True]


def test_shards_cover_everything_once(tmp_path: Path) -> None:
    """The parts of a corpus are disjoint, and together they are all of it."""
    write_many(tmp_path, 30)
    parts = [set(verdicts(audit([str(tmp_path)], shard=(index, 3)))) for index in (1, 2, 3)]
    assert all(parts)
    assert set.union(*parts) == set(verdicts(audit([str(tmp_path)])))
    assert sum(map(len, parts)) == 30


@pytest.mark.parametrize(
    ("comment", "exempted"),
    [
        ("kind: Pod # lithify: ignore[writable-root-filesystem] legacy", ["a", "b"]),
        ("# lithify: ignore[writable-root-filesystem] legacy\nkind: Pod", ["a", "b"]),
        ("# lithify: ignore[writable-root-filesystem] legacy\n---\nkind: Pod", ["a", "b"]),
        ("kind: Pod\n# lithify: ignore[runs-as-root] legacy\nx: 1", []),
        ("kind: Pod\n# nothing", []),
    ],
)
def test_a_comment_exempts_what_it_stands_above(comment: str, exempted: list[str], tmp_path: Path) -> None:
    """On the kind, or above everything, a comment speaks of the whole document."""
    path = tmp_path / "pod.yaml"
    path.write_text(f"{comment}\nspec:\n  containers:\n  - name: a\n    image: x\n  - name: b\n    image: x\n")
    assert exempted_containers(audit([str(path)])) == exempted


def exempted_containers(report: Report) -> list[str]:
    """Return the containers whose writable root somebody accepts."""
    return [
        f.container.name
        for f in report.findings()
        if f.rule == "writable-root-filesystem" and f.exemption is not None and f.container is not None
    ]


@pytest.mark.parametrize("where", ["above", "beside", "flag"])
def test_a_comment_exempts_one_container(where: str, tmp_path: Path) -> None:
    """On a container, or on its flag, a comment speaks of nothing else."""
    note = "# lithify: ignore[writable-root-filesystem] legacy owner=web until=2999-12-31"
    above, beside, flag = (note if where == place else "#" for place in ("above", "beside", "flag"))
    path = tmp_path / "pod.yaml"
    path.write_text(
        "---\nkind: Pod\nspec:\n  containers:\n  - name: a\n    image: x\n"
        f"  {above}\n  - name: b {beside}\n    image: x\n    securityContext:\n"
        f"      readOnlyRootFilesystem: false {flag}\n"
    )
    report = audit([str(path)])
    assert exempted_containers(report) == ["b"]
    (exemption,) = [f.exemption for f in report.findings() if f.exemption is not None]
    assert exemption is not None
    assert (exemption.reason, exemption.owner, exemption.until) == ("legacy", "web", "2999-12-31")


def test_exemptions_expire_and_need_a_reason(tmp_path: Path) -> None:
    """Past its last day an exemption is a finding itself; without a reason too, and so is one from no rule."""
    path = tmp_path / "pod.yaml"
    path.write_text(
        "kind: Pod\nspec:\n  containers:\n"
        "  # lithify: ignore[writable-root-filesystem] until=2020-01-01\n  - {name: a, image: x}\n"
        "  # lithify: ignore[writable-root-filesystem]\n  - {name: b, image: x}\n"
        "  # lithify: ignore[no-such-rule] because\n  - {name: c, image: x}\n"
        "  # lithify: ignore[writable-root-filesystem] because until=2999-1-1\n  - {name: d, image: x}\n"
        "  # lithify: ignore writable-root-filesystem because\n  - {name: e, image: x}\n"
        "  # lithify: ignore [writable-root-filesystem] because\n  - {name: f, image: x}\n"
    )
    report = audit([str(path)], rules=["writable-root-filesystem", "exemption-expired", "exemption-without-reason"])
    found = sorted((f.rule, f.location.line) for f in report.findings() if f.exemption is None)
    assert found == [
        ("exemption-expired", 4),
        ("exemption-expired", 10),
        ("exemption-without-reason", 6),
        ("exemption-without-reason", 8),
        ("exemption-without-reason", 12),
        ("writable-root-filesystem", 5),
        ("writable-root-filesystem", 9),
        ("writable-root-filesystem", 11),
        ("writable-root-filesystem", 13),
    ]


def test_annotations_exempt(tmp_path: Path) -> None:
    """An annotation on the object or its template exempts all its containers."""
    path = tmp_path / "web.yaml"
    path.write_text(
        "kind: Deployment\nmetadata:\n  name: web\nspec:\n  template:\n    metadata:\n      annotations:\n"
        "        lithify.dev/ignore.writable-root-filesystem: writes its own code; owner=web; until=2999-01-01\n"
        "    spec:\n      containers:\n      - {name: a, image: x}\n"
    )
    (finding,) = audit([str(path)], rules=["writable-root-filesystem"]).findings()
    assert finding.exemption is not None
    assert (finding.exemption.reason, finding.exemption.owner) == ("writes its own code", "web")
    assert finding.exemption.origin == "annotation"


LABELLED = {
    "compose.yaml": "services: {a: {image: x, labels: ['lithify.dev/ignore.writable-root-filesystem=builds owner=b']}}",
    "stack.yaml": "services: {a: {image: x, deploy: {labels: {lithify.dev/ignore.writable-root-filesystem: builds "
    "owner=b}}}}",
    "a.container": "[Container]\nImage=x\nLabel=app=a 'lithify.dev/ignore.writable-root-filesystem=builds owner=b'\n",
    "b.container": "[Container]\nImage=x\n"
    "PodmanArgs=--label 'lithify.dev/ignore.writable-root-filesystem=builds owner=b'\n",
    "task.json": '{"containerDefinitions": [{"name": "a", "image": "x", "dockerLabels": '
    '{"lithify.dev/ignore.writable-root-filesystem": "builds owner=b"}}]}',
    "template.yaml": "Resources: {T: {Type: 'AWS::ECS::TaskDefinition', Properties: {ContainerDefinitions: [{Name: a, "
    "Image: x, DockerLabels: {lithify.dev/ignore.writable-root-filesystem: builds owner=b}}]}}}",
}


@pytest.mark.parametrize("name", LABELLED)
def test_labels_exempt(name: str, tmp_path: Path) -> None:
    """Labels of a container or service, wherever its file has them; JSON has no comments."""
    path = tmp_path / name
    path.write_text(LABELLED[name])
    (finding,) = audit([str(path)], rules=["writable-root-filesystem"]).findings()
    assert finding.exemption is not None
    assert (finding.exemption.reason, finding.exemption.owner) == ("builds", "b")
    assert finding.exemption.origin == "label"


def test_merge_keys_that_multiply_are_followed_once(tmp_path: Path) -> None:
    """Sixty levels of twice the same: as many steps as levels, places and edits included."""
    levels = "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}], y{n}: 1}}\n" for n in range(1, 60))
    path = tmp_path / "pod.yaml"
    path.write_text(
        f"a0: &a0 {{x: 1}}\n{levels}kind: Pod\n"
        "spec: {containers: [{name: a, image: x, securityContext: {<<: *a59}}]}\n"
    )
    report = audit([str(path)], edits=True)
    assert [container.name for container in report.containers()] == ["a"]


def test_containers_that_aliases_multiply_are_bounded(tmp_path: Path) -> None:
    """A list that many objects share is judged as often as the text could say it, and the rest is told."""
    listed = ", ".join("{name: c, image: x}" for _ in range(300))
    path = tmp_path / "many.yaml"
    path.write_text(
        f"apiVersion: x.io/v1\nkind: X\ncontainers: &c [{listed}]\n"
        f"pods: [{', '.join('{containers: *c}' for _ in range(300))}]\n"
    )
    report = audit([str(path)])
    assert 300 <= sum(1 for _ in report.containers()) < path.stat().st_size
    assert ["aliases multiply" in finding.message for finding in report.findings() if "unread" in finding.rule] == [
        True
    ]


def test_edits_of_a_huge_document_end(tmp_path: Path) -> None:
    """Each costs a reading of its document; what would cost too much has none."""
    path = tmp_path / "huge.yaml"
    listed = "".join(f"  - {{name: c{n}, image: registry.example/x:1}}\n" for n in range(2000))
    path.write_text(f"kind: Pod\nspec:\n  containers:\n{listed}")
    findings = [f for f in audit([str(path)], edits=True, rules=["privilege-escalation"]).findings() if f.fix]
    edited = [bool(finding.fix and finding.fix.edits) for finding in findings]
    assert len(findings) == 2000
    assert edited[0]
    assert not edited[-1]


def test_what_a_part_of_a_container_says_is_told_all_the_same(tmp_path: Path) -> None:
    """Whether its root can be written to, its operator decides; that it may write to the host stands there."""
    (tmp_path / "beat.yaml").write_text(
        "apiVersion: x.io/v1\nkind: Beat\nmetadata: {name: b}\nspec:\n  podTemplate:\n    spec:\n"
        "      volumes: [{name: h, hostPath: {path: /etc}}]\n"
        "      containers:\n      - name: beat\n        volumeMounts: [{name: h, mountPath: /h}]\n"
    )
    report = audit([str(tmp_path)])
    assert [(f.rule, f.location.line, f.container) for f in report.findings()] == [("writable-host-path", 10, None)]
    assert [(one.location.line, "its operator" in one.reason) for one in report.skipped()] == [(9, True)]
    assert not list(report.containers())
