"""The cue sets of the benchmarks of explanations: what they draw, and how maps of them are judged."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from classifiers import classifier
from timesformer.data.motion import CLASSES, FPS, FRAMES
from timesformer.explain.explainer import load_explainer

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def cues(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("explain_multilabel")


def test_shapes_of_a_pair_never_touch(cues: Any) -> None:
    for seed in range(6):
        labels = (CLASSES[seed], CLASSES[seed + 2])
        drawn = cues.draw_pair(labels, seed)
        one, other = (drawn.shapes[label] for label in labels)
        assert drawn.clip_CTHW.shape == (3, FRAMES, cues.SIDE, cues.SIDE)
        assert one.any((1, 2)).all()
        assert other.any((1, 2)).all()
        wide = torch.nn.functional.max_pool2d(one.float(), 3, 1, 1) > 0
        assert not (wide & other).any()
        bright = drawn.clip_CTHW.amax(0) > 190
        assert (bright == (one | other)).float().mean() > 0.995  # edges are soft


def test_no_frame_outside_of_the_span_says_the_class(cues: Any) -> None:
    for seed in range(6):
        clips = {label: cues.draw_span(label, seed) for label in CLASSES}
        first, stop = clips["left"].span
        rest = torch.ones(FRAMES, dtype=torch.bool)
        rest[first:stop] = False
        for drawn in clips.values():
            assert drawn.span == (first, stop)
            assert (drawn.clip_CTHW[:, rest] == clips["up"].clip_CTHW[:, rest]).all()
            assert not (drawn.clip_CTHW[:, ~rest] == drawn.clip_CTHW[:, :1]).all((0, 2, 3)).any()
        assert torch.equal(
            clips["left"].clip_CTHW[:, first:stop].flip(1), clips["right"].clip_CTHW[:, first:stop]
        )  # backwards


def test_a_map_of_one_shape_points_at_it(cues: Any) -> None:
    explainer = load_explainer(classifier(), "cpu")
    drawn = cues.draw_pair(("left", "growing"), 3)
    found = explainer.explain(drawn.clip_CTHW, fps=FPS)
    for label, other in (("left", "growing"), ("growing", "left")):
        right = found._replace(label=label, map_NHW=drawn.shapes[label][found.frames].float())
        assert cues.points_at(right, drawn) == {"maximum": True, "mass": True}
        assert cues.points_at(right._replace(label=other), drawn) == {"maximum": False, "mass": False}


def test_faithfulness_of_a_split(
    monkeypatch: pytest.MonkeyPatch, bars: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("explain_faithfulness")
    out = tmp_path / "found.json"
    words = ["x", str(run), "--data", str(bars), "--videos", "3", "--methods", "rollout", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", words)
    module.main()
    (row,) = json.loads(out.read_text())
    assert (row["method"], row["videos"]) == ("rollout", 3)
    assert row["map_deletion_gain"] == pytest.approx(row["random_deletion"] - row["map_deletion"])
    assert row["centre_insertion_gain"] == pytest.approx(row["centre_insertion"] - row["random_insertion"])
    low, high = row["shuffled_interval"]
    assert low <= row["shuffled"] <= high
    assert -1 <= row["shuffled"] < 0.99
    assert "3 videos, top-1" in capsys.readouterr().out
