"""Runs every benchmark but the services, one after the other: `python -m bench`; each prints ratios of one run."""

import subprocess
import sys

BENCHES = ("startup", "plan", "upper", "live", "explain", "audit", "patch", "cluster", "harden")


def main() -> int:
    """Run them all; return 1 where one missed its goal."""
    missed = []
    for name in BENCHES:
        print(f"\n== bench.{name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"bench.{name}"]).returncode:
            missed.append(name)
    print(f"\nmissed their goal: {', '.join(missed) or 'none'}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
