"""Live streams: on the same bytes the frames of a file; stalls, cuts, ends and changes as the docs say."""

from __future__ import annotations

import errno
import io
import os
import re
import socket
import struct
import threading
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from ports import kept_port
from rtsp_server import rtsp_served
from streams import PATIENT, Clock, Send, piped, served
from timesformer.errors import SettingError, VideoError
from timesformer.video.live import LiveFrame, LiveVideo
from timesformer.video.live_input import Capture, LiveInput, live_kind
from timesformer.video.source import open_video
from videos import number_in, picture, write

X264 = {"crf": "12", "preset": "veryfast", "g": "12", "bf": "2"}
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


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """MPEG-TS of 40 frames, 25 a second, numbered, a keyframe every 12."""
    return write(tmp_path_factory.mktemp("live") / "a.ts", 40, options=X264).read_bytes()


@pytest.fixture(scope="module")
def long_stream(tmp_path_factory: pytest.TempPathFactory) -> bytes:
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


def test_a_cut_in_mid_frame_is_connected_again(stream: bytes, clock: Clock) -> None:
    """Frames of the second connection follow those of the first after the time that passed."""
    cut = stream[: len(stream) * 3 // 5 + 77]
    with served(cut, stream, over=clock.skip) as url, LiveVideo(url, limits=PATIENT) as live:
        found, problem = until_error(live)
    assert re.search(r"/live: lost: .*404.*; it did not come back within 120 seconds", problem)
    assert live.reconnections == 1
    seen = numbers(found)
    join = seen.index(0, 1)
    assert set(range(20)) < set(seen[:join]) < set(range(30))
    assert seen[join:] == list(range(40))
    zero = min(frame.arrived - frame.seconds for frame in found[:join])
    assert found[join].seconds == pytest.approx(max(found[join].arrived - zero, found[join - 1].seconds + 1 / 25))
    assert [frame.seconds - found[join].seconds for frame in found[join:]] == pytest.approx(
        [number / 25 for number in range(40)]
    )


def test_another_size_after_a_reconnection(tmp_path: Path, stream: bytes) -> None:
    larger = write(tmp_path / "larger.ts", 40, options=X264, size=(96, 128)).read_bytes()
    with served(stream, larger) as url, LiveVideo(url, limits=PATIENT) as live:
        frames = live.frames(queue=100)
        found = [next(frames) for _ in range(80)]
    assert live.resized == 40
    assert numbers(found) == [*range(40), *range(40)]
    assert {frame.image.shape for frame in found} == {(3, 48, 64)}


def test_a_short_stall_is_waited_for(long_stream: bytes) -> None:
    """The queue takes all that comes, however slowly a busy machine takes it out."""
    go_on, all_read = threading.Event(), threading.Event()

    def halting(send: Send) -> None:
        send(long_stream[: len(long_stream) // 2])
        assert go_on.wait(120)
        send(long_stream[len(long_stream) // 2 :])

    with served(halting, over=all_read.set) as url, LiveVideo(url, limits=PATIENT) as live:
        frames = live.frames(queue=200)
        found = [next(frames) for _ in range(30)]
        go_on.set()
        assert all_read.wait(120)
        found += [next(frames) for _ in range(70)]
        assert live.dropped == 0
    assert numbers(found) == list(range(100))
    assert [frame.seconds for frame in found] == [number / 25 for number in range(100)]


def test_a_long_stall_is_connected_again(long_stream: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first connection may stall for a second, the next one as long as a busy machine takes."""
    again = threading.Event()
    stalls, opened = iter((1.0, PATIENT.stall)), LiveInput.open
    monkeypatch.setattr(LiveInput, "open", lambda self, start, stall: opened(self, start, next(stalls)))

    def hanging(send: Send) -> None:
        send(long_stream[: len(long_stream) // 2])
        again.wait(120)

    def playing(send: Send) -> None:
        again.set()
        send(long_stream)

    with served(hanging, playing) as url, LiveVideo(url, limits=PATIENT) as live:
        found = []
        for frame in live.frames(queue=200):
            found.append(frame)
            if live.reconnections and numbers([frame]) == [90]:
                break
    seen = numbers(found)
    join = seen.index(0, 1)
    assert seen[join:] == list(range(91))
    assert found[join].seconds - found[join - 1].seconds > 0.5


@pytest.mark.parametrize("case", ["url", "pipe", "empty pipe", "no video", "refused", "gone", "half a frame"])
def test_what_never_starts_is_one_error(
    case: str, tmp_path: Path, stream: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = PATIENT._replace(start=0.3) if case in ("url", "pipe") else PATIENT  # what says nothing, and what does
    if case == "url":
        monkeypatch.setattr("timesformer.video.live.SLACK", 120.0)  # FFmpeg gives it up
    leave = threading.Event()
    with (
        served(lambda send: leave.wait(120)) as silent,
        served() as gone,
        piped(b"", keep_open=True) as pipe,
        piped(b"") as empty,
        piped(b"no video at all" * 100) as text,
        piped(stream[:1500]) as half,
        kept_port() as port,
    ):
        source, reason = {
            "url": (silent, "cannot be opened as a live stream: no video within 0.3 seconds"),
            "pipe": (pipe, "no video within 0.3 seconds"),
            "empty pipe": (empty, "cannot be opened as a live stream: .*; expected MPEG-TS, Matroska, or raw video"),
            "no video": (text, "cannot be opened as a live stream: Invalid data"),
            "refused": (f"http://127.0.0.1:{port}/", "cannot be opened as a live stream: Connection refused"),
            "gone": (gone, "cannot be opened as a live stream: .*404"),
            "half a frame": (half, "ended before its first whole frame"),
        }[case]
        with pytest.raises(VideoError, match=reason), LiveVideo(source, limits=limits) as live:
            list(live.frames())
        leave.set()


def test_a_stream_can_be_closed_while_it_waits(stream: bytes) -> None:
    with piped(stream, keep_open=True) as pipe, LiveVideo(pipe, limits=PATIENT) as live:
        frames = live.frames(queue=1)
        assert numbers([next(frames)]) == [0]
    live._reader.join(120)
    assert not live._reader.is_alive()
    assert len(list(frames)) <= 1


def test_a_pipe_that_cannot_be_closed_ends_all_the_same(stream: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    close = LiveInput.close

    def fail(self: LiveInput) -> None:
        close(self)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(LiveInput, "close", fail)
    found: list[LiveFrame] = []
    raised: list[BaseException] = []

    def read(pipe: str) -> None:
        try:
            with LiveVideo(pipe, limits=PATIENT) as live:
                found.extend(live.frames())
        except VideoError as problem:
            raised.append(problem)

    with piped(stream) as pipe:
        reader = threading.Thread(target=read, args=(pipe,), daemon=True)
        reader.start()
        reader.join(120)
        assert not reader.is_alive()
    assert numbers(found) == list(range(40))
    assert "cannot be closed: Input/output error" in str(raised[0])


def test_rtsp(stream: bytes) -> None:
    """Over TCP, where no packet is lost; opened again when it ends."""
    with rtsp_served(stream, plays=2) as (url, asked), LiveVideo(url, limits=PATIENT) as live:
        frames = live.frames(queue=1000)
        found = [next(frames) for _ in range(76)]
        assert live.reconnections == 1
        live.close()
    assert all("TCP" in transport for method, transport in asked if method == "SETUP")
    seen = numbers(found)
    assert seen[:38] == list(range(38))  # the last two are where the connection ends
    assert seen[seen.index(0, 1) :] == list(range(76 - seen.index(0, 1)))


def test_udp(stream: bytes) -> None:
    """Sent again and again; time stamps that begin anew go on."""
    enough = threading.Event()

    def send(port: int) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            while True:
                for start in range(0, len(stream), 1316):
                    if enough.wait(0.002):
                        return
                    out.sendto(stream[start : start + 1316], ("127.0.0.1", port))

    with kept_port(socket.SOCK_DGRAM) as port:
        sender = threading.Thread(target=send, args=(port,))
        sender.start()
        try:
            with LiveVideo(f"udp://127.0.0.1:{port}?reuse=1", limits=PATIENT) as live:
                assert not live.waits
                frames = live.frames(queue=1000)
                found = [next(frames) for _ in range(60)]
        finally:
            enough.set()
            sender.join()
    assert set(numbers(found)) <= set(range(40))
    assert all(before.seconds < after.seconds for before, after in pairwise(found))
    assert live.reconnections == 0


def test_cameras_are_opened_by_v4l2(monkeypatch: pytest.MonkeyPatch) -> None:
    """No camera is here: FFmpeg's test picture takes its place."""
    asked: list[tuple[Any, Any, Any]] = []
    real = av.open

    def stand_in(file: Any, *, format: Any, options: Any, **others: Any) -> Any:  # noqa: A002
        asked.append((file, format, options))
        return real("testsrc=size=64x48:rate=25:duration=1", format="lavfi", **others)

    monkeypatch.setattr(av, "open", stand_in)
    for source, capture in ((1, Capture()), ("1", Capture((640, 480), 30)), (Path("/dev/video1"), Capture())):
        with LiveVideo(source, capture) as live:
            assert (live.name, live.fps, live.waits) == ("/dev/video1", 25, False)
            found, problem = until_error(live)
        assert problem == "/dev/video1: lost: it ended"
        assert [frame.seconds for frame in found] == pytest.approx([number / 25 for number in range(25)])
    plain = ("/dev/video1", "v4l2", {})
    assert asked == [plain, ("/dev/video1", "v4l2", {"video_size": "640x480", "framerate": "30"}), plain]


def test_a_camera_that_is_not_there() -> None:
    with pytest.raises(VideoError, match=r"/dev/video97: cannot be opened as a camera: No such file.*; there are "):
        LiveVideo(97)


def test_what_is_live(tmp_path: Path, stream: bytes) -> None:
    """HTTP is a file where the server says how long it is."""
    path = write(tmp_path / "a.mkv", 10, options=X264)
    (tmp_path / "7").write_bytes(b"")
    kinds = {0: "camera", "7": "camera", "/dev/video3": "camera", Path("/dev/null"): "camera", "-": "pipe"}
    kinds |= {"/dev/fd/63": "pipe", "/dev/stdin": "pipe", str(path): None, path: None, str(tmp_path / "7"): None}
    kinds |= {f"{scheme}://camera/1": "url" for scheme in ("rtsp", "RTSP", "rtmp", "udp", "srt", "tcp", "rtp")}
    kinds |= {path.as_uri(): None, "missing.mp4": None, b"bytes": None, True: None}
    assert {source: live_kind(source) for source in kinds} == kinds
    with served(stream) as url:
        assert live_kind(url) == "url"
    with served(path.read_bytes()) as url:
        assert live_kind(url) is None  # Matroska that says how long it takes
    with served() as url, pytest.raises(VideoError, match="404"):
        live_kind(url)


@pytest.mark.parametrize(
    ("source", "capture", "reason"),
    [
        ("missing.mp4", Capture(), "live: missing.mp4; expected a camera, the URL of a server, '-'"),
        ("file:///a.ts", Capture(), "live: file:///a.ts; expected"),
        ("-", Capture(size=(4, 4)), "<stdin>: raw video requires size, fps and pixel format"),
        ("-", Capture((4, 4), 25, "rgb25"), "<stdin>: pixel format rgb25; expected one of FFmpeg's"),
        ("-", Capture((0, 4), 25, "rgb24"), "<stdin>: a size of 0x4; expected at least 1x1"),
        ("-", Capture((4, 4), 0, "rgb24"), "<stdin>: 0 frames a second; expected above 0"),
        ("udp://127.0.0.1:1", Capture(fps=25), "size, fps and pixel format are for cameras and raw video"),
    ],
)
def test_settings_that_do_not_fit(source: str, capture: Capture, reason: str) -> None:
    with pytest.raises(SettingError, match=reason):
        LiveVideo(source, capture)


def test_a_terminal_is_no_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.openpty()
    with open(ours, "rb", buffering=0), open(theirs) as terminal:
        monkeypatch.setattr("sys.stdin", terminal)
        with pytest.raises(VideoError, match=r"<stdin>: is a terminal; expected a stream"):
            LiveVideo("-")
