"""Features as a folder of arrays, in the form that codes for temporal localisation (ActionFormer, OpenTAD) read.

    OUT/VIDEO.npy    (rows, D), in the order of time; (rows, *shape) of other pools
    OUT/VIDEO.json   feat_stride: frames from one row to the next; num_frames: frames that a row is of; fps, duration
                     (seconds) and frames of the video; what the vectors are; problem, where it cannot be read

Row i is of the frames from i * feat_stride on. A timeline's last window, which ends with the video, is off that grid
and is skipped; a Parquet file has it. A video with a window in which no frame appears is refused.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from timesformer.errors import DataError, SettingError
from timesformer.features.table import Origin, Row
from timesformer.files import as_json, flush


def array_names(videos: Sequence[str]) -> dict[str, Path]:
    """The path of each video's files in the folder, without a suffix: that of the video where it is relative and below
    the working folder, else its name alone.

    Raises SettingError where two videos would have the same files.
    """
    names = {video: _inside(video) for video in dict.fromkeys(videos)}
    counts = Counter(names.values())
    twice = [video for video, name in names.items() if counts[name] > 1]
    if twice:
        raise SettingError(
            f"{twice[0]} and {twice[1]}: both would be {names[twice[0]]}.npy; rename one, or write a *.parquet"
        )
    return names


def write_arrays(rows: Iterable[Row], origin: Origin, columns: Sequence[str], folder: Path) -> None:
    """Write the rows of each video, which come one after the other, to a new folder.

    Raises DataError for a video with a window in which no frame appears, since the next row would not be where it says.
    """
    shutil.rmtree(folder, ignore_errors=True)  # of one that was killed here
    folder.mkdir()
    for video, of_video in groupby(rows, key=lambda row: str(row["video"])):
        found = list(of_video)
        path = folder / _inside(video)
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = [row for row in found if row.get("vector") is not None and not row.get("last")]
        facts: dict[str, Any] = {"video": video, **{name: found[0][name] for name in columns if name in found[0]}}
        facts |= {name: value for name, value in asdict(origin).items() if name != "shape"}
        numbers = [row.get("window", 0) for row in kept]
        if missing := sorted(set(range(max(numbers, default=0))) - set(numbers)):
            shutil.rmtree(folder)
            raise DataError(
                f"{video}: no frame appears in window {missing[0]} (variable frame rate), so later rows of an array "
                f"would be of other frames than i * feat_stride; write a *.parquet"
            )
        if kept:
            array = np.stack([row["vector"].reshape(origin.shape) for row in kept])
            np.save(path.with_name(path.name + ".npy"), array)
            facts |= _grid(kept[0], origin)
        if "problem" in found[-1]:
            facts["problem"] = found[-1]["problem"]
        path.with_name(path.name + ".json").write_text(as_json(facts, indent=2) + "\n", "utf-8")
    for path in folder.rglob("*"):
        flush(path)


def _grid(row: Row, origin: Origin) -> dict[str, Any]:
    """Where in the video the rows are, in frames."""
    fps, length = row.get("fps"), row["frames"]
    stride = length
    if fps is not None and origin.window is not None and origin.stride is not None:
        length, stride = length if row["padded"] else origin.window * fps, origin.stride * fps
    found = {"feat_stride": stride, "num_frames": length, "fps": fps}
    return {**found, "duration": row.get("seconds"), "frames": row["frames"]}


def _inside(video: str) -> Path:
    path = PurePath(video)
    inside = path if not path.is_absolute() and ".." not in path.parts and "://" not in video else PurePath(path.name)
    return Path(inside.with_suffix("")) if inside.suffix and inside.name else Path(inside)
