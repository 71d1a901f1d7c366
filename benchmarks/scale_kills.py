"""Runs with `--on ray` in which something ends in the middle: in the end every row once, and as `predict` has it.

    python benchmarks/scale_kills.py WEIGHTS VIDEOS [--videos 300] [--only worker actor both driver disk store]

    worker   SIGKILL to a worker that decodes; the run goes on by itself
    actor    SIGKILL to the actor that has the model; the run goes on by itself
    both     SIGKILL to an actor that decodes and has a model; the run goes on by itself
    driver   SIGKILL to the process that writes; the same command continues
    disk     the folder's disk is full: a tmpfs of 48 kB (root), made larger before the same command continues
    store    videos and rows in an object store, a server that is stopped for 20 s; the same command, if it ended

Each begins when the first part is there. Exits with 1 where a row is missing, doubled or different.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.dataset
from pyarrow.fs import FileSystem, LocalFileSystem
from scale_ray import ROUNDING, compare, link

import timesformer

KINDS = ("worker", "actor", "both", "driver", "disk", "store")
NAMES = {
    "worker": "ray::MapBatches(decode)",
    "actor": "ray::MapWorker(MapBatches(Model))",
    "both": "ray::MapWorker(MapBatches(DecodingModel))",
}
PARTS, AWAY, LIMIT = 16, 20, 900
PORT = 5089


def drive(weights: str, listed: str, out: str, threads: str) -> None:
    """What the killed processes run: `--on ray`, with more parts than a short list gets. threads: of a model; with one
    it decodes as well."""
    from timesformer.scale.cluster import Cluster
    from timesformer.scale.ray_batch import run
    from timesformer.scale.tasks import Loading
    from timesformer.scale.work import Prediction
    from timesformer.scale.work_list import read_work_list

    loading, cluster = Loading(weights=weights, device="cpu"), Cluster(threads=int(threads))
    summary = run(Prediction(), read_work_list(listed), out, loading, cluster=cluster, parts=PARTS)
    print(f"    {summary.now} now, {summary.earlier} before, in {summary.seconds:.0f} s", flush=True)


@contextmanager
def driver(kind: str, weights: str, listed: Path, out: str, mark: str) -> Iterator[subprocess.Popen[bytes]]:
    """Such a process, and what it starts, which all have a mark in their environment."""
    threads = "2" if kind in ("worker", "actor") else "1"
    words = [sys.executable, __file__, "--drive", weights, str(listed), out, threads]
    with subprocess.Popen(words, env=os.environ | {"SCALE_KILLS": mark}, start_new_session=True) as process:
        yield process


def marked(mark: str, title: str) -> list[int]:
    """The processes with a mark and a title."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            ours = f"SCALE_KILLS={mark}".encode() in (folder / "environ").read_bytes()
            if ours and (folder / "cmdline").read_bytes().decode().startswith(title):
                found.append(int(folder.name))
        except OSError:  # ended meanwhile
            continue
    return found


def until(true: Callable[[], Any], what: str) -> Any:
    """Wait for something, for a bounded time."""
    end = time.monotonic() + LIMIT
    while not (found := true()):
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.1)
    return found


def files_of(out: str) -> list[str]:
    filesystem, path = place(out)
    dataset = pyarrow.dataset.dataset(path, filesystem=filesystem, format="parquet", exclude_invalid_files=False)
    return list(dataset.files)


def place(out: str) -> tuple[Any, str]:
    return FileSystem.from_uri(out) if "://" in out else (LocalFileSystem(), out)


def some_rows(out: str) -> bool:
    try:
        return bool(files_of(out))
    except (OSError, ValueError):  # there is nothing yet
        return False


def disturb(kind: str, process: subprocess.Popen[bytes], mark: str, store: subprocess.Popen[bytes] | None) -> None:
    """Do it."""
    if kind in NAMES:
        victim = until(lambda: marked(mark, NAMES[kind]), f"no process {NAMES[kind]}")[0]
        os.kill(victim, signal.SIGKILL)
        print(f"    killed {NAMES[kind]}, {victim}", flush=True)
    elif kind == "driver":
        process.kill()
    elif kind == "store":
        assert store is not None
        store.send_signal(signal.SIGSTOP)
        time.sleep(AWAY)
        store.send_signal(signal.SIGCONT)


