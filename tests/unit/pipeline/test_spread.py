"""Work on many processes: whatever becomes of these, each input has its result."""

import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lithify.pipeline.audit.spool import Spool
from lithify.pipeline.audit.spread import spread

INPUTS = 300
BEFORE_DEATH = 100
MORE_FILES = 20


@pytest.fixture
def _few_files() -> Iterator[None]:
    """Allow hardly more open files than there are, which need not have the lowest numbers."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = sorted(set(range(1000)) - set(map(int, os.listdir("/proc/self/fd"))))
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[MORE_FILES], limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.usefixtures("_few_files")
def test_what_a_dead_process_had_done_is_done_again_with_few_open_files(tmp_path: Path) -> None:
    """However much it was."""
    parent = os.getpid()
    killed = tmp_path / "killed"

    def work(entry: int, spool: Spool) -> bytes:
        if os.getpid() == parent:
            end = time.monotonic() + 30
            while not killed.exists() and time.monotonic() < end:  # the child gets as far as it is to
                time.sleep(0.01)
        elif len(spool) == BEFORE_DEATH:
            killed.touch()
            os.kill(os.getpid(), 9)
        spool.keep(b"%d" % entry)
        spool.keep(b"twice")
        return b"%016d" % entry

    results = spread(range(INPUTS), work, 2, work)
    assert killed.exists()
    assert [list(parts) for parts in results] == [[b"%d" % entry, b"twice"] for entry in range(INPUTS)]
    assert [key for key, *_ in results.stretches()] == [b"%016d" % entry for entry in range(INPUTS)]
