"""Two classifiers on the same videos: McNemar's test and the paired bootstrap against literal ones."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from scipy.stats import binomtest

from evaluation.test_analysis import evaluated
from timesformer.errors import DataError
from timesformer.evaluation.bootstrap import resamples
from timesformer.evaluation.compare import compare, mcnemar
from timesformer.evaluation.evaluate import EvaluationResult
from timesformer.evaluation.score_files import write_scores


@pytest.mark.parametrize(("first", "second"), [(0, 0), (1, 0), (8, 13), (3, 3), (0, 6), (40, 75), (900, 1100)])
def test_mcnemar_is_a_binomial_test(first: int, second: int) -> None:
    expected = binomtest(first, first + second).pvalue if first + second else 1.0
    assert mcnemar(first, second) == pytest.approx(expected)


def test_mcnemar_by_hand() -> None:
    assert mcnemar(0, 6) == 2 / 64
    assert mcnemar(1, 5) == 2 * (1 + 6) / 64


@pytest.fixture
def two() -> tuple[EvaluationResult, EvaluationResult]:
    """The second has more videos right."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (90,), generator=generator)
    results = []
    for strength in (0.3, 1.4):
        logits = torch.randn(90, 3, generator=generator)
        logits[range(90), labels] += strength
        results.append(evaluated(logits.softmax(1), labels, ("a", "b", "c")))
    return results[0], results[1]


def test_a_difference_is_of_the_same_videos(two: tuple[EvaluationResult, EvaluationResult], tmp_path: Path) -> None:
    first, second = two
    order = torch.randperm(90, generator=torch.Generator().manual_seed(1))
    shuffled = dataclasses.replace(
        second,
        scores_BK=second.scores_BK[order],
        labels_B=second.labels_B[order],
        paths=tuple(second.paths[row] for row in order.tolist()),
    )
    write_scores(first, tmp_path / "a.parquet")
    write_scores(shuffled, tmp_path / "b.parquet")
    found = compare(tmp_path / "a.parquet", tmp_path / "b.parquet")
    right = [result.scores_BK.argmax(1) == result.labels_B for result in two]
    difference = found.differences["top1"]
    assert difference.first == pytest.approx(float(right[0].double().mean()))
    assert difference.second == pytest.approx(float(right[1].double().mean()))
    # One resample after the other.
    steps = right[1].double() - right[0].double()
    values = torch.stack([(row * steps).sum() / 90 for part in resamples(90) for row in part])
    assert difference.interval == pytest.approx(values.quantile(torch.tensor([0.025, 0.975]).double()).tolist())
    assert difference.interval.low >= 0
    alone = int((steps == -1).sum()), int((steps == 1).sum())
    assert (found.first_alone, found.second_alone, found.p_value) == (*alone, mcnemar(*alone))
    assert list(found.differences) == ["top1", "mean_class_accuracy"]
    row = found.as_dict()
    assert row["metrics"]["top1"]["difference"] == pytest.approx(difference.value, abs=1e-6)
    assert (row["videos"], row["groups"], row["mcnemar_p"]) == (90, None, found.p_value)


def test_groups_of_either_file(two: tuple[EvaluationResult, EvaluationResult], tmp_path: Path) -> None:
    groups = [str(row % 4) for row in range(90)]
    write_scores(two[0], tmp_path / "a.parquet", groups)
    write_scores(two[1], tmp_path / "b.parquet")
    found = compare(tmp_path / "a.parquet", tmp_path / "b.parquet")
    turned = compare(tmp_path / "b.parquet", tmp_path / "a.parquet")
    assert found.groups == turned.groups == 4
    low, high = found.differences["top1"].interval
    assert turned.differences["top1"].interval == pytest.approx((-high, -low))
    write_scores(two[1], tmp_path / "b.parquet", groups[1:] + groups[:1])
    with pytest.raises(DataError, match=r"b\.parquet: other groups than in .*a\.parquet; expected the same"):
        compare(tmp_path / "a.parquet", tmp_path / "b.parquet")


def test_several_classes_a_video(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = (torch.rand(30, 3, generator=generator) < 0.4).float()
    for name, strength in (("a", 0.2), ("b", 1.0)):
        scores = torch.rand(30, 3, generator=generator) * 0.5 + labels * strength * 0.5
        write_scores(evaluated(scores, labels, ("a", "b", "c")), tmp_path / f"{name}.parquet")
    found = compare(tmp_path / "a.parquet", tmp_path / "b.parquet")
    assert list(found.differences) == ["mean_average_precision"]
    assert found.differences["mean_average_precision"].second == 1
    assert found.p_value is None


def test_what_cannot_be_compared(two: tuple[EvaluationResult, EvaluationResult], tmp_path: Path) -> None:
    first, second = two
    write_scores(first, tmp_path / "a.parquet")

    def refused(other: EvaluationResult, expected: str) -> None:
        write_scores(other, tmp_path / "b.parquet")
        with pytest.raises(DataError, match=expected) as raised:
            compare(tmp_path / "a.parquet", tmp_path / "b.parquet")
        assert "\n" not in str(raised.value)

    cut = dataclasses.replace(
        second, scores_BK=second.scores_BK[1:], labels_B=second.labels_B[1:], paths=second.paths[1:]
    )
    refused(cut, r"b\.parquet: other videos than in .*a\.parquet \(/data/0\.mp4 is in .*a\.parquet alone\)")
    twice = dataclasses.replace(second, paths=(second.paths[1], *second.paths[1:]))
    refused(twice, r"other videos than in .*\(/data/0\.mp4 is in .* alone\); expected the same videos")
    refused(dataclasses.replace(second, labels=("a", "c", "b")), r"classes a, c, b, but .* has a, b, c; expected the")
    wrong = second.labels_B.clone()
    wrong[3] = (wrong[3] + 1) % 3
    refused(dataclasses.replace(second, labels_B=wrong), r"b\.parquet: /data/3\.mp4 has another label than in .*a\.pa")
