"""Files that are whole or not there, and names in them that are not UTF-8."""

from __future__ import annotations

import json
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, strategies

from timesformer.errors import SettingError
from timesformer.files import as_json, escape, open_text, replacing, unescape, writing


def test_what_is_written_takes_its_place_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_text("old")
    with replacing(file) as temporary:
        temporary.write_text("new")
        assert file.read_text() == "old"
    assert (file.read_text(), list(tmp_path.iterdir())) == ("new", [file])

    def pull_the_plug() -> None:
        with replacing(file) as half:
            half.write_text("half")
            raise RuntimeError("pulled the plug")

    with pytest.raises(RuntimeError, match="plug"):
        pull_the_plug()
    assert (file.read_text(), list(tmp_path.iterdir())) == ("new", [file])


def test_the_file_is_flushed_before_it_is_renamed_and_its_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def flushed(descriptor: int) -> None:
        made.append(f"flush {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name}")
        fsync(descriptor)

    def renamed(self: Path, target: Path) -> Path:
        made.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "replace", renamed)
    (tmp_path / "run").mkdir()
    with replacing(tmp_path / "run" / "last.ckpt") as temporary:
        temporary.write_text("all of it")
    assert [re.sub("[0-9a-f]{8}", "#", one) for one in made] == ["flush .last.ckpt.#.tmp", "rename", "flush run"]


@pytest.mark.parametrize("first_to_end", [0, 1])
def test_two_write_a_path_at_the_same_time(tmp_path: Path, first_to_end: int) -> None:
    file = tmp_path / "_run.json"
    blocks = [replacing(file), replacing(file)]
    temporaries = [block.__enter__() for block in blocks]
    for number, temporary in enumerate(temporaries):
        temporary.write_text(str(number) * 1000)
    for number in (first_to_end, 1 - first_to_end):
        blocks[number].__exit__(None, None, None)
        assert file.read_text() == str(number) * 1000
    assert list(tmp_path.iterdir()) == [file]


def test_threads_that_write_a_path_at_the_same_time_leave_it_whole(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"

    def write(number: int) -> None:
        for _ in range(20):
            with replacing(file) as temporary:
                temporary.write_text(f"{number}\n" * 10_000)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, range(4)))
    assert len(lines := file.read_text().splitlines()) == 10_000
    assert len(set(lines)) == 1
    assert list(tmp_path.iterdir()) == [file]


def test_what_a_killed_process_leaves_goes_a_day_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, left = tmp_path / "last.ckpt", tmp_path / ".last.ckpt.0123abcd.tmp"
    others = [tmp_path / name for name in (".best.ckpt.0123abcd.tmp", ".last.ckpt.old.tmp", "last.ckpt.0123abcd.tmp")]
    for path in (left, *others):
        path.write_text("half")
        os.utime(path, (0, 0))  # as the block may set it: says nothing about whether the file is still written
    with replacing(file) as temporary:
        temporary.write_text("all of it")
    assert left.exists()
    today = time.time()
    monkeypatch.setattr("timesformer.files.time.time", lambda: today + 86_460)
    with replacing(file) as temporary:
        temporary.write_text("all of it")
    assert sorted(tmp_path.iterdir()) == sorted([file, *others])


NAME = "caf\udce9 日.mp4"  # a name as it comes from a disk that older systems wrote


@pytest.mark.parametrize("name", ["a" * 255, "\u00e4" * 127, "a" + "\u00e4" * 127, "\udcff" * 255])
def test_the_longest_names_can_be_written(tmp_path: Path, name: str) -> None:
    """Also where a character lies across the end of what the temporary name has of it."""
    file = tmp_path / name
    with replacing(file) as temporary:
        temporary.write_bytes(b"whole")
        os.fsencode(temporary.name).decode()  # some file systems refuse halves of characters
    assert file.read_bytes() == b"whole"
    assert os.listdir(tmp_path) == [name]


def test_text_files_get_the_bytes_of_names_back(tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    with open_text(file, "w") as stream:
        stream.write(f"{NAME}\r\n")
    with open_text(file, "a") as stream:
        stream.write("b.mp4\n")
    assert file.read_bytes() == b"caf\xe9 \xe6\x97\xa5.mp4\r\nb.mp4\n"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    with open_text(file) as stream:
        assert stream.read() == f"{NAME}\nb.mp4\n"


def test_json_is_valid_unicode_and_gives_names_back() -> None:
    text = as_json({"path": NAME, "half": "\ud83d"})
    assert text == r'{"path": "caf\udce9 日.mp4", "half": "\ud83d"}'
    assert json.loads(text.encode()) == {"path": NAME, "half": "\ud83d"}
    assert as_json(["😀"], indent=2) == '[\n  "😀"\n]'


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        (NAME, r"caf\udce9 日.mp4"),
        (r"C:\videos\user\a.mp4", r"C:\videos\user\a.mp4"),
        (r"literally \udce9", r"literally \u005cudce9"),
        (r"literally \u005c", r"literally \u005cu005c"),
        ("\\\udce9", r"\\udce9"),
        ("a\ud800", r"a\ud800"),
    ],
)
def test_escapes_are_visible_and_can_be_undone(text: str, escaped: str) -> None:
    assert escape(text) == escaped
    assert unescape(escaped) == text


@given(strategies.text(strategies.sampled_from([*"\\ud8e905c", "\udce9", "\ud800", "日"])))
def test_no_two_texts_have_one_escaped_form(text: str) -> None:
    escaped = escape(text)
    assert unescape(escaped.encode().decode()) == text


def test_what_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "none" / "list.csv"
    with pytest.raises(SettingError, match=rf"^{file}: cannot be written: No such file or directory$"), writing(file):
        file.write_text("new")
