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


def read_checkpoint(file: Path) -> Any:
    """What a file of weights holds: safetensors, or what torch.save wrote. Its first bytes tell, not its name."""
    return read_safetensors(file) if _starts(file)[8:9] == b"{" else read_pickle(file)


def read_pickle(file: Path) -> Any:
    """What torch.save wrote, on the CPU, read with `weights_only=True`: no code in the file is ever run.

    Raises WeightsError for a file that holds more than tensors and plain values, or is no checkpoint.
    """
    if not _starts(file).startswith((b"PK", b"\x80")):  # a zip archive, or a pickle as torch.save once wrote
        raise WeightsError(f"{file}: not a checkpoint that can be read: neither torch.save nor safetensors wrote it")
    try:
        with warnings.catch_warnings(), file.open("rb") as stream:
            warnings.simplefilter("ignore")
            return torch.load(stream, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported" in str(error) or "GLOBAL" in str(error):
            raise WeightsError(
                f"{file}: refused: it holds more than tensors and plain values, which only running its code could read"
            ) from None
        raise WeightsError(f"{file}: not a checkpoint that can be read: {_one_line(error)}") from None
    except Exception as error:  # damaged bytes send torch's unpickler astray in every way there is
        raise WeightsError(f"{file}: not a checkpoint that can be read: {_one_line(error)}") from None


def tensors_in(content: object, source: object) -> dict[str, Tensor]:
    """The tensors by name that a checkpoint's content is. Raises WeightsError where it is something else."""
    if not isinstance(content, dict):
        raise WeightsError(f"{source}: expected tensors by name, got {type(content).__name__}")
    for name, tensor in content.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise WeightsError(f"{source}: expected tensors by name, got {name!r}: {type(tensor).__name__}")
    return content


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


def _starts(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(9)
    except OSError as error:
        raise WeightsError(f"{file}: cannot be read: {error}") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__


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
