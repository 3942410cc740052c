"""The files to examine are found as Git and people see them, and none of them holds up a run."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lithify.errors import NothingToExamine
from lithify.sources.base import read_bytes
from lithify.sources.files import find_inputs, kind_of, read_source
from lithify.sources.ignore import IgnoreFile, ignored


def touch(folder: Path, *names: str) -> None:
    """Make files, and the folders on the way to them."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found(folder: Path, *, ignore: bool = True) -> list[str]:
    """Return what a walk below a folder finds, relative to it."""
    return [os.path.relpath(path, folder) for _, path in find_inputs([str(folder)], ignore=ignore)]


def test_a_walk_is_in_order_and_leaves_out_what_is_not_ours(tmp_path: Path) -> None:
    """By name, without tools' folders, links followed to files only."""
    touch(
        tmp_path, "b.yaml", "a.yml", "x.container", "d.json", "notes.txt", "package.json", ".git/x.yaml", "sub/c.yaml"
    )
    touch(tmp_path, "node_modules/x.yaml", ".github/w.yaml")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "linked.yaml").symlink_to(tmp_path / "b.yaml")
    assert found(tmp_path) == [
        "a.yml",
        "b.yaml",
        "d.json",
        "linked.yaml",
        "x.container",
        ".github/w.yaml",
        "sub/c.yaml",
    ]


def test_names_globs_and_repeats(tmp_path: Path) -> None:
    """A name is taken as it is, a glob gives its matches, nothing comes twice."""
    touch(tmp_path, "a.yaml", "b.yaml", "c.txt")
    assert find_inputs([str(tmp_path / "c.txt")]) == [("file", str(tmp_path / "c.txt"))]
    inputs = find_inputs([str(tmp_path / "*.yaml"), str(tmp_path / "a.yaml"), "-"])
    assert inputs == [("file", str(tmp_path / "a.yaml")), ("file", str(tmp_path / "b.yaml")), ("stdin", "-")]
    for missing in ("missing.yaml", "*.missing"):
        with pytest.raises(NothingToExamine):
            find_inputs([str(tmp_path / missing)])


