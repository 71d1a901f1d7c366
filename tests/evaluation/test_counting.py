"""Metrics counted by hand, over classes that occur and classes that do not; scores that cannot be kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from timesformer.config import Data
from timesformer.data.manifest import read_manifest
from timesformer.errors import DataError, SettingError
from timesformer.evaluation.metrics import measure
from timesformer.evaluation.scores import mean_scores
from timesformer.evaluation.test import check_score_file
from timesformer.evaluation.test import test as run_test
from timesformer.weights import open_weights


@pytest.mark.parametrize("classes", [2, 3, 4, 5, 6, 20])
def test_metrics_are_counts(classes: int) -> None:
    generator = torch.Generator().manual_seed(classes)
    for videos in (1, 2, 17, 60):
        scores = torch.rand(videos, classes, generator=generator).softmax(1)
        labels = torch.randint(0, max(classes - 1, 1), (videos,), generator=generator)  # the last never occurs
        hits: dict[int, list[bool]] = {}
        within_five = 0
        for row, label in zip(scores.tolist(), labels.tolist(), strict=True):
            better = sum(score > row[label] for score in row)
            hits.setdefault(label, []).append(better == 0)
            within_five += better < 5
        flat = [hit for of_class in hits.values() for hit in of_class]
        metrics = measure(scores, labels)
        assert metrics.top1 == pytest.approx(sum(flat) / videos, abs=1e-6)
        assert metrics.top5 == pytest.approx(within_five / videos, abs=1e-6)
        shares = [sum(of_class) / len(of_class) for of_class in hits.values()]
        assert metrics.mean_class_accuracy == pytest.approx(sum(shares) / len(shares), abs=1e-6)


def test_a_frequent_class_counts_once() -> None:
    scores = torch.tensor([[0.9, 0.1]] * 10)
    metrics = measure(scores, torch.tensor([0] * 9 + [1]))
    assert (metrics.top1, metrics.top5, metrics.mean_class_accuracy) == (0.9, 1.0, 0.5)


def test_scores_by_hand() -> None:
    """ln of 1, 2, 3: softmax of the logits are shares that can be counted."""
    logits = torch.tensor([[1.0, 2, 1], [3, 1, 0.0 + 4], [1, 1, 2], [5, 3, 2]]).log()
    scores = mean_scores(logits, torch.tensor([3, 1]))
    first = [(0.25 + 0.375 + 0.25) / 3, (0.5 + 0.125 + 0.25) / 3, (0.25 + 0.5 + 0.5) / 3]
    torch.testing.assert_close(scores, torch.tensor([first, [0.5, 0.3, 0.2]]))
    torch.testing.assert_close(scores.sum(1), torch.ones(2))


def test_a_class_the_classifier_does_not_know(run: Path, tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("path,label\na.mp4,left\nb.mp4,upwards\n")
    with pytest.raises(DataError, match=r"test\.csv: class upwards is unknown; the classes are left, right"):
        run_test(open_weights(run), read_manifest(tmp_path, "test"), Data(workers=0))


def test_a_split_that_numbers_its_classes(run: Path, bars: Path, tmp_path: Path) -> None:
    videos = sorted((bars / "test").rglob("*.mp4"))
    (tmp_path / "test.csv").write_text("".join(f"{path} {int(path.parent.name == 'right')}\n" for path in videos))
    named = run_test(open_weights(run), read_manifest(bars, "test"), Data(workers=0))
    numbered = run_test(open_weights(run), read_manifest(tmp_path, "test"), Data(workers=0))
    assert torch.equal(numbered.scores_BK, named.scores_BK)
    assert (numbered.metrics, numbered.labels, numbered.paths) == (named.metrics, ("left", "right"), tuple(videos))


def test_no_video_at_all_can_be_read(run: Path, tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("path,label\na.mp4,left\nb.mp4,right\n")
    with pytest.raises(DataError, match=r"2 of 2 videos cannot be read.* b\.mp4: no such file|b\.mp4: no such file"):
        run_test(open_weights(run), read_manifest(tmp_path, "test"), Data(workers=0, max_bad_share=1))


def test_a_folder_is_no_score_file(tmp_path: Path) -> None:
    """Found out before the test, not after hours of it."""
    (tmp_path / "scores.pkl").mkdir()
    with pytest.raises(SettingError, match=r"scores\.pkl: is a folder"):
        check_score_file(tmp_path / "scores.pkl")
    assert check_score_file(str(tmp_path / "scores.parquet")) == tmp_path / "scores.parquet"
