"""A model to train: new, or initialised from other weights (`timesformer train --init`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from timesformer.baselines.architectures import build_model
from timesformer.config import FrameViTSettings, ModelSettings, Preprocessing, SlowFastSettings, TimeSformerSettings
from timesformer.config.baselines import ResNetSettings
from timesformer.errors import SettingError
from timesformer.model.initialise import draw_time_table
from timesformer.model.protocol import VideoModel
from timesformer.settings import make
from timesformer.weights.classifier import Classifier, load_model, load_strictly
from timesformer.weights.description import Contents
from timesformer.weights.names import dimension_values
from timesformer.weights.read import find_weights, read_weights
from timesformer.weights.resize import resize_tables, table_settings
from timesformer.weights.resnet import ImageResNet, inflate, read_image_resnet
from timesformer.weights.videomae import read_encoder
from timesformer.weights.vit import ImageViT, read_image_vit

# What a recipe decides even where the network comes from weights of a video model.
RECIPE_DECIDES = ("image_size", "num_frames", "drop_path", "dropout", "position_resize", "pooling")


class Initialised(NamedTuple):
    """A classifier to train, in words what was done to make it, whether it is from other weights, and the names of the
    parameters that those lacked."""

    classifier: Classifier
    notes: list[str]
    from_weights: bool
    new: frozenset[str] = frozenset()

    @property
    def keeps_head(self) -> bool:
        """Whether the classifier's last layer is the weights' own."""
        head = self.classifier.model.head_names()[-1]
        return self.from_weights and not any(name.startswith(f"{head}.") for name in self.new)


def initialise_classifier(
    settings: ModelSettings,
    preprocessing: Preprocessing,
    labels: tuple[str, ...],
    init: str | Path | None = None,
    *,
    multilabel: bool = False,
) -> Initialised:
    """A new model for `labels`; with `init`, a copy of other weights changed to fit.

    settings: a recipe's `model`. From a video model come the architecture, the pixel normalisation and all tensors; the
    recipe decides image size, frames, dropout and pooling. From an image ViT come width, depth, heads, patch size,
    pixel normalisation and all its tensors, every attention step initialised as a copy of its attention; the recipe
    decides the rest (paper, section 4). From an image ResNet come width, blocks, pixel normalisation and all its
    tensors, inflated over time. Position tables are resized. The head of a video model is kept where the
    classes are the same, in any order, and where `labels` are as many numbers, which stand for indices into the
    weights' classes: the classifier then has the weights' names. For other classes, and where the weights are an
    encoder without a head, it is new. multilabel: whether a video may have any number of the classes.

    Raises WeightsError for weights that cannot be used, SettingError for settings that do not fit them.
    """
    classes = {"num_classes": len(labels), "multilabel": multilabel}
    if init is None:
        model = build_model(make(type(settings), settings.model_dump() | classes, "model"))
        return Initialised(Classifier(model, preprocessing, labels), [], from_weights=False)
    path = find_weights(init, headless=True)
    image = read_image_vit(path)
    if image is not None:
        return _from_image(image, settings, preprocessing, labels, init, classes)
    resnet = read_image_resnet(path)
    if resnet is not None:
        return _from_resnet(resnet, settings, preprocessing, labels, init, classes)
    encoder = read_encoder(path)
    if encoder is not None:
        made = _from_video(encoder.contents, (), settings, preprocessing, labels, init, classes)
        return made._replace(notes=[*made.notes, encoder.note])
    given = load_model(init)
    before_head = given.model.head_names()[:-1]
    return _from_video(given.contents(), before_head, settings, preprocessing, labels, init, classes)


def own_patch_size(init: str | Path) -> int | None:
    """The side of a patch, pixels, of weights to initialise from, which stays theirs; None for those without patches.
    Raises WeightsError for weights that cannot be used."""
    path = find_weights(init, headless=True)
    image = read_image_vit(path)
    if image is not None:
        return image.patch_size
    if read_image_resnet(path) is not None:
        return None
    encoder = read_encoder(path)
    contents = read_weights(init) if encoder is None else encoder.contents
    return getattr(contents.settings, "patch_size", None)


def _from_video(
    given: Contents,
    old_before_head: tuple[str, ...],
    recipe: ModelSettings,
    preprocessing: Preprocessing,
    labels: tuple[str, ...],
    init: str | Path,
    classes: dict[str, Any],
) -> Initialised:
    old = given.settings
    both = type(old).model_fields.keys() & type(recipe).model_fields.keys()
    changes = {name: getattr(recipe, name) for name in RECIPE_DECIDES if name in both}
    notes = []
    if isinstance(old, TimeSformerSettings) and not old.class_token and changes.get("pooling") == "class_token":
        changes["pooling"] = old.pooling
        notes.append(f"pooling {old.pooling}: the weights have no class token")
    settings = make(type(old), old.model_dump() | changes | classes, f"{init}")
    model = build_model(settings)
    tensors, new = dict(given.tensors), model.state_dict()
    first = (
        f"from {init}, {settings.describe()}: architecture and pixel normalisation are the weights', not the recipe's"
    )
    notes = [first, *notes]
    *before_head, head = model.head_names()
    lacked: set[str] = set()
    if before_head != list(old_before_head):
        for name in {*old_before_head, *before_head}:
            tensors = _without(tensors, name) | _only(new, name)
            lacked |= _only(new, name).keys()
    if getattr(settings, "pooling", None) != getattr(old, "pooling", None):
        notes.append(f"pooling {getattr(settings, 'pooling', 'none')} in place of {getattr(old, 'pooling', 'none')}")
    indices = _indices(labels, given.labels) if settings.multilabel == old.multilabel else None
    if indices is None:
        tensors = _without(tensors, head) | _only(new, head)
        lacked |= _only(new, head).keys()
        theirs = f"{len(given.labels)} different ones" if given.labels else "no head"
        notes.append(f"new head for {len(labels)} classes (the weights have {theirs})")
    elif set(labels) != set(given.labels):
        labels = given.labels
        notes.append(f"head kept: the data's classes are numbers, taken as indices into the weights' {len(labels)}")
    elif labels != given.labels:
        tensors |= {name: tensor[indices] for name, tensor in _only(tensors, head).items()}
        notes.append(f"head kept, its {len(labels)} classes put in the data's order")
    if (tables := table_settings(settings)) is not None:
        notes += resize_tables(tensors, old.image_size // tables.patch_size, tables)
    load_strictly(model, tensors, init)
    pixels = {name: getattr(given.preprocessing, name) for name in ("mean", "std", "channels")}
    made = Classifier(model, preprocessing.model_copy(update=pixels), labels)
    return Initialised(made, notes, from_weights=True, new=frozenset(lacked))


def _only(tensors: dict[str, Tensor], module: str) -> dict[str, Tensor]:
    """The tensors of one of a model's top modules."""
    return {name: tensor for name, tensor in tensors.items() if name.startswith(f"{module}.")}


