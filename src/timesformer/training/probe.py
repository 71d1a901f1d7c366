"""A probe: heads trained on the features of a frozen backbone, one for each of several learning rates, all at once.

The features of every video are computed once (`timesformer.training.features`). With `model.pooling` class_token the
head is linear, on standardised features, and the scaling is folded into its weights afterwards; with attentive it is a
learned query's attention to all tokens, and a linear layer. The rate and the epoch that are best on `val` are kept.
Without a `val` split a fifth of the training videos chooses them, and the head is trained once more on all.

Dimensions: N clips, D channels.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor, nn
from torch.optim import AdamW

from timesformer.config import Recipe
from timesformer.data.dataset import LeftOut, TestingViews
from timesformer.errors import DataError
from timesformer.training.features import Features, find_features
from timesformer.training.log import Log
from timesformer.training.optim import make_schedule
from timesformer.training.plan import Plan, card_facts, single_view
from timesformer.weights import Classifier
from timesformer.weights.native import save_native

HELD_OUT = 5  # one in so many training videos of a class chooses where there is no `val` split, at least one of two


class Chosen(NamedTuple):
    """The best head: its learning rate, epoch and share of right answers on the videos that chose."""

    head: nn.Module
    rate: float
    epoch: int
    top1: float


def run_probe(plan: Plan, log: Log, console: Console) -> tuple[Chosen, list[LeftOut]]:
    """Compute or find the features, train the heads, write RUN/model; the videos left out of each split."""
    recipe, out = plan.recipe, plan.out
    found_here = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    device = (found_here or "cpu") if recipe.training.device == "auto" else recipe.training.device
    classifier = dataclasses.replace(plan.begun.classifier, model=plan.begun.classifier.model.to(device))
    manifests = [plan.training, *([plan.watched] if plan.watched else [])]
    found: list[Features] = []
    left_out: list[LeftOut] = []
    for manifest in manifests:
        protocol = classifier.preprocessing if manifest is plan.training else single_view(classifier.preprocessing)
        views = TestingViews(manifest, classifier.model.settings, protocol)
        left_out.append(LeftOut(manifest, recipe.data.max_bad_share))
        file = out / "features" / f"{manifest.split}.safetensors"
        found.append(find_features(classifier, views, recipe, file, plan.facts, left_out[-1], log, console))
    classifier.model.cpu()
    result, chosen = train_probe(classifier, recipe, found[0], found[1] if len(found) > 1 else None, log)
    save_native(
        result,
        out / "model",
        card_facts(plan) | {"probe": f"learning rate {chosen.rate:g}, epoch {chosen.epoch}"},
    )
    return chosen, left_out


def train_probe(
    classifier: Classifier, recipe: Recipe, training: Features, validation: Features | None, log: Log
) -> tuple[Classifier, Chosen]:
    """The classifier with the best head, on the backbone it came with."""
    assert recipe.probe is not None
    rates = recipe.probe.learning_rates
    model = classifier.model
    start = nn.Sequential(*([] if model.pooling is None else [model.pooling]), model.head)
    mean_D, std_D = torch.zeros(()), torch.ones(())
    if model.pooling is None:
        std_D, mean_D = torch.std_mean(training.features, dim=0)
        std_D = std_D.clamp_min(1e-6)
    whole = training._replace(features=(training.features - mean_D) / std_D)
    if validation is not None:
        choosing = validation._replace(features=(validation.features - mean_D) / std_D)
        chosen = _best(start, recipe, whole, choosing, rates)
    else:
        held = _held_out(whole, recipe.seed)
        chosen = _best(start, recipe, _rows(whole, ~held), _rows(whole, held), rates)
    tried, chooser = ", ".join(f"{rate:g}" for rate in rates), "the val split" if validation else "videos held out"
    log.say(
        f"probe   of the learning rates {tried} the best on {chooser} is {chosen.rate:g}, after epoch {chosen.epoch} "
        f"of {recipe.training.epochs}: top-1 {chosen.top1:.3f}"
    )
    if validation is None:
        for epoch, heads in _train(start, recipe, whole, (chosen.rate,)):
            if epoch == chosen.epoch:
                chosen = chosen._replace(head=heads[0])
                break
    result = copy.deepcopy(model)
    *pooling, linear = chosen.head.children()
    assert isinstance(linear, nn.Linear)
    if isinstance(result.pooling, nn.Module):
        result.pooling.load_state_dict(pooling[0].state_dict())
    with torch.no_grad():
        result.head.weight.copy_(linear.weight / std_D)
        result.head.bias.copy_(linear.bias - result.head.weight @ mean_D.expand(linear.in_features))
    return dataclasses.replace(classifier, model=result), chosen


def _best(start: nn.Module, recipe: Recipe, training: Features, choosing: Features, rates: tuple[float, ...]) -> Chosen:
    best = Chosen(start, rates[0], 0, -1.0)
    for epoch, heads in _train(start, recipe, training, rates):
        for rate, head in zip(rates, heads, strict=True):
            answers = torch.cat([head(part.float()).argmax(1) for part in choosing.features.split(256)])
            top1 = float((answers == choosing.labels_N).float().mean())
            if top1 > best.top1:
                best = Chosen(copy.deepcopy(head), rate, epoch, top1)
    return best


def _train(
    start: nn.Module, recipe: Recipe, training: Features, rates: tuple[float, ...]
) -> Iterator[tuple[int, list[nn.Module]]]:
    """After every epoch its number, from 1, and the heads, one a learning rate."""
    heads = [copy.deepcopy(start) for _ in rates]
    groups = [{"params": list(head.parameters()), "lr": rate} for head, rate in zip(heads, rates, strict=True)]
    optimizer = AdamW(groups, betas=recipe.optimizer.betas, weight_decay=recipe.optimizer.weight_decay)
    clips, epochs = len(training.labels_N), recipe.training.epochs
    batch = min(recipe.training.batch_size, clips)
    schedule = make_schedule(optimizer, recipe.optimizer, -(-clips // batch), epochs)
    for epoch in range(epochs):
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + epoch)
        for rows in torch.randperm(clips, generator=generator).split(batch):
            features, labels = training.features[rows].float(), training.labels_N[rows]
            losses = [
                F.cross_entropy(head(features), labels, label_smoothing=recipe.training.label_smoothing)
                for head in heads
            ]
            optimizer.zero_grad()
            torch.stack(losses).sum().backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            yield epoch + 1, heads


def _held_out(whole: Features, seed: int) -> Tensor:
    """Which clips choose: those of a fifth of each class's videos, of at least one where a class has two.

    Raises DataError where no class has.
    """
    generator = torch.Generator().manual_seed(seed)
    held = torch.zeros(len(whole.labels_N), dtype=torch.bool)
    for label in whole.labels_N.unique():
        videos = whole.videos_N[whole.labels_N == label].unique()
        videos = videos[torch.randperm(len(videos), generator=generator)]
        count = max(1, len(videos) // HELD_OUT) if len(videos) > 1 else 0
        held |= torch.isin(whole.videos_N, videos[:count])
    if not held.any():
        raise DataError(
            "a probe without a val split needs a class of two videos that can be read, one of them to choose"
        )
    return held


def _rows(features: Features, keep: Tensor) -> Features:
    return Features(*(tensor[keep] for tensor in features))
