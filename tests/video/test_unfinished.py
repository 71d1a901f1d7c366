"""Recordings of unknown length, written to a pipe or by a recorder that was killed, are as long as they are."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np
import pytest

from timesformer.errors import VideoError
from timesformer.video.length import promised_bytes
from timesformer.video.source import open_video
from videos import full_decode, number_in, write

CASES = Path(__file__).parents[1] / "data/cases"
CLOSED = {"preset": "veryfast", "crf": "12", "g": "12", "bf": "0"}

FILES = {
    "mpeg4.avi": ("avi", "mpeg4", {"g": "12"}),
    "h264.avi": ("avi", "libx264", CLOSED),
    "h264.flv": ("flv", "libx264", CLOSED),
    "h264.mkv": ("matroska", "libx264", CLOSED),
    "vp9.webm": ("webm", "libvpx-vp9", {"cpu-used": "8", "g": "12", "lag-in-frames": "0"}),
}


def write_to_pipe(path: Path) -> Path:
    """A file whose writer could not go back to write its length."""
    kind, codec, options = FILES[path.name]
    whole = write(path.with_name(f"whole-{path.name}"), 40, codec, options)
    with av.open(str(whole)) as old, path.open("wb") as file:
        pipe = type("Pipe", (), {"write": file.write})()
        with av.open(pipe, "w", format=kind) as new:
            stream = new.add_stream_from_template(old.streams.video[0])
            for packet in old.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    new.mux(packet)
    return path


def numbers(path: Path) -> list[int]:
    """The pictures that a file shows, read at once, and the same one after the other."""
    with open_video(path) as video:
        found = [number_in(image) for image in video.read(range(video.num_frames)).permute(1, 2, 3, 0).numpy()]
        streamed = [number_in(frame.image.permute(1, 2, 0).numpy()) for frame in video.frames()]
    assert found == streamed
    return found


def test_avi_of_unknown_length() -> None:
    """FFmpeg's own, through a pipe: its RIFF length is 0xFFFFFFFF, and it has no index."""
    path = CASES / "written_to_a_pipe.avi"
    every = full_decode(path)
    with open_video(path) as video:
        assert (video.num_frames, video.fps, len(every)) == (40, 25, 40)
        np.testing.assert_array_equal(video.read(range(40)).permute(1, 2, 3, 0), every)
        np.testing.assert_array_equal(video.read([33])[:, 0].permute(1, 2, 0), every[33])


@pytest.mark.parametrize("name", FILES)
def test_written_to_a_pipe(tmp_path: Path, name: str) -> None:
    path = write_to_pipe(tmp_path / name)
    assert promised_bytes(path.read_bytes()) is None
    assert numbers(path) == list(range(40))


@pytest.mark.parametrize("name", FILES)
def test_the_recorder_was_killed(tmp_path: Path, name: str) -> None:
    """The last frame is half there, or not there at all; all before it are."""
    path = write_to_pipe(tmp_path / name)
    whole = path.read_bytes()
    with av.open(str(path)) as container:
        starts = [packet.pos for packet in container.demux(video=0) if packet.size]
    for cut in ((starts[34] or 0) + 30, (starts[35] or 0) - 3):
        path.write_bytes(whole[:cut])
        assert numbers(path) in (list(range(34)), list(range(35)))


@pytest.mark.parametrize("length", [0, 0xFFFFFFFF])
def test_avi_with_a_placeholder_for_its_length(tmp_path: Path, length: int) -> None:
    """With its index, without it, and with half a frame at the end."""
    path = write(tmp_path / "a.avi", 40, "mpeg4", {"g": "12"})
    whole = path.read_bytes()
    whole = whole[:4] + length.to_bytes(4, "little") + whole[8:]
    index = whole.rindex(b"idx1")
    for content, count in ((whole, 40), (whole[:index], 40), (whole[: index - 9], 39)):
        path.write_bytes(content)
        assert numbers(path) == list(range(count))


@pytest.mark.parametrize("factor", [0.5, 1, 2])
def test_flv_whose_length_may_be_an_old_one(tmp_path: Path, factor: float) -> None:
    """Tools that write to the metadata leave the number as it is. Half a frame at the end is found by itself."""
    path = write(tmp_path / "a.flv", 40, options=CLOSED)
    whole = path.read_bytes()
    before, after = whole.split(struct.pack(">d", len(whole)))
    whole = before + struct.pack(">d", len(whole) * factor) + after
    path.write_bytes(whole)
    assert promised_bytes(whole) == 0
    assert numbers(path) == list(range(40))
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VideoError, match="truncated: the file ends before its last frame"):
        open_video(path)
