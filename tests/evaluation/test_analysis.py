"""What people ask next of an evaluation, by hand and against scikit-learn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sklearn.metrics import average_precision_score, confusion_matrix, precision_recall_fscore_support

from timesformer.errors import SettingError
from timesformer.evaluation.analysis import Confusion, analyse
from timesformer.evaluation.evaluate import EvaluationResult
from timesformer.evaluation.interval import grouped_interval, wilson_interval
from timesformer.evaluation.metrics import measure, measure_multilabel
from timesformer.evaluation.table import analysis_table


def evaluated(scores: torch.Tensor, labels: torch.Tensor, names: tuple[str, ...]) -> EvaluationResult:
    paths = tuple(Path(f"/data/{row}.mp4") for row in range(len(labels)))
    metrics = measure_multilabel(scores, labels) if labels.ndim == 2 else measure(scores, labels)
    return EvaluationResult(metrics, scores, labels, paths, names, (), "eager", "fp32")


@pytest.fixture
def five() -> EvaluationResult:
    """Five videos of three classes: right, wrong, right, wrong, wrong."""
    scores = torch.tensor([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1], [0.3, 0.4, 0.3], [0.9, 0.05, 0.05]])
    return evaluated(scores, torch.tensor([0, 0, 1, 0, 1]), ("a", "b", "c"))


def test_it_is_worked_out_by_hand(five: EvaluationResult) -> None:
    found = analyse(five, top_k=(2,), by=("room", ["x", "y", "x", "y", "x"]))
    assert found.majority == ("a", 0.6)
    assert [one[:3] for one in found.classes] == [("a", 3, 2), ("b", 2, 3), ("c", 0, 0)]
    assert [one.precision for one in found.classes] == [pytest.approx(1 / 2), pytest.approx(1 / 3), None]
    assert [one.recall for one in found.classes] == [pytest.approx(1 / 3), pytest.approx(1 / 2), None]
    assert found.confusions == (Confusion("a", "b", 2), Confusion("b", "a", 1))
    assert [(one.path.name, one.label, one.predicted, round(one.score, 2)) for one in found.mistakes] == [
        ("4.mp4", "b", "a", 0.9),
        ("1.mp4", "a", "b", 0.7),
        ("3.mp4", "a", "b", 0.4),
    ]
    assert (found.metrics["top1"], found.metrics["top2"]) == (0.4, 1.0)
    # Bins 6 (0.4), 10 (0.7), 12 (0.8 twice, right) and 13 (0.9): (0.4 + 0.7 + 2 * 0.2 + 0.9) / 5.
    assert found.metrics["calibration_error"] == pytest.approx(0.48)
    assert {one.videos for one in found.bins} == {0, 1, 2}
    assert [(round(one.score or 0, 2), one.right) for one in found.bins if one.videos == 2] == [(0.8, 1.0)]
    assert [(part.value, part.videos, round(part.score, 3)) for part in found.parts] == [("y", 2, 0), ("x", 3, 0.667)]
    assert found.parts[0].interval == wilson_interval(0, 2)
    row = found.as_dict()
    assert row["by"]["values"]["y"] == {"videos": 2, "score": 0.0, "interval": [0.0, 0.65762]}
    assert row["majority"] == {"label": "a", "fraction": 0.6}
    assert {**row, **five.summary()} == row


def test_classes_are_scikit_learns() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(300, 9, generator=generator).softmax(1)
    labels = torch.randint(0, 9, (300,), generator=generator)
    found = analyse(evaluated(scores, labels, tuple("abcdefghi")))
    precision, recall, _, videos = precision_recall_fscore_support(labels, scores.argmax(1))
    assert [one.precision for one in found.classes] == pytest.approx(precision)
    assert [one.recall for one in found.classes] == pytest.approx(recall)
    assert [one.videos for one in found.classes] == videos.tolist()
    assert found.confusion_KK is not None
    assert found.confusion_KK.tolist() == confusion_matrix(labels, scores.argmax(1)).tolist()


def test_top1_is_no_surer_than_groups_and_wilson_say(five: EvaluationResult) -> None:
    right = five.scores_BK.argmax(1) == five.labels_B
    for groups in (None, ["p", "p", "q", "q", "q"]):
        low, high = analyse(five, groups=groups).intervals["top1"]
        other = grouped_interval(right, groups or range(5))
        assert low <= other.low
        assert high >= other.high
    assert analyse(five, groups=["p", "p", "q", "q", "q"]).groups == 2
    sure = evaluated(torch.tensor([[0.9, 0.1]] * 4), torch.tensor([0] * 4), ("a", "b"))
    assert analyse(sure).intervals["top1"] == pytest.approx(wilson_interval(1, 4))
    assert "auc" not in analyse(sure).metrics  # of one class alone


def test_several_classes_a_video() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(40, 3, generator=generator)
    labels = (torch.rand(40, 3, generator=generator) < 0.4).float()
    result = evaluated(scores, labels, ("a", "b", "c"))
    found = analyse(result, by=("room", ["x"] * 20 + ["y"] * 20))
    assert found.metrics == result.metrics.known()
    for label, one in enumerate(found.classes):
        has, said = labels[:, label] > 0, scores[:, label] > 0.5
        assert one.average_precision == pytest.approx(average_precision_score(has, scores[:, label]))
        assert one.precision == pytest.approx(float((has & said).sum() / said.sum()))
        assert one.recall == pytest.approx(float((has & said).sum() / has.sum()))
    scores_of_y = measure_multilabel(scores[20:], labels[20:]).mean_average_precision
    assert {part.value: part.score for part in found.parts}["y"] == scores_of_y
    assert (found.majority, found.confusion_KK, found.mistakes, found.bins) == (None, None, (), ())
    with pytest.raises(SettingError, match="there is none where a video may have several classes"):
        analyse(result, top_k=(2,))
    assert [line.split("  ")[0] for line in analysis_table(found, Path("/data"))] == [
        "mAP",
        "lowest precision",
        "lowest room",
    ]


def test_bad_numbers(five: EvaluationResult) -> None:
    with pytest.raises(SettingError, match="top-k: 0; expected numbers of at least 1"):
        analyse(five, top_k=(0, 5))


def test_the_table(five: EvaluationResult) -> None:
    found = analyse(five, top_k=(2,), by=("room", ["x", "y", "", "y", "x"]))
    assert analysis_table(found, Path("/data")) == [
        f"top-1                  0.4000  95% {found.intervals['top1'].low:.3f} to {found.intervals['top1'].high:.3f}; "
        "most frequent class 0.600",
        f"top-2                  1.0000  95% {found.intervals['top2'].low:.3f} to 1.000",
        "mean class accuracy    0.4167  95% 0.000 to 0.875",
        "calibration error      0.4800",
        "recall (precision)     a 0.33 (0.50), b 0.50 (0.33)",
        "most confused          a as b 2, b as a 1",
        "worst videos           4.mp4 as a 0.90, 1.mp4 as b 0.70, 3.mp4 as b 0.40",
        "lowest room            y 0.00 of 2, x 0.50 of 2, (none) 1.00 of 1",
    ]


def test_the_table_is_80_columns_wide(five: EvaluationResult) -> None:
    long = replace(
        five,
        labels=tuple(f"{name} is the name of a class that nobody can read any more" for name in "abc"),
        paths=tuple(Path(f"/data/a folder of a very long name/and another one of those/{row}.mp4") for row in range(5)),
    )
    column = "the name of a column that is far too long"
    lines = analysis_table(analyse(long, by=(column, ["x"] * 5)), Path("/data"))
    assert max(map(len, lines)) <= 80
    assert [line.endswith("...") for line in lines] == [False, False, False, True, True, True, False]
