"""Every kind of input says of every container what a person who reads it would say."""

from pathlib import Path

import pytest

from lithify.pipeline.audit.files import audit

SHAPES = Path(__file__).parents[2] / "cases" / "shapes"
ROWS = [line.split("\t") for line in (SHAPES / "expected.tsv").read_text().splitlines()[1:]]
ODD = {
    "ambiguous-flag",
    "duplicate-key",
    "malformed-field",
    "misspelt-flag",
    "mistyped-flag",
    "pod-level-flag",
    "tmpfs-dropped-by-swarm",
    "unreadable-input",
}

VARIABLES = ("A", "B", "C", "FLAG", "RO", "SUB", "T", "TAG", "TOP", "YES")
"""What the Compose files ask for: ours must not answer."""


@pytest.mark.parametrize(("path", "containers", "odd", "skipped"), ROWS, ids=[row[0] for row in ROWS])
def test_verdicts(path: str, containers: str, odd: str, skipped: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The containers, their verdicts, what is odd about the file and what was left out."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    (result,) = audit([str(SHAPES / path)]).results()
    seen = [f"{c.list_name}[{c.index}]/{c.name or '-'}={c.verdict.value}" for c in result.containers]
    assert (" ".join(seen) or "-") == containers
    assert (" ".join(sorted({finding.rule for finding in result.findings} & ODD)) or "-") == odd
    assert len(result.skipped) == int(skipped)


def test_every_shape_is_expected() -> None:
    """No file lies there without being judged, or read by one that is."""
    folders = {str(Path(row[0]).parent) for row in ROWS}
    for path in SHAPES.rglob("*"):
        if path.is_file() and path.parent != SHAPES:
            relative = path.relative_to(SHAPES)
            assert any(str(parent) in folders for parent in relative.parents), relative
