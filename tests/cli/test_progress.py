"""Bars: names of files as they are."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from timesformer.cli.progress import timeline_progress
from timesformer.inference.timeline_job import TimelineProgress
from timesformer.training.bar import make_bar


@pytest.mark.parametrize("name", ["Title [dQw4w9WgXcQ].mp4", "a[/x].mp4"])
def test_names_that_look_like_markup(
    name: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Console, "is_terminal", True)
    monkeypatch.setenv("COLUMNS", "200")
    with timeline_progress() as show:
        show(TimelineProgress(name, 1.0, 2.0, 0.0))
    assert name in capfd.readouterr().err
    console = Console(file=io.StringIO(), force_terminal=True, width=200)
    with make_bar(console) as bar:
        bar.add_task(name)
    assert name in console.file.getvalue()  # type: ignore[attr-defined]
