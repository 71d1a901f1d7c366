"""A folder of rows in parts: which names are in which, what is done, and what is whole."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from timesformer.errors import SettingError
from timesformer.inference.rows import write_parquet
from timesformer.inference.sources import in_shard, shard_of
from timesformer.scale.parts import Counts, Parts, Todo, file_of, parts_for

NAMES = [f"/videos/{number:03}.mp4" for number in range(100)] + ["bytes \udcff.mp4", "s3://bucket/a b%20#.mp4"]


def add(parts: Parts, todo: Todo, names: list[str]) -> None:
    rows = [{"video": names[video], "predictions": [], "problem": "none"} for video in todo.videos]
    chosen = [names[video] for video in todo.videos]
    parts.add(todo.part, chosen, Counts(1, len(rows), len(rows), len(rows)), lambda file: write_parquet(rows, file))


def begun(folder: Path, **more: Any) -> Parts:
    parts = Parts(str(folder))
    parts.begin({"weights": "a", "top": 5, "start": None}, len(NAMES), **more)
    return parts


def test_parts_are_the_shards_of_predict() -> None:
    for name in NAMES:
        assert in_shard(f"{shard_of(name, 8)}/8")(name)
        assert (shard_of(name, 8) - 1) % 4 + 1 == shard_of(name, 4)  # parts of twice as many lie inside those


def test_how_many_parts_a_list_gets() -> None:
    assert [parts_for(videos) for videos in (0, 1, 128, 129, 256, 257, 10**6, 10**9)] == [1, 1, 1, 2, 2, 4, 8192, 65536]


def test_what_is_done_is_what_is_listed(tmp_path: Path) -> None:
    parts = begun(tmp_path / "out", parts=4)
    todo = parts.todo(NAMES[:50])
    assert sorted(video for one in todo for video in one.videos) == list(range(50))
    assert all(shard_of(NAMES[video], 4) == one.part for one in todo for video in one.videos)
    for one in todo[:2]:
        add(parts, one, NAMES)
    # A run that is killed here has not written _done.jsonl; the next one has a longer list.
    later = begun(tmp_path / "out")
    assert later.count == 4
    left = later.todo(NAMES)
    done = {video for one in todo[:2] for video in one.videos}
    assert sorted(video for one in left for video in one.videos) == sorted(set(range(len(NAMES))) - done)
    for one in left:
        add(later, one, NAMES)
    total = later.end()
    assert (total.videos, total.rows, total.unreadable) == (len(NAMES), len(NAMES), len(NAMES))
    lines = [json.loads(line) for line in (tmp_path / "out" / "_done.jsonl").read_text().splitlines()]
    assert {line["file"] for line in lines} == {
        str(file.relative_to(tmp_path / "out")) for file in (tmp_path / "out").glob("part=*/*.parquet")
    }
    assert all((tmp_path / "out" / line["file"]).stat().st_size == line["bytes"] for line in lines)
    assert begun(tmp_path / "out").todo(NAMES) == []
    assert begun(tmp_path / "out").todo(NAMES[:20]) == []  # an older list


def test_rows_of_another_run_are_refused(tmp_path: Path) -> None:
    begun(tmp_path / "out")
    with pytest.raises(SettingError, match=r"out/_run\.json: .* made with top 5, not 3; start None, not 1\.0; use the"):
        Parts(str(tmp_path / "out")).begin({"weights": "a", "top": 3, "start": 1.0}, 1)
    with pytest.raises(SettingError, match="parts is 3; the rows that are there are in 1"):
        begun(tmp_path / "out", parts=3)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(SettingError, match=r"other: has files, but no _run\.json"):
        Parts(str(tmp_path / "other"))
    with pytest.raises(SettingError, match="file: is a file; expected a folder"):
        Parts(str(tmp_path / "other" / "file"))


def test_a_file_that_is_not_whole_is_named(tmp_path: Path) -> None:
    parts = begun(tmp_path / "out", parts=1)
    file = tmp_path / "out" / file_of(1, NAMES[:1])
    file.parent.mkdir()
    file.write_bytes(b"PAR1 and no more")
    with pytest.raises(SettingError, match=rf"{file.name}: not a file of rows .* delete it to compute them again"):
        Parts(str(tmp_path / "out")).todo(NAMES)
    assert parts.done == {}


def test_a_full_disk_leaves_no_part_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = begun(tmp_path / "out", parts=1)
    (todo,) = parts.todo(NAMES)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SettingError, match=r"\.parquet: cannot be written: No space left on device"):
        add(parts, todo, NAMES)
    monkeypatch.undo()
    assert list((tmp_path / "out" / "part=1").iterdir()) == []
    again = begun(tmp_path / "out")
    assert again.todo(NAMES) == [todo]


def test_what_a_killed_write_leaves_is_ignored(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "._run.json.0123abcd.tmp").write_text('{"par')
    parts = begun(out, parts=1)
    (out / "part=1").mkdir()
    (out / "part=1" / ".abc.parquet.0123abcd.tmp").write_bytes(b"PAR1")
    (out / "part=1" / ".abc.parquet").write_bytes(b"PAR1")
    assert [len(one.videos) for one in parts.todo(NAMES)] == [len(NAMES)]
    assert begun(out).todo(NAMES) == parts.todo(NAMES)


@pytest.mark.parametrize("content", ['{"parts": ', "[]", "{}", '{"parts": "4"}', '{"parts": 0}', "\udcff"])
def test_a_damaged_run_is_one_line(tmp_path: Path, content: str) -> None:
    begun(tmp_path / "out")
    (tmp_path / "out" / "_run.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(SettingError, match=r"out/_run\.json: is damaged; restore it"):
        Parts(str(tmp_path / "out"))


def test_damaged_counts_are_made_again(tmp_path: Path) -> None:
    parts = begun(tmp_path / "out", parts=2)
    for one in parts.todo(NAMES):
        add(parts, one, NAMES)
    whole = parts.end()
    done = tmp_path / "out" / "_done.jsonl"
    lines = done.read_bytes()
    first = json.loads(lines.splitlines()[0])
    wrong = [json.dumps({**first, "rows": "many"}), json.dumps({**first, "more": 1}), json.dumps({"rows": 1}), "[1]"]
    for damage in (lines[:-20], b"\xff\n" + lines, *(f"{line}\n".encode() for line in wrong)):
        done.write_bytes(damage)
        again = begun(tmp_path / "out")
        assert again.todo(NAMES) == []
        assert again.end() == whole
        assert done.read_bytes() == lines


def test_two_drivers_share_a_folder_only_by_shards(tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    first, second = Parts(out), Parts(out)
    with first.locked(shared=False):
        for shared in (False, True):
            with (
                pytest.raises(SettingError, match="out: another process writes to it; wait for it, or start both with"),
                second.locked(shared=shared),
            ):
                pass
        first.begin({"weights": "a"}, 1000)
    with second.locked(shared=True), Parts(out).locked(shared=True):
        second.begin({"weights": "a"}, 1)  # it sees what the first has begun, after it has looked itself
        assert second.count == first.count == 8
    with pytest.raises(KeyError), second.locked(shared=False):
        raise KeyError
    with Parts(out).locked(shared=False):
        pass


def test_a_folder_that_another_driver_begins_meanwhile_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a store, which has no locks."""
    write = Parts._write

    def late(parts: Parts, file: str, content: bytes) -> None:
        write(parts, file, content)
        write(parts, file, b'{"weights": "a", "top": 5, "parts": 16}')

    monkeypatch.setattr(Parts, "_write", late)
    assert begun(tmp_path / "out").count == 16
    with pytest.raises(SettingError, match=r"made with weights a, not b"):
        Parts(str(tmp_path / "other")).begin({"weights": "b", "top": 5}, 1)
