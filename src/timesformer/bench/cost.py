"""`timesformer bench cost`: the paper's Figure 3 with time and memory beside the multiply-accumulates.

Each point runs in a process of its own, so that one that needs too much memory ends alone: its curve ends there.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from timesformer.baselines.cost import count_cost
from timesformer.bench.child import EndedError, run_apart
from timesformer.bench.model import random_classifier
from timesformer.bench.sweep import Point, Row, Sweep, read_rows, write_rows
from timesformer.bench.timing import Spread, forget_peak, timed
from timesformer.bench.train import Step
from timesformer.config import ActivationCheckpointing, ModelSettings
from timesformer.device import find_device, peak_memory
from timesformer.engine.engine import EngineName, Precision, load_engine
from timesformer.settings import make
from timesformer.threads import use_threads

TABLE, PICTURE = "cost.csv", "cost.png"
FREE = 0.9  # fraction of the free memory that a point may take where no limit is given
SMALL = 64  # pixels of a clip that an engine is compared on, of a network without patches
FEW = 0.1  # fraction of the time limit after which no further pass of a point begins
OnPoint = Callable[[Point, int, int], object]


def measure_cost(sweep: Sweep, out: Path, on_point: OnPoint = lambda point, done, total: None) -> list[Row]:
    """Measure all points that `out`/cost.csv does not hold yet; draw `out`/cost.png. Returns the sweep's rows.

    The table is written after every point, the picture at the end and where the run is interrupted. A curve ends at its
    first point that is out of memory, too slow or failed. `on_point`: called before each point, with its number from 0.
    Raises SettingError for what the machine or an engine lacks, DataError where cost.csv is a different table.
    """
    from timesformer.bench.figure import draw

    table = out / TABLE
    kept = read_rows(table)
    limit = memory_limit(sweep)
    rows = {row.point: row for row in kept if row.holds(sweep, limit)}
    points = sweep.points()
    kept_beside = [row for row in kept if row.kind != sweep.kind or row.point not in points]
    out.mkdir(parents=True, exist_ok=True)

    def found() -> list[Row]:
        return [rows[point] for point in points if point in rows]

    try:
        for number, point in enumerate(points):
            on_point(point, number, len(points))
            if point not in rows and not _has_ended(sweep, point, rows):
                rows[point] = _measure(sweep, point, limit)
                write_rows(table, [*kept_beside, *found()])
    finally:
        if rows:
            draw(found(), sweep, out / PICTURE)
    return found()


def _has_ended(sweep: Sweep, point: Point, rows: dict[Point, Row]) -> bool:
    """Whether a smaller point of a curve that this one belongs to could not be measured."""
    shape = (point.frames, point.image_size)
    return any(
        smaller[0] <= shape[0]
        and smaller[1] <= shape[1]
        and smaller != shape
        and (row := rows.get(Point(point.scheme, *smaller))) is not None
        and row.status != "ok"
        for axis in sweep.axes().values()
        if shape in axis
        for smaller in axis
    )


def _measure(sweep: Sweep, point: Point, limit: float | None) -> Row:
    counted = count_cost(sweep.model(point))
    values: dict[str, Any] = {
        "kind": sweep.kind,
        **point._asdict(),
        "macs": counted.macs,
        "parameters": counted.parameters,
        "memory_limit": limit,
        "time_limit": sweep.time_limit,
    }
    arguments = {
        "settings": sweep.model(point).model_dump(mode="json"),
        "batch": sweep.batch,
        "rounds": sweep.rounds,
        "train": sweep.train,
        "checkpoint_activations": sweep.checkpoint_activations,
        "engine": sweep.engine,
        "precision": sweep.precision,
        "device": sweep.device,
        "seconds": FEW * sweep.time_limit,
        "memory_limit": limit,
    }
    on_gpu = find_device(sweep.device).type == "cuda"
    try:
        found = run_apart(
            "timesformer.bench.cost:measure_point",
            arguments,
            memory_limit=None if on_gpu else limit,
            time_limit=sweep.time_limit,
        )
    except EndedError as end:
        return Row(status=end.status, ran=str(end), **values)
    return Row(status="ok", **values, **found)


def measure_point(
    settings: dict[str, Any],
    batch: int,
    rounds: int,
    train: bool,
    checkpoint_activations: ActivationCheckpointing,
    engine: EngineName,
    precision: Precision,
    device: str,
    seconds: float,
    memory_limit: float | None,
    threads: int | None = None,
) -> dict[str, Any]:
    """Passes of one point in this process: values of a `Row`. `seconds`: after which no further pass begins.
    threads: that compute; None for torch's choice."""
    use_threads(threads)
    used = find_device(device)
    if used.type == "cuda" and memory_limit is not None:
        whole = torch.cuda.get_device_properties(used).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, memory_limit * 1e9 / whole))
    make = _training if train else _inference
    run, ran = make(settings, batch, checkpoint_activations, engine, precision, used)
    gc.collect()
    forget_peak(used)
    began, times = time.perf_counter(), [timed(run, used)]
    while len(times) <= rounds and time.perf_counter() - began + max(times) <= seconds:
        times.append(timed(run, used))
    # The first pass warms up, and counts only where there was no time for another.
    median, low, high = Spread.of(times[1:] or times)
    return {
        "seconds": median,
        "seconds_low": low,
        "seconds_high": high,
        "passes": len(times[1:] or times),
        "memory": peak_memory(used),
        "ran": f"{ran}, {used.type}, {torch.get_num_threads()} threads",
    }


def _inference(
    settings: dict[str, Any],
    batch: int,
    checkpoint_activations: ActivationCheckpointing,
    engine: EngineName,
    precision: Precision,
    device: torch.device,
) -> tuple[Callable[[], object], str]:
    model = make(ModelSettings.class_for(settings), settings, "bench cost")
    # Compared with the float32 model on a small clip: on a large one the model would take more memory than the engine.
    side = 2 * model.clip_unit if model.clip_unit > 1 else SMALL
    small = torch.randint(0, 256, (1, 3, 2 * model.frame_unit, side, side), dtype=torch.uint8)
    run = load_engine(random_classifier(model), engine, precision, device=str(device), clips=small)
    shape = (batch, 3, model.num_frames, model.image_size, model.image_size)
    clips = torch.randint(0, 256, shape, dtype=torch.uint8).to(device)
    return lambda: run(clips), f"{run.engine} {run.precision}"


def _training(
    settings: dict[str, Any],
    batch: int,
    checkpoint_activations: ActivationCheckpointing,
    engine: EngineName,
    precision: Precision,
    device: torch.device,
) -> tuple[Callable[[], object], str]:
    model = make(ModelSettings.class_for(settings), settings, "bench cost")
    step = Step(model, batch, precision, str(device), checkpoint_activations=checkpoint_activations)
    return step, step.precision


def memory_limit(sweep: Sweep) -> float | None:
    """GB that a point may take: as given, or nine tenths of what is free now; None where that cannot be known."""
    if sweep.memory_limit is not None:
        return sweep.memory_limit
    device = find_device(sweep.device)
    if device.type == "cuda":
        return FREE * float(torch.cuda.mem_get_info(device)[0]) / 1e9
    free = [int(line.split()[1]) * 1024 for line in _lines("/proc/meminfo") if line.startswith("MemAvailable:")]
    allowed, used = (_lines(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current"))
    if allowed and used and allowed[0].isdigit():
        free.append(max(int(allowed[0]) - int(used[0]), 0))
    return FREE * min(free) / 1e9 if free else None


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
