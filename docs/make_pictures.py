"""Draw the pictures of the README and the docs.

python docs/make_pictures.py [RUN]     all of them, after `make demo`
python docs/make_pictures.py schemes   what a patch sees in each scheme
python docs/make_pictures.py report RUN.html  two parts of a report, in light and in dark
python docs/make_pictures.py map [RUN]  the map of the demo's test clips, in Chromium
python docs/make_pictures.py serve [RUN [FOLDER]]  the page of the service, in Chromium
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from matplotlib.patches import Patch, Polygon
from PIL import Image

import timesformer
from timesformer.config import SCHEMES
from timesformer.data.motion import CLASSES, FPS, FRAMES, motion_clip
from timesformer.evaluation.temporal import TrueSegment
from timesformer.inference.segments import ScoredWindow, Segmenter, pieces
from timesformer.inference.timeline_picture import draw_timeline
from timesformer.model.schemes import STEPS
from timesformer.video.encode import write_video

IMAGES = Path(__file__).parent / "images"
SEED = 10**12 + 5  # in no split of the demo
COLUMNS = range(1, FRAMES, 3)


def motion(run: Path, out: Path) -> None:
    """One clip of each class from one seed, some of its frames, and what the demo's model says of it."""
    predictor = timesformer.load(run)
    pairs = ("left", "right", "up", "down", "clockwise", "counter_clockwise", "growing", "shrinking")
    assert sorted(pairs) == sorted(CLASSES)
    figure, axes = plt.subplots(8, len(COLUMNS), figsize=(9, 8.3), gridspec_kw={"wspace": 0.04, "hspace": 0.08})
    with tempfile.TemporaryDirectory() as folder:
        for row, label in zip(axes, pairs, strict=True):
            clip = motion_clip(label, SEED)
            video = Path(folder) / f"{label}.mp4"
            write_video(video, clip, FPS)
            best = predictor.predict(video, top=1)[0]
            for axis, frame in zip(row, COLUMNS, strict=True):
                axis.imshow(motion_clip(label, SEED, 96, 112)[:, frame].permute(1, 2, 0))
                axis.set_xticks([])
                axis.set_yticks([])
                for spine in axis.spines.values():
                    spine.set(visible=frame == FRAMES // 2, color="#f5f5f5", linewidth=2.5)
            row[0].set_ylabel(label.replace("_", "-\n"), rotation=0, ha="right", va="center", fontsize=10)
            row[-1].text(
                1.08,
                0.5,
                f"{best.label.replace('_', '-')}\n{best.score:.3f}",
                transform=row[-1].transAxes,
                va="center",
                fontsize=10,
                color="#2a7f3e" if best.label == label else "#b3261e",
            )
    for axis, frame in zip(axes[0], COLUMNS, strict=True):
        axis.set_title("the same frame\nin all eight" if frame == FRAMES // 2 else f"frame {frame}", fontsize=9)
    axes[0][0].text(-0.08, 1.12, "class", transform=axes[0][0].transAxes, ha="right", fontsize=10, weight="bold")
    axes[0][-1].text(1.08, 1.12, "predicted", transform=axes[0][-1].transAxes, fontsize=10, weight="bold")
    figure.savefig(out, dpi=90, bbox_inches="tight", facecolor="white")


def segments(run: Path, out: Path) -> None:
    """Eight clips of the demo's classes one after the other, and the segments that its model finds."""
    predictor = timesformer.load(run)
    order = ("right", "growing", "up", "clockwise", "left", "shrinking", "down", "counter_clockwise")
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "joined.mp4"
        clips = [motion_clip(label, SEED + number) for number, label in enumerate(order)]
        write_video(video, torch.cat(clips, 1), FPS)
        rows = list(predictor.timeline(video, stride=0.2))
    windows = [ScoredWindow.of(row.start, row.end, row.scores) for row in rows]
    found = list(Segmenter(predictor.labels, min_length=0.5).segments(windows))
    length = FRAMES / FPS
    truth = [TrueSegment("", n * length, (n + 1) * length, label) for n, label in enumerate(order)]
    draw_timeline(list(pieces(windows)), found, predictor.labels, out, title="joined.mp4", truth=truth)


# Of the steps of a scheme, first to last (Okabe and Ito).
COLOURS = ("#e69f00", "#0072b2", "#009e73")
QUERY, EMPTY, INK = "#222222", "#ececec", "#222222"
SEEN_FRAMES, GRID = 5, (8, 8)
ASKED = (2, 3, 4)  # frame, row and column of the patch that asks


def schemes(out: Path) -> None:
    """Which patches a patch attends to in each step of each scheme, as the steps themselves state it (the paper's
    figure 2)."""
    rows, columns = GRID
    number = 1 + (ASKED[0] * rows + ASKED[1]) * columns + ASKED[2]
    figure = plt.figure(figsize=(10.4, 9.6), facecolor="white")
    for across, (scheme, steps) in enumerate(SCHEMES.items()):
        seen = [set(STEPS[step].indices(SEEN_FRAMES, GRID).patches_QM[number - 1].tolist()) - {0} for step in steps]
        for frame in range(SEEN_FRAMES):
            plot = figure.add_axes((0.055 + across * 0.19, 0.755 - frame * 0.172, 0.175, 0.165))
            for row in range(rows):
                for column in range(columns):
                    patch = 1 + (frame * rows + row) * columns + column
                    colours = [COLOURS[step] for step, keys in enumerate(seen) if patch in keys]
                    square(plot, column, row, [QUERY] if patch == number else colours or [EMPTY])
            plot.set(xlim=(-0.1, columns + 0.1), ylim=(rows + 0.1, -0.1), aspect="equal")
            plot.set_axis_off()
            if across == 0:
                plot.text(
                    -0.5, rows / 2, f"frame {frame}", rotation=90, ha="right", va="center", fontsize=10, color=INK
                )
            if frame == 0:
                plot.set_title(scheme.replace("_", " "), fontsize=10.5, color=INK, weight="bold", pad=8)
        keys = len(set().union(*seen) | {number})
        named = [Patch(color=COLOURS[step], label=name) for step, name in enumerate(steps)]
        figure.legend(
            handles=named,
            loc="upper center",
            bbox_to_anchor=(0.1425 + across * 0.19, 0.066),
            ncols=len(named),
            frameon=False,
            fontsize=9,
            handlelength=1,
            handletextpad=0.4,
            columnspacing=0.9,
            title=f"{keys} of {SEEN_FRAMES * rows * columns} patches",
            title_fontsize=9,
        )
    figure.text(
        0.055,
        0.975,
        "What the black patch attends to in one block: each colour is a step of its own; two colours, both steps",
        fontsize=11.5,
        color=INK,
    )
    figure.savefig(out, dpi=100, facecolor="white")


def square(plot: Any, column: int, row: int, colours: list[str]) -> None:
    """A patch in one colour, or in two, corner to corner."""
    left, right, top, bottom = column + 0.05, column + 0.95, row + 0.05, row + 0.95
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    plot.add_patch(Polygon(corners, color=colours[0], linewidth=0))
    if len(colours) > 1:
        plot.add_patch(Polygon(corners[1:], color=colours[1], linewidth=0))


def feature_map(run: Path) -> None:
    """The page of the demo's test clips: on a screen, and on a phone in the dark."""
    from playwright.sync_api import sync_playwright

    predictor = timesformer.load(run)
    data = run.parent / "data"
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        features, page_file = Path(folder) / "demo.parquet", Path(folder) / "map.html"
        for _ in timesformer.FeatureJob(timesformer.list_data(data, "test"), features).run(predictor):
            pass
        table = timesformer.read_feature_table(features)
        timesformer.write_map(table, timesformer.project_features(table), page_file, data=data)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, width, height, scheme in (("map", 1280, 900, "light"), ("map_phone", 390, 720, "dark")):
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
            page.goto(page_file.as_uri())
            page.evaluate("() => show(300)")
            page.wait_for_function("() => !waiting && document.querySelector('#tip img').complete")
            page.screenshot(path=IMAGES / f"{name}.png")
        browser.close()


def service_page(run: Path, out: Path, folder: Path | None) -> None:
    """The page with eight clips of the demo's classes, one after the other: on a screen, and with the attention overlay
    on a phone in the dark. Both light and dark go to `folder`."""
    from playwright.sync_api import sync_playwright

    order = ("right", "growing", "up", "clockwise", "left", "shrinking", "down", "counter_clockwise")
    command = [sys.executable, "-m", "timesformer", "serve", f"motion={run}", "--port", "0"]
    service = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert service.stderr is not None
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        try:
            address = next(line for line in service.stderr if line.startswith("timesformer: ")).split()[-1]
            video = Path(temporary) / "eight motions.mp4"
            clips = [motion_clip(label, SEED + number, 240, 280) for number, label in enumerate(order)]
            write_video(video, torch.cat(clips, 1), FPS)
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            shots = {
                (width, scheme): page_shot(browser, address, video, width, scheme)
                for width in (1280, 390)
                for scheme in ("light", "dark")
            }
            browser.close()
        finally:
            service.terminate()
            service.wait()
    for (width, scheme), shot in shots.items():
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            shot.save(folder / f"page_{width}_{scheme}.png")
    screen, phone, gap = shots[1280, "light"], shots[390, "dark"], 24
    picture = Image.new("RGB", (screen.width + gap + phone.width, screen.height), "white")
    picture.paste(screen, (0, 0))
    picture.paste(phone, (screen.width + gap, 0))
    picture.save(out, quality=70, method=6)


def page_shot(browser: Any, address: str, video: Path, width: int, scheme: str) -> Image.Image:
    """The page of the service, in the dark with the overlay."""
    from playwright.sync_api import expect

    page = browser.new_page(viewport={"width": width, "height": 985}, color_scheme=scheme)
    page.goto(address)
    page.set_input_files("#file", video)
    expect(page.locator("#said")).to_contain_text("Timeline: ", timeout=120_000)
    page.locator("#segments button").nth(3).press("Enter")
    if scheme == "dark":
        page.locator("#attention").click()
        expect(page.locator("#overlay")).to_be_visible(timeout=120_000)
    page.locator(".screen video:visible").evaluate("(video) => { video.controls = false; scrollTo(0, 0); }")
    page.wait_for_timeout(500)
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


def report(page_file: Path, out: Path) -> None:
    """The head of a report in light, and its classes and failures in dark, side by side."""
    from PIL import Image
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        joined = Image.new("RGB", (1600, 985))
        for number, (scheme, part) in enumerate((("light", None), ("dark", "#classes"))):
            page = browser.new_page(
                viewport={"width": 1056, "height": 1300}, color_scheme=scheme, reduced_motion="reduce"
            )
            page.goto(page_file.resolve().as_uri())
            if part is not None:
                page.locator(part).evaluate("section => section.scrollIntoView({behavior: 'instant'})")
            page.screenshot(path=Path(folder) / "part.png")
            with Image.open(Path(folder) / "part.png") as picture:
                joined.paste(picture.resize((800, 985), Image.Resampling.LANCZOS), (800 * number, 0))
        browser.close()
    joined.save(out, quality=80)


if __name__ == "__main__":
    asked = sys.argv[1] if len(sys.argv) > 1 else "runs/demo/run"
    if asked == "map":
        feature_map(Path(sys.argv[2] if len(sys.argv) > 2 else "runs/demo/run"))
        sys.exit()
    if asked == "serve":
        given = [Path(word) for word in sys.argv[2:]]
        service_page(
            given[0] if given else Path("runs/demo/run"), IMAGES / "serve.webp", given[1] if given[1:] else None
        )
        sys.exit()
    if asked == "report":
        report(Path(sys.argv[2]), IMAGES / "report.webp")
        sys.exit()
    schemes(IMAGES / "schemes.png")
    if asked != "schemes":
        motion(Path(asked), IMAGES / "motion.png")
        segments(Path(asked), IMAGES / "segments.png")
