"""Where frames come from: files, folders of images, bytes, file objects, URLs, standard input, arrays and lists.

source                                      fps                          name in messages
str or Path: a video file                   its own                      the path
str or Path: a folder of image frames       unknown                      the path
str: a URL that FFmpeg opens                its own                      the URL
str: "-", standard input                    its own                      <stdin>
str or Path: /dev/stdin, /dev/fd/N          its own                      the path
bytes: a video file                         its own                      <bytes>
binary file object                          its own                      its name, or <file object>
numpy array (T, H, W, 3), uint8             `fps`, unknown if not given  <array T x H x W x 3>
torch tensor (3, T, H, W), uint8            `fps`, unknown if not given  <tensor 3 x T x H x W>
list of PIL images or arrays (H, W, 3)      `fps`, unknown if not given  <list of T images>
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import SplitResult, urlsplit
from urllib.request import url2pathname

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from timesformer.errors import SettingError, VideoError, one_line
from timesformer.video.arrays import ArrayVideo
from timesformer.video.container import STREAM
from timesformer.video.decode import VideoFile
from timesformer.video.images import FrameFolder
from timesformer.video.video import Video

STDIN = "-"

Source = str | Path | bytes | BinaryIO | NDArray[np.uint8] | Tensor | Sequence[Any]

# Descriptors of this process, such as a shell's <(...): other processes do not have them, and a pipe is read but once.
DESCRIPTORS = re.compile(r"/dev/stdin|(/dev|/proc/self)/fd/\d+")

STREAMS = re.compile(r"(rtmp|rtsp|mms)[a-z]?|rtp|srtp?|udp|tcp|tls|pipe|fd", re.IGNORECASE)  # schemes of URLs

ALLOWED = (
    "expected a path, a URL, '-' for standard input, bytes, a binary file object, a uint8 array (T, H, W, 3), a uint8 "
    "tensor (3, T, H, W), or a list of PIL images or uint8 arrays (H, W, 3)"
)


class MemoryFile(io.BytesIO):
    """A file that is in memory whole; unlike other file objects it can be sent to another process."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.name = name


def open_video(source: Source, fps: float | None = None) -> Video:
    """Open a video. A file is read in the order of showing, a folder of images in that of their numbered names.

    source: see the table at the top of this module. A URL has a scheme and "://". A file object is read from its
    start and stays open; one that cannot seek, such as a pipe, is read whole into memory, as are standard input and
    other descriptors. Named pipes, devices and live streams are refused, since videos are read twice.
    fps: frame rate of arrays and lists in frames a second, where known; all other sources have their own.

    Raises VideoError where nothing is there, or what is there is not a video, has no frames or is truncated;
    SettingError for any other kind of source, for an array of another shape or type, and for `fps` with a source that
    has its own. Use it with `with`.
    """
    if (frames := _in_memory(source, fps)) is not None:
        return frames
    if isinstance(source, str) and _is_url(source):
        return _open_url(source)
    if isinstance(source, str | Path) and not reads_once(source):
        return _open_path(Path(source))
    file, name = _file_object(source)
    if not file.seek(0, io.SEEK_END):
        raise VideoError(name, "the file is empty")
    return VideoFile(file, name)


def portable(source: Source, fps: float | None = None) -> Source | Video:
    """The same video as something that another process can open, checked as far as it can be without reading files.

    Standard input, other descriptors and file objects are read into memory. Raises SettingError as `open_video` does,
    VideoError for a descriptor that cannot be read.
    """
    if (frames := _in_memory(source, fps)) is not None:
        return frames
    if isinstance(source, str | Path | bytes) and not reads_once(source):
        return source
    file, name = _file_object(source)
    file.seek(0)
    return file if isinstance(file, MemoryFile) else MemoryFile(file.read(), str(name))


def reads_once(source: Source | Video) -> bool:
    """Whether a source is standard input or another descriptor of this process, of which `portable` makes a copy."""
    return isinstance(source, str | Path) and (source == STDIN or DESCRIPTORS.fullmatch(str(source)) is not None)


def source_name(source: Source | Video) -> Path | str:
    """What messages call a source; see the table at the top of this module. It needs not be readable."""
    if isinstance(source, Video):
        return source.name
    if isinstance(source, np.ndarray | Tensor | list | tuple):
        return ArrayVideo(source).name
    if isinstance(source, str) and _is_url(source):
        try:
            parts = _split_url(source)
        except VideoError:
            return source
        return Path(url2pathname(parts.path)) if parts.scheme == "file" else source
    if isinstance(source, str | Path):
        return "<stdin>" if source == STDIN else Path(source)
    if isinstance(source, bytes):
        return "<bytes>"
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else "<file object>"


def _in_memory(source: Source, fps: float | None) -> ArrayVideo | None:
    """Arrays and lists as a video; None for all other sources, which have a frame rate of their own."""
    if isinstance(source, np.ndarray | Tensor | list | tuple):
        return ArrayVideo(source, fps)
    if fps is not None:
        raise SettingError(f"fps is {fps}; only arrays and lists take a frame rate, other videos have their own")
    return None


def _open_path(path: Path) -> Video:
    """A video file, or a folder of images."""
    try:
        if path.is_dir():
            return FrameFolder(path)
        if not path.is_file():
            raise VideoError(path, _why_no_file(path))
        if path.stat().st_size == 0:
            raise VideoError(path, "the file is empty")
        return VideoFile(path, path)
    except OSError as error:
        raise VideoError(path, f"cannot be read: {error.strerror}") from None


def _why_no_file(path: Path) -> str:
    if re.search(r"(^|/)[A-Za-z][A-Za-z0-9+.-]+:/", str(path)):
        return "no such file; a URL is given as a string, and lists of a data set take files alone: download it"
    return STREAM if path.exists() else "no such file"


def _open_url(url: str) -> Video:
    parts = _split_url(url)
    if parts.scheme == "file":
        return _open_path(Path(url2pathname(parts.path)))
    if STREAMS.fullmatch(parts.scheme):
        raise VideoError(url, STREAM)
    return VideoFile(url, url)


def _is_url(text: str) -> bool:
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None


def _split_url(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError as error:  # such as brackets around what is no IPv6 address
        raise VideoError(url, f"not a URL: {one_line(error)}") from None


def _file_object(source: object) -> tuple[BinaryIO, str]:
    """Standard input, bytes or a file object as one that can seek, and what messages call it."""
    if isinstance(source, str | Path):  # a descriptor: the others are paths and URLs
        name = "<stdin>" if source == STDIN else str(source)
        try:
            return MemoryFile(sys.stdin.buffer.read() if source == STDIN else Path(source).read_bytes(), name), name
        except (OSError, ValueError) as error:  # closed, say
            reason = getattr(error, "strerror", None) or one_line(error)
            raise VideoError(name, f"cannot be read: {reason}") from None
    if isinstance(source, bytes):
        return MemoryFile(source, "<bytes>"), "<bytes>"
    if not hasattr(source, "read"):
        raise SettingError(f"video: {type(source).__name__}; {ALLOWED}")
    file: Any = source
    name = file.name if isinstance(getattr(file, "name", None), str) else "<file object>"
    try:
        seekable = hasattr(file, "seekable") and file.seekable()
        start = file.read(0) if seekable else file.read()
    except (OSError, ValueError) as error:  # closed, say
        raise VideoError(name, f"cannot be read: {one_line(error)}") from None
    if not isinstance(start, bytes):
        raise SettingError(f"video: the file object {name} is in text mode; open it with mode 'rb'")
    return (file if seekable else MemoryFile(start, name)), name
