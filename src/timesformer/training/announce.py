"""What a run says before its first step: what it trains on, what it trains, and what does not seem to fit."""

from __future__ import annotations

from timesformer.config import Preprocessing
from timesformer.data.manifest import Manifest
from timesformer.errors import VideoError
from timesformer.training.log import Log
from timesformer.training.plan import Plan
from timesformer.video.sampling import span_length
from timesformer.video.source import open_video

LOOKED_AT = 5


def announce(log: Log, plan: Plan) -> None:
    """Print and log the facts of a run."""
    recipe, training, watched, begun = plan.recipe, plan.training, plan.watched, plan.begun
    model = begun.classifier.model
    settings = model.settings
    parameters = sum(parameter.numel() for parameter in model.parameters())
    watching = f"{len(watched.videos)} to watch ({watched.split})" if watched else "none to watch"
    kinds = f"{len(training.labels)} classes" + (", several a video" if training.multilabel else "")
    lines = [
        f"data    {training.folder}: {len(training.videos)} videos to train on, {watching}, {kinds}",
        f"model   {settings.scheme}, {parameters / 1e6:.2f} M parameters, {settings.num_frames} frames of "
        f"{settings.image_size} x {settings.image_size}, patch {settings.patch_size}",
        f"steps   {_steps(plan)}, seed {recipe.seed}",
        *(f"init    {note}" for note in begun.notes),
        *(f"note    {note}" for note in _notes(training, begun.classifier.preprocessing, settings.num_frames)),
    ]
    lines += [
        f"note    {len(manifest.quarantined)} quarantined videos of {manifest.split} are left out"
        for manifest in (training, watched)
        if manifest is not None and manifest.quarantined
    ]
    if recipe.probe is None:
        lines += [f"note    {note}" for note in _remainders(plan)]
    if plan.place is not None:
        lines.append(f"resume  after step {plan.place.steps}")
        lines += [f"changed {change}" for change in plan.place.changed]
    for line in lines:
        log.say(line)


def _steps(plan: Plan) -> str:
    epochs, optimizer, probe = plan.recipe.training.epochs, plan.recipe.optimizer, plan.recipe.probe
    if probe is not None:
        rates = ", ".join(f"{rate:g}" for rate in probe.learning_rates)
        return f"{epochs} epochs, {plan.recipe.training.batch_size} clips a step, adamw, a head each at {rates}"
    world, batch = plan.launch.process.world, plan.batch
    rate = f"{optimizer.rate_for(batch):g}"
    if optimizer.scale_learning_rate != "none" and batch != optimizer.reference_batch:
        rate += f" ({optimizer.learning_rate:g} for {optimizer.reference_batch} clips, {optimizer.scale_learning_rate})"
    return (
        f"{epochs} epochs, {batch} clips a step = {world} process{'es' * (world > 1)} x {plan.batch_size} clips "
        f"x {plan.accumulate} accumulated, {optimizer.name}, learning rate {rate}"
    )


def _remainders(plan: Plan) -> list[str]:
    """What fills no batch and no step."""
    sampler, world = plan.sampler, plan.launch.process.world
    notes = []
    if tail := len(plan.training.videos) - len(sampler) * world:
        notes.append(f"an epoch leaves out {tail} videos, others each time, that fill no batch")
    if batches := sampler.batches % plan.accumulate:
        notes.append(f"the last step of an epoch is of {batches * plan.batch_size * world} clips")
    return notes


def _notes(training: Manifest, preprocessing: Preprocessing, num_frames: int) -> list[str]:
    """What the first videos show not to fit: clips longer than they are."""
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
