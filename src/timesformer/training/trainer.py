"""Lightning's Trainer for a plan: devices, strategy, precision, loggers."""

from __future__ import annotations

import logging
import os
import time
import warnings
from pathlib import Path

import torch
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, Strategy

from timesformer.errors import SettingError
from timesformer.files import replacing
from timesformer.training.checkpoint import AtomicFiles
from timesformer.training.curves import MetricsFile, metric_names
from timesformer.training.memory import keep_freed_memory
from timesformer.training.plan import TrainingPlan

ACCELERATORS = {"auto": "auto", "cpu": "cpu", "cuda": "gpu", "mps": "mps"}


def make_trainer(plan: TrainingPlan, callbacks: list[Callback]) -> Trainer:
    """A Trainer that does what the recipe says and prints nothing by itself."""
    recipe = plan.recipe
    _quieten()
    if ACCELERATORS[recipe.training.device] == "cpu" or not (torch.cuda.is_available() or torch.mps.is_available()):
        keep_freed_memory()
    return Trainer(
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
        check_val_every_n_epoch=recipe.training.validate_every,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def _strategy(plan: TrainingPlan) -> Strategy | str:
    world = plan.launch.process.world
    if plan.recipe.training.strategy == "fsdp":
        return ModelParallelStrategy(world, tensor_parallel_size=1, save_distributed_checkpoint=False)
    return "auto" if world == 1 else DDPStrategy()


def _loggers(plan: TrainingPlan) -> list[Logger]:
    """metrics.csv and TensorBoard always; trackers that the recipe names."""
    steps = plan.resume_point.steps if plan.resume_point else 0
    classes, multilabel = len(plan.training.labels), plan.training.multilabel
    columns = metric_names(plan.validation.split if plan.validation else None, classes, multilabel=multilabel)
    logs = plan.out / "logs"
    if plan.launch.process.rank == 0:
        wait_for_next_second(logs / "tensorboard")
    loggers: list[Logger] = [
        MetricsFile(logs / "metrics.csv", columns, steps),
        TensorBoardLogger(logs, "tensorboard", version="", purge_step=steps + 1),
    ]
    for name in plan.recipe.training.loggers:
        kept = logs / f"{name}.run"  # what the tracker calls the run
        run_id = kept.read_text(encoding="utf-8") if plan.resume_point and kept.exists() else None
        try:
            if name == "mlflow":
                from lightning.pytorch.loggers import MLFlowLogger

                # The run has a database of its own where no server is named: mlflow 3 no longer keeps plain files.
                store = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{logs.absolute() / 'mlflow.db'}"
                logs.mkdir(parents=True, exist_ok=True)
                loggers.append(MLFlowLogger("timesformer", run_name=plan.out.name, tracking_uri=store, run_id=run_id))
            else:
                from lightning.pytorch.loggers import WandbLogger

                loggers.append(
                    WandbLogger(name=plan.out.name, project="timesformer", save_dir=logs, id=run_id, resume="allow")
                )
        except ModuleNotFoundError:
            raise SettingError(f"training.loggers: {name} is not installed; pip install {name}") from None
        loggers[-1].log_hyperparams(plan.recipe.model_dump(mode="json"))
        if plan.launch.process.rank == 0:
            with replacing(kept) as temporary:
                temporary.write_text(str(loggers[-1].version), encoding="utf-8")
    return loggers


def wait_for_next_second(folder: Path) -> None:
    """Where TensorBoard's files of this second are there, wait for the next one.

    It reads files in the order of their names: the second in which they were opened, then the process, as text. What a
    run that was resumed within a second logs would come before what that session shall replace.
    """
    while any(folder.glob(f"events.out.tfevents.{int(time.time()):010d}.*")):
        time.sleep(0.05)


def _quieten() -> None:
    """Lightning's hints about devices, tips and loaders: this package prints what its users need to know."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=PossibleUserWarning)
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")  # nothing here writes in place
    warnings.filterwarnings("ignore", ".*LeafSpec.*")  # Lightning's own, of a newer torch
