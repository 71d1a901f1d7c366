"""Files that `timesformer export` wrote, as what an engine runs.

What such a file says of itself is JSON under the name "timesformer": the description that folders of weights have
(`timesformer.weights.description`) and under "exported" the format, the precision, what it leaves open, and logits of a
synthetic clip: the float32 model's, and those that the file gave where it was made.

Dimensions: B batch, C 3 colours, T frames, H and W pixels, K classes, D channels.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from timesformer.config import ClipShape, ModelSettings, Preprocessing
from timesformer.device import find_device, native_bf16
from timesformer.engine.choose import Choice, check_names
from timesformer.engine.graphs import Function, onnx_function, onnx_session, openvino_core, openvino_function
from timesformer.errors import SettingError, TimesformerError, WeightsError, one_line
from timesformer.weights.classifier import Classifier, labels_of
from timesformer.weights.description import read_description
from timesformer.weights.ensemble import load_classifiers
from timesformer.weights.exports import Format, exported_format

KEY = "timesformer"  # of what a file says of itself
ENGINES: dict[Format, str] = {"onnx": "onnx", "openvino": "openvino", "torch": "eager"}
OUTPUTS = ("scores", "logits", "features")
AXES = ("batch", "frames", "size")  # what a file may leave open


@dataclass(frozen=True, eq=False, repr=False)
class ExportedFile:
    """A network in a file that another runtime reads, with what is needed to classify videos.

    Attributes: `settings`, `preprocessing` and `labels` of the classifier that was exported; `made_for`, the clips that
    the file takes where it does not leave them open; `left_open`, some of "batch", "frames" and "size"; `float32` and
    `own`, the logits (1, K) of a synthetic clip; `says`, all that the file says of itself; `start`, which makes its
    function for a device.
    """

    path: Path
    form: Format
    precision: str
    left_open: tuple[str, ...]
    made_for: ClipShape
    settings: ModelSettings
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    float32: Tensor
    own: Tensor
    says: str
    start: Callable[[torch.device], Function]

    def with_labels(self, file: str | Path) -> ExportedFile:
        """As `Classifier.with_labels`."""
        return dataclasses.replace(self, labels=labels_of(file, len(self.labels)))

    def choose(self, engine: str, precision: str, device: str) -> tuple[Choice, torch.device]:
        """What runs it. Raises SettingError where something else is asked for."""
        check_names(engine, precision)
        for name, asked, has in (("engine", engine, ENGINES[self.form]), ("precision", precision, self.precision)):
            if asked not in ("auto", has):
                raise SettingError(f"{name} {asked}: {self.path} was exported for {name} {has}: {has} or auto")
        found = torch.device("cpu") if self.form != "torch" and device == "auto" else find_device(device)
        if self.form != "torch" and found.type != "cpu":
            raise SettingError(
                f"device {device}: {self.path} runs on the CPU here: device cpu, or export --format torch"
            )
        return Choice(ENGINES[self.form], self.precision, f"exported as {self.path.name}"), found


Loaded: TypeAlias = Classifier | ExportedFile


class FileRun:
    """What an engine calls of an exported file."""

    def __init__(self, file: ExportedFile, device: torch.device) -> None:
        self.file, self.run = file, file.start(device)

    def __call__(self, clips_BCTHW: Tensor, layer: int | None = None, tokens: bool = False, /) -> Tensor:
        """Logits (B, K), or the features (B, D) of the last layer.

        Raises SettingError for what the file does not have.
        """
        file = self.file
        if layer is not None and (tokens or layer != -1):
            what = "tokens" if tokens else f"features of layer {layer}"
            raise SettingError(f"{what}: {file.path} has features of the last layer alone; name the weights themselves")
        return self._output("logits" if layer is None else "features", clips_BCTHW)

    def scores(self, clips_BCTHW: Tensor) -> Tensor:
        """Scores (B, K), the file's own."""
        return self._output("scores", clips_BCTHW)

    def _output(self, name: str, clips_BCTHW: Tensor) -> Tensor:
        file, shape = self.file, tuple(clips_BCTHW.shape[2:])
        frames, side = file.made_for
        for axis, has, made_for in (("frames", shape[:1], (frames,)), ("size", shape[1:], (side, side))):
            if has != made_for and axis not in file.left_open:
                raise SettingError(
                    f"clips of {shape[0]} x {shape[1]} x {shape[2]}: {file.path} takes {frames} x {side} x {side}; "
                    f"export --dynamic {axis} leaves {axis} open"
                )
        at_a_time = len(clips_BCTHW) if "batch" in file.left_open else 1
        results = [self.run(some.contiguous()) for some in clips_BCTHW.split(at_a_time)]
        return torch.cat([result[OUTPUTS.index(name)] for result in results])


