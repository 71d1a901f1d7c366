"""Scores and metrics against hand-worked numbers; a whole test against one video at a time."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pyarrow.parquet
import pytest
import torch

from timesformer.config import Data
from timesformer.data.dataset import Batch
from timesformer.data.manifest import read_manifest
from timesformer.errors import DataError, SettingError
from timesformer.evaluation.metrics import measure
from timesformer.evaluation.scores import VIEWS_AT_ONCE, mean_scores, plain_network, score_batches
from timesformer.evaluation.test import TestResult, check_score_file, write_scores
from timesformer.evaluation.test import test as run_test
from timesformer.video.source import open_video
from timesformer.video.views import testing_views
from timesformer.weights import open_weights


def test_mean_of_softmax_not_of_logits() -> None:
    logits = torch.tensor([[0.0, 0.0], [9.0, -9.0], [0.0, 3.0]]).log_softmax(1)
    scores = mean_scores(logits, torch.tensor([1, 2]))
    e = 2.718281828459045
    second = (1 / (1 + e**18) + e**3 / (1 + e**3)) / 2
    torch.testing.assert_close(scores, torch.tensor([[0.5, 0.5], [1 - second, second]]))


def test_views_of_several_videos_go_through_the_network_together(run: Path) -> None:
    classifier = open_weights(run)
    plain = plain_network(classifier.model, classifier.preprocessing)
    sizes = []

    def network(clips: torch.Tensor) -> torch.Tensor:
        sizes.append(len(clips))
        return plain(clips)

    def batch(*counts: int) -> Batch:
        views = torch.randint(0, 256, (sum(counts), 3, 4, 16, 16), dtype=torch.uint8)
        rows = torch.arange(len(counts))
        return Batch(views, torch.tensor(counts, dtype=torch.long), rows, rows, [])

    batches = [batch(1, 2 * VIEWS_AT_ONCE), batch(), batch(3), batch(2)]
    found = list(score_batches(network, batches))
    assert sizes == [VIEWS_AT_ONCE, VIEWS_AT_ONCE, 6]
    assert [given for given, _ in found] == batches
    for given, scores in found:
        if not len(given.counts_B):
            assert len(scores) == 0
            continue
        with torch.inference_mode():
            softmax = plain(given.views_VCTSS).softmax(1)
        expected = torch.stack([part.mean(0) for part in softmax.split(given.counts_B.tolist())])
        torch.testing.assert_close(scores, expected)


def test_metrics_by_hand() -> None:
    scores = torch.tensor(
        [
            [0.7, 0.1, 0.1, 0.05, 0.03, 0.02],  # class 0: right
            [0.1, 0.5, 0.2, 0.1, 0.06, 0.04],  # class 0: second to last of five
            [0.3, 0.25, 0.2, 0.15, 0.09, 0.01],  # class 5: last of six
            [0.1, 0.6, 0.1, 0.1, 0.05, 0.05],  # class 1: right
        ]
    )
    metrics = measure(scores, torch.tensor([0, 0, 5, 1]))
    assert metrics.top1 == 0.5
    assert metrics.top5 == 0.75
    assert metrics.mean_class_accuracy == pytest.approx((0.5 + 0 + 1) / 3, abs=1e-6)  # classes 2 to 4 do not occur


def test_top5_of_three_classes_is_everything() -> None:
    metrics = measure(torch.eye(3)[[1, 2]] * 0.5 + 0.1, torch.tensor([0, 2]))
    assert (metrics.top1, metrics.top5) == (0.5, 1.0)


def test_a_split_is_scored_video_by_video(run: Path, bars: Path) -> None:
    classifier = open_weights(run)
    manifest = read_manifest(bars, "test")
    calls = []
    result = run_test(classifier, manifest, Data(workers=0), calls.append)
    assert len(calls) == len(manifest.videos) == 4
    for row, (path, label) in enumerate(manifest.videos):
        with open_video(path) as video:
            views = testing_views(video, classifier.model.settings, classifier.preprocessing)
        assert len(views) == 3
        with torch.inference_mode():
            expected = plain_network(classifier.model, classifier.preprocessing)(views).softmax(1).mean(0)
        torch.testing.assert_close(result.scores_BK[row], expected)
        assert (result.paths[row], result.labels_B[row]) == (path, label)
    assert result.metrics.top1 == (result.scores_BK.argmax(1) == result.labels_B).float().mean()


def test_bad_videos_are_left_out_up_to_a_share(run: Path, bars: Path, tmp_path: Path) -> None:
    shutil.copytree(bars / "test", tmp_path / "test")
    (tmp_path / "test" / "left" / "bad.mp4").touch()
    manifest = read_manifest(tmp_path, "test")
    result = run_test(open_weights(run), manifest, Data(workers=0, max_bad_share=0.2))
    assert [problem.path.name for problem in result.left_out] == ["bad.mp4"]
    assert result.summary()["videos"] == 4
    with pytest.raises(DataError, match=r"1 of 5 videos .* 0\.19"):
        run_test(open_weights(run), manifest, Data(workers=0, max_bad_share=0.19))


@pytest.fixture
def result() -> TestResult:
    scores = torch.tensor([[0.25, 0.75], [0.9, 0.1]])
    labels = torch.tensor([1, 1])
    return TestResult(measure(scores, labels), scores, labels, (Path("a.mp4"), Path("b.mp4")), ("x", "y"), ())


def test_score_files(result: TestResult, tmp_path: Path) -> None:
    write_scores(result, tmp_path / "s.parquet")
    write_scores(result, tmp_path / "s.pkl")
    table = pyarrow.parquet.read_table(tmp_path / "s.parquet")
    assert json.loads(table.schema.metadata[b"labels"]) == ["x", "y"]
    pickled = pickle.loads((tmp_path / "s.pkl").read_bytes())
    assert pickled["labels"] == ["x", "y"]
    for rows in (table.to_pylist(), pickled["videos"]):
        assert [(row["path"], row["label"], row["predicted"]) for row in rows] == [
            ("a.mp4", "y", "y"),
            ("b.mp4", "y", "x"),
        ]
        assert [row["scores"] for row in rows] == [pytest.approx([0.25, 0.75]), pytest.approx([0.9, 0.1])]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.parquet", "s.pkl"]


def test_score_files_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"s\.csv: a score file is named"):
        check_score_file(tmp_path / "s.csv")
    with pytest.raises(SettingError, match="no such folder"):
        check_score_file(tmp_path / "nowhere" / "s.pkl")


def test_a_score_file_that_cannot_be_written_is_known_before_the_test(
    result: TestResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", denied)
    for attempt in (lambda: check_score_file(tmp_path / "s.pkl"), lambda: write_scores(result, tmp_path / "s.pkl")):
        with pytest.raises(SettingError, match=r"s\.pkl: cannot be written: Permission denied$"):
            attempt()
    monkeypatch.undo()
    assert check_score_file(tmp_path / "s.pkl") == tmp_path / "s.pkl"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("writer", ["pickle.dump", "pyarrow.parquet.write_table"])
def test_a_full_disk_leaves_no_score_file(
    result: TestResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer, full)
    with pytest.raises(SettingError, match=r"s\.\w+: cannot be written: No space left on device"):
        write_scores(result, tmp_path / ("s.pkl" if writer == "pickle.dump" else "s.parquet"))
    assert list(tmp_path.iterdir()) == []
