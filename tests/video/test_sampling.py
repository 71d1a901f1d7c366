"""Frame numbers against examples worked by hand."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timesformer.config import Sampling
from timesformer.errors import SettingError
from timesformer.video.sampling import testing_clips, training_clip


def test_pictures_of_the_module() -> None:
    assert testing_clips(24, 4, Sampling(rate=4), None) == [[4, 9, 14, 19]]
    assert testing_clips(24, 4, Sampling(method="segments"), None) == [[3, 9, 14, 20]]
    cover = [[0, 2, 4, 7], [8, 10, 12, 15], [16, 18, 20, 23]]
    assert testing_clips(24, 4, Sampling(method="cover", rate=2), None) == cover


def test_the_released_codes_8x32() -> None:
    released = Sampling(rate=32, single_clip="start")
    assert testing_clips(300, 8, released, None) == [[0, 36, 72, 109, 145, 182, 218, 255]]
    # the middle: (300 - 256) / 2 = 22 frames later
    assert testing_clips(300, 8, Sampling(rate=32), None) == [[22, 58, 94, 131, 167, 204, 240, 277]]


def test_several_spans_lie_evenly_from_first_to_last_frame() -> None:
    assert testing_clips(20, 2, Sampling(rate=4), None, clips=3) == [[0, 7], [6, 13], [12, 19]]


def test_short_videos_repeat_their_last_frame() -> None:
    assert testing_clips(5, 4, Sampling(rate=4), None) == [[0, 4, 4, 4]]
    assert testing_clips(1, 3, Sampling(rate=8), None, clips=2) == [[0, 0, 0]] * 2
    assert testing_clips(2, 4, Sampling(method="segments"), None) == [[0, 0, 0, 1]]
    assert training_clip(3, 4, Sampling(rate=2), None, random.Random(0)) == [0, 2, 2, 2]


def test_segments_by_the_released_formula() -> None:
    # size (10 - 1) / 3 = 3: borders 0 3 6 9, centres (0 + 3) // 2, (3 + 6) // 2, (6 + 9) // 2
    assert testing_clips(10, 3, Sampling(method="segments"), None) == [[1, 4, 7]]
    drawn = {tuple(training_clip(10, 3, Sampling(method="segments"), None, random.Random(seed))) for seed in range(600)}
    assert {clip[0] for clip in drawn} == {0, 1, 2, 3}
    assert {clip[1] for clip in drawn} == {3, 4, 5, 6}
    assert {clip[2] for clip in drawn} == {6, 7, 8, 9}


def test_several_clips_of_segments_share_no_point() -> None:
    # a segment of 8 frames between its borders, two clips: at a quarter and at three quarters
    assert testing_clips(17, 2, Sampling(method="segments"), None, clips=2) == [[2, 10], [6, 14]]


def test_rate_counts_frames_at_a_frame_rate() -> None:
    at_30 = Sampling(rate=6, fps=30)
    # 5 x 6 = 30 frames at 30 fps are one second: 25 frames at 25 fps, 0 to 24 of 25
    assert testing_clips(25, 5, at_30, 25.0) == [[0, 6, 12, 18, 24]]
    assert testing_clips(60, 5, at_30, 60.0) == [[0, 14, 29, 44, 59]]
    assert testing_clips(30, 5, at_30, None) == [[0, 7, 14, 21, 29]]


def test_cover_reaches_the_last_frame_and_no_further() -> None:
    cover = Sampling(method="cover", rate=2)
    assert testing_clips(21, 4, cover, None) == [[0, 2, 4, 7], [6, 8, 11, 13], [13, 15, 17, 20]]
    assert testing_clips(19, 4, cover, None) == [[0, 2, 4, 7], [11, 13, 15, 18]]
    assert testing_clips(9, 4, cover, None) == [[0, 2, 5, 7]]
    assert testing_clips(5, 4, cover, None) == [[0, 2, 4, 4]]


def test_spans_shorter_than_a_frame_do_not_run_backwards() -> None:
    """2 frames at rate 1 of 30 a second, in a video of 10 a second: two thirds of a frame."""
    assert testing_clips(3, 2, Sampling(rate=1, fps=30), 10.0) == [[1, 1]]
    assert training_clip(9, 2, Sampling(rate=1, fps=30), 10.0, random.Random(1)) == [1, 1]


def test_clips_that_cannot_be() -> None:
    with pytest.raises(SettingError, match="clips is 0"):
        testing_clips(10, 4, Sampling(), None, clips=0)
    with pytest.raises(SettingError, match="clips is 3; sampling cover"):
        testing_clips(10, 4, Sampling(method="cover"), None, clips=3)


@given(
    frames=st.integers(1, 400),
    num_frames=st.integers(1, 40),
    rate=st.floats(0.5, 40),
    method=st.sampled_from(["span", "segments", "cover"]),
    seed=st.integers(0, 99),
)
def test_every_clip_is_whole_in_order_and_repeatable(
    frames: int, num_frames: int, rate: float, method: str, seed: int
) -> None:
    sampling = Sampling(method=method, rate=rate)
    clip = training_clip(frames, num_frames, sampling, None, random.Random(seed))
    assert clip == training_clip(frames, num_frames, sampling, None, random.Random(seed))
    for numbers in (clip, *testing_clips(frames, num_frames, sampling, None)):
        assert len(numbers) == num_frames
        assert numbers == sorted(numbers)
        assert numbers[0] >= 0
        assert numbers[-1] < frames


@given(frames=st.integers(1, 400), num_frames=st.integers(2, 16), rate=st.integers(1, 12))
def test_cover_is_as_many_spans_as_the_video_is_long_rounded(frames: int, num_frames: int, rate: int) -> None:
    clips = testing_clips(frames, num_frames, Sampling(method="cover", rate=rate), None)
    count = max(1, round(frames / (num_frames * rate)))
    assert clips == testing_clips(frames, num_frames, Sampling(rate=rate), None, count)
    if count > 1:
        assert (clips[0][0], clips[-1][-1]) == (0, frames - 1)


def test_training_spans_start_anywhere() -> None:
    starts = [training_clip(20, 4, Sampling(rate=4), None, random.Random(seed))[0] for seed in range(400)]
    assert set(starts) == {0, 1, 2, 3}  # a start of exactly 4 has no probability
    assert 1.3 < sum(starts) / 400 < 1.7


class Drawn(random.Random):
    """Draws the same end of every interval: 0 the lower, 1 the upper."""

    def __init__(self, end: int) -> None:
        super().__init__()
        self.end = end

    def uniform(self, a: float, b: float) -> float:
        return (a, b)[self.end]

    def randint(self, a: int, b: int) -> int:
        return (a, b)[self.end]


def test_a_span_grows_and_shrinks_by_its_factor() -> None:
    """4 frames at rate 8 span 32; half of that is 16, one and a half 48."""
    spans = Sampling(rate=8)
    assert training_clip(100, 4, spans, None, Drawn(0), (0.5, 1.5)) == [0, 5, 10, 15]
    assert training_clip(100, 4, spans, None, Drawn(1), (0.5, 1.5)) == [52, 67, 83, 99]  # 52 + 47 / 3 i
    assert training_clip(40, 4, spans, None, Drawn(1), (0.5, 1.5)) == [0, 15, 31, 39]  # longer than the video
    # at 10 frames a second for a rate of 20: half as many frames
    assert training_clip(100, 4, Sampling(rate=8, fps=20), 10, Drawn(0), (0.5, 0.5)) == [0, 2, 4, 7]


def test_segments_divide_a_fraction_of_the_video() -> None:
    """Half of 100 frames, from 0 or from 50: segments of 12.25."""
    segments = Sampling(method="segments")
    assert training_clip(100, 4, segments, None, Drawn(0), (0.5, 1.0)) == [0, 12, 24, 37]
    assert training_clip(100, 4, segments, None, Drawn(1), (0.5, 0.5)) == [62, 74, 87, 99]
    assert training_clip(100, 4, segments, None, Drawn(1), (0.5, 1.0)) == [25, 50, 74, 99]
    assert training_clip(1, 4, segments, None, Drawn(1), (0.1, 0.1)) == [0, 0, 0, 0]


@given(st.integers(1, 300), st.integers(1, 8), st.sampled_from(["span", "segments"]), st.integers(0, 10**6))
def test_scaled_clips_stay_in_the_video_and_in_order(frames: int, count: int, method: str, seed: int) -> None:
    sampling = Sampling(method=method, rate=4)
    scale = (0.3, 1.0) if method == "segments" else (0.3, 2.5)
    clip = training_clip(frames, count, sampling, None, random.Random(seed), scale)
    assert len(clip) == count
    assert clip == sorted(clip)
    assert 0 <= clip[0] <= clip[-1] < frames
