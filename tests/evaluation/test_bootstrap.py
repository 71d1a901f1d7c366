"""Metrics of weighted videos against scikit-learn's and torchmetrics', and what resamples are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score, top_k_accuracy_score
from torchmetrics.functional.classification import multiclass_calibration_error

from timesformer.evaluation.bootstrap import RESAMPLES, fraction, intervals, measures, resamples
from timesformer.evaluation.metrics import measure, measure_multilabel


def some_scores(videos: int, classes: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """With ties among the scores."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (videos,), generator=generator)
    logits = torch.randint(-3, 4, (videos, classes), generator=generator).float()
    logits[range(videos), labels] += torch.randint(0, 4, (videos,), generator=generator)
    return (logits + torch.arange(classes) / 100).softmax(1), labels


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_weights_are_repeated_videos(classes: int) -> None:
    scores, labels = some_scores(60, classes)
    weights = torch.randint(0, 4, (3, 60), generator=torch.Generator().manual_seed(1))
    found = {name: measure(weights.double()) for name, measure in measures(scores, labels, (2, 3)).items()}
    for row, times in enumerate(weights):
        many, answers = scores.repeat_interleave(times, 0), labels.repeat_interleave(times)
        expected = {
            "mean_class_accuracy": balanced_accuracy_score(answers, many.argmax(1)),
            "calibration_error": float(multiclass_calibration_error(many, answers, classes, n_bins=15)),
        }
        ranks = (many > many[range(len(many)), answers][:, None]).sum(1)
        expected |= {f"top{number}": float((ranks < number).double().mean()) for number in (1, 2, 3)}
        if classes > 2:
            assert expected["top2"] == pytest.approx(top_k_accuracy_score(answers, many, k=2, labels=range(classes)))
        if classes == 2:
            expected["auc"] = roc_auc_score(answers, many[:, 1])
        for name, value in expected.items():
            assert float(found[name][row]) == pytest.approx(value, abs=1e-6), name


def test_one_group_says_nothing_of_others() -> None:
    right = fraction(torch.tensor([True, True, False]))
    found = intervals({"top1": right}, 3, ["a", "a", "a"])
    assert found == {"top1": (0.0, 1.0)}
    assert intervals({"less": right}, 3, ["a", "a", "a"], lowest=-1) == {"less": (-1.0, 1.0)}
    assert intervals({"top1": fraction(torch.tensor([True]))}, 1) == {"top1": (0.0, 1.0)}


@pytest.mark.parametrize("classes", [2, 6])
def test_without_weights_they_are_the_metrics(classes: int) -> None:
    scores, labels = some_scores(80, classes, 2)
    found = {name: float(one(torch.ones(1, 80).double())) for name, one in measures(scores, labels).items()}
    assert {name: found[name] for name in measure(scores, labels).known()} == pytest.approx(
        measure(scores, labels).known(), abs=1e-6
    )


def test_mean_average_precision_of_weighted_videos() -> None:
    scores, _ = some_scores(50, 4)
    labels = (torch.rand(50, 4, generator=torch.Generator().manual_seed(3)) < 0.3).float()
    labels[:, 3] = 0  # does not occur
    weights = torch.randint(0, 3, (50,), generator=torch.Generator().manual_seed(4))
    one = measures(scores, labels)["mean_average_precision"]
    assert float(one(torch.ones(1, 50).double())) == pytest.approx(
        measure_multilabel(scores, labels).mean_average_precision, abs=1e-6
    )
    many, answers = scores.repeat_interleave(weights, 0), labels.repeat_interleave(weights, 0)
    expected = np.mean([average_precision_score(answers[:, label], many[:, label]) for label in range(3)])
    assert float(one(weights[None].double())) == pytest.approx(expected, abs=1e-6)


def test_whole_groups_are_drawn() -> None:
    groups = ["a", "b", "a", "c", "c", "c"]
    weights = torch.cat(list(resamples(6, groups)))
    assert weights.shape == (RESAMPLES, 6)
    for same in ((0, 2), (3, 4, 5)):
        assert all(torch.equal(weights[:, same[0]], weights[:, row]) for row in same)
    assert torch.equal(weights[:, [0, 1, 3]].sum(1), torch.full((RESAMPLES,), 3.0).double())
    alone = torch.cat(list(resamples(6)))
    assert torch.equal(alone.sum(1), torch.full((RESAMPLES,), 6.0).double())
    assert alone.mean(0).tolist() == pytest.approx([1] * 6, abs=0.1)
    assert torch.equal(alone, torch.cat(list(resamples(6))))


def test_the_interval_of_a_fraction_is_a_binomials() -> None:
    """Of 200 independent videos, 70% right: 0.7 +- 1.96 sqrt(0.7 * 0.3 / 200), which is 0.0635."""
    right = torch.arange(200) % 10 < 7
    found = intervals({"right": fraction(right)}, 200)["right"]
    assert found == pytest.approx((0.6365, 0.7635), abs=0.01)
    ten = intervals({"right": fraction(right)}, 200, [row // 20 for row in range(200)])["right"]
    assert ten == pytest.approx((0.7, 0.7))  # groups that are all alike
    apart = intervals({"right": fraction(torch.arange(200) < 100)}, 200, [row // 100 for row in range(200)])["right"]
    assert apart == (0, 1)


def test_what_is_defined_in_no_resample() -> None:
    scores = torch.tensor([[0.4, 0.6], [0.3, 0.7]])
    assert intervals(measures(scores, torch.tensor([1, 1])), 2)["auc"] == (0, 1)
