"""TimeSformer: a clip in, logits out.

Dimensions: B batch, C 3 colours, T frames, H and W pixels, N patches of a frame, D channels of a token.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from timesformer.config import ActivationCheckpointing, TimeSformerSettings
from timesformer.errors import SettingError
from timesformer.model.attention import Attend, attend
from timesformer.model.block import Block, Step
from timesformer.model.checkpointing import run_block
from timesformer.model.embed import Embedding
from timesformer.model.initialise import initialise
from timesformer.model.pooling import AttentivePooling
from timesformer.model.protocol import Blocks, VideoModel, check_normalised, layer_after
from timesformer.model.tokens import join_tokens
from timesformer.settings import make

TABLES = ("embedding.class_token", "embedding.space_table", "embedding.time_table", "pooling.query")


class TimeSformer(VideoModel):
    """Video classifier of "Is Space-Time Attention All You Need for Video Understanding?" (ICML 2021).

    Args:
        settings: what the network is.
        attend: how attention is computed; as `timesformer.model.attention.attend`, of which it may keep a record.
        values: the settings one by one, in place of `settings`: `TimeSformer(scheme="axial", num_frames=16)`. The
            fields of `timesformer.TimeSformerSettings` say what each means and allows.

    Raises:
        SettingError: a value that is not allowed, or values that do not fit together.
    """

    settings: TimeSformerSettings

    def __init__(self, settings: TimeSformerSettings | None = None, *, attend: Attend = attend, **values: Any) -> None:
        if settings is not None and values:
            raise SettingError(
                f"TimeSformer: settings are given, and {', '.join(values)} beside them; one or the other"
            )
        settings = make(TimeSformerSettings, values, "TimeSformer") if settings is None else settings
        super().__init__(settings)
        width, depth, heads = settings.dimensions
        self.checkpointing: ActivationCheckpointing = "none"
        self.embedding = Embedding(settings)
        drop_probs = torch.linspace(0, settings.drop_path, depth, device="cpu").tolist()
        self.blocks = Blocks(Block(settings, drop_prob, attend) for drop_prob in drop_probs)
        self.norm = nn.LayerNorm(width, settings.last_norm_epsilon or settings.norm_epsilon)
        self.pooling = AttentivePooling(width, heads, attend) if settings.pooling == "attentive" else None
        self.dropout = nn.Dropout(settings.dropout)
        self.head = nn.Linear(width, settings.num_classes)
        initialise(self, settings.initialisation)

    def forward_features(self, clips_BCTHW: Tensor) -> Tensor:
        """The class token, the mean of all patches or the first one after the last norm, or what attentive pooling
        makes of all tokens after it: (B, D).

        T is any multiple of the tubelet, H and W of the patch size. Raises SettingError for another shape.
        """
        return self.forward_layer(clips_BCTHW)

    def forward_head(self, features_BD: Tensor) -> Tensor:
        """Logits (B, num_classes) of features (B, D)."""
        logits: Tensor = self.head(self.dropout(features_BD))
        return logits

    def forward_layer(self, clips_BCTHW: Tensor, layer: int = -1, *, tokens: bool = False) -> Tensor:
        """What the head would see, (B, D), were block number `layer` the last; with `tokens` all tokens after the
        norm, the class token, where there is one, before the patches of frame after frame, (B, 1 + T N, D)."""
        x_BTND, cls_B1D = self._encode(clips_BCTHW, layer)
        if not tokens and self.pooling is None:
            features: Tensor = self.norm(self._pool(x_BTND, cls_B1D))
            return features
        tokens_BMD: Tensor = self.norm(join_tokens(x_BTND, cls_B1D))
        return tokens_BMD if tokens or self.pooling is None else self.pooling(tokens_BMD)

    def _pool(self, x_BTND: Tensor, cls_B1D: Tensor) -> Tensor:
        if self.settings.pooling == "mean":
            return x_BTND.mean((1, 2))
        return x_BTND[:, 0, 0] if self.settings.pooling == "first_patch" else cls_B1D[:, 0]

    def _encode(self, clips_BCTHW: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """Patches x_BTND and class token cls_B1D after block number `layer`."""
        check_normalised(clips_BCTHW, self.settings.clip_unit, self.settings.frame_unit)
        blocks = self.blocks()
        last = check_layer(layer, len(blocks))
        x_BTND, cls_B1D, grid = self.embedding(clips_BCTHW)
        batch, frames = x_BTND.shape[:2]
        frames_apart = self.settings.scheme == "space_only"
        if frames_apart:
            x_BTND, cls_B1D = x_BTND.flatten(0, 1).unsqueeze(1), cls_B1D.repeat_interleave(frames, 0)
        for block in blocks[: last + 1]:
            x_BTND, cls_B1D = run_block(block, x_BTND, cls_B1D, grid, self.checkpointing if self.training else "none")
        if frames_apart:
            x_BTND = x_BTND.unflatten(0, (batch, frames)).squeeze(2)
            cls_B1D = cls_B1D.unflatten(0, (batch, frames)).mean(1)
        return x_BTND, cls_B1D

    def layer_of(self, name: str) -> int:
        """0 for the embedding, 1 to n for the blocks, n + 1 for what follows them."""
        return layer_after(name, "embedding", len(self.blocks()))

    def video_parameters(self) -> frozenset[str]:
        """The steps that come before a scheme's last, which is the image model's own, the time table, and all norms."""
        *added, _ = self.settings.steps
        if not added and self.embedding.time_table is None:
            raise SettingError(
                f"training.trainable is video; a model of scheme {self.settings.scheme_name} and position "
                f"{self.settings.position} has nothing that an image model lacks"
            )
        prefixes = tuple(
            f"{name}."
            for name, part in self.named_modules()
            if isinstance(part, nn.LayerNorm) or (isinstance(part, Step) and name.split(".")[-1] in added)
        )
        names = (name for name, _ in self.named_parameters())
        return frozenset(name for name in names if name.startswith(prefixes) or name == "embedding.time_table")

    def no_weight_decay(self) -> frozenset[str]:
        """Position tables, the class token and the query of attentive pooling."""
        return frozenset(name for name, _ in self.named_parameters() if name in TABLES)

    def head_names(self) -> tuple[str, ...]:
        """The head; before it attentive pooling, where there is one."""
        return ("head",) if self.pooling is None else ("pooling", "head")

    def set_activation_checkpointing(self, what: ActivationCheckpointing) -> None:
        """What training computes again in the backward pass to save memory (`timesformer.model.checkpointing`)."""
        self.checkpointing = what


def check_layer(layer: int, depth: int) -> int:
    """The number of a block, from 0; negative ones count from the last. Raises SettingError for one not there."""
    if not -depth <= layer < depth:
        raise SettingError(f"layer {layer}: a model of {depth} blocks has 0 to {depth - 1}, or -{depth} to -1")
    return layer % depth
