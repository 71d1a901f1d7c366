"""Studies on tiny clips: what is trained, what is shared, what stops and goes on, what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch

import timesformer
from commands import Command, assert_one_line
from conftest import SMALL, small_recipe
from stops import stop_at
from study_rows import read_results
from timesformer.errors import DataError, SettingError, TrainingError
from timesformer.study import perform
from timesformer.study import study as studying
from timesformer.study.cache import CachedRun
from timesformer.study.key import read_data
from timesformer.study.plan import StudyPlan, plan_study
from timesformer.study.results import Row
from timesformer.study.studies import STUDIES, find_study
from timesformer.study.study import run_study

CHANGING = ("minutes", "memory", "test_seconds")  # of a run, each time it is trained


def planned(name: str, data: Path, out: Path, *overrides: str, **how: Any) -> StudyPlan:
    recipe = small_recipe("training.epochs=2", "training.checkpoint_steps=1", *overrides)
    return plan_study(find_study(name), recipe, data, out, **({"seeds": 1} | how), overrides=overrides)


def run(plan: StudyPlan, **how: Any) -> list[Row]:
    return run_study(plan, apart=False, **how)


def lasting(rows: list[Row]) -> list[dict[str, Any]]:
    return [row.model_dump(exclude=set(CHANGING)) for row in rows]


@pytest.fixture
def never_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(perform, "fit")
    monkeypatch.delattr(perform, "resume")


@pytest.fixture(scope="module")
def positions(bars: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of three trainings, never stopped. Not to be changed, but for trainings beside it."""
    out = tmp_path_factory.mktemp("study") / "positions"
    run(planned("positions", bars, out))
    return out


def test_a_row_is_the_test_of_a_run(bars: Path, positions: Path) -> None:
    rows = read_results(positions / "results.csv")
    assert [(row.cell, row.seed, row.status, row.epochs) for row in rows] == [
        (name, 0, "done", 2) for name in ("none", "space", "space_time")
    ]
    assert len({row.run for row in rows} | {row.config for row in rows}) == 6
    for row in rows:
        folder = positions.parent / "runs" / row.run
        tested = timesformer.evaluate(folder / "run", bars, workers=0, device="cpu")
        assert row.test_score == pytest.approx(tested.summary()["top1"])
        assert row.weights == tested.fingerprint
        assert (row.test_split, row.test_videos, row.validation_split) == ("test", 4, "val")
        classifier = timesformer.load_model(folder / "run")
        assert classifier.model.settings.position == row.cell
        assert row.parameters == sum(parameter.numel() for parameter in classifier.model.parameters())
        assert not (folder / "run" / "checkpoints").exists()
    text = (positions / "table.md").read_text()
    assert "| 75.4 | 45.8 |" in text
    assert "reference" in next(line for line in text.splitlines() if line.startswith("| space_time |"))


def test_studies_share_trainings(bars: Path, positions: Path, never_trains: None) -> None:
    said: list[str] = []
    rows = run(planned("clips", bars, positions.parent / "clips"), say=said.append)
    assert [row.status for row in rows] == ["done"] * 4
    assert {row.run for row in rows} == {read_results(positions / "results.csv")[2].run}
    assert [row.protocol for row in rows] == [f"clips={count}" for count in (1, 3, 5, 10)]
    assert said[0] == "1/1  1 clip, seed 0: testing"
    assert run(planned("positions", bars, positions)) == read_results(positions / "results.csv")


