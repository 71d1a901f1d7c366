"""The part of the training split that a run is validated on where there is no `val`."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import small_recipe
from stops import stopped
from timesformer.config import ProbeRecipe, Recipe
from timesformer.data.lists import LabelledVideo
from timesformer.data.manifest import Manifest, read_manifest
from timesformer.errors import DataError, SettingError
from timesformer.recipes import load_recipe
from timesformer.training.curves import read_metrics
from timesformer.training.fit import fit, resume
from timesformer.training.plan import plan_training
from timesformer.training.videos import cut_validation_part
from timesformer.weights.classifier import load_model


def listed(bars: Path, folder: Path, *lines: str) -> Path:
    """A data set whose train.csv has these lines; paths such as left/0.mp4 are those of `bars`."""
    folder.mkdir(exist_ok=True)
    header, *rows = lines
    (folder / "train.csv").write_text("\n".join([header, *(f"{bars}/train/{row}" for row in rows)]) + "\n")
    return folder


@pytest.mark.parametrize("recipe", [small_recipe("data.group=person"), load_recipe("probe", ["data.group=person"])])
@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ("path,label", "left/0.mp4,left", "right/0.mp4,right"),
            r"train\.csv: has no column person; it has path, label",
        ),
        (("path,label,person", "left/0.mp4,left,a", "right/0.mp4,right,"), r"right/0\.mp4 has no person; each video"),
    ],
)
def test_a_column_of_groups_is_checked_before_a_run(
    bars: Path, run: Path, tmp_path: Path, recipe: Recipe | ProbeRecipe, lines: tuple[str, ...], message: str
) -> None:
    data = listed(bars, tmp_path / "data", *lines)
    with pytest.raises(DataError, match=message):
        fit(recipe, data, tmp_path / "run", init=run)
    assert not (tmp_path / "run").exists()


def test_class_folders_have_no_groups(bars: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"train: has no column person: class folders, which have no columns; "
        r"groups need CSV lists with the header path,lab",
    ):
        plan_training(small_recipe("data.group=person"), bars, tmp_path / "run", None)


def manifest(classes: str, *, multilabel: bool = False) -> Manifest:
    """Videos of classes such as "aab"; "-" is none."""
    labels = tuple(sorted(set(classes) - {"-"}))
    videos = tuple(
        LabelledVideo(Path(f"{number}.mp4"), () if name == "-" else (labels.index(name),))
        for number, name in enumerate(classes)
    )
    return Manifest(Path(), Path("train.csv"), "train", labels, videos, multilabel)


def grouped(folder: Path, rows: Iterable[tuple[str, str]]) -> Manifest:
    """A list of videos, each of a class and a person."""
    lines = [f"{number}.mp4,{name},{person}\n" for number, (name, person) in enumerate(rows)]
    (folder / "train.csv").write_text("path,label,person\n" + "".join(lines))
    for number in range(len(lines)):
        (folder / f"{number}.mp4").touch()
    return read_manifest(folder, "train")


def cut(training: Manifest, *settings: str) -> tuple[Manifest, Manifest | None]:
    return cut_validation_part(small_recipe(*settings), training)


def names(manifest: Manifest) -> list[str]:
    return [video.path.name for video in manifest.videos]


def test_no_part_is_cut_unless_it_is_asked_for() -> None:
    training = manifest("aaaabbbb")
    assert cut(training) == (training, None)


@pytest.mark.parametrize("seed", range(5))
def test_a_part_has_all_classes_alike(seed: int) -> None:
    training = manifest("a" * 60 + "b" * 30 + "c" * 10)
    rest, part = cut(training, "training.validation_fraction=0.1", f"seed={seed}")
    assert part is not None
    assert Counter(video.label for video in part.videos) == {0: 6, 1: 3, 2: 1}
    assert sorted(names(rest) + names(part)) == sorted(names(training))
    assert (rest.split, part.split, rest.labels, part.labels) == ("train", "val", training.labels, training.labels)
    assert part.notes == (
        "10 of 100 training videos are cut off to validate on (training.validation_fraction is 0.1), drawn at random; "
        "data.group=COLUMN keeps a person or a recording whole",
    )


def test_the_seed_decides_which_videos() -> None:
    training, settings = manifest("ab" * 50), "training.validation_fraction=0.2"
    parts = [names(cut(training, settings, f"seed={seed}")[1]) for seed in (0, 0, 1)]  # type: ignore[arg-type]
    assert parts[0] == parts[1] != parts[2]


def test_groups_stay_whole(tmp_path: Path) -> None:
    """Ten people, each with two videos of both classes."""
    training = grouped(tmp_path, [(name, person) for person in "qrstuvwxyz" for name in "aabb"])
    rest, part = cut(training, "data.group=person", "training.validation_fraction=0.2")
    assert part is not None
    assert (len(rest.videos), len(part.videos)) == (32, 8)
    assert not set(rest.groups("person")) & set(part.groups("person"))
    people = sorted(set(part.groups("person")))
    assert part.notes == (
        "8 of 40 training videos are cut off to validate on (training.validation_fraction is 0.2), "
        f"2 of 10 groups of person: {', '.join(people)}",
    )


def test_a_video_that_is_listed_twice_is_in_one_part() -> None:
    once = manifest("ab" * 10)
    training = replace(once, videos=once.videos * 2)
    for seed in range(5):
        rest, part = cut(training, "training.validation_fraction=0.3", f"seed={seed}")
        assert part is not None
        assert not set(names(rest)) & set(names(part))


@pytest.mark.parametrize("seed", range(5))
def test_what_alone_has_a_class_is_trained_on(tmp_path: Path, seed: int) -> None:
    rest, part = cut(manifest("aaaaaaab"), "training.validation_fraction=0.5", f"seed={seed}")
    assert part is not None
    assert "7.mp4" in names(rest)
    people = grouped(tmp_path, [("a", "x"), ("c", "x"), *[(name, person) for person in "yz" for name in "ab"]])
    rest, part = cut(people, "training.validation_fraction=0.5", "data.group=person", f"seed={seed}")
    assert part is not None
    assert "x" in rest.groups("person")
    assert {rest.labels[video.label] for video in rest.videos} == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("classes", "fraction", "why"),
    [
        ("aab", 0.1, "no validation part is cut off (training.validation_fraction is 0.1): 3 videos are too few"),
        ("ab", 0.5, "no validation part is cut off (training.validation_fraction is 0.5): 2 videos are too few"),
    ],
)
def test_too_few_videos_are_all_trained_on(classes: str, fraction: float, why: str) -> None:
    training = manifest(classes)
    rest, part = cut(training, f"training.validation_fraction={fraction}")
    assert (rest.videos, part) == (training.videos, None)
    assert rest.notes == (why,)


@pytest.mark.parametrize(
    "rows", [[("a", "x"), ("b", "y")] * 4, [(name, person) for person in "wxyz" for name in "abab"]]
)
def test_groups_that_are_too_large_are_trained_on(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    """Groups that alone have a class, and people with a quarter of the videos where a tenth is to be cut off."""
    training = grouped(tmp_path, rows)
    rest, part = cut(training, "training.validation_fraction=0.1", "data.group=person")
    assert (rest.videos, part) == (training.videos, None)
    assert rest.notes == (
        "no validation part is cut off (training.validation_fraction is 0.1): each group of person alone has a class "
        "or is too large",
    )


def test_a_single_group_cannot_be_cut(tmp_path: Path) -> None:
    training = grouped(tmp_path, [("a", "x"), ("b", "x")])
    message = r"train\.csv: all videos are of person x, but training\.validation_fraction is 0\.2; set it to 0, or add"
    with pytest.raises(DataError, match=message):
        cut(training, "training.validation_fraction=0.2", "data.group=person")


def test_a_part_of_data_with_several_classes_a_video() -> None:
    training = manifest("a" * 20 + "b" * 20 + "-" * 10, multilabel=True)
    rest, part = cut(training, "training.validation_fraction=0.1")
    assert part is not None
    assert Counter(video.labels for video in part.videos) == {(0,): 2, (1,): 2, (): 1}
    assert part.multilabel
    assert rest.multilabel


def test_a_run_is_validated_on_the_part_and_never_sees_the_test_split(
    bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test list could not even be read; the weights are those of the epoch that is best on the part."""
    monkeypatch.setattr("timesformer.training.plan.FEWEST", 2)
    rows = [f"{label}/{number}.mp4,{label},{number}" for label in ("left", "right") for number in range(4)]
    data = listed(bars, tmp_path / "data", "path,label,person", *rows)
    (data / "test.csv").write_text("path,label\nnone.mp4,unknown\n")
    recipe = small_recipe("training.validation_fraction=0.25", "data.group=person", "training.validate_every=2")
    result = fit(recipe, data, tmp_path / "run")
    assert result.validation_split == "val"
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "6 training videos, 2 validation videos (val), 2 classes\n" in log
    assert re.search(r"note    val: 2 of 8 training videos are cut off .*, 1 of 4 groups of person: \d\n", log)
    assert "test" not in log.replace(str(tmp_path), "")
    metrics = [row for row in read_metrics(tmp_path / "run" / "logs" / "metrics.csv") if row["val_top1"]]
    assert [float(row["epoch"]) for row in metrics] == [2, 4]
    best = max(metrics, key=lambda row: (float(row["val_top1"]), -float(row["val_loss"]), float(row["epoch"])))
    assert (result.epoch, result.score) == (float(best["epoch"]), float(best["val_top1"]))
    facts = load_model(tmp_path / "run").facts
    assert facts["data"] == "data, 6 videos"
    assert facts["top-1 on val while training, one crop"] == f"{result.score:.3f}"


