"""Drives a container and asks it whether it works, the way its user said."""

import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from threading import Event
from urllib.parse import urlsplit

from lithify.engines.base import Accompanied, Container, Ended, Probed, Result, Secluded
from lithify.engines.host import host_of
from lithify.engines.process import TIMED_OUT, run
from lithify.errors import EngineRefused
from lithify.model.behaviour import Answer, Phase
from lithify.model.path import printable
from lithify.model.run import Exercise, Probe
from lithify.prove.network import Request, connect, hear, request

_SHELL_CHARACTERS = set("|&;<>()$`\\\"'*?[]#~=%{}!\n")
_UNREACHABLE = "the container has no address that the host reaches"
_INTERPRETERS = ("sh", "bash", "dash", "python", "python3", "perl", "ruby", "node")


def ask(
    exercise: Exercise,
    container: Container,
    phase: Phase,
    ports: Mapping[int, int],
    *,
    timeout: float,
    cancelled: Event | None = None,
) -> tuple[Answer, ...]:
    """Return what every check of the user's says of `container`; nothing where the user named none.

    `ports` takes ports published on the host to ports of the container. The first failure ends it: the rest would
    only wait for its own time limit. A command of the host's is killed once `cancelled` is set.
    """
    cancelled = cancelled or Event()

    def each() -> tuple[Answer, ...]:
        answers = []
        for answer in _checks(exercise, container, phase, ports, timeout, cancelled):
            answers.append(answer)
            if not answer.passed:
                break
        return tuple(answers)

    try:
        return _where_it_is(container, each, cancelled)
    except Ended as ended:
        return tuple(Answer(name=name, phase=phase, passed=False, detail=str(ended)) for name in _names(exercise)[:1])


def drive(exercise: Exercise, container: Container, phase: Phase, *, cancelled: Event | None = None) -> Answer | None:
    """Run the user's exercise once; None where there is none. It is killed once `cancelled` is set."""
    script = exercise.script
    if script is None:
        return None
    cancelled = cancelled or Event()
    try:
        return _where_it_is(
            container,
            lambda: _host_command("exercise", script, container, phase, exercise.timeout, cancelled),
            cancelled,
        )
    except Ended as ended:
        return Answer(name="exercise", phase=phase, passed=False, detail=str(ended))


def _where_it_is(container: Container, function: Callable[[], Result], cancelled: Event | None = None) -> Result:
    """Return what `function` does where the container's address leads to it; one that is interrupted is cancelled."""
    return container.call_in_network(function, cancelled) if isinstance(container, Secluded) else function()


def answer_of_port(container: Container, port: int, *, timeout: float = 3.0) -> str:
    """Return in a few words what a TCP port says to a plain HTTP request, digits masked: for comparison only."""
    try:
        return _where_it_is(container, lambda: _answer_of_port(container, port, timeout))
    except Ended:
        return "not reachable from the host"


def _answer_of_port(container: Container, port: int, timeout: float) -> str:
    address = container.address()
    if address is None:
        return "not reachable from the host"
    said = host_of(container).call(hear, address, port, timeout)
    return "".join("#" if c.isdigit() else c for c in printable(said))


def _checks(
    exercise: Exercise,
    container: Container,
    phase: Phase,
    ports: Mapping[int, int],
    timeout: float,
    cancelled: Event | None,
) -> Iterator[Answer]:
    if exercise.tcp is not None:
        yield _tcp(exercise.tcp, container, phase, ports, timeout)
    if exercise.http is not None:
        yield _http(exercise.http, container, phase, ports, timeout)
    if exercise.check is not None:
        yield _host_command("check", exercise.check, container, phase, timeout, cancelled)
    if exercise.check_inside:
        yield _inside(exercise.check_inside, container, phase, timeout)
    for probe in exercise.probes:
        yield _probe(probe, container, phase)


def _names(exercise: Exercise) -> list[str]:
    """Return what the answers to `_checks` are called."""
    named = {"tcp": exercise.tcp, "http": exercise.http, "check": exercise.check}
    inside = ["check-inside"] if exercise.check_inside else []
    return [
        *(name for name, value in named.items() if value is not None),
        *inside,
        *(f"{probe.name}-probe" for probe in exercise.probes),
    ]


def _tcp(port: int, container: Container, phase: Phase, ports: Mapping[int, int], timeout: float) -> Answer:
    address, port, refused = _reach(container, port, ports)
    if address is not None:
        refused = host_of(container).call(connect, address, port, min(timeout, 5.0))
    detail = f"port {port}: {refused}" if refused else f"connected to port {port}"
    command = ("nc", "-z", str(address), str(port))
    return Answer(name="tcp", phase=phase, passed=not refused, detail=detail, command=command)


def _reach(container: Container, port: int, ports: Mapping[int, int]) -> tuple[str | None, int, str]:
    """Return where a port of the host is to be found, at the container or at one beside it; or why it can't be."""
    beside = container.published(port) if isinstance(container, Accompanied) and port not in ports else None
    if beside is None:
        return container.address(), ports.get(port, port), _UNREACHABLE
    how = "does not run" if beside.ended is None else f"ended with exit code {beside.ended}"
    return beside.address, beside.port, f"the service {printable(beside.service)}, which publishes that port, {how}"


