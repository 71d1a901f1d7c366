"""All settings of the package: frozen, checked where they are made, unknown keys refused.

Three groups of settings make a `Recipe`, which describes one whole training run:

    model          what the network is                          Architecture (ModelSettings adds num_classes)
    preprocessing  how a video becomes its input                Preprocessing (travels with the weights)
    the rest       how it is trained, of no interest afterwards Augmentation, Optimizer, Training, Data
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from timesformer.settings import Settings

Scheme = Literal["space_only", "joint_space_time", "divided_space_time", "sparse_local_global", "axial"]
Size = Literal["tiny", "small", "base", "large"]
Order = Literal["time_space", "space_time", "parallel"]
PositionTables = Literal["none", "space", "space_time"]
PositionResize = Literal["bicubic", "nearest", "nearest_flat"]
Initialisation = Literal["released", "scratch"]
Pooling = Literal["class_token", "attentive"]
Recompute = Literal["none", "cheap", "blocks"]
SamplingMethod = Literal["span", "segments", "cover"]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Deviation = Annotated[float, Field(gt=0, le=1)]
Factor = Annotated[float, Field(ge=0, lt=1)]


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


class Architecture(Settings):
    """The network, but for the number of classes, which the data decides."""

    size: Size = Field("base", description="width, depth and heads by name: ViT-Ti, S, B or L")
    width: int | None = Field(None, gt=0, description="channels of a token; null takes the size's")
    depth: int | None = Field(None, gt=0, description="number of blocks; null takes the size's")
    heads: int | None = Field(None, gt=0, description="attention heads; null takes the size's")
    mlp_ratio: float = Field(4.0, gt=0, description="hidden channels of the MLP as a multiple of the width")
    scheme: Scheme = Field("divided_space_time", description="space-time attention scheme (paper, section 3)")
    order: Order = Field("time_space", description="order of the two steps of divided_space_time")
    image_size: int = Field(224, gt=0, description="side of the square crop the position table is made for, pixels")
    patch_size: Literal[8, 14, 16, 32] = Field(16, description="side of a patch, pixels")
    num_frames: int = Field(8, gt=0, description="frames of a clip that the time table is made for")
    position: PositionTables = Field("space_time", description="learned position tables (space_only has none for time)")
    position_resize: PositionResize = Field("bicubic", description="how tables are resized for a clip of another shape")
    class_token_in_time: bool = Field(False, description="class token is a key of time attention (paper's Eq. 11)")
    pooling: Pooling = Field(
        "class_token", description="what the head sees: the class token, or all tokens by a learned query's attention"
    )
    drop_path: float = Field(0.1, ge=0, lt=1, description="stochastic depth of the last block; linear over depth")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout after the tables, in the MLP and before the head")
    norm_epsilon: float = Field(1e-6, gt=0, description="what layer norms add to the variance")
    initialisation: Initialisation = Field(
        "released", description="what new weights start from: as the released code, or made to learn from scratch"
    )

    @property
    def dimensions(self) -> Dimensions:
        """Width, depth and heads after the overrides of the named size."""
        named = SIZES[self.size]
        return Dimensions(self.width or named.width, self.depth or named.depth, self.heads or named.heads)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        width, _, heads = self.dimensions
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of heads {heads}")
        if self.image_size % self.patch_size:
            raise ValueError(f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}")
        if self.order != "time_space" and self.scheme != "divided_space_time":
            raise ValueError(f"order {self.order!r} is only for scheme divided_space_time, not {self.scheme}")
        if self.class_token_in_time and self.scheme not in ("divided_space_time", "axial"):
            raise ValueError(f"class_token_in_time needs a scheme with time attention, not {self.scheme}")
        return self


class ModelSettings(Architecture):
    """A whole network: an architecture and its classes."""

    num_classes: int = Field(400, gt=0, description="number of classes of the head")
    multilabel: bool = Field(False, description="a video may have several classes: a score is a sigmoid of its own")


class Sampling(Settings):
    """Which frames of a video make a clip; see `timesformer.video.sampling` for the picture."""

    method: SamplingMethod = Field(
        "span",
        description="span: frames spread over num_frames x rate; segments: one frame in each of num_frames "
        "equal segments; cover: non-overlapping spans over the whole video",
    )
    rate: float = Field(32, gt=0, description="frames between two frames of a clip (span and cover)")
    fps: float | None = Field(
        None, gt=0, description="frame rate that `rate` counts in; null counts the video's frames"
    )
    single_clip: Literal["middle", "start"] = Field(
        "middle", description="where the only test clip of `span` lies; the released code takes the start"
    )


class Preprocessing(Settings):
    """How a video becomes the model's input; saved with the weights."""

    short_side: int | None = Field(None, gt=0, description="short side of test frames, pixels; null is the image size")
    mean: tuple[Share, Share, Share] = Field((0.45, 0.45, 0.45), description="pixel mean, RGB on a scale of 0..1")
    std: tuple[Deviation, Deviation, Deviation] = Field(
        (0.225, 0.225, 0.225), description="pixel standard deviation, same scale"
    )
    channels: Literal["rgb", "bgr"] = Field("rgb", description="channel order the model expects")
    sampling: Sampling = Field(Sampling(), description="which frames make a clip")
    test_clips: int = Field(1, gt=0, description="temporal clips a video is tested with (not for cover)")
    test_crops: Literal[1, 3] = Field(3, description="spatial crops a clip is tested with, along its longer side")

    @model_validator(mode="after")
    def _clips_to_choose(self) -> Self:
        if self.sampling.method == "cover" and self.test_clips != 1:
            raise ValueError(f"test_clips {self.test_clips} is not for sampling cover, which finds its own; leave it 1")
        return self


