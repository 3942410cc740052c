"""What counts as a difference between two runs."""

from dataclasses import replace

import pytest

from lithify.model.behaviour import Answer, Behaviour, Phase
from lithify.prove.compare import compare, works

PASSED = Answer(name="check", phase=Phase.EXERCISED, passed=True, detail="exit 0")
SERVICE = Behaviour(
    started=True,
    running=True,
    listeners=frozenset({"tcp/80"}),
    programs=frozenset({"/usr/sbin/nginx"}),
    answers=(PASSED,),
    warnings=frozenset({"[warn] # worker connections"}),
)
JOB = Behaviour(started=True, running=False, exit_code=3)


def failed(original: Behaviour, planned: Behaviour) -> list[str]:
    return [check.name for check in compare(original, planned) if not check.passed]


@pytest.mark.parametrize("behaviour", [SERVICE, JOB])
def test_a_run_matches_itself(behaviour: Behaviour) -> None:
    assert works(behaviour, behaviour)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"running": False, "exit_code": 1}, ["starts"]),
        ({"started": False, "engine_error": "no such device"}, ["starts"]),
        ({"listeners": frozenset()}, ["listens"]),
        ({"programs": frozenset({"/bin/sh"})}, ["programs"]),
        ({"answers": ()}, ["check (exercised)"]),
        ({"answers": (replace(PASSED, passed=False, detail="exit 1"),)}, ["check (exercised)"]),
        ({"refused_writes": ("open() failed (30: Read-only file system)",)}, ["log"]),
    ],
)
def test_each_difference_that_counts_fails_its_own_check(changes: dict[str, object], names: list[str]) -> None:
    assert failed(SERVICE, replace(SERVICE, **changes)) == names  # type: ignore[arg-type]


def test_a_job_must_end_as_it_ended() -> None:
    assert failed(JOB, replace(JOB, exit_code=0)) == ["starts"]
    assert failed(JOB, replace(JOB, running=True, exit_code=None)) == ["starts"]


def test_more_than_before_is_no_difference() -> None:
    more = replace(SERVICE, listeners=SERVICE.listeners | {"tcp/81"}, programs=SERVICE.programs | {"/bin/sleep"})
    assert works(SERVICE, more)


def test_a_check_that_the_original_failed_proves_nothing_either_way() -> None:
    original = replace(SERVICE, answers=(replace(PASSED, passed=False),))
    assert works(original, original)
    assert works(original, SERVICE)


def test_a_new_warning_is_shown_but_only_a_refused_write_fails() -> None:
    noisy = replace(SERVICE, warnings=SERVICE.warnings | {"[warn] something else"})
    (log,) = [check for check in compare(SERVICE, noisy) if check.name == "log"]
    assert log.passed
    assert log.evidence == ("[warn] something else",)


def test_an_answer_that_lithify_asked_for_by_itself_must_be_the_same() -> None:
    before = Answer(name="answer tcp/80", phase=Phase.EXERCISED, passed=True, detail="HTTP/#.# ### OK")
    original = replace(SERVICE, answers=(before,))
    assert failed(original, replace(SERVICE, answers=(replace(before, detail="accepts, closes"),)))
