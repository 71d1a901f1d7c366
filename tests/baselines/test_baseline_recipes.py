"""The recipes of the models that TimeSformer is compared with have what was published."""

from __future__ import annotations

import pytest

from timesformer.config import Recipe
from timesformer.recipes import load_recipe
from timesformer.recipes.heads import head_of

# Of PyTorchVideo's zoo: frames, rate, training crop, top-1 and top-5 (FACTS.md, "Baselines as published").
ZOO = {
    "i3d": (8, 8, 224, (73.27, 90.70)),
    "slowfast": (32, 2, 224, (76.94, 92.69)),
    "x3d_s": (13, 6, 160, (73.33, 91.27)),
    "x3d_m": (16, 5, 224, (75.94, 92.72)),
}


@pytest.mark.parametrize("name", ZOO)
def test_recipes_of_the_zoo_have_its_clips_and_views(name: str) -> None:
    recipe, (frames, rate, side, scores) = load_recipe(name), ZOO[name]
    assert isinstance(recipe, Recipe)
    assert recipe.model.architecture == name
    assert (recipe.model.num_frames, recipe.model.image_size, recipe.preprocessing.sampling.rate) == (
        frames,
        side,
        rate,
    )
    assert (recipe.preprocessing.test_clips, recipe.preprocessing.test_crops) == (10, 3)
    assert (recipe.preprocessing.mean, recipe.preprocessing.std) == ((0.45,) * 3, (0.225,) * 3)
    assert recipe.optimizer.rate_for(64) == 0.1
    assert recipe.training.batch_size * recipe.training.accumulate == 64
    head = " ".join(line.removeprefix("# ") for line in head_of(name))
    assert "published by PyTorchVideo, {:.2f} top-1 and {:.2f} top-5".format(*scores) in head


def test_the_recipe_of_tsm_is_its_authors() -> None:
    recipe = load_recipe("tsm")
    assert isinstance(recipe, Recipe)
    optimizer, sampling = recipe.optimizer, recipe.preprocessing.sampling
    assert (recipe.model.clip_shape, sampling.method) == ((8, 224), "segments")
    assert (optimizer.rate_for(128), optimizer.schedule, optimizer.steps) == (0.02, "steps", (20, 40))
    assert (optimizer.warmup_of(50), optimizer.clip_gradient, optimizer.new_rate_factor) == (0, 20, 5)
    assert (recipe.training.epochs, recipe.training.batch_size * recipe.training.accumulate) == (50, 128)


def test_frame_vit_is_trained_as_k400_base() -> None:
    frames, base = load_recipe("frame_vit"), load_recipe("k400-base")
    assert isinstance(frames, Recipe)
    assert isinstance(base, Recipe)
    assert frames.model_copy(update={"model": base.model}) == base
