"""`timesformer export`: a classifier in a file that other runtimes read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from timesformer.cli.lines import say
from timesformer.cli.options import Labels, Threads, Weights
from timesformer.threads import use_threads


def export(
    weights: Weights,
    out: Annotated[Path, typer.Option(help="New file: *.onnx, *.xml (OpenVINO) or *.pt2 (torch).", metavar="FILE")],
    form: Annotated[str, typer.Option("--format", help="onnx, openvino or torch.", metavar="FORMAT")],
    precision: Annotated[str, typer.Option(help="fp32, fp16, bf16 or int8, which --check calibrates.")] = "fp32",
    check: Annotated[
        str | None,
        typer.Option(help="Data set or videos to check on, up to 200; synthetic clips if not given.", metavar="DATA"),
    ] = None,
    dynamic: Annotated[
        str | None, typer.Option(help="What the file leaves open: some of batch,frames,size.", metavar="AXIS,...")
    ] = None,
    labels: Labels = None,
    threads: Threads = None,
) -> None:
    """Write weights as a file that takes uint8 clips and gives scores, with a manifest beside it.

    It is compared with the float32 model first, and not written where its scores differ by more than its precision may.
    """
    from timesformer.export.export import export_model

    use_threads(threads)
    axes = () if dynamic is None else tuple(axis.strip() for axis in dynamic.split(","))
    written = export_model(weights, out, form, precision=precision, check=check, dynamic=axes, labels=labels)
    for problem in written.skipped:
        say(f"skipped: {problem}", err=True)
    say(f"{written.file}: {form}, {precision}, {written.bytes / 1e6:.1f} MB; manifest in {written.manifest}")
    say(f"checked: {written.checked}")
    if written.other_shapes is not None:
        say(f"other shapes: {written.other_shapes}")
