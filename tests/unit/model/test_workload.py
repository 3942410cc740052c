"""What is said of workloads beyond what they run."""

import pytest

from lithify.model.workload import Exemption


@pytest.mark.parametrize(("until", "dated"), [
    ("", True),
    ("2026-02-28", True),
    ("2026-12-31", True),
    ("2026-13-99", False),
    ("2026-00-01", False),
    ("2026-01-00", False),
    ("2026-1--01", False),
    ("2026-1-01", False),
    ("2026-01-01T", False),
    ("٢٠٢٦-01-01", False),
])  # fmt: skip
def test_a_last_day_is_a_day(until: str, dated: bool) -> None:
    """What is none would never end, or end when nobody expects it."""
    assert Exemption("x", until=until).dated is dated
    assert Exemption("x", until=until).holds("2000-01-01") is dated
