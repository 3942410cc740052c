"""The user's checks, run for real on this host against a container that is no more than a name and an address."""

import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any, cast

import pytest

from lithify.engines.base import Container, Ended, Exit
from lithify.model.behaviour import Answer, Phase
from lithify.model.run import Exercise
from lithify.prove.exercise import answer_of_port, ask, drive


class FakeContainer:
    """Stands for a container where only its name, address and commands are asked for."""

    name, engine = "fake", "fake"

    def address(self) -> str | None:
        return "127.0.0.1"

    def pid(self) -> int | None:
        return 4711

    def execute(self, command: tuple[str, ...], *, user: str | None = None, timeout: float = 30.0) -> Exit:
        return Exit(code=0 if command == ("true",) else 1, output=b"said no")


CONTAINER = cast(Container, FakeContainer())


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/good" else 503)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@pytest.fixture
def port() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def one(exercise: Exercise, ports: dict[int, int] | None = None, timeout: float = 5.0) -> Answer:
    (answer,) = ask(exercise, CONTAINER, Phase.STARTED, ports or {}, timeout=timeout)
    return answer


def test_nothing_is_asked_where_the_user_named_nothing() -> None:
    assert ask(Exercise(), CONTAINER, Phase.STARTED, {}, timeout=1.0) == ()
    assert drive(Exercise(), CONTAINER, Phase.STARTED) is None


def test_a_script_gets_the_container_as_its_argument_and_all_else_by_variables(tmp_path: Path) -> None:
    script = tmp_path / "check.sh"
    script.write_text(
        '#!/bin/sh\necho "$1 $LITHIFY_CONTAINER $LITHIFY_ENGINE $LITHIFY_ADDRESS $LITHIFY_PID $LITHIFY_PHASE"\n'
    )
    script.chmod(0o755)
    for command in (str(script), f"sh {script}"):
        answer = one(Exercise(check=command))
        assert answer.passed
        assert answer.detail == "exit 0: fake fake fake 127.0.0.1 4711 started"


def test_a_shell_command_finds_the_container_as_its_first_parameter() -> None:
    assert one(Exercise(check='test "$1" = fake && test "$LITHIFY_PHASE" = started')).passed
    refused = one(Exercise(check="echo because >&2; exit 3"))
    assert not refused.passed
    assert refused.detail == "exit 3: because"


def test_a_check_that_hangs_is_ended_and_fails() -> None:
    answer = one(Exercise(check="sleep 60"), timeout=0.3)
    assert not answer.passed
    assert answer.detail == "took longer than 0.3 s"


def test_http_follows_the_published_port_to_the_containers_own(port: int) -> None:
    assert one(Exercise(http="http://localhost:8080/good"), {8080: port}).passed
    bad = one(Exercise(http=f"http://localhost:{port}/bad"))
    assert not bad.passed
    assert "answered 503" in bad.detail


def test_tcp_asks_whether_the_port_accepts(port: int) -> None:
    assert one(Exercise(tcp=port)).passed
    assert not one(Exercise(tcp=1)).passed


def test_a_check_inside_is_run_by_the_engine() -> None:
    assert one(Exercise(check_inside=("true",))).passed
    assert one(Exercise(check_inside=("false",))).detail == "exit 1: said no"


def test_the_first_failure_ends_the_asking(port: int, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    answers = ask(Exercise(tcp=1, check=f"touch {ran}"), CONTAINER, Phase.STARTED, {}, timeout=2.0)
    assert [answer.name for answer in answers] == ["tcp"]
    assert not ran.exists()


def test_what_a_port_says_is_masked_for_comparison(port: int) -> None:
    assert answer_of_port(CONTAINER, port) == "HTTP/#.# ### Service Unavailable"
    assert answer_of_port(CONTAINER, 1).startswith("does not accept")


class GoneContainer(FakeContainer):
    """Ends between the question for its process and the way into its network."""

    def call_in_network(self, function: Callable[[], Any], cancelled: Event | None = None) -> Any:
        raise Ended


def test_a_program_that_just_ended_fails_its_checks_and_nothing_else_is_asked(port: int, tmp_path: Path) -> None:
    gone, ran = cast(Container, GoneContainer()), tmp_path / "ran"
    asked = Exercise(http=f"http://localhost:{port}/good", check=f"touch {ran}", script=f"touch {ran}")
    (answer,) = ask(asked, gone, Phase.STARTED, {}, timeout=5.0)
    assert (answer.name, answer.passed, answer.detail) == ("http", False, "it ended meanwhile")
    done = drive(asked, gone, Phase.EXERCISED)
    assert done is not None
    assert (done.name, done.passed, ran.exists()) == ("exercise", False, False)
    assert answer_of_port(gone, port) == "not reachable from the host"
    assert ask(Exercise(), gone, Phase.STARTED, {}, timeout=5.0) == ()
