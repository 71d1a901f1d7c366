"""Predict an archive of many videos in one job that is killed and resumed: every row once, in memory that stays flat.

    python benchmarks/predict_archive.py WEIGHTS CLIPS [--videos 100000] [--kills 2] [--format jsonl] [--workers N]

The archive is a list of that many links to the videos of the folder CLIPS, in turn. `timesformer predict --list LIST
--out FILE --resume` is killed by SIGKILL, the last time it is let alone; then the rows are compared with the list. The
memory is that of all processes of the command, each shared page counted once (PSS), every second: the median of a tenth
of a session's time at its start, after its first rows, and at its end.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from timesformer.data.folders import find_videos


def link_archive(clips: Path, folder: Path, count: int) -> list[str]:
    """Links to the videos in turn, a thousand a folder."""
    videos, paths = find_videos(clips), []
    for number in range(count):
        video = videos[number % len(videos)].absolute()
        path = folder / f"{number // 1000:03}" / f"{number:06}{video.suffix}"
        path.parent.mkdir(exist_ok=True, parents=True)
        path.symlink_to(video)
        paths.append(str(path))
    return paths


def processes_of(group: int) -> list[Path]:
    """The processes of a group, as folders of /proc."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, pgrp = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
        except OSError:  # ended meanwhile
            continue
        if int(pgrp) == group and state != "Z":
            found.append(folder)
    return found


def memory_of(group: int) -> float:
    """MiB of all processes of a group, shared pages once."""
    total = 0
    for process in processes_of(group):
        try:
            lines = (process / "smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
    return total / 1024


def rows_in(part: Path, known: int, offset: int) -> tuple[int, int]:
    """Rows that are there, counted on from `known` at `offset`."""
    if not part.exists():
        return known, offset
    with part.open("rb") as stream:
        stream.seek(offset)
        new = stream.read()
    return known + new.count(b"\n"), offset + len(new)


def session(words: list[str], part: Path, log: Path, until: int | None) -> None:
    """Run the command, to its end or until so many rows are there, and print what it took."""
    there, offset = rows_in(part, 0, 0)
    began, before, first = time.perf_counter(), there, 0.0
    samples: list[float] = []
    with log.open("w") as errors:
        process = subprocess.Popen(words, process_group=0, stderr=errors)
    while process.poll() is None and (until is None or there < until):
        there, offset = rows_in(part, there, offset)
        if there == before:
            time.sleep(0.05)
            continue
        first = first or time.perf_counter() - began
        samples.append(memory_of(process.pid))
        time.sleep(1)
    seconds = time.perf_counter() - began
    if killed := process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.wait()
    gone = time.perf_counter()
    while processes_of(process.pid):  # workers notice that nobody waits for them
        time.sleep(0.1)
    gone = time.perf_counter() - gone
    lines = log.read_text().splitlines()
    if not killed and process.returncode:
        raise SystemExit("\n".join(lines))
    tenth, samples = max(1, len(samples) // 10), samples or [0.0]
    early, late = statistics.median(samples[:tenth]), statistics.median(samples[-tenth:])
    end = f"killed, workers gone after {gone:.1f} s" if killed else lines[-1]
    print(
        f"rows {before} to {there if killed else 'the end'} in {seconds:.1f} s, the first after {first:.1f} s; "
        f"memory {early:.0f} MiB early, {late:.0f} late, {max(samples):.0f} at most; {end}",
        flush=True,
    )


def videos_in(file: Path) -> list[str]:
    """What the rows call their videos."""
    if file.suffix == ".parquet":
        import pyarrow.parquet

        return list(pyarrow.parquet.read_table(file, columns=["video"])["video"].to_pylist())
    with file.open(newline="") as stream:
        if file.suffix == ".csv":
            return [row["video"] for row in csv.DictReader(stream)]
        return [json.loads(line)["video"] for line in stream]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("weights")
    parser.add_argument("clips", type=Path)
    parser.add_argument("--videos", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--format", choices=("jsonl", "csv", "parquet"), default="jsonl")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = link_archive(given.clips, folder / "videos", given.videos)
        (folder / "list.txt").write_text("\n".join(paths) + "\n")
        out = folder / f"rows.{given.format}"
        words = [sys.executable, "-m", "timesformer", "predict", given.weights, "--list", str(folder / "list.txt")]
        words += ["--out", str(out), "--resume", "--top", "1", "--workers", str(given.workers)]
        for kill in range(1, given.kills + 1):
            session(words, folder / f"{out.name}.part", folder / "log", given.videos * kill // (given.kills + 1))
        session(words, folder / f"{out.name}.part", folder / "log", None)
        found = videos_in(out)
        print(f"{len(found)} rows, {len(set(found))} videos; {'as listed' if found == paths else 'NOT as listed'}")
    sys.exit(found != paths)


if __name__ == "__main__":
    main()
