"""Settings: what they refuse and what they say."""

from __future__ import annotations

import typing
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from timesformer.config import Preprocessing, Recipe, TimeSformerSettings
from timesformer.errors import SettingError
from timesformer.recipes import load_recipe
from timesformer.settings import Settings, make


def test_overrides_are_read_as_yaml() -> None:
    recipe = load_recipe(
        "demo",
        [
            "seed=7",
            "training.epochs=2",
            "optimizer.learning_rate=1e-4",
            "augmentation.short_side=[40, 48]",
            "preprocessing.sampling.fps=null",
            "model.scheme=axial",
            "augmentation.flip=true",
        ],
    )
    assert (recipe.seed, recipe.training.epochs, recipe.optimizer.learning_rate) == (7, 2, 1e-4)
    assert (recipe.augmentation.short_side, recipe.augmentation.flip) == ((40, 48), True)
    assert (recipe.preprocessing.sampling.fps, recipe.model.scheme) == (None, "axial")
    assert recipe.preprocessing.sampling.rate == 2  # the recipe's own


REFUSED = {
    "training.epoch=2": r"no setting named 'training\.epoch'; did you mean training\.epochs",
    "epochs=2": r"no setting named 'epochs'; did you mean training\.epochs\?",
    "seed.value=2": r"no setting named 'seed\.value'",
    "model=tiny": r"'model' is a group of settings, name one of its fields: architecture, ",
    "seed": "expected key=value",
    "seed=[1": r"the value '\[1' cannot be read as YAML",
    "training.epochs=0": r"training\.epochs is 0, should be greater than 0",
    "training.epochs=soon": r"training\.epochs is 'soon', should be a valid integer",
    "model.patch_size=12": r"model: image_size 32 is not a multiple of patch_size 12",
    "model.image_size=33": r"model: image_size 33 is not a multiple of patch_size 8",
    "model.heads=5": r"width 64 is not a multiple of heads 5",
    "model.order=parallel model.scheme=axial": "order 'parallel' is only for scheme divided_space_time, not axial",
    "model.class_token_in_time=true model.scheme=space_only": "needs a scheme with time attention, not space_only",
    "augmentation.short_side=[40,32]": r"short_side \[40, 32\] must be two positive sizes, the smaller first",
    "augmentation.short_side=[24,32]": r"starts at 24, smaller than the crop of model\.image_size 32",
    "preprocessing.short_side=16": r"preprocessing\.short_side 16 is smaller than model\.image_size 32",
    "preprocessing.sampling.method=cover preprocessing.test_clips=5": r"preprocessing: test_clips 5 .* cover, .* it 1",
    "preprocessing.std=[0.2,0,0.2]": r"preprocessing\.std\.1 is 0, should be greater than 0",
    "preprocessing.mean=[0.5]": r"preprocessing\.mean\.1 is \[0\.5\]: field required",
    "preprocessing.mean=[0.5,0.5,0.5,0.5]": r"preprocessing\.mean is \[0\.5, .*\]: tuple should have at most 3",
    "optimizer.betas=[0.9,1]": r"optimizer\.betas\.1 is 1, should be less than 1",
    "optimizer.betas=[0.9]": r"optimizer\.betas\.1 is \[0\.9\]: field required",
    "optimizer.learning_rate=.nan": r"optimizer\.learning_rate is nan",
    "optimizer.steps=[11,soon]": r"optimizer\.steps\.1 is 'soon', should be a valid number",
    "augmentation.short_side=256": r"augmentation\.short_side is 256, should be a valid tuple",
    "augmentation.mixup=yes": r"augmentation\.mixup is True, should be a number, not yes or no",
    "optimizer.betas=[0.9,off]": r"optimizer\.betas is \[0\.9, False\], should be a number, not yes or no",
    "preprocessing.test_crops=on": r"preprocessing\.test_crops is True, should be",
    "training.ema=true": r"training\.ema is True, should be a number",
    "data.workers=no": r"data\.workers is False, should be a number",
    "augmentation.mixup=7": r"augmentation\.mixup is 7, should be less than or equal to 1",
    "augmentation.cutmix=7": r"augmentation\.cutmix is 7, should be less than or equal to 1",
    "preprocessing.mean=[123,116,103]": r"preprocessing\.mean\.0 is 123, should be less than or equal to 1",
    "preprocessing.std=[58,57,57]": r"preprocessing\.std\.0 is 58, should be less than or equal to 1",
    "optimizer.steps=[-1]": r"optimizer\.steps\.0 is -1, should be greater than 0",
    "optimizer.warmup_epochs=.inf": r"optimizer\.warmup_epochs is inf, should be a finite number",
    "augmentation.flip=1": r"augmentation\.flip is 1, should be true, false, left_right, pairs of",
    "augmentation.flip={left:3}": r"augmentation\.flip is .*, should be true, false, left_right, pairs of classes",
    "training.epochs=2.5": r"training\.epochs is 2\.5, should be a valid integer",
    "seed=": r"seed is None, should be a valid integer",
    "seed=-1": r"seed is -1, should be greater than or equal to 0",
    "seed=4294967296": r"seed is 4294967296, should be less than 4294967296",
    "=3": r"no setting named ''; there are task, seed, model\.\*, preprocessing\.\*, ",
    "model.=tiny": r"no setting named 'model\.'",
    "data.max_bad_fraction=5": r"data\.max_bad_fraction is 5, should be less than or equal to 1",
    "preprocessing.sampling=segments": r"'preprocessing\.sampling' is a group of settings, .*: method, rate, fps",
}