def _http(url: str, container: Container, phase: Phase, ports: Mapping[int, int], timeout: float) -> Answer:
    parts = urlsplit(url if "//" in url else f"http://{url}")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    address, port, unreachable = _reach(container, port, ports)
    if address is None:
        detail = f"GET {printable(url)}: {unreachable}"
        return Answer(name="http", phase=phase, passed=False, detail=detail, command=("curl", "-f", url))
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = (("Host", parts.netloc or "localhost"), ("User-Agent", "lithify"))
    wanted = Request(
        address=address, port=port, path=path, headers=headers, secure=parts.scheme == "https", verified=True
    )
    return _http_answer(wanted, container, phase, min(timeout, 10.0), "-f")


def _http_answer(wanted: Request, container: Container, phase: Phase, timeout: float, option: str) -> Answer:
    status, refused = host_of(container).call(request, wanted, timeout) if wanted.address else (0, _UNREACHABLE)
    detail = f"GET {wanted}: {refused}" if refused else f"GET {wanted} answered {status}"
    passed = not refused and 200 <= status < 400
    command = ("curl", option, str(wanted))
    return Answer(name="http", phase=phase, passed=passed, detail=printable(detail), command=command)


def _probe(probe: Probe, container: Container, phase: Phase) -> Answer:
    """Ask what the pod's own spec asks, as the kubelet would; where there is one, take its word."""
    if probe.by_kubelet and isinstance(container, Probed):
        passed, detail = container.probed()
        return Answer(name=f"{probe.name}-probe", phase=phase, passed=passed, detail=printable(detail))
    if probe.command:
        answer = _inside(probe.command, container, phase, probe.timeout)
    elif probe.path is None:
        answer = _tcp(probe.port, container, phase, {}, probe.timeout)
    else:
        headers = (("User-Agent", "kube-probe/lithify"), ("Accept", "*/*"), *probe.headers)
        # the kubelet looks at no certificate either
        wanted = Request(
            address=container.address() or "", port=probe.port, path=probe.path, headers=headers, secure=probe.secure
        )
        answer = _http_answer(wanted, container, phase, probe.timeout, "-fk")
    return replace(answer, name=f"{probe.name}-probe")


def _inside(command: tuple[str, ...], container: Container, phase: Phase, timeout: float) -> Answer:
    try:
        done = container.execute(command, timeout=timeout)
    except EngineRefused as refused:  # it ended meanwhile, or was stopped to see whether the check can fail
        return Answer(name="check-inside", phase=phase, passed=False, detail=str(refused), command=command)
    detail = _detail(done.code, done.output, timeout)
    return Answer(name="check-inside", phase=phase, passed=done.code == 0, detail=detail, command=command)


def _host_command(
    name: str, command: str, container: Container, phase: Phase, timeout: float, cancelled: Event | None
) -> Answer:
    words = _words(command, container.name)
    beside = container.beside() if isinstance(container, Accompanied) else {}
    environment = {
        **{f"LITHIFY_ADDRESS_{_variable(service)}": address for service, address in beside.items()},
        "LITHIFY_CONTAINER": container.name,
        "LITHIFY_ENGINE": container.engine,
        "LITHIFY_ADDRESS": container.address() or "",
        "LITHIFY_PID": str(container.pid() or ""),
        "LITHIFY_PHASE": phase.value,
    }
    done = run(words, environment=environment, timeout=timeout, limit=1 << 16, cancelled=cancelled)
    detail = _detail(done.code, done.stderr or done.stdout, timeout)
    return Answer(name=name, phase=phase, passed=done.code == 0, detail=detail, command=tuple(words))


def _variable(name: str) -> str:
    """Return a name as part of a variable's: `my-app` becomes `MY_APP`."""
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in name).upper()


def _words(command: str, container: str) -> list[str]:
    """Return how to run the user's command with the container as its first argument.

    A script, by its path or behind its interpreter, gets it as an argument; anything else is a shell command, in which
    it is `$1`.
    """
    if os.path.isfile(script_of(command)):
        return [*shlex.split(command), container]
    return ["sh", "-c", command, "sh", container]


def script_of(command: str) -> str:
    """Return the path of the script that a command of the user's runs; nothing where it is another shell command."""
    if _SHELL_CHARACTERS & set(command):
        return ""
    words = shlex.split(command)
    script = words[1] if len(words) > 1 and words[0] in _INTERPRETERS else words[0] if words else ""
    return script if "/" in script else ""


def _detail(code: int, output: bytes, timeout: float) -> str:
    said = output.decode("utf-8", "surrogateescape").strip().splitlines()
    last = printable(said[-1][:200]) if said else ""
    verdict = f"took longer than {timeout:g} s" if code == TIMED_OUT else f"exit {code}"
    return f"{verdict}: {last}" if last else verdict
