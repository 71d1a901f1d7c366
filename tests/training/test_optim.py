"""Learning rates and decay against hand-worked values."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from timesformer import TimeSformer
from timesformer.config import Optimizer
from timesformer.recipes import load_recipe
from timesformer.training.optim import make_optimizer, make_schedule


def rates(settings: Optimizer, steps_per_epoch: float, epochs: int) -> list[float]:
    """The learning rate of every step of a run."""
    optimizer = make_optimizer(nn.Linear(2, 2), settings)
    schedule = make_schedule(optimizer, settings, steps_per_epoch, epochs)
    found = []
    for _ in range(round(steps_per_epoch * epochs)):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_paper_divides_by_ten_at_epochs_11_and_14() -> None:
    found = rates(load_recipe("k400-base").optimizer, steps_per_epoch=10, epochs=15)
    assert found[:110] == pytest.approx([0.005] * 110)
    assert found[110:140] == pytest.approx([0.0005] * 30)
    assert found[140:] == pytest.approx([0.00005] * 10)


def test_warmup_then_cosine() -> None:
    settings = Optimizer(name="adamw", learning_rate=1.0, schedule="cosine", warmup_epochs=1)
    found = rates(settings, steps_per_epoch=4, epochs=3)
    assert found[:4] == pytest.approx([0.01, 0.2575, 0.505, 0.7525])
    half = torch.arange(8) / 8 * torch.pi
    assert found[4:] == pytest.approx(((1 + half.cos()) / 2).tolist(), abs=1e-6)


def test_warmup_moves_no_milestone() -> None:
    settings = Optimizer(learning_rate=1.0, schedule="steps", steps=(2,), warmup_epochs=1)
    assert rates(settings, 4, 3)[4:] == pytest.approx([1.0] * 4 + [0.1] * 4)


def test_constant() -> None:
    assert rates(Optimizer(learning_rate=0.3, schedule="constant"), 3, 2) == pytest.approx([0.3] * 6)


def test_decay_spares_norms_biases_and_tables_on_request() -> None:
    model = TimeSformer(size="tiny", depth=1, width=16, heads=2, image_size=16, patch_size=8, num_classes=3)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed, free = make_optimizer(model, Optimizer(decay_all=False)).param_groups
    assert free["weight_decay"] == 0
    spared = {names[id(parameter)] for parameter in free["params"]}
    assert {"embedding.space_table", "embedding.time_table", "embedding.class_token", "norm.weight"} <= spared
    kept = {names[id(parameter)] for parameter in decayed["params"]}
    assert kept == {name for name in names.values() if name.endswith(".weight") and "norm" not in name}
    assert len(make_optimizer(model, Optimizer(decay_all=True)).param_groups) == 1


def test_sgd_step_is_nesterovs() -> None:
    weight = nn.Parameter(torch.tensor([1.0]))
    module = nn.Module()
    module.weight = weight
    optimizer = make_optimizer(module, Optimizer(learning_rate=0.1, momentum=0.9, weight_decay=0.5))
    weight.grad = torch.tensor([2.0])
    optimizer.step()
    # gradient with decay 2.5, momentum buffer 2.5, Nesterov step 2.5 + 0.9 * 2.5
    assert weight.item() == pytest.approx(1 - 0.1 * (2.5 + 0.9 * 2.5))