def _without(tensors: dict[str, Tensor], module: str) -> dict[str, Tensor]:
    """All tensors but those of a module."""
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(f"{module}.")}


def _indices(labels: tuple[str, ...], old: tuple[str, ...]) -> list[int] | None:
    """The index of each class among the old ones; None where the classes are different.

    Numbers are indices where the old classes have names, as `Manifest.with_labels` takes them.
    """
    if len(labels) == len(old) == len(set(old)) and set(labels) == set(old):
        return [old.index(name) for name in labels]
    numbers = [str(number) for number in range(len(old))]
    if list(labels) == numbers and not any(name.isdecimal() for name in old):
        return list(range(len(old)))
    return None


def _from_image(
    image: ImageViT,
    recipe: ModelSettings,
    preprocessing: Preprocessing,
    labels: tuple[str, ...],
    init: str | Path,
    classes: dict[str, Any],
) -> Initialised:
    if not isinstance(recipe, TimeSformerSettings | FrameViTSettings):
        raise SettingError(
            f"{init}: an image ViT can initialise a timesformer or a frame_vit, not architecture {recipe.architecture}"
        )
    for name, allowed in (("tubelet", [1]), ("class_token", [True]), ("position", ["space_time", "space", "none"])):
        value = getattr(recipe, name, allowed[0])
        if value not in allowed:
            raise SettingError(
                f"{init}: an image model can initialise a model of {name} {' or '.join(map(str, allowed))}, not {value}"
            )
    values: dict[str, Any] = recipe.model_dump() | dimension_values(image.dimensions) | classes
    values |= {"patch_size": image.patch_size, "mlp_ratio": image.mlp_ratio, "norm_epsilon": image.norm_epsilon}
    settings = make(type(recipe), values | {"initialisation": "released"}, f"{init}")
    tables = table_settings(settings)
    assert tables is not None
    model = build_model(settings)
    tensors = dict(image.tensors)
    for block in range(image.dimensions.depth):
        for part in ("weight", "bias"):
            norm, qkv, proj = (
                tensors.pop(f"blocks.{block}.{name}.{part}")
                for name in ("attention_norm", "attention.qkv", "attention.proj")
            )
            for step in tables.steps:
                prefix = f"blocks.{block}.steps.{step}."
                tensors[f"{prefix}norm.{part}"] = norm
                tensors[f"{prefix}attention.qkv.{part}"] = qkv
                tensors[f"{prefix}attention.proj.{part}"] = proj
    if tables.position == "none":
        del tensors["embedding.space_table"]
    notes = [
        f"from the image model {init} ({image.kind}), {settings.describe()}: its attention initialises every step",
        f"pixels with mean {list(image.mean)} and std {list(image.std)}, as the image model's",
    ]
    notes += resize_tables(tensors, image.side, tables)
    lacked = _new_in_video(model)
    load_strictly(model, lacked | tensors, init)
    if recipe.initialisation == "motion" and "embedding.time_table" in lacked:
        draw_time_table(model)
        notes.append("the time table starts as waves at the scale of the patch tokens (initialisation motion)")
    pixels = {"mean": image.mean, "std": image.std, "channels": "rgb"}
    made = Classifier(model, preprocessing.model_copy(update=pixels), labels)
    return Initialised(made, notes, from_weights=True, new=frozenset(lacked))


