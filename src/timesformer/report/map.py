"""A map of features for people: one HTML page to move about in, or a picture."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from timesformer.errors import DataError, SettingError, VideoError
from timesformer.features.markers import OTHER, Marker, markers_of
from timesformer.features.projection import UNLABELLED, Projection, check_installed
from timesformer.features.table import FeatureTable
from timesformer.files import writing
from timesformer.report.map_pictures import Pictures, pictures_of
from timesformer.report.page import check_page, write_page

MOST_PICTURES = 3000  # points; pages of more have none
PAGES, PICTURES = (".html", ".htm"), (".png",)

# Of the markers' shapes, as SVG paths whose areas are about alike, around 0, 0.
PATHS = {
    "circle": "M-5,0a5,5 0 1,0 10,0a5,5 0 1,0 -10,0z",
    "square": "M-4.5,-4.5h9v9h-9z",
    "triangle": "M0,-5.6L5.6,4.4H-5.6z",
    "diamond": "M0,-6L6,0L0,6L-6,0z",
    "cross": "M-5.3,-2.9L-2.9,-5.3L0,-2.4L2.9,-5.3L5.3,-2.9L2.4,0L5.3,2.9L2.9,5.3L0,2.4L-2.9,5.3L-5.3,2.9L-2.4,0z",
    "nabla": "M0,5.6L5.6,-4.4H-5.6z",
    "plus": "M-1.8,-5.8h3.6v4h4v3.6h-4v4h-3.6v-4h-4v-3.6h4z",
    "star": "M0,-6.8L1.7,-2.3L6.5,-2.1L2.7,0.9L4,5.5L0,2.8L-4,5.5L-2.7,0.9L-6.5,-2.1L-1.7,-2.3z",
    "dot": "M-3.2,0a3.2,3.2 0 1,0 6.4,0a3.2,3.2 0 1,0 -6.4,0z",
}


@dataclass(frozen=True, eq=False)
class WrittenMap:
    """Attributes: `file`; `videos`, how many the table has; `pictures`, how many rows have one in the page; `problems`,
    of the videos that have none since they cannot be read; `notes`, what else a reader should know of the map."""

    file: Path
    videos: int
    pictures: int
    problems: tuple[VideoError, ...]
    notes: tuple[str, ...]


def check_map(file: str | Path, data: str | Path | None = None) -> Path:
    """The path of a map, checked before long work is done for it. Raises SettingError for another suffix than .html and
    .png, and where no file can be written; DataError where `data` is not there."""
    path = Path(file)
    if path.suffix.lower() in PAGES:
        check_page(path)
    elif path.suffix.lower() not in PICTURES:
        raise SettingError(f"{path}: cannot be a map; expected *.html or *.png")
    elif path.is_dir():
        raise SettingError(f"{path}: is a folder; expected a file")
    elif not path.parent.is_dir():
        raise SettingError(f"{path}: no such folder {path.parent}")
    if data is not None and not Path(data).exists():
        raise DataError(f"{data}: no such file or folder; expected the data set that the features are of")
    check_installed()
    return path


def write_map(
    table: FeatureTable,
    projection: Projection,
    file: str | Path,
    *,
    data: str | Path | None = None,
    on_video: Callable[[int, int], None] = lambda done, total: None,
) -> WrittenMap:
    """Write a map of a table of features: as .html a page, as .png a picture.

    A page of up to 3,000 points has a small picture of each video or window, of those that can be read. data: the data
    set, as `timesformer features` was given it, where paths in the table are inside one. on_video: called with the
    videos whose pictures are made, and all there are.

    Raises SettingError and DataError as `check_map`, DataError for the projection of another table.
    """
    path = check_map(file, data)
    if len(projection) != len(table):
        raise DataError(f"{table.file}: has {len(table)} vectors; the map is of {len(projection)}")
    notes, videos = notes_of(table, projection), len(set(table.column("video")))
    if path.suffix.lower() in PICTURES:
        from timesformer.features.map_figure import save_map_figure

        with writing(path):
            save_map_figure(projection, table.file.name, path)
        return WrittenMap(path, videos, 0, (), tuple(notes))
    found = Pictures([None] * len(table), [])
    if len(table) <= MOST_PICTURES:
        found = pictures_of(table, None if data is None else Path(data), on_video)
    else:
        notes.append(f"{len(table):,} points: only maps of up to {MOST_PICTURES:,} have pictures of the videos")
    missing = (
        [f"{len(found.problems)} of {videos} videos cannot be read, and have no picture"] if found.problems else []
    )
    _write_page(table, projection, found.of_rows, [*notes, *missing], path, data)
    pictures = sum(picture is not None for picture in found.of_rows)
    return WrittenMap(path, videos, pictures, tuple(found.problems), tuple(notes))


def notes_of(table: FeatureTable, projection: Projection) -> list[str]:
    """What a reader should know of a map, whatever its form."""
    notes = list[str]()
    if not projection.classes:
        notes.append("no labels: all points have one colour")
    if "labels" in table.rows.column_names:
        notes.append("several classes a video: each combination of them counts as a class")
    if others := sum(marker == OTHER for marker in markers_of(projection).values()):
        notes.append(f"{others} classes, those with the fewest points, are grey")
    if projection.judged < len(projection):
        notes.append(f"trustworthiness and silhouette are over {projection.judged:,} random points")
    if table.problems:
        notes.append(f"{table.problems} rows of the file have no vector, since their videos could not be read")
    return notes


def _write_page(
    table: FeatureTable,
    projection: Projection,
    pictures: list[str | None],
    notes: list[str],
    path: Path,
    data: str | Path | None,
) -> None:
    markers, counts = markers_of(projection), Counter(projection.labels)
    names: list[str | None] = [*markers, *([None] if counts[None] else [])]
    looks = [markers[name] if name is not None else OTHER if markers else Marker(0, "circle") for name in names]
    low_2, high_2 = projection.points_N2.min(0).values, projection.points_N2.max(0).values
    longer = float((high_2 - low_2).max())
    width, height = ((high_2 - low_2) / longer).clamp_min(0.05).tolist()

    def placed(points_N2: torch.Tensor) -> list[list[float]]:
        """Points of the map in the page's units: around 0, 0, the longer side 1, downwards."""
        unit_N2 = ((points_N2 - (low_2 + high_2) / 2) / longer).mul(torch.tensor([1, -1]))
        return [[round(value, 5) for value in point] for point in unit_N2.double().tolist()]

    xs, ys = zip(*placed(projection.points_N2), strict=True)
    centres = [placed(torch.tensor([projection.centre(name)]))[0] if name is not None else None for name in names]
    rises = [projection.rise(name) / longer if name is not None else 0 for name in names]
    classes = [
        {
            "name": UNLABELLED if name is None else name,
            "count": counts[name],
            "colour": look.colour,
            "shape": look.shape,
        }
        for name, look in zip(names, looks, strict=True)
    ]
    numbers = {name: number for number, name in enumerate(names)}
    content: dict[str, Any] = {
        "classes": [
            {**one, "centre": centre, "rise": rise} for one, centre, rise in zip(classes, centres, rises, strict=True)
        ],
        "paths": PATHS,
        "width": width,
        "height": height,
        "x": xs,
        "y": ys,
        "label": [numbers[label] for label in projection.labels],
        "id": table.column("id"),
        "pictures": pictures if any(pictures) else [],
        "noun": "videos" if table.origin.window is None else "windows",
    }
    write_page(
        path,
        "map.html",
        title=table.file.name,
        facts=projection.facts(),
        projection=projection,
        origin=table.origin,
        classes=classes,
        paths=PATHS,
        labelled=bool(markers),
        notes=notes,
        content=content,
        command=_command(table, projection, path, data),
    )


def _command(table: FeatureTable, projection: Projection, path: Path, data: str | Path | None) -> str:
    """What repeats a map."""
    words = ["timesformer", "map", str(table.file), "--out", str(path)]
    words += [] if data is None else ["--data", str(data)]
    words += ["--method", projection.method] if projection.method != "tsne" else []
    words += ["--seed", str(projection.seed)] if projection.seed else []
    return shlex.join(words)
