"""The scores of an evaluation as a file, one row a video; such a Parquet file read again."""

from __future__ import annotations

import csv
import json
import pickle
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import torch
from torch import Tensor

from timesformer.errors import DataError, SettingError, VideoError
from timesformer.evaluation.evaluate import EvaluationResult
from timesformer.evaluation.metrics import measure, measure_multilabel
from timesformer.evaluation.record import Record
from timesformer.files import escape, open_text, replacing, unescape, writing

MMACTION2 = ".mmaction2.pkl"
SUFFIXES = (".parquet", ".csv", ".pkl", MMACTION2)


def check_score_file(file: str | Path) -> Path:
    """The path of a score file, checked before a long evaluation is run for it.

    Raises SettingError for a suffix that is none of SUFFIXES, for a folder, and where no file can be written.
    """
    path = Path(file)
    if path.suffix not in SUFFIXES:
        raise SettingError(f"{path}: cannot be a score file; expected *{', *'.join(SUFFIXES[:-1])} or *{SUFFIXES[-1]}")
    if path.is_dir():
        raise SettingError(f"{path}: is a folder; expected a file")
    if not path.parent.is_dir():
        raise SettingError(f"{path}: no such folder {path.parent}")
    with writing(path), tempfile.TemporaryFile(dir=path.parent):
        pass
    return path


def write_scores(
    result: EvaluationResult, file: str | Path, groups: Sequence[str] | None = None, record: Record | None = None
) -> None:
    """Write one row a video: path, label, predicted and scores (one float a class, in the order of the labels), and
    group where `groups` has that of each.

    In multi-label data label and predicted (scores above 0.5) are any number of names with semicolons between them.

    .parquet: the class names are in the schema's metadata under "labels", as JSON, the record of the test under
    "record"; bytes of names that are not UTF-8 are escapes, see `timesformer.files.unescape`. .csv: a column a class,
    score_NAME, and such bytes as they are. .pkl: a dictionary {"labels": [...], "videos": [rows]}. .mmaction2.pkl: what
    mmaction2 1.x dumps (`tools/test.py --dump`), for its eval_metric.py and confusion_matrix.py: a list of dictionaries
    with the tensors pred_score (K,) and gt_label, pred_label (1,), in multi-label data gt_label (K,) of zeros and ones;
    our rows are in them too.

    The file appears under its name only when it is complete. Raises SettingError as `check_score_file` does.
    """
    path = check_score_file(file)
    rows: list[dict[str, Any]] = [
        {
            "path": str(video),
            "label": _names(label, result.labels),
            "predicted": _names(scores > 0.5 if label.ndim else scores.argmax(), result.labels),
            **({} if groups is None else {"group": groups[row]}),
            "scores": scores.tolist(),
        }
        for row, (video, label, scores) in enumerate(zip(result.paths, result.labels_B, result.scores_BK, strict=True))
    ]
    with writing(path), replacing(path) as temporary:
        if path.suffix == ".csv":
            _write_csv(rows, result, temporary)
            return
        with temporary.open("wb") as stream:
            if path.suffix == ".parquet":
                _write_parquet(rows, result.labels, record, stream)
            elif path.name.endswith(MMACTION2):
                pickle.dump(_data_samples(rows, result), stream)
            else:
                pickle.dump({"labels": list(result.labels), "videos": rows}, stream)


@dataclass(frozen=True, eq=False)
class Scores:
    """What a Parquet file of scores holds. groups: of each video, where the file has them. record: of the test, None of
    files of earlier versions."""

    path: Path
    videos: tuple[str, ...]
    labels: tuple[str, ...]
    scores_BK: Tensor
    labels_B: Tensor
    groups: tuple[str, ...] | None
    record: Record | None = None

    @classmethod
    def of(cls, result: EvaluationResult, groups: Sequence[str] | None = None, record: Record | None = None) -> Self:
        """What a file of these scores would hold."""
        videos = tuple(escape(str(path)) for path in result.paths)
        scores = result.scores_BK, result.labels_B
        return cls(Path(), videos, result.labels, *scores, None if groups is None else tuple(groups), record)

    def as_result(self, folder: Path | None = None) -> EvaluationResult:
        """As the evaluation gave them. folder: which relative paths are in; that of the record if not given.

        Of a file without a record engine and precision are "", and what was skipped is unknown.
        """
        measured = measure_multilabel if self.labels_B.ndim == 2 else measure
        record, paths = self.record, (unescape(video) for video in self.videos)
        folder = folder or Path(record.folder if record else "")
        return EvaluationResult(
            metrics=measured(self.scores_BK, self.labels_B),
            scores_BK=self.scores_BK,
            labels_B=self.labels_B,
            paths=tuple(folder / path for path in paths),
            labels=self.labels,
            skipped=tuple(VideoError(Path(path), reason) for path, reason in (record.skipped if record else ())),
            engine=record.engine if record else "",
            precision=record.precision if record else "",
            fingerprint=record.fingerprint if record else "",
        )


