"""Recipes that extend others, recipes of probes, names that settings had in earlier versions."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from timesformer.config import ProbeRecipe, Recipe
from timesformer.errors import SettingError
from timesformer.recipes import change_recipe, load_recipe
from timesformer.settings import with_new_names

RENAMED = {
    "training.watch_every=2": "'training.watch_every' is now called 'training.validate_every'",
    "augmentation.short_side_law=uniform": "'augmentation.short_side_law' is now called 'augmentation.short_",
    "data.max_bad_share=0.2": "'data.max_bad_share' is now called 'data.max_bad_fraction'",
}


@pytest.mark.parametrize("override", RENAMED)
def test_an_old_name_is_refused_with_the_new_one(override: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=f"override .*: {RENAMED[override]}"):
        load_recipe("demo", [override])
    key, _, value = override.partition("=")
    group, name = key.split(".")
    (tmp_path / "mine.yaml").write_text(f"{group}: {{{name}: {value}}}\n")
    with pytest.raises(SettingError, match=f"mine.yaml: {RENAMED[override]}") as raised:
        load_recipe(tmp_path / "mine.yaml")
    assert "\n" not in str(raised.value)


def test_old_values_under_new_names() -> None:
    old = {"seed": 3, "training": {"watch_every": 2, "epochs": 4}, "data": {"max_bad_share": 0.2, "more": {"x": 1}}}
    new = {
        "seed": 3,
        "training": {"validate_every": 2, "epochs": 4},
        "data": {"max_bad_fraction": 0.2, "more": {"x": 1}},
    }
    assert with_new_names(Recipe, old) == new
    assert with_new_names(Recipe, new) == new


def test_a_probe_has_settings_of_its_own(tmp_path: Path) -> None:
    recipe = load_recipe("probe", ["probe.epochs=3", "probe.heads=[attentive, knn]", "probe.l2=[1]"])
    assert isinstance(recipe, ProbeRecipe)
    assert (recipe.probe.epochs, recipe.probe.heads, recipe.probe.l2) == (3, ("attentive", "knn"), (1.0,))
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    assert load_recipe(tmp_path / "mine.yaml") == recipe
    assert isinstance(load_recipe("demo"), Recipe)
    refused = {
        "probe.epoch=3": r"no setting named 'probe\.epoch'; did you mean probe\.epochs",
        "epochs=3": r"no setting named 'epochs'; did you mean probe\.epochs\?",
        "probe.epochs=0": r"probe\.epochs is 0, should be greater than 0",
        "probe.heads=[linear, svm]": r"probe\.heads\.1 is 'svm', should be 'linear', 'attentive' or 'knn'",
        "probe.heads=[knn]": r"probe: heads is \['knn'\], which leaves nothing to keep; add linear or attentive",
        "probe.heads=[linear, linear]": r"heads is \['linear', 'linear'\], should name each head once",
        "probe.l2=[0]": r"probe\.l2\.0 is 0, should be greater than 0",
        "probe.neighbours=[]": r"probe\.neighbours",
        "probe.folds=2": r"probe\.folds is 2, should be greater than or equal to 3",
        "probe.precision=16-mixed": r"probe\.precision is '16-mixed', should be 'auto', 'fp32', 'bf16' or 'int8'",
        "model.pooling=attentive": r"model\.pooling is attentive; a probe tries that head with probe\.heads=",
        "training.epochs=3": r"'training\.epochs' is now called 'probe\.epochs'",
        "optimizer.weight_decay=0": r"'optimizer\.weight_decay' is now called 'probe\.weight_decay'",
        "training.ema=0.9": r"no setting named 'training\.ema'",
        "task=train": r"task is 'train', should be 'probe'",
        "preprocessing.short_side=16": r"preprocessing\.short_side 16 is smaller than model\.image_size 224",
    }
    for override, message in refused.items():
        with pytest.raises(SettingError, match=message) as raised:
            load_recipe("probe", [override])
        assert "\n" not in str(raised.value)
    with pytest.raises(SettingError, match=r"no setting named 'probe\.epochs'"):
        load_recipe("demo", ["probe.epochs=3"])


def test_a_probe_of_an_earlier_version_is_told_the_new_names(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "task: probe\ntraining: {epochs: 50, batch_size: 16}\noptimizer: {weight_decay: 0}\n"
    )
    with pytest.raises(SettingError) as raised:
        load_recipe(tmp_path / "mine.yaml")
    for name in ("epochs", "batch_size"):
        assert f"'training.{name}' is now called 'probe.{name}'" in str(raised.value)
    assert "'optimizer.weight_decay' is now called 'probe.weight_decay'" in str(raised.value)
    (tmp_path / "mine.yaml").write_text("probe: {learning_rates: [0.1]}\n")
    with pytest.raises(SettingError, match=r"mine\.yaml: probe is a group of settings of task: probe, which the"):
        load_recipe(tmp_path / "mine.yaml")


@pytest.mark.parametrize("task", ["watch", 3, None, ["train"]])
def test_a_task_that_does_not_exist(task: object, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"task": task}))
    with pytest.raises(SettingError, match=r"recipe .*mine\.yaml: task is .*, should be train or probe$"):
        load_recipe(tmp_path / "mine.yaml")


def test_a_recipe_extends_another(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "base.yaml").write_text(
        "extends: demo\nseed: 5\noptimizer: {steps: [1, 2, 3]}\npreprocessing: {sampling: {rate: 4}}\n"
    )
    (tmp_path / "mine.yaml").write_text(
        "extends: far/base.yaml\noptimizer: {steps: [9]}\npreprocessing: {sampling: {fps: 30}}\ntraining: {epochs: 3}\n"
    )
    expected = load_recipe(
        "demo",
        [
            "seed=5",
            "optimizer.steps=[9]",
            "preprocessing.sampling.rate=4",
            "preprocessing.sampling.fps=30",
            "training.epochs=3",
        ],
    )
    recipe = load_recipe(tmp_path / "mine.yaml")
    assert recipe == expected
    assert "extends" not in recipe.model_dump()
    assert load_recipe(tmp_path / "mine.yaml", ["seed=6"]) == change_recipe(expected, ["seed=6"])


EXTENDS = {
    "nothing": r"recipe .*mine\.yaml: extends .*nothing: no such recipe or file; `timesformer recipes` lists the",
    "far/none.yaml": r"recipe .*mine\.yaml: extends .*far/none\.yaml: no such recipe or file",
    "mine.yaml": r"recipe .*mine\.yaml: extends itself: .*mine\.yaml -> .*mine\.yaml$",
    "other.yaml": r"recipe .*mine\.yaml: extends itself: .*mine\.yaml -> .*other\.yaml -> .*mine\.yaml$",
    "[demo]": r"recipe .*mine\.yaml: extends is \['demo'\]; expected the name of a recipe, or a YAML file",
    "3": r"extends is 3; expected the name",
    "null": r"extends is None; expected the name",
}


@pytest.mark.parametrize("base", EXTENDS)
def test_what_a_recipe_cannot_extend(base: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(f"extends: {base}\n")
    (tmp_path / "other.yaml").write_text(f"extends: ../{tmp_path.name}/mine.yaml\n")
    with pytest.raises(SettingError, match=EXTENDS[base]) as raised:
        load_recipe(tmp_path / "mine.yaml")
    assert "\n" not in str(raised.value)


def test_extends_is_no_override() -> None:
    with pytest.raises(SettingError, match="no setting named 'extends'"):
        load_recipe("demo", ["extends=finetune"])
