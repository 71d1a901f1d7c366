"""A network in OpenVINO and ONNX Runtime, compiled when it is loaded; any batch, any clip shape.

Dimensions: B batch, C colours, T frames, H and W pixels, K classes.
"""

from __future__ import annotations

import functools
import logging
import re
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from timesformer.engine.network import Network, Output
from timesformer.errors import EngineError, SettingError

Function = Callable[[Tensor], Tensor]
Key = tuple[tuple[int, ...], int | None, bool]  # (C, T, H, W), layer, tokens: a graph is made for each


class Exported:
    """A network in another runtime; a graph is made at the first clip of a shape, for each output that is asked for.

    make: a function of a module and an example that returns the function of clips.
    """

    def __init__(self, network: Network, make: Callable[[nn.Module, Tensor], Function]) -> None:
        self.network, self.make = network, make
        self.graphs: dict[Key, Function] = {}

    def __call__(self, clips_BCTHW: Tensor, layer: int | None = None, tokens: bool = False) -> Tensor:
        with torch.inference_mode(False), torch.no_grad():
            # Two clips: an example of one would fix the batch.
            example = torch.zeros(2, *clips_BCTHW.shape[1:], dtype=torch.uint8)
            layer = self.network.prepare(example, layer, tokens)
            key = (tuple(example.shape[1:]), layer, tokens)
            if key not in self.graphs:
                self.graphs[key] = self._make(example, layer, tokens)
        return self.graphs[key](clips_BCTHW.contiguous())

    def _make(self, example: Tensor, layer: int | None, tokens: bool) -> Function:
        try:
            return self.make(Output(self.network, layer, tokens).eval(), example)
        except Exception as error:  # whatever an exporter raises of a network that it cannot follow
            raise EngineError(f"the network cannot be exported: {_reason(error)}; engine eager runs it") from error


def _reason(error: BaseException) -> str:
    """The first line of what an error began with, without colours."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = re.sub(r"\x1b\[\d*m", "", str(error)).strip().splitlines() or [type(error).__name__]
    return lines[0]


def openvino_graph(bf16: bool) -> Callable[[nn.Module, Tensor], Function]:
    """What makes OpenVINO functions, in float32 or with bfloat16 products, on as many threads as torch has."""
    openvino = _import("openvino", "openvino")

    def make(network: nn.Module, example: Tensor) -> Function:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = openvino.convert_model(torch.export.export(network, (example,), dynamic_shapes=_free_batch()))
        compiled = _core().compile_model(
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


@functools.cache
def _core() -> Any:
    """OpenVINO's runtime, one for the process and never let go: each has a stack of its own for signal handlers, and
    where several go in another order than that of stacks, the process is left with one that is freed. The next signal,
    such as that a worker has ended, is then a segmentation fault."""
    return _import("openvino", "openvino").Core()


def onnx_graph() -> Callable[[nn.Module, Tensor], Function]:
    """What makes ONNX Runtime functions, in float32, on as many threads as torch has."""
    onnxruntime = _import("onnxruntime", "onnx")
    _import("onnxscript", "onnx")

    def make(network: nn.Module, example: Tensor) -> Function:
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

    packages = {"openvino": "openvino", "onnx": "onnx onnxscript onnxruntime"}[engine]
    try:
        return importlib.import_module(package)
    except ImportError:
        raise SettingError(f"engine {engine}: the package {package} is not installed; pip install {packages}") from None
