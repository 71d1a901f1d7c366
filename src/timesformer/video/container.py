"""Opening what FFmpeg reads: a file, a URL, a file object."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

import av
from av.container import InputContainer

from timesformer.errors import VideoError

Medium = Path | str | BinaryIO  # a file; a URL; a file object that can seek, read from its start

TIMEOUT = 30.0  # seconds that a server may take to answer, or to send more
HEAD = 4096  # bytes
STREAM = (
    "a stream, which cannot be read twice; save the part that is meant as a file, or send it to standard input, '-'"
)
LIVE = frozenset(("hls", "dash", "mpjpeg"))  # formats that go on where they do not say how long they are


def open_container(
    medium: Medium, name: Path | str, kind: str | None = None, options: Mapping[str, str] = MappingProxyType({})
) -> InputContainer:
    """A video or image, open; its format, `kind`, is recognised if not given. Raises VideoError for anything else.

    options: FFmpeg's, of demuxers, such as format_whitelist.

    A live stream is one of those.
    """
    # "file:" keeps names such as "12:30.mp4" from being read as URLs; titles need not be UTF-8.
    file: Any = f"file:{medium}" if isinstance(medium, Path) else medium
    timeout = TIMEOUT if isinstance(medium, str) else None
    try:
        if not isinstance(medium, Path | str):
            medium.seek(0)
        container: InputContainer = av.open(
            file, format=kind, options=dict(options), metadata_errors="replace", timeout=timeout
        )
    except (av.FFmpegError, ValueError) as error:
        raise VideoError(name, f"cannot be opened as a video or an image: {why(error)}") from None
    if isinstance(medium, str) and container.duration is None and LIVE & set(container.format.name.split(",")):
        container.close()
        raise VideoError(name, STREAM)
    return container


def why(error: Exception) -> str:
    """What FFmpeg says went wrong, without the name of the file."""
    if isinstance(error, av.error.ExitError):  # FFmpeg's words are "Immediate exit requested"
        return f"no answer within {TIMEOUT:g} seconds"
    return str(getattr(error, "strerror", None) or error)


def head_and_size(medium: Medium, name: Path | str) -> tuple[bytes, int]:
    """The first bytes of a medium, and how many there are in all (below 0 where a server does not say)."""
    if isinstance(medium, Path):
        with medium.open("rb") as file:
            return file.read(HEAD), os.fstat(file.fileno()).st_size
    if isinstance(medium, str):
        with open_container(medium, name, "data") as raw:  # packets of 1024 bytes, as they come
            return b"".join(map(bytes, islice(raw.demux(), HEAD // 1024))), raw.size
    offset = medium.tell()  # FFmpeg reads from there
    try:
        medium.seek(0)
        head = medium.read(HEAD)
        return head, medium.seek(0, io.SEEK_END)
    finally:
        medium.seek(offset)
