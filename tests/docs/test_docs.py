"""The docs name what there is: commands and options, errors and exit codes, settings; links lead somewhere."""

import argparse
import ast
import re
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest

from lithify.cli.main import COMMANDS
from lithify.errors import LithifyError
from lithify.pipeline.audit.judge import RULES
from lithify.settings import Settings

ROOT = Path(__file__).parents[2]
ERRORS = ROOT / "src" / "lithify" / "pages"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ERRORS.glob("*.md")])


def errors(of: type[LithifyError] = LithifyError) -> list[type[LithifyError]]:
    return [of, *(each for below in of.__subclasses__() for each in errors(below))]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_page_that_names_its_options(command: str) -> None:
    page = (ROOT / "docs" / "commands" / f"{command}.md").read_text()
    parser = argparse.ArgumentParser()
    import_module(f"lithify.cli.{command}").configure(parser)
    for action in parser._actions:
        for option in action.option_strings:
            if option.startswith("--") and option != "--help":
                assert f"`{option}" in page, f"docs/commands/{command}.md does not name {option}"


@pytest.mark.parametrize("error", errors(), ids=lambda error: error.__name__)
def test_every_error_has_a_page_with_its_exit_code(error: type[LithifyError]) -> None:
    page = (ERRORS / f"{error.page}.md").read_text()
    assert page.startswith(f"# {error.page}\n")
    assert f"Exit code {error.exit_code}." in page
    listed = (ROOT / "docs" / "configuration.md").read_text()
    assert f"| {error.exit_code} |" in listed


def test_no_page_is_about_an_error_that_is_gone() -> None:
    assert {path.stem for path in ERRORS.glob("*.md")} == {error.page for error in errors()}


@pytest.mark.parametrize("setting", [field.name for field in fields(Settings)])
def test_every_setting_is_documented(setting: str) -> None:
    assert f"| `{setting}` |" in (ROOT / "docs" / "configuration.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_listed(rule: str) -> None:
    about = RULES[rule]
    elsewhere = "; ".join(f"{where} {', '.join(ids)}" for where, ids in about.ids.items())
    row = f"| `{rule}` | {about.severity.label} | {about.title} | {elsewhere} |"
    assert row in (ROOT / "docs" / "commands" / "audit.md").read_text().splitlines()


LARGE = [path for name in ("engines", "pipeline") for path in (ROOT / "src" / "lithify" / name).rglob("__init__.py")]


@pytest.mark.parametrize("path", LARGE, ids=lambda path: path.parent.name)
def test_a_large_package_says_where_each_of_its_modules_belongs(path: Path) -> None:
    """And names none that is gone."""
    told = ast.get_docstring(ast.parse(path.read_text())) or ""
    modules = {
        found.stem for found in path.parent.iterdir() if found.suffix == ".py" or (found / "__init__.py").exists()
    }
    named = set(re.findall(r"`(\w+)`", told))
    assert named == modules - {"__init__"}
