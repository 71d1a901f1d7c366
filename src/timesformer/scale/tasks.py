"""What Ray runs: a task that decodes the videos of a block, an actor that has a model and computes their results.

Both are callers of `Work` alone. A row of a block is a piece of a video or its end; views lie in it as bytes, so that a
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
        import torch

        from timesformer.inference.predictor import load

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


def decode(block: Any, work: bytes, limits: Limits) -> Iterator[Any]:
    """The pieces of the videos of a chunk, each as a block of its own, which Ray joins to larger ones.

    block: with a pickled list of Items in each row of its column `chunk`."""
    import pyarrow

    for old in [known for known in _decoders if known != limits]:
        _decoders.pop(old).close()
    if limits not in _decoders:
        _decoders[limits] = Decoder(limits)
        atexit.register(_decoders[limits].close)
    decoder = _decoders[limits]
    items: list[Item] = [item for chunk in block["chunk"].to_pylist() for item in pickle.loads(chunk)]
    for part, video, source in items:
        for number, message in enumerate(decoder.read(work, source)):
            end = isinstance(message, End)
            facts, shape, views = (message, (), b"") if isinstance(message, End) else message
            yield pyarrow.table(
                {
                    "part": pyarrow.array([part], pyarrow.int32()),
                    "video": pyarrow.array([video], pyarrow.int64()),
                    "number": pyarrow.array([number], pyarrow.int32()),
                    "end": pyarrow.array([end]),
                    "facts": pyarrow.array([pickle.dumps(facts)], pyarrow.large_binary()),
                    "shape": pyarrow.array([shape], pyarrow.list_(pyarrow.int64())),
                    "views": pyarrow.array([views], pyarrow.large_binary()),
                }
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