@pytest.mark.parametrize("overrides", REFUSED)
def test_overrides_that_are_refused(overrides: str) -> None:
    with pytest.raises(SettingError, match=REFUSED[overrides]) as raised:
        load_recipe("demo", overrides.split())
    assert "\n" not in str(raised.value)


def test_recipes_that_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    for text, message in (
        ("trainng:\n  epochs: 2\n", r"recipe .*mine\.yaml: no setting named 'trainng'; did you mean training"),
        ("model:\n  siez: tiny\n", r"no setting named 'model\.siez'; did you mean model\.size"),
        ("- 1\n", "expected settings by name, got list"),
        ("a: [\n", "not YAML"),
        ("training: 3\n", "training"),
        ("1: 2\n", r"mine\.yaml: no setting named '1'; there are task, seed, "),
        ("on: true\n", r"no setting named 'True'; there are task, seed, "),  # YAML's on, yes, y are True
        ("model:\n  on: 3\n", r"no setting named 'True'"),
        ("training:\n", r"training is None, should be a valid dictionary"),
    ):
        file.write_text(text)
        with pytest.raises(SettingError, match=message) as raised:
            load_recipe(file)
        assert "\n" not in str(raised.value)
    file.write_text("training: 3\n")
    with pytest.raises(SettingError, match="training"):
        load_recipe(file, ["training.epochs=2"])
    with pytest.raises(
        SettingError, match=r"recipe nothing: no such recipe or file; `timesformer recipes` lists the recipes$"
    ):
        load_recipe("nothing")


def test_a_recipe_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingError, match=r"recipe .*mine\.yaml: cannot be read: 'utf-8'"):
        load_recipe(tmp_path / "mine.yaml")


