"""What a model answers for itself: features of any layer, layers of its tensors, and who computes its attention."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from timesformer.baselines.architectures import build_model
from timesformer.config import SCHEMES, ModelSettings, Scheme, TimeSformerSettings
from timesformer.errors import SettingError
from timesformer.model.attention import attend
from timesformer.model.protocol import VideoModel
from timesformer.model.timesformer import TimeSformer

TINY = {"image_size": 24, "patch_size": 8, "num_frames": 2, "width": 12, "depth": 3, "heads": 3, "num_classes": 5}


def make_model(**settings: object) -> TimeSformer:
    torch.manual_seed(0)
    model = TimeSformer(**{**TINY, **settings}).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


@torch.no_grad()
@pytest.mark.parametrize("pooling", ["class_token", "attentive"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_layer_is_what_a_model_of_so_many_blocks_gives(scheme: Scheme, pooling: str) -> None:
    model, clips = make_model(scheme=scheme, pooling=pooling), torch.randn(2, 3, 2, 24, 24)
    for layer in range(3):
        shallow = TimeSformer(**{**TINY, "scheme": scheme, "pooling": pooling, "depth": layer + 1}).eval()
        kept = {name: tensor for name, tensor in model.state_dict().items() if name in shallow.state_dict()}
        shallow.load_state_dict(kept)
        assert torch.equal(model.forward_layer(clips, layer), shallow.forward_features(clips))
        assert torch.equal(model.forward_layer(clips, layer - 3), shallow.forward_features(clips))
        tokens = model.forward_layer(clips, layer, tokens=True)
        assert tokens.shape == (2, 1 + 2 * 9, 12)
        if pooling == "class_token" and scheme != "space_only":  # which averages before the norm
            torch.testing.assert_close(tokens[:, 0], model.forward_layer(clips, layer))
    assert torch.equal(model(clips), model.forward_head(model.forward_layer(clips)))


def test_layers_that_are_not_there() -> None:
    model, clips = make_model(), torch.randn(1, 3, 2, 24, 24)
    for layer in (3, -4):
        with pytest.raises(SettingError, match=rf"^layer {layer}: a model of 3 blocks has 0 to 2, or -3 to -1$"):
            model.forward_layer(clips, layer)


def test_layers_and_decay_of_parameters() -> None:
    model = make_model(pooling="attentive")
    layers = {name: model.layer_of(name) for name, _ in model.named_parameters()}
    assert {name for name, layer in layers.items() if layer == 0} == {
        "embedding.class_token",
        "embedding.space_table",
        "embedding.time_table",
        "embedding.projection.weight",
        "embedding.projection.bias",
    }
    for number, block in enumerate(model.blocks()):
        assert {name for name, layer in layers.items() if layer == number + 1} == {
            f"blocks.{number}.{name}" for name, _ in block.named_parameters()
        }
    assert {name.split(".")[0] for name, layer in layers.items() if layer == 4} == {"norm", "pooling", "head"}
    tables = {"embedding.class_token", "embedding.space_table", "embedding.time_table"}
    assert model.no_weight_decay() == tables | {"pooling.query"}
    assert make_model(position="none").no_weight_decay() == {"embedding.class_token"}
    assert (model.head_names(), make_model().head_names()) == (("pooling", "head"), ("head",))


@torch.no_grad()
def test_who_computes_attention_is_passed_in() -> None:
    """A recorder in its place sees every attention, in order, and changes nothing."""
    seen: list[tuple[int, ...]] = []

    def record(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        seen.append((*q.shape[:3], k.shape[2]))
        return attend(q, k, v, mask)

    model = make_model()
    recorded = TimeSformer(model.settings, attend=record).eval()
    recorded.load_state_dict(model.state_dict())
    clips = torch.randn(2, 3, 2, 24, 24)
    assert torch.equal(recorded(clips), model(clips))
    time, space = (2 * 9, 3, 2, 2), (2 * 2, 3, 10, 10)
    assert seen == [time, space] * 3


def test_settings_or_values() -> None:
    settings = TimeSformerSettings(**TINY)  # type: ignore[arg-type]
    assert TimeSformer(settings).settings is settings
    assert TimeSformer(**TINY).settings == settings
    assert isinstance(build_model(settings), TimeSformer)
    with pytest.raises(
        SettingError, match=r"^TimeSformer: settings are given, and depth, heads beside them; one or the other$"
    ):
        TimeSformer(settings, depth=2, heads=3)


class Least(VideoModel):
    """No more than a model must have."""

    def forward_features(self, clips_BCTHW: Tensor) -> Tensor:
        return clips_BCTHW.mean((2, 3, 4))

    def forward_head(self, features_BD: Tensor) -> Tensor:
        return features_BD


class LeastSettings(ModelSettings):
    architecture: Literal["least"] = "least"


def test_defaults_of_a_model_with_nothing_but_features() -> None:
    model = Least(LeastSettings(num_frames=3, image_size=7))
    assert model.clip_shape == (3, 7)
    assert (model.blocks(), model.no_weight_decay(), model.head_names()) == ((), frozenset(), ("head",))
    assert model.layer_of("head.weight") == 1
    clips = torch.randn(2, 3, 3, 7, 7)
    assert torch.equal(model.forward_layer(clips), model(clips))
    with pytest.raises(SettingError, match=r"^layer 1: architecture least has only features of its last layer$"):
        model.forward_layer(clips, 1)
    model.set_activation_checkpointing("none")
    with pytest.raises(SettingError, match=r"^activation checkpointing 'cheap' is not for architecture least: none$"):
        model.set_activation_checkpointing("cheap")
