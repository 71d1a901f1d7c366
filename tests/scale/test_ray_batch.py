"""Many videos on Ray: the rows of one machine, each once, whatever is killed."""

from __future__ import annotations

import pickle
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import poison
import pyarrow
import pyarrow.dataset
import pyarrow.parquet
import pytest

import timesformer
from commands import Command, Result, assert_one_line
from started import Started, wait_until
from timesformer.errors import SettingError
from timesformer.inference.listed import ListedVideos
from timesformer.inference.sources import in_shard, shard_of
from timesformer.scale import ray_batch
from timesformer.scale.cluster import Allocation, Cluster
from timesformer.scale.collector import Summary
from timesformer.scale.decoder import Limits
from timesformer.scale.parts import Parts
from timesformer.scale.ray_batch import Progress, run
from timesformer.scale.tasks import DecodingModel, Loading
from timesformer.scale.work import About, Prediction, Work

# Ray Data sets fields of its own that it calls deprecated: use_push_based_shuffle, use_polars and others.
pytestmark = pytest.mark.filterwarnings("ignore:`use_[a-z_0-9]+` is deprecated:DeprecationWarning")


def rows_of(*files: Path) -> list[dict[str, Any]]:
    """All rows of files, or of the parts of folders, in the order of their names and times."""
    found = [row for file in files for row in pyarrow.dataset.dataset(file).to_table().to_pylist()]
    return sorted(found, key=lambda row: (row["video"], row.get("start_s") or 0.0, "problem" in row))


def of(names: list[str]) -> ListedVideos:
    return ListedVideos(names, names)


def compute(work: Work, names: list[str], out: Path, weights: Path, **more: Any) -> Summary:
    loading = Loading(weights=str(weights), device="cpu")
    more.setdefault("cluster", Cluster(workers=2))
    return run(work, of(names), str(out), loading, limits=Limits(retries=1, seconds=300, memory=0.3), **more)


def test_rows_are_those_of_one_machine(
    clips: list[str], small_weights: Path, address: str, tmp_path: Path, command: Command
) -> None:
    """Videos, and one that cannot be read: every value, to the last bit; and the same exit code when all is there."""
    words = ("predict", small_weights, *clips[8:], "--device", "cpu", "--engine", "eager", "--workers", 2, "--out")
    found = compare(command, tmp_path, words, "--address", address)
    assert "cost: " in found.err
    assert found.err.count(f"skipped: {clips[-1]}: ") == 1
    again = command(*words, tmp_path / "parts", "--on", "ray", "--address", address)
    assert again.code == 2
    assert f"{tmp_path / 'parts'}: is complete, with the rows of all 5 videos" in again.err
    assert f"1 of 5 videos in {tmp_path / 'parts'} cannot be read" in again.err


