"""The command `timesformer`: one file a verb. Nothing heavy is imported before a verb runs."""

from __future__ import annotations

import sys

import typer

from timesformer.cli import convert, cost, data, demo, predict, test, train
from timesformer.errors import TimesformerError

app = typer.Typer(
    name="timesformer",
    help="Video understanding by space-time attention: train, test and use TimeSformer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("demo")(demo.demo)
app.command("train")(train.train)
app.command("test")(test.test)
app.command("predict")(predict.predict)
app.command("convert")(convert.convert)
app.command("cost")(cost.cost)
app.add_typer(data.app, name="data")


def main() -> None:
    """Run the command; an error a user can mend is one line and exit code 2."""
    try:
        app()
    except TimesformerError as error:
        print(f"timesformer: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("timesformer: stopped; a training run goes on after its last whole epoch with --resume", file=sys.stderr)
        sys.exit(130)
