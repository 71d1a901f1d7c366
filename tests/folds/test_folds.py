"""Folds and seeds: what is trained and tested on what, resumed runs against ones that were never stopped."""

from __future__ import annotations

import csv
import io
import json
import shutil
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import torch
from rich.console import Console

import timesformer
from conftest import moving_bar, small_recipe
from probes import probe_recipe
from stops import stop_at
from timesformer.config import Recipe
from timesformer.data.dataset import TestingViews
from timesformer.data.manifest import read_manifest
from timesformer.errors import DataError, SettingError
from timesformer.evaluation.evaluate import evaluate
from timesformer.evaluation.interval import mean_interval
from timesformer.evaluation.score_files import read_scores, write_scores
from timesformer.folds.parts import FoldsResult, read_parts
from timesformer.folds.run import fit_folds, resume_folds
from timesformer.folds.table import results_table
from timesformer.training.fit import fit, resume
from timesformer.video.encode import write_video

SHORT = ("training.epochs=2", "training.batch_size=2", "training.checkpoint_steps=1")  # 4 batches a fold


def recipe(*overrides: str) -> Recipe:
    return small_recipe(*SHORT, *overrides)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A train split of 8 videos of two people, and a test split that no fold may see. Not to be changed."""
    folder = tmp_path_factory.mktemp("people")
    rows = ["path,label,person"]
    for person in range(2):
        for direction, label in ((-1, "left"), (1, "right")):
            for take in range(2):
                name = f"{label}_{person}_{take}.mp4"
                write_video(folder / name, moving_bar(direction, 3 * person + take), 10)
                rows.append(f"{name},{label},p{person}")
    (folder / "train.csv").write_text("\n".join(rows) + "\n")
    (folder / "test.csv").write_text("path,label\nleft_0_0.mp4,left\nright_0_0.mp4,right\n")
    return folder


@pytest.fixture(scope="module")
def whole(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a fold for each person, never stopped. Not to be changed."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    fit_folds(recipe(), people, folder, folds="groups", group="person")
    return folder


def assert_same(first: Path, second: Path) -> None:
    assert read_parts(first).as_dict() == read_parts(second).as_dict()
    names = sorted(path.relative_to(first) for path in first.rglob("model.safetensors"))
    assert names == sorted(path.relative_to(second) for path in second.rglob("model.safetensors"))
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def scores(file: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pyarrow.parquet.read_table(file).to_pylist()
    return rows


def test_each_person_is_tested_by_a_run_that_has_not_seen_them(people: Path, whole: Path) -> None:
    result = read_parts(whole)
    assert [(part.name, part.fold, part.groups) for part in result.parts] == [
        (f"fold{number + 1}", number + 1, (f"p{number}",)) for number in range(2)
    ]
    for number, part in enumerate(result.parts):
        lists = whole / "folds" / part.name
        tested = {str(people / f"{label}_{number}_{take}.mp4") for label in ("left", "right") for take in (0, 1)}
        for name, own in (("held_out/test", True), ("train", False)):
            with (lists / f"{name}.csv").open() as stream:
                rows = list(csv.DictReader(stream))
            assert all((row["path"] in tested) == own == (row["person"] == f"p{number}") for row in rows)
            assert len(rows) == 4
        rows = scores(whole / part.name / "scores.parquet")
        assert {row["path"] for row in rows} == tested
        right = statistics.fmean(row["predicted"] == row["label"] for row in rows)
        assert part.metrics["top1"] == pytest.approx(right)
        assert part.metrics["videos"] == 4
        assert part.epoch == 2


def test_a_part_is_an_ordinary_run_with_the_full_test_protocol(people: Path, whole: Path, tmp_path: Path) -> None:
    fit(recipe("data.group=person"), whole / "folds" / "fold2", tmp_path / "alone")
    model = Path("model", "model.safetensors")
    assert (tmp_path / "alone" / model).read_bytes() == (whole / "fold2" / model).read_bytes()
    tested = timesformer.evaluate(tmp_path / "alone", whole / "folds" / "fold2" / "held_out", workers=0, device="cpu")
    write_scores(tested, tmp_path / "scores.parquet")
    assert scores(tmp_path / "scores.parquet") == scores(whole / "fold2" / "scores.parquet")
    assert timesformer.load_model(whole / "fold2").preprocessing.test_crops == 3


def test_the_summary(whole: Path) -> None:
    values = json.loads((whole / "parts.json").read_text())
    tops = [part["metrics"]["top1"] for part in values["parts"]]
    low, high = mean_interval(tops, 8)
    assert values["summary"] == {
        "metric": "top1",
        "mean": pytest.approx(statistics.fmean(tops)),
        "standard_deviation": pytest.approx(statistics.stdev(tops)),
        "interval": [pytest.approx(low), pytest.approx(high)],
        "seeds": {"0": pytest.approx(statistics.fmean(tops))},
        "videos": 8,
    }
    assert (values["folds"], values["group"], values["seeds"], values["count"]) == ("groups", "person", [0], 2)
    assert values["videos"].startswith("8 (")


def test_the_classifiers_are_one_ensemble(whole: Path, people: Path) -> None:
    video = people / "left_1_1.mp4"
    one = timesformer.load(whole, "cpu", precision="fp32")
    members = [timesformer.load(whole / f"fold{n}", "cpu", precision="fp32").scores(video) for n in (1, 2)]
    assert (one.scores(video) - torch.stack(members).mean(0)).abs().max() < 1e-6


def test_what_is_kept_of_a_part(whole: Path) -> None:
    kept = ["curves.png", "log.txt", "logs", "model", "recipe.yaml", "result.json", "scores.parquet", "sessions.yaml"]
    assert sorted(path.name for path in (whole / "fold1").iterdir()) == kept


def test_no_fold_is_validated_on_what_it_is_tested_on(people: Path, whole: Path, tmp_path: Path) -> None:
    """Where no part can be cut off, on nothing."""
    for part in read_parts(whole).parts:
        found = json.loads((whole / part.name / "result.json").read_text())
        assert (found["split"], found["score"], found["metrics"], found["videos"]) == (None, None, {}, 0)
        assert "test" not in (whole / part.name / "logs" / "metrics.csv").read_text()
    fit_folds(recipe("training.validation_fraction=0.5", "seed=1"), people, tmp_path / "run", folds=2)
    for name in ("fold1", "fold2"):
        found = json.loads((tmp_path / "run" / name / "result.json").read_text())
        assert (found["split"], found["videos"]) == ("val", 2)
        tested = {row["path"] for row in scores(tmp_path / "run" / name / "scores.parquet")}
        trained = read_manifest(tmp_path / "run" / "folds" / name, "train").videos
        assert not tested & {str(video.path) for video in trained}
        assert "test" not in (tmp_path / "run" / name / "logs" / "metrics.csv").read_text()


@pytest.mark.parametrize("moment", ["write_parts", "write_session"])
def test_killed_before_it_had_started(
    people: Path, run: Path, tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a signal that nothing can catch: what is left is in the way of no other run."""
    with monkeypatch.context() as patch:
        patch.setattr("timesformer.folds.run.remove_new", lambda *given: None)
        patch.setattr(f"timesformer.folds.run.{moment}", lambda *given: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            fit_folds(recipe(), people, tmp_path / "run", folds=4, init=run)
    left = {entry.name for entry in (tmp_path / "run").iterdir()}
    assert left == {"log.txt", "initial", "folds"} | ({"parts.json"} if moment == "write_session" else set())
    shutil.copytree(tmp_path / "run", tmp_path / "single")
    done = fit_folds(recipe(), people, tmp_path / "run", folds=2)
    assert len(done.parts) == 2
    assert not (tmp_path / "run" / "initial").exists()
    assert sorted(entry.name for entry in (tmp_path / "run" / "folds").iterdir()) == ["fold1", "fold2"]
    fit(recipe(), people, tmp_path / "single")
    assert timesformer.resume(tmp_path / "single").epoch == 2


def test_what_is_said(people: Path, tmp_path: Path) -> None:
    said = io.StringIO()
    console = Console(file=said, width=80)
    result = fit_folds(recipe(), people, tmp_path / "run", folds=2, seeds=2, console=console)
    lines = said.getvalue().splitlines()
    assert "note    the folds are of the train split, test takes no part" in lines
    assert any("--group keeps them together" in line for line in lines)
    started = [line for line in lines if line.endswith("started")]
    assert started == [f"seed {seed}, fold {fold} of 2: started" for seed in (0, 1) for fold in (1, 2)]
    table = results_table(result)
    assert table == lines[-len(table) :]
    assert all(len(line) <= 80 for line in table)
    assert table[0] == "fold       videos   top-1  mean class accuracy     AUC"
    first = statistics.fmean(part.metrics["top1"] for part in result.parts if part.fold == 1)
    assert table[1].split()[:3] == ["1", "4", f"{first:.4f}"]
    assert table[3].split()[:3] == ["mean", "8", f"{result.mean:.4f}"]
    low, high = result.interval
    assert table[5] == (f"top-1 {result.mean:.3f} over 2 folds, 95% interval {low:.3f} to {high:.3f}, 8 videos")
    seeds = [statistics.fmean(part.metrics["top1"] for part in result.parts if part.seed == seed) for seed in (0, 1)]
    assert result.seed_scores == pytest.approx(seeds)
    assert table[6].startswith(f"2 seeds: from {min(seeds):.3f} to {max(seeds):.3f} (")
    assert table[7] == f"note    the interval is {high - low:.2f} wide: compare runs fold by fold, not by their means"
    names = [f"seed{seed}/fold{fold}" for seed in (0, 1) for fold in (1, 2)]
    assert [part.name for part in result.parts] == names
    members = json.loads((tmp_path / "run" / "model" / "config.json").read_text())["members"]
    assert members == [name.replace("/", "-") for name in names]
    # Another recipe and another seed have the same folds: runs can be compared fold by fold.
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, 1)
        with pytest.raises(RuntimeError, match="plug"):
            fit_folds(recipe("seed=7", "model.depth=2"), people, tmp_path / "other", folds=2)
    for fold in ("fold1", "fold2"):
        for name in ("train", "held_out/test"):
            lists = [tmp_path / run / "folds" / fold / f"{name}.csv" for run in ("run", "other")]
            assert lists[0].read_bytes() == lists[1].read_bytes()


