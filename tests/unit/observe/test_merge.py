"""Evidence of several sources and runs, joined."""

from dataclasses import replace
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lithify.errors import NothingToExamine
from lithify.model.image import EntryType, ImageEntry, ImageFacts
from lithify.model.writes import (
    Change,
    Observation,
    Process,
    RunKey,
    Source,
    Write,
    Writer,
    WriterStyle,
    WriteSet,
)
from lithify.observe.merge import merge_write_sets, merge_writers, merge_writes

P = PurePosixPath
NGINX = Writer(program="/usr/sbin/nginx", uid=33, gid=33)
UNKNOWN = Writer(program="unknown")


def _write(path: str, change: Change = Change.CREATED, source: Source = Source.LAYER, **more: object) -> Write:
    return replace(Write(path=P(path), change=change, evidence=(source,)), **more)  # type: ignore[arg-type]


def test_sources_of_one_path_are_united() -> None:
    """What each knows is kept."""
    layer = _write("/etc/conf", Change.REPLACED, size=10, uid=33, mode=0o644, content="text", type=EntryType.FILE)
    live = _write("/etc/conf", Change.CREATED, Source.LIVE, style=WriterStyle.RENAME, writers=(NGINX,))
    traced = _write("/etc/conf", Change.CHANGED, Source.TRACE, peak=500)
    (merged,) = merge_writes([live], [layer], [traced])
    assert merged.change is Change.REPLACED
    assert merged.type is EntryType.FILE
    assert set(merged.evidence) == {Source.LAYER, Source.LIVE, Source.TRACE}
    assert (merged.size, merged.peak, merged.uid, merged.mode, merged.content) == (10, 500, 33, 0o644, "text")
    assert (merged.style, merged.writers) == (WriterStyle.RENAME, (NGINX,))


def test_a_layer_outranks_guesses() -> None:
    """The kernel's names show a copy-up as something new; the layer knows that only the mode was set."""
    layer = _write("/srv/a", Change.METADATA)
    assert merge_writes([_write("/srv/a", Change.CREATED, Source.LIVE)], [layer])[0].change is Change.METADATA
    assert merge_writes([_write("/srv/a", Change.CHANGED, Source.DIFF)], [layer])[0].change is Change.METADATA
    # but a process that holds it open for writing is a fact
    assert merge_writes([_write("/srv/a", Change.OPENED, Source.PROCESSES)], [layer])[0].change is Change.OPENED
    assert merge_writes([_write("/srv/a", Change.ATTEMPTED, Source.LOG)])[0].change is Change.ATTEMPTED


def test_what_lies_below_a_new_directory_becomes_part_of_it() -> None:
    """Names, writers and execution are kept; a directory of the image keeps its own."""
    top = _write("/var/lib/app", type=EntryType.DIRECTORY, entries=5, names=("a",))
    other = _write("/var/lib/app2/file")
    inner = _write("/var/lib/app/lib.so", Change.METADATA, Source.PROCESSES, executed=True, writers=(NGINX,))
    went = _write("/var/lib/app/tmp", Change.CAME_AND_WENT, Source.LIVE, names=("x",), type=EntryType.DIRECTORY)
    merged = merge_writes([top, other], [inner, went])
    assert [str(write.path) for write in merged] == ["/var/lib/app", "/var/lib/app2/file"]
    assert merged[0].executed
    assert merged[0].entries == 5
    assert set(merged[0].names) == {"a", "lib.so", "tmp/x"}
    assert merged[0].writers == (NGINX,)
    assert set(merged[0].evidence) == {Source.LAYER, Source.PROCESSES, Source.LIVE}


def test_nothing_is_folded_on_a_guess() -> None:
    """Only a layer knows that a directory is new."""
    live = _write("/srv/app", Change.CREATED, Source.LIVE, type=EntryType.DIRECTORY)
    assert len(merge_writes([live, _write("/srv/app/x", source=Source.LIVE)])) == 2


def test_unknown_writers_give_way() -> None:
    """They stay only where nobody is known."""
    assert merge_writers([UNKNOWN, NGINX, NGINX]) == (NGINX,)
    assert merge_writers([UNKNOWN, UNKNOWN]) == (UNKNOWN,)


