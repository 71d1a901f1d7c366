"""Commands beside a small /dev/shm, and commands that are told to stop while every decoder hangs.

    python benchmarks/stop.py [DATA RUN]

DATA: a data set, RUN: a trained run; without them those of a small demo are made. Needs root on Linux: each command
gets a /dev/shm of its own, of 64 MB (Docker's), 1 MB or 64 kB. First it runs to its end, 90 seconds at most; then it
runs with decoders that are locked up in C (or, of `data check`, whose processes are stopped), gets SIGTERM, and the
seconds until it has ended are measured, with the processes it leaves.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from timesformer.cli.stop import GRACE

SIZES = ("64m", "1m", "64k")
MOUNT = 'mount -t tmpfs -o size="$0" tmpfs /dev/shm && exec "$@"'
LIMIT = 90.0  # seconds
LOCKED_UP = Path(__file__).with_name("locked_up.py")


def start(size: str, *words: object) -> subprocess.Popen[str]:
    """A command in a session of its own, with a /dev/shm of its own."""
    given = ["unshare", "--mount", "sh", "-c", MOUNT, size, sys.executable, *map(str, words)]
    return subprocess.Popen(given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)


def members(group: int) -> list[int]:
    """The processes of a group that have not ended."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def end(process: subprocess.Popen[str], limit: float) -> tuple[str, str]:
    """How and when a process ended, and its last line; after `limit` seconds its group is killed."""
    began = time.monotonic()
    try:
        lines = process.communicate(timeout=limit)[0].split("\n")
        how = f"exit code {process.returncode} after {time.monotonic() - began:.1f} s"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        lines, how = process.communicate()[0].split("\n"), f"still there after {limit:.0f} s"
    return how, next((line for line in reversed(lines) if line.strip()), "")[:150]


def stop(size: str, folder: Path, words: list[object]) -> str:
    """What becomes of a command whose decoders hang, told to stop."""
    mark = folder / "mark"
    mark.unlink(missing_ok=True)
    check = words[:2] == ["data", "check"]
    process = start(size, "-m", "timesformer", *words) if check else start(size, LOCKED_UP, mark, GRACE, *words)
    until = time.monotonic() + LIMIT
    while process.poll() is None and time.monotonic() < until and not mark.exists():
        time.sleep(0.02)
        stopped = [pid for pid in members(process.pid) if check and b"spawn_main" in _line(pid)]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        if len(stopped) == 2:
            mark.touch()
    if process.poll() is None:
        os.kill(process.pid, signal.SIGTERM)
    how, line = end(process, 20)
    time.sleep(1)
    left = members(process.pid)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return f"SIGTERM: {how}, {len(left)} processes left ({line})"


def _line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if len(sys.argv) > 2:
            data, run = map(Path, sys.argv[1:])
        else:
            data, run = folder / "data", folder / "run"
            for words in (["data", "motion", data, "--train", 16, "--val", 4, "--test", 4], training(data, run)):
                subprocess.run([sys.executable, "-m", "timesformer", *map(str, words)], check=True)
        commands: dict[str, list[object]] = {
            "train": training(data, folder / "again"),
            "probe": [
                *("train", "--data", data, "--recipe", "probe", "--init", run, "--out", folder / "probe"),
                *(
                    "model.patch_size=8",
                    "model.image_size=32",
                    "model.num_frames=8",
                    "data.workers=2",
                ),
            ],
            "test": ["test", run, "--data", data, "--workers", 2],
            "predict": ["predict", run, data / "test", "--workers", 2],
            "check": ["data", "check", data, "--workers", 2, "--out", folder / "quarantine.csv"],
        }
        for size in SIZES:
            for name, words in commands.items():
                how, line = end(start(size, "-m", "timesformer", *words), LIMIT)
                print(f"{size:4} {name:8} {how} ({line})", flush=True)
                if name in ("train", "probe"):
                    subprocess.run(["rm", "-rf", str(words[words.index("--out") + 1])], check=True)
                print(f"{size:4} {name:8} {stop(size, folder, words)}", flush=True)
                if name in ("train", "probe"):
                    subprocess.run(["rm", "-rf", str(words[words.index("--out") + 1])], check=True)


def training(data: Path, out: Path) -> list[object]:
    """The demo's training, of two epochs."""
    return ["train", "--data", data, "--recipe", "demo", "--out", out, "training.epochs=2", "data.workers=2"]


if __name__ == "__main__":
    main()
