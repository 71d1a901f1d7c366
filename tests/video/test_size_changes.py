"""Recordings whose picture changes its size, as WebRTC's do: all frames get the size of the first."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from timesformer.config import ClipShape, Preprocessing, Sampling
from timesformer.data.inspect import inspect_video
from timesformer.video.source import open_video
from timesformer.video.views import read_views
from videos import number_in, write

CASE = Path(__file__).parents[1] / "data/cases/size_changes.webm"
X264 = {"crf": "12", "preset": "veryfast", "g": "12", "bf": "2"}


def resized(path: Path, height: int, width: int) -> list[NDArray[np.uint8]]:
    """Every frame of a full decode, at one size."""
    with av.open(str(path)) as container:
        return [
            frame.reformat(width, height, "rgb24", interpolation=Interpolation.BILINEAR, threads=1).to_ndarray()
            for frame in container.decode(video=0)
        ]


def check(path: Path, count: int, size: tuple[int, int], short: tuple[int, int], changed: int) -> None:
    """By number, alone and together, and as a stream: the frames of a full decode, at the first one's size."""
    with open_video(path) as video:
        assert video.num_frames == count
        for short_side, (height, width) in ((None, size), (min(short), short)):
            right = resized(path, height, width)
            np.testing.assert_array_equal(video.read(range(count), short_side).permute(1, 2, 3, 0), right)
            streamed = [frame.image.permute(1, 2, 0) for frame in video.frames(short_side)]
            np.testing.assert_array_equal(streamed, right)
            assert video.resized == changed
            for number in (count - 1, 1, count - 9, 0):
                np.testing.assert_array_equal(video.read([number], short_side)[:, 0].permute(1, 2, 0), right[number])


def test_vp8_that_changes_its_size() -> None:
    """20 frames of 64 x 48, then 20 of 96 x 72."""
    check(CASE, 40, (48, 64), (24, 32), 20)
    facts = inspect_video(CASE)
    assert (facts.num_frames, facts.width, facts.height, facts.resized) == (40, 64, 48, 20)
    views = read_views(CASE, ClipShape(frames=8, side=24), Preprocessing(sampling=Sampling(rate=5), test_crops=1))
    right = resized(CASE, 24, 32)
    numbers = [int(39 * place / 7 + 1e-6) for place in range(8)]
    assert torch.equal(views[0].permute(1, 2, 3, 0), torch.tensor(np.stack(right)[numbers, :, 4:28]))


def join(path: Path, *parts: Path) -> Path:
    """The packets of several files, one file after the other, in one stream of another."""
    with av.open(str(parts[0])) as first, av.open(str(path), "w") as new:
        stream = new.add_stream_from_template(first.streams.video[0])
        start = Fraction(0)
        for part in parts:
            with av.open(str(part)) as old:
                base = old.streams.video[0].time_base
                assert base is not None
                packets = [packet for packet in old.demux(video=0) if packet.size]
                earliest = min(packet.dts for packet in packets if packet.dts is not None)
                for packet in packets:
                    assert packet.pts is not None
                    assert packet.dts is not None
                    packet.pts += int(start / base) - earliest
                    packet.dts += int(start / base) - earliest
                    packet.stream = stream
                    new.mux(packet)
            start += Fraction(12, 25)
    return path


OTHERS: dict[str, tuple[str, dict[str, Any], tuple[int, int]]] = {
    "larger.ts": ("libx264", X264, (96, 128)),
    "upright.ts": ("libx264", X264, (64, 48)),
    "narrower.webm": ("libvpx-vp9", {"g": "6", "cpu-used": "8", "lag-in-frames": "0"}, (48, 48)),
    "larger.mkv": ("mjpeg", {}, (96, 128)),
    "upright.avi": ("mpeg4", {"g": "6"}, (64, 48)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_whatever_the_second_size_is_it_becomes_the_first(tmp_path: Path, name: str) -> None:
    codec, options, size = OTHERS[name]
    path = tmp_path / name
    suffix = ".ts" if codec in ("libx264", "mpeg4") else path.suffix  # their headers are among the frames there
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    first = write(tmp_path / f"1{suffix}", 12, codec, options, pixels=pixels)
    second = write(tmp_path / f"2{suffix}", 12, codec, options, size=size, pixels=pixels)
    join(path, first, second)
    check(path, 24, (48, 64), (24, 32), 12)
    with open_video(path) as video:
        found = [number_in(frame.image.permute(1, 2, 0).numpy()) for frame in video.frames()]
    assert found == [*range(12), *range(12)]
