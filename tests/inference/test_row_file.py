"""A job that is stopped anywhere and resumed has every row once; one of other rows is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow.parquet
import pytest

from timesformer.errors import SettingError
from timesformer.files import as_json
from timesformer.inference import job_file
from timesformer.inference.row_file import RowFile
from timesformer.inference.rows import Row, Tally

NAMES = ["a.mp4", "b.mp4", "a.mp4", "caf\udce9.mp4"]  # one is listed twice
MADE_WITH: dict[str, Any] = {"weights": "1234", "engine": "eager", "precision": "fp32", "top": 5, "classes": 2}


def row_of(number: int) -> Row:
    if number == 1:
        return {"video": NAMES[number], "predictions": [], "problem": "the file is empty"}
    return {"video": NAMES[number], "predictions": [{"label": "left", "score": number / 4}]}


def start(file: Path, rows: int) -> None:
    """A job that ends after so many rows."""
    with RowFile(file, NAMES, resume=False) as job:
        assert job.begin(**MADE_WITH) == Tally()
        for number in range(rows):
            job.add(row_of(number))


def go_on(file: Path) -> int:
    """Resume a job to its end; returns the rows that were there."""
    with RowFile(file, NAMES, resume=True) as job:
        tally = job.begin(**MADE_WITH)
        there = tally.videos
        for number in range(there, len(NAMES)):
            job.add(row_of(number))
            tally.add(row_of(number))
        job.end(tally)
    return there


def videos_in(file: Path) -> list[str]:
    if file.suffix == ".parquet":
        return list(pyarrow.parquet.read_table(file)["video"].to_pylist())
    if file.suffix == ".csv":
        return [line.split(",")[0] for line in file.read_text(errors="surrogateescape").splitlines()[1:]]
    return [json.loads(line)["video"] for line in file.read_text().splitlines()]


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_a_file_appears_with_its_last_row(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"rows.{suffix}"
    start(file, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"rows.{suffix}.job", f"rows.{suffix}.part"]
    assert go_on(file) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"rows.{suffix}", f"rows.{suffix}.job"]
    assert videos_in(file) == [*NAMES[:3], r"caf\udce9.mp4" if suffix == "parquet" else NAMES[3]]


def test_cut_off_anywhere(tmp_path: Path) -> None:
    """As a kill in the middle of a line leaves it, or a power failure, which may leave zeros."""
    start(tmp_path / "whole.jsonl", 4)
    whole = (tmp_path / "whole.jsonl.part").read_bytes()
    ends = [index + 1 for index, byte in enumerate(whole) if byte == ord("\n")]
    file = tmp_path / "rows.jsonl"
    start(file, 0)
    for tail in (b"", b"\0\0\0", b'{"video"', b"\0\0\0}\n"):
        for size in range(len(whole) + 1):
            file.unlink(missing_ok=True)
            Path(f"{file}.part").write_bytes(whole[:size] + tail)
            assert go_on(file) == sum(end <= size for end in ends)
            assert file.read_bytes() == whole


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ({1: b"\0\0\0\n"}, "line 2: damaged; expected a row of b.mp4"),
        ({0: b'{"video": "a.mp4", "predictio\n'}, "line 1: damaged; expected a row of a.mp4"),
        ({2: b"null\n"}, "line 3: damaged; expected a row of a.mp4"),
        ({1: b'{"video": "x.mp4", "predictions": []}\n'}, "line 2: a row of x.mp4; expected a row of b.mp4"),
        ({3: b'{"video": "x.mp4", "predictions": []}\n'}, r"line 4: a row of x.mp4; expected a row of caf\udce9.mp4"),
        ({4: b'{"video": "x.mp4", "predictions": []}\n'}, "line 5: a row of x.mp4; expected no more rows"),
        ({4: b"\0\0\0\n", 5: b"\0"}, "line 5: damaged; expected no more rows"),
    ],
)
def test_only_a_last_line_is_cut_off_without_a_word(tmp_path: Path, lines: dict[int, bytes], problem: str) -> None:
    file, part = tmp_path / "rows.jsonl", tmp_path / "rows.jsonl.part"
    start(file, 4)
    whole = dict(enumerate(part.read_bytes().splitlines(keepends=True)))
    content = b"".join((whole | lines).values())
    part.write_bytes(content)
    with RowFile(file, NAMES, resume=True) as job, pytest.raises(SettingError) as raised:
        job.begin(**MADE_WITH)
    expected = f"{part}, {problem}; delete this line and all below it to read their videos again"
    assert as_json(str(raised.value))[1:-1] == expected
    assert part.read_bytes() == content


def test_rows_that_are_there_are_counted(tmp_path: Path) -> None:
    start(tmp_path / "rows.csv", 3)
    with RowFile(tmp_path / "rows.csv", NAMES, resume=True) as job:
        assert job.begin(**MADE_WITH) == Tally(videos=3, unreadable=1)


def test_a_complete_job_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    start(file, 4)
    assert go_on(file) == 4
    content = file.read_bytes()
    Path(f"{file}.part").write_text("killed just before this was deleted")
    with RowFile(file, NAMES, resume=True) as job:
        assert job.begin(**MADE_WITH) == Tally(videos=4, unreadable=1)
        assert job.complete
    assert (file.read_bytes(), Path(f"{file}.part").exists()) == (content, False)


def test_rows_that_are_there_need_resume(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    start(file, 2)
    with pytest.raises(SettingError, match=r"rows\.jsonl\.part: has rows of a job that was stopped; resume it"):
        RowFile(file, NAMES, resume=False)
    go_on(file)
    with pytest.raises(SettingError, match=r"rows\.jsonl: exists; name another file, or delete it"):
        RowFile(file, NAMES, resume=False)
    Path(f"{file}.job").unlink()
    with pytest.raises(SettingError, match=r"rows\.jsonl\.job: no such file, so what the rows are made"):
        RowFile(file, NAMES, resume=True)


@pytest.mark.parametrize("complete", [False, True])
def test_rows_made_with_something_else_are_refused(tmp_path: Path, complete: bool) -> None:
    file = tmp_path / "rows.jsonl"
    start(file, 2)
    if complete:
        go_on(file)
    before = sorted((path, path.read_bytes()) for path in tmp_path.iterdir())
    for name, value, words in (
        ("weights", "4321", "weights 1234, not 4321"),
        ("precision", "bf16", "precision fp32, not bf16"),
        ("engine", "onnx", "engine eager, not onnx"),
        ("top", 3, "top 5, not 3"),
    ):
        with RowFile(file, NAMES, resume=True) as job, pytest.raises(SettingError, match=words):
            job.begin(**MADE_WITH | {name: value})
    for names, words in ((NAMES[:3], "videos 4, not 3; list "), (NAMES[::-1], "made with list [0-9a-f]{16}, not")):
        with RowFile(file, names, resume=True) as job, pytest.raises(SettingError, match=words):
            job.begin(**MADE_WITH)
    for content in ("text", "[]", "{}"):
        Path(f"{file}.job").write_text(content)
        with (
            RowFile(file, NAMES, resume=True) as job,
            pytest.raises(SettingError, match="not what this package"),
        ):
            job.begin(**MADE_WITH)
    Path(f"{file}.job").write_bytes(dict(before)[Path(f"{file}.job")])
    assert sorted((path, path.read_bytes()) for path in tmp_path.iterdir()) == before


def test_one_process_writes(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    start(file, 1)
    code = (
        "import fcntl, sys; stream = open(sys.argv[1], 'a'); fcntl.lockf(stream, fcntl.LOCK_EX)\n"
        "print('locked', flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", code, f"{file}.part"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        other.stdout.readline()
        with RowFile(file, NAMES, resume=True) as job, pytest.raises(SettingError, match="another process is writing"):
            job.begin(**MADE_WITH)
        other.stdin.close()
    assert go_on(file) == 1


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_ended_by_another_process_meanwhile(tmp_path: Path, suffix: str) -> None:
    """Between the first look and the rows, while weights are loaded; those of other rows, at worst."""
    file = tmp_path / f"rows.{suffix}"
    start(file, 2)
    late = RowFile(file, NAMES, resume=True)
    assert not late.complete
    go_on(file)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with late, pytest.raises(SettingError, match="weights 1234, not 4321"):
        late.begin(**MADE_WITH | {"weights": "4321"})
    with late:
        assert late.begin(**MADE_WITH) == Tally(videos=4, unreadable=1)
        assert late.complete
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_ended_just_before_the_lock(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is locked then is the finished file itself, or one that is gone."""
    file, lock = tmp_path / f"rows.{suffix}", job_file._lock
    start(file, 2)

    def end_first(stream: BinaryIO, path: Path) -> None:
        monkeypatch.setattr(job_file, "_lock", lock)
        go_on(file)
        expected.update({path.name: path.read_bytes() for path in tmp_path.iterdir()})
        lock(stream, path)

    expected: dict[str, bytes] = {}
    monkeypatch.setattr(job_file, "_lock", end_first)
    with RowFile(file, NAMES, resume=True) as job:
        assert job.begin(**MADE_WITH) == Tally(videos=4, unreadable=1)
        assert job.complete
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == expected


