"""`timesformer map`: features in two dimensions, to be looked at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from timesformer.cli.lines import say
from timesformer.cli.options import Threads
from timesformer.cli.search import Table
from timesformer.threads import use_threads

if TYPE_CHECKING:
    from rich.console import Console

    from timesformer.features.projection import Projection
    from timesformer.report.map import WrittenMap


def map(
    file: Table,
    out: Annotated[Path, typer.Option(help="A page (*.html) or a picture (*.png).", metavar="OUT")],
    method: Annotated[str, typer.Option(help="tsne, or pca: principal components.")] = "tsne",
    seed: Annotated[int, typer.Option(min=0, help="Changes where t-SNE starts, slightly.")] = 0,
    data: Annotated[
        Path | None,
        typer.Option(help="The data set that the features are of, for pictures of its videos.", metavar="DATA"),
    ] = None,
    threads: Threads = None,
) -> None:
    """Draw a map of features, coloured by class, as a page or a picture.

    By t-SNE or principal components; the page has pictures of the videos, a search, and classes to switch off."""
    from rich.console import Console

    from timesformer.cli.progress import counted
    from timesformer.features.projection import project_features
    from timesformer.features.table import read_feature_table
    from timesformer.report.map import check_map, write_map

    use_threads(threads)
    check_map(out, data)
    table = read_feature_table(file)
    with Console(stderr=True).status("placing the vectors"):
        found = project_features(table, method, seed=seed)  # type: ignore[arg-type]
    with counted("pictures of videos") as show:
        written = write_map(table, found, out, data=data, on_video=show)
    _print(Console(highlight=False), found, written, data)


def _print(console: Console, found: Projection, written: WrittenMap, data: Path | None) -> None:
    kind = "t-SNE" if found.method == "tsne" else "principal components"
    classes = f" of {len(found.classes)} classes" if found.classes else ""
    lines = [f"{kind} of {len(found):,} vectors{classes}, by {found.made_by}, seed {found.seed}"]
    if found.variance is not None:
        lines.append(f"variance         {found.variance[0]:.3f} and {found.variance[1]:.3f} of it along the two axes")
    lines.append(
        f"trustworthiness  {found.trustworthiness:.3f} (1: neighbours on the map are those of the vectors; random: 0.5)"
    )
    if found.silhouette is not None:
        lines.append(
            f"silhouette       {found.silhouette:.3f} (of the map, by class: 1 apart, 0 overlapping, below 0 mixed)"
        )
    lines += [f"note: {note}" for note in written.notes]
    if problems := written.problems:
        first = f"{problems[0].path}: {problems[0].reason}"
        hint = "; --data DATA says where they are" if data is None and not written.pictures else ""
        unread = f"{len(problems)} of {written.videos} videos cannot be read, and have no picture"
        lines.append(f"note: {unread} (the first: {first}){hint}")
    lines.append(str(written.file))
    for line in lines:
        say(line, console=console)
