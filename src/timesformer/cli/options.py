"""Options that several verbs share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

ARCHITECTURES = "timesformer, i3d, slowfast, x3d_s, x3d_m, tsm or frame_vit"
SCHEMES = "space_only, joint_space_time, divided_space_time, sparse_local_global or axial"
SIZES = "tiny, small, base or large"

Weights = Annotated[str, typer.Argument(help="Weights, the folder of a run, or a hub id.", metavar="WEIGHTS")]
Labels = Annotated[Path | None, typer.Option(help="File of class names, one a line.", metavar="FILE")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Engine = Annotated[str, typer.Option(help="auto, eager, compile, openvino or onnx.")]
Precision = Annotated[str, typer.Option(help="auto, fp32, bf16, or int8 (calibrated on the videos).")]


def seconds(text: str) -> float:
    """A time as hh:mm:ss, mm:ss or seconds, each with a fraction."""
    found = re.fullmatch(r"(?:(?:(\d+):)?([0-5]?\d):)?(\d+(?:\.\d*)?|\.\d+)", text)
    if not found or (found[2] and float(found[3]) >= 60):
        raise typer.BadParameter(f"{text!r}; expected seconds, or hh:mm:ss[.fff]")
    return 3600 * int(found[1] or 0) + 60 * int(found[2] or 0) + float(found[3])


Start = Annotated[
    float | None, typer.Option(parser=seconds, help="Where the part begins: seconds or hh:mm:ss.", metavar="TIME")
]
End = Annotated[
    float | None, typer.Option(parser=seconds, help="Where the part ends: seconds or hh:mm:ss.", metavar="TIME")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DataFolder = Annotated[Path, typer.Option("--data", help="Folder of the data set.", metavar="DATA")]
Workers = Annotated[int | None, typer.Option(min=0, help="Processes that decode; one a core if not given.")]
MaxBadFraction = Annotated[float, typer.Option(help="Fraction of unreadable videos over which the command stops.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads that compute; one a core if not given.")]
Report = Annotated[bool, typer.Option("--report/--no-report", help="Write a page for people at the end.")]
