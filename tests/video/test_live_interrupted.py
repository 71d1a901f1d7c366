"""Live streams that stall, are cut, never start or are closed while they wait."""

from __future__ import annotations

import errno
import re
import threading
from pathlib import Path

import pytest

from live_streams import X264, clock_fixture, long_stream_fixture, numbers, stream_fixture, until_error  # noqa: F401
from ports import kept_port
from streams import PATIENT, Clock, Send, piped, served
from timesformer.errors import VideoError
from timesformer.video.live import LiveFrame, LiveVideo
from timesformer.video.live_input import LiveInput
from videos import write


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
