"""The settings that `timesformer tune` has found: TUNED/ARCHITECTURE/tune.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from timesformer.config import Recipe
from timesformer.errors import SettingError, one_line
from timesformer.recipes import change_recipe

BEST = "tune.json"


def with_tuned(recipe: Recipe, folder: Path) -> Recipe:
    """A recipe with the settings that were tuned for its architecture. Raises SettingError where there are none."""
    file = folder / recipe.model.architecture / BEST
    if not file.exists():
        raise SettingError(f"{file}: no such file; `timesformer tune --out {file.parent}` writes it")
    try:
        overrides: list[Any] = json.loads(file.read_text(encoding="utf-8"))["overrides"]
        changed = change_recipe(recipe, [str(override) for override in overrides])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise SettingError(f"{file}: cannot be used: {one_line(error)[:200]}") from None
    assert isinstance(changed, Recipe)
    return changed
