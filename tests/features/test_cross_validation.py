"""Nested cross-validation: no head that predicts a video, and no choice of one, has seen the video's fold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from timesformer.errors import DataError
from timesformer.features.cross_validation import Candidate, costs_of, cross_validate, fold_of_clips, losses_of
from timesformer.features.extract import Features
from timesformer.features.neighbours import NearestNeighbours


@dataclass(frozen=True)
class Recorder:
    """Says what it was fitted to: logits of class 0 are the chance, by a table, that a value is right in a fold."""

    table: tuple[tuple[float, ...], ...]  # of each value, in each fold: whether it is right
    seen: list[tuple[frozenset[int], frozenset[int]]]
    name: ClassVar[str] = "recorder"
    setting: ClassVar[str] = "number"

    @property
    def values(self) -> tuple[float, ...]:
        return tuple(map(float, range(len(self.table))))

    def fit(self, training: Features) -> list[tuple[int, frozenset[int]]]:
        folds = frozenset(training.features[:, 0].int().tolist())
        return [(number, folds) for number in range(len(self.table))]

    def logits(self, fitted: tuple[int, frozenset[int]], features: Features) -> Tensor:
        number, folds = fitted
        asked = features.features[:, 0].int().tolist()
        self.seen.append((folds, frozenset(asked)))
        right = torch.tensor([self.table[number][fold] for fold in asked])
        return torch.stack([(2 * right - 1) * 5, torch.zeros(len(right))], 1)


def in_folds(folds: int, of_each: int = 2) -> tuple[Features, Tensor]:
    numbers = torch.arange(folds).repeat_interleave(of_each)
    labels = torch.zeros(len(numbers), dtype=torch.long)
    return Features(numbers[:, None].float(), labels, torch.arange(len(numbers))), numbers


def test_each_video_is_predicted_by_what_is_best_on_the_other_folds() -> None:
    """Value 0 is right in folds 1, 2 and 3, value 1 in fold 0 alone, value 2 in folds 0, 1 and 2."""
    head = Recorder(((0, 1, 1, 1), (1, 0, 0, 0), (1, 1, 1, 0)), [])
    features, folds = in_folds(4)
    found = cross_validate([head], features, folds)
    # Without fold 0: value 0 has three right, value 2 two. Without fold 3: value 2 has three, value 0 two. Without 1 or
    # 2 both have two of three: equal errors and equal losses, and the first counts.
    right = [bool(one) for one in (found.nested().argmax(1) == 0)[::2]]
    assert right == [False, True, True, False]
    assert found.best() == 0  # six of eight, as value 2 has
    for trained, asked in head.seen:
        assert not trained & asked
    assert {asked for _, asked in head.seen} == {
        *(frozenset({one}) for one in range(4)),
        *(frozenset({one, two}) for one in range(4) for two in range(one)),
    }
    assert all(trained | asked == {0, 1, 2, 3} for trained, asked in head.seen)


def test_only_what_is_allowed_is_chosen() -> None:
    head = Recorder(((1, 1, 1), (0, 1, 1), (0, 0, 0)), [])
    features, folds = in_folds(3)
    found = cross_validate([head], features, folds)

    def not_the_first(candidate: Candidate) -> bool:
        return candidate.number > 0

    assert found.best() == 0
    assert found.best(not_the_first) == 1
    assert [bool(one) for one in (found.nested(not_the_first).argmax(1) == 0)[::2]] == [False, True, True]
    with pytest.raises(DataError, match="nested cross-validation: found videos of 2 groups; it needs at least 3"):
        cross_validate([head], *in_folds(2))


def test_of_equal_errors_the_smaller_loss_counts() -> None:
    """Both values are wrong in fold 2 alone; the second is less sure there."""
    features, folds = in_folds(3)
    head = Recorder(((1, 1, 0), (1, 1, 0.4)), [])
    assert cross_validate([head], features, folds).best() == 1


def test_a_small_difference_between_losses_counts_beside_errors() -> None:
    """On every third video all are wrong; the second candidate is a little less sure there. An error is worse."""
    labels = torch.zeros(60, dtype=torch.long)
    wrong = (torch.arange(60) % 3 == 0).float()
    more = wrong + (torch.arange(60) == 1)
    scores = [torch.stack([1 - p, p], 1) for p in (0.2 + 0.4 * wrong, 0.2 + 0.399 * wrong, 0.01 + 0.5 * more)]
    costs = [int(costs_of(scores_BK, labels).sum()) for scores_BK in scores]
    losses = [float(losses_of(scores_BK, labels).sum()) for scores_BK in scores]
    assert (costs[0] - costs[1]) * 1e-6 == pytest.approx(losses[0] - losses[1], rel=1e-3)
    assert losses[2] < losses[1]
    assert costs[2] > costs[0] > costs[1]


def test_an_estimate_from_noise_is_chance() -> None:
    """Where many heads are tried on features that say nothing, the best of them looks better than it is; nested
    cross-validation does not."""
    best, nested, heads = [], [], [NearestNeighbours(2, tuple(range(1, 16)))]
    for seed in range(10):
        generator = torch.Generator().manual_seed(seed)
        labels = torch.randint(2, (60,), generator=generator)
        features = Features(torch.randn(60, 30, generator=generator), labels, torch.arange(60))
        found = cross_validate(heads, features, fold_of_clips(features, range(60), 5, 0))
        right = [float((scores.argmax(1) == found.labels_B).float().mean()) for scores in found.scores_CBK]
        best.append(max(right))
        nested.append(float((found.nested().argmax(1) == found.labels_B).float().mean()))
    assert sum(best) / 10 > 0.52
    assert abs(sum(nested) / 10 - 0.5) < 2 * 0.5 / 600**0.5
