"""Run a study: what is missing of its trainings, in any number of processes, then its table, figure and page.

OUT/study.json      what the folder is of
OUT/results.csv     a row a run
OUT/table.md        the cells beside the paper's own numbers
OUT/figure.png      in the paper's form
OUT/study.html      all of it on a page
OUT/../runs/        the trainings, which studies share
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable
from typing import Any

from timesformer.bench.child import EndedError
from timesformer.errors import SettingError, TimesformerError, TrainingError, one_line
from timesformer.study.figure import FIGURE, draw_study
from timesformer.study.folder import claim_folder, writing_to
from timesformer.study.key import settings_that_count
from timesformer.study.page import write_study_page
from timesformer.study.perform import train_and_test
from timesformer.study.plan import StudyPlan, Task
from timesformer.study.results import Row, row_of, write_results
from timesformer.study.summary import summarise
from timesformer.study.table import TABLE, markdown, metric_of, terminal_lines, write_table

WAIT = 5.0  # seconds between looks at what another process works on
Say = Callable[[str], object]


def run_study(
    plan: StudyPlan,
    *,
    cell: int | None = None,
    threads: int | None = None,
    say: Say = lambda line: None,
    apart: bool = True,
) -> list[Row]:
    """Train and test what is missing, and write OUT. Returns the rows, of all seeds of all cells.

    A training that fails is in the table with its reason, and is tried again the next time. Several processes may run
    the same study, or studies with the same OUT/../runs: each takes trainings that no other one works on, and waits for
    the others' at the end.

    cell: the number of one training of the plan, from 1, which alone is done; nothing is written to OUT then. threads:
    that compute. say: called with lines on how far it is. apart: each training in a process of its own.

    Raises SettingError for a number that there is not, and for an OUT with results of another study, data, recipe or
    weights; TrainingError where the training of `cell` fails, or another process works on it.
    """
    trainings = plan.trainings
    if cell is not None:
        if not 1 <= cell <= len(trainings):
            raise SettingError(f"cell {cell}: the study has trainings 1 to {len(trainings)}; --plan lists them")
        tasks = trainings[cell - 1]
        if not _attempt(plan, cell, threads, say, apart=apart):
            raise TrainingError(f"{_title(tasks)}: another process works on it")
        rows = [row_of(plan, task) for task in tasks]
        if failed := next((row for row in rows if row.status == "failed"), None):
            raise TrainingError(f"{_title(tasks)}: {failed.reason}")
        return rows
    claim_folder(plan.out, identity_of(plan))
    try:
        _attempt_all(plan, threads, say, apart=apart)
    except KeyboardInterrupt as stop:
        stop.add_note("the same command continues it")
        raise
    return write_study(plan, say)


def _attempt_all(plan: StudyPlan, threads: int | None, say: Say, *, apart: bool) -> None:
    """Do all trainings, those last that other processes work on; when these are done there is nothing left to do. One
    that another process has seen fail meanwhile is not tried again: it would fail here as well."""
    count = len(plan.trainings)
    before = [tasks[0].run.failed_at for tasks in plan.trainings]
    left, waiting = list(range(1, count + 1)), 0
    while left:
        busy = []
        for number in left:
            tasks = plan.trainings[number - 1]
            if tasks[0].run.failed_at not in (None, before[number - 1]):
                say(f"{number}/{count}  {_title(tasks)}: failed in another process: {tasks[0].run.failure}")
                continue
            if not _attempt(plan, number, threads, say, apart=apart):
                busy.append(number)
            _write_rows(plan)
        if busy and len(busy) != waiting:
            say(f"waiting for {len(busy)} of {count} trainings, which other processes work on")
        if busy:
            time.sleep(WAIT)
        left, waiting = busy, len(busy)


def write_study(plan: StudyPlan, say: Say) -> list[Row]:
    """Write what the cache has of a study to OUT, and say its table."""
    rows = _write_rows(plan)
    summaries, command = summarise(plan, rows), shlex.join(["timesformer", *sys.argv[1:]])
    with writing_to(plan.out):
        write_table(markdown(plan, summaries, command), plan.out)
        draw_study(plan.study, summaries, plan.reference, metric_of(summaries), plan.out / FIGURE)
        page = write_study_page(plan, summaries, rows, command)
    for line in ["", *terminal_lines(plan, summaries), "", f"table   {plan.out / TABLE}", f"page    {page}"]:
        say(line)
    return rows


def _write_rows(plan: StudyPlan) -> list[Row]:
    """Write OUT/results.csv with what the cache has."""
    rows = [row_of(plan, task) for task in plan.tasks]
    with writing_to(plan.out):
        write_results(rows, plan.out)
    return rows


def identity_of(plan: StudyPlan) -> dict[str, Any]:
    """What the results of a folder are of. More seeds of the same are no other study."""
    counted = settings_that_count(plan.recipe)
    init = next((task.run.init for task in plan.tasks if task.run.init), None)
    cells = {task.cell.name: task.config for task in plan.tasks}
    return {"study": plan.study.name, "recipe": counted, "data": plan.data.digest, "weights": init, "cells": cells}


def _title(tasks: list[Task]) -> str:
    return f"{tasks[0].cell.name}, seed {tasks[0].seed}"


def _attempt(plan: StudyPlan, number: int, threads: int | None, say: Say, *, apart: bool) -> bool:
    """Do one training of a plan, unless it is done. Returns False where another process works on it."""
    trainings = plan.trainings
    tasks, where = trainings[number - 1], f"{number:{len(str(len(trainings)))}}/{len(trainings)}"
    run, title = tasks[0].run, f"{where}  {_title(tasks)}"
    protocols = [dict(task.cell.protocol) for task in tasks]
    if run.is_done(list(protocols)):
        say(f"{title}: {_score(plan, tasks)}, done before")
        return True
    if run.is_busy:
        return False
    say(f"{title}: {'testing' if run.done else 'training'}")
    try:
        data, init = plan.data.folder, tasks[0].init
        if not train_and_test(run, data, init, protocols, threads, lambda now: say(f"{title}: {now}"), apart=apart):
            return False
    except (EndedError, TimesformerError) as error:
        status = f"{error.status}: " if isinstance(error, EndedError) and error.status != "failed" else ""
        run.write_failure(one_line(f"{status}{error}"))
        say(f"{title}: failed: {one_line(error)}")
        return True
    say(f"{title}: {_score(plan, tasks)}")
    return True


def _score(plan: StudyPlan, tasks: list[Task]) -> str:
    """The score of a training, or the first and last of several tests of it."""
    rows = [row_of(plan, task) for task in tasks]
    scores = " ".join(f"{row.test_score:.3f}" for row in rows if row.test_score is not None)
    return f"{scores}, {rows[0].minutes:.1f} minutes"
