"""TimeSformer: a clip in, logits out.

Dimensions: B batch, C 3 colours, T frames, H and W pixels, N patches of a frame, D channels of a token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from timesformer.config import (
    Initialisation,
    ModelSettings,
    Order,
    Pooling,
    PositionResize,
    PositionTables,
    Preprocessing,
    Recompute,
    Scheme,
    Size,
)
from timesformer.errors import SettingError
from timesformer.model.block import Block
from timesformer.model.embed import Embedding
from timesformer.model.initialise import initialise
from timesformer.model.pooling import AttentivePooling
from timesformer.model.recompute import run_block
from timesformer.settings import make


class TimeSformer(nn.Module):
    """Video classifier of "Is Space-Time Attention All You Need for Video Understanding?" (ICML 2021).

    Args:
        image_size: side of the square frames that the position table is made for, pixels; a multiple of patch_size.
        patch_size: side of a patch, pixels: 8, 14, 16 or 32.
        num_frames: frames that the time table is made for.
        num_classes: logits.
        multilabel: whether a video may have several classes; scores are then sigmoids of the logits, not their softmax.
        size: "tiny", "small", "base" or "large": width, depth and heads of ViT-Ti, S, B, L.
        scheme: "space_only", "joint_space_time", "divided_space_time", "sparse_local_global" or "axial".
        width, depth, heads, mlp_ratio: override the named size.
        order: order of the steps of divided_space_time: "time_space", "space_time" or "parallel" (paper, table 8).
        position: learned tables: "none", "space" or "space_time" (paper, section 4.4).
        position_resize: how tables are resized for clips of another shape: "bicubic" (linear in time), or
            "nearest" or "nearest_flat" as the released code's forward pass or its weight loader does.
        class_token_in_time: the class token is a key of time attention, as in Eq. 11 but not in the released code.
        pooling: what the head sees: "class_token", or "attentive": all tokens, by the attention of a learned query.
        drop_path: stochastic depth of the last block, growing linearly from 0 in the first.
        dropout: dropout after the tables, in the MLPs and before the head.
        norm_epsilon: what layer norms add to the variance.
        initialisation: "released" starts as the released code does, for weights of an image model to follow;
            "scratch" starts where a small model learns motion sooner (`timesformer.model.initialise`).

    Attributes: `settings`; `checkpoint_activations`: "none", or what training computes again in the backward pass to
    save memory, "cheap" or "blocks" (`timesformer.model.recompute`); and what came with weights of `from_pretrained`:
    `labels`, `preprocessing` (None for a new model) and `facts` of its training.

    Raises:
        SettingError: a value that is not allowed, or values that do not fit together.
    """

    def __init__(
        self,
        *,
        image_size: int = 224,
        patch_size: Literal[8, 14, 16, 32] = 16,
        num_frames: int = 8,
        num_classes: int = 400,
        multilabel: bool = False,
        size: Size = "base",
        scheme: Scheme = "divided_space_time",
        width: int | None = None,
        depth: int | None = None,
        heads: int | None = None,
        mlp_ratio: float = 4.0,
        order: Order = "time_space",
        position: PositionTables = "space_time",
        position_resize: PositionResize = "bicubic",
        class_token_in_time: bool = False,
        pooling: Pooling = "class_token",
        drop_path: float = 0.1,
        dropout: float = 0.0,
        norm_epsilon: float = 1e-6,
        initialisation: Initialisation = "released",
    ) -> None:
        values = {name: value for name, value in locals().items() if name in ModelSettings.model_fields}
        super().__init__()
        self.settings = make(ModelSettings, values, "TimeSformer")
        self.labels: tuple[str, ...] | None = None
        self.preprocessing: Preprocessing | None = None
        self.facts: Mapping[str, str] = {}
        self.checkpoint_activations: Recompute = "none"
        dimensions = self.settings.dimensions
        self.embedding = Embedding(self.settings)
        shares = torch.linspace(0, self.settings.drop_path, dimensions.depth, device="cpu").tolist()
        self.blocks = nn.ModuleList(Block(self.settings, share) for share in shares)
        self.norm = nn.LayerNorm(dimensions.width, self.settings.norm_epsilon)
        self.pooling = None
        if self.settings.pooling == "attentive":
            self.pooling = AttentivePooling(dimensions.width, dimensions.heads)
        self.dropout = nn.Dropout(self.settings.dropout)
        self.head = nn.Linear(dimensions.width, self.settings.num_classes)
        initialise(self, self.settings.initialisation)

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        """Logits (B, num_classes) of normalised clips (B, 3, T, H, W).

        T is free; H and W are any multiples of the patch size. Raises SettingError for another shape.
        """
        return self.forward_head(self.forward_features(clips_BCTHW))

    def forward_features(self, clips_BCTHW: Tensor) -> Tensor:
        """The class token after the last norm, or what attentive pooling makes of all tokens: (B, D)."""
        if self.pooling is not None:
            pooled: Tensor = self.pooling(self.forward_tokens(clips_BCTHW))
            return pooled
        features: Tensor = self.norm(self._encode(clips_BCTHW)[1][:, 0])
        return features

    def forward_tokens(self, clips_BCTHW: Tensor) -> Tensor:
        """All tokens after the last norm, the class token before the patches of frame after frame: (B, 1 + T N, D)."""
        x_BTND, cls_B1D = self._encode(clips_BCTHW)
        tokens: Tensor = self.norm(torch.cat([cls_B1D, x_BTND.flatten(1, 2)], dim=1))
        return tokens

    def _encode(self, clips_BCTHW: Tensor) -> tuple[Tensor, Tensor]:
        """Patches x_BTND and class token cls_B1D after the last block."""
        self._check(clips_BCTHW)
        x_BTND, cls_B1D, grid = self.embedding(clips_BCTHW)
        batch, frames = x_BTND.shape[:2]
        frames_apart = self.settings.scheme == "space_only"
        if frames_apart:
            x_BTND, cls_B1D = x_BTND.flatten(0, 1).unsqueeze(1), cls_B1D.repeat_interleave(frames, 0)
        recompute: Recompute = self.checkpoint_activations if self.training else "none"
        for block in self.blocks:
            x_BTND, cls_B1D = run_block(block, x_BTND, cls_B1D, grid, recompute)
        if frames_apart:
            x_BTND = x_BTND.unflatten(0, (batch, frames)).squeeze(2)
            cls_B1D = cls_B1D.unflatten(0, (batch, frames)).mean(1)
        return x_BTND, cls_B1D

    def forward_head(self, features_BD: Tensor) -> Tensor:
        """Logits (B, num_classes) of features (B, D)."""
        logits: Tensor = self.head(self.dropout(features_BD))
        return logits

    @classmethod
    def from_pretrained(
        cls, weights: str | Path, *, revision: str | None = None, heads: int | None = None
    ) -> TimeSformer:
        """The model of any weights that `timesformer.load` takes: a folder, a file, or a hub id.

        revision: branch, tag or commit of a hub id. heads: attention heads, for files that do not tell.
        `labels`, `preprocessing` and `facts` of the model are what came with the weights.
        """
        from timesformer.weights.pretrained import from_pretrained

        return from_pretrained(weights, revision, heads)

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        labels: Sequence[str] | None = None,
        preprocessing: Preprocessing | None = None,
        facts: Mapping[str, str] | None = None,
    ) -> None:
        """Write the model to a folder that `timesformer.load` takes.

        labels: class names; preprocessing: how videos become its input; facts: for the model card, such as data,
        scores and licence. Not given, they are what came with the weights; a new model has numbers for names and the
        paper's Kinetics settings.
        """
        from timesformer.weights.pretrained import save_pretrained

        save_pretrained(self, folder, labels, preprocessing, facts)

    def push_to_hub(
        self,
        repository: str,
        *,
        labels: Sequence[str] | None = None,
        preprocessing: Preprocessing | None = None,
        facts: Mapping[str, str] | None = None,
        private: bool = False,
        token: str | None = None,
    ) -> str:
        """Write the model as `save_pretrained` does and upload it to NAMESPACE/NAME on the hub; returns its address."""
        from timesformer.weights.pretrained import push_to_hub

        return push_to_hub(self, repository, labels, preprocessing, facts, private=private, token=token)

    def _check(self, clips: Tensor) -> None:
        patch = self.settings.patch_size
        if clips.ndim != 5 or clips.shape[1] != 3 or 0 in clips.shape[2:]:
            raise SettingError(f"clips of shape {tuple(clips.shape)}: expected (batch, 3, frames, height, width)")
        if clips.shape[3] % patch or clips.shape[4] % patch:
            raise SettingError(
                f"frames of {clips.shape[3]} x {clips.shape[4]} pixels: height and width must be "
                f"multiples of the patch size {patch}"
            )
        if not clips.is_floating_point():
            raise SettingError(f"clips of type {clips.dtype}: expected floating point, already normalised")
