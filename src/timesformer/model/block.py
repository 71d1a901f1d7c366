"""One block: the attention steps of a scheme, then the MLP.

Dimensions: B batch, T frames, N patches of a frame, D channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from timesformer.config import ModelSettings
from timesformer.model.attention import Attention
from timesformer.model.schemes import SCHEMES, STEPS, After, Grid, time_with_class, unchanged


class DropPath(nn.Module):
    """Stochastic depth: in training, drops whole rows of the first dimension and rescales the others."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.share == 0:
            return x
        keep = 1 - self.share
        mask = torch.empty((x.shape[0], *[1] * (x.ndim - 1)), dtype=x.dtype, device=x.device).bernoulli_(keep)
        return (x * mask).div_(keep)


class Step(nn.Module):
    """One attention with its norm. All steps but a scheme's last, which is the image ViT's own attention, end in
    a linear layer that starts at zero (`temporal_fc` of the released code)."""

    def __init__(self, name: str, settings: ModelSettings, share: float, *, last: bool) -> None:
        super().__init__()
        width, _, heads = settings.dimensions
        self.attend = time_with_class if name == "time" and settings.class_token_in_time else STEPS[name]
        self.norm = nn.LayerNorm(width, settings.norm_epsilon)
        self.attention = Attention(width, heads)
        self.fc = None if last else nn.Linear(width, width)
        self.drop_path = DropPath(share)

    def forward(self, x_BTND: Tensor, cls_B1D: Tensor, grid: Grid) -> tuple[Tensor, Tensor | None]:
        """What the patches and the class token gain; None where the class token takes no part."""
        after = After(self.drop_path, unchanged if self.fc is None else self.fc)
        return self.attend(self.attention, self.norm(x_BTND), self.norm(cls_B1D), grid, after)


class Block(nn.Module):
    """Attention steps in order (or side by side), then the MLP, each added to its input (Eq. 5 to 9)."""

    def __init__(self, settings: ModelSettings, share: float) -> None:
        super().__init__()
        width = settings.dimensions.width
        hidden = int(width * settings.mlp_ratio)
        names = SCHEMES[settings.scheme]
        self.order = tuple(reversed(names)) if settings.order == "space_time" else names
        self.parallel = settings.order == "parallel"
        self.steps = nn.ModuleDict({name: Step(name, settings, share, last=name == names[-1]) for name in names})
        self.norm = nn.LayerNorm(width, settings.norm_epsilon)
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden),
            nn.GELU(),
            nn.Dropout(settings.dropout),
            nn.Linear(hidden, width),
            nn.Dropout(settings.dropout),
        )
        self.drop_path = DropPath(share)

    def forward(self, x_BTND: Tensor, cls_B1D: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
        seen_x, seen_cls = x_BTND, cls_B1D
        for name in self.order:
            if not self.parallel:
                seen_x, seen_cls = x_BTND, cls_B1D
            dx, dcls = self.steps[name](seen_x, seen_cls, grid)
            x_BTND = x_BTND + dx
            cls_B1D = cls_B1D if dcls is None else cls_B1D + dcls
        tokens = torch.cat([cls_B1D, x_BTND.flatten(1, 2)], dim=1)
        tokens = tokens + self.drop_path(self.mlp(self.norm(tokens)))
        cls_B1D, patches = tokens.tensor_split([1], dim=1)
        return patches.unflatten(1, x_BTND.shape[1:3]), cls_B1D
