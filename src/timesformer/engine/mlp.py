"""The MLP of an engine's block."""

from __future__ import annotations

from torch import Tensor, nn

from timesformer.engine.arithmetic import Arithmetic
from timesformer.engine.parts import MlpParts


class FusedMlp(nn.Module):
    """Norm and MLP of a block: what its tokens gain."""

    def __init__(self, parts: MlpParts, how: Arithmetic, prefix: str) -> None:
        super().__init__()
        self.dtype = how.enters
        self.norm, self.fc1 = how.after(parts.norm, f"{prefix}.fc1", parts.fc1, "gelu")
        self.fc2 = how.make(f"{prefix}.fc2", *parts.fc2, "none")

    def forward(self, x: Tensor) -> Tensor:
        gain: Tensor = self.fc2(self.fc1(self.norm(x).to(self.dtype)))
        return gain
