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
    init: Annotated[str | None, typer.Option(help="Weights to begin from.", metavar="WEIGHTS")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the run.", metavar="RUN")] = Path("runs/train"),
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of all that is random; the recipe's if not given.")
    ] = None,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="Refuse operations whose result may differ from run to run.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run in RUN stopped.")] = False,
    accept_changes: Annotated[
        bool, typer.Option("--accept-changes", help="Resume with other settings than the run began with.")
    ] = False,
) -> None:
    """Train a classifier; RUN/model is the result."""
    from rich.console import Console

    from timesformer.recipes import load_recipe

    changes = [*(overrides or ()), *([] if seed is None else [f"seed={seed}"])]
    settings = load_recipe(recipe, [*changes, "training.deterministic=true"] if deterministic else changes)

    from timesformer.training.fit import fit

    console = Console()
    result = fit(settings, data, out, init=init, resume=resume, accept_changes=accept_changes, console=console)
    if not result.first_process:
        return
    watched = {"val": "validation", "test": "test split"}.get(result.watched or "")
    score = "" if result.score is None else f", {watched} {result.metric} {result.score:.3f}"
    print(f"{result.model}: the classifier of epoch {result.epoch}{score}")
    if result.left_out:
        print(f"{len(result.left_out)} videos could not be read and were left out")
