"""A network in OpenVINO and ONNX Runtime, compiled when it is loaded; any batch, any clip shape.

Dimensions: B batch, C colours, T frames, H and W pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.export import ExportedProgram

from timesformer.engine.graphs import (
    Function,
    Open,
    need,
    onnx_function,
    onnx_model,
    onnx_session,
    openvino_function,
    openvino_model,
    trace,
)
from timesformer.engine.network import Network, Output
from timesformer.errors import EngineError

Key = tuple[tuple[int, ...], int | None, bool]  # (C, T, H, W), layer, tokens: a graph is made for each


class Exported:
    """A network in another runtime; a graph is made at the first clip of a shape, for each output that is asked for.

    make: the function of a program.
    """

    def __init__(self, network: Network, make: Callable[[ExportedProgram], Function]) -> None:
        self.network, self.make = network, make
        self.graphs: dict[Key, Function] = {}

    def __call__(self, clips_BCTHW: Tensor, layer: int | None = None, tokens: bool = False) -> Tensor:
        with torch.inference_mode(False), torch.no_grad():
            # Two clips: an example of one would fix the batch.
            example = torch.zeros(2, *clips_BCTHW.shape[1:], dtype=torch.uint8)
            layer = self.network.prepare(example, layer, tokens)
            key = (tuple(example.shape[1:]), layer, tokens)
            if key not in self.graphs:
                try:
                    self.graphs[key] = self.make(trace(Output(self.network, layer, tokens), example, Open()))
                except EngineError as error:
                    raise EngineError(f"{error}; engine eager runs it") from error.__cause__
        return self.graphs[key](clips_BCTHW.contiguous())[0]


def openvino_graph(bf16: bool) -> Callable[[ExportedProgram], Function]:
    """What makes OpenVINO functions, in float32 or with bfloat16 products."""
    need("openvino", "openvino")
    return lambda program: openvino_function(openvino_model(program), bf16=bf16)


def onnx_graph() -> Callable[[ExportedProgram], Function]:
    """What makes ONNX Runtime functions, in float32."""
    need("onnxruntime", "onnx")
    need("onnxscript", "onnx")
    return lambda program: onnx_function(onnx_session(onnx_model(program).SerializeToString()))
