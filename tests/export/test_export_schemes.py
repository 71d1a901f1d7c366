"""Files of all five schemes in all formats, against the model itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor

from classifiers import classifier, expected, some_clips
from timesformer.config import SCHEMES
from timesformer.engine.build import portable_network
from timesformer.engine.file import FileRun, open_file
from timesformer.export.formats import left_open, program_of, write_file
from timesformer.export.manifest import describe_file
from timesformer.files import as_json
from timesformer.video.transforms import normalise
from timesformer.weights.classifier import Classifier
from timesformer.weights.exports import SUFFIXES

CPU = torch.device("cpu")


def net(scheme: str, **settings: Any) -> Classifier:
    place = {"position": "space"} if scheme == "space_only" else {}
    return classifier(scheme=scheme, **{"depth": 1, **place, **settings})


def write(
    made: Classifier, folder: Path, forms: tuple[Any, ...], precision: str = "fp32", axes: tuple[str, ...] = ("batch",)
) -> dict[str, FileRun]:
    """Files of a network, which is followed once, opened again; without the check that `export_model` makes."""
    opened = left_open(made.settings, axes, forms[0])
    with torch.no_grad():
        calibrating = some_clips(4, 3, 4, 32, 32)
        network = portable_network(made, precision, calibrating, any_shape="size" in axes or "frames" in axes)
        program = program_of(network, made.settings, opened)
        some = torch.zeros(1, len(made.labels))
    found = {}
    for form in forms:
        file = folder / f"{precision}{SUFFIXES[form]}"  # type: ignore[index]
        says = as_json(describe_file(made, form, precision, opened, some, some))
        write_file(program, form, precision, says, file)
        found[form] = FileRun(open_file(file), CPU)
    return found


def features_of(made: Classifier, clips: Tensor) -> Tensor:
    with torch.inference_mode():
        return made.model.forward_features(normalise(clips, made.preprocessing))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_format_gives_what_the_model_gives(scheme: str, tmp_path: Path) -> None:
    made, clips = net(scheme), some_clips(3, 3, 4, 32, 32)
    logits = expected(made, clips)
    # OpenVINO takes most of the time; benchmarks/export_agreement.py has all five in it.
    forms = ("onnx", "openvino", "torch") if scheme in ("divided_space_time", "axial") else ("onnx", "torch")
    for form, run in write(made, tmp_path, forms).items():
        torch.testing.assert_close(run(clips), logits, rtol=1e-5, atol=2e-5, msg=form)
        torch.testing.assert_close(run.scores(clips), logits.softmax(1), rtol=0, atol=1e-5, msg=form)
        torch.testing.assert_close(run(clips, -1), features_of(made, clips), rtol=1e-4, atol=2e-5, msg=form)
        torch.testing.assert_close(run(clips[1:2]), logits[1:2], rtol=1e-5, atol=2e-5, msg=form)


@pytest.mark.parametrize(
    ("scheme", "forms"),
    [
        ("space_only", ("torch",)),
        ("joint_space_time", ("torch",)),
        ("divided_space_time", ("torch", "onnx")),
        ("axial", ("torch",)),
    ],
)
def test_frames_and_size_can_be_left_open(scheme: str, forms: tuple[str, ...], tmp_path: Path) -> None:
    """Position tables are then resized in the file, as the model resizes them."""
    made = net(scheme, image_size=48)
    for form, run in write(made, tmp_path, forms, axes=("batch", "frames", "size")).items():
        for shape in ((1, 3, 4, 48, 48), (2, 3, 4, 48, 48), (1, 3, 7, 48, 48), (1, 3, 4, 32, 64), (2, 3, 1, 64, 64)):
            clips = some_clips(*shape)
            torch.testing.assert_close(run(clips), expected(made, clips), rtol=1e-5, atol=2e-5, msg=f"{form}, {shape}")


def test_lower_precisions(tmp_path: Path) -> None:
    clips = some_clips(4, 3, 4, 32, 32)
    for scheme, precision, forms, at_most in (
        ("joint_space_time", "fp16", ("onnx",), 0.01),
        ("joint_space_time", "bf16", ("openvino", "torch"), 0.05),
        ("divided_space_time", "int8", ("onnx", "openvino"), 0.2),
    ):
        made = net(scheme)
        logits = expected(made, clips)
        spread = (logits - logits.mean(1, keepdim=True)).square().mean().sqrt()
        for form, run in write(made, tmp_path, forms, precision).items():
            error = (run(clips) - logits).square().mean().sqrt() / spread
            assert 1e-6 < error <= at_most, (precision, form, error)
    weights = onnx.load(tmp_path / "int8.onnx").graph.initializer
    whole = {tuple(weight.dims) for weight in weights if weight.data_type == onnx.TensorProto.INT8}
    assert {(32, 96), (32, 32)} <= whole  # of the time step, the only one before the class token's own way


def test_other_heads(tmp_path: Path) -> None:
    """Several classes a video: sigmoid; a head that sees all tokens."""
    made = net("joint_space_time", multilabel=True, pooling="attentive")
    clips = some_clips(2, 3, 4, 32, 32)
    run = write(made, tmp_path, ("torch",))["torch"]
    torch.testing.assert_close(run.scores(clips), expected(made, clips).sigmoid(), rtol=0, atol=1e-5)
