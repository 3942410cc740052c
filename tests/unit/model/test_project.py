"""Compose's own files are found as Compose finds them."""

from pathlib import Path

import pytest

from lithify.engines.compose.engine import default_overrides
from lithify.model.project import project_files
from lithify.pipeline.audit.files import audit


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["docker-compose.yml", "compose.override.yml"], ("docker-compose.yml", "compose.override.yml")),
        (["compose.yml", "compose.yaml"], ("compose.yaml", "")),
        (["compose.yaml", "docker-compose.override.yaml"], ("compose.yaml", "docker-compose.override.yaml")),
        (["compose.override.yaml"], ("", "")),
        (["stack.yaml", "stack.override.yaml"], ("", "")),
    ],
)
def test_the_override_that_compose_reads(names: list[str], found: tuple[str, str], tmp_path: Path) -> None:
    """The first name of each list counts, whatever the other is called; audit and harden go by the same list."""
    assert project_files(names.__contains__) == found
    for name in names:
        flag = "read_only: true" if "override" in name else "image: x"
        (tmp_path / name).write_text(f"services: {{a: {{{flag}}}}}\n")
    default, override = found
    if default:
        assert [path.name for path in default_overrides(tmp_path / default)] == [override] * bool(override)
        (container,) = audit([str(tmp_path / default)]).containers()
        assert bool(container.declared) is bool(override)
    assert default_overrides(tmp_path / "stack.yaml") == ()
