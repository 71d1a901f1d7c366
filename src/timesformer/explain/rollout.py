"""Attention rollout (Abnar and Zuidema, 2020) for every scheme: how much of each patch reaches what the head sees, if
attention and the residual connection carry half each and everything else is neglected.

The same for all classes. The steps of a block follow each other as the block takes them, so divided attention spreads a
weight over the patches of a frame, then over the frames of a patch (see `timesformer.explain.propagation`).

Dimensions: B batch, H heads, N queries, C of them at a time, M keys.
"""

from __future__ import annotations

import torch
from torch import Tensor

from timesformer.config.explain import Explain, HeadFusion
from timesformer.errors import SettingError
from timesformer.explain.matrices import AttentionMatrix, attention_weights
from timesformer.explain.recording import Call, RecordedModel, Recording


def record_rollout(model: RecordedModel, clips_BCTHW: Tensor, settings: Explain) -> Recording:
    """Attention of normalised clips, its heads fused, of each query as weights that sum to one."""

    def keep(call: Call, q: Tensor, k: Tensor, v: Tensor, mask_NM: Tensor | None, out: Tensor) -> None:
        def rows(part: slice) -> Tensor:
            weights_BHCM = attention_weights(q[:, :, part], k, None if mask_NM is None else mask_NM[part])
            fused_BCM = fuse_heads(weights_BHCM, settings.head_fusion, settings.head)
            return discard_weakest(fused_BCM, settings.discard) if settings.discard else fused_BCM

        heads, queries, channels = q.shape[1:]
        keys = k.shape[2]
        smaller = queries * keys <= heads * channels * (queries + keys)
        call.matrix = AttentionMatrix(rows, queries, len(q) * heads * keys, keep=smaller)

    with torch.no_grad():
        return model(clips_BCTHW, keep)[1]


def fuse_heads(weights_BHCM: Tensor, fusion: HeadFusion, head: int | None = None) -> Tensor:
    """One matrix of all heads, or of head number `head`, whose rows sum to one: (B, C, M).

    A row of which every head's smallest weight is zero stays zero. Raises SettingError for a head that is not there.
    """
    if head is not None:
        check_head(head, weights_BHCM.shape[1])
        return weights_BHCM[:, head]
    if fusion == "mean":
        return weights_BHCM.mean(1)
    fused_BCM = weights_BHCM.amax(1) if fusion == "max" else weights_BHCM.amin(1)
    return rescale(fused_BCM)


def discard_weakest(weights_BCM: Tensor, fraction: float) -> Tensor:
    """The weakest `fraction` of the keys of every query, rounded down, at zero, and the others rescaled.

    Keys of weight zero, such as those that a mask hides, are not counted.
    """
    seen_BC1 = (weights_BCM > 0).sum(-1, keepdim=True)
    kept_BC1 = seen_BC1 - (seen_BC1 * fraction).floor().long()
    rank_BCM = weights_BCM.argsort(-1, descending=True).argsort(-1)
    return rescale(weights_BCM * (rank_BCM < kept_BC1))


def rescale(weights_BCM: Tensor) -> Tensor:
    """Rows that sum to one; those of zeros stay."""
    return weights_BCM / weights_BCM.sum(-1, keepdim=True).clamp(min=torch.finfo(weights_BCM.dtype).tiny)


def check_head(head: int, heads: int) -> None:
    """Raises SettingError for a head that is not there."""
    if head >= heads:
        raise SettingError(f"head {head}: a model of {heads} heads has 0 to {heads - 1}")
