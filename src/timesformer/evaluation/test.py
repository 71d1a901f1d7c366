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
from timesformer.errors import DataError, SettingError
from timesformer.evaluation.metrics import Metrics, MultilabelMetrics, measure, measure_multilabel
from timesformer.evaluation.scores import VIEWS_AT_ONCE, Network, plain_network, score_batches
from timesformer.weights import Classifier

SCORE_FILES = (".parquet", ".pkl")


@dataclass(frozen=True)
class TestResult:
    """What a test found. scores_BK, labels_B and paths have one row a video that could be read.

    labels_B are class numbers, or in multi-label data rows (B, K) of zeros and ones.
    """

    __test__ = False  # not a test class for pytest

    metrics: Metrics | MultilabelMetrics
    scores_BK: Tensor
    labels_B: Tensor
    paths: tuple[Path, ...]
    labels: tuple[str, ...]
    left_out: tuple[Problem, ...]

    def summary(self) -> dict[str, float | int]:
        """The numbers alone: top1, top5, mean_class_accuracy (or mean_average_precision), videos, left_out."""
        return {**self.metrics._asdict(), "videos": len(self.paths), "left_out": len(self.left_out)}


def test(
    classifier: Classifier,
    manifest: Manifest,
    data: Data,
    on_batch: Callable[[Batch], None] = lambda batch: None,
    network: Network | None = None,
    views: int = VIEWS_AT_ONCE,
) -> TestResult:
    """Score every video of a manifest; `on_batch` is called after each video.

    `network`: what gives the logits, such as an engine of the same classifier; without, the classifier's own model.
    `views`: how many of them it gets at a time.

    Raises DataError for a class the classifier does not know, or where more videos than data.max_bad_share cannot
    be read; each of those that are fewer is in `left_out`.
    """
    manifest = manifest.with_labels(classifier.labels)
    multilabel = classifier.model.settings.multilabel
    if multilabel != manifest.multilabel:
        raise DataError(
            f"{manifest.source}: has {_kinds(manifest.multilabel)}; the weights were trained for {_kinds(multilabel)}"
        )
    left_out = LeftOut(manifest, data.max_bad_share)
    dataset = TestingViews(manifest, classifier.model.settings, classifier.preprocessing)
    batches = testing_loader(dataset, 1, data)
    scores, labels, rows = [], [], []
    classifier.model.eval()
    network = network or plain_network(classifier.model, classifier.preprocessing)
    for batch, scores_BK in score_batches(network, batches, multilabel=multilabel, views=views):
        left_out.add(batch.problems)
        if len(batch.rows_B):
            scores.append(scores_BK)
            labels.append(batch.labels_B)
            rows += batch.rows_B.tolist()
        on_batch(batch)
    all_scores_BK, labels_B = torch.cat(scores), torch.cat(labels)
    return TestResult(
        metrics=measure_multilabel(all_scores_BK, labels_B) if multilabel else measure(all_scores_BK, labels_B),
        scores_BK=all_scores_BK,
        labels_B=labels_B,
        paths=tuple(manifest.videos[row].path for row in rows),
        labels=manifest.labels,
        left_out=tuple(Problem(path, reason) for path, reason in left_out.reasons.items()),
    )


def _kinds(multilabel: bool) -> str:
    return "several classes a video (a column labels)" if multilabel else "one class a video (a column label)"


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

    In multi-label data label and predicted (scores above 0.5) are any number of names with semicolons between them.

    A .parquet file has the class names in its schema's metadata under "labels", as JSON; a .pkl file is a dictionary
    {"labels": [...], "videos": [rows]}. The file appears under its name only when it is complete.
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
    with _new_file(path) as temporary:
        with temporary.open("wb") as stream:
            if path.suffix == ".parquet":
                _write_parquet(rows, result.labels, stream)
            else:
                pickle.dump({"labels": list(result.labels), "videos": rows}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)


def _names(label: Tensor, labels: tuple[str, ...]) -> str:
    """The name of a class number; of a row of zeros and ones the names of the ones, with semicolons between them."""
    return ";".join(labels[number] for number in (label.nonzero()[:, 0] if label.ndim else label.reshape(1)).tolist())


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

    fields = [
        ("path", pyarrow.string()),
        ("label", pyarrow.string()),
        ("predicted", pyarrow.string()),
        ("scores", pyarrow.list_(pyarrow.float32())),
    ]
    schema = pyarrow.schema(fields, metadata={"labels": json.dumps(labels)})
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), stream)
