"""Recipes: what was published is in them, what they say of themselves is true, and each of them trains."""

from __future__ import annotations

import json
import math
import re
import shlex
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import typer
import yaml
from torch import Tensor
from typer.testing import CliRunner

from baselines_small import SMALL
from timesformer.baselines.architectures import build_model
from timesformer.cli.main import app
from timesformer.config import ProbeRecipe, Recipe
from timesformer.config.recipe import RunSettings
from timesformer.errors import SettingError
from timesformer.model.timesformer import TimeSformer
from timesformer.recipes import load_recipe, named_recipes
from timesformer.settings import make
from timesformer.training.fit import fit
from timesformer.training.optim import make_optimizer, make_schedule
from timesformer.training.task import ClassificationTask
from timesformer.weights.classifier import Classifier, load_model
from timesformer.weights.mmaction2 import published_preprocessing

ROOT = Path(__file__).parent.parent
PROBES = [name for name in named_recipes() if isinstance(load_recipe(name), ProbeRecipe)]

HR = (
    "model.image_size=448",
    "model.num_frames=16",
    "preprocessing.sampling.rate=16",
    "augmentation.short_side=[448, 512]",
    "training.batch_size=1",
    "training.accumulate=64",
)
L = ("model.num_frames=96", "preprocessing.sampling.rate=4", "training.batch_size=1", "training.accumulate=64")
SSV2 = (
    "preprocessing.sampling.method=segments",
    "preprocessing.sampling.fps=null",
    "augmentation.flip=false",
    "augmentation.short_side_distribution=inverse_uniform",
)
COVER = "preprocessing.sampling.method=cover"


class Published(NamedTuple):
    """What a published run changes in k400-base, and its top-1 (and top-5) in per cent."""

    changes: tuple[str, ...]
    scores: tuple[float, ...]


PUBLISHED = {
    "k400-base": Published((), (78.0, 93.7)),
    "k400-hr": Published(HR, (79.7, 94.4)),
    "k400-l": Published(L, (80.7, 94.7)),
    "k400-joint": Published(("model.scheme=joint_space_time",), (77.4,)),
    "k400-space-only": Published(("model.scheme=space_only",), (76.9,)),
    "k400-mmaction2": Published(
        (
            "preprocessing.mean=[0.5, 0.5, 0.5]",
            "preprocessing.std=[0.5, 0.5, 0.5]",
            "preprocessing.sampling.fps=null",
            "preprocessing.sampling.rate=28.125",
            "optimizer.steps=[5, 10]",
            "optimizer.clip_gradient=40",
        ),
        (77.69, 93.45),
    ),
    "k600-base": Published((), (79.1, 94.4)),
    "k600-hr": Published(HR, (81.8, 95.8)),
    "k600-l": Published(L, (82.2, 95.6)),
    "ssv2-base": Published(SSV2, (59.5,)),
    "ssv2-hr": Published((*HR, *SSV2, "preprocessing.sampling.rate=32"), (62.2,)),
    "ssv2-l": Published((*L, *SSV2, "model.num_frames=64", "preprocessing.sampling.rate=32"), (62.4,)),
    "diving48-base": Published((), (74.9,)),
    "diving48-hr": Published(HR, (78.0,)),
    "diving48-l": Published(L, (81.0,)),
    "howto100m-8": Published((COVER,), (56.8,)),
    "howto100m-32": Published(
        (COVER, "model.num_frames=32", "training.batch_size=2", "training.accumulate=32"), (61.2,)
    ),
    "howto100m-64": Published((*L, COVER, "model.num_frames=64", "preprocessing.sampling.rate=32"), (62.2,)),
    "howto100m-96": Published((*L, COVER, "preprocessing.sampling.rate=32"), (62.6,)),
}