class Augmentation(Settings):
    """What training changes at random; every clip draws its own."""

    repeats: int = Field(1, gt=0, description="clips drawn of a video each time it is decoded (repeated augmentation)")
    time_scale: tuple[Positive, Positive] = Field(
        (1.0, 1.0), description="smallest and largest factor of a clip's span; of segments, the share of the video"
    )
    short_side: tuple[int, int] = Field((256, 320), description="smallest and largest short side, pixels")
    short_side_law: Literal["uniform", "inverse_uniform"] = Field(
        "uniform", description="law the short side is drawn from"
    )
    flip: bool = Field(True, description="mirror half of the clips; wrong where a class is a direction")
    random_ops: int = Field(0, ge=0, le=12, description="operations RandAugment applies to a clip; 0 for none")
    random_magnitude: float = Field(0.5, gt=0, le=1, description="strength of those operations")
    affine: float = Field(
        0.0, ge=0, le=1, description="strength of one random rotation, shift, scale and shear of every clip; 0 for none"
    )
    erasing: float = Field(0.0, ge=0, le=1, description="share of clips that lose a box, the same in all frames")
    # Above 1, which is the uniform law, halves become likelier than wholes: such a number is hardly meant as an alpha.
    mixup: float = Field(
        0.0, ge=0, le=1, description="alpha of the Beta law that mixes two clips of a batch; 0 for none"
    )
    cutmix: float = Field(
        0.0, ge=0, le=1, description="alpha of the Beta law of the box taken from another clip; 0 for none"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        low, high = self.short_side
        if not 0 < low <= high:
            raise ValueError(f"short_side [{low}, {high}] must be two positive sizes, the smaller first")
        if self.time_scale[0] > self.time_scale[1]:
            raise ValueError(f"time_scale {list(self.time_scale)}: the smaller factor comes first")
        return self


class Optimizer(Settings):
    """Optimiser and learning-rate schedule."""

    name: Literal["sgd", "adamw"] = Field("sgd", description="sgd has Nesterov momentum")
    learning_rate: float = Field(0.005, gt=0, description="peak learning rate for `reference_batch`")
    reference_batch: int = Field(64, gt=0, description="clips a step that the learning rate is stated for")
    scale_learning_rate: Literal["linear", "sqrt", "none"] = Field(
        "linear", description="how the rate follows the real number of clips a step (devices x batch_size x accumulate)"
    )
    layer_decay: float = Field(1.0, gt=0, le=1, description="learning rate of a block as a share of the next one's")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of sgd")
    betas: tuple[Factor, Factor] = Field((0.9, 0.999), description="running-average factors of adamw")
    weight_decay: float = Field(1e-4, ge=0, description="weight decay")
    decay_all: bool = Field(True, description="decay norms, biases and tables too, as the paper does")
    schedule: Literal["steps", "cosine", "constant"] = Field("steps", description="how the learning rate falls")
    steps: tuple[Positive, ...] = Field((11, 14), description="epochs at which `steps` divides the rate by ten")
    warmup_epochs: float = Field(0, ge=0, description="epochs of linear growth from 1% at the start")
    clip_gradient: float | None = Field(None, gt=0, description="largest norm of the gradient; null does not clip")

    def rate_for(self, batch: int) -> float:
        """The peak learning rate of steps of `batch` clips."""
        power = {"linear": 1.0, "sqrt": 0.5, "none": 0.0}[self.scale_learning_rate]
        return float(self.learning_rate * (batch / self.reference_batch) ** power)


class Training(Settings):
    """Length, batch and hardware of a run."""

    epochs: int = Field(15, gt=0, strict=True, description="passes over the training split")
    batch_size: int = Field(8, gt=0, description="clips a device takes at once")
    accumulate: int = Field(1, gt=0, description="batches whose gradients make one optimiser step")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target spread over all classes")
    balance: Literal["none", "sampling", "loss"] = Field(
        "none", description="against unequal classes: draw videos of all classes equally often, or weigh their losses"
    )
    ema: float | None = Field(None, gt=0, lt=1, description="decay of averaged weights, which are then the result")
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = Field("32-true", description="arithmetic")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="auto takes a GPU where there is one")
    strategy: Literal["ddp", "fsdp"] = Field("ddp", description="how several processes share the work")
    checkpoint_activations: Recompute = Field(
        "none",
        description="what the backward pass computes again to save memory: none, what is cheap (norms, GELU, "
        "attention of few keys), or whole blocks",
    )
    compile: bool = Field(False, description="compile the network with torch.compile")
    deterministic: bool = Field(False, description="refuse operations whose result may differ from run to run")
    watch_every: int = Field(1, gt=0, description="epochs from one that is watched to the next; the last one always is")
    checkpoint_steps: int | None = Field(
        None, gt=0, description="optimiser steps between checkpoints inside an epoch; there is one after each epoch"
    )
    loggers: tuple[Literal["mlflow", "wandb"], ...] = Field((), description="trackers beside TensorBoard and CSV")


