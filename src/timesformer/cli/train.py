"""`timesformer train`: train a classifier on a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    data: Annotated[Path, typer.Option(help="Folder of the data set.", metavar="DATA")],
    recipe: Annotated[str, typer.Option(help="Name of a recipe, or a YAML file.", metavar="NAME|FILE")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Settings to change, such as training.epochs=2 seed=7.", metavar="[KEY=VALUE]..."),
    ] = None,
    init: Annotated[str | None, typer.Option(help="Weights to initialise the network from.", metavar="WEIGHTS")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the run.", metavar="RUN")] = Path("runs/train"),
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of everything random; the recipe's if not given.")
    ] = None,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="Refuse operations whose result may differ from run to run.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in RUN after its last checkpoint.")
    ] = False,
    accept_changes: Annotated[
        bool, typer.Option("--accept-changes", help="With --resume: continue although settings or data have changed.")
    ] = False,
) -> None:
    """Train a classifier; RUN/model is the result."""
    from rich.console import Console

    from timesformer.training.fit import fit

    changes = list(overrides or ())
    if seed is not None:
        changes.append(f"seed={seed}")
    if deterministic:
        changes.append("training.deterministic=true")
    result = fit(
        recipe,
        data,
        out,
        overrides=changes,
        init=init,
        resume=resume,
        accept_changes=accept_changes,
        console=Console(),
    )
    if not result.first_process:
        return
    split = {"val": "validation", "test": "test split", None: "held-out"}[result.validation_split]
    score = "" if result.score is None else f", {split} {result.metric} {result.score:.3f}"
    print(f"{result.model}: the classifier of epoch {result.epoch}{score}")
    if result.skipped:
        print(f"{len(result.skipped)} videos could not be read and were skipped")