def test_seeds_alone_are_tested_on_test(bars: Path, tmp_path: Path) -> None:
    result = fit_folds(recipe("seed=3"), bars, tmp_path / "run", seeds=2)
    assert (result.split, result.seeds, result.tested) == ("test", (3, 4), 4)
    assert [part.name for part in result.parts] == ["seed3", "seed4"]
    assert {Path(row["path"]).parent.parent for row in scores(tmp_path / "run" / "seed4" / "scores.parquet")} == {
        bars / "test"
    }
    fit(recipe("seed=4"), bars, tmp_path / "alone")
    model = Path("model", "model.safetensors")
    assert (tmp_path / "alone" / model).read_bytes() == (tmp_path / "run" / "seed4" / model).read_bytes()
    assert results_table(result)[0].startswith("seed")
    assert [line.split()[0] for line in results_table(result)[1:3]] == ["3", "4"]


def test_seeds_without_a_split_to_test(people: Path, bars: Path, tmp_path: Path) -> None:
    shutil.copytree(bars / "train", tmp_path / "data" / "train")
    line = r"data: has no test or val split to test seeds on; --folds 5 divides its train split$"
    with pytest.raises(DataError, match=line):
        fit_folds(recipe(), tmp_path / "data", tmp_path / "run", seeds=2)
    shutil.copytree(bars / "val", tmp_path / "data" / "val")
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, 0)
        with pytest.raises(RuntimeError, match="plug"):
            fit_folds(recipe(), tmp_path / "data", tmp_path / "run", seeds=2, console=Console(file=said))
    assert "note    tested on val, which also chooses epochs" in said.getvalue()


