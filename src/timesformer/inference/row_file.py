"""The rows of a prediction, one a video, on the way to a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from timesformer.inference.job_file import JobFile
from timesformer.inference.rows import Row, Tally, write_csv, write_parquet


class RowFile(JobFile[Tally]):
    """See `JobFile`."""

    counts = Tally

    def begin(
        self,
        *,
        weights: str,
        engine: str,
        precision: str,
        top: int,
        classes: int,
        threshold: float = 0.0,
        seen: Mapping[str, Any] | None = None,
    ) -> Tally:
        """As `JobFile.start`.

        weights: what tells weights apart; top: classes a row; classes: of the weights; threshold: the lowest score of
        an answer; seen: of videos, where it is not what the weights say.
        """
        self._classes = min(top, classes)
        made_with = {
            "weights": weights,
            "engine": engine,
            "precision": precision,
            "top": top,
            "threshold": threshold or None,
        }
        return self.start({**made_with, **(seen or {})})

    def write(self, rows: Iterable[Row], file: Path) -> None:
        if self.file.suffix == ".csv":
            write_csv(rows, self._classes, file)
        else:
            write_parquet(rows, file)