def open_classifiers(
    weights: str | Path, *, labels: str | Path | None = None, heads: int | None = None
) -> tuple[Loaded, ...]:
    """What `timesformer.load_engine` takes as WEIGHTS: an exported file, a classifier or the members of an ensemble."""
    if exported_format(Path(weights)) is None:
        return load_classifiers(weights, labels=labels, heads=heads)
    file = open_file(Path(weights))
    return (file if labels is None else file.with_labels(labels),)


def open_file(path: Path) -> ExportedFile:
    """An exported file. Raises WeightsError for one that is damaged or that `timesformer export` did not write."""
    form = exported_format(path)
    assert form is not None
    try:
        says, start = {"onnx": _open_onnx, "openvino": _open_openvino, "torch": _open_program}[form](path)
    except TimesformerError:
        raise
    except Exception as error:  # each runtime has its own
        raise WeightsError(f"{path}: not a file that {form} can read: {one_line(error)[:160]}") from None
    if not says:
        raise WeightsError(
            f"{path}: `timesformer export` did not write it: it does not say how videos become its clips"
        )
    return _read(path, form, says, start)


def _read(path: Path, form: Format, says: str, start: Callable[[torch.device], Function]) -> ExportedFile:
    try:
        values = json.loads(says)
        contents = read_description(values, path, {})
        assert contents is not None
        exported: Mapping[str, Any] = values["exported"]
        reference = exported["reference"]
        file = ExportedFile(
            path=path,
            form=form,
            precision=str(exported["precision"]),
            left_open=tuple(axis for axis in AXES if axis in exported["dynamic"]),
            made_for=contents.settings.clip_shape,
            settings=contents.settings,
            preprocessing=contents.preprocessing,
            labels=contents.labels,
            float32=torch.tensor([reference["float32"]], dtype=torch.float32),
            own=torch.tensor([reference["exported"]], dtype=torch.float32),
            says=says,
            start=start,
        )
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: what it says of itself cannot be read: {one_line(error)[:160]}") from None
    if not file.float32.shape == file.own.shape == (1, len(file.labels)):
        raise WeightsError(f"{path}: what it says of itself cannot be read: the number of classes does not match")
    return file


def _open_onnx(path: Path) -> tuple[str | None, Callable[[torch.device], Function]]:
    session = onnx_session(str(path))
    return session.get_modelmeta().custom_metadata_map.get(KEY), lambda device: onnx_function(session)


def _open_openvino(path: Path) -> tuple[str | None, Callable[[torch.device], Function]]:
    model = openvino_core().read_model(path)
    says = str(model.get_rt_info([KEY]).astype(str)) if model.has_rt_info([KEY]) else None

    def start(device: torch.device) -> Function:
        # Where bf16 has no instructions of its own, OpenVINO computes with the same weights in float32.
        bf16 = json.loads(says or "{}")["exported"]["precision"] == "bf16" and native_bf16()
        return openvino_function(model, bf16=bf16)

    return says, start


def _open_program(path: Path) -> tuple[str | None, Callable[[torch.device], Function]]:
    from timesformer.engine.program import program_function, read_program

    program, says = read_program(path)
    return says, lambda device: program_function(program, device)
