"""A timeline of a video of hours: memory, frames decoded, times real time.

    python benchmarks/timeline_memory.py [--hours 3] [--window 4] [--stride 2] [--weights WEIGHTS] [--clips VIDEO...]

Writes clips (synthetic ones of a minute, or those given, at 15 frames a second and 160 x 120 pixels), joins copies of
them into one file without encoding again, and goes through it with the weights, or a network of the demo's size with
random ones. Prints the resident memory once ten minutes of video have rows, how far it rises above that until the end,
the frames that the decoder gave out and those in the file, and how many times faster than real time it was.
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import Interpolation

import timesformer
from timesformer.config import Preprocessing, Sampling, TimeSformerSettings
from timesformer.video.decode import VideoFile
from timesformer.video.source import open_video
from timesformer.weights.classifier import Classifier

RATE, WIDTH, HEIGHT = 15, 160, 120
TEN_MINUTES = 600
MEBIBYTE = 2**20


def pictures(clip: int) -> Iterator[np.ndarray[Any, Any]]:
    """A minute of a square that moves over noise."""
    generator = np.random.default_rng(clip)
    noise = generator.integers(60, 120, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    speed = generator.integers(1, 5, 2)
    for number in range(60 * RATE):
        image = noise.copy()
        top, left = speed * number % (HEIGHT - 30, WIDTH - 30)
        image[top : top + 30, left : left + 30] = 220
        yield image


def frames_of(video: Path) -> Iterator[np.ndarray[Any, Any]]:
    """The frames of a file, scaled."""
    with av.open(str(video)) as container:
        for frame in container.decode(video=0):
            yield frame.reformat(WIDTH, HEIGHT, "rgb24", interpolation=Interpolation.BILINEAR).to_ndarray()


def encode(path: Path, images: Iterator[np.ndarray[Any, Any]]) -> Path:
    """A clip of its own."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "g": "60", "crf": "30"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def join(path: Path, clips: Sequence[Path], seconds: float) -> int:
    """Copies of the clips, one after the other, until the file is long enough; returns its frames."""
    frames, offset = 0, Fraction(0)
    with av.open(str(path), "w") as target:
        stream = None
        for clip in itertools.cycle(clips):
            with av.open(str(clip)) as source:
                track = source.streams.video[0]
                stream = stream or target.add_stream_from_template(track)
                packets = [packet for packet in source.demux(track) if packet.size]
                first = min(packet.pts for packet in packets)
                shift = int(offset / track.time_base) - first
                for packet in packets:
                    packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
                    target.mux(packet)
            frames += len(packets)
            offset += Fraction(len(packets), RATE)
            if offset >= seconds:
                return frames
    return frames


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def classifier() -> Classifier:
    """A network of the demo's size."""
    settings = TimeSformerSettings(width=96, depth=4, heads=4, num_frames=8, image_size=48, patch_size=8, num_classes=8)
    return Classifier(timesformer.build_model(settings), Preprocessing(sampling=Sampling(rate=4), test_crops=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=3.0)
    parser.add_argument("--window", type=float, default=4.0)
    parser.add_argument("--stride", type=float, default=2.0)
    parser.add_argument("--weights")
    parser.add_argument("--clips", nargs="+", type=Path)
    given = parser.parse_args()
    predictor = timesformer.load(given.weights or classifier(), "cpu", precision="fp32")
    decoded, decode = 0, VideoFile._decode

    def counted(self: VideoFile, *how: Any) -> Iterator[Any]:
        nonlocal decoded
        for item in decode(self, *how):
            decoded += 1
            yield item

    with tempfile.TemporaryDirectory() as folder:
        images = [frames_of(clip) for clip in given.clips] if given.clips else [pictures(clip) for clip in range(3)]
        clips = [encode(Path(folder) / f"{number}.mp4", one) for number, one in enumerate(images)]
        path = Path(folder) / "long.mp4"
        frames = join(path, clips, given.hours * 3600)
        with open_video(path) as video:
            length = video.seconds(video.num_frames) or 0.0
        print(f"video: {length / 3600:.2f} h, {frames} frames, {path.stat().st_size / MEBIBYTE:.0f} MiB", flush=True)
        VideoFile._decode = counted  # type: ignore[method-assign]
        began, rows, at_ten, most = time.perf_counter(), 0, 0, 0
        for row in predictor.timeline(path, window=given.window, stride=given.stride):
            rows += 1
            if row.end >= TEN_MINUTES:
                now = resident()
                at_ten, most = at_ten or now, max(most, now)
        seconds = time.perf_counter() - began
    print(f"rows: {rows}, in {seconds:.0f} s: {length / seconds:.0f} times real time")
    print(f"frames: {decoded} decoded, {frames} in the file")
    more = (most - at_ten) / MEBIBYTE
    print(f"memory: {at_ten / MEBIBYTE:.0f} MiB at ten minutes, at most {more:.1f} MiB more until the end")


if __name__ == "__main__":
    main()