@pytest.mark.parametrize(
    ("verb", "options"),
    [("features", ("--window", 0.8)), ("timeline", ("--window", 1, "--smooth", 1, "--scores"))],
)
def test_rows_of_windows_are_those_of_one_machine(
    verb: str, options: tuple[Any, ...], clips: list[str], small_weights: Path, tmp_path: Path, command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """As above, without Ray's part, which is that of predict: its tasks and its actor in this process. How far it is
    comes video by video, with videos a second and the time that is left, as on one machine."""

    @contextmanager
    def connected(*_: object) -> Iterator[Allocation]:
        yield Allocation(1, 1, 0, 1, True)

    def stream(
        work: Work, about: About, loading: Loading, limits: Limits, allocation: Allocation, chunks: list[Any]
    ) -> Iterator[Any]:
        model = DecodingModel(loading, work, pickle.dumps((work, about)), limits, 1)
        for chunk in chunks:
            yield pyarrow.concat_tables(model(pyarrow.table({"chunk": [pickle.dumps(chunk)]})))

    monkeypatch.setattr(ray_batch, "connected", connected)
    monkeypatch.setattr(ray_batch, "_stream", stream)
    monkeypatch.setattr("timesformer.cli.progress.EVERY", 0)  # seconds between lines, without a terminal
    words = (verb, small_weights, *clips[8:], *options, "--device", "cpu", "--engine", "eager", "--out")
    said = compare(command, tmp_path, words).err
    lines = re.findall(r"^progress: (\d) of 5 videos, \d+\.\d\d videos/s(, \d:\d\d:\d\d left)?$", said, re.MULTILINE)
    assert [done for done, _ in lines] == ["1", "2", "3", "4", "5"]
    assert not lines[-1][1]


def compare(command: Command, folder: Path, words: tuple[Any, ...], *more: Any) -> Result:
    """What a command writes on one machine and on Ray."""
    alone = command(*words, folder / "alone.parquet")
    found = command(*words, folder / "parts", "--on", "ray", *more)
    assert (alone.code, found.code) == (2, 2), found.err
    assert rows_of(folder / "parts") == rows_of(folder / "alone.parquet")
    assert pyarrow.parquet.read_schema(next((folder / "parts").glob("part=*/*"))).equals(
        pyarrow.parquet.read_schema(folder / "alone.parquet"), check_metadata=True
    )
    assert "done: 5 videos, 1 unreadable" in found.err
    return found


def test_a_list_that_grows_and_a_driver_that_is_killed(
    clips: list[str], small_weights: Path, address: str, tmp_path: Path
) -> None:
    """Files of earlier runs stay as they are; what was not complete is done again; every video has one row, also one
    that is listed twice; shards of a list share the folder."""
    out, names = tmp_path / "out", [*clips, hanging_video(clips[0], tmp_path, part="8/8")]
    shard = f"{shard_of(clips[0], 2)}/2"
    first = compute(Prediction(), [*clips[:6], clips[0]], out, small_weights, parts=8, shard=shard)
    ours = list(filter(in_shard(shard), clips[:6]))
    assert (first.now, first.total.rows, first.doubled) == (len(ours), len(ours), 1)
    assert [row["video"] for row in rows_of(out)] == sorted(ours)
    before = {file: file.stat().st_mtime_ns for file in out.glob("part=*/*.parquet")}
    listed = tmp_path / "list.txt"
    listed.write_text("\n".join(names))
    words = (
        "predict",
        small_weights,
        "--manifest",
        listed,
        "--device",
        "cpu",
        "--on",
        "ray",
        "--address",
        address,
        "--workers",
        2,
    )
    driver = Started(*words, "--out", out, program=Path(poison.__file__).with_name("poisoned.py"))
    wait_until(lambda: len(list(out.glob("part=*/*.parquet"))) > len(before), driver)
    driver.kill()  # it hangs with the video of the last part, at the latest
    driver.communicate()
    done = sum(pyarrow.parquet.read_metadata(file).num_rows for file in out.glob("part=*/*.parquet"))
    assert len(ours) < done < len(names)
    second = compute(Prediction(), names, out, small_weights)
    assert (second.earlier, second.now) == (done, len(names) - done)
    predictor = timesformer.load(small_weights, "cpu")
    job = timesformer.PredictionJob(names, tmp_path / "alone.parquet", names=names)
    assert len(list(job.run(predictor, workers=0))) == len(names)
    assert rows_of(out) == rows_of(tmp_path / "alone.parquet")
    assert all(file.stat().st_mtime_ns == stamp for file, stamp in before.items())


def hanging_video(clip: str, folder: Path, *, part: str) -> str:
    """A video with which a poisoned decoder hangs, in a part: which one a name is in depends on the temporary folder of
    a run, and parts are done in their order."""
    ours = in_shard(part)
    path = next(path for path in (folder / str(number) / "hang.mp4" for number in count()) if ours(str(path)))
    path.parent.mkdir()
    return str(shutil.copy(clip, path))


def test_poisoned_videos_cost_a_row_each(clips: list[str], small_weights: Path, address: str, tmp_path: Path) -> None:
    """With a model of two threads, beside a task that decodes; elsewhere here models decode their own videos."""
    for name in ("crash", "memory", "once"):
        shutil.copy(clips[0], tmp_path / f"{name}.mp4")
    names = [*clips[:4], *(str(tmp_path / f"{name}.mp4") for name in ("crash", "memory", "once"))]
    seen: list[Progress] = []
    found = compute(
        poison.Poisoned(), names, tmp_path / "out", small_weights, on_progress=seen.append, cluster=Cluster(threads=2)
    )
    rows = {Path(row["video"]).stem: row for row in rows_of(tmp_path / "out")}
    assert len(rows) == 7
    assert {name for name, row in rows.items() if row["problem"]} == {"crash", "memory"}
    assert rows["once"]["predictions"] == rows["0"]["predictions"]
    assert (found.unreadable, found.lost) == (2, 5)
    assert sorted(Path(one.path).stem for progress in seen for one in progress.problems) == ["crash", "memory"]
    assert (seen[0].done, seen[-1].done, seen[-1].total) == (0, 7, 7)


def test_a_disk_that_is_full_ends_the_run_and_its_threads(
    clips: list[str], small_weights: Path, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread of Ray Data that went on would start another Ray after the end of this one."""

    def full(*_: object) -> None:
        raise SettingError("rows.parquet: cannot be written: No space left on device")

    monkeypatch.setattr(Parts, "add", full)
    with pytest.raises(SettingError, match="No space left on device"):
        compute(Prediction(), clips[:4], tmp_path / "out", small_weights, parts=4)
    until = time.monotonic() + 240
    while any(thread.name.startswith("StreamingExecutor") for thread in threading.enumerate()):
        assert time.monotonic() < until, threading.enumerate()
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--address", "127.0.0.1:9"), ("address 127.0.0.1:9: no Ray cluster there: Connection refused",)),
        (("--address", "ray://head:10001"), ("address ray://head:10001: expected auto or HOST:PORT",)),
        (("--manifest", "list.csv"), ("VIDEO... or --manifest FILE, one of them",)),
        (("--gpus", "-1"), ("gpus is -1; expected 0 or more",)),
        (("--gpus", "1.5"), ("gpus is 1.5; expected a fraction of one GPU, or a whole number",)),
        (("--retries", "-1"), ("retries is -1; expected 0 or more",)),
        (("--time-limit", "0"), ("seconds is 0; expected more than 0",)),
        (("--precision", "int8"), ("precision int8 is calibrated on one machine",)),
        (("--json",), ("--json is not for --on ray",)),
        (("--resume",), ("--resume is not for --on ray, where the same command goes on by itself",)),
        (("--workers", "0"), ("workers is 0; on Ray at least 1 is needed",)),
    ],
)
def test_what_cannot_be_is_one_line(
    words: tuple[str, ...], parts: tuple[str, ...], clips: list[str], small_weights: Path, tmp_path: Path,
    command: Command, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)  # whether or not other tests have a connection
    out = tmp_path / "out"
    assert_one_line(command("predict", small_weights, clips[0], "--on", "ray", "--out", out, *words), *parts)
    assert not out.exists()


def test_options_of_a_cluster_require_one(clips: list[str], small_weights: Path, command: Command) -> None:
    assert_one_line(command("predict", small_weights, clips[0], "--retries", 2), "--retries requires --on ray")
    assert_one_line(command("timeline", small_weights, clips[0], "--on", "ray"), "--on ray requires --out FOLDER")
    words = ("predict", small_weights, clips[0], "--on", "ray", "--out", "rows.parquet")
    assert_one_line(command(*words), "--out rows.parquet: --on ray writes a folder of Parquet files")
    assert_one_line(command("features", small_weights, clips[0], "--on", "us", "--out", "x"), "--on us: expected ray")
    for words in (("features", small_weights, clips[0], "--resume"), ("timeline", small_weights, clips[0], "--resume")):
        assert_one_line(command(*words, "--on", "ray", "--out", "x"), "--resume is not for --on ray, where the same")
    size = ("timeline", small_weights, clips[0], "--on", "ray", "--out", "x", "--size", "64x48")
    assert_one_line(command(*size), "--size is not for --on ray, which writes rows into a folder")
