"""Features or timelines whose job is killed by SIGKILL at random moments: the bytes of one let alone.

    python benchmarks/kill_jobs.py features|timeline WEIGHTS FOLDER [KILLS] [OPTION ...]

`timesformer features|timeline WEIGHTS FOLDER --resume OPTION ...` is killed KILLS times (10 if not given), each time
at a random moment after a random number of rows, or while it ends, and then let alone.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet


def start(words: list[str], out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "timesformer", *words, "--out", str(out), "--resume"]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)


def rows_of(out: Path) -> int:
    part = out.with_name(f"{out.name}.part")
    return part.read_bytes().count(b"\n") if part.exists() else 0


def main() -> None:
    verb, weights, folder, *rest = sys.argv[1:]
    kills = int(rest.pop(0)) if rest and rest[0].isdecimal() else 10
    words, generator = [verb, weights, folder, *rest], random.Random(0)
    with tempfile.TemporaryDirectory(dir=".") as scratch:
        whole, killed = Path(scratch) / "whole.parquet", Path(scratch) / "killed.parquet"
        began = time.perf_counter()
        code = start(words, whole).wait()
        seconds = time.perf_counter() - began
        rows = pyarrow.parquet.read_metadata(whole).num_rows
        print(f"let alone: {seconds:.1f} s, exit code {code}, {rows} rows", flush=True)
        for number, wanted in enumerate(sorted(generator.randrange(rows + 1) for _ in range(kills)), 1):
            process = start(words, killed)
            while process.poll() is None and rows_of(killed) < wanted:
                time.sleep(0.001)
            time.sleep(generator.uniform(0, 0.1))
            ended = process.poll() is not None
            if not ended:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            print(f"{number}: {'ended' if ended else 'killed'}, {rows_of(killed)} rows", flush=True)
        print(f"let alone: exit code {start(words, killed).wait()}")
        print(f"identical: {killed.read_bytes() == whole.read_bytes()}")


if __name__ == "__main__":
    main()
