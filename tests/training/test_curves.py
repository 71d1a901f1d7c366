"""metrics.csv cut and mended where a run resumes, and the picture drawn of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from timesformer.training.curves import MetricsFile, draw_curves, metric_names, read_metrics

COLUMNS = (*metric_names("val", 6), "val_map")


def written(file: Path) -> MetricsFile:
    metrics = MetricsFile(file, COLUMNS)
    for step in (1, 2, 3):
        metrics.log_metrics({"epoch": step / 2, "batch_loss": 1 / step, "learning_rate": 0.1}, step)
        if step == 2:
            metrics.log_metrics({"epoch": 1.0, "train_loss": 0.75, "val_top1": 0.5}, step)
    return metrics


def test_rows_after_the_checkpoint_are_cut(tmp_path: Path) -> None:
    written(tmp_path / "logs" / "metrics.csv")
    whole = read_metrics(tmp_path / "logs" / "metrics.csv")
    assert [int(row["step"]) for row in whole] == [1, 2, 2, 3]
    assert tuple(whole[0]) == COLUMNS
    assert float(whole[2]["train_loss"]) == 0.75
    assert whole[2]["batch_loss"] == ""
    MetricsFile(tmp_path / "logs" / "metrics.csv", COLUMNS, 2)
    assert read_metrics(tmp_path / "logs" / "metrics.csv") == whole[:3]
    MetricsFile(tmp_path / "logs" / "metrics.csv", COLUMNS)
    assert read_metrics(tmp_path / "logs" / "metrics.csv") == []
    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["metrics.csv"]


@pytest.mark.parametrize("lost", [1, 2, 9])
def test_a_torn_last_row_is_dropped(tmp_path: Path, lost: int) -> None:
    """Torn anywhere, its line's end included; what is kept is as it was, byte for byte."""
    file = tmp_path / "metrics.csv"
    written(file)
    content = file.read_bytes()
    file.write_bytes(content[:-lost])
    assert [int(row["step"]) for row in read_metrics(file)] == [1, 2, 2]
    metrics = MetricsFile(file, COLUMNS, 3)
    metrics.log_metrics({"epoch": 1.5, "batch_loss": 1 / 3, "learning_rate": 0.1}, 3)
    assert file.read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"step,epo"])
def test_a_file_torn_in_its_head_starts_anew(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "metrics.csv"
    file.write_bytes(content)
    MetricsFile(file, COLUMNS, 5)
    assert file.read_text().split() == [",".join(COLUMNS)]


def test_the_picture_is_drawn_again(tmp_path: Path) -> None:
    metrics = written(tmp_path / "metrics.csv")
    pictures = []
    for _ in range(2):
        draw_curves(tmp_path / "metrics.csv", tmp_path / "curves.png")
        pictures.append(imread(tmp_path / "curves.png"))
        metrics.log_metrics({"epoch": 2.0, "train_loss": 0.25, "val_top1": 1.0}, 4)
    assert pictures[0].shape == pictures[1].shape
    assert pictures[0].shape[0] > 600
    assert not np.array_equal(*pictures)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.png", "metrics.csv"]


def colours(picture: Path, colour: tuple[int, int, int]) -> int:
    """How many pixels have a colour."""
    pixels = (imread(picture)[..., :3] * 255).round()
    return int((abs(pixels - np.array(colour)) < 8).all(-1).sum())


BLUE, ORANGE, GREEN = (31, 119, 180), (255, 127, 14), (44, 160, 44)


def drawn(folder: Path, *rows: dict[str, float]) -> Path:
    metrics = MetricsFile(folder / "metrics.csv", COLUMNS)
    for step, row in enumerate(rows, 1):
        metrics.log_metrics(row, step)
    draw_curves(folder / "metrics.csv", folder / "curves.png")
    return folder / "curves.png"


def test_a_run_of_one_epoch_shows_its_points(tmp_path: Path) -> None:
    rate, empty = ({"epoch": 1.0, "batch_loss": 1.0, "learning_rate": value} for value in (0.1, float("nan")))
    (tmp_path / "empty").mkdir()
    pictures = [imread(drawn(tmp_path, rate)), imread(drawn(tmp_path / "empty", empty))]
    assert not np.array_equal(*(picture[-150:, 200:] for picture in pictures))


def test_points_on_the_upper_edge_are_whole(tmp_path: Path) -> None:
    found = []
    for score in (0.5, 1.0):
        (tmp_path / str(score)).mkdir()
        found.append(colours(drawn(tmp_path / str(score), {"epoch": 1.0, "val_top5": score}), GREEN))
    assert found[0] == pytest.approx(found[1], abs=3)


def test_validation_is_orange(tmp_path: Path) -> None:
    picture = drawn(tmp_path, {"epoch": 1.0, "val_map": 0.5}, {"epoch": 2.0, "val_map": 0.6})
    assert colours(picture, BLUE) == 0 < colours(picture, ORANGE)


def test_a_run_without_metrics_has_a_picture_too(tmp_path: Path) -> None:
    MetricsFile(tmp_path / "metrics.csv", COLUMNS)
    draw_curves(tmp_path / "metrics.csv", tmp_path / "curves.png")
    assert imread(tmp_path / "curves.png").ndim == 3


def test_columns_are_what_a_run_measures() -> None:
    common, mean = ("step", "epoch", "batch_loss", "learning_rate", "train_loss"), "_mean_class_accuracy"
    assert metric_names(None, 9) == (*common, "train_top1")
    assert metric_names("val", 6) == (*common, "train_top1", "val_loss", "val_top1", "val_top5", f"val{mean}")
    assert metric_names("test", 5) == (*common, "train_top1", "test_loss", "test_top1", f"test{mean}")
    assert metric_names("val", 2)[-3:] == ("val_top1", f"val{mean}", "val_auc")
    assert metric_names("test", 9, multilabel=True) == (*common, "test_loss", "test_map")


def test_a_resumed_file_keeps_its_columns_and_gets_new_ones(tmp_path: Path) -> None:
    file = tmp_path / "metrics.csv"
    MetricsFile(file, metric_names("val", 6)).log_metrics({"epoch": 1.0, "val_top5": 0.5}, 1)
    MetricsFile(file, metric_names("test", 6), 1).log_metrics({"epoch": 2.0, "test_top1": 0.25}, 2)
    rows = read_metrics(file)
    assert [(row["val_top5"], row["test_top1"]) for row in rows] == [("0.5", ""), ("", "0.25")]
    assert tuple(rows[0]) == (
        *metric_names("val", 6),
        "test_loss",
        "test_top1",
        "test_top5",
        "test_mean_class_accuracy",
    )
