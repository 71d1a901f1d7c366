"""What every video model answers for itself, so that no other room knows its parts or the names of its tensors.

Dimensions: B batch, C 3 colours, T frames, H and W pixels, M tokens, D channels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

from torch import Tensor, nn

from timesformer.config import ActivationCheckpointing, ClipShape, ModelSettings
from timesformer.errors import SettingError

B = TypeVar("B", bound=nn.Module)


class Blocks(nn.ModuleList, Generic[B]):
    """The repeated part of a network, in order: what is sharded, and what is checkpointed."""

    def __call__(self) -> tuple[B, ...]:
        """The blocks, first to last."""
        return tuple(self)  # type: ignore[arg-type]


class VideoModel(nn.Module, ABC):
    """Normalised clips (B, 3, T, H, W) to logits (B, num_classes), by features (B, D).

    A subclass has `forward_features` and `forward_head`, and overrides what else it can answer; with
    `timesformer.register_architecture` it is trained, saved, loaded, tested and predicted with like TimeSformer.

    Attributes: `settings`.
    """

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.settings = settings

    @property
    def blocks(self) -> Blocks[Any]:
        """The repeated part, first to last, when called; a subclass that has one sets `self.blocks = Blocks(...)`."""
        found = self._modules.get("blocks")
        return found if isinstance(found, Blocks) else Blocks(() if found is None else found.children())

    @blocks.setter
    def blocks(self, blocks: Blocks[Any]) -> None:
        self._modules["blocks"] = blocks

    @property
    def clip_shape(self) -> ClipShape:
        """The clips that the model is made for."""
        return self.settings.clip_shape

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        """Logits (B, num_classes) of normalised clips (B, 3, T, H, W). Raises SettingError for another shape."""
        return self.forward_head(self.forward_features(clips_BCTHW))

    @abstractmethod
    def forward_features(self, clips_BCTHW: Tensor) -> Tensor:
        """What the head sees of clips: (B, D)."""

    @abstractmethod
    def forward_head(self, features_BD: Tensor) -> Tensor:
        """Logits (B, num_classes) of features (B, D)."""

    def forward_layer(self, clips_BCTHW: Tensor, layer: int = -1, *, tokens: bool = False) -> Tensor:
        """What the head would see, (B, D), were block number `layer` the last; with `tokens` all tokens, (B, M, D).

        Raises SettingError for a layer that is not there, and for tokens of a model without any.
        """
        if tokens or layer != -1:
            asked = "tokens" if tokens else f"layer {layer}"
            raise SettingError(
                f"{asked}: architecture {self.settings.architecture} has only features of its last layer"
            )
        return self.forward_features(clips_BCTHW)

    def layer_of(self, name: str) -> int:
        """The layer of a parameter: 0 before the blocks, 1 to n for them, n + 1 for what follows (layer decay)."""
        return len(self.blocks()) + 1

    def video_parameters(self) -> frozenset[str]:
        """Names of the parameters that, beside the head's, learn a video task where the image model inside is frozen:
        what was added to it for video, and the norms.

        Raises SettingError for a model that was not made of an image model.
        """
        raise SettingError(f"training.trainable is video; architecture {self.settings.architecture} has no image model")

    def adaptable_layers(self) -> tuple[str, ...]:
        """Names of the modules that a low-rank adapter may stand in for: the linear layers of the blocks."""
        blocks = {id(part) for block in self.blocks() for part in block.modules()}
        return tuple(name for name, part in self.named_modules() if isinstance(part, nn.Linear) and id(part) in blocks)

    def no_weight_decay(self) -> frozenset[str]:
        """Names of parameters, beside norms and biases, that are usually not decayed: tables, learned tokens."""
        return frozenset()

    def head_names(self) -> tuple[str, ...]:
        """Names of this model's modules that, one after the other, make logits of frozen features: a probe's are new.

        The last one is the classifier, whose rows are the classes.
        """
        return ("head",)

    def set_activation_checkpointing(self, what: ActivationCheckpointing) -> None:
        """What training computes again in the backward pass: "none", "cheap" or "blocks".

        Raises SettingError for a model that cannot.
        """
        if what != "none":
            raise SettingError(
                f"activation checkpointing {what!r} is not for architecture {self.settings.architecture}: none"
            )


def check_clips(clips: Tensor, unit: int, frame_unit: int = 1) -> None:
    """Raises SettingError for anything but clips (B, 3, T, H, W) whose height and width are multiples of `unit`, and
    whose number of frames is one of `frame_unit`."""
    if not isinstance(clips, Tensor):
        raise SettingError(
            f"clips: {type(clips).__name__}; expected a torch.Tensor (batch, 3, frames, height, width), which "
            "torch.from_numpy makes of a numpy array"
        )
    if clips.ndim != 5 or clips.shape[1] != 3 or 0 in clips.shape[2:]:
        raise SettingError(f"clips of shape {tuple(clips.shape)}: expected (batch, 3, frames, height, width)")
    if clips.shape[3] % unit or clips.shape[4] % unit:
        raise SettingError(
            f"frames of {clips.shape[3]} x {clips.shape[4]} pixels: height and width must be "
            f"multiples of the patch size {unit}"
        )
    if clips.shape[2] % frame_unit:
        raise SettingError(f"clips of {clips.shape[2]} frames: their number must be a multiple of {frame_unit}")


def check_normalised(clips: Tensor, unit: int, frame_unit: int = 1) -> None:
    """As `check_clips`; clips that are no floating point are refused, too."""
    check_clips(clips, unit, frame_unit)
    if not clips.is_floating_point():
        raise SettingError(f"clips of type {clips.dtype}: expected floating point, already normalised")


def layer_after(name: str, before: str, depth: int) -> int:
    """What `layer_of` says of a model that is a module `before`, `depth` blocks and what follows them: 0, 1 to n for
    the blocks, n + 1."""
    if name.startswith(f"{before}."):
        return 0
    return int(name.split(".")[1]) + 1 if name.startswith("blocks.") else depth + 1
