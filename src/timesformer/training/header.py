"""The first lines of a run: what it trains on, what it trains, and what does not seem to fit."""

from __future__ import annotations

from typing import Any

from timesformer.config import ModelSettings, Preprocessing
from timesformer.data.manifest import Manifest
from timesformer.errors import VideoError
from timesformer.training.plan import Plan, ProbePlan, TrainingPlan
from timesformer.video.source import open_video
from timesformer.video.windows import span_length

LOOKED_AT = 5


def training_header(plan: TrainingPlan) -> list[str]:
    """The lines of a run that trains a whole network."""
    recipe, point = plan.recipe, plan.resume_point
    optimizer, world, batch = recipe.optimizer, plan.launch.process.world, plan.batch
    rate = f"{optimizer.rate_for(batch):g}"
    if optimizer.scale_learning_rate != "none" and batch != optimizer.reference_batch:
        rate += f" ({optimizer.learning_rate:g} for {optimizer.reference_batch} clips, {optimizer.scale_learning_rate})"
    steps = (
        f"{recipe.training.epochs} epochs, {batch} clips a step = {world} process{'es' * (world > 1)} x "
        f"{plan.batch_size} clips x {plan.accumulate} accumulated, {optimizer.name}, learning rate {rate}"
    )
    lines = [*_header(plan, steps), *(f"note    {note}" for note in _remainders(plan))]
    if point is not None:
        lines.append(f"resume  after step {point.steps}")
        lines += [f"changed {change}" for change in point.changes]
    return lines


def probe_header(plan: ProbePlan) -> list[str]:
    """The lines of a probe."""
    probe = plan.recipe.probe
    rates = ", ".join(f"{rate:g}" for rate in probe.learning_rates)
    return _header(plan, f"{probe.epochs} epochs, {probe.batch_size} clips a step, adamw, learning rates {rates}")


def _header(plan: Plan[Any], steps: str) -> list[str]:
    training, validation = plan.training, plan.validation
    classifier = plan.initialised.classifier
    validating = f"{len(validation.videos)} validation videos ({validation.split})" if validation else "no validation"
    classes = f"{len(training.labels)} classes" + (", several a video" if training.multilabel else "")
    parameters = sum(parameter.numel() for parameter in classifier.model.parameters())
    notes = _short_videos(training, classifier.preprocessing, classifier.model.settings.num_frames)
    notes += [
        f"{len(manifest.quarantined)} quarantined videos of {manifest.split} are skipped"
        for manifest in (training, validation)
        if manifest is not None and manifest.quarantined
    ]
    return [
        f"data    {training.folder}: {len(training.videos)} training videos, {validating}, {classes}",
        f"model   {_describe(classifier.model.settings)}, {parameters / 1e6:.2f} M parameters",
        f"steps   {steps}, seed {plan.recipe.seed}",
        *(f"init    {note}" for note in plan.initialised.notes),
        *(f"note    {note}" for note in notes),
    ]


def _describe(settings: ModelSettings) -> str:
    return f"{settings.describe()}, {settings.num_frames} frames of {settings.image_size} x {settings.image_size}"


def _remainders(plan: TrainingPlan) -> list[str]:
    """What fills no batch and no step."""
    sampler, world = plan.sampler, plan.launch.process.world
    notes = []
    if tail := len(plan.training.videos) - len(sampler) * world:
        notes.append(f"each epoch skips {tail} videos, different ones, that do not fill a batch")
    if batches := sampler.batches % plan.accumulate:
        notes.append(f"the last step of an epoch has {batches * plan.batch_size * world} clips")
    return notes


def _short_videos(training: Manifest, preprocessing: Preprocessing, num_frames: int) -> list[str]:
    """Whether the first videos are shorter than a clip."""
    sampling = preprocessing.sampling
    if sampling.method == "segments":
        return []
    lengths = []
    for listed in training.videos[:LOOKED_AT]:
        try:
            with open_video(listed.path) as video:
                lengths.append(video.num_frames / span_length(num_frames, sampling, video.fps))
        except VideoError:
            continue  # training reports it
    if lengths and max(lengths) < 1:
        return [
            f"clips span {num_frames} x {sampling.rate:g} frames; the first {len(lengths)} videos have at most "
            f"{max(lengths):.0%} of that, so their last frame is repeated (preprocessing.sampling.rate, or "
            "preprocessing.sampling.method=segments)"
        ]
    return []
