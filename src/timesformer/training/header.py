"""The first lines of a run: what it trains on, what it trains, and what does not seem to fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from timesformer.config import ModelSettings, Preprocessing
from timesformer.data.layouts import some
from timesformer.data.manifest import Manifest
from timesformer.errors import VideoError
from timesformer.model.protocol import VideoModel
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
    if optimizer.new_rate_factor != 1 and plan.initialised.new:
        rate += f", {optimizer.new_rate_factor:g} times that for new weights"
    steps = (
        f"{recipe.training.epochs} epochs, {batch} clips a step = {world} process{'es' * (world > 1)} x "
        f"{plan.batch_size} clips x {plan.accumulate} accumulated, {optimizer.name}, learning rate {rate}"
    )
    lines = [
        *_header(plan, steps),
        *_trained(plan),
        *(f"note    {note}" for note in _remainders(plan)),
        *_kept_head(plan),
        *_random_weights(plan),
    ]
    if plan.validation and plan.validation.split == "test":
        lines.append("note    there is no val split: the test split is used for validation, and chooses no epoch")
    elif plan.validation and not plan.chooses_epoch:
        few = len(plan.validation.videos)
        lines.append(f"note    {few} validation videos are too few to choose an epoch: the last one counts")
    if point is not None:
        lines.append(f"resume  after step {point.steps}")
        lines += [f"changed {change}" for change in point.changes]
    return lines


def probe_header(plan: ProbePlan) -> list[str]:
    """The lines of a probe."""
    probe, data = plan.recipe.probe, plan.recipe.data
    values = {
        "linear": f"l2 {_numbers(probe.l2)}",
        "attentive": f"learning rates {_numbers(probe.learning_rates)}, {probe.epochs} epochs of adamw",
        "knn": f"{_numbers(probe.neighbours)} neighbours",
    }
    lines = _header(plan, "; ".join(f"{name} with {values[name]}" for name in probe.heads))
    if plan.validation is None and data.group is None:
        lines.append(
            "note    clips of one source may be on both sides when folds are made, which flatters the estimate; "
            "data.group=COLUMN keeps them together"
        )
    return lines


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _header(plan: Plan[Any], steps: str) -> list[str]:
    training, validation = plan.training, plan.validation
    classifier = plan.initialised.classifier
    folds = "no val split: folds of them choose and estimate"
    none = folds if plan.recipe.task == "probe" else "no validation"
    validating = f"{len(validation.videos)} validation videos ({validation.split})" if validation else none
    classes = f"{len(training.labels)} classes" + (", several a video" if training.multilabel else "")
    notes = _short_videos(training, classifier.preprocessing, classifier.model.settings.num_frames)
    manifests = [manifest for manifest in (training, validation) if manifest is not None]
    notes += [f"{manifest.split}: {note}" for manifest in manifests for note in manifest.notes]
    used = {label for video in training.videos for label in video.labels}
    if empty := [name for number, name in enumerate(training.labels) if number not in used]:
        notes.append(f"{len(empty)} of {len(training.labels)} classes have no training video: {some(empty)}")
    notes += [
        f"{len(manifest.quarantined)} quarantined videos of {manifest.split} are skipped"
        for manifest in manifests
        if manifest.quarantined
    ]
    return [
        f"data    {training.folder}: {len(training.videos)} training videos, {validating}, {classes}",
        f"model   {_describe(classifier.model.settings)}, {_millions(classifier.model)} M parameters",
        f"{'heads' if plan.recipe.task == 'probe' else 'steps'}   {steps}, seed {plan.recipe.seed}",
        *(f"init    {note}" for note in plan.initialised.notes),
        *(f"note    {note}" for note in notes),
    ]


def _random_weights(plan: TrainingPlan) -> list[str]:
    """Whether nothing initialises a network whose own initialisation is meant for other weights to replace."""
    settings, new = (
        plan.initialised.classifier.model.settings,
        not plan.initialised.from_weights and plan.resume_point is None,
    )
    if not (new and getattr(settings, "initialisation", None) == "released"):
        return []
    return [
        f"warning all {_millions(plan.initialised.classifier.model)} M weights are random: give those of a video model "
        "or an image ViT (--init WEIGHTS), or train from scratch with model.initialisation=scratch"
    ]


def _trained(plan: TrainingPlan) -> list[str]:
    """What is trained, where it is not all."""
    if plan.trainable is None:
        return []
    part, whole = plan.trainable.size / 1e6, _millions(plan.initialised.classifier.model)
    return [f"trains  {plan.trainable.what}: {part:.2f} of {whole} M parameters"]


def _kept_head(plan: TrainingPlan) -> list[str]:
    """Whether a probe is asked for, for a head that the weights have."""
    if plan.recipe.training.initial_head == "new" or not plan.initialised.keeps_head:
        return []
    return ["note    training.initial_head is probe, but the weights have a head for these classes, which is kept"]


def _millions(model: VideoModel) -> str:
    return f"{sum(parameter.numel() for parameter in model.parameters()) / 1e6:.2f}"


def _describe(settings: ModelSettings) -> str:
    return f"{settings.describe()}, {settings.clip_shape}"


def _remainders(plan: TrainingPlan) -> list[str]:
    """What fills no batch and no step."""
    sampler, repeats = plan.sampler, plan.recipe.augmentation.repeats
    notes = []
    if sampler.fewest < sampler.videos:
        fewest, most = sampler.fewest * repeats, sampler.videos * repeats
        notes.append(f"some batches have {fewest} clips, not {most}: together they have every video of an epoch")
    if batches := sampler.batches % plan.accumulate:
        clips = (sampler.rows - sampler.step(sampler.batches - batches).start) * repeats
        notes.append(f"the last step of an epoch has {clips} clips")
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
