"""Whatever cannot be read is a VideoError of one line that names the file; nothing known to be wrong is returned."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from timesformer.errors import VideoError
from timesformer.video.source import open_video
from timesformer.video.video import Frame
from videos import full_decode, picture, write

X264 = {"crf": "12", "preset": "veryfast", "g": "12", "bf": "2"}


@pytest.fixture(autouse=True)
def _nothing_printed_nothing_left_open(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """FFmpeg prints nothing of its own, and files that are refused are closed."""
    before = len(os.listdir("/dev/fd"))
    yield
    assert capfd.readouterr() == ("", "")
    assert len(os.listdir("/dev/fd")) <= before


def refused(path: Path, because: str | None = None) -> None:
    """Opening the video, or reading its frames, fails with one line."""
    with pytest.raises(VideoError, match=because) as raised, open_video(path) as video:
        video.read(range(video.num_frames))
    message = str(raised.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")


def test_files_that_are_no_videos(tmp_path: Path) -> None:
    refused(tmp_path / "missing.mp4", "no such file")
    (tmp_path / "empty.mp4").touch()
    refused(tmp_path / "empty.mp4", "the file is empty")
    (tmp_path / "text.mp4").write_text("this is no video\n" * 100)
    refused(tmp_path / "text.mp4", "cannot be opened")
    for suffix in ("mp4", "avi", "mpg", "h264"):
        (tmp_path / f"noise.{suffix}").write_bytes(np.random.default_rng(0).bytes(20000))
        refused(tmp_path / f"noise.{suffix}")
    refused(tmp_path / ("long" * 100), "cannot be read: File name too long")


@pytest.mark.parametrize("cover", [False, True])
def test_audio_alone(tmp_path: Path, cover: bool) -> None:
    path = tmp_path / "song.mp3"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libmp3lame", rate=44100)
        if cover:
            art = container.add_stream("png", rate=1)
            art.height, art.width, art.pix_fmt = 48, 64, "rgb24"
            art.disposition = av.stream.Disposition.attached_pic
            container.mux(art.encode(av.VideoFrame.from_ndarray(picture(0), format="rgb24")))
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1152), np.float32), format="fltp", layout="stereo")
        frame.sample_rate = 44100
        for _ in range(20):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    refused(path, "holds no video stream$")


def test_unknown_codec(tmp_path: Path) -> None:
    path = write(tmp_path / "codec.mp4", 5, options=X264)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    refused(path, "holds no video stream of a known codec")


@pytest.mark.parametrize("name", ["none.mkv", "none.mp4", "none.avi"])
def test_a_file_with_no_frames(tmp_path: Path, name: str) -> None:
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuvj420p"
        container.start_encoding()
    refused(tmp_path / name, "holds no frames|cannot be opened|holds no video stream")


FILES: dict[str, tuple[str, dict[str, str], dict[str, Any]]] = {
    "end.mp4": ("libx264", X264, {}),
    "front.mp4": ("libx264", X264, {"container_options": {"movflags": "faststart"}}),
    "audio.mkv": ("libx264", X264, {"audio": 3.0}),
    "vp9.webm": ("libvpx-vp9", {"cpu-used": "8", "g": "12"}, {}),
    "mpeg4.avi": ("mpeg4", {"g": "12"}, {}),
}


@pytest.mark.parametrize("fraction", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("name", FILES)
def test_truncated(tmp_path: Path, name: str, fraction: float) -> None:
    """A header that promises more than is there is an error when the file is opened, never a shorter video."""
    codec, options, arguments = FILES[name]
    path = write(tmp_path / name, 40, codec, options, **arguments)
    with open_video(path) as video:
        assert video.num_frames == 40
    os.truncate(path, int(path.stat().st_size * fraction))
    with pytest.raises(VideoError, match=r"truncated: the file ends before its last frame|cannot be opened") as raised:
        open_video(path)
    assert str(raised.value).startswith(f"{path}: ")


@pytest.mark.parametrize("name", ["front.mp4", "audio.mkv", "vp9.webm", "mpeg4.avi"])
def test_only_the_last_bytes_are_missing(tmp_path: Path, name: str) -> None:
    codec, options, arguments = FILES[name]
    path = write(tmp_path / name, 40, codec, options, **arguments)
    os.truncate(path, path.stat().st_size - 9)
    refused(path, "truncated: the file ends before its last frame")


def test_whole_frames_are_missing(tmp_path: Path) -> None:
    path = write(tmp_path / "front.mp4", 40, options=X264, container_options={"movflags": "faststart"})
    with av.open(str(path)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    assert places[-5] is not None
    os.truncate(path, places[-5])
    refused(path, "truncated: the file ends before its last frame")


def test_no_frame_can_be_decoded(tmp_path: Path) -> None:
    path = write(tmp_path / "no_start.h264", 10, options={**X264, "bf": "0"})
    path.write_bytes(path.read_bytes().replace(b"\0\0\1\x65", b"\0\0\1\x78"))  # the keyframe's slice
    refused(path, "none of its frames can be decoded")


def test_unfinished_recordings_are_as_long_as_they_are(tmp_path: Path) -> None:
    """A Matroska file written to a pipe, and a transport stream, promise no length."""
    with (tmp_path / "live.mkv").open("wb") as file:
        pipe = type("Pipe", (), {"write": file.write})()
        with av.open(pipe, "w", format="matroska") as container:
            stream = container.add_stream("mjpeg", rate=10)
            stream.height, stream.width, stream.pix_fmt = 48, 64, "yuvj420p"
            for number in range(10):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number), format="rgb24")))
            container.mux(stream.encode(None))
    with open_video(tmp_path / "live.mkv") as video:
        assert video.num_frames == 10


def overwrite_frame(path: Path, place: int) -> None:
    """Zeros in the middle of a packet, so that the decoder notices."""
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][place]
    assert packet.pos is not None
    with path.open("r+b") as file:
        file.seek(packet.pos + packet.size // 2 - 10)
        file.write(bytes(24))


NOTICED = {
    "h264.mp4": ("libx264", {**X264, "bf": "3", "x264-params": "cabac=0:scenecut=0"}),
    "h264.mkv": ("libx264", {**X264, "bf": "3", "x264-params": "cabac=0:scenecut=0"}),
    "h264-counted.avi": ("libx264", {**X264, "bf": "3", "x264-params": "cabac=0:scenecut=0"}),
    "mpeg4.mp4": ("mpeg4", {"g": "12", "bf": "2", "qscale": "2"}),
    "mpeg4-counted.avi": ("mpeg4", {"g": "12", "bf": "2", "qscale": "2"}),
    "av1.mp4": ("libsvtav1", {"g": "12", "preset": "12", "svtav1-params": "lp=1"}),
}


@pytest.mark.parametrize("name", NOTICED)
@pytest.mark.parametrize("place", [13, 17, 19])
def test_damage_that_the_decoder_notices_is_never_a_frame(tmp_path: Path, name: str, place: int) -> None:
    """A frame is right to the bit or an error: errors up to the next keyframe, nothing beyond it."""
    path = write(tmp_path / name, 36, *NOTICED[name], size=(96, 128))
    right = full_decode(path)
    overwrite_frame(path, place)
    with open_video(path) as video:
        assert video.num_frames == 36
        failed = []
        for number in range(36):
            try:
                found = video.read([number])[:, 0].permute(1, 2, 0)
            except VideoError as error:
                assert str(error) == f"{path}: damaged: frame {number} of 36 cannot be decoded"  # noqa: PT017
                failed.append(number)
            else:
                np.testing.assert_array_equal(found, right[number])
        assert failed
        assert set(failed) <= set(range(11, 24)), "the group of frames from 12 to 23, and one shown just before"
        with pytest.raises(VideoError, match=r"damaged: one of the frames 0 to 23 of 36 cannot be decoded"):
            video.read(range(24))


@pytest.mark.parametrize("place", [13, 19, 29])
@pytest.mark.parametrize("name", NOTICED)
def test_a_stream_ends_at_damage_and_what_it_gave_is_right(tmp_path: Path, name: str, place: int) -> None:
    path = write(tmp_path / name, 36, *NOTICED[name], size=(96, 128))
    right = full_decode(path)
    overwrite_frame(path, place)
    given: list[Frame] = []
    with open_video(path) as video, pytest.raises(VideoError, match=r"damaged: frame \d+ of 36 cannot be decoded"):
        given.extend(video.frames())
    assert 0 < len(given) < 36 if place == 29 else len(given) < 24
    for number, frame in enumerate(given):
        np.testing.assert_array_equal(frame.image.permute(1, 2, 0), right[number])


def test_lost_packet_of_a_transport_stream(tmp_path: Path) -> None:
    """HEVC's decoder does not notice, but the stream counts its packets."""
    options = {"x265-params": "log-level=none:keyint=12:bframes=3:pools=none:frame-threads=1:crf=8"}
    path = write(tmp_path / "lost.ts", 36, "libx265", options, size=(96, 128))
    right = full_decode(path)
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][14]
    assert packet.pos is not None
    whole = path.read_bytes()
    first = whole[packet.pos : packet.pos + 188]
    # The next packet of the same stream (bytes 1 and 2 name it) that is not the start of a frame.
    lost = next(
        place
        for place in range(packet.pos + 188, len(whole), 188)
        if whole[place + 1] == first[1] & ~0x40 and whole[place + 2] == first[2]
    )
    path.write_bytes(whole[:lost] + whole[lost + 188 :])
    failed = 0
    with open_video(path) as video:
        assert video.num_frames == 36
        for number in range(36):
            try:
                found = video.read([number])[:, 0].permute(1, 2, 0)
            except VideoError:
                failed += 1
            else:
                np.testing.assert_array_equal(found, right[number])
    assert 0 < failed < 14