def read_scores(file: str | Path) -> Scores:
    """Read what `write_scores` wrote to a .parquet file.

    labels_B has class numbers; where a row has any other number of classes than one, rows (B, K) of zeros and ones.
    Raises DataError, in one line, for anything else.
    """
    import pyarrow
    import pyarrow.parquet

    path = Path(file)
    if not path.is_file():
        raise DataError(f"{path}: no such file; expected *.parquet of `timesformer test --out`")
    try:
        table = pyarrow.parquet.read_table(path)
        labels = tuple(str(name) for name in json.loads(table.schema.metadata[b"labels"]))
        names = ("path", "label", "scores", *(["group"] if "group" in table.column_names else []))
        columns = {name: table.column(name).to_pylist() for name in names}
        scores_BK = torch.tensor(columns["scores"], dtype=torch.float32)
        if not len(scores_BK) or scores_BK.shape[1:] != (len(labels),):
            raise ValueError("no scores of all classes")
        labels_B = _numbers(columns["label"], [escape(label) for label in labels])
        record = Record.of(json.loads(table.schema.metadata.get(b"record", b"null")))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, pyarrow.ArrowException) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "holds no scores"
        raise DataError(f"{path}: {reason}; expected *.parquet of `timesformer test --out`") from None
    groups = tuple(columns["group"]) if "group" in columns else None
    return Scores(path, tuple(columns["path"]), labels, scores_BK, labels_B, groups, record)


def _numbers(cells: list[str], labels: list[str]) -> Tensor:
    """The classes of each video, by their names. Raises KeyError for a name that is none of the labels."""
    number = {name: row for row, name in enumerate(labels)}
    if all(cell in number for cell in cells):
        return torch.tensor([number[cell] for cell in cells])
    found = torch.zeros(len(cells), len(labels))
    for row, cell in enumerate(cells):
        for name in filter(None, cell.split(";")):
            found[row, number[name]] = 1
    return found


def _data_samples(rows: list[dict[str, Any]], result: EvaluationResult) -> list[dict[str, Any]]:
    return [
        {
            **row,
            "pred_score": scores.clone(),
            "pred_label": scores.argmax().reshape(1),
            "gt_label": label.reshape(-1).clone(),
        }
        for row, scores, label in zip(rows, result.scores_BK, result.labels_B, strict=True)
    ]


def _write_csv(rows: list[dict[str, Any]], result: EvaluationResult, file: Path) -> None:
    with open_text(file, "w") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        names = [name for name in rows[0] if name != "scores"]
        writer.writerow([*names, *(f"score_{label}" for label in result.labels)])
        for row, scores in zip(rows, result.scores_BK.numpy(), strict=True):
            writer.writerow([*(row[name] for name in names), *map(str, scores)])  # the shortest that is this float32


def _names(label: Tensor, labels: tuple[str, ...]) -> str:
    """The name of a class number; of a row of zeros and ones the names of the ones, with semicolons between them."""
    return ";".join(labels[number] for number in (label.nonzero()[:, 0] if label.ndim else label.reshape(1)).tolist())


def _write_parquet(
    rows: list[dict[str, Any]], labels: tuple[str, ...], record: Record | None, stream: BinaryIO
) -> None:
    import pyarrow
    import pyarrow.parquet

    texts = [name for name in rows[0] if name != "scores"]
    fields = [*((name, pyarrow.string()) for name in texts), ("scores", pyarrow.list_(pyarrow.float32()))]
    more = {} if record is None else {"record": json.dumps(record.as_dict())}
    schema = pyarrow.schema(fields, metadata={"labels": json.dumps(labels)} | more)
    for row in rows:
        row.update({name: escape(row[name]) for name in texts})
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), stream)
