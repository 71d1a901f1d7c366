"""Features of an engine are what `forward_layer` of the model gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from classifiers import CASES, classifier, some_clips
from timesformer.engine.engine import load_engine
from timesformer.engine.network import FusedTimeSformer
from timesformer.errors import SettingError
from timesformer.video.transforms import normalise
from timesformer.weights.classifier import Classifier

LAYERS = ((0, False), (0, True), (1, False), (-2, True), (-1, False), (2, True))  # number, tokens; of three blocks
RELATIVE = {"bf16": 0.05, "int8": 0.2}


def forward_layer(net: Classifier, clips: Tensor, layer: int, tokens: bool) -> Tensor:
    with torch.inference_mode():
        return net.model.forward_layer(normalise(clips, net.preprocessing), layer, tokens=tokens)


def check(features: Tensor, reference: Tensor, precision: str) -> None:
    """fp32: within 1e-4 of the largest; else within RELATIVE, by root mean squares."""
    assert features.dtype == torch.float32
    assert features.shape == reference.shape
    difference = features - reference
    if precision == "fp32":
        assert float(difference.abs().max()) <= 1e-4 * float(reference.abs().max())
    else:
        assert float(difference.norm() / (reference - reference.mean(-1, keepdim=True)).norm()) <= RELATIVE[precision]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
@pytest.mark.parametrize("number", range(len(CASES)))
def test_features_of_all_schemes(number: int, precision: Any) -> None:
    net = classifier(number, **{**CASES[number], "depth": 3})
    clips = some_clips(8, 3, 4, 32, 32)
    engine = load_engine(net, "eager", precision, device="cpu", clips=clips)
    logits = engine(clips)
    for layer, tokens in LAYERS:
        check(engine.features(clips, layer, tokens), forward_layer(net, clips, layer, tokens), precision)
    other = some_clips(1, 3, 3, 48, 32)
    if precision != "int8":
        check(engine.features(other, tokens=True), forward_layer(net, other, -1, True), precision)
    assert torch.equal(engine(clips), logits)


@pytest.mark.parametrize(("name", "layer", "tokens"), [("openvino", 0, False), ("onnx", -1, True)])
@pytest.mark.filterwarnings("ignore")
def test_features_of_other_runtimes(name: Any, layer: int, tokens: bool) -> None:
    """Each makes a graph of its own for a layer, of the same program: a layer a runtime, of the smallest graph."""
    net = classifier(scheme="joint_space_time", depth=2)
    clips = some_clips(2, 3, 4, 32, 32)
    engine = load_engine(net, name, "fp32", device="cpu")
    check(engine.features(clips, layer, tokens), forward_layer(net, clips, layer, tokens), "fp32")


def test_layers_that_are_not_there() -> None:
    engine = load_engine(classifier(), device="cpu")
    for layer in (3, -4):
        with pytest.raises(SettingError, match=f"layer {layer}: a model of 3 blocks has 0 to 2, or -3 to -1"):
            engine.features(some_clips(1, 3, 4, 32, 32), layer)


def test_the_whole_last_block_is_made_when_it_is_asked_for() -> None:
    net, clips = classifier(), some_clips(1, 3, 4, 32, 32)
    network = FusedTimeSformer(net.model, net.preprocessing)
    with torch.inference_mode():
        reference = forward_layer(net, clips, -1, True)
        network(clips, -1, False)
        assert network.whole_last is None
        for parameter in net.model.parameters():
            parameter.zero_()  # nothing of the model is kept for it
        check(network(clips, -1, True), reference, "fp32")
        assert network.whole_last is not None
