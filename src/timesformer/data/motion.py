"""A data set of real video files whose eight classes differ in motion alone.

A shape moves over a still, textured background. From one seed come eight clips, one a class, that agree in the
middle frame to the last pixel and part from there: `right`, `down`, `clockwise` (around the middle of the picture)
and `growing`; `left`, `up`, `counter_clockwise` and `shrinking` are these four played backwards. So no single frame
tells a class from its reverse; only the order of frames does.
"""

from __future__ import annotations

import math
import multiprocessing
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from timesformer.errors import DataError
from timesformer.video.encode import write_video

CLASSES = ("clockwise", "counter_clockwise", "down", "growing", "left", "right", "shrinking", "up")
HEIGHT, WIDTH = 48, 56  # pixels
FRAMES, FPS = 21, 10.0
RADII = (7.0, 11.0)  # pixels, in the middle frame
RING = (9.0, 14.0)  # pixels between the middle of the frame and the shape's position in the middle frame
CORNERS = (3, 4, 5, 6)
FORWARD = ("clockwise", "down", "growing", "right")  # the other classes are these, played backwards


class _Job(NamedTuple):
    path: Path
    label: str
    seed: int


def write_motion_data(
    out: str | Path,
    clips_per_class: dict[str, int],
    *,
    seed: int = 0,
    workers: int = 2,
    on_clip: Callable[[], None] = lambda: None,
) -> int:
    """Write OUT/SPLIT/CLASS/NUMBER.mp4 for every split of `clips_per_class`; returns the number of files.

    Every clip has a seed of its own, so the same call writes the same clips whatever `workers` is. `on_clip` is
    called once a clip. OUT appears when it is complete. Raises DataError where OUT holds something already.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out}: exists already; name a new or an empty folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        work = list(_jobs(temporary, clips_per_class, seed))
        for folder in {job.path.parent for job in work}:
            folder.mkdir(parents=True, exist_ok=True)
        with multiprocessing.get_context("spawn").Pool(workers, torch.set_num_threads, (1,)) as pool:
            for _ in pool.imap_unordered(_write, work, chunksize=16):
                on_clip()
        temporary.chmod(0o755)
        temporary.replace(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return len(work)


def _jobs(out: Path, clips_per_class: dict[str, int], seed: int) -> Iterator[_Job]:
    for split_number, (split, count) in enumerate(clips_per_class.items()):
        for class_number, label in enumerate(CLASSES):
            for number in range(count):
                clip_seed = ((seed * 16 + split_number) * len(CLASSES) + class_number) * 1_000_000 + number
                yield _Job(out / split / label / f"{number:05d}.mp4", label, clip_seed)


def _write(job: _Job) -> None:
    write_video(job.path, motion_clip(job.label, job.seed), FPS)


def motion_clip(label: str, seed: int, height: int = HEIGHT, width: int = WIDTH) -> Tensor:
    """One clip of a class: uint8 RGB (3, 21, height, width)."""
    if label not in CLASSES:
        raise ValueError(f"label {label!r}: expected one of {', '.join(CLASSES)}")
    generator = torch.Generator().manual_seed(seed)
    steps = torch.arange(FRAMES) - (FRAMES - 1) / 2
    mask = moving_shape(label, steps, generator, height, width, height / HEIGHT)
    background = texture(height, width, generator)
    colour = bright_colour(generator)
    clip = background[:, None] * (1 - mask) + colour[:, None, None, None] * mask
    return (clip * 255).round().to(torch.uint8)


def moving_shape(
    label: str,
    steps_T: Tensor,
    generator: torch.Generator,
    height: int,
    width: int,
    scale: float,
    middle: tuple[float, float] = (0.5, 0.5),
) -> Tensor:
    """Soft mask (1, T, height, width) of a shape that moves as a class says.

    steps_T: where on its way it is in each frame, in frames of `motion_clip`; 0 is the middle, where all classes agree.
    scale: its size and speed, as a multiple of what they are in a clip of 48 pixels. middle: what it moves around, as
    fractions of height and width.
    """

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * torch.rand((), generator=generator).item()

    time = steps_T if label in FORWARD else -steps_T
    distance, start = scale * uniform(*RING), uniform(0, math.tau)
    pace = uniform(0, 1)
    angle = torch.full((len(time),), start)
    if label in ("clockwise", "counter_clockwise"):
        angle = angle + time * (0.22 + 0.12 * pace)
    x = width * middle[1] + scale * uniform(-4, 4) + distance * angle.cos()
    y = height * middle[0] + scale * uniform(-4, 4) + distance * angle.sin()
    radius = torch.full((len(time),), scale * math.exp(uniform(*map(math.log, RADII))))
    turn = uniform(0, math.tau)
    if label in ("left", "right"):
        x = x + time * (1.1 + 0.9 * pace) * scale
    elif label in ("up", "down"):
        y = y + time * (1.1 + 0.9 * pace) * scale
    elif label in ("growing", "shrinking"):
        radius = radius * (time * (0.04 + 0.03 * pace)).exp()
    corners = CORNERS[int(uniform(0, len(CORNERS)))]
    return _polygon(x, y, radius, corners, turn, height, width)


def _polygon(x: Tensor, y: Tensor, radius: Tensor, corners: int, turn: float, height: int, width: int) -> Tensor:
    """Soft mask (1, T, H, W) of a regular polygon."""
    dx = torch.arange(width) + 0.5 - x[:, None]
    dy = torch.arange(height) + 0.5 - y[:, None]
    dx, dy = torch.broadcast_tensors(dx[:, None, :], dy[:, :, None])
    sector = math.tau / corners
    angle = (torch.atan2(dy, dx) + turn) % sector - sector / 2
    apothem = radius[:, None, None] * math.cos(sector / 2)
    return (apothem - torch.hypot(dx, dy) * angle.cos() + 0.5).clamp(0, 1)[None]


def texture(height: int, width: int, generator: torch.Generator) -> Tensor:
    """Dark coloured blotches with fine grain: (3, H, W) in 0..1."""
    base = torch.rand(3, 1, 1, generator=generator) * 0.2
    coarse = torch.rand(1, 3, 4, 4, generator=generator) * 0.2
    fine = torch.rand(1, 1, height // 4, width // 4, generator=generator) * 0.15
    coarse, fine = (F.interpolate(part, size=(height, width), mode="bicubic") for part in (coarse, fine))
    return (base + coarse[0] + fine[0]).clamp(0, 1)


def bright_colour(generator: torch.Generator) -> Tensor:
    """A colour (3,) whose channels run from 0.3 or less to 1."""
    colour = torch.rand(3, generator=generator)
    low, high = colour.min(), colour.max()
    floor = 0.3 * torch.rand((), generator=generator)
    return floor + (colour - low) / (high - low) * (1 - floor)
