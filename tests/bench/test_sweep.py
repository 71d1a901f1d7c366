"""Which points a sweep has, what of a table it believes, and where its curves end."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest

from timesformer.baselines.cost import count_cost
from timesformer.bench import cost
from timesformer.bench.child import EndedError
from timesformer.bench.cost import PICTURE, TABLE, measure_cost
from timesformer.bench.figure import make_figure
from timesformer.bench.sweep import Point, Row, Sweep, read_rows, write_rows
from timesformer.errors import DataError, SettingError
from timesformer.settings import make

VALUES: dict[str, Any] = {
    "size": "tiny",
    "schemes": ("space_only", "joint_space_time"),
    "sizes": (32, 64, 96),
    "frame_counts": (2, 4),
    "memory_limit": 8.0,
    "time_limit": 60.0,
}
counted = functools.cache(count_cost)
JOINT_64 = Point("joint_space_time", 2, 64)


def sweep(**changes: Any) -> Sweep:
    return make(Sweep, {**VALUES, **changes}, "bench cost")


class Fake:
    """In place of a child process: seconds and memory that tell the point; ends where `ends` says so."""

    def __init__(self) -> None:
        self.asked: list[Point] = []
        self.ends: dict[Point, str] = {}

    def __call__(self, function: str, arguments: dict[str, Any], **limits: float) -> dict[str, Any]:
        settings = arguments["settings"]
        point = Point(settings["scheme"], settings["num_frames"], settings["image_size"])
        self.asked.append(point)
        if self.ends.get(point) == "Ctrl-C":
            raise KeyboardInterrupt
        if point in self.ends:
            raise EndedError(self.ends[point], "the fake says so")
        seconds = point.frames * point.image_size / 100
        return {
            "seconds": seconds,
            "seconds_low": seconds,
            "seconds_high": seconds,
            "passes": 3,
            "memory": point.frames * 10**9,
            "ran": "fake",
        }


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    made = Fake()
    monkeypatch.setattr(cost, "run_apart", made)
    monkeypatch.setattr(cost, "count_cost", counted)
    return made


@pytest.fixture
def no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timesformer.bench.figure.draw", lambda *given: None)


def test_points_come_once_and_the_small_first() -> None:
    shapes = [(2, 32), (4, 32), (2, 64), (2, 96)]
    assert sweep().points() == [Point(scheme, *shape) for shape in shapes for scheme in VALUES["schemes"]]
    assert len(Sweep().points()) == 35


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sizes": (32, 40)}, "bench cost: space_only, 2 x 40 x 40: image_size 40 is not a multiple of patch_size 16"),
        ({"schemes": ("spiral",)}, "bench cost: schemes.0 is 'spiral', should be 'space_only', 'joint_space_time'"),
        ({"sizes": ()}, "bench cost: sizes is"),
        ({"frame_counts": (8, 8)}, "bench cost: frame_counts: 8, 8: each may come once"),
        ({"frame_counts": ("0",)}, "bench cost: frame_counts.0 is '0', should be greater than 0"),
        ({"time_limit": 0}, "bench cost: time_limit is 0, should be greater than 0"),
        ({"checkpoint_activations": "cheap"}, "bench cost: checkpoint_activations is for training steps: train is off"),
        (
            {"train": True, "engine": "onnx"},
            "bench cost: engine onnx, precision auto: a training step runs as torch does",
        ),
    ],
)
def test_what_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError) as error:
        sweep(**changes)
    assert str(error.value).startswith(message)


def test_a_sweep_measures_every_point_once(fake: Fake, tmp_path: Path) -> None:
    seen: list[tuple[Point, int, int]] = []
    rows = measure_cost(sweep(), tmp_path, lambda *call: seen.append(call))
    assert fake.asked == [row.point for row in rows] == sweep().points()
    assert seen == [(point, number, 8) for number, point in enumerate(sweep().points())]
    for row in rows:
        assert (row.seconds, row.memory) == (row.frames * row.image_size / 100, row.frames * 10**9)
        assert row.macs == count_cost(sweep().model(row.point)).macs
    assert read_rows(tmp_path / TABLE) == rows
    assert (tmp_path / PICTURE).read_bytes().startswith(b"\x89PNG")

    fake.asked.clear()
    assert measure_cost(sweep(frame_counts=(2, 4, 8)), tmp_path)[:4] == rows[:4]
    assert fake.asked == [Point(scheme, 8, 32) for scheme in VALUES["schemes"]]


@pytest.mark.usefixtures("no_picture")
def test_rows_of_another_kind_stay_and_are_not_believed(fake: Fake, tmp_path: Path) -> None:
    first = measure_cost(sweep(), tmp_path)
    second = measure_cost(sweep(train=True), tmp_path)
    assert len(fake.asked) == 16
    assert {row.kind for row in second} == {"training tiny x1 auto auto auto"}
    assert read_rows(tmp_path / TABLE) == [*first, *second]


def test_ctrl_c_keeps_what_is_measured(fake: Fake, tmp_path: Path) -> None:
    fake.ends[JOINT_64] = "Ctrl-C"
    with pytest.raises(KeyboardInterrupt):
        measure_cost(sweep(), tmp_path)
    before = sweep().points().index(JOINT_64)
    assert [row.point for row in read_rows(tmp_path / TABLE)] == sweep().points()[:before]
    assert (tmp_path / PICTURE).exists()
    fake.ends.clear()
    fake.asked.clear()
    assert len(measure_cost(sweep(), tmp_path)) == 8
    assert fake.asked == sweep().points()[before:]


@pytest.mark.usefixtures("no_picture")
@pytest.mark.parametrize("status", ["out of memory", "too slow", "failed"])
def test_a_curve_ends_where_a_point_does(fake: Fake, tmp_path: Path, status: str) -> None:
    fake.ends[JOINT_64] = status
    rows = {row.point: row for row in measure_cost(sweep(), tmp_path)}
    assert rows[JOINT_64].status == status
    assert rows[JOINT_64].ran == "the fake says so"
    assert rows[JOINT_64].seconds is None
    assert Point("joint_space_time", 2, 96) not in fake.asked  # larger
    assert rows[Point("joint_space_time", 4, 32)].status == "ok"  # on the other curve
    assert rows[Point("space_only", 2, 96)].status == "ok"

    figure = make_figure(list(rows.values()), sweep())
    macs, seconds = figure.axes[:2]
    lines = {line.get_label(): line for line in seconds.get_lines()}
    assert list(lines["space only"].get_xdata()) == [32, 64, 96]
    assert list(lines["space only"].get_ydata()) == pytest.approx([0.64, 1.28, 1.92])
    assert list(lines["joint space-time"].get_ydata()) == [0.64]
    (cross,) = (line for line in seconds.get_lines() if str(line.get_label()).startswith("_"))
    assert (list(cross.get_xdata()), list(cross.get_ydata())) == ([32], [0.64])
    assert list({line.get_label(): line for line in macs.get_lines()}["joint space-time"].get_xdata()) == [32, 64]


@pytest.mark.usefixtures("no_picture")
def test_an_end_is_believed_until_its_limit_is_raised(fake: Fake, tmp_path: Path) -> None:
    fake.ends[JOINT_64] = "out of memory"
    measure_cost(sweep(), tmp_path)

    def asked_again(**changes: Any) -> bool:
        fake.asked.clear()
        measure_cost(sweep(**changes), tmp_path)
        return JOINT_64 in fake.asked

    assert not asked_again()
    assert not asked_again(memory_limit=6.0, time_limit=90)
    assert asked_again(memory_limit=16.0)
    fake.ends[JOINT_64] = "too slow"
    assert asked_again(memory_limit=32.0)
    assert not asked_again()
    assert asked_again(time_limit=61)
    fake.ends[JOINT_64] = "failed"
    assert asked_again(time_limit=120)
    assert asked_again(time_limit=120)


def test_another_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / TABLE).write_text("video,label\na.mp4,1\n")
    with pytest.raises(DataError, match=r"cost\.csv: not a table that bench cost has written"):
        measure_cost(sweep(), tmp_path)


def test_a_row_comes_back_as_it_was(tmp_path: Path) -> None:
    row = Row(
        kind="k",
        scheme="axial",
        frames=8,
        image_size=224,
        status="ok",
        macs=252649648128,
        parameters=7,
        seconds=0.1,
        ran='a, "b"\nc',
    )
    write_rows(tmp_path / "t.csv", [row])
    assert read_rows(tmp_path / "t.csv") == [row]
