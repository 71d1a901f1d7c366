"""A forward pass that keeps what its attention did, step by step.

A model takes the function that computes attention at construction, so a recorder can stand in its place: the model
itself knows nothing of it.

Dimensions: B batch, C 3 colours, T frames, H and W pixels, N patches of a frame, D channels, K classes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from timesformer.engine.file import ExportedFile, Loaded
from timesformer.errors import SettingError
from timesformer.explain.matrices import AttentionMatrix
from timesformer.model.attention import attend
from timesformer.model.block import Block, Step
from timesformer.model.pooling import AttentivePooling
from timesformer.model.protocol import VideoModel
from timesformer.model.schemes import StepFunction
from timesformer.model.timesformer import TimeSformer
from timesformer.model.tokens import Grid
from timesformer.weights.classifier import Classifier


@dataclass
class Call:
    """A call of attention; None for one whose result the class does not depend on."""

    matrix: AttentionMatrix | None = None


# Of a call, its queries, keys, values, mask and result: fills in its matrix, now or in the backward pass.
Keep = Callable[[Call, Tensor, Tensor, Tensor, Tensor | None, Tensor], None]


@dataclass
class StepRecord:
    """An attention step of a block as it ran.

    shape: B, T and N of its patches; class_tokens: 1, or 0 of a model without. gains_class: whether the class token
    gained by it. adds: whether it changes anything: a last linear layer that is all zero does not.
    """

    function: StepFunction
    grid: Grid
    shape: tuple[int, int, int]
    class_tokens: int
    adds: bool
    gains_class: bool = False
    calls: list[Call] = field(default_factory=list)


@dataclass
class Recording:
    """The steps of each block, in the order in which it takes them; side by side where `parallel`.

    pooling: the call of attentive pooling, where the model has one. like: an empty tensor of the type and on the device
    of the matrices.
    """

    blocks: list[list[StepRecord]]
    pooling: list[Call]
    pools: str
    parallel: bool
    like: Tensor


def check_recordable(model: VideoModel) -> None:
    """Raises SettingError for a model that has no attention that could be recorded."""
    if type(model) is not TimeSformer:  # a subclass may compute something else
        raise SettingError(
            f"architecture {model.settings.architecture} has no attention that can be recorded; expected "
            "timesformer, or --method occlusion, which any architecture takes"
        )


class RecordedModel:
    """A TimeSformer that shares the weights of another and keeps a recording of each clip.

    Raises SettingError as `check_recordable`.
    """

    def __init__(self, model: VideoModel) -> None:
        check_recordable(model)
        assert isinstance(model, TimeSformer)
        self._keep: Keep | None = None
        self._calls: list[Call] = []
        with torch.device("meta"):
            self.model = TimeSformer(model.settings, attend=self._attend).eval()
        self.model.load_state_dict(model.state_dict(), assign=True)
        self.model.requires_grad_(False)
        self._recording = self._empty()
        for block, steps in zip(self.model.blocks(), self._recording.blocks, strict=True):
            self._follow(block, steps)
        if self.model.pooling is not None:
            self.model.pooling.register_forward_pre_hook(self._pool)

    def __call__(self, clips_BCTHW: Tensor, keep: Keep) -> tuple[Tensor, Recording]:
        """Logits (B, K) of normalised clips, and the recording. keep: what is kept of each call."""
        self._recording.pooling.clear()
        for steps in self._recording.blocks:
            steps.clear()
        self._keep = keep
        try:
            logits_BK: Tensor = self.model(clips_BCTHW)
        finally:
            self._keep, self._calls = None, []
        found = self._recording
        blocks = [[step for step in steps if step.adds] for steps in found.blocks]
        return logits_BK, Recording(blocks, list(found.pooling), found.pools, found.parallel, logits_BK.new_empty(0))

    def _empty(self) -> Recording:
        blocks = self.model.blocks()
        return Recording([[] for _ in blocks], [], self.model.settings.pooling, blocks[0].parallel, torch.empty(0))

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        out = attend(q, k, v, mask)
        if self._keep is not None:
            call = Call()
            self._keep(call, q, k, v, mask, out)
            self._calls.append(call)
        return out

    def _follow(self, block: Block, steps: list[StepRecord]) -> None:
        """Have the steps of a block recorded, each as it begins and ends."""

        def begin(step: nn.Module, inputs: tuple[Any, ...]) -> None:
            assert isinstance(step, Step)
            x_BTND, cls_B1D, grid = inputs
            batch, frames, patches, _ = x_BTND.shape
            adds = step.fc is None or any(bool(part.any()) for part in step.fc.parameters())
            record = StepRecord(step.step.function, grid, (batch, frames, patches), cls_B1D.shape[1], adds)
            self._calls = record.calls
            steps.append(record)

        def end(step: nn.Module, inputs: tuple[Any, ...], gains: tuple[Tensor, Tensor | None]) -> None:
            steps[-1].gains_class = gains[1] is not None

        for step in block.steps.values():
            step.register_forward_pre_hook(begin)
            step.register_forward_hook(end)

    def _pool(self, pooling: nn.Module, inputs: tuple[Any, ...]) -> None:
        assert isinstance(pooling, AttentivePooling)
        self._calls = self._recording.pooling


class Recorder:
    """The recorded model of a classifier: made once, when it is first needed, and used by one thread at a time."""

    def __init__(self, classifier: Loaded) -> None:
        self._classifier, self._turn = classifier, threading.Lock()
        self._model: RecordedModel | None = None

    def check(self) -> Classifier:
        """The classifier. Raises SettingError for one that has no attention that could be recorded."""
        if isinstance(self._classifier, ExportedFile):
            raise SettingError(
                f"{self._classifier.path}: an exported network hides its attention; name the weights that it was "
                "exported from, or --method occlusion"
            )
        check_recordable(self._classifier.model)
        return self._classifier

    @contextmanager
    def on(self, device: torch.device) -> Iterator[RecordedModel]:
        """The model on a device, for the block alone. Raises SettingError as `check`."""
        classifier = self.check()
        with self._turn:
            if self._model is None:
                self._model = RecordedModel(classifier.model)
                self._model.model.to(device)
            yield self._model
