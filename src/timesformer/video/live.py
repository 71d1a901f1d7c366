"""A stream whose end is not known: a camera, a URL, a pipe. It is read once, as it comes.

    source -> a thread reads, decodes, scales -> a queue of images -> `LiveVideo.frames`

Cameras and networks do not wait. Where frames come faster than they are taken, all that wait in the queue are dropped
when it is full, and counted: what follows is fresh and without holes for as long as the queue is, while dropping the
oldest one by one would put a hole into every window. Pipes do wait: their reader stops while the queue is full, nothing
is dropped, and the frames are those of the same bytes as a file.

A URL that ends, fails or sends nothing for `Limits.stall` seconds is opened again, after 0.5, 1, 2, 4, 8, 8 ...
seconds, and times go on with the gap. It is given up when no frame has come for `Limits.lost` seconds.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import NamedTuple, Self

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from torch import Tensor

from timesformer.errors import VideoError
from timesformer.video.clock import Clock
from timesformer.video.container import why
from timesformer.video.convert import Converter
from timesformer.video.decode import MAKE_UP_STAMPS
from timesformer.video.live_input import Capture, LiveInput, LiveSource
from timesformer.video.tracks import video_tracks

QUEUE = 64  # frames
SLACK = 1.0  # seconds that the reader has to say itself why nothing came
CLOSING = 1.0  # seconds that closing waits for the reader, which may be inside FFmpeg


class Limits(NamedTuple):
    """Seconds that a live stream is waited for.

    start: for its first frame. stall: for more from a camera or URL; pipes may take as long as they like. lost: for a
    URL that was lost to send frames again. retry, longest_retry: before a URL is opened again the first time, which
    doubles each time until a frame has come, and at most.
    """

    start: float = 30.0
    stall: float = 10.0
    lost: float = 60.0
    retry: float = 0.5
    longest_retry: float = 8.0


class LiveFrame(NamedTuple):
    """A frame of a live stream.

    seconds: when it appears, after the first frame. image: uint8 RGB (3, H, W), upright. arrived: when the last bytes
    came that it took to decode it, in seconds of `time.monotonic`.
    """

    seconds: float
    image: Tensor
    arrived: float


class LiveVideo:
    """An open live stream, which is read once. Use it with `with`.

    source: a camera's number or device, a URL, "-" for standard input, a named pipe, or a file object. capture: the
    frames that a camera is asked for; required where a pipe carries raw video.

    Attributes:
        name: what messages call it.
        fps: frames a second that the stream states; None where it does not.
        waits: whether it is held up where frames are not taken fast enough; frames are dropped otherwise.
        dropped, damaged, resized: frames that were not given out for want of time; that could not be decoded, up to
            the next keyframe; that were resized to the size of the first one.
        reconnections: how often a URL was opened again.

    Raises SettingError for what is no live source, VideoError where nothing comes within `limits.start` seconds, or
    what comes is not a video.
    """

    def __init__(self, source: LiveSource, capture: Capture = Capture(), limits: Limits = Limits()) -> None:  # noqa: B008
        self._input = LiveInput(source, capture)
        self.name, self.waits, self._limits = self._input.name, self._input.kind == "pipe", limits
        self.fps: float | None = None
        self.dropped = self.damaged = self.resized = self.reconnections = 0
        self._clock = Clock(by_arrival=not self.waits)
        self._convert: Converter | None = None  # set when frames are asked for
        self._capacity = QUEUE
        self._queue: deque[LiveFrame] = deque()
        self._change = threading.Condition()
        self._closing = threading.Event()
        self._opened = self._ended = False
        self._problem: BaseException | None = None
        self._last = time.monotonic()  # when the last frame came
        self._retry = limits.retry
        # Between two frames; the reader itself gives up a URL before.
        patience = {"camera": limits.stall, "url": limits.start + limits.stall + limits.lost}
        self._patience = patience.get(self._input.kind)
        self._reader = threading.Thread(target=self._work, daemon=True, name=f"reader of {self.name}")
        self._reader.start()
        try:
            self._wait(lambda: self._opened, limits.start)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop reading. A thread that waits inside FFmpeg, or for a pipe, ends when that comes back."""
        self._closing.set()
        with self._change:
            self._change.notify_all()
        self._reader.join(CLOSING)

    def frames(self, short_side: int | None = None, queue: int = QUEUE) -> Iterator[LiveFrame]:
        """The frames as they come, until the stream ends. To be called once.

        short_side: length in pixels that the short side is scaled to, as in `Video.read`. queue: frames that may wait.
        Raises VideoError where a camera fails or sends nothing, a URL does not come back, what comes from a pipe is
        damaged, or the stream ends before its first frame.
        """
        with self._change:
            self._capacity = queue
            self._convert = Converter(self.name, short_side, resizes=True)
            self._change.notify_all()
        limit: float | None = self._limits.start
        while True:
            self._wait(lambda: bool(self._queue), limit)
            with self._change:
                if not self._queue:
                    return
                frame = self._queue.popleft()
                self._change.notify_all()
            limit = self._patience
            yield frame

    def _wait(self, done: Callable[[], bool], limit: float | None) -> None:
        """Until something is done or the stream has ended; raises what it ended with."""
        with self._change:
            if not self._change.wait_for(lambda: done() or self._ended, None if limit is None else limit + SLACK):
                raise VideoError(self.name, f"no {'frame' if self._opened else 'video'} within {limit:g} seconds")
            if not done() and self._problem is not None:
                raise self._problem

    def _work(self) -> None:
        try:
            self._read_all()
        except BaseException as problem:
            self._problem = problem
        try:
            self._input.close()
        except OSError as problem:
            self._problem = self._problem or VideoError(self.name, f"cannot be closed: {why(problem)}")
        finally:
            with self._change:
                self._ended = True
                self._change.notify_all()

    def _read_all(self) -> None:
        opened: tuple[InputContainer, VideoStream] | None = self._open()
        assert opened is not None
        rate = opened[1].average_rate or opened[1].guessed_rate
        with self._change:
            self.fps = float(rate) if rate else None
            self._opened = True
            self._change.notify_all()
            self._change.wait_for(lambda: self._convert is not None or self._closing.is_set())
        while opened is not None and not self._closing.is_set():
            problem = self._read(*opened)
            if self._input.kind == "url":
                opened = self._open_again(problem or "it ended")
                continue
            if self._input.kind == "camera":
                raise VideoError(self.name, f"lost: {problem or 'it ended'}")
            if problem:
                raise VideoError(self.name, f"damaged: {problem}")
            if not self._clock.frames:
                raise VideoError(self.name, "ended before its first whole frame")
            return

    def _open(self) -> tuple[InputContainer, VideoStream]:
        container = self._input.open(self._limits.start, self._limits.stall)
        try:
            stream = video_tracks(self.name, container)[0]
        except VideoError:
            container.close()
            raise
        container.flags &= ~MAKE_UP_STAMPS
        stream.codec_context.thread_count = 1  # more would hold frames back
        return container, stream

    def _open_again(self, problem: str) -> tuple[InputContainer, VideoStream] | None:
        """A URL, open again; None where the stream is closed."""
        if not self._clock.frames:
            raise VideoError(self.name, f"no frame came: {problem}")
        while True:
            left = self._last + self._limits.lost - time.monotonic()
            if self._closing.wait(max(0.0, min(self._retry, left))):
                return None
            if left <= 0:
                within = f"it did not come back within {self._limits.lost:g} seconds"
                raise VideoError(self.name, f"lost: {problem}; {within}")
            self._retry = min(2 * self._retry, self._limits.longest_retry)
            try:
                opened = self._open()
            except VideoError as error:
                problem = error.reason
                continue
            self.reconnections += 1
            self._clock.restart()
            return opened

    def _read(self, container: InputContainer, stream: VideoStream) -> str | None:
        """Read one connection to its end; returns what went wrong, None where it just ended."""
        started = self._input.kind == "camera"  # elsewhere with a keyframe
        damaged = False
        problem = None
        arrived = self._last

        def take(frames: list[VideoFrame], corrupt: bool) -> None:
            nonlocal damaged
            for frame in frames:
                # Damage spreads to the frames that build on it, up to the next keyframe.
                damaged = corrupt or frame.is_corrupt or (damaged and not frame.key_frame)
                if damaged:
                    self.damaged += 1
                else:
                    self._put(frame, stream.time_base, arrived)

        try:
            for packet in container.demux(stream):
                if self._closing.is_set():
                    return None
                if packet.size:  # there is none when the decoder gives what it holds back at the end
                    arrived = time.monotonic()
                started = started or packet.is_keyframe
                if not started:
                    continue
                try:
                    take(packet.decode(), packet.is_corrupt)
                except av.InvalidDataError:
                    damaged = True
                    self.damaged += 1
        except av.FFmpegError as error:
            problem = why(error)
            if isinstance(error, av.error.ExitError):
                problem = f"nothing came for {self._limits.stall:g} seconds"
            if started:
                take(stream.codec_context.decode(None), False)
        finally:
            container.close()
        return problem

    def _put(self, frame: VideoFrame, time_base: Fraction | None, arrived: float) -> None:
        """Make an image of a frame, and put it into the queue."""
        assert self._convert is not None
        self._last = arrived
        self._retry = self._limits.retry
        number = self._clock.frames
        seconds = self._clock(frame.pts, time_base, arrived, self.fps)
        image_HWC = self._convert(number, frame)
        self.resized = self._convert.resized
        item = LiveFrame(seconds, image_HWC.permute(2, 0, 1).contiguous(), arrived)
        with self._change:
            if len(self._queue) >= self._capacity and not self.waits:
                self.dropped += len(self._queue)
                self._queue.clear()
            self._change.wait_for(lambda: len(self._queue) < self._capacity or self._closing.is_set())
            self._queue.append(item)
            self._change.notify_all()
