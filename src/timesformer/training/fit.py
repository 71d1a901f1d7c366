"""Train a classifier: a recipe, a data set, and a folder for the run.

RUN/recipe.yaml        all settings of the run
RUN/sessions.yaml      command, versions, commit, hardware of each time it was started or resumed
RUN/model/             the finished classifier, what every other command takes as WEIGHTS
RUN/checkpoints/       last.ckpt to resume from
RUN/log.txt            what was printed
RUN/logs/              metrics.csv and tensorboard/
RUN/curves.png         the figures as a picture
"""

from __future__ import annotations

import dataclasses
import logging
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, Strategy
from rich.console import Console

from timesformer.config import Preprocessing, Recipe
from timesformer.data.dataset import LeftOut, Problem, TestingViews, TrainingClips
from timesformer.data.loader import ShuffledEpochs, testing_loader, training_loader
from timesformer.data.manifest import Manifest, find_splits, read_manifest
from timesformer.errors import DataError, SettingError, TrainingError
from timesformer.training.announce import announce
from timesformer.training.callbacks import CountLeftOut, Figures, RecordSession, SaveClassifier
from timesformer.training.checkpoint import AtomicFiles, SaveCheckpoints
from timesformer.training.curves import MetricsFile
from timesformer.training.launch import Launch, find_launch
from timesformer.training.log import Log, describe_session, write_session
from timesformer.training.probe import compute_features, train_probe
from timesformer.training.resume import Place, check_new, find_place
from timesformer.training.task import ClassificationTask, video_weights
from timesformer.weights.native import save_native
from timesformer.weights.start import Start, start

ACCELERATORS = {"auto": "auto", "cpu": "cpu", "cuda": "gpu", "mps": "mps"}
LESS_MEMORY = (
    "lower training.batch_size (and raise training.accumulate), or set training.checkpoint_activations=true or "
    "training.precision=bf16-mixed"
)


@dataclass(frozen=True)
class FitResult:
    """A finished run: its classifier's folder, the epoch it is of, its score, and the videos left out.

    score: on `watched`, "val" or "test"; None where there is neither. metric: what it is, "top-1", or "mAP" for data
    with several classes a video. first_process: whether this is the process that
    speaks for those that shared the run.
    """

    model: Path
    epoch: int
    score: float | None
    metric: str
    watched: str | None
    left_out: tuple[Problem, ...]
    first_process: bool = True


@dataclass(frozen=True)
class _Plan:
    """All that a run needs, checked."""

    recipe: Recipe
    training: Manifest
    watched: Manifest | None
    begun: Start
    out: Path
    launch: Launch
    place: Place | None

    @property
    def batch(self) -> int:
        """Clips of an optimiser step of all processes."""
        return self.recipe.training.batch_size * self.recipe.training.accumulate * self.launch.process.world


def fit(
    recipe: Recipe,
    data: str | Path,
    out: str | Path,
    *,
    init: str | Path | None = None,
    resume: bool = False,
    accept_changes: bool = False,
    console: Console | None = None,
) -> FitResult:
    """Train on the `train` split, watching `val` (or `test` where there is no `val`).

    RUN/model holds the epoch of the best validation top-1; without a `val` split, the last epoch, so that the test
    split chooses nothing. `resume` goes on with the run in `out`; `accept_changes` with other settings than it began
    with. Raises TimesformerError before the first step for whatever does not fit, TrainingError for a run that cannot
    go on; one that stops before its first checkpoint leaves nothing behind.
    """
    console = console or Console(quiet=True)
    out = Path(out)
    launch = find_launch()
    if not resume and launch.process.rank == 0:
        check_new(out)
    _check_device(recipe)
    training, watched = _manifests(data, recipe)
    facts = {"init": init and str(init), "classes": list(training.labels),
             "processes": launch.process.world, "videos": len(training.videos)}  # fmt: skip
    place = find_place(out, recipe, facts, accept=accept_changes) if resume else None
    seed_everything(recipe.seed, workers=False, verbose=False)
    begun = start(recipe.model, recipe.preprocessing, training.labels, init, multilabel=training.multilabel)
    plan = _Plan(recipe, training, watched, begun, out, launch, place)
    log = Log(out, console, speaks=launch.process.rank == 0)
    before = set(out.iterdir()) if out.is_dir() else None
    session = describe_session(launch, recipe.seed, str(data), None if init is None else str(init))
    try:
        if launch.process.rank == 0:
            out.mkdir(parents=True, exist_ok=True)
        announce(log, recipe, training, watched, begun, launch, place)
        if recipe.probe is not None:
            write_session(out, recipe, session)
            return _probe(plan, log, console)
        return _run(plan, facts, session, log, console)
    except BaseException:
        if launch.process.rank == 0 and not (out / "checkpoints" / "last.ckpt").exists():
            _remove_new(out, before)
        raise