@contextmanager
def moto(videos: list[str]) -> Iterator[tuple[subprocess.Popen[bytes], str, list[str]]]:
    """A server of S3 with these videos; what follows a URL's path; their URLs."""
    os.environ |= {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_EC2_METADATA_DISABLED": "true"}
    words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(PORT)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        options = f"endpoint_override=127.0.0.1:{PORT}&scheme=http&region=us-east-1"
        filesystem = FileSystem.from_uri(f"s3://films?{options}&allow_bucket_creation=true")[0]
        filesystem.create_dir("films")
        urls = []
        for video in videos:
            with filesystem.open_output_stream(f"films/{Path(video).name}") as target:
                target.write(Path(video).read_bytes())
            urls.append(f"s3://films/{Path(video).name}?{options}")
        yield server, f"?{options}", urls
        server.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("videos_folder", type=Path, metavar="VIDEOS")
    parser.add_argument("--videos", type=int, default=300)
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS)
    given = parser.parse_args()
    weights, wrong = str(Path(given.weights).absolute()), 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "links").mkdir()
        names = link(given.videos_folder, folder / "links", given.videos)
        predictor = timesformer.load(weights, "cpu")
        expected = {one["video"]: one for one in (found.as_dict() for found in predictor.predict_all(names))}
        for kind in given.only:
            print(kind, flush=True)
            wrong += one_kind(kind, weights, folder, names, expected)
    sys.exit(wrong > 0)


def one_kind(kind: str, weights: str, folder: Path, names: list[str], expected: dict[str, Any]) -> int:
    """A run of which something ends; how many rows are wrong after all."""
    out, mark, mounted = folder / kind, uuid.uuid4().hex, False
    if kind == "disk":
        if os.geteuid():
            print("    needs root to mount a small disk: NOT DONE")
            return 1
        out.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", out], check=True)
        mounted = True
    try:
        if kind != "store":
            return disturbed(kind, weights, folder, names, str(out), expected, mark, None)
        with moto(names) as (server, options, urls):
            rows = {url: {**expected[name], "video": url} for url, name in zip(urls, names, strict=True)}
            return disturbed(kind, weights, folder, urls, f"s3://films/rows{options}", rows, mark, server)
    finally:
        if mounted:
            subprocess.run(["umount", out], check=True)


def disturbed(
    kind: str,
    weights: str,
    folder: Path,
    names: list[str],
    out: str,
    expected: dict[str, Any],
    mark: str,
    store: subprocess.Popen[bytes] | None,
) -> int:
    listed = folder / f"{kind}.txt"
    listed.write_text("\n".join(names))
    with driver(kind, weights, listed, out, mark) as process:
        until(lambda: process.poll() is not None or some_rows(out), "no rows")
        before = len(files_of(out))
        disturb(kind, process, mark, store)
        code = process.wait(LIMIT)
    print(f"    {before} of {PARTS} files before; the run ended with {code}", flush=True)
    if code:
        if kind == "disk":
            subprocess.run(["mount", "-o", "remount,size=64m", out], check=True)
        with driver(kind, weights, listed, out, mark) as process:
            again = process.wait(LIMIT)
        print(f"    the same command ended with {again}", flush=True)
    filesystem, path = place(out)
    rows = pyarrow.dataset.dataset(path, filesystem=filesystem, format="parquet").to_table().to_pylist()
    differ, furthest = compare(json.loads(json.dumps(expected)), rows, ROUNDING["auto"])
    doubled = len(rows) - len({row["video"] for row in rows})
    print(
        f"    {len(rows)} rows of {len(names)} videos, {doubled} doubled, {differ} different ({furthest:.1e})",
        flush=True,
    )
    return differ + doubled + (len(rows) != len(names))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--drive"]:
        drive(*sys.argv[2:])
    else:
        main()
