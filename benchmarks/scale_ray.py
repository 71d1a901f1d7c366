"""The rows of `--on ray` beside those of `predict`, and how fast both are on the same two cores.

    python benchmarks/scale_ray.py WEIGHTS VIDEOS [--videos 1000] [--minutes M] [--rounds 4] [--workers 2] [--cores 2]
        [--threads N] [--precision fp32]

The videos are links under other names to those of the folder VIDEOS, in turn. `timesformer predict --list` and the same
with `--on ray` take turns on a part of them a round (predict, Ray, Ray, predict, ...), with the same cores and as many
decoders; threads are those that each takes by itself (`--threads` is for both). Start-up is aside, and what is decoded
during it: speed is that of the videos from a quarter of a round's rows on, by the times at which they come. All rows
are then compared; --precision fp32 shows what differs without the rounding of bf16. --minutes: as many videos, at least
--videos, as take `predict` that long in all rounds together, by what a first part of 50 takes. Exits with 1 where a row
differs, or where Ray is slower than 0.85 of `predict`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow.dataset

from timesformer.data.folders import find_videos
from timesformer.inference.listed import ListedVideos
from timesformer.scale.cluster import Cluster
from timesformer.scale.ray_batch import Progress, run
from timesformer.scale.tasks import Loading
from timesformer.scale.work import Prediction

ENOUGH = 0.85
ROUNDING = {"fp32": 1e-5, "auto": 1e-3}  # of scores: views of other videos share a batch, and bf16 has three digits


def link(videos: Path, folder: Path, count: int) -> list[str]:
    """Links to the videos in turn, under other names."""
    found, paths = find_videos(videos), []
    for number in range(count):
        video = found[number % len(found)].absolute()
        path = folder / f"{number:07}{video.suffix}"
        path.symlink_to(video)
        paths.append(str(path))
    return paths


class Times(list[tuple[float, int]]):
    """Rows that are there, each time that some have come."""

    def note(self, rows: int) -> None:
        if rows and (not self or rows > self[-1][1]):
            self.append((time.perf_counter(), rows))

    def stretch(self) -> tuple[int, float]:
        """Videos from a quarter of the rows on, and their seconds. Ends the program where all came at once."""
        end, last = self[-1]
        begin, first = next(one for one in self if one[1] >= last / 4)
        if begin == end:
            sys.exit(f"{last} videos: their rows came at once, so there is no speed; more --videos are needed")
        return last - first, end - begin


def predict(
    weights: str, names: list[str], out: Path, workers: int, threads: int | None, precision: str = "auto"
) -> Times:
    """The rows of `predict`, in the file `out`, and when they came."""
    listed, said, times = out.with_suffix(".txt"), out.with_suffix(".err"), Times()
    listed.write_text("\n".join(names))
    words = [sys.executable, "-m", "timesformer", "predict", weights, "--list", str(listed), "--workers", str(workers)]
    words += ["--out", str(out), "--device", "cpu", "--precision", precision]
    words += ["--threads", str(threads)] if threads else []
    part, rows, stream = out.with_name(out.name + ".part"), 0, None
    with said.open("w") as errors, subprocess.Popen(words, stderr=errors) as process:
        ended = False
        while not ended:
            ended = process.poll() is not None
            if stream is None and part.exists():
                stream = part.open("rb")
            if stream is not None:  # the file is renamed at the end, and stays open
                rows += stream.read().count(b"\n")
                times.note(rows)
            time.sleep(0.02)
    if stream is None:
        sys.exit(said.read_text())
    stream.close()
    return times


def on_ray(
    weights: str, names: list[str], out: Path, workers: int, threads: int | None, precision: str = "auto"
) -> Times:
    """The same, in the folder `out`."""
    times = Times()

    def note(progress: Progress) -> None:
        times.note(progress.done)

    run(
        Prediction(),
        ListedVideos(names, names),
        str(out),
        Loading(weights=str(Path(weights).absolute()), device="cpu", precision=precision),
        cluster=Cluster(workers=workers, threads=threads),
        on_progress=note,
    )
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("videos_folder", type=Path, metavar="VIDEOS")
    parser.add_argument("--videos", type=int, default=1000)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--precision", choices=tuple(ROUNDING), default="auto")
    given = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: given.cores])  # its processes have the same
    how = given.workers, given.threads, given.precision
    with tempfile.TemporaryDirectory() as name:
        folder, count = Path(name), given.videos
        (folder / "probe").mkdir()
        (folder / "links").mkdir()
        if given.minutes:
            times = predict(given.weights, link(given.videos_folder, folder / "probe", 50), folder / "p.jsonl", *how)
            videos, seconds = times.stretch()
            count = max(count, round(videos / seconds * 60 * given.minutes))
        names = link(given.videos_folder, folder / "links", count)
        alone, ray = list[tuple[int, float]](), list[tuple[int, float]]()
        rows, found = dict[str, dict[str, Any]](), list[dict[str, Any]]()
        for number in range(given.rounds):
            part = names[number :: given.rounds]
            file, parts = folder / f"{number}.jsonl", folder / f"rows-{number}"
            for turn in range(2):
                if turn == number % 2:
                    alone.append(predict(given.weights, part, file, *how).stretch())
                else:
                    ray.append(on_ray(given.weights, part, parts, *how).stretch())
            rows |= {row["video"]: row for row in map(json.loads, file.read_text().splitlines())}
            found += pyarrow.dataset.dataset(parts).to_table().to_pylist()
            one, two = (videos / seconds for videos, seconds in (alone[-1], ray[-1]))
            print(f"round {number + 1}: videos/s: predict {one:.2f}, Ray {two:.2f}; ratio {two / one:.3f}", flush=True)
        differ, furthest = compare(rows, found, ROUNDING[given.precision])
    print(f"{count} videos: {len(rows)} rows of predict, {len(found)} on Ray")
    print(f"rows that differ: {differ}; scores differ by {furthest:.1e} at most")
    (one, first), (two, second) = (map(sum, zip(*times, strict=True)) for times in (alone, ray))
    ratio = two / second / (one / first)
    print(
        f"videos/s: predict {one / first:.2f} in {first:.0f} s, Ray {two / second:.2f} in {second:.0f} s; "
        f"ratio {ratio:.3f}"
    )
    sys.exit(differ > 0 or ratio < ENOUGH)


def compare(
    alone: dict[str, dict[str, Any]], found: list[dict[str, Any]], rounding: float = ROUNDING["fp32"]
) -> tuple[int, float]:
    """Rows that differ in more than the rounding of scores, or are missing or doubled; how far scores differ."""
    furthest, differ = 0.0, abs(len(alone) - len(found))
    for row in found:
        other = alone.get(row["video"], {})
        scores = [one.pop("score") for one in row["predictions"]]
        others = [one["score"] for one in other.get("predictions", ())]
        labels = [one["label"] for one in other.get("predictions", ())]
        apart = max((abs(one - two) for one, two in zip(scores, others, strict=False)), default=0.0)
        furthest = max(furthest, apart)
        facts = all(row[fact] == other.get(fact) for fact in ("problem", "seconds", "frames", "seen_frames"))
        same = facts and apart < rounding and [one["label"] for one in row["predictions"]] == labels
        differ += not same
    return differ, furthest


if __name__ == "__main__":
    main()
