"""The demo: end to end, from video files to predictions."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from timesformer.data.motion import CLASSES, FPS, motion_clip, write_motion_data
from timesformer.errors import SettingError
from timesformer.evaluation.evaluate import evaluate
from timesformer.evaluation.record import Stopwatch, record_test
from timesformer.evaluation.score_files import write_scores
from timesformer.inference.load import load
from timesformer.recipes import load_recipe
from timesformer.training.fit import fit
from timesformer.video.encode import write_video

MARKER = ".timesformer-demo"
CLIPS = {"train": 240, "val": 20, "test": 40}  # of each class


def run_demo(out: Path, console: Console, *, clips: Mapping[str, int] = CLIPS, overrides: Sequence[str] = ()) -> None:
    """Write motion clips, train on them, test, predict, and print what happens; all results are in OUT.

    clips: number of each class, by split; overrides: of the recipe `demo`, "key=value". An earlier demo in OUT is
    replaced; raises SettingError where OUT holds something else.
    """
    began = time.perf_counter()
    recipe = load_recipe("demo", overrides)
    _clear(out)

    console.print(f"[bold]1. Data[/bold]  eight classes that differ only in motion: {', '.join(CLASSES)}")
    with console.status("writing h264 clips"):
        written = write_motion_data(out / "data", dict(clips))
    console.print(f"{written} clips in {out / 'data'}, {time.perf_counter() - began:.0f} s")

    console.print("\n[bold]2. Training[/bold]  divided space-time attention from scratch")
    fit(recipe, out / "data", out / "run", console=console)

    console.print("\n[bold]3. Test[/bold]  one clip, three crops, mean of softmax scores")
    watch = Stopwatch()
    result = evaluate(out / "run", out / "data", workers=recipe.data.workers, on_progress=watch)
    record = record_test(result, out / "run", out / "data", "test", watch)
    write_scores(result, out / "scores.parquet", record=record)
    console.print(
        f"top-1 {result.summary()['top1']:.3f} on {len(result.paths)} unseen clips (chance {1 / len(CLASSES):.3f})"
    )

    console.print("\n[bold]4. Prediction[/bold]  an unseen clip that moves left, and the same frames backwards")
    clip = motion_clip("left", seed=10**12)  # a seed of no clip in the data
    predictor = load(out / "run")
    for name, frames in (("left", clip), ("left_backwards", clip.flip(1))):
        path = out / f"{name}.mp4"
        write_video(path, frames, FPS)
        best, second = predictor.predict(path, top=2)
        console.print(f"{path!s:40} [bold]{best.label}[/bold] {best.score:.3f}, then {second.label} {second.score:.3f}")

    console.print(f"\n[bold]Results[/bold]  (all of it took {time.perf_counter() - began:.0f} s)")
    files = {
        "data": "the clips",
        "run/model": "the trained model, WEIGHTS for every command",
        "run/logs": "curves, for tensorboard --logdir",
        "scores.parquet": "scores of the test clips",
    }
    for entry, what in files.items():
        console.print(f"{out / entry!s:40} {what}")
    console.print(f"\nNext: timesformer predict {out / 'run'} {out / 'data' / 'test' / 'clockwise'}")


def _clear(out: Path) -> None:
    """Make OUT a folder of nothing but the demo's marker."""
    if out.exists() and any(out.iterdir()):
        if not (out / MARKER).exists():
            raise SettingError(f"{out}: holds something other than a demo; choose another folder with --out")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARKER).touch()
