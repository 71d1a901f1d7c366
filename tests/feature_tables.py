"""Small files of features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from timesformer.features.table import Origin, Row, write_table


def origin(size: int = 8, **values: Any) -> Origin:
    given: dict[str, Any] = {"layer": -1, "pool": "cls", "shape": (size,), "dtype": "float16", "engine": "eager"}
    return Origin(model="1234", precision="fp32", **{**given, **values})


def some_rows(count: int, size: int = 8, dtype: str = "float16", **columns: list[str]) -> list[Row]:
    """A row a video: 0.mp4, 1.mp4, ..., with vectors of a normal distribution."""
    vectors = np.random.default_rng(0).standard_normal((count, size)).astype(dtype)
    return [
        {
            "id": f"{number}.mp4",
            "video": f"{number}.mp4",
            "start_s": 0.0,
            "end_s": 1.5,
            "vector": vectors[number],
            **{name: values[number] for name, values in columns.items()},
        }
        for number in range(count)
    ]


def write(file: Path, rows: list[Row], size: int = 8, **values: Any) -> Path:
    ours = {"id", "video", "start_s", "end_s", "padded", "last", "problem", "vector"}
    columns = list(dict.fromkeys(name for row in rows for name in row if name not in ours))
    write_table(rows, origin(size, **values), columns, file)
    return file
