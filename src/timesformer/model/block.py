"""One block: the attention steps of a scheme, then the MLP.

Dimensions: B batch, T frames, N patches of a frame, D channels.
"""

from __future__ import annotations

from torch import Tensor, nn

from timesformer.config import TimeSformerSettings
from timesformer.model.attention import Attend, Attention, DropPath, attend
from timesformer.model.schemes import attention_step
from timesformer.model.tokens import Grid, join_tokens, split_tokens


class Step(nn.Module):
    """One attention with its norm. All steps but a scheme's last, which is the image ViT's own attention, end in
    a linear layer that is initialised to zero (`temporal_fc` of the released code)."""

    def __init__(
        self, name: str, settings: TimeSformerSettings, drop_prob: float, attend: Attend, *, last: bool
    ) -> None:
        super().__init__()
        width, _, heads = settings.dimensions
        self.step = attention_step(name, class_token_in_time=settings.class_token_in_time)
        self.norm = nn.LayerNorm(width, settings.norm_epsilon)
        self.attention = Attention(width, heads, drop_prob, attend)
        self.fc = None if last else nn.Linear(width, width)

    def forward(self, x_BTND: Tensor, cls_B1D: Tensor, grid: Grid) -> tuple[Tensor, Tensor | None]:
        """What the patches and the class token gain; None where the class token takes no part."""
        dx, dcls = self.step.function(self.attention, self.norm(x_BTND), self.norm(cls_B1D), grid)
        if self.fc is None:
            return dx, dcls
        return self.fc(dx), None if dcls is None else self.fc(dcls)


class Block(nn.Module):
    """Attention steps in order (or side by side), then the MLP, each added to its input (Eq. 5 to 9)."""

    def __init__(self, settings: TimeSformerSettings, drop_prob: float = 0.0, attend: Attend = attend) -> None:
        super().__init__()
        width = settings.dimensions.width
        names = settings.steps
        self.order = tuple(reversed(names)) if settings.order == "space_time" else names
        self.parallel = settings.order == "parallel"
        self.steps = nn.ModuleDict(
            {name: Step(name, settings, drop_prob, attend, last=name == names[-1]) for name in names}
        )
        self.norm = nn.LayerNorm(width, settings.norm_epsilon)
        self.mlp = nn.Sequential(
            nn.Linear(width, settings.hidden),
            nn.GELU(),
            nn.Dropout(settings.dropout),
            nn.Linear(settings.hidden, width),
            nn.Dropout(settings.dropout),
        )
        self.drop_path = DropPath(drop_prob)

    def forward(self, x_BTND: Tensor, cls_B1D: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
        seen_x, seen_cls = x_BTND, cls_B1D
        for name in self.order:
            if not self.parallel:
                seen_x, seen_cls = x_BTND, cls_B1D
            dx, dcls = self.steps[name](seen_x, seen_cls, grid)
            x_BTND = x_BTND + dx
            cls_B1D = cls_B1D if dcls is None else cls_B1D + dcls
        tokens = join_tokens(x_BTND, cls_B1D)
        tokens = tokens + self.drop_path(self.mlp(self.norm(tokens)))
        return split_tokens(tokens, x_BTND.shape[1], cls_B1D.shape[1])
