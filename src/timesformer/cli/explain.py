"""`timesformer explain`: where and when a model looked in a video."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from timesformer.cli.lines import say
from timesformer.cli.options import Device, End, Labels, Start, Threads, Weights
from timesformer.threads import use_threads

if TYPE_CHECKING:
    from rich.console import Console

    from timesformer.explain.explainer import Explanation


def explain(
    weights: Weights,
    video: Annotated[str, typer.Argument(help="Video file, folder of image frames, or URL.", metavar="VIDEO")],
    out: Annotated[Path, typer.Option(help="Folder for pictures, map and JSON.", metavar="DIR")],
    label: Annotated[
        str | None, typer.Option("--class", help="Class that is explained; the best one if not given.", metavar="NAME")
    ] = None,
    method: Annotated[str, typer.Option(help="rollout, relevance or occlusion.")] = "rollout",
    head_fusion: Annotated[str, typer.Option(help="Of rollout: mean, max or min of the heads.")] = "mean",
    discard: Annotated[float, typer.Option(help="Of rollout: fraction of each query's weakest keys skipped.")] = 0.0,
    layer: Annotated[int | None, typer.Option(help="One block alone, from 0; -1 is the last.")] = None,
    head: Annotated[int | None, typer.Option(help="One head alone, from 0.")] = None,
    grids: Annotated[
        int, typer.Option(help="N x N grids of patches, each moved by a part of a patch: a finer map, so often slower.")
    ] = 1,
    query: Annotated[
        str | None,
        typer.Option(help="The map of one patch: that of a pixel of the video in a frame.", metavar="FRAME,X,Y"),
    ] = None,
    faithfulness: Annotated[
        bool,
        typer.Option("--faithfulness/--no-faithfulness", help="Whether to measure the faithfulness of the map."),
    ] = True,
    start: Start = None,
    end: End = None,
    labels: Labels = None,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Where and when a model looked: a map over the frames, as pictures and numbers.

    rollout follows attention back to the patches, the same for all classes; relevance weighs it by what a class gains;
    occlusion hides parts one by one, which any architecture takes, slowly.
    """
    from rich.console import Console

    from timesformer.cli.progress import counted
    from timesformer.config.explain import Explain
    from timesformer.explain.explainer import load_explainer
    from timesformer.explain.save import check_folder, save_explanation
    from timesformer.settings import make
    from timesformer.video.part import check_part
    from timesformer.video.source import portable, reads_once

    use_threads(threads)
    values: dict[str, Any] = {"method": method, "head_fusion": head_fusion, "discard": discard}
    values |= {"layer": layer, "head": head, "grids": grids, "query": _numbers(query)}
    settings = make(Explain, values, "explain")
    check_part(start, end)
    check_folder(out)
    explainer = load_explainer(weights, device, labels=labels)
    explainer.check(settings, label)
    source: Any = portable(video) if reads_once(video) else video  # it is read twice
    with counted("views") as show:
        found = explainer.explain(
            source, label, settings=settings, start=start, end=end, with_faithfulness=faithfulness, on_run=show
        )
    files = save_explanation(found, source, out)
    _print(Console(highlight=False), found, files)


def _numbers(query: str | None) -> tuple[int, ...] | None:
    from timesformer.errors import SettingError

    if query is None:
        return None
    parts = query.split(",")
    if len(parts) != 3 or not all(part.strip().isdecimal() for part in parts):
        raise SettingError(f"--query is {query!r}; expected FRAME,X,Y, such as 12,340,200")
    return tuple(map(int, parts))


def _print(console: Console, found: Explanation, files: list[Path]) -> None:
    """What was found, in a few lines, and where it is."""
    from timesformer.explain.pictures import describe, when

    other = "" if found.label == found.predicted else f" (predicted: {found.predicted})"
    lines = [f"{found.video}: {found.label} {found.score:.3f}{other}, {describe(found)}"]
    seen = found.views.seen
    lines.append(f"seen: {seen}{' (sparse)' if seen.sparse else ''}; scores by {found.engine} in {found.precision}")
    weights = found.frame_weights
    strongest = max(range(len(weights)), key=weights.__getitem__)
    even = 1 / len(weights)
    lines.append(f"most weight: {when(found, strongest)}, {weights[strongest]:.0%} (every frame alike: {even:.0%})")
    if found.faithfulness is not None:
        lines.append("")
        lines.append(f"{'faithfulness':15}{'map':>7}{'centre':>8}{'random':>8}   map against random, 95% interval")
        for name in ("deletion", "insertion"):
            row = found.faithfulness.as_dict()[name]
            gain, (low, high) = found.faithfulness.gain(name)
            verdict = "better" if low > 0 else "worse" if high < 0 else "no different"
            lines.append(
                f"{name:15}{row['map']:7.3f}{row['centre']:8.3f}{row['random']:8.3f}"
                f"   {verdict}: {gain:+.3f} ({low:+.3f} to {high:+.3f})"
            )
        lines.append("deletion: lower areas are better; insertion: higher ones")
        if not any(found.faithfulness.gain(name)[1][0] > 0 for name in ("deletion", "insertion")):
            lines.append("warning: no measure finds this map better than orders at random")
    lines.append("")
    lines += [str(file) for file in files]
    for line in lines:
        say(line, console=console)
