"""Settings of a model: those that all architectures have, TimeSformer's, and which architectures there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from timesformer.config.clip import ClipShape
from timesformer.errors import SettingError
from timesformer.settings import Settings

Scheme = Literal["space_only", "joint_space_time", "divided_space_time", "sparse_local_global", "axial"]
Size = Literal["tiny", "small", "base", "large"]
Order = Literal["time_space", "space_time", "parallel"]
PositionTables = Literal["none", "space", "space_time", "sinusoidal"]
PositionResize = Literal["bicubic", "nearest", "nearest_flat"]
Initialisation = Literal["released", "scratch", "motion"]
Pooling = Literal["class_token", "mean", "first_patch", "attentive"]
ActivationCheckpointing = Literal["none", "cheap", "blocks"]

# The steps of each scheme (paper, section 3); what a step does is in `timesformer.model.schemes`.
SCHEMES: dict[str, tuple[str, ...]] = {
    "space_only": ("space",),
    "joint_space_time": ("joint",),
    "divided_space_time": ("time", "space"),
    "sparse_local_global": ("local", "global"),
    "axial": ("time", "width", "height"),
}
STEPS = ["space", "time", "joint", "local", "global", "width", "height"]  # `timesformer.register_step` adds to them


class Dimensions(NamedTuple):
    """Width (channels of a token), depth (blocks) and attention heads of a network."""

    width: int
    depth: int
    heads: int


SIZES: dict[Size, Dimensions] = {
    "tiny": Dimensions(192, 12, 3),
    "small": Dimensions(384, 12, 6),
    "base": Dimensions(768, 12, 12),
    "large": Dimensions(1024, 24, 16),
}


class ModelSettings(Settings):
    """What all architectures have in common; one of its own adds to it and names itself in `architecture`."""

    architecture: str = Field(description="which of the architectures this is")
    num_frames: int = Field(8, gt=0, description="frames of a clip")
    image_size: int = Field(224, gt=0, description="side of the square frames, pixels")
    num_classes: int = Field(400, gt=0, description="classes of the head; in a recipe the data decides")
    multilabel: bool = Field(
        False, description="a video may have several classes, each scored by a sigmoid; in a recipe the data decides"
    )

    @classmethod
    def class_for(cls, values: Any) -> type[ModelSettings]:
        """The class of the architecture that plain values name, TimeSformer's where they name none.

        Raises SettingError for one that is not registered.
        """
        name = values.get("architecture", "timesformer") if isinstance(values, Mapping) else "timesformer"
        if not isinstance(name, str) or name not in ARCHITECTURES:
            raise SettingError(f"architecture is {name!r}, should be {' or '.join(ARCHITECTURES)}")
        return ARCHITECTURES[name]

    @classmethod
    def owners(cls, key: str) -> str | None:
        """The architectures that have a setting which this one lacks."""
        found = [name for name, other in ARCHITECTURES.items() if key in other.model_fields]
        return f"architecture {' and '.join(found)}" if found else None

    @property
    def clip_shape(self) -> ClipShape:
        """The clips that the model is made for."""
        return ClipShape(self.num_frames, self.image_size)

    @property
    def clip_unit(self) -> int:
        """What height and width of a clip must be multiples of, pixels."""
        return 1

    @property
    def frame_unit(self) -> int:
        """What the number of frames of a clip must be a multiple of."""
        return 1

    @property
    def feature_token(self) -> int | None:
        """Which of all tokens the head sees; None where it sees none of them alone."""
        return None

    def describe(self) -> str:
        """The network in a few words, without its clips."""
        return self.architecture

    def __str__(self) -> str:
        return self.describe()


class ViTSettings(ModelSettings):
    """What networks made of a ViT's blocks have in common."""

    size: Size = Field("base", description="width, depth and heads by name: ViT-Ti, S, B or L")
    width: int | None = Field(None, gt=0, description="channels of a token; null takes the size's")
    depth: int | None = Field(None, gt=0, description="number of blocks; null takes the size's")
    heads: int | None = Field(None, gt=0, description="attention heads; null takes the size's")
    mlp_ratio: float = Field(4.0, gt=0, description="hidden channels of the MLP as a multiple of the width")

    @property
    def dimensions(self) -> Dimensions:
        """Width, depth and heads after the overrides of the named size."""
        named = SIZES[self.size]
        return Dimensions(self.width or named.width, self.depth or named.depth, self.heads or named.heads)


