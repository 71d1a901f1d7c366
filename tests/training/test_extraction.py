"""What a run says while it computes features."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from rich.console import Console
from rich.text import Text

import timesformer
from classifiers import classifier
from timesformer.errors import VideoError
from timesformer.evaluation.evaluate import Progress
from timesformer.training import extraction
from timesformer.training.extraction import show_extraction
from timesformer.training.log import Log


def report(log: Log) -> None:
    engine = timesformer.load_engine(classifier(), device="cpu", clips=torch.zeros(1, 3, 4, 32, 32, dtype=torch.uint8))
    with show_extraction(log, "train") as show:
        for done in range(21):
            show(Progress(engine, done, 20, [VideoError(Path("a.mp4"), "torn")] if done == 3 else []))


def test_a_bar_on_a_terminal(tmp_path: Path) -> None:
    drawn = io.StringIO()
    report(Log(tmp_path, Console(file=drawn, force_terminal=True, width=120)))
    text = Text.from_ansi(drawn.getvalue()).plain
    assert "features of train, video 20/20, " in text
    assert " videos/s ━" in text
    assert "left" in text
    assert (tmp_path / "log.txt").read_text().splitlines()[0].endswith("skipped a.mp4: torn")


def test_lines_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "EVERY", -1)
    printed = io.StringIO()
    report(Log(tmp_path, Console(file=printed, width=120)))
    lines = printed.getvalue().splitlines()
    assert lines[-1].startswith("features of train, video 20/20, ")
    assert lines[-1].endswith(" videos/s")
    assert "skipped a.mp4: torn" in lines