def test_a_program_without_its_user_gives_way_to_itself() -> None:
    """Of a process that is gone the user may not be known; another program's user says nothing of it."""
    nobody, other = Writer(program=NGINX.program), Writer(program="/bin/sh")
    assert merge_writers([nobody, other, NGINX]) == (other, NGINX)
    assert merge_writers([nobody, UNKNOWN]) == (nobody,)


_paths = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(lambda parts: P("/", *parts))
_writes = st.lists(
    st.builds(
        Write,
        path=_paths,
        change=st.sampled_from(Change),
        type=st.sampled_from([EntryType.FILE, EntryType.DIRECTORY]),
        evidence=st.sampled_from(Source).map(lambda source: (source,)),
        size=st.integers(0, 100),
        peak=st.none() | st.integers(0, 100),
        executed=st.booleans(),
    ),
    max_size=12,
)


@given(_writes, _writes)
def test_merging_loses_no_path_and_no_evidence(one: list[Write], other: list[Write]) -> None:
    """Each path is there once, itself or in a directory that is new, with its evidence; order does not count."""
    merged = merge_writes(one, other)
    paths = [write.path for write in merged]
    assert len(paths) == len(set(paths))
    assert paths == sorted(paths, key=lambda path: path.parts)
    for write in one + other:
        homes = [m for m in merged if write.path == m.path or write.path.is_relative_to(m.path)]
        assert any(set(write.evidence) <= set(home.evidence) for home in homes)
        assert any(home.executed for home in homes) or not write.executed
    again = merge_writes(other, one)
    assert [(w.path, w.change, w.size, set(w.evidence)) for w in again] == [
        (w.path, w.change, w.size, set(w.evidence)) for w in merged
    ]
    assert merge_writes(merged) == merged


def _set(**more: object) -> WriteSet:
    made = WriteSet(
        key=RunKey(image="sha256:1", command=("app",)),
        container="app",
        image=ImageFacts(reference="app"),
        writes=(_write("/srv/a"),),
        observation=Observation(seconds=10, restarts=1, sources=(Source.LAYER,), exercise="curl"),
        processes=(Process(program="/app"),),
        mounted=(P("/data"),),
    )
    return replace(made, **more)  # type: ignore[arg-type]


def test_write_sets_of_runs_are_joined() -> None:
    """Observations are summed, facts united, and what differs is said."""
    entry = ImageEntry(type=EntryType.DIRECTORY, mode=0o755, uid=0, gid=0)
    other = _set(
        key=RunKey(image="sha256:2", command=("app",)),
        image=ImageFacts(reference="app", entries={P("/srv"): entry}, code_roots=(P("/app"),)),
        writes=(_write("/srv/b"),),
        observation=Observation(seconds=5, from_start=False, sources=(Source.LIVE,), exercise="load", notes=("n",)),
        memory_limit=100,
        mounted=(),
    )
    merged = merge_write_sets(_set(), other, other)
    assert [str(write.path) for write in merged.writes] == ["/srv/a", "/srv/b"]
    assert (merged.observation.seconds, merged.observation.restarts) == (20, 1)
    assert merged.observation.sources == (Source.LAYER, Source.LIVE)
    assert merged.observation.exercise == "curl; load"
    assert merged.observation.notes == ("n", "the merged write sets differ in: image")
    assert merged.image.entries == {P("/srv"): entry}
    assert merged.image.code_roots == (P("/app"),)
    assert (merged.memory_limit, merged.mounted, merged.processes) == (100, (), (Process(program="/app"),))


def test_the_same_key_gives_no_note() -> None:
    """Two days of one container."""
    assert merge_write_sets(_set(), _set()).observation.notes == ()


def test_different_containers_are_no_runs_of_one() -> None:
    """One plan for a database and a proxy would serve neither."""
    with pytest.raises(NothingToExamine, match="db, proxy"):
        merge_write_sets(_set(container="db"), _set(container="proxy", key=RunKey(image="sha256:9")))
