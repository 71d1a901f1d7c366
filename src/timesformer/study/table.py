"""A study as a table beside the paper's own numbers: in Markdown, and for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from timesformer.evaluation.interval import Interval
from timesformer.evaluation.metrics import metric_name
from timesformer.files import replacing
from timesformer.study.grid import Cell
from timesformer.study.plan import StudyPlan
from timesformer.study.summary import CellSummary, Difference

TABLE = "table.md"
NONE = "–"
PAPER = "Bertasius, Wang, Torresani, ICML 2021"


def metric_of(summaries: Sequence[CellSummary]) -> str:
    """What the scores are: "top-1" or "mAP"."""
    names = [row.metric for summary in summaries for row in summary.rows if row.metric]
    return metric_name(names[0]) if names else "score"


def headings(plan: StudyPlan, summaries: Sequence[CellSummary]) -> list[str]:
    """The columns of the table."""
    return [
        "cell",
        "seeds",
        f"{metric_of(summaries)}, %",
        "95% interval",
        *(f"paper, {column}" for column in plan.study.paper_columns),
        "less reference",
        "95%, videos",
        "95%, seeds",
        "p",
        "one clip, %",
        "minutes",
        "GB",
        "epochs",
    ]


def cells_of(plan: StudyPlan, summary: CellSummary) -> list[str]:
    """The texts of a row, in the order of `headings`."""
    difference = summary.difference
    minutes, memory = summary.mean_of("minutes"), summary.mean_of("memory")
    return [
        summary.cell.name,
        f"{len(summary.done)}"
        if len(summary.done) == len(summary.rows)
        else f"{len(summary.done)} of {len(summary.rows)}",
        _percent(summary.mean),
        _between(summary.interval),
        *_paper(plan, summary.cell),
        "reference" if summary.cell.name == plan.reference else _difference(difference),
        _between(difference.videos, signed=True) if difference else NONE,
        _between(difference.seeds, signed=True) if difference else NONE,
        _p_value(difference),
        _percent(summary.mean_of("validation_score")),
        NONE if minutes is None else f"{minutes:.1f}",
        NONE if memory is None else f"{memory / 1e9:.2f}",
        _number(summary.mean_of("epochs")),
    ]


def notes(plan: StudyPlan, summaries: Sequence[CellSummary]) -> list[str]:
    """What must be known to read the table."""
    validated = next((row.validation_split for one in summaries for row in one.done if row.validation_split), None)
    tested = plan.data.tested
    lines = [
        f"{len(plan.data.training.videos)} training videos, tested on {len(tested.videos)} of {tested.split} by the "
        "test protocol of the weights. Intervals of a mean are over seeds and videos, whichever end is further; of a "
        "difference apart: over the videos (paired bootstrap) and the seeds (Student's); with * none has zero in it.",
        f"p: of the paired t-test over the seeds, of one seed McNemar's. One clip: one view of {validated} videos, "
        "scored while training."
        if validated
        else "p: of the paired t-test over the seeds, of one seed McNemar's.",
        *plan.study.notes,
    ]
    if tested.split == "val":
        lines.append("Tested on val, which also chooses epochs, so the scores are too high.")
    if plan.recipe.data.group and not plan.data.grouped:
        lines.append(
            f"The list of {tested.split} has no column {plan.recipe.data.group}, so intervals take its videos for "
            "independent."
        )
    if plan.study.paper_columns:
        lines.append(f"Paper: {PAPER}; top-1 in %, on {' and '.join(plan.study.paper_columns)}, from ImageNet weights.")
    most = max((row.test_videos or 0 for summary in summaries for row in summary.done), default=0)
    for summary in summaries:
        if summary.videos is not None and summary.videos < most:
            lines.append(
                f"{summary.cell.name}: interval and difference are of the {summary.videos} of {most} videos that no "
                "test of it or of the reference has skipped."
            )
        lines += [f"{summary.cell.name} has failed: {reason}" for reason in summary.reasons]
    return lines


def markdown(plan: StudyPlan, summaries: Sequence[CellSummary], command: str) -> str:
    """The table, what must be known to read it, and the command."""
    head = headings(plan, summaries)
    lines = [
        f"# {plan.study.name}: {plan.study.title}",
        "",
        f"`{command}`",
        "",
        "| " + " | ".join(head) + " |",
        "|---" * len(head) + "|",
        *("| " + " | ".join(cells_of(plan, summary)) + " |" for summary in summaries),
        "",
    ]
    for note in notes(plan, summaries):
        lines += [note, ""]
    return "\n".join(lines)


def write_table(text: str, out: Path) -> None:
    """Write OUT/table.md, whole or not at all."""
    with replacing(out / TABLE) as temporary:
        temporary.write_text(text, encoding="utf-8")


def terminal_lines(plan: StudyPlan, summaries: Sequence[CellSummary]) -> list[str]:
    """The table in lines of at most 80 columns."""
    metric = f"{metric_of(summaries)} %"
    lines, head = [f"{'cell':32} {metric:>7}  {'95%':13}  {'difference':10}  {'p':>6}"], headings(plan, summaries)
    for summary in summaries:
        name, row = summary.cell.name, dict(zip(head, cells_of(plan, summary), strict=True))
        name = name if len(name) <= 32 else f"{name[:29]}..."
        score, interval, difference = row[f"{metric_of(summaries)}, %"], row["95% interval"], row["less reference"]
        lines.append(f"{name:32} {score:>7}  {interval:13}  {difference:10}  {row['p']:>6}".rstrip())
    return lines


def _paper(plan: StudyPlan, cell: Cell) -> list[str]:
    numbers = [*cell.paper, *[None] * len(plan.study.paper_columns)][: len(plan.study.paper_columns)]
    return [NONE if number is None else f"{number:.1f}" for number in numbers]


def _percent(value: float | None) -> str:
    return NONE if value is None else f"{100 * value:.1f}"


def _difference(difference: Difference | None) -> str:
    return NONE if difference is None else f"{100 * difference.value:+.1f}{' *' if difference.is_clear else ''}"


def _between(interval: Interval | None, *, signed: bool = False) -> str:
    if interval is None:
        return NONE
    low, high = (f"{100 * end:+.1f}" if signed else f"{100 * end:.1f}" for end in interval)
    return f"{low} to {high}"


def _number(value: float | None) -> str:
    return NONE if value is None else f"{value:.1f}".removesuffix(".0")


def _p_value(difference: Difference | None) -> str:
    if difference is None or difference.p_value is None:
        return NONE
    return "<0.001" if difference.p_value < 0.001 else f"{difference.p_value:.3f}"