class Probe(Settings):
    """A head on a frozen backbone: the features are computed once, and one head a learning rate is trained on them."""

    learning_rates: tuple[Positive, ...] = Field(
        (1e-4, 3e-4, 1e-3, 3e-3, 1e-2), min_length=1, description="rates tried at once; the best on `val` is kept"
    )


class Data(Settings):
    """Reading the data."""

    fraction: float = Field(1.0, gt=0, le=1, description="share of the training videos, of each class and by the seed")
    workers: int | None = Field(
        None, ge=0, description="processes that decode; null is one a core, shared out among torchrun's, at most 8"
    )
    quarantine: Path | None = Field(
        None, description="list of videos to leave out (`timesformer data check --out`); null is DATA/quarantine.csv"
    )
    max_bad_share: float = Field(0.05, ge=0, le=1, description="share of unreadable videos over which a run stops")


# What a probe does not do; in a recipe of one these have their defaults.
NOT_OF_PROBES = {
    "augmentation": ("repeats", "time_scale", "random_ops", "affine", "erasing", "mixup", "cutmix"),
    "optimizer": ("learning_rate", "layer_decay", "decay_all", "clip_gradient"),
    "training": (
        "accumulate",
        "balance",
        "ema",
        "compile",
        "deterministic",
        "watch_every",
        "checkpoint_steps",
        "loggers",
    ),
}


class Recipe(Settings):
    """A whole training run: with a data set, all that is needed to repeat it."""

    seed: int = Field(0, ge=0, lt=2**32, description="seed of weights, order, sampling and augmentation")
    model: Architecture = Architecture()
    preprocessing: Preprocessing = Preprocessing()
    augmentation: Augmentation = Augmentation()
    optimizer: Optimizer = Optimizer()
    training: Training = Training()
    probe: Probe | None = Field(None, description="train only a head, on features of a frozen backbone")
    data: Data = Data()

    @model_validator(mode="after")
    def _crop_fits(self) -> Self:
        size = self.model.image_size
        if self.augmentation.short_side[0] < size:
            raise ValueError(
                f"augmentation.short_side starts at {self.augmentation.short_side[0]}, "
                f"smaller than the crop of model.image_size {size}"
            )
        if (self.preprocessing.short_side or size) < size:
            raise ValueError(
                f"preprocessing.short_side {self.preprocessing.short_side} is smaller than model.image_size {size}"
            )
        return self

    @model_validator(mode="after")
    def _batch_fits(self) -> Self:
        repeats, batch = self.augmentation.repeats, self.training.batch_size
        if batch % repeats:
            raise ValueError(f"training.batch_size {batch} is not a multiple of augmentation.repeats {repeats}")
        if (self.augmentation.mixup or self.augmentation.cutmix) and batch == 1:
            raise ValueError("augmentation.mixup and cutmix mix clips of a batch; training.batch_size is 1")
        warmup, epochs = self.optimizer.warmup_epochs, self.training.epochs
        if warmup >= epochs:
            raise ValueError(
                f"optimizer.warmup_epochs {warmup:g} leaves nothing of training.epochs {epochs}; lower it as well, say "
                f"optimizer.warmup_epochs={epochs / 10:g}"
            )
        if self.preprocessing.sampling.method == "segments" and self.augmentation.time_scale[1] > 1:
            raise ValueError(
                f"augmentation.time_scale goes up to {self.augmentation.time_scale[1]:g}; segments cannot be more than "
                "the whole video, 1"
            )
        if self.training.strategy == "fsdp" and self.training.ema is not None:
            raise ValueError("training.ema keeps whole weights on every device; it is not for training.strategy fsdp")
        if self.training.strategy == "fsdp" and self.training.precision == "16-mixed":
            raise ValueError("training.precision 16-mixed is not for training.strategy fsdp; bf16-mixed is")
        return self

    @model_validator(mode="after")
    def _probe_does_it(self) -> Self:
        if self.probe is None:
            return self
        if self.optimizer.name != "adamw":
            raise ValueError(f"optimizer.name is {self.optimizer.name}; a probe trains its heads with adamw")
        if self.training.precision == "16-mixed":
            raise ValueError("training.precision is 16-mixed; a probe computes in 32-true or bf16-mixed")
        for part, names in NOT_OF_PROBES.items():
            group = getattr(self, part)
            for name in names:
                value, default = getattr(group, name), type(group).model_fields[name].default
                if value != default:
                    raise ValueError(f"{part}.{name} is {value}, which is not for a probe; leave it {default}")
        return self