@pytest.mark.parametrize("name", named_recipes())
def test_recipes_load_and_survive_being_written(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    file = tmp_path / "again.yaml"
    file.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    assert load_recipe(file) == recipe


def test_a_recipe_has_settings_of_its_own_for_runs_with_init(tmp_path: Path) -> None:
    base, file = tmp_path / "base.yaml", tmp_path / "mine.yaml"
    base.write_text("training: {epochs: 9}\nwith_init: {training: {epochs: 3}, optimizer: {layer_decay: 0.5}}\n")
    file.write_text("extends: base.yaml\nseed: 4\nwith_init: {training: {batch_size: 2}}\n")
    plain, started = load_recipe(file), load_recipe(file, ["optimizer.layer_decay=0.9"], init=True)
    assert isinstance(plain, Recipe)
    assert isinstance(started, Recipe)
    assert (plain.training.epochs, plain.training.batch_size, plain.optimizer.layer_decay) == (9, 8, 1.0)
    assert (started.training.epochs, started.training.batch_size, started.optimizer.layer_decay) == (3, 2, 0.9)
    assert started.seed == 4
    shown = CliRunner().invoke(app, ["recipes", str(file)])
    (tmp_path / "shown.yaml").write_text(shown.output)
    for init in (False, True):
        assert load_recipe(tmp_path / "shown.yaml", init=init) == load_recipe(file, init=init)
    file.write_text("with_init: 3\n")
    with pytest.raises(SettingError, match=r"mine\.yaml: with_init is 3; expected settings by name$"):
        load_recipe(file)
    file.write_text("with_init: {training: {epoch: 3}}\n")
    with pytest.raises(SettingError, match=r"training\.epoch"):
        load_recipe(file, init=True)


@pytest.mark.parametrize("name", ["finetune", "finetune-small"])
def test_frames_of_runs_with_init_are_whole_patches_of_14_and_of_16(name: str) -> None:
    assert load_recipe(name, init=True).model.image_size % (14 * 16 // 2) == 0


def test_recipes_have_the_values_they_had() -> None:
    values = yaml.safe_load((ROOT / "tests" / "recipes.yaml").read_text())
    assert sorted(values) == named_recipes()
    for name, changed in values.items():
        assert load_recipe(name) == make(RunSettings.class_for(changed), changed, name), name


def test_k400_base_is_the_papers() -> None:
    recipe = load_recipe("k400-base")
    model, optimizer, preprocessing = recipe.model, recipe.optimizer, recipe.preprocessing
    assert (model.dimensions, model.patch_size, model.scheme) == ((768, 12, 12), 16, "divided_space_time")
    assert (model.num_frames, model.image_size, model.drop_path) == (8, 224, 0.1)
    sampling = preprocessing.sampling
    assert (sampling.method, sampling.rate, sampling.fps, sampling.single_clip) == ("span", 32, 30, "middle")
    assert (preprocessing.test_clips, preprocessing.test_crops, preprocessing.short_side) == (1, 3, None)
    assert (preprocessing.mean, preprocessing.std) == ((0.45,) * 3, (0.225,) * 3)
    augmentation = recipe.augmentation
    assert (augmentation.short_side, augmentation.short_side_distribution, augmentation.flip) == (
        (256, 320),
        "uniform",
        True,
    )
    others = (augmentation.repeats, augmentation.random_ops, augmentation.affine, augmentation.erasing)
    assert (*others, augmentation.mixup, augmentation.cutmix) == (1, 0, 0, 0, 0, 0)
    assert (optimizer.name, optimizer.learning_rate, optimizer.reference_batch) == ("sgd", 0.005, 64)
    assert (optimizer.momentum, optimizer.weight_decay, optimizer.decay_all) == (0.9, 1e-4, True)
    assert (optimizer.schedule, optimizer.steps, optimizer.warmup_epochs) == ("steps", (11, 14), None)
    assert (optimizer.scale_learning_rate, optimizer.layer_decay, optimizer.clip_gradient) == ("linear", 1, None)
    assert (recipe.training.epochs, recipe.training.label_smoothing, recipe.training.ema) == (15, 0, None)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_recipes_change_in_it_what_was_published(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe == load_recipe("k400-base", PUBLISHED[name].changes)
    assert recipe.training.batch_size * recipe.training.accumulate == 64


def test_mmaction2s_clips_are_those_of_its_weights() -> None:
    assert load_recipe("k400-mmaction2").preprocessing == published_preprocessing(8)


def test_finetune_is_what_issue_4_asks_for() -> None:
    recipe = load_recipe("finetune")
    augmentation, optimizer, training = recipe.augmentation, recipe.optimizer, recipe.training
    assert (optimizer.name, optimizer.layer_decay, optimizer.schedule) == ("adamw", 0.75, "cosine")
    assert (optimizer.weight_decay, optimizer.decay_all, optimizer.clip_gradient) == (0.05, False, 1.0)
    assert 0 < optimizer.warmup_of(training.epochs) < training.epochs
    assert (augmentation.random_ops, augmentation.erasing, augmentation.repeats) == (2, 0.25, 2)
    assert (augmentation.mixup, augmentation.cutmix, training.label_smoothing) == (0.8, 1.0, 0.1)
    assert training.ema is not None
    assert optimizer.rate_for(256) == pytest.approx(0.0005)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_rates_are_divided_by_ten_twice(name: str) -> None:
    recipe = load_recipe(name)
    first, second = (5, 10) if name == "k400-mmaction2" else (11, 14)
    network = TimeSformer(width=8, depth=1, heads=1, image_size=16, patch_size=8, num_frames=1, num_classes=2)
    optimizer = make_optimizer(network, recipe.optimizer, 64)
    assert all(group["nesterov"] and group["weight_decay"] == 1e-4 for group in optimizer.param_groups)
    schedule = make_schedule(optimizer, recipe.optimizer, 3, recipe.training.epochs)
    rates = []
    for _ in range(3 * recipe.training.epochs):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    parts = (first, second - first, 15 - second)
    assert rates == pytest.approx([0.005] * 3 * parts[0] + [0.0005] * 3 * parts[1] + [0.00005] * 3 * parts[2])


def head_of(name: str) -> list[str]:
    """The lines of a recipe's head comment."""
    text = (ROOT / "src" / "timesformer" / "recipes" / f"{name}.yaml").read_text()
    lines = text.splitlines()
    return lines[: next(number for number, line in enumerate(lines) if not line.startswith("#"))]


@pytest.mark.parametrize("name", named_recipes())
def test_a_head_has_the_command_that_runs_its_recipe(name: str) -> None:
    commands = [shlex.split(line[1:]) for line in head_of(name) if line.startswith("#   timesformer train ")]
    assert len(commands) == 1
    context = typer.main.get_command(app).commands["train"].make_context("train", commands[0][2:])  # type: ignore[attr-defined]
    assert context.params["recipe"] == name
    load_recipe(name, context.params["overrides"] or ())


@pytest.mark.parametrize("name", named_recipes())
def test_a_head_has_hardware_and_score(name: str) -> None:
    head = " ".join(line.removeprefix("# ") for line in head_of(name))
    assert re.search(r"Hardware: .* Score: (\d|published|none; not run by this project)", head) is not None


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_head_says_hardware_and_whose_score_it_is(name: str) -> None:
    head = " ".join(line.removeprefix("# ") for line in head_of(name))
    told = re.search(r"Hardware: .* Score: published(?: by mmaction2)?, ([\d.]+) top-1(?: and ([\d.]+) top-5)?", head)
    assert told is not None
    assert tuple(float(score) for score in told.groups() if score) == PUBLISHED[name].scores
    assert "Not run by this project." in head


def test_the_table_of_recipes_has_all_of_them() -> None:
    _, _, after = (ROOT / "docs" / "training.md").read_text().partition("| recipe | for |")
    recipes = after.partition("\n\n")[0]
    table = re.findall(r"^\| `([\w-]+)` \|.*\| ([^|]*) \|$", recipes, re.MULTILINE)
    assert sorted(name for name, _ in table) == named_recipes()
    scores = {name: tuple(float(number) for number in re.findall(r"\d+\.\d+", score)) for name, score in table}
    assert {name: scores[name] for name in PUBLISHED} == {name: run.scores for name, run in PUBLISHED.items()}


@pytest.fixture(scope="module")
def few(bars: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four training videos and two validation videos, of two classes."""
    folder = tmp_path_factory.mktemp("few")
    for split, count in (("train", 2), ("val", 1)):
        for label in ("left", "right"):
            (folder / split / label).mkdir(parents=True)
            for number in range(count):
                shutil.copy(bars / split / label / f"{number}.mp4", folder / split / label)
    return folder


def shrunken(name: str) -> Recipe | ProbeRecipe:
    """A recipe for a small network, small frames and one epoch; optimiser, augmentation and batches are its own."""
    recipe = load_recipe(name)
    size = recipe.model.image_size
    small = ["model.width=32", "model.depth=2", "model.heads=2"]
    if recipe.model.architecture in SMALL:
        values = {field: value for field, value in SMALL[recipe.model.architecture].items() if field != "num_frames"}
        size, small = 32, [f"model.{field}={json.dumps(value)}" for field, value in values.items()]
    elif size >= 224:  # 224 pixels become two patches a side, 448 four
        size = recipe.model.patch_size * 2 * (size // 224)
    small += [f"model.image_size={size}", "data.workers=0"]
    if isinstance(recipe, ProbeRecipe):
        return load_recipe(name, [*small, "probe.device=cpu"])
    low, high = (math.ceil(side * size / recipe.model.image_size) for side in recipe.augmentation.short_side)
    warmup = min(recipe.optimizer.warmup_of(recipe.training.epochs), 0.9)
    sides = f"augmentation.short_side=[{low}, {high}]"
    length = ["training.epochs=1", "training.device=cpu", f"optimizer.warmup_epochs={warmup}"]
    return load_recipe(name, [*small, sides, *length])


class Step(NamedTuple):
    """What an optimiser step changed, its loss and its learning rate."""

    before: dict[str, Tensor]
    after: dict[str, Tensor]
    loss: float
    rate: float


@pytest.mark.parametrize("name", [name for name in named_recipes() if name not in PROBES])
def test_a_step_of_a_shrunken_model(name: str, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = shrunken(name)
    steps: list[Step] = []
    take = ClassificationTask.optimizer_step

    def tensors(task: ClassificationTask) -> dict[str, Tensor]:
        return {name: tensor.clone() for name, tensor in task.model.state_dict().items()}

    def recorded(task: ClassificationTask, *args: Any, **kwargs: Any) -> None:
        before = tensors(task)
        take(task, *args, **kwargs)
        steps.append(Step(before, tensors(task), task.last_loss, task.last_rate))

    monkeypatch.setattr(ClassificationTask, "optimizer_step", recorded)
    fit(recipe, few, tmp_path / "run")
    [step] = steps
    assert math.isfinite(step.loss)
    clips = 4 * recipe.augmentation.repeats  # of the step's four videos, fewer than the recipe asks for
    assert clips < recipe.training.batch_size * recipe.training.accumulate
    rate = recipe.optimizer.rate_for(clips) * (0.01 if recipe.optimizer.warmup_epochs else 1)
    assert step.rate == pytest.approx(rate)
    same = [name for name, tensor in step.after.items() if torch.equal(tensor, step.before[name])]
    first = ("embedding.projection.weight", "stem.conv.weight", "stem.slow.conv.weight", "stem.space.conv.weight")
    last = ("blocks.0.mlp.0.weight", "blocks.1.mlp.3.weight", ".c.norm.weight")
    reached = [name for name in step.after if name.startswith(("head.weight", *first)) or name.endswith(last)]
    assert len(reached) >= 4
    assert not set(same) & set(reached)
    assert all(bool(tensor.isfinite().all()) for tensor in step.after.values())
    assert load_model(tmp_path / "run").model.settings.num_frames == recipe.model.num_frames


@pytest.mark.parametrize("name", PROBES)
def test_a_shrunken_probe(name: str, few: Path, tmp_path: Path) -> None:
    recipe = shrunken(name)
    backbone = build_model(recipe.model.model_copy(update={"num_classes": 2}))
    Classifier(backbone, recipe.preprocessing, ("left", "right")).save_pretrained(tmp_path / "weights")
    fit(recipe, few, tmp_path / "run", init=tmp_path / "weights")
    head = load_model(tmp_path / "run").model.head
    assert head.weight.isfinite().all()
    assert not torch.equal(head.weight, backbone.head.weight)
