"""A run in which 5% of the files are broken: in different ways, one that hangs the decoder, one that takes all memory.

    python benchmarks/scale_poison.py WEIGHTS VIDEOS [--videos 400] [--seconds 20] [--memory 0.5]

The good ones are links to the videos of the folder VIDEOS, in turn. Broken ones: empty, no video, cut in half, bytes
overwritten in the middle, a folder of nothing, a missing file; one whose decoder dies of SIGSEGV, one that waits for
ever, one that takes all memory. The last three are copies whose names tell a stand-in for the decoder what to do, since
no file does so in every version of FFmpeg. Exits with 1 where a good one has other rows than `predict`, or a broken one
no problem.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset

import timesformer
from timesformer.data.folders import find_videos
from timesformer.inference.listed import ListedVideos
from timesformer.scale.decoder import Limits
from timesformer.scale.ray_batch import run
from timesformer.scale.tasks import Loading
from timesformer.scale.work import About, Piece, Prediction


@dataclass(frozen=True)
class Poisoned(Prediction):
    """A prediction whose decoder does what the name of a video says."""

    def read(self, about: About, source: Any, cells: dict[str, str]) -> Iterator[Piece]:
        name = Path(source).name
        if name.startswith("crash"):
            os.kill(os.getpid(), signal.SIGSEGV)
        while name.startswith("hang"):
            time.sleep(1)
        kept = []
        while name.startswith("memory"):
            kept.append(np.ones(10**7))
        yield from super().read(about, source, cells)


def broken(kind: str, video: Path, path: Path) -> None:
    """Write one of a kind at a path."""
    content = video.read_bytes()
    if kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("no video\n")
    elif kind == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "bytes":
        middle = len(content) // 2
        path.write_bytes(content[: middle - 2000] + random.Random(0).randbytes(4000) + content[middle + 2000 :])
    elif kind == "folder":
        path.mkdir()
    elif kind != "missing":  # crash, hang, memory
        shutil.copy(video, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("videos_folder", type=Path, metavar="VIDEOS")
    parser.add_argument("--videos", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=20, help="time limit of a video")
    parser.add_argument("--memory", type=float, default=0.5, help="memory limit of a video, GB")
    given = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join((str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")))
    from scale_poison import Poisoned as Importable  # of a module that other processes can import

    found, kinds = find_videos(given.videos_folder), ["empty", "text", "cut", "bytes", "folder", "missing", "crash"]
    with tempfile.TemporaryDirectory() as name:
        folder, names, bad = Path(name), [], {}
        for number in range(given.videos):
            video = found[number % len(found)].absolute()
            if number % 20 == 10:
                turn = number // 20
                kind = {0: "hang", 1: "memory"}.get(turn, kinds[turn % len(kinds)])
                path = folder / f"{kind}-{number}.mp4"
                broken(kind, video, path)
                bad[str(path)] = kind
            else:
                path = folder / f"{number}{video.suffix}"
                path.symlink_to(video)
            names.append(str(path))
        began = time.perf_counter()
        summary = run(
            Importable(),
            ListedVideos(names, names),
            str(folder / "rows"),
            Loading(weights=str(Path(given.weights).absolute()), device="cpu"),
            limits=Limits(retries=1, seconds=given.seconds, memory=given.memory),
        )
        took = time.perf_counter() - began
        rows = pyarrow.dataset.dataset(folder / "rows").to_table().to_pylist()
        predictor = timesformer.load(given.weights, "cpu")
        good = [one for one in names if one not in bad]
        expected = {str(answer.video): answer for answer in predictor.predict_all(good)}
    wrong, passed = [], []
    for row in rows:
        if row["video"] in bad:
            if row["problem"] is None:
                passed.append(Path(row["video"]).name)
        else:
            best = [(one["label"], round(one["score"], 4)) for one in row["predictions"]]
            other = expected[row["video"]]
            if row["problem"] or best != [(one.label, round(one.score, 4)) for one in other.predictions]:
                wrong.append(Path(row["video"]).name)
    print(f"{len(names)} videos, {len(bad)} broken, {len(rows)} rows in {took:.0f} s, {summary.lost} decoders lost")
    for kind in dict.fromkeys(bad.values()):
        row = next(row for row in rows if bad.get(row["video"]) == kind)
        print(f"  {kind:8} {row['problem']}")
    print(f"good ones that are not as predict's: {len(wrong)} {wrong[:5]}; broken ones without a problem: {passed}")
    sys.exit(len(rows) != len(names) or bool(wrong) or bool(passed))


if __name__ == "__main__":
    main()
