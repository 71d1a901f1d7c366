"""A job from Python: what it yields, what its file holds, and what it counts, through stops."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow.parquet
import pytest

import timesformer
from timesformer.evaluation.evaluate import Progress
from timesformer.inference.jobs import PredictionJob
from timesformer.inference.predictor import Predictor
from timesformer.inference.rows import Row, Tally


@pytest.fixture(scope="module")
def predictor(run: Path) -> Predictor:
    return timesformer.load(run, "cpu", precision="fp32")


@pytest.fixture
def videos(bars: Path, tmp_path: Path) -> list[str | Path]:
    """Three that can be read, one spelled oddly; one that is empty, and what is no URL."""
    (tmp_path / "empty.mp4").touch()
    odd = f"{bars}/test//right/../right/1.mp4"
    return [*sorted((bars / "test" / "left").iterdir()), tmp_path / "empty.mp4", odd, "https://[cdn]/a.mp4"]


def rounded(rows: list[Row]) -> list[Row]:
    """Videos that share a batch differ in the last bit from one alone."""
    for row in rows:
        row["predictions"] = [{**one, "score": round(one["score"], 4)} for one in row["predictions"]]
    return rows


def rows_in(file: Path) -> list[Row]:
    """Each with the fields that say something."""
    if file.suffix == ".jsonl":
        return [json.loads(line) for line in file.read_text().splitlines()]
    rows = pyarrow.parquet.read_table(file).to_pylist()
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_stopped_and_resumed(predictor: Predictor, videos: list[str | Path], tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"rows.{suffix}"
    expected = rounded([answer.as_dict() for answer in predictor.predict_all(videos, top=1, workers=0)])
    assert [row["video"] for row in expected] == [*map(str, map(Path, videos[:4])), videos[4]]
    found = []
    for answer in PredictionJob(videos, str(file)).run(predictor, top=1, workers=0):
        found.append(answer.as_dict())
        if len(found) == 3:
            break
    assert (rounded(found), file.exists()) == (expected[:3], False)

    calls: list[Progress] = []
    job = PredictionJob(videos, file, resume=True)
    found = [answer.as_dict() for answer in job.run(predictor, 1, workers=0, on_progress=calls.append)]
    assert rounded(found) == expected[3:]
    assert rounded(rows_in(file)) == expected
    assert (job.earlier, job.complete, job.tally) == (3, False, Tally(videos=5, unreadable=2))
    assert [(call.done, call.total, len(call.problems)) for call in calls] == [(3, 5, 0), (4, 5, 0), (5, 5, 1)]
    assert all(call.engine is predictor.engine for call in calls)

    content = file.read_bytes()
    job = PredictionJob(videos, file, resume=True)
    assert list(job.run(predictor, 1, workers=0, on_progress=calls.append)) == []
    assert (job.complete, job.tally, len(calls)) == (True, Tally(videos=5, unreadable=2), 3)
    assert file.read_bytes() == content
    with pytest.raises(timesformer.SettingError, match="made with top 1, not 2"):
        list(PredictionJob(videos, file, resume=True).run(predictor, 2))
    with pytest.raises(timesformer.SettingError, match="exists; name another file, or delete it"):
        PredictionJob(videos, file)


def test_names_of_their_own(predictor: Predictor, videos: list[str | Path], tmp_path: Path) -> None:
    """As they are listed; each shard has those that its SHA-256 puts there."""
    names = [f"./{number}//{video}" for number, video in enumerate(videos)]
    found: list[str] = []
    for number in range(1, 4):
        job = PredictionJob(videos, tmp_path / f"{number}.csv", names=names, shard=f"{number}/3")
        assert [answer.video for answer in job.run(predictor, workers=0)] == job.names
        with (tmp_path / f"{number}.csv").open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert [row["video"] for row in rows] == job.names
        assert [row["video"] for row in rows if row["problem"]] == [name for name in job.names if name in names[2::2]]
        found += job.names
    assert sorted(found) == sorted(names)
    with pytest.raises(timesformer.SettingError, match="names: 4 of 5 videos; expected one a video"):
        PredictionJob(videos, names=names[1:])
    with pytest.raises(timesformer.SettingError, match="shard 4/3: expected I/N"):
        PredictionJob(videos, shard="4/3")


def test_without_a_file(predictor: Predictor, videos: list[str | Path], tmp_path: Path) -> None:
    job = PredictionJob(videos)
    assert len(list(job.run(predictor, workers=0))) == 5
    assert (job.tally, job.complete, job.earlier) == (Tally(videos=5, unreadable=2), False, 0)
    assert list(PredictionJob([], tmp_path / "rows.jsonl").run(predictor)) == []
    assert (tmp_path / "rows.jsonl").read_bytes() == b""


def test_what_is_refused_leaves_nothing(predictor: Predictor, videos: list[str | Path], tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    with pytest.raises(timesformer.SettingError, match="top is 0"):
        list(PredictionJob(videos, tmp_path / "rows.csv").run(predictor, top=0))
    assert sorted(tmp_path.iterdir()) == before


def test_rows_of_another_threshold(run: Path, bars: Path, tmp_path: Path) -> None:
    videos = [bars / "test" / "left" / "0.mp4", bars / "test" / "left" / "1.mp4"]
    next(timesformer.PredictionJob(videos, tmp_path / "a.jsonl").run(timesformer.load(run, "cpu"), workers=0))
    job = timesformer.PredictionJob(videos, tmp_path / "a.jsonl", resume=True)
    with pytest.raises(timesformer.SettingError, match=r"are made with threshold None, not 0\.9"):
        list(job.run(timesformer.load(run, "cpu", threshold=0.9), workers=0))
    assert len(list(job.run(timesformer.load(run, "cpu"), workers=0))) == 1
