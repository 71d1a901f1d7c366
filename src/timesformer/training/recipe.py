"""The recipe of a run, which may be initialised from weights; what reads these is imported only where it is needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from timesformer.config import AnyRecipe, Recipe
from timesformer.errors import SettingError
from timesformer.recipes import change_recipe, load_recipe


def read_recipe(
    recipe: AnyRecipe | str | Path, overrides: Sequence[str] = (), *, init: str | Path | None = None
) -> AnyRecipe:
    """A recipe, or the one of a name or file, with some settings changed.

    init: weights that the run is initialised from, for which a recipe may have settings of its own. The side of their
    patches is theirs, so it is the recipe's.

    Raises SettingError as `load_recipe`, and for an override of that side; WeightsError for weights that cannot be
    used.
    """
    if init is None:
        return _read(recipe, overrides, init)

    from timesformer.weights.initialise import own_patch_size

    try:
        found = _read(recipe, overrides, init)
        if not hasattr(getattr(found, "model", None), "patch_size") or (patch := own_patch_size(init)) is None:
            return found
    except SettingError:
        if not _lacks_patches_alone(recipe, overrides, init) or (patch := own_patch_size(init)) is None:
            raise
    # First, so that a patch size among the overrides is still held against the frames.
    found = _read(recipe, [f"model.patch_size={patch}", *overrides], init)
    asked = getattr(found.model, "patch_size", patch) if isinstance(found, Recipe) else patch
    if asked != patch:
        raise SettingError(f"model.patch_size is {asked}, but the weights {init} decide it: {patch}")
    return found


def _lacks_patches_alone(recipe: AnyRecipe | str | Path, overrides: Sequence[str], init: str | Path) -> bool:
    """Whether the patch size is all that does not fit: with patches of one pixel, which divide all frames, it fits."""
    try:
        _read(recipe, [*overrides, "model.patch_size=1"], init)
    except SettingError:
        return False
    return True


def _read(recipe: AnyRecipe | str | Path, overrides: Sequence[str], init: str | Path | None) -> AnyRecipe:
    if isinstance(recipe, str | Path):
        return load_recipe(recipe, overrides, init=init is not None)
    return change_recipe(recipe, overrides) if overrides else recipe
