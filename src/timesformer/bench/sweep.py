"""The points of `timesformer bench cost`, and the CSV that keeps what has been measured."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from timesformer.config import ActivationCheckpointing, Scheme, Size, TimeSformerSettings
from timesformer.engine.engine import EngineName, Precision
from timesformer.errors import DataError
from timesformer.files import replacing
from timesformer.settings import Settings, make

Status = Literal["ok", "out of memory", "too slow", "failed"]
Count = Annotated[int, Field(gt=0)]
Positive = Annotated[float, Field(gt=0)]
SLACK = 1.05  # memory that is free differs from run to run; a limit this much larger is no new one


class Point(NamedTuple):
    """One shape of clips for one scheme: frames, and the side of a frame in pixels."""

    scheme: Scheme
    frames: int
    image_size: int


class Sweep(Settings):
    """What is measured: every scheme at each image size with the first frame count, and at each frame count with the
    first image size."""

    size: Size = Field("base", description="width, depth and heads by name")
    schemes: tuple[Scheme, ...] = Field(get_args(Scheme), min_length=1, description="attention schemes")
    sizes: tuple[Count, ...] = Field((224, 336, 448, 560), min_length=1, description="sides of a frame, pixels")
    frame_counts: tuple[Count, ...] = Field((8, 32, 64, 96), min_length=1, description="frames of a clip")
    batch: Count = Field(1, description="clips at once")
    train: bool = Field(False, description="measure training steps, not forward passes")
    checkpoint_activations: ActivationCheckpointing = Field(
        "none", description="what training steps compute again: none, cheap, blocks"
    )
    engine: EngineName = Field("auto", description="engine of forward passes")
    precision: Precision = Field("auto", description="arithmetic; a training step has no int8")
    device: str = Field("auto", description="auto, cpu, cuda or mps")
    rounds: Count = Field(
        3, description="passes of a point after one that warms up; fewer where they take a tenth of the time limit"
    )
    memory_limit: Positive | None = Field(None, description="GB a point may take; null: nine tenths of what is free")
    time_limit: Positive = Field(300.0, description="seconds a point may take, with its start")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.checkpoint_activations != "none" and not self.train:
            raise ValueError("checkpoint_activations is for training steps: train is off")
        if self.train and (self.engine != "auto" or self.precision == "int8"):
            asked = f"engine {self.engine}, precision {self.precision}"
            raise ValueError(f"{asked}: a training step runs as torch does, in fp32 or bf16; leave engine auto")
        for point in self.points():
            self.model(point)
        return self

    @field_validator("schemes", "sizes", "frame_counts")
    @classmethod
    def _once(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(values)) < len(values):
            raise ValueError(f"{', '.join(map(str, values))}: each may come once")
        return values

    def axes(self) -> dict[str, list[tuple[int, int]]]:
        """Shapes (frames, image size) of the two curves of a scheme, smallest first."""
        frames, side = self.frame_counts[0], self.sizes[0]
        return {
            "image_size": [(frames, size) for size in sorted(self.sizes)],
            "frames": [(count, side) for count in sorted(self.frame_counts)],
        }

    def points(self) -> list[Point]:
        """All points, each once; the smaller first, so that a stopped run has the beginnings of all curves."""
        shapes = {shape for axis in self.axes().values() for shape in axis}
        ordered = sorted(shapes, key=lambda shape: (shape[0] * shape[1] ** 2, shape))
        return [Point(scheme, *shape) for shape in ordered for scheme in self.schemes]

    def model(self, point: Point) -> TimeSformerSettings:
        """Settings of the network of a point. Raises SettingError where there is none of that shape."""
        values = {"size": self.size, "scheme": point.scheme, "num_frames": point.frames, "image_size": point.image_size}
        return make(
            TimeSformerSettings, values, f"{point.scheme}, {point.frames} x {point.image_size} x {point.image_size}"
        )

    @property
    def kind(self) -> str:
        """What, beside the point, a measurement belongs to; those of different kinds are not comparable."""
        again = {"none": "", "cheap": " checkpointed cheap", "blocks": " checkpointed"}[self.checkpoint_activations]
        work = f"training{again}" if self.train else "inference"
        return f"{work} {self.size} x{self.batch} {self.engine} {self.precision} {self.device}"


class Row(BaseModel):
    """One line of the CSV. Empty where nothing was measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str = Field(description="work, size, batch, and the engine, precision and device asked for")
    scheme: Scheme
    frames: int
    image_size: int = Field(description="pixels")
    status: Status
    macs: int = Field(description="multiply-accumulates of a forward pass of one clip")
    parameters: int
    seconds: float | None = Field(None, description="of a batch: median")
    seconds_low: float | None = Field(None, description="smallest")
    seconds_high: float | None = Field(None, description="largest")
    passes: int | None = Field(None, description="passes the median is of")
    memory: int | None = Field(None, description="bytes at the peak")
    memory_limit: float | None = Field(None, description="GB that were allowed")
    time_limit: float | None = Field(None, description="seconds that were allowed")
    ran: str = Field("", description="engine, precision, device and threads picked, or why nothing was measured")

    @property
    def point(self) -> Point:
        """Which point of the sweep it is of."""
        return Point(self.scheme, self.frames, self.image_size)

    def holds(self, sweep: Sweep, memory_limit: float | None) -> bool:
        """Whether the row answers for the sweep; an end at a limit does while that limit is not raised."""
        if self.kind != sweep.kind:
            return False
        if self.status == "out of memory":
            return self.memory_limit is not None and (memory_limit or float("inf")) <= SLACK * self.memory_limit
        if self.status == "too slow":
            return self.time_limit is not None and sweep.time_limit <= self.time_limit
        return self.status == "ok"


def read_rows(path: Path) -> list[Row]:
    """Rows of a CSV that a sweep has written; none where there is no file. Raises DataError for another file."""
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
            return [Row.model_validate({name: value for name, value in line.items() if value != ""}) for line in lines]
    except (ValidationError, TypeError, UnicodeDecodeError):
        raise DataError(
            f"{path}: not a table that bench cost has written; move it away, or take another --out"
        ) from None


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write the CSV, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(Row.model_fields))
        writer.writeheader()
        writer.writerows(row.model_dump() for row in rows)
