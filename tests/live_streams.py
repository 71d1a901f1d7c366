"""Numbered live streams, and what comes of them, for the tests of `timesformer.video.live`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from streams import Clock
from timesformer.errors import VideoError
from timesformer.video.live import LiveFrame, LiveVideo
from timesformer.video.source import open_video
from videos import number_in, write

X264 = {"crf": "12", "preset": "veryfast", "g": "12", "bf": "2"}


@pytest.fixture(name="clock")
def clock_fixture(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture(scope="module", name="stream")
def stream_fixture(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """MPEG-TS of 40 frames, 25 a second, numbered, a keyframe every 12."""
    return write(tmp_path_factory.mktemp("live") / "a.ts", 40, options=X264).read_bytes()


@pytest.fixture(scope="module", name="long_stream")
def long_stream_fixture(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The same of 120 frames: FFmpeg reads 20 and more before it calls a stream open."""
    return write(tmp_path_factory.mktemp("live") / "a.ts", 120, options=X264).read_bytes()


def numbers(frames: list[LiveFrame]) -> list[int]:
    return [number_in(frame.image.permute(1, 2, 0).numpy()) for frame in frames]


def until_error(live: LiveVideo) -> tuple[list[LiveFrame], str]:
    """The frames that come before an error, and what it says."""
    found: list[LiveFrame] = []
    with pytest.raises(VideoError) as raised:
        found.extend(live.frames(queue=100))
    return found, str(raised.value)


def assert_like_file(found: list[LiveFrame], path: Path, short_side: int | None = None) -> None:
    with open_video(path) as video:
        right = list(video.frames(short_side))
    assert [frame.seconds for frame in found] == [frame.seconds for frame in right]
    assert torch.equal(torch.stack([frame.image for frame in found]), torch.stack([frame.image for frame in right]))
