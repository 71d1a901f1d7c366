"""Actions between idle stretches: how well a timeline finds them, and `cover` against one middle clip.

    python benchmarks/timeline_actions.py data DATA OUT [--by subject] [--idle 8]
    timesformer train --data OUT --recipe finetune-small --out RUN
    python benchmarks/timeline_actions.py measure DATA RUN OUT [--by subject] [--background idle | --threshold T]

`data` writes training data with a class `idle` beside those of DATA: DATA/train.csv, and idle clips of each of its
people. `measure` joins long videos from the clips of DATA/test.csv, those of one person in each video, with the true
segments in OUT/truth.csv, and writes OUT/results.md:

- Several actions in a video, idle stretches of 2 to 5 s between them: frame accuracy and mean average precision of the
  timeline with overlapping windows and smoothing, of one window a video, and of windows of 2 s side by side, not
  smoothed.
- One action anywhere in 12 s: top-1 of `cover` and of one clip in the middle, background classes left aside.

An idle stretch is either the first frame of the clip after it, held, or the first frames of another clip of this
person, forwards and backwards. DATA is a folder of train.csv and test.csv with path, label and a column of people.
"""

from __future__ import annotations

import argparse
import csv
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

import timesformer
from timesformer.config import Sampling
from timesformer.data.labelled_csv import labelled_rows
from timesformer.evaluation.temporal import Detection, TemporalMetrics, TrueSegment, measure_segments
from timesformer.inference.predictor import Predictor
from timesformer.inference.segments import ScoredWindow, Segmenter
from timesformer.video.encode import write_video
from timesformer.video.source import open_video

IDLE = "idle"
STILL = 8  # frames at a clip's start in which nobody has moved much
GAPS = (2.0, 5.0)  # seconds of an idle stretch
ALONE = 12.0  # seconds of a video of one action
GRID = 2.0  # seconds of the windows side by side
THRESHOLDS = (0.3, 0.5, 0.7)


class Clip(NamedTuple):
    """A clip of a data set."""

    path: Path
    label: str
    person: str


@dataclass
class Joined:
    """A long video in the making: its frames, and its true segments as first and last frame."""

    parts: list[Tensor]
    truth: list[tuple[int, int, str]]

    @property
    def length(self) -> int:
        return sum(part.shape[1] for part in self.parts)

    def idle(self, frames: int, draw: random.Random, person: Sequence[Clip], ahead: Tensor | None) -> None:
        """An idle stretch before the clip `ahead`, or at the end."""
        self.parts.append(idle_frames(frames, draw, person, ahead))

    def action(self, clip: Tensor, label: str) -> None:
        self.truth.append((self.length, self.length + clip.shape[1], label))
        self.parts.append(clip)


def read_clips(data: Path, split: str, by: str) -> list[Clip]:
    rows = labelled_rows(data / f"{split}.csv")
    assert rows is not None, f"{data / split}.csv: no header with path and label"
    cells = zip(rows.column("path"), rows.column("label"), rows.column(by), strict=True)
    return [Clip(data / path, label, person) for path, label, person in cells]


def frames_of(clip: Clip) -> tuple[Tensor, float]:
    """All frames, uint8 (3, T, H, W), and how many there are a second."""
    with open_video(clip.path) as video:
        assert video.fps, f"{clip.path}: unknown frame rate"
        return video.read(range(video.num_frames)), video.fps


def idle_frames(frames: int, draw: random.Random, person: Sequence[Clip], ahead: Tensor | None) -> Tensor:
    """`frames` frames in which nothing is done: the first one of `ahead`, held, or those at the start of any clip."""
    if ahead is not None and draw.random() < 0.5:
        return ahead[:, :1].expand(-1, frames, -1, -1)
    start, _ = frames_of(draw.choice(person))
    there = [*range(STILL), *range(STILL - 2, 0, -1)]
    return start[:, [there[number % len(there)] for number in range(frames)]]


