"""How the tokens of a clip lie in memory between the blocks of an engine, and what is made for that.

Two ways: frames first (`timesformer.engine.frames`), where all attention stays in a frame or goes along time, and
joined (`timesformer.engine.joined`), for every other step.

Dimensions: B batch, T frames, N patches of a frame, S = 1 + N slots, D channels, X clips or frames of clips, L sets of
M tokens that lie side by side.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from timesformer.engine.arithmetic import Arithmetic
from timesformer.engine.mlp import FusedMlp
from timesformer.engine.parts import StepParts, active_steps, take_mlp, take_step
from timesformer.model.block import Block
from timesformer.model.tokens import Grid


class StepsBlock(nn.Module):
    """A block of steps, and an MLP. Steps are kept by number: a name such as `global` cannot stand in the Python code
    that an exported program is."""

    def __init__(self, steps: dict[str, nn.Module], mlp: nn.Module | None) -> None:
        super().__init__()
        self.names, self.steps, self.mlp = tuple(steps), nn.ModuleList(steps.values()), mlp

    def named_steps(self) -> dict[str, nn.Module]:
        """The steps by their names, in order."""
        return dict(zip(self.names, self.steps, strict=True))


class Layout(ABC):
    """Tokens x in one of the ways. A block of it is a function of x, the frames of a clip and the grid of a frame's
    patches; it changes x in place."""

    @abstractmethod
    def start(self, x_TBSD: Tensor) -> Tensor:
        """Tokens as the embedding gives them, frames first, in this way."""

    @abstractmethod
    def frames(self, frames: int) -> int:
        """How many of a clip's frames the blocks see as one clip: all, or 1 where frames are apart."""

    @abstractmethod
    def sets(self, x: Tensor) -> Tensor:
        """x without a copy as (X, L, M, D), the class token first in set 0."""

    @abstractmethod
    def numbers(self, frames: int, grid: Grid) -> Tensor:
        """The numbers (L, M) of those tokens, as `timesformer.model.tokens` counts them."""

    @abstractmethod
    def class_token(self, x: Tensor) -> Tensor:
        """The class token of each clip: (B, D)."""

    @abstractmethod
    def merge(self, class_XD: Tensor, batch: int) -> Tensor:
        """One class token a clip, (B, D), of one for each set."""

    @abstractmethod
    def tokens(self, x: Tensor) -> Tensor:
        """Class token, where there is one, and patches of each clip: (B, 1 + T N, D)."""

    @abstractmethod
    def step(self, parts: StepParts, how: Arithmetic, prefix: str) -> nn.Module:
        """An attention step for `block`. prefix: of the names of its linear layers."""

    @abstractmethod
    def block(self, steps: dict[str, nn.Module], mlp: nn.Module | None, *, parallel: bool) -> StepsBlock:
        """A block of such steps in their order (or side by side), and an MLP."""


def whole_block(block: Block, layout: Layout, how: Arithmetic, prefix: str) -> nn.Module:
    """A block of the model for all tokens."""
    steps = {name: layout.step(take_step(block, name), how, prefix) for name in active_steps(block)}
    return layout.block(steps, FusedMlp(take_mlp(block), how, prefix), parallel=block.parallel)
