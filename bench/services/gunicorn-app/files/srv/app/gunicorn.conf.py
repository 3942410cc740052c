"""Starts the scheduler in gunicorn's master, once for all workers."""

import threading

import schedule


def when_ready(_server: object) -> None:
    """Begin to schedule as soon as requests are served."""
    threading.Thread(target=schedule.run_forever, daemon=True).start()