def _remove_new(out: Path, before: set[Path] | None) -> None:
    """Undo what a run has written: its folder, or what was not in it before."""
    if before is None:
        shutil.rmtree(out, ignore_errors=True)
        return
    for entry in set(out.iterdir()) - before:
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def _check_device(recipe: Recipe) -> None:
    device, precision = recipe.training.device, recipe.training.precision
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(device, True):
        raise SettingError(f"training.device is {device}; there is none on this machine (auto takes what there is)")
    gpu = any(there.values()) if device == "auto" else device != "cpu"
    if precision == "16-mixed" and not gpu:
        raise SettingError("training.precision is 16-mixed; a CPU computes in 32-true or bf16-mixed")


def _manifests(data: str | Path, recipe: Recipe) -> tuple[Manifest, Manifest | None]:
    training = read_manifest(data, "train")
    if len(training.labels) < 2 and not training.multilabel:
        raise DataError(f"{training.source}: {len(training.labels)} class ({training.labels[0]}); a classifier needs 2")
    if training.multilabel and recipe.training.label_smoothing:
        smoothing = f"training.label_smoothing is {recipe.training.label_smoothing:g}"
        raise SettingError(f"{smoothing}; set it to 0 for data with several classes a video")
    if training.multilabel and recipe.probe is not None:
        raise SettingError("a probe needs data with one class a video; train with another recipe")
    training = training.subset(recipe.data.fraction, recipe.seed)
    splits = find_splits(data)
    watched = next((split for split in ("val", "test") if split in splits), None)
    if watched is None:
        return training, None
    return training, read_manifest(data, watched).with_labels(training.labels)


