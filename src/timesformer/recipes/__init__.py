"""Recipes: one YAML file a training run. Its head comment gives the command, the hardware, the score."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from timesformer.config import Recipe
from timesformer.errors import SettingError
from timesformer.settings import Settings, group_of, make, suggest

__all__ = ["load_recipe", "named_recipes"]


def named_recipes() -> list[str]:
    """Names that `load_recipe` knows."""
    return sorted(
        entry.name[:-5] for entry in resources.files("timesformer.recipes").iterdir() if entry.name.endswith(".yaml")
    )


def load_recipe(name_or_file: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """A recipe by name or from a YAML file, changed by overrides such as ``training.epochs=2``.

    Raises:
        SettingError: no such recipe, YAML that cannot be read, a setting that does not exist or a value it refuses.
    """
    text = _recipe_text(name_or_file)
    try:
        values = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise SettingError(f"recipe {name_or_file}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise SettingError(f"recipe {name_or_file}: expected settings by name, got {type(values).__name__}")
    for override in overrides:
        _apply_override(values, override)
    return make(Recipe, values, f"recipe {name_or_file}")


def _recipe_text(name_or_file: str | Path) -> str:
    if str(name_or_file) in named_recipes():
        return resources.files("timesformer.recipes").joinpath(f"{name_or_file}.yaml").read_text(encoding="utf-8")
    path = Path(name_or_file)
    if not path.is_file():
        raise SettingError(f"recipe {name_or_file}: no such file, nor one of the recipes {', '.join(named_recipes())}")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"recipe {name_or_file}: cannot be read: {error}") from None


def _apply_override(values: dict[str, Any], override: str) -> None:
    """Set one dotted key in nested plain values, checked against the fields of `Recipe`."""
    key, equals, text = override.partition("=")
    if not equals:
        raise SettingError(f"override {override!r}: expected key=value, such as training.epochs=2")
    parts = key.split(".")
    fields: type[Settings] | None = Recipe
    for depth, part in enumerate(parts):
        if fields is None or part not in fields.model_fields:
            raise SettingError(f"override {override!r}: no setting named {key!r}{suggest(key, Recipe)}")
        fields = group_of(fields, part)
        if fields is not None and depth < len(parts) - 1:
            if values.get(part) is None:
                values[part] = {}
            values = values[part]
            if not isinstance(values, dict):
                raise SettingError(f"override {override!r}: the recipe has {values!r} where settings should be")
    if fields is not None:
        raise SettingError(
            f"override {override!r}: {key!r} is a group of settings, name one of its fields: "
            f"{', '.join(fields.model_fields)}"
        )
    try:
        values[parts[-1]] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise SettingError(f"override {override!r}: the value {text!r} cannot be read as YAML") from None
