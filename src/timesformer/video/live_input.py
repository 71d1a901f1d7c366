"""Where a live stream comes from, and how FFmpeg opens it.

source                                                    kind     what does not fit
int or digits, /dev/video0, any other character device    camera   is dropped
str: rtsp://, rtmp://, srt://, udp://, tcp:// ...         url      is dropped
str: http://, https:// of unknown length                  url      is dropped
"-", /dev/stdin, /dev/fd/N, a named pipe, a file object   pipe     waits: whoever writes to the pipe is held up

All else is a file, with a beginning and an end, see `source.py`.
"""

from __future__ import annotations

import io
import os
import re
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import av
from av.container import InputContainer

from timesformer.errors import SettingError, VideoError, one_line
from timesformer.video.container import LIVE, TIMEOUT, why
from timesformer.video.source import STDIN, STREAMS, reads_once

Kind = Literal["camera", "url", "pipe"]
LiveSource = int | str | Path | BinaryIO

CAMERAS = "v4l2"  # FFmpeg's name of what reads cameras
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
OPTIONS = {
    "rtsp": {"rtsp_flags": "prefer_tcp"},  # over UDP packets are lost
    "udp": {"overrun_nonfatal": "1"},  # more than can be held: frames are lost, the stream is not
    "http": {"seekable": "0"},
    "https": {"seekable": "0"},
}


class Capture(NamedTuple):
    """What a camera is asked for; what raw video on a pipe is.

    size: width and height in pixels. fps: frames a second. pixel_format: FFmpeg's name, such as "rgb24" or "yuv420p".
    """

    size: tuple[int, int] | None = None
    fps: float | None = None
    pixel_format: str | None = None

    def options(self) -> dict[str, str]:
        """As FFmpeg's options."""
        found = {
            "video_size": self.size and f"{self.size[0]}x{self.size[1]}",
            "framerate": self.fps and f"{self.fps:.10g}",
            "pixel_format": self.pixel_format,
        }
        return {name: value for name, value in found.items() if value}


def live_kind(source: object) -> Kind | None:
    """What kind of a live source something is; None for a file. Asks the server of an HTTP URL how long it is.

    Raises VideoError where that server does not answer with a video.
    """
    if isinstance(source, int) and not isinstance(source, bool):
        return "camera"
    if not isinstance(source, str | Path):
        return None
    if reads_once(source):
        return "pipe"
    if isinstance(source, str) and (scheme := SCHEME.match(source)):
        if STREAMS.fullmatch(scheme[1]):
            return "url"
        return "url" if scheme[1].lower() in ("http", "https") and _has_no_end(source) else None
    if isinstance(source, str) and re.fullmatch(r"[0-9]+", source):
        return "camera"
    try:
        mode = os.stat(source).st_mode
    except (OSError, ValueError):
        return "camera" if re.fullmatch(r"/dev/video[0-9]+", str(source)) else None
    return "camera" if stat.S_ISCHR(mode) else "pipe" if stat.S_ISFIFO(mode) else None


