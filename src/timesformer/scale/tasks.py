"""What Ray runs: a task that decodes the videos of a block, an actor that has a model and computes their results, or an
actor that does both.

All are callers of `Work` alone. A row of a block is a piece of a video or its end; views lie in it as bytes, so that a
block is read from shared memory without a copy. The task itself needs no torch: its decoder does (decoder.py).
"""

from __future__ import annotations

import atexit
import pickle
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from timesformer.scale.decoder import Decoder, End, Limits
from timesformer.threads import wait_briefly

if TYPE_CHECKING:
    from timesformer.inference.predictor import Predictor
    from timesformer.scale.work import About, Work

Item = tuple[int, int, bytes]  # part and number of a video, and what `Decoder.read` takes of it

_decoders: dict[Limits, Decoder] = {}  # of this worker, which runs one task after the other


@dataclass(frozen=True, kw_only=True)
class Loading:
    """How a model is loaded, see `timesformer.load`; threads: that compute."""

    weights: str
    device: str = "auto"
    engine: str = "auto"
    precision: str = "auto"
    labels: str | None = None
    threshold: float = 0.0

    def load(self, threads: int) -> Predictor:
        """The model, on this machine."""
        wait_briefly()  # workers of a cluster do not have the environment of the command
        import torch

        from timesformer.inference.load import load

        torch.set_num_threads(threads)
        return load(
            self.weights,
            self.device,
            engine=self.engine,  # type: ignore[arg-type]
            precision=self.precision,  # type: ignore[arg-type]
            labels=self.labels,
            threshold=self.threshold,
        )


def describe(loading: Loading, threads: int, work: Work) -> About:
    """What driver and decoders know of the model."""
    return work.describe(loading.load(threads))


def decode(block: Any, work: bytes, limits: Limits, size: int) -> Iterator[Any]:
    """The pieces of the videos of a chunk, in blocks of at least `size` bytes of views each, but for the last.

    block: with a pickled list of Items in each row of its column `chunk`."""
    for old in [known for known in _decoders if known != limits]:
        _decoders.pop(old).close()
    if limits not in _decoders:
        _decoders[limits] = Decoder(limits)
        atexit.register(_decoders[limits].close)
    decoder = _decoders[limits]
    items: list[Item] = [item for chunk in block["chunk"].to_pylist() for item in pickle.loads(chunk)]
    rows, held = list[tuple[Any, ...]](), 0
    for part, video, source in items:
        for number, message in enumerate(decoder.read(work, source)):
            end = isinstance(message, End)
            facts, shape, views = (message, (), b"") if isinstance(message, End) else message
            rows.append((part, video, number, end, pickle.dumps(facts), shape, views))
            held += len(views)
            if held >= size:
                yield _block(rows)
                rows, held = [], 0
    if rows:
        yield _block(rows)


def _block(rows: list[tuple[Any, ...]]) -> Any:
    """Rows as a table. One a piece, which Ray would join, took it 1.5 ms more of a processor each."""
    import pyarrow

    types = {
        "part": pyarrow.int32(),
        "video": pyarrow.int64(),
        "number": pyarrow.int32(),
        "end": pyarrow.bool_(),
        "facts": pyarrow.large_binary(),
        "shape": pyarrow.list_(pyarrow.int64()),
        "views": pyarrow.large_binary(),
    }
    return pyarrow.table(
        {name: pyarrow.array(column, types[name]) for name, column in zip(types, zip(*rows, strict=True), strict=True)}
    )


class Model:
    """A model, loaded once, that computes the results of blocks of pieces."""

    def __init__(self, loading: Loading, threads: int, work: Work) -> None:
        self._work, self._predictor = work, loading.load(threads)

    def __call__(self, block: Any) -> Any:
        """The same rows, with results in place of views."""
        import pyarrow

        began = time.perf_counter()
        pieces = [self._piece(block, row) for row, end in enumerate(block["end"].to_pylist()) if not end]
        results = self._work.compute(self._predictor, pieces)
        facts = block["facts"].to_pylist()
        found = [
            known if end else pickle.dumps(next(results))
            for known, end in zip(facts, block["end"].to_pylist(), strict=True)
        ]
        seconds = [0.0] * len(found)
        seconds[0] = time.perf_counter() - began
        kept = {name: block[name] for name in ("part", "video", "number", "end")}
        return pyarrow.table({**kept, "found": pyarrow.array(found, pyarrow.large_binary()), "seconds": seconds})

    def _piece(self, block: Any, row: int) -> Any:
        import numpy as np
        import torch

        from timesformer.scale.work import Piece

        bytes_ = np.frombuffer(block["views"][row].as_buffer(), np.uint8)
        with warnings.catch_warnings():  # shared memory, which nobody writes to: torch has no tensors that say so
            warnings.simplefilter("ignore", UserWarning)
            views = torch.from_numpy(bytes_)
        return Piece(pickle.loads(block["facts"][row].as_py()), views.reshape(block["shape"][row].as_py()))


class DecodingModel:
    """Both in one actor: its model computes what its decoder has read, in turn, so that together they keep one CPU busy
    whichever of them takes longer, and views are in no store of objects. Its arguments are those of both."""

    def __init__(self, loading: Loading, work: Work, given: bytes, limits: Limits, size: int) -> None:
        self._model = Model(loading, 1, work)
        self._given, self._limits, self._size = given, limits, size

    def __call__(self, block: Any) -> Iterator[Any]:
        """The results of a chunk."""
        for pieces in decode(block, self._given, self._limits, self._size):
            yield self._model(pieces)
