"""The shape of a clip, and how a video becomes one."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from timesformer.settings import Settings

SamplingMethod = Literal["span", "segments", "cover"]
Fraction = Annotated[float, Field(ge=0, le=1)]
Deviation = Annotated[float, Field(gt=0, le=1)]


class ClipShape(NamedTuple):
    """The clips a model is made for: `frames` frames, square, of `side` pixels. All that reading videos must know."""

    frames: int
    side: int

    def __str__(self) -> str:
        return f"{self.frames} frames of {self.side} x {self.side}"


class Sampling(Settings):
    """Which frames of a video make a clip; see `timesformer.video.sampling` for the picture."""

    method: SamplingMethod = Field(
        "span",
        description="span: frames spread over num_frames x rate; segments: one frame in each of num_frames "
        "equal segments; cover: spans over the whole video, as many as it is long, rounded",
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
    mean: tuple[Fraction, Fraction, Fraction] = Field(
        (0.45, 0.45, 0.45), description="pixel mean, RGB on a scale of 0..1"
    )
    std: tuple[Deviation, Deviation, Deviation] = Field(
        (0.225, 0.225, 0.225), description="pixel standard deviation, same scale"
    )
    channels: Literal["rgb", "bgr"] = Field("rgb", description="channel order the model expects")
    sampling: Sampling = Field(Sampling(), description="which frames make a clip")
    test_clips: int = Field(1, gt=0, description="temporal clips a video is tested with (not for cover)")
    window: float | None = Field(
        None,
        gt=0,
        description="seconds of a timeline's windows; null is the span of a clip, and unknown with segments, whose "
        "runs keep the median length of their training videos here",
    )
    test_crops: Literal[1, 3] = Field(3, description="spatial crops a clip is tested with, along its longer side")

    @model_validator(mode="after")
    def _clips_to_choose(self) -> Self:
        if self.sampling.method == "cover" and self.test_clips != 1:
            raise ValueError(f"test_clips {self.test_clips} is not for sampling cover, which finds its own; leave it 1")
        return self
