"""What is asked in the network of a container that an ordinary user's Podman has."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest

from lithify.engines import process
from lithify.engines.base import Ended
from lithify.engines.bundle import rootless
from lithify.errors import NotPermitted


def test_a_program_that_has_ended_has_no_network_and_nothing_is_asked() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    with pytest.raises(Ended, match="it ended meanwhile"):
        rootless.call_in_network(gone.pid, lambda: pytest.fail("it was asked"))


def test_a_network_that_cant_be_joined_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, *_: object) -> None:
        os.close(descriptor)
        raise NotPermitted("the container's network can't be joined", hint="as root")

    monkeypatch.setattr(rootless, "_join", refuse)
    with pytest.raises(NotPermitted, match="can't be joined"):
        rootless.call_in_network(os.getpid(), lambda: pytest.fail("it was asked"))


@pytest.fixture
def heeding_interrupts() -> Iterator[None]:
    """A script that puts the tests in the background has them ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeding_interrupts")
def test_an_interrupt_ends_what_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rootless, "_join", lambda descriptor, *_: os.close(descriptor))
    cancelled, ended = threading.Event(), threading.Event()

    main = threading.get_ident()

    def ask() -> None:
        threading.Timer(0.2, signal.pthread_kill, (main, signal.SIGINT)).start()
        process.run(["sleep", "30"], cancelled=cancelled)
        ended.set()

    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        rootless.call_in_network(os.getpid(), ask, cancelled)
    assert cancelled.is_set()
    assert ended.wait(10)
    assert time.monotonic() - begun < 20


def test_a_question_that_fails_cancels_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rootless, "_join", lambda descriptor, *_: os.close(descriptor))
    cancelled = threading.Event()
    with pytest.raises(ZeroDivisionError):
        rootless.call_in_network(os.getpid(), lambda: 1 // 0, cancelled)
    assert not cancelled.is_set()
