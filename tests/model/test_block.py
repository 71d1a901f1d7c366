"""A block's order of steps, its zero start and its stochastic depth, against formulas composed by hand."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from timesformer.config import TimeSformerSettings
from timesformer.model.attention import Attention, DropPath
from timesformer.model.block import Block, Step
from timesformer.model.timesformer import TimeSformer

WIDTH, HEADS, FRAMES, GRID = 12, 3, 3, (2, 4)
PLACES = GRID[0] * GRID[1]


def make_block(share: float = 0.0, **settings: object) -> Block:
    """A block of random parameters, in float64."""
    settings = {"width": WIDTH, "depth": 1, "heads": HEADS, "image_size": 32, "patch_size": 8, **settings}
    block = Block(TimeSformerSettings.model_validate(settings), share).double().eval()
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.4)
    return block


def make_tokens(batch: int = 2) -> tuple[Tensor, Tensor]:
    x = torch.randn(batch, FRAMES, PLACES, WIDTH, dtype=torch.float64)
    return x, torch.randn(batch, 1, WIDTH, dtype=torch.float64)


# --- order -----------------------------------------------------------------------------------------------------------


def attend(attention: Attention, tokens: Tensor) -> Tensor:
    """Attention among the tokens of the last but one dimension."""
    q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(-2, -3) for part in attention.qkv(tokens).split(WIDTH, dim=-1))
    weights = (q @ k.transpose(-1, -2) / math.sqrt(WIDTH // HEADS)).softmax(-1)
    return attention.proj((weights @ v).transpose(-2, -3).flatten(-2))


def norm(layer: nn.LayerNorm, tokens: Tensor) -> Tensor:
    return F.layer_norm(tokens, (WIDTH,), layer.weight, layer.bias, eps=1e-6)


def time_gain(block: Block, x: Tensor) -> Tensor:
    step = block.steps["time"]
    gains = [attend(step.attention, norm(step.norm, x[:, :, place])) for place in range(PLACES)]
    return step.fc(torch.stack(gains, dim=2))


def space_gain(block: Block, x: Tensor, cls: Tensor) -> tuple[Tensor, Tensor]:
    step = block.steps["space"]
    gains = [attend(step.attention, norm(step.norm, torch.cat([cls, x[:, t]], dim=1))) for t in range(FRAMES)]
    return torch.stack([gain[:, 1:] for gain in gains], dim=1), sum(gain[:, :1] for gain in gains) / FRAMES


def with_mlp(block: Block, x: Tensor, cls: Tensor) -> tuple[Tensor, Tensor]:
    first, second = block.mlp[0], block.mlp[3]
    return x + second(F.gelu(first(norm(block.norm, x)))), cls + second(F.gelu(first(norm(block.norm, cls))))


def time_then_space(block: Block, x: Tensor, cls: Tensor) -> tuple[Tensor, Tensor]:
    x = x + time_gain(block, x)
    dx, dcls = space_gain(block, x, cls)
    return x + dx, cls + dcls


def space_then_time(block: Block, x: Tensor, cls: Tensor) -> tuple[Tensor, Tensor]:
    dx, dcls = space_gain(block, x, cls)
    x, cls = x + dx, cls + dcls
    return x + time_gain(block, x), cls


def side_by_side(block: Block, x: Tensor, cls: Tensor) -> tuple[Tensor, Tensor]:
    dx, dcls = space_gain(block, x, cls)
    return x + time_gain(block, x) + dx, cls + dcls


ORDERS = {"time_space": time_then_space, "space_time": space_then_time, "parallel": side_by_side}


@torch.no_grad()
@pytest.mark.parametrize("order", ORDERS)
def test_order(order: str) -> None:
    torch.manual_seed(0)
    block, (x, cls) = make_block(order=order), make_tokens()
    out_x, out_cls = block(x, cls, GRID)
    for name, compose in ORDERS.items():
        expected_x, expected_cls = with_mlp(block, *compose(block, x, cls))
        if name == order:
            torch.testing.assert_close(out_x, expected_x, rtol=0, atol=1e-11)
            torch.testing.assert_close(out_cls, expected_cls, rtol=0, atol=1e-11)
        else:
            assert (out_x - expected_x).abs().max() > 0.1, f"{order} cannot be told from {name}"


@torch.no_grad()
def test_mlp_dropout_only_in_training() -> None:
    torch.manual_seed(0)
    block, (x, cls) = make_block(dropout=0.5), make_tokens()
    expected = with_mlp(block, *time_then_space(block, x, cls))
    torch.testing.assert_close(block(x, cls, GRID), expected, rtol=0, atol=1e-11)
    block.train()
    assert (block(x, cls, GRID)[0] - expected[0]).abs().max() > 0.1


# --- zero start ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["time_space", "space_time", "parallel"])
def test_an_added_time_step_starts_as_the_identity(order: str) -> None:
    """A fresh divided block computes what a space-only block with the same weights does, frame by frame."""
    torch.manual_seed(0)
    settings = {"width": WIDTH, "depth": 1, "heads": HEADS, "image_size": 32, "patch_size": 8}
    divided = TimeSformer(**settings, order=order).double().eval().blocks()[0]
    space = TimeSformer(**settings, scheme="space_only").double().eval().blocks()[0]
    space.load_state_dict({k: v for k, v in divided.state_dict().items() if not k.startswith("steps.time.")})
    x, cls = make_tokens()
    torch.testing.assert_close(divided(x, cls, GRID), space(x, cls, GRID), rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("scheme", "added", "last"),
    [
        ("space_only", [], "space"),
        ("joint_space_time", [], "joint"),
        ("divided_space_time", ["time"], "space"),
        ("sparse_local_global", ["local"], "global"),
        ("axial", ["time", "width"], "height"),
    ],
)
def test_added_steps_start_at_zero_and_can_leave_it(scheme: str, added: list[str], last: str) -> None:
    torch.manual_seed(0)
    model = TimeSformer(scheme=scheme, width=WIDTH, depth=2, heads=HEADS, image_size=32, patch_size=8).double()
    for block in model.blocks():
        x, cls = make_tokens()
        assert list(block.steps) == [*added, last]
        for name in added:
            dx, dcls = block.steps[name](x, cls, GRID)
            assert not dx.any()
            assert dcls is None or not dcls.any()
            dx.sum().backward()
            assert block.steps[name].fc.weight.grad.abs().max() > 1e-3
        assert block.steps[last].fc is None
        assert block.steps[last](x, cls, GRID)[0].abs().max() > 1e-4


# --- stochastic depth ------------------------------------------------------------------------------------------------


def test_drop_path_drops_whole_rows_and_rescales_the_others() -> None:
    torch.manual_seed(0)
    drop = DropPath(0.3).train()
    x = torch.randn(20_000, 2, 3, dtype=torch.float64)
    out = drop(x)
    kept = out[:, 0, 0] != 0
    torch.testing.assert_close(out[kept], x[kept] / 0.7, rtol=1e-12, atol=0)
    assert not out[~kept].any()
    rows = drop(torch.ones(20_000, 1, dtype=torch.float64))
    assert abs((rows == 0).double().mean().item() - 0.3) < 0.015  # 4.6 standard deviations
    assert abs(rows.mean().item() - 1) < 0.02


def test_drop_path_is_off_in_eval_and_at_zero() -> None:
    x = torch.randn(1000, 2)
    assert torch.equal(DropPath(0.9).eval()(x), x)
    assert torch.equal(DropPath(0.0).train()(x), x)


def ratios(step: Step, x: Tensor, cls: Tensor) -> Tensor:
    """What training made of each value that evaluation gives; the linear layer after it taken away."""
    step.fc = None
    evaluated = step.eval()(x, cls, GRID)[0]
    assert evaluated.abs().min() > 1e-9
    return step.train()(x, cls, GRID)[0] / evaluated


@torch.no_grad()
@pytest.mark.parametrize(
    ("scheme", "name", "apart", "class_token_in_time"),
    [
        # dimensions (batch, frame, row, column) along which rows are drawn independently
        ("divided_space_time", "time", (0, 2, 3), False),  # per patch position
        ("divided_space_time", "time", (0, 2, 3), True),
        ("divided_space_time", "space", (0, 1), False),  # per frame
        ("joint_space_time", "joint", (0,), False),
        ("sparse_local_global", "local", (0,), False),
        ("sparse_local_global", "global", (0,), False),
        ("axial", "time", (0, 2, 3), False),
        ("axial", "width", (0, 1, 2), False),  # per row of a frame
        ("axial", "height", (0, 1, 3), False),  # per column of a frame
    ],
)
def test_what_drop_path_drops(scheme: str, name: str, apart: tuple[int, ...], class_token_in_time: bool) -> None:
    torch.manual_seed(0)
    block = make_block(0.5, scheme=scheme, class_token_in_time=class_token_in_time)
    ratio = ratios(block.steps[name], *make_tokens(batch=24)).unflatten(2, GRID)
    together = [dim for dim in range(5) if dim not in apart]
    assert ((ratio < 1e-9) | ((ratio - 2).abs() < 1e-9)).all()
    assert torch.equal(ratio.amax(together).round(), ratio.amin(together).round())
    for dim in apart:  # rows differ along each of them, even where the other indices agree
        assert (ratio.amax(dim) - ratio.amin(dim)).max() > 1
    share = (ratio.amax(together) < 1).double()
    assert abs(share.mean().item() - 0.5) < 4 * 0.5 / math.sqrt(share.numel())


@torch.no_grad()
def test_class_token_copies_are_dropped_with_their_frame() -> None:
    torch.manual_seed(0)
    block = make_block(0.5, scheme="divided_space_time")
    step, (x, cls) = block.steps["space"], make_tokens(batch=16)
    copies = [attend(step.attention, norm(step.norm, torch.cat([cls, x[:, t]], dim=1))) for t in range(FRAMES)]
    dx, dcls = step.train()(x, cls, GRID)
    kept = [dx[:, t].abs().amax((1, 2)) > 0 for t in range(FRAMES)]
    expected = sum(2 * k[:, None, None] * copy[:, :1] for k, copy in zip(kept, copies, strict=True)) / FRAMES
    torch.testing.assert_close(dcls, expected, rtol=0, atol=1e-12)
    assert any(not torch.equal(kept[0], other) for other in kept[1:])


@torch.no_grad()
def test_the_mlp_is_dropped_for_whole_clips() -> None:
    torch.manual_seed(0)
    block, (x, cls) = make_block(0.5, scheme="divided_space_time"), make_tokens(batch=32)
    for step in block.steps.values():
        step.attention.drop_path.drop_prob = 0.0
    before_x, before_cls = time_then_space(block, x, cls)
    after_x, after_cls = with_mlp(block, before_x, before_cls)
    out_x, out_cls = block.train()(x, cls, GRID)
    ratio = torch.cat(
        [
            ((out_x - before_x) / (after_x - before_x)).flatten(1),
            ((out_cls - before_cls) / (after_cls - before_cls)).flatten(1),
        ],
        dim=1,
    )
    assert torch.equal(ratio.amax(1).round(), ratio.amin(1).round())
    assert sorted(ratio.mean(1).round().unique().tolist()) == [0, 2]


def test_drop_path_grows_linearly_over_depth() -> None:
    model = TimeSformer(width=WIDTH, depth=5, heads=HEADS, image_size=32, patch_size=8, drop_path=0.2)
    for block, expected in zip(model.blocks(), [0, 0.05, 0.1, 0.15, 0.2], strict=True):
        drops = [module for module in block.modules() if isinstance(module, DropPath)]
        assert len(drops) == 3  # time, space, MLP
        assert all(abs(drop.drop_prob - expected) < 1e-7 for drop in drops)
