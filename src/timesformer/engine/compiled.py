"""A network through torch.compile: for a CPU, and for a GPU. Each output of a network is compiled when first asked for.

Dimensions: B batch, C 3 colours, T frames, H and W pixels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from timesformer.engine.network import Network, Output


class Compiled:
    """On a CPU with the weights frozen into it, so that they are laid out once for oneDNN; on a GPU into kernels that a
    CUDA graph launches together, one for each shape of clips."""

    def __init__(self, network: Network, device: torch.device) -> None:
        self.network, self.graph = network, device.type == "cuda"
        self.outputs: dict[tuple[int | None, bool], Any] = {}

    def __call__(self, clips_BCTHW: Tensor, layer: int | None = None, tokens: bool = False) -> Tensor:
        # Freezing asks for no_grad in place of inference mode, whose tensors it does not know.
        with torch.inference_mode(False), torch.no_grad():
            clips_BCTHW = clips_BCTHW.clone() if clips_BCTHW.is_inference() else clips_BCTHW
            layer = self.network.prepare(clips_BCTHW, layer, tokens)
            if (layer, tokens) not in self.outputs:
                output = Output(self.network, layer, tokens)
                if self.graph:
                    fast = torch.compile(output, dynamic=False, options={"triton.cudagraphs": True})
                else:
                    fast = torch.compile(output, options={"freezing": True})
                self.outputs[layer, tokens] = fast
            if self.graph:
                torch.compiler.cudagraph_mark_step_begin()
            out: Tensor = self.outputs[layer, tokens](clips_BCTHW)
            return out.clone() if self.graph else out  # what a graph made is overwritten by its next run
