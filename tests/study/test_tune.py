"""`timesformer tune` on tiny clips: what it searches, where it searches it, and how it goes on."""

from __future__ import annotations

import builtins
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import timesformer
from commands import Command, assert_one_line
from conftest import SMALL, small_recipe
from stops import stop_at
from timesformer.config import Recipe
from timesformer.data.manifest import read_manifest
from timesformer.errors import SettingError, TrainingError
from timesformer.recipes import load_recipe
from timesformer.study import estimate as estimates
from timesformer.study import pace, perform, step, studies
from timesformer.study.pace import Pace
from timesformer.study.plan import plan_study
from timesformer.study.studies import find_study
from timesformer.study.trials import augmentation_of
from timesformer.study.tune import Tuned, tune

WITHOUT_EPOCHS = tuple(setting for setting in SMALL if not setting.startswith("training.epochs"))
BY_TIME = ("optimizer.warmup_epochs=null", "training.checkpoint_steps=1")


def recipe(*overrides: str) -> Recipe:
    return small_recipe(*BY_TIME, *overrides)


@pytest.fixture
def two_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which half a minute is two epochs."""
    monkeypatch.setattr(pace, "measure_pace", lambda *_: Pace(14.0, 1.0))


@pytest.fixture(scope="module")
def people(bars: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("people")
    rows = [
        f"{bars}/train/{label}/{number}.mp4,{label},p{number}" for number in range(4) for label in ("left", "right")
    ]
    (folder / "train.csv").write_text("\n".join(["path,label,person", *rows]) + "\n")
    return folder


def search(data: Path, out: Path, **how: Any) -> Tuned:
    return tune(recipe(), data, out, minutes=0.5, folds=4, group="person", apart=False, **how)


def test_a_search_that_was_stopped_goes_on(people: Path, tmp_path: Path, two_epochs: None) -> None:
    out = tmp_path / "search"
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, 6)  # of two epochs of two batches: inside the second trial
        with pytest.raises(RuntimeError, match="plug"):
            search(people, out, trials=3)
    found = search(people, out, trials=3)
    kept = json.loads((out / "tune.json").read_text())
    own = ["optimizer.learning_rate=0.002", "optimizer.weight_decay=0.01", "augmentation.affine=0.0"]
    assert kept["trials"][0]["overrides"] == own
    assert (found.trials, found.failed, len({tuple(trial["overrides"]) for trial in kept["trials"]})) == (3, 0, 3)
    assert found.score == max(trial["score"] for trial in kept["trials"]) == kept["score"]
    assert len(list((out / "runs").glob("*/done.json"))) == 3
    scored = read_manifest(out / "data", "val")
    (person,) = set(scored.groups("person"))
    assert set(read_manifest(out / "data", "train").groups("person")) == {"p0", "p1", "p2", "p3"} - {person}
    best = load_recipe(out / "recipe.yaml")
    assert isinstance(best, Recipe)
    assert best == load_recipe(out / "recipe.yaml", found.overrides)
    assert best.training == recipe().training
    again = search(people, out, trials=3)
    assert again == found


def test_the_trials_of_a_search_have_one_machine(people: Path, tmp_path: Path, two_epochs: None) -> None:
    """The threads decide how far a trial gets in its minutes."""
    out, threads = tmp_path / "search", torch.get_num_threads()
    search(people, out, trials=1)
    kept = json.loads((out / "study.json").read_text())
    assert (kept["device"], kept["threads"]) == ("cpu", threads)
    with pytest.raises(SettingError, match="holds results of study tune, different in: threads; name another folder"):
        search(people, out, trials=1, threads=threads + 1)


def test_one_search_in_a_folder(people: Path, tmp_path: Path, two_epochs: None) -> None:
    """A second one would take the trial that runs for one that was stopped."""
    out = tmp_path / "search"
    second: list[str] = []

    def say(_: str) -> None:
        if not second:
            with pytest.raises(SettingError) as refused:
                search(people, out, trials=1)
            second.append(str(refused.value))

    assert search(people, out, trials=1, say=say).trials == 1
    assert second == [f"{out}: another process searches in this folder; wait for it, or name another"]


def test_trials_that_fail(people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, two_epochs: None) -> None:
    def failing(*_: Any, **__: Any) -> Any:
        raise TrainingError("the loss is NaN")

    monkeypatch.setattr(perform, "fit", failing)
    said: list[str] = []
    with pytest.raises(TrainingError, match="all 2 trials have failed"):
        search(people, tmp_path / "search", trials=2, say=said.append)
    assert said[1] == "1/2  failed: the loss is NaN"


def test_the_strength_of_augmentation() -> None:
    small = load_recipe("finetune-small")
    assert isinstance(small, Recipe)
    assert augmentation_of(small, 2.0) == {"augmentation.affine": 0.2, "augmentation.mixup": 0.6,
                                           "augmentation.cutmix": 1.0}  # fmt: skip
    assert augmentation_of(recipe(), 0.5) == {"augmentation.affine": 0.05}
    large = load_recipe("finetune")
    assert isinstance(large, Recipe)
    assert augmentation_of(large, 0.5)["augmentation.random_magnitude"] == 0.25
    none = augmentation_of(large, 0.0)
    assert (none["augmentation.random_ops"], none["augmentation.random_magnitude"]) == (0, 0.5)


def test_how_many_epochs_fit_a_time() -> None:
    assert Pace(10.0, 0.0).epochs_in(60, 1) == 6
    assert Pace(10.0, 5.0).epochs_in(60, 1) == 4
    assert Pace(10.0, 5.0).epochs_in(60, 10) == 5
    assert Pace(61.0, 0.0).epochs_in(60, 1) == 0
    assert Pace(0.0, 0.0).epochs_in(60, 1) == 600


def test_models_are_trained_for_the_same_time(bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pace of a network is measured once for all of its seeds, by a run that leaves nothing."""
    from timesformer.study.study import run_study

    study = find_study("models")
    cells = study.cells(recipe(), False)
    assert [cell.name for cell in cells] == ["timesformer", "frame_vit", "i3d", "slowfast", "x3d_s", "tsm"]
    odd = recipe("model.num_frames=3")
    shapes = [cell.recipe(odd).model.clip_shape for cell in study.cells(odd, False)]
    assert shapes == [(3, 16), (3, 16), (4, 16), (12, 16), (3, 16), (3, 16)]
    assert [cell.name for cell in study.cells(recipe(), True)] == ["timesformer", "frame_vit"]
    monkeypatch.setattr(studies, "BASELINES", ("frame_vit",))  # the others are large
    plan = plan_study(study, recipe(), bars, tmp_path / "models", seeds=2, minutes=0.5)
    trained: list[tuple[str, int]] = []
    fit = perform.fit

    def counting(one: Recipe, *words: Any, **how: Any) -> Any:
        trained.append((one.model.architecture, one.training.epochs))
        return fit(one, *words, **how)

    monkeypatch.setattr(pace, "fit", counting)
    monkeypatch.setattr(pace, "epoch_seconds", lambda _: {1: 99.0, 2: 14.0, 3: 15.0})
    monkeypatch.setattr(perform, "fit", counting)
    for number in (1, 2):
        run_study(plan, cell=number, apart=False)
    assert trained == [("timesformer", 3), ("timesformer", 2), ("timesformer", 2)]
    assert [task.run.done["epochs"] for task in plan.tasks[:2] if task.run.done] == [2, 2]
    assert not (plan.tasks[0].run.folder / "pilot").exists()


