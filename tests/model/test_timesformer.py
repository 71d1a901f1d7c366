"""The whole network: tables, averaging, invariances, settings and what is refused."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import timesformer
from timesformer.config import Scheme
from timesformer.errors import SettingError
from timesformer.model.timesformer import TimeSformer

SCHEMES = get_args(Scheme)
TINY = {"image_size": 32, "patch_size": 8, "num_frames": 4, "num_classes": 7, "width": 24, "depth": 2, "heads": 3}


def make_model(seed: int = 0, **settings: object) -> TimeSformer:
    """A tiny model of random parameters, so that no zero of the initialisation hides a mistake; float64, eval."""
    torch.manual_seed(seed)
    model = TimeSformer(**{**TINY, **settings}).double().eval()
    for name, parameter in model.named_parameters():
        nn.init.normal_(parameter, mean=1.0 if name.endswith("norm.weight") else 0.0, std=0.2)
    return model


def make_clips(batch: int = 2, frames: int = 4, height: int = 32, width: int = 32, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, frames, height, width, dtype=torch.float64, generator=generator)


def assert_equal(got: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-11)


# --- tokens and tables -----------------------------------------------------------------------------------------------


def literal_patches(model: TimeSformer, clips: Tensor) -> Tensor:
    """Linear projection of each patch, cut out by hand: (B, T, N, D)."""
    weight, bias = model.embedding.projection.weight.flatten(1), model.embedding.projection.bias
    tokens = []
    for top in range(0, clips.shape[3], 8):
        for left in range(0, clips.shape[4], 8):
            pixels = clips[:, :, :, top : top + 8, left : left + 8].transpose(1, 2).flatten(2)
            tokens.append(pixels @ weight.T + bias)
    return torch.stack(tokens, dim=2)


def space_rows(table_1ND: Tensor, grid: tuple[int, int], how: str) -> Tensor:
    image = table_1ND[:, 1:].unflatten(1, (4, 4)).permute(0, 3, 1, 2)
    if how == "bicubic":
        return F.interpolate(image, size=grid, mode="bicubic", align_corners=False).permute(0, 2, 3, 1).flatten(1, 2)
    rows = [table_1ND[:, 1 + (h * 4 // grid[0]) * 4 + w * 4 // grid[1]] for h in range(grid[0]) for w in range(grid[1])]
    return torch.stack(rows, dim=1)


def time_rows(table_1TD: Tensor, frames: int, how: str) -> Tensor:
    if how == "bicubic":
        return F.interpolate(table_1TD.transpose(1, 2), size=frames, mode="linear", align_corners=False).transpose(1, 2)
    return torch.stack([table_1TD[:, t * 4 // frames] for t in range(frames)], dim=1)


OTHER_SHAPES = [(4, 32, 32), (7, 32, 32), (1, 24, 56), (4, 8, 40), (3, 64, 48), (9, 8, 8)]  # frames, pixels


@torch.no_grad()
@pytest.mark.parametrize("shape", OTHER_SHAPES, ids=lambda shape: "x".join(map(str, shape)))
@pytest.mark.parametrize("how", ["bicubic", "nearest"])
@pytest.mark.parametrize("position", ["none", "space", "space_time"])
def test_tokens_are_patches_plus_resized_tables(position: str, how: str, shape: tuple[int, int, int]) -> None:
    model, clips = make_model(position=position, position_resize=how), make_clips(2, *shape)
    x, cls, grid = model.embedding(clips)
    assert grid == (shape[1] // 8, shape[2] // 8)
    expected, expected_cls = literal_patches(model, clips), model.embedding.class_token.expand(2, -1, -1)
    if position != "none":
        table = model.embedding.space_table
        expected = expected + space_rows(table, grid, how)[:, None]
        expected_cls = expected_cls + table[:, :1]
    if position == "space_time":
        expected = expected + time_rows(model.embedding.time_table, shape[0], how)[:, :, None]
    assert_equal(x, expected)
    assert_equal(cls, expected_cls)


def test_tables_that_exist() -> None:
    for position, space, time in [("none", False, False), ("space", True, False), ("space_time", True, True)]:
        embedding = TimeSformer(**TINY, position=position).embedding
        assert (embedding.space_table is not None, embedding.time_table is not None) == (space, time)
    assert TimeSformer(**TINY, scheme="space_only").embedding.time_table is None


@torch.no_grad()
@pytest.mark.parametrize("how", ["bicubic", "nearest"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_another_shape_is_a_model_made_for_it_with_resized_tables(scheme: str, how: str) -> None:
    model = make_model(scheme=scheme, position_resize=how)
    other = make_model(seed=5, scheme=scheme, image_size=48, num_frames=6)
    weights = model.state_dict()
    table = weights["embedding.space_table"]
    weights["embedding.space_table"] = torch.cat([table[:, :1], space_rows(table, (6, 6), how)], dim=1)
    if scheme != "space_only":
        weights["embedding.time_table"] = time_rows(weights["embedding.time_table"], 6, how)
    other.load_state_dict(weights, strict=True)
    clips = make_clips(2, 6, 48, 48)
    assert_equal(model(clips), other(clips))


@torch.no_grad()
@pytest.mark.parametrize("scheme", SCHEMES)
def test_height_and_width_are_not_mixed_up(scheme: str) -> None:
    """A model whose tables, projection and steps are transposed sees a transposed clip as the first one sees it."""
    model, clips = make_model(scheme=scheme), make_clips(2, 3, 24, 56)
    weights = model.state_dict()
    weights["embedding.projection.weight"] = weights["embedding.projection.weight"].transpose(2, 3)
    table = weights["embedding.space_table"]
    patches = table[:, 1:].unflatten(1, (4, 4)).transpose(1, 2).flatten(1, 2)
    weights["embedding.space_table"] = torch.cat([table[:, :1], patches], dim=1)
    transposed = make_model(seed=5, scheme=scheme)
    transposed.load_state_dict(weights, strict=True)
    if scheme == "axial":
        for block in transposed.blocks():  # its width step now runs along columns, and comes before the rows
            steps = block.steps
            steps["width"].step, steps["height"].step = steps["height"].step, steps["width"].step
    assert_equal(transposed(clips.transpose(3, 4)), model(clips))
    assert (model(clips.transpose(3, 4)) - model(clips)).abs().max() > 1e-3


# --- from tokens to logits -------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("scheme", SCHEMES)
def test_features_are_the_normalised_class_token_and_logits_their_head(scheme: str) -> None:
    model, clips = make_model(scheme=scheme), make_clips()
    features = model.forward_features(clips)
    if scheme != "space_only":
        x, cls, grid = model.embedding(clips)
        for block in model.blocks():
            x, cls = block(x, cls, grid)
        assert_equal(features, F.layer_norm(cls[:, 0], (24,), model.norm.weight, model.norm.bias, 1e-6))
    assert_equal(model(clips), features @ model.head.weight.T + model.head.bias)


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 3, 4])
def test_space_only_averages_the_class_tokens_of_frames_seen_one_at_a_time_before_the_last_norm(frames: int) -> None:
    model, clips = make_model(scheme="space_only"), make_clips(2, frames, 24, 40)
    tokens = []
    for t in range(frames):
        x, cls, grid = model.embedding(clips[:, :, t : t + 1])
        for block in model.blocks():
            x, cls = block(x, cls, grid)
        tokens.append(cls[:, 0])
    mean = sum(tokens) / frames
    expected = F.layer_norm(mean, (24,), model.norm.weight, model.norm.bias, 1e-6)
    assert_equal(model.forward_features(clips), expected)
    if frames > 1:
        apart = torch.stack([model.forward_features(clips[:, :, t : t + 1]) for t in range(frames)])
        assert (apart.mean(0) - expected).abs().max() > 1e-3  # the mean after the norm is something else


@torch.no_grad()
@pytest.mark.parametrize("scheme", SCHEMES)
def test_clips_of_a_batch_do_not_see_each_other(scheme: str) -> None:
    model, clips = make_model(scheme=scheme), make_clips(3, 4, 24, 40)
    together = model(clips)
    for index in range(3):
        assert_equal(together[index : index + 1], model(clips[index : index + 1]))
    assert (together[0] - together[1]).abs().max() > 1e-3


def test_head_dropout_only_in_training() -> None:
    model, clips = make_model(dropout=0.5), make_clips()
    features = model.forward_features(clips)
    assert_equal(model.forward_head(features), model.head(features))
    model.train()
    assert (model.forward_head(features) - model.head(features)).abs().max() > 1e-3
    x, cls, _ = model.embedding(clips)
    assert abs((x == 0).double().mean().item() - 0.5) < 0.03
    assert (cls == 0).any()


# --- what tells the schemes apart ------------------------------------------------------------------------------------


def sees_frame_order(model: TimeSformer) -> bool:
    clips = make_clips()
    difference = (model(clips) - model(clips[:, :, [2, 0, 3, 1]])).abs().max().item()
    assert difference < 1e-11 or difference > 1e-4
    return difference > 1e-4


@torch.no_grad()
@pytest.mark.parametrize("scheme", SCHEMES)
def test_who_sees_the_order_of_frames(scheme: str) -> None:
    assert sees_frame_order(make_model(scheme=scheme)) is (scheme != "space_only")
    blind = make_model(scheme=scheme, position="space")
    # Without a time table only the stride of `global`, which keeps every second frame, tells frames apart.
    assert sees_frame_order(blind) is (scheme == "sparse_local_global")
    untrained = make_model(scheme=scheme)
    if untrained.embedding.time_table is not None:
        untrained.embedding.time_table.zero_()
    assert sees_frame_order(untrained) is (scheme == "sparse_local_global")


@torch.no_grad()
@pytest.mark.parametrize("scheme", ["joint_space_time", "divided_space_time", "axial"])
def test_without_tables_joint_is_blind_to_place_and_divided_is_not(scheme: str) -> None:
    """Patches of single frames change places: nothing to joint attention, other tubes to divided attention."""
    model, clips = make_model(scheme=scheme, position="none"), make_clips()
    moved = clips.clone()
    moved[:, :, 1] = moved[:, :, 1].roll(8, dims=-1)
    moved[:, :, 2] = moved[:, :, 2].roll(16, dims=-2)
    difference = (model(clips) - model(moved)).abs().max().item()
    assert difference < 1e-11 if scheme == "joint_space_time" else difference > 1e-4
    same_for_all = (model(clips) - model(clips.roll((8, 16), dims=(-1, -2)))).abs().max().item()
    assert same_for_all < 1e-11


# --- settings --------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_values_are_used_as_the_settings_understood_them() -> None:
    """Numbers written as text, as in a config file, are read once, by the settings."""
    torch.manual_seed(0)
    expected = TimeSformer(**TINY, drop_path=0.5, dropout=0.25)
    torch.manual_seed(0)
    words = {name: str(value) for name, value in TINY.items()}
    text = TimeSformer(**words, drop_path="0.5", dropout="0.25")
    assert text.settings == expected.settings
    clips = make_clips().float()
    torch.manual_seed(1)
    logits = expected(clips)
    torch.manual_seed(1)
    assert torch.equal(text(clips), logits)


def test_public_name() -> None:
    assert timesformer.TimeSformer is TimeSformer


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"width": 50, "heads": 4}, ["width 50", "multiple of heads 4"]),
        ({"image_size": 100, "patch_size": 16}, ["image_size 100", "multiple of patch_size 16"]),
        ({"scheme": "diagonal"}, ["scheme is 'diagonal'", *SCHEMES, "list of the steps space, time"]),
        ({"size": "huge"}, ["size", "'huge'", "'tiny'", "'small'", "'base'", "'large'"]),
        ({"patch_size": 12}, ["patch_size 12", "image_size 224 is not a multiple"]),
        ({"order": "backwards"}, ["order", "'backwards'", "'time_space'", "'space_time'", "'parallel'"]),
        ({"position": "time"}, ["position", "'time'", "'none'", "'space'", "'space_time'"]),
        ({"position_resize": "area"}, ["position_resize", "'area'", "'bicubic'", "'nearest'"]),
        ({"num_frames": 0}, ["num_frames", "0", "greater than 0"]),
        ({"num_classes": -3}, ["num_classes", "-3", "greater than 0"]),
        ({"num_classes": 2.5}, ["num_classes", "2.5", "integer"]),
        ({"depth": 0}, ["depth", "0", "greater than 0"]),
        ({"drop_path": 1.0}, ["drop_path", "1.0", "less than 1"]),
        ({"dropout": -0.1}, ["dropout", "-0.1", "greater than or equal to 0"]),
        ({"initialisation": "zeros"}, ["initialisation", "'zeros'", "'scratch'"]),
        ({"scheme": "axial", "order": "parallel"}, ["order 'parallel'", "divided_space_time", "axial"]),
        (
            {"scheme": "joint_space_time", "class_token_in_time": True},
            ["class_token_in_time", "time attention", "joint_space_time"],
        ),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, dict) else "",
)
def test_settings_that_are_refused(settings: dict[str, object], parts: list[str]) -> None:
    with pytest.raises(SettingError) as caught:
        TimeSformer(**settings)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("clips", "parts"),
    [
        (torch.zeros(1, 3, 4, 36, 32), ["36 x 32", "multiples of the patch size 8"]),
        (torch.zeros(1, 3, 4, 32, 20), ["32 x 20", "multiples of the patch size 8"]),
        (torch.zeros(1, 4, 4, 32, 32), ["(1, 4, 4, 32, 32)", "(batch, 3, frames, height, width)"]),
        (torch.zeros(1, 4, 3, 32, 32), ["(1, 4, 3, 32, 32)", "(batch, 3, frames, height, width)"]),
        (torch.zeros(3, 4, 32, 32), ["(3, 4, 32, 32)", "(batch, 3, frames, height, width)"]),
        (torch.zeros(1, 3, 4, 32, 32, dtype=torch.uint8), ["torch.uint8", "floating point"]),
        (torch.zeros(1, 3, 0, 32, 32), ["(1, 3, 0, 32, 32)", "(batch, 3, frames, height, width)"]),
        (np.zeros((1, 3, 4, 32, 32), np.float32), ["clips: ndarray", "torch.Tensor", "torch.from_numpy"]),
        (torch.zeros(1, 3, 4, 0, 32), ["(1, 3, 4, 0, 32)", "(batch, 3, frames, height, width)"]),
    ],
    ids=lambda value: "x".join(map(str, value.shape)) if isinstance(value, Tensor) else "",
)
def test_clips_that_are_refused(clips: Tensor, parts: list[str]) -> None:
    model = TimeSformer(**TINY)
    with pytest.raises(SettingError) as caught:
        model(clips)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message
