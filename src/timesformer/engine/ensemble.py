"""Several engines as one, whose scores are the mean of theirs.

Dimensions: M members, B batch, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from timesformer.errors import SettingError


class MeanScores:
    """What an engine of an ensemble calls: clips to the logits of the mean scores."""

    def __init__(self, members: Sequence[Callable[[Tensor], Tensor]], multilabel: bool) -> None:
        self.members, self.multilabel = members, multilabel

    def __call__(self, clips: Tensor, layer: int | None = None, tokens: bool = False, /) -> Tensor:
        """Logits (B, K). Raises SettingError where features are asked for."""
        if layer is not None:
            raise SettingError("features: an ensemble has none; load one of its members")
        return mean_logits(torch.stack([member(clips) for member in self.members]), self.multilabel)


def mean_logits(logits_MBK: Tensor, multilabel: bool) -> Tensor:
    """The logits (B, K) whose softmax is the mean of the members' softmax; with `multilabel` the same of sigmoids.

    As logarithms all along: a score that is all but 0 or 1 stays finite.
    """
    if not multilabel:
        return _mean(logits_MBK.log_softmax(-1))
    return _mean(F.logsigmoid(logits_MBK)) - _mean(F.logsigmoid(-logits_MBK))


def _mean(logarithms_MBK: Tensor) -> Tensor:
    """The logarithm of the mean over the members of what these are the logarithms of."""
    return logarithms_MBK.logsumexp(0) - math.log(len(logarithms_MBK))
