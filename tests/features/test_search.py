"""Search is exact: what a plain computation in float64 finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from feature_tables import some_rows, write
from timesformer.errors import DataError, SettingError
from timesformer.features.search import PART, find_row, of_group, search_features, similarities
from timesformer.features.table import FeatureTable, read_feature_table


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> FeatureTable:
    """More rows than are in float32 at a time; persons of seven rows each, but the last row, which is nobody's."""
    rows = some_rows(PART + 30, person=[f"p{number // 7}" for number in range(PART + 30)])
    del rows[-1]["person"]
    return read_feature_table(write(tmp_path_factory.mktemp("table") / "f.parquet", rows))


def test_search_is_exact(table: FeatureTable) -> None:
    queries = torch.randn(3, 8, generator=torch.Generator().manual_seed(1))
    known, asked = table.vectors_ND.double().numpy(), queries.double().numpy()
    cosine = asked @ known.T / np.linalg.norm(asked, axis=1)[:, None] / np.linalg.norm(known, axis=1)
    np.testing.assert_allclose(similarities(table, queries).numpy(), cosine, atol=1e-6)
    for hits, row in zip(search_features(table, queries, 20), cosine, strict=True):
        assert [hit.number for hit in hits] == np.argsort(-row)[:20].tolist()
        np.testing.assert_allclose([hit.similarity for hit in hits], np.sort(row)[:-21:-1], atol=1e-6)


def test_a_group_does_not_answer_for_itself(table: FeatureTable) -> None:
    number = find_row(table, "17.mp4")
    excluded = of_group(table, "person", number)
    assert excluded.nonzero()[:, 0].tolist() == list(range(14, 21))
    query = table.vectors_ND[number][None]
    (everything,) = search_features(table, query, len(table))
    assert everything[0].number == 17
    (others,) = search_features(table, query, len(table), excluded_QN=excluded[None])
    assert others == [hit for hit in everything if hit.number not in range(14, 21)]


def test_equally_similar_rows_come_in_order(tmp_path: Path) -> None:
    rows = some_rows(9)
    for row in rows[2:]:
        row["vector"] = np.float16([2, 0, 0, 0, 0, 0, 0, 0])
    rows[1]["vector"] = np.zeros(8, np.float16)
    found = read_feature_table(write(tmp_path / "f.parquet", rows))
    (hits,) = search_features(found, torch.eye(8)[:1], 4)
    assert [hit.number for hit in hits] == [2, 3, 4, 5]
    assert similarities(found, torch.eye(8)[:1])[0, 1] == 0
    (hits,) = search_features(found, torch.eye(8)[:1], 50)
    assert [hit.number for hit in hits][:7] == list(range(2, 9))
    assert len(hits) == 9


def test_what_is_refused(table: FeatureTable, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="top is 0; expected at least 1"):
        search_features(table, torch.zeros(1, 8), 0)
    with pytest.raises(SettingError, match=r"queries of shape \(1, 7\): expected \(queries, 8\)"):
        search_features(table, torch.zeros(1, 7))
    with pytest.raises(DataError, match=r"has no id x\.mp4; it has such as 0\.mp4"):
        find_row(table, "x.mp4")
    with pytest.raises(DataError, match="has no column subject; it has id, video, person"):
        of_group(table, "subject", 0)
    with pytest.raises(DataError, match=r"4125\.mp4 has no person"):
        of_group(table, "person", len(table) - 1)
    rows = some_rows(3)
    rows[1] |= {"id": "a.mp4@0.5", "video": "a.mp4"}
    rows[2]["id"] = "0.mp4"
    found = read_feature_table(write(tmp_path / "f.parquet", rows))
    with pytest.raises(DataError, match=r"a\.mp4 has 1 windows; name one, such as a\.mp4@0\.5"):
        find_row(found, "a.mp4")
    with pytest.raises(DataError, match=r"2 rows have the id 0\.mp4; expected one"):
        find_row(found, "0.mp4")
