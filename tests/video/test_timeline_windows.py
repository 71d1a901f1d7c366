"""The windows of a timeline, against examples worked by hand; their views, against those of the same part."""

from __future__ import annotations

import random
import weakref
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch

from timesformer.config import ClipShape, Preprocessing, Sampling
from timesformer.errors import SettingError, VideoError
from timesformer.video.arrays import ArrayVideo
from timesformer.video.convert import Converter
from timesformer.video.part import Part, part_of
from timesformer.video.source import open_video
from timesformer.video.video import Frame
from timesformer.video.views import read_views, window_views
from timesformer.video.windows import Window, cut_windows, default_window, timeline_grid
from videos import write

X264 = {"crf": "12", "preset": "veryfast", "g": "12", "bf": "3"}
UNEVEN = [number * 40 + (number * number * 7) % 23 for number in range(40)]
GAP = [40 * number + (2500 if number >= 20 else 0) for number in range(40)]
REFRESH = {"preset": "veryfast", "x264-params": "keyint=10:min-keyint=10:scenecut=0:intra-refresh=1"}
MS = Fraction(1, 1000)
SHAPE = ClipShape(4, 24)


def stream(*seconds: float) -> Iterator[Frame]:
    return (Frame(time, torch.zeros(3, 1, 1, dtype=torch.uint8)) for time in seconds)


def cut(fps: int, count: int, length: float, stride: float, **how: Any) -> list[Window]:
    return [window for window, _ in cut_windows(stream(*(n / fps for n in range(count))), length, stride, **how)]


def limits(windows: list[Window]) -> list[tuple[float | None, float | None]]:
    return [(window.start, window.end) for window in windows]


def test_picture_of_the_module() -> None:
    """5 s at 4 frames a second."""
    assert cut(4, 20, 2, 1.25) == [
        Window(0, 8, 0, 8, 0.0, 2.0),
        Window(5, 8, 5, 13, 1.25, 3.25),
        Window(10, 8, 10, 18, 2.5, 4.5),
        Window(12, 8, 12, 20, 3.0, 5.0, last=True),
    ]


def test_a_grid_that_ends_with_the_video_has_no_window_off_it() -> None:
    assert limits(cut(4, 20, 2, 1.5)) == [(0, 2), (1.5, 3.5), (3, 5)]
    assert not any(window.last or window.padded for window in cut(4, 20, 2, 1.5))
    assert limits(cut(4, 20, 5, 1)) == [(0, 5)]
    assert cut(4, 20, 5, 1) == [Window(0, 20, 0, 20, 0.0, 5.0)]


def test_a_video_shorter_than_the_window_is_one_padded_window() -> None:
    assert cut(4, 20, 5.25, 1) == [Window(0, 20, 0, 20, 0.0, 5.0, padded=True)]
    assert cut(4, 1, 5, 1) == [Window(0, 1, 0, 1, 0.0, 2e-6, padded=True)]  # a stream says nothing of its length
    assert cut(4, 1, 5, 1, end=0.25) == [Window(0, 1, 0, 1, 0.0, 0.25, padded=True)]


def test_windows_may_lie_apart() -> None:
    assert limits(cut(4, 20, 1, 2)) == [(0, 1), (2, 3), (4, 5)]
    assert cut(4, 22, 1, 2)[-1] == Window(18, 4, 18, 22, 4.5, 5.5, last=True)


def test_a_frame_at_a_border_is_in_the_later_window() -> None:
    """30 frames a second; 0.1 x 3 is a little more than 0.3, where frame 9 appears."""
    windows = cut(30, 30, 0.2, 0.1)
    assert [(window.first, window.stop) for window in windows] == [(3 * k, 3 * k + 6) for k in range(9)]
    assert limits(windows)[3] == (0.3, 0.5)
    thirds = cut(3, 9, 1 / 3, 1 / 3)
    assert [(window.first, window.stop) for window in thirds] == [(k, k + 1) for k in range(9)]


def test_windows_of_a_part() -> None:
    """The grid begins where the part does, and the last window ends where it ends."""
    frames = (frame for frame in stream(*(n / 4 for n in range(4, 15))))
    windows = [window for window, _ in cut_windows(frames, 1, 0.5, begin=1.0, end=3.75, number=4)]
    assert limits(windows) == [(1, 2), (1.5, 2.5), (2, 3), (2.5, 3.5), (2.75, 3.75)]
    assert [(window.first, window.stop) for window in windows] == [(4, 8), (6, 10), (8, 12), (10, 14), (11, 15)]
    assert windows[-1].last


def test_windows_in_which_no_frame_appears_are_skipped() -> None:
    windows = [window for window, _ in cut_windows(stream(0, 0.5, 1, 7, 7.5), 1, 1, end=8)]
    assert limits(windows) == [(0, 1), (1, 2), (7, 8)]


