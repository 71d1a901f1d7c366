"""Networks that engines run: uint8 clips in; logits, or features of a layer, out.

TimeSformer is rewritten for inference: the same function of a clip, with less arithmetic and fewer copies. What is
changed once, when it is built, and is exact but for rounding:

    embedding     takes bytes: normalisation and channel order are in its weights (`timesformer.engine.embedding`)
    temporal_fc   each step's output projection and the linear layer after it are one matrix; where that layer is all
                  zero, as in a video model just made of an image model, the step is not computed
    last block    where the head sees the class token, only what that gains is computed (`timesformer.engine.last`)

A model of any other architecture runs as it is, after normalisation.

Dimensions: B batch, C 3 colours, T frames, H and W pixels, N patches of a frame, S = 1 + N, M tokens, D channels.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from timesformer.config import Preprocessing
from timesformer.engine.arithmetic import Arithmetic
from timesformer.engine.embedding import FusedEmbedding
from timesformer.engine.frames import STEPS, FramesLayout
from timesformer.engine.joined import JoinedLayout
from timesformer.engine.last import ClassStep, LastBlock, has_class_keys
from timesformer.engine.layout import Layout, whole_block
from timesformer.engine.linear import PlainLinear
from timesformer.engine.parts import own, own_norm, take_linear
from timesformer.model.protocol import VideoModel
from timesformer.model.timesformer import TimeSformer, check_layer
from timesformer.video.transforms import normalise


class Network(nn.Module, ABC):
    """What an engine runs: uint8 clips to float32 logits, or to features."""

    @abstractmethod
    def forward(self, clips_BCTHW: Tensor, layer: int | None = None, tokens: bool = False) -> Tensor:
        """Logits (B, classes); with `layer` what the model's `forward_layer` gives."""

    @abstractmethod
    def prepare(self, clips_BCTHW: Tensor, layer: int | None = None, tokens: bool = False) -> int | None:
        """Make what a graph of such a call must find made; the layer's number from 0.

        Raises SettingError for a layer, or tokens, that the model does not have.
        """

    @abstractmethod
    def answer(self, clips_BCTHW: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, classes), and the features (B, D) that the head sees."""


class Output(nn.Module):
    """One output of a network, as a function of clips alone: what is compiled or exported."""

    def __init__(self, network: nn.Module, layer: int | None, tokens: bool) -> None:
        super().__init__()
        self.network, self.layer, self.tokens = network, layer, tokens

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        out: Tensor = self.network(clips_BCTHW, self.layer, self.tokens)
        return out


class AllOutputs(nn.Module):
    """All that a network says of clips, as a function of them: what an exported file computes."""

    def __init__(self, network: Network, multilabel: bool) -> None:
        super().__init__()
        self.network, self.multilabel = network, multilabel

    def forward(self, clips_BCTHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores (B, classes) between 0 and 1, logits (B, classes) and features (B, D)."""
        logits, features = self.network.answer(clips_BCTHW)
        return logits.sigmoid() if self.multilabel else logits.softmax(-1), logits, features


