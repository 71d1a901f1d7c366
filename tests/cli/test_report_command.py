"""`timesformer report`, and the reports that demo, train and test write at their end."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import pytest

from commands import Command, assert_one_line
from conftest import SMALL
from timesformer.demo import run_demo
from timesformer.report.names import data_mark

DEMO = [setting for setting in SMALL if not setting.startswith(("model.image", "augmentation", "training.batch"))]


def test_train_and_test_print_the_path_of_their_report(
    command: Command, bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    trained = command(
        "train", "--report", "--data", bars, "--recipe", "demo", "--out", run, *SMALL, "training.epochs=1"
    )
    assert trained.code == 0, trained.err
    assert trained.out.splitlines()[-1] == f"report: {run / 'report.html'}"
    assert f"timesformer train --report --data {bars}" in (run / "report.html").read_text("utf-8")

    words = ("test", run, "--data", bars, "--report", "--workers", 0)
    tested, made = command(*words), run / f"test-{bars.name}-test.html"
    assert tested.out.splitlines()[-1] == f"report                 {made}"
    top1 = next(line for line in tested.out.splitlines() if line.startswith("top-1")).split()[1]
    text = made.read_text("utf-8")
    assert f"<strong>{float(top1):.3f}</strong>" in text
    assert f'<meta name="timesformer-data" content="{data_mark(bars)}">' in text[:2000]  # keeps other data's page away
    assert f"timesformer test {run} --data {bars} --report --workers 0" in text
    assert "All settings" in text  # of the run that the weights are of

    scores = tmp_path / "a.parquet"
    as_json = command(*words, "--out", scores, "--json")
    assert json.loads(as_json.out)["videos"] == 4
    assert as_json.err.splitlines()[-1] == f"report                 {tmp_path / 'a.html'}"
    again = command("report", scores, "--out", tmp_path / "b.html")
    assert again.out.splitlines() == [str(tmp_path / "b.html")]
    a, b = ((tmp_path / name).read_text("utf-8") for name in ("a.html", "b.html"))
    assert a == b

    shutil.copytree(run / "model", tmp_path / "weights")  # no run, and no --out: no page
    monkeypatch.chdir(tmp_path)
    assert "report" not in command("test", "weights", "--data", bars, "--split", "val", "--report").out
    assert not (tmp_path / "runs").exists()

    both = command("report", run, scores)
    assert both.out.splitlines() == [str(run / "report-a.html")]


def test_the_demo_writes_a_report(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = partial(run_demo, clips={"train": 1, "val": 1, "test": 2}, overrides=(*DEMO, "training.epochs=1"))
    monkeypatch.setattr("timesformer.demo.run_demo", small)
    out = tmp_path / "demo"
    shown = command("demo", "--report", "--out", out)
    assert shown.code == 0, shown.err
    assert shown.out.splitlines()[-1] == f"Report: {out / 'scores.html'}"
    text = (out / "scores.html").read_text("utf-8")
    assert f"A test of {out / 'run'} on {out / 'data'}, test, of " in text
    assert "8 training videos, 8 validation videos (val), 8 classes" in text


def test_a_report_that_fails_fails_nothing_else(
    command: Command, run: Path, bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("nothing\nto see")

    monkeypatch.setattr("timesformer.report.report.write_page", fail)
    out = tmp_path / "run"
    trained = command(
        "train", "--report", "--data", bars, "--recipe", "demo", "--out", out, *SMALL, "training.epochs=1"
    )
    assert trained.code == 0
    assert "the classifier of epoch 1" in trained.out
    assert "report:" not in trained.out
    assert trained.err.splitlines()[-1] == "warning: no report was written: nothing to see"
    tested = command("test", out, "--data", bars, "--report", "--out", tmp_path / "s.parquet", "--workers", 0)
    assert tested.code == 0
    assert (tmp_path / "s.parquet").exists()
    assert "warning: no report was written: nothing to see" in tested.err


def test_no_report_leaves_it_out(command: Command, run: Path, bars: Path, tmp_path: Path) -> None:
    before = sorted(run.rglob("*"))
    result = command("test", run, "--data", bars, "--no-report", "--out", tmp_path / "s.parquet", "--workers", 0)
    assert not any(line.startswith("report ") for line in result.out.splitlines())
    assert sorted(run.rglob("*")) == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["s.parquet"]


def test_what_is_refused(command: Command, run: Path, tmp_path: Path) -> None:
    assert_one_line(command("report", tmp_path / "none"), "none: no such folder; expected a run")
    assert_one_line(command("report", tmp_path), "holds no run; expected the folder of a run, or scores")
    assert_one_line(command("report", run, "--out", tmp_path / "a.pdf"), "a.pdf: cannot be a page; expected *.html")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    assert_one_line(command("report", tmp_path / "broken.parquet"), "broken.parquet: holds no scores")
    (tmp_path / "mine.html").write_text("<p>mine</p>")
    assert_one_line(command("report", run, "--out", tmp_path / "mine.html"), "exists and is no page of timesformer")


def test_results_are_there_before_the_report(
    command: Command, run: Path, bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while the page is made."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("timesformer.report.report.write_page", interrupt)
    words = ("test", run, "--data", bars, "--report", "--workers", 0, "--out", tmp_path / "s.parquet")
    stopped = command(*words)
    assert stopped.code != 0
    assert stopped.out.startswith("top-1 ")
    assert f"scores                 {tmp_path / 's.parquet'}" in stopped.out.splitlines()
    assert json.loads(command(*words, "--json").out)["videos"] == 4
