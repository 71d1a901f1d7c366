"""The formats of exported files: what each can do, and how it is written."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from timesformer.config import ModelSettings, TimeSformerSettings
from timesformer.engine.file import AXES, KEY, OUTPUTS
from timesformer.engine.graphs import PACKAGES, Open, need, onnx_model, openvino_core, openvino_model, trace
from timesformer.engine.network import AllOutputs, Network
from timesformer.engine.program import METADATA
from timesformer.errors import SettingError, WeightsError
from timesformer.weights.exports import SUFFIXES, Format

PRECISIONS: dict[Format, tuple[str, ...]] = {
    "onnx": ("fp32", "fp16", "int8"),
    "openvino": ("fp32", "bf16", "fp16", "int8"),
    "torch": ("fp32", "bf16", "fp16"),
}
ONE_SIZE = {"local", "global"}  # steps whose windows and strides are made for one number of frames and patches
ONNX_BYTES = 2**31 - 2**20  # of a protobuf message


def check_format(form: str, precision: str, out: Path) -> Format:
    """The format by name. Raises SettingError, before anything is read, for what it cannot do here."""
    if form not in PRECISIONS:
        raise SettingError(f"format {form!r}: expected {', '.join(PRECISIONS)}")
    found: Format = form
    if precision not in PRECISIONS[found]:
        others = [f"format {other} has it too" for other, has in PRECISIONS.items() if precision in has]
        known = f"; {others[0].removesuffix(' too')}" if others else ""
        raise SettingError(f"precision {precision}: format {found} has {', '.join(PRECISIONS[found])}{known}")
    packages = list(PACKAGES[found])
    if found == "openvino" and precision == "int8":
        packages += ["onnx", "onnxscript"]  # OpenVINO knows eight-bit products as ONNX has them
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise SettingError(
            f"format {found}: {', '.join(missing)} not installed; pip install '.[export]' in the checkout, or "
            "format torch, which needs no other package"
        )
    if out.suffix != SUFFIXES[found]:
        raise SettingError(f"--out {out}: expected a name that ends in {SUFFIXES[found]} for format {found}")
    return found


def left_open(settings: ModelSettings, dynamic: Collection[str], form: Format) -> Open:
    """What a file leaves open, one of OpenVINO the batch whatever is asked. Raises SettingError for what is none of the
    axes, or what the network cannot do."""
    unknown = [axis for axis in dynamic if axis not in AXES]
    if unknown:
        raise SettingError(f"dynamic {','.join(unknown)}: expected some of {','.join(AXES)}")
    name, any_shape = f"architecture {settings.architecture}", False
    if isinstance(settings, TimeSformerSettings):
        name, any_shape = f"scheme {settings.scheme_name}", ONE_SIZE.isdisjoint(settings.steps)
    can = AXES if any_shape else AXES[:1]
    cannot = [axis for axis in dynamic if axis not in can]
    if cannot:
        raise SettingError(f"dynamic {','.join(cannot)}: {name} is exported for one clip size; it can {','.join(can)}")
    if form == "openvino":  # 2026.4 crashes while it compiles some of the graphs of one clip
        dynamic = {"batch", *dynamic}
    return Open(tuple(axis for axis in AXES if axis in dynamic), settings.frame_unit, settings.clip_unit)


def program_of(network: Network, settings: ModelSettings, opened: Open) -> ExportedProgram:
    """The program of all that a file says of clips."""
    example = opened.example(settings.num_frames, settings.image_size)
    with torch.no_grad():
        network.prepare(example)
    return trace(AllOutputs(network, settings.multilabel), example, opened)


def write_file(program: ExportedProgram, form: Format, precision: str, says: str, file: Path) -> None:
    """Write a program, with what the file is to say of itself; of OpenVINO's format a second file beside it."""
    if form == "torch":
        torch.export.save(program, file, extra_files={METADATA: says})
        return
    if form == "onnx":
        file.write_bytes(_onnx(program, says).SerializeToString())
        return
    model: Any
    if precision == "int8":
        model = openvino_core().read_model(io.BytesIO(_onnx(program, says).SerializeToString()))
    else:
        model = openvino_model(program)
    for port, name in zip((*model.inputs, *model.outputs), ("clips", *OUTPUTS), strict=True):
        port.get_tensor().set_names({name})
    model.set_rt_info(says, [KEY])
    need("openvino", "openvino").save_model(model, file, compress_to_fp16=False)


def _onnx(program: ExportedProgram, says: str) -> Any:
    size = sum(tensor.nbytes for tensor in (*program.state_dict.values(), *program.constants.values()))
    if size > ONNX_BYTES:
        raise WeightsError(
            f"format onnx holds at most 2 GiB in a file, and these weights are {size / 2**30:.1f} GiB; "
            "precision fp16 halves them, and formats openvino and torch hold them"
        )
    model = onnx_model(program, list(OUTPUTS))
    entry = model.metadata_props.add()
    entry.key, entry.value = KEY, says
    return model


def written_files(file: Path, form: Format) -> list[Path]:
    """The files that `write_file` writes, that of the name last."""
    return [file.with_suffix(".bin"), file] if form == "openvino" else [file]
