"""Seconds that a search takes among random vectors.

    python benchmarks/search.py [ROWS] [SIZE] [DTYPE]

ROWS (a million if not given) vectors of SIZE values (384) of a normal distribution in DTYPE (float16): how long it
takes to open the Parquet file for the first time, which writes its vectors where they can be mapped into memory, and
again; then, the best of five, a query and 32 queries at once; and whether a plain computation in float64 finds the
same rows.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch

from timesformer.features.search import search_features
from timesformer.features.table import Origin, Row, read_feature_table, write_table
from timesformer.threads import use_threads

ROUNDS = 5


def rows_of(count: int, size: int, dtype: str) -> Iterator[Row]:
    generator = np.random.default_rng(0)
    for begin in range(0, count, 10_000):
        for number, vector in enumerate(generator.standard_normal((min(10_000, count - begin), size)).astype(dtype)):
            name = f"{begin + number}.mp4"
            yield {"id": name, "video": name, "start_s": 0.0, "end_s": 2.0, "vector": vector}


def best(call: Callable[[], object]) -> float:
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def main() -> None:
    words = sys.argv[1:]
    count, size, dtype = (given or default for given, default in zip_longest(words, ("1000000", "384", "float16")))
    measure(int(count), int(size), dtype)


def measure(count: int, size: int, dtype: str) -> None:
    use_threads(None)
    with tempfile.TemporaryDirectory(dir=".") as folder:
        file = Path(folder) / "f.parquet"
        origin = Origin("random", -1, "cls", (size,), dtype, "none", "none")
        began = time.perf_counter()
        write_table(rows_of(count, size, dtype), origin, [], file)
        print(
            f"{count} vectors of {size}, {dtype}, {torch.get_num_threads()} threads: {file.stat().st_size / 1e6:.0f} MB"
        )
        print(f"written in {time.perf_counter() - began:.1f} s")
        for what in ("first", "again"):
            began = time.perf_counter()
            table = read_feature_table(file)
            print(f"opened {what}: {time.perf_counter() - began:.2f} s")
        began = time.perf_counter()
        query = torch.randn(32, size, generator=torch.Generator().manual_seed(0))
        search_features(table, query[:1])
        print(f"first query, with the lengths of all vectors: {time.perf_counter() - began:.2f} s")
        print(f"a query: {best(lambda: search_features(table, query[:1])):.3f} s")
        print(f"32 queries: {best(lambda: search_features(table, query)):.3f} s")
        (found,) = search_features(table, query[:1])
        cosine = [
            part.double() @ query[0].double() / part.double().norm(dim=1) for part in table.vectors_ND.split(4096)
        ]
        expected = torch.cat(cosine).topk(10).indices.tolist()
        print(f"the same ten rows as in float64: {[hit.number for hit in found] == expected}")


if __name__ == "__main__":
    main()
