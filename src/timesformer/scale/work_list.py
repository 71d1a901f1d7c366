"""Lists of videos in files: the column `path` of Parquet or CSV, or the lines of a text file."""

from __future__ import annotations

import io
from pathlib import Path

from timesformer.errors import DataError, one_line
from timesformer.inference.listed import ListedVideos
from timesformer.inference.sources import parse_list, read_list
from timesformer.scale.stores import check_buckets, locate, waiting
from timesformer.video.source import STDIN

COLUMN = "path"


def read_work_list(file: str) -> ListedVideos:
    """The videos of a file, *.parquet, *.csv or *.txt, here or in a store, named as they are listed; of the other
    columns, none is read.

    Raises DataError for a file that cannot be read, has no column `path`, a row without one, or no row.
    """
    suffix = file.partition("?")[0].rpartition(".")[2].lower()
    if suffix not in ("parquet", "csv", "txt"):
        raise DataError(f"{file}: expected *.parquet, *.csv or *.txt")
    location = locate(file)
    if suffix == "txt" and location.local:
        return _videos(list(map(str, read_list(file))))
    check_buckets([file])
    try:
        content = waiting(lambda: location.filesystem.open_input_file(location.path).readall(), file)
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {one_line(error)[:200]}") from None
    if suffix == "txt":
        return _videos(list(map(str, parse_list(content, file))))
    paths = _column(file, suffix, content)
    if not paths:
        raise DataError(f"{file}: has no row; expected a path or URL in each")
    return _videos(paths)


def _videos(paths: list[str]) -> ListedVideos:
    return ListedVideos(paths, [Path(path) if path == STDIN else path for path in paths])


def _column(file: str, suffix: str, content: bytes) -> list[str]:
    import pyarrow
    import pyarrow.csv
    import pyarrow.parquet

    source = io.BytesIO(content)
    try:
        if suffix == "parquet":
            names = pyarrow.parquet.read_schema(source).names
            found = pyarrow.parquet.read_table(source, columns=[COLUMN]) if COLUMN in names else None
        else:
            names = pyarrow.csv.open_csv(source).schema.names
            only = pyarrow.csv.ConvertOptions(include_columns=[COLUMN], column_types={COLUMN: pyarrow.string()})
            found = pyarrow.csv.read_csv(io.BytesIO(content), convert_options=only) if COLUMN in names else None
    except pyarrow.ArrowException as error:
        raise DataError(f"{file}: cannot be read: {one_line(error)[:200]}") from None
    if found is None:
        raise DataError(f"{file}: has no column {COLUMN}; it has {', '.join(names)}")
    paths: list[str] = found.column(COLUMN).to_pylist()
    for number, path in enumerate(paths, 1):
        if not isinstance(path, str) or not path:
            raise DataError(f"{file}, row {number}: has no path; expected a path or URL")
    return paths
