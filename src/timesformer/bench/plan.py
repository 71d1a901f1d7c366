"""What many videos need of a cluster, from what one of them costs.

With N videos of S seconds, of which V views go through the model:

    decode   N x S x decode / 3600                 hours of CPU cores
    model    N x V x model / 3600                  hours of GPUs, or of CPU cores where a machine has none
    read     N x S x read                          bytes from the store
    write    N x write                             bytes to it

A machine has `cores`, `gpus` and a network of `network` gigabits a second. It is busy for the longest of

    decode / cores     model / gpus     (read + write) / network

hours, since the three go on at the same time; without GPUs for (decode + model) / cores, which share the cores. The
longest is the bottleneck. Memory of a machine: a decoder a core, and a model a GPU, or one where there are none.

The defaults of costs are measured (docs/scale.md has the command and the machine): `predict` with a model of size base,
8 x 224 x 224, three views of a video. A GPU's seconds a view are `timesformer bench model --device cuda`.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from timesformer.errors import SettingError
from timesformer.settings import Settings

HOUR = 3600.0
Bottleneck = Literal["cores", "GPUs", "network"]


class Costs(Settings):
    """What a video costs, and what a machine has. Of the processor: seconds of one core."""

    views: float = Field(default=3, gt=0, description="Views of a video that go through the model.")
    decode: float = Field(default=0.004, ge=0, description="Seconds of a core to decode a second of video.")
    model: float = Field(default=1.4, ge=0, description="Seconds of a GPU, or of a core without one, for a view.")
    read: float = Field(default=0.011, ge=0, description="MB that a second of video has.")
    write: float = Field(default=37, ge=0, description="Bytes of the rows of a video.")
    decoder_memory: float = Field(default=0.2, ge=0, description="GB of memory of a decoder.")
    model_memory: float = Field(default=0.34, ge=0, description="GB of memory of a model's process.")
    cores: float = Field(default=16, gt=0, description="Cores of a machine.")
    gpus: float = Field(default=0, ge=0, description="GPUs of a machine.")
    network: float = Field(default=10, gt=0, description="Gigabits a second of a machine's network.")

    @model_validator(mode="after")
    def _a_gpu_has_its_own_seconds(self) -> Self:
        if self.gpus and "model" not in self.model_fields_set:
            raise ValueError(
                f"gpus is {self.gpus:g}, and model is the {self.model:g} s of a core; give model as a GPU has it "
                "(`timesformer bench model --device cuda`)"
            )
        return self


class Plan(NamedTuple):
    """What N videos need.

    Hours: decode, of cores; model, of GPUs or cores; machine, of machines. Bytes: read and written. videos_per_hour: of
    a machine; bottleneck: what a machine waits for, busy: which fraction of the time each is; memory: GB of a machine.
    """

    videos: int
    seconds: float
    decode_hours: float
    model_hours: float
    read_bytes: float
    written_bytes: float
    machine_hours: float
    videos_per_hour: float
    bottleneck: Bottleneck
    busy: dict[str, float]
    memory: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return self._asdict()


class Amount(Settings):
    """How many videos, and how long."""

    videos: int = Field(gt=0, description="Videos.")
    seconds: float = Field(gt=0, description="Seconds of a video.")


def plan(amount: Amount, costs: Costs) -> Plan:
    """What so many videos need; see the formula at the top of this module. Raises SettingError where none of it costs
    anything."""
    videos, seconds = amount.videos, amount.seconds
    decode = videos * seconds * costs.decode / HOUR
    model = videos * costs.views * costs.model / HOUR
    read, written = videos * seconds * costs.read * 1e6, videos * costs.write
    needed: dict[Bottleneck, float] = {"cores": decode / costs.cores}
    if costs.gpus:
        needed["GPUs"] = model / costs.gpus
    else:
        needed["cores"] += model / costs.cores
    needed["network"] = (read + written) * 8 / (costs.network * 1e9) / HOUR
    bottleneck = max(needed, key=lambda name: needed[name])
    hours = needed[bottleneck]
    if not hours:
        raise SettingError("decode, model, read and write are 0; expected at least one cost above 0")
    return Plan(
        videos,
        seconds,
        decode,
        model,
        read,
        written,
        hours,
        videos / hours,
        bottleneck,
        {name: one / hours for name, one in needed.items()},
        costs.cores * costs.decoder_memory + max(1, costs.gpus) * costs.model_memory,
    )
