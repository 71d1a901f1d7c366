"""Features of many videos: what rows say, and that a job ends with the same bytes wherever it was stopped."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import timesformer
from classifiers import classifier
from timesformer.errors import DataError, SettingError
from timesformer.evaluation.evaluate import Progress
from timesformer.evaluation.temperature import with_temperature
from timesformer.features.table import read_feature_table
from timesformer.inference.feature_job import FeatureJob
from timesformer.inference.feature_query import query_features
from timesformer.inference.listed import find_data, list_data
from timesformer.inference.predictor import Predictor
from timesformer.inference.vector_file import FeatureCounts
from timesformer.video.views import read_views, window_views


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return timesformer.load(classifier(image_size=16, patch_size=8), "cpu", precision="fp32")


@pytest.fixture
def videos(bars: Path, tmp_path: Path) -> list[str]:
    """Of a second each; one that is empty."""
    (tmp_path / "empty.mp4").touch()
    train = sorted((bars / "train").rglob("*.mp4"))
    return [str(path) for path in (*train[:2], tmp_path / "empty.mp4", *train[2:4])]


@pytest.fixture
def data(bars: Path, tmp_path: Path) -> Path:
    """Lists with a person and a number of each video; `test` has no number."""
    folder = tmp_path / "data"
    shutil.copytree(bars, folder / "videos")
    for split, columns in (("train", "path,label,person,id"), ("test", "path,label,person")):
        paths = sorted((folder / "videos" / split).rglob("*.mp4"))
        rows = [f"{path.relative_to(folder)},{path.parent.name},p{number % 2},7" for number, path in enumerate(paths)]
        rows = [row if "id" in columns else row.removesuffix(",7") for row in rows]
        (folder / f"{split}.csv").write_text("\n".join([columns, *rows]) + "\n")
    return folder


def test_a_row_a_video(predictor: Predictor, videos: list[str], tmp_path: Path) -> None:
    job, said = FeatureJob(videos, tmp_path / "f.parquet", dtype="float32"), list[Progress]()
    rows = list(job.run(predictor, workers=0, on_progress=said.append))
    assert (job.counts, job.earlier, job.complete) == (FeatureCounts(5, 5, 1), 0, False)
    assert [(call.done, len(call.problems)) for call in said] == [(0, 0), (1, 0), (2, 0), (3, 1), (4, 0), (5, 0)]
    found = read_feature_table(tmp_path / "f.parquet")
    names = [name for name in videos if "empty" not in name]
    assert found.column("id") == found.column("video") == names
    assert found.problems == 1
    assert found.origin.model == predictor.feature_fingerprint
    for name, vector, row in zip(names, found.vectors_ND, found.rows.to_pylist(), strict=True):
        views = read_views(name, predictor.settings.clip_shape, predictor.preprocessing)
        torch.testing.assert_close(vector, predictor.engine.features(views).mean(0))
        assert torch.equal(vector, query_features(predictor, found, name))
        assert (row["start_s"], row["end_s"]) == (0.0, pytest.approx(1.0, abs=0.3))
    assert "the file is empty" in rows[2]["problem"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.mp4", "f.parquet", "f.parquet.job"]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_row_a_window(predictor: Predictor, videos: list[str], tmp_path: Path, workers: int) -> None:
    job = FeatureJob(videos, tmp_path / "f.parquet", window=0.5, stride=0.2, pool="mean", dtype="float32")
    list(job.run(predictor, workers=workers))
    found = read_feature_table(tmp_path / "f.parquet")
    rows, vectors = found.rows.to_pylist(), iter(found.vectors_ND)
    assert (found.origin.window, found.origin.stride, found.problems) == (0.5, 0.2, 1)
    for name, of_video in itertools.groupby(rows, lambda row: str(row["video"])):
        shape, preprocessing = predictor.settings.clip_shape, predictor.preprocessing
        expected = list(window_views(name, shape, preprocessing, window=0.5, stride=0.2))
        for row, (window, views) in zip(of_video, expected, strict=True):
            limits = {"start_s": window.start, "end_s": window.end, "padded": window.padded, "last": window.last}
            assert {key: row[key] for key in limits} == limits
            assert row["id"] == f"{name}@{window.start:g}"
            tokens = torch.cat([predictor.engine.features(view[None], tokens=True) for view in views])
            torch.testing.assert_close(next(vectors), tokens[:, 1:].mean((0, 1)), atol=1e-5, rtol=1e-5)
    assert job.counts.rows == len(rows) + 1
    assert job.counts.videos == 5


@pytest.mark.parametrize("window", [None, 0.5])
@pytest.mark.parametrize("out", ["f.parquet", "arrays"])
def test_stopped_anywhere(
    predictor: Predictor, videos: list[str], tmp_path: Path, out: str, window: float | None
) -> None:
    """After every row, and in the middle of it: the same bytes."""

    def job(name: str, resume: bool = False) -> FeatureJob:
        (tmp_path / name).mkdir(exist_ok=True)
        return FeatureJob(videos, tmp_path / name / out, window=window, stride=window and 0.3, resume=resume)

    def content(name: str) -> dict[str, bytes]:
        root = tmp_path / name
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    whole = job("whole")
    count = len(list(whole.run(predictor, workers=0)))
    assert count == (5 if window is None else whole.counts.rows)
    for rows in range(count + 1):
        name = f"stopped{rows}"
        list(itertools.islice(job(name).run(predictor, workers=0), rows))
        part = tmp_path / name / f"{out}.part"
        if rows % 2 and part.exists():
            part.write_bytes(part.read_bytes()[:-9])  # as a kill in the middle of a line leaves it
        again = job(name, resume=True)
        list(again.run(predictor, workers=0))
        assert again.counts == whole.counts
        assert content(name) == content("whole")
    again = job("whole", resume=True)
    assert list(again.run(predictor)) == []
    assert (again.complete, again.counts) == (True, whole.counts)


def test_what_lists_say(predictor: Predictor, data: Path, tmp_path: Path) -> None:
    listed = list_data(data)
    list(FeatureJob(listed, tmp_path / "f.parquet").run(predictor, workers=0))
    found = read_feature_table(tmp_path / "f.parquet")
    assert found.rows.column_names[:6] == ["id", "video", "split", "label", "person", "list_id"]
    assert found.column("split") == ["train"] * 8 + ["test"] * 4
    assert found.column("label") == ["left"] * 4 + ["right"] * 4 + ["left"] * 2 + ["right"] * 2
    assert found.column("person") == ["p0", "p1"] * 6
    assert found.column("list_id") == ["7"] * 8 + [None] * 4
    assert found.column("id")[0] == "videos/train/left/0.mp4"
    (data / "train.csv").write_text((data / "train.csv").read_text().replace("p0", "p9"))
    changed = list_data(data)
    with pytest.raises(SettingError, match=r"made with columns [0-9a-f]{16}, not"):
        list(FeatureJob(changed, tmp_path / "f.parquet", resume=True).run(predictor))


def test_data_sets(bars: Path, data: Path, tmp_path: Path) -> None:
    """One split; class folders that are not split; a CSV; several classes; what is none."""
    one, folders = list_data(data, "test"), list_data(bars / "train" / "..")
    assert (len(one.names), one.columns) == (4, ("split", "label", "person"))
    assert (len(folders.names), folders.columns) == (16, ("split", "label"))
    shutil.copytree(bars / "test", tmp_path / "classes")
    unsplit = list_data(str(tmp_path / "classes"))
    assert (unsplit.columns, unsplit.cells[0]) == (("label",), {"label": "left"})
    (tmp_path / "all.csv").write_text("path,labels,who\nclasses/left/0.mp4,a;b,x\nclasses/left/1.mp4,,y\n")
    several = list_data(tmp_path / "all.csv")
    assert several.cells == [{"labels": "a;b", "who": "x"}, {"labels": "", "who": "y"}]
    (tmp_path / "twice.csv").write_text("path,label,who\nclasses/left/0.mp4,a,x\n./classes/left/0.mp4,b,\n")
    assert list_data(tmp_path / "twice.csv").cells == [{"label": "a", "who": "x"}, {"label": "b"}]
    for none in (bars / "test" / "left" / "0.mp4", bars / "test" / "left", tmp_path / "none"):
        assert find_data(none) is None
        with pytest.raises(DataError, match=r": no data set; expected a folder with lists"):
            list_data(none)
    with pytest.raises(DataError, match="has no val split; it has train, test"):
        list_data(data, "val")
    with pytest.raises(DataError, match="has no test split; it is not split"):
        list_data(tmp_path / "all.csv", "test")


def test_arrays_of_windows(predictor: Predictor, bars: Path, tmp_path: Path) -> None:
    video = bars / "test" / "left" / "0.mp4"
    job = FeatureJob([video], tmp_path / "out", window=0.4, stride=0.2, dtype="float32")
    rows = [row for row in job.run(predictor, workers=0) if not row["last"]]
    assert np.array_equal(np.load(tmp_path / "out" / "0.npy"), np.stack([row["vector"] for row in rows]))
    facts = json.loads((tmp_path / "out" / "0.json").read_text())
    assert [facts[name] for name in ("feat_stride", "num_frames", "fps")] == pytest.approx([2, 4, 10])


def test_what_is_refused(predictor: Predictor, videos: list[str], tmp_path: Path) -> None:
    for values, message in (
        ({"file": "f.txt"}, r"f\.txt: expected \*\.parquet or a folder"),
        ({"file": "none/f.parquet"}, r"f\.parquet: no such folder"),
        ({"dtype": "int8"}, "dtype int8: expected float16 or float32"),
        ({"stride": 1.0}, "stride is 1; it requires a window"),
        ({"window": 0.0}, "window is 0; expected seconds, at least 1e-06"),
        ({"window": 1e-7}, "window is 1e-07; expected seconds, at least 1e-06"),
        ({"window": 1.0, "stride": float("nan")}, "stride is nan; expected seconds, at least 1e-06"),
        ({"videos": []}, "videos: none; expected at least one"),
        ({"videos": [*videos, videos[0]], "window": 1.0}, "0.mp4: is listed twice"),
        ({"videos": ["a.mp4", "a.avi"], "file": "out"}, "a.mp4 and a.avi: both would be a.npy"),
    ):
        given = {"videos": videos, "file": "f.parquet", **values}
        given["file"] = tmp_path / str(given["file"])
        with pytest.raises(SettingError, match=message):
            FeatureJob(**given)  # type: ignore[arg-type]
    list(itertools.islice(FeatureJob(videos, tmp_path / "f.parquet").run(predictor, workers=0), 1))
    with pytest.raises(SettingError, match=r"f\.parquet\.part: has rows of a job that was stopped"):
        FeatureJob(videos, tmp_path / "f.parquet")
    for changes, message in (({"pool": "mean"}, "pool cls, not mean"), ({"layer": 0}, "layer -1, not 0")):
        with pytest.raises(SettingError, match=message):
            list(FeatureJob(videos, tmp_path / "f.parquet", resume=True, **changes).run(predictor))  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="layer 9: a model of 3 blocks"):
        list(FeatureJob(videos, tmp_path / "g.parquet", layer=9).run(predictor, workers=0))


def test_no_video_can_be_read(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    job = FeatureJob([tmp_path / "empty.mp4"], tmp_path / "f.parquet")
    with pytest.raises(DataError, match=r"none of 1 videos can be read; .*f\.parquet\.part says why"):
        list(job.run(predictor, workers=0))
    assert not (tmp_path / "f.parquet").exists()


def test_values_that_float16_cannot_hold(bars: Path, tmp_path: Path) -> None:
    net = classifier(image_size=16, patch_size=8)
    with torch.no_grad():
        net.model.norm.weight.mul_(1e6)
    large = timesformer.load(net, "cpu", precision="fp32")
    video = bars / "test" / "left" / "0.mp4"
    with pytest.raises(SettingError, match="float16 ends at 65504; expected --dtype float32"):
        list(FeatureJob([video], tmp_path / "f.parquet").run(large, workers=0))
    list(FeatureJob([video], tmp_path / "g.parquet", dtype="float32").run(large, workers=0))
    assert read_feature_table(tmp_path / "g.parquet").vectors_ND.abs().max() > 65504


def test_a_query_of_other_weights(predictor: Predictor, videos: list[str], tmp_path: Path) -> None:
    list(FeatureJob(videos, tmp_path / "f.parquet").run(predictor, workers=0))
    found = read_feature_table(tmp_path / "f.parquet")
    calibrated = with_temperature(
        classifier(image_size=16, patch_size=8), 2.5, "for a test"
    )  # its last layer alone differs
    torch.testing.assert_close(
        query_features(timesformer.load(calibrated, "cpu", precision="fp32"), found, videos[0]),
        query_features(predictor, found, videos[0]),
    )
    other = timesformer.load(classifier(2, image_size=16, patch_size=8), "cpu", precision="fp32")
    with pytest.raises(SettingError, match=f"features of the model {predictor.feature_fingerprint}; the weights are"):
        query_features(other, found, videos[0])
