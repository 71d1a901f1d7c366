"""What a process for each upload would cost: milliseconds of processor time to decode a file.

    python benchmarks/serve_decode.py WEIGHTS VIDEO|FOLDER... [--files 50]

Files are decoded as the service does it for `/v1/predict`: in this process, one after the other; and each in a process
that is forked from this one, which has decoded before, and ends with `os._exit`. The time of a fork is counted here and
there. A process that does nothing is forked for comparison.
"""

from __future__ import annotations

import argparse
import os
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from serve_process import videos_of  # beside this file

from timesformer.serve.settings import ServiceSettings
from timesformer.serve.worker import Limits, Task, decoded
from timesformer.weights.classifier import load_model


def processor_ms(work: Callable[[Path], object], files: Sequence[Path]) -> float:
    """Of this process and those that it has waited for, a file."""
    before = os.times()
    for file in files:
        work(file)
    return 1000 * sum(now - then for now, then in zip(os.times()[:4], before[:4], strict=True)) / len(files)


def forked(work: Callable[[Path], object], file: Path) -> None:
    process = os.fork()
    if not process:
        status = 1
        try:
            work(file)
            status = 0
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if status:
        raise SystemExit(f"{file}: the process that was forked to decode it ended with {status}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("videos", nargs="+")
    parser.add_argument("--files", type=int, default=50)
    given = parser.parse_args()
    torch.set_num_threads(1)
    one, limits = load_model(given.weights), Limits.of(ServiceSettings())
    task = Task("views", one.settings.clip_shape, one.preprocessing)
    files = videos_of(given.videos)[: given.files]

    def decode(file: Path) -> None:
        list(decoded(file, task, limits))

    decode(files[0])
    print(f"{len(files)} files, ms of a core each")
    print(f"one after the other in a process  {processor_ms(decode, files):6.2f}")
    print(f"each in a process of its own      {processor_ms(lambda file: forked(decode, file), files):6.2f}")
    print(f"a process that does nothing       {processor_ms(lambda file: forked(str, file), files):6.2f}")


if __name__ == "__main__":
    main()
