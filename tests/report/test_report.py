"""Reports in a real browser, and what they are of."""

from __future__ import annotations

import html
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import browser
import timesformer
from conftest import small_recipe
from probes import probe_recipe
from timesformer.errors import DataError, SettingError
from timesformer.evaluation.analysis import analyse
from timesformer.evaluation.evaluate import evaluate
from timesformer.evaluation.metrics import measure_multilabel
from timesformer.evaluation.record import Stopwatch, record_test
from timesformer.evaluation.score_files import Scores, read_scores, write_scores
from timesformer.folds.run import fit_folds
from timesformer.report.names import data_mark, default_page, page_of_test
from timesformer.report.report import report
from timesformer.report.run import describe_run
from timesformer.report.subject import read_subject


@pytest.fixture(scope="module")
def tested(run: Path, bars: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scores of all 8 training videos, of which some are made wrong: two confidently."""
    watch = Stopwatch()
    result = evaluate(run, bars, split="train", workers=0, device="cpu", precision="fp32", on_progress=watch)
    for row, score in enumerate((0.02, 0.9, 0.95, 0.85, 0.04, 0.1, 0.3, 0.9)):  # of left; 0 to 3 are left
        result.scores_BK[row] = torch.tensor([score, 1 - score])
    file = tmp_path_factory.mktemp("tested") / "scores.parquet"
    scores = Scores.of(result, record=record_test(result, run, bars, "train", watch)).as_result()
    write_scores(scores, file, record=record_test(scores, run, bars, "train", watch))
    return file


@pytest.fixture(scope="module")
def page(tested: Path) -> Path:
    return report([tested])


def rows(table: Any) -> list[list[str]]:
    return [row.split("\t") for row in table.locator("tbody tr").all_inner_texts()]


def test_a_report_works_in_a_browser(page: Path, tested: Path, chromium: browser.Chromium) -> None:
    opened = chromium.open(page)
    assert page.name == "scores.html"
    assert browser.broken_images(opened) == []
    assert not browser.is_wider_than_window(opened)
    cells = opened.locator(".confusion tbody td")
    assert [cell.get_attribute("style") for cell in cells.all()] == [
        f"--fraction: {part}" for part in (0.75, 0.25, 0.25, 0.75)
    ]

    low, high = analyse(read_scores(tested).as_result()).intervals["top1"]
    top1 = opened.locator("table.scores tbody tr").first.inner_text().split()
    assert top1[:5] == ["top-1", "0.750", f"{low:.3f}", "to", f"{high:.3f}"]
    assert top1[5:] == ["floor:", "most", "frequent", "class", "0.500"]
    classes = opened.locator("#class-rows")
    assert [row[0] for row in rows(classes)] == ["left", "right"]
    classes.get_by_role("button", name="Class").click()
    classes.get_by_role("button", name="Class").click()
    assert [row[0] for row in rows(classes)] == ["right", "left"]
    opened.locator("input[data-filters=class-rows]").fill("rig")
    assert classes.locator("tbody tr:visible").count() == 1

    clips = opened.locator(".clip")
    assert [text.split("\n")[0] for text in clips.all_inner_texts()] == [
        "predicted right 0.98, label left 0.02",
        "predicted left 0.90, label right 0.10",
        "right 0.96",
        "left 0.95",
    ]
    play = clips.first.locator("button.play")
    play.click()
    opened.wait_for_function("() => document.querySelector('.clip video').currentTime > 0")
    assert play.get_attribute("aria-pressed") == "true"
    play.press("Space")
    assert opened.evaluate("() => document.querySelector('.clip video').paused")
    opened.get_by_role("button", name="Play all").click()
    opened.wait_for_function("() => [...document.querySelectorAll('.clip video')].every(v => v.currentTime > 0)")
    opened.get_by_role("button", name="Pause all").click()

    both = play.bounding_box()
    opened.get_by_role("button", name="Map", exact=True).click()
    assert opened.locator("button[data-view=map]").get_attribute("aria-pressed") == "true"
    alone = play.bounding_box()
    assert both is not None
    assert alone is not None
    assert both["width"] / both["height"] == pytest.approx(2 * alone["width"] / alone["height"], rel=0.05)

    suspects = opened.locator("#suspects-0")
    assert [row[1:] for row in rows(suspects)] == [
        ["train/left/0.mp4", "left", "0.020", "right", "0.980"],
        ["train/right/3.mp4", "right", "0.100", "left", "0.900"],
    ]


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_everybody_can_read_it(page: Path, chromium: browser.Chromium, width: int, scheme: Any) -> None:
    opened = chromium.open(page, width=width, scheme=scheme)
    opened.evaluate("() => document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.faults(opened) == []
    assert not browser.is_wider_than_window(opened)


def test_what_was_trained_and_how_to_repeat_it(page: Path, run: Path, bars: Path) -> None:
    text = page.read_text("utf-8")
    assert f"{bars}: 8 training videos, 4 validation videos (val), 2 classes" in text
    assert "divided_space_time, width 32, 1 blocks, 2 heads" in text
    assert "http:" not in text.replace("http://www.w3.org", "")
    assert "https:" not in text
    assert all(command in html.unescape(text) for command in describe_run(run).commands)
    assert "videos a second" in text
    assert "Memory at the peak" in text


def test_a_run_is_tested_once_on_what_validates_it(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    engines = []
    page = report([copy], on_progress=lambda progress: engines.append(progress.engine))
    assert page == copy / "report.html"
    kept = read_scores(copy / "validation.parquet")
    assert len(kept.videos) == 4
    assert kept.record is not None
    assert kept.record.split == "val"
    result = evaluate(run, kept.record.data, split="val", workers=0, device="cpu")
    torch.testing.assert_close(kept.scores_BK, result.scores_BK, atol=0.02, rtol=0)
    assert f"<strong>{result.metrics.top1:.3f}</strong>" in page.read_text("utf-8")
    assert len(engines) > 0
    engines.clear()
    report([copy], on_progress=lambda progress: engines.append(progress.engine))
    assert engines == []


def test_a_run_that_has_not_ended_says_so(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / "result.json").unlink()
    metrics = copy / "logs" / "metrics.csv"
    lines = metrics.read_text().splitlines(keepends=True)
    metrics.write_text("".join(line for line in lines if not line.split(",")[1].startswith("4.")))
    text = report([copy]).read_text("utf-8")
    assert f"The run {copy} has not ended: 3 of 4 epochs are done." in text
    assert f"<code>timesformer train --resume {copy}</code>" in text
    assert "A run that has not ended is not tested." in text
    assert 'class="chart"' in text
    assert not (copy / "validation.parquet").exists()


def test_data_that_are_gone_leave_the_rest(run: Path, bars: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    sessions = copy / "sessions.yaml"
    sessions.write_text(sessions.read_text().replace(str(bars), str(tmp_path / "gone")))
    text = report([copy]).read_text("utf-8")
    assert f"Its data are no longer in {tmp_path / 'gone'}." in text
    assert 'class="chart"' in text


def test_floors_of_a_run_are_of_its_own_data(tested: Path, run: Path, bars: Path, tmp_path: Path) -> None:
    """A split of other data that has the same name is held against nothing that the run measured."""
    copy, scores = tmp_path / "run", read_scores(tested)
    shutil.copytree(run, copy)
    result = json.loads((copy / "result.json").read_text())
    result["floors"]["probe"] = {"top1": 0.123}
    (copy / "result.json").write_text(json.dumps(result))
    assert scores.record is not None
    pages = []
    for data in (bars, tmp_path / "other"):
        record = replace(scores.record, weights=str(copy), data=str(data), split=result["split"])
        write_scores(scores.as_result(), tmp_path / "s.parquet", record=record)
        pages.append(report([tmp_path / "s.parquet"]).read_text("utf-8"))
    assert ["floor: linear probe on the initial weights 0.123" in page for page in pages] == [True, False]


def test_scores_of_weights_that_have_changed(tested: Path, run: Path, bars: Path, tmp_path: Path) -> None:
    """The scores of a run that was trained again: it explains nothing of them."""
    copy, scores = tmp_path / "run", read_scores(tested)
    shutil.copytree(run, copy)
    assert scores.record is not None
    record = replace(scores.record, weights=str(copy), protocol={"clips": 2})
    write_scores(scores.as_result(), tmp_path / "s.parquet", record=record)
    subject = read_subject(tmp_path / "s.parquet")
    assert (subject.note, subject.weights) == (None, copy)
    assert subject.run is not None
    assert subject.what == f"the 8 videos of {bars}, train (clips 2)"
    classifier = timesformer.load_model(copy)
    with torch.no_grad():
        next(iter(classifier.model.parameters())).add_(1)
    shutil.rmtree(copy / "model")
    classifier.save_pretrained(copy / "model")
    subject = read_subject(tmp_path / "s.parquet")
    assert (subject.run, subject.weights) == (None, None)
    text = report([tmp_path / "s.parquet"]).read_text("utf-8")
    assert f"{copy} has changed since this test, so there are no maps, floors and facts of the training." in text
    assert "All settings" not in text
    shutil.rmtree(copy / "model")
    note = read_subject(tmp_path / "s.parquet").note
    assert note is not None
    assert note.startswith("The weights that were tested cannot be read, so there are no maps")


def test_videos_that_are_gone_have_no_picture(
    tested: Path, bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = read_scores(tested)
    result, record = scores.as_result(), scores.record
    moved = tuple(tmp_path / path.name for path in result.paths)
    monkeypatch.setattr("timesformer.report.videos.SUSPECTS", 1)
    write_scores(replace(result, paths=moved), tmp_path / "moved.parquet", record=record)
    text = report([tmp_path / "moved.parquet"], tmp_path / "page.html").read_text("utf-8")
    assert "8 of 8 videos are no longer where they were; they have no picture." in text
    assert "The 1 clearest; 1 more is in suspects.csv of <code>timesformer test WEIGHTS --data DATA --details" in text
    assert "<video" not in text


def test_scores_of_earlier_versions_have_no_record(tested: Path, tmp_path: Path) -> None:
    write_scores(read_scores(tested).as_result(), tmp_path / "old.parquet")
    text = report([tmp_path / "old.parquet"]).read_text("utf-8")
    assert "The scores do not say which weights they are of" in text
    assert "Without the weights there are no maps of where the model looked." in text
    assert "<video" in text


def test_two_side_by_side(run: Path, tested: Path, tmp_path: Path, chromium: browser.Chromium) -> None:
    other = tmp_path / "other.parquet"
    scores = read_scores(tested)
    result = scores.as_result()
    result.scores_BK[0] = torch.tensor([0.9, 0.1])  # right now
    result.scores_BK[1] = torch.tensor([0.2, 0.8])  # wrong now
    result.scores_BK[2] = torch.tensor([0.2, 0.8])
    write_scores(result, other, record=scores.record)
    page = report([tested, other], tmp_path / "two.html")
    opened = chromium.open(page)
    text = opened.locator("#comparison").inner_text()
    assert "2 videos only scores.parquet has right, 1 only other.parquet" in text
    assert "p = 1" in text
    assert opened.locator("#comparison tbody tr").first.inner_text().split()[:4] == [
        "top-1",
        "0.750",
        "0.625",
        "-0.125",
    ]
    classes = rows(opened.locator("#class-rows"))
    assert classes == [["left", "4", "0.750", "0.500", "-0.250"], ["right", "4", "0.750", "0.750", "+0.000"]]
    opened.locator("summary", has_text="Videos that one alone has right").click()
    alone = opened.locator("#comparison details table")
    assert [row[0] for row in rows(alone)] == [f"train/left/{number}.mp4" for number in range(3)]
    assert browser.faults(opened) == []
    assert opened.locator("#scores .card").count() == 2


def test_two_runs_show_what_differs(run: Path, tmp_path: Path, bars: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    shutil.copytree(run, first)
    timesformer.fit(small_recipe("training.epochs=1", "optimizer.learning_rate=0.5"), bars, second)
    page = report([first, second])
    assert page == first / "report-second.html"
    text = page.read_text("utf-8")
    assert "<code>training.epochs</code></th><td>4</td><td>1</td>" in text
    assert "<code>optimizer.learning_rate</code>" in text
    assert "<code>training.batch_size</code>" not in text
    assert "Solid: first; dashed: second" in text
    assert "McNemar" in text


def test_folds_are_one_report(bars: Path, tmp_path: Path) -> None:
    result = fit_folds(small_recipe("training.epochs=1"), bars, tmp_path / "folds", folds=2)
    subject = read_subject(tmp_path / "folds")
    assert subject.analysis is not None
    assert len(subject.analysis.result.paths) == 8
    assert subject.analysis.metrics["top1"] == pytest.approx(result.mean)
    text = report([tmp_path / "folds"]).read_text("utf-8")
    assert "all 8 videos, each by the fold that was not trained on it" in text
    assert f"Mean {result.mean:.3f}" in text


def test_a_probe_is_shown_by_its_held_out_scores(run: Path, bars: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train").symlink_to(bars / "train")
    result = timesformer.fit(probe_recipe("probe.heads=[linear]"), tmp_path / "data", tmp_path / "probe", init=run)
    subject = read_subject(tmp_path / "probe")
    assert subject.what.startswith("the training videos, by heads that have not seen them")
    assert subject.analysis is not None
    assert subject.analysis.metrics["top1"] == pytest.approx(result.score)
    text = report([tmp_path / "probe"]).read_text("utf-8")
    assert "cross-validation" in text
    assert "The scores are of heads that have not seen the videos; the maps are of the final head" in text


def test_videos_of_several_classes(tmp_path: Path, tested: Path) -> None:
    result = read_scores(tested).as_result()
    labels_BK = torch.nn.functional.one_hot(result.labels_B, 2).float()
    labels_BK[1] = 1
    several = replace(result, labels_B=labels_BK, metrics=measure_multilabel(result.scores_BK, labels_BK))
    write_scores(several, tmp_path / "several.parquet")
    text = report([tmp_path / "several.parquet"]).read_text("utf-8")
    assert "Average precision" in text
    assert "no video is simply right or wrong" in text
    assert 'id="confusion"' not in text


def _no_result(run: Path) -> Path:
    (run / "result.json").write_text("{")
    return run


def _no_recipe(run: Path) -> Path:
    (run / "recipe.yaml").unlink()
    return run


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "nothing": (lambda run: run.parent / "none", "none: no such folder; expected a run"),
    "no run": (lambda run: run / "model", "model: holds no run; expected the folder of a run, or scores"),
    "no scores": (lambda run: run / "none.parquet", "none.parquet: no such file"),
    "another file": (lambda run: run / "log.txt", "log.txt: is no run and no scores"),
    "a damaged result": (_no_result, "run: cannot be reported: "),
    "no recipe": (_no_recipe, "run: cannot be reported: recipe.yaml is missing"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused(run: Path, tmp_path: Path, name: str) -> None:
    make, message = BAD[name]
    shutil.copytree(run, tmp_path / "run")
    source = make(tmp_path / "run")
    with pytest.raises((SettingError, DataError)) as caught:
        report([source], tmp_path / "page.html")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "page.html").exists()


def test_pages_have_their_places(tmp_path: Path) -> None:
    assert default_page(["run"]) == Path("run/report.html")
    assert default_page(["a/run", "b/best"]) == Path("a/run/report-best.html")
    assert default_page(["out/scores.parquet"]) == Path("out/scores.html")
    assert default_page(["run.1", "run.2"]) == Path("run.1/report-run.2.html")
    assert default_page(["a.parquet", "b.parquet"]) == Path("a-b.html")
    with pytest.raises(SettingError, match="3 runs or score files; expected one, or two to compare"):
        report(["a", "b", "c"])


def test_pages_of_tests_have_names_of_their_own(run: Path, tmp_path: Path) -> None:
    data = tmp_path / "my clips"
    assert page_of_test(run, data, "val") == run / "test-my-clips-val.html"
    assert page_of_test(run, tmp_path / "b", "test") == run / "test-b-test.html"
    assert page_of_test(run / "model", data, "val") == run / "test-my-clips-val.html"
    page, other = tmp_path / "run" / "test-my-clips-val.html", tmp_path / "other" / "my clips"
    shutil.copytree(run, page.parent)
    page.write_text(f'<meta name="timesformer-data" content="{data_mark(data)}">')
    assert page_of_test(page.parent, data, "val") == page
    assert page_of_test(page.parent, other, "val") == page.with_name(f"test-my-clips-val-{data_mark(other)}.html")
    assert page_of_test(run, data, "val", Path("out/s.csv")) == Path("out/s.html")
    weights = tmp_path / "model"
    shutil.copytree(run / "model", weights)
    assert page_of_test(weights, data, "val") is None
    assert page_of_test("facebook/some-weights", data, "val") is None
    assert page_of_test(weights, data, "val", Path("s.parquet")) == Path("s.html")


def test_the_record_of_a_test_comes_back(tested: Path, run: Path, bars: Path) -> None:
    record = read_scores(tested).record
    assert record is not None
    assert (record.weights, record.data, record.split) == (str(run), str(bars), "train")
    assert record.engine == "eager"
    assert record.seconds > 0
    assert record.memory > 1e6
    assert type(record).of(json.loads(json.dumps(record.as_dict()))) == record
    assert type(record).of({"weights": "x"}) is None
    assert type(record).of(None) is None
