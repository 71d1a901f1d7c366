"""`timesformer train --folds`, `--seeds`: what is printed, and what is refused before anything is computed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from commands import Command, assert_one_line
from conftest import SMALL


@pytest.fixture
def people(bars: Path, tmp_path: Path) -> Path:
    """A CSV of the training videos of `bars`, each of one of four people; p3 has the only video of `up`."""
    rows = [
        f"{bars}/train/{label}/{number}.mp4,{label},p{number}" for number in range(4) for label in ("left", "right")
    ]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.csv").write_text("\n".join(["path,label,person", *rows]) + "\n")
    (tmp_path / "up").mkdir()
    rows.append(f"{bars}/test/left/0.mp4,up,p3")
    (tmp_path / "up" / "train.csv").write_text("\n".join(["path,label,person", *rows]) + "\n")
    return tmp_path


BAD: dict[str, tuple[tuple[object, ...], str]] = {
    "one fold": (("--folds", 1), "folds is 1; expected at least 2, or groups"),
    "no number": (("--folds", "all"), "--folds all: expected a number of at least 2, or groups"),
    "groups without a column": (("--folds", "groups"), "folds is groups, one fold for each; name their column with"),
    "a column without folds": (
        ("--group", "person"),
        "group is person, but there are no folds; --group COLUMN requires --folds",
    ),
    "a column with seeds": (
        ("--group", "person", "--seeds", 2),
        "group is person, but there are no folds; --group COL",
    ),
    "one seed": (("--seeds", 1), "seeds is 1; expected at least 2, the seed of one run is the recipe's"),
    "seeds past the last": (("--seeds", 2, "--seed", 2**32 - 1), "seed is 4294967296"),
    "fewer groups": (
        ("--folds", 5, "--group", "person"),
        "train.csv: 5 folds of 4 groups of the column person; expect",
    ),
    "fewer videos": (("--folds", 9), "train.csv: 9 folds of 8 videos; expected at least as many as folds"),
    "no such column": (("--folds", 2, "--group", "source"), "train.csv: has no column source; it has path, label, pe"),
    "nothing to test seeds on": (("--seeds", 2), "data: has no test or val split to test seeds on; --folds 5 divides"),
    "an override": (("--folds", 2, "training.epoch=2"), "did you mean training.epochs"),
    "weights that are none": (("--folds", 2, "--init", "none"), "none: no such file or folder"),
    "a flip of no class": (("--folds", 2, "augmentation.flip={up: down}"), "augmentation.flip"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused(command: Command, people: Path, name: str) -> None:
    words, line = BAD[name]
    out = people / "run"
    train = ("train", "--data", people / "data", "--recipe", "demo", "--out", out, *SMALL)
    assert_one_line(command(*train, *words), line)
    assert not out.exists()


def test_a_class_that_a_fold_would_not_be_trained_on(command: Command, people: Path) -> None:
    train = ("train", "--data", people / "up", "--recipe", "demo", "--out", people / "run", *SMALL)
    line = "train.csv: fold 4 (person p3) has all videos of class up, which would have none to train on; take other"
    assert_one_line(command(*train, "--folds", "groups", "--group", "person"), line)
    assert not (people / "run").exists()


def test_several_processes(command: Command, people: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "x"}.items():
        monkeypatch.setenv(name, value)
    result = command("train", "--data", people / "data", "--recipe", "demo", "--folds", 2, *SMALL)
    assert_one_line(result, "folds and seeds are trained in one process, but 2 were started")


def test_a_killed_command_resumes_by_its_folder_alone(command: Command, people: Path) -> None:
    run = people / "run"
    short = ("training.epochs=2", "training.checkpoint_steps=1")
    train = ("train", "--data", people / "data", "--recipe", "demo", "--out", run, *SMALL, *short)

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("timesformer.training.task.ClassificationTask.training_step", interrupted)
        stopped = command(*train, "--folds", "groups", "--group", "person")
    assert stopped.code == 130
    assert not run.exists()  # nothing was there to resume
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("timesformer.folds.run.evaluate_manifest", interrupted)
        stopped = command(*train, "--folds", 2, "--group", "person")
    assert stopped.code == 130
    assert stopped.err == f"timesformer: stopped; continue with `timesformer train --resume {run}`\n"
    assert "stopped" not in stopped.out
    assert f"  stopped; continue with `timesformer train --resume {run}`\n" in (run / "log.txt").read_text()
    shutil.move(people / "run", people / "moved")
    assert_one_line(
        command("train", "--resume", people / "moved", "training.epochs=3"),
        "settings of folds and seeds cannot change; start a new run",
    )
    assert_one_line(command("train", "--resume", people / "moved", "--folds", 3), "--folds 3: cannot be combined with")
    done = command("train", "--resume", people / "moved")
    assert (done.code, done.err) == (0, "")
    *lines, last = done.out.splitlines()
    (mean,) = (line for line in lines if "over 2 folds, 95% interval" in line)
    assert last == f"{people / 'moved' / 'model'}: an ensemble of 2 classifiers; {mean}"
    assert "fold 1 of 2, person p" in done.out
    assert "95% interval" in done.out
