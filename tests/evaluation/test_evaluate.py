"""A whole split against one video at a time; data and weights that do not match."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

import timesformer
from timesformer.config import Data
from timesformer.data.manifest import read_manifest
from timesformer.errors import DataError, SettingError, VideoError, WeightsError
from timesformer.evaluation.evaluate import Progress, evaluate, evaluate_manifest
from timesformer.evaluation.scores import plain_network
from timesformer.video.views import read_views
from timesformer.weights.classifier import load_model


def test_a_split_is_scored_video_by_video(run: Path, bars: Path) -> None:
    classifier, manifest = load_model(run), read_manifest(bars, "test")
    calls: list[Progress] = []
    result = evaluate(run, bars, device="cpu", precision="fp32", workers=0, on_progress=calls.append)
    assert [call[1:] for call in calls] == [(done, 4, []) for done in range(5)]
    assert {call.engine.precision for call in calls} == {"fp32"}
    for row, (path, label) in enumerate(manifest.videos):
        views = read_views(path, classifier.model.clip_shape, classifier.preprocessing)
        assert len(views) == 3
        with torch.inference_mode():
            expected = plain_network(classifier.model, classifier.preprocessing)(views).softmax(1).mean(0)
        torch.testing.assert_close(result.scores_BK[row], expected)
        assert (result.paths[row], result.labels_B[row]) == (path, label)
    assert result.metrics.top1 == (result.scores_BK.argmax(1) == result.labels_B).float().mean()
    assert result.labels == ("left", "right")


def test_a_classifier_and_an_engine_that_are_there_already(run: Path, bars: Path) -> None:
    expected = evaluate(run, bars, split="val", device="cpu", precision="fp32", workers=0)
    classifier = load_model(run)
    found = evaluate(classifier, str(bars), split="val", device="cpu", precision="fp32", workers=0)
    engine = timesformer.load_engine(classifier, precision="fp32", device="cpu")
    again = evaluate_manifest(classifier, read_manifest(bars, "val"), engine, Data(workers=0))
    for result in (found, again):
        assert torch.equal(result.scores_BK, expected.scores_BK)
        assert (result.metrics, result.paths) == (expected.metrics, expected.paths)


def test_another_protocol(run: Path, bars: Path) -> None:
    classifier = load_model(run)
    protocol = classifier.preprocessing.model_copy(update={"test_crops": 1})
    result = evaluate(run, bars, crops=1, device="cpu", precision="fp32", workers=0)
    for path, scores in zip(result.paths, result.scores_BK, strict=True):
        views = read_views(path, classifier.model.clip_shape, protocol)
        assert len(views) == 1
        with torch.inference_mode():
            expected = plain_network(classifier.model, protocol)(views).softmax(1)[0]
        torch.testing.assert_close(scores, expected)
    with pytest.raises(SettingError, match="test_crops is 2, should be 1 or 3"):
        evaluate(run, bars, crops=2)


def test_labels_of_a_file(run: Path, bars: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("right\nleft\n")
    plain = evaluate(run, bars, device="cpu", workers=0)
    for weights in (run, load_model(run)):
        swapped = evaluate(weights, bars, labels=tmp_path / "names.txt", device="cpu", workers=0)
        assert torch.equal(swapped.scores_BK, plain.scores_BK)
        assert torch.equal(swapped.labels_B, 1 - plain.labels_B)
    (tmp_path / "names.txt").write_text("right\nleft\nup\n")
    for weights in (run, load_model(run)):
        with pytest.raises(WeightsError, match="3 class names"):
            evaluate(weights, bars, labels=tmp_path / "names.txt")


def test_eight_bits_are_calibrated_on_the_split(run: Path, bars: Path) -> None:
    calls: list[Progress] = []
    evaluate(run, bars, precision="int8", device="cpu", workers=0, on_progress=calls.append)
    assert (calls[0].engine.precision, calls[0].engine.agreement.clips) == ("int8", 4)


def test_unreadable_videos_are_skipped_up_to_a_fraction(run: Path, bars: Path, tmp_path: Path) -> None:
    shutil.copytree(bars / "test", tmp_path / "test")
    bad = tmp_path / "test" / "left" / "bad.mp4"
    bad.touch()
    calls: list[Progress] = []
    options = {"device": "cpu", "workers": 0}
    result = evaluate(run, tmp_path, max_bad_fraction=0.2, on_progress=calls.append, **options)
    assert [(type(problem), problem.path, problem.reason) for problem in result.skipped] == [
        (VideoError, bad, "the file is empty")
    ]
    assert [problem.path for call in calls for problem in call.problems] == [bad]
    assert (calls[-1].done, calls[-1].total) == (5, 5)
    assert (result.summary()["videos"], result.summary()["skipped"]) == (4, 1)
    with pytest.raises(DataError, match=r"1 of 5 videos .* 0\.19"):
        evaluate(run, tmp_path, max_bad_fraction=0.19, **options)


def test_an_unreadable_video_that_is_listed_twice(run: Path, bars: Path, tmp_path: Path) -> None:
    """It is reported once; where there is no other, there is nothing to measure."""
    good = sorted((bars / "test").rglob("*.mp4"))
    (tmp_path / "test.csv").write_text("path,label\nbad.mp4,left\nbad.mp4,left\n")
    options = {"device": "cpu", "workers": 0, "max_bad_fraction": 1}
    with pytest.raises(DataError, match=r"test\.csv: 1 of 1 videos cannot be read; the last: .*bad\.mp4: no such file"):
        evaluate(run, tmp_path, **options)
    rows = "".join(f"{path},{path.parent.name}\n" for path in good)
    (tmp_path / "test.csv").write_text(f"path,label\nbad.mp4,left\n{rows}bad.mp4,left\n")
    calls: list[Progress] = []
    result = evaluate(run, tmp_path, on_progress=calls.append, **options)
    assert [problem.reason for call in calls for problem in call.problems] == ["no such file"]
    assert (len(result.paths), len(result.skipped)) == (4, 1)


def test_a_class_the_classifier_does_not_know(run: Path, tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("path,label\na.mp4,left\nb.mp4,upwards\n")
    with pytest.raises(DataError, match=r"test\.csv: class upwards is unknown; the classes are left, right"):
        evaluate(run, tmp_path, device="cpu", workers=0)


def test_a_split_that_numbers_its_classes(run: Path, bars: Path, tmp_path: Path) -> None:
    videos = sorted((bars / "test").rglob("*.mp4"))
    (tmp_path / "test.csv").write_text("".join(f"{path} {int(path.parent.name == 'right')}\n" for path in videos))
    named = evaluate(run, bars, device="cpu", workers=0)
    numbered = evaluate(run, tmp_path, device="cpu", workers=0)
    assert torch.equal(numbered.scores_BK, named.scores_BK)
    assert (numbered.metrics, numbered.labels, numbered.paths) == (named.metrics, ("left", "right"), tuple(videos))


def test_no_video_at_all_can_be_read(run: Path, tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("path,label\na.mp4,left\nb.mp4,right\n")
    with pytest.raises(DataError, match=r"2 of 2 videos cannot be read.* b\.mp4: no such file|b\.mp4: no such file"):
        evaluate(run, tmp_path, device="cpu", workers=0, max_bad_fraction=1)
