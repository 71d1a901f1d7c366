"""The videos of a data set with all that their lists say of them: every split, every column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from timesformer.data.labelled_csv import labelled_rows
from timesformer.data.layouts import find_splits, is_one_split
from timesformer.data.lists import LabelledVideo
from timesformer.data.manifest import Manifest, read_manifest, read_unsplit
from timesformer.data.quarantine import inside
from timesformer.errors import DataError
from timesformer.features.table import OURS
from timesformer.inference.sources import Sources, list_sources
from timesformer.video.source import Source, source_name

CLASSES = ("label", "labels")  # the second in data with several classes a video, as in lists


@dataclass(frozen=True)
class ListedVideos:
    """Videos to compute features of.

    names: what rows call them. columns: what else rows say of them. cells: of each video, by column; nothing where its
    list has no such column.
    """

    names: list[str]
    sources: Sequence[Source | LabelledVideo]
    columns: tuple[str, ...] = ()
    cells: list[dict[str, str]] = field(default_factory=list)

    @property
    def paths(self) -> list[Source]:
        """The videos as `timesformer.open_video` takes them."""
        return [source.path if isinstance(source, LabelledVideo) else source for source in self.sources]


def list_data(data: str | Path, split: str | None = None) -> ListedVideos:
    """The videos of a data set: of a split, or of all it has, one after the other.

    data: a folder with lists or folders of splits; a CSV with path and label, or a folder of class folders. Videos in
    the quarantine list are there, too. Raises DataError as `read_manifest` does, for a split of data without any, and
    for what is no data set.
    """
    found = find_data(data, split)
    if found is None:
        raise DataError(
            f"{data}: no data set; expected a folder with lists or folders of splits, or of class folders, or a CSV"
        )
    return found


def find_data(data: str | Path, split: str | None = None) -> ListedVideos | None:
    """As `list_data`, but None for what is no data set."""
    data = Path(data)
    if data.is_dir() and (splits := find_splits(data)):
        manifests = [read_manifest(data, one, quarantine=False) for one in ([split] if split else splits)]
    elif not data.exists() or is_one_split(data) or (data.is_file() and data.suffix != ".csv"):
        return None
    elif (unsplit := read_unsplit(data)) is not None:
        manifests = [unsplit]
    else:
        return None
    if split is not None and manifests[0].split != split:
        raise DataError(f"{data}: has no {split} split; it is not split")
    columns: dict[str, None] = {"split": None} if manifests[0].split != "all" else {}
    names, sources, cells = list[str](), list[LabelledVideo](), list[dict[str, str]]()
    for manifest in manifests:
        columns |= dict.fromkeys(["labels" if manifest.multilabel else "label"])
        for video, others in zip(manifest.videos, _other_columns(manifest), strict=True):
            found = {"split": manifest.split} if "split" in columns else {}
            label = ";".join(manifest.labels[number] for number in video.labels)
            found |= {"labels" if manifest.multilabel else "label": label, **others}
            columns |= dict.fromkeys(found)
            names.append(inside(manifest.folder, video.path))
            sources.append(video)
            cells.append(found)
    return ListedVideos(names, sources, tuple(columns), cells)


def list_videos(videos: Sources) -> ListedVideos:
    """Videos of which nothing more is known."""
    sources = list_sources(videos)
    return ListedVideos([str(source_name(source)) for source in sources], sources, (), [{} for _ in sources])


def _other_columns(manifest: Manifest) -> list[dict[str, str]]:
    """What a CSV list says of each video beside its path and classes; its rows are the videos, in their order."""
    rows = labelled_rows(manifest.source) if manifest.source.is_file() else None
    if rows is None:
        return [{} for _ in manifest.videos]
    others = [
        (number, f"list_{name}" if name in (*OURS, "labels") else name)
        for number, name in enumerate(rows.header)
        if name not in ("path", *CLASSES)
    ]
    return [{name: row[number] for number, name in others if row[number]} for row in rows.cells]
