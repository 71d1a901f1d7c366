"""Where a network runs."""

from __future__ import annotations

import torch

from timesformer.errors import SettingError


def find_device(device: str = "auto") -> torch.device:
    """A device by name; "auto" takes a GPU where there is one."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        raise SettingError(f"device {device!r} cannot be used here, expected auto, cpu, cuda or mps: "
                           f"{str(error).splitlines()[0]}") from None  # fmt: skip
    return torch.device(device)
