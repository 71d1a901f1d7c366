"""Hugging Face folders around their tensors: what config.json and the processors say of classes and pixels, both ways.

Folders that this package writes carry the rest of a classifier in config.json under "timesformer", which transformers
keeps and does not look at. Where transformers has changed what both say (a fine-tuned copy), its word counts.

transformers feeds RGB: a model that expects BGR is written with its patch projection's channels turned around.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from timesformer.config import Preprocessing, TimeSformerSettings
from timesformer.errors import WeightsError
from timesformer.files import as_json
from timesformer.weights.card import model_card
from timesformer.weights.description import Contents, describe, read_description
from timesformer.weights.labels import named_or_default
from timesformer.weights.processor import PROCESSOR, VIDEO_PROCESSOR, processor_files, read_processor
from timesformer.weights.snippet import transformers_section
from timesformer.weights.storage import new_folder, write_safetensors

PROJECTION = "embedding.projection.weight"
PROBLEMS = ("single_label_classification", "multi_label_classification")
FILES = ("config.json", PROCESSOR, VIDEO_PROCESSOR, "model.safetensors", "README.md")


def check_config(config: Mapping[str, Any], allowed: Mapping[str, object], source: Path) -> None:
    """Raises WeightsError for a value of a config.json that differs from the only one allowed."""
    for name, only in allowed.items():
        if config.get(name, only) != only:
            raise WeightsError(f"{source}: {name} is {config[name]!r}; only {only!r} can be loaded")


def is_multilabel(config: Mapping[str, Any], source: Path) -> bool:
    """Whether a video may have several classes. Raises WeightsError for a problem that is no classification."""
    problem = config.get("problem_type") or PROBLEMS[False]
    if problem not in PROBLEMS:
        raise WeightsError(f"{source}: problem_type is {problem!r}; expected {' or '.join(PROBLEMS)}")
    return bool(problem == PROBLEMS[True])


def complete(
    settings: TimeSformerSettings,
    tensors: dict[str, Tensor],
    config: Mapping[str, Any],
    folder: Path,
    released: Preprocessing,
) -> Contents:
    """What a folder holds, of settings and tensors that have been read from it.

    released: what counts where neither the processor nor this package's own part of config.json says it.
    """
    source = folder / "config.json"
    given = read_description(config.get("timesformer"), source, tensors)
    if given is None:
        labels = _labels(config, settings.num_classes, None, source)
        return Contents(settings, read_processor(folder, settings, released), labels, {}, tensors)
    if given.preprocessing.channels == "bgr":
        tensors[PROJECTION] = _turned(tensors[PROJECTION])
    same = isinstance(given.settings, TimeSformerSettings) and _known(given.settings) == _known(settings)
    return given._replace(
        settings=given.settings if same else settings,
        preprocessing=read_processor(folder, settings, given.preprocessing),
        labels=_labels(config, settings.num_classes, given.labels, source),
    )


def tensors_for_rgb(contents: Contents) -> dict[str, Tensor]:
    """The tensors of a classifier, whatever it expects, for clips in RGB."""
    tensors = dict(contents.tensors)
    if contents.preprocessing.channels == "bgr":
        tensors[PROJECTION] = _turned(tensors[PROJECTION])
    return tensors


def write_folder(
    folder: Path,
    contents: Contents,
    settings: TimeSformerSettings,
    config: Mapping[str, Any],
    tensors: dict[str, Tensor],
    *,
    video_processor: str,
) -> None:
    """Write a folder that transformers loads: tensors under its names, `config` and what all architectures have."""
    labels = {str(number): name for number, name in enumerate(contents.labels)}
    width, depth, heads = settings.dimensions
    values = {
        **config,
        "hidden_size": width,
        "num_hidden_layers": depth,
        "num_attention_heads": heads,
        "intermediate_size": settings.hidden,
        "image_size": settings.image_size,
        "patch_size": settings.patch_size,
        "num_frames": settings.num_frames,
        "num_channels": 3,
        "hidden_act": "gelu",
        "layer_norm_eps": settings.norm_epsilon,
        **({"problem_type": PROBLEMS[True]} if settings.multilabel else {}),  # otherwise transformers asks the labels
        "id2label": labels,
        "label2id": {name: int(number) for number, name in labels.items()},
        "timesformer": describe(contents),
    }
    files = {"config.json": values, **processor_files(contents.preprocessing, settings, video_processor)}
    card = model_card(contents) + transformers_section(settings, contents.preprocessing)
    with new_folder(folder, FILES) as new:
        for name, text in files.items():
            (new / name).write_text(as_json(text, indent=2) + "\n", "utf-8")
        write_safetensors(tensors, new / "model.safetensors")
        (new / "README.md").write_text(card, "utf-8")


def _turned(weight: Tensor) -> Tensor:
    """A patch projection for colours in the opposite order, of each frame of a tubelet."""
    frames_of_colours: Tensor = weight.unflatten(1, (3, -1))
    return frames_of_colours.flip(1).flatten(1, 2)


def _known(settings: TimeSformerSettings) -> tuple[Any, ...]:
    """What tensors and config.json say of a model; other settings are this package's own."""
    names = ("scheme", "image_size", "patch_size", "num_frames", "num_classes", "norm_epsilon", "multilabel")
    more = ("tubelet", "class_token", "pooling", "last_norm_epsilon")
    return (settings.dimensions, settings.hidden, *(getattr(settings, name) for name in names + more))


def _labels(config: Mapping[str, Any], classes: int, given: tuple[str, ...] | None, source: Path) -> tuple[str, ...]:
    named = config.get("id2label")
    if isinstance(named, dict):
        if set(named) != {str(number) for number in range(classes)}:
            raise WeightsError(
                f"{source}: id2label has {len(named)} names, the tensors {classes} classes; expected "
                f"one for each of 0 to {classes - 1}"
            )
        if not all(str(name).startswith("LABEL_") for name in named.values()):
            return tuple(str(named[str(number)]) for number in range(classes))
    return named_or_default(given, classes)
