"""`timesformer bench`: how fast this machine is; one file a verb."""

from __future__ import annotations

import typer

from timesformer.cli.bench import cost, model, plan, train, video

app = typer.Typer(help="Measure speed and memory on this machine.", no_args_is_help=True)
app.command()(model.model)
app.command()(video.video)
app.command()(train.train)
app.command()(cost.cost)
app.command()(plan.plan)
