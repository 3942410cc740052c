"""Flags beat variables beat the file."""

from pathlib import Path

import pytest

from lithify.errors import UsageError
from lithify.settings import Settings, read_settings


def test_defaults_hold_where_nothing_is_said() -> None:
    assert read_settings({}, {}) == Settings()


def test_flags_beat_variables_beat_the_file(tmp_path: Path) -> None:
    file = tmp_path / "lithify.toml"
    file.write_text('[lithify]\nengine = "docker"\njobs = 3\ncolor = "never"\n')
    environment = {"LITHIFY_CONFIG": str(file), "LITHIFY_ENGINE": "podman", "LITHIFY_JOBS": "5"}
    settings = read_settings({"engine": "bundle", "color": None}, environment)
    assert (settings.engine, settings.jobs, settings.color) == ("bundle", 5, "never")


@pytest.mark.parametrize(
    ("flags", "environment", "named"),
    [
        ({"engine": "lxc"}, {}, "--engine"),
        ({}, {"LITHIFY_JOBS": "many"}, "LITHIFY_JOBS"),
        ({}, {"LITHIFY_DEBUG": "perhaps"}, "LITHIFY_DEBUG"),
        ({}, {"LITHIFY_FAIL_ON": "hgih"}, "LITHIFY_FAIL_ON"),
        ({}, {"LITHIFY_CONFIG": "/nowhere/lithify.toml"}, "/nowhere/lithify.toml"),
    ],
)
def test_what_cannot_be_names_its_source(flags: dict[str, object], environment: dict[str, str], named: str) -> None:
    with pytest.raises(UsageError, match=named) as caught:
        read_settings(flags, environment)
    assert caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "[lithify]\nengin = 'docker'\n", "[lithify\n", "[lithify]\njobs = -1\n",
        "[lithfy]\njobs = 1\n", "jobs = 1\n", "lithify = 3\n",
    ],
)  # fmt: skip
def test_a_bad_file_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "lithify.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=r"lithify\.toml"):
        read_settings({}, {}, file)


def test_a_file_in_the_working_directory_that_can_not_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings that somebody made are not passed over."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lithify.toml").mkdir()
    with pytest.raises(UsageError, match=r"lithify\.toml: Is a directory"):
        read_settings({}, {})
