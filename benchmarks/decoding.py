"""Eight frames spread over a ten-second clip: this package's decoder against torchcodec, decord and plain PyAV.

    python benchmarks/decoding.py [--rounds 15] [--frames 8] [--seconds 10]

Files are h264, 340 x 256 pixels, 30 frames a second, with a keyframe every 250 frames (x264's own choice), every 30,
and every 12. Each decoder opens the file, seeks as it likes, and returns uint8 RGB frames in the file's size, in one
thread. All take turns, `rounds` times over; the ratio is the median over rounds of torchcodec's time in that round over
the decoder's. torchcodec's "approximate" trusts the header for the number of frames, "exact" reads all packets first,
as this package does. Frames are compared: `differs` is the mean absolute difference from torchcodec's, of 255.

torchcodec needs a version for the installed torch, and FFmpeg's libraries (Debian: apt install ffmpeg).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor

from timesformer.video.source import open_video

Read = Callable[[Path, list[int]], Tensor]  # path and frame numbers to (T, 3, H, W)
BASE = "torchcodec, exact"


def ours(path: Path, numbers: list[int]) -> Tensor:
    """This package."""
    with open_video(path) as video:
        return video.read(numbers).transpose(0, 1)


def plain_pyav(path: Path, numbers: list[int]) -> Tensor:
    """All frames up to the last wanted, as the usual loop over PyAV does it."""
    wanted, frames = set(numbers), []
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for number, frame in enumerate(container.decode(video=0)):
            if number in wanted:
                frames.append(torch.from_numpy(frame.to_ndarray(format="rgb24")))
            if number == numbers[-1]:
                break
    return torch.stack(frames).permute(0, 3, 1, 2)


def peers() -> dict[str, Read]:
    """The decoders that are installed."""
    found: dict[str, Read] = {}
    try:
        from torchcodec.decoders import VideoDecoder

        for mode in ("exact", "approximate"):
            found[f"torchcodec, {mode}"] = lambda path, numbers, mode=mode: (
                VideoDecoder(str(path), seek_mode=mode).get_frames_at(numbers).data
            )
    except (ImportError, OSError, RuntimeError) as error:
        print(f"torchcodec: skipped: {str(error).strip().splitlines()[0]}", file=sys.stderr)
    try:
        import decord

        found["decord"] = lambda path, numbers: torch.from_numpy(
            decord.VideoReader(str(path), num_threads=1).get_batch(numbers).asnumpy()
        ).permute(0, 3, 1, 2)
    except (ImportError, OSError) as error:
        print(f"decord: skipped: {str(error).splitlines()[0]}", file=sys.stderr)
    return found | {"PyAV, from the start": plain_pyav}


def write(path: Path, seconds: int, gap: int) -> None:
    """A clip of drifting, textured colours with a keyframe every `gap` frames."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 3 * seconds, 12, 16, generator=generator)
    grain = torch.randn(3, 1, 256, 340, generator=generator) * 12
    clip = F.interpolate(coarse, size=(30 * seconds, 256, 340), mode="trilinear")[0] * 255 + grain
    frames = clip.clamp(0, 255).to(torch.uint8).permute(1, 2, 3, 0).numpy()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 340, 256, "yuv420p"
        stream.options = {"crf": "23", "g": str(gap)}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--seconds", type=int, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    readers = {"ours": ours, **peers()}
    last = 30 * arguments.seconds - 1
    numbers = [last * place // (arguments.frames - 1) for place in range(arguments.frames)]
    table = Table("keyframe every", "", "ms", f"times as fast as {BASE}", "differs")
    with tempfile.TemporaryDirectory() as folder:
        for gap in (250, 30, 12):
            path = Path(folder) / f"{gap}.mp4"
            write(path, arguments.seconds, gap)
            frames = {name: read(path, numbers) for name, read in readers.items()}
            times: dict[str, list[float]] = {name: [] for name in readers}
            for _ in range(arguments.rounds):
                for name, read in readers.items():
                    began = time.perf_counter()
                    read(path, numbers)
                    times[name].append(time.perf_counter() - began)
            for name, own in times.items():
                ratio = differs = ""
                if BASE in times:
                    ratio = f"{statistics.median(a / b for a, b in zip(times[BASE], own, strict=True)):.2f}"
                    differs = f"{(frames[name].float() - frames[BASE].float()).abs().mean():.2f}"
                table.add_row(str(gap), name, f"{statistics.median(own) * 1e3:.0f}", ratio, differs)
    Console().print(table)


if __name__ == "__main__":
    main()
