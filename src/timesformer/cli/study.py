"""`timesformer study`: the paper's tables and figures, on anyone's data."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from timesformer.cli.options import Threads
from timesformer.errors import SettingError

if TYPE_CHECKING:
    from timesformer.config import AnyRecipe


class WithStudies(TyperCommand):
    """The command, whose help lists the studies; what lists them is imported for that help alone."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from timesformer.study.studies import COST, COST_TITLE, STUDIES

        super().format_help(ctx, formatter)
        titles = [(name, study.title) for name, study in STUDIES.items()]
        with formatter.section("Studies"):
            formatter.write_dl([*titles, (COST, COST_TITLE)])


def study(
    name: Annotated[str, typer.Argument(help="Which study, of those listed below.", metavar="NAME")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Settings of all cells, such as training.epochs=40.", metavar="[KEY=VALUE]..."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder of the data set; of study cost, for its classes.", metavar="DATA")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Name of a recipe (`timesformer recipes` lists them), or a YAML file; finetune-small if not given, of "
            "study cost k400-base.",
            metavar="NAME|FILE",
        ),
    ] = None,
    init: Annotated[
        str | None, typer.Option(help="Weights to initialise the networks from.", metavar="WEIGHTS")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Train each cell with so many seeds, 3 if not given.", metavar="N")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Of study models: minutes that each network is trained.", metavar="M")
    ] = None,
    tuned: Annotated[
        Path | None,
        typer.Option(help="Of study models: what `timesformer tune` found, a folder an architecture.", metavar="DIR"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the study, runs/study/NAME if not given; its trainings are in OUT/../runs, which studies "
            "share.",
            metavar="OUT",
        ),
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Print cells, minutes and disk, and train nothing.")] = False,
    cell: Annotated[
        int | None,
        typer.Option(min=1, help="Do this training of the plan alone, as in a SLURM array.", metavar="N"),
    ] = None,
    threads: Threads = None,
) -> None:
    """Train and test the cells of a study, and put them beside the paper's own numbers."""
    from timesformer.study.studies import COST, find_study

    if plan and cell is not None:
        raise SettingError(f"--plan lists the trainings and does none; leave out --cell {cell}")

    folder = out or Path("runs/study") / name
    if name == COST:
        from timesformer.recipes import load_recipe

        given = {"--init": init, "--seeds": seeds, "--minutes": minutes, "--tuned": tuned, "--cell": cell}
        for option, value in given.items():
            if value is not None:
                raise SettingError(f"{option} {value}: study cost trains nothing; leave it out")
        _cost(load_recipe(recipe or "k400-base", overrides or ()), data, folder, plan=plan, threads=threads)
        return

    from timesformer.training.recipe import read_recipe

    found = find_study(name)
    if data is None:
        raise SettingError(f"study {name} requires --data")
    if tuned is not None and not found.minutes:
        raise SettingError(f"--tuned {tuned}: is for study models, not {name}")
    settings = read_recipe(recipe or "finetune-small", overrides or (), init=init)

    from timesformer.study.estimate import estimate, plan_lines
    from timesformer.study.folder import check_folder
    from timesformer.study.plan import plan_study
    from timesformer.study.study import identity_of, run_study
    from timesformer.threads import use_threads

    use_threads(threads)
    planned = plan_study(
        found,
        settings,
        data,
        folder,
        seeds=3 if seeds is None else seeds,
        init=init,
        overrides=overrides or (),
        minutes=minutes,
        tuned=tuned,
        threads=threads,
    )
    check_folder(folder, identity_of(planned))
    if plan:
        for line in plan_lines(planned, estimate(planned)):
            print(line)
        return
    rows = run_study(planned, cell=cell, threads=threads, say=_say)
    if failed := sum(row.status == "failed" for row in rows):
        print(f"{failed} of {len(rows)} rows have failed; the same command tries them again")
        raise typer.Exit(1)


def _cost(recipe: AnyRecipe, data: Path | None, out: Path, *, plan: bool, threads: int | None) -> None:
    from timesformer.config import Recipe
    from timesformer.data.manifest import read_manifest
    from timesformer.study.cost import CLASSES, measure_costs, plan_lines
    from timesformer.study.cost_page import terminal_lines, write_costs
    from timesformer.threads import use_threads

    if not isinstance(recipe, Recipe):
        raise SettingError("study cost measures whole networks; the recipe's task is probe")
    classes = CLASSES if data is None else len(read_manifest(data, "train").labels)
    use_threads(threads)
    if plan:
        for line in plan_lines(recipe, classes):
            print(line)
        return
    rows = measure_costs(recipe, out, classes=classes, threads=threads, say=_say)
    page = write_costs(rows, out, shlex.join(["timesformer", *sys.argv[1:]]))
    for line in ["", *terminal_lines(rows), "", f"page    {page}"]:
        print(line)


def _say(line: str) -> None:
    print(line, flush=True)
