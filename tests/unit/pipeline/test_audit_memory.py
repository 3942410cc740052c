"""What an audit takes of memory does not grow with files, findings or the length of a file; nor does a part differ."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from lithify.pipeline.audit.files import audit
from lithify.report import json as json_report
from lithify.sources import files

CASES = Path(__file__).parents[2] / "cases"
FEW, MANY = 250, 2500
MORE = 6 << 20
"""Bytes that ten times as much may take: names of files, and what a measure differs by."""
# A child counts with what its parent had when it was started: so its parent is a small one.
MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10)
"""


def peak(cache: Path, *words: str) -> int:
    """Return the most bytes that a run of `lithify audit`, or one of its children, had in memory."""
    return peak_of(["audit", "--fail-on", "never", *words], cache)


def peak_of(words: Sequence[str], cache: Path) -> int:
    """Return the most bytes that a run of lithify, or one of its children, had in memory."""
    command = [sys.executable, "-m", "lithify.cli.main", *words]
    run = [sys.executable, "-I", "-S", "-c", MEASURE, *command]
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    environment.pop("COVERAGE_PROCESS_START", None)  # it keeps every line that ran
    environment.pop("COV_CORE_DATAFILE", None)
    return int(subprocess.run(run, env=environment, check=True, capture_output=True, text=True).stdout)


def pod(name: str) -> str:
    """Return a pod with four containers that have findings."""
    listed = ", ".join(f"{{name: {name}-{n}, image: registry.example/team/{name}:{n}}}" for n in range(4))
    return f"kind: Pod\nmetadata: {{name: {name}}}\nspec: {{containers: [{listed}]}}\n"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    """Return folders with few and with many files, no two alike."""
    made = {}
    for count in (FEW, MANY):
        folder = tmp_path_factory.mktemp(f"files-{count}")
        for number in range(count):
            (folder / f"{number:05}.yaml").write_text(pod(f"p{number}"))
        made[count] = str(folder)
    return made


@pytest.mark.parametrize("format_", ["text", "json", "sarif"])
def test_ten_times_the_files_take_the_same_memory(format_: str, folders: dict[int, str], tmp_path: Path) -> None:
    """Neither a first run nor one from the cache holds what it found."""
    for run in ("first", "cached"):
        few, many = (peak(tmp_path, "--format", format_, folders[count]) for count in (FEW, MANY))
        assert many - few < MORE, f"{run} run: {few >> 20} MiB, then {many >> 20} MiB"


@pytest.mark.parametrize("format_", ["text", "json"])
def test_a_merge_of_ten_times_the_findings_takes_the_same_memory(
    format_: str, folders: dict[int, str], tmp_path: Path
) -> None:
    """Shards are read item by item, and what they say waits in a file."""
    taken = []
    for count, folder in folders.items():
        shards = [tmp_path / f"{count}-{index}.json" for index in (1, 2)]
        for index, shard in enumerate(shards, 1):
            output = ["--format", "json", "--output", str(shard)]
            peak(tmp_path, *output, "--shard", f"{index}/2", folder)
        taken.append(
            peak_of(["report", "merge", "--fail-on", "never", "--format", format_, *map(str, shards)], tmp_path)
        )
    assert taken[1] - taken[0] < MORE, f"{taken[0] >> 20} MiB, then {taken[1] >> 20} MiB"


@pytest.mark.parametrize("shape", ["documents", "list", "json"])
def test_a_long_file_takes_no_more_memory_than_a_shorter_one(shape: str, tmp_path: Path) -> None:
    """It is judged object by object, however it says them."""
    taken = []
    for count in (1500, 6000):
        path = tmp_path / f"{count}.yaml"
        pods = [{"kind": "Pod", "spec": {"containers": [{"name": f"c{n}", "image": "x"}]}} for n in range(count)]
        if shape == "documents":
            path.write_text("---\n".join(f"{json.dumps(one)}\n" for one in pods))
        elif shape == "list":
            path.write_text("items:\n" + "".join(f"- {json.dumps(one)}\n" for one in pods) + "kind: List\n")
        else:
            path.write_text(json.dumps({"kind": "PodList", "items": pods}))
        taken.append(peak(tmp_path, str(path)))
    assert taken[1] - taken[0] < 24 << 20, f"{taken[0] >> 20} MiB, then {taken[1] >> 20} MiB"


def report_of(path: Path) -> dict[str, list[object]]:
    """Return the report of one input."""
    parts: list[str] = []
    json_report.render(audit([str(path)]), parts.append)
    found: dict[str, list[object]] = json.loads("".join(parts))
    return found


SHAPES = sorted(path for folder in ("audit", "shapes") for path in (CASES / folder).rglob("*.[yj]*"))