def test_what_git_ignores_is_left_out(tmp_path: Path) -> None:
    """The same files that Git itself lists, from the top and from below; all of them when asked."""
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text("*.gen.yaml\n/build/\n!keep.gen.yaml\nsecret\\ .yaml\ndeep/**/x.yaml\n")
    touch(tmp_path, "a.yaml", "b.gen.yaml", "keep.gen.yaml", "build/c.yaml", "sub/build/d.yaml", "deep/1/2/x.yaml")
    touch(tmp_path, "deep/x.yaml", "sub/e.gen.yaml", "sub/local.yaml", "sub/f.yaml")
    (tmp_path / "sub" / ".gitignore").write_text("local.yaml\n")
    command = ["git", "-C", str(tmp_path), "ls-files", "--others", "--exclude-standard", "*.yaml"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert sorted(found(tmp_path)) == sorted(listed)
    below = [name.removeprefix("sub/") for name in listed if name.startswith("sub/")]
    assert sorted(found(tmp_path / "sub")) == sorted(below)
    assert "b.gen.yaml" in found(tmp_path, ignore=False)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@settings(max_examples=25, deadline=None)
@given(
    patterns=st.lists(st.text("ab*?/![]x", min_size=1, max_size=6), min_size=1, max_size=4),
    paths=st.lists(st.text("abx/", min_size=1, max_size=6), min_size=1, max_size=4),
)
def test_patterns_mean_what_they_mean_to_git(
    patterns: list[str], paths: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Git has the last word on every pattern and path."""
    names = {"/".join(part for part in path.split("/") if part) for path in paths} - {""}
    folder = tmp_path_factory.mktemp("git")
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    (folder / ".gitignore").write_text("\n".join(patterns) + "\n")
    for name in names:
        rules = [IgnoreFile("", (folder / ".gitignore").read_text())]
        parents = name.split("/")[:-1]
        ours = any(ignored("/".join(parents[: n + 1]), rules, directory=True) for n in range(len(parents)))
        ours = ours or ignored(name, rules, directory=False)
        command = ["git", "-C", str(folder), "check-ignore", "-q", "--no-index", name]
        assert ours == (subprocess.run(command, check=False).returncode == 0), (patterns, name)


def test_nothing_holds_up_a_read(tmp_path: Path) -> None:
    """A pipe, a folder, a dangling link and a file without rights give a reason."""
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "dangling.yaml").symlink_to(tmp_path / "nowhere")
    assert read_bytes(str(tmp_path / "pipe.yaml")) == "not a regular file"
    assert read_bytes(str(tmp_path)) in ("not a regular file", "Is a directory")
    assert read_bytes(str(tmp_path / "dangling.yaml")) == "No such file or directory"
    (tmp_path / "large.yaml").write_bytes(b"x")
    os.truncate(tmp_path / "large.yaml", 65 << 20)
    assert "larger than" in str(read_bytes(str(tmp_path / "large.yaml")))
    assert [read_bytes(name) for name in ("a\0b", "a\ud800")] == ["no name of a file"] * 2


def test_links_to_folders_above_do_not_multiply(tmp_path: Path) -> None:
    """Each of them names all the others: a walk would go 2^40 ways."""
    touch(tmp_path, "own.yaml", "other.yaml")
    (tmp_path / "kustomization.yaml").write_text('resources: [one, two, own.yaml, "a\\0b"]\n')
    for name in ("one", "two"):
        (tmp_path / name).symlink_to(".")
    assert found(tmp_path) == [".", "other.yaml"]


@pytest.mark.parametrize(
    ("path", "data", "kind"),
    [
        ("a.yaml", b"kind: Pod\nspec: {containers: []}", "kubernetes"),
        ("a.json", b'{"kind": "Pod"}', "kubernetes"),
        ("x.yaml", b"services:\n  a: {image: x}\n", "compose"),
        ("x.yaml", b"version: '3'\nservices:\n", "compose"),
        ("compose.yaml", b"include: [x]", "compose"),
        ("x.yaml", b"kind: ServiceList\nservices:\n", "kubernetes"),
        ("x.yaml", b"services:\n  a: {image: x, labels: {x: '{\"kind\": 1}'}}\n", "compose"),
        ("compose.json", b'{"services": {"a": {"image": "x", "labels": {"kind": "y"}}}}', "compose"),
        ("x.yaml", b"kind: Pod  # no containerDefinitions\nspec: {containers: []}\n", "kubernetes"),
        ("x.yaml", b"services: {}  # no containerDefinitions\n", "compose"),
        ("web.container", b"[Container]\n", "quadlet"),
        ("task.json", b'{"containerDefinitions": []}', "ecs"),
        ("cfn.yaml", b"ContainerDefinitions: []", "ecs"),
        ("values.yaml", b"replicas: 1\n", ""),
    ],
)
def test_kinds(path: str, data: bytes, kind: str) -> None:
    """A file is told by its name and a few bytes."""
    assert kind_of(path, data) == kind


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b'{"kind": "Pod", "metadata": {"annotations": {"containerDefinitions": ""}}, "spec": %s}', "Pod"),
        (b'services: x\n"kind": Pod\nspec: %s\n', "Pod"),
        (b'{"services": {"a": {"image": "x", "labels": {"kind": "y"}}}, "x-a": %s}', "ComposeService"),
    ],
)
def test_a_word_in_a_value_hides_nothing(data: bytes, kind: str) -> None:
    """Where nothing is found in what a file looks like, it is read as what it may be besides."""
    (workload,) = read_source("x.json", data % b'{"containers": [{"name": "a", "image": "x"}]}').workloads
    assert workload.name.kind == kind
