"""Which head of a probe is kept, and how good it is.

With a `val` split, what has the fewest errors on it. Without one, what has them in cross-validation over the training
videos; nested cross-validation estimates how good that choice is, for each head and for what is kept.

Dimensions: B videos, K classes, C candidates (a head with a value of its setting).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from timesformer.evaluation.interval import Interval, grouped_interval
from timesformer.features.cross_validation import (
    Candidate,
    OnFit,
    candidates_of,
    costs_of,
    cross_validate,
    fold_of_clips,
    held_out_scores,
    losses_of,
)
from timesformer.features.extract import Features
from timesformer.features.head import Head
from timesformer.features.neighbours import NearestNeighbours


class Estimate(NamedTuple):
    """A top-1, and its 95% interval."""

    top1: float
    interval: Interval

    def __str__(self) -> str:
        return f"top-1 {self.top1:.3f} (95% interval {self.interval.low:.3f} to {self.interval.high:.3f})"


class Trial(NamedTuple):
    """A candidate, its loss and its top-1 on the videos that choose."""

    candidate: Candidate
    loss: float
    top1: float


@dataclass(frozen=True, eq=False)
class Choice:
    """What is kept.

    Attributes:
        trials: all candidates.
        kept: the one that is kept.
        of_heads: the best candidate of each head, and an estimate of it.
        estimate: of the one that is kept.
        scores_BK: what the estimate is of. labels_B, videos_B: class of each of its videos, and row in the manifest.
    """

    trials: tuple[Trial, ...]
    kept: Candidate
    of_heads: tuple[tuple[Candidate, Estimate], ...]
    estimate: Estimate
    scores_BK: Tensor
    labels_B: Tensor
    videos_B: Tensor


def can_be_kept(candidate: Candidate) -> bool:
    """Whether a network can have such a head."""
    return not isinstance(candidate.head, NearestNeighbours)


def best_value(head: Head, training: Features, groups: Sequence[Hashable], folds: int, seed: int) -> Candidate:
    """The value of a head's setting with the fewest errors in cross-validation, for which two groups are enough:
    how good that choice is, is not estimated.

    groups: as `fold_of_clips` has them, and the same errors.
    """
    labels_B = training.of_videos(training.labels_N)
    scores_CBK = held_out_scores([head], training, fold_of_clips(training, groups, folds, seed))
    costs = [int(costs_of(scores_BK, labels_B).sum()) for scores_BK in scores_CBK]
    return Candidate(head, costs.index(min(costs)))


def choose_on(
    validation: Features, training: Features, heads: Sequence[Head], groups: Sequence[Hashable], on_fit: OnFit
) -> Choice:
    """Fit all candidates to the training videos; the validation videos choose, so the best looks better than it is.

    groups: of each video of the manifest that validates.
    """
    candidates, scores = candidates_of(heads), []
    for head in heads:
        on_fit(head)
        scores += [validation.scores(head.logits(fitted, validation)) for fitted in head.fit(training)]
    labels_B, videos_B = (validation.of_videos(tensor) for tensor in (validation.labels_N, validation.videos_N))
    scores_CBK = torch.stack(scores)
    costs_C = [int(costs_of(scores_BK, labels_B).sum()) for scores_BK in scores_CBK]

    def best(numbers: Sequence[int]) -> int:
        return min(numbers, key=costs_C.__getitem__)

    def estimate(number: int) -> Estimate:
        return _estimate(scores_CBK[number], labels_B, videos_B, groups)

    of_heads = [best([number for number, one in enumerate(candidates) if one.head is head]) for head in heads]
    kept = best([number for number, one in enumerate(candidates) if can_be_kept(one)])
    return Choice(
        _trials(candidates, scores_CBK, labels_B),
        candidates[kept],
        tuple((candidates[number], estimate(number)) for number in of_heads),
        estimate(kept),
        scores_CBK[kept],
        labels_B,
        videos_B,
    )


def choose_in_folds(
    training: Features, heads: Sequence[Head], groups: Sequence[Hashable], folds: int, seed: int, on_fit: OnFit
) -> Choice:
    """Cross-validation chooses, nested cross-validation estimates. groups: of each video of the manifest.

    Raises DataError for fewer than three groups.
    """
    found = cross_validate(heads, training, fold_of_clips(training, groups, folds, seed), on_fit)
    labels_B = found.labels_B

    def estimate(scores_BK: Tensor) -> Estimate:
        return _estimate(scores_BK, labels_B, found.videos_B, groups)

    of_heads = []
    for head in heads:

        def of_head(candidate: Candidate, head: Head = head) -> bool:
            return candidate.head is head

        of_heads.append((found.candidates[found.best(of_head)], estimate(found.nested(of_head))))
    scores_BK = found.nested(can_be_kept)
    return Choice(
        _trials(found.candidates, found.scores_CBK, labels_B),
        found.candidates[found.best(can_be_kept)],
        tuple(of_heads),
        estimate(scores_BK),
        scores_BK,
        labels_B,
        found.videos_B,
    )


def _estimate(scores_BK: Tensor, labels_B: Tensor, videos_B: Tensor, groups: Sequence[Hashable]) -> Estimate:
    of_videos = [groups[video] for video in videos_B.tolist()]
    return Estimate(_top1(scores_BK, labels_B), grouped_interval(scores_BK.argmax(1) == labels_B, of_videos))


def _trials(candidates: Sequence[Candidate], scores_CBK: Tensor, labels_B: Tensor) -> tuple[Trial, ...]:
    losses = (float(losses_of(scores_BK, labels_B).mean()) for scores_BK in scores_CBK)
    top1s = (_top1(scores_BK, labels_B) for scores_BK in scores_CBK)
    return tuple(map(Trial, candidates, losses, top1s))


def _top1(scores_BK: Tensor, labels_B: Tensor) -> float:
    return float((scores_BK.argmax(1) == labels_B).float().mean())
