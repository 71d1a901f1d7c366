"""Learning rates and decay against hand-worked values."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from timesformer import TimeSformer
from timesformer.config import ModelSettings, Optimizer
from timesformer.model.protocol import VideoModel
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
    ("scaling", "batch", "rate"), [("linear", 16, 0.025), ("linear", 128, 0.2), ("sqrt", 16, 0.05), ("none", 16, 0.1)]
)
def test_the_rate_follows_the_batch(scaling: str, batch: int, rate: float) -> None:
    settings = Optimizer(learning_rate=0.1, reference_batch=64, scale_learning_rate=scaling)
    assert settings.rate_for(batch) == pytest.approx(rate)
    groups = make_optimizer(small_model(), settings, batch).param_groups
    assert [group["lr"] for group in groups] == pytest.approx([rate])


def test_earlier_layers_learn_at_a_fraction_of_the_rate() -> None:
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


class Toy(VideoModel):
    """A model whose tensors have other names than TimeSformer's: two layers, a table and a head."""

    def __init__(self) -> None:
        super().__init__(ModelSettings(architecture="toy", num_classes=3))
        self.stem, self.first, self.second, self.head = (nn.Linear(4, 4) for _ in range(4))
        self.table = nn.Parameter(torch.zeros(2, 4))

    def forward_features(self, clips_BCTHW: Tensor) -> Tensor:
        raise NotImplementedError

    def forward_head(self, features_BD: Tensor) -> Tensor:
        raise NotImplementedError

    def blocks(self) -> tuple[nn.Module, ...]:
        return self.first, self.second

    def layer_of(self, name: str) -> int:
        return {"stem": 0, "table": 0, "first": 1, "second": 2}.get(name.split(".")[0], 3)

    def no_weight_decay(self) -> frozenset[str]:
        return frozenset({"table"})


def test_what_the_weights_lacked_learns_at_a_multiple_of_the_rate() -> None:
    """Of that of its layer; what is frozen is in no group."""
    model = small_model()
    model.embedding.requires_grad_(False)
    model.get_parameter("embedding.time_table").requires_grad_(True)
    new = frozenset({"embedding.time_table", "head.weight", "head.bias", "blocks.1.steps.time.fc.weight"})
    settings = Optimizer(learning_rate=0.1, layer_decay=0.5, new_rate_factor=3, decay_all=False)
    groups = make_optimizer(model, settings, 64, new=new).param_groups
    found = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert found == {
        id(parameter): pytest.approx(0.1 * 0.5 ** (3 - model.layer_of(name)) * (3 if name in new else 1))
        for name, parameter in trained.items()
    }


def test_a_model_of_ones_own_answers_for_its_parameters() -> None:
    model = Toy()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    settings = Optimizer(learning_rate=0.1, layer_decay=0.5, decay_all=False, weight_decay=0.3)
    groups = make_optimizer(model, settings, 64).param_groups
    # In the order of the parameters, since a checkpoint numbers them.
    assert [[names[id(parameter)] for parameter in group["params"]] for group in groups] == [
        ["table", "stem.bias"],
        ["stem.weight"],
        ["first.weight"],
        ["first.bias"],
        ["second.weight"],
        ["second.bias"],
        ["head.weight"],
        ["head.bias"],
    ]
    assert [group["lr"] for group in groups] == pytest.approx([0.0125] * 2 + [0.025] * 2 + [0.05] * 2 + [0.1] * 2)
    assert [group["weight_decay"] for group in groups] == [0, 0.3, 0.3, 0, 0.3, 0, 0.3, 0]
    whole = make_optimizer(model, Optimizer(decay_all=True), 64).param_groups
    assert [len(group["params"]) for group in whole] == [9]


def test_the_order_of_timesformers_groups_is_that_of_version_0_1_0() -> None:
    """A checkpoint numbers the parameters of each group."""
    model = TimeSformer(width=8, depth=1, heads=1, image_size=16, patch_size=8, num_frames=2, pooling="attentive")
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    settings = Optimizer(decay_all=False, layer_decay=0.5)
    groups = [
        [names[id(weight)] for weight in group["params"]] for group in make_optimizer(model, settings, 64).param_groups
    ]
    assert [group[0] for group in groups] == [
        "embedding.class_token",
        "embedding.projection.weight",
        "blocks.0.steps.time.norm.weight",
        "blocks.0.steps.time.attention.qkv.weight",
        "norm.weight",
        "pooling.attention.qkv.weight",
    ]
    assert groups[0] == [
        "embedding.class_token",
        "embedding.space_table",
        "embedding.time_table",
        "embedding.projection.bias",
    ]
    assert groups[4] == [
        "norm.weight",
        "norm.bias",
        "pooling.query",
        "pooling.attention.qkv.bias",
        "pooling.attention.proj.bias",
        "head.bias",
    ]