class LiveInput:
    """A live source that can be opened, and URLs again.

    Attributes: `name`, what messages call it; `kind`.
    Raises SettingError for what is no live source, and where `capture` does not suit it.
    """

    def __init__(self, source: LiveSource, capture: Capture) -> None:
        self.source, self.capture = source, capture
        self._file: io.FileIO | None = None
        kind: Kind | None = "pipe" if hasattr(source, "read") else None
        if isinstance(source, str) and (scheme := SCHEME.match(source)):
            kind = "url" if scheme[1].lower() != "file" else None  # whatever its length
        elif kind is None:
            kind = live_kind(source)
        if kind is None:
            raise SettingError(
                f"live: {source}; expected a camera, the URL of a server, '-' (standard input), or a pipe"
            )
        self.kind: Kind = kind
        self.name = _name(source, kind)
        self._check()

    def _check(self) -> None:
        size, fps, pixels = self.capture
        if size is not None and min(size) < 1:
            raise SettingError(f"{self.name}: a size of {size[0]}x{size[1]}; expected at least 1x1")
        if fps is not None and not 0 < fps < 1e6:
            raise SettingError(f"{self.name}: {fps:g} frames a second; expected above 0")
        if pixels is not None:
            try:
                av.VideoFormat(pixels)
            except ValueError:
                raise SettingError(
                    f"{self.name}: pixel format {pixels}; expected one of FFmpeg's, such as rgb24 or yuv420p"
                ) from None
        if self.kind == "url" and self.capture != Capture():
            raise SettingError(f"{self.name}: size, fps and pixel format are for cameras and raw video, not for a URL")
        if self.kind == "pipe" and self.capture != Capture() and None in self.capture:
            raise SettingError(f"{self.name}: raw video requires size, fps and pixel format, all three")

    def open(self, start: float, stall: float) -> InputContainer:
        """The stream, open. start, stall: seconds that a server may take to answer, and to send more.

        Raises VideoError.
        """
        try:
            if self.kind == "camera":
                return _open(self.name, CAMERAS, self.capture.options(), None)
            if self.kind == "url":
                scheme = SCHEME.match(self.name)
                assert scheme is not None
                return _open(self.name, None, OPTIONS.get(scheme[1].lower(), {}), (start, stall))
            options = self.capture.options()
            return _open(self._pipe(), "rawvideo" if options else None, options, None)
        except (av.FFmpegError, ValueError) as error:
            reason = f"no video within {start:g} seconds" if isinstance(error, av.error.ExitError) else why(error)
            if self.kind == "camera":
                hint = "" if os.path.exists(self.name) else f"; there are {_cameras()}"
                raise VideoError(self.name, f"cannot be opened as a camera: {reason}{hint}") from None
            hint = "; expected MPEG-TS, Matroska, or raw video with its size, fps and pixel format"
            raise VideoError(
                self.name, f"cannot be opened as a live stream: {reason}{hint if self.kind == 'pipe' else ''}"
            ) from None

    def close(self) -> None:
        """Close what this input opened; a file object that it was given stays open."""
        if self._file is not None:
            self._file.close()

    def _pipe(self) -> _Pipe:
        """Unbuffered: a thread that waits for a buffered standard input would keep the process from ending."""
        source: Any = self.source
        if not isinstance(source, str | Path):
            return _Pipe(source)
        try:
            of_process = source == STDIN
            self._file = io.FileIO(sys.stdin.fileno() if of_process else source, closefd=not of_process)
            if self._file.isatty():
                raise VideoError(self.name, "is a terminal; expected a stream, as of ffmpeg ... -f mpegts - |")
        except (OSError, ValueError, AttributeError) as error:  # closed, say
            reason = getattr(error, "strerror", None) or one_line(error)
            raise VideoError(self.name, f"cannot be read: {reason}") from None
        return _Pipe(self._file)


class _Pipe:
    """What FFmpeg reads from: as much as is there, not more."""

    def __init__(self, file: Any) -> None:
        self._read = getattr(file, "read1", file.read)

    def read(self, size: int) -> bytes:
        found = self._read(size)
        assert isinstance(found, bytes)
        return found


def _open(
    file: Any, kind: str | None, options: Mapping[str, str], timeout: tuple[float, float] | None
) -> InputContainer:
    opened: InputContainer = av.open(
        file, format=kind, options=dict(options), timeout=timeout, metadata_errors="replace"
    )
    return opened


def _has_no_end(url: str) -> bool:
    """Whether a server says neither how many bytes nor how many seconds there are to come."""
    try:
        with _open(url, None, {}, (TIMEOUT, TIMEOUT)) as container:
            live = bool(LIVE & set(container.format.name.split(",")))
            return container.duration is None and (live or container.size < 0)
    except (av.FFmpegError, ValueError) as error:
        raise VideoError(url, f"cannot be opened as a video: {why(error)}") from None


def _name(source: LiveSource, kind: Kind) -> str:
    if kind == "camera":
        return f"/dev/video{source}" if re.fullmatch(r"[0-9]+", str(source)) else str(source)
    if hasattr(source, "read"):
        name = getattr(source, "name", None)
        return name if isinstance(name, str) else "<file object>"
    return "<stdin>" if source == STDIN else str(source)


def _cameras() -> str:
    return ", ".join(sorted(map(str, Path("/dev").glob("video*")))) or "no cameras"
