"""When each periodic task ran last, in a file beside the program unless SCHEDULE_FILE says where."""

import dbm
import os
import shelve
import time

FILE = os.environ.get("SCHEDULE_FILE", "schedule")
PERIOD = 2.0


def last_run(task: str) -> float | None:
    """Return when a task ran last, in seconds since the epoch; None also while the file is being written."""
    try:
        with shelve.open(FILE, flag="r") as runs:
            return runs.get(task)
    except dbm.error:
        return None


def tick(task: str) -> None:
    """Note that a task ran now."""
    with shelve.open(FILE) as runs:
        runs[task] = time.time()


def run_forever() -> None:
    """Run the tasks, each in its period."""
    while True:
        try:
            tick("clean-up")
        except (OSError, *dbm.error) as error:
            print(f"schedule: {error}", flush=True)
        time.sleep(PERIOD)
