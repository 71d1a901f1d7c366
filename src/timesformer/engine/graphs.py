"""A network as a graph of another runtime, and such a graph as a function: what an engine makes when it is loaded, and
what `timesformer export` writes.

Dimensions: B batch, C colours, T frames, H and W pixels.
"""

from __future__ import annotations

import functools
import importlib
import logging
import re
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from timesformer.errors import EngineError, SettingError

Function = Callable[[Tensor], list[Tensor]]  # uint8 clips to all outputs of a graph
PACKAGES: dict[str, tuple[str, ...]] = {  # that a runtime needs beside torch
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("openvino",),
    "torch": (),
}
NODE_NOTES = ("stack_trace", "nn_module_stack", "source_fn_stack", "from_node", "torch_fn")
BATCH, FRAMES, CELLS = 1024, 4096, 1024  # the most that a graph takes: clips, frames and patches along a side


class Open(NamedTuple):
    """What a graph leaves open, of "batch", "frames" and "size"; frames and sides are multiples of the units."""

    axes: Collection[str] = ("batch",)
    frame_unit: int = 1
    clip_unit: int = 1

    def dims(self) -> dict[int, Any]:
        """The open axes of clips (B, C, T, H, W), as `torch.export` has them."""
        found: dict[int, Any] = {}
        if "batch" in self.axes:
            found[0] = Dim("batch", min=1, max=BATCH)
        if "frames" in self.axes:
            found[2] = _multiple("frames", self.frame_unit, FRAMES)
        if "size" in self.axes:
            found[3], found[4] = (_multiple(name, self.clip_unit, CELLS) for name in ("rows", "columns"))
        return found

    def example(self, frames: int, side: int) -> Tensor:
        """Clips to make the graph with; an axis of one of anything would be taken for one that is fixed."""
        if "frames" in self.axes:
            frames = max(frames, 2 * self.frame_unit)
        if "size" in self.axes:
            side = max(side, 2 * self.clip_unit)
        return torch.zeros(2 if "batch" in self.axes else 1, 3, frames, side, side, dtype=torch.uint8)


def _multiple(name: str, unit: int, most: int) -> Any:
    dim = Dim(name, min=1, max=most)
    return dim if unit == 1 else unit * dim


def trace(network: nn.Module, example: Tensor, left_open: Open) -> ExportedProgram:
    """A module of clips as a program of torch's operations, without what it says of the machine and the code that it is
    made by. Raises EngineError for a module that cannot be followed."""
    with cannot_be_followed(), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.export.export(network.eval(), (example,), dynamic_shapes=(left_open.dims() or None,))
    for node in program.graph.nodes:
        for note in NODE_NOTES:
            node.meta.pop(note, None)
    program.example_inputs = None
    return program


@contextmanager
def cannot_be_followed() -> Iterator[None]:
    """Whatever an exporter raises of a network in the block, as an EngineError of one line."""
    try:
        yield
    except (EngineError, SettingError):
        raise
    except Exception as error:
        raise EngineError(f"the network cannot be exported: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """The first line of what an error began with, without colours."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = re.sub(r"\x1b\[\d*m", "", str(error)).strip().splitlines() or [type(error).__name__]
    return lines[0]


def onnx_model(program: ExportedProgram, outputs: list[str] | None = None) -> Any:
    """A program as ONNX's ModelProto, its input named "clips", without what it says of the machine it is made on."""
    need("onnxscript", "onnx")
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with cannot_be_followed(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = torch.onnx.export(program, input_names=["clips"], output_names=outputs, dynamo=True, verbose=False)
    finally:
        logger.setLevel(level)
    assert made is not None
    model = made.model_proto
    for part in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.functions):
        part.ClearField("metadata_props")
    for function in model.functions:
        for node in function.node:
            node.ClearField("metadata_props")
    return model


def onnx_session(model: bytes | str) -> Any:
    """ONNX Runtime for a model, or for the file of one, on as many threads as torch has."""
    onnxruntime = need("onnxruntime", "onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def onnx_function(session: Any) -> Function:
    """The function of ONNX Runtime for a model."""
    name = session.get_inputs()[0].name
    return lambda clips: [torch.from_numpy(output) for output in session.run(None, {name: clips.numpy()})]


def openvino_model(program: ExportedProgram) -> Any:
    """A program as a model of OpenVINO."""
    openvino = need("openvino", "openvino")
    with cannot_be_followed(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return openvino.convert_model(program)


def openvino_function(model: Any, *, bf16: bool) -> Function:
    """The function of a model of OpenVINO, with products in float32 or bfloat16, on as many threads as torch has.

    Raises EngineError for a model that OpenVINO cannot compile, as 2026.4 cannot the eight-bit products of some.
    """
    hints = {
        "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    try:
        compiled = openvino_core().compile_model(model, "CPU", hints)
    except RuntimeError as error:
        lines = [line for line in str(error).splitlines() if line and not line.startswith("Exception from")]
        raise EngineError(
            f"OpenVINO cannot compile this network in this precision: {' '.join(lines)[:160]}; ONNX has fp32, fp16 and "
            "int8, OpenVINO fp32, bf16 and fp16"
        ) from None
    outputs = range(len(compiled.outputs))

    def run(clips: Tensor) -> list[Tensor]:
        results = compiled(clips.numpy())
        return [torch.from_numpy(results[number].copy()) for number in outputs]

    return run


@functools.cache
def openvino_core() -> Any:
    """OpenVINO's runtime, one for the process and never let go: each has a stack of its own for signal handlers, and
    where several go in another order than that of stacks, the process is left with one that is freed. The next signal,
    such as that a worker has ended, is then a segmentation fault."""
    return need("openvino", "openvino").Core()


def need(package: str, engine: str) -> Any:
    """A package that an engine, or an exported file, cannot do without. Raises SettingError where it is missing."""
    try:
        return importlib.import_module(package)
    except ImportError:
        raise SettingError(
            f"engine {engine}: the package {package} is not installed; pip install {' '.join(PACKAGES[engine])}"
        ) from None
