"""Sizes to bytes and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lithify.model.quantity import (
    parse_engine_size,
    parse_quantity,
    render_engine_size,
    render_human,
    render_quantity,
)

sizes = st.integers(min_value=0, max_value=2**50)


@given(sizes)
def test_parse_undoes_render(size: int) -> None:
    assert parse_quantity(render_quantity(size)) == size
    assert parse_engine_size(render_engine_size(size)) == size


@pytest.mark.parametrize(
    ("text", "size"),
    [("64Mi", 64 << 20), ("1e3", 1000), ("0.5Gi", 1 << 29), ("100m", 1), ("1k", 1000), ("128974848", 128974848)],
)
def test_kubernetes_quantities(text: str, size: int) -> None:
    assert parse_quantity(text) == size


@pytest.mark.parametrize(("text", "size"), [("64m", 64 << 20), ("1g", 1 << 30), ("1GB", 1 << 30), ("4096", 4096)])
def test_engine_sizes(text: str, size: int) -> None:
    assert parse_engine_size(text) == size


@pytest.mark.parametrize("text", ["", "Mi", "64 Mi x", "-1", "1ee3", "64mi!"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a"):
        parse_quantity(text)
    with pytest.raises(ValueError, match="not a"):
        parse_engine_size(text)


@pytest.mark.parametrize(("size", "text"), [(0, "0 B"), (1536, "1.5 KiB"), (64 << 20, "64 MiB"), (3 << 40, "3.0 TiB")])
def test_sizes_for_people(size: int, text: str) -> None:
    assert render_human(size) == text
