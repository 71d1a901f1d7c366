"""What is a live stream, and how it is opened: RTSP, UDP, cameras, pipes."""

from __future__ import annotations

import os
import socket
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest

from live_streams import X264, numbers, stream_fixture, until_error  # noqa: F401
from ports import kept_port
from rtsp_server import rtsp_served
from streams import PATIENT, served
from timesformer.errors import SettingError, VideoError
from timesformer.video.live import LiveVideo
from timesformer.video.live_input import Capture, live_kind
from videos import write


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
