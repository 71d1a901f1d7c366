"""OUT/results.csv: a row a run, as the runs in the cache say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from timesformer.evaluation.score_files import read_scores
from timesformer.study.plan import StudyPlan, Task
from timesformer.study.rows import Maybe, write_rows

RESULTS = "results.csv"
METRICS = ("top1", "mean_average_precision")  # the first that there is, is the score


class Row(BaseModel):
    """One run of a study, or a test of one. Scores are fractions; empty where there is none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    study: str
    cell: str
    seed: int
    status: str = Field(description="done, failed or missing")
    run: str = Field(description="the folder in RUNS: hash of recipe, seed, data and initial weights")
    config: str = Field(description="hash of the recipe without its seed")
    data: str = Field(description="hash of the videos of all splits")
    init: Annotated[str | None, Maybe] = Field(None, description="hash of the initial weights")
    weights: Annotated[str | None, Maybe] = Field(None, description="fingerprint of the trained weights")
    protocol: str = Field("", description="how the test differs from the weights' own")
    metric: Annotated[str | None, Maybe] = Field(None, description="top1 or mean_average_precision")
    validation_split: Annotated[str | None, Maybe] = None
    validation_score: Annotated[float | None, Maybe] = Field(None, description="one clip, one crop, while training")
    test_split: Annotated[str | None, Maybe] = None
    test_score: Annotated[float | None, Maybe] = Field(None, description="all views of the test protocol")
    test_videos: Annotated[int | None, Maybe] = None
    minutes: Annotated[float | None, Maybe] = Field(None, description="of all epochs, validation included")
    test_seconds: Annotated[float | None, Maybe] = None
    memory: Annotated[int | None, Maybe] = Field(None, description="bytes at the peak of training")
    epochs: Annotated[int | None, Maybe] = None
    parameters: Annotated[int | None, Maybe] = None
    reason: str = Field("", description="why it has failed")


def row_of(plan: StudyPlan, task: Task) -> Row:
    """What the cache has of a task now."""
    run, file = task.run, task.run.scores(task.cell.protocol)
    done = run.done
    values: dict[str, Any] = {
        "study": plan.study.name,
        "cell": task.cell.name,
        "seed": task.seed,
        "run": run.folder.name,
        "config": task.config,
        "data": run.data,
        "init": run.init,
        "protocol": ",".join(f"{name}={value}" for name, value in sorted(task.cell.protocol.items())),
    }
    if done is not None:
        names = ("weights", "validation_split", "validation_score", "minutes", "memory", "epochs", "parameters")
        values |= {name: done[name] for name in names}
    if done is None or not file.exists():
        failure = run.failure
        return Row(status="missing" if failure is None else "failed", reason=failure or "", **values)
    scores = read_scores(file)
    measured = scores.as_result().metrics.known()
    metric = next(name for name in METRICS if name in measured)
    seconds = None if scores.record is None else scores.record.seconds
    return Row(
        status="done",
        metric=metric,
        test_split=plan.data.tested.split,
        test_score=measured[metric],
        test_videos=len(scores.videos),
        test_seconds=seconds,
        **values,
    )


def write_results(rows: list[Row], out: Path) -> None:
    """Write OUT/results.csv, whole or not at all."""
    write_rows(Row, rows, out / RESULTS)
