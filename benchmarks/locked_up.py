"""A command whose decoders hang for ever: a deadlock in C, which no signal interrupts, in place of every decoding.

    python benchmarks/locked_up.py MARK SECONDS WORDS...

MARK: a file that is made when the first one hangs. SECONDS: of grace, as `timesformer.cli.stop.GRACE`. WORDS: what
follows `timesformer`. For benchmarks/stop.py and tests/cli/test_stop.py.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import NoReturn

from timesformer.cli import stop
from timesformer.cli.main import main
from timesformer.data import dataset, lists

mark, grace = Path(sys.argv.pop(1)), float(sys.argv.pop(1))


def hang(*_: object) -> NoReturn:
    mark.touch()
    mutex, library = ctypes.create_string_buffer(64), ctypes.CDLL(None)
    while True:
        library.pthread_mutex_lock(mutex)


for module, name in ((lists, "open_video"), (dataset, "open_video"), (dataset, "read_views")):
    setattr(module, name, hang)
stop.GRACE = grace
main()
