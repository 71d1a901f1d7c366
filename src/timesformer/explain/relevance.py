"""Relevance of a class: attention weighted by what the class's logit would gain by more of it, for every scheme.

Of each attention matrix A with the gradient G of the logit, the mean over heads of max(G A, 0) takes A's place in
attention rollout (Chefer, Gur and Wolf, "Generic Attention-model Explainability", ICCV 2021, equation 5). That paper
adds it to the identity of the residual connection as it is. Gradients are small beside one, so that in divided
attention the map stays where the last space attention looked, whatever time attention did: here each step is scaled by
one number such that attention and residual connection count alike, as in rollout (measured: docs/decisions.md).

Dimensions: B batch, H heads, N queries, C of them at a time, M keys, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from timesformer.config.explain import Explain
from timesformer.explain.matrices import AttentionMatrix, attention_weights
from timesformer.explain.recording import Call, RecordedModel, Recording
from timesformer.explain.rollout import check_head


def record_relevance(model: RecordedModel, clips_BCTHW: Tensor, number: int, settings: Explain) -> Recording:
    """Attention of normalised clips weighted by the gradient of the logit of class `number`."""

    def keep(call: Call, q: Tensor, k: Tensor, v: Tensor, mask_NM: Tensor | None, out: Tensor) -> None:
        # In the graph q, k and v are kept anyway. Their gradient is not asked for twice.
        q, k, v = q.detach(), k.detach(), v.detach()
        if settings.head is not None:
            check_head(settings.head, q.shape[1])

        def weigh(gradient_BHNK: Tensor) -> None:
            def rows(part: slice) -> Tensor:
                weights_BHCM = attention_weights(q[:, :, part], k, None if mask_NM is None else mask_NM[part])
                gradient_BHCM = gradient_BHNK[:, :, part] @ v.transpose(-1, -2)
                positive_BHCM = (weights_BHCM * gradient_BHCM).clamp(min=0)
                return positive_BHCM.mean(1) if settings.head is None else positive_BHCM[:, settings.head]

            heads, queries, channels = q.shape[1:]
            keys = k.shape[2]
            smaller = queries * keys <= 2 * heads * channels * (queries + keys)
            call.matrix = AttentionMatrix(rows, queries, 2 * len(q) * heads * keys, keep=smaller)

        out.register_hook(weigh)

    with torch.enable_grad():
        clips_BCTHW = clips_BCTHW.detach().requires_grad_()
        logits_BK, recording = model(clips_BCTHW, keep)
        torch.autograd.grad(logits_BK[:, number].sum(), clips_BCTHW)
    return recording
