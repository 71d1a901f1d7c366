"""Small videos for tests, written on the spot; every frame carries its number, so an off-by-one cannot hide."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import OutputContainer
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

BITS = 8
os.environ.setdefault("SVT_LOG", "0")  # SVT-AV1 prints a banner otherwise


def picture(number: int, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """RGB (H, W, 3): below, the number as 8 black and white blocks; above, a coloured ramp that drifts."""
    rows, columns = np.mgrid[0:height, 0:width]
    image = np.empty((height, width, 3), np.uint8)
    image[..., 0] = (columns * 3 + number * 5) % 256 // 2 + 60
    image[..., 1] = (rows * 4 + number * 3) % 256 // 2 + 60
    image[..., 2] = 200 * rows // height
    for bit in range(BITS):
        left, right = bit * width // BITS, (bit + 1) * width // BITS
        image[height // 2 :, left:right] = 235 if number >> bit & 1 else 16
    return image


def number_in(image: NDArray[np.uint8]) -> int:
    """The number that `picture` painted, read from RGB (H, W, 3)."""
    height, width = image.shape[:2]
    row = image[height * 3 // 4].mean(axis=1)
    return sum(int(row[int((bit + 0.5) * width / BITS)] > 128) << bit for bit in range(BITS))


def write(
    path: Path,
    count: int,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    *,
    size: tuple[int, int] = (48, 64),
    rate: int | Fraction = 25,
    times: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    pixels: str = "yuv420p",
    keyframes: Sequence[int] = (),
    rotation: int = 0,
    audio: float = 0,
    container_format: str | None = None,
    container_options: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
    change: Callable[[av.Packet[Any]], None] | None = None,
) -> Path:
    """Write `count` pictures and give the path back.

    SVT-AV1 gives the thread that encodes the highest real-time priority where it may, as root: the tests' own thread
    would keep it, and everything else would wait for the tests that follow. So files are written by a thread of theirs.

    `times`: time stamps in units of `time_base` in place of 0, 1, 2, ... frames. `audio`: seconds of a tone, as a
    stream before the video's. `change`: what to do to every video packet before it is written.
    """

    def encode() -> None:
        with av.open(str(path), "w", format=container_format, options=container_options or {}) as container:
            container.metadata.update(metadata or {})
            tone = container.add_stream("aac", rate=8000) if audio else None
            stream = container.add_stream(codec, rate=rate, options=options or {})
            stream.height, stream.width = size
            stream.pix_fmt = pixels
            stream.codec_context.thread_count = 1
            if time_base is not None:
                stream.codec_context.time_base = time_base
            if rotation:
                stream.set_display_rotation(rotation)
            if tone is not None:
                _write_tone(container, tone, audio)
            for number in range(count):
                frame = av.VideoFrame.from_ndarray(picture(number, *size), format="rgb24")
                frame.pts = number if times is None else times[number]
                frame.time_base = time_base or Fraction(1, rate)
                if number in keyframes:
                    frame.pict_type = av.video.frame.PictureType.I
                for packet in stream.encode(frame):
                    _mux(container, packet, change)
            for packet in stream.encode(None):
                _mux(container, packet, change)

    with ThreadPoolExecutor(1) as thread:
        thread.submit(encode).result()
    return path


def _mux(container: OutputContainer, packet: av.Packet[Any], change: Callable[[av.Packet[Any]], None] | None) -> None:
    if change is not None:
        change(packet)
    container.mux(packet)


def _write_tone(container: OutputContainer, stream: Any, seconds: float) -> None:
    samples = np.sin(np.arange(int(8000 * seconds), dtype=np.float32) * 0.3)
    for start in range(0, len(samples), 1024):
        frame = av.AudioFrame.from_ndarray(samples[None, start : start + 1024], format="fltp", layout="mono")
        frame.sample_rate = 8000
        frame.pts = start
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def write_image(path: Path, number: int, size: tuple[int, int] = (48, 64)) -> Path:
    """Write a picture as an image, whose format the name says, and give the path back."""
    codec, pixels = {".png": ("png", "rgb24"), ".jpg": ("mjpeg", "yuvj444p"), ".bmp": ("bmp", "bgr24")}[path.suffix]
    with av.open(f"file:{path}", "w", format="image2", options={"update": "1"}) as container:
        stream = container.add_stream(codec, rate=1)
        stream.height, stream.width = size
        stream.pix_fmt = pixels
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number, *size), format="rgb24")))
        container.mux(stream.encode(None))
    return path


def full_decode(path: Path, short_side: tuple[int, int] | None = None) -> list[NDArray[np.uint8]]:
    """Every frame as the decoder shows them: RGB (H, W, 3), scaled to `short_side` = (H, W) where given."""
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        frames = []
        for frame in container.decode(video=0):
            height, width = short_side or (frame.height, frame.width)
            rgb = frame.reformat(width, height, "rgb24", interpolation=Interpolation.BILINEAR, threads=1)
            frames.append(rgb.to_ndarray())
        return frames
