"""Tables and figures from rows whose numbers are worked out by hand."""

from __future__ import annotations

import dataclasses
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import browser
from commands import Command
from conftest import SMALL, small_recipe
from study_rows import read_results
from timesformer.bench import child
from timesformer.evaluation.evaluate import EvaluationResult
from timesformer.evaluation.interval import mean_interval, paired_p_value, wilson_interval
from timesformer.evaluation.metrics import measure
from timesformer.evaluation.score_files import write_scores
from timesformer.study import cost
from timesformer.study.cost import CostRow, headline, measure_costs, read_costs
from timesformer.study.cost_page import terminal_lines as cost_lines
from timesformer.study.cost_page import write_costs
from timesformer.study.figure import draw_study, make_figure
from timesformer.study.page import write_study_page
from timesformer.study.plan import StudyPlan, plan_study
from timesformer.study.results import row_of, write_results
from timesformer.study.studies import find_study
from timesformer.study.summary import CellSummary, summarise
from timesformer.study.table import cells_of, headings, markdown, notes, terminal_lines

VIDEOS = 40
RIGHT = {  # of 40 videos, of each seed
    "none": (10, 14, 12),
    "space": (28, 30, 29),
    "space_time": (30, 32, 31),
}


@pytest.fixture(scope="module")
def plan(bars: Path, tmp_path_factory: pytest.TempPathFactory) -> StudyPlan:
    """Position tables with three seeds, all of whose trainings have ended with the scores of RIGHT."""
    out = tmp_path_factory.mktemp("tables") / "positions"
    plan = plan_study(find_study("positions"), small_recipe(), bars, out, seeds=3)
    out.mkdir()
    for task in plan.tasks:
        task.run.folder.mkdir(parents=True)
        write_run(plan, task.seed, task.cell.name, RIGHT[task.cell.name][task.seed])
    return plan


def write_run(plan: StudyPlan, seed: int, cell: str, right: int, skipped: int = 0) -> None:
    """The first videos are right, the others wrong; of the first so many are skipped."""
    task = next(task for task in plan.tasks if (task.seed, task.cell.name) == (seed, cell))
    labels_B = torch.arange(VIDEOS) % 2
    said_B = torch.where(torch.arange(VIDEOS) < right, labels_B, 1 - labels_B)
    labels_B, said_B = labels_B[skipped:], said_B[skipped:]
    scores_BK = torch.nn.functional.one_hot(said_B, 2).float() * 0.8 + 0.1
    paths = tuple(Path(f"{number}.mp4") for number in range(skipped, VIDEOS))
    result = EvaluationResult(measure(scores_BK, labels_B), scores_BK, labels_B, paths, ("left", "right"), (), "eager",
                              "fp32")  # fmt: skip
    write_scores(result, task.run.scores({}))
    task.run.write_done(
        {"minutes": 2.0 + seed, "epochs": 4, "memory": 10**9, "parameters": 1000, "weights": f"w{seed}", "epoch": 4,
         "validation_split": "val", "validation_score": right / VIDEOS, "device": "cpu"}
    )  # fmt: skip


def summaries_of(plan: StudyPlan) -> list[CellSummary]:
    return summarise(plan, [row_of(plan, task) for task in plan.tasks])


def test_means_intervals_and_paired_tests(plan: StudyPlan) -> None:
    none, space, both = summaries_of(plan)
    assert (none.mean, space.mean, both.mean) == pytest.approx((0.3, 0.725, 0.775))
    assert both.difference is None
    found = none.difference
    assert found is not None
    assert found.value == pytest.approx(-0.475)
    each = [-20 / 40, -18 / 40, -19 / 40]
    assert found.seeds == pytest.approx(mean_interval(each))
    assert found.p_value == pytest.approx(paired_p_value(each))
    assert found.videos.low < -0.475 < found.videos.high < -0.3
    assert found.is_clear
    low, high = none.interval or (0, 0)
    seeds, videos = mean_interval([0.25, 0.35, 0.3]), wilson_interval(0.3, VIDEOS)
    assert low == pytest.approx(min(seeds.low, videos.low))
    assert high == pytest.approx(max(seeds.high, videos.high))


