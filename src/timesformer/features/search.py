"""Search among features: the rows whose vectors point most nearly the same way. Exact, by cosine similarity.

Vectors are read a part at a time, so a file that is larger than the memory can be searched.

Dimensions: Q queries, N rows, D values of a vector, J neighbours.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from timesformer.errors import DataError, SettingError
from timesformer.features.table import FeatureTable
from timesformer.files import escape

PART = 4096  # rows in float32 at a time: they stay in a processor's cache


class Hit(NamedTuple):
    """A row of a table, and the cosine of the angle between its vector and the query's, -1 to 1."""

    number: int
    similarity: float


def search_features(
    table: FeatureTable, queries_QD: Tensor, top: int = 10, *, excluded_QN: Tensor | None = None
) -> list[list[Hit]]:
    """The `top` rows that are most similar to each query, most similar first; fewer where there are fewer.

    queries_QD: vectors of the table's model, layer and pooling. excluded_QN: rows that do not answer a query, as a
    mask. A vector of length 0 is similar to nothing: 0. Equally similar rows come in the table's order.
    Raises SettingError for `top` below 1 and for queries of another size.
    """
    if top < 1:
        raise SettingError(f"top is {top}; expected at least 1")
    if queries_QD.ndim != 2 or queries_QD.shape[1] != table.vectors_ND.shape[1]:
        raise SettingError(
            f"queries of shape {tuple(queries_QD.shape)}: expected (queries, {table.vectors_ND.shape[1]})"
        )
    similarity_QN = similarities(table, queries_QD)
    if excluded_QN is not None:
        similarity_QN.masked_fill_(excluded_QN, -torch.inf)
    return [_best(similarity_N, top) for similarity_N in similarity_QN]


def _best(similarity_N: Tensor, top: int) -> list[Hit]:
    least = similarity_N.topk(min(top, len(similarity_N))).values[-1].clamp_min(torch.finfo(torch.float32).min)
    numbers_J = (similarity_N >= least).nonzero()[:, 0]  # those that are as similar as the last are all there
    order = similarity_N[numbers_J].sort(descending=True, stable=True).indices[:top]
    return [Hit(number, float(similarity_N[number])) for number in numbers_J[order].tolist()]


def similarities(table: FeatureTable, queries_QD: Tensor) -> Tensor:
    """The cosine similarity of every query and every row, float32 (Q, N)."""
    units_QD = torch.nn.functional.normalize(queries_QD.float(), dim=1)
    found_QN = torch.empty(len(units_QD), len(table))
    part_PD = torch.empty(PART, units_QD.shape[1])
    for begin in range(0, len(table), PART):
        rows = table.vectors_ND[begin : begin + PART]
        part = part_PD[: len(rows)].copy_(rows)
        found_QN[:, begin : begin + PART] = units_QD @ part.T
    return found_QN / table.norms.clamp_min(1e-12)


def find_row(table: FeatureTable, name: str) -> int:
    """The number of the row of this id. Raises DataError where there is none, or several."""
    name = escape(name)
    found = of_value(table, "id", name).nonzero()[:, 0].tolist()
    if len(found) == 1:
        return int(found[0])
    if found:
        raise DataError(f"{table.file}: {len(found)} rows have the id {name}; expected one")
    windows = of_value(table, "video", name).nonzero()[:, 0].tolist()
    if windows:
        first = table.row(windows[0])["id"]
        raise DataError(f"{table.file}: {name} has {len(windows)} windows; name one, such as {first}")
    raise DataError(f"{table.file}: has no id {name}; it has such as {table.row(0)['id']}")


def of_group(table: FeatureTable, column: str, number: int) -> Tensor:
    """Which rows are of the same group as a row, itself among them: a mask (N,).

    Raises DataError for a column that is not there, and for a row that has no group.
    """
    table.check_column(column)
    row = table.row(number)
    if column not in row:
        raise DataError(f"{table.file}: {row['id']} has no {column}")
    return of_value(table, column, row[column])


def of_value(table: FeatureTable, column: str, value: object) -> Tensor:
    """Which rows have a value in a column: a mask (N,)."""
    import pyarrow.compute

    same = pyarrow.compute.equal(table.rows.column(column), value)
    return torch.from_numpy(same.fill_null(False).to_numpy(zero_copy_only=False).copy())