@pytest.mark.parametrize(("fewest", "kept"), [(30, 3), (3, 3), (2, 1)])
def test_a_part_of_a_few_videos_chooses_no_epoch(
    bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fewest: int, kept: int
) -> None:
    """Of 2 videos, where the first epoch has the best score."""
    monkeypatch.setattr("timesformer.training.plan.FEWEST", fewest)
    scores = iter([1.0, 0.5, 0.5])

    def measured(*given: object, **how: object) -> dict[str, float]:
        return {"val_top1": next(scores), "val_loss": 1.0}

    monkeypatch.setattr("timesformer.training.task.ValidationScores.measure", measured)
    data = tmp_path / "data"
    shutil.copytree(bars / "train", data / "train")
    settings = ("training.validation_fraction=0.25", "training.epochs=3", "training.validate_every=1")
    assert fit(small_recipe(*settings), data, tmp_path / "run").epoch == kept
    note = "note    2 validation videos are too few to choose an epoch: the last one counts\n"
    assert (note in (tmp_path / "run" / "log.txt").read_text()) == (kept == 3)


def test_a_val_split_is_validated_on_whole(bars: Path, tmp_path: Path) -> None:
    plan = plan_training(small_recipe("training.validation_fraction=0.25"), bars, tmp_path / "run", None)
    assert plan.validation is not None
    assert (len(plan.training.videos), len(plan.validation.videos)) == (8, 4)
    assert "validation videos" not in plan.facts


