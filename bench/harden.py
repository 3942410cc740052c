"""What `lithify harden` costs beside the bare starts and exercises it needs: `python -m bench.harden [SERVICE]`.

Takes the service through `harden` on Docker, and in the same run through bare lives of it: `docker run`, wait until
the check passes, exercise, kill, start again, check, remove. Prints every start with its purpose, and the ratio of the
whole hardening to as many bare lives as it had containers, one after the other. There is no limit to hold: what is read
is how many starts, why, and whether the whole costs more than they do.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench.here import insist_on
from bench.services.service import read_services

ROOT = Path(__file__).parent.parent
LIVES = 3
"""Before, and as many after."""


def harden(image: str, folder: Path) -> tuple[float, dict[str, object]]:
    """Return the seconds and the result of one `lithify harden`."""
    command = [sys.executable, "-m", "lithify.cli.main", "harden", f"docker:{image}", "--format", "json"]
    command += ["--exercise", str(folder / "exercise"), "--check", str(folder / "check")]
    begun = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=900)
    return time.monotonic() - begun, json.loads(done.stdout)


def bare_life(image: str, folder: Path) -> float:
    """Return the seconds of one life of a container that nobody observes."""
    begun = time.monotonic()
    name = _docker("run", "--detach", image)
    try:
        _use(name, folder / "check", "started")
        _use(name, folder / "exercise", "exercised")
        _use(name, folder / "check", "exercised")
        _docker("kill", name)
        _docker("start", name)
        _use(name, folder / "check", "restarted")
    finally:
        _docker("rm", "--force", "--volumes", name)
    return time.monotonic() - begun


def _docker(*words: str) -> str:
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True, timeout=120).stdout.strip()


def _use(name: str, script: Path, phase: str) -> None:
    """Run a script on a container as lithify does, until it succeeds."""
    form = "{{.State.Pid}} {{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    pid, _, address = _docker("inspect", "--format", form, name).partition(" ")
    told = {"CONTAINER": name, "ENGINE": "docker", "ADDRESS": address, "PID": pid, "PHASE": phase}
    environment = {**os.environ, **{f"LITHIFY_{key}": value for key, value in told.items()}}
    end = time.monotonic() + 60
    while subprocess.run([script, name], env=environment, capture_output=True, timeout=120).returncode:
        if time.monotonic() > end:
            raise SystemExit(f"{script} never passed")
        time.sleep(0.1)


def main() -> int:
    """Print the starts and the ratio."""
    parser = argparse.ArgumentParser(prog="python -m bench.harden", description=__doc__.splitlines()[0])
    parser.add_argument("service", nargs="?", default="redis", choices=[one.name for one in read_services()])
    service = parser.parse_args().service
    insist_on("docker")
    image, folder = f"lithify-bench/{service}", ROOT / "bench" / "services" / service
    subprocess.run([sys.executable, "-m", "bench.services.build", "--engine", "docker", service], check=True)
    lives = [bare_life(image, folder) for _ in range(LIVES)]
    seconds, result = harden(image, folder)
    lives += [bare_life(image, folder) for _ in range(LIVES)]
    life = statistics.median(lives)
    verdict = result["verdict"]
    assert isinstance(verdict, dict)
    for start in verdict["starts"]:
        print(f"{start['seconds']:7.2f} s  {start['purpose']}")
    containers = sum(not start["purpose"].endswith(": restarted") for start in verdict["starts"])
    ratio = seconds / containers / life
    print(f"harden {seconds:.1f} s; {containers} containers, {life:.1f} s each when bare; x{ratio:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