def test_begun_by_another_process_meanwhile(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    late, later = RowFile(file, NAMES, resume=False), RowFile(file, NAMES, resume=False)
    start(file, 2)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with late, pytest.raises(SettingError, match="has rows of a job that was stopped"):
        late.begin(**MADE_WITH | {"weights": "4321"})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    go_on(file)
    with later, pytest.raises(SettingError, match="exists; name another file, or delete it"):
        later.begin(**MADE_WITH)


def test_stopped_before_its_first_row(tmp_path: Path) -> None:
    """There is nothing to go on with, so nothing of it counts."""
    file = tmp_path / "rows.jsonl"
    start(file, 0)
    with RowFile(file, NAMES[:2], resume=False) as job:
        assert job.begin(**MADE_WITH | {"top": 1}) == Tally()
    Path(f"{file}.job").unlink()  # killed before it was written
    start(file, 4)
    assert go_on(file) == 4


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_the_lock_is_held_to_the_end(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the file is there, no other process gets in."""
    code = (
        "import fcntl, sys; stream = open(sys.argv[1], 'a')\n"
        "try: fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
        "except OSError: print('locked')"
    )
    file, replace = tmp_path / f"rows.{suffix}", Path.replace
    found: list[bytes] = []

    def replaced(path: Path, target: Path) -> Path:
        if target == file:
            done = subprocess.run([sys.executable, "-c", code, f"{file}.part"], capture_output=True, check=True)
            found.append(done.stdout)
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", replaced)
    start(file, 4)
    assert go_on(file) == 4
    assert found == [b"locked\n"]


def test_files_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "a.csv").mkdir()
    for file, message in (
        ("rows.txt", r"rows\.txt: expected \*\.jsonl, \*\.csv or \*\.parquet"),
        ("none/rows.csv", "no such folder"),
        ("a.csv", "is a folder"),
    ):
        with pytest.raises(SettingError, match=message):
            RowFile(tmp_path / file, NAMES, resume=False)
