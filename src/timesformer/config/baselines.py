"""Settings of the models that TimeSformer is compared with. The defaults are the published sizes."""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import Field, model_validator

from timesformer.config.model import ARCHITECTURES, ModelSettings, PositionResize, ViTSettings

Depths = tuple[int, int, int, int]
X3D_WIDTHS, X3D_DEPTHS = (12, 12, 24, 48, 96), (1, 2, 5, 3)  # of the stem and the four stages, before expansion
ShortcutNorms = Literal["all", "wider"]


class ConvSettings(ModelSettings):
    """What convolutional networks have in common."""

    pooling_window: int | None = Field(
        None,
        gt=0,
        description="side of the windows of the last feature map, one position apart, whose means the head sees the "
        "mean of; null, or a smaller feature map, is the mean of all of it. Released networks have that of their "
        "training crops: 7",
    )
    dropout: float = Field(0.5, ge=0, lt=1, description="dropout before the head")


class ResNetSettings(ConvSettings):
    """What networks made of a ResNet of bottleneck blocks have in common (He et al., CVPR 2016)."""

    width: int = Field(
        64, gt=0, multiple_of=8, description="channels after the first layer; the last feature map has 32 times"
    )
    depths: Depths = Field((3, 4, 6, 3), description="blocks of each of the four stages; 3, 4, 6, 3 is ResNet-50")

    def describe(self) -> str:
        """Layers, width and blocks."""
        return f"{self.architecture}, width {self.width}, blocks {'-'.join(map(str, self.depths))}"

    @model_validator(mode="after")
    def _has_blocks(self) -> Self:
        if min(self.depths) < 1:
            raise ValueError(f"depths is {list(self.depths)}; expected one block or more in each of the four stages")
        return self


class I3DSettings(ResNetSettings):
    """I3D: a ResNet inflated over time (Carreira and Zisserman, CVPR 2017; the variant of PyTorchVideo's zoo)."""

    architecture: Literal["i3d"] = Field("i3d", description="which of the architectures this is")
    image_size: int = Field(256, gt=0, description="side of the square frames, pixels")

    @property
    def frame_unit(self) -> int:
        """Pairs of frames are pooled after the first stage."""
        return 2

    @model_validator(mode="after")
    def _has_pairs(self) -> Self:
        if self.num_frames % 2:
            raise ValueError(f"num_frames {self.num_frames} is not a multiple of 2")
        return self


class SlowFastSettings(ResNetSettings):
    """SlowFast (Feichtenhofer et al., ICCV 2019): many channels at few frames, few channels at all frames."""

    architecture: Literal["slowfast"] = Field("slowfast", description="which of the architectures this is")
    num_frames: int = Field(32, gt=0, description="frames of a clip, all of which the fast pathway sees")
    image_size: int = Field(256, gt=0, description="side of the square frames, pixels")
    alpha: int = Field(4, gt=0, description="the slow pathway sees one frame in alpha")
    beta: int = Field(8, gt=0, description="the fast pathway has a beta-th of the slow one's channels; divides width")
    fusion_kernel: int = Field(
        7, gt=0, description="frames that a lateral connection looks at: 7, or 5 as the paper says; odd"
    )

    @property
    def frame_unit(self) -> int:
        """As many frames as one of the slow pathway stands for."""
        return self.alpha

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.width % self.beta:
            raise ValueError(f"width {self.width} is not a multiple of beta {self.beta}")
        if self.num_frames % self.alpha:
            raise ValueError(f"num_frames {self.num_frames} is not a multiple of alpha {self.alpha}")
        if not self.fusion_kernel % 2:
            raise ValueError(f"fusion_kernel is {self.fusion_kernel}; expected an odd number")
        return self


class TSMSettings(ResNetSettings):
    """TSM (Lin, Gan, Han, ICCV 2019): an image ResNet, some channels of which move to the neighbouring frames."""

    architecture: Literal["tsm"] = Field("tsm", description="which of the architectures this is")
    shift: int = Field(
        8, ge=2, description="one of so many channels moves a frame ahead, as many a frame back; divides width"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.width % self.shift:
            raise ValueError(f"width {self.width} is not a multiple of shift {self.shift}")
        return self


class X3DSettings(ConvSettings):
    """X3D (Feichtenhofer, CVPR 2020): a small image network, expanded along one axis after the other."""

    width_factor: float = Field(2.0, gt=0, description="channels as a multiple of the basic 12, 12, 24, 48 and 96")
    depth_factor: float = Field(2.2, gt=0, description="blocks of the stages as a multiple of 1, 2, 5 and 3")
    bottleneck_factor: float = Field(2.25, gt=0, description="channels inside of a block as a multiple of its own")
    head_width: int = Field(2048, gt=0, description="channels that the head sees")
    shortcut_norms: ShortcutNorms = Field(
        "wider",
        description="shortcuts with a norm: wider, where they change the number of channels, as PyTorchVideo has it; "
        "all, where they change the size alone too, as PySlowFast has it",
    )

    @property
    def depths(self) -> Depths:
        """Blocks of each of the four stages."""
        one, two, three, four = (math.ceil(self.depth_factor * depth - 1e-9) for depth in X3D_DEPTHS)
        return one, two, three, four

    def describe(self) -> str:
        """Name and factors."""
        return f"{self.architecture}, width factor {self.width_factor:g}, depth factor {self.depth_factor:g}"


class X3DSmallSettings(X3DSettings):
    """X3D-S."""

    architecture: Literal["x3d_s"] = Field("x3d_s", description="which of the architectures this is")
    num_frames: int = Field(13, gt=0, description="frames of a clip")
    image_size: int = Field(182, gt=0, description="side of the square frames, pixels")


class X3DMediumSettings(X3DSettings):
    """X3D-M."""

    architecture: Literal["x3d_m"] = Field("x3d_m", description="which of the architectures this is")
    num_frames: int = Field(16, gt=0, description="frames of a clip")
    image_size: int = Field(256, gt=0, description="side of the square frames, pixels")


class FrameViTSettings(ViTSettings):
    """A ViT on every frame, whose class tokens' mean the head sees: no attention and no position in time."""

    architecture: Literal["frame_vit"] = Field("frame_vit", description="which of the architectures this is")
    patch_size: int = Field(16, gt=0, description="side of a patch, pixels; divides image_size")
    position_resize: PositionResize = Field(
        "bicubic", description="how the position table is resized for frames of another size"
    )
    drop_path: float = Field(0.1, ge=0, lt=1, description="stochastic depth of the last block; linear over depth")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout after the table, in the MLP and before the head")
    norm_epsilon: float = Field(1e-6, gt=0, description="what layer norms add to the variance")
    initialisation: Literal["released", "scratch"] = Field(
        "released", description="new weights, as TimeSformer's: for an image model to replace, or scratch"
    )

    @property
    def clip_unit(self) -> int:
        """The patch size."""
        return self.patch_size

    def describe(self) -> str:
        """Dimensions and patch size."""
        width, depth, heads = self.dimensions
        return f"{self.architecture}, width {width}, {depth} blocks, {heads} heads, patch {self.patch_size}"

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        width, _, heads = self.dimensions
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of heads {heads}")
        if self.image_size % self.patch_size:
            raise ValueError(f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}")
        return self


ARCHITECTURES.update(
    {
        "i3d": I3DSettings,
        "slowfast": SlowFastSettings,
        "x3d_s": X3DSmallSettings,
        "x3d_m": X3DMediumSettings,
        "tsm": TSMSettings,
        "frame_vit": FrameViTSettings,
    }
)
