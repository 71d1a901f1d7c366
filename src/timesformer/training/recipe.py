"""The recipe of a run, which may be initialised from weights; what reads these is imported only where it is needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from timesformer.config import AnyRecipe
from timesformer.errors import SettingError
from timesformer.recipes import change_recipe, load_recipe


def read_recipe(
    recipe: AnyRecipe | str | Path, overrides: Sequence[str] = (), *, init: str | Path | None = None
) -> AnyRecipe:
    """A recipe, or the one of a name or file, with some settings changed.

    init: weights that the run is initialised from, for which a recipe may have settings of its own. The side of their
    patches is theirs whatever the recipe says: where its own does not divide the frames, theirs takes its place.

    Raises SettingError as `load_recipe`, WeightsError for weights that cannot be used.
    """
    try:
        return _read(recipe, overrides, init)
    except SettingError:
        if init is None or not _lacks_patches_alone(recipe, overrides, init):
            raise

        from timesformer.weights.initialise import own_patch_size

        patch = own_patch_size(init)
        if patch is None:
            raise
    # First, so that a patch size among the overrides is still held against the frames.
    return _read(recipe, [f"model.patch_size={patch}", *overrides], init)


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
