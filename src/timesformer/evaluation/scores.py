"""Views of videos become one row of scores a video: the mean over its views of the softmax (paper, section 4), or, for
classes that do not exclude each other, of the sigmoid.

Dimensions: V views of all videos, C 3 colours, T frames, S pixels, B videos, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from timesformer.config import Preprocessing
from timesformer.model.timesformer import TimeSformer
from timesformer.video.transforms import normalise

VIEWS_AT_ONCE = 8


def score_views(model: TimeSformer, preprocessing: Preprocessing, views_VCTSS: Tensor, counts_B: Tensor) -> Tensor:
    """Scores (B, K) in float32 on the CPU of videos with counts_B views each; each row sums to 1, but for multilabel.

    The uint8 views go to the model's device a few at a time, so any number of them fits.
    """
    device = next(model.parameters()).device
    with torch.inference_mode():
        logits_VK = torch.cat(
            [
                model(normalise(part.to(device), preprocessing)).float().cpu()
                for part in views_VCTSS.split(VIEWS_AT_ONCE)
            ]
        )
    return mean_scores(logits_VK, counts_B, multilabel=model.settings.multilabel)


def mean_scores(logits_VK: Tensor, counts_B: Tensor, *, multilabel: bool = False) -> Tensor:
    """Mean softmax, or sigmoid, of each video's views: (B, K)."""
    scores_VK = logits_VK.sigmoid() if multilabel else logits_VK.softmax(1)
    parts = scores_VK.split(counts_B.tolist())
    return torch.stack([part.mean(0) for part in parts])
