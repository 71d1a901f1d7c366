"""Windows in frames and seconds, against examples worked by hand."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timesformer.config import Sampling
from timesformer.errors import SettingError
from timesformer.video.sampling import testing_clips
from timesformer.video.source import open_video
from timesformer.video.windows import Window, span_length, testing_windows
from videos import write


def test_picture_of_the_module() -> None:
    windows = testing_windows(24, 4, Sampling(method="cover", rate=2), 8.0, seconds=lambda number: number / 8)
    assert windows == [
        Window(0, 8, 0, 8, 0.0, 1.0),
        Window(8, 8, 8, 16, 1.0, 2.0),
        Window(16, 8, 16, 24, 2.0, 3.0),
    ]


def test_spans_lie_evenly_and_may_begin_between_frames() -> None:
    """20 frames, spans of 8: 12 frames of room."""
    found = testing_windows(20, 2, Sampling(rate=4), None, clips=3)
    assert [(window.begin, window.first, window.stop) for window in found] == [(0, 0, 8), (6, 6, 14), (12, 12, 20)]
    assert {(window.start, window.end) for window in found} == {(None, None)}
    (middle,) = testing_windows(21, 2, Sampling(rate=4), None)
    assert (middle.begin, middle.length, middle.first, middle.stop) == (6.5, 8, 6, 14)
    (start,) = testing_windows(21, 2, Sampling(rate=4, single_clip="start"), None)
    assert (start.begin, start.first, start.stop) == (0, 0, 8)


def test_windows_past_the_end_of_a_short_video() -> None:
    (window,) = testing_windows(5, 4, Sampling(rate=4), 5.0, seconds=lambda number: number / 5)
    assert window == Window(0, 16, 0, 5, 0.0, 1.0)
    last = testing_windows(21, 4, Sampling(method="cover", rate=2), None)[-1]
    assert (last.begin, last.length, last.first, last.stop) == (16, 8, 16, 21)


def test_segments_are_spread_over_the_whole_video() -> None:
    windows = testing_windows(24, 4, Sampling(method="segments"), 8.0, 2, lambda number: number / 8)
    assert windows == [Window(0, 24, 0, 24, 0.0, 3.0)] * 2


def test_seconds_are_those_of_the_file(tmp_path: Path) -> None:
    """Frames 0.1 s apart, and after the tenth a second apart: 19 steps in 0.9 + 10 s."""
    times = [number if number < 10 else 9 + 10 * (number - 9) for number in range(20)]
    path = write(tmp_path / "uneven.mkv", 20, times=times, time_base=Fraction(1, 10))
    with open_video(path) as video:
        windows = testing_windows(20, 4, Sampling(method="cover", rate=2), video.fps, seconds=video.seconds)
    assert [(window.first, window.stop) for window in windows] == [(0, 8), (8, 16), (16, 20)]
    assert [window.start for window in windows] == pytest.approx([0, 0.8, 7.9])
    assert [window.end for window in windows] == pytest.approx([0.8, 7.9, 10.9 + 10.9 / 19])


def test_a_rate_at_a_frame_rate() -> None:
    assert span_length(8, Sampling(rate=32), 25) == 256
    assert span_length(8, Sampling(rate=32, fps=30), None) == 256
    assert span_length(8, Sampling(rate=32, fps=30), 60) == 512
    assert span_length(8, Sampling(rate=32, fps=30), 25) == pytest.approx(256 * 25 / 30)


def test_clips_that_cannot_be() -> None:
    with pytest.raises(SettingError, match="clips is 0; expected at least 1"):
        testing_windows(10, 4, Sampling(), None, clips=0)
    with pytest.raises(SettingError, match="clips is 3; sampling cover"):
        testing_windows(10, 4, Sampling(method="cover"), None, clips=3)


@given(
    frames=st.integers(1, 400),
    num_frames=st.integers(1, 40),
    rate=st.floats(0.5, 40),
    fps=st.sampled_from([None, 10.0, 23.976, 60.0]),
    method=st.sampled_from(["span", "segments", "cover"]),
    clips=st.integers(1, 5),
)
def test_a_clip_is_of_its_window_and_windows_of_cover_of_the_whole_video(
    frames: int, num_frames: int, rate: float, fps: float | None, method: str, clips: int
) -> None:
    sampling = Sampling(method=method, rate=rate, fps=30)
    clips = 1 if method == "cover" else clips
    windows = testing_windows(frames, num_frames, sampling, fps, clips)
    numbers = testing_clips(frames, num_frames, sampling, fps, clips)
    for window, clip in zip(windows, numbers, strict=True):
        assert 0 <= window.first <= clip[0] <= clip[-1] < window.stop <= frames
    if method == "cover":
        assert (windows[0].first, windows[-1].stop) == (0, frames)
        for before, after in pairwise(windows):
            assert after.first == before.stop or before.length < 1
