"""A model to train: new, or begun from other weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from timesformer.config import Architecture, ModelSettings, Preprocessing
from timesformer.model.schemes import SCHEMES
from timesformer.model.timesformer import TimeSformer
from timesformer.settings import make
from timesformer.weights import find_weights, open_weights
from timesformer.weights.classifier import Classifier, load_strictly
from timesformer.weights.names import dimension_values
from timesformer.weights.resize import resize_tables
from timesformer.weights.vit import ImageViT, read_image_vit


class Start(NamedTuple):
    """A classifier to train and, in words, what was done to make it."""

    classifier: Classifier
    notes: list[str]


# What a recipe decides even where the network comes from other weights of a video model.
RECIPE_DECIDES = ("image_size", "num_frames", "drop_path", "dropout", "position_resize", "pooling")


def start(
    architecture: Architecture,
    preprocessing: Preprocessing,
    labels: tuple[str, ...],
    init: str | Path | None = None,
    *,
    multilabel: bool = False,
) -> Start:
    """A new model for `labels`; with `init`, a copy of other weights changed to fit.

    From a video model come the architecture, the pixel normalisation and all tensors; the recipe decides image size,
    frames, dropout and pooling. From an image ViT come width, depth, heads, patch size, pixel normalisation and all its
    tensors, every attention step starting as a copy of its attention; the recipe decides the rest (paper, section 4).
    Position tables are resized. The head of a video model is kept where the classes are the same, in any order, and
    where `labels` are as many numbers, which stand for places among the weights' classes: the classifier then has the
    weights' names. For other classes it is made anew. `multilabel`: a video may have any number of the classes.
    """
    if init is None:
        model = TimeSformer(**architecture.model_dump(), num_classes=len(labels), multilabel=multilabel)
        return Start(Classifier(model, preprocessing, labels), [])
    image = read_image_vit(find_weights(init, image=True))
    if image is not None:
        return _from_image(image, architecture, preprocessing, labels, init, multilabel)
    return _from_video(open_weights(init), architecture, preprocessing, labels, init, multilabel)


def _from_video(
    given: Classifier,
    architecture: Architecture,
    preprocessing: Preprocessing,
    labels: tuple[str, ...],
    init: str | Path,
    multilabel: bool,
) -> Start:
    old = given.model.settings
    changes = {name: getattr(architecture, name) for name in RECIPE_DECIDES}
    classes = {"num_classes": len(labels), "multilabel": multilabel}
    settings = make(ModelSettings, old.model_dump() | changes | classes, f"{init}")
    model = TimeSformer(**settings.model_dump())
    tensors = given.model.state_dict()
    notes = [f"from {init}, {_name(settings)}: architecture and pixel normalisation are the weights', not the recipe's"]
    if settings.pooling != old.pooling:
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("pooling.")}
        tensors |= {name: tensor for name, tensor in model.state_dict().items() if name.startswith("pooling.")}
        notes.append(f"pooling {settings.pooling} in place of {old.pooling}")
    places = _places(labels, given.labels) if multilabel == old.multilabel else None
    if places is None:
        tensors |= {name: tensor for name, tensor in model.state_dict().items() if name.startswith("head.")}
        notes.append(f"new head for {len(labels)} classes (the weights have {len(given.labels)} others)")
    elif set(labels) != set(given.labels):
        labels = given.labels
        notes.append(f"head kept: the data's classes are numbers, taken as places among the weights' {len(labels)}")
    elif labels != given.labels:
        tensors |= {name: tensors[name][places] for name in ("head.weight", "head.bias")}
        notes.append(f"head kept, its {len(labels)} classes put in the data's order")
    notes += resize_tables(tensors, old.image_size // old.patch_size, settings)
    load_strictly(model, tensors, init)
    pixels = {name: getattr(given.preprocessing, name) for name in ("mean", "std", "channels")}
    return Start(Classifier(model, preprocessing.model_copy(update=pixels), labels), notes)


def _places(labels: tuple[str, ...], old: tuple[str, ...]) -> list[int] | None:
    """The place of each class among the old ones; None where they are others.

    Numbers are places where the old classes have names, as `Manifest.with_labels` takes them.
    """
    if len(labels) == len(old) == len(set(old)) and set(labels) == set(old):
        return [old.index(name) for name in labels]
    numbers = [str(number) for number in range(len(old))]
    if list(labels) == numbers and not any(name.isdecimal() for name in old):
        return list(range(len(old)))
    return None


def _from_image(
    image: ImageViT,
    architecture: Architecture,
    preprocessing: Preprocessing,
    labels: tuple[str, ...],
    init: str | Path,
    multilabel: bool,
) -> Start:
    values: dict[str, Any] = architecture.model_dump() | dimension_values(image.dimensions)
    values |= {"patch_size": image.patch_size, "mlp_ratio": image.mlp_ratio, "norm_epsilon": image.norm_epsilon}
    values |= {"initialisation": "released", "num_classes": len(labels), "multilabel": multilabel}
    settings = make(ModelSettings, values, f"{init}")
    model = TimeSformer(**settings.model_dump())
    tensors = dict(image.tensors)
    for block in range(image.dimensions.depth):
        for part in ("weight", "bias"):
            attention = {
                name: tensors.pop(f"blocks.{block}.{name}.{part}")
                for name in ("attention_norm", "attention.qkv", "attention.proj")
            }
            for step in SCHEMES[settings.scheme]:
                place = f"blocks.{block}.steps.{step}."
                tensors[f"{place}norm.{part}"] = attention["attention_norm"]
                tensors[f"{place}attention.qkv.{part}"] = attention["attention.qkv"]
                tensors[f"{place}attention.proj.{part}"] = attention["attention.proj"]
    if settings.position == "none":
        del tensors["embedding.space_table"]
    notes = [
        f"from the image model {init} ({image.kind}), {_name(settings)}: each attention step starts as its attention",
        f"pixels with mean {list(image.mean)} and std {list(image.std)}, as the image model's",
    ]
    notes += resize_tables(tensors, image.side, settings)
    # What an image model lacks: the head, the time table, the last linear layer of the added steps.
    starts, ends = ("head.", "pooling."), (".fc.weight", ".fc.bias", "time_table")
    new = {
        name: tensor for name, tensor in model.state_dict().items() if name.startswith(starts) or name.endswith(ends)
    }
    load_strictly(model, new | tensors, init)
    pixels = {"mean": image.mean, "std": image.std, "channels": "rgb"}
    return Start(Classifier(model, preprocessing.model_copy(update=pixels), labels), notes)


def _name(settings: ModelSettings) -> str:
    width, depth, heads = settings.dimensions
    return f"{settings.scheme}, width {width}, {depth} blocks, {heads} heads, patch {settings.patch_size}"
