"""What can be asked of a host from elsewhere: by a real `lithify answer`, over pipes in place of a pod's streams."""

import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, cast

import pytest

from lithify.engines.bundle.state import start_time
from lithify.engines.kubernetes import readers
from lithify.engines.kubernetes.lent import DISKS, lend_directory
from lithify.engines.kubernetes.readers import Line, Readers
from lithify.engines.kubernetes.streams import ERRORS, OUTPUT, Streams
from lithify.engines.node.kubelet import ProcessFinder, send_signal
from lithify.errors import EngineRefused, EngineUnreachable, InvalidInput
from lithify.model.image import ImageFacts
from lithify.model.writes import Change, Observation, Process, RunKey, Source, Write, WriteSet
from lithify.observe.collect import Collector
from lithify.observe.look import look
from lithify.pipeline import questions
from lithify.pipeline.elsewhere import NodeHost
from lithify.pipeline.learn import learn_pod
from lithify.pipeline.questions import QUESTIONS, answer, check_greeting, spell, understand
from lithify.prove.network import Request, hear, request
from lithify.report.wire import plain

WRITTEN = WriteSet(
    key=RunKey(image="x"),
    container="app",
    image=ImageFacts(reference="x"),
    writes=(Write(path=PurePosixPath("/var/cache/app"), change=Change.CREATED),),
    observation=Observation(seconds=1.0),
)


class Pipes:
    """The streams of a command of this host, with what `Streams` can."""

    def __init__(self, *command: str) -> None:
        self.process = subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1, bufsize=0)

    def receive(self, deadline: float) -> tuple[int, bytes] | None:
        assert self.process.stdout
        assert self.process.stderr
        streams = {self.process.stdout: OUTPUT, self.process.stderr: ERRORS}
        ready, _, _ = select.select(list(streams), [], [], max(deadline - time.monotonic(), 0))
        if not ready:
            raise TimeoutError
        for stream in ready:
            if data := stream.read(1 << 16):
                return streams[stream], data
        return None

    def send(self, data: bytes) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(data)
        except BrokenPipeError as error:
            raise EngineUnreachable("dropped") from error

    def ping(self) -> None:
        if self.process.poll() is not None:
            raise EngineUnreachable("dropped")

    def close(self) -> None:
        with self.process:
            self.process.kill()


class Pods:
    """Stands for the pods of ours: each line is one to a process of this host."""

    def __init__(self, *command: str) -> None:
        self.command = command
        self.lines: list[Line] = []
        self.pipes: list[Pipes] = []
        self.end = ""

    def line(self, node: str) -> Line:
        self.pipes.append(Pipes(*self.command))
        self.lines.append(Line(cast(Streams, self.pipes[-1]), node))
        return self.lines[-1]

    def drop(self, line: Line) -> None:
        self.lines.remove(line)
        line.close()

    def fate(self, _node: str) -> str:
        return self.end


@pytest.fixture
def pods() -> Iterator[Pods]:
    made = Pods(sys.executable, "-m", "lithify.cli.main", "answer")
    yield made
    for line in tuple(made.lines):
        made.drop(line)


@pytest.fixture
def node(pods: Pods) -> NodeHost:
    return NodeHost(cast(Readers, pods), "node2", 0.0)


def test_functions_return_there_what_they_return_here(node: NodeHost, pods: Pods) -> None:
    """Values of the model included; and one line serves for all that is asked one after the other."""
    own = os.getpid()
    assert node.call(start_time, own) == start_time(own)
    seen = node.call(look, own)
    assert seen.alive
    assert replace(seen, cpu=0.0) == replace(look(own), cpu=0.0)
    assert not node.call(look, (1 << 22) + 1).alive
    status, why = node.call(request, Request(address="127.0.0.1", port=1, path="/"), 5.0)
    assert (status, why) == request(Request(address="127.0.0.1", port=1, path="/"), 5.0)
    assert len(pods.lines) == 1


