"""Low-rank adapters: at first they change nothing, merged they compute the same, whatever uses the layer's weight."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from torch import nn

from timesformer import TimeSformer
from timesformer.config import ActivationCheckpointing, Scheme
from timesformer.errors import SettingError
from timesformer.model.adapters import AdaptedLinear, add_adapters, merge_adapters

SCHEMES: list[dict[str, Any]] = [{"scheme": scheme} for scheme in get_args(Scheme)]
SCHEMES.append({"scheme": "divided_space_time", "class_token_in_time": True})


def make_model(**settings: Any) -> TimeSformer:
    torch.manual_seed(0)
    model = TimeSformer(
        width=16, depth=2, heads=2, num_frames=4, image_size=16, patch_size=8, num_classes=3, drop_path=0.0, **settings
    )
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model.requires_grad_(False)


def adapted(rank: int = 2, **settings: Any) -> TimeSformer:
    model = make_model(**settings)
    add_adapters(model, model.adaptable_layers(), rank, seed=3)
    for part in model.modules():
        if isinstance(part, AdaptedLinear):
            nn.init.normal_(part.up, std=0.2)
    return model


@pytest.mark.parametrize("settings", SCHEMES, ids=str)
def test_an_adapter_is_a_low_rank_change_of_the_weight(settings: dict[str, Any]) -> None:
    """In every scheme all are learned, those too of layers of which a step takes only some rows."""
    clips = torch.randn(2, 3, 4, 16, 16)
    plain, model = make_model(**settings), adapted(**settings)
    model(clips).square().sum().backward()
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert all(name.endswith((".down", ".up")) for name in trained)
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in trained.values())
    with torch.no_grad():
        for name in plain.adaptable_layers():
            part = model.get_submodule(name)
            assert isinstance(part, AdaptedLinear)
            plain.get_parameter(f"{name}.weight").add_(part.up @ part.down)
        torch.testing.assert_close(model(clips), plain(clips), rtol=0, atol=1e-5)
        merged = merge_adapters(model)
    assert merged.state_dict().keys() == plain.state_dict().keys()
    for name, tensor in merged.state_dict().items():
        torch.testing.assert_close(tensor, plain.state_dict()[name], rtol=0, atol=1e-6)
    assert merged.head.weight is model.head.weight
    assert len(list(model.parameters())) > len(list(merged.parameters()))


def test_new_adapters_change_nothing_and_are_the_seeds() -> None:
    clips = torch.randn(2, 3, 4, 16, 16)
    plain, models = make_model(), [make_model() for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        torch.manual_seed(seed + 10)  # what else was drawn does not matter
        add_adapters(model, model.adaptable_layers(), 2, seed)
        assert torch.equal(model(clips), plain(clips))
    downs = [model.get_parameter("blocks.0.mlp.0.down") for model in models]
    assert torch.equal(downs[0], downs[1])
    assert not torch.equal(downs[0], downs[2])
    assert downs[0].abs().max() <= 16**-0.5
    assert merge_adapters(plain) is plain


def test_ranks_that_a_layer_does_not_have() -> None:
    model = make_model()
    with pytest.raises(
        SettingError, match=r"^adapters of rank 17: layer blocks\.0\.\S+ is a matrix of rank 16 at most"
    ):
        add_adapters(model, model.adaptable_layers(), 17, 0)


def test_activation_checkpointing_changes_no_gradient() -> None:
    gradients = []
    for what in get_args(ActivationCheckpointing):
        model = adapted()
        model.set_activation_checkpointing(what)
        torch.manual_seed(1)
        model.train()(torch.randn(2, 3, 4, 16, 16)).square().sum().backward()
        gradients.append({name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None})
    for found in gradients[1:]:
        assert found.keys() == gradients[0].keys() != set()
        assert all(torch.equal(found[name], gradients[0][name]) for name in found)
