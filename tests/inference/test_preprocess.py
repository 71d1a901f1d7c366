"""What an engine takes, made of any video: the example of docs/inference.md, and the clips by hand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import timesformer
from timesformer.inference.predictor import Predictor
from timesformer.video.source import open_video

DOCS = Path(__file__).parents[2] / "docs/inference.md"


@pytest.fixture(scope="module")
def predictor(run: Path) -> Predictor:
    return timesformer.load(run, "cpu", precision="fp32")


def test_the_example_of_the_docs(predictor: Predictor) -> None:
    (example,) = re.findall(r"```python\n((?:(?!```).)*\.preprocess\(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    names: dict[str, Any] = {"np": np, "timesformer": timesformer, "predictor": predictor}
    exec(example, names)
    views, shape = predictor.preprocessing.test_crops, predictor.settings.clip_shape
    assert names["clips"].shape == (views, 3, shape.frames, shape.side, shape.side)
    assert names["clips"].dtype == torch.uint8
    assert names["logits"].shape == (views, 2)
    torch.testing.assert_close(names["scores"], names["logits"].softmax(1).mean(0))
    assert torch.equal(names["scores"], predictor.scores(names["frames"], fps=30))


@pytest.mark.parametrize(("height", "width"), [(24, 40), (40, 24)])
def test_frames_that_are_not_square(predictor: Predictor, height: int, width: int) -> None:
    """The middle span of 8 of 20 frames, the short side scaled to 16, three crops along the long one."""
    frames = np.random.default_rng(0).integers(0, 256, (20, height, width, 3), np.uint8)
    clips = predictor.preprocess(frames)
    with open_video(frames) as video:
        scaled = video.read([6, 8, 10, 13], 16)  # 6 + 0, 7 / 3, 14 / 3, 7
    axis = 3 if width > height else 2
    assert scaled.shape[axis] == 26
    assert torch.equal(clips, torch.stack([scaled.narrow(axis, start, 16) for start in (0, 5, 10)]))


def test_any_video_gives_what_the_engine_takes(predictor: Predictor, bars: Path) -> None:
    path = bars / "test/left/0.mp4"
    clips = predictor.preprocess(path)
    assert torch.equal(clips, predictor.preprocess(path.read_bytes()))
    assert torch.equal(timesformer.score_views(predictor.engine, clips), predictor.scores(path))
    with pytest.raises(timesformer.VideoError, match="no such file"):
        predictor.preprocess(bars / "none.mp4")
    with pytest.raises(timesformer.SettingError, match="only arrays and lists take a frame rate"):
        predictor.preprocess(path, fps=30)
