"""This package's own weights: whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from timesformer import TimeSformer
from timesformer.config import Preprocessing, Sampling
from timesformer.errors import WeightsError
from timesformer.weights import Classifier, open_weights
from timesformer.weights.native import save_native

TINY = {"image_size": 16, "patch_size": 8, "num_frames": 2, "width": 12, "depth": 2, "heads": 3, "num_classes": 2}


def classifier() -> Classifier:
    preprocessing = Preprocessing(mean=(0.1, 0.2, 0.3), channels="bgr", sampling=Sampling(method="segments"))
    return Classifier(TimeSformer(**TINY, scheme="axial"), preprocessing, ("über", "b"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_native(classifier(), tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("scheme", ["space_only", "joint_space_time", "divided_space_time", "sparse_local_global"])
def test_round_trip_is_bit_equal(tmp_path: Path, scheme: str) -> None:
    before = Classifier(TimeSformer(**TINY, scheme=scheme), Preprocessing(), ("a", "b"))
    save_native(before, tmp_path / "model")
    after = open_weights(tmp_path / "model")
    assert (after.model.settings, after.preprocessing, after.labels) == (
        before.model.settings, before.preprocessing, before.labels)  # fmt: skip
    tensors = after.model.state_dict()
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in before.model.state_dict().items())
    assert not after.model.training


def test_a_run_is_its_model_and_so_is_the_file_of_tensors(folder: Path) -> None:
    for weights in (folder.parent, folder, folder / "model.safetensors"):
        assert open_weights(weights).labels == ("über", "b")
    (folder / "config.json").unlink()
    with pytest.raises(WeightsError, match="tensors alone"):
        open_weights(folder / "model.safetensors")


def test_saving_replaces_weights_but_nothing_else(folder: Path) -> None:
    other = classifier()
    save_native(other, folder)
    assert torch.equal(open_weights(folder).model.head.weight, other.model.head.weight)
    assert sorted(path.name for path in folder.parent.iterdir()) == ["model"]
    (folder / "notes.txt").touch()
    with pytest.raises(WeightsError, match="holds other files"):
        save_native(other, folder)


def test_a_failed_save_leaves_the_old_weights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (folder / "model.safetensors").read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("timesformer.weights.native.save_file", full)
    with pytest.raises(OSError, match="no space"):
        save_native(classifier(), folder)
    assert (folder / "model.safetensors").read_bytes() == before
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_labels_must_fit_the_head() -> None:
    with pytest.raises(WeightsError, match="3 class names for a model of 2 classes"):
        Classifier(TimeSformer(**TINY), Preprocessing(), ("a", "b", "c"))


def test_tensors_must_fit_the_model(folder: Path) -> None:
    file = folder / "model.safetensors"
    whole = load_file(file)
    for change, message in (
        ({"head.bias": None}, r"1 missing \(head\.bias\)"),
        ({"colour": torch.zeros(1)}, r"1 unknown \(colour\)"),
        ({"head.bias": torch.zeros(3)}, r"1 misshapen \(head\.bias \(3,\) for \(2,\)\)"),
    ):
        save_file({name: tensor for name, tensor in (whole | change).items() if tensor is not None}, file)
        with pytest.raises(WeightsError, match=message):
            open_weights(folder)


def test_damaged_folders(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(WeightsError, match=r"model\.safetensors: not a safetensors file"):
        open_weights(folder)
    file.unlink()
    with pytest.raises(WeightsError, match=r"model\.safetensors: no such file"):
        open_weights(folder)
    config = json.loads((folder / "config.json").read_text())
    for change, message in (
        ({"version": 9}, "version 9; this package reads version 1"),
        ({"format": "other"}, "weights of another model"),
        ({"model": {"scheme": "diagonal"}}, r"config\.json: model: scheme is 'diagonal'"),
        ({"model": {**config["model"], "colour": 1}}, r"no setting named 'colour'"),
    ):
        (folder / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(WeightsError, match=message) as raised:
            open_weights(folder)
        assert "\n" not in str(raised.value)
    (folder / "config.json").write_text("{")
    with pytest.raises(WeightsError, match=r"config\.json: not a configuration that can be read"):
        open_weights(folder)
    with pytest.raises(WeightsError, match="nowhere: no such file or folder"):
        open_weights(folder / "nowhere")
