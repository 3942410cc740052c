"""What can be asked of a host from elsewhere, and the lithify there that answers.

A question is a call of one of `QUESTIONS`, and nothing else: a line of JSON with the name of a function and its
arguments, answered by a line with what it returned or raised. Their own signatures are the schema. Who asks has to be
of the same version, which the first line tells.
"""

import inspect
import json
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, BinaryIO

from lithify import __version__, errors
from lithify.engines.bundle.state import start_time
from lithify.engines.kubernetes.engine import call_hook
from lithify.engines.kubernetes.lent import is_lent, lend_directory, take_back
from lithify.engines.node.containerd import snapshot_layers
from lithify.engines.node.containers import endpoints
from lithify.engines.node.kubelet import ProcessFinder, describe, send_signal
from lithify.errors import InvalidInput, LithifyError
from lithify.model.path import printable
from lithify.observe.collect import Collector
from lithify.observe.look import is_alive, look
from lithify.pipeline.learn import learn_pod
from lithify.prove.attempts import attempt
from lithify.prove.network import connect, hear, request
from lithify.report.wire import plain, typed

SCHEMA = "lithify.dev/answers/v1"
LIMIT = 64 << 20
"""Bytes of a question or an answer."""

KINDS: tuple[type, ...] = (ProcessFinder, Collector)
"""What is made and kept for the questions after it, until another is made."""
_FUNCTIONS: tuple[Callable[..., Any], ...] = (
    attempt, call_hook, connect, describe, endpoints, hear, is_alive, is_lent, learn_pod, lend_directory, look,
    request, send_signal, snapshot_layers, start_time, take_back, *KINDS, ProcessFinder.find, Collector.follow,
    Collector.start, Collector.look, Collector.read, Collector.finish,
)  # fmt: skip
QUESTIONS: Mapping[str, Callable[..., Any]] = {function.__qualname__: function for function in _FUNCTIONS}
"""By their names; nothing else is ever called."""


def spell(function: Callable[..., Any], given: tuple[Any, ...], named: Mapping[str, Any]) -> bytes:
    """Return the line that asks for a call."""
    name = function.__qualname__
    assert QUESTIONS.get(name) is function, f"{name} can't be asked for"
    arguments = _signature(function).bind(*given, **named).arguments
    return json.dumps({"ask": name, "with": {key: plain(value) for key, value in arguments.items()}}).encode()


def understand(line: bytes, function: Callable[..., Any], source: str) -> Any:
    """Return what an answer says that `function` returned; InvalidInput where it says no such thing.

    Raises what the function raised.
    """
    answer = _object(line, source)
    if "error" in answer:
        raise _raised(answer["error"], source)
    returned = typing.get_type_hints(function).get("return")
    return None if function in KINDS or returned is type(None) else typed(answer.get("is"), returned, source=source)


def check_greeting(line: bytes, source: str) -> None:
    """Raise InvalidInput where the first line is not that of a lithify of this version."""
    greeting = _object(line, source)
    if greeting != _GREETING:
        raise InvalidInput(f"{source}: not a lithify {__version__} that answers", hint="name another with --node-image")


def answer(questions: Iterable[bytes], answers: BinaryIO) -> None:
    """Answer what is asked, a line each, until nothing more comes."""
    held: list[object] = []
    _say(answers, json.dumps(_GREETING).encode())
    for line in questions:
        try:
            said = {"is": plain(_call(line, held))}
        except LithifyError as error:
            said = {"error": {"kind": type(error).__name__, "message": str(error), "hint": error.hint}}
        except Exception as error:  # whatever it is, who asked has to hear of it
            said = {"error": {"kind": "", "message": f"{type(error).__name__}: {error}", "hint": ""}}
        data = json.dumps(said).encode()
        _say(answers, data if len(data) < LIMIT else json.dumps({"error": _TOO_LONG}).encode())


_GREETING = {"schema": SCHEMA, "version": __version__}
_TOO_LONG = {
    "kind": "EngineUnreachable",
    "message": f"the answer is longer than {LIMIT >> 20} MiB",
    "hint": "run lithify on that node itself",
}


def _say(answers: BinaryIO, line: bytes) -> None:
    answers.write(line + b"\n")
    answers.flush()


def _call(line: bytes, held: list[object]) -> Any:
    question = _object(line, "the question")
    function = QUESTIONS.get(str(question.get("ask")))
    if function is None:
        raise InvalidInput(f"there is no question {question.get('ask')!r}", hint="ask with the same version of lithify")
    hints = typing.get_type_hints(vars(function)["__init__"] if isinstance(function, type) else function)
    given = question.get("with") or {}
    known = _signature(function).parameters
    arguments = {
        name: typed(given[name], hints[name], source=f"the question: {name}") for name in given if name in known
    }
    if isinstance(function, type):
        held[:] = [function(**arguments)]
        return None
    if function.__qualname__ != function.__name__:  # of what was made before
        return function(held[0], **arguments)
    return function(**arguments)


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    """Return what a call gives; the object that a method belongs to is not among it."""
    signature = inspect.signature(function)
    parameters = [one for one in signature.parameters.values() if one.name != "self"]
    return signature.replace(parameters=parameters)


def _object(line: bytes, source: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{source}: not JSON: {error}", hint="is that lithify?") from error
    if not isinstance(found, dict):
        raise InvalidInput(f"{source}: no JSON object", hint="is that lithify?")
    return found


def _raised(error: object, source: str) -> LithifyError:
    """Return the error that an answer tells of, of a kind of ours."""
    told = error if isinstance(error, dict) else {}
    message, hint = (printable(str(told.get(part) or ""))[:2000] for part in ("message", "hint"))
    kind = getattr(errors, str(told.get("kind")), None)
    if isinstance(kind, type) and issubclass(kind, LithifyError):
        return kind(message, hint=hint)
    # no refusal, of which a trial would think that the program could not be started
    return errors.EngineUnreachable(f"{source}: {message}", hint="run it on that node itself, with --debug")
