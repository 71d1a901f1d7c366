"""The table of a run of folds or seeds, in 80 columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from timesformer.folds.parts import FoldsResult, PartResult, read_parts, write_parts
from timesformer.folds.table import results_table


def result(tops: list[list[float]], groups: list[tuple[str, ...]], **facts: Any) -> FoldsResult:
    """tops: of each seed, those of its folds."""
    parts = [
        PartResult(
            f"seed{seed}/fold{fold + 1}",
            seed,
            fold + 1,
            groups[fold],
            9,
            {"top1": top, "mean_class_accuracy": top / 2, "videos": 50 + fold, "skipped": 0, "engine": "eager"},
        )
        for seed, of_seed in enumerate(tops)
        for fold, top in enumerate(of_seed)
    ]
    values = {"folds": 3, "group": "person", "split": None, "videos": "153 (abc)", "count": 3} | facts
    return FoldsResult(Path("run/model"), seeds=tuple(range(len(tops))), parts=tuple(parts), **values)


MANY = tuple(f"a long name {number}" for number in range(9))


def test_folds_with_several_seeds() -> None:
    lines = results_table(result([[0.5, 0.75, 0.7], [0.6, 0.65, 0.8]], [("1",), ("2", "4"), MANY]))
    assert lines[:6] == [
        "fold       videos   top-1  mean class accuracy  person",
        "1              50  0.5500               0.2750  1",
        "2              51  0.7000               0.3500  2, 4",
        "3              52  0.7500               0.3750  a long name 0, a long name 1,...",
        "mean          153  0.6667               0.3333",
        "std. dev.          0.1041               0.0520",
    ]
    # Student's t of two degrees of freedom is 4.303: 0.667 +- 4.303 * 0.1041 / sqrt(3).
    assert lines[6] == "top-1 0.667 over 3 folds, 95% interval 0.408 to 0.925, 153 videos"
    assert lines[7] == "2 seeds: from 0.650 to 0.683 (0.650, 0.683)"
    assert lines[8] == "note    the interval is 0.52 wide: compare runs fold by fold, not by their means"
    assert all(len(line) <= 80 for line in lines)


def test_a_narrow_interval_needs_no_note() -> None:
    lines = results_table(result([[0.98, 0.98, 0.98]], [(), (), ()], group=None))
    assert lines[0] == "fold       videos   top-1  mean class accuracy"
    # Wilson, of 0.98 and 153 videos.
    assert lines[6:] == ["top-1 0.980 over 3 folds, 95% interval 0.943 to 0.993, 153 videos"]


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    whole = result([[0.5, 0.75, 0.7]], [("1",), ("2", "4"), MANY])
    write_parts(tmp_path, whole)
    again = read_parts(tmp_path)
    assert again.parts == whole.parts
    assert again.as_dict() == whole.as_dict()
    assert again.as_dict()["summary"]["interval"] == list(whole.interval)
