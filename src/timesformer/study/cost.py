"""The study `cost`: parameters, multiply-accumulates, time and memory of every scheme and baseline (Table 2, Figure 3).

Each measurement runs in a process of its own, as those of `timesformer bench cost`; what OUT/results.csv has is not
measured again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field

from timesformer.baselines.cost import count_cost
from timesformer.bench.child import EndedError, run_apart
from timesformer.bench.timing import timed
from timesformer.config import SCHEMES, ModelSettings, Recipe
from timesformer.device import find_device, native_bf16
from timesformer.errors import SettingError
from timesformer.recipes import change_recipe, load_recipe
from timesformer.settings import make
from timesformer.study.folder import claim_folder, writing_to
from timesformer.study.rows import Maybe, read_rows, write_rows
from timesformer.study.studies import BASELINES, COST, COST_TITLE, scheme_changes

RESULTS = "results.csv"
CLASSES = 400  # of Kinetics-400, where no data are given
VIDEOS = 20_000  # of the paper's headline
PAPER_HOURS = {"slowfast": 14.88, "divided_space_time": 0.6}  # for them, on 8 V100s
TIME_LIMIT = 600.0  # seconds of a measurement
ROUNDS = 3
TRAINED_IN = {"32-true": "fp32", "bf16-mixed": "bf16"}  # training.precision
MEASURED = (*BASELINES, "x3d_m")
MEASURES = ("seconds", "memory", "ran")
START = 10.0  # seconds that a process of a measurement takes to start


class CostRow(BaseModel):
    """One network. Empty where nothing was measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: str = Field(description="the scheme of a TimeSformer, or the architecture of a baseline")
    settings: str = Field(description="hash of the settings of the network and of what was asked for")
    frames: int
    image_size: int
    parameters: int
    macs: int = Field(description="multiply-accumulates of a view")
    views: int = Field(description="of a test video, as its recipe has them")
    seconds: Annotated[float | None, Maybe] = Field(None, description="of a view through the engine")
    memory: Annotated[int | None, Maybe] = Field(None, description="bytes at the peak meanwhile")
    train_seconds: Annotated[float | None, Maybe] = Field(None, description="of a training step of one clip")
    train_memory: Annotated[int | None, Maybe] = Field(None, description="bytes at the peak meanwhile")
    ran: str = Field("", description="engine, precision, device and threads, or why nothing was measured")
    train_ran: str = ""

    @property
    def hours(self) -> float | None:
        """For the videos of the headline, with all views."""
        return None if self.seconds is None else self.seconds * self.views * VIDEOS / 3600


@dataclass(frozen=True)
class Network:
    """A network that is measured, and the views that its recipe tests a video with."""

    name: str
    settings: ModelSettings
    views: int


def networks(recipe: Recipe, classes: int = CLASSES) -> list[Network]:
    """Every scheme of a recipe's TimeSformer, and the baselines in their published sizes, as they are tested, with the
    views of their own recipes; all for so many classes. Raises SettingError, with the network, for what is impossible.
    """
    found = []
    for scheme in SCHEMES:
        changes = [f"{name}={json.dumps(value)}" for name, value in scheme_changes(recipe, scheme).items()]
        try:
            changed = change_recipe(recipe, changes)
        except SettingError as error:
            raise SettingError(f"cell {scheme}: {error}") from None
        found.append(Network(scheme, _with_classes(changed.model, classes), _views(recipe)))
    for name in MEASURED:
        own = load_recipe(name)
        assert isinstance(own, Recipe)
        # Trained with smaller crops than it is tested with: the published cost is that of the test.
        published = make(type(own.model), {"architecture": name}, name)
        found.append(Network(name, _with_classes(published, classes), _views(own)))
    return found


def _with_classes(settings: ModelSettings, classes: int) -> ModelSettings:
    return settings.model_copy(update={"num_classes": classes})


def _views(recipe: Recipe) -> int:
    return recipe.preprocessing.test_clips * recipe.preprocessing.test_crops


