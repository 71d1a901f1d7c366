"""Whatever is in a file of weights, it loads or it is one line that names the file; no code in it is run."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from timesformer import TimeSformer
from timesformer.config import Preprocessing, TimeSformerSettings
from timesformer.errors import WeightsError
from timesformer.weights.classifier import Classifier, load_model
from timesformer.weights.convert import save_as
from timesformer.weights.initialise import initialise_classifier

PARITY = Path(__file__).parents[1] / "data" / "parity"
TINY = {"image_size": 16, "patch_size": 8, "num_frames": 3, "width": 64, "depth": 2, "heads": 1, "num_classes": 2}


@pytest.fixture
def classifier() -> Classifier:
    return Classifier(TimeSformer(**TINY), Preprocessing(), ("a", "b"))


def refused(path: Path, message: str) -> None:
    with pytest.raises(WeightsError, match=message) as raised:
        load_model(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def damaged(whole: bytes, generator: random.Random) -> bytes:
    """Cut short, or with a few bytes changed near its start or its end."""
    if generator.random() < 0.3:
        return whole[: generator.randrange(len(whole))]
    changed = bytearray(whole)
    for _ in range(generator.randrange(1, 20)):
        place = generator.randrange(9000)
        changed[place if generator.random() < 0.5 else -1 - place] = generator.randrange(256)
    return bytes(changed)


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_damaged_bytes(tmp_path: Path, classifier: Classifier, kind: str) -> None:
    file = tmp_path / "file"
    if kind == "safetensors":
        save_as(classifier, tmp_path / "model", "native")
        file = tmp_path / "model" / "model.safetensors"
    else:
        content = torch.load(PARITY / "mmaction2_space_only.pth", weights_only=True)
        torch.save(content, file, _use_new_zipfile_serialization=kind == "zip")
    whole, generator = file.read_bytes(), random.Random(0)
    outcomes: Counter[str] = Counter()
    for _ in range(60):
        file.write_bytes(damaged(whole, generator))
        try:
            load_model(file, heads=3)
            outcomes["loaded"] += 1  # a changed number inside a tensor is not to be seen
        except WeightsError as error:
            outcomes["refused" if "\n" not in str(error) else "refused in several lines"] += 1
    assert outcomes["refused"] >= 20, outcomes
    assert "refused in several lines" not in outcomes


def test_the_content_tells_what_a_file_is_not_its_name(tmp_path: Path, classifier: Classifier) -> None:
    save_as(classifier, tmp_path / "weights.safetensors", "official")
    assert load_model(tmp_path / "weights.safetensors").labels == ("a", "b")
    save_as(classifier, tmp_path / "model.pth", "native")
    for file in ("model.safetensors", "config.json"):
        assert load_model(tmp_path / "model.pth" / file).labels == ("a", "b")
    shutil.copy(tmp_path / "model.pth" / "model.safetensors", tmp_path / "alone.pth")
    refused(tmp_path / "alone.pth", r"tensors alone")
    (tmp_path / "notes.pth").write_text('{"a": 1}')
    refused(tmp_path / "notes.pth", "neither torch.save nor safetensors wrote it")


def test_truncated_safetensors_as_init_too(tmp_path: Path, classifier: Classifier) -> None:
    save_as(classifier, tmp_path / "model", "native")
    file = tmp_path / "cut.safetensors"
    file.write_bytes((tmp_path / "model" / "model.safetensors").read_bytes()[:500])
    refused(file, "not a safetensors file that can be read")
    with pytest.raises(WeightsError, match="not a safetensors file that can be read"):
        initialise_classifier(TimeSformerSettings(), Preprocessing(), ("a",), file)


def rewritten(file: Path, whole: Path, **changes: Any) -> Path:
    """A copy of an official checkpoint as others write it, with some of its entries changed."""
    content = torch.load(whole, weights_only=True)
    del content["timesformer"]
    content["model_state"] |= changes.pop("tensors", {})
    torch.save(content | changes, file)
    return file


def test_configurations_of_the_official_code(tmp_path: Path, classifier: Classifier) -> None:
    whole = save_as(classifier, tmp_path / "whole.pyth", "official")
    file = tmp_path / "a.pyth"
    for cfg, message in (
        ("DATA: {MEAN: [0.45]}", r"cfg: mean\.1"),
        ("DATA: {SAMPLING_RATE: x}", "cfg: sampling.rate is 'x'"),
        ("DATA: {MEAN: [", r"\(cfg\) is not YAML"),
        ("TIMESFORMER: {ATTENTION_TYPE: space_only}", "says ATTENTION_TYPE space_only, its tensors are of divided"),
    ):
        refused(rewritten(file, whole, cfg=cfg), message)
    released = Preprocessing(sampling={"rate": 256 / 3, "fps": 30, "single_clip": "start"})
    for cfg in ("", "DATA:", "[1, 2]", "DATA: [1]"):
        assert load_model(rewritten(file, whole, cfg=cfg)).preprocessing == released
    views = "DATA: {SAMPLING_RATE: 4}\nTEST: {NUM_ENSEMBLE_VIEWS: 5, NUM_SPATIAL_CROPS: 1}"
    found = load_model(rewritten(file, whole, cfg=views)).preprocessing
    assert (found.sampling.rate, found.test_clips, found.test_crops) == (4, 5, 1)
    for dataset, channels, method in (("ssv2", "bgr", "segments"), ("Kinetics", "rgb", "span")):
        found = load_model(rewritten(file, whole, cfg=f"TRAIN: {{DATASET: {dataset}}}")).preprocessing
        assert (found.channels, found.sampling.method) == (channels, method)


def test_tensors_of_another_kind_or_shape(tmp_path: Path, classifier: Classifier) -> None:
    whole = save_as(classifier, tmp_path / "whole.pyth", "official")
    for name, value, message in (
        ("model.pos_embed", torch.zeros(5, 64), r"misshapen \(embedding\.space_table \(5, 64\), not of 3 dimensions\)"),
        ("model.pos_embed", torch.zeros(()), r"misshapen \(embedding\.space_table \(\)"),
        ("model.head.weight", torch.zeros(()), r"misshapen \(head\.weight \(\)"),
        ("model.head.weight", 3, "expected tensors by name, got 'model.head.weight': int"),
        (7, torch.zeros(1), "expected tensors by name, got 7: Tensor"),
    ):
        refused(rewritten(tmp_path / "a.pyth", whole, tensors={name: value}), message)


def test_heads_are_guessed_in_a_log_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for width, heads in ((64, 1), (128, 2), (48, 3), (96, 3)):
        caplog.clear()
        model = TimeSformer(**TINY | {"width": width, "heads": heads})
        whole = tmp_path / f"{width}.pyth"
        save_as(Classifier(model, Preprocessing(), ("a", "b")), whole, "official")
        assert load_model(rewritten(tmp_path / "a.pyth", whole)).model.settings.dimensions == (width, 2, heads)
        assert ("does not say how many attention heads" in caplog.text) == (width % 64 > 0)
        assert ("or pass heads=N in Python" in caplog.text) == (width % 64 > 0)
    found = load_model(tmp_path / "a.pyth", heads=12).model.settings.dimensions
    assert found == (96, 2, 12)


def test_configurations_of_hugging_face(tmp_path: Path, classifier: Classifier) -> None:
    whole = save_as(classifier, tmp_path / "whole", "huggingface")
    folder = tmp_path / "folder"
    for name, change, message in (
        ("config.json", {"attention_type": "diagonal"}, "attention_type is 'diagonal'"),
        ("config.json", {"drop_path_rate": 1.5}, r"drop_path is 1\.5"),
        ("config.json", {"num_attention_heads": "x"}, "heads is 'x'"),
        ("config.json", {"hidden_act": "relu"}, "hidden_act is 'relu'; only 'gelu' can be loaded"),
        ("config.json", {"id2label": {"0": "a"}}, "id2label has 1 names, the tensors 2 classes"),
        ("video_preprocessor_config.json", {"image_mean": [0.5]}, r"mean\.1"),
        ("video_preprocessor_config.json", {"rescale_factor": 0}, "rescale_factor 0"),
    ):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, folder)
        values = json.loads((folder / name).read_text()) | change
        values.pop("timesformer", None)
        (folder / name).write_text(json.dumps(values))
        with pytest.raises(WeightsError, match=message) as raised:
            load_model(folder)
        assert str(folder) in str(raised.value)
