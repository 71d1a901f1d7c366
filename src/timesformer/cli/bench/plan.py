"""`timesformer bench plan`: what many videos need of a cluster."""

from __future__ import annotations

from typing import Annotated

import typer

from timesformer.cli.bench.printing import print_json, print_lines
from timesformer.cli.options import Json


def plan(
    videos: Annotated[int, typer.Option(help="How many videos.")],
    seconds: Annotated[float, typer.Option(help="Length of a video, seconds.")],
    views: Annotated[float | None, typer.Option(help="Views of a video through the model.")] = None,
    decode: Annotated[float | None, typer.Option(help="Seconds of a core to decode a second of video.")] = None,
    model: Annotated[float | None, typer.Option(help="Seconds of a GPU, or a core without one, a view.")] = None,
    read: Annotated[float | None, typer.Option(help="MB that a second of video has.")] = None,
    write: Annotated[float | None, typer.Option(help="Bytes of a video's rows.")] = None,
    decoder_memory: Annotated[float | None, typer.Option(help="GB of memory of a decoder.")] = None,
    model_memory: Annotated[float | None, typer.Option(help="GB of memory of a model.")] = None,
    cores: Annotated[float | None, typer.Option(help="Cores of a machine.")] = None,
    gpus: Annotated[float | None, typer.Option(help="GPUs of a machine.")] = None,
    network: Annotated[float | None, typer.Option(help="Gigabits a second of a machine's network.")] = None,
    as_json: Json = False,
) -> None:
    """CPU and GPU hours, storage and network of many videos, and where the bottleneck is.

    What is not given is as it was measured for predict with a model of size base (docs/scale.md).
    """
    from timesformer.bench.plan import Amount, Costs
    from timesformer.bench.plan import plan as make_plan
    from timesformer.settings import make

    given = {
        "views": views,
        "decode": decode,
        "model": model,
        "read": read,
        "write": write,
        "decoder_memory": decoder_memory,
        "model_memory": model_memory,
        "cores": cores,
        "gpus": gpus,
        "network": network,
    }
    costs = make(Costs, {name: value for name, value in given.items() if value is not None}, "bench plan")
    found = make_plan(make(Amount, {"videos": videos, "seconds": seconds}, "bench plan"), costs)
    if as_json:
        print_json({**found.as_dict(), "costs": costs.model_dump()})
        return
    of_model = f"{found.model_hours:,.0f} hours of {'GPUs' if costs.gpus else 'cores'}"
    has = f"{costs.cores:g} cores, {costs.gpus:g} GPUs, {costs.network:g} Gbit/s"
    busy = ", ".join(f"{name} {fraction:.0%}" for name, fraction in found.busy.items())
    lines = [
        ("decode", f"{found.decode_hours:,.0f} hours of cores, at {costs.decode:g} s a second of video"),
        ("model", f"{of_model}, at {costs.views:g} views of {costs.model:g} s"),
        ("read", f"{_bytes(found.read_bytes)}, at {costs.read:g} MB a second of video"),
        ("write", f"{_bytes(found.written_bytes)}, at {costs.write:g} bytes a video"),
        ("a machine", f"{has}; {found.memory:.0f} GB of memory"),
        ("its hours", f"{found.machine_hours:,.0f}, {found.videos_per_hour:,.0f} videos an hour"),
        ("bottleneck", f"{found.bottleneck}; busy: {busy}"),
    ]
    print_lines(f"{videos:,} videos of {seconds:g} s", lines)


def _bytes(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} PB"