def test_where_no_part_can_be_cut_the_run_goes_on_without(bars: Path, tmp_path: Path) -> None:
    data = listed(bars, tmp_path / "data", "path,label", "left/0.mp4,left", "left/1.mp4,left", "right/0.mp4,right")
    result = fit(small_recipe("training.validation_fraction=0.1"), data, tmp_path / "run")
    assert (result.epoch, result.score) == (4, None)
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "note    train: no validation part is cut off (training.validation_fraction is 0.1): 3 videos" in log


def test_a_stopped_run_resumes_with_the_same_part(bars: Path, tmp_path: Path) -> None:
    shutil.copytree(bars / "train", tmp_path / "data" / "train")
    settings = ("training.validation_fraction=0.25", "training.batch_size=2")
    whole = fit(small_recipe(*settings), tmp_path / "data", tmp_path / "whole")
    stopped(tmp_path / "data", tmp_path / "torn", 7, *settings)
    assert resume(tmp_path / "torn") == replace(whole, model=tmp_path / "torn" / "model")
    for file in ("model/model.safetensors", "logs/metrics.csv"):
        assert (tmp_path / "torn" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_a_resumed_run_notices_another_part(bars: Path, tmp_path: Path) -> None:
    """Another fraction cuts other videos, and so does a part of other groups; none of the part may be left."""
    data = tmp_path / "data"
    shutil.copytree(bars / "train", data / "train")
    settings = ("training.validation_fraction=0.25", "training.batch_size=2")
    stopped(data, tmp_path / "run", 7, *settings)
    message = "cannot resume with another validation part, which has videos that were trained on: validation videos was"
    for change in ("training.validation_fraction=0.5", "training.validation_fraction=0"):
        with pytest.raises(SettingError, match=message):
            resume(tmp_path / "run", overrides=[change], accept_changes=True)
    plan = plan_training(small_recipe(*settings), data, tmp_path / "new", None)
    assert plan.validation is not None
    for video in plan.validation.videos:
        video.path.rename(video.path.with_name(f"9{video.path.name}"))
    with pytest.raises(DataError, match="train: none of the 2 videos that the run is validated on are left"):
        resume(tmp_path / "run", accept_changes=True)


@pytest.mark.parametrize("kind", ["training", "validation"])
def test_a_run_resumes_when_one_of_its_videos_is_quarantined(bars: Path, tmp_path: Path, kind: str) -> None:
    """What is left of its part stays its part, and none of it is trained on, whatever would be drawn now."""
    data, settings = tmp_path / "data", ("training.validation_fraction=0.25", "training.batch_size=2")
    shutil.copytree(bars / "train", data / "train")
    stopped(data, tmp_path / "run", 6, *settings)
    plan = plan_training(small_recipe(*settings), data, tmp_path / "new", None)
    assert plan.validation is not None
    gone = {"training": plan.training, "validation": plan.validation}[kind].videos[0].path
    (data / "quarantine.csv").write_text(f"path,reason\n{gone},cut\n")
    with pytest.raises(SettingError, match=r"(videos was \['|videos was 6 ).*--accept-changes resumes all the same"):
        resume(tmp_path / "run")
    now = plan_training(small_recipe(*settings), data, tmp_path / "run", None, resume=True, accept_changes=True)
    assert now.validation is not None
    assert [video.path for video in now.training.videos] == [v.path for v in plan.training.videos if v.path != gone]
    assert [video.path for video in now.validation.videos] == [v.path for v in plan.validation.videos if v.path != gone]
    assert resume(tmp_path / "run", accept_changes=True).score is not None
    assert "training videos stay cut off to validate on" in (tmp_path / "run" / "log.txt").read_text()


def test_the_interval_of_a_grouped_part_is_over_its_groups(bars: Path, tmp_path: Path) -> None:
    rows = [f"{label}/{number}.mp4,{label},{number}" for label in ("left", "right") for number in range(4)]
    data = listed(bars, tmp_path / "data", "path,label,person", *rows)
    settings = ("data.group=person", "training.validation_fraction=0.5", "training.epochs=1")
    result = fit(small_recipe(*settings), data, tmp_path / "run")
    assert (result.videos, result.groups) == (4, 2)
    assert "of 4 videos in 2 groups" in result.summary()
    val = listed(bars, tmp_path / "val", "path,label", *(row[: row.rindex(",")] for row in rows))
    (val / "train.csv").rename(data / "val.csv")
    again = fit(small_recipe(*settings), data, tmp_path / "again")
    assert again.groups is None
    said = (tmp_path / "again" / "log.txt").read_text()
    assert "note    the interval takes validated videos for independent: " in said
