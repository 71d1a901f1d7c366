"""What a network starts from (FACTS.md): standard deviations, zeros, and the same bits for the same seed."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from timesformer.config import Scheme
from timesformer.model.timesformer import TimeSformer

SCHEMES = get_args(Scheme)
TINY = {"image_size": 32, "patch_size": 8, "num_frames": 4, "num_classes": 7, "width": 24, "depth": 2, "heads": 3}


@torch.no_grad()
@pytest.mark.parametrize("scheme", SCHEMES)
def test_initial_values(scheme: str) -> None:
    torch.manual_seed(0)
    model = TimeSformer(image_size=224, patch_size=16, num_classes=174, width=192, depth=2, heads=3, scheme=scheme)
    added = [step.fc for block in model.blocks() for step in block.steps.values() if step.fc is not None]
    assert len(added) == 2 * {"axial": 2, "divided_space_time": 1, "sparse_local_global": 1}.get(scheme, 0)
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            assert module.eps == 1e-6
            assert (module.weight == 1).all()
            assert not module.bias.any()
        elif isinstance(module, nn.Linear):
            assert not module.bias.any()
            if any(module is layer for layer in added):
                assert not module.weight.any()
                continue
            count = module.weight.numel()
            assert abs(module.weight.mean().item()) < 5 * 0.02 / math.sqrt(count)
            assert module.weight.std().item() == pytest.approx(0.02, rel=5 / math.sqrt(2 * count))
    embedding = model.embedding
    assert embedding.space_table.std().item() == pytest.approx(0.02, rel=0.03)
    assert embedding.class_token.std().item() == pytest.approx(0.02, rel=0.25)
    assert embedding.time_table is None or not embedding.time_table.any()


@torch.no_grad()
def test_from_scratch() -> None:
    torch.manual_seed(0)
    model = TimeSformer(**{**TINY, "num_classes": 300, "width": 48}, initialisation="scratch")
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and not name.endswith(".fc"):
            count = module.weight.numel()
            wanted = module.in_features**-0.5
            assert module.weight.std().item() == pytest.approx(wanted, rel=5 / math.sqrt(2 * count)), name
        elif isinstance(module, nn.Linear):
            assert not module.weight.any()


@torch.no_grad()
def test_tables_from_scratch_are_smooth_waves_in_a_random_basis() -> None:
    torch.manual_seed(0)
    settings = {**TINY, "image_size": 64, "num_frames": 16, "width": 48}
    embedding = TimeSformer(**settings, initialisation="scratch").embedding
    time = embedding.time_table[0]
    space = embedding.space_table[0, 1:].unflatten(0, (8, 8))
    # inner products do not depend on the basis: of waves, by hand, channel by channel
    expected = torch.zeros(16, 16)
    for channel in range(24):
        turns = 2 ** (3 * channel / 24)
        for wave in (math.sin, math.cos):
            line = torch.tensor([math.sqrt(2) * wave(math.pi * (frame + 0.5) / 16 * turns) for frame in range(16)])
            line -= line.mean()
            expected += torch.outer(line, line)
    torch.testing.assert_close(time @ time.T, expected, rtol=1e-4, atol=1e-3)
    # places in the same row differ by their columns alone
    rows = space[:, 1] - space[:, 0]
    torch.testing.assert_close(rows, rows[:1].expand(8, -1))
    assert time.std().item() == pytest.approx(0.93, abs=0.1)
    assert space.std().item() == pytest.approx(0.93, abs=0.1)


def test_motion_without_an_image_model_is_scratch() -> None:
    weights = []
    for how in ("scratch", "motion"):
        torch.manual_seed(0)
        weights.append(TimeSformer(**TINY, initialisation=how).state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_same_seed_gives_the_same_bits(scheme: str) -> None:
    def weights(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        return TimeSformer(**TINY, scheme=scheme, initialisation="scratch").state_dict()

    first, second, other = weights(3), weights(3), weights(4)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    random = [name for name, value in first.items() if value.unique().numel() > 1]
    assert len(random) > 8
    assert not any(torch.equal(first[name], other[name]) for name in random)


def test_a_training_step_of_the_same_seed_gives_the_same_bits() -> None:
    def gradients() -> list[Tensor]:
        torch.manual_seed(3)
        model = TimeSformer(**TINY, dropout=0.1, drop_path=0.3).train()
        loss = F.cross_entropy(model(torch.randn(2, 3, 4, 32, 32)), torch.tensor([1, 2]))
        return list(torch.autograd.grad(loss, list(model.parameters())))

    assert all(torch.equal(*pair) for pair in zip(gradients(), gradients(), strict=True))


@pytest.mark.parametrize(
    ("size", "width", "depth", "heads"),
    [("tiny", 192, 12, 3), ("small", 384, 12, 6), ("base", 768, 12, 12), ("large", 1024, 24, 16)],
)
def test_named_sizes(size: str, width: int, depth: int, heads: int) -> None:
    with torch.device("meta"):
        model = TimeSformer(size=size)
    assert len(model.blocks()) == depth
    assert model.head.weight.shape == (400, width)
    assert model.blocks()[0].mlp[0].weight.shape == (4 * width, width)
    assert model.blocks()[-1].steps["space"].attention.heads == heads
