"""Frames as a stream: the frames that reading by number gives, each once, with the times that the file says."""

from __future__ import annotations

import gc
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from timesformer.video.convert import Converter
from timesformer.video.source import open_video
from videos import full_decode, number_in, write, write_image

X264 = {"crf": "12", "preset": "veryfast", "g": "12", "bf": "3"}
UNEVEN = [number * 40 + (number * number * 7) % 23 for number in range(40)]

# name of the file: codec, options of the encoder, other arguments of `write`
FILES: dict[str, tuple[str, dict[str, str], dict[str, Any]]] = {
    "b-frames.mp4": ("libx264", X264, {}),
    "late-start.mkv": ("libx264", X264, {"times": [5000 + 40 * n for n in range(40)], "time_base": Fraction(1, 1000)}),
    "uneven.mp4": ("libx264", X264, {"times": UNEVEN, "time_base": Fraction(1, 1000)}),
    "vp9.webm": ("libvpx-vp9", {"cpu-used": "8", "auto-alt-ref": "1", "lag-in-frames": "12", "g": "16"}, {}),
    "transport.ts": ("libx264", X264, {}),
    "one-keyframe.mp4": ("libx264", {**X264, "g": "250"}, {}),
    "refreshed.mp4": (
        "libx264",
        {"preset": "veryfast", "x264-params": "keyint=10:min-keyint=10:scenecut=0:intra-refresh=1"},
        {},
    ),
}


def stamps_of(path: Path) -> list[float]:
    """Time stamps that the decoder gives, in seconds after the first."""
    with av.open(str(path)) as container:
        times = [frame.pts * frame.time_base for frame in container.decode(video=0)]  # type: ignore[operator]
    return [float(time - times[0]) for time in times]


@pytest.mark.parametrize("short_side", [None, 24])
@pytest.mark.parametrize("name", FILES)
def test_frames_are_those_read_by_number_with_their_time_stamps(
    tmp_path: Path, name: str, short_side: int | None
) -> None:
    codec, options, arguments = FILES[name]
    path = write(tmp_path / name, 40, codec, options, **arguments)
    with open_video(path) as video:
        found = list(video.frames(short_side))
        assert torch.equal(torch.stack([image for _, image in found], dim=1), video.read(range(40), short_side))
        seconds = [seconds for seconds, _ in found]
        assert seconds == pytest.approx(stamps_of(path), abs=1e-9)
        assert seconds == [video.seconds(number) for number in range(40)]
        assert seconds[0] == 0
        assert all(before < after for before, after in pairwise(seconds))  # type: ignore[operator]
        assert video.fps is not None
        assert video.seconds(40) == pytest.approx(seconds[-1] + 1 / video.fps)
    assert all((image.dtype, image.is_contiguous()) == (torch.uint8, True) for _, image in found)


def test_without_time_stamps_frames_come_evenly(tmp_path: Path) -> None:
    """FFmpeg gives frames of h264 in AVI none."""
    path = write(tmp_path / "in-avi.avi", 40, options={**X264, "x264-params": "open-gop=1"})
    with open_video(path) as video:
        found = list(video.frames())
        assert torch.equal(torch.stack([image for _, image in found], dim=1), video.read(range(40)))
        assert [seconds for seconds, _ in found] == pytest.approx([number / 25 for number in range(40)])
        assert video.seconds(40) == pytest.approx(40 / 25)


def test_where_all_time_stamps_are_zero_frames_come_evenly(tmp_path: Path) -> None:
    """As long as their packets say that they last: many clips that were cut by old tools are such files."""

    def forget(packet: av.Packet[Any]) -> None:
        packet.pts = packet.dts = 0

    path = write(tmp_path / "zeros.mp4", 20, options={"bf": "0", "g": "8"}, change=forget)
    with open_video(path) as video:
        found = list(video.frames(24))
        assert torch.equal(torch.stack([image for _, image in found], dim=1), video.read(range(20), 24))
        assert video.fps == 25
    assert [seconds for seconds, _ in found] == pytest.approx([number / 25 for number in range(20)])


def test_without_a_frame_rate_times_are_unknown(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for number in range(3):
        write_image(tmp_path / "images" / f"{number}.png", number)
    with open_video(tmp_path / "images") as video:
        found = list(video.frames(24))
        assert torch.equal(torch.stack([image for _, image in found], dim=1), video.read(range(3), 24))
    assert [seconds for seconds, _ in found] == [None] * 3


def test_rotation_is_applied(tmp_path: Path) -> None:
    path = write(tmp_path / "turned.mp4", 6, options={"bf": "0"}, rotation=90)
    every = full_decode(path)
    with open_video(path) as video:
        for image, frame in zip(every, video.frames(), strict=True):
            np.testing.assert_array_equal(frame.image.permute(1, 2, 0), np.rot90(image))


def test_frames_are_converted_as_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And none is kept: however long the video is, one image is alive."""
    path = write(tmp_path / "long.mp4", 200, options=X264)
    converted: list[int] = []
    convert = Converter.__call__

    def noted(self: Converter, number: int, frame: av.VideoFrame) -> torch.Tensor:
        converted.append(number)
        return convert(self, number, frame)

    def alive() -> int:
        gc.collect()
        return sum(type(item) is torch.Tensor and item.shape == (3, 48, 64) for item in gc.get_objects())

    monkeypatch.setattr(Converter, "__call__", noted)
    others = alive()  # of threads that earlier tests have left, say
    with open_video(path) as video:
        stream = video.frames()
        assert converted == []
        for number, frame in enumerate(stream):
            assert converted == list(range(number + 1))
            if number % 40 == 39:
                assert frame.image.shape == (3, 48, 64)
                frame = None
                assert alive() <= others + 1
        assert number == 199


def test_a_stream_can_be_left_and_begun_anew(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", 40, options=X264)
    with open_video(path) as video:
        for _ in range(2):
            stream = video.frames()
            assert [number_in(next(stream).image.permute(1, 2, 0).numpy()) for _ in range(20)] == list(range(20))
        assert number_in(video.read([33])[:, 0].permute(1, 2, 0).numpy()) == 33
        with pytest.raises(RuntimeError, match=r"a\.mp4: read by two at a time; open the video twice"):
            list(stream)
        assert len(list(video.frames())) == 40
