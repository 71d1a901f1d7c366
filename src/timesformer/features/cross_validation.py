"""Which head and which value of its setting is best, and how good that choice is, from the training videos alone.

Every fold is predicted by heads fitted to the others: that chooses. How good the choice is, is estimated by choosing
anew for each fold, without it (nested cross-validation): of the folds A to E, A is predicted by what is best on B to E,
where each of these was predicted by heads that have seen neither it nor A.

    fitted to   predicts                      for
    B C D E     A                             the choice; and, where it is what was best without A, the estimate
    C D E       A, on behalf of B; B, of A    what is best without B; without A

So heads are fitted once without each fold, and once without each pair of folds.

Dimensions: N clips, B videos, K classes, C candidates (a head with a value), F folds.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from timesformer.data.partition import partition
from timesformer.errors import DataError
from timesformer.features.extract import Features
from timesformer.features.head import Head

LOSS = 1e-6  # the least difference between losses that counts
ERROR = 10**13  # an error, in such differences: more than the losses of 300,000 videos
OnFit = Callable[[Head], object]


def ignore(head: Head) -> None:
    """For callers that do not ask."""


class Candidate(NamedTuple):
    """A head, and the number of one of its values."""

    head: Head
    number: int

    @property
    def value(self) -> float:
        return self.head.values[self.number]

    def __str__(self) -> str:
        return f"{self.head.name}, {self.head.setting} {self.value:g}"


Allowed = Callable[[Candidate], bool]


def any_of_them(candidate: Candidate) -> bool:
    """Every candidate is allowed."""
    return True


def fold_of_clips(features: Features, groups: Sequence[Hashable], folds: int, seed: int) -> Tensor:
    """The fold of each clip, from 0: (N,). Groups are whole, classes alike in all folds; few groups make fewer folds.

    groups: of each video of the manifest, as `Manifest.groups` gives them. Raises DataError for a single group.
    """
    of_clip = [groups[video] for video in features.videos_N.tolist()]
    folds = min(folds, len(set(of_clip)))
    if folds < 2:
        raise DataError(f"cross-validation: found videos of {folds} group; it needs at least 2 that can be read")
    labels = [(str(label),) for label in features.labels_N.tolist()]
    return torch.tensor(partition(labels, of_clip, [1 / folds] * folds, seed))


def candidates_of(heads: Sequence[Head]) -> tuple[Candidate, ...]:
    """All values of all heads."""
    return tuple(Candidate(head, number) for head in heads for number in range(len(head.values)))


def held_out_scores(heads: Sequence[Head], features: Features, folds_N: Tensor, on_fit: OnFit = ignore) -> Tensor:
    """Scores of each video by each candidate, fitted to the folds that the video is not in: (C, B, K)."""
    folds_B = features.of_videos(folds_N)
    found = {}
    for fold in folds_N.unique().tolist():
        found[fold] = _scores(heads, features, folds_N == fold, on_fit)
    scores_CBK = torch.empty(*found[0].shape[:1], len(folds_B), *found[0].shape[2:])
    for fold, scores in found.items():
        scores_CBK[:, folds_B == fold] = scores
    return scores_CBK


def losses_of(scores_BK: Tensor, labels_B: Tensor) -> Tensor:
    """The cross-entropy of each video: (B,)."""
    return -scores_BK.gather(1, labels_B[:, None])[:, 0].clamp_min(1e-12).log()


def costs_of(scores_BK: Tensor, labels_B: Tensor) -> Tensor:
    """What the sum of decides between candidates: whether a video is wrong, and, where as many are, the loss. (B,)

    On surveillance-fight's training clips, in grouped folds, what had the fewest errors did better than what had the
    smallest loss (docs/results.md). Whole numbers, so that equal candidates are equal in any order of the videos.
    """
    losses_B = (losses_of(scores_BK, labels_B).double() / LOSS).round().long()
    return ERROR * (scores_BK.argmax(1) != labels_B).long() + losses_B


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """What candidates say of videos that they were not fitted to.

    Attributes:
        candidates: all values of all heads.
        scores_CBK: by heads that have not seen the video's fold.
        labels_B, videos_B, folds_B: class of each video, its row in the manifest, its fold.
        costs_FC: of each candidate on the videos of all folds but one, by heads that have not seen that one either.
    """

    candidates: tuple[Candidate, ...]
    scores_CBK: Tensor
    labels_B: Tensor
    videos_B: Tensor
    folds_B: Tensor
    costs_FC: Tensor

    def best(self, allowed: Allowed = any_of_them) -> int:
        """The number of the candidate with the fewest errors."""
        costs_C = torch.stack([costs_of(scores_BK, self.labels_B).sum() for scores_BK in self.scores_CBK])
        return int(self._only(costs_C, allowed).argmin())

    def nested(self, allowed: Allowed = any_of_them) -> Tensor:
        """Scores (B, K) of each video by the candidate that is best without its fold."""
        chosen_F = self._only(self.costs_FC, allowed).argmin(1)
        return self.scores_CBK[chosen_F[self.folds_B], torch.arange(len(self.labels_B))]

    def _only(self, costs: Tensor, allowed: Allowed) -> Tensor:
        refused_C = torch.tensor([not allowed(candidate) for candidate in self.candidates])
        return costs.masked_fill(refused_C, torch.iinfo(costs.dtype).max)


def cross_validate(
    heads: Sequence[Head], features: Features, folds_N: Tensor, on_fit: OnFit = ignore
) -> CrossValidation:
    """Fit all values of all heads to all but each fold, and to all but each pair of folds.

    folds_N: of each clip, as `fold_of_clips` gives them. on_fit: called with each head before it is fitted. Raises
    DataError for fewer than three folds.
    """
    folds = int(folds_N.max()) + 1
    if folds < 3:
        raise DataError(f"nested cross-validation: found videos of {folds} groups; it needs at least 3")
    candidates, folds_B = candidates_of(heads), features.of_videos(folds_N)
    scores_CBK = held_out_scores(heads, features, folds_N, on_fit)
    labels_B, videos_B = features.of_videos(features.labels_N), features.of_videos(features.videos_N)
    costs_FC = torch.zeros(folds, len(candidates), dtype=torch.long)
    for one, two in itertools.combinations(range(folds), 2):
        found_CBK = _scores(heads, features, (folds_N == one) | (folds_N == two), on_fit)
        folds_of_found = folds_B[(folds_B == one) | (folds_B == two)]
        labels = labels_B[(folds_B == one) | (folds_B == two)]
        costs_CB = torch.stack([costs_of(scores_BK, labels) for scores_BK in found_CBK])
        for fold, other in ((one, two), (two, one)):
            costs_FC[fold] += costs_CB[:, folds_of_found == other].sum(1)
    return CrossValidation(candidates, scores_CBK, labels_B, videos_B, folds_B, costs_FC)


def _scores(heads: Sequence[Head], features: Features, held_N: Tensor, on_fit: OnFit) -> Tensor:
    """Scores of the videos of some clips by all candidates, fitted to the other clips: (C, B, K)."""
    training, asked = features.clips(~held_N), features.clips(held_N)
    found = []
    for head in heads:
        on_fit(head)
        found += [asked.scores(head.logits(fitted, asked)) for fitted in head.fit(training)]
    return torch.stack(found)
