"""What a run is validated on, when, and what that is called."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from conftest import small_recipe
from timesformer.recipes import load_recipe
from timesformer.training.curves import read_metrics
from timesformer.training.fit import fit
from timesformer.training.plan import single_view
from timesformer.video.sampling import testing_clips
from timesformer.weights.classifier import load_model


def test_without_val_the_last_epoch_is_kept(bars: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for split in ("train", "test"):
        shutil.copytree(bars / split, data / split)
    result = fit(small_recipe(), data, tmp_path / "run")
    assert (result.epoch, result.validation_split) == (4, "test")
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "8 training videos, 4 validation videos (test), 2 classes\n" in log
    assert "note    there is no val split: the test split is used for validation, and chooses no epoch\n" in log
    assert re.search(
        r"epoch   1/4  loss \d\.\d{3}  top-1 [01]\.\d{3}  "
        r"test split top-1 [01]\.\d{3} mean class accuracy [01]\.\d{3} AUC ",
        log,
    )
    # Nothing is called validation that is not, and two classes have no top-5.
    rows = read_metrics(tmp_path / "run" / "logs" / "metrics.csv")
    names = ["train_loss", "train_top1", "test_loss", "test_top1", "test_mean_class_accuracy", "test_auc"]
    assert list(rows[0]) == ["step", "epoch", "batch_loss", "learning_rate", *names]
    assert float(rows[-1]["test_top1"]) == result.score
    shown = EventAccumulator(str(tmp_path / "run" / "logs" / "tensorboard")).Reload()
    assert {tag for tag in shown.Tags()["scalars"] if tag.endswith(("loss", "top1", "top5", "accuracy", "auc"))} == {
        "batch_loss",
        *names,
    }
    assert load_model(tmp_path / "run").facts["top-1 on test while training, one crop"] == f"{result.score:.3f}"


def test_without_any_split_to_validate_on(bars: Path, tmp_path: Path) -> None:
    shutil.copytree(bars / "train", tmp_path / "data" / "train")
    result = fit(small_recipe(), tmp_path / "data", tmp_path / "run")
    assert (result.epoch, result.score) == (4, None)
    assert load_model(tmp_path / "run").labels == ("left", "right")


def test_the_last_epoch_is_validated(bars: Path, tmp_path: Path) -> None:
    result = fit(small_recipe("training.validate_every=3"), bars, tmp_path / "run")
    validated = [
        float(row["epoch"]) for row in read_metrics(tmp_path / "run" / "logs" / "metrics.csv") if row["val_top1"]
    ]
    assert validated == [3, 4]
    assert result.score is not None


def test_a_single_view_is_one_clip_whatever_the_sampling() -> None:
    given = load_recipe("howto100m-8").preprocessing
    single = single_view(given)
    assert len(testing_clips(10_000, 8, given.sampling, 30)) == 39  # 10,000 / 256 frames, rounded
    assert len(testing_clips(10_000, 8, single.sampling, 30, single.test_clips)) == 1
    assert single == given.model_copy(update={"test_crops": 1, "sampling": single.sampling})