@pytest.mark.parametrize("batches", [1, 6])  # inside an epoch of the first part, after one of the second
def test_a_stopped_run_ends_as_if_never_stopped(people: Path, whole: Path, tmp_path: Path, batches: int) -> None:
    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, batches)
        with pytest.raises(RuntimeError, match="plug"):
            fit_folds(recipe(), people, run, folds="groups", group="person")
    ended = len(read_parts(run).parts)
    assert ended == batches // 4
    assert not (run / "model").exists()
    assert "summary" not in read_parts(run).as_dict()
    stamps = {path: path.stat().st_mtime_ns for path in (run / "fold1").rglob("*.safetensors")} if ended else {}
    resume_folds(run)
    assert_same(whole, run)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    assert f"fold {ended + 1} of 2, person p{ended}: resumed" in (run / "log.txt").read_text()


def test_stopped_between_training_and_test(
    people: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"

    def torn(*_: object, **__: object) -> None:
        raise RuntimeError("pulled the plug")

    with monkeypatch.context() as patch:
        patch.setattr("timesformer.folds.run.evaluate_manifest", torn)
        with pytest.raises(RuntimeError, match="plug"):
            fit_folds(recipe(), people, run, folds="groups", group="person")
    assert (run / "fold1" / "checkpoints" / "last.ckpt").exists()
    resume_folds(run)
    assert_same(whole, run)
    result = resume_folds(run)  # complete: nothing is trained or tested again
    assert result == read_parts(run)
    assert_same(whole, run)


def test_weights_to_initialise_from_may_be_gone(people: Path, run: Path, tmp_path: Path) -> None:
    given = tmp_path / "given"
    shutil.copytree(run / "model", given)
    fit_folds(recipe(), people, tmp_path / "whole", folds="groups", group="person", init=given)
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, 6)
        with pytest.raises(RuntimeError, match="plug"):
            fit_folds(recipe(), people, tmp_path / "run", folds="groups", group="person", init=given)
    shutil.rmtree(given)
    resume_folds(tmp_path / "run")
    assert_same(tmp_path / "whole", tmp_path / "run")
    assert "from " in (tmp_path / "run" / "fold2" / "log.txt").read_text()


