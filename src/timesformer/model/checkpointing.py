"""What a block keeps of its forward pass for the backward pass, and what it computes again there.

    setting   keeps                                            computes again
    none      all that its gradients need                      nothing
    cheap     its input, the results of qkv and the MLP        norms, GELU, sums, attention by products, its projections
    blocks    its input                                        everything: a third more time

The products kept are those between different widths, four fifths of the work, but not an adapter's, which are cheap;
torch's fused attention is kept too. A block without gradients keeps nothing, whatever the setting.
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
from timesformer.model.adapters import AdaptedLinear
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
    if what == "none" or not _needs_gradients(block, x_BTND, cls_B1D):
        out = block(x_BTND, cls_B1D, grid)
    elif what == "cheap":
        keep = partial(create_selective_checkpoint_contexts, partial(_policy, _rank(block)))
        out = checkpoint(block, x_BTND, cls_B1D, grid, use_reentrant=False, context_fn=keep)
    else:
        out = checkpoint(block, x_BTND, cls_B1D, grid, use_reentrant=False)
    return out


def _needs_gradients(block: nn.Module, *inputs: Tensor) -> bool:
    """Whether a backward pass will come through; checkpointing would store results for one that never does."""
    return any(tensor.requires_grad for tensor in (*inputs, *block.parameters()))


def _rank(block: nn.Module) -> int:
    """That of a block's adapters; 0 where it has none."""
    return max((module.rank for module in block.modules() if isinstance(module, AdaptedLinear)), default=0)


def _policy(
    rank: int, context: SelectiveCheckpointContext, operation: Any, *args: Any, **kwargs: Any
) -> CheckpointPolicy:
    keep = operation in ATTENTION
    if operation in (aten.mm.default, aten.addmm.default):
        narrow, wide = sorted(args[-1].shape)
        keep = rank < narrow < wide
    return CheckpointPolicy.MUST_SAVE if keep else CheckpointPolicy.PREFER_RECOMPUTE
