"""`timesformer predict`: classify videos."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from timesformer.cli.options import Device, Engine, Labels, Precision, Weights
from timesformer.cli.progress import video_progress

if TYPE_CHECKING:
    from rich.console import Console

    from timesformer.inference.predictor import Answer

HEADER = ("video", "label", "score")
Videos = Annotated[
    list[str],
    typer.Argument(
        help="Video files, folders of videos, folders of image frames, URLs; - for standard input.",
        metavar="VIDEO|FOLDER|URL...",
    ),
]


def predict(
    weights: Weights,
    videos: Videos,
    top: Annotated[int, typer.Option(min=1, help="Classes to print a video.")] = 5,
    labels: Labels = None,
    device: Device = "auto",
    engine: Engine = "auto",
    precision: Precision = "auto",
    workers: Annotated[int | None, typer.Option(min=0, help="Processes that decode; one a core if not given.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array at the end.")] = False,
    out: Annotated[
        str | None, typer.Option(help="- prints JSON Lines, one video a line, as soon as it is known.", metavar="-")
    ] = None,
) -> None:
    """The best classes of every video, with scores between 0 and 1.

    A table on a terminal; elsewhere fields separated by tabs. Exits with 2 if a video cannot be read.
    """
    from rich.console import Console

    from timesformer.errors import DataError, SettingError
    from timesformer.evaluation.evaluate import Progress
    from timesformer.inference.predictor import load
    from timesformer.inference.sources import find_sources

    if out not in (None, "-"):
        raise SettingError(f"--out {out}: expected -, for JSON Lines on standard output")
    if out and as_json:
        raise SettingError("--json and --out - both print on standard output; expected one of them")
    sources = find_sources(videos)
    predictor = load(
        weights,
        device,
        labels=labels,
        engine=engine,  # type: ignore[arg-type]
        precision=precision,  # type: ignore[arg-type]
        calibration=sources if precision == "int8" else (),
    )
    console = Console(highlight=False)
    printed: Printed = JsonLines() if out else Array() if as_json else Table(console) if console.is_terminal else Tabs()
    bad = 0
    with video_progress(bar=not (out and console.is_terminal)) as show:  # rows would go through the bar
        show(Progress(predictor.engine, 0, len(sources), []))
        for done, answer in enumerate(predictor.predict_all(sources, top, workers=workers), 1):
            printed.add(answer)
            bad += answer.problem is not None
            show(Progress(predictor.engine, done, len(sources), [answer.problem] if answer.problem else []))
    printed.end()
    if bad:
        raise DataError(f"{bad} of {len(sources)} videos cannot be read")


class Printed(Protocol):
    """A way to print answers: as they come, or at the end."""

    def add(self, answer: Answer) -> None: ...

    def end(self) -> None: ...


class JsonLines:
    """One JSON object a line, as soon as it is known."""

    def add(self, answer: Answer) -> None:
        print(json.dumps(answer.as_dict(), ensure_ascii=False), flush=True)

    def end(self) -> None:
        pass


class Array:
    """One JSON array, at the end."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(self, answer: Answer) -> None:
        self.rows.append(answer.as_dict())

    def end(self) -> None:
        print(json.dumps(self.rows, ensure_ascii=False))


class Tabs:
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


class Table:
    """A table for people, at the end."""

    def __init__(self, console: Console) -> None:
        from rich.table import Column
        from rich.table import Table as Rich

        self.console = console
        self.table = Rich(*(Column(name, overflow="fold") for name in HEADER), box=None, pad_edge=False)

    def add(self, answer: Answer) -> None:
        for rank, (label, score) in enumerate(answer.predictions):
            self.table.add_row("" if rank else str(answer.video), label, f"{score:.3f}")

    def end(self) -> None:
        if self.table.rows:
            self.console.print(self.table, markup=False)
