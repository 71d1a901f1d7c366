"""Throughput and latency of the service, beside the rate of `timesformer predict` on the same files.

    python benchmarks/serve_load.py WEIGHTS VIDEO|FOLDER... [--seconds 60] [--clients 1 8 64] [--files 100]
        [--threads N] [--tolerance 1e-3]

`timesformer predict` classifies the files (its rate, without loading, is its own last line's) and gives the answers
that the service must give: the same class, scores within the tolerance. Then clients ask from this machine, each for
one file after another over a connection of its own. An answer that is not 200 is a failure. Prints, for each number of
clients, requests a second and that as a part of predict's rate; p50, p95 and p99 of the latency of what was answered;
wrong answers and failures; and the service's memory (RSS) after a tenth of the time and at the end. Exits with 1 where
there were wrong answers or failures.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from serve_process import Served, ask, served, videos_of  # beside this file


def predict(weights: str, files: list[Path], options: list[str]) -> tuple[dict[str, Any], float]:
    """The answers of `timesformer predict`, by path, and its videos a second."""
    command = [sys.executable, "-m", "timesformer", "predict", weights, *map(str, files), "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rate = re.search(r"([0-9.]+) videos/s", done.stderr)
    assert rate, "give at least two files"
    return {row["video"]: row["predictions"] for row in json.loads(done.stdout)}, float(rate[1])


def same(found: list[dict[str, Any]], expected: list[dict[str, Any]], tolerance: float) -> bool:
    scores = {row["label"]: row["score"] for row in expected}
    near = all(abs(row["score"] - scores.get(row["label"], row["score"])) <= tolerance for row in found)
    first = found[0]["label"] == expected[0]["label"] or abs(found[0]["score"] - expected[0]["score"]) <= tolerance
    return near and first and len(found) == len(expected)


class Load:
    """Clients that ask until the time is up."""

    def __init__(self, service: Served, contents: list[tuple[bytes, Any]], tolerance: float) -> None:
        self.service, self.contents, self.tolerance = service, contents, tolerance
        self.seconds: list[float] = []
        self.wrong = self.failed = 0
        self.lock = threading.Lock()

    def client(self, number: int, until: float) -> None:
        connection = self.service.connect()
        turn = number
        while time.monotonic() < until:
            content, expected = self.contents[turn % len(self.contents)]
            turn += 1
            start = time.monotonic()
            try:
                status, row = ask(connection, content, "video")
            except OSError:
                status, row = 0, {}
                connection.close()
            with self.lock:
                if status != 200:
                    self.failed += 1
                    continue
                self.seconds.append(time.monotonic() - start)
                self.wrong += not same(row["predictions"], expected, self.tolerance)

    def run(self, clients: int, seconds: float) -> tuple[float, float, float]:
        """Seconds until the last answer, and MiB of the service early and late."""
        start = time.monotonic()
        threads = [
            threading.Thread(target=self.client, args=(number * 7, start + seconds)) for number in range(clients)
        ]
        for thread in threads:
            thread.start()
        time.sleep(seconds / 10)
        early = self.service.resident()
        for thread in threads:
            thread.join()
        return time.monotonic() - start, early, self.service.resident()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("videos", nargs="+")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--tolerance", type=float, default=1e-3)
    given = parser.parse_args()
    options = ["--threads", str(given.threads)] if given.threads else []
    files = videos_of(given.videos)[: given.files]
    expected, rate = predict(given.weights, files, options)
    print(f"predict: {rate:.2f} videos/s, {len(files)} files")
    contents = [(file.read_bytes(), expected[str(file)]) for file in files]
    print("clients  requests/s  of predict     p50     p95     p99  wrong  failed   RSS MiB")
    good = True
    with served(given.weights, *options) as service:
        warm = service.connect()
        for content, _ in contents[:3]:
            ask(warm, content, "video")
        for clients in given.clients:
            load = Load(service, contents, given.tolerance)
            seconds, early, late = load.run(clients, given.seconds)
            ordered = sorted(load.seconds) or [math.nan]
            p50, p95, p99 = (ordered[int(part * (len(ordered) - 1))] for part in (0.5, 0.95, 0.99))
            per_second = len(load.seconds) / seconds
            good &= not load.wrong and not load.failed
            print(
                f"{clients:7}{per_second:12.2f}{per_second / rate:12.2f}{p50:8.3f}{p95:8.3f}{p99:8.3f}"
                f"{load.wrong:7}{load.failed:8}{early:6.0f}{late:6.0f}",
                flush=True,
            )
    sys.exit(not good)


if __name__ == "__main__":
    main()
