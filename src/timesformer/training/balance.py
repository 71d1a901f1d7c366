"""Unequal classes: how much to weigh each, how often to draw its videos.

Dimensions: K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from timesformer.data.manifest import Manifest


def class_weights(manifest: Manifest) -> Tensor:
    """A weight a class, such that all classes weigh the same in a training split and the mean over its videos is 1.

    In multi-label data: videos without a class for each with it, which weighs its positives against its negatives. That
    has no limit: a class of one video in a thousand weighs 999.
    """
    counts_K = class_counts(manifest)
    videos = len(manifest.videos)
    if manifest.multilabel:
        return (videos - counts_K) / counts_K.clamp_min(1)
    present = int((counts_K > 0).sum())
    return torch.where(counts_K > 0, videos / (present * counts_K.clamp_min(1)), 0.0)


def video_weights(manifest: Manifest) -> list[float]:
    """How often to draw each video, so that all classes come equally often; in multi-label data by its rarest class."""
    counts_K = class_counts(manifest)
    most = len(manifest.videos)
    return [1 / min((int(counts_K[label]) for label in video.labels), default=most) for video in manifest.videos]


def class_counts(manifest: Manifest) -> Tensor:
    """Videos of each class: (K,)."""
    labels = torch.tensor([label for video in manifest.videos for label in video.labels], dtype=torch.long)
    return torch.bincount(labels, minlength=len(manifest.labels))
