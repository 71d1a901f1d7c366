"""How long a study will take, and how much disk: from a step of each network and from reading a few videos."""

from __future__ import annotations

from dataclasses import dataclass

from timesformer.baselines.cost import count_cost
from timesformer.study.plan import RUNS, StudyPlan, Task
from timesformer.study.step import expected_epoch, settings_of
from timesformer.training.videos import choose_videos, read_training

STATES = 4  # copies of the weights in a checkpoint: weights, two of AdamW, averaged ones
BESIDE = 500_000  # bytes of a run beside its weights: log, metrics, curves, scores


@dataclass(frozen=True)
class Estimate:
    """Of one training of a plan.

    minutes: of training, without the epochs that find the pace of equal times. disk: bytes that stay; checkpoint: bytes
    more while it runs. known: whether it is done, and `minutes` are what it has taken.
    """

    minutes: float
    disk: int
    checkpoint: int
    known: bool


def estimate(plan: StudyPlan) -> list[Estimate]:
    """Of each training. Steps are timed one network after another, of random clips; what another seed has taken counts
    where that is known. Tests and validation are not in it."""
    kept: dict[tuple[str, str | None], tuple[float, int]] = {}
    found = []
    for tasks in plan.trainings:
        task = tasks[0]
        same = (task.config, task.init)
        done = task.run.done
        if done is not None:
            minutes, parameters = float(done["minutes"]), int(done["parameters"])
            kept[same] = minutes, parameters
        elif same not in kept:
            kept[same] = _known(plan, task) or _measure(plan, task)
        minutes, parameters = kept[same]
        found.append(Estimate(minutes, 4 * parameters + BESIDE, 4 * STATES * parameters, done is not None))
    return found


def _known(plan: StudyPlan, task: Task) -> tuple[float, int] | None:
    """What another seed has taken."""
    for other in plan.tasks:
        if (other.config, other.init) == (task.config, task.init) and (done := other.run.done) is not None:
            return float(done["minutes"]), int(done["parameters"])
    return None


def _measure(plan: StudyPlan, task: Task) -> tuple[float, int]:
    recipe = task.run.recipe
    training = choose_videos(recipe, *read_training(recipe, plan.data.folder)).training
    if minutes := task.run.extra.get("minutes"):
        return float(minutes), count_cost(settings_of(recipe, training, task.init)).parameters
    seconds, parameters = expected_epoch(recipe, training, task.init)
    return recipe.training.epochs * seconds / 60, parameters


def plan_lines(plan: StudyPlan, estimates: list[Estimate]) -> list[str]:
    """A plan as lines of at most 80 columns."""
    trainings = plan.trainings
    tested = plan.data.tested
    lines = [
        f"study   {plan.study.name}: {plan.study.title}",
        f"data    {plan.data.folder.resolve().name}, {len(plan.data.training.videos)} videos to train on, "
        f"{len(tested.videos)} of {tested.split} to test",
        f"out     {plan.out}",
        f"runs    {plan.out.parent / RUNS}",
        "",
        f"{'no.':>4}  {'cell':40} {'seed':>5} {'tests':>6} {'minutes':>8} {'MB':>6}",
    ]
    for number, (tasks, found) in enumerate(zip(trainings, estimates, strict=True), 1):
        names = tasks[0].cell.name + (f" and {len(tasks) - 1} more" if len(tasks) > 1 else "")
        name = names if len(names) <= 40 else f"{names[:37]}..."
        minutes = "done" if found.known else _shown(found.minutes, 0.1)
        lines.append(f"{number:4}  {name:40} {tasks[0].seed:5} {len(tasks):6} {minutes:>8} {found.disk / 1e6:6.1f}")
    left = [found for found in estimates if not found.known]
    disk = sum(found.disk for found in left) + max((found.checkpoint for found in left), default=0)
    minutes = _shown(sum(one.minutes for one in left), 1) if left else "0"
    return [
        *lines,
        "",
        f"{len(trainings)} trainings, {len(trainings) - len(left)} done; about {minutes} minutes and "
        f"{disk / 1e6:.0f} MB to go",
        "minutes are of training alone, without the three epochs that find each pace"
        if trainings[0][0].run.extra.get("minutes")
        else "minutes are of training alone, from a timed step of each network here",
        "not in them: the start of a process for each training, and its tests",
    ]


def _shown(minutes: float, unit: float) -> str:
    """Minutes in whole units, as 12.3 or 12; less than one is said to be that, and not 0."""
    return f"<{unit:g}" if minutes <= unit / 2 else f"{minutes:.{int(unit < 1)}f}"
