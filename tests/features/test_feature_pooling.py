"""The vector of some views: of the model's tokens, and of nothing but these views."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from classifiers import classifier, some_clips
from timesformer.engine.engine import load_engine
from timesformer.errors import SettingError
from timesformer.features.pooling import Pooling, choose_pooling, pool_views
from timesformer.video.transforms import normalise
from timesformer.weights.classifier import Classifier

SMALL = {"image_size": 16, "patch_size": 8, "num_frames": 4}


def pooled(net: Classifier, pool: str, views: Tensor, layer: int = -1) -> Tensor:
    engine, settings = load_engine(net, precision="fp32", device="cpu"), net.model.settings
    return pool_views(
        engine, settings, net.preprocessing, choose_pooling(settings, net.preprocessing, layer, pool), views
    )


@pytest.mark.parametrize("layer", [-1, 0])
@pytest.mark.parametrize("pooling", ["class_token", "mean", "attentive"])
def test_vectors_are_of_the_tokens(pooling: str, layer: int) -> None:
    """Two clips of three crops, four frames of 2 x 2 patches."""
    net, views = classifier(pooling=pooling, **SMALL), some_clips(6, 3, 4, 16, 16)
    with torch.inference_mode():
        tokens = net.model.forward_layer(normalise(views, net.preprocessing), layer, tokens=True)
    frames = tokens[:, 1:].reshape(2, 3, 4, 4, 32).mean((1, 3)).reshape(8, 32)
    expected = {"cls": tokens[:, 0].mean(0), "mean": frames.mean(0), "frames": frames, "tokens": tokens}
    for pool, vector in expected.items():
        found = pooled(net, pool, views, layer)
        if pooling == pool == "mean":  # the mean of patches, then the norm, as the head sees it
            with torch.inference_mode():
                vector = net.model.forward_layer(normalise(views, net.preprocessing), layer).mean(0)
        torch.testing.assert_close(found, vector, atol=1e-4, rtol=1e-4)


def test_tubelets_and_no_class_token() -> None:
    values = {"scheme": "joint_space_time", "class_token": False, "position": "sinusoidal", "pooling": "mean"}
    net, views = classifier(tubelet=2, **values, **SMALL), some_clips(3, 3, 4, 16, 16)
    with torch.inference_mode():
        tokens = net.model.forward_layer(normalise(views, net.preprocessing), tokens=True)
    expected = tokens.reshape(3, 2, 4, 32).mean((0, 2))
    torch.testing.assert_close(pooled(net, "frames", views), expected, atol=1e-4, rtol=1e-4)
    assert choose_pooling(net.model.settings, net.preprocessing) == Pooling(-1, "mean")
    with pytest.raises(
        SettingError, match="pool cls: the weights have no class token; expected mean, frames or tokens"
    ):
        choose_pooling(net.model.settings, net.preprocessing, pool="cls")


@pytest.mark.parametrize("pool", ["cls", "mean", "frames", "tokens"])
def test_nothing_else_is_in_the_batch(monkeypatch: pytest.MonkeyPatch, pool: str) -> None:
    """To the last bit, whatever was computed before; every call of the engine has views of this vector alone."""
    net = classifier(**SMALL)
    engine, settings = load_engine(net, device="cpu"), net.model.settings
    chosen = choose_pooling(settings, net.preprocessing, pool=pool)
    one, other = some_clips(3, 3, 4, 16, 16), some_clips(9, 3, 4, 16, 16).flip(0)
    alone = pool_views(engine, settings, net.preprocessing, chosen, one)
    pool_views(engine, settings, net.preprocessing, chosen, other)
    assert torch.equal(pool_views(engine, settings, net.preprocessing, chosen, one), alone)
    monkeypatch.setattr(engine, "views", 2)
    sizes = []
    compute = type(engine).features

    def features(clips: Tensor, layer: int = -1, tokens: bool = False) -> Tensor:
        sizes.append(len(clips))
        return compute(engine, clips, layer, tokens)

    monkeypatch.setattr(engine, "features", features)
    pool_views(engine, settings, net.preprocessing, chosen, one)
    assert sizes == [2, 1]


def test_what_cannot_be_chosen() -> None:
    net = classifier(**SMALL)
    with pytest.raises(SettingError, match="pool max: expected cls, mean, frames or tokens"):
        choose_pooling(net.model.settings, net.preprocessing, pool="max")
    sampling = net.preprocessing.sampling.model_copy(update={"method": "cover"})
    cover = dataclasses.replace(net, preprocessing=net.preprocessing.model_copy(update={"sampling": sampling}))
    with pytest.raises(SettingError, match="pool frames: the weights take as many clips as a video is long"):
        choose_pooling(net.model.settings, cover.preprocessing, pool="frames")
    with pytest.raises(SettingError, match="layer 3: a model of 3 blocks has 0 to 2"):
        pooled(net, "mean", some_clips(3, 3, 4, 16, 16), 3)
