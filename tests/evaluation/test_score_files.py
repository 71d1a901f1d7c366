"""Score files, and those that cannot be written."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet
import pytest
import torch

from timesformer.errors import DataError, SettingError
from timesformer.evaluation.evaluate import EvaluationResult
from timesformer.evaluation.metrics import measure, measure_multilabel
from timesformer.evaluation.score_files import check_score_file, read_scores, write_scores


@pytest.fixture
def result() -> EvaluationResult:
    scores = torch.tensor([[0.25, 0.75], [0.9, 0.1]])
    labels = torch.tensor([1, 1])
    paths = (Path("a.mp4"), Path("b.mp4"))
    return EvaluationResult(measure(scores, labels), scores, labels, paths, ("x", "y"), (), "eager", "fp32")


def test_score_files(result: EvaluationResult, tmp_path: Path) -> None:
    write_scores(result, tmp_path / "s.parquet")
    write_scores(result, tmp_path / "s.pkl")
    table = pyarrow.parquet.read_table(tmp_path / "s.parquet")
    assert json.loads(table.schema.metadata[b"labels"]) == ["x", "y"]
    pickled = pickle.loads((tmp_path / "s.pkl").read_bytes())
    assert pickled["labels"] == ["x", "y"]
    for rows in (table.to_pylist(), pickled["videos"]):
        assert [(row["path"], row["label"], row["predicted"]) for row in rows] == [
            ("a.mp4", "y", "y"),
            ("b.mp4", "y", "x"),
        ]
        assert [row["scores"] for row in rows] == [pytest.approx([0.25, 0.75]), pytest.approx([0.9, 0.1])]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.parquet", "s.pkl"]


def test_what_mmaction2_reads(result: EvaluationResult, tmp_path: Path) -> None:
    """As its AccMetric and ConfusionMatrix take each sample of a dump (mmaction/evaluation/metrics, 1.2)."""
    write_scores(result, tmp_path / "s.mmaction2.pkl")
    samples = pickle.loads((tmp_path / "s.mmaction2.pkl").read_bytes())
    assert [type(sample) for sample in samples] == [dict, dict]
    predictions = [sample["pred_score"].cpu().numpy().tolist() for sample in samples]
    assert predictions == [pytest.approx([0.25, 0.75]), pytest.approx([0.9, 0.1])]
    assert [sample["gt_label"].size(0) for sample in samples] == [1, 1]  # more are taken for several classes
    assert [sample["gt_label"].item() for sample in samples] == [1, 1]
    assert [sample["pred_label"].tolist() for sample in samples] == [[1], [0]]
    assert [sample["path"] for sample in samples] == ["a.mp4", "b.mp4"]


def test_csv(result: EvaluationResult, tmp_path: Path) -> None:
    write_scores(result, tmp_path / "s.csv", groups=["p", "q"])
    assert (tmp_path / "s.csv").read_text().splitlines() == [
        "path,label,predicted,group,score_x,score_y",
        "a.mp4,y,y,p,0.25,0.75",
        "b.mp4,y,x,q,0.9,0.1",
    ]


def test_scores_are_read_as_they_were_written(result: EvaluationResult, tmp_path: Path) -> None:
    odd = replace(result, paths=(Path("caf\udce9.mp4"), Path("b.mp4")))
    write_scores(odd, tmp_path / "s.parquet", groups=["p", "q"])
    found = read_scores(tmp_path / "s.parquet")
    assert torch.equal(found.scores_BK, result.scores_BK)
    assert torch.equal(found.labels_B, result.labels_B)
    assert (found.videos, found.labels, found.groups) == (("caf\\udce9.mp4", "b.mp4"), ("x", "y"), ("p", "q"))
    labels = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    several = replace(result, labels_B=labels, metrics=measure_multilabel(result.scores_BK, labels))
    write_scores(several, tmp_path / "t.parquet")
    assert torch.equal(read_scores(tmp_path / "t.parquet").labels_B, labels)


def test_files_that_hold_no_scores(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.parquet: no such file; expected \*\.parquet of `timesformer test --out`"):
        read_scores(tmp_path / "a.parquet")
    (tmp_path / "a.parquet").write_text("path,label")
    with pytest.raises(DataError, match=r"a\.parquet: holds no scores; "):
        read_scores(tmp_path / "a.parquet")
    pyarrow.parquet.write_table(pyarrow.table({"path": ["a"], "scores": [[0.1]]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet: holds no scores; "):
        read_scores(tmp_path / "a.parquet")


def test_score_files_that_cannot_be(tmp_path: Path) -> None:
    expected = r"s\.txt: cannot be a score file; expected \*\.parquet, \*\.csv, \*\.pkl or \*\.mmaction2\.pkl$"
    with pytest.raises(SettingError, match=expected):
        check_score_file(tmp_path / "s.txt")
    with pytest.raises(SettingError, match="no such folder"):
        check_score_file(tmp_path / "nowhere" / "s.pkl")


def test_a_folder_is_no_score_file(tmp_path: Path) -> None:
    """Found out before the test, not after hours of it."""
    (tmp_path / "scores.pkl").mkdir()
    with pytest.raises(SettingError, match=r"scores\.pkl: is a folder"):
        check_score_file(tmp_path / "scores.pkl")
    assert check_score_file(str(tmp_path / "scores.parquet")) == tmp_path / "scores.parquet"


def test_a_score_file_that_cannot_be_written_is_known_before_the_test(
    result: EvaluationResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path))

    monkeypatch.setattr("tempfile.TemporaryFile", denied)
    for attempt in (lambda: check_score_file(tmp_path / "s.pkl"), lambda: write_scores(result, tmp_path / "s.pkl")):
        with pytest.raises(SettingError, match=r"s\.pkl: cannot be written: Permission denied$"):
            attempt()
    monkeypatch.undo()
    assert check_score_file(tmp_path / "s.pkl") == tmp_path / "s.pkl"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("writer", ["pickle.dump", "pyarrow.parquet.write_table"])
def test_a_full_disk_leaves_no_score_file(
    result: EvaluationResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer, full)
    with pytest.raises(SettingError, match=r"s\.\w+: cannot be written: No space left on device"):
        write_scores(result, tmp_path / ("s.pkl" if writer == "pickle.dump" else "s.parquet"))
    assert list(tmp_path.iterdir()) == []


def test_an_older_score_file_stays_where_the_disk_is_full(
    result: EvaluationResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "s.pkl").write_bytes(b"old")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(SettingError, match=r"s\.pkl: cannot be written: No space left on device"):
        write_scores(result, tmp_path / "s.pkl")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("s.pkl", b"old")]