def _run(plan: _Plan, facts: dict[str, Any], session: dict[str, Any], log: Log, console: Console) -> FitResult:
    recipe, out, process = plan.recipe, plan.out, plan.launch.process
    classifier, watched = plan.begun.classifier, plan.watched
    settings, preprocessing = classifier.model.settings, classifier.preprocessing
    clips = TrainingClips(plan.training, settings, preprocessing, recipe.augmentation, recipe.seed)
    weights = None
    if recipe.training.balance == "sampling":
        weights = video_weights(plan.training)
    loader = training_loader(clips, recipe.training.batch_size, recipe.data, process, weights)
    assert isinstance(loader.sampler, ShuffledEpochs)
    watching = None
    if watched is not None:
        views = TestingViews(watched, settings, _single_view(preprocessing))
        watching = testing_loader(views, recipe.training.batch_size, recipe.data, process)
    left_out = [LeftOut(manifest, recipe.data.max_bad_share) for manifest in (plan.training, watched) if manifest]
    keep = SaveClassifier(classifier, out / "model", _card(plan), best=watched is not None and watched.split == "val")
    callbacks: list[Callback] = [
        RecordSession(out, recipe, session),
        Figures(log, console, {"val": "validation", "test": "test split"}.get(watched.split, "") if watched else ""),
        CountLeftOut(left_out[0], left_out[1] if watched else None, log),
        keep,
        SaveCheckpoints(out / "checkpoints" / "last.ckpt", loader.sampler, recipe.training.checkpoint_steps),
    ]
    _quieten()
    trainer = Trainer(
        accelerator=ACCELERATORS[recipe.training.device],
        devices=plan.launch.devices,
        num_nodes=plan.launch.nodes,
        strategy=_strategy(plan),
        precision=recipe.training.precision,
        max_epochs=recipe.training.epochs,
        accumulate_grad_batches=recipe.training.accumulate,
        gradient_clip_val=recipe.optimizer.clip_gradient,
        deterministic=recipe.training.deterministic or None,
        logger=_loggers(plan),
        callbacks=callbacks,
        plugins=[AtomicFiles()],
        check_val_every_n_epoch=recipe.training.watch_every,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    changed = bool(plan.place and plan.place.changed)
    task = ClassificationTask(classifier, recipe, plan.training, plan.batch, facts, changed=changed)
    try:
        trainer.fit(task, loader, watching, ckpt_path=plan.place.checkpoint if plan.place else None)
    except SystemExit:  # what Lightning makes of Ctrl-C
        raise KeyboardInterrupt from None
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            raise TrainingError(f"out of memory: {LESS_MEMORY}; {_goes_on(out)}") from error
        raise
    except TrainingError as error:
        raise TrainingError(f"{error}; {_goes_on(out)}") from error
    problems = tuple(Problem(path, reason) for part in left_out for path, reason in part.reasons.items())
    metric, split = "mAP" if plan.training.multilabel else "top-1", watched.split if watched else None
    return FitResult(out / "model", keep.epoch, keep.score, metric, split, problems, process.rank == 0)


def _probe(plan: _Plan, log: Log, console: Console) -> FitResult:
    """Train heads on a frozen backbone; the features of a run that was stopped are used again."""
    recipe, out = plan.recipe, plan.out
    found_here = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    device = (found_here or "cpu") if recipe.training.device == "auto" else recipe.training.device
    classifier = dataclasses.replace(plan.begun.classifier, model=plan.begun.classifier.model.to(device))
    manifests = [plan.training, *([plan.watched] if plan.watched and plan.watched.split == "val" else [])]
    found, left_out = [], []
    for manifest in manifests:
        protocol = classifier.preprocessing if manifest is plan.training else _single_view(classifier.preprocessing)
        views = TestingViews(manifest, classifier.model.settings, protocol)
        loader = testing_loader(views, recipe.training.batch_size, recipe.data)
        left_out.append(LeftOut(manifest, recipe.data.max_bad_share))
        file = out / "features" / f"{manifest.split}.safetensors"
        found.append(compute_features(classifier, loader, file, left_out[-1], recipe.training.precision, console))
    classifier.model.cpu()
    result, chosen = train_probe(classifier, recipe, found[0], found[1] if len(found) > 1 else None, log)
    save_native(result, out / "model", _card(plan) | {"probe": f"learning rate {chosen.rate:g}, epoch {chosen.epoch}"})
    problems = tuple(Problem(path, reason) for part in left_out for path, reason in part.reasons.items())
    return FitResult(out / "model", chosen.epoch, chosen.top1, "top-1", "val" if len(found) > 1 else None, problems)


def _card(plan: _Plan) -> dict[str, str]:
    """What the model card says of a run."""
    return {"data": f"{plan.training.folder.name}, {len(plan.training.videos)} videos", "seed": str(plan.recipe.seed),
            "recipe": "recipe.yaml of the run"}  # fmt: skip


def _goes_on(out: Path) -> str:
    file = out / "checkpoints" / "last.ckpt"
    return f"the last good checkpoint is {file}" if file.exists() else "there is no checkpoint yet"


def _single_view(preprocessing: Preprocessing) -> Preprocessing:
    """One centre crop of one clip: enough to watch a run."""
    return preprocessing.model_copy(update={"test_clips": 1, "test_crops": 1})


def _strategy(plan: _Plan) -> Strategy | str:
    world = plan.launch.process.world
    if plan.recipe.training.strategy == "fsdp":
        return ModelParallelStrategy(world, tensor_parallel_size=1, save_distributed_checkpoint=False)
    return "auto" if world == 1 else DDPStrategy()


def _loggers(plan: _Plan) -> list[Logger]:
    """metrics.csv and TensorBoard always; trackers that the recipe names."""
    steps = plan.place.steps if plan.place else 0
    logs = plan.out / "logs"
    loggers: list[Logger] = [
        MetricsFile(logs / "metrics.csv", steps),
        TensorBoardLogger(logs, "tensorboard", version="", purge_step=steps + 1 if steps else None),
    ]
    for name in plan.recipe.training.loggers:
        try:
            if name == "mlflow":
                from lightning.pytorch.loggers import MLFlowLogger

                loggers.append(MLFlowLogger("timesformer", run_name=plan.out.name))
            else:
                from lightning.pytorch.loggers import WandbLogger

                loggers.append(WandbLogger(name=plan.out.name, project="timesformer", save_dir=logs))
        except ModuleNotFoundError:
            raise SettingError(f"training.loggers names {name}; it is not installed: pip install {name}") from None
        loggers[-1].log_hyperparams(plan.recipe.model_dump(mode="json"))
    return loggers


def _quieten() -> None:
    """Lightning's hints about devices, tips and loaders: this package prints what its users need to know itself."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=PossibleUserWarning)
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")  # nothing here writes in place
    warnings.filterwarnings("ignore", ".*LeafSpec.*")  # Lightning's own, of a newer torch
