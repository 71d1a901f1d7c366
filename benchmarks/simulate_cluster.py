"""What 1,000 workers that fail make of a million videos: stragglers and restarts, by simulation.

    python benchmarks/simulate_cluster.py [--videos 1000000] [--workers 1000] [--times FILE.csv] [--seed 0]

Each worker takes the next task of `--on ray`, a block of neighbouring videos, when it is free; the time of a video is
drawn from measured times: lines of FILE, seconds, or without one those below. A worker fails at random, by its mean
time between failures; what it had begun of its task is lost and done by another one, and it is away for RESTART
seconds. One video in HANGS takes until its time limit, twice (one more try). The numbers: how much longer the run takes
than work / workers, and how much work is done twice.
"""

from __future__ import annotations

import argparse
import heapq
from pathlib import Path

import numpy as np

# Times of a video in multiples of their mean, 20 quantiles: processor seconds of read_views (8 x 224 x 224, three
# crops) of 200 videos of ../shared/datasets, drawn at random; mean 6.2 ms. A model takes the same for all of them.
MEASURED = (
    *(0.613, 0.653, 0.679, 0.707, 0.717, 0.737, 0.754, 0.769, 0.787, 0.817),
    *(0.839, 0.864, 0.891, 0.946, 1.027, 1.259, 1.472, 1.613, 1.723, 2.01),
)
RESTART, LIMIT, TRIES, HANGS = 60.0, 300.0, 2, 100_000
PART = 128  # videos, at most: a part is written when it is complete


def simulate(
    seconds: np.ndarray, chunk: int, workers: int, failure_hours: float, generator: np.random.Generator
) -> tuple[float, float, int]:
    """When the last task is done, seconds of work that were lost, and failures. seconds: of each video, in order."""
    tasks = [float(part.sum()) for part in np.split(seconds, range(chunk, len(seconds), chunk))]
    waiting = list(reversed(tasks))
    free = [(0.0, worker) for worker in range(workers)]
    rate = failure_hours * 3600
    fails = generator.exponential(rate, workers) if failure_hours else np.full(workers, np.inf)
    lost, failures, end = 0.0, 0, 0.0
    heapq.heapify(free)
    while waiting:
        now, worker = heapq.heappop(free)
        while fails[worker] < now:  # it was away, or had nothing to do
            fails[worker] += generator.exponential(rate)
        took = waiting.pop()
        if now + took > fails[worker]:
            lost += fails[worker] - now
            failures += 1
            waiting.append(took)  # Ray gives it to the next one that is free
            heapq.heappush(free, (fails[worker] + RESTART, worker))
            fails[worker] += RESTART + generator.exponential(rate)
        else:
            end = max(end, now + took)
            heapq.heappush(free, (now + took, worker))
    return end, lost, failures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--times", type=Path)
    parser.add_argument("--mean", type=float, default=3.0, help="seconds of a video, to which times are scaled")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    generator = np.random.default_rng(given.seed)
    measured = np.array(MEASURED if given.times is None else [float(x) for x in given.times.read_text().split()])
    seconds = generator.choice(measured, given.videos) / measured.mean() * given.mean
    ideal = seconds.sum() / given.workers
    hanging = seconds.copy()
    hanging[generator.random(given.videos) < 1 / HANGS] = LIMIT * TRIES
    print(f"{given.videos} videos of {given.mean:g} s, {given.workers} workers: {ideal / 60:.1f} min with nothing lost")
    print("videos a task | mean hours to a failure | hangs | longer by | work lost | failures")
    for chunk in (8, 64, 512):
        for hours, times, hang in ((0, seconds, "no"), (0, hanging, "yes"), (24, hanging, "yes"), (2, hanging, "yes")):
            end, lost, failures = simulate(times, chunk, given.workers, hours, generator)
            print(
                f"{chunk:13} | {hours or 'never':>23} | {hang:>5} | {end * given.workers / times.sum() - 1:9.2%} | "
                f"{lost / times.sum():9.3%} | {failures:8}"
            )
    on_the_way = min(given.videos, given.workers * PART)
    print(f"a driver that is killed: parts of tasks under way, at most {on_the_way / given.videos:.1%} of the videos")
    print("again, and those of tasks that wait for a model")


if __name__ == "__main__":
    main()
