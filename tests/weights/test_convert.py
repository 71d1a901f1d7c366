"""Converting: checked before anything is read or written, and nothing is left behind where it fails."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from safetensors import SafetensorError

from timesformer import TimeSformer
from timesformer.config import Preprocessing
from timesformer.errors import SettingError, WeightsError
from timesformer.weights.classifier import Classifier, load_model
from timesformer.weights.convert import convert, save_as

TINY = {"image_size": 16, "patch_size": 8, "num_frames": 2, "width": 12, "depth": 1, "heads": 3, "num_classes": 2}
LAYOUTS = ("native", "official", "mmaction2", "huggingface")


def classifier(**settings: object) -> Classifier:
    return Classifier(TimeSformer(**TINY | settings), Preprocessing(), ("a", "b"))


def test_converted_weights_are_the_same(tmp_path: Path) -> None:
    classifier().save_pretrained(tmp_path / "model")
    (tmp_path / "names.txt").write_text("x\ny\n")
    for layout in LAYOUTS:
        given = convert(tmp_path / "model", tmp_path / "deep" / layout, layout, labels=tmp_path / "names.txt")
        found = load_model(tmp_path / "deep" / layout)
        assert found.labels == given.labels == ("x", "y")
        assert torch.equal(found.model.head.weight, given.model.head.weight)


def test_what_is_asked_for_is_checked_before_weights_are_read(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    with pytest.raises(SettingError, match="layout 'onnx': expected native, official, mmaction2, huggingface"):
        convert(tmp_path / "no_weights", tmp_path / "out", "onnx")
    with pytest.raises(WeightsError, match="there: exists already"):
        convert(tmp_path / "no_weights", tmp_path / "there", "native")


@pytest.mark.parametrize("layout", LAYOUTS[1:])
def test_a_model_the_layout_cannot_express_leaves_nothing_behind(tmp_path: Path, layout: str) -> None:
    with pytest.raises(WeightsError, match=f"the {layout} layout has no scheme axial"):
        save_as(classifier(scheme="axial"), tmp_path / "deep" / "deeper" / "out", layout)
    assert list(tmp_path.iterdir()) == []


FULL = {
    "native": OSError(28, "No space left on device"),
    "huggingface": SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    "official": RuntimeError("enforce fail"),  # what torch.save makes of it
    "mmaction2": OSError(28, "No space left on device"),
}


@pytest.mark.parametrize(("layout", "error"), FULL.items())
def test_a_full_disk_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str, error: Exception
) -> None:
    def full(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("timesformer.weights.storage.save_file", full)
    monkeypatch.setattr("timesformer.weights.storage.torch.save", full)
    with pytest.raises(WeightsError, match=r"out: cannot be written: .*(No space|enforce fail)"):
        save_as(classifier(), tmp_path / "deep" / "deeper" / "out", layout)
    assert list(tmp_path.iterdir()) == []


def test_the_official_configuration_says_what_the_model_is(tmp_path: Path) -> None:
    for settings, name in (
        ({"size": "base", "patch_size": 16}, "vit_base_patch16_224"),
        ({"size": "small", "patch_size": 14, "image_size": 28}, "vit_small_patch14_224"),
        ({"width": 24, "depth": 1, "heads": 2}, "vit_width24_depth1_heads2_patch8_224"),
    ):
        model = TimeSformer(**{"image_size": 16, "patch_size": 8, "num_frames": 1, "num_classes": 2, **settings})
        save_as(Classifier(model, Preprocessing(), ("a", "b")), tmp_path / name, "official")
        content = torch.load(tmp_path / name, weights_only=True)
        assert yaml.safe_load(content["cfg"])["MODEL"]["MODEL_NAME"] == name
