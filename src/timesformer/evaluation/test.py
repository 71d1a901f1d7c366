"""Test a classifier on a split of a data set, the way the paper does: views, mean of scores, accuracy."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from timesformer.config import Data
from timesformer.data.dataset import Batch, LeftOut, Problem, TestingViews
from timesformer.data.loader import testing_loader
from timesformer.data.manifest import Manifest
from timesformer.errors import SettingError
from timesformer.evaluation.metrics import Metrics, measure
from timesformer.evaluation.scores import score_views
from timesformer.weights import Classifier

SCORE_FILES = (".parquet", ".pkl")


@dataclass(frozen=True)
class TestResult:
    """What a test found. scores_BK, labels_B and paths have one row a video that could be read."""

    __test__ = False  # not a test class for pytest

    metrics: Metrics
    scores_BK: Tensor
    labels_B: Tensor
    paths: tuple[Path, ...]
    labels: tuple[str, ...]
    left_out: tuple[Problem, ...]

    def summary(self) -> dict[str, float | int]:
        """The numbers alone: top1, top5, mean_class_accuracy, videos, left_out."""
        return {**self.metrics._asdict(), "videos": len(self.paths), "left_out": len(self.left_out)}


def test(
    classifier: Classifier,
    manifest: Manifest,
    data: Data,
    on_batch: Callable[[Batch], None] = lambda batch: None,
) -> TestResult:
    """Score every video of a manifest; `on_batch` is called after each video.

    Raises DataError for a class the classifier does not know, or where more videos than data.max_bad_share cannot
    be read; each of those that are fewer is in `left_out`.
    """
    manifest = manifest.with_labels(classifier.labels)
    left_out = LeftOut(manifest, data.max_bad_share)
    views = TestingViews(manifest, classifier.model.settings, classifier.preprocessing)
    scores, labels, rows = [], [], []
    classifier.model.eval()
    for batch in testing_loader(views, 1, data):
        left_out.add(batch.problems)
        if len(batch.rows_B):
            scores.append(score_views(classifier.model, classifier.preprocessing, batch.views_VCTSS, batch.counts_B))
            labels.append(batch.labels_B)
            rows += batch.rows_B.tolist()
        on_batch(batch)
    scores_BK, labels_B = torch.cat(scores), torch.cat(labels)
    return TestResult(
        metrics=measure(scores_BK, labels_B),
        scores_BK=scores_BK,
        labels_B=labels_B,
        paths=tuple(manifest.videos[row].path for row in rows),
        labels=manifest.labels,
        left_out=tuple(Problem(path, reason) for path, reason in left_out.reasons.items()),
    )


def check_score_file(file: str | Path) -> Path:
    """The path of a score file, before a long test is run for it.

    Raises SettingError for a kind that cannot be written, a folder, and where nothing can be written.
    """
    path = Path(file)
    if path.suffix not in SCORE_FILES:
        raise SettingError(f"{path}: a score file is named {' or '.join('*' + suffix for suffix in SCORE_FILES)}")
    if path.is_dir():
        raise SettingError(f"{path}: is a folder; a score file is a file")
    if not path.parent.is_dir():
        raise SettingError(f"{path}: no such folder {path.parent}")
    with _new_file(path):
        pass
    return path


def write_scores(result: TestResult, file: str | Path) -> None:
    """Write one row a video: path, label, predicted and scores (one float a class, in the order of the labels).

    A .parquet file has the class names in its schema's metadata under "labels", as JSON; a .pkl file is a dictionary
    {"labels": [...], "videos": [rows]}. The file appears under its name only when it is complete.
    """
    path = check_score_file(file)
    rows: list[dict[str, Any]] = [
        {
            "path": str(video),
            "label": result.labels[label],
            "predicted": result.labels[scores.argmax()],
            "scores": scores.tolist(),
        }
        for video, label, scores in zip(result.paths, result.labels_B.tolist(), result.scores_BK, strict=True)
    ]
    with _new_file(path) as temporary:
        with temporary.open("wb") as stream:
            if path.suffix == ".parquet":
                _write_parquet(rows, result.labels, stream)
            else:
                pickle.dump({"labels": list(result.labels), "videos": rows}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)


@contextmanager
def _new_file(path: Path) -> Iterator[Path]:
    """An empty file beside a path, gone when the block ends; what the system says against it is a SettingError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.open("wb").close()
        yield temporary
    except OSError as error:
        raise SettingError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        with suppress(OSError):
            temporary.unlink()


def _write_parquet(rows: list[dict[str, Any]], labels: tuple[str, ...], stream: Any) -> None:
    import json

    import pyarrow
    import pyarrow.parquet

    fields = [("path", pyarrow.string()), ("label", pyarrow.string()), ("predicted", pyarrow.string()),
              ("scores", pyarrow.list_(pyarrow.float32()))]  # fmt: skip
    schema = pyarrow.schema(fields, metadata={"labels": json.dumps(labels)})
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), stream)
