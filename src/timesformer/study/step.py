"""How long an epoch of a network will take: from a timed step of random clips and from reading a few videos."""

from __future__ import annotations

import statistics
import time

from timesformer.bench.timing import timed
from timesformer.bench.train import Step, pick_precision
from timesformer.config import ModelSettings, Recipe
from timesformer.data.dataset import TrainingClips
from timesformer.data.loader import ShuffledEpochs
from timesformer.data.manifest import Manifest
from timesformer.device import cores, find_device, native_bf16
from timesformer.settings import make
from timesformer.weights.initialise import initialise_classifier

SLOW = 5.0  # seconds of a step after which it is not repeated
READ = 4  # videos that are read


def expected_epoch(recipe: Recipe, training: Manifest, init: str | None) -> tuple[float, int]:
    """Seconds that an epoch will take, and the number of parameters: steps of random clips, and reading a few videos
    on all cores. A processor does one after the other, beside a GPU they go on together."""
    settings = settings_of(recipe, training, init)
    device = find_device(recipe.training.device)
    repeats = recipe.augmentation.repeats
    sampler = ShuffledEpochs(len(training.videos), recipe.seed, recipe.training.batch_size // repeats)
    half = recipe.training.precision != "32-true" and native_bf16(device)
    step = Step(
        settings,
        sampler.videos * repeats,
        pick_precision("bf16" if half else "fp32", device),
        recipe.training.device,
        checkpoint_activations=recipe.training.checkpoint_activations,
    )
    times = [timed(step, device)]
    while len(times) < 4 and times[0] < SLOW:
        times.append(timed(step, device))
    seconds = statistics.median(times[1:] or times)
    parameters = sum(parameter.numel() for group in step.optimizer.param_groups for parameter in group["params"])
    clips = TrainingClips(training, settings.clip_shape, recipe.preprocessing, recipe.augmentation, recipe.seed)
    rows = range(min(READ, len(clips)))
    clips[0, 0, 0]  # what decoding needs is imported
    began = time.perf_counter()
    for row in rows:
        for number in range(repeats):
            clips[0, row, number]
    workers = max(1, min(cores(), recipe.data.workers or cores()))
    reading = (time.perf_counter() - began) / len(rows) * sampler.videos / workers
    whole = seconds + reading if device.type == "cpu" else max(seconds, reading)
    return sampler.batches * whole, parameters


def settings_of(recipe: Recipe, training: Manifest, init: str | None) -> ModelSettings:
    """Those of the network that is trained: of the weights, where there are any, with the classes of the videos."""
    settings = recipe.model
    if init is not None:
        made = initialise_classifier(settings, recipe.preprocessing, training.labels, init)
        settings = made.classifier.model.settings
    return make(type(settings), settings.model_dump() | {"num_classes": len(training.labels)}, "model")
