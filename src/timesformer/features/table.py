"""Features in a Parquet file, a row a video or a window: what people keep, search and read with other tools.

    id                what the row is called: the video, for a window with its start, such as a.mp4@12.5
    video             as it was given, or as its list has it
    split, label      of a data set; several classes with semicolons between them
    other columns     of the lists, as text; list_NAME where a column of this table has the name
    start_s, end_s    what of the video was seen, seconds after its first frame; null where times are unknown
    padded, last      of windows: longer than the video; off the grid, since it ends with the video
    problem           why the video cannot be read; its vector is null then
    vector            fixed-size list of float16 or float32

The schema's metadata has `timesformer.features`: what the vectors are, as JSON (`Origin`).

Parquet has to be decoded, 35 s for a million vectors of 384. So those of a large file are written once, as FILE.npy
beside it, and then mapped into memory; it is made anew where the Parquet file has changed, and may be deleted.

Dimensions: N rows that have a vector, D values of a vector.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from timesformer.errors import DataError, SettingError
from timesformer.files import escape, replacing

if TYPE_CHECKING:
    import pyarrow

Row = dict[str, Any]
KEY = b"timesformer.features"
DTYPES = ("float16", "float32")
OURS = ("id", "video", "split", "label", "start_s", "end_s", "padded", "last", "problem", "vector")
ROW_GROUP_BYTES = 2**24
ROW_GROUP_ROWS = 10_000
MAPPED_BYTES = 2**26  # vectors of more are kept as .npy beside the file


@dataclass(frozen=True)
class Origin:
    """What vectors are, beside the videos.

    model: the fingerprint of the weights. layer, pool: as `timesformer.features.pooling` has them. shape: of a vector,
    whose values are in the file one after the other. window, stride: seconds, None for whole videos.
    """

    model: str
    layer: int
    pool: str
    shape: tuple[int, ...]
    dtype: str
    engine: str
    precision: str
    window: float | None = None
    stride: float | None = None

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise SettingError(f"dtype {self.dtype}: expected {' or '.join(DTYPES)}")

    @property
    def size(self) -> int:
        """Values of a vector."""
        return int(np.prod(self.shape))


@dataclass(frozen=True, eq=False)
class FeatureTable:
    """The rows of a file that have a vector.

    Attributes: `file`; `origin`; `rows`, all other columns, as a pyarrow table; `vectors_ND`, float16 or float32;
    `problems`: how many more videos could not be read.
    """

    file: Path
    origin: Origin
    rows: pyarrow.Table
    vectors_ND: Tensor
    problems: int

    def __len__(self) -> int:
        return len(self.vectors_ND)

    def __repr__(self) -> str:
        return f"FeatureTable({self.file}: {len(self)} vectors of {self.origin.size}, model {self.origin.model})"

    def row(self, number: int) -> Row:
        """The columns of a row, but for its vector and those that say nothing."""
        (row,) = self.rows.slice(number, 1).to_pylist()
        return {name: value for name, value in row.items() if value is not None}

    def column(self, name: str) -> list[Any]:
        """What a column has of each row. Raises DataError for one that is not there."""
        self.check_column(name)
        values: list[Any] = self.rows.column(name).to_pylist()
        return values

    def check_column(self, name: str) -> None:
        """Raises DataError for a column that is not there."""
        if name not in self.rows.column_names:
            raise DataError(f"{self.file}: has no column {name}; it has {', '.join(self.rows.column_names)}")

    @cached_property
    def norms(self) -> Tensor:
        """The length of each vector, float32."""
        return torch.cat([part.float().norm(dim=1) for part in self.vectors_ND.split(4096)])


def write_table(rows: Iterable[Row], origin: Origin, columns: Sequence[str], file: Path) -> None:
    """Write rows, each with `columns` (others than these are null) and a vector as a numpy array, to a Parquet file.

    columns: names of those between video and start_s: split, label and those of lists.
    """
    import pyarrow
    import pyarrow.parquet

    kind = pyarrow.float16() if origin.dtype == "float16" else pyarrow.float32()
    fields = [(name, pyarrow.string()) for name in ("id", "video", *columns)]
    fields += [("start_s", pyarrow.float64()), ("end_s", pyarrow.float64())]
    fields += [("padded", pyarrow.bool_()), ("last", pyarrow.bool_())] if origin.window is not None else []
    fields += [("problem", pyarrow.string()), ("vector", pyarrow.list_(kind, origin.size))]
    schema = pyarrow.schema(fields, metadata={KEY: json.dumps(asdict(origin))})
    size = max(1, min(ROW_GROUP_ROWS, ROW_GROUP_BYTES // (origin.size * np.dtype(origin.dtype).itemsize)))
    dictionary = [name for name, _ in fields if name != "vector"]
    left = iter(rows)
    with pyarrow.parquet.ParquetWriter(file, schema, compression="zstd", use_dictionary=dictionary) as writer:
        while group := list(islice(left, size)):
            arrays = [pyarrow.array([_text(row.get(name)) for row in group], type_) for name, type_ in fields[:-1]]
            vectors = [row.get("vector") for row in group]
            flat = [np.zeros(origin.size, origin.dtype) if one is None else one.reshape(-1) for one in vectors]
            values = pyarrow.array(np.concatenate(flat), kind)
            absent = pyarrow.array([one is None for one in vectors])
            arrays.append(pyarrow.FixedSizeListArray.from_arrays(values, origin.size, mask=absent))
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))


def read_feature_table(file: str | Path) -> FeatureTable:
    """The features of a Parquet file, their vectors mapped into memory where they are large.

    Raises DataError for what is no such file, or one without any vector.
    """
    import pyarrow
    import pyarrow.compute
    import pyarrow.parquet

    path = Path(file)
    try:
        with pyarrow.parquet.ParquetFile(path) as parquet:
            schema = parquet.schema_arrow
            origin = _origin(path, (schema.metadata or {}).get(KEY))
            rows = parquet.read([name for name in schema.names if name != "vector"])
            good = pyarrow.compute.is_null(rows.column("problem"))
            problems = len(rows) - pyarrow.compute.sum(good).as_py() if len(rows) else 0
            rows = rows.filter(good)
            if not len(rows):
                raise DataError(f"{path}: no video of it could be read; {problems} rows say why")
            return FeatureTable(path, origin, rows, _vectors(path, parquet, origin, len(rows)), problems)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, pyarrow.ArrowException, KeyError) as error:
        raise _not_ours(path, str(error).splitlines()[0] if str(error) else type(error).__name__) from None


def _origin(path: Path, metadata: bytes | None) -> Origin:
    if metadata is None:
        raise _not_ours(path, "another kind of Parquet file")
    try:
        values = json.loads(metadata)
        return Origin(**{**values, "shape": tuple(values["shape"])})
    except (ValueError, TypeError, KeyError):
        raise _not_ours(path, "written by another version") from None


def _not_ours(path: Path, reason: str) -> DataError:
    return DataError(f"{path}: no file of features ({reason}); `timesformer features --out FILE.parquet` writes one")


def _vectors(path: Path, parquet: Any, origin: Origin, count: int) -> Tensor:
    """Those of all rows that have one, in their order."""
    shape, dtype = (count, origin.size), np.dtype(origin.dtype)
    size = count * origin.size * dtype.itemsize
    if size <= MAPPED_BYTES:
        return torch.from_numpy(np.concatenate(list(_decoded(parquet, origin))))
    made_of, mapped = path.stat().st_mtime_ns, path.with_name(path.name + ".npy")
    try:
        if mapped.stat().st_mtime_ns != made_of:
            raise FileNotFoundError
        found = np.load(mapped, mmap_mode="r")
        if (found.shape, found.dtype) == (shape, dtype):
            return _as_tensor(found)
    except (FileNotFoundError, ValueError):
        pass
    with suppress(OSError), replacing(mapped) as temporary:  # where none can be written, there is memory
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        with temporary.open("wb") as target:  # not mapped: a full disk would end the process with SIGBUS
            np.lib.format.write_array_header_1_0(target, header)
            for part in _decoded(parquet, origin):
                target.write(part.tobytes())
        os.utime(temporary, ns=(made_of, made_of))
    if mapped.exists() and mapped.stat().st_mtime_ns == made_of:
        return _as_tensor(np.load(mapped, mmap_mode="r"))
    return torch.from_numpy(np.concatenate(list(_decoded(parquet, origin))))


def _decoded(parquet: Any, origin: Origin) -> Iterator[np.ndarray[Any, Any]]:
    for batch in parquet.iter_batches(ROW_GROUP_ROWS, columns=["vector"]):
        values = batch.column(0).flatten().to_numpy(zero_copy_only=False)  # without those that are null
        yield values.reshape(-1, origin.size)


def _as_tensor(mapped: np.ndarray[Any, Any]) -> Tensor:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch has no tensors that cannot be written to
        return torch.from_numpy(mapped)


def _text(value: Any) -> Any:
    return escape(value) if isinstance(value, str) else value
