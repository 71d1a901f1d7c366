"""`timesformer tune`: the settings of a recipe that suit a data set, found inside its training split."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from timesformer.cli.options import DataFolder, Threads


def tune(
    data: DataFolder,
    recipe: Annotated[
        str,
        typer.Option(help="Name of a recipe (`timesformer recipes` lists them), or a YAML file.", metavar="NAME|FILE"),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the search; one that was stopped goes on in it.", metavar="OUT")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Settings to change, such as training.batch_size=8.", metavar="[KEY=VALUE]..."),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="Trainings, the first with the recipe's own settings.")] = 8,
    minutes: Annotated[float, typer.Option(help="Of training, of each trial.", metavar="M")] = 5.0,
    folds: Annotated[
        str,
        typer.Option(
            help="Cut the train split in so many folds, or with groups in one for each group; the first one scores.",
            metavar="K|groups",
        ),
    ] = "5",
    group: Annotated[
        str | None, typer.Option(help="Column of the list whose groups stay whole.", metavar="COLUMN")
    ] = None,
    architecture: Annotated[
        str | None,
        typer.Option(help="A baseline in place of the recipe's network, as study models has it.", metavar="NAME"),
    ] = None,
    init: Annotated[str | None, typer.Option(help="Weights to initialise the network from.", metavar="WEIGHTS")] = None,
    threads: Threads = None,
) -> None:
    """Search for learning rate, weight decay and strength of augmentation; the test split takes no part."""
    from timesformer.cli.train import number_of_folds
    from timesformer.training.recipe import read_recipe

    number = number_of_folds(folds)
    assert number is not None
    settings = read_recipe(recipe, overrides or (), init=init)

    from timesformer.study.tune import tune as search
    from timesformer.threads import use_threads

    use_threads(threads)
    found = search(
        settings,
        data,
        out,
        trials=trials,
        minutes=minutes,
        folds=number,
        group=group,
        architecture=architecture,
        init=init,
        overrides=overrides or (),
        threads=threads,
        say=lambda line: print(line, flush=True),
    )
    failed = f", {found.failed} of them failed" if found.failed else ""
    print(f"best of {found.trials} trials{failed}: {found.score:.3f}")
    print(f"  {' '.join(found.overrides)}")
    print(f"recipe  {found.recipe}")
