"""docs/python.md: its programs, one after the other, as they stand there."""

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType

from tests.runtime.hardening import Lithify, copy_linked

import lithify as library

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


def test_the_page_does_what_it_says(tmp_path: Path, lithify: Lithify, nginx_rootfs: Path) -> None:
    copy_linked(nginx_rootfs, tmp_path / "web")
    program = "\n".join(re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL))
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=lithify.environment_with({}),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "/var/lib/nginx" in done.stdout
    assert "compose.yaml writable-root" in done.stdout


def test_every_promised_name_is_there() -> None:
    """Also once the packages that might bear the same name have been imported."""
    for module in iter_modules(library.__path__, "lithify."):
        if module.ispkg:
            import_module(module.name)
    for name in library.__all__:
        assert not isinstance(getattr(library, name), ModuleType), name