@pytest.mark.parametrize("path", SHAPES, ids=lambda path: str(path.relative_to(CASES)))
def test_a_part_is_judged_as_the_whole_is(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However small the parts, the report is the same, and so is its order."""
    whole = report_of(path)
    monkeypatch.setattr(files, "PART", 1)
    assert report_of(path) == whole


def items(count: int) -> str:
    """Return pods as items of a list."""
    return "".join(f"- {{kind: Pod, spec: {{containers: [{{name: c{n}, image: x}}]}}}}\n" for n in range(count))


@pytest.mark.parametrize("where", [0, 1, 3])
@pytest.mark.parametrize("template", ["- {{ a }}", "- kind: Pod\n  metadata: {a: {{ a }}}", "- {? {a: b} : {{ a }}}"])
def test_a_template_in_a_long_list_is_told_as_in_a_short_one(
    template: str, where: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left out without a word, in whatever part it stands."""
    path = tmp_path / "list.yaml"
    path.write_text(f"kind: List\nitems:\n{items(where)}{template}\n{items(3 - where)}---\n{pod('p')}")
    whole = report_of(path)
    assert len(whole["skipped"]) == 1
    assert len(whole["containers"]) == 4
    monkeypatch.setattr(files, "PART", 1)
    assert report_of(path) == whole


@pytest.mark.parametrize(
    "comment", ["lithify: ignore[*] of all", "lithify: ignore[runs-as-root]", "lithify: ignore[no-rule]"]
)
@pytest.mark.parametrize(
    "text",
    [
        "# {c}\nkind: List\nitems:\n{items}",
        "# {c}\n---\n# {c}\napiVersion: v1\nkind: List\nitems:\n{items}",
        "apiVersion: v1\nkind: List # {c}\nitems:\n{items}",
        "apiVersion: v1 # {c}\nitems:\n{items}# {c}\nkind: List # {c}\n",
        "apiVersion: v1\n# {c} too\n# {c}\nitems: # {c}\n{items}kind: List\n",
        "{pod}---\n# {c}\nitems:\n{items}kind: List\n---\n# {c}\n{pod}---\n{pod}",
        "{pod}---\nkind: List # {c}\nitems:\n{items}---\nitems:\n{items}# {c}\nkind: List\n---\n{pod}",
    ],
)
def test_an_exemption_of_a_whole_list_reaches_each_part(
    text: str, comment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands at its first line, its kind or its items counts for all of these; what it lacks is told once."""
    path = tmp_path / "list.yaml"
    path.write_text(text.format(c=comment, items=items(4), pod=pod("p")))
    whole = report_of(path)
    for size in (1, 100):
        monkeypatch.setattr(files, "PART", size)
        assert report_of(path) == whole


def test_exemptions_reach_the_part_they_speak_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A comment counts for what it stands at, and is itself a finding, once, in the place that it would have."""
    path = tmp_path / "many.yaml"
    head = "# lithify: ignore[runs-as-root] of all\n---\n# lithify: ignore[*]\n"
    documents = "---\n".join(
        f"kind: Pod\nspec:\n  containers:\n  # lithify: ignore[writable-root-filesystem] {n}\n"
        "  - {name: a, image: x}\n  - {name: b, image: x}\n# lithify: ignore[no-rule] behind it\n"
        for n in range(3)
    )
    items = "".join(
        "# lithify: ignore[writable-root-filesystem]\n- kind: Pod\n"
        f"  spec: {{containers: [{{name: c{n}, image: x}}]}}\n"
        f"- kind: Pod\n  spec: {{containers: [{{name: d{n}, image: x}}]}} # lithify: ignore[*] {n}\n"
        for n in range(3)
    )
    path.write_text(f"{head}{documents}---\nkind: List\nmetadata: {{a: &a x}}\nitems:\n{items}# lithify: ignore[*]\n")
    whole = report_of(path)
    assert {one["exemption"] is None for one in whole["findings"]} == {True, False}  # type: ignore[index]
    monkeypatch.setattr(files, "PART", 1)
    assert report_of(path) == whole


def test_no_room_for_what_waits_is_one_clear_error(folders: dict[int, str]) -> None:
    """It names the folder and says what to do; nothing is reported as if it were all."""
    command = f"ulimit -f 100; exec {sys.executable} -m lithify.cli.main audit --no-cache {folders[MANY]}"
    result = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (2, "")
    error, hint, _ = result.stderr.splitlines()
    assert error.startswith(f"error: {os.environ.get('TMPDIR') or '/tmp'}: ")
    assert "TMPDIR" in hint


def test_no_room_for_a_list_that_waits_is_told_alike() -> None:
    """It is not the report's own file, or standard output, that is full."""
    program = "from lithify.report.base import Items\nitems = Items()\nfor _ in range(9): items.add('x' * 100_000)"
    command = f'ulimit -f 100; exec {sys.executable} -c "{program}"'
    result = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    folder = os.environ.get("TMPDIR") or "/tmp"
    assert f"lithify.errors.OutputFailed: {folder}: File too large" in result.stderr.splitlines()
