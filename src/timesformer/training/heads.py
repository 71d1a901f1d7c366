"""The heads of a probe: made as its recipe says; when one is fitted, a classifier with it."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import torch
from torch import nn

from timesformer.baselines.architectures import build_model
from timesformer.config import ProbeRecipe
from timesformer.errors import SettingError
from timesformer.features.attentive import AttentiveHead
from timesformer.features.head import Head
from timesformer.features.linear import LinearHead
from timesformer.features.neighbours import NearestNeighbours
from timesformer.model.protocol import VideoModel
from timesformer.settings import make
from timesformer.weights.classifier import Classifier


def make_heads(recipe: ProbeRecipe, model: VideoModel) -> list[Head]:
    """The heads that a recipe names, for features of a model.

    Raises SettingError for a head that the model's architecture cannot have.
    """
    probe, classes, architecture = recipe.probe, model.settings.num_classes, model.settings.architecture
    heads: list[Head] = []
    for name in probe.heads:
        if name == "linear":
            if not has_linear_head(model):
                raise SettingError(
                    f"probe.heads has linear; the head of architecture {architecture} is not one linear layer with bias"
                )
            heads.append(LinearHead(classes, probe.l2))
        elif name == "knn":
            heads.append(NearestNeighbours(classes, tuple(map(float, probe.neighbours))))
        else:
            if not hasattr(model.settings, "pooling"):
                raise SettingError(f"probe.heads has attentive, which architecture {architecture} does not have")
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(recipe.seed)
                pooling, linear = _head_of(_attentive(model))
            heads.append(
                AttentiveHead(
                    pooling,
                    linear,
                    probe.learning_rates,
                    probe.epochs,
                    probe.batch_size,
                    probe.weight_decay,
                    recipe.seed,
                )
            )
    return heads


def with_head(classifier: Classifier, head: Head, fitted: Any) -> Classifier:
    """The classifier with a fitted head on the network that it has."""
    attentive = isinstance(head, AttentiveHead)
    model, old = classifier.model, classifier.model.state_dict()
    result = _attentive(model) if attentive else copy.deepcopy(model)
    trunk = {name: tensor for name, tensor in old.items() if name.split(".")[0] not in model.head_names()}
    parts = zip(result.head_names(), fitted if attentive else [fitted], strict=True)
    new = {f"{name}.{key}": tensor for name, part in parts for key, tensor in part.state_dict().items()}
    result.load_state_dict(trunk | new)
    return dataclasses.replace(classifier, model=result, reread=None)


def _attentive(model: VideoModel) -> VideoModel:
    """A new model of the same settings, but for its pooling."""
    settings = model.settings
    return build_model(make(type(settings), settings.model_dump() | {"pooling": "attentive"}, "probe"))


def _head_of(model: VideoModel) -> list[Any]:
    return [model.get_submodule(name) for name in model.head_names()]


def has_linear_head(model: VideoModel) -> bool:
    """Whether one linear layer with bias is all that makes a model's logits of its features."""
    head = _head_of(model)
    return len(head) == 1 and isinstance(head[0], nn.Linear) and head[0].bias is not None
