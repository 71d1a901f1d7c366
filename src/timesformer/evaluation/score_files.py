"""The scores of an evaluation as a file, one row a video."""

from __future__ import annotations

import json
import pickle
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from torch import Tensor

from timesformer.errors import SettingError
from timesformer.evaluation.evaluate import EvaluationResult
from timesformer.files import replacing

SUFFIXES = (".parquet", ".pkl")


def check_score_file(file: str | Path) -> Path:
    """The path of a score file, checked before a long evaluation is run for it.

    Raises SettingError for a suffix other than .parquet and .pkl, for a folder, and where no file can be written.
    """
    path = Path(file)
    if path.suffix not in SUFFIXES:
        raise SettingError(f"{path}: cannot be a score file; expected *.parquet or *.pkl")
    if path.is_dir():
        raise SettingError(f"{path}: is a folder; expected a file")
    if not path.parent.is_dir():
        raise SettingError(f"{path}: no such folder {path.parent}")
    with _writing(path), tempfile.TemporaryFile(dir=path.parent):
        pass
    return path


def write_scores(result: EvaluationResult, file: str | Path) -> None:
    """Write one row a video: path, label, predicted and scores (one float a class, in the order of the labels).

    In multi-label data label and predicted (scores above 0.5) are any number of names with semicolons between them.

    A .parquet file has the class names in its schema's metadata under "labels", as JSON; a .pkl file is a dictionary
    {"labels": [...], "videos": [rows]}. The file appears under its name only when it is complete. Raises SettingError
    as `check_score_file` does.
    """
    path = check_score_file(file)
    rows: list[dict[str, Any]] = [
        {
            "path": str(video),
            "label": _names(label, result.labels),
            "predicted": _names(scores > 0.5 if label.ndim else scores.argmax(), result.labels),
            "scores": scores.tolist(),
        }
        for video, label, scores in zip(result.paths, result.labels_B, result.scores_BK, strict=True)
    ]
    with _writing(path), replacing(path) as temporary, temporary.open("wb") as stream:
        if path.suffix == ".parquet":
            _write_parquet(rows, result.labels, stream)
        else:
            pickle.dump({"labels": list(result.labels), "videos": rows}, stream)


def _names(label: Tensor, labels: tuple[str, ...]) -> str:
    """The name of a class number; of a row of zeros and ones the names of the ones, with semicolons between them."""
    return ";".join(labels[number] for number in (label.nonzero()[:, 0] if label.ndim else label.reshape(1)).tolist())


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Raises SettingError, naming the path, for whatever the system refuses."""
    try:
        yield
    except OSError as error:
        raise SettingError(f"{path}: cannot be written: {error.strerror or error}") from None


def _write_parquet(rows: list[dict[str, Any]], labels: tuple[str, ...], stream: BinaryIO) -> None:
    import pyarrow
    import pyarrow.parquet

    fields = [
        ("path", pyarrow.string()),
        ("label", pyarrow.string()),
        ("predicted", pyarrow.string()),
        ("scores", pyarrow.list_(pyarrow.float32())),
    ]
    schema = pyarrow.schema(fields, metadata={"labels": json.dumps(labels)})
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), stream)
