"""What the packets of a file say of its frames, against what a decoder shows."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from timesformer.errors import VideoError
from timesformer.video.index import FILE_START, Keyframe, PacketIndex, index_packets
from videos import write

X264 = {"preset": "veryfast", "x264-params": "keyint=10:min-keyint=10:scenecut=0:bframes=3"}


def index_of(path: Path) -> PacketIndex:
    with av.open(str(path)) as container:
        container.flags &= ~1
        return index_packets(path, path, container, container.streams.video[0])


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.flv"])
def test_stamps_and_keyframes_are_those_of_a_decoder(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, 40, options=X264)
    with av.open(str(path)) as container:
        frames = [(frame.pts, frame.key_frame) for frame in container.decode(video=0)]
        time_base = container.streams.video[0].time_base
    index = index_of(path)
    assert (index.num_frames, index.time_base) == (40, time_base)
    assert list(index.stamps) == [pts for pts, _ in frames]
    keys = [(number, pts) for number, (pts, key) in enumerate(frames) if key]
    assert [(key.number, key.pts) for key in index.keys] == keys
    assert [number for number, _ in keys] == [0, 10, 20, 30]
    assert index.fps == pytest.approx(25, rel=1e-3)


def test_nothing_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.mkv", 40, options=X264)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        index = index_packets(path, path, container, stream)
        assert index.num_frames == 40
        assert stream.codec_context.decode(None) == []  # no packet went into the decoder


def test_only_decoding_counts_frames_without_stamps(tmp_path: Path) -> None:
    index = index_of(write(tmp_path / "a.avi", 20, options=X264))
    assert (index.num_frames, index.fps, list(index.stamps), index.keys) == (None, 25, [], (FILE_START,))
    assert [index.seconds(number) for number in (0, 5, 20)] == pytest.approx([0, 0.2, 0.8])


def test_where_stamps_repeat_frames_last_what_their_packets_say(tmp_path: Path) -> None:
    def forget(packet: av.Packet[Any]) -> None:
        packet.pts = packet.dts = 0

    index = index_of(write(tmp_path / "a.mp4", 20, options={"bf": "0"}, change=forget))
    assert (index.num_frames, index.fps, list(index.stamps), index.keys) == (20, 25.0, [], (FILE_START,))
    assert index.seconds(3) == pytest.approx(3 / 25)


def test_stamps_that_run_back_are_of_no_use(tmp_path: Path) -> None:
    late: dict[str, Any] = {"times": range(100, 120), "time_base": Fraction(1, 25)}
    parts = [write(tmp_path / "1.ts", 20, options=X264, **late), write(tmp_path / "2.ts", 20, options=X264)]
    whole = tmp_path / "whole.ts"
    whole.write_bytes(b"".join(part.read_bytes() for part in parts))
    index = index_of(whole)
    assert (index.num_frames, list(index.stamps), index.keys) == (40, [], (FILE_START,))


def test_the_keyframe_before_a_frame() -> None:
    keys = (Keyframe(0, 0, None), Keyframe(5, 50, None), Keyframe(9, 90, None))
    index = PacketIndex(12, 10.0, range(0, 120, 10), keys, Fraction(1, 100))
    assert [index.key_before(number) for number in (0, 4, 5, 8, 9, 11)] == [0, 0, 1, 1, 2, 2]
    assert [index.seconds(number) for number in (0, 3, 12)] == pytest.approx([0, 0.3, 1.2])
    later = index.since(25)
    assert (later.num_frames, later.stamps[0], later.fps) == (9, 30, pytest.approx(10))
    assert [key.number for key in later.keys] == [0, 2, 6]
    assert later.seconds(0) == 0


@pytest.mark.parametrize("name", ["front.mp4", "a.mkv", "a.webm", "a.avi"])
def test_truncated(tmp_path: Path, name: str) -> None:
    codec = "libvpx-vp9" if name == "a.webm" else "libx264"
    options = {} if codec == "libvpx-vp9" else X264
    path = write(tmp_path / name, 40, codec, options, container_options={"movflags": "faststart"})
    index_of(path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(VideoError, match="truncated: the file ends before its last frame"):
        index_of(path)
