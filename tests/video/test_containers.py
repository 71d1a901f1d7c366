"""What containers do to time stamps, keyframes and names; still every frame is the one that a player shows."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from timesformer.video.decode import VideoFile
from timesformer.video.source import open_video
from videos import full_decode, number_in, write

CLOSED = {"preset": "veryfast", "x264-params": "keyint=10:min-keyint=10:scenecut=0:bframes=3"}
OPEN = {"preset": "veryfast", "x264-params": CLOSED["x264-params"] + ":open-gop=1"}
HEVC = {
    "preset": "ultrafast",
    "x265-params": "log-level=none:keyint=10:min-keyint=10:bframes=3:open-gop=1:scenecut=0:pools=none:frame-threads=1",
}
RADL = {**HEVC, "x265-params": HEVC["x265-params"].replace("open-gop=1", "open-gop=0:radl=2")}
Change = Callable[["av.Packet[Any]", int], None]


def copy(source: Path, to: Path, *, first: int = 0, change: Change | None = None, **options: str) -> Path:
    """The packets of a file in another one, from packet `first` on, each changed by `change(packet, place)`."""
    with av.open(str(source)) as old, av.open(str(to), "w", options=options) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        packets = [packet for packet in old.demux(video=0) if packet.size]
        for place, packet in enumerate(packets[first:]):
            packet.stream = stream
            if change is not None:
                change(packet, place)
            new.mux(packet)
    return to


def packets_of(path: Path) -> list[av.Packet[Any]]:
    with av.open(str(path)) as container:
        return [packet for packet in container.demux(video=0) if packet.size]


def check(path: Path, pictures: range) -> None:
    """The file shows these pictures; each frame, read alone and out of order, is that of a full decode."""
    every = full_decode(path)
    assert [number_in(image) for image in every] == list(pictures)
    with open_video(path) as video:
        assert video.num_frames == len(pictures)
        for number in (*range(len(pictures) - 1, -1, -3), *range(len(pictures))):
            np.testing.assert_array_equal(video.read([number])[:, 0].permute(1, 2, 0), every[number], str(number))


@pytest.mark.parametrize("shown_from", [4, 13, 25])
@pytest.mark.parametrize(("codec", "options"), [("libx264", CLOSED), ("libx264", OPEN), ("libx265", HEVC)])
def test_edit_list_that_starts_between_keyframes(
    tmp_path: Path, codec: str, options: dict[str, str], shown_from: int
) -> None:
    def earlier(packet: av.Packet[Any], place: int) -> None:
        assert packet.pts is not None
        assert packet.dts is not None
        packet.pts -= shown_from * 512
        packet.dts -= shown_from * 512

    whole = write(tmp_path / "whole.mp4", 40, codec, options)
    edited = copy(whole, tmp_path / "edited.mp4", change=earlier, avoid_negative_ts="disabled", use_editlist="1")
    check(edited, range(shown_from, 40))


@pytest.mark.parametrize("name", ["cut.mp4", "cut.mkv", "cut.flv"])
@pytest.mark.parametrize(("codec", "options"), [("libx264", OPEN), ("libx265", HEVC)])
def test_file_that_starts_with_an_open_group(tmp_path: Path, codec: str, options: dict[str, str], name: str) -> None:
    """Its first packets are of frames that rest on what was cut off: no player shows them."""
    whole = write(tmp_path / "whole.mp4", 40, codec, options)
    keyframe = [place for place, packet in enumerate(packets_of(whole)) if packet.is_keyframe][1]
    check(copy(whole, tmp_path / name, first=keyframe), range(10, 40))


@pytest.mark.parametrize(
    ("codec", "options", "first"),
    [("libx264", OPEN, 10), ("libx265", HEVC, 10), ("mpeg2video", {"g": "10", "bf": "2"}, 12)],
)
def test_transport_stream_recorded_from_the_middle(
    tmp_path: Path, codec: str, options: dict[str, str], first: int
) -> None:
    whole = write(tmp_path / "whole.ts", 40, codec, options)
    check(whole, range(40))
    place = packets_of(whole)[4].pos
    assert place is not None
    (tmp_path / "part.ts").write_bytes(whole.read_bytes()[place:])
    check(tmp_path / "part.ts", range(first, 40))


@pytest.mark.parametrize("first", [0, 10])
def test_frames_before_a_keyframe_that_rest_on_it_alone(tmp_path: Path, first: int) -> None:
    """HEVC's RADL frames: shown before the keyframe, decoded after it, also where the file starts with it."""
    whole = write(tmp_path / "whole.mp4", 40, "libx265", RADL)
    packets = packets_of(whole)
    start = max(place for place, packet in enumerate(packets) if packet.is_keyframe and place <= first)
    pts = packets[start].pts
    assert pts is not None
    shown_first = min(packet.pts for packet in packets[start:] if packet.pts is not None) // 512
    assert shown_first == 0 if first == 0 else shown_first < pts // 512
    check(copy(whole, tmp_path / "part.mkv", first=start), range(shown_first, 40))


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", OPEN),
        ("a.mkv", "libx264", OPEN),
        ("a.flv", "libx264", OPEN),
        ("a.ts", "libx264", OPEN),
        ("b.ts", "mpeg2video", {"g": "10", "bf": "2"}),
        ("b.mp4", "libx265", RADL),
        ("c.avi", "mpeg4", {"g": "10"}),
    ],
)
def test_one_seek_is_enough(
    tmp_path: Path, name: str, codec: str, options: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is not opened again, and decoding starts once, at the keyframe before."""
    path = write(tmp_path / name, 40, codec, options)
    starts: list[int] = []
    decode = VideoFile._decode
    with open_video(path) as video:
        assert isinstance(video, VideoFile)
        monkeypatch.setattr(VideoFile, "_open", None)
        monkeypatch.setattr(VideoFile, "_decode", lambda self, key: starts.append(key.number) or decode(self, key))
        numbers = (24, 5, 39, 21, 12, 0)
        for number in numbers:
            video.read([number])
        keys = [key.number for key in video._index.keys]
    assert keys[0] == 0
    assert len(keys) >= 4
    assert starts == [max(key for key in keys if key <= number) for number in numbers]


def test_h264_in_avi(tmp_path: Path) -> None:
    """AVI has no time of showing, and FFmpeg's guesses are wrong for B-frames that build on B-frames."""
    check(write(tmp_path / "a.avi", 40, options=OPEN), range(40))


def test_joined_transport_streams(tmp_path: Path) -> None:
    """Time stamps start again: frames are counted. FFmpeg marks those at the seam as doubtful: an error, then."""
    part = write(tmp_path / "part.ts", 20, options=CLOSED)
    whole = tmp_path / "whole.ts"
    whole.write_bytes(part.read_bytes() * 2)
    every = full_decode(whole)
    assert [number_in(image) for image in every] == [*range(20), *range(20)]
    numbers = [25, 3, 39, 0]
    with open_video(whole) as video:
        assert (video.num_frames, video.fps) == (40, 25.0)
        np.testing.assert_array_equal(video.read(numbers).permute(1, 2, 3, 0), [every[number] for number in numbers])


def test_time_stamps_that_run_back(tmp_path: Path) -> None:
    late = {"times": range(100, 120), "time_base": Fraction(1, 25)}
    parts = [write(tmp_path / "1.ts", 20, options=CLOSED, **late), write(tmp_path / "2.ts", 20, options=CLOSED)]
    whole = tmp_path / "whole.ts"
    whole.write_bytes(b"".join(part.read_bytes() for part in parts))
    every = full_decode(whole)
    with open_video(whole) as video:
        assert video.num_frames == 40
        for number in (3, 25, 39):
            np.testing.assert_array_equal(video.read([number])[:, 0].permute(1, 2, 0), every[number])


def test_picture_refreshed_bit_by_bit(tmp_path: Path) -> None:
    """The decoder shows nothing between such a keyframe and the end of its refresh: decoding starts earlier."""
    options = {"preset": "veryfast", "x264-params": "keyint=10:min-keyint=10:scenecut=0:intra-refresh=1"}
    check(write(tmp_path / "refresh.mp4", 40, options=options), range(40))


@pytest.mark.parametrize("name", ["forgotten.mp4", "forgotten.mkv"])
def test_time_stamps_that_forget_b_frames(tmp_path: Path, name: str) -> None:
    def in_order_of_the_file(packet: av.Packet[Any], place: int) -> None:
        packet.pts = packet.dts = place * 512

    whole = write(tmp_path / "whole.mp4", 40, options=CLOSED)
    check(copy(whole, tmp_path / name, change=in_order_of_the_file), range(40))


@pytest.mark.parametrize(
    ("codec", "options", "pixels"),
    [("mpeg4", {"g": "10"}, "yuv420p"), ("mpeg4", {"g": "10", "bf": "2"}, "yuv420p"), ("mjpeg", {}, "yuvj420p")],
)
def test_avi_with_gaps(tmp_path: Path, codec: str, options: dict[str, str], pixels: str) -> None:
    """AVI counts frames that only repeat the one before; they are neither frames here nor missing."""
    times = [number + 5 * (number >= 10) + 3 * (number >= 20) for number in range(30)]
    path = tmp_path / "gaps.avi"
    check(write(path, 30, codec, options, times=times, time_base=Fraction(1, 25), pixels=pixels), range(30))


def test_fragmented_mp4(tmp_path: Path) -> None:
    options = {"movflags": "frag_keyframe+empty_moov"}
    check(write(tmp_path / "fragments.mp4", 40, options=CLOSED, container_options=options), range(40))


def test_frames_that_are_never_shown() -> None:
    """VP8 has packets for them. PyAV cannot write VP8; 16 frames and a hidden one, written by

    ffmpeg -f lavfi -i testsrc=s=16x16:r=10:d=1.6 -c:v libvpx -auto-alt-ref 1 -lag-in-frames 16 -arnr-maxframes 7
    -g 24 -b:v 8k -deadline good -cpu-used 5 -pass (1, 2) hidden_frame.webm
    """
    path = Path(__file__).with_name("hidden_frame.webm")
    assert len(packets_of(path)) == 17
    every = full_decode(path)
    with open_video(path) as video:
        assert (video.num_frames, video.fps, video.codec) == (16, pytest.approx(10), "vp8")
        for number in (9, 0, 15, 1, 2):
            np.testing.assert_array_equal(video.read([number])[:, 0].permute(1, 2, 0), every[number])


def test_frames_packed_two_by_two() -> None:
    """What DivX and Xvid do in AVI, where the time stamps that FFmpeg makes up are wrong. PyAV has no such encoder:

    20 pictures of 16 x 32, 10 a second | ffmpeg -i ... -c:v libxvid -bf 2 -g 6 -q:v 2 packed_frames.avi
    """
    path = Path(__file__).with_name("packed_frames.avi")
    every = full_decode(path)
    assert [number_in(image) for image in every] == [*range(17), 18]  # the encoder dropped two at the end
    with open_video(path) as video:
        assert (video.num_frames, video.fps, video.codec) == (18, 10, "mpeg4")
        for number in range(17, -1, -1):
            np.testing.assert_array_equal(video.read([number])[:, 0].permute(1, 2, 0), every[number])


def test_names_that_look_like_addresses_or_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("12:30.mp4", "http:a.mp4", "50%d %03d.mp4", "späť ☃.mp4"):
        write(tmp_path / name, 3)
        with open_video(name) as video:
            assert video.num_frames == 3


def test_title_that_is_not_utf8(tmp_path: Path) -> None:
    path = write(tmp_path / "title.mkv", 3, metadata={"title": "CAFE CAFE"})
    every = full_decode(path)
    path.write_bytes(path.read_bytes().replace(b"CAFE CAFE", b"caf\xe9 caf\xe9"))
    with open_video(path) as video:
        np.testing.assert_array_equal(video.read([0, 1, 2]).permute(1, 2, 3, 0), every)


@pytest.mark.parametrize(
    ("codec", "name"),
    [
        ("libx264", "h264"),
        ("libx265", "hevc"),
        ("libvpx-vp9", "vp9"),
        ("libsvtav1", "av1"),
        ("mpeg4", "mpeg4"),
    ],
)
def test_codec_is_named_as_the_world_names_it(tmp_path: Path, codec: str, name: str) -> None:
    options = {"libx265": {"x265-params": "log-level=none"}}.get(codec)
    with open_video(write(tmp_path / "a.mkv", 3, codec, options)) as video:
        assert video.codec == name