def test_what_is_held_there_remembers(node: NodeHost, pods: Pods, tmp_path: Path) -> None:
    """A write set's parts are collected there, from calls that follow each other; other calls go on beside it."""
    image = ImageFacts(reference="x", environment={"HOME": "/root"}, volumes=(PurePosixPath("/data"),))
    with node.hold(Collector, image, None, live=True) as there:
        here = Collector(image, None, live=True)
        (tmp_path / "file").write_text("x")
        for collector in (there, here):
            collector.start(os.getpid(), None, ())
            collector.look(os.getpid())
            collector.read(None, ((PurePosixPath("/data"), tmp_path),), [("A", PurePosixPath("/var/cache/app"))])
        assert node.call(look, os.getpid()).alive
        found, expected = there.finish(there=True), here.finish(there=True)
    assert found.writes == expected.writes
    assert {str(write.path) for write in found.writes} >= {"/data/file", "/var/cache/app"}
    assert found.sources == (Source.DIFF, Source.PROCESSES, Source.VOLUME)
    assert (found.image, found.notes) == (image, expected.notes)
    assert isinstance(found.mounted, tuple)  # of this host, where others mount things meanwhile
    assert len(pods.lines) == 2
    with node.hold(ProcessFinder, "app") as finder:
        assert finder.find("00000000-0000-0000-0000-000000000000", None) is None
    assert len(pods.lines) == 2


def test_what_is_raised_there_is_raised_here(node: NodeHost) -> None:
    """An error of ours as it is; any other with its name, as what keeps us from looking there."""
    own = os.getpid()
    with pytest.raises(EngineUnreachable, match="the answer of node node2: OSError:") as broken:
        node.call(send_signal, (own, start_time(own) or 0), 999)
    assert broken.type is EngineUnreachable  # a refusal would say something of the program that is tried
    taken = DISKS / f"lithify-test-{own}"
    taken.symlink_to("/nowhere")
    try:
        with pytest.raises(EngineRefused, match="is there already, and is not ours") as met:
            node.call(lend_directory, taken.name)
        assert met.value.hint == "remove it: lithify did not make it"
    finally:
        taken.unlink()
    assert node.call(learn_pod, "0-0", "none", 0.0, live=False) is None


def test_a_question_that_is_none_is_refused() -> None:
    for question in (
        b"[]",
        b"{",
        b'{"ask": "eval", "with": {}}',
        b'{"ask": "look", "with": {"pid": "x"}}',
        b"[" * 99_999,
    ):
        said = asked(question)
        assert said["error"]["kind"] in ("InvalidInput", "")
        assert "question" in said["error"]["message"] or "missing" in said["error"]["message"]
    climbing = json.dumps({"ask": "Collector.follow", "with": {}})
    assert "error" in asked(climbing.encode())


def asked(question: bytes) -> Any:
    """Return what is answered to one question."""
    import io

    answers = io.BytesIO()
    answer([question], answers)
    greeting, said = answers.getvalue().splitlines()
    check_greeting(greeting, "it")
    return json.loads(said)


def test_a_lithify_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    greeting = json.dumps({"schema": questions.SCHEMA, "version": "0.0.1"}).encode()
    with pytest.raises(InvalidInput, match="the answer of node node2: not a lithify"):
        check_greeting(greeting, "the answer of node node2")


@pytest.mark.parametrize("path", ["/var/../../etc", "etc/passwd", ".."])
def test_a_path_that_leads_out_of_a_container_is_refused(path: str) -> None:
    """Wherever in an answer it stands."""
    climbing = PurePosixPath(path)
    process = Process(program="/bin/app", working_directory=climbing)
    for found in (
        replace(WRITTEN, writes=(Write(path=climbing, change=Change.CREATED),)),
        replace(WRITTEN, mounted=(climbing,)),
        replace(WRITTEN, image=replace(WRITTEN.image, volumes=(climbing,))),
        replace(WRITTEN, image=replace(WRITTEN.image, working_directory=climbing)),
        replace(WRITTEN, processes=(process,)),
    ):
        with pytest.raises(InvalidInput, match=r"the answer of node node2: .*not an absolute path"):
            understand(json.dumps({"is": plain(found)}).encode(), learn_pod, "the answer of node node2")
    assert understand(json.dumps({"is": plain(WRITTEN)}).encode(), learn_pod, "x") == WRITTEN
    assert understand(b'{"is": null}', learn_pod, "x") is None


