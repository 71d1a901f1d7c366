"""The rewritten network in OpenVINO and ONNX Runtime, compiled when it is loaded; any batch, any clip shape.

Dimensions: B batch, C colours, T frames, H and W pixels, K classes.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from timesformer.errors import SettingError

Shape = tuple[int, ...]  # (C, T, H, W): a graph is made for each


class Exported:
    """A network in another runtime; its graph is made at the first clip of a shape.

    make: a function of a network and an example that returns the function of clips.
    """

    def __init__(self, network: nn.Module, make: Callable[[nn.Module, Tensor], Callable[[Tensor], Tensor]]) -> None:
        self.network, self.make = network, make
        self.graphs: dict[Shape, Callable[[Tensor], Tensor]] = {}

    def __call__(self, clips_BCTHW: Tensor) -> Tensor:
        shape = tuple(clips_BCTHW.shape[1:])
        if shape not in self.graphs:
            # Two clips: an example of one would fix the batch.
            example = torch.zeros(2, *shape, dtype=torch.uint8)
            with torch.inference_mode(False), torch.no_grad():
                self.graphs[shape] = self.make(self.network, example)
        return self.graphs[shape](clips_BCTHW.contiguous())


def openvino_graph(bf16: bool) -> Callable[[nn.Module, Tensor], Callable[[Tensor], Tensor]]:
    """What makes OpenVINO functions, in float32 or with bfloat16 products, on as many threads as torch has."""
    openvino = _import("openvino", "openvino")

    def make(network: nn.Module, example: Tensor) -> Callable[[Tensor], Tensor]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = openvino.convert_model(torch.export.export(network, (example,), dynamic_shapes=_free_batch()))
        compiled = openvino.Core().compile_model(
            model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
                "INFERENCE_NUM_THREADS": torch.get_num_threads(),
                "PERFORMANCE_HINT": "LATENCY",
            },
        )
        return lambda clips: torch.from_numpy(compiled(clips.numpy())[0].copy())

    return make


def onnx_graph() -> Callable[[nn.Module, Tensor], Callable[[Tensor], Tensor]]:
    """What makes ONNX Runtime functions, in float32, on as many threads as torch has."""
    onnxruntime = _import("onnxruntime", "onnx")
    _import("onnxscript", "onnx")

    def make(network: nn.Module, example: Tensor) -> Callable[[Tensor], Tensor]:
        level = logging.getLogger("torch.onnx").level
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                program = torch.onnx.export(
                    network, (example,), dynamo=True, dynamic_shapes=_free_batch(), verbose=False
                )
        finally:
            logging.getLogger("torch.onnx").setLevel(level)
        assert program is not None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        content = program.model_proto.SerializeToString()
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda clips: torch.from_numpy(session.run(None, {name: clips.numpy()})[0])

    return make


def _free_batch() -> Any:
    return ({0: torch.export.Dim("batch", min=1, max=1024)},)


def _import(package: str, engine: str) -> Any:
    import importlib

    try:
        return importlib.import_module(package)
    except ImportError:
        raise SettingError(
            f"engine {engine} needs the package {package}, which is not installed: pip install 'timesformer[export]'"
        ) from None
