"""What the scripts of benchmarks, examples and docs import from the package, and from each other, is there.

Most of them need hours, a GPU or packages that are not installed, so no other test runs them.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(script for folder in ("benchmarks", "examples", "docs") for script in (ROOT / folder).glob("*.py"))


def imported(script: Path) -> list[tuple[str, str]]:
    """Modules, and names in them or "", that a script imports anywhere in it."""
    found = []
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"), str(script))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found += [(node.module, alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
    beside = {path.stem for path in script.parent.glob("*.py")}
    return [(module, name) for module, name in found if module.split(".")[0] in beside | {"timesformer"}]


def is_there(module: str, name: str) -> bool:
    try:
        found = importlib.import_module(module)
        return not name or hasattr(found, name) or importlib.util.find_spec(f"{module}.{name}") is not None
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] not in ("timesformer", module):
            raise
        return False


def test_what_scripts_import_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ROOT / "docs" / "make_pictures.py" in SCRIPTS
    missing, looked = [], 0
    for script in SCRIPTS:
        with monkeypatch.context() as patch:
            patch.syspath_prepend(str(script.parent))
            for module, name in imported(script):
                looked += 1
                if not is_there(module, name):
                    missing.append(f"{script.name}: {module} {name}")
    assert missing == []
    assert looked > 100
