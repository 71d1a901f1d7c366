"""State dicts whose names begin with what wrapped the model: stripped, and said so."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import test_vit
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from timesformer.config import Preprocessing, TimeSformerSettings
from timesformer.errors import WeightsError
from timesformer.weights.classifier import load_model
from timesformer.weights.initialise import initialise_classifier

DATA = Path(__file__).parents[1] / "data"
OFFICIAL = DATA / "parity" / "official_divided_space_time.pyth"
MMACTION2 = DATA / "cases" / "mmaction2_numpy_score.pth"
ONE_FRAME = TimeSformerSettings(scheme="space_only", num_frames=1, image_size=32, patch_size=8)
WRAPPERS = ("module.", "_orig_mod.", "model.", "module._orig_mod.", "_orig_mod.module.", "model._orig_mod.")


def prefixed(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def same(file: Path, expected: Path) -> bool:
    found, wanted = (load_model(path).model.state_dict() for path in (file, expected))
    assert found.keys() == wanted.keys()
    return all(torch.equal(tensor, wanted[name]) for name, tensor in found.items())


@pytest.mark.parametrize("prefix", WRAPPERS)
@pytest.mark.parametrize("key", ["model_state", "state_dict", "model", None])
def test_the_official_codes_tensors(
    tmp_path: Path, prefix: str, key: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    whole = torch.load(OFFICIAL, weights_only=True)
    tensors = prefixed(whole["model_state"], prefix)
    torch.save(tensors if key is None else {key: tensors, "epoch": 3}, tmp_path / "a.pth")
    assert same(tmp_path / "a.pth", OFFICIAL)
    assert f"a.pth: tensor names begin with {prefix}" in caplog.text


@pytest.mark.parametrize("key", ["state_dict", "model", None])
def test_state_dicts_alone(tmp_path: Path, key: str | None, caplog: pytest.LogCaptureFixture) -> None:
    """Without a prefix there is nothing to say; the official names may lack their own `model.`."""
    for file, names in ((OFFICIAL, "model_state"), (MMACTION2, "state_dict")):
        tensors = torch.load(file, weights_only=False)[names]
        torch.save(tensors if key is None else {key: tensors}, tmp_path / "a.pth")
        assert same(tmp_path / "a.pth", file)
    tensors = torch.load(OFFICIAL, weights_only=True)["model_state"]
    bare = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
    torch.save(bare if key is None else {key: bare}, tmp_path / "a.pth")
    assert same(tmp_path / "a.pth", OFFICIAL)
    assert "tensor names" not in caplog.text


@pytest.mark.parametrize("prefix", WRAPPERS)
def test_mmaction2s_tensors(tmp_path: Path, prefix: str, caplog: pytest.LogCaptureFixture) -> None:
    whole = torch.load(MMACTION2, weights_only=False)
    torch.save(whole | {"state_dict": prefixed(whole["state_dict"], prefix)}, tmp_path / "a.pth")
    assert same(tmp_path / "a.pth", MMACTION2)
    assert load_model(tmp_path / "a.pth").labels == ("a", "b", "c")
    assert f"a.pth: tensor names begin with {prefix}" in caplog.text


@pytest.mark.parametrize("prefix", WRAPPERS)
@pytest.mark.parametrize("key", ["model", "state_dict", None])
def test_image_models(tmp_path: Path, prefix: str, key: str | None, caplog: pytest.LogCaptureFixture) -> None:
    whole = test_vit.timm_names(False)
    tensors = prefixed(whole, prefix)
    if key is None:
        save_file(tensors, tmp_path / "a.pth")
    else:
        torch.save({key: tensors}, tmp_path / "a.pth")
    found = initialise_classifier(ONE_FRAME, Preprocessing(), ("a", "b"), tmp_path / "a.pth").classifier.model
    assert torch.equal(found.state_dict()["embedding.space_table"], whole["pos_embed"])
    assert f"a.pth: tensor names begin with {prefix}" in caplog.text
    with pytest.raises(WeightsError, match="an image model; a video model can be initialised from it"):
        load_model(tmp_path / "a.pth")


@pytest.mark.parametrize("prefix", WRAPPERS)
def test_folders_of_hugging_face(tmp_path: Path, prefix: str, caplog: pytest.LogCaptureFixture) -> None:
    folder = Path(shutil.copytree(DATA / "cases" / "hf_multilabel", tmp_path / "model"))
    save_file(prefixed(load_file(folder / "model.safetensors"), prefix), folder / "model.safetensors")
    assert same(folder, DATA / "cases" / "hf_multilabel")
    assert f"model: tensor names begin with {prefix}" in caplog.text


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["ViTModel", "ViTForImageClassification", "Dinov2Model"])
def test_image_folders_of_hugging_face(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    test_vit.write(kind, tmp_path / "vit")
    expected = initialise_classifier(ONE_FRAME, Preprocessing(), ("a", "b"), tmp_path / "vit").classifier.model
    assert "tensor names" not in caplog.text
    file = tmp_path / "vit" / "model.safetensors"
    save_file(prefixed(load_file(file), "module."), file)
    found = initialise_classifier(ONE_FRAME, Preprocessing(), ("a", "b"), tmp_path / "vit").classifier.model
    assert torch.equal(found.embedding.space_table, expected.embedding.space_table)
    assert "vit: tensor names begin with module." in caplog.text


def test_wrappers_within_the_model(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """torch.compile, FSDP and activation checkpointing of single blocks leave their names in the middle."""
    whole = torch.load(OFFICIAL, weights_only=True)
    for word in ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"):
        changed = {
            name.replace("blocks.1.", f"blocks.1.{word}."): value for name, value in whole["model_state"].items()
        }
        torch.save(whole | {"model_state": changed}, tmp_path / "a.pyth")
        caplog.clear()
        assert same(tmp_path / "a.pyth", OFFICIAL)
        assert f"a.pyth: tensor names hold {word}." in caplog.text


def test_what_is_no_wrapper_stays(tmp_path: Path) -> None:
    """Another prefix, one tensor beside the wrapped ones, a name with and without: errors that show the names."""
    tensors: dict[str, Any] = torch.load(OFFICIAL, weights_only=True)["model_state"]
    for changed, message in (
        (prefixed(tensors, "student."), r"student\.model\.cls_token"),
        (prefixed(tensors, "module.") | {"loss.weight": torch.zeros(2)}, r"1 unknown \(loss\.weight\)"),
        (prefixed(tensors, "module.") | {"model.cls_token": torch.zeros(2)}, r"unknown \(module\.model\.cls_token"),
    ):
        torch.save({"model_state": changed}, tmp_path / "a.pyth")
        with pytest.raises(WeightsError, match=message):
            load_model(tmp_path / "a.pyth")
