"""Results on their way to files, as Ray may hand them on: in any order, twice, and with tries that differ."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.dataset
import pytest

from timesformer.config import ClipShape, Preprocessing
from timesformer.errors import WorkerError
from timesformer.inference.listed import ListedVideos
from timesformer.inference.rows import Row
from timesformer.scale import ray_batch
from timesformer.scale.cluster import Allocation
from timesformer.scale.collector import Collector, Summary
from timesformer.scale.decoder import End
from timesformer.scale.parts import Parts
from timesformer.scale.ray_batch import run
from timesformer.scale.tasks import Loading
from timesformer.scale.work import About, Prediction, Result

ABOUT = About("a", "eager", "float32", "an engine", 3, 1, ("left", "right"), ClipShape(8, 64), Preprocessing())
FINE, SHORT = End(None, 1.0, 10), End("ends early", 1.0, 10)


class Numbers(Prediction):
    """Its rows say which pieces they are of."""

    def rows(
        self, about: About, name: str, cells: dict[str, str], results: Sequence[Result], problem: str | None
    ) -> list[Row]:
        pieces = [{"label": str(result.facts["piece"]), "score": 1.0} for result in results]
        return [{"video": name, "predictions": pieces} | ({"problem": problem} if problem else {})]


def block(*pieces: tuple[int, int, Any]) -> Any:
    """Of (video, number, what is found) each."""
    videos, numbers, found = zip(*pieces, strict=True)
    return pyarrow.table(
        {
            "part": [1] * len(pieces),
            "video": videos,
            "number": numbers,
            "end": [isinstance(one, End) for one in found],
            "found": pyarrow.array([pickle.dumps(one) for one in found], pyarrow.large_binary()),
            "seconds": [0.5] * len(pieces),
        }
    )


def piece(number: int) -> Result:
    return Result({"piece": number})


@pytest.fixture
def collector(tmp_path: Path) -> Collector:
    """Of two videos of one part."""
    names = ["a.mp4", "b.mp4"]
    folder = Parts(str(tmp_path / "out"))
    folder.begin({"rows": "predict"}, 2)
    return Collector(Numbers(), ABOUT, folder, names, [{}, {}], (), folder.todo(names), Summary())


def rows_of(folder: Path) -> dict[str, tuple[list[str], str | None]]:
    rows = pyarrow.dataset.dataset(folder).to_table().to_pylist()
    assert len(rows) == len({row["video"] for row in rows})
    return {row["video"]: ([one["label"] for one in row["predictions"]], row["problem"]) for row in rows}


def test_pieces_that_come_twice_and_out_of_order_count_once(collector: Collector, tmp_path: Path) -> None:
    assert collector.left == 2
    collector.add(block((0, 2, FINE), (0, 1, piece(1)), (0, 1, piece(1)), (1, 0, piece(0))))
    collector.add(block((0, 2, FINE), (1, 0, piece(0)), (0, 0, piece(0)), (0, 0, piece(0))))
    assert collector.left == 2  # no part is complete
    collector.add(block((1, 1, FINE), (1, 1, FINE), (0, 0, piece(0)), (0, 2, FINE)))
    collector.add(block((1, 0, piece(0)), (1, 1, FINE)))
    assert collector.left == 0
    assert rows_of(tmp_path / "out") == {"a.mp4": (["0", "1"], None), "b.mp4": (["0"], None)}
    assert (collector._summary.now, collector._summary.decoding, collector._summary.read) == (2, 2.0, 20)


def test_a_second_try_with_fewer_pieces_ends_its_video(collector: Collector, tmp_path: Path) -> None:
    """Whichever of the tries is whole first."""
    first = block((0, 0, piece(0)), (0, 1, piece(1)))  # its worker is lost here
    (problem,) = [*collector.add(first), *collector.add(block((0, 0, piece(0)), (0, 1, SHORT)))]
    assert problem.reason == "ends early"
    collector.add(block((1, 3, FINE), (1, 0, piece(0)), (1, 1, SHORT)))
    assert collector.left == 0
    assert rows_of(tmp_path / "out") == {"a.mp4": (["0"], "ends early"), "b.mp4": (["0"], "ends early")}


def test_a_run_whose_stream_ends_early_is_not_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def connected(*_: object) -> Iterator[Allocation]:
        yield Allocation(1, 1, 0, 1, True)

    def stream(*_: object) -> Iterator[Any]:
        yield block((0, 0, piece(0)), (0, 1, FINE))

    monkeypatch.setattr(ray_batch, "connected", connected)
    monkeypatch.setattr(ray_batch, "_describe", lambda *_: ABOUT)
    monkeypatch.setattr(ray_batch, "_stream", stream)
    names = ["a.mp4", "b.mp4"]
    with pytest.raises(WorkerError, match=r"Ray ended without the results of 2 videos; the same command goes on with"):
        run(Numbers(), ListedVideos(names, names), str(tmp_path / "out"), Loading(weights="none"))
