"""Holds the behaviour of a planned run against that of the original, and names every difference that counts."""

from collections.abc import Iterator

from lithify.model.behaviour import Answer, Behaviour
from lithify.model.verdict import Check


def compare(original: Behaviour, planned: Behaviour) -> tuple[Check, ...]:
    """Return a check for each way in which `planned` must match `original`: pure, in the order a person reads them."""
    return tuple(_checks(original, planned))


def works(original: Behaviour, planned: Behaviour) -> bool:
    """Tell whether `planned` does everything that `original` did."""
    return all(check.passed for check in _checks(original, planned))


def _checks(original: Behaviour, planned: Behaviour) -> Iterator[Check]:
    yield _starts(original, planned)
    if original.listeners:
        yield _listens(original, planned)
    yield from _answers(original, planned)
    if original.running and original.programs:
        yield _programs(original, planned)
    yield _log(original, planned)
    yield from _not_asked(original, planned)


def _starts(original: Behaviour, planned: Behaviour) -> Check:
    if not planned.started:
        evidence = (planned.engine_error,)
        return Check(name="starts", passed=False, summary="the engine could not start it", evidence=evidence)
    if original.running:
        summary = "starts and stays up" if planned.running else f"ended by itself with exit code {planned.exit_code}"
        return Check(name="starts", passed=planned.running, summary=summary, evidence=planned.refused_writes[:5])
    same = not planned.running and planned.exit_code == original.exit_code
    state = "still runs" if planned.running else f"ends with exit code {planned.exit_code}"
    summary = f"{state}, as before" if same else f"{state}; before: exit code {original.exit_code}"
    return Check(name="starts", passed=same, summary=summary, evidence=planned.refused_writes[:5])


def _listens(original: Behaviour, planned: Behaviour) -> Check:
    missing = sorted(original.listeners - planned.listeners)
    shown = ", ".join(sorted(original.listeners)[:6])
    if missing:
        return Check(name="listens", passed=False, summary=f"does not listen on {', '.join(missing[:6])}")
    return Check(name="listens", passed=True, summary=f"listens where it listened: {shown}")


def _answers(original: Behaviour, planned: Behaviour) -> Iterator[Check]:
    before = {(answer.name, answer.phase): answer for answer in original.answers}
    after = {(answer.name, answer.phase): answer for answer in planned.answers}
    for key, answer in before.items():
        if key in after:
            now = after[key]
            yield Check(name=_name(answer), passed=_same(answer, now), summary=_told(answer, now), command=now.command)


def _not_asked(original: Behaviour, planned: Behaviour) -> Iterator[Check]:
    """Fail what was never asked because the run ended before: last, for something else is why it ended.

    What the original itself failed proves nothing.
    """
    asked = {(answer.name, answer.phase) for answer in planned.answers}
    for answer in original.answers:
        if answer.passed and (answer.name, answer.phase) not in asked:
            yield Check(name=_name(answer), passed=False, summary="never got that far", command=answer.command)


def _name(answer: Answer) -> str:
    return f"{answer.name} ({answer.phase.value})"


def _same(before: Answer, after: Answer) -> bool:
    if before.name.startswith("answer "):
        return before.detail == after.detail
    return after.passed or not before.passed


def _told(before: Answer, after: Answer) -> str:
    if _same(before, after):
        if before.passed:
            return after.detail
        return f"{after.detail}, which failed before" if after.passed else f"fails as it did before: {after.detail}"
    return f"{after.detail}; before: {before.detail}"


def _programs(original: Behaviour, planned: Behaviour) -> Check:
    missing = sorted(original.programs - planned.programs)
    if missing:
        return Check(name="programs", passed=False, summary=f"no longer runs {', '.join(missing[:6])}")
    return Check(name="programs", passed=True, summary=f"keeps running {', '.join(sorted(planned.programs)[:6])}")


def _log(original: Behaviour, planned: Behaviour) -> Check:
    refused = [line for line in planned.refused_writes if line not in original.refused_writes]
    fresh = sorted(planned.warnings - original.warnings)
    if refused:
        return Check(
            name="log",
            passed=False,
            summary=f"the log tells of {len(refused)} refused write{'s' * (len(refused) > 1)}",
            evidence=tuple(refused[:10]),
        )
    if fresh:
        kinds = "1 kind of warning is" if len(fresh) == 1 else f"{len(fresh)} kinds of warning are"
        summary = f"{kinds} new, none about a refused write"
        return Check(name="log", passed=True, summary=summary, evidence=tuple(fresh[:10]))
    return Check(name="log", passed=True, summary="no new line of level WARN or worse")
