"""What an engine takes from the layers of a model, in float32.

Weights are the model's own, so that no layer lies in memory twice while an engine is made; what an engine keeps of them
its own layers copy. Norms are copies.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from timesformer.engine.probing import probe
from timesformer.model.block import Block, Step
from timesformer.model.schemes import AttentionStep


class LinearParts(NamedTuple):
    """Weight (O, I) and bias (O,) of a linear layer, or those of a convolution; not to be changed or kept."""

    weight: Tensor
    bias: Tensor


class StepParts(NamedTuple):
    """An attention step of a block. fc: the linear layer after it, unless it is merged into `proj`."""

    name: str
    step: AttentionStep
    heads: int
    norm: nn.LayerNorm
    qkv: LinearParts
    proj: LinearParts
    fc: LinearParts | None = None


class MlpParts(NamedTuple):
    """The norm and the two linear layers of a block's MLP."""

    norm: nn.LayerNorm
    fc1: LinearParts
    fc2: LinearParts


def active_steps(block: Block) -> tuple[str, ...]:
    """The steps of a block from which tokens gain anything, in their order.

    From a step whose last linear layer is all zero they gain nothing, so it need not be computed; every step but the
    last is such a one in a video model just initialised from an image model.
    """
    return tuple(name for name in block.order if not _all_zero(block.steps[name]))


def _all_zero(step: nn.Module) -> bool:
    """Whether a step's last linear layer is; one on the meta device, which has no values, counts as any other."""
    assert isinstance(step, Step)
    return step.fc is not None and not any(parameter.is_meta or parameter.any() for parameter in step.fc.parameters())


def take_step(block: Block, name: str) -> StepParts:
    """A step of a block; the linear layer after it is multiplied into its projection where that is the same."""
    step = block.steps[name]
    assert isinstance(step, Step)
    norm, qkv, proj = own_norm(step.norm), take_linear(step.attention.qkv), take_linear(step.attention.proj)
    fc = None if step.fc is None else take_linear(step.fc)
    if fc is not None and probe(step.step).linear:
        last, first = ([part.double() for part in layer] for layer in (fc, proj))
        proj = LinearParts((last[0] @ first[0]).float(), (last[0] @ first[1] + last[1]).float())
        fc = None
    return StepParts(name, step.step, step.attention.heads, norm, qkv, proj, fc)


def take_mlp(block: Block) -> MlpParts:
    """The MLP of a block."""
    return MlpParts(own_norm(block.norm), take_linear(block.mlp[0]), take_linear(block.mlp[3]))


def take_linear(linear: nn.Module) -> LinearParts:
    """Weight and bias of a layer."""
    assert isinstance(linear, nn.Linear | nn.Conv2d)
    assert linear.bias is not None
    return LinearParts(linear.weight.detach().float(), linear.bias.detach().float())


def own_norm(norm: nn.Module) -> nn.LayerNorm:
    """A copy of a norm, in float32."""
    assert isinstance(norm, nn.LayerNorm)
    return copy.deepcopy(norm).float().requires_grad_(False)


def own(parameter: Tensor) -> Tensor:
    """A copy of a parameter, in float32."""
    return parameter.detach().to(torch.float32, copy=True)
