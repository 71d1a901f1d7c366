"""`timesformer map`: what it prints and writes, and what is refused in one line."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from commands import Command, assert_one_line
from feature_tables import some_rows, write


@pytest.fixture
def file(bars: Path, tmp_path: Path) -> Path:
    """Features of data in `bars`, and of a video that is not there."""
    videos = sorted(str(path.relative_to(bars)) for path in (bars / "train").rglob("*.mp4"))
    rows = some_rows(9, label=[*(Path(video).parent.name for video in videos), "left"])
    for row, video in zip(rows, [*videos, "gone.mp4"], strict=True):
        row["id"] = row["video"] = video
    return write(tmp_path / "f.parquet", rows)


def test_a_page_and_a_picture(command: Command, file: Path, bars: Path, tmp_path: Path) -> None:
    page = tmp_path / "map.html"
    result = command("map", file, "--out", page, "--data", bars, "--threads", 1)
    lines = result.out.splitlines()
    assert (result.code, result.err) == (0, "")
    assert re.fullmatch(r"t-SNE of 9 vectors of 2 classes, by scikit-learn [\d.]+, seed 0", lines[0])
    assert re.fullmatch(r"trustworthiness  0\.\d{3} \(1: .*\)", lines[1])
    assert re.fullmatch(r"silhouette       -?0\.\d{3} \(of the map, .*\)", lines[2])
    assert (
        lines[3]
        == f"note: 1 of 9 videos cannot be read, and have no picture (the first: {bars / 'gone.mp4'}: no such file)"
    )
    assert lines[4:] == [str(page)]
    assert page.read_text().count("data:image/webp") == 8
    first = page.read_bytes()
    assert command("map", file, "--out", page, "--data", bars, "--threads", 1).code == 0
    assert page.read_bytes() == first
    picture = tmp_path / "map.png"
    result = command("map", file, "--out", picture, "--method", "pca", "--seed", 3)
    lines = result.out.splitlines()
    assert lines[0].startswith("principal components of 9 vectors")
    assert re.fullmatch(r"variance         0\.\d{3} and 0\.\d{3} of it along the two axes", lines[1])
    assert lines[-1] == str(picture)
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_without_labels_or_the_folder(command: Command, tmp_path: Path) -> None:
    file = write(tmp_path / "f.parquet", some_rows(6))
    result = command("map", file, "--out", tmp_path / "map.html", "--method", "pca")
    assert "silhouette" not in result.out
    lines = result.out.splitlines()
    assert lines[-3] == "note: no labels: all points have one colour"
    assert lines[-2] == (
        "note: 6 of 6 videos cannot be read, and have no picture (the first: 0.mp4: no such file); "
        "--data DATA says where they are"
    )


def test_what_is_refused(command: Command, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = write(tmp_path / "few.parquet", some_rows(3))
    rows = some_rows(5)
    for row in rows:
        row["vector"] = np.ones(8, np.float16)
    equal = write(tmp_path / "equal.parquet", rows)
    text = tmp_path / "text.parquet"
    text.write_text("text")
    html, png = tmp_path / "map.html", tmp_path / "map.png"
    for words, message in (
        ((few, "--out", html), "few.parquet: has 3 vectors; a map requires at least 4"),
        ((equal, "--out", png), "equal.parquet: all 5 vectors are equal; a map requires vectors that differ"),
        ((text, "--out", html), "no file of features"),
        ((tmp_path / "none.parquet", "--out", html), "no such file"),
        ((file, "--out", tmp_path / "map.pdf"), "map.pdf: cannot be a map; expected *.html or *.png"),
        ((file, "--out", tmp_path / "none" / "map.png"), "no such folder"),
        ((file, "--out", html, "--method", "umap"), "method umap: expected tsne or pca"),
        ((file, "--out", html, "--data", tmp_path / "none"), "none: no such file or folder"),
    ):
        assert_one_line(command("map", *words), message)
        assert not html.exists()
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert_one_line(command("map", file, "--out", html), "install it with pip install '.[explain]' in the checkout")
