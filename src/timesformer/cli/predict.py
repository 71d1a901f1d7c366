"""`timesformer predict`: name what happens in videos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from timesformer.inference.predictor import Answer

HEADER = ("video", "label", "score")


def predict(
    weights: Annotated[str, typer.Argument(help="Weights, or the folder of a run.", metavar="WEIGHTS")],
    videos: Annotated[
        list[Path],
        typer.Argument(help="Video files, folders of videos, folders of image frames.", metavar="VIDEO|FOLDER..."),
    ],
    top: Annotated[int, typer.Option(min=1, help="Classes to print a video.")] = 5,
    labels: Annotated[Path | None, typer.Option(help="Class names, one a line.", metavar="FILE")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    engine: Annotated[str, typer.Option(help="auto, eager, compile, openvino or onnx.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16, or int8 (calibrated on the videos).")] = "auto",
    workers: Annotated[int | None, typer.Option(min=0, help="Processes that decode; one a core if not given.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """The best classes of every video, with scores between 0 and 1; where no terminal reads, fields parted by tabs."""
    import time

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from timesformer.errors import VideoError
    from timesformer.inference.predictor import gather_videos, load

    paths = gather_videos(videos)
    calibration = paths if precision == "int8" else []
    predictor = load(
        weights,
        device,
        labels=labels,
        engine=engine,
        precision=precision,  # type: ignore[arg-type]
        calibration=calibration,
    )
    errors = Console(stderr=True, highlight=False)
    errors.print(str(predictor.engine), markup=False, soft_wrap=True)
    console = Console(highlight=False)
    out = _Json() if as_json else _Rows(console) if console.is_terminal else _Tabs()
    bad = 0
    # Where there is no terminal, a bar that goes away would leave an empty line.
    columns = (TextColumn("videos"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as progress:
        task, began = progress.add_task("videos", total=len(paths), rate=""), time.perf_counter()
        for done, answer in enumerate(predictor.predict_all(paths, top, workers=workers), 1):
            progress.update(task, advance=1, rate=f"{done / (time.perf_counter() - began):.2f} videos/s")
            out.add(answer)
            if answer.problem is not None:
                bad += 1
                errors.print(f"cannot be read: {answer.problem.reason}", markup=False, soft_wrap=True)
    out.end()
    if bad:
        raise VideoError(f"{bad} of {len(paths)} videos cannot be read")


class _Json:
    """One JSON array, at the end."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(self, answer: Answer) -> None:
        row = {"video": str(answer.video), "predictions": [found._asdict() for found in answer.predictions]}
        self.rows.append(row if answer.problem is None else row | {"problem": answer.problem.reason})

    def end(self) -> None:
        import json

        print(json.dumps(self.rows, ensure_ascii=False))


class _Tabs:
    """Lines of fields, as soon as they are known."""

    def __init__(self) -> None:
        self.began = False

    def add(self, answer: Answer) -> None:
        if not self.began:
            print(*HEADER, sep="\t")
            self.began = True
        for label, score in answer.predictions:
            print(answer.video, label, f"{score:.3f}", sep="\t", flush=True)

    def end(self) -> None:
        pass


class _Rows:
    """A table for people, at the end."""

    def __init__(self, console: Console) -> None:
        from rich.table import Column, Table

        self.console = console
        self.table = Table(*(Column(name, overflow="fold") for name in HEADER), box=None, pad_edge=False)

    def add(self, answer: Answer) -> None:
        for rank, (label, score) in enumerate(answer.predictions):
            self.table.add_row("" if rank else str(answer.video), label, f"{score:.3f}")

    def end(self) -> None:
        if self.table.rows:
            self.console.print(self.table, markup=False)
