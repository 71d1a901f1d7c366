"""`timesformer calibrate`: weights whose scores can be taken at their word."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from timesformer.cli.options import (
    DataFolder,
    Device,
    Engine,
    Labels,
    MaxBadFraction,
    Precision,
    Threads,
    Weights,
    Workers,
)
from timesformer.cli.progress import video_progress
from timesformer.threads import use_threads


def calibrate(
    weights: Weights,
    out: Annotated[Path, typer.Argument(help="New folder of weights.", metavar="OUT")],
    data: DataFolder,
    split: Annotated[str, typer.Option(help="val, or another that the weights were not trained on.")] = "val",
    labels: Labels = None,
    workers: Workers = None,
    max_bad_fraction: MaxBadFraction = 0.05,
    device: Device = "auto",
    engine: Engine = "auto",
    precision: Precision = "auto",
    threads: Threads = None,
) -> None:
    """Fit one temperature on the videos of a split, and write weights whose logits are divided by it.

    The best class of a clip stays; its score comes nearer to how often it is right. The errors that are printed are of
    the videos that the temperature is fitted on; `test` measures that of others.
    """
    from timesformer.evaluation.temperature import calibrate as fit
    from timesformer.weights.convert import check_target, save_as

    use_threads(threads)
    check_target(out, "native")
    with video_progress() as show:
        found = fit(
            weights,
            data,
            split=split,
            labels=labels,
            engine=engine,  # type: ignore[arg-type]
            precision=precision,  # type: ignore[arg-type]
            device=device,
            workers=workers,
            max_bad_fraction=max_bad_fraction,
            on_progress=show,
        )
    save_as(found.classifier, out, "native")
    print(f"temperature            {found.temperature:.4f}")
    print(
        f"calibration error      {found.error[0]:.4f} before, {found.error[1]:.4f} after, on the videos it is fitted on"
    )
    print(f"log-loss               {found.loss[0]:.4f} before, {found.loss[1]:.4f} after")
    print(f"videos                 {found.videos} of {split}")
    print(f"weights                {out}")
