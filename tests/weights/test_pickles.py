"""Pickles: bookkeeping beside the tensors does no harm and is not needed; no code in them is ever run."""

from __future__ import annotations

import argparse
import collections
import datetime
import functools
import os
import pathlib
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from timesformer import TimeSformer
from timesformer.config import Preprocessing, TimeSformerSettings
from timesformer.errors import WeightsError
from timesformer.weights.classifier import Classifier, load_model
from timesformer.weights.convert import save_as
from timesformer.weights.initialise import initialise_classifier
from timesformer.weights.pickles import read_pickle

CASE = Path(__file__).parents[1] / "data" / "cases" / "mmaction2_numpy_score.pth"
FORMATS = pytest.mark.parametrize("zipped", [True, False])


class HistoryBuffer:
    """As mmengine's: arrays, and methods by name, which protocol 2 writes as getattr(HistoryBuffer, name)."""

    def __init__(self) -> None:
        self.log = np.array([0.5, 0.25])
        self.statistics = {"mean": HistoryBuffer.mean}

    def mean(self) -> float:
        return float(self.log.mean())


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module that is there when the file is written, and gone when it is read."""
    module = types.ModuleType("strange_trainer")
    kind = type("HistoryBuffer", (HistoryBuffer,), {"__module__": "strange_trainer", "__qualname__": "HistoryBuffer"})
    module.HistoryBuffer = kind  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "strange_trainer", module)
    return kind


def bookkeeping() -> dict[str, Any]:
    return {
        "score": np.float64(0.7),
        "rounds": np.int64(3),
        "matrix": np.ones((2, 3), dtype=np.float32),
        "objects": np.array(["a", None], dtype=object),
        "args": argparse.Namespace(lr=0.1, output=pathlib.PurePosixPath("/tmp/x")),
        "when": datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
        "counts": collections.defaultdict(int, a=1),
        "last": collections.deque([1, 2], maxlen=3),
        "partial": functools.partial(HistoryBuffer),
        "set": {1, 2},
    }


def test_a_numpy_score_among_an_mmaction2_checkpoints_notes() -> None:
    found = load_model(CASE)
    assert found.labels == ("a", "b", "c")
    expected = torch.load(CASE, weights_only=False)["state_dict"]  # our own file
    assert torch.equal(found.model.head.weight, expected["cls_head.fc_cls.weight"])


@FORMATS
def test_bookkeeping_of_any_kind(tmp_path: Path, trainer: Any, monkeypatch: pytest.MonkeyPatch, zipped: bool) -> None:
    content = torch.load(CASE, weights_only=False)
    content["meta"]["hook_msgs"] = bookkeeping()
    content["message_hub"] = {"log_scalars": {"loss": trainer()}}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    monkeypatch.delitem(sys.modules, "strange_trainer")
    found = load_model(tmp_path / "a.pth")
    assert found.labels == ("a", "b", "c")
    assert torch.equal(found.model.head.weight, load_model(CASE).model.head.weight)
    assert "strange_trainer" not in sys.modules
    held = read_pickle(tmp_path / "a.pth")
    assert vars(held["message_hub"]["log_scalars"]["loss"]) == {}
    assert held["meta"]["hook_msgs"]["counts"] == {"a": 1}
    assert held["meta"]["hook_msgs"]["last"] == [1, 2]


@FORMATS
def test_the_arguments_of_an_image_models_training(tmp_path: Path, zipped: bool) -> None:
    """DeiT's and MAE's files hold an argparse.Namespace."""
    import test_vit

    tensors = test_vit.timm_names(False)
    content = {"model": tensors, "args": argparse.Namespace(lr=0.1), "epoch": 3}
    torch.save(content, tmp_path / "mae.pth", _use_new_zipfile_serialization=zipped)
    settings = TimeSformerSettings(scheme="space_only", num_frames=1, image_size=32, patch_size=8)
    found = initialise_classifier(settings, Preprocessing(), ("a", "b"), tmp_path / "mae.pth").classifier.model
    assert torch.equal(found.state_dict()["embedding.space_table"], tensors["pos_embed"])


class Runs:
    """Something whose unpickling would call a function."""

    def __init__(self, function: Any, *values: Any) -> None:
        self.call = function, values

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def ran(file: str) -> None:
    Path(file).touch()


@FORMATS
@pytest.mark.parametrize("function", [os.system, eval, exec, print, __import__, open, os.popen])
@pytest.mark.parametrize("inside", [False, True])
def test_code_is_refused_by_name(tmp_path: Path, zipped: bool, function: Any, inside: bool) -> None:
    content = torch.load(CASE, weights_only=False)
    value = Runs(function, f"touch {tmp_path / 'ran'}")
    if inside:
        content["state_dict"]["backbone.cls_token"] = value
    else:
        content["meta"]["notes"] = [{"deep": value}]
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=r"a\.pth: refused: it holds more than tensors and plain values \(\S+\), wh"):
        load_model(tmp_path / "a.pth")
    assert [path.name for path in tmp_path.iterdir()] == ["a.pth"]


@FORMATS
def test_code_of_other_modules_is_not_run(tmp_path: Path, zipped: bool) -> None:
    """A stand-in is called in its place."""
    content = torch.load(CASE, weights_only=False)
    content["meta"]["notes"] = Runs(ran, str(tmp_path / "ran"))
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    assert load_model(tmp_path / "a.pth").labels == ("a", "b", "c")
    assert not (tmp_path / "ran").exists()


def test_a_stand_in_gives_nothing_that_can_be_called(tmp_path: Path) -> None:
    """getattr(strange.module, 'run')('touch ran'), written by hand."""
    program = b"\x80\x02cbuiltins\ngetattr\ncstrange.module\nThing\nX\x03\x00\x00\x00run\x86RX\x01\x00\x00\x00a\x85R."
    torch.save({"a": torch.zeros(1)}, tmp_path / "whole.pth")
    with zipfile.ZipFile(tmp_path / "whole.pth") as whole, zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        for name in whole.namelist():
            archive.writestr(name, program if name.endswith("data.pkl") else whole.read(name))
    with pytest.raises(WeightsError, match="refused: it holds more than tensors and plain values"):
        load_model(tmp_path / "a.pth")


@FORMATS
def test_stand_ins_among_the_tensors_are_refused(tmp_path: Path, zipped: bool) -> None:
    content = torch.load(CASE, weights_only=False)
    content["state_dict"]["backbone.cls_token"] = np.zeros((1, 1, 16))
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=r"expected tensors by name, got 'backbone.cls_token': _reconstruct"):
        load_model(tmp_path / "a.pth")
    torch.save(nn.Linear(2, 2), tmp_path / "b.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=r"b\.pth: (a checkpoint of another model \(Linear\)|refused)"):
        load_model(tmp_path / "b.pth")


def test_what_we_write_needs_no_stand_ins(tmp_path: Path) -> None:
    shape = {"image_size": 16, "patch_size": 8, "num_frames": 2, "width": 64, "depth": 1, "heads": 1, "num_classes": 2}
    for layout in ("official", "mmaction2"):
        save_as(Classifier(TimeSformer(**shape)), tmp_path / layout, layout)
        assert torch.load(tmp_path / layout, weights_only=True)
