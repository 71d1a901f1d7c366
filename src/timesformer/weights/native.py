"""This package's own layout: a folder of config.json and model.safetensors.

config.json holds the format's version, the settings of the model, the preprocessing and the class names:

    {"format": "timesformer", "version": 1, "model": {...}, "preprocessing": {...}, "labels": [...]}
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from timesformer.config import ModelSettings, Preprocessing, make
from timesformer.errors import SettingError, WeightsError
from timesformer.model.timesformer import TimeSformer

VERSION = 1


@dataclass(frozen=True)
class Classifier:
    """A model with all it needs to name what a video shows: preprocessing and class names, one a logit."""

    model: TimeSformer
    preprocessing: Preprocessing
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        classes = self.model.settings.num_classes
        if len(self.labels) != classes:
            raise WeightsError(f"{len(self.labels)} class names for a model of {classes} classes")


def save_native(classifier: Classifier, folder: str | Path) -> None:
    """Write a classifier to a folder, which appears, or replaces an older one, only when it is complete."""
    folder = Path(folder)
    if folder.exists() and any(entry.name not in ("config.json", "model.safetensors") for entry in folder.iterdir()):
        raise WeightsError(f"{folder}: holds other files; name a new folder or one of weights to replace")
    config = {
        "format": "timesformer",
        "version": VERSION,
        "model": classifier.model.settings.model_dump(mode="json"),
        "preprocessing": classifier.preprocessing.model_dump(mode="json"),
        "labels": list(classifier.labels),
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in classifier.model.state_dict().items()}
        save_file(tensors, temporary / "model.safetensors", metadata={"format": "pt"})
        (temporary / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", "utf-8")
        for file in temporary.iterdir():
            _flush(file)
        temporary.chmod(0o755)
        if folder.exists():
            for file in temporary.iterdir():
                file.replace(folder / file.name)
        else:
            temporary.rename(folder)
        _flush(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def load_native(folder: Path) -> Classifier:
    """Read a folder written by `save_native`; every tensor must be there, fit, and be known."""
    file = folder / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{file}: not a configuration that can be read: {error}") from None
    if not isinstance(config, dict) or config.get("format") != "timesformer":
        raise WeightsError(f'{file}: not a configuration of this package (no "format": "timesformer")')
    if config.get("version") != VERSION:
        raise WeightsError(f"{file}: version {config.get('version')!r}; this package reads version {VERSION}")
    try:
        settings = make(ModelSettings, config["model"], f"{file}: model")
        preprocessing = make(Preprocessing, config["preprocessing"], f"{file}: preprocessing")
        labels = tuple(config["labels"])
    except (KeyError, TypeError) as error:
        raise WeightsError(f"{file}: incomplete: {error}") from None
    except SettingError as error:
        raise WeightsError(str(error)) from None
    model = TimeSformer(**settings.model_dump())
    load_strictly(model, read_safetensors(folder / "model.safetensors"), folder / "model.safetensors")
    return Classifier(model.eval(), preprocessing, labels)


def read_safetensors(file: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file. Raises WeightsError for one that is missing or damaged."""
    if not file.is_file():
        raise WeightsError(f"{file}: no such file")
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{file}: not a safetensors file that can be read: {error}") from None


def load_strictly(model: TimeSformer, tensors: dict[str, Tensor], source: Path | str) -> None:
    """Copy tensors into a model. Raises WeightsError naming the first few that are missing, unknown or misshapen."""
    expected = model.state_dict()
    missing = [name for name in expected if name not in tensors]
    unknown = [name for name in tensors if name not in expected]
    misshapen = [f"{name} {tuple(tensors[name].shape)} for {tuple(expected[name].shape)}"
                 for name in expected if name in tensors and tensors[name].shape != expected[name].shape]  # fmt: skip
    kinds = {"missing": missing, "unknown": unknown, "misshapen": misshapen}
    problems = [f"{len(names)} {kind} ({', '.join(names[:3])}{', ...' if names[3:] else ''})"
                for kind, names in kinds.items() if names]  # fmt: skip
    if problems:
        raise WeightsError(f"{source}: tensors do not fit the model: {'; '.join(problems)}")
    model.load_state_dict(tensors)


def _flush(path: Path) -> None:
    """Make the operating system write a file or a folder's entries to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
