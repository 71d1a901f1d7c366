"""Where a network runs, and what the machine has for it."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import torch
from torch import Tensor

from timesformer.errors import SettingError


class Uploads:
    """Clips to a device; to a GPU through pinned memory and a stream of their own, so that they travel while it still
    computes what came before."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def __call__(self, clips: Tensor) -> Tensor:
        """The clips on the device, ready for its current stream."""
        if self.stream is None or clips.device.type != "cpu":
            return clips.to(self.device)
        with torch.cuda.stream(self.stream):
            uploaded = clips.pin_memory().to(self.device, non_blocking=True)
        current = torch.cuda.current_stream(self.device)
        current.wait_stream(self.stream)
        uploaded.record_stream(current)  # its memory is not given to the next clips before it has been read
        return uploaded


def find_device(device: str = "auto") -> torch.device:
    """A device by name; "auto" takes a GPU where there is one."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        raise SettingError(
            f"device {device!r} cannot be used here, expected auto, cpu, cuda or mps: {str(error).splitlines()[0]}"
        ) from None
    return torch.device(device)


def cores() -> int:
    """Cores that this process may use: fewer than there are in a job of a cluster."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def native_bf16(device: torch.device | None = None) -> bool:
    """Whether a device, the processor if none is given, has matrix instructions for bfloat16.

    Only Linux says it of a processor; elsewhere, and of devices that are neither processors nor CUDA GPUs, it is False.
    """
    if device is not None and device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return (device is None or device.type == "cpu") and _processor_bf16()


@functools.cache
def _processor_bf16() -> bool:
    try:
        content = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    lines = [line for line in content.splitlines() if line.lower().startswith(("flags", "features"))]
    return bool(lines) and not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(lines[0].split())