def write_training_data(data: Path, out: Path, by: str, idle: int, seed: int) -> None:
    """Lists with absolute paths, with `idle` more clips of each person, as long as others are."""
    draw = random.Random(seed)
    for split in ("train", "test"):
        clips = read_clips(data, split, by)
        rows = [(str(clip.path.absolute()), clip.label, clip.person) for clip in clips]
        (out / IDLE).mkdir(parents=True, exist_ok=True)
        for person in sorted({clip.person for clip in clips}):
            own = [clip for clip in clips if clip.person == person]
            for number in range(idle):
                like, fps = frames_of(draw.choice(own))
                file = out / IDLE / f"{split}_{person}_{number:02}.mp4"
                write_video(file, idle_frames(like.shape[1], draw, own, like), fps)
                rows.append((f"{IDLE}/{file.name}", IDLE, person))
        with (out / f"{split}.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows([("path", "label", by), *rows])
        print(f"{out / split}.csv: {len(rows)} clips, {sum(row[1] == IDLE for row in rows)} of them idle")


def several_actions(clips: list[Clip], count: int, actions: int, draw: random.Random) -> Iterator[tuple[Joined, float]]:
    """Videos of different actions of one person each, people in turn, with their frame rate."""
    people = sorted({clip.person for clip in clips})
    for number in range(count):
        own = [clip for clip in clips if clip.person == people[number % len(people)]]
        labels = draw.sample(sorted({clip.label for clip in own}), actions)
        joined = Joined([], [])
        for label in labels:
            clip, fps = frames_of(draw.choice([one for one in own if one.label == label]))
            joined.idle(round(draw.uniform(*GAPS) * fps), draw, own, clip)
            joined.action(clip, label)
        joined.idle(round(draw.uniform(*GAPS) * fps), draw, own, None)
        yield joined, fps


def one_action(clips: list[Clip], count: int, draw: random.Random) -> Iterator[tuple[Joined, float]]:
    """Videos of one action anywhere in ALONE seconds, classes in turn."""
    labels = sorted({clip.label for clip in clips})
    for number in range(count):
        chosen = draw.choice([clip for clip in clips if clip.label == labels[number % len(labels)]])
        own = [clip for clip in clips if clip.person == chosen.person]
        clip, fps = frames_of(chosen)
        room = round(ALONE * fps) - clip.shape[1]
        before = draw.randint(0, room)
        joined = Joined([], [])
        joined.idle(before, draw, own, clip)
        joined.action(clip, chosen.label)
        joined.idle(room - before, draw, own, None)
        yield joined, fps


def write_videos(
    videos: Iterator[tuple[Joined, float]], folder: Path
) -> tuple[list[TrueSegment], dict[str, list[float]]]:
    """Their true segments, and the times of the frames of each."""
    folder.mkdir(parents=True, exist_ok=True)
    truth, frames = [], {}
    for number, (joined, fps) in enumerate(videos):
        path = folder / f"{number:03}.mp4"
        write_video(path, torch.cat(joined.parts, 1), fps)
        truth += [TrueSegment(str(path), first / fps, stop / fps, label) for first, stop, label in joined.truth]
        frames[str(path)] = [number / fps for number in range(joined.length)]
    return truth, frames


def windows_of(predictor: Predictor, video: str, **options: Any) -> Iterator[ScoredWindow]:
    for row in predictor.timeline(video, **options):
        yield ScoredWindow.of(row.start, row.end, row.scores)


def whole_video(predictor: Predictor, video: str, times: list[float]) -> Iterator[ScoredWindow]:
    """One window: what `predict` says of the video."""
    yield ScoredWindow(0.0, times[-1] + 1e-3, predictor.scores(video).numpy())


def clips_as(predictor: Predictor, method: str, window: float, fps: float) -> Predictor:
    """The same classifier with clips of `window` seconds: one in the middle ("span"), or as many as cover the video."""
    rate = window * fps / predictor.settings.clip_shape.frames
    sampling = Sampling(method=method, rate=rate)
    preprocessing = predictor.preprocessing.model_copy(update={"sampling": sampling, "test_clips": 1})
    fingerprints = predictor.fingerprint, predictor.feature_fingerprint
    return Predictor(predictor.engine, predictor.settings, preprocessing, predictor.labels, *fingerprints)


def top1(predictor: Predictor, truth: list[TrueSegment], background: Sequence[str]) -> float:
    """The fraction of videos whose best class is that of their action; background classes are left aside."""
    right = 0
    for one in truth:
        scores = predictor.scores(one.video)
        for name in background:
            scores[predictor.labels.index(name)] = -1
        right += predictor.labels[int(scores.argmax())] == one.label
    return right / len(truth)


def measure(arguments: argparse.Namespace) -> str:
    """The results as Markdown."""
    began = time.perf_counter()
    draw = random.Random(arguments.seed)
    clips = read_clips(arguments.data, "test", arguments.by)
    predictor = timesformer.load(arguments.weights, "cpu", precision="fp32")
    several = several_actions(clips, arguments.videos, arguments.actions, draw)
    truth, frames = write_videos(several, arguments.out / "several")
    single, single_frames = write_videos(one_action(clips, arguments.single, draw), arguments.out / "single")
    with (arguments.out / "truth.csv").open("w", newline="") as stream:
        rows = [(Path(one.video).relative_to(arguments.out), *one[1:]) for one in truth]
        csv.writer(stream).writerows([("video", "start", "end", "label"), *rows])
    segmenter = Segmenter(
        predictor.labels,
        threshold=arguments.threshold,
        min_length=arguments.min_length,
        background=arguments.background,
    )
    plain = Segmenter(predictor.labels, threshold=arguments.threshold, background=arguments.background)
    window, stride, smooth = arguments.window, arguments.stride, arguments.smooth
    ways = {
        f"timeline, a window every {stride:g} s, smoothed over {smooth:g} s each way": (
            segmenter,
            lambda video: windows_of(predictor, video, window=window, stride=stride, smooth=smooth),
        ),
        "one window a video": (plain, lambda video: whole_video(predictor, video, frames[video])),
        f"windows of {GRID:g} s side by side, not smoothed": (
            plain,
            lambda video: windows_of(predictor, video, window=GRID, stride=GRID, smooth=0.0),
        ),
    }
    lines = ["| | frame accuracy | mAP at 0.3 | 0.5 | 0.7 |", "|---|---|---|---|---|"]
    for name, (segments_of, windows) in ways.items():
        found = [
            Detection(video, one.start, one.end, one.label, one.mean_score)
            for video in frames
            for one in segments_of.segments(windows(video))
        ]
        metrics = measure_segments(found, truth, frames, THRESHOLDS)
        lines.append(as_line(name, metrics))
    lines.append(f"| all frames alike | {metrics.most_frequent:.3f} | | | |")
    fps = 1 / single_frames[single[0].video][1]
    seconds = window or next(windows_of(predictor, single[0].video)).end
    lines += ["", f"| clips of {seconds:.2f} s | top-1 |", "|---|---|"]
    for name, method in (("`cover`", "cover"), ("one in the middle", "span")):
        lines.append(
            f"| {name} | {top1(clips_as(predictor, method, seconds, fps), single, arguments.background):.3f} |"
        )
    minutes = sum(len(times) for times in frames.values()) / fps / 60
    lines += [
        "",
        f"{len(frames)} videos of {minutes:.1f} minutes with {len(truth)} actions; {len(single)} videos of one.",
    ]
    lines.append(f"Seed {arguments.seed}; {time.perf_counter() - began:.0f} s.")
    return "\n".join(lines) + "\n"


def as_line(name: str, metrics: TemporalMetrics) -> str:
    values = [metrics.frame_accuracy, *metrics.mean_average_precision.values()]
    return f"| {name} | {' | '.join(f'{value:.3f}' for value in values)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    data, measured = verbs.add_parser("data"), verbs.add_parser("measure")
    for verb in (data, measured):
        verb.add_argument("data", type=Path)
        verb.add_argument("--by", default="subject", help="column of people")
        verb.add_argument("--seed", type=int, default=0)
    data.add_argument("out", type=Path)
    data.add_argument("--idle", type=int, default=8, help="idle clips a person")
    measured.add_argument("weights")
    measured.add_argument("out", type=Path)
    measured.add_argument("--videos", type=int, default=12, help="of several actions")
    measured.add_argument("--actions", type=int, default=5, help="in each of them")
    measured.add_argument("--single", type=int, default=54, help="videos of one action")
    measured.add_argument("--window", type=float, help="seconds; the clip's own if not given")
    measured.add_argument("--stride", type=float, default=0.5, help="seconds")
    measured.add_argument("--smooth", type=float, default=0.5, help="seconds before and after")
    measured.add_argument("--min-length", type=float, default=1.0, help="of segments of the timeline, seconds")
    measured.add_argument("--threshold", type=float, default=0.0)
    measured.add_argument("--background", action="append", default=[], help="class of the weights")
    arguments = parser.parse_args()
    if arguments.verb == "data":
        write_training_data(arguments.data, arguments.out, arguments.by, arguments.idle, arguments.seed)
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = measure(arguments)
    (arguments.out / "results.md").write_text(results)
    print(results, end="")


if __name__ == "__main__":
    main()