def test_one_cell_alone(bars: Path, positions: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a job of a SLURM array: the table is written by the same command without --cell."""

    def here(_: str, arguments: dict[str, Any], **how: Any) -> dict[str, Any]:
        return perform.perform(**json.loads(json.dumps(arguments | {"parent": None})))

    monkeypatch.setattr(perform, "run_apart", here)  # test_study_processes.py has a process of its own
    out = positions.parent / "clips-apart"
    words = ("study", "clips", "--data", bars, "--recipe", "demo", "--out", out, *SMALL, "training.epochs=2")
    row = read_results(positions / "results.csv")[2]
    kept = positions.parent / "runs" / row.run / "test,clips=5.parquet"
    kept.unlink(missing_ok=True)
    result = command(*words, "--seeds", 1, "--cell", 1)
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("1/1  1 clip, seed 0: testing\n1/1  1 clip, seed 0: ")
    assert kept.exists()
    assert not out.exists()


def test_what_a_run_ends_with_names_it(bars: Path, tmp_path: Path) -> None:
    def keys(*overrides: str, data: Path = bars) -> set[str]:
        return {task.run.folder.name for task in planned("positions", data, tmp_path / "x", *overrides).tasks}

    assert keys() == keys("data.workers=2", "training.device=cpu", "training.checkpoint_steps=5")
    copied = tmp_path / "copy"
    shutil.copytree(bars, copied)
    assert keys() == keys(data=copied)
    (copied / "test" / "left" / "0.mp4").write_bytes(b"another video")
    assert not keys() & keys(data=copied)
    assert not keys() & keys("seed=1")
    assert not keys() & keys("optimizer.weight_decay=0.011")


def test_a_study_that_was_killed_ends_with_the_same_table(bars: Path, positions: Path, tmp_path: Path) -> None:
    out = tmp_path / "positions"
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, 5)  # of four batches a training: inside the second one
        with pytest.raises(RuntimeError, match="plug"):
            run(planned("positions", bars, out))
    assert [row.status for row in read_results(out / "results.csv")] == ["done", "missing", "missing"]
    assert lasting(run(planned("positions", bars, out))) == lasting(read_results(positions / "results.csv"))


def test_one_cell_that_fails_does_not_end_the_rest(bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit: Callable[..., Any] = perform.fit

    def failing(recipe: Any, *words: Any, **how: Any) -> Any:
        if recipe.model.position == "space":
            raise TrainingError("the loss is NaN")
        return fit(recipe, *words, **how)

    monkeypatch.setattr(perform, "fit", failing)
    rows = run(planned("positions", bars, tmp_path / "out"))
    assert [(row.status, row.reason) for row in rows] == [
        ("done", ""),
        ("failed", "the loss is NaN"),
        ("done", ""),
    ]
    assert "space has failed: the loss is NaN" in (tmp_path / "out" / "table.md").read_text()
    monkeypatch.undo()
    assert [row.status for row in run(planned("positions", bars, tmp_path / "out"))] == ["done"] * 3


def test_what_another_process_has_seen_fail_is_not_tried_again(
    bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, never_trains: None
) -> None:
    """But what has failed before this process began is."""
    plan = planned("positions", bars, tmp_path / "positions")
    runs = [task.run for task in plan.tasks]
    runs[0].write_failure("of yesterday")
    tried: list[Path] = []

    def failing(run: CachedRun, *_: Any, **__: Any) -> bool:
        tried.append(run.folder)
        runs[1].write_failure("the loss is NaN")  # by another process, while this one is at the first
        raise TrainingError("no memory")

    monkeypatch.setattr(studying, "train_and_test", failing)
    said: list[str] = []
    rows = run(plan, say=said.append)
    assert tried == [runs[0].folder, runs[2].folder]
    assert [row.reason for row in rows] == ["no memory", "the loss is NaN", "no memory"]
    assert "2/3  space, seed 0: failed in another process: the loss is NaN" in said


def test_a_failure_of_before_is_none_of_a_cell_that_is_done(bars: Path, positions: Path, never_trains: None) -> None:
    plan = planned("positions", bars, positions)
    plan.tasks[0].run.write_failure("ended while it was tested; then another process tested it")
    assert [row.status for row in run(plan, cell=1)] == ["done"]
    plan.tasks[0].run.forget_failure()


def test_a_look_at_a_lock_is_no_work(bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process that only looks lets go of it before the first time that this one waits is over."""
    found = planned("positions", bars, tmp_path / "positions").tasks[0].run
    look = ExitStack()
    look.enter_context(found.locked())
    monkeypatch.setattr("time.sleep", lambda _: look.close())
    assert not found.is_busy


def test_what_a_killed_training_leaves_is_removed(bars: Path, positions: Path, tmp_path: Path) -> None:
    """Killed after its last line, before its checkpoints were removed."""
    shutil.copytree(positions.parent / "runs", tmp_path / "runs")
    found = planned("positions", bars, tmp_path / "positions").tasks[0].run
    for left in (found.run / "checkpoints", found.folder / "pilot"):
        left.mkdir()
    found.scores({}).unlink()
    run(planned("positions", bars, tmp_path / "positions"))
    assert found.is_done([{}])
    assert not (found.run / "checkpoints").exists()
    assert not (found.folder / "pilot").exists()


def test_groups_of_the_tested_split_are_of_the_data(bars: Path, tmp_path: Path) -> None:
    for split in ("train", "test"):
        rows = [f"{bars}/{split}/{label}/{n}.mp4,{label},p{n}" for n in range(2) for label in ("left", "right")]
        (tmp_path / f"{split}.csv").write_text("\n".join(["path,label,person", *rows]) + "\n")
    grouped, plain = small_recipe("data.group=person"), small_recipe()
    before = [read_data(one, tmp_path).digest for one in (grouped, plain)]
    list_of = tmp_path / "test.csv"
    list_of.write_text(list_of.read_text().replace(",p1", ",p0"))
    after = [read_data(one, tmp_path).digest for one in (grouped, plain)]
    assert after[0] != before[0]
    assert after[1] == before[1]


def test_two_processes_never_train_the_same(bars: Path, positions: Path, tmp_path: Path, never_trains: None) -> None:
    plan = planned("positions", bars, positions)
    with plan.tasks[0].run.locked():
        assert plan.tasks[0].run.is_busy
        assert perform.perform(
            str(plan.tasks[0].run.folder), {"task": "train"}, str(bars), "", None, None, {}, [], None
        ) == {"busy": True}
    assert not plan.tasks[0].run.is_busy
    new = planned("positions", bars, tmp_path / "positions")
    with (
        new.tasks[0].run.locked(),
        pytest.raises(TrainingError, match="none, seed 0: another process works on it"),
    ):
        run(new, cell=1)


def test_a_default_that_has_changed_is_no_hit(bars: Path, positions: Path, tmp_path: Path) -> None:
    plan = planned("positions", bars, tmp_path / "positions")
    folder = plan.tasks[0].run.folder
    shutil.copytree(positions.parent / "runs" / folder.name, folder)
    facts = json.loads((folder / "cell.json").read_text())
    facts["recipe"]["optimizer"]["momentum"] = 0.8
    facts["recipe"]["training"]["workers"] = 3  # what this version no longer has
    (folder / "cell.json").write_text(json.dumps(facts))
    with pytest.raises(SettingError, match=r"another default of optimizer.momentum, by another version"):
        planned("positions", bars, tmp_path / "positions")


def test_frames_in_another_order(bars: Path, positions: Path, never_trains: None) -> None:
    from timesformer.study.order import Reordered

    row = read_results(positions / "results.csv")[2]
    weights = positions.parent / "runs" / row.run / "run"
    engine = timesformer.load_engine(weights, "eager", "fp32", device="cpu")
    clips = torch.randint(0, 256, (2, 3, 4, 16, 16), dtype=torch.uint8)
    assert torch.equal(Reordered(engine, "reversed")(clips), engine(clips.flip(2)))
    shuffled = Reordered(engine, "shuffled")
    first = shuffled(clips)
    assert not torch.equal(first, engine(clips))
    assert torch.equal(first, Reordered(engine, "shuffled")(clips))
    one_by_one = Reordered(engine, "shuffled")
    torch.testing.assert_close(torch.cat([one_by_one(clip) for clip in clips.split(1)]), first)


def test_a_plan(bars: Path, positions: Path, command: Command, never_trains: None) -> None:
    words = ("--data", bars, "--recipe", "demo", "--out", positions.parent / "tokens", *SMALL, "training.epochs=2")
    result = command("study", "tokens", *words, "--seeds", 1, "--plan")
    lines = result.out.splitlines()
    assert result.code == 0
    assert max(len(line) for line in lines if not line.startswith(("out ", "runs "))) <= 80
    assert [line[6:46].strip() for line in lines[6:12]] == [
        "4 frames and 1 more", "8 frames", "16 frames", "32 frames", "24 x 24 pixels", "32 x 32 pixels",
    ]  # fmt: skip
    assert lines[13].startswith("6 trainings, 1 done; about ")
    assert not (positions.parent / "tokens").exists()


BAD: dict[str, tuple[str, tuple[str, ...], str]] = {
    "a name": ("scheme", (), "study 'scheme': no such study; expected schemes, positions"),
    "a cell that cannot be": (
        "tokens",
        ("model.num_frames=3", "model.tubelet=3"),
        "cell 4 frames: model: num_frames 4 is not a multiple of tubelet 3",
    ),
    "what it varies": ("schemes", ("model.scheme=axial",), "study schemes varies model.scheme itself; leave it out"),
    "a plan of one cell": ("schemes", ("--plan", "--cell", "2"), "--plan lists the trainings and does none"),
    "a cell that is not there": ("clips", ("--cell", "2", "--seeds", "1"), "cell 2: the study has trainings 1 to 1"),
    "a setting": ("schemes", ("training.epoch=2",), "did you mean training.epochs"),
    "clips of videos that are covered": (
        "clips",
        ("preprocessing.sampling.method=cover",),
        "cell 3 clips: test_clips 3 is not for sampling cover",
    ),
    "a probe": ("schemes", ("--recipe", "probe"), "the recipe's task is probe"),
    "another architecture": ("schemes", ("--recipe", "i3d"), "study schemes: model.architecture is i3d"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused(bars: Path, tmp_path: Path, command: Command, name: str) -> None:
    study, words, line = BAD[name]
    small = () if "--recipe" in words else ("--recipe", "demo", *SMALL)
    assert_one_line(command("study", study, "--data", bars, "--out", tmp_path / "out", *small, *words), line)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "runs").exists()


def test_too_few_videos(bars: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for split in ("train", "test"):
        rows = [f"{bars}/{split}/{label}/0.mp4,{label}" for label in ("left", "right")]
        (tmp_path / "data" / f"{split}.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    with pytest.raises(DataError, match=r"train.csv: 2 videos are too few: cells 25% and 50% would both train on 2"):
        planned("data-scale", tmp_path / "data", tmp_path / "out")
    (tmp_path / "data" / "test.csv").unlink()
    with pytest.raises(DataError, match="has no test or val split, which a study needs"):
        planned("positions", tmp_path / "data", tmp_path / "out")


def test_results_of_another_study_stay(bars: Path, positions: Path) -> None:
    before = (positions / "results.csv").read_bytes()
    for plan, what in (
        (planned("clips", bars, positions), "holds results of study positions, different in: study"),
        (planned("positions", bars, positions, "optimizer.weight_decay=0.2"), "different in: recipe"),
    ):
        with pytest.raises(SettingError, match=what):
            run(plan)
    assert (positions / "results.csv").read_bytes() == before
    with pytest.raises(SettingError, match="is not empty; a study needs a folder of its own"):
        run(planned("positions", bars, bars))


@pytest.mark.parametrize("init", [False, True])
@pytest.mark.parametrize("name", STUDIES)
def test_every_study_has_its_reference(name: str, init: bool) -> None:
    study, recipe = STUDIES[name], small_recipe()
    cells = study.cells(recipe, init)
    names = [cell.name for cell in cells]
    assert study.reference(recipe) in names
    assert len(set(names)) == len(names)
    assert all(len(cell.paper) in (0, len(study.paper_columns)) for cell in cells)
