"""What a service takes, and how much of it."""

from __future__ import annotations

from pydantic import Field

from timesformer.settings import Settings

MIB = 2**20


class ServiceSettings(Settings):
    """Limits of a service. A request that is beyond one gets an answer that says so, and costs nothing else."""

    workers: int = Field(2, ge=1, description="uploads that are decoded at a time, each in a process of its own")
    queue_clips: int = Field(
        256,
        ge=1,
        description="clips that may wait for a model; a request with more is told to come again",
    )
    max_uploads: int = Field(64, ge=1, description="bodies that are received at a time; more are told to come again")
    max_mb: float = Field(512, gt=0, description="MiB of a body")
    max_seconds: float = Field(600, gt=0, description="seconds that a video may last")
    max_frames: int = Field(36_000, ge=1, description="frames that a video may have, and windows that a timeline may")
    max_pixels: int = Field(4096 * 2304, ge=1, description="pixels of a frame")
    upload_seconds: float = Field(300, gt=0, description="seconds that a body may take to come")
    idle_seconds: float = Field(30, gt=0, description="seconds that a body may pause")
    decode_seconds: float = Field(60, gt=0, description="seconds that decoding may take, and a timeline's next window")
    decode_cpu_seconds: int = Field(120, ge=1, description="seconds of processor time that decoding may take")
    decode_mb: int = Field(2048, ge=64, description="MiB of memory that decoding may take")
    drain_seconds: float = Field(30, ge=0, description="seconds that requests have to end when the service is stopped")
    allow_urls: tuple[str, ...] = Field((), description="hosts, or host:port, that videos may be downloaded from")
