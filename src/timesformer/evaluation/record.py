"""How scores came about: what a score file says of the test that it is of."""

from __future__ import annotations

import os
import shlex
import sys
import time
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import torch

from timesformer.device import peak_memory, processor
from timesformer.engine.engine import Engine
from timesformer.evaluation.evaluate import EvaluationResult, OnProgress, Progress, ignore


@dataclass(frozen=True, kw_only=True)
class Record:
    """A test.

    Attributes:
        weights, data, split: what was tested on what. folder: the working folder, which relative paths are in.
        fingerprint: of the weights, see `timesformer.engine.fingerprint`.
        command: what was typed. ended: when it was done.
        protocol: what was asked for in place of the weights' own: clips, crops and so on.
        engine, precision, device, processor: what computed.
        seconds: from the first video to the last; memory: bytes at the peak, of the process or of what it took of a
            GPU.
        skipped: the videos that could not be read, and why.
    """

    weights: str
    data: str
    split: str
    folder: str
    fingerprint: str
    command: str
    ended: str
    engine: str
    precision: str
    device: str
    processor: str
    seconds: float
    memory: int
    protocol: dict[str, Any] = field(default_factory=dict)
    skipped: list[list[str]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """In plain values."""
        return asdict(self)

    @classmethod
    def of(cls, row: object) -> Self | None:
        """What `as_dict` gave; None for anything else, such as a row of another version that lacks what this needs."""
        names = {one.name for one in fields(cls)}
        try:
            return cls(**{name: value for name, value in row.items() if name in names})  # type: ignore[attr-defined]
        except (AttributeError, TypeError):
            return None

    def resolve(self, path: str | Path) -> Path:
        """A path of the test, from anywhere."""
        return Path(self.folder) / path


class Stopwatch:
    """An evaluation's on_progress, which calls another one and takes the time from the first video on.

    engine: what computes; it is there when the evaluation has begun.
    """

    engine: Engine

    def __init__(self, on_progress: OnProgress = ignore) -> None:
        self._on_progress, self._began = on_progress, time.perf_counter()

    def __call__(self, progress: Progress) -> None:
        if not hasattr(self, "engine"):
            self.engine, self._began = progress.engine, time.perf_counter()
        self._on_progress(progress)

    @property
    def seconds(self) -> float:
        """Until now."""
        return time.perf_counter() - self._began


def record_test(
    result: EvaluationResult,
    weights: str | Path,
    data: str | Path,
    split: str,
    watch: Stopwatch,
    protocol: dict[str, Any] | None = None,
) -> Record:
    """The record of a test that has just ended."""
    device = watch.engine.device
    return Record(
        weights=str(weights),
        data=str(data),
        split=split,
        folder=os.getcwd(),
        fingerprint=result.fingerprint,
        command=shlex.join(sys.argv),
        ended=f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}Z",
        engine=result.engine,
        precision=result.precision,
        device=str(device),
        processor=_processor(device),
        seconds=round(watch.seconds, 3),
        memory=peak_memory(device),
        protocol={name: value for name, value in (protocol or {}).items() if value is not None},
        skipped=[[str(problem.path), problem.reason] for problem in result.skipped],
    )


def _processor(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor().name
