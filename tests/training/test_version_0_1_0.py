"""A run of version 0.1.0, stopped after two of its four epochs, resumes to the weights that version ended with.

Its folder has the recipe's names of then, and no `task` and `architecture`. It was made by commit b53601d on the videos
of the fixture `bars`; `whole.safetensors` and `whole.csv` are the weights and metrics of the same run unstopped.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from conftest import small_recipe
from timesformer.baselines.architectures import build_model
from timesformer.config import Recipe
from timesformer.errors import SettingError
from timesformer.training.curves import read_metrics
from timesformer.training.fit import resume
from timesformer.training.log import read_sessions

OLD = Path(__file__).parent / "version_0_1_0"


def recipe_of_the_run(*overrides: str) -> Recipe:
    return small_recipe(
        "model.width=16",
        "training.ema=0.9",
        "training.label_smoothing=0.1",
        "augmentation.random_ops=2",
        "training.validate_every=2",
        "augmentation.short_side_distribution=inverse_uniform",
        "data.max_bad_fraction=0.2",
        *overrides,
    )


@pytest.fixture
def old(tmp_path: Path) -> Path:
    shutil.copytree(OLD, tmp_path / "run", ignore=shutil.ignore_patterns("whole.*"))
    return tmp_path / "run"


def logits_of(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    model = build_model(recipe_of_the_run().model.model_copy(update={"num_classes": 2})).eval()
    model.load_state_dict(tensors)
    with torch.no_grad():
        return model(torch.randn(4, 3, 4, 16, 16, generator=torch.Generator().manual_seed(0)))


def test_it_resumes_to_the_same_weights(bars: Path, old: Path) -> None:
    result = resume(old, data=bars)
    assert (result.epoch, result.score) == (4, 0.75)
    expected, found = load_file(OLD / "whole.safetensors"), load_file(old / "model" / "model.safetensors")
    torch.testing.assert_close(logits_of(found), logits_of(expected), rtol=0, atol=1e-5)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        if name.endswith("qkv.bias"):
            # Softmax cancels the bias of keys, the middle third: its gradient is rounding, which AdamW scales up.
            keys = slice(len(tensor) // 3, 2 * len(tensor) // 3)
            torch.testing.assert_close(found[name][keys], tensor[keys], rtol=0, atol=1e-3)
            found[name][keys] = tensor[keys]
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-6)
    rows, expected_rows = read_metrics(old / "logs" / "metrics.csv"), read_metrics(OLD / "whole.csv")
    added = {"val_mean_class_accuracy", "val_auc"}  # which version 0.1.0 did not measure
    assert [row.keys() - added for row in rows] == [row.keys() for row in expected_rows]
    for row, wanted in zip(rows, expected_rows, strict=True):
        wanted["val_top5"] = row["val_top5"]  # which of two classes is no longer measured
        for name, value in wanted.items():
            assert (row[name] == value == "") or float(row[name]) == pytest.approx(float(value), abs=1e-6), name
    assert len(read_sessions(old)) == 2
    recipe = yaml.safe_load((old / "recipe.yaml").read_text())
    assert recipe == recipe_of_the_run().model_dump(mode="json")
    kept = torch.load(old / "checkpoints" / "last.ckpt")
    assert (kept["recipe"], kept["global_step"], kept["sums"]) == (recipe, 8, [[0.0, 0.0, 0.0, 0.0]])


def test_its_changes_have_the_new_names(bars: Path, old: Path) -> None:
    changes = ("training.validate_every=3", "augmentation.short_side_distribution=uniform")
    message = (
        r"changed since the run started: augmentation\.short_side_distribution was inverse_uniform, is uniform; "
        r"training\.validate_every was 2, is 3; --accept-changes"
    )
    with pytest.raises(SettingError, match=message):
        resume(old, overrides=changes, data=bars)


def test_a_run_of_an_unknown_setting_says_so(bars: Path, old: Path) -> None:
    file = old / "recipe.yaml"
    file.write_text(file.read_text().replace("watch_every", "look_every"))
    with pytest.raises(SettingError, match=r"recipe of the run: no setting named 'training\.look_every'") as raised:
        resume(old, data=bars)
    assert "\n" not in str(raised.value)


def test_a_probe_must_be_started_anew(bars: Path, old: Path) -> None:
    shutil.rmtree(old / "checkpoints")
    values = yaml.safe_load((old / "recipe.yaml").read_text())
    (old / "recipe.yaml").write_text(yaml.safe_dump(values | {"probe": {"learning_rates": [0.1]}}))
    with pytest.raises(SettingError, match=r"probes of version 0\.1\.0 cannot be resumed; start it anew in another"):
        resume(old, data=bars, accept_changes=True)