def test_the_paired_t_test() -> None:
    """Two degrees of freedom have a closed form: P(|T| > t) = 1 - t / sqrt(2 + t^2)."""
    differences = [0.02, 0.05, 0.03]
    t = (0.1 / 3) / (math.sqrt(sum((one - 0.1 / 3) ** 2 for one in differences) / 2) / math.sqrt(3))
    assert paired_p_value(differences) == pytest.approx(1 - t / math.sqrt(2 + t * t))
    assert paired_p_value([0.1, 0.4 - 0.3]) is None
    assert paired_p_value([0.0, 0.0, 0.0]) is None


def test_the_table(plan: StudyPlan) -> None:
    summaries = summaries_of(plan)
    cells = dict(zip(headings(plan, summaries), cells_of(plan, summaries[1]), strict=True))
    assert cells["top-1, %"] == "72.5"
    assert cells["less reference"] == "-5.0"  # of all seeds, so with no spread to judge it by
    assert cells["95%, seeds"] == "–"
    assert (cells["p"], cells["one clip, %"], cells["minutes"], cells["GB"]) == ("–", "72.5", "3.0", "1.00")
    assert (cells["paper, K400"], cells["paper, SSv2"], cells["seeds"]) == ("77.8", "52.5", "3")
    assert cells_of(plan, summaries[0])[headings(plan, summaries).index("less reference")] == "-47.5 *"
    text = markdown(plan, summaries, "timesformer study positions")
    assert text.splitlines()[0] == "# positions: position tables (Table 4)"
    assert all(len(line) <= 80 for line in terminal_lines(plan, summaries))


def test_a_video_that_one_test_has_skipped(plan: StudyPlan, tmp_path: Path) -> None:
    """The scores stay those of each test; what is compared is of the videos that all have."""
    moved = plan_study(find_study("positions"), small_recipe(), plan.data.folder, tmp_path / "positions", seeds=3)
    shutil.copytree(plan.out.parent / "runs", tmp_path / "runs")
    write_run(moved, 1, "none", 14, skipped=1)
    none, space, _ = summaries = summaries_of(moved)
    assert none.mean == pytest.approx((10 / 40 + 13 / 39 + 12 / 40) / 3)
    assert none.difference is not None
    assert none.difference.value == pytest.approx((9 - 29 + 13 - 31 + 11 - 30) / 3 / 39)
    assert (none.videos, space.videos) == (39, 40)
    found = [line for line in notes(moved, summaries) if "skipped" in line]
    assert [line.partition(" videos")[0] for line in found] == ["none: interval and difference are of the 39 of 40"]


def test_rows_are_read_as_they_were_written(plan: StudyPlan) -> None:
    rows = [row_of(plan, task) for task in plan.tasks]
    write_results(rows, plan.out)
    assert read_results(plan.out / "results.csv") == rows


def test_one_seed_has_mcnemars_test(plan: StudyPlan) -> None:
    one = dataclasses.replace(plan, tasks=tuple(task for task in plan.tasks if task.seed == 0))
    found = summaries_of(one)[0].difference
    assert found is not None
    assert found.seeds is None
    assert found.p_value == pytest.approx(2 / 2**20)  # 20 videos that the reference alone has right


def test_the_figure(plan: StudyPlan) -> None:
    summaries = summaries_of(plan)
    (axes,) = make_figure(plan.study, summaries, plan.reference, "top-1").axes
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([30.0, 72.5, 77.5])
    assert [text.get_text() for text in axes.get_yticklabels()] == ["none", "space", "space time"]
    tokens = find_study("tokens")
    cells = tokens.cells(small_recipe(), False)
    lines = [dataclasses.replace(summaries[0], cell=cell) for cell in cells]
    figure = make_figure(tokens, lines, "", "top-1")
    assert [plot.get_xlabel() for plot in figure.axes] == ["frames of a clip", "side of a frame, pixels"]
    assert list(figure.axes[0].lines[0].get_xdata()) == [4, 8, 16, 32]


def test_the_page(plan: StudyPlan, chromium: browser.Chromium) -> None:
    rows = [row_of(plan, task) for task in plan.tasks]
    summaries = summarise(plan, rows)
    draw_study(plan.study, summaries, plan.reference, "top-1", plan.out / "figure.png")
    page = write_study_page(plan, summaries, rows, "timesformer study positions")
    opened = chromium.open(page, width=400, scheme="dark")
    assert opened.locator("#table tbody tr").count() == 3
    assert opened.locator("#runs tbody tr").count() == 9
    assert not browser.faults(opened)
    assert not browser.broken_images(opened)
    assert not browser.is_wider_than_window(opened)