class PlainNetwork(Network):
    """A model as it is, with normalisation before it, in float32 or by autocast in `dtype`."""

    def __init__(self, model: VideoModel, preprocessing: Preprocessing, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).float().eval().requires_grad_(False)
        self.preprocessing, self.dtype = preprocessing, dtype

    def forward(self, clips_BCTHW: Tensor, layer: int | None = None, tokens: bool = False) -> Tensor:
        clips_BCTHW = normalise(clips_BCTHW, self.preprocessing)
        with torch.autocast(clips_BCTHW.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            out: Tensor
            if layer is None:
                out = self.model(clips_BCTHW)
            else:
                out = self.model.forward_layer(clips_BCTHW, layer, tokens=tokens)
        return out.float()

    def prepare(self, clips_BCTHW: Tensor, layer: int | None = None, tokens: bool = False) -> int | None:
        if layer is not None:
            self(clips_BCTHW[:1], layer, tokens)  # only the model knows what it has
        return layer

    def answer(self, clips_BCTHW: Tensor) -> tuple[Tensor, Tensor]:
        features = self.model.forward_features(normalise(clips_BCTHW, self.preprocessing))
        return self.model.forward_head(features), features


class FusedTimeSformer(Network):
    """TimeSformer rewritten; made of a model, of which nothing is kept."""

    query: Tensor

    def __init__(
        self,
        model: TimeSformer,
        preprocessing: Preprocessing,
        how: Arithmetic | None = None,
        after_block: Callable[[], None] = lambda: None,
        *,
        any_shape: bool = False,
    ) -> None:
        """`after_block` is called when a block of the model has been seen, and is not needed any more. any_shape:
        whether a graph of it may leave frames and size open; the last block is then a whole one."""
        super().__init__()
        how = how or Arithmetic()
        settings, blocks = model.settings, model.blocks()
        self.embedding = FusedEmbedding(model.embedding, preprocessing, how)
        self.class_tokens, self.how = int(settings.class_token), settings.pooling
        self.layout: Layout = JoinedLayout(self.class_tokens)
        if STEPS.issuperset(settings.steps):
            self.layout = FramesLayout(apart=settings.scheme == "space_only")
        self.pooling = None
        if model.pooling is not None:
            attention = model.pooling.attention
            self.pooling = ClassStep(take_linear(attention.qkv), take_linear(attention.proj), attention.heads)
            self.register_buffer("query", own(model.pooling.query)[0])
        # Where the head sees more than the class token, no block is the class token's alone.
        short = not any_shape and settings.pooling == "class_token" and has_class_keys(blocks[-1])
        self.blocks = nn.ModuleList()
        for number, block in enumerate(blocks[:-1] if short else blocks):
            self.blocks.append(whole_block(block, self.layout, how, str(number)))
            after_block()
        self.depth = len(blocks)
        self.last = LastBlock(blocks[-1], self.layout, how, str(self.depth - 1)) if short else None
        self.whole_last: nn.Module | None = None  # made when tokens of the last layer are first asked for
        self.norm = own_norm(model.norm)
        self.head = PlainLinear(*take_linear(model.head))

    def forward(self, clips_BCTHW: Tensor, layer: int | None = None, tokens: bool = False) -> Tensor:
        if not torch.compiler.is_compiling():
            layer = self.prepare(clips_BCTHW, layer, tokens)
        features = self._features(clips_BCTHW, self.depth - 1 if layer is None else layer, tokens)
        logits: Tensor = features if layer is not None else self.head(features)
        return logits

    def answer(self, clips_BCTHW: Tensor) -> tuple[Tensor, Tensor]:
        features = self._features(clips_BCTHW, self.depth - 1, tokens=False)
        return self.head(features), features

    def prepare(self, clips_BCTHW: Tensor, layer: int | None = None, tokens: bool = False) -> int | None:
        frames, grid = self.embedding.shape(clips_BCTHW)
        self.embedding.table(frames, grid)
        if self.last is not None:
            self.last.prepare(self.layout.frames(frames), grid)
        if layer is None:
            return None
        layer = check_layer(layer, self.depth)
        if tokens and self.whole_last is None and self.last is not None and layer == self.depth - 1:
            self.whole_last = self.last.whole()
        return layer

    def _pool(self, x: Tensor) -> Tensor:
        """As the model's."""
        if self.how == "class_token":
            return self.layout.class_token(x)
        patches_BQD = self.layout.tokens(x)[:, self.class_tokens :]
        return patches_BQD.mean(1) if self.how == "mean" else patches_BQD[:, 0]

    def _features(self, clips_BCTHW: Tensor, layer: int, tokens: bool) -> Tensor:
        """As the model's `forward_layer`, for a layer from 0."""
        frames, grid = self.embedding.shape(clips_BCTHW)
        frames = self.layout.frames(frames)
        x = self.layout.start(self.embedding(clips_BCTHW))
        for block in list(self.blocks)[: layer + 1]:
            x = block(x, frames, grid)
        features: Tensor
        if layer == len(self.blocks):
            assert self.last is not None
            if not tokens:
                features = self.norm(self.layout.merge(self.last(x, frames, grid), clips_BCTHW.shape[0]))
                return features
            assert self.whole_last is not None
            x = self.whole_last(x, frames, grid)
        if not tokens and self.pooling is None:
            features = self.norm(self._pool(x))
            return features
        features = self.norm(self.layout.tokens(x))
        if tokens or self.pooling is None:
            return features
        pooled: Tensor = self.pooling(self.query.expand(features.shape[0], -1), features.unsqueeze(1))
        return pooled
