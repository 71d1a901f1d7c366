"""Limits of a service."""

from __future__ import annotations

import re

from pydantic import Field, field_validator

from timesformer.settings import Settings

MIB = 2**20
HOST = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(:(?P<port>[0-9]+))?")


def _cores() -> int:
    from timesformer.device import cores  # it imports torch, which `timesformer --help` does not wait for

    return cores()


class ServiceSettings(Settings):
    """Limits of a service. A request that is beyond one gets an answer that says so, and costs nothing else."""

    workers: int = Field(
        default_factory=_cores, ge=1, description="uploads that are decoded at a time, each in another process"
    )
    queue_clips: int = Field(256, ge=1, description="clips that may wait for a model; more are refused as busy")
    max_uploads: int = Field(64, ge=1, description="bodies that are received at a time; more are refused as busy")
    max_mb: float = Field(512, gt=0, description="MiB of a body, all fields of a form included")
    max_seconds: float = Field(600, gt=0, description="seconds that a video may last")
    max_frames: int = Field(36_000, ge=1, description="frames that a video may have, and windows that a timeline may")
    max_pixels: int = Field(4096 * 2304, ge=1, description="pixels of a frame")
    upload_seconds: float = Field(300, gt=0, description="seconds that a body, or a download, may take")
    idle_seconds: float = Field(30, gt=0, description="seconds that a body, or a download, may pause")
    decode_seconds: float = Field(60, gt=0, description="seconds that decoding may take, and a timeline's next window")
    decode_cpu_seconds: int = Field(120, ge=1, description="seconds of processor time that decoding may take")
    decode_mb: int = Field(2048, ge=64, description="MiB of memory that decoding may take")
    drain_seconds: float = Field(30, ge=0, description="seconds that requests have to end when the service is stopped")
    allow_urls: tuple[str, ...] = Field((), description="hosts, or host:port, that videos may be downloaded from")

    @field_validator("allow_urls")
    @classmethod
    def _as_in_urls(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        """Lower-case, and an IPv6 address without brackets: as urlsplit gives the host that they are compared with."""
        return tuple(map(_host_of, hosts))


def _host_of(given: str) -> str:
    found = HOST.fullmatch(given.strip().lower())
    if found is None or int(found["port"] or 0) > 65535:
        raise ValueError(f"{given!r}; expected HOST, HOST:PORT or [IPV6]:PORT, without a scheme or a path")
    host = found["host"].strip("[]")
    return f"{host}:{int(found['port'])}" if found["port"] else host
