"""`timesformer study`: the paper's tables and figures, on anyone's data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from timesformer.cli.options import DataFolder, Threads


def study(
    name: Annotated[str, typer.Argument(help="Which study; an unknown name lists them.", metavar="NAME")],
    data: DataFolder,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Settings of all cells, such as training.epochs=40.", metavar="[KEY=VALUE]..."),
    ] = None,
    recipe: Annotated[
        str,
        typer.Option(help="Name of a recipe (`timesformer recipes` lists them), or a YAML file.", metavar="NAME|FILE"),
    ] = "finetune-small",
    init: Annotated[
        str | None, typer.Option(help="Weights to initialise the networks from.", metavar="WEIGHTS")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Train each cell with so many seeds.", metavar="N")] = 3,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the study; its trainings are in OUT/../runs, which studies share.", metavar="OUT"),
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Print cells, minutes and disk, and train nothing.")] = False,
    cell: Annotated[
        int | None,
        typer.Option(min=1, help="Do this training of the plan alone, as in a SLURM array.", metavar="N"),
    ] = None,
    threads: Threads = None,
) -> None:
    """Train and test the cells of a study, and put them beside the paper's own numbers."""
    from timesformer.errors import SettingError

    if plan and cell is not None:
        raise SettingError(f"--plan lists the trainings and does none; leave out --cell {cell}")

    from timesformer.recipes import load_recipe
    from timesformer.study.studies import find_study

    found = find_study(name)
    settings = load_recipe(recipe, overrides or (), init=init is not None)

    from timesformer.study.estimate import estimate, plan_lines
    from timesformer.study.plan import plan_study
    from timesformer.study.study import check_folder, run_study
    from timesformer.threads import use_threads

    use_threads(threads)
    folder = out or Path("runs/study") / name
    planned = plan_study(found, settings, data, folder, seeds=seeds, init=init, overrides=overrides or ())
    check_folder(planned)
    if plan:
        for line in plan_lines(planned, estimate(planned)):
            print(line)
        return
    rows = run_study(planned, cell=cell, threads=threads, say=lambda line: print(line, flush=True))
    if failed := sum(row.status == "failed" for row in rows):
        print(f"{failed} of {len(rows)} rows have failed; the same command tries them again")
        raise typer.Exit(1)
