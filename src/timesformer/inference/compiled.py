"""The rewritten network through torch.compile: for a CPU, and for a GPU.

Dimensions: B batch, C 3 colours, T frames, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from timesformer.inference.fused import FusedTimeSformer


def compiled(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """Compiled with the weights frozen into it, so that they are laid out once for oneDNN."""
    fast = torch.compile(network, options={"freezing": True})

    def run(clips_BCTHW: Tensor) -> Tensor:
        with torch.inference_mode(False), torch.no_grad():
            logits: Tensor = fast(_usable(clips_BCTHW))
            return logits

    return run


def graphed(network: FusedTimeSformer) -> Callable[[Tensor], Tensor]:
    """Compiled into kernels that a CUDA graph launches together, one for each shape of clips."""
    fast = torch.compile(network, dynamic=False, options={"triton.cudagraphs": True})

    def run(clips_BCTHW: Tensor) -> Tensor:
        with torch.inference_mode(False), torch.no_grad():
            # The network keeps its tables, and what is made inside a graph is overwritten by the graph's next run.
            network.embedding.prepare(clips_BCTHW)
            torch.compiler.cudagraph_mark_step_begin()
            logits: Tensor = fast(_usable(clips_BCTHW))
            return logits.clone()

    return run


def _usable(clips_BCTHW: Tensor) -> Tensor:
    """Freezing asks for no_grad in place of inference mode, whose tensors it does not know."""
    return clips_BCTHW.clone() if clips_BCTHW.is_inference() else clips_BCTHW
