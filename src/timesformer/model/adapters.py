"""Low-rank adapters (LoRA, Hu et al., 2021, arXiv 2106.09685): a frozen linear layer W learns a change B A of low rank.

    (W + B A) x + b        A (rank, inputs), random; B (outputs, rank), zero, so that nothing changes at first

Merged, the layer is a plain linear one again, with W + B A for its weight.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from timesformer.errors import SettingError
from timesformer.model.protocol import VideoModel


class AdaptedLinear(nn.Module):
    """A linear layer, frozen, and its adapter, which is learned. `weight` and `bias` are those of the merged layer, for
    code that takes a part of them."""

    def __init__(self, linear: nn.Linear, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        self.linear = linear.requires_grad_(False)
        weight = linear.weight
        limit = weight.shape[1] ** -0.5
        down_RD = torch.empty(rank, weight.shape[1]).uniform_(-limit, limit, generator=generator)
        self.down = nn.Parameter(down_RD.to(weight))
        self.up = nn.Parameter(weight.new_zeros(weight.shape[0], rank))

    @property
    def rank(self) -> int:
        """Of the change."""
        return self.down.shape[0]

    @property
    def weight(self) -> Tensor:
        """W + B A: (outputs, inputs)."""
        return self.linear.weight + self.up @ self.down

    @property
    def bias(self) -> Tensor | None:
        """The frozen layer's."""
        return self.linear.bias

    def forward(self, x: Tensor) -> Tensor:
        changed: Tensor = self.linear(x) + F.linear(F.linear(x, self.down), self.up)
        return changed

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """The plain layer; it shares the bias."""
        plain = nn.Linear(self.linear.in_features, self.linear.out_features, bias=self.bias is not None, device="meta")
        plain.weight, plain.bias = nn.Parameter(self.weight), self.linear.bias
        return plain


def add_adapters(model: VideoModel, layers: Iterable[str], rank: int, seed: int) -> None:
    """Put adapters of rank `rank` on the named linear layers, in place; the seed alone decides their weights.

    Raises SettingError for a rank that a layer does not have.
    """
    generator = torch.Generator().manual_seed(seed)
    for name in layers:
        linear = model.get_submodule(name)
        assert isinstance(linear, nn.Linear)
        if rank > (most := min(linear.weight.shape)):
            raise SettingError(f"adapters of rank {rank}: layer {name} is a matrix of rank {most} at most")
        model.set_submodule(name, AdaptedLinear(linear, rank, generator))


def merge_adapters(model: VideoModel) -> VideoModel:
    """The same function without adapters: the model itself where it has none, else another that shares all tensors but
    those of the merged layers."""
    adapted = [name for name, part in model.named_modules() if isinstance(part, AdaptedLinear)]
    if not adapted:
        return model
    merged = copy.deepcopy(model, {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())})
    for name in adapted:
        layer = merged.get_submodule(name)
        assert isinstance(layer, AdaptedLinear)
        merged.set_submodule(name, layer.merged())
    return merged