def test_what_networks_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    """Measured in this process, of two networks, then read and not measured again."""
    calls: list[dict[str, Any]] = []

    def here(function: str, arguments: dict[str, Any], **_: Any) -> dict[str, Any]:
        calls.append(arguments)
        if arguments["train"] and arguments["settings"].get("scheme") == "axial":
            raise child.EndedError("out of memory", "too large")
        return {
            "seconds": 0.5 if arguments["train"] else 0.25,
            "memory": 2 * 10**9,
            "ran": "eager fp32, cpu, 1 threads",
        }

    monkeypatch.setattr(cost, "run_apart", here)
    monkeypatch.setattr(cost, "MEASURED", ("x3d_s",))
    monkeypatch.setattr(cost, "SCHEMES", ("divided_space_time", "axial"))
    out = tmp_path / "cost"
    rows = measure_costs(small_recipe(), out, classes=2)
    assert len(calls) == 2 * len(rows)
    # Training as the recipe has it, predicting in what is fastest here.
    assert [call["precision"] for call in calls] == ["auto", "fp32"] * len(rows)
    divided, axial = rows[:2]
    assert (divided.seconds, divided.train_seconds, divided.views) == (0.25, 0.5, 3)
    assert (rows[2].parameters, rows[2].views, rows[2].image_size) == (3_794_274 - 398 * 2049, 30, 182)
    assert axial.train_seconds is None
    page = write_costs(rows, out, "timesformer study cost").read_text()
    assert "out of memory: too large" in page
    assert "| x3d_s | 13 x 182 x 182 |" in (out / "table.md").read_text()
    assert axial.train_ran == "out of memory: too large"
    assert measure_costs(small_recipe(), out, classes=2) == rows == read_costs(out / "results.csv")
    again = [(call["settings"]["scheme"], call["train"]) for call in calls[2 * len(rows) :]]
    assert again == [("axial", True)]  # there may be more memory now
    other = measure_costs(small_recipe(), out, classes=2, threads=torch.get_num_threads() + 1)
    assert [call["threads"] for call in calls[2 * len(rows) + 1 :]] == [torch.get_num_threads() + 1] * 2 * len(rows)
    assert read_costs(out / "results.csv") == [*other, *rows]
    assert max(map(len, cost_lines(rows))) <= 80


@pytest.mark.parametrize("plan", [(), ("--plan",)])
@pytest.mark.parametrize(
    ("precision", "reason"),
    [
        ("bf16-mixed", "cpu has no bf16 products of its own here; training.precision=32-true"),
        ("16-mixed", "study cost measures training in 32-true or bf16-mixed"),
    ],
)
def test_a_training_precision_that_is_not_here_is_refused_before_anything_is_measured(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Command,
    precision: str,
    reason: str,
    plan: tuple[str, ...],
) -> None:
    monkeypatch.setattr(cost, "native_bf16", lambda device: False)
    monkeypatch.setattr(cost, "run_apart", lambda *_, **__: pytest.fail("measured"))
    words = ("--out", tmp_path / "cost", "--recipe", "demo", *SMALL, f"training.precision={precision}")
    result = command("study", "cost", *words, *plan)
    assert (result.code, result.err) == (2, f"timesformer: training.precision={precision}: {reason}\n")
    assert not (tmp_path / "cost").exists()


def test_the_headline() -> None:
    def row(network: str, views: int, seconds: float) -> CostRow:
        return CostRow(network=network, settings="", frames=8, image_size=224, parameters=1, macs=1, views=views,
                       seconds=seconds)  # fmt: skip

    rows = [row("divided_space_time", 3, 0.6), row("slowfast", 30, 0.9)]
    assert rows[0].hours == 10.0
    assert headline(rows) == (
        "20,000 videos: SlowFast (30 views) 150.0 h, TimeSformer (3 views) 10.0 h, 15.0 times as long; paper, on 8 "
        "V100s: 14.88 h and 36 min, 24.8 times."
    )
    assert headline(rows[:1]) is None


def test_cost_has_no_seeds_and_no_weights(tmp_path: Path, command: Command) -> None:
    result = command("study", "cost", "--out", tmp_path / "cost", "--recipe", "demo", *SMALL, "--init", "x")
    assert result.err == "timesformer: --init x: study cost trains nothing; leave it out\n"
    result = command("study", "cost", "--out", tmp_path / "cost", "--recipe", "demo", *SMALL, "--seeds", 2)
    assert result.err == "timesformer: --seeds 2: study cost trains nothing; leave it out\n"
