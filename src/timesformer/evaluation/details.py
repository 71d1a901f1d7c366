"""All that an analysis holds, as the files of a folder."""

from __future__ import annotations

import csv
import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from timesformer.errors import SettingError
from timesformer.evaluation.analysis import Analysis
from timesformer.evaluation.figures import draw_confusion, draw_reliability
from timesformer.evaluation.suspects import Suspect, suspects
from timesformer.files import as_json, flush, open_text, writing


def check_details(folder: str | Path) -> Path:
    """The path of a new folder, checked before a long evaluation is run for it.

    Raises SettingError for what exists, and where no folder can be made.
    """
    path = Path(folder)
    if os.path.lexists(path):
        raise SettingError(f"{path}: exists already; name a new folder")
    if not path.parent.is_dir():
        raise SettingError(f"{path}: no such folder {path.parent}")
    with writing(path), tempfile.TemporaryDirectory(dir=path.parent):
        pass
    return path


def write_details(analysis: Analysis, folder: str | Path) -> Path:
    """Write a new folder, which appears when all of it is written; returns it.

    summary.json       what `Analysis.as_dict` has
    classes.csv        of each class its videos, precision and recall, or average precision
    confusion.csv      a row a class, a column a class that its videos are classified as: how many; confusion.png
    confusions.csv     the pairs of classes, the most confused first
    calibration.csv    of each bin of scores the mean score and the fraction that is right; calibration.png
    mistakes.csv       the videos that are classified wrongly, the most confident first
    suspects.csv       the videos whose label may be wrong, the clearest first
    by.csv             the videos by the values of a column

    Of data with several classes a video: summary.json, classes.csv and by.csv. Raises SettingError as `check_details`.
    """
    path = check_details(folder)
    with writing(path):
        workshop = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        new = workshop / "new"
        try:
            new.mkdir()  # with the rights that the umask gives, other than mkdtemp's
            _write(analysis, new)
            for written in (*new.iterdir(), new):
                flush(written)
            new.rename(path)
            flush(path.parent)
        finally:
            shutil.rmtree(workshop, ignore_errors=True)
    return path


def _write(analysis: Analysis, folder: Path) -> None:
    labels, confusion_KK = analysis.result.labels, analysis.confusion_KK
    (folder / "summary.json").write_text(as_json(analysis.as_dict(), indent=2) + "\n", encoding="utf-8")
    names = ["label", "videos", "predicted", "precision", "recall", "average_precision"]
    used = names if confusion_KK is None else names[:-1]
    _write_rows(folder / "classes.csv", used, (one[: len(used)] for one in analysis.classes))
    if analysis.column is not None:
        parts = ((part.value, part.videos, part.score, *(part.interval or ("", ""))) for part in analysis.parts)
        _write_rows(folder / "by.csv", [analysis.column, "videos", "score", "low", "high"], parts)
    if confusion_KK is None:
        return
    rows = ([label, *counts] for label, counts in zip(labels, confusion_KK.tolist(), strict=True))
    _write_rows(folder / "confusion.csv", ["label", *labels], rows)
    _write_rows(folder / "confusions.csv", ["label", "predicted", "videos"], analysis.confusions)
    _write_rows(folder / "calibration.csv", ["low", "high", "videos", "score", "right"], analysis.bins)
    _write_rows(folder / "mistakes.csv", ["path", "label", "predicted", "score"], analysis.mistakes)
    _write_rows(folder / "suspects.csv", Suspect._fields, suspects(analysis.result))
    draw_confusion(confusion_KK, labels, folder / "confusion.png")
    draw_reliability(analysis.bins, analysis.metrics["calibration_error"], folder / "calibration.png")


def _write_rows(file: Path, header: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    with open_text(file, "w") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([_cell(cell) for cell in row] for row in rows)


def _cell(cell: Any) -> Any:
    return "" if cell is None else f"{cell:.6f}" if isinstance(cell, float) else cell
