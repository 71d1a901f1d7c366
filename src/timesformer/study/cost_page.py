"""What the study `cost` writes: table, figure and page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from timesformer.colours import INK, PALE
from timesformer.files import replacing
from timesformer.report.page import data_uri, write_page
from timesformer.study.cost import PAPER_HOURS, VIDEOS, CostRow, headline
from timesformer.study.figure import FIGURE, OURS
from timesformer.study.page import PAGE
from timesformer.study.studies import COST, COST_TITLE
from timesformer.study.table import NONE, write_table

HEADINGS = (
    "network",
    "clip",
    "parameters, M",
    "G multiply-accumulates",
    "views",
    "s a view",
    "GB",
    "s a training step",
    "GB of it",
    f"h for {VIDEOS:,} videos",
    "paper, h",
)
PANELS: tuple[tuple[str, Callable[[CostRow], float | None]], ...] = (
    ("G multiply-accumulates\nof a view", lambda row: row.macs / 1e9),
    ("seconds of a view", lambda row: row.seconds),
    ("seconds of a\ntraining step, one clip", lambda row: row.train_seconds),
    ("memory of a\ntraining step, GB", lambda row: None if row.train_memory is None else row.train_memory / 1e9),
)


def write_costs(rows: Sequence[CostRow], out: Path, command: str) -> Path:
    """Write OUT/table.md, figure.png and study.html; returns the path of the page."""
    table, notes = [_cells(row) for row in rows], _notes(rows)
    lines = [
        f"# {COST}: {COST_TITLE}",
        "",
        f"`{command}`",
        "",
        f"| {' | '.join(HEADINGS)} |",
        "|---" * len(HEADINGS) + "|",
    ]
    lines += [f"| {' | '.join(cells)} |" for cells in table]
    for note in notes:
        lines += ["", note]
    write_table("\n".join(lines) + "\n", out)
    with replacing(out / FIGURE) as temporary:
        make_figure(rows).savefig(temporary, dpi=150, format="png")
    return write_page(
        out / PAGE,
        "study.html",
        title=f"{COST}: {COST_TITLE}",
        lead="Networks with random weights, one clip at a time.",
        picture=data_uri((out / FIGURE).read_bytes(), "image/png"),
        description="bars of the numbers in the table",
        headings=HEADINGS,
        table=table,
        notes=notes,
        columns=(),
        rows=(),
        command=command,
        settings="",
    )


def terminal_lines(rows: Sequence[CostRow]) -> list[str]:
    """The table in lines of at most 80 columns, and the headline."""
    lines = [f"{'network':20} {'M':>6} {'G MACs':>7} {'views':>5} {'s a view':>9} {'step s':>8} {'step GB':>8}"]
    for row in rows:
        cells = _cells(row)
        lines.append(
            f"{row.network:20} {cells[2]:>6} {cells[3]:>7} {cells[4]:>5} {cells[5]:>9} {cells[7]:>8} {cells[8]:>8}"
        )
    if text := headline(rows):
        before, _, after = text.partition("; ")
        lines += ["", before, after]
    return lines


def make_figure(rows: Sequence[CostRow]) -> Figure:
    """A panel of bars for each of `PANELS`."""
    figure = Figure(figsize=(11.5, 1.6 + 0.33 * len(rows)), layout="constrained", facecolor="white")
    plots = figure.subplots(1, len(PANELS), sharey=True)
    for plot, (title, value) in zip(plots, PANELS, strict=True):
        for place, row in enumerate(rows):
            number = value(row)
            if number is None:
                plot.text(0, place, " –", va="center", color=INK, fontsize=9)
                continue
            plot.barh(place, number, height=0.62, color=OURS, alpha=0.9 if row.network in PAPER_HOURS else 0.55)
            plot.text(number, place, f" {number:.3g}", va="center", color=INK, fontsize=8)
        plot.set_title(title, loc="left", fontsize=10, color=INK)
        plot.margins(x=0.2)
        plot.set_xlim(left=0)
        plot.grid(axis="x", color=PALE, linewidth=0.8)
        plot.set_axisbelow(True)
        plot.spines[["top", "right"]].set_visible(False)
        plot.tick_params(colors=INK, labelsize=8.5)
        plot.tick_params(axis="y", length=0)
    plots[0].set_yticks(range(len(rows)), [row.network.replace("_", " ") for row in rows])
    plots[0].invert_yaxis()
    return figure


def _cells(row: CostRow) -> list[str]:
    return [
        row.network,
        f"{row.frames} x {row.image_size} x {row.image_size}",
        f"{row.parameters / 1e6:.2f}",
        f"{row.macs / 1e9:.1f}",
        str(row.views),
        _number(row.seconds),
        _gigabytes(row.memory),
        _number(row.train_seconds),
        _gigabytes(row.train_memory),
        NONE if row.hours is None else f"{row.hours:.1f}",
        f"{PAPER_HOURS[row.network]:g}" if row.network in PAPER_HOURS else NONE,
    ]


def _notes(rows: Sequence[CostRow]) -> list[str]:
    found = [text] if (text := headline(rows)) else []
    ran = dict.fromkeys(text for row in rows for text in (row.ran, row.train_ran) if text)
    found.append(f"One clip at a time, median of 3 after one; decoding is not in it. Ran: {'; '.join(ran)}.")
    return found


def _number(value: float | None) -> str:
    return NONE if value is None else f"{value:.3g}"


def _gigabytes(value: int | None) -> str:
    return NONE if value is None else f"{value / 1e9:.2f}"
