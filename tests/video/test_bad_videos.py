"""Whatever cannot be read is a VideoError of one line that names the file; nothing wrong is ever returned."""

from __future__ import annotations

import os
from pathlib import Path

import av
import numpy as np
import pytest

from timesformer.errors import VideoError
from timesformer.video.source import open_video
from videos import full_decode, picture, write

X264 = {"crf": "12", "preset": "veryfast", "g": "12", "bf": "2"}


def refused(path: Path, because: str | None = None) -> None:
    """Opening the video, or reading its frames, fails with one line."""
    with pytest.raises(VideoError, match=because) as raised, open_video(path) as video:
        video.read(range(video.num_frames))
    message = str(raised.value)
    assert "\n" not in message
    assert message.startswith(str(path))


def test_files_that_are_no_videos(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    refused(tmp_path / "missing.mp4", "no such file")
    (tmp_path / "empty.mp4").touch()
    refused(tmp_path / "empty.mp4", "the file is empty")
    (tmp_path / "text.mp4").write_text("this is no video\n" * 100)
    refused(tmp_path / "text.mp4", "cannot be opened")
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(20000))
    refused(tmp_path / "noise.mp4")
    assert capfd.readouterr() == ("", "")


def test_audio_alone(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "song.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    refused(tmp_path / "song.mp4", "holds no video stream")


def test_a_file_with_no_frames(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "none.mkv"), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuvj420p"
        container.start_encoding()
    refused(tmp_path / "none.mkv")


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("name", ["end.mp4", "front.mp4", "cut.mkv"])
def test_truncated(tmp_path: Path, name: str, share: float) -> None:
    options = {"movflags": "faststart"} if name == "front.mp4" else {}
    path = write(tmp_path / name, 40, options=X264, container_options=options)
    os.truncate(path, int(path.stat().st_size * share))
    refused(path, "truncated|cannot be opened|damaged")


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_damage_is_never_a_wrong_frame(tmp_path: Path, name: str) -> None:
    """Bytes overwritten in the middle: a frame is either right to the bit or an error."""
    path = write(tmp_path / name, 40, options=X264)
    right = full_decode(path)
    whole = path.read_bytes()
    errors = 0
    for place in range(10):
        start = int(len(whole) * (0.2 + 0.06 * place))
        path.write_bytes(whole[:start] + bytes(60) + whole[start + 60 :])
        for number in (4, 18, 37):
            try:
                with open_video(path) as video:
                    if video.num_frames != 40:
                        continue
                    found = video.read([number])[:, 0].permute(1, 2, 0).numpy()
            except VideoError:
                errors += 1
            else:
                np.testing.assert_array_equal(found, right[number])
    assert errors > 0


def test_frames_in_a_folder(tmp_path: Path) -> None:
    for number in (2, 10, 1):
        image = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
        with av.open(str(tmp_path / f"frame_{number}.png"), "w", format="image2") as container:
            stream = container.add_stream("png", rate=1)
            stream.height, stream.width, stream.pix_fmt = 48, 64, "rgb24"
            container.mux(stream.encode(image))
            container.mux(stream.encode(None))
    (tmp_path / "notes.txt").touch()
    with open_video(tmp_path) as video:
        assert (video.num_frames, video.fps) == (3, None)
        found = video.read([2, 0, 1, 2]).permute(1, 2, 3, 0).numpy()
    np.testing.assert_array_equal(found, [picture(10), picture(1), picture(2), picture(10)])
    (tmp_path / "frame_2.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    with open_video(tmp_path) as video:
        video.read([0])
        with pytest.raises(VideoError, match=r"frame_2\.png: .*"):
            video.read([1])


def test_a_folder_without_frames(tmp_path: Path) -> None:
    refused(tmp_path, "the folder holds no image frames")
