"""Memory of all processes of a run with `--on ray` over very many rows of a stand-in for the decoder.

    python benchmarks/scale_memory.py WEIGHTS [--videos 100000]

The stand-in gives views of nothing at once, and the model's part gives rows of nothing: what is left is Ray, the pipes,
the parts and their files. Memory is that of each process, pages that several have divided among them (PSS), every two
seconds: medians of a tenth of the rows after the first tenth, and of the last one. Exits with 1 where the driver or all
workers together have grown by more than a tenth and 50 MB.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from timesformer.inference.listed import ListedVideos
from timesformer.scale.ray_batch import Progress, run
from timesformer.scale.tasks import Loading
from timesformer.scale.work import About, Piece, Prediction, Result


@dataclass(frozen=True)
class Nothing(Prediction):
    """A prediction of views that are not read and scores that are not computed."""

    def read(self, about: About, source: Any, cells: dict[str, str]) -> Iterator[Piece]:
        yield Piece({}, torch.zeros(1, 3, 4, 32, 32, dtype=torch.uint8))

    def compute(self, predictor: Any, pieces: Sequence[Piece]) -> Iterator[Result]:
        for _ in pieces:
            best = [{"label": f"class {rank}", "score": 0.2} for rank in range(5)]
            yield Result({"predictions": best, "seconds": 1.0, "frames": 1, "seen_seconds": 1.0, "seen_frames": 1})


def memory(mark: str) -> dict[str, float]:
    """MB of this process and of those with the mark, by what they are."""
    found: dict[str, float] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            ours = folder.name == str(os.getpid())
            if not ours and mark.encode() not in (folder / "environ").read_bytes():
                continue
            lines = (folder / "smaps_rollup").read_text().splitlines()
            title = (folder / "cmdline").read_bytes().partition(b"\0")[0].decode()
        except OSError:  # ended meanwhile
            continue
        size = next((int(line.split()[1]) / 1000 for line in lines if line.startswith("Pss:")), 0.0)
        worker = title.startswith("ray::") or Path(title).name.startswith("python")
        kind = "driver" if ours else "workers" if worker else "Ray itself"
        found[kind] = found.get(kind, 0.0) + size
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("--videos", type=int, default=100_000)
    given = parser.parse_args()
    mark = f"SCALE_MEMORY={os.getpid()}"
    os.environ["SCALE_MEMORY"] = str(os.getpid())
    os.environ["PYTHONPATH"] = os.pathsep.join((str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")))
    from scale_memory import Nothing as Importable  # of a module that other processes can import

    names = [f"/nowhere/{number:08}.mp4" for number in range(given.videos)]
    done, samples, ended = [0], list[tuple[float, dict[str, float]]](), threading.Event()

    def watch() -> None:
        while not ended.wait(2):
            samples.append((done[0] / given.videos, memory(mark)))

    def note(progress: Progress) -> None:
        done[0] = progress.done

    watcher = threading.Thread(target=watch)
    with tempfile.TemporaryDirectory() as folder:
        watcher.start()
        began = time.process_time()
        try:
            summary = run(
                Importable(),
                ListedVideos(names, names),
                f"{folder}/rows",
                Loading(weights=str(Path(given.weights).absolute()), device="cpu"),
                on_progress=note,
            )
        finally:
            ended.set()
            watcher.join()
        cpu = time.process_time() - began
    assert summary.total.rows == given.videos
    rate, each = given.videos / summary.seconds, 1e6 * cpu / given.videos
    print(f"{given.videos} rows, {rate:.0f} a second; the driver took {each:.0f} us of processor a row")
    print(f"{summary.total.files} files, {summary.written / given.videos:.0f} bytes a row")
    grown = False
    for kind in ("driver", "workers", "Ray itself"):
        early = [sizes.get(kind, 0.0) for at, sizes in samples if 0.1 <= at < 0.2]
        late = [sizes.get(kind, 0.0) for at, sizes in samples if 0.9 <= at < 1]
        if not early or not late:
            sys.exit("too few samples: more --videos")
        first, last = statistics.median(early), statistics.median(late)
        print(f"{kind:11} {first:6.0f} MB after a tenth of the rows, {last:6.0f} MB at the end")
        grown |= kind != "Ray itself" and last > 1.1 * first + 50
    sys.exit(grown)


if __name__ == "__main__":
    main()
