"""What of folds and seeds is refused before anything is written, and that nothing else is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NoReturn

import pytest

from conftest import small_recipe
from probes import probe_recipe
from timesformer.config import AnyRecipe
from timesformer.errors import DataError, SettingError, TimesformerError
from timesformer.folds.run import fit_folds

UNKNOWN = "augmentation.flip={left: top}"


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    """Three people, each with two videos of two classes; a val split with a class that is not trained. No videos: none
    is opened."""
    (tmp_path / "data").mkdir()
    rows = [
        f"{person}_{label}_{take}.mp4,{label},p{person}" for person in range(3) for label in "ab" for take in (0, 1)
    ]
    (tmp_path / "data" / "train.csv").write_text("\n".join(["path,label,person", *rows]) + "\n")
    (tmp_path / "data" / "val.csv").write_text("path,label\nv.mp4,c\n")
    return tmp_path


def drop_person(data: Path, person: str) -> None:
    lines = (data / "train.csv").read_text().splitlines()
    (data / "train.csv").write_text("\n".join(line for line in lines if not line.endswith(person)) + "\n")


@pytest.mark.parametrize(
    ("recipe", "people", "line"),
    [
        (
            small_recipe("training.validation_fraction=0.3"),
            2,
            "fold 1 of 2, person p0: {data}/train.csv: all videos are of person p1, but training.validation_fraction "
            "is 0.3; set it to 0, or add a val split",
        ),
        (
            small_recipe("training.patience=2"),
            3,
            "fold 1 of 3, person p0: training.patience is 2, but there is no val split to stop by",
        ),
        (small_recipe(UNKNOWN), 3, "fold 1 of 3, person p0: augmentation.flip: 'left' is not a class"),
        (
            probe_recipe(),
            3,
            "fold 1 of 3, person p0: {data}/train.csv: has 2 groups in column person; a probe without a val split "
            "needs at least 3",
        ),
    ],
)
def test_a_fold_that_no_run_would_take(
    lists: Path, monkeypatch: pytest.MonkeyPatch, recipe: AnyRecipe, people: int, line: str
) -> None:
    """Known from the lists: no weights are read."""
    if people == 2:
        drop_person(lists / "data", "p2")
    untouched(monkeypatch)
    with pytest.raises(TimesformerError) as refused:
        fit_folds(recipe, lists / "data", lists / "run", folds="groups", group="person", init="nowhere")
    assert str(refused.value).startswith(line.format(data=lists / "data"))
    assert not (lists / "run").exists()


def test_a_fold_in_the_middle(lists: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without person p1 nobody is left but p0 and one video: the part to validate on would take it."""
    data = lists / "data" / "train.csv"
    rows = ["path,label,person", "0.mp4,a,p0", "1.mp4,b,p0", "2.mp4,a,p1", "3.mp4,b,p1"]
    data.write_text("\n".join(rows) + "\n")
    untouched(monkeypatch)
    recipe = small_recipe("training.validation_fraction=0.3", "training.patience=2")
    with pytest.raises(DataError, match=r"^seed 0, fold 1 of 2, person p0: .*all videos are of person p1"):
        fit_folds(recipe, lists / "data", lists / "run", folds="groups", group="person", seeds=2)
    assert not (lists / "run").exists()


def test_a_seed_that_no_run_would_take(lists: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeds are tested on val; the second one cannot be trained."""
    (lists / "data" / "val.csv").write_text("path,label\nv.mp4,a\n")
    from timesformer.folds import divide

    choose = divide.choose_videos

    def refuse(recipe: Any, *given: Any) -> Any:
        if recipe.seed == 1:
            raise DataError("its part takes all videos of class a")
        return choose(recipe, *given)

    untouched(monkeypatch)
    monkeypatch.setattr(divide, "choose_videos", refuse)
    with pytest.raises(DataError, match=r"^seed 1: its part takes all videos of class a$"):
        fit_folds(small_recipe(), lists / "data", lists / "run", seeds=2)
    assert not (lists / "run").exists()


def test_a_network_that_does_not_fit(lists: Path, run: Path) -> None:
    """Before the lists are written."""
    recipe = small_recipe("training.trainable=last_blocks", "training.last_blocks=9")
    with pytest.raises(SettingError, match=r"^training.last_blocks is 9; the model has 1 blocks$"):
        fit_folds(recipe, lists / "data", lists / "run", folds=3, init=run)
    assert not (lists / "run").exists()


def test_what_takes_no_part_may_be_anything(lists: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The class of the val split is unknown; no fold is validated on it."""

    def begin(*_: object) -> NoReturn:
        raise RuntimeError("begun")

    monkeypatch.setattr("timesformer.folds.run._execute", begin)
    with pytest.raises(RuntimeError, match="begun"):
        fit_folds(small_recipe(), lists / "data", lists / "run", folds=3)
    with pytest.raises(DataError, match=re.escape("class c is unknown; the classes are a, b")):
        fit_folds(small_recipe(), lists / "data", lists / "run", seeds=2)


def untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    def touched(*_: object, **__: object) -> NoReturn:
        raise AssertionError

    monkeypatch.setattr("timesformer.training.plan.initialise_classifier", touched)
    monkeypatch.setattr("timesformer.folds.run._execute", touched)
