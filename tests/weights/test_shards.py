"""Tensors of Hugging Face in one file or several, safetensors or torch.save's."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_huggingface import CASES, copy_of, random_classifier

from timesformer.errors import WeightsError
from timesformer.weights.classifier import load_model
from timesformer.weights.convert import save_as

pytestmark = pytest.mark.filterwarnings("ignore")  # transformers' own


def as_bin(folder: Path) -> Path:
    """The folder with its tensors as torch.save writes them."""
    whole = folder / "model.safetensors"
    torch.save(load_file(whole), folder / "pytorch_model.bin")
    whole.unlink()
    return folder


def shards(folder: Path, name: str) -> Path:
    """The folder with its file of tensors in two, and the index of them."""
    stem, suffix = name.split(".")
    read, write = (load_file, save_file) if suffix == "safetensors" else (torch.load, torch.save)
    tensors = read(folder / name)
    (folder / name).unlink()
    where = {key: f"{stem}-0000{number % 2 + 1}-of-00002.{suffix}" for number, key in enumerate(sorted(tensors))}
    for file in set(where.values()):
        write({key: tensor for key, tensor in tensors.items() if where[key] == file}, folder / file)
    (folder / f"{name}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return folder


def test_tensors_whole_or_in_shards_as_transformers_finds_them(tmp_path: Path) -> None:
    found = load_model(CASES / "hf_sharded_bin")
    expected = torch.load(CASES / "hf_sharded_bin" / "pytorch_model-00001-of-00002.bin")["classifier.weight"]
    assert torch.equal(found.model.head.weight, expected)

    before = random_classifier()
    whole = save_as(before, tmp_path / "whole", "huggingface")
    for name in ("model.safetensors", "pytorch_model.bin"):
        folder = copy_of(whole, tmp_path / name)
        folder = shards(folder if name == "model.safetensors" else as_bin(folder), name)
        tensors = load_model(folder).model.state_dict()
        assert all(torch.equal(tensor, tensors[key]) for key, tensor in before.model.state_dict().items())
    other = random_classifier(mean=(0.1, 0.2, 0.3))
    with torch.no_grad():
        other.model.head.bias.fill_(5)
    both = save_as(other, tmp_path / "both", "huggingface")
    for file in (tmp_path / "model.safetensors" / "copy").glob("model*safetensors*"):
        shutil.copy(file, both)
    assert (load_model(both).model.head.bias == 5).all()  # the whole file counts, as it does there


def test_shards_that_are_not_there(tmp_path: Path) -> None:
    for number, (name, change, message) in enumerate(
        (
            (
                "1-of-2",
                lambda file: file.unlink(),
                r"pytorch_model-00001-of-00002\.bin: cannot be read: .*No such file",
            ),
            (
                "index",
                lambda file: file.write_text("{}"),
                r"index\.json: weight_map is None; expected the file of each",
            ),
            ("index", weight_map({}), r"index\.json: weight_map is \{\}; expected the file of each tensor"),
            ("index", weight_map([1]), r"index\.json: weight_map is \[1\]; expected the file of each tensor"),
            ("index", weight_map({"a": 3}), r"index\.json: a is in 3; expected a file of this folder"),
            (
                "index",
                weight_map({"a": "../x.bin"}),
                r"index\.json: a is in '\.\./x\.bin'; expected a file of this folder",
            ),
            ("index", weight_map({"a": "/x.bin"}), r"index\.json: a is in '/x\.bin'; expected a file of this folder"),
            ("index", weight_map({"a": "b\\x.bin"}), r"expected a file of this folder"),
            ("index", weight_map({"a": ".."}), r"index\.json: a is in '\.\.'; expected a file of this folder"),
            ("2-of-2", lambda file: file.write_bytes(b"zz"), r"00002-of-00002\.bin: not a checkpoint that can be read"),
        )
    ):
        folder = Path(shutil.copytree(CASES / "hf_sharded_bin", tmp_path / str(number)))
        (file,) = folder.glob("*.index.json" if name == "index" else f"*{name[0]}-of-*")
        change(file)
        with pytest.raises(WeightsError, match=message) as raised:
            load_model(folder)
        assert "\n" not in str(raised.value)
        assert str(folder) in str(raised.value)


def weight_map(value: object) -> Callable[[Path], object]:
    return lambda file: file.write_text(json.dumps({"weight_map": value}))
