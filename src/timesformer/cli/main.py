"""The command `timesformer`: one file a verb. Nothing heavy is imported before a verb runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from timesformer import __version__
from timesformer.cli import (
    bench,
    calibrate,
    compare,
    convert,
    cost,
    data,
    demo,
    explain,
    export,
    features,
    predict,
    probe,
    recipes,
    report,
    search,
    serve,
    study,
    test,
    timeline,
    train,
    tune,
)
from timesformer.cli import map as features_map
from timesformer.cli.stop import STOPPED, say_stopped, stoppable
from timesformer.cli.streams import prepare_streams
from timesformer.errors import TimesformerError, one_line
from timesformer.files import FULL
from timesformer.threads import wait_briefly

# click's own UsageError, or that of the click which typer brings
UNPARSED: tuple[Any, ...] = typer.BadParameter.__bases__


class UsageError(TimesformerError):
    """Words of a command line that no command takes."""


class OneLine(TyperGroup):
    """All commands. What typer says in a box of what it cannot parse, they say in one line, as every other error."""

    def make_context(self, *words: Any, **options: Any) -> Any:
        with _one_line():
            return super().make_context(*words, **options)

    def invoke(self, ctx: Any) -> Any:
        with _one_line():
            return super().invoke(ctx)


@contextmanager
def _one_line() -> Iterator[None]:
    try:
        yield
    except UNPARSED as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help
            raise
        context: Any = getattr(error, "ctx", None)
        helped = f"; `{context.command_path} -h` says what it takes" if context else ""
        message: str = error.format_message()
        raise UsageError(f"{message.rstrip('.?')}{helped}") from None


app = typer.Typer(
    name="timesformer",
    cls=OneLine,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo.demo)
app.command("train")(train.train)
app.command("recipes")(recipes.recipes)
app.command("test")(test.test)
app.command("compare")(compare.compare)
app.command("predict")(predict.predict)
app.command("timeline")(timeline.timeline)
app.command("features")(features.features)
app.command("search")(search.search)
app.command("probe")(probe.probe)
app.command("map")(features_map.map)
app.command("calibrate")(calibrate.calibrate)
app.command("explain")(explain.explain)
app.command("report")(report.report)
app.command("serve")(serve.serve)
app.command("study", cls=study.WithStudies)(study.study)
app.command("tune")(tune.tune)
app.command("convert")(convert.convert)
app.command("export")(export.export)
app.command("cost")(cost.cost)
app.add_typer(data.app, name="data")
app.add_typer(bench.app, name="bench")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"timesformer {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Video understanding by space-time attention: train, test and use TimeSformer."""


def main() -> None:
    """Run the command; an error a user can mend is one line and exit code 2."""
    wait_briefly()
    prepare_streams()
    try:
        with stoppable():
            app(prog_name="timesformer")
    except TimesformerError as error:
        _complain(one_line(error))
        if isinstance(error, UsageError):
            _explain_dashes()
        sys.exit(2)
    except OSError as error:
        if error.strerror is None or (error.filename is None and error.errno not in FULL):
            raise
        _complain(error.strerror if error.filename is None else f"{error.filename}: {error.strerror}")
        sys.exit(2)
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, SystemExit) and stop.code != STOPPED:  # typer makes a 130 of Ctrl-C
            raise
        say_stopped(stop)
        sys.exit(STOPPED)


def _explain_dashes() -> None:
    """Where typer took a file for an option, say what to do."""
    words = list(takewhile(lambda word: word != "--", sys.argv[1:]))
    for name in (word for word in words if word.startswith("-") and len(word) > 1 and os.path.lexists(word)):
        _complain(f"{name}: taken for an option; write -- before names that begin with -, or ./{name}")


def _complain(text: str) -> None:
    print(f"timesformer: {text}", file=sys.stderr)