def test_overrides_go_before_the_file_and_later_ones_before_earlier(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("training: {epochs: 3}\npreprocessing: {sampling: {rate: 4}}\n")
    overrides = ["training.epochs=5", "training.epochs=6", "preprocessing.sampling.fps=30"]
    recipe = load_recipe(tmp_path / "mine.yaml", overrides)
    assert (recipe.training.epochs, recipe.training.batch_size) == (6, Recipe().training.batch_size)
    assert (recipe.preprocessing.sampling.rate, recipe.preprocessing.sampling.fps) == (4, 30)
    (tmp_path / "empty.yaml").write_text("# nothing but a comment\n")
    assert load_recipe(tmp_path / "empty.yaml") == Recipe()


def test_values_survive_being_written_to_the_last_bit(tmp_path: Path) -> None:
    overrides = [
        "optimizer.learning_rate=1.2345678901234567e-05",
        "model.norm_epsilon=1e-12",
        "seed=4294967295",
        "optimizer.steps=[0.1, 11, 1e3]",
        "preprocessing.mean=[0.1, 0.2, 0.3]",
        "model.heads=8",
        "optimizer.clip_gradient=null",
        "preprocessing.sampling.method=cover",
        "data.workers=0",
    ]
    recipe = load_recipe("demo", overrides)
    assert recipe.optimizer.learning_rate == 1.2345678901234567e-05
    assert recipe.optimizer.steps == (0.1, 11, 1000)
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    assert load_recipe(tmp_path / "again.yaml") == recipe
    assert recipe != load_recipe("demo", overrides[1:])


def test_one_test_clip_with_cover_and_any_number_without() -> None:
    assert make(Preprocessing, {"sampling": {"method": "cover"}}, "here").test_clips == 1
    assert make(Preprocessing, {"sampling": {"method": "segments"}, "test_clips": 5}, "here").test_clips == 5


def test_settings_are_frozen() -> None:
    recipe = load_recipe("demo")
    with pytest.raises(ValidationError, match="frozen"):
        recipe.seed = 3  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        recipe.preprocessing.sampling.rate = 3  # type: ignore[misc]
    assert hash(recipe) == hash(load_recipe("demo"))


def test_make_names_where_a_value_came_from() -> None:
    with pytest.raises(SettingError, match=r"here: no setting named 'colour'"):
        make(TimeSformerSettings, {"colour": 1}, "here")


def every_settings_class(cls: type[Settings] = Settings) -> list[type[Settings]]:
    return [found for sub in cls.__subclasses__() for found in (sub, *every_settings_class(sub))]


def test_every_setting_is_described() -> None:
    for cls in every_settings_class():
        if not cls.__module__.startswith("timesformer."):  # made by a test
            continue
        for name, field in cls.model_fields.items():
            group = isinstance(field.annotation, type) and issubclass(field.annotation, Settings)
            assert group or field.description, f"{cls.__name__}.{name}"
    assert typing.get_type_hints(Recipe)


def test_a_warmup_leaves_epochs_for_the_rest() -> None:
    refused = r"optimizer\.warmup_epochs 5 leaves nothing of training\.epochs 2; .* say optimizer\.warmup_epochs=0\.2"
    with pytest.raises(SettingError, match=refused):
        load_recipe("finetune-small", ["training.epochs=2", "optimizer.warmup_epochs=5"])
    load_recipe("finetune-small", ["training.epochs=2", "optimizer.warmup_epochs=0.2"])


@pytest.mark.parametrize(("name", "epochs", "warmup"), [("finetune-small", 120, 6), ("finetune", 30, 3)])
def test_a_warmup_is_a_part_of_the_run(name: str, epochs: int, warmup: int) -> None:
    recipe = load_recipe(name)
    assert (recipe.training.epochs, recipe.optimizer.warmup_of(epochs)) == (epochs, warmup)
    short = load_recipe(name, ["training.epochs=1"])
    assert short.optimizer.warmup_of(1) == warmup / epochs
    assert load_recipe(name, ["optimizer.warmup_epochs=2"]).optimizer.warmup_of(epochs) == 2
    assert load_recipe(name, ["optimizer.warmup_epochs=0"]).optimizer.warmup_of(epochs) == 0


def test_a_setting_of_another_architecture() -> None:
    with pytest.raises(SettingError, match=r"'model\.size' is a setting of another model; this one has architecture, "):
        load_recipe("i3d", ["model.size=base"])
