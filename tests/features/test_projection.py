"""Maps of features: against scikit-learn and numpy, and what is known of groups that lie apart."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import sklearn
import torch
from sklearn.manifold import trustworthiness as trustworthiness_of_sklearn
from sklearn.metrics import silhouette_score

from feature_tables import some_rows, write
from timesformer.errors import DataError, SettingError
from timesformer.features import projection as module
from timesformer.features.projection import Projection, project_features, trustworthiness
from timesformer.features.table import FeatureTable, read_feature_table


def table_of(tmp_path: Path, vectors: np.ndarray, **columns: list[str]) -> FeatureTable:
    rows = some_rows(len(vectors), vectors.shape[1], "float32", **columns)
    for row, vector in zip(rows, vectors.astype(np.float32), strict=True):
        row["vector"] = vector
    return read_feature_table(write(tmp_path / "f.parquet", rows, vectors.shape[1], dtype="float32"))


def groups_of(tmp_path: Path, each: int = 15) -> FeatureTable:
    """Three classes that lie far apart."""
    generator = np.random.default_rng(0)
    centres = 8 * np.eye(6)[:3]
    vectors = np.concatenate([centre + generator.normal(size=(each, 6)) for centre in centres])
    return table_of(tmp_path, vectors, label=[label for label in "abc" for _ in range(each)])


@pytest.mark.parametrize(("rows", "size"), [(4, 3), (7, 5), (40, 8), (300, 20)])
def test_trustworthiness_is_scikit_learns(rows: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_A_TIME", 64)
    generator = torch.Generator().manual_seed(rows)
    vectors_ND = 10 + 5 * torch.randn(rows, size, generator=generator)
    points_N2 = 3 * vectors_ND[:, :2] + torch.randn(rows, 2, generator=generator)
    neighbours = min(5, (rows - 1) // 2)
    expected = trustworthiness_of_sklearn(vectors_ND.numpy(), points_N2.numpy(), n_neighbors=neighbours)
    assert trustworthiness(vectors_ND, points_N2, torch.arange(rows)) == pytest.approx(expected, abs=1e-9)
    each = [trustworthiness(vectors_ND, points_N2, torch.tensor([row])) for row in range(rows)]
    assert np.mean(each) == pytest.approx(expected, abs=1e-9)
    assert trustworthiness(vectors_ND[:, :2], 2 * vectors_ND[:, :2], torch.arange(rows)) == 1


def test_principal_components_are_numpys(tmp_path: Path) -> None:
    vectors = np.random.default_rng(1).normal(size=(30, 5)) * [5, 3, 1, 1, 1]
    found = project_features(table_of(tmp_path, vectors), "pca")
    centred = vectors.astype(np.float32) - vectors.astype(np.float32).mean(0)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    for axis in range(2):
        expected = torch.from_numpy(left[:, axis] * singular[axis]).float()
        sign = torch.sign(expected @ found.points_N2[:, axis])
        torch.testing.assert_close(found.points_N2[:, axis] * sign, expected, atol=1e-4, rtol=1e-4)
    assert found.variance == pytest.approx((singular**2 / (singular**2).sum())[:2], abs=1e-5)
    assert (found.silhouette, found.classes, found.judged) == (None, [], 30)


def test_tsne_keeps_groups_together(tmp_path: Path) -> None:
    table = groups_of(tmp_path)
    found, again, other = (project_features(table, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(found.points_N2, again.points_N2)
    assert not torch.allclose(found.points_N2, other.points_N2)
    for projection in (found, other):
        nearest_N = torch.cdist(projection.points_N2, projection.points_N2).fill_diagonal_(torch.inf).argmin(1)
        assert [projection.labels[row] for row in nearest_N.tolist()] == table.column("label")
        assert projection.silhouette == pytest.approx(silhouette_score(projection.points_N2, table.column("label")))
        assert projection.silhouette > 0.4
        assert projection.trustworthiness > 0.85
        centres = torch.tensor([projection.centre(label) for label in "abc"])
        assert torch.cdist(centres, centres).fill_diagonal_(torch.inf).min() > 1
    assert (found.classes, found.made_by, found.variance) == (
        ["a", "b", "c"],
        f"scikit-learn {sklearn.__version__}",
        None,
    )


def test_opentsne_is_taken_where_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    class TSNE:
        def __init__(self, **settings: Any) -> None:
            given.update(settings)

        def fit(self, values: np.ndarray) -> np.ndarray:
            given["values"] = values
            return values[:, :2] * 2

    fake = ModuleType("openTSNE")
    fake.TSNE, fake.__version__ = TSNE, "9.8"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "openTSNE", fake)
    found = project_features(groups_of(tmp_path), seed=5)
    assert found.made_by == "openTSNE 9.8"
    assert (given["random_state"], given["n_jobs"]) == (5, torch.get_num_threads())
    assert given["perplexity"] == pytest.approx(44 / 3)
    assert given["initialization"][:, 0].std() == pytest.approx(1e-4, rel=0.05)
    assert np.corrcoef(given["initialization"][:, 0], given["values"][:, 0])[0, 1] > 0.99
    torch.testing.assert_close(found.points_N2, torch.from_numpy(given["values"][:, :2] * 2).float())


@pytest.mark.parametrize("method", ["tsne", "pca"])
def test_the_fewest_rows_and_vectors_of_one_value(tmp_path: Path, method: Any) -> None:
    found = project_features(table_of(tmp_path, np.array([[1.0], [2.0], [4.0], [8.0]])), method)
    assert found.points_N2.shape == (4, 2)
    assert found.points_N2.isfinite().all()
    assert 0 <= found.trustworthiness <= 1


def test_labels(tmp_path: Path) -> None:
    """Rows may have none; combinations are classes; a silhouette needs two classes, and two rows of one."""
    vectors = np.random.default_rng(0).normal(size=(6, 3))
    some = project_features(table_of(tmp_path, vectors, label=["a", "b", "a", "b", "a", None]), "pca")  # type: ignore[list-item]
    assert some.silhouette == pytest.approx(silhouette_score(some.points_N2[:5], list("ababa")))
    several = project_features(table_of(tmp_path, vectors, labels=["a", "a;b", "a", "a;b", "", "b"]), "pca")
    assert several.labels == ("a", "a;b", "a", "a;b", None, "b")
    for label in ("aaaaaa", "abcdef"):
        found = project_features(table_of(tmp_path, vectors, label=list(label)), "pca")
        assert found.silhouette is None


def test_the_centre_of_a_class_in_two_groups_is_in_the_larger_one() -> None:
    points_N2 = torch.tensor([[0.0, 0], [0.1, 0], [0, 0.1], [9, 9], [9, 9.1], [5, 5]])
    found = Projection(points_N2, "pca", "", 0, (*"aaaaa", "b"), 1.0, None, None, 6)
    x, y = found.centre("a")
    assert max(x, y) < 1
    assert found.centre("b") == (5, 5)
    assert found.rise("b") == 0
    assert found.rise("a") == pytest.approx(0.1 + 0.4 * 8.9, abs=0.01)  # of 0, 0, 0.1, 9 and 9.1


def test_large_tables_are_judged_by_some_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "JUDGED", 20)
    table = groups_of(tmp_path)
    found = project_features(table, "pca", seed=3)
    assert found.judged == 20
    everything = trustworthiness(table.vectors_ND, found.points_N2, torch.arange(45))
    assert found.trustworthiness == pytest.approx(everything, abs=0.1)


def test_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.random.default_rng(0).normal(size=(5, 3))
    with pytest.raises(DataError, match=r"f.parquet: has 3 vectors; a map requires at least 4"):
        project_features(table_of(tmp_path, vectors[:3]))
    with pytest.raises(DataError, match="all 4 vectors are equal; a map requires vectors that differ"):
        project_features(table_of(tmp_path, np.ones((4, 3))))
    vectors[3, 1] = np.nan
    with pytest.raises(DataError, match=r"1 of 5 vectors have NaN or inf, the first that of 3.mp4"):
        project_features(table_of(tmp_path, vectors))
    with pytest.raises(SettingError, match="method umap: expected tsne or pca"):
        project_features(table_of(tmp_path, vectors[:3]), "umap")  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(SettingError, match=r"requires scikit-learn; install it with pip install '.\[explain"):
        project_features(table_of(tmp_path, vectors[:3]))
