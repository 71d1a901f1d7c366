"""What a decoder does: it looks at one upload after the other within limits, decodes what a model needs, and sends it.

An upload is hostile until it has been decoded. So nothing that comes from here is unpickled: a message is JSON, with
its size before it in 4 bytes, and its arrays follow as they lie in memory. What comes to here is pickled.

A process ends with the first upload that is not decoded to its end, and when it has taken so much of processor time or
memory that the next upload could get less than its limits.

Dimensions: V views, C 3 colours, T frames of a clip, S pixels.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

import av
import torch
from torch import Tensor

from timesformer.config import ClipShape, Preprocessing
from timesformer.confined import private_bytes
from timesformer.data.decoding import follow_parent
from timesformer.device import is_out_of_memory
from timesformer.errors import SettingError, VideoError
from timesformer.explain.placement import SHORT_SIDE, place_views
from timesformer.serve.problems import Problem
from timesformer.serve.settings import MIB, ServiceSettings
from timesformer.video.decode import VideoFile
from timesformer.video.part import length_of
from timesformer.video.seen import seen_of
from timesformer.video.video import Video
from timesformer.video.views import read_views, window_views
from timesformer.video.windows import timeline_grid

# Containers of one file each. Playlists and lists of files, which FFmpeg knows too, would open others on this machine.
FORMATS = (
    "mov,mp4,matroska,webm,avi,mpeg,mpegts,mpegvideo,flv,asf,ogg,gif,apng,h264,hevc,obu,ivf,m4v,mxf,nut,rm,dv,"
    "yuv4mpegpipe,mjpeg,png_pipe,jpeg_pipe,webp_pipe,bmp_pipe"
)
ALLOWED = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}  # whenever the file is opened
OPEN_FILES = 64
DRAWN_PIXELS = 2**25  # of all frames together: the service has some 20 bytes for each


class Limits(NamedTuple):
    """seconds, frames and pixels of a video; processor time in seconds and memory in bytes of its process."""

    seconds: float
    frames: int
    pixels: int
    cpu_seconds: int
    memory: int

    @classmethod
    def of(cls, settings: ServiceSettings) -> Limits:
        """Those of a service."""
        return cls(
            settings.max_seconds,
            settings.max_frames,
            settings.max_pixels,
            settings.decode_cpu_seconds,
            settings.decode_mb * MIB,
        )


class Task(NamedTuple):
    """What is decoded: the views of a test, the windows of a timeline, or what an explanation needs.

    window, stride: seconds, as `window_views` has them.
    """

    what: Literal["views", "windows", "explanation"]
    shape: ClipShape
    preprocessing: Preprocessing
    window: float | None = None
    stride: float | None = None


Message = tuple[dict[str, Any], list[Tensor]]


Decode = Callable[[socket.socket, Path, Task, Limits], bool]


def decode_uploads(theirs: socket.socket, limits: Limits, decode: Decode) -> None:
    """Do what is asked for through a socket, one upload after the other, each with {"end": true} at its end, and "more"
    where another one may follow. The process ends otherwise, and when the other end of the socket is closed."""
    follow_parent(os.getppid())
    torch.set_num_threads(1)
    allowance = Allowance(limits)
    more = True
    with suppress(EOFError, OSError):  # nobody asks any more, or waits for it
        while more:
            path, task = pickle.loads(_receive(theirs, int.from_bytes(_receive(theirs, 4))))
            if not decode(theirs, path, task, limits):
                return
            more = allowance.renew()
            send(theirs, {"end": True, "more": more}, [])


def decode_upload(theirs: socket.socket, path: Path, task: Task, limits: Limits) -> bool:
    """Send what a task needs of a file; or {"problem": [code, detail]}, and return False."""
    try:
        for message in decoded(path, task, limits):
            send(theirs, *message)
    except BrokenPipeError:  # nobody waits for it any more
        return False
    except Exception as error:
        problem = _problem(error, limits)
        send(theirs, {"problem": [problem.code, problem.detail]}, [])
        return False
    return True


class Allowance:
    """What this process may take of processor time and memory; it may write no files from now on.

    An upload may take its limits, wherever those before it have left the process. In all, the process may take twice as
    much processor time, and keep an eighth of the memory from one upload to the next; the system sees to that whatever
    the process does, since only soft limits can be raised.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits, self._kept = limits, limits.memory // 8
        self._seconds, self._memory = time.process_time(), private_bytes()
        self._most_seconds = math.ceil(self._seconds) + 2 * limits.cpu_seconds + 1
        self._most_memory = self._memory + self._kept + limits.memory
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
        self.renew()

    def renew(self) -> bool:
        """Give the next upload its limits; False where too much is taken already."""
        seconds, memory = time.process_time(), private_bytes()
        if seconds - self._seconds > self._limits.cpu_seconds or memory - self._memory > self._kept:
            return False
        until = math.ceil(seconds) + self._limits.cpu_seconds
        resource.setrlimit(resource.RLIMIT_CPU, (until, self._most_seconds))
        most = min(memory + self._limits.memory, self._most_memory)
        resource.setrlimit(resource.RLIMIT_DATA, (most, self._most_memory))
        return True


