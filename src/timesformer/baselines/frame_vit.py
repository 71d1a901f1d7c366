"""A ViT on every frame by itself: what a video model gains by looking at time is what it gains over this one.

TimeSformer's `space_only` differs in one thing: it normalises the mean of the class tokens, this one takes the mean of
normalised class tokens, so that its logits are the mean of those of the image model.

Dimensions: B batch, C 3 colours, T frames, H and W pixels, D channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from timesformer.config import FrameViTSettings, TimeSformerSettings
from timesformer.model.block import Block
from timesformer.model.embed import Embedding
from timesformer.model.initialise import initialise
from timesformer.model.protocol import Blocks, VideoModel, check_normalised, layer_after
from timesformer.model.timesformer import check_layer

TABLES = ("embedding.class_token", "embedding.space_table")


class FrameViT(VideoModel):
    """The mean of a ViT's class tokens over the frames of a clip, and a linear head."""

    settings: FrameViTSettings

    def __init__(self, settings: FrameViTSettings) -> None:
        super().__init__(settings)
        parts, (width, depth, _) = image_settings(settings), settings.dimensions
        self.embedding = Embedding(parts)
        drop_probs = torch.linspace(0, settings.drop_path, depth, device="cpu").tolist()
        self.blocks = Blocks(Block(parts, drop_prob) for drop_prob in drop_probs)
        self.norm = nn.LayerNorm(width, settings.norm_epsilon)
        self.dropout = nn.Dropout(settings.dropout)
        self.head = nn.Linear(width, settings.num_classes)
        initialise(self, settings.initialisation)

    def forward_features(self, clips_BCTHW: Tensor) -> Tensor:
        """The mean over the frames of the class token after the last norm: (B, D).

        H and W are any multiples of the patch size. Raises SettingError for another shape or type.
        """
        return self.forward_layer(clips_BCTHW)

    def forward_head(self, features_BD: Tensor) -> Tensor:
        """Logits (B, num_classes) of features (B, D)."""
        logits: Tensor = self.head(self.dropout(features_BD))
        return logits

    def forward_layer(self, clips_BCTHW: Tensor, layer: int = -1, *, tokens: bool = False) -> Tensor:
        """What the head would see, (B, D), were block number `layer` the last. Raises SettingError for tokens: each
        frame has a class token of its own."""
        if tokens:
            return super().forward_layer(clips_BCTHW, layer, tokens=True)
        check_normalised(clips_BCTHW, self.settings.clip_unit)
        frames, blocks = clips_BCTHW.shape[2], self.blocks()
        last = check_layer(layer, len(blocks))
        # Every frame as a clip of one.
        x_BTND, cls_B1D, grid = self.embedding(clips_BCTHW.transpose(1, 2).flatten(0, 1).unsqueeze(2))
        for block in blocks[: last + 1]:
            x_BTND, cls_B1D = block(x_BTND, cls_B1D, grid)
        features: Tensor = self.norm(cls_B1D[:, 0]).unflatten(0, (-1, frames)).mean(1)
        return features

    def layer_of(self, name: str) -> int:
        """0 for the embedding, 1 to n for the blocks, n + 1 for what follows them."""
        return layer_after(name, "embedding", len(self.blocks()))

    def no_weight_decay(self) -> frozenset[str]:
        """Position table and class token."""
        return frozenset(TABLES)


def image_settings(settings: FrameViTSettings) -> TimeSformerSettings:
    """The same ViT as a TimeSformer of one frame, whose parts it is made of."""
    same = type(settings).model_fields.keys() & TimeSformerSettings.model_fields.keys() - {"architecture", "num_frames"}
    values = {name: getattr(settings, name) for name in same}
    return TimeSformerSettings(**values, scheme="space_only", num_frames=1, position="space")
