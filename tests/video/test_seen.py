"""How much of a video its clips show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from conftest import moving_bar
from timesformer.config import ClipShape, Preprocessing, Sampling
from timesformer.video.arrays import ArrayVideo
from timesformer.video.encode import write_video
from timesformer.video.seen import Seen, seen_of
from timesformer.video.source import open_video

SHAPE = ClipShape(4, 8)


def seen(frames: int, fps: float | None, clips: int = 1, **sampling: object) -> Seen:
    video = ArrayVideo(np.zeros((frames, 8, 8, 3), np.uint8), fps)
    return seen_of(video, SHAPE, Preprocessing(sampling=Sampling(**sampling), test_clips=clips))  # type: ignore[arg-type]


def test_what_the_windows_span() -> None:
    assert seen(100, 10, rate=2) == Seen(4, 100, pytest.approx(0.8), 10)  # frames 46 to 54
    assert seen(100, 10, clips=3, rate=2) == Seen(12, 100, pytest.approx(2.4), 10)
    assert seen(20, 10, clips=3, rate=3)[2:] == (pytest.approx(2.0), 2)  # 0 to 12, 4 to 16, 8 to 20
    assert seen(100, 10, method="segments") == Seen(4, 100, 10, 10)
    assert seen(100, 10, method="cover", rate=2)[2:] == (pytest.approx(9.6), 10)  # 12 windows of 8 frames
    assert seen(3, 10, rate=2) == Seen(2, 3, pytest.approx(0.3), pytest.approx(0.3))
    assert seen(100, None, rate=2) == Seen(4, 100, None, None)


def test_when_it_is_sparse() -> None:
    assert not seen(32, 10, rate=2).sparse  # four times the window
    assert seen(33, 10, rate=2).sparse
    assert not seen(200, 10, method="segments").sparse  # 20 s, five to a frame
    assert seen(201, 10, method="segments").sparse
    assert not seen(201, 10, method="cover", rate=10).sparse
    assert not seen(600, None, rate=2).sparse  # 150 to a frame
    assert seen(601, None, rate=2).sparse


def test_in_words_and_in_a_row(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", moving_bar(1, 0, 30), 10)
    with open_video(tmp_path / "a.mp4") as video:
        found = seen_of(video, SHAPE, Preprocessing(sampling=Sampling(rate=1)))
    assert str(found) == "4 of 30 frames, in 0.4 of 3.0 s"
    assert found.as_dict() == {"seconds": 3.0, "frames": 30, "seen_seconds": 0.4, "seen_frames": 4}
    assert Seen.from_dict(found.as_dict()) == pytest.approx(found)
    assert str(Seen(1, 9, None, None)) == "1 of 9 frames"


def test_in_words() -> None:
    assert str(Seen(4, 40, 0.8, 4.0)) == "4 of 40 frames, in 0.8 of 4.0 s"
    assert str(Seen(12, 37228, 1240.9, 1240.9)) == "12 of 37228 frames, one in 103 s"
    assert str(Seen(12, 37228, None, None)) == "12 of 37228 frames"
