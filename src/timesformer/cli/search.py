"""`timesformer search`: the videos whose features are most similar to those of one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from timesformer.cli.options import Device, Engine, Json, Labels, Precision, Threads
from timesformer.threads import use_threads

if TYPE_CHECKING:
    from timesformer.features.table import FeatureTable

Table = Annotated[Path, typer.Argument(help="What `timesformer features` wrote.", metavar="FILE.parquet")]


def search(
    file: Table,
    query: Annotated[str, typer.Option(help="An id in the file; with --weights a video.", metavar="ID|VIDEO")],
    weights: Annotated[
        str | None, typer.Option(help="The weights of the file's features, for a query that is a video.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Rows to print.")] = 10,
    group: Annotated[
        str | None,
        typer.Option(help="Column whose rows of the query's own group do not answer, such as video.", metavar="COLUMN"),
    ] = None,
    labels: Labels = None,
    device: Device = "auto",
    engine: Engine = "auto",
    precision: Precision = "auto",
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """The most similar rows of a file of features, by the cosine of their vectors: exact, over all of them."""
    import torch

    from timesformer.errors import SettingError
    from timesformer.features.search import of_group, search_features
    from timesformer.features.table import read_feature_table
    from timesformer.files import as_json as to_json

    use_threads(threads)
    if weights is not None and group is not None:
        raise SettingError(f"--group {group}: a video that is no row of {file} has no {group}; expected --query ID")
    table = read_feature_table(file)
    if weights is None:
        number = _row(table, query)
        excluded = torch.arange(len(table)) == number if group is None else of_group(table, group, number)
        found = search_features(table, table.vectors_ND[number][None], top, excluded_QN=excluded[None])[0]
    else:
        from timesformer.inference.feature_query import query_features
        from timesformer.inference.load import load

        predictor = load(
            weights,
            device,
            labels=labels,
            engine=engine,  # type: ignore[arg-type]
            precision=precision,  # type: ignore[arg-type]
        )
        found = search_features(table, query_features(predictor, table, query)[None], top)[0]
    rows = [{"similarity": hit.similarity, **table.row(hit.number)} for hit in found]
    if as_json:
        print(to_json(rows))
    else:
        _print(rows, group)


def _row(table: FeatureTable, query: str) -> int:
    """The row of an id. A file of that name is a video, for which weights are needed."""
    from timesformer.errors import DataError
    from timesformer.features.search import find_row

    try:
        return find_row(table, query)
    except DataError:
        if Path(query).exists() or "://" in query:
            raise DataError(f"{query}: no id of {table.file}; a video as query requires --weights") from None
        raise


def _print(rows: list[dict[str, Any]], group: str | None) -> None:
    from rich.console import Console
    from rich.table import Column
    from rich.table import Table as Rich

    console = Console(highlight=False)
    present = dict.fromkeys(name for row in rows for name in row)
    names = [name for name in dict.fromkeys(("id", "label", "labels", "start_s", "end_s", group)) if name in present]
    table = Rich("similarity", *(Column(str(name), overflow="fold") for name in names), box=None, pad_edge=False)
    for row in rows:
        cells = [row.get(name, "") for name in names]
        table.add_row(
            f"{row['similarity']:.4f}", *(f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in cells)
        )
    if rows:
        console.print(table, markup=False)
    else:
        console.print("no row is left to answer")
