"""The command `timesformer`: one file a verb. Nothing heavy is imported before a verb runs."""

from __future__ import annotations

import sys

import typer

from timesformer.cli import bench, convert, cost, data, demo, predict, test, train
from timesformer.errors import TimesformerError, one_line
from timesformer.files import FULL

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
app.add_typer(bench.app, name="bench")


def main() -> None:
    """Run the command; an error a user can mend is one line and exit code 2."""
    try:
        app()
    except TimesformerError as error:
        _complain(one_line(error))
        sys.exit(2)
    except OSError as error:
        if error.strerror is None or (error.filename is None and error.errno not in FULL):
            raise
        _complain(error.strerror if error.filename is None else f"{error.filename}: {error.strerror}")
        sys.exit(2)
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, SystemExit) and stop.code != 130:  # typer makes a 130 of Ctrl-C
            raise
        _complain("stopped")
        sys.exit(130)


def _complain(text: str) -> None:
    print(f"timesformer: {text}", file=sys.stderr)
