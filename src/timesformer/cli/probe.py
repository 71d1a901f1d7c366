"""`timesformer probe`: do these weights suit my data?"""

from __future__ import annotations

from typing import Annotated

import typer

from timesformer.cli.options import Json, Threads
from timesformer.cli.search import Table
from timesformer.threads import use_threads


def probe(
    file: Table,
    by: Annotated[
        str, typer.Option(help="Column whose groups stay whole, such as a person.", metavar="COLUMN")
    ] = "video",
    folds: Annotated[int | None, typer.Option(help="Parts of the videos, at least 3; 5 if not given.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides which groups are in which fold.")] = 0,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Do the weights suit the data? Nearest neighbours and a linear layer on features.

    In nested cross-validation, whatever the splits."""
    import json

    from rich.console import Console

    from timesformer.features.probe import probe_features
    from timesformer.features.table import read_feature_table

    use_threads(threads)
    table = read_feature_table(file)
    errors = Console(stderr=True, highlight=False)
    with errors.status("fitting heads") as status:
        report = probe_features(
            table, by=by, folds=folds, seed=seed, on_fit=lambda head: status.update(f"fitting heads: {head.name}")
        )
    if as_json:
        print(json.dumps(report.as_dict()))
        return
    groups = "each a group" if by == "video" and report.groups == report.videos else f"{report.groups} groups ({by})"
    print(f"{report.videos} videos of {report.classes} classes, {groups}, {report.folds} folds")
    print(f"floor   most frequent class ({report.most_frequent}): top-1 {report.floor:.3f}")
    for candidate, estimate in report.heads:
        print(f"{candidate.head.name:7} {candidate.head.setting} {candidate.value:g}: {estimate}")
    best = max((estimate for _, estimate in report.heads), key=lambda estimate: estimate.top1)
    above = "above" if best.interval.low > report.floor else "not shown to be above"
    print(f"the features are {above} the floor: at best {best.top1 - report.floor:+.3f}")
