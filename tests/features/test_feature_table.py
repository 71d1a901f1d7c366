"""A file of features has what was written, for this package and for others."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch

from feature_tables import origin, some_rows, write
from timesformer.errors import DataError, SettingError
from timesformer.features import table as tables
from timesformer.features.table import read_feature_table


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_what_is_written_is_read(tmp_path: Path, dtype: str) -> None:
    rows = some_rows(5, dtype=dtype, label=["a", "b", "a", "b", "a"])
    rows[1] = {"id": "1.mp4", "video": "1.mp4", "label": "b", "problem": "the file is empty"}
    rows[3]["subject"] = "caf\udce9"
    found = read_feature_table(write(tmp_path / "f.parquet", rows, dtype=dtype))
    assert found.origin == origin(dtype=dtype)
    kept = [rows[number] for number in (0, 2, 3, 4)]
    assert torch.equal(found.vectors_ND, torch.from_numpy(np.stack([row["vector"] for row in kept])))
    assert (len(found), found.problems) == (4, 1)
    assert found.column("label") == ["a", "a", "b", "a"]
    assert found.row(2) == {
        "id": "3.mp4",
        "video": "3.mp4",
        "label": "b",
        "subject": r"caf\udce9",
        "start_s": 0.0,
        "end_s": 1.5,
    }
    torch.testing.assert_close(found.norms, found.vectors_ND.float().norm(dim=1))


def test_what_other_tools_see(tmp_path: Path) -> None:
    rows = some_rows(3)
    rows[1] = {"id": "1.mp4", "video": "1.mp4", "problem": "the file is empty"}
    read = pyarrow.parquet.read_table(write(tmp_path / "f.parquet", rows))
    assert read.schema.field("vector").type == pyarrow.list_(pyarrow.float16(), 8)
    assert read.column("vector")[1].as_py() is None
    assert read.column("vector")[2].as_py() == rows[2]["vector"].tolist()
    assert read.column("problem").to_pylist() == [None, "the file is empty", None]


def test_row_groups_are_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of large vectors a few rows."""
    monkeypatch.setattr(tables, "ROW_GROUP_BYTES", 32)
    file = write(tmp_path / "f.parquet", some_rows(5))
    assert pyarrow.parquet.ParquetFile(file).metadata.num_row_groups == 3
    assert len(read_feature_table(file)) == 5


def test_vectors_of_a_large_file_are_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAPPED_BYTES", 0)
    rows = some_rows(5)
    rows[0] = {"id": "0.mp4", "video": "0.mp4", "problem": "the file is empty"}
    file = write(tmp_path / "f.parquet", rows)
    expected = torch.from_numpy(np.stack([row["vector"] for row in rows[1:]]))
    assert torch.equal(read_feature_table(file).vectors_ND, expected)
    mapped = tmp_path / "f.parquet.npy"
    assert np.array_equal(np.load(mapped), expected.numpy())
    monkeypatch.setattr(tables, "_decoded", lambda *_: pytest.fail("decoded again"))
    assert torch.equal(read_feature_table(file).vectors_ND, expected)


@pytest.mark.parametrize("change", ["rows", "damage", "time"])
def test_a_mapped_file_of_other_vectors_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.setattr(tables, "MAPPED_BYTES", 0)
    file = write(tmp_path / "f.parquet", some_rows(5))
    read_feature_table(file)
    mapped = tmp_path / "f.parquet.npy"
    if change == "damage":
        mapped.write_bytes(b"no array")
        os.utime(mapped, ns=(file.stat().st_mtime_ns,) * 2)
    elif change == "rows":
        write(file, some_rows(4))
        os.utime(mapped, ns=(file.stat().st_mtime_ns,) * 2)
    else:
        rows = some_rows(5)
        rows[0]["vector"] = rows[0]["vector"] + 1
        write(file, rows)
        os.utime(file, (1e9, 1e9))
    expected = pyarrow.parquet.read_table(file).column("vector").to_pylist()
    assert read_feature_table(file).vectors_ND.tolist() == expected
    assert np.load(mapped).tolist() == expected


def test_a_folder_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAPPED_BYTES", 0)
    file = write(tmp_path / "f.parquet", some_rows(5))

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(tables, "replacing", refuse)
    assert len(read_feature_table(file).vectors_ND) == 5
    assert os.listdir(tmp_path) == ["f.parquet"]


class FullDisk(io.FileIO):
    """A file on a disk that has room for its first few bytes alone."""

    def write(self, part: Any) -> int:
        if self.tell():
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(part)


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors are kept in memory then; mapped ones would end the process with SIGBUS."""
    monkeypatch.setattr(tables, "MAPPED_BYTES", 0)
    rows = some_rows(5)
    file = write(tmp_path / "f.parquet", rows)
    monkeypatch.setattr(Path, "open", lambda path, mode: FullDisk(path, mode))
    expected = torch.from_numpy(np.stack([row["vector"] for row in rows]))
    assert torch.equal(read_feature_table(file).vectors_ND, expected)
    assert os.listdir(tmp_path) == ["f.parquet"]


def test_what_is_no_file_of_features(tmp_path: Path) -> None:
    file = tmp_path / "f.parquet"
    with pytest.raises(DataError, match=r"f\.parquet: no such file"):
        read_feature_table(file)
    with pytest.raises(DataError, match="no file of features"):
        read_feature_table(tmp_path)
    file.write_bytes(b"text")
    with pytest.raises(DataError, match="no file of features"):
        read_feature_table(file)
    pyarrow.parquet.write_table(pyarrow.table({"vector": [1.0]}), file)
    with pytest.raises(DataError, match=r"no file of features \(another kind of Parquet file\); `timesformer features"):
        read_feature_table(file)
    rows = pyarrow.table({"vector": [1.0]}).replace_schema_metadata({"timesformer.features": "{}"})
    pyarrow.parquet.write_table(rows, file)
    with pytest.raises(DataError, match="written by another version"):
        read_feature_table(file)
    write(file, [{"id": "a", "video": "a", "problem": "the file is empty"}])
    with pytest.raises(DataError, match="no video of it could be read; 1 rows say why"):
        read_feature_table(file)
    with pytest.raises(SettingError, match="dtype float64: expected float16 or float32"):
        origin(dtype="float64")
    with pytest.raises(DataError, match="has no column subject; it has id, video, start_s"):
        read_feature_table(write(file, some_rows(2))).column("subject")
