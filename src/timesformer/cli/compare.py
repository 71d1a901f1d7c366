"""`timesformer compare`: two classifiers on the same videos."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from timesformer.cli.options import Json

Scores = Annotated[Path, typer.Argument(help="Scores of `timesformer test --out`.", metavar="SCORES.parquet")]


def compare(first: Scores, second: Scores, as_json: Json = False) -> None:
    """Whether the second of two classifiers is better than the first, from their scores of the same videos.

    Differences with 95% intervals of the paired bootstrap, of groups where the scores have them (`test --group`), and
    McNemar's exact test of the top-1.
    """
    from timesformer.evaluation.compare import compare as compare_scores
    from timesformer.evaluation.metrics import metric_name

    found = compare_scores(first, second)
    if as_json:
        print(json.dumps(found.as_dict()))
        return
    print(f"{'':23}{'first':>7}{'second':>9}  difference")
    for name, each in found.differences.items():
        low, high = each.interval
        both = f"{each.first:7.4f}{each.second:9.4f}"
        print(f"{metric_name(name):23}{both}  {each.value:+.4f}  95% {low:+.3f} to {high:+.3f}")
    if found.p_value is not None:
        print(f"right in one alone     first {found.first_alone}, second {found.second_alone}")
        print(f"McNemar's exact test   p = {found.p_value:.3g}{' (as of independent videos)' if found.groups else ''}")
    groups = f" in {found.groups} groups" if found.groups else ""
    print(f"videos                 {found.videos}{groups}")