def test_data_that_have_moved(people: Path, whole: Path, tmp_path: Path) -> None:
    first, run = tmp_path / "first", tmp_path / "run"
    shutil.copytree(people, first)
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, 6)
        with pytest.raises(RuntimeError, match="plug"):
            fit_folds(recipe(), first, run, folds="groups", group="person")
    first.rename(tmp_path / "second")
    with pytest.raises(SettingError, match=r"its data are no longer in .*first; name their folder with --data"):
        resume_folds(run)
    resume_folds(run, data=tmp_path / "second")
    assert_same(whole, run)
    lines = (tmp_path / "second" / "train.csv").read_text().splitlines()
    (tmp_path / "second" / "train.csv").write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(SettingError, match=r"videos was 8 \(\w+\), is 7 \(\w+\); folds cannot change, start a new"):
        resume_folds(run, data=tmp_path / "second")


def test_an_unreadable_video_counts_as_one_of_the_whole_list(people: Path, tmp_path: Path) -> None:
    """One of 8, though one of the two videos of the fold that it tests."""
    data = tmp_path / "data"
    shutil.copytree(people, data)
    (data / "left_0_0.mp4").write_bytes(b"no video")
    settings = ("data.max_bad_fraction=0.25", "training.epochs=1")
    done = fit_folds(recipe(*settings), data, tmp_path / "run", folds=4)
    assert [part.metrics["skipped"] for part in done.parts].count(1) == 1
    assert done.tested == 7


def test_the_list_of_quarantine_of_the_recipe_holds_for_what_tests_seeds(people: Path, tmp_path: Path) -> None:
    data, listed = tmp_path / "data", tmp_path / "listed.csv"
    shutil.copytree(people, data)
    (data / "test.csv").write_text("path,label\nleft_0_0.mp4,left\nright_0_0.mp4,right\nnone.mp4,right\n")
    listed.write_text("path,reason\nnone.mp4,missing\n")
    done = fit_folds(recipe(f"data.quarantine={listed}", "training.epochs=1"), data, tmp_path / "run", seeds=2)
    assert [(part.metrics["videos"], part.metrics["skipped"]) for part in done.parts] == [(2, 0), (2, 0)]


