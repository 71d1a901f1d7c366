"""The rows of `--on ray` beside those of `predict`, and how fast both are on the same cores.

    python benchmarks/scale_ray.py WEIGHTS VIDEOS [--videos 1000] [--workers 2] [--threads N] [--minutes M]

The videos are links under other names to those of the folder VIDEOS, in turn. `timesformer predict --list` and the same
with `--on ray` run one after the other, with the same threads and decoders. Start-up is aside, and what is decoded
during it: speed is that of the videos from a quarter of the rows on, by the time at which they come. All rows are then
compared. --minutes: as many videos as take `predict` that long, by what a first part of 50 takes. Exits with 1 where a
row differs, or where Ray is slower than 0.85 of `predict`.
"""

from __future__ import annotations

import argparse
import json
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


def link(videos: Path, folder: Path, count: int) -> list[str]:
    """Links to the videos in turn, under other names."""
    found, paths = find_videos(videos), []
    for number in range(count):
        video = found[number % len(found)].absolute()
        path = folder / f"{number:07}{video.suffix}"
        path.symlink_to(video)
        paths.append(str(path))
    return paths


def predict(weights: str, names: list[str], folder: Path, workers: int, threads: int | None) -> tuple[Path, float]:
    """The rows of `predict`, and videos a second from a quarter of its rows on."""
    listed, out = folder / f"{len(names)}.txt", folder / f"{len(names)}.jsonl"
    listed.write_text("\n".join(names))
    words = [sys.executable, "-m", "timesformer", "predict", weights, "--list", str(listed), "--workers", str(workers)]
    words += ["--out", str(out), *(["--threads", str(threads)] if threads else [])]
    part = out.with_name(out.name + ".part")
    first, begun = 0, 0.0
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            time.sleep(0.05)
            if not first and part.exists() and (there := part.read_bytes().count(b"\n")) >= len(names) / 4:
                first, begun = there, time.perf_counter()
    return out, (len(names) - first) / (time.perf_counter() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("videos_folder", type=Path, metavar="VIDEOS")
    parser.add_argument("--videos", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--minutes", type=float)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, count = Path(name), given.videos
        (folder / "links").mkdir()
        if given.minutes:
            probe = link(given.videos_folder, folder / "links", 50)
            _, rate = predict(given.weights, probe, folder, given.workers, given.threads)
            count = max(count, round(rate * 60 * given.minutes))
            for path in probe:
                Path(path).unlink()
        names = link(given.videos_folder, folder / "links", count)
        out, alone = predict(given.weights, names, folder, given.workers, given.threads)
        seen: list[tuple[float, int]] = []

        def note(progress: Progress) -> None:
            seen.append((time.perf_counter(), progress.done))

        summary = run(
            Prediction(),
            ListedVideos(names, names),
            str(folder / "rows"),
            Loading(weights=str(Path(given.weights).absolute()), device="cpu"),
            cluster=Cluster(workers=given.workers, threads=given.threads),
            on_progress=note,
        )
        begin, first = next(one for one in seen if one[1] >= count / 4)
        end, last = seen[-1]
        fast = (last - first) / (end - begin)
        rows = {row["video"]: row for row in map(json.loads, out.read_text().splitlines())}
        differ, furthest = compare(rows, pyarrow.dataset.dataset(folder / "rows").to_table().to_pylist())
    print(f"{count} videos: {len(rows)} rows of predict, {summary.total.rows} on Ray, {summary.total.files} files")
    print(f"rows that differ: {differ}; scores differ by {furthest:.1e} at most")
    print(f"videos/s: predict {alone:.2f}, Ray {fast:.2f} in {end - begin:.0f} s; ratio {fast / alone:.3f}")
    sys.exit(differ > 0 or fast < ENOUGH * alone)


def compare(alone: dict[str, dict[str, Any]], found: list[dict[str, Any]]) -> tuple[int, float]:
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
        same = facts and apart < 1e-5 and [one["label"] for one in row["predictions"]] == labels
        differ += not same
    return differ, furthest


if __name__ == "__main__":
    main()
