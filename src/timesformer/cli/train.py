"""`timesformer train`: train a classifier on a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from timesformer.cli.lines import say
from timesformer.cli.options import Report, Threads
from timesformer.errors import SettingError
from timesformer.threads import use_threads

if TYPE_CHECKING:
    from timesformer.data.folds import Folds
    from timesformer.folds.parts import FoldsResult


def train(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Settings to change, such as training.epochs=2 seed=7.", metavar="[KEY=VALUE]..."),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the data set.", metavar="DATA")] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="Name of a recipe (`timesformer recipes` lists them), or a YAML file.", metavar="NAME|FILE"),
    ] = None,
    init: Annotated[str | None, typer.Option(help="Weights to initialise the network from.", metavar="WEIGHTS")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; runs/train if not given.", metavar="RUN")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of everything random; the recipe's if not given.")
    ] = None,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="Refuse operations whose result may differ from run to run.")
    ] = False,
    folds: Annotated[
        str | None,
        typer.Option(
            help="Train and test in so many folds of the train split, or with groups in one for each group.",
            metavar="K|groups",
        ),
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="With --folds: column of the list whose groups stay whole.", metavar="COLUMN")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Train and test with so many seeds, --seed and those after it.", metavar="N")
    ] = None,
    threads: Threads = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            help="Continue this run after its last checkpoint. It needs no other option, but --data for data that have "
            "moved.",
            metavar="RUN",
        ),
    ] = None,
    accept_changes: Annotated[
        bool, typer.Option("--accept-changes", help="With --resume: continue although settings or data have changed.")
    ] = False,
    report: Report = True,
) -> None:
    """Train a classifier; RUN/model is the result."""
    if resume is None and accept_changes:
        raise SettingError("--accept-changes requires --resume RUN")
    if resume is None and (data is None or recipe is None):
        lacking = " and ".join(
            name
            for name, value in {"--data": data, "--recipe (`timesformer recipes` lists them)": recipe}.items()
            if value is None
        )
        raise SettingError(f"train requires {lacking}, or --resume RUN alone")
    several = {"--folds": folds, "--group": group, "--seeds": seeds}
    for name, value in ({"--recipe": recipe, "--init": init, "--out": out} | several).items():
        if resume is not None and value is not None:
            raise SettingError(
                f"{name} {value}: cannot be combined with --resume RUN, which keeps the run's own; KEY=VALUE changes a "
                "setting"
            )

    number = number_of_folds(folds)

    from rich.console import Console

    from timesformer.training.recipe import read_recipe

    changes = list(overrides or ())
    if seed is not None:
        changes.append(f"seed={seed}")
    if deterministic:
        changes.append("training.deterministic=true")
    # a typo is found before torch is imported
    settings = None if recipe is None else read_recipe(recipe, changes, init=init)

    from timesformer.folds import run as folds_run
    from timesformer.training import fit
    from timesformer.training.resume import PARTS

    use_threads(threads)
    console = Console()
    if resume is not None and (resume / PARTS).exists():
        if changes or accept_changes:
            raise SettingError(f"{resume}: settings of folds and seeds cannot change; start a new run")
        _say(folds_run.resume_folds(resume, data=data, console=console))
        _report(resume, wanted=report)
        return
    if any(value is not None for value in several.values()):
        assert data is not None
        assert settings is not None
        _say(
            folds_run.fit_folds(
                settings,
                data,
                out or Path("runs/train"),
                folds=number,
                group=group,
                seeds=seeds,
                init=init,
                console=console,
            )
        )
        _report(out or Path("runs/train"), wanted=report)
        return
    if resume is not None:
        result = fit.resume(resume, overrides=changes, data=data, accept_changes=accept_changes, console=console)
    else:
        assert data is not None
        assert settings is not None
        result = fit.fit(settings, data, out or Path("runs/train"), init=init, console=console)
    if not result.first_process:
        return
    if result.skipped:
        say(f"{len(result.skipped)} videos could not be read and were skipped")
    say(f"{result.model}: {result.summary()}")
    _report(result.model.parent, wanted=report)


def _report(run: Path, *, wanted: bool) -> None:
    """Write RUN/report.html and print its path."""
    if not wanted:
        return
    from timesformer.cli.progress import video_progress
    from timesformer.cli.reports import write_at_end
    from timesformer.report.report import report as write

    with video_progress() as show:
        page = write_at_end(lambda: write([run], on_progress=show))
    if page is not None:
        print(f"report: {page}")


def number_of_folds(folds: str | None) -> Folds | None:
    if folds is None:
        return None
    if folds == "groups":
        return "groups"
    if not folds.isdecimal():
        raise SettingError(f"--folds {folds}: expected a number of at least 2, or groups")
    return int(folds)


def _say(result: FoldsResult) -> None:
    from timesformer.folds.table import summarise

    say(f"{result.model}: an ensemble of {len(result.parts)} classifiers; {summarise(result)}")
