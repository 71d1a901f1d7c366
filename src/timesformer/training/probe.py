"""A probe: heads trained on the features of a frozen network, one for each of several learning rates, all at once.

The features of every video are computed once (`timesformer.training.features`). A linear head is trained on
standardised features, and the scaling is folded into its weights afterwards. With `model.pooling=attentive` the head is
a learned query's attention to all tokens, and a linear layer. The rate and the epoch that are best on `val` are kept.
Without a `val` split a fifth of the training videos chooses them, and the head is trained once more on all.

Dimensions: N clips, D channels.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor, nn
from torch.optim import AdamW

from timesformer.config import ProbeRecipe
from timesformer.data.dataset import SkippedVideos, TestingViews
from timesformer.device import find_device
from timesformer.engine.engine import Precision, load_engine
from timesformer.errors import DataError
from timesformer.training.features import Features, Origin, find_features
from timesformer.training.log import Log, write_session
from timesformer.training.optim import make_schedule
from timesformer.training.plan import ProbePlan, single_view
from timesformer.training.result import FitResult, problems_of
from timesformer.weights.classifier import Classifier

HELD_OUT = 5  # one in so many training videos of a class chooses where there is no `val` split, at least one of two
ENGINE_PRECISIONS: dict[str, Precision] = {"32-true": "fp32", "bf16-mixed": "auto"}


class Chosen(NamedTuple):
    """The best head: its learning rate, epoch and accuracy on the videos that chose it."""

    head: nn.Sequential
    rate: float
    epoch: int
    top1: float


def run_probe(plan: ProbePlan, session: dict[str, Any], log: Log, console: Console) -> FitResult:
    """Compute or find the features, train the heads, write RUN/model."""
    recipe, out, classifier = plan.recipe, plan.out, plan.initialised.classifier
    write_session(out, recipe, session)
    precision, device = ENGINE_PRECISIONS[recipe.probe.precision], str(find_device(recipe.probe.device))
    engine = functools.cache(functools.partial(load_engine, classifier, precision=precision, device=device))
    origin = Origin(classifier.model, recipe, engine)
    found: list[Features] = []
    skipped: list[SkippedVideos] = []
    for manifest in [plan.training, *([plan.validation] if plan.validation else [])]:
        protocol = classifier.preprocessing if manifest is plan.training else single_view(classifier.preprocessing)
        views = TestingViews(manifest, classifier.model.clip_shape, protocol)
        skipped.append(SkippedVideos(manifest, recipe.data.max_bad_fraction))
        file = out / "features" / f"{manifest.split}.safetensors"
        found.append(find_features(origin, views, file, plan.facts, skipped[-1], log, console))
    result, chosen = train_probe(classifier, recipe, found[0], found[1] if plan.validation else None, log)
    facts = {"probe": f"learning rate {chosen.rate:g}, epoch {chosen.epoch}"}
    result.save_pretrained(out / "model", facts=plan.card_facts | facts)
    split = plan.validation.split if plan.validation else None
    return FitResult(out / "model", chosen.epoch, chosen.top1, "top-1", split, problems_of(skipped))


def train_probe(
    classifier: Classifier, recipe: ProbeRecipe, training: Features, validation: Features | None, log: Log
) -> tuple[Classifier, Chosen]:
    """The classifier with the best head, on the network it came with."""
    rates, model = recipe.probe.learning_rates, classifier.model
    start = nn.Sequential(*(model.get_submodule(name) for name in model.head_names()))
    linear = len(start) == 1 and isinstance(start[0], nn.Linear) and start[0].bias is not None
    mean_D, std_D = torch.zeros(()), torch.ones(())
    if linear:
        std_D, mean_D = torch.std_mean(training.features, dim=0)
        std_D = std_D.clamp_min(1e-6)
    whole = training._replace(features=(training.features - mean_D) / std_D)
    if validation is not None:
        choosing = validation._replace(features=(validation.features - mean_D) / std_D)
        chosen = _best(start, recipe, whole, choosing, rates)
    else:
        held = _held_out(whole, recipe.seed)
        chosen = _best(start, recipe, _rows(whole, ~held), _rows(whole, held), rates)
    tried, chooser = ", ".join(f"{rate:g}" for rate in rates), "val" if validation else "the videos held out"
    log.say(
        f"probe   of the learning rates {tried}, {chosen.rate:g} is the best on {chooser}, after epoch {chosen.epoch} "
        f"of {recipe.probe.epochs}: top-1 {chosen.top1:.3f}"
    )
    if validation is None:
        for epoch, heads in _train(start, recipe, whole, (chosen.rate,)):
            if epoch == chosen.epoch:
                chosen = chosen._replace(head=heads[0])
                break
    result = copy.deepcopy(model)
    for name, trained in zip(model.head_names(), chosen.head, strict=True):
        result.get_submodule(name).load_state_dict(trained.state_dict())
    if linear:
        _fold_scaling(result.get_submodule(model.head_names()[0]), mean_D, std_D)
    return dataclasses.replace(classifier, model=result, reread=None), chosen


@torch.no_grad()
def _fold_scaling(head: nn.Module, mean_D: Tensor, std_D: Tensor) -> None:
    """Change a linear layer of standardised features into the same of features as they are."""
    assert isinstance(head, nn.Linear)
    head.weight.div_(std_D)
    head.bias.sub_(head.weight @ mean_D)


def _best(
    start: nn.Sequential, recipe: ProbeRecipe, training: Features, choosing: Features, rates: tuple[float, ...]
) -> Chosen:
    best = Chosen(start, rates[0], 0, -1.0)
    for epoch, heads in _train(start, recipe, training, rates):
        for rate, head in zip(rates, heads, strict=True):
            answers = torch.cat([head(part.float()).argmax(1) for part in choosing.features.split(256)])
            top1 = float((answers == choosing.labels_N).float().mean())
            if top1 > best.top1:
                best = Chosen(copy.deepcopy(head), rate, epoch, top1)
    return best


def _train(
    start: nn.Sequential, recipe: ProbeRecipe, training: Features, rates: tuple[float, ...]
) -> Iterator[tuple[int, list[nn.Sequential]]]:
    """After every epoch its number, from 1, and the heads, one a learning rate."""
    heads = [copy.deepcopy(start) for _ in rates]
    groups = [{"params": list(head.parameters()), "lr": rate} for head, rate in zip(heads, rates, strict=True)]
    probe, clips = recipe.probe, len(training.labels_N)
    optimizer = AdamW(groups, betas=probe.betas, weight_decay=probe.weight_decay)
    batch = min(probe.batch_size, clips)
    schedule = make_schedule(optimizer, probe, -(-clips // batch), probe.epochs)
    for epoch in range(probe.epochs):
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + epoch)
        for rows in torch.randperm(clips, generator=generator).split(batch):
            features, labels = training.features[rows].float(), training.labels_N[rows]
            losses = [F.cross_entropy(head(features), labels, label_smoothing=probe.label_smoothing) for head in heads]
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
            "a probe without a val split needs a class of at least two videos that can be read, one of them to choose"
        )
    return held


def _rows(features: Features, keep: Tensor) -> Features:
    return Features(*(tensor[keep] for tensor in features))
