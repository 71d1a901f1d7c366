"""Labels that may be wrong: swapped ones are found, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from timesformer.evaluation.evaluate import EvaluationResult
from timesformer.evaluation.metrics import measure, measure_multilabel
from timesformer.evaluation.suspects import suspects


def evaluated(scores_BK: torch.Tensor, labels_B: torch.Tensor) -> EvaluationResult:
    paths = tuple(Path(f"{row}.mp4") for row in range(len(scores_BK)))
    metrics = measure_multilabel(scores_BK, labels_B) if labels_B.ndim == 2 else measure(scores_BK, labels_B)
    names = tuple("abcd"[: scores_BK.shape[1]])
    return EvaluationResult(metrics, scores_BK, labels_B, paths, names, (), "eager", "fp32")


def test_by_hand() -> None:
    """Thresholds: a (0.9 + 0.8 + 0.1) / 3 = 0.6, b (0.7 + 0.9 + 0.35) / 3 = 0.65; c has no video."""
    scores_BK = torch.tensor(
        [[0.9, 0.1, 0], [0.8, 0.2, 0], [0.1, 0.8, 0.1], [0.2, 0.7, 0.1], [0.05, 0.9, 0.05], [0.55, 0.35, 0.1]]
    )
    found = suspects(evaluated(scores_BK, torch.tensor([0, 0, 0, 1, 1, 1])))
    # 2 is above b's threshold; 5 is wrong too, but no more an a than half of the a are.
    assert [(one.path.name, one.label, one.predicted) for one in found] == [("2.mp4", "a", "b")]
    assert (found[0].score, found[0].of_label) == (pytest.approx(0.8), pytest.approx(0.1))


def test_swapped_labels_are_found() -> None:
    generator = torch.Generator().manual_seed(0)
    labels_B = torch.arange(200) % 4
    logits_BK = 6 * torch.nn.functional.one_hot(labels_B, 4) + torch.randn(200, 4, generator=generator)
    swapped = [3, 50, 117]
    given_B = labels_B.clone()
    given_B[swapped] = (labels_B[swapped] + 1) % 4
    found = suspects(evaluated(logits_BK.softmax(1), given_B))
    assert {int(one.path.stem) for one in found} == set(swapped)
    assert [one.of_label - one.score for one in found] == sorted(one.of_label - one.score for one in found)


def test_an_unsure_classifier_accuses_no_video() -> None:
    scores_BK = torch.tensor([[0.3, 0.35, 0.2, 0.15], [0.4, 0.3, 0.2, 0.1]])
    assert suspects(evaluated(scores_BK, torch.tensor([0, 1]))) == ()


def test_nothing_where_a_video_may_have_several_classes() -> None:
    assert suspects(evaluated(torch.tensor([[0.9, 0.1]]), torch.tensor([[0.0, 1.0]]))) == ()
