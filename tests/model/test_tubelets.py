"""What VideoMAE has and the paper's model has not: tubelets, a fixed table, no class token, the mean of all patches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from timesformer import TimeSformer
from timesformer.config import SCHEMES
from timesformer.errors import SettingError
from timesformer.model.embed import resize_fixed, resize_space, resize_time, sinusoids
from timesformer.model.tokens import join_tokens, split_tokens

TINY = {"image_size": 24, "patch_size": 8, "num_frames": 4, "width": 12, "depth": 2, "heads": 3, "num_classes": 5}
VIDEOMAE = {"scheme": "joint_space_time", "class_token": False, "position": "sinusoidal", "pooling": "mean"}


def make_model(**settings: Any) -> TimeSformer:
    torch.manual_seed(0)
    model = TimeSformer(**TINY | settings).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
    return model


@torch.no_grad()
def test_a_tubelet_is_a_convolution_over_frames() -> None:
    embedding = make_model(tubelet=2, position="none").embedding
    clips = torch.randn(3, 3, 6, 24, 16)
    weight_DCTHW = embedding.projection.weight.unflatten(1, (3, 2))
    expected = F.conv3d(clips, weight_DCTHW, embedding.projection.bias, stride=(2, 8, 8))
    x_BTND, _, grid = embedding(clips)
    assert grid == (3, 2)
    torch.testing.assert_close(x_BTND, expected.flatten(3).permute(0, 2, 3, 1))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_tables_and_attention_count_tubelets_as_frames(scheme: str) -> None:
    model = make_model(scheme=scheme, tubelet=2)
    if scheme != "space_only":
        assert model.embedding.time_table.shape == (1, 2, 12)
    assert model.forward_layer(torch.randn(1, 3, 8, 24, 24), tokens=True).shape == (1, 1 + 4 * 9, 12)


def test_sinusoids_written_out() -> None:
    table = sinusoids(50, 6)
    for place in (0, 1, 49):
        for channel in range(6):
            angle = torch.tensor(place / 10000 ** (2 * (channel // 2) / 6), dtype=torch.float64)
            expected = angle.sin() if channel % 2 == 0 else angle.cos()
            assert float(table[place, channel]) == pytest.approx(float(expected), abs=1e-7)


@torch.no_grad()
def test_the_fixed_table_is_added_to_the_patches_and_is_no_parameter() -> None:
    model = make_model(position="sinusoidal")
    assert "embedding.fixed_table" in model.state_dict()
    assert "embedding.fixed_table" not in dict(model.named_parameters())
    clips = torch.randn(2, 3, 4, 24, 24)
    with_table, cls_B1D, _ = model.embedding(clips)
    model.embedding.fixed_table = None
    without, same_B1D, _ = model.embedding(clips)
    torch.testing.assert_close(with_table - without, sinusoids(36, 12).view(1, 4, 9, 12).expand(2, -1, -1, -1))
    assert torch.equal(cls_B1D, same_B1D)


def test_the_fixed_table_of_another_shape() -> None:
    """In space as the space table of each frame, along time as the time table of each place."""
    table = sinusoids(36, 12).view(4, 9, 12)
    wider = resize_fixed(table, 3, 4, (4, 5), "bicubic")
    for frame in range(4):
        torch.testing.assert_close(wider[frame], resize_space(table[frame, None], 3, (4, 5), "bicubic")[0])
    longer = resize_fixed(table, 3, 6, (3, 3), "bicubic")
    for place in range(9):
        torch.testing.assert_close(longer[:, place], resize_time(table[None, :, place], 6, "bicubic")[0])


@torch.no_grad()
def test_the_mean_of_all_patches_and_the_first_one() -> None:
    clips = torch.randn(2, 3, 4, 24, 24)
    for changes in ({}, VIDEOMAE, {"scheme": "space_only"}):
        model = make_model(**changes | {"pooling": "mean"})
        first = TimeSformer(**model.settings.model_dump() | {"pooling": "first_patch"}).eval()
        first.load_state_dict(model.state_dict())
        x_BTND, _ = model._encode(clips, -1)
        torch.testing.assert_close(model.forward_features(clips), model.norm(x_BTND.flatten(1, 2).mean(1)))
        assert torch.equal(first.forward_features(clips), model.norm(x_BTND[:, 0, 0]))


def test_the_last_norms_own_epsilon() -> None:
    model = make_model(last_norm_epsilon=0.5)
    assert (model.norm.eps, model.blocks()[0].norm.eps) == (0.5, 1e-6)
    assert make_model(norm_epsilon=1e-12).norm.eps == 1e-12


def test_tokens_without_a_class_token() -> None:
    x_BTND = torch.randn(2, 3, 4, 5)
    joined = join_tokens(x_BTND, x_BTND.new_empty(2, 0, 5))
    assert joined.shape == (2, 12, 5)
    patches, cls = split_tokens(joined, 3, 0)
    assert torch.equal(patches, x_BTND)
    assert cls.shape == (2, 0, 5)


def test_gradients_without_a_class_token() -> None:
    for checkpointing in ("none", "cheap", "blocks"):
        model = make_model(**VIDEOMAE, tubelet=2, dropout=0.1, drop_path=0.1).train()
        model.set_activation_checkpointing(checkpointing)  # type: ignore[arg-type]
        torch.manual_seed(1)
        model(torch.randn(2, 3, 4, 24, 24)).square().sum().backward()
        assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_frames": 5, "tubelet": 2}, "num_frames 5 is not a multiple of tubelet 2"),
        (VIDEOMAE | {"scheme": "axial"}, "class_token false needs scheme joint_space_time or joint, not axial"),
        (VIDEOMAE | {"position": "space"}, "class_token false needs position sinusoidal or none, not space"),
        (
            VIDEOMAE | {"pooling": "class_token"},
            "class_token false needs pooling mean or .* or attentive, not class_token",
        ),
    ],
)
def test_settings_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        make_model(**changes)


def test_clips_that_tubelets_do_not_divide() -> None:
    with pytest.raises(SettingError, match=r"^clips of 3 frames: their number must be a multiple of 2$"):
        make_model(tubelet=2)(torch.randn(1, 3, 3, 24, 24))