@pytest.mark.parametrize("data", [b"", b"[" * 100_000, b"\xff", b"{}", b'{"is": {"alive": []}}', b'{"error": 7}'])
def test_an_answer_of_another_kind_is_refused(data: bytes) -> None:
    with pytest.raises((InvalidInput, EngineUnreachable), match="the answer of node"):
        understand(data, look, "the answer of node")


def test_a_name_that_is_no_text_comes_through(node: NodeHost) -> None:
    odd = os.fsdecode(b"/var/\xff\n")
    image = ImageFacts(reference=odd)
    with node.hold(Collector, image, None, live=False) as collector:
        assert collector.finish(there=False).image == image


def test_a_node_that_is_lost_half_way_is_told_with_its_fate(node: NodeHost, pods: Pods) -> None:
    assert node.call(start_time, os.getpid())
    pods.pipes[0].process.kill()
    pods.end = "its pod ended: Evicted: the node was low on memory"
    with pytest.raises(EngineUnreachable, match=r"node node2 can't be looked into any more: .*low on memory"):
        node.call(start_time, os.getpid())
    assert pods.lines == []


def test_a_line_that_was_dropped_while_nobody_used_it_is_replaced(node: NodeHost, pods: Pods) -> None:
    """The pod lives: what stands between may well end a connection on which nothing goes."""
    assert node.call(start_time, os.getpid())
    (idle,), (pipes,) = pods.lines, pods.pipes
    pipes.process.kill()
    pipes.process.wait()
    idle.keep_alive()
    assert node.call(start_time, os.getpid()) == start_time(os.getpid())
    assert pods.lines != [idle]
    assert len(pods.lines) == 1


def test_what_is_no_lithify_is_told_in_its_words() -> None:
    odd = Pods("sh", "-c", "echo no such command >&2; exit 2")
    node = NodeHost(cast(Readers, odd), "node2", 0.0)
    with pytest.raises(EngineUnreachable, match=r"into any more: lithify on node node2 ended: no such command"):
        node.call(start_time, 1)
    assert odd.lines == []


def test_a_node_that_does_not_answer_in_time_is_told_as_that(pods: Pods) -> None:
    deaf = Pods("sleep", "60")
    line = deaf.line("node2")
    with pytest.raises(EngineUnreachable, match=r"lithify on node node2 did not answer within 0\.1 s") as met:
        line.ask(b"", 0.1)
    assert met.type is EngineUnreachable  # no refusal, which a trial would take for the program's failure
    deaf.drop(line)


def test_an_answer_without_an_end_is_not_read_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "_LIMIT", 1 << 20)
    endless = Pods("cat", "/dev/zero")
    line = endless.line("node2")
    with pytest.raises(EngineUnreachable, match="lithify on node node2 answered with more than 1 MiB") as met:
        line.ask(b"", 60.0)
    assert met.type is EngineUnreachable
    endless.drop(line)


def test_it_ends_with_its_input_whatever_it_is_about(pods: Pods) -> None:
    """As where the desk is switched off while a node is watched for an hour."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        pods.line("node2").ask(b"", 60.0)
        (pipes,) = pods.pipes
        pipes.send(spell(hear, (*silent.getsockname(), 3600.0), {}) + b"\n")
        with silent.accept()[0]:
            assert pipes.process.stdin
            pipes.process.stdin.close()
            assert pipes.process.wait(60) == 0


def test_everything_that_is_asked_has_types_that_travel() -> None:
    """Each question can be spelt, and its signature resolves: nothing is found out only on a node."""
    import typing

    for name, function in QUESTIONS.items():
        hints = typing.get_type_hints(vars(function)["__init__"] if isinstance(function, type) else function)
        assert "return" in hints, name
    with pytest.raises(AssertionError, match="can't be asked for"):
        spell(os.kill, (1, 9), {})


def test_who_hears_nothing_any_more_ends() -> None:
    """An empty line is a sign of life, and gets no answer."""
    program = "import lithify.engines.host as host; host.QUIET = 3; from lithify.cli.answer import run; run(None)"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as answering:
        assert answering.stdin is not None
        assert answering.stdout is not None
        assert json.loads(answering.stdout.readline())["schema"]
        answering.stdin.write(b"\n")
        assert answering.stdout.read() == b""  # its end, although what it reads from is open
    assert answering.returncode == 0
