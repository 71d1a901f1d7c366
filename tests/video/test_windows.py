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
    windows = testing_windows(27, 4, Sampling(method="cover", rate=2), 9.0, seconds=lambda number: number / 9)
    assert windows == [
        Window(0, 8, 0, 8, 0.0, 8 / 9),
        Window(9.5, 8, 9, 17, 1.0, 17 / 9),
        Window(19, 8, 19, 27, 19 / 9, 3.0),
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
    assert window == Window(0, 16, 0, 5, 0.0, 1.0, padded=True)


@pytest.mark.parametrize(
    ("video_frames", "begins"),
    [
        (3, [0]),
        (256, [0]),
        (257, [0.5]),
        (383, [63.5]),
        (385, [0, 129]),
        (512, [0, 256]),
        (600, [0, 344]),
        (641, [0, 192.5, 385]),
    ],
)
def test_cover_takes_as_many_windows_as_the_video_is_long_rounded(video_frames: int, begins: list[float]) -> None:
    """8 x 32 frames; evenly from the first frame to the last, none past the end of a video longer than one."""
    cover = Sampling(method="cover", rate=32)
    assert [window.begin for window in testing_windows(video_frames, 8, cover, None)] == begins
    start = cover.model_copy(update={"single_clip": "start"})
    assert testing_windows(video_frames, 8, start, None)[0].begin == 0


def test_cover_takes_the_papers_48_clips() -> None:
    """A HowTo100M video of 410 s, clips of 8 frames at rate 1/32 (8.5 s), at 30 frames a second."""
    windows = testing_windows(410 * 30, 8, Sampling(method="cover", rate=32, fps=30), 30.0)
    assert len(windows) == 48
    assert (windows[0].begin, windows[-1].begin + windows[-1].length) == (0, 410 * 30)


def test_segments_are_spread_over_the_whole_video() -> None:
    windows = testing_windows(24, 4, Sampling(method="segments"), 8.0, 2, lambda number: number / 8)
    assert windows == [Window(0, 24, 0, 24, 0.0, 3.0)] * 2


def test_seconds_are_those_of_the_file(tmp_path: Path) -> None:
    """Frames 0.1 s apart, and after the tenth a second apart: 19 steps in 0.9 + 10 s."""
    times = [number if number < 10 else 9 + 10 * (number - 9) for number in range(20)]
    path = write(tmp_path / "uneven.mkv", 20, times=times, time_base=Fraction(1, 10))
    with open_video(path) as video:
        windows = testing_windows(20, 4, Sampling(method="cover", rate=2), video.fps, seconds=video.seconds)
    assert [(window.first, window.stop) for window in windows] == [(0, 8), (12, 20)]
    assert [window.start for window in windows] == pytest.approx([0, 3.9])
    assert [window.end for window in windows] == pytest.approx([0.8, 10.9 + 10.9 / 19])


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
def test_a_clip_is_of_its_window_and_windows_of_cover_end_with_the_video(
    frames: int, num_frames: int, rate: float, fps: float | None, method: str, clips: int
) -> None:
    sampling = Sampling(method=method, rate=rate, fps=30)
    clips = 1 if method == "cover" else clips
    windows = testing_windows(frames, num_frames, sampling, fps, clips)
    numbers = testing_clips(frames, num_frames, sampling, fps, clips)
    for window, clip in zip(windows, numbers, strict=True):
        assert 0 <= window.first <= clip[0] <= clip[-1] < window.stop <= frames
    if method == "cover":
        length = windows[0].length
        assert len(windows) == max(1, round(frames / length))
        assert all(window.begin + length <= frames + 1e-6 for window in windows) or frames < length
        if len(windows) > 1:
            assert windows[0].begin == 0
            assert windows[-1].begin + length == pytest.approx(frames)
        gaps = [after.begin - before.begin - length for before, after in pairwise(windows)]
        assert gaps == pytest.approx(gaps[:1] * len(gaps))
        assert all(abs(gap) <= length / 2 + 1e-6 for gap in gaps)
