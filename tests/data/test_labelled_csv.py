"""Rows of CSV files of labelled videos: all cells as they are, and the classes of each row."""

from __future__ import annotations

from pathlib import Path

import pytest

from timesformer.data.labelled_csv import LabelledRows, labelled_rows
from timesformer.errors import DataError


def rows_of(folder: Path, text: str) -> LabelledRows | None:
    (folder / "all.csv").write_text(text)
    return labelled_rows(folder / "all.csv")


def test_all_columns_are_kept(tmp_path: Path) -> None:
    """Those of one name and of none, and those that a row does not have, too."""
    rows = rows_of(tmp_path, 'label,note,path,note,\nrun,"a, b",1.mp4,c,d\n\njump,e,2.mp4\n')
    assert rows == LabelledRows(
        tmp_path / "all.csv",
        ["label", "note", "path", "note", ""],
        [["run", "a, b", "1.mp4", "c", "d"], ["jump", "e", "2.mp4", "", ""]],
        [["run"], ["jump"]],
        False,
        (),
    )
    assert rows.column("path") == ["1.mp4", "2.mp4"]
    with pytest.raises(DataError, match=r"all\.csv: has no column person; it has "):
        rows.column("person")


def test_classes_are_spelled_as_they_come_first_and_cells_as_they_are(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, "path,labels\n1.mp4, caf\u00e9 ;bar\n2.mp4,cafe\u0301\n3.mp4,\n")
    assert rows is not None
    assert rows.classes == [["caf\u00e9", "bar"], ["caf\u00e9"], []]
    assert rows.column("labels") == ["caf\u00e9 ;bar", "cafe\u0301", ""]
    assert rows.multilabel
    assert rows.notes == ("class caf\u00e9 is spelled in two ways, composed and decomposed; it is one",)


@pytest.mark.parametrize("text", ["", "a.mp4 0\n", "path,class\na.mp4,x\n", "Path,Label\na.mp4,x\n", "label\nx\n"])
def test_files_of_another_kind(tmp_path: Path, text: str) -> None:
    assert rows_of(tmp_path, text) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label,labels\na.mp4,x,x\n", ": has both a column label and a column labels; keep one"),
        ("path,label\na.mp4,x\n,x\n", ", line 3: path '', label 'x'; neither may be empty"),
        ("path,label\na.mp4,\n", ", line 2: path 'a.mp4', label ''; neither may be empty"),
        ("path,labels\na.mp4,x;;y\n", ", line 2: labels 'x;;y'; a class without a name"),
        (
            "path,labels\na.mp4,caf\u00e9;cafe\u0301\n",
            ", line 2: labels 'caf\u00e9;cafe\u0301'; class caf\u00e9 is there more than once",
        ),
        ("path,labels\na.mp4,\n", ": no video has a class"),
        ("path,label\na, b.mp4,x\n", ", line 2: 3 fields, the header has 2; a field with a comma needs quotes"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError) as raised:
        rows_of(tmp_path, text)
    assert str(raised.value) == f"{tmp_path / 'all.csv'}{message}"
