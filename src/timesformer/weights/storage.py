"""Files of tensors, read and written, whole or not at all: safetensors, and what torch.save writes."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from timesformer.errors import WeightsError, one_line
from timesformer.files import flush, replacing
from timesformer.weights.opened import OpenedTensors
from timesformer.weights.pickles import read_pickle


def read_safetensors(file: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file. Raises WeightsError for one that is missing or damaged."""
    return OpenedTensors(file)()


def read_checkpoint(file: Path) -> Any:
    """What a file of weights holds: safetensors, or what torch.save wrote. Its first bytes decide, not its name."""
    starts = _starts(file)
    if starts[8:9] == b"{":
        return read_safetensors(file)
    if not starts.startswith((b"PK", b"\x80")):  # a zip archive, or a pickle as torch.save once wrote
        raise WeightsError(f"{file}: not a checkpoint that can be read: neither torch.save nor safetensors wrote it")
    return read_pickle(file)


def tensors_in(content: object, source: object) -> dict[str, Tensor]:
    """The tensors by name that a checkpoint's content is. Raises WeightsError where it is something else."""
    if not isinstance(content, dict):
        raise WeightsError(f"{source}: expected tensors by name, got {type(content).__name__}")
    for name, tensor in content.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise WeightsError(f"{source}: expected tensors by name, got {name!r}: {type(tensor).__name__}")
    return content


def write_safetensors(tensors: dict[str, Tensor], file: Path, metadata: dict[str, str] | None = None) -> None:
    """Write tensors to a new file, which others may read as the umask says: safetensors allows only its owner to."""
    file.touch()
    mode = file.stat().st_mode
    save_file(tensors, file, metadata=metadata or {"format": "pt"})
    file.chmod(mode)


def write_pickle(content: dict[str, Any], file: Path) -> None:
    """Write with torch.save; the file appears under its name only when it is complete.

    Raises WeightsError where it cannot be written.
    """
    with _writing(file):
        try:
            with replacing(file) as temporary, temporary.open("wb") as stream:
                torch.save(content, stream)
        except RuntimeError as error:  # torch's writer, which hides what the system said
            said = error.__context__
            raise (said if isinstance(said, OSError) else OSError(one_line(error)[:160])) from None


@contextmanager
def new_folder(folder: Path, files: Collection[str]) -> Iterator[Path]:
    """A temporary folder that becomes `folder` when the block ends without an error.

    Older weights in `folder` give way as a whole: under its name lie the old files, for a moment nothing, then the
    new ones, never some of each. What lies there beside `files` is kept. Raises WeightsError where `folder` is not
    one of weights, and where it cannot be written.
    """
    _check_replaceable(folder, files)
    target = folder.resolve()  # a link stays a link
    with _writing(folder):
        workshop = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=target.parent))
        new, old = workshop / "new", workshop / "old"
        try:
            new.mkdir()  # with the rights that the umask gives, other than mkdtemp's
            yield new
            for path in (*new.iterdir(), new):
                flush(path)
            _exchange(new, target, old)
            for entry in old.iterdir() if old.exists() else ():
                if entry.name not in files:
                    entry.rename(target / entry.name)
            shutil.rmtree(old, ignore_errors=True)
            flush(target.parent)
        finally:
            shutil.rmtree(new, ignore_errors=True)
            with suppress(OSError):
                workshop.rmdir()  # but for what could not be put back


def _check_replaceable(folder: Path, files: Collection[str]) -> None:
    """Raises WeightsError where there is something, but no folder of weights."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise WeightsError(f"{folder}: is a file; name a folder")
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    others = [name for name in names if name not in files]
    if others and not {"config.json", "model.safetensors"} <= set(names):
        listed = f"{', '.join(others[:3])}{', ...' if others[3:] else ''}"
        raise WeightsError(
            f"{folder}: holds files that are not weights ({listed}); name a new folder or one of weights to replace"
        )


def _exchange(new: Path, target: Path, old: Path) -> None:
    """Move `new` to `target`; what was there goes to `old`, and comes back where that fails."""
    if not target.exists():
        new.rename(target)
        return
    target.rename(old)
    try:
        new.rename(target)
    except BaseException:
        old.rename(target)
        raise


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Make the folders above a path that the block writes; where it fails, they go again.

    What the system says against it is a WeightsError that names the path.
    """
    missing = [parent for parent in path.parents if not parent.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException as error:
        for parent in missing:
            with suppress(OSError):
                parent.rmdir()
        if isinstance(error, (OSError, SafetensorError)):
            reason = getattr(error, "strerror", None) or one_line(error)[:160]
            raise WeightsError(f"{path}: cannot be written: {reason}") from error
        raise


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
