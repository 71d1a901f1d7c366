"""Recipes: one YAML file a run. Its head comment gives the command, the hardware, the score.

A recipe may extend another one, which it names: a packaged recipe, or a file relative to its own.

    extends: k400-base
    model: {scheme: joint_space_time}

Groups are merged; any other value, a list too, replaces the one that is extended.

What a run with `--init` needs otherwise than one from scratch stands in `with_init`, and is merged in the same way:

    with_init:
      optimizer: {learning_rate: 0.0001, layer_decay: 0.75}
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from timesformer.config import AnyRecipe, Recipe
from timesformer.errors import SettingError, one_line
from timesformer.settings import Settings, group_of, make, refuse

__all__ = ["change_recipe", "load_recipe", "named_recipes", "recipe_text", "settings_with_init"]

WITH_INIT = "with_init"


def named_recipes() -> list[str]:
    """Names that `load_recipe` knows."""
    return sorted(
        entry.name[:-5] for entry in resources.files("timesformer.recipes").iterdir() if entry.name.endswith(".yaml")
    )


def load_recipe(name_or_file: str | Path, overrides: Iterable[str] = (), *, init: bool = False) -> AnyRecipe:
    """A recipe by name or from a YAML file, changed by overrides such as ``training.epochs=2``.

    init: whether the run is initialised from other weights, for which a recipe may have settings of its own.

    Returns a `Recipe`, or a `ProbeRecipe` where the file says ``task: probe``.

    Raises:
        SettingError: no such recipe, YAML that cannot be read, a setting that does not exist or a value it refuses.
    """
    values, with_init = _read_both(name_or_file)
    return _make(_merge(values, with_init) if init else values, overrides, f"recipe {name_or_file}")


def settings_with_init(name_or_file: str | Path) -> dict[str, Any]:
    """The plain values that a recipe has for runs with `--init`, by group. Raises SettingError as `load_recipe`."""
    return _read_both(name_or_file)[1]


def change_recipe(recipe: AnyRecipe, overrides: Iterable[str]) -> AnyRecipe:
    """A recipe with other values, such as ``training.epochs=2``. Raises SettingError as `load_recipe`."""
    return _make(recipe.model_dump(mode="json"), overrides, "recipe")


def _make(values: dict[str, Any], overrides: Iterable[str], source: str) -> AnyRecipe:
    try:
        kind = Recipe.class_for(values)
    except SettingError as error:
        raise SettingError(f"{source}: {error}") from None
    for override in overrides:
        _apply_override(values, override, kind)
    return make(kind, values, source)


def _read_both(name_or_file: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The plain values of a recipe, and those for runs with `--init`."""
    values = _read_values(name_or_file)
    with_init = values.pop(WITH_INIT, {})
    if not isinstance(with_init, dict):
        raise SettingError(f"recipe {name_or_file}: {WITH_INIT} is {with_init!r}; expected settings by name")
    return values, with_init


def _read_values(name_or_file: str | Path, extending: tuple[str, ...] = ()) -> dict[str, Any]:
    """The plain values of a recipe and of what it extends. `extending`: the recipes that extend this one, if any."""
    source = str(name_or_file)
    if Path(source).resolve() in [Path(name).resolve() for name in extending]:
        raise SettingError(f"recipe {extending[0]}: extends itself: {' -> '.join([*extending, source])}")
    try:
        values = yaml.safe_load(recipe_text(name_or_file, extending)) or {}
    except yaml.YAMLError as error:
        raise SettingError(f"recipe {source}: not YAML: {one_line(error)}") from None
    if not isinstance(values, dict):
        raise SettingError(f"recipe {source}: expected settings by name, got {type(values).__name__}")
    if "extends" not in values:
        return values
    base = values.pop("extends")
    if not isinstance(base, str):
        raise SettingError(f"recipe {source}: extends is {base!r}; expected the name of a recipe, or a YAML file")
    if base not in named_recipes():
        base = str(Path(source).parent / base)
    return _merge(_read_values(base, (*extending, source)), values)


def _merge(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in values.items():
        old = merged.get(name)
        merged[name] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def recipe_text(name_or_file: str | Path, extending: tuple[str, ...] = ()) -> str:
    """What a recipe's file holds, of a packaged one by name. Raises SettingError as `load_recipe`."""
    if str(name_or_file) in named_recipes():
        return resources.files("timesformer.recipes").joinpath(f"{name_or_file}.yaml").read_text(encoding="utf-8")
    path = Path(name_or_file)
    if not path.is_file():
        extended = f"{extending[-1]}: extends " if extending else ""
        close = difflib.get_close_matches(path.stem.lower(), named_recipes())
        hint = f"did you mean {' or '.join(close)}?" if close else "`timesformer recipes` lists the recipes"
        raise SettingError(f"recipe {extended}{name_or_file}: no such recipe or file; {hint}")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"recipe {name_or_file}: cannot be read: {error}") from None


def _apply_override(values: dict[str, Any], override: str, kind: type[AnyRecipe]) -> None:
    """Set one dotted key in nested plain values, checked against the fields of the recipe's class."""
    key, equals, text = override.partition("=")
    if not equals:
        raise SettingError(f"override {override!r}: expected key=value, such as training.epochs=2")
    parts, whole = key.split("."), values
    fields: type[Settings] | None = kind
    for depth, part in enumerate(parts):
        if fields is None or part not in fields.model_fields:
            raise SettingError(f"override {override!r}: {refuse(key, kind, whole)}")
        fields = group_of(fields, part, values.get(part))
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
