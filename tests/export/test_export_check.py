"""How a file's scores are held against the float32 model's, on functions of known scores."""

from __future__ import annotations

from importlib import metadata
from typing import Any

import pytest
import torch
from torch import Tensor

import timesformer
from classifiers import classifier
from timesformer.config import TimeSformerSettings
from timesformer.engine import graphs
from timesformer.errors import EngineError, SettingError
from timesformer.export.check import FILE_LIMITS, VIDEOS, check_scores, of_few, other_shapes, some_of
from timesformer.export.formats import left_open
from timesformer.export.manifest import describe_file


def checked(found: list[list[float]], float32: list[list[float]], precision: str, *, few: bool = False) -> Any:
    """A comparison of scores, a batch a row."""
    rows = [torch.tensor([row]) for row in float32]
    answers = dict(zip(map(id, rows), (torch.tensor([row]) for row in found), strict=True))

    def scores(batch: Tensor) -> Tensor:
        return answers[id(batch)]

    return check_scores(rows, scores, lambda batch: batch, of_few(precision) if few else FILE_LIMITS[precision])


def test_fp32_needs_every_score_and_every_class() -> None:
    good = checked([[0.6, 0.4], [0.3, 0.7]], [[0.6, 0.4], [0.30005, 0.69995]], "fp32")
    assert good.problem is None
    assert (good.clips, good.judged, good.same) == (2, 2, 2)
    assert good.largest == pytest.approx(5e-5, rel=1e-2)
    assert good.top1 == 1
    assert "at most 0.0001 is allowed" in checked([[0.6, 0.4]], [[0.6002, 0.3998]], "fp32").problem
    flipped = checked([[0.50001, 0.49999]], [[0.49999, 0.50001]], "fp32")
    assert flipped.problem == (
        "scores within 2e-05 of the float32 model's on 1 clips, same best class in 0.0% of 1 clips; "
        "at least 100% is needed"
    )


def test_what_openvino_cannot_compile_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """As 2026.4 says it of axial networks in int8."""

    class Core:
        def compile_model(self, *given: object) -> None:
            raise RuntimeError("Exception from core.cpp:117:\nException from plugin.cpp:54:\n[MatMul] END:\nnode\n\n")

    monkeypatch.setattr(graphs, "openvino_core", Core)
    with pytest.raises(EngineError) as raised:
        graphs.openvino_function(None, bf16=False)
    assert str(raised.value) == (
        "OpenVINO cannot compile this network in this precision: [MatMul] END: node; ONNX has fp32, fp16 and int8, "
        "OpenVINO fp32, bf16 and fp16"
    )


def test_half_precisions_need_99_of_100() -> None:
    right, wrong = [0.6, 0.4], [0.4, 0.6]
    for precision in ("fp16", "bf16"):
        assert checked([right] * 99 + [wrong], [right] * 100, precision).problem is None
        assert "at least 99% is needed" in checked([right] * 98 + [wrong] * 2, [right] * 100, precision).problem


def test_int8_is_judged_where_float32_is_sure() -> None:
    sure, unsure = [0.6, 0.4], [0.52, 0.48]
    flipped = checked([sure] * 49 + [[0.4, 0.6]] * 51, [sure] * 50 + [unsure] * 50, "int8")
    assert (flipped.clips, flipped.judged, flipped.same) == (100, 50, 49)
    assert flipped.problem is None
    assert "at least 98% is needed" in checked([sure] * 48 + [[0.4, 0.6]] * 2, [sure] * 50, "int8").problem
    assert "none of 2 clips has a float32 margin above 0.05" in checked([sure] * 2, [unsure] * 2, "int8").problem


def test_nan_is_never_allowed() -> None:
    assert checked([[float("nan"), 0.4]], [[0.6, 0.4]], "bf16").problem is not None
    assert checked([[0.6, 0.4], [0.6, float("nan")]], [[0.6, 0.4]] * 2, "int8").problem is not None


def test_videos_are_spread_over_those_given() -> None:
    assert some_of(["a", "b"]) == ["a", "b"]
    many = [str(number) for number in range(1000)]
    assert len(some_of(many)) == VIDEOS
    assert some_of(many)[:3] == ["0", "5", "10"]
    with pytest.raises(SettingError, match="no videos"):
        some_of([])


def test_shapes_that_are_left_open_are_checked_too() -> None:
    settings = TimeSformerSettings(num_frames=4, image_size=32, tubelet=2, patch_size=16)
    shapes = [
        tuple(clip.shape) for clip in other_shapes(settings, left_open(settings, ("size", "frames", "batch"), "onnx"))
    ]
    assert shapes == [(2, 3, 4, 32, 32), (1, 3, 6, 32, 32), (1, 3, 4, 48, 48)]
    assert not list(other_shapes(settings, left_open(settings, (), "torch")))


def test_a_few_clips_of_other_shapes() -> None:
    """fp32 as on videos; in other precisions the best class of a clip counts where float32 is sure, if it ever is."""
    sure, unsure, flipped = [0.6, 0.4], [0.52, 0.48], [0.4, 0.6]
    assert of_few("fp32") == FILE_LIMITS["fp32"]
    for precision in ("bf16", "fp16", "int8"):
        assert checked([flipped], [unsure], precision, few=True).problem is None
        assert checked([flipped], [unsure], precision, few=True).as_dict()["top1_agreement"] is None
        assert "at least 100% is needed" in checked([sure, flipped], [sure, sure], precision, few=True).problem
        assert "at most 1 is" in checked([[float("nan"), 0.5]], [unsure], precision, few=True).problem


def test_what_a_scheme_cannot_leave_open() -> None:
    settings = TimeSformerSettings(scheme="sparse_local_global")
    assert left_open(settings, ("batch",), "onnx").axes == ("batch",)
    assert left_open(settings, (), "openvino").axes == ("batch",)
    with pytest.raises(SettingError, match=r"^dynamic frames,size: scheme sparse_local_global .*; it can batch$"):
        left_open(settings, ("batch", "frames", "size"), "onnx")
    with pytest.raises(SettingError, match=r"^dynamic colours: expected some of batch,frames,size$"):
        left_open(settings, ("colours",), "onnx")


def test_packages_that_are_installed_under_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(package: str) -> str:
        raise metadata.PackageNotFoundError(package)

    monkeypatch.setattr(metadata, "version", version)
    made, logits = classifier(), torch.zeros(1, 5)
    says = describe_file(made, "torch", "fp32", left_open(made.settings, (), "torch"), logits, logits)
    assert says["exported"]["versions"]["torch"] == torch.__version__
    assert says["exported"]["versions"]["timesformer"] == timesformer.__version__
