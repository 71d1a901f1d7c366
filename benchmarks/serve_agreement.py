"""Whether `/v1/predict` gives what `timesformer predict` prints, file by file.

    python benchmarks/serve_agreement.py FOLDER WEIGHTS... [--files 100] [--clients 8] [--precision fp32]
        [--tolerance 1e-4]

WEIGHTS: a run, a folder of weights, an exported file; one after the other. All classes of the files of FOLDER are asked
for, by so many clients at a time, so that clips of several files share a batch. Prints for each WEIGHTS how many files
have the same best class and the same order of all classes, and the largest difference of a score. Exits with 1 where
a best class differs or a score by more than the tolerance.

In bfloat16, which `auto` takes where a processor computes in it, rounding depends on the size of a batch; --precision
fp32 shows what differs without that.
"""

from __future__ import annotations

import argparse
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from serve_process import Served, ask, predict, served, videos_of  # beside this file

ALL = 100_000  # classes


def answers(service: Served, files: list[Path], clients: int) -> list[list[dict[str, Any]]]:
    """The classes of each file, best first."""
    own = threading.local()

    def classes(file: Path) -> list[dict[str, Any]]:
        if not hasattr(own, "connection"):
            own.connection = service.connect()
        status, row = ask(own.connection, file.read_bytes(), file.name, ALL)
        if status != 200:
            sys.exit(f"{file}: {status}: {row}")
        found: list[dict[str, Any]] = row["predictions"]
        return found

    with ThreadPoolExecutor(clients) as pool:
        return list(pool.map(classes, files))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("weights", nargs="+")
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--precision")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    given = parser.parse_args()
    options = ["--precision", given.precision] if given.precision else []
    found = videos_of([given.folder])
    files = found[:: max(len(found) // given.files, 1)][: given.files]  # of all its classes
    good = True
    print("files  same class  same order  largest difference  weights")
    for weights in given.weights:
        expected, _ = predict(weights, files, [*options, "--top", str(ALL)])
        with served(weights, *options) as service:
            rows = answers(service, files, given.clients)
        classes = orders = 0
        largest = 0.0
        for file, row in zip(files, rows, strict=True):
            printed = expected[str(file)]
            labels, told = [one["label"] for one in row], [one["label"] for one in printed]
            classes += labels[0] == told[0]
            orders += labels == told
            scores = {one["label"]: one["score"] for one in printed}
            if scores.keys() != set(labels):
                sys.exit(f"{file}: {len(labels)} classes; expected {len(scores)}")
            largest = max(largest, *(abs(one["score"] - scores[one["label"]]) for one in row))
        print(f"{len(files):5}{classes:12}{orders:12}{largest:20.1e}  {weights}", flush=True)
        good &= classes == len(files) and largest <= given.tolerance
    sys.exit(not good)


if __name__ == "__main__":
    main()
