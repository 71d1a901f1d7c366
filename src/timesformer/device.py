"""Where a network runs, and what the machine has for it."""

from __future__ import annotations

import functools
import importlib
import os
import platform
import resource
import sys
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from timesformer.errors import SettingError, one_line

BF16_FLAGS = frozenset(("avx512_bf16", "amx_bf16", "bf16"))
# What torch says where a GPU, the machine, or what processes share has too little memory.
OUT_OF_MEMORY = ("out of memory", "allocate memory", "ALLOC_FAILED", "allocate shared memory", "out of shared memory")


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


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is full: of the machine, or of a GPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in one_line(error) for sign in OUT_OF_MEMORY)


def peak_memory(device: torch.device) -> int:
    """Bytes at the peak: of this process's memory, or of what torch took of a GPU's."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return usage if sys.platform == "darwin" else usage * 1024
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def cores() -> int:
    """Cores that this process may use: fewer than there are in a job of a cluster."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def version_of(package: str, module: str | None = None) -> str:
    """The version of a package. Where none is installed under its name, as where onnxruntime-gpu gives onnxruntime, or
    where it is used from a path: what its module, of the same name if not given, says; else "not installed"."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        pass
    try:
        return str(getattr(importlib.import_module(module or package), "__version__", "unknown"))
    except ImportError:
        return "not installed"


def native_bf16(device: torch.device | None = None) -> bool:
    """Whether a device, the processor if none is given, has instructions for bfloat16.

    Only Linux says it of a processor; elsewhere, and of devices that are neither processors nor CUDA GPUs, it is False.
    """
    if device is not None and device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return (device is None or device.type == "cpu") and not BF16_FLAGS.isdisjoint(processor().flags)


def fast_bf16(device: torch.device | None = None) -> bool:
    """Whether a device, the processor if none is given, multiplies matrices in bfloat16 faster than in float32.

    A processor of Intel's does so with AMX alone: without it a linear layer of base (1576 x 768 x 3072) took 87 ms on
    one core of a Xeon with avx512_bf16, and 49 in float32. AMD's take half the time with avx512_bf16.
    """
    if not native_bf16(device):
        return False
    on_gpu = device is not None and device.type == "cuda"
    return on_gpu or processor().vendor != "GenuineIntel" or "amx_bf16" in processor().flags


class Processor(NamedTuple):
    """What is known of a processor: its name, its vendor, its instructions; empty where it is not."""

    name: str = ""
    vendor: str = ""
    flags: frozenset[str] = frozenset()


@functools.cache
def processor() -> Processor:
    """What Linux says of the first core; elsewhere, the name alone."""
    try:
        return _parse(Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    except OSError:
        return Processor(platform.processor())


def _parse(cpuinfo: str) -> Processor:
    fields: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip().lower(), value.strip())
    flags = fields.get("flags") or fields.get("features") or ""  # x86, Arm
    return Processor(fields.get("model name", ""), fields.get("vendor_id", ""), frozenset(flags.split()))
