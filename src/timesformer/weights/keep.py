"""A copy of weights, for what is initialised from them later; what tells them apart."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from timesformer.files import replacing
from timesformer.weights.hub import CONFIGS
from timesformer.weights.read import find_weights
from timesformer.weights.shards import WHOLE, index_name, shard_names


def keep_weights(weights: str | Path, folder: Path) -> Path:
    """Copy all files that WEIGHTS, as `--init` takes them, are read from; returns what to name in their place.

    Raises WeightsError as `find_weights`.
    """
    source = find_weights(weights, headless=True)
    folder.mkdir(parents=True, exist_ok=True)
    names = [source.name] if source.is_file() else _files_of(source)
    root = source.parent if source.is_file() else source
    for name in names:
        with replacing(folder / name) as temporary:
            shutil.copyfile(root / name, temporary)
    return kept_weights(folder)


def kept_weights(folder: Path) -> Path:
    """What `keep_weights` returned for this folder."""
    files = [path for path in folder.iterdir() if not path.name.startswith(".")]
    return files[0] if len(files) == 1 else folder


def _files_of(source: Path) -> list[str]:
    """The configuration files that a folder has, and the first of the files of tensors, or its shards."""
    names = [name for name in CONFIGS if (source / name).is_file()]
    for whole in WHOLE:
        shards = shard_names(source, whole)
        if (source / whole).is_file():
            return [*names, whole]
        if shards:
            return [*names, index_name(whole), *shards]
    return names


def digest_weights(weights: str | Path) -> str:
    """A hash of all files that WEIGHTS, as `--init` takes them, are read from.

    Raises WeightsError as `find_weights`.
    """
    source = find_weights(weights, headless=True)
    files = [source] if source.is_file() else [source / name for name in sorted(_files_of(source))]
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16]
