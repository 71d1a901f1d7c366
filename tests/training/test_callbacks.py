"""Videos that only some processes cannot read: reported, counted together, and no process waits for another."""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console
from rich.text import Text

from conftest import SMALL, small_recipe
from started import in_processes
from timesformer.data.dataset import SkippedVideos
from timesformer.data.loader import Process, ShuffledEpochs
from timesformer.data.manifest import read_manifest
from timesformer.errors import DataError, VideoError
from timesformer.training.bar import make_bar
from timesformer.training.callbacks import ReportMetrics, ReportSkipped, SaveClassifier
from timesformer.training.curves import read_metrics
from timesformer.training.fit import fit, resume
from timesformer.training.log import Log
from timesformer.training.task import ClassificationTask
from timesformer.weights.classifier import load_model

COMMON = (
    "optimizer.name=sgd",
    "optimizer.learning_rate=0.1",
    "training.epochs=2",
    "data.max_bad_fraction=0.3",
    "model.depth=2",
)


def test_problems_of_all_processes_are_counted_once(
    bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = read_manifest(bars, "train")
    here, there, both = (VideoError(Path(name), "no such file") for name in ("here", "there", "both"))

    def gather(found: list[Any], own: dict[Path, str]) -> None:
        found[0], found[1] = dict(own), {error.path: error.reason for error in (there, both)}

    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    several = SimpleNamespace(world_size=2)
    for fraction in (3 / 8, 0.3):
        console = Console(file=io.StringIO())
        skipped = SkippedVideos(manifest, fraction)
        count = ReportSkipped(skipped, None, Log(tmp_path, console))
        batch: Any = SimpleNamespace(problems=[here, both])
        count.on_train_batch_start(several, None, batch, 0)  # type: ignore[arg-type]
        if fraction == 3 / 8:
            for _ in range(2):
                count.on_train_epoch_end(several, None)  # type: ignore[arg-type]
            assert isinstance(console.file, io.StringIO)
            assert console.file.getvalue().splitlines() == [
                "skipped here: no such file",
                "skipped both: no such file",
                "skipped there: no such file",
            ]
            assert skipped.reasons == {error.path: error.reason for error in (here, both, there)}
        else:
            with pytest.raises(DataError, match=r"3 of 8 videos cannot be read.*data\.max_bad_fraction"):
                count.on_train_epoch_end(several, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("epochs", "best"),
    [
        ([(0.3, 1.0), (0.5, 0.9), (0.4, 0.5)], 2),
        ([(0.5, 1.0), (0.5, 0.8), (0.5, 0.9)], 2),
        ([(0.5, 0.8), (0.5, 0.8)], 2),
        ([None, (0.0, 2.0), None, (0.0, 1.0), None], 4),
        ([None, None], 2),
    ],
)
def test_equal_scores_go_to_the_lower_loss_then_the_later_epoch(
    bars: Path, run: Path, tmp_path: Path, epochs: list[tuple[float, float] | None], best: int
) -> None:
    classifier = load_model(run)
    task = ClassificationTask(classifier, small_recipe(), read_manifest(bars, "train"), 4, {})
    before: dict[str, Any] | None = None
    for epoch, found in enumerate(epochs):
        kept = SaveClassifier(classifier, tmp_path / "model", {}, "val", [], chooses=True)
        if before is not None:
            kept.load_state_dict(before)  # as a run that is resumed after every epoch
        task.metrics = {} if found is None else {"val_top1": found[0], "val_loss": found[1]}
        trainer: Any = SimpleNamespace(current_epoch=epoch, max_epochs=len(epochs), is_global_zero=True)
        kept.on_train_epoch_end(trainer, task)
        before = kept.state_dict()
    assert kept.epoch == best
    assert load_model(tmp_path / "model").facts["epoch"] == f"{best} of {len(epochs)}"


def test_a_process_whose_batches_are_all_unreadable_keeps_up(bars: Path, tmp_path: Path) -> None:
    """Two processes that share every block of the network, a video each at a time; the second cannot read one to train
    on and one to validate on. The weights are those of one process that takes both, within 1e-6."""
    shutil.copytree(bars, tmp_path / "data")
    manifest = read_manifest(tmp_path / "data", "train")
    second = ShuffledEpochs(len(manifest.videos), 0, 1, Process(1, 2))
    bad = [manifest.videos[next(iter(second))[0][1]].path, read_manifest(tmp_path / "data", "val").videos[1].path]
    for path in bad:
        path.write_text("not a video")
    fit(small_recipe(*COMMON, "training.batch_size=2"), tmp_path / "data", tmp_path / "alone")
    words = ("--data", tmp_path / "data", "--recipe", "demo", "--out", tmp_path / "run", *SMALL, *COMMON)
    with in_processes(2, "train", *words, "training.batch_size=1", "training.strategy=fsdp") as started:
        said = [process.communicate(timeout=400) for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    assert "2 videos could not be read and were skipped" in said[0][0]
    assert said[1][0] == ""
    log = (tmp_path / "run" / "log.txt").read_text()
    assert [log.count(f"skipped {path}") for path in bad] == [1, 1]
    one, two = (torch.load(tmp_path / run / "checkpoints" / "last.ckpt")["state_dict"] for run in ("alone", "run"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=0, atol=1e-6)
    alone, shared = (
        [row for row in read_metrics(tmp_path / run / "logs" / "metrics.csv") if row["val_loss"]]
        for run in ("alone", "run")
    )
    for first, other in zip(alone, shared, strict=True):
        assert first["val_top1"] == other["val_top1"]
        assert float(first["val_loss"]) == pytest.approx(float(other["val_loss"]), abs=1e-5)
        assert float(first["train_loss"]) == pytest.approx(float(other["train_loss"]), abs=1e-5)


def test_a_bar_ends_with_a_run_that_fails(bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its thread goes on drawing, over the message too."""
    bar: list[ReportMetrics] = []

    def fail(self: ReportMetrics, *given: object) -> None:
        bar.append(self)
        assert self.progress.live.is_started
        raise ValueError("a mistake of ours")

    monkeypatch.setattr(ReportMetrics, "on_train_batch_end", fail)
    with pytest.raises(ValueError, match="a mistake of ours"):
        fit(small_recipe(), bars, tmp_path / "run", console=Console(file=io.StringIO(), force_terminal=True))
    assert not bar[0].progress.live.is_started


def test_an_epoch_that_was_resumed_takes_the_time_it_took(bars: Path, tmp_path: Path) -> None:
    settings = ("training.batch_size=2", "training.checkpoint_steps=1", "training.epochs=1")
    seen = 0

    def stop(self: ReportMetrics, *given: object) -> None:
        nonlocal seen
        seen += 1
        if seen == 3:
            raise ValueError("pulled the plug")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ReportMetrics, "on_train_batch_end", stop)
        with pytest.raises(ValueError, match="plug"):
            fit(small_recipe(*settings), bars, tmp_path / "run")
    resume(tmp_path / "run")
    lines = (tmp_path / "run" / "log.txt").read_text().splitlines()
    line = next(line for line in reversed(lines) if "  epoch   " in line)
    assert float(line.split()[-2]) < 100, line


@pytest.mark.parametrize(
    ("accumulate", "logged"), [(1, [4, 8, 12]), (2, [2, 4, 6]), (3, [2, 4, 6]), (4, [1, 2, 3]), (8, [1, 2, 3])]
)
def test_an_epoch_of_few_steps_has_a_row_of_its_last_batch(
    bars: Path, tmp_path: Path, accumulate: int, logged: list[int]
) -> None:
    """Four batches an epoch, whatever number of them makes a step."""
    settings = ("training.batch_size=2", "training.epochs=3", f"training.accumulate={accumulate}")
    fit(small_recipe(*settings), bars, tmp_path / "run")
    rows = read_metrics(tmp_path / "run" / "logs" / "metrics.csv")
    assert [(int(row["step"]), float(row["epoch"])) for row in rows if row["batch_loss"]] == list(
        zip(logged, (1.0, 2.0, 3.0), strict=True)
    )


def test_only_the_first_process_draws(bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the second one of torchrun is given to draw on: nothing, though it has the same terminal."""
    given: list[Console] = []

    def stop(plan: object, floors: object, session: object, log: Log, console: Console) -> None:
        given.append(console)
        raise KeyboardInterrupt

    monkeypatch.setattr("timesformer.training.fit.run_training", stop)
    for rank in range(2):
        for name, value in {"RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "TORCHELASTIC_RUN_ID": 1}.items():
            monkeypatch.setenv(name, str(value))
        console = Console(file=io.StringIO(), force_terminal=True)
        with pytest.raises(KeyboardInterrupt):
            fit(small_recipe(), bars, tmp_path / "run", console=console)
    assert [make_bar(console).disable for console in given] == [False, True]


def test_a_bar_counts_the_batches_of_its_epoch(bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two batches an epoch; the bar itself is that of the whole run, and none of it is cut at 80 columns."""
    shown: list[tuple[str, float, float | None]] = []
    drawn = io.StringIO()
    end = ReportMetrics.on_train_batch_end

    def recorded(self: ReportMetrics, *given: Any) -> None:
        end(self, *given)
        task = self.progress.tasks[0]
        shown.append((task.description.split(", loss")[0], task.completed, task.total))
        self.progress.refresh()

    monkeypatch.setattr(ReportMetrics, "on_train_batch_end", recorded)
    fit(small_recipe(), bars, tmp_path / "run", console=Console(file=drawn, force_terminal=True, width=80))
    assert shown == [
        (f"epoch {epoch}/4, batch {batch}/2", 2 * (epoch - 1) + batch, 8) for epoch in (1, 2, 3, 4) for batch in (1, 2)
    ]
    lines = [line for line in Text.from_ansi(drawn.getvalue()).plain.splitlines() if "batch 2/2, loss" in line]
    assert lines
    for line in lines:
        assert re.search(r"epoch \d/4, batch 2/2, loss \d\.\d{3} .*━.* \d:\d\d:\d\d elapsed, [-\d:]+ left", line), line
