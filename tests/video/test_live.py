"""Live streams: on the same bytes the frames of a file, and what does not fit is dropped and counted."""

from __future__ import annotations

import io
import struct
import threading
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from live_streams import X264, assert_like_file, numbers, stream_fixture  # noqa: F401
from streams import PATIENT, piped, served
from timesformer.video.live import LiveVideo
from timesformer.video.live_input import Capture
from videos import picture, write

CASES = Path(__file__).parents[1] / "data/cases"

FILES: dict[str, tuple[str, dict[str, str], dict[str, Any]]] = {
    "a.ts": ("libx264", X264, {}),
    "a.mkv": ("libx264", X264, {"rate": 30}),
    "uneven.mkv": ("libx264", {**X264, "bf": "0"}, {"times": [40 * n + (n * n * 7) % 23 for n in range(40)]}),
    "a.webm": ("libvpx-vp9", {"cpu-used": "8", "lag-in-frames": "0", "g": "12"}, {}),
    "a.y4m": ("rawvideo", {}, {"container_format": "yuv4mpegpipe"}),
    "motion.mkv": ("mjpeg", {}, {"pixels": "yuvj420p"}),
    "elementary.h264": ("libx264", {**X264, "bf": "0"}, {}),
}


@pytest.mark.parametrize("name", FILES)
def test_on_the_same_bytes_the_frames_of_a_file(tmp_path: Path, name: str) -> None:
    """The same pixels and times, however small the queue is: a pipe waits."""
    codec, options, arguments = FILES[name]
    if "times" in arguments:
        arguments = {**arguments, "time_base": Fraction(1, 1000)}
    path = write(tmp_path / name, 40, codec, options, **arguments)
    with piped(path.read_bytes()) as pipe, LiveVideo(pipe, limits=PATIENT) as live:
        found = list(live.frames(24, queue=2))
        assert (live.dropped, live.damaged, live.resized, live.reconnections) == (0, 0, 0, 0)
        assert all(before.arrived <= after.arrived for before, after in pairwise(found))
        assert live.fps == pytest.approx(arguments.get("rate", 25), rel=0.05)
    assert len(found) == 40
    assert_like_file(found, path, 24)


def test_file_objects_and_raw_video() -> None:
    frames = np.stack([picture(number) for number in range(10)])
    with LiveVideo(io.BytesIO(frames.tobytes()), Capture((64, 48), 5, "rgb24")) as live:
        assert (live.name, live.fps) == ("<file object>", 5)
        found = list(live.frames())
    np.testing.assert_array_equal([frame.image.permute(1, 2, 0) for frame in found], frames)
    assert [frame.seconds for frame in found] == [number / 5 for number in range(10)]


def test_size_changes_are_resized_as_in_a_file() -> None:
    """20 frames of 64 x 48, then 20 of 96 x 72."""
    path = CASES / "size_changes.webm"
    with piped(path.read_bytes()) as pipe, LiveVideo(pipe, limits=PATIENT) as live:
        found = list(live.frames())
        assert live.resized == 20
    assert_like_file(found, path)


def test_a_header_that_lies_about_the_length(tmp_path: Path) -> None:
    content = write(tmp_path / "a.mkv", 40, options=X264).read_bytes()
    before, after = content.split(b"\x44\x89\x88" + struct.pack(">d", 1600))  # the element Duration, in milliseconds
    for seconds in (0.1, 86400):
        lying = before + b"\x44\x89\x88" + struct.pack(">d", 1000 * seconds) + after
        with piped(lying) as pipe, LiveVideo(pipe, limits=PATIENT) as live:
            assert numbers(list(live.frames())) == list(range(40))


def test_a_pipe_that_ends_in_mid_frame(stream: bytes) -> None:
    with piped(stream[: len(stream) * 3 // 5 + 77]) as pipe, LiveVideo(pipe, limits=PATIENT) as live:
        found = numbers(list(live.frames()))
    assert found == sorted(found)
    assert set(range(20)) < set(found) < set(range(30))


def test_two_recordings_in_one_pipe_follow_each_other(stream: bytes) -> None:
    """Time stamps begin anew with the second."""
    with piped(stream + stream) as pipe, LiveVideo(pipe, limits=PATIENT) as live:
        found = list(live.frames())
        assert live.damaged == 4  # where they meet MPEG-TS misses packets, and says so, until the next keyframe
    assert numbers(found) == [*range(36), *range(40)]
    assert [frame.seconds for frame in found] == pytest.approx([number / 25 for number in range(76)])


def test_joined_in_the_middle_it_begins_with_a_keyframe(stream: bytes) -> None:
    start = len(stream) // 3 // 188 * 188
    with LiveVideo(io.BytesIO(stream[:376] + stream[start:])) as live:  # the tables, and the rest
        found = list(live.frames())
    assert numbers(found) == list(range(numbers(found)[0], 40))
    assert numbers(found)[0] % 12 == 0
    assert found[0].seconds == 0


def test_frames_that_do_not_fit_are_dropped_and_counted(stream: bytes) -> None:
    """A network does not wait: what waits is dropped, all of it, when the queue of 8 is full."""
    all_read = threading.Event()
    with served(stream, lambda send: all_read.set()) as url, LiveVideo(url, limits=PATIENT) as live:
        frames = live.frames(queue=8)
        first = next(frames)
        assert all_read.wait(120)  # it is opened again only then
        live.close()
        found = [first, *frames]
    assert numbers(found) == [numbers(found)[0], *range(40 - len(found) + 1, 40)]
    assert 1 < len(found) <= 9
    assert live.dropped == 40 - len(found)
    assert [frame.seconds for frame in found[1:]] == [number / 25 for number in numbers(found[1:])]
