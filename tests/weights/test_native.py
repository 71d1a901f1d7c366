"""This package's own weights: whole or not at all."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from timesformer import TimeSformer
from timesformer.config import ARCHITECTURES, Preprocessing, Sampling
from timesformer.errors import WeightsError
from timesformer.weights.classifier import Classifier, load_model
from timesformer.weights.native import FILES

TINY = {"image_size": 16, "patch_size": 8, "num_frames": 2, "width": 12, "depth": 2, "heads": 3, "num_classes": 2}


def classifier() -> Classifier:
    preprocessing = Preprocessing(mean=(0.1, 0.2, 0.3), channels="bgr", sampling=Sampling(method="segments"))
    return Classifier(TimeSformer(**TINY, scheme="axial"), preprocessing, ("über", "b"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    classifier().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("scheme", ["space_only", "joint_space_time", "divided_space_time", "sparse_local_global"])
def test_round_trip_is_bit_equal(tmp_path: Path, scheme: str) -> None:
    before = Classifier(TimeSformer(**TINY, scheme=scheme), Preprocessing(), ("a", "b"))
    before.save_pretrained(tmp_path / "model")
    after = load_model(tmp_path / "model")
    assert (after.model.settings, after.preprocessing, after.labels) == (
        before.model.settings,
        before.preprocessing,
        before.labels,
    )
    tensors = after.model.state_dict()
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in before.model.state_dict().items())
    assert not after.model.training


def test_weights_of_a_file_are_read_when_needed_and_can_be_let_go(folder: Path) -> None:
    found = load_model(folder)
    before = {name: tensor.clone() for name, tensor in found.model.state_dict().items()}
    found.forget()
    assert all(torch.equal(tensor, before[name]) for name, tensor in found.model.state_dict().items())
    with torch.no_grad():
        found.model.head.weight.add_(1)
    assert not torch.equal(found.model.head.weight, before["head.weight"])
    assert torch.equal(load_model(folder).model.head.weight, before["head.weight"])  # the file is as it was
    found.forget()
    assert torch.equal(found.model.head.weight, before["head.weight"])
    assert found.model.head.weight.requires_grad
    made = classifier()
    made.forget()  # there is no file
    assert all(torch.isfinite(tensor).all() for tensor in made.model.state_dict().values())


def test_weights_in_half_precision_become_float32(folder: Path) -> None:
    file = folder / "model.safetensors"
    halves = {name: tensor.bfloat16() for name, tensor in load_file(file).items()}
    save_file(halves, file)
    tensors = load_model(folder).model.state_dict()
    for name, tensor in tensors.items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, halves[name].float())


def test_a_run_is_its_model_and_so_is_the_file_of_tensors(folder: Path) -> None:
    for weights in (folder.parent, folder, folder / "model.safetensors"):
        assert load_model(weights).labels == ("über", "b")
    (folder / "config.json").unlink()
    with pytest.raises(WeightsError, match="tensors alone"):
        load_model(folder / "model.safetensors")


def test_saving_replaces_weights_and_keeps_what_others_put_there(folder: Path) -> None:
    (folder / ".DS_Store").write_text("finder")
    (folder / "notes").mkdir()
    (folder / "notes" / "today.txt").write_text("good weights")
    other = classifier()
    other.save_pretrained(folder)
    assert torch.equal(load_model(folder).model.head.weight, other.model.head.weight)
    assert (folder / ".DS_Store").read_text() == "finder"
    assert (folder / "notes" / "today.txt").read_text() == "good weights"
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text("mine")
    (tmp_path / "mine" / "thesis.txt").touch()
    (tmp_path / "file").touch()
    with pytest.raises(WeightsError, match=r"mine: holds files that are not weights \(thesis\.txt\)"):
        classifier().save_pretrained(tmp_path / "mine")
    with pytest.raises(WeightsError, match="file: is a file"):
        classifier().save_pretrained(tmp_path / "file")
    assert (tmp_path / "mine" / "config.json").read_text() == "mine"


def test_a_link_to_a_folder_stays_a_link(folder: Path) -> None:
    (folder.parent / "link").symlink_to(folder)
    other = classifier()
    other.save_pretrained(folder.parent / "link")
    assert (folder.parent / "link").is_symlink()
    assert torch.equal(load_model(folder).model.head.weight, other.model.head.weight)


def test_old_weights_give_way_to_new_ones_as_a_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def now() -> tuple[bytes, ...] | None:
        return tuple((folder / name).read_bytes() for name in FILES) if folder.exists() else None

    def recorded(move: Callable[..., None]) -> Callable[..., None]:
        def moved(*places: Path) -> None:
            move(*places)
            seen.append(now())

        return moved

    seen = [before := now()]
    monkeypatch.setattr(os, "rename", recorded(os.rename))
    monkeypatch.setattr(os, "replace", recorded(os.replace))
    other = classifier()
    dataclasses.replace(other, labels=("new", "names")).save_pretrained(folder)
    after = now()
    assert before != after
    assert set(seen) == {before, None, after}


def test_where_the_new_cannot_be_put_the_old_comes_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (folder / "model.safetensors").read_bytes()
    (folder / "notes.txt").touch()
    rename = os.rename

    def failing(old: Path, new: Path) -> None:
        if Path(old).name == "new":
            raise OSError(errno.EIO, "Input/output error", str(old))
        rename(old, new)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(WeightsError, match="model: cannot be written: Input/output error"):
        classifier().save_pretrained(folder)
    assert (folder / "model.safetensors").read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == sorted([*FILES, "notes.txt"])
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_who_may_read_is_for_the_umask_to_say(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        classifier().save_pretrained(tmp_path / "model")
    finally:
        os.umask(old)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "model").iterdir()}
    assert modes == dict.fromkeys(FILES, 0o640)
    assert stat.S_IMODE((tmp_path / "model").stat().st_mode) == 0o750


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), SafetensorError("I/O error")])
def test_a_failed_save_leaves_the_old_weights(folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    before = (folder / "model.safetensors").read_bytes()

    def full(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("timesformer.weights.storage.save_file", full)
    with pytest.raises(WeightsError, match=r"model: cannot be written: (No space|I/O error)"):
        classifier().save_pretrained(folder)
    assert (folder / "model.safetensors").read_bytes() == before
    with pytest.raises(WeightsError, match="cannot be written"):
        classifier().save_pretrained(folder.parent / "a" / "b" / "model")
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
            load_model(folder)


def test_damaged_folders(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(WeightsError, match=r"model\.safetensors: not a safetensors file"):
        load_model(folder)
    file.unlink()
    with pytest.raises(WeightsError, match=r"model\.safetensors: no such file"):
        load_model(folder)
    config = json.loads((folder / "config.json").read_text())
    for change, message in (
        ({"version": 9}, "version 9; this package reads versions 1 and 2"),
        ({"format": "other"}, "weights of another model"),
        ({"labels": ["a"]}, r"config\.json: 1 class names for a model of 2 classes"),
        ({"model": {"scheme": "diagonal"}}, r"config\.json: model: scheme is 'diagonal'"),
        ({"model": {**config["model"], "colour": 1}}, r"no setting named 'colour'"),
    ):
        (folder / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(WeightsError, match=message) as raised:
            load_model(folder)
        assert "\n" not in str(raised.value)
    (folder / "config.json").write_text("{")
    with pytest.raises(WeightsError, match=r"config\.json: not a configuration that can be read"):
        load_model(folder)
    with pytest.raises(WeightsError, match="nowhere: no such file or folder"):
        load_model(folder / "nowhere")


def test_a_missing_file_is_not_looked_for_on_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def unwanted(*given: object) -> Path:
        raise AssertionError("asked the hub")

    monkeypatch.setattr("timesformer.weights.read.download", unwanted)
    for name in ("weights/dino.pth", "runs/model.safetensors"):
        with pytest.raises(WeightsError, match=rf"^{name}: no such file or folder$"):
            load_model(name)
    with pytest.raises(AssertionError, match="asked the hub"):
        load_model("facebook/dinov2-small")


def test_weights_of_version_0_1_0_load_with_the_same_logits(tmp_path: Path) -> None:
    """Written by the first version, whose config.json is of version 1; the logits are the first version's."""
    old = load_model(Path(__file__).parent / "version_0_1_0")
    assert (old.model.settings.architecture, old.labels) == ("timesformer", ("left", "right"))
    assert old.preprocessing == Preprocessing(sampling=Sampling(rate=2))
    assert old.facts["epoch"] == "4 of 4"
    clip = torch.linspace(-1, 1, 3 * 4 * 16 * 16).view(1, 3, 4, 16, 16)
    expected = torch.tensor([[-0.7333754897117615, 0.5181535482406616]])
    with torch.inference_mode():
        torch.testing.assert_close(old.model(clip), expected, rtol=0, atol=1e-6)
    old.save_pretrained(tmp_path / "new")
    assert json.loads((tmp_path / "new" / "config.json").read_text())["version"] == 2


def test_an_architecture_that_is_not_registered(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model": {"architecture": "x3d", "depth": 3}}))
    with pytest.raises(WeightsError) as raised:
        load_model(folder)
    assert str(raised.value) == (
        f"{folder / 'config.json'}: model: architecture is 'x3d', should be {' or '.join(ARCHITECTURES)}; "
        "timesformer.register_architecture adds one"
    )
