"""VideoMAE's folders against transformers itself: logits, features, engines; there and back; what is refused."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import timesformer
from timesformer.config import TimeSformerSettings
from timesformer.engine.engine import load_engine
from timesformer.errors import WeightsError
from timesformer.video.transforms import normalise
from timesformer.weights.classifier import Classifier, load_model
from timesformer.weights.convert import save_as
from timesformer.weights.resize import resize_classifier
from videomae_folders import SELF, change, write

pytestmark = pytest.mark.filterwarnings("ignore")  # transformers' own


def refused(folder: Path, message: str) -> None:
    with pytest.raises(WeightsError, match=message) as raised:
        load_model(folder)
    assert "\n" not in str(raised.value)


@torch.no_grad()
@pytest.mark.parametrize(
    "changes", [{}, {"use_mean_pooling": False}, {"tubelet_size": 1}, {"tubelet_size": 4, "num_frames": 8}]
)
def test_logits_and_features_of_transformers(tmp_path: Path, changes: dict[str, Any]) -> None:
    theirs = write(tmp_path / "theirs", **changes)
    ours = load_model(tmp_path / "theirs")
    settings = ours.model.settings
    clips = torch.randn(2, 3, settings.num_frames, 32, 32)
    expected = theirs(clips.transpose(1, 2), output_hidden_states=True)
    assert expected.logits.std() > 0.1
    assert (ours.model(clips) - expected.logits).abs().max() <= 1e-4
    norm = theirs.fc_norm or theirs.videomae.layernorm
    for layer in (0, 1):
        tokens = norm(expected.hidden_states[1 + layer])
        assert (ours.model.forward_layer(clips, layer, tokens=True) - tokens).abs().max() <= 1e-4
    pixels = torch.randint(256, (2, 3, settings.num_frames, 32, 32), dtype=torch.uint8)
    engine = load_engine(ours, precision="fp32", device="cpu")
    logits = theirs(normalise(pixels, ours.preprocessing).transpose(1, 2)).logits
    assert (engine(pixels) - logits).abs().max() <= 1e-4
    assert (ours.model.forward_head(engine.features(pixels)) - logits).abs().max() <= 1e-4


def test_the_settings_are_those_of_a_joint_model(tmp_path: Path) -> None:
    write(tmp_path)
    settings = load_model(tmp_path).model.settings
    assert isinstance(settings, TimeSformerSettings)
    assert (settings.scheme, settings.dimensions, settings.hidden) == ("joint_space_time", (48, 2, 3), 120)
    assert (settings.tubelet, settings.class_token, settings.position) == (2, False, "sinusoidal")
    assert (settings.pooling, settings.norm_epsilon, settings.last_norm_epsilon) == ("mean", 1e-12, 1e-5)
    assert (settings.num_frames, settings.image_size, settings.patch_size, settings.num_classes) == (4, 32, 8, 7)


@torch.no_grad()
def test_biases_of_queries_and_values_by_both_names(tmp_path: Path) -> None:
    theirs = write(tmp_path)
    clips = torch.randn(1, 3, 4, 32, 32)
    expected = load_model(tmp_path).model(clips)
    tensors = load_file(tmp_path / "model.safetensors")
    assert SELF + "q_bias" in tensors
    layers = [f"videomae.encoder.layer.{number}.attention.attention." for number in range(2)]
    renamed: dict[str, Tensor | None] = {}
    for layer in layers:
        for old, new in (("q_bias", "query.bias"), ("v_bias", "value.bias")):
            renamed |= {layer + new: tensors[layer + old], layer + old: None}
    assert torch.equal(load_model(change(tmp_path, renamed)).model(clips), expected)
    assert (theirs(clips.transpose(1, 2)).logits - expected).abs().max() <= 1e-4
    keys = {layer + "key.bias": torch.randn(48) for layer in layers}  # as transformers 5 had them for a while
    with_keys = load_model(change(tmp_path, keys)).model
    assert (with_keys(clips) - expected).abs().max() <= 1e-4
    assert torch.equal(with_keys.blocks()[1].steps["joint"].attention.qkv.bias[48:96], keys[SELF + "key.bias"])

    bias = tensors[SELF + "q_bias"]
    for changes, message in (
        ({SELF + "query.bias": None}, r"1 missing \(videomae\.encoder\.layer\.1\.attention\.attention\.query\.bias\)"),
        (
            {SELF + "query.bias": bias, SELF + "value.bias": None, SELF + "v_bias": bias.clone()},
            r"1 missing \(.*value\.bias\); 1 unk",
        ),
        ({SELF + "value.bias": bias}, r"1 unknown \(.*v_bias\)"),
        ({SELF + "v_bias": None, SELF + "key.bias": None}, r"1 missing \(.*key\.bias\)"),
    ):
        refused(change(tmp_path, changes), f"tensors do not fit the layout: {message}")
    values = {layer + "value.bias": None for layer in layers} | {SELF + "key.bias": bias}
    refused(change(tmp_path, values), r"2 missing \(videomae\.encoder\.layer\.0\.attention\.attention\.value\.bias, ")
    none = {layer + name: None for layer in layers for name in ("query.bias", "value.bias", "key.bias")}
    refused(change(tmp_path, none), r"4 missing \(videomae\.encoder\.layer\.0\.attention\.attention\.q_bias, ")


def test_what_contradicts_or_cannot_be_loaded(tmp_path: Path) -> None:
    write(tmp_path)
    whole = json.loads((tmp_path / "config.json").read_text())
    for changes, message in (
        ({"hidden_size": 96}, "hidden_size is 96, the tensors have 48"),
        ({"num_hidden_layers": 3}, "num_hidden_layers is 3, the tensors have 2"),
        ({"intermediate_size": 96}, "intermediate_size is 96, the tensors have 120"),
        ({"patch_size": 16}, "patch_size is 16, the tensors have 8"),
        ({"tubelet_size": 4}, "tubelet_size is 4, the tensors have 2"),
        ({"num_frames": 5}, "num_frames 5 is not a multiple of tubelet 2"),
        ({"image_size": 30}, "image_size 30 is not a multiple of patch_size 8"),
        ({"image_size": [32, 40]}, r"image_size is \[32, 40\]; expected a square"),
        ({"num_attention_heads": 5}, "width 48 is not a multiple of heads 5"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu'; only 'gelu' can be loaded"),
        ({"qv_bias": False}, "qv_bias is False; only True can be loaded"),
        ({"qkv_bias": False}, "qkv_bias is False; only True can be loaded"),
        ({"num_channels": 1}, "num_channels is 1; only 3 can be loaded"),
        ({"problem_type": "regression"}, "problem_type is 'regression'"),
        ({"id2label": {"0": "a"}}, "id2label has 1 names, the tensors 7 classes"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(whole | changes))
        refused(tmp_path, rf"config\.json: {message}")
    (tmp_path / "config.json").write_text(json.dumps(whole | {"use_mean_pooling": False}))
    refused(tmp_path, r"2 missing \(videomae\.layernorm\.weight, .*\); 2 unknown \(fc_norm\.")
    (tmp_path / "config.json").write_text(json.dumps(whole))
    refused(change(tmp_path, {"classifier.bias": torch.zeros(6)}), r"1 misshapen \(head\.bias \(6,\) for \(7,\)\)")
    projection = "videomae.embeddings.patch_embeddings.projection.weight"
    odd = change(tmp_path, {SELF + "key.weight": torch.zeros(48, 40), "classifier.bias": torch.zeros(7)})
    refused(odd, r"1 misshapen \(weight of block 1's key \(48, 40\) for \(48, 48\)\)")
    flat = change(tmp_path, {projection: torch.zeros(48, 3, 8, 8), "classifier.bias": torch.zeros(7)})
    refused(flat, r"1 misshapen \(videomae\..*projection\.weight \(48, 3, 8, 8\), not of width, 3 colours, frames")


def test_what_comes_along(tmp_path: Path) -> None:
    write(tmp_path, id2label={number: f"class {number}" for number in range(7)})
    processor = {"size": {"shortest_edge": 40}, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    found = load_model(tmp_path)
    assert found.labels == tuple(f"class {number}" for number in range(7))
    preprocessing = found.preprocessing
    assert (preprocessing.mean, preprocessing.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert (preprocessing.sampling.method, preprocessing.sampling.rate, preprocessing.short_side) == ("span", 4, None)
    assert (preprocessing.test_clips, preprocessing.test_crops, preprocessing.channels) == (5, 3, "rgb")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    preprocessing = load_model(tmp_path).preprocessing
    assert (preprocessing.short_side, preprocessing.mean) == (40, (0.1, 0.2, 0.3))
    write(tmp_path / "ssv2", num_labels=174, num_hidden_layers=1)
    preprocessing = load_model(tmp_path / "ssv2").preprocessing
    assert (preprocessing.sampling.method, preprocessing.test_clips, preprocessing.channels) == ("segments", 2, "rgb")
    write(tmp_path / "many", problem_type="multi_label_classification", num_hidden_layers=1)
    assert load_model(tmp_path / "many").model.settings.multilabel


def test_tensors_alone_and_wrapped_ones(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path)
    plain = load_model(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    save_file(tensors, tmp_path / "alone.safetensors")
    refused(tmp_path / "alone.safetensors", "tensors alone, without the config.json of their folder")
    save_file({f"module.{name}": tensor for name, tensor in tensors.items()}, tmp_path / "model.safetensors")
    with caplog.at_level(logging.WARNING):
        assert torch.equal(load_model(tmp_path).model.head.weight, plain.model.head.weight)
    assert "begin with module." in caplog.text


@torch.no_grad()
@pytest.mark.parametrize("mean", [True, False])
def test_there_and_back_again(tmp_path: Path, mean: bool) -> None:
    from transformers import AutoModelForVideoClassification

    theirs = write(tmp_path / "theirs", use_mean_pooling=mean)
    ours = load_model(tmp_path / "theirs")
    save_as(ours, tmp_path / "back", "huggingface")
    back = AutoModelForVideoClassification.from_pretrained(tmp_path / "back").eval()
    before, after = theirs.state_dict(), back.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    clips = torch.randn(2, 4, 3, 32, 32)
    assert torch.equal(back(clips).logits, theirs(clips).logits)
    processor = json.loads((tmp_path / "back" / "video_preprocessor_config.json").read_text())
    assert processor["video_processor_type"] == "VideoMAEVideoProcessor"
    for other in ("back", "native"):
        if other == "native":
            save_as(ours, tmp_path / "native", "native")
        again = load_model(tmp_path / other)
        assert (again.model.settings, again.preprocessing) == (ours.model.settings, ours.preprocessing)
        state = ours.model.state_dict()
        assert all(torch.equal(tensor, state[name]) for name, tensor in again.model.state_dict().items())
    for layout in ("official", "mmaction2"):
        with pytest.raises(WeightsError, match=f"the {layout} layout cannot express tubelet 2; only 1"):
            save_as(ours, tmp_path / "out", layout)


@torch.no_grad()
def test_a_model_trained_here_is_written_for_transformers(tmp_path: Path) -> None:
    """Biases of keys that have moved change nothing; a model that expects BGR is written for RGB."""
    from transformers import AutoModelForVideoClassification

    write(tmp_path / "theirs")
    given = load_model(tmp_path / "theirs")
    for block in given.model.blocks():
        block.steps["joint"].attention.qkv.bias.normal_()
    ours = Classifier(given.model, given.preprocessing.model_copy(update={"channels": "bgr"}), given.labels)
    save_as(ours, tmp_path / "out", "huggingface")
    theirs = AutoModelForVideoClassification.from_pretrained(tmp_path / "out").eval()
    clips = torch.randn(2, 3, 4, 32, 32)
    assert (theirs(clips.transpose(1, 2)).logits - ours.model(clips.flip(1))).abs().max() <= 1e-4
    again = load_model(tmp_path / "out")
    assert torch.equal(again.model.embedding.projection.weight, ours.model.embedding.projection.weight)


def test_what_its_layout_cannot_express(tmp_path: Path) -> None:
    write(tmp_path / "theirs")
    given = load_model(tmp_path / "theirs")
    with pytest.raises(WeightsError, match="the layout of VideoMAE cannot express a resized table"):
        save_as(resize_classifier(given, 64), tmp_path / "out", "huggingface")
    for changes, message in (
        ({"pooling": "attentive"}, "pooling 'attentive'; only 'first_patch'"),
        ({"position": "none"}, "position 'none'; only 'sinusoidal'"),
        ({"last_norm_epsilon": None}, "last_norm_epsilon 1e-12; only 1e-05"),
    ):
        model = timesformer.TimeSformer(**given.model.settings.model_dump() | changes)
        with pytest.raises(WeightsError, match=f"the layout of VideoMAE cannot express {message}"):
            save_as(Classifier(model), tmp_path / "out", "huggingface")
    assert not (tmp_path / "out").exists()
    model = timesformer.TimeSformer(width=12, depth=1, heads=3, num_classes=2, last_norm_epsilon=1e-5)
    with pytest.raises(WeightsError, match="huggingface layout cannot express last_norm_epsilon 1e-05; only 1e-06"):
        save_as(Classifier(model), tmp_path / "out", "huggingface")