def _from_resnet(
    image: ImageResNet,
    recipe: ModelSettings,
    preprocessing: Preprocessing,
    labels: tuple[str, ...],
    init: str | Path,
    classes: dict[str, Any],
) -> Initialised:
    if not isinstance(recipe, ResNetSettings):
        raise SettingError(
            f"{init}: an image ResNet can initialise an i3d, slowfast or tsm, not architecture {recipe.architecture}"
        )
    values = recipe.model_dump() | {"width": image.width, "depths": image.depths} | classes
    settings = make(type(recipe), values, f"{init}")
    model = build_model(settings)
    pathway = "slow" if isinstance(settings, SlowFastSettings) else ""
    own = model.state_dict()
    tensors = inflate(image, own, pathway)
    load_strictly(model, own | tensors, init)
    what = "its kernels are those of the slow pathway" if pathway else "its kernels are repeated over time"
    notes = [
        f"from the image model {init} (resnet), {settings.describe()}: {what}",
        f"pixels with mean {list(image.mean)} and std {list(image.std)}, as the image model's",
    ]
    lacked = frozenset(name for name, _ in model.named_parameters() if name not in tensors)
    pixels = {"mean": image.mean, "std": image.std, "channels": "rgb"}
    made = Classifier(model, preprocessing.model_copy(update=pixels), labels)
    return Initialised(made, notes, from_weights=True, new=lacked)


def _new_in_video(model: VideoModel) -> dict[str, Tensor]:
    """What an image model lacks: head and pooling, the time table, the last linear layer of the added steps."""
    modules, ends = tuple(f"{name}." for name in model.head_names()), (".fc.weight", ".fc.bias", "time_table")
    tensors = model.state_dict()
    return {name: tensor for name, tensor in tensors.items() if name.startswith(modules) or name.endswith(ends)}
