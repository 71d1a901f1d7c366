"""OUT/study.html: figure, table and runs of a study on one page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from timesformer.report.page import data_uri, write_page
from timesformer.study.figure import FIGURE
from timesformer.study.plan import StudyPlan
from timesformer.study.results import Row
from timesformer.study.summary import CellSummary
from timesformer.study.table import cells_of, headings, metric_of, notes

PAGE = "study.html"
SHOWN = ("cell", "seed", "status", "test_score", "validation_score", "minutes", "memory", "epochs", "run", "weights")


def write_study_page(plan: StudyPlan, summaries: Sequence[CellSummary], rows: Sequence[Row], command: str) -> Path:
    """Write the page, which holds OUT/figure.png; returns its path."""
    means = (f"{one.cell.name} {100 * one.mean:.1f}" for one in summaries if one.mean is not None)
    return write_page(
        plan.out / PAGE,
        "study.html",
        title=f"{plan.study.name}: {plan.study.title}",
        lead=f"A study of {plan.data.folder.resolve().name}: {len(plan.cells)} cells, {len(plan.trainings)} trainings.",
        picture=data_uri((plan.out / FIGURE).read_bytes(), "image/png"),
        description=f"{metric_of(summaries)} in percent: {', '.join(means)}",
        headings=headings(plan, summaries),
        table=[cells_of(plan, summary) for summary in summaries],
        notes=notes(plan, summaries),
        columns=[name.replace("_", " ") for name in SHOWN],
        rows=[[_text(getattr(row, name)) for name in SHOWN] for row in rows],
        command=command,
        settings=yaml.safe_dump(plan.recipe.model_dump(mode="json"), sort_keys=False),
    )


def _text(value: object) -> str:
    return "" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