class TimeSformerSettings(ViTSettings):
    """TimeSformer (Bertasius, Wang, Torresani, ICML 2021). Position tables are made for its frames and image size."""

    architecture: Literal["timesformer"] = Field("timesformer", description="which of the architectures this is")
    scheme: str | tuple[str, ...] = Field(
        "divided_space_time",
        description="space-time attention scheme by name (paper, section 3), or a list of attention steps",
    )
    order: Order = Field("time_space", description="order of the two steps of divided_space_time (paper, table 8)")
    patch_size: int = Field(16, gt=0, description="side of a patch, pixels; divides image_size")
    tubelet: int = Field(1, gt=0, description="frames of a patch; divides num_frames")
    position: PositionTables = Field(
        "space_time",
        description="learned position tables (space_only has none for time), or sinusoidal: a fixed one of sines and "
        "cosines for all patches of a clip, as VideoMAE has",
    )
    position_resize: PositionResize = Field(
        "bicubic",
        description="how tables are resized for a clip of another shape: bicubic (linear in time), nearest or "
        "nearest_flat, as the released code's forward pass or its weight loader does",
    )
    class_token: bool = Field(True, description="a class token beside the patches; not in VideoMAE")
    class_token_in_time: bool = Field(
        False, description="the class token is a key of time attention (paper's Eq. 11, not the released code)"
    )
    pooling: Pooling = Field(
        "class_token",
        description="what the head sees: the class token, the mean of all patches, the first patch, or all tokens by a "
        "learned query's attention",
    )
    drop_path: float = Field(0.1, ge=0, lt=1, description="stochastic depth of the last block; linear over depth")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout after the tables, in the MLP and before the head")
    norm_epsilon: float = Field(1e-6, gt=0, description="what layer norms add to the variance")
    last_norm_epsilon: float | None = Field(
        None, gt=0, description="the same of the norm after the blocks; null takes norm_epsilon"
    )
    initialisation: Initialisation = Field(
        "released",
        description="new weights: as the released code's; scratch, such that a small model learns motion sooner; or "
        "motion, which is scratch, and with an image model (--init) a time table at the scale of its tokens, not zero",
    )

    @property
    def clip_unit(self) -> int:
        """The patch size."""
        return self.patch_size

    @property
    def frame_unit(self) -> int:
        """The tubelet."""
        return self.tubelet

    @property
    def feature_token(self) -> int | None:
        """The class token or the first patch, where the head sees that."""
        return {"class_token": 0, "first_patch": int(self.class_token)}.get(self.pooling)

    def describe(self) -> str:
        """Scheme, dimensions and patch size."""
        width, depth, heads = self.dimensions
        tubelet = f" x {self.tubelet} frames" if self.tubelet > 1 else ""
        return f"{self.scheme_name}, width {width}, {depth} blocks, {heads} heads, patch {self.patch_size}{tubelet}"

    def __str__(self) -> str:
        return f"{self.architecture}, {self.describe()}"

    @property
    def hidden(self) -> int:
        """Hidden channels of the MLP."""
        return round(self.dimensions.width * self.mlp_ratio)

    @property
    def steps(self) -> tuple[str, ...]:
        """The attention steps of a block, in the order of the scheme."""
        return SCHEMES[self.scheme] if isinstance(self.scheme, str) else self.scheme

    @property
    def scheme_name(self) -> str:
        """The scheme for people: its name, or its steps."""
        return self.scheme if isinstance(self.scheme, str) else " + ".join(self.scheme)

    @model_validator(mode="after")
    def _scheme_exists(self) -> Self:
        if isinstance(self.scheme, str) and self.scheme not in SCHEMES:
            raise ValueError(
                f"scheme is {self.scheme!r}, should be {', '.join(SCHEMES)}, or a list of the steps {', '.join(STEPS)}"
            )
        unknown = [step for step in self.steps if step not in STEPS]
        if unknown or not self.steps or len(set(self.steps)) < len(self.steps):
            raise ValueError(
                f"scheme is {list(self.steps)}, should be one or more of the steps {', '.join(STEPS)}, each once"
            )
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        width, _, heads = self.dimensions
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of heads {heads}")
        if self.image_size % self.patch_size:
            raise ValueError(f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}")
        if self.num_frames % self.tubelet:
            raise ValueError(f"num_frames {self.num_frames} is not a multiple of tubelet {self.tubelet}")
        if self.order != "time_space" and self.scheme != "divided_space_time":
            raise ValueError(f"order {self.order!r} is only for scheme divided_space_time, not {self.scheme_name}")
        if self.class_token_in_time and "time" not in self.steps:
            raise ValueError(f"class_token_in_time needs a scheme with time attention, not {self.scheme_name}")
        if not self.class_token:
            for name, value, allowed in (
                ("scheme", self.scheme_name, ("joint_space_time", "joint")),
                ("position", self.position, ("sinusoidal", "none")),
                ("pooling", self.pooling, ("mean", "first_patch", "attentive")),
            ):
                if value not in allowed:
                    raise ValueError(f"class_token false needs {name} {' or '.join(allowed)}, not {value}")
        return self


ARCHITECTURES: dict[str, type[ModelSettings]] = {"timesformer": TimeSformerSettings}
# `baselines.py` and `timesformer.register_architecture` add to it.


def _of_its_class(values: Any) -> Any:
    return ModelSettings.class_for(values).model_validate(dict(values)) if isinstance(values, Mapping) else values


AnyModelSettings = Annotated[SerializeAsAny[ModelSettings], BeforeValidator(_of_its_class)]
