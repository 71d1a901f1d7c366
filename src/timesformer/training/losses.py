"""The loss of each training clip.

Dimensions: B clips, K classes.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class ClipLosses(nn.Module):
    """Cross-entropy of each clip, or the mean over the classes of its binary cross-entropies.

    Args:
        weights_K: weight of each class (`timesformer.training.balance`); None weighs all the same.
        label_smoothing: fraction of a target that is spread over all classes; not for `multilabel`.
        multilabel: whether a video may have any number of the classes.
    """

    weights_K: Tensor | None

    def __init__(self, weights_K: Tensor | None, label_smoothing: float, *, multilabel: bool) -> None:
        super().__init__()
        self.register_buffer("weights_K", weights_K, persistent=False)
        self.label_smoothing, self.multilabel = label_smoothing, multilabel

    def forward(self, logits_BK: Tensor, targets_BK: Tensor) -> Tensor:
        """Losses (B) of logits (B, K) against the fraction of each class in a clip (B, K)."""
        if self.multilabel:
            losses_BK = F.binary_cross_entropy_with_logits(
                logits_BK, targets_BK, reduction="none", pos_weight=self.weights_K
            )
            return losses_BK.mean(1)
        loss_B = F.cross_entropy(logits_BK, targets_BK, reduction="none", label_smoothing=self.label_smoothing)
        return loss_B if self.weights_K is None else loss_B * (targets_BK @ self.weights_K)
