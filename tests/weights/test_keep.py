"""Copies of weights to initialise from: all that is read of them, and nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from timesformer.errors import WeightsError
from timesformer.weights.keep import keep_weights, kept_weights


def folder(path: Path, *names: str, **index: object) -> Path:
    path.mkdir(parents=True)
    for name in names:
        (path / name).write_text(json.dumps({"architecture": "vit_base_patch16_224"} if name == "config.json" else {}))
    for name, values in index.items():
        (path / f"{name}.safetensors.index.json").write_text(json.dumps(values))
    return path


def kept(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


def test_a_folder(tmp_path: Path) -> None:
    names = ("config.json", "model.safetensors", "preprocessor_config.json")
    source = folder(tmp_path / "run" / "model", *names, "pytorch_model.bin", "notes.txt", "model.onnx")
    assert keep_weights(tmp_path / "run", tmp_path / "kept") == tmp_path / "kept"
    assert kept(tmp_path / "kept") == sorted(names)
    shutil.rmtree(source)
    assert kept_weights(tmp_path / "kept") == tmp_path / "kept"


def test_shards(tmp_path: Path) -> None:
    shards = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    source = folder(tmp_path / "given", "config.json", "model-1.safetensors", "model-2.safetensors", model=shards)
    keep_weights(source, tmp_path / "kept")
    names = ["config.json", "model-1.safetensors", "model-2.safetensors", "model.safetensors.index.json"]
    assert kept(tmp_path / "kept") == names


def test_a_file(tmp_path: Path) -> None:
    (tmp_path / "vit.pth").write_bytes(b"weights")
    assert keep_weights(tmp_path / "vit.pth", tmp_path / "kept") == tmp_path / "kept" / "vit.pth"
    assert kept_weights(tmp_path / "kept").read_bytes() == b"weights"


def test_no_weights(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="none: no such file or folder"):
        keep_weights(tmp_path / "none", tmp_path / "kept")
    assert not (tmp_path / "kept").exists()