def measure_costs(
    recipe: Recipe,
    out: Path,
    *,
    classes: int = CLASSES,
    threads: int | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> list[CostRow]:
    """Measure what OUT/results.csv does not have, and write it after each network. What ran out of memory or time is
    measured again: there may be more of both now.

    Training steps run on the recipe's training.device in its training.precision, whatever the network: oneDNN takes
    minutes for one of I3D in bf16 on processors with AMX. threads: that compute; None for torch's choice. Raises
    SettingError for what is not possible, DataError where results.csv is another table.
    """
    precision = _precision(recipe)
    device = recipe.training.device
    machine = f"{find_device(device)} {threads or torch.get_num_threads()} {precision}"
    all_of_them = networks(recipe, classes)
    claim_folder(out, {"study": COST})
    kept = {(row.network, row.settings): row for row in read_costs(out / RESULTS)}
    rows: list[CostRow] = []
    for number, network in enumerate(all_of_them, 1):
        key = _key(network, machine)
        row = kept.get((network.name, key))
        if row is None or row.seconds is None or row.train_seconds is None:
            say(f"{number:2}/{len(all_of_them)}  {network.name}")
            row = _measure(network, key, device, threads, precision, row)
        rows.append(row)
        others = [one for one in kept.values() if (one.network, one.settings) not in _names(rows)]
        with writing_to(out):
            write_rows(CostRow, [*rows, *others], out / RESULTS)
    return rows


def _precision(recipe: Recipe) -> str:
    """Of a training step, as `timesformer.bench` has it. Raises SettingError for what it has not, or not here."""
    given, device = recipe.training.precision, find_device(recipe.training.device)
    if given not in TRAINED_IN:
        raise SettingError(f"training.precision={given}: study cost measures training in {' or '.join(TRAINED_IN)}")
    if TRAINED_IN[given] == "bf16" and not native_bf16(device):
        raise SettingError(
            f"training.precision={given}: {device.type} has no bf16 products of its own here; "
            "training.precision=32-true"
        )
    return TRAINED_IN[given]


def _names(rows: Sequence[CostRow]) -> set[tuple[str, str]]:
    return {(row.network, row.settings) for row in rows}


def _measure(
    network: Network, key: str, device: str, threads: int | None, precision: str, before: CostRow | None
) -> CostRow:
    """What is missing of a row. precision: of the training step; before: what there is."""
    counted = count_cost(network.settings)
    values: dict[str, Any] = {
        "network": network.name,
        "settings": key,
        "frames": network.settings.num_frames,
        "image_size": network.settings.image_size,
        "parameters": counted.parameters,
        "macs": counted.macs,
        "views": network.views,
    }
    for prefix, train in (("", False), ("train_", True)):
        names = [f"{prefix}{name}" for name in MEASURES]
        if before is not None and getattr(before, names[0]) is not None:
            values |= {name: getattr(before, name) for name in names}
            continue
        try:
            found = run_apart(
                "timesformer.bench.cost:measure_point",
                {
                    "settings": network.settings.model_dump(mode="json"),
                    "batch": 1,
                    "rounds": ROUNDS,
                    "train": train,
                    "checkpoint_activations": "none",
                    "engine": "auto",
                    "precision": precision if train else "auto",
                    "device": device,
                    "threads": threads,
                    "seconds": TIME_LIMIT / 10,
                    "memory_limit": None,
                },
                time_limit=TIME_LIMIT,
            )
            values |= dict(zip(names, (found[name] for name in MEASURES), strict=True))
        except EndedError as end:
            values[f"{prefix}ran"] = f"{end.status}: {end}"
    return CostRow(**values)


def _key(network: Network, machine: str) -> str:
    text = f"{network.settings.model_dump_json()} {network.views} {machine}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_costs(file: Path) -> list[CostRow]:
    """The rows of such a table; none where there is no file. Raises DataError for any other file."""
    return read_rows(CostRow, file, "results of study cost") if file.exists() else []


def headline(rows: Sequence[CostRow]) -> str | None:
    """The paper's: how many times longer SlowFast takes than TimeSformer, with each one's own test views."""
    slow, own = (next((row for row in rows if row.network == name), None) for name in PAPER_HOURS)
    if slow is None or own is None or slow.hours is None or own.hours is None:
        return None
    paper_slow, paper_own = PAPER_HOURS.values()
    return (
        f"{VIDEOS:,} videos: SlowFast ({slow.views} views) {slow.hours:.1f} h, TimeSformer ({own.views} views) "
        f"{own.hours:.1f} h, {slow.hours / own.hours:.1f} times as long; paper, on 8 V100s: {paper_slow} h and "
        f"{paper_own * 60:.0f} min, {paper_slow / paper_own:.1f} times."
    )


def plan_lines(recipe: Recipe, classes: int = CLASSES) -> list[str]:
    """What will be measured, in lines of at most 80 columns. Raises SettingError as `measure_costs`."""
    _precision(recipe)
    found = networks(recipe, classes)
    lines = [f"study   {COST}: {COST_TITLE}", "", f"{'no.':>4}  {'network':22} {'clip':>16} {'views':>6} {'G MACs':>8}"]
    macs = 0.0
    for number, network in enumerate(found, 1):
        one, side = count_cost(network.settings).macs / 1e9, network.settings.image_size
        clip = f"{network.settings.num_frames} x {side} x {side}"
        macs += one
        lines.append(f"{number:4}  {network.name:22} {clip:>16} {network.views:6} {one:8.1f}")
    passes = ROUNDS + 1  # a training step counts as three forward passes
    work = 4 * passes * macs * 1e9
    minutes = (work / _rate() + 2 * START * len(found)) / 60
    return [
        *lines,
        "",
        f"{len(found)} networks, {work / 1e12:.1f} T multiply-accumulates; about {minutes:.0f} minutes at half the "
        "speed",
        "of a matrix product here, and less than a MB of disk",
    ]


def _rate() -> float:
    """Multiply-accumulates a second that networks may do here: half of those of a large matrix product."""
    device = find_device()
    matrix = torch.rand(1024, 1024, device=device)
    seconds = min(timed(lambda: matrix @ matrix, device) for _ in range(5))
    return 0.5 * 1024**3 / seconds
