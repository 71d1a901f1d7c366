"""What a block keeps of its forward pass for the backward pass, and what it computes again there.

    setting   keeps                                            computes again
    none      all that its gradients need                      nothing
    cheap     its input, the results of qkv and the MLP        norms, GELU, sums, attention by products, its projections
    blocks    its input                                        everything: a third more time

The products kept are those between different widths, four fifths of the work; torch's fused attention is kept too.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import (
    CheckpointPolicy,
    SelectiveCheckpointContext,
    checkpoint,
    create_selective_checkpoint_contexts,
)

from timesformer.config import ActivationCheckpointing
from timesformer.model.tokens import Grid

aten = torch.ops.aten
ATTENTION = frozenset(
    {
        aten._scaled_dot_product_flash_attention_for_cpu.default,
        aten._scaled_dot_product_flash_attention.default,
        aten._scaled_dot_product_efficient_attention.default,
        aten._scaled_dot_product_cudnn_attention.default,
    }
)


def run_block(
    block: nn.Module, x_BTND: Tensor, cls_B1D: Tensor, grid: Grid, what: ActivationCheckpointing
) -> tuple[Tensor, Tensor]:
    """A block's results, with what the backward pass needs kept or not."""
    out: tuple[Tensor, Tensor]
    if what == "none":
        out = block(x_BTND, cls_B1D, grid)
    elif what == "cheap":
        keep = partial(create_selective_checkpoint_contexts, _policy)
        out = checkpoint(block, x_BTND, cls_B1D, grid, use_reentrant=False, context_fn=keep)
    else:
        out = checkpoint(block, x_BTND, cls_B1D, grid, use_reentrant=False)
    return out


def _policy(context: SelectiveCheckpointContext, operation: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
    keep = operation in ATTENTION
    if operation in (aten.mm.default, aten.addmm.default):
        width_in, width_out = args[-1].shape
        keep = width_in != width_out
    return CheckpointPolicy.MUST_SAVE if keep else CheckpointPolicy.PREFER_RECOMPUTE
