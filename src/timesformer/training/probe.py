"""A probe: heads on the features of a frozen network, which are computed once; the best head makes RUN/model.

RUN/logs/heads.csv has every head and value that was tried. Without a `val` split RUN/held_out.parquet has the scores of
the training videos by heads that were chosen and fitted without them, as `timesformer test --out` writes scores.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from timesformer.data.manifest import Manifest
from timesformer.evaluation.evaluate import EvaluationResult
from timesformer.evaluation.metrics import Metrics, measure
from timesformer.evaluation.score_files import write_scores
from timesformer.features.choice import Choice, can_be_kept, choose_in_folds, choose_on
from timesformer.features.head import Head
from timesformer.files import replacing
from timesformer.training.bar import counted, make_bar
from timesformer.training.floors import Floor, facts_of
from timesformer.training.frozen import FrozenFeatures
from timesformer.training.heads import make_heads, with_head
from timesformer.training.log import Log, write_session
from timesformer.training.plan import ProbePlan
from timesformer.training.result import ProbeResult
from timesformer.training.videos import validation_groups


def run_probe(plan: ProbePlan, floors: tuple[Floor, ...], session: dict[str, Any], log: Log) -> ProbeResult:
    """Compute or find the features, fit the heads, write RUN/model."""
    recipe, out, classifier, validation = plan.recipe, plan.out, plan.initialised.classifier, plan.validation
    write_session(out, recipe, session)
    heads = make_heads(recipe, classifier.model)
    frozen = FrozenFeatures(plan, log)
    training = frozen.of(plan.training)
    validation_features = frozen.of(validation) if validation else None
    groups, grouped = plan.training.groups(recipe.data.group), recipe.data.group is not None
    folds = min(recipe.probe.folds, len(set(groups)))
    if validation:
        groups, grouped = validation_groups(validation, recipe.data.group, log)
    with make_bar(log.console) as bar:
        total = len(heads) * (1 if validation_features else folds * (folds + 1) // 2)
        task = bar.add_task("heads", total=total)

        def on_fit(head: Head) -> None:
            done = int(bar.tasks[task].completed)
            bar.update(task, completed=done + 1, description=f"heads, fit {counted(done + 1, total)}: {head.name}")

        if validation_features:
            choice = choose_on(validation_features, training, heads, groups, on_fit)
        else:
            choice = choose_in_folds(training, heads, groups, folds, recipe.seed, on_fit)
    groups = [groups[row] for row in choice.videos_B.tolist()]
    for line in _table(choice, validation):
        log.say(line)
    _write_trials(choice, "val" if validation else "cross-validation", out / "logs" / "heads.csv")
    metrics = measure(choice.scores_BK, choice.labels_B)
    kept = choice.kept
    fitted = kept.head.fit(training)[kept.number]
    result = ProbeResult(
        out / "model",
        None,
        metrics.top1,
        "top-1",
        validation.split if validation else None,
        training.skipped + (validation_features.skipped if validation_features else ()),
        metrics=metrics.known(),
        videos=len(choice.labels_B),
        floors=floors,
        head=str(kept),
        tried=sum(can_be_kept(trial.candidate) for trial in choice.trials),
        groups=len(set(groups)) if grouped else None,
        interval=choice.estimate.interval,
    )
    if not validation:
        _write_held_out(
            choice, metrics, plan.training, result, frozen.precision(plan.training), out / "held_out.parquet"
        )
    facts = plan.card_facts | {"probe": result.summary()} | facts_of(floors)
    with_head(classifier, kept.head, fitted).save_pretrained(result.model, facts=facts)
    return result


def _table(choice: Choice, validation: Manifest | None) -> list[str]:
    """A line for each head: its best value, and its score."""
    lines = []
    for candidate, estimate in choice.of_heads:
        basis = "the best of its values on val" if validation else "nested cross-validation"
        kept = "" if can_be_kept(candidate) else "; not kept"
        lines.append(f"head    {candidate}: {estimate}, {basis}{kept}")
    return lines


def _write_trials(choice: Choice, split: str, file: Path) -> None:
    """Every head and value that was tried, with what chose among them."""
    file.parent.mkdir(exist_ok=True)
    with replacing(file) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("head", "setting", "value", "chosen_by", "loss", "top1", "kept"))
        for candidate, loss, top1 in choice.trials:
            kept = int(candidate == choice.kept)
            head = candidate.head
            writer.writerow((head.name, head.setting, candidate.value, split, f"{loss:.6f}", f"{top1:.6f}", kept))


def _write_held_out(
    choice: Choice, metrics: Metrics, training: Manifest, result: ProbeResult, precision: str, file: Path
) -> None:
    """The scores that the estimate is of, as of any evaluation."""
    paths = tuple(training.videos[row].path for row in choice.videos_B.tolist())
    scored = choice.scores_BK, choice.labels_B, paths
    write_scores(EvaluationResult(metrics, *scored, training.labels, result.skipped, "features", precision), file)