def test_windows_come_as_soon_as_they_are_known_and_frames_are_let_go() -> None:
    alive: list[Any] = []
    given = 0

    def frames() -> Iterator[Frame]:
        nonlocal given
        for number in range(200):
            image = torch.zeros(3, 1, 1, dtype=torch.uint8)
            alive.append(weakref.ref(image))
            given = number
            yield Frame(number / 10, image)

    for window, inside in cut_windows(frames(), 2, 0.5):
        assert given == min(window.stop, 199)
        del inside
        assert sum(reference() is not None for reference in alive) <= 22


def test_the_grid_and_its_defaults() -> None:
    span, cover = Preprocessing(sampling=Sampling(rate=8)), Preprocessing(sampling=Sampling(method="cover", rate=8))
    assert timeline_grid(None, None, SHAPE, span, 25) == (1.28, 0.64)
    assert timeline_grid(2, None, SHAPE, cover, None) == (2, 1)
    assert timeline_grid(1.0000001, None, SHAPE, cover, None) == (
        1,
        0.5,
    )  # of whole microseconds
    assert default_window(SHAPE, Preprocessing(sampling=Sampling(rate=8, fps=16)), 50) == 2
    for window, stride, because in (
        (0.0, None, "window is 0; expected seconds, at least 1e-06"),
        (9e-7, None, "window is 9e-07; expected"),
        (1.0, 0.0, "stride is 0; expected"),
        (1.0, -1.0, "stride is -1; expected"),
        (float("inf"), 1.0, "window is inf; expected"),
        (float("nan"), 1.0, "window is nan; expected"),
    ):
        with pytest.raises(SettingError, match=because):
            timeline_grid(window, stride, SHAPE, span, 25)
    with pytest.raises(SettingError, match="the frame rate of the video is unknown"):
        timeline_grid(None, None, SHAPE, span, None)
    with pytest.raises(SettingError, match=r"do not say how long their training videos were; .*--window"):
        timeline_grid(None, None, SHAPE, Preprocessing(sampling=Sampling(method="segments")), 25)


FILES: dict[str, tuple[str, dict[str, str], dict[str, Any]]] = {
    "b-frames.mp4": ("libx264", X264, {}),
    "late-start.mkv": ("libx264", X264, {"times": [5000 + 40 * n for n in range(40)], "time_base": MS}),
    "uneven.mp4": ("libx264", X264, {"times": UNEVEN, "time_base": MS}),
    "gap.mkv": ("libx264", X264, {"times": GAP, "time_base": MS}),
    "refreshed.mp4": ("libx264", REFRESH, {}),
    "in-avi.avi": ("libx264", {**X264, "x264-params": "open-gop=1"}, {}),
    "transport.ts": ("libx264", X264, {}),
}


