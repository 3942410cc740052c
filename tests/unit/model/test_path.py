"""Container paths."""

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lithify.model.path import container_path, is_pseudo, is_system, outermost, printable

paths = st.lists(st.sampled_from("abc"), max_size=4).map(lambda parts: PurePosixPath("/", *parts))


@given(st.lists(paths))
def test_the_outermost_cover_all_and_none_covers_another(given_paths: list[PurePosixPath]) -> None:
    kept = outermost(given_paths)
    assert all(any(path.is_relative_to(k) for k in kept) for path in given_paths)
    assert not any(a != b and a.is_relative_to(b) for a in kept for b in kept)


@pytest.mark.parametrize("text", ["", "relative", "/a/../b", "/a\0b"])
def test_a_path_that_is_relative_or_climbs_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an absolute path"):
        container_path(text)


def test_a_container_has_one_root() -> None:
    assert container_path("//run/x/") == PurePosixPath("/run/x")


@pytest.mark.parametrize("path", ["/", "/etc", "/usr", "/usr/bin/x", "/lib64", "/var"])
def test_system_directories_are_never_places(path: str) -> None:
    assert is_system(PurePosixPath(path))


@pytest.mark.parametrize("path", ["/run", "/var/lib/redis", "/usr/share/x/cache", "/etc/nginx/conf.d", "/app"])
def test_directories_below_them_may_be(path: str) -> None:
    assert not is_system(PurePosixPath(path))


def test_kernel_filesystems_need_no_place() -> None:
    assert is_pseudo(PurePosixPath("/dev/shm/x"))
    assert not is_pseudo(PurePosixPath("/device"))


@given(st.text() | st.binary().map(lambda data: data.decode("utf-8", "surrogateescape")))
def test_what_is_printed_holds_no_control_character(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    shown.encode("utf-8")


def test_a_byte_that_is_no_utf_8_is_shown_as_what_it_is() -> None:
    """Not as what Python keeps it as; a lone surrogate of a JSON file's is none."""
    assert printable("caf\udce9.yaml") == r"caf\xe9.yaml"
    assert printable("\ud800\n") == r"\ud800\n"
