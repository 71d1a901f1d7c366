"""Files of tensors: safetensors, and pickles that hold nothing but tensors and plain values."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import tempfile
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from timesformer.errors import WeightsError


def read_safetensors(file: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file. Raises WeightsError for one that is missing or damaged."""
    if not file.is_file():
        raise WeightsError(f"{file}: no such file")
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{file}: not a safetensors file that can be read: {error}") from None


def read_pickle(file: Path) -> Any:
    """What torch.save wrote, on the CPU, read with `weights_only=True`: no code in the file is ever run.

    Raises WeightsError for a file that holds more than tensors and plain values, or is no checkpoint.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = " ".join(str(error).split())
        if "Unsupported" in reason or "GLOBAL" in reason:
            reason = "it holds more than tensors and plain values, which only running its code could read"
        raise WeightsError(f"{file}: refused: {reason[:160]}") from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise WeightsError(f"{file}: not a checkpoint that can be read: {' '.join(str(error).split())[:160]}") from None


def write_pickle(content: dict[str, Any], file: Path) -> None:
    """Write with torch.save; the file appears under its name only when it is complete."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            torch.save(content, stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Make the operating system write a file, or a folder's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(file: Path) -> dict[str, Any]:
    """A JSON file that holds values by name. Raises WeightsError for anything else."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{file}: not a configuration that can be read: {error}") from None
    if not isinstance(values, dict):
        raise WeightsError(f"{file}: not a configuration that can be read: expected values by name")
    return values


@contextmanager
def new_folder(folder: Path, files: Collection[str]) -> Iterator[Path]:
    """A temporary folder that becomes `folder`, or replaces the files in it, when the block ends without an error.

    Raises WeightsError where `folder` holds anything but `files`: it is somebody else's.
    """
    if folder.exists() and (not folder.is_dir() or any(entry.name not in files for entry in folder.iterdir())):
        raise WeightsError(f"{folder}: holds other files; name a new folder or one of weights to replace")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield temporary
        for file in temporary.iterdir():
            flush(file)
        temporary.chmod(0o755)
        if folder.exists():
            for file in temporary.iterdir():
                file.replace(folder / file.name)
        else:
            temporary.rename(folder)
        flush(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
