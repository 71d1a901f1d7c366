"""Features in two dimensions, to be looked at: t-SNE or principal components, and how trustworthy such a map is.

t-SNE puts videos beside each other that were each other's neighbours; how far groups are apart, and how wide they are,
says little. Principal components keep the large distances and overlay the rest. It is fitted to the first 50 principal
components, from the first two of them on, as its authors' and everyone's maps of features are.

Dimensions: N rows of a table, D values of a vector, P principal components, B rows at a time, J neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from timesformer.device import version_of
from timesformer.errors import DataError, SettingError
from timesformer.features.table import FeatureTable

Method = Literal["tsne", "pca"]
FEWEST = 4  # rows
PERPLEXITY, COMPONENTS = 30.0, 50
START, JITTER = 1e-4, 1e-6  # standard deviations of where t-SNE starts, and of what the seed adds to that
NEIGHBOURS, JUDGED = 5, 5000  # of the trustworthiness; rows that it and the silhouette are taken over
AT_A_TIME = 256  # rows whose distances to all others are in memory
UNLABELLED = "no label"


@dataclass(frozen=True, eq=False)
class Projection:
    """A map of features.

    Attributes: `points_N2`; `method`, and `made_by`, the program that ran it; `labels`, the class of each row, None
    where it has none; `trustworthiness`, 0 to 1: how few of a point's neighbours on the map are no neighbours among the
    vectors (Venna and Kaski 2001); `silhouette`, -1 to 1: how much closer points are to their own class than to the
    next one on the map, None for fewer than two classes, or classes of one row each; `variance`, the part of it that
    each axis has, of principal components; `judged`, how many rows both were taken over.
    """

    points_N2: Tensor
    method: Method
    made_by: str
    seed: int
    labels: tuple[str | None, ...]
    trustworthiness: float
    silhouette: float | None
    variance: tuple[float, float] | None
    judged: int

    def __len__(self) -> int:
        return len(self.points_N2)

    @property
    def classes(self) -> list[str]:
        """Those that rows have, in alphabetical order."""
        return sorted({label for label in self.labels if label is not None})

    def facts(self) -> list[str]:
        """What a map is, and how trustworthy, each in a few words."""
        kind = "t-SNE" if self.method == "tsne" else "principal components"
        found = [f"{kind} of {len(self):,} vectors", f"trustworthiness {self.trustworthiness:.3f}"]
        if self.silhouette is not None:
            found.append(f"silhouette {self.silhouette:.3f}")
        found += [] if self.classes else ["no labels"]
        return [*found, f"{self.made_by}, seed {self.seed}"]

    def centre(self, label: str) -> tuple[float, float]:
        """Where most of a class is: its point whose median distance to the others is the smallest. The mean of a class
        in two groups is where none of it is."""
        points_C2 = self._points_of(label)
        best = torch.cdist(points_C2, points_C2).median(dim=1).values.argmin()
        x, y = points_C2[best].tolist()
        return x, y

    def rise(self, label: str) -> float:
        """How far up and down from its centre six tenths of a class are."""
        _, y = self.centre(label)
        return float((self._points_of(label)[:, 1] - y).abs().quantile(0.6))

    def _points_of(self, label: str) -> Tensor:
        """Those of a class; of a large one at most 1,000, evenly spaced."""
        rows = torch.tensor([row for row, one in enumerate(self.labels) if one == label])
        return self.points_N2[rows[:: -(-len(rows) // 1000)]].double()


def project_features(table: FeatureTable, method: Method = "tsne", *, seed: int = 0) -> Projection:
    """A map of a table: by openTSNE where it is installed, else by scikit-learn.

    The same table, seed, program and number of threads (torch's) give the same map. Rows are coloured by `label`; where
    they may have several, each combination counts as a class.

    Raises SettingError for another method, or where scikit-learn is not installed; DataError for fewer than 4 rows, for
    vectors that are all equal, and for NaN or inf in them.
    """
    if method not in get_args(Method):
        raise SettingError(f"method {method}: expected {' or '.join(get_args(Method))}")
    check_installed()
    vectors_ND = table.vectors_ND.float()
    _check(table, vectors_ND)
    components_NP, variance = _components(vectors_ND, 2 if method == "pca" else COMPONENTS, seed)
    if method == "pca":
        points_N2, made_by = components_NP, f"scikit-learn {version_of('scikit-learn', 'sklearn')}"
    else:
        points_N2, made_by = _tsne(components_NP, seed)
    labels = _labels(table)
    points = torch.from_numpy(points_N2.astype(np.float32))
    rows_B = _judged(len(points), seed)
    return Projection(
        points,
        method,
        made_by,
        seed,
        labels,
        trustworthiness(vectors_ND, points, rows_B),
        _silhouette(points[rows_B], [labels[row] for row in rows_B.tolist()]),
        (float(variance[0]), float(variance[1])) if method == "pca" else None,
        len(rows_B),
    )


def check_installed() -> None:
    """Raises SettingError where scikit-learn is not."""
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise SettingError(
            "a map requires scikit-learn; install it with pip install '.[explain]' in the checkout"
        ) from None


def trustworthiness(vectors_ND: Tensor, points_N2: Tensor, rows_B: Tensor, neighbours: int = NEIGHBOURS) -> float:
    """Of some rows among all, by Euclidean distances: 1 where the nearest points of each are its nearest vectors.

    Each of a row's `neighbours` nearest points costs as many places as it is, by its vector, behind those that had
    been the nearest (Venna and Kaski 2001). Of fewer than 12 rows fewer neighbours are taken, so that 0 is the worst.
    """
    count = len(points_N2)
    neighbours = min(neighbours, (count - 1) // 2)
    costs, vectors_ND, points_N2 = 0.0, vectors_ND - vectors_ND.mean(0), points_N2.double()
    places_N = torch.arange(count)
    for part_B in rows_B.split(AT_A_TIME):
        nearest_BJ = _distances(points_N2, part_B).topk(neighbours, largest=False).indices
        order_BN = _distances(vectors_ND, part_B).argsort(dim=1)
        ranks_BN = torch.empty_like(order_BN).scatter_(1, order_BN, places_N.expand_as(order_BN))  # of the nearest 0
        costs += float((ranks_BN.gather(1, nearest_BJ) - neighbours + 1).clamp_min(0).sum())
    return 1 - costs * 2 / (len(rows_B) * neighbours * (2 * count - 3 * neighbours - 1))


def _distances(values_ND: Tensor, rows_B: Tensor) -> Tensor:
    """Of rows to all rows (B, N); to themselves inf."""
    found_BN = torch.cdist(values_ND[rows_B], values_ND)
    found_BN[torch.arange(len(rows_B)), rows_B] = torch.inf
    return found_BN


def _check(table: FeatureTable, vectors_ND: Tensor) -> None:
    if len(table) < FEWEST:
        raise DataError(f"{table.file}: has {len(table)} vectors; a map requires at least {FEWEST}")
    bad_N = ~vectors_ND.isfinite().all(dim=1)
    if bad_N.any():
        first = table.row(int(bad_N.nonzero()[0, 0]))["id"]
        raise DataError(
            f"{table.file}: {int(bad_N.sum())} of {len(table)} vectors have NaN or inf, the first that of {first}"
        )
    if bool((vectors_ND == vectors_ND[0]).all()):
        raise DataError(f"{table.file}: all {len(table)} vectors are equal; a map requires vectors that differ")


def _components(vectors_ND: Tensor, most: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The first principal components, at least two, and the part of the variance that each has."""
    from sklearn.decomposition import PCA

    values_ND = vectors_ND.numpy()
    if values_ND.shape[1] < 2:
        values_ND = np.pad(values_ND, ((0, 0), (0, 2 - values_ND.shape[1])))
    fitted: Any = PCA(min(most, *values_ND.shape), random_state=seed)
    found = fitted.fit_transform(values_ND)
    return found.astype(np.float64), fitted.explained_variance_ratio_


def _tsne(components_NP: NDArray[np.float64], seed: int) -> tuple[NDArray[np.float64], str]:
    """The map, and the program that made it."""
    perplexity = min(PERPLEXITY, (len(components_NP) - 1) / 3)
    noise_N2 = np.random.default_rng(seed).normal(scale=JITTER, size=(len(components_NP), 2))
    start_N2 = components_NP[:, :2] / components_NP[:, 0].std() * START + noise_N2
    threads = torch.get_num_threads()
    try:
        import openTSNE
    except ImportError:
        return _tsne_of_scikit_learn(components_NP, start_N2, perplexity, seed, threads)
    fitted = openTSNE.TSNE(perplexity=perplexity, initialization=start_N2, random_state=seed, n_jobs=threads)
    return np.asarray(fitted.fit(components_NP)), f"openTSNE {version_of('openTSNE')}"


def _tsne_of_scikit_learn(
    components_NP: NDArray[np.float64], start_N2: NDArray[np.float64], perplexity: float, seed: int, threads: int
) -> tuple[NDArray[np.float64], str]:
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    with threadpool_limits(threads):
        fitted: Any = TSNE(perplexity=perplexity, init=start_N2, random_state=seed, n_jobs=threads)
        return fitted.fit_transform(components_NP), f"scikit-learn {version_of('scikit-learn', 'sklearn')}"


def _labels(table: FeatureTable) -> tuple[str | None, ...]:
    for name in ("label", "labels"):
        if name in table.rows.column_names:
            return tuple(label or None for label in table.column(name))  # of several, none is ""
    return (None,) * len(table)


def _judged(count: int, seed: int) -> Tensor:
    """The rows over which a map is judged: all, or a random sample of many."""
    if count <= JUDGED:
        return torch.arange(count)
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:JUDGED].sort().values


def _silhouette(points_B2: Tensor, labels: Sequence[str | None]) -> float | None:
    """Of the rows that have a label; None where it is not defined."""
    from sklearn.metrics import silhouette_score

    kept = [number for number, label in enumerate(labels) if label is not None]
    classes = [labels[number] for number in kept]
    if not 2 <= len(set(classes)) < len(classes):
        return None
    return float(silhouette_score(points_B2[kept].numpy(), classes))
