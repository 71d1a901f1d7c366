"""Which engine and precision a classifier gets, and why; what is refused, in one line."""

from __future__ import annotations

import importlib.util
import platform
import shutil
from typing import Literal, NamedTuple, get_args

import torch

from timesformer.device import fast_bf16, native_bf16
from timesformer.engine.linear import has_onednn
from timesformer.errors import SettingError

EngineName = Literal["auto", "eager", "compile", "openvino", "onnx"]
Precision = Literal["auto", "fp32", "bf16", "fp16", "int8"]

SUPPORTED = {
    "eager": ("fp32", "bf16", "int8"),
    "compile": ("fp32", "bf16"),
    "openvino": ("fp32", "bf16"),
    "onnx": ("fp32",),
}


class Choice(NamedTuple):
    """An engine, its precision, and in a few words why."""

    engine: str
    precision: str
    reason: str


def choose(engine: str, precision: str, device: torch.device) -> Choice:
    """What "auto" stands for on this machine; raises SettingError where engine, precision and machine do not fit."""
    check_names(engine, precision)
    engine = "eager" if engine == "auto" else engine
    _check(engine, precision, device)
    chosen, reason = _precision(engine, precision, device)
    if engine == "eager" and device.type == "cpu" and not has_onednn():
        reason += "; torch's own products, since this torch has no oneDNN"
    return Choice(engine, chosen, reason)


def check_names(engine: str, precision: str) -> None:
    """Raises SettingError for an engine or a precision that is none."""
    for name, value, known in (("engine", engine, EngineName), ("precision", precision, Precision)):
        if value not in get_args(known):
            raise SettingError(f"{name} is {value!r}: one of {', '.join(get_args(known))}")


def _check(engine: str, precision: str, device: torch.device) -> None:
    if engine in ("openvino", "onnx") and device.type != "cpu":
        raise SettingError(
            f"engine {engine} runs on the CPU here, not on {device.type}: engine eager or compile, or device cpu"
        )
    if engine == "compile" and device.type == "cpu" and not any(map(shutil.which, ("g++", "clang++", "c++"))):
        raise SettingError("engine compile needs a C++ compiler, and none was found (g++, clang++): engine eager")
    if engine == "compile" and device.type == "cuda" and importlib.util.find_spec("triton") is None:
        raise SettingError("engine compile on a GPU needs triton, and it is not installed: engine eager")
    if precision not in ("auto", *SUPPORTED[engine]):
        engines = [name for name, supported in SUPPORTED.items() if precision in supported]
        of = f"engine {', '.join(engines)}" if engines else "files of `timesformer export`"
        raise SettingError(
            f"precision {precision} is not for engine {engine}, which has {', '.join(SUPPORTED[engine])}"
            f"; {precision} is of {of}"
        )
    if precision == "int8" and (device.type != "cpu" or not has_onednn()):
        raise SettingError(
            "precision int8 needs oneDNN's eight-bit products, which this torch lacks on "
            f"{device.type}: precision bf16 or fp32"
        )


def _precision(engine: str, precision: str, device: torch.device) -> tuple[str, str]:
    what = "this GPU" if device.type == "cuda" else f"this {platform.machine()} processor"
    if precision == "bf16" and not native_bf16(device):
        raise SettingError(f"precision bf16: {what} has no bf16 products of its own: precision fp32")
    if precision != "auto":
        return precision, "as asked"
    if not native_bf16(device):
        return "fp32", f"{what} has no bf16 of its own"
    if not fast_bf16(device):
        return "fp32", f"bf16 is slower on {what}, which has no AMX"
    return ("bf16", f"native on {what}") if "bf16" in SUPPORTED[engine] else ("fp32", f"engine {engine} has no bf16")
