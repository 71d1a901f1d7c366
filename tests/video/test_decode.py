"""Exact frames by number: every codec and container against a full decode; only what is needed is decoded."""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from timesformer.errors import VideoError
from timesformer.video.convert import ClipWriter, scaled_size
from timesformer.video.decode import VideoFile
from timesformer.video.source import open_video
from videos import full_decode, number_in, picture, write

FRAMES = 40
X264 = {"crf": "12", "preset": "veryfast"}
X265 = {"x265-params": "log-level=none:keyint=12:bframes=3:pools=none:frame-threads=1"}
AV1 = {"preset": "12", "crf": "20", "svtav1-params": "keyint=16"}
VP9 = {"crf": "10", "b": "0", "cpu-used": "8", "auto-alt-ref": "1", "lag-in-frames": "12", "g": "16"}

# name of the file: codec, options of the encoder, other arguments of `write`
FILES: dict[str, tuple[str, dict[str, str], dict[str, Any]]] = {
    "b-frames.mp4": ("libx264", {**X264, "g": "12", "bf": "3"}, {}),
    "one-keyframe.mp4": ("libx264", {**X264, "g": "250", "bf": "3"}, {}),
    "keyframes-only.mp4": ("libx264", {**X264, "g": "1"}, {}),
    "open-gop.mp4": ("libx264", {**X264, "g": "10", "bf": "3", "x264-params": "open-gop=1"}, {}),
    "uneven-keyframes.mkv": ("libx264", {**X264, "g": "250", "bf": "2"}, {"keyframes": (3, 4, 19, 33)}),
    "transport.ts": ("libx264", {**X264, "g": "12", "bf": "3"}, {}),
    "elementary.h264": ("libx264", {**X264, "g": "12", "bf": "3"}, {}),
    "in-avi.avi": ("libx264", {**X264, "g": "12", "bf": "3"}, {}),
    "audio-first.mp4": ("libx264", {**X264, "g": "12"}, {"audio": 2.0}),
    "hevc.mp4": ("libx265", X265, {}),
    "hevc-open.mkv": ("libx265", {"x265-params": X265["x265-params"] + ":open-gop=1"}, {}),
    "vp9.webm": ("libvpx-vp9", VP9, {}),
    "av1.mp4": ("libsvtav1", AV1, {}),
    "mpeg4.mp4": ("mpeg4", {"g": "12", "bf": "2", "qscale": "2"}, {}),
    "mpeg4.avi": ("mpeg4", {"g": "12", "bf": "2", "qscale": "2"}, {}),
    "mjpeg.avi": ("mjpeg", {"qscale": "2"}, {"pixels": "yuvj420p"}),
    "odd-size.mkv": ("libx264", {**X264, "g": "12", "bf": "2"}, {"size": (37, 53), "pixels": "yuv444p"}),
    "variable-rate.mp4": (
        "libx264",
        {**X264, "g": "12", "bf": "2"},
        {"times": [n * 40 + (n * n * 7) % 23 for n in range(FRAMES)], "time_base": Fraction(1, 1000)},
    ),
    "late-start.mkv": (
        "libx264",
        {**X264, "g": "12", "bf": "2"},
        {"times": [5000 + n * 40 for n in range(FRAMES)], "time_base": Fraction(1, 1000)},
    ),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The path of one of FILES, written on first use."""
    folder = tmp_path_factory.mktemp("videos")

    def path_of(name: str) -> Path:
        codec, options, arguments = FILES[name]
        path = folder / name
        return path if path.exists() else write(path, FRAMES, codec, options, **arguments)

    return path_of


def images(path: Path, numbers: list[int], short_side: int | None = None) -> NDArray[np.uint8]:
    """The frames read, as (T, H, W, 3)."""
    with open_video(path) as video:
        return video.read(numbers, short_side).permute(1, 2, 3, 0).numpy()


@pytest.mark.parametrize("name", FILES)
def test_frames_by_number_are_those_of_a_full_decode(written: Callable[[str], Path], name: str) -> None:
    path = written(name)
    every = full_decode(path)
    assert [number_in(image) for image in every] == list(range(FRAMES))
    with open_video(path) as video:
        assert video.num_frames == FRAMES
    lists = [list(range(FRAMES)), [FRAMES - 1], [0], [20, 3, 20, 39, 3]]
    generator = random.Random(name)
    lists += [[generator.randrange(FRAMES) for _ in range(8)] for _ in range(8)]
    for numbers in lists:
        np.testing.assert_array_equal(images(path, numbers), [every[number] for number in numbers])


@pytest.mark.parametrize("name", ["b-frames.mp4", "odd-size.mkv", "vp9.webm"])
def test_frames_are_scaled_by_their_short_side(written: Callable[[str], Path], name: str) -> None:
    path = written(name)
    height, width = full_decode(path)[0].shape[:2]
    size = (24, 24 * width // height)
    scaled = full_decode(path, size)
    found = images(path, [5, 30], 24)
    assert found.shape[1:3] == size
    np.testing.assert_array_equal(found, [scaled[5], scaled[30]])


def test_scaled_size_rounds_the_long_side_down() -> None:
    assert scaled_size(240, 320, 224) == (224, 298)  # 298.67
    assert scaled_size(320, 240, 224) == (298, 224)
    assert scaled_size(100, 100, 7) == (7, 7)
    assert scaled_size(37, 53, None) == (37, 53)


@pytest.mark.parametrize(("rotation", "turns"), [(90, 1), (180, 2), (-90, 3)])
def test_rotation_is_applied(tmp_path: Path, rotation: int, turns: int) -> None:
    path = write(tmp_path / "turned.mp4", 6, options={**X264, "bf": "0"}, rotation=rotation)
    every = full_decode(path)
    expected = [np.rot90(every[number], turns) for number in (4, 1)]  # counter-clockwise, as FFmpeg counts
    np.testing.assert_array_equal(images(path, [4, 1]), expected)
    scaled = full_decode(path, (24, 32))
    np.testing.assert_array_equal(images(path, [2], 24), [np.rot90(scaled[2], turns)])


@pytest.mark.parametrize(
    ("matrix", "shown"),
    [
        ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
        ((1, 0, 0, -1), lambda image: image[::-1]),
        ((-1, 0, 0, -1), lambda image: image[::-1, ::-1]),
        ((0, 1, 1, 0), lambda image: image.swapaxes(0, 1)),
        ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
        ((0, -1, 1, 0), lambda image: np.rot90(image)),
        ((0, -1, -1, 0), lambda image: np.rot90(image.swapaxes(0, 1), 2)),
    ],
)
def test_mirrored_and_turned(
    tmp_path: Path, matrix: tuple[int, ...], shown: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
) -> None:
    """All that a display matrix can ask for; `ffmpeg -i turned.mp4 out_%d.png` (7:5.1) gave the same pixels."""
    path = write(tmp_path / "turned.mp4", 4, options={**X264, "bf": "0"})
    every = full_decode(path)
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 44  # of the matrix: nine 16.16 numbers
    for number, value in zip((0, 1, 3, 4), matrix, strict=True):
        data[place + 4 * number : place + 4 * number + 4] = (value << 16).to_bytes(4, "big", signed=True)
    path.write_bytes(data)
    np.testing.assert_array_equal(images(path, [3, 1]), [shown(every[3]), shown(every[1])])


def test_turned_by_half_a_right_angle(tmp_path: Path) -> None:
    path = write(tmp_path / "skew.mp4", 4, options={**X264, "bf": "0"}, rotation=45)
    with open_video(path) as video, pytest.raises(VideoError, match=r"skew\.mp4: rotated by -?45 degrees"):
        video.read([0])


def test_time_stamps_that_are_all_zero(tmp_path: Path) -> None:
    def forget(packet: av.Packet[Any]) -> None:
        packet.pts = packet.dts = 0

    path = write(tmp_path / "zeros.mp4", 20, options={**X264, "bf": "0", "g": "8"}, change=forget)
    every = full_decode(path)
    with open_video(path) as video:
        assert (video.num_frames, video.fps) == (20, 25.0)
    np.testing.assert_array_equal(images(path, [13, 2, 19]), [every[13], every[2], every[19]])


def test_frame_rate_is_of_the_frames(written: Callable[[str], Path], tmp_path: Path) -> None:
    with open_video(written("b-frames.mp4")) as video:
        assert video.fps == pytest.approx(25)
        assert video.codec == "h264"
    times = FILES["variable-rate.mp4"][2]["times"]
    with open_video(written("variable-rate.mp4")) as video:
        assert video.fps == pytest.approx(1000 * (FRAMES - 1) / (times[-1] - times[0]), rel=1e-3)


class Count:
    """Counts the frames that come out of the decoder, and those that are converted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.decoded = self.converted = 0
        decode, write_frame = VideoFile._decode, ClipWriter.write

        def counted(video: VideoFile, key: Any) -> Any:
            for item in decode(video, key):
                self.decoded += 1
                yield item

        def converted(writer: ClipWriter, number: int, frame: av.VideoFrame) -> None:
            self.converted += 1
            write_frame(writer, number, frame)

        monkeypatch.setattr(VideoFile, "_decode", counted)
        monkeypatch.setattr(ClipWriter, "write", converted)


def test_no_more_is_decoded_than_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "ten.mp4", 40, options={**X264, "g": "10", "sc_threshold": "0", "bf": "2"})
    count = Count(monkeypatch)
    with open_video(path) as video:
        assert count.decoded == 0  # opening reads packets alone
        video.read([12, 14])
        assert (count.decoded, count.converted) == (5, 2)  # 10 to 14
        video.read([3, 31, 3])
        assert (count.decoded, count.converted) == (5 + 4 + 2, 4)  # 0 to 3, then 30 and 31
        video.read([9, 10])
        assert (count.decoded, count.converted) == (11 + 11, 6)  # 0 to 10: no jump to the frame that comes next anyway


def test_numbers_out_of_range(written: Callable[[str], Path]) -> None:
    with open_video(written("b-frames.mp4")) as video:
        for numbers in ([40], [-1], []):
            with pytest.raises(IndexError, match="of a video of 40 frames"):
                video.read(numbers)


def test_a_clip_is_uint8_rgb_with_time_second(tmp_path: Path) -> None:
    path = write(tmp_path / "colours.mkv", 3, "ffv1", pixels="bgr0")
    with open_video(path) as video:
        clip = video.read([2, 0])
    assert clip.dtype == torch.uint8
    np.testing.assert_array_equal(clip.permute(1, 2, 3, 0).numpy(), [picture(2), picture(0)])
