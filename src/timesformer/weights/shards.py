"""The tensors of a Hugging Face folder as transformers finds them: .safetensors or .bin, in one file or in shards."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

from torch import Tensor

from timesformer.errors import WeightsError
from timesformer.weights.storage import read_checkpoint, read_json, tensors_in

WHOLE = ("model.safetensors", "pytorch_model.bin")  # the first that is there counts, whole before shards


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """The tensors of a folder. Raises WeightsError where files are missing, damaged or not of the folder."""
    for name in WHOLE:
        files = [name] if (folder / name).is_file() else shard_names(folder, name)
        if files:
            tensors = [tensors_in(read_checkpoint(folder / file), folder / file) for file in files]
            return {name: tensor for part in tensors for name, tensor in part.items()}
    raise WeightsError(f"{folder / WHOLE[0]}: no such file, and no {index_name(WHOLE[0])} or {WHOLE[1]}")


def index_name(name: str) -> str:
    """The name of the file that says which shards stand for the file `name`."""
    return f"{name}.index.json"


def shard_names(folder: Path, name: str) -> list[str]:
    """The shards that stand for the file `name`; none where the folder has no index of them.

    Raises WeightsError for an index that names anything but files of its own folder.
    """
    index = folder / index_name(name)
    if not index.is_file():
        return []
    files = read_json(index).get("weight_map")
    if not isinstance(files, dict) or not files:
        raise WeightsError(f"{index}: weight_map is {files!r}; expected the file of each tensor")
    for tensor, file in files.items():
        if not isinstance(file, str) or not is_name(file):
            raise WeightsError(f"{index}: {tensor} is in {file!r}; expected a file of this folder")
    return sorted(set(files.values()))


def is_name(text: str) -> bool:
    """Whether a text is a file's name on every system, not a path that leaves the folder."""
    return text not in ("", ".", "..") and PurePosixPath(text).name == PureWindowsPath(text).name == text
