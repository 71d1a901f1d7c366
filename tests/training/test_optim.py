"""Learning rates and decay against hand-worked values."""

from __future__ import annotations

import pytest
import torch

from timesformer import TimeSformer
from timesformer.config import Optimizer
from timesformer.recipes import load_recipe
from timesformer.training.optim import make_optimizer, make_schedule


def small_model() -> TimeSformer:
    return TimeSformer(size="tiny", depth=2, width=16, heads=2, image_size=16, patch_size=8, num_classes=3)


def rates(settings: Optimizer, steps_per_epoch: float, epochs: int) -> list[float]:
    """The learning rate of every step of a run."""
    optimizer = make_optimizer(small_model(), settings, settings.reference_batch)
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
    model = small_model()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = make_optimizer(model, Optimizer(decay_all=False), 64).param_groups
    free, decayed = sorted(groups, key=lambda group: group["weight_decay"])
    assert free["weight_decay"] == 0
    spared = {names[id(parameter)] for parameter in free["params"]}
    assert {"embedding.space_table", "embedding.time_table", "embedding.class_token", "norm.weight"} <= spared
    kept = {names[id(parameter)] for parameter in decayed["params"]}
    assert kept == {name for name in names.values() if name.endswith(".weight") and "norm" not in name}
    assert len(make_optimizer(model, Optimizer(decay_all=True), 64).param_groups) == 1


def test_a_learned_query_is_not_decayed_on_request() -> None:
    model = TimeSformer(width=8, depth=1, heads=1, image_size=16, patch_size=8, num_frames=2, pooling="attentive")
    assert model.pooling is not None
    groups = make_optimizer(model, Optimizer(decay_all=False), 64).param_groups
    [query] = [group for group in groups if any(weight is model.pooling.query for weight in group["params"])]
    assert query["weight_decay"] == 0


def test_sgd_step_is_nesterovs() -> None:
    model = small_model().requires_grad_(False)
    model.head.bias.requires_grad_(True)
    with torch.no_grad():
        model.head.bias.fill_(1.0)
    optimizer = make_optimizer(model, Optimizer(learning_rate=0.1, momentum=0.9, weight_decay=0.5), 64)
    model.head.bias.grad = torch.full((3,), 2.0)
    optimizer.step()
    # gradient with decay 2.5, momentum buffer 2.5, Nesterov step 2.5 + 0.9 * 2.5
    assert model.head.bias.tolist() == pytest.approx([1 - 0.1 * (2.5 + 0.9 * 2.5)] * 3)


@pytest.mark.parametrize(
    ("law", "batch", "rate"), [("linear", 16, 0.025), ("linear", 128, 0.2), ("sqrt", 16, 0.05), ("none", 16, 0.1)]
)
def test_the_rate_follows_the_batch(law: str, batch: int, rate: float) -> None:
    settings = Optimizer(learning_rate=0.1, reference_batch=64, scale_learning_rate=law)
    assert settings.rate_for(batch) == pytest.approx(rate)
    groups = make_optimizer(small_model(), settings, batch).param_groups
    assert [group["lr"] for group in groups] == pytest.approx([rate])


def test_earlier_layers_learn_at_a_share_of_the_rate() -> None:
    model = small_model()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    settings = Optimizer(learning_rate=0.1, layer_decay=0.5, decay_all=False, weight_decay=0.3)
    found = {
        names[id(parameter)]: (group["lr"], group["weight_decay"])
        for group in make_optimizer(model, settings, 64).param_groups
        for parameter in group["params"]
    }
    assert found.keys() == set(names.values())
    assert found["head.weight"] == pytest.approx((0.1, 0.3))
    assert found["norm.bias"] == pytest.approx((0.1, 0))
    assert found["blocks.1.mlp.0.weight"] == pytest.approx((0.05, 0.3))
    assert found["blocks.0.steps.time.fc.weight"] == pytest.approx((0.025, 0.3))
    assert found["embedding.projection.weight"] == pytest.approx((0.0125, 0.3))
    assert found["embedding.time_table"] == pytest.approx((0.0125, 0))
