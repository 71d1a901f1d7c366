"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SCHEMES = "space_only, joint_space_time, divided_space_time, sparse_local_global or axial"
SIZES = "tiny, small, base or large"

Weights = Annotated[str, typer.Argument(help="Weights, the folder of a run, or a hub id.", metavar="WEIGHTS")]
Labels = Annotated[Path | None, typer.Option(help="File of class names, one a line.", metavar="FILE")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Engine = Annotated[str, typer.Option(help="auto, eager, compile, openvino or onnx.")]
Precision = Annotated[str, typer.Option(help="auto, fp32, bf16, or int8 (calibrated on the videos).")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