@pytest.mark.parametrize("method", ["span", "segments", "cover"])
@pytest.mark.parametrize("name", FILES)
def test_views_are_those_of_the_same_part(
    tmp_path: Path, name: str, method: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each frame is converted once, whatever the overlap, and window k alone gives the same as all."""
    codec, options, arguments = FILES[name]
    path = write(tmp_path / name, 40, codec, options, **arguments)
    preprocessing = Preprocessing(sampling=Sampling(method=method, rate=2), test_crops=3)
    converted: list[int] = []
    convert = Converter.__call__

    def counted(self: Converter, number: int, frame: Any) -> torch.Tensor:
        converted.append(number)
        return convert(self, number, frame)

    with monkeypatch.context() as patch:
        patch.setattr(Converter, "__call__", counted)
        found = list(window_views(path, SHAPE, preprocessing, window=0.5, stride=0.13))
    assert converted == list(range(40))
    for window, views in found:
        with part_of(open_video(path), window.start, window.end) as part:
            assert torch.equal(views, read_views(part, SHAPE, preprocessing))
            assert isinstance(part, Part)
            assert part.num_frames == window.stop - window.first
    after = list(window_views(path, SHAPE, preprocessing, window=0.5, stride=0.13, skip=3))
    expected = [(window, views) for window, views in found if window.start is not None and window.start >= 0.39]
    assert [window for window, _ in after] == [window for window, _ in expected]
    assert all(torch.equal(one, other) for (_, one), (_, other) in zip(after, expected, strict=True))


def test_windows_beyond_the_end_are_none_and_the_last_one_has_all_its_frames() -> None:
    """5 s: windows at 0, 1.25, 2.5, and the last one from 3 s on."""
    video = ArrayVideo(torch.randint(0, 256, (3, 20, 24, 24), dtype=torch.uint8), 4.0)
    preprocessing = Preprocessing(sampling=Sampling(method="segments"), test_crops=1)
    how: dict[str, Any] = {"window": 2, "stride": 1.25}
    found = list(window_views(video, SHAPE, preprocessing, **how))
    for skip in range(4):
        after = list(window_views(video, SHAPE, preprocessing, **how, skip=skip))
        assert [window for window, _ in after] == [window for window, _ in found[skip:]]
        assert all(torch.equal(one, other) for (_, one), (_, other) in zip(after, found[skip:], strict=True))
    for skip in (4, 5, 1000):
        assert not list(window_views(video, SHAPE, preprocessing, **how, skip=skip))
    assert not list(window_views(video, SHAPE, preprocessing, window=9, skip=1))


def test_times_are_those_of_the_decoder(tmp_path: Path) -> None:
    path = write(tmp_path / "uneven.mp4", 40, options=X264, times=UNEVEN, time_base=MS)
    preprocessing = Preprocessing(sampling=Sampling(rate=2), test_crops=1)
    for window, _ in window_views(path, SHAPE, preprocessing, window=0.5, stride=0.1):
        assert window.start is not None
        assert window.end is not None
        times = [time / 1000 for time in UNEVEN]
        inside = [n for n, time in enumerate(times) if window.start - 1e-6 <= time < window.end - 1e-6]
        assert list(range(window.first, window.stop)) == inside


def test_a_part_of_a_timeline_decodes_little_else(tmp_path: Path) -> None:
    path = write(tmp_path / "long.mp4", 40, options=X264)
    preprocessing = Preprocessing(sampling=Sampling(rate=2), test_crops=1)
    found = list(window_views(path, SHAPE, preprocessing, window=0.32, stride=0.16, start=0.8, end=1.3))
    assert [window.start for window, _ in found] == [0.8, 0.96, 0.98]
    assert found[-1][0].last
    for window, views in found:
        with part_of(open_video(path), window.start, window.end) as part:
            assert torch.equal(views, read_views(part, SHAPE, preprocessing))


def test_frames_of_a_part_are_those_read_by_number(tmp_path: Path) -> None:
    generator = random.Random(0)
    for name in ("b-frames.mp4", "refreshed.mp4", "uneven.mp4"):
        codec, options, arguments = FILES[name]
        path = write(tmp_path / name, 40, codec, options, **arguments)
        with open_video(path) as video:
            for _ in range(8):
                first = generator.randrange(40)
                stop = generator.randint(first + 1, 40)
                part = Part(video, first, stop)
                streamed = list(part.frames(24))
                images = torch.stack([frame.image for frame in streamed], dim=1)
                assert torch.equal(images, video.read(range(first, stop), 24))
                assert torch.equal(images, part.read(range(part.num_frames), 24))
                assert streamed[0].seconds == 0
                with pytest.raises(IndexError):
                    part.read([part.num_frames])
                with pytest.raises(IndexError):
                    next(part.frames(first=part.num_frames))


def test_parts_of_a_video_that_changes_its_size() -> None:
    """20 frames of 64 x 48, then 20 of 96 x 72: all parts get the size of the video's first frame."""
    path = Path(__file__).parents[1] / "data/cases/size_changes.webm"
    preprocessing = Preprocessing(sampling=Sampling(rate=2), test_crops=1)
    with open_video(path) as video:
        length = video.seconds(40)
    assert length is not None
    found = list(window_views(path, SHAPE, preprocessing, window=length / 4, start=length / 2 + 0.01))
    assert len(found) > 1
    for window, views in found:
        with part_of(open_video(path), window.start, window.end) as part:
            assert torch.equal(views, read_views(part, SHAPE, preprocessing))


def test_parts_that_cannot_be() -> None:
    video = ArrayVideo(torch.zeros(3, 20, 4, 4, dtype=torch.uint8), 10.0)
    assert part_of(video, None, None) is video
    assert part_of(video, None, 2.0).num_frames == part_of(video, 0.0, None).num_frames == 20
    settings = (
        (-1.0, None, "start is -1; expected seconds after the first frame"),
        (float("nan"), None, "start is nan; expected"),
        (1.0, 1.0, "end is 1; expected seconds after the start, which is 1"),
        (None, 0.0, "end is 0; expected seconds after the start, which is 0"),
    )
    for start, end, because in settings:
        with pytest.raises(SettingError, match=because):
            part_of(video, start, end)
    for start, end, because in (
        (2.0, None, "start is 2 s; the video ends after 2 s"),
        (0.0, 2.5, "end is 2.5 s; the video ends after 2 s"),
        (1.21, 1.29, "no frame appears from 1.21 s to 1.29 s"),
    ):
        with pytest.raises(VideoError, match=because):
            part_of(video, start, end)
    unknown = ArrayVideo(torch.zeros(3, 20, 4, 4, dtype=torch.uint8))
    with pytest.raises(VideoError, match="its frame rate is unknown, so it has no windows and no parts"):
        part_of(unknown, 1.0, None)
    with pytest.raises(VideoError, match="its frame rate is unknown, so it has no windows and no parts"):
        next(window_views(unknown, SHAPE, Preprocessing(), window=1.0))
