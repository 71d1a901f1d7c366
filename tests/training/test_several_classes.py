"""Several classes a video: loss, metrics, scores and files, from a list to a prediction."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from conftest import moving_bar, small_recipe
from timesformer.data.manifest import read_manifest
from timesformer.errors import DataError, SettingError
from timesformer.evaluation.evaluate import evaluate
from timesformer.evaluation.metrics import measure_multilabel
from timesformer.evaluation.score_files import write_scores
from timesformer.inference.load import load
from timesformer.recipes import load_recipe
from timesformer.training.balance import class_weights, video_weights
from timesformer.training.curves import read_metrics
from timesformer.training.fit import fit
from timesformer.video.encode import write_video
from timesformer.weights.classifier import load_model
from timesformer.weights.convert import convert


@pytest.fixture(scope="module")
def tags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of a bar that moves right or not, and is bright or not: both, one or none of the classes."""
    folder = tmp_path_factory.mktemp("tags")
    for split, count in (("train", 12), ("val", 4)):
        rows = ["path,labels"]
        for number in range(count):
            right, bright = number % 2 == 0, number % 4 < 2
            clip = moving_bar(1 if right else -1, number % 5 + 10 * (split == "val"))
            clip = clip if bright else clip // 3
            (folder / split).mkdir(exist_ok=True)
            write_video(folder / split / f"{number}.mp4", clip, 10)
            rows.append(f"{split}/{number}.mp4,{';'.join(['right'] * right + ['bright'] * bright)}")
        (folder / f"{split}.csv").write_text("\n".join(rows) + "\n")
    return folder


def test_from_a_list_to_a_prediction(tags: Path, tmp_path: Path) -> None:
    recipe = small_recipe(
        "training.epochs=30",
        "optimizer.learning_rate=0.006",
        "augmentation.short_side=[16,16]",
        "training.label_smoothing=0",
        "training.validate_every=10",
    )
    result = fit(recipe, tags, tmp_path / "run")
    rows = [row for row in read_metrics(tmp_path / "run" / "logs" / "metrics.csv") if row["train_loss"]]
    assert float(rows[0]["train_loss"]) > 0.6
    assert float(rows[-1]["train_loss"]) < 0.3
    assert (result.metric, result.validation_split) == ("mAP", "val")
    assert result.score is not None
    assert result.score > 0.8

    classifier = load_model(tmp_path / "run")
    assert classifier.model.settings.multilabel
    manifest = read_manifest(tags, "val")
    found = evaluate(classifier, tags, split="val", device="cpu", precision="fp32", workers=0)
    assert set(found.summary()) == {"mean_average_precision", "videos", "skipped", "engine", "precision"}
    assert found.labels_B.tolist() == [[float(name in video.labels) for name in range(2)] for video in manifest.videos]
    write_scores(found, tmp_path / "scores.pkl")
    written = pickle.loads((tmp_path / "scores.pkl").read_bytes())
    assert [row["label"] for row in written["videos"]] == ["bright;right", "bright", "right", ""]

    predictor = load(tmp_path / "run", precision="fp32")
    for row, path in enumerate(found.paths):
        scores = predictor.scores(path)
        torch.testing.assert_close(scores, found.scores_BK[row], rtol=1e-4, atol=1e-5)
        assert predictor.predict(path)[0].score == pytest.approx(float(scores.max()), abs=1e-5)


def test_the_loss_is_the_mean_binary_cross_entropy(tags: Path, tmp_path: Path) -> None:
    """Of the start's own logits, since the learning rate is as good as zero; positives weigh as balance=loss says."""
    rates = (
        "optimizer.learning_rate=1e-12",
        "optimizer.warmup_epochs=0",
        "training.epochs=1",
        "training.batch_size=12",
        "augmentation.short_side=[16,16]",
        "data.fraction=0.5",
        "training.balance=loss",
    )
    fit(small_recipe(*rates), tags, tmp_path / "run")
    row = read_metrics(tmp_path / "run" / "logs" / "metrics.csv")[-1]
    training = read_manifest(tags, "train").subset(0.5, 0)
    counts = [sum(name in video.labels for video in training.videos) for name in range(2)]
    weights = torch.tensor([(len(training.videos) - count) / count for count in counts])
    torch.testing.assert_close(class_weights(training), weights)
    labels = torch.tensor([[float(name in video.labels) for name in range(2)] for video in training.videos])
    # The head of a new model is small, so its logits are near zero and the loss near that of answering one half.
    halves = F.binary_cross_entropy_with_logits(torch.zeros_like(labels), labels, pos_weight=weights)
    assert float(row["train_loss"]) == pytest.approx(float(halves), rel=0.5)


def test_weights_of_classes_and_videos(tags: Path) -> None:
    manifest = read_manifest(tags, "train")
    assert manifest.labels == ("bright", "right")
    assert class_weights(manifest).tolist() == pytest.approx([1.0, 1.0])  # 6 of 12 videos have each
    assert video_weights(manifest) == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 12] * 3)


def test_mean_average_precision_by_hand() -> None:
    scores = torch.tensor([[0.9, 0.1, 0.5], [0.8, 0.7, 0.5], [0.3, 0.6, 0.5], [0.2, 0.2, 0.5]])
    labels = torch.tensor([[1.0, 0, 0], [0, 1, 0], [1, 0, 0], [0, 1, 0]])
    # class 0: hits at ranks 1 and 3: (1 + 2/3) / 2; class 1: at ranks 1 and 3 too; class 2 does not occur.
    assert measure_multilabel(scores, labels).mean_average_precision == pytest.approx(5 / 6, abs=1e-5)
    assert measure_multilabel(scores, torch.zeros(4, 3)).mean_average_precision == 0


def test_kinds_of_data_are_not_mixed(tags: Path, bars: Path, run: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"val.csv: has several classes a video.*the weights were trained for one class"
    ):
        evaluate(replace(load_model(run), labels=("bright", "right")), tags, split="val", device="cpu", workers=0)
    with pytest.raises(
        SettingError, match=r"training.label_smoothing is 0.1; data with several classes a video need 0"
    ):
        fit(small_recipe("training.label_smoothing=0.1"), tags, tmp_path / "run")
    with pytest.raises(SettingError, match=r"train\.csv: has several classes a video; a probe needs data with one"):
        fit(load_recipe("probe", ["probe.device=cpu"]), tags, tmp_path / "run", init=run)
    for name, column in (("train", "labels"), ("val", "label")):
        (tmp_path / f"{name}.csv").write_text(f"path,{column}\n{bars}/train/left/0.mp4,left\nother.mp4,right\n")
    with pytest.raises(
        DataError, match=r"val\.csv: has one class a video, but .*train\.csv has several classes a video"
    ):
        fit(small_recipe("training.epochs=1"), tmp_path, tmp_path / "run")


def test_a_native_folder_keeps_the_kind_and_others_cannot(tags: Path, tmp_path: Path) -> None:
    fit(small_recipe("training.epochs=1"), tags, tmp_path / "run")
    config = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert config["model"]["multilabel"] is True
    with pytest.raises(Exception, match="official layout cannot express multilabel True; only False"):
        convert(tmp_path / "run", tmp_path / "out.pyth", "official")