def send(theirs: socket.socket, header: dict[str, Any], arrays: list[Tensor]) -> None:
    """A message: its header, with the shapes of its arrays (uint8), then these."""
    head = json.dumps({**header, "shapes": [list(array.shape) for array in arrays]}).encode()
    theirs.sendall(len(head).to_bytes(4) + head)
    for array in arrays:
        theirs.sendall(array.contiguous().numpy().data.cast("B"))


def _receive(theirs: socket.socket, size: int) -> bytes:
    """So many bytes. Raises EOFError where they do not come."""
    content = theirs.recv(size, socket.MSG_WAITALL)
    if len(content) < size:
        raise EOFError
    return content


def decoded(path: Path, task: Task, limits: Limits) -> Iterator[Message]:
    """The messages of a task. Raises Problem for what is no video and for one beyond a limit, VideoError for one that
    cannot be read."""
    check_container(path, limits)
    with VideoFile(path, path, ALLOWED) as video:
        check_video(video, limits)
        shape, preprocessing = task.shape, task.preprocessing
        if task.what == "views":
            seen = seen_of(video, shape, preprocessing)
            yield {"seen": seen._asdict()}, [read_views(video, shape, preprocessing)]
        elif task.what == "explanation":
            yield _views_and_frames(video, shape, preprocessing)
        else:
            length = length_of(video)
            stride = stride_of(task, video)
            if length / stride > limits.frames:
                raise Problem("too_many_windows", f"{length / stride:.0f} windows; expected at most {limits.frames}")
            yield {"stride": stride}, []
            for window, views_VCTSS in window_views(
                video, shape, preprocessing, window=task.window, stride=task.stride
            ):
                yield {"window": window._asdict()}, [views_VCTSS]


def stride_of(task: Task, video: Video) -> float:
    """Seconds from one window to the next. Raises Problem where only the client could say how long a window is."""
    try:
        return timeline_grid(task.window, task.stride, task.shape, task.preprocessing, video.fps)[1]
    except SettingError:  # the values themselves have been checked before the upload
        raise Problem("bad_parameter", "window: missing, and the frame rate is unknown; expected seconds") from None


def _views_and_frames(video: Video, shape: ClipShape, preprocessing: Preprocessing) -> Message:
    """The views with where they lie in the video as it is drawn, and the frames to draw on (3, N, H, W)."""
    views = place_views(video, shape, preprocessing)
    frames_CNHW = video.read(views.frames, SHORT_SIDE if min(views.size) > SHORT_SIDE else None)
    pixels = frames_CNHW[0].numel()
    if pixels > DRAWN_PIXELS:
        raise Problem("too_many_pixels", f"an overlay of {pixels} pixels; expected at most {DRAWN_PIXELS}")
    header = {
        "places": [view._asdict() for view in views.places],
        "size": frames_CNHW.shape[2:],
        "scaled": views.scaled,
        "frames": views.frames,
        "seconds": views.seconds,
        "seen": views.seen._asdict(),
    }
    return header, [views.clips_VCTSS, frames_CNHW]


def check_container(path: Path, limits: Limits) -> None:
    """Raises Problem for what is no video of a kind that is one file, and for frames that are too large."""
    try:
        with av.open(f"file:{path}", options=dict(ALLOWED), metadata_errors="replace") as container:
            sizes = [(stream.codec_context.width, stream.codec_context.height) for stream in container.streams.video]
    except (av.FFmpegError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        raise Problem("not_a_video", "the file is not a video of a kind that this service reads") from None
    if not sizes:
        raise Problem("not_a_video", "the file has no video in it")
    for width, height in sizes:
        if width * height > limits.pixels:
            raise Problem(
                "too_many_pixels", f"frames of {width} x {height} pixels; expected at most {limits.pixels} pixels"
            )


def check_video(video: Video, limits: Limits) -> None:
    """Raises Problem for a video that is too long."""
    if video.num_frames > limits.frames:
        raise Problem("too_many_frames", f"{video.num_frames} frames; expected at most {limits.frames}")
    seconds = video.seconds(video.num_frames)
    if seconds is not None and seconds > limits.seconds:
        raise Problem("too_long", f"{seconds:.1f} seconds; expected at most {limits.seconds:g}")


def _problem(error: Exception, limits: Limits) -> Problem:
    if isinstance(error, Problem):
        return error
    if isinstance(error, VideoError):
        return Problem("unreadable_video", error.reason)
    if isinstance(error, SettingError):
        return Problem("unreadable_video", str(error))
    if is_out_of_memory(error):
        return Problem("too_much_memory", f"decoding took more than {limits.memory / 2**20:.0f} MiB of memory")
    return Problem("unreadable_video", f"decoding failed: {type(error).__name__}")