def test_a_network_that_is_too_slow_is_refused_before_an_epoch(
    bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from timesformer.study.study import run_study

    monkeypatch.setattr(studies, "BASELINES", ())
    monkeypatch.setattr(pace, "expected_epoch", lambda *_: (90.0, 0))
    monkeypatch.setattr(pace, "fit", lambda *_, **__: pytest.fail("an epoch began"))
    plan = plan_study(find_study("models"), recipe(), bars, tmp_path / "models", seeds=1, minutes=0.5)
    with pytest.raises(TrainingError, match="an epoch would take about"):
        run_study(plan, cell=1, apart=False)


def test_other_threads_are_another_time(bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They decide how many epochs fit."""
    monkeypatch.setattr(studies, "BASELINES", ("frame_vit",))  # the others are large

    def keys(name: str, *, threads: int | None = None, **how: Any) -> list[str]:
        plan = plan_study(find_study(name), recipe(), bars, tmp_path / name, seeds=1, threads=threads, **how)
        return [task.run.folder.name for task in plan.tasks]

    here = torch.get_num_threads()
    assert keys("models", minutes=1.0) == keys("models", minutes=1.0, threads=here)
    assert not set(keys("models", minutes=1.0)) & set(keys("models", minutes=1.0, threads=here + 1))
    assert keys("positions") == keys("positions", threads=here + 1)


def test_a_plan_of_equal_times(bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No step is timed: only parameters are counted."""
    monkeypatch.setattr(studies, "BASELINES", ("frame_vit",))  # the others are large
    monkeypatch.delattr(step, "Step")
    plan = plan_study(find_study("models"), recipe(), bars, tmp_path / "models", seeds=1, minutes=1.5)
    found = estimates.estimate(plan)
    assert [one.minutes for one in found] == [1.5, 1.5]
    built = timesformer.build_model(plan.tasks[0].run.recipe.model.model_copy(update={"num_classes": 2}))
    assert found[0].disk == 4 * sum(parameter.numel() for parameter in built.parameters()) + estimates.BESIDE
    assert estimates.plan_lines(plan, found)[-2].endswith("without the three epochs that find each pace")
    assert len(estimates.plan_lines(plan, found)[-1]) <= 80
    short = [replace(one, minutes=minutes) for one, minutes in zip(found, (0.05, 0.06), strict=True)]
    lines = estimates.plan_lines(plan, short)
    assert [line.split()[-2] for line in lines[6:8]] == ["<0.1", "0.1"]
    assert "; about <1 minutes and " in lines[9]
    assert "; about 3 minutes and " in estimates.plan_lines(plan, found)[9]


def test_tuned_settings_of_a_study(bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies, "BASELINES", ("frame_vit",))  # the others are large
    for name in ("timesformer", "frame_vit"):
        (tmp_path / "tuned" / name).mkdir(parents=True)
        values = {"overrides": ["optimizer.learning_rate=0.003"] if name == "frame_vit" else []}
        (tmp_path / "tuned" / name / "tune.json").write_text(json.dumps(values))
    how: dict[str, Any] = {"seeds": 1, "minutes": 1.0, "tuned": tmp_path / "tuned"}
    plan = plan_study(find_study("models"), recipe(), bars, tmp_path / "models", **how)
    assert [task.run.recipe.optimizer.learning_rate for task in plan.tasks] == [0.002, 0.003]
    (tmp_path / "tuned" / "timesformer" / "tune.json").unlink()
    with pytest.raises(SettingError, match=r"timesformer/tune.json: no such file"):
        plan_study(find_study("models"), recipe(), bars, tmp_path / "models", **how)


BAD: dict[str, tuple[tuple[str, ...], str]] = {
    "no time": (("--minutes", "0"), "minutes is 0; expected more than 0"),
    "a number of folds": (("--folds", "some"), "--folds some: expected a number of at least 2, or groups"),
    "too many folds": (("--folds", "9", "--group", "person"), "9 folds of 4 groups of the column person"),
    "a column": (("--group", "source"), "has no column source"),
    "epochs of warmup": (
        ("optimizer.warmup_epochs=0.5",),
        "tune: optimizer.warmup_epochs is 0.5, and training by time counts no epochs; add optimizer.warmup_epochs=null",
    ),
    "steps": (("optimizer.schedule=steps",), "optimizer.schedule is steps, at epochs; training by time needs cosine"),
    "epochs": (("training.epochs=9",), "override 'training.epochs=9': tune decides it itself; leave it out"),
    "validation": (("training.patience=2",), "override 'training.patience=2': tune decides it itself"),
    "a probe": (("--recipe", "probe"), "the recipe's task is probe"),
    "an architecture": (("--architecture", "c3d"), "c3d"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused(people: Path, tmp_path: Path, command: Command, name: str) -> None:
    words, line = BAD[name]
    settings = () if "--recipe" in words else ("--recipe", "demo", *WITHOUT_EPOCHS, "optimizer.warmup_epochs=null")
    assert_one_line(command("tune", "--data", people, "--out", tmp_path / "out", *settings, *words), line)
    assert not (tmp_path / "out").exists()


def test_without_optuna(people: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def missing(name: str, *words: Any, **how: Any) -> Any:
        if name.startswith("optuna"):
            raise ModuleNotFoundError(name)
        return imported(name, *words, **how)

    monkeypatch.setattr(builtins, "__import__", missing)
    words = ("tune", "--data", people, "--out", tmp_path / "out", "--recipe", "demo", *SMALL)
    assert_one_line(command(*words), "tune needs Optuna, which is not installed; pip install '.[tune]' in the checkout")


def test_minutes_are_for_studies_of_equal_time(bars: Path, tmp_path: Path, command: Command) -> None:
    words = ("--data", bars, "--recipe", "demo", *WITHOUT_EPOCHS, "--out", tmp_path / "out")
    assert_one_line(command("study", "models", *words), "study models trains each cell for the same time; name it with")
    assert_one_line(
        command("study", "models", *words, "--minutes", 3, "optimizer.warmup_epochs=null", "training.epochs=9"),
        "override 'training.epochs=9': study models decides it itself; leave it out",
    )
    assert_one_line(command("study", "schemes", *words, "--minutes", 3), "leave out --minutes")
    assert_one_line(command("study", "schemes", *words, "--tuned", tmp_path), "is for study models, not schemes")