def test_a_probe_in_folds(people: Path, run: Path, tmp_path: Path) -> None:
    """Each chooses its head in three groups of its own. A video's features for training are computed once for all: each
    is read once more to be tested, and the results are those of folds that compute their own."""
    header, *rows = (people / "train.csv").read_text().splitlines()
    paths = [f"{people}/{row.rpartition(',')[0]},p{number % 2 + 2 * (number // 4)}" for number, row in enumerate(rows)]
    (tmp_path / "train.csv").write_text("\n".join([header, *paths]) + "\n")
    read: list[str] = []
    views = TestingViews.__getitem__

    def counting(self: TestingViews, row: int) -> object:
        read.append(self.manifest.videos[row].path.name)
        return views(self, row)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TestingViews, "__getitem__", counting)
        done = fit_folds(probe_recipe(), tmp_path, tmp_path / "run", folds="groups", group="person", init=run)
    assert len(done.parts) == 4
    assert set(Counter(read).values()) == {2}
    assert not (tmp_path / "run" / "features").exists()
    fold = tmp_path / "run" / "folds" / "fold1"
    alone = fit(probe_recipe(), fold, tmp_path / "alone", init=run)
    tested = evaluate(alone.model, fold / "held_out", device="cpu", workers=0)
    torch.testing.assert_close(tested.scores_BK, read_scores(tmp_path / "run" / "fold1" / "scores.parquet").scores_BK)
    assert timesformer.load(tmp_path / "run", "cpu").labels == ("left", "right")
    assert not (tmp_path / "run" / "fold1" / "features").exists()


def test_several_classes_a_video(people: Path, tmp_path: Path) -> None:
    rows = (people / "train.csv").read_text().splitlines()[1:]
    lines = [f"{people / path},{label};moves,{person}" for path, label, person in (row.split(",") for row in rows)]
    (tmp_path / "train.csv").write_text("\n".join(["path,labels,person", *lines]) + "\n")
    result = fit_folds(recipe("training.label_smoothing=0"), tmp_path, tmp_path / "run", folds=2, group="person")
    assert result.metric == "mean_average_precision"
    assert result.interval == pytest.approx(mean_interval(result.scores))
    assert results_table(result)[0].split() == ["fold", "videos", "mAP", "person"]


def test_the_groups_of_the_recipe_are_those_of_the_folds(people: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, 2)
        with pytest.raises(RuntimeError, match="plug"):
            fit_folds(recipe("data.group=person"), people, tmp_path / "run", folds=2)
    assert read_parts(tmp_path / "run").group == "person"
    lists = [tmp_path / "run" / "folds" / f"fold{n}" / "held_out" for n in (1, 2)]
    groups = [read_manifest(folder, "test").groups("person") for folder in lists]
    assert all(len(set(found)) == 1 for found in groups)


def test_nothing_is_left_where_nothing_began(people: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, 0)
        with pytest.raises(RuntimeError, match="plug"):
            fit_folds(recipe(), people, tmp_path / "run", folds=2)
    assert not (tmp_path / "run").exists()


def test_what_continues_what(people: Path, whole: Path, run: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"a run of folds or seeds; resume_folds continues it, or `times"):
        resume(whole)
    with pytest.raises(SettingError, match=r"nothing to resume; there is no run of folds or seeds in this folder"):
        resume_folds(run)
    with pytest.raises(SettingError, match=r"already holds a run; `timesformer train --resume .*` continues it"):
        fit_folds(recipe(), people, whole, folds=2)
    shutil.copytree(whole, tmp_path / "copy")
    (tmp_path / "copy" / "parts.json").write_text('{"folds": 2')
    with pytest.raises(SettingError, match=r"cannot resume, parts.json is damaged"):
        resume_folds(tmp_path / "copy")


def test_public_names() -> None:
    assert timesformer.fit_folds is fit_folds
    assert timesformer.resume_folds is resume_folds
    assert timesformer.FoldsResult is FoldsResult
