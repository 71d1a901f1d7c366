"""`timesformer demo`: the whole way, from video files to the name of what a new video shows."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Annotated

import typer

MARKER = ".timesformer-demo"
CLIPS = {"train": 240, "val": 20, "test": 40}  # of each class


def demo(
    out: Annotated[Path, typer.Option(help="Folder of all results; an earlier demo in it is replaced.")] = Path(
        "runs/demo"
    ),
) -> None:
    """Write videos that differ in motion alone, train a tiny TimeSformer, test it, predict, play one backwards."""
    from rich.console import Console

    from timesformer.data.manifest import read_manifest
    from timesformer.data.motion import CLASSES, FPS, motion_clip, write_motion_data
    from timesformer.errors import SettingError
    from timesformer.recipes import load_recipe
    from timesformer.video.encode import write_video

    console = Console(highlight=False, soft_wrap=True)
    began = time.perf_counter()
    if out.exists() and any(out.iterdir()):
        if not (out / MARKER).exists():
            raise SettingError(f"{out}: holds something other than a demo; name another folder with --out")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARKER).touch()

    console.print(f"[bold]1. Data[/bold]  eight classes that differ in motion alone: {', '.join(CLASSES)}")
    with console.status("writing h264 clips"):
        clips = write_motion_data(out / "data", CLIPS)
    console.print(f"{clips} clips in {out / 'data'}, {time.perf_counter() - began:.0f} s")

    console.print("\n[bold]2. Training[/bold]  divided space-time attention from scratch")
    from timesformer.config import Data
    from timesformer.evaluation import test as evaluation
    from timesformer.inference.predictor import load
    from timesformer.training.fit import fit
    from timesformer.weights import open_weights

    recipe = load_recipe("demo")
    fit(recipe, out / "data", out / "run", console=console)

    console.print("\n[bold]3. Test[/bold]  one clip, three crops, mean of softmax scores")
    result = evaluation.test(open_weights(out / "run"), read_manifest(out / "data", "test"), Data())
    evaluation.write_scores(result, out / "scores.parquet")
    summary = result.summary()
    console.print(f"top-1 {summary['top1']:.3f} on {summary['videos']} unseen clips (chance 0.125)")

    console.print("\n[bold]4. Prediction[/bold]  an unseen clip that moves left, and the same frames backwards")
    clip = motion_clip("left", seed=10**12)
    predictor = load(out / "run")
    for name, frames in (("left", clip), ("left_backwards", clip.flip(1))):
        path = out / f"{name}.mp4"
        write_video(path, frames, FPS)
        best, second = predictor.predict(path, top=2)
        console.print(f"{path!s:40} [bold]{best.label}[/bold] {best.score:.3f}, then {second.label} {second.score:.3f}")

    console.print(f"\n[bold]Where it lies[/bold]  (all of it took {time.perf_counter() - began:.0f} s)")
    places = {
        "data": "the clips",
        "run/model": "the trained model, WEIGHTS for every command",
        "run/logs": "curves, for tensorboard --logdir",
        "scores.parquet": "scores of the test clips",
    }
    for entry, what in places.items():
        console.print(f"{out / entry!s:40} {what}")
    console.print(f"\nNext: timesformer predict {out / 'run'} {out / 'data' / 'test' / 'clockwise'}")
