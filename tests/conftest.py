"""Fixtures for tests that need a trained classifier or a small data set."""

from __future__ import annotations

import os
import random
import signal
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from torch import Tensor

import browser
import timesformer
from commands import Command
from started import FORKED, start_check
from timesformer import device
from timesformer.config import Recipe, TimeSformerSettings
from timesformer.data import check
from timesformer.recipes import load_recipe
from timesformer.video.encode import write_video
from timesformer.weights.classifier import Classifier

# Not a conftest.py of tests/scale: two modules of that name would take each other's place.
pytest_plugins = ["ray_fixtures"]

# A busy machine is no failure, and what is tried is the same each time.
settings.register_profile("same", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("same")

# A shell that starts the tests in the background has Ctrl-C ignored in them, and in the commands that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# What the shell, the CI or the cluster that starts the tests says of its terminal, its proxies and its processes.
TERMINALS = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "TERMINAL_WIDTH")
OTHERS = ("SLURM", "TORCHELASTIC", "TTY_", "RANK", "WORLD_SIZE", "LOCAL_", "HF_HUB_", "HF_ENDPOINT")
for name in [name for name in os.environ if name in TERMINALS or name.startswith(OTHERS)]:
    del os.environ[name]
os.environ |= {"TERM": "xterm", "no_proxy": "127.0.0.1"}

# A processor without instructions for bfloat16 can compute in it, if slowly; `auto` takes float32 there all the same.
if not device.native_bf16():
    lacking = device.processor()
    device.processor = lambda: lacking._replace(vendor="GenuineIntel", flags=lacking.flags | {"avx512_bf16"})


# What a failure of power would lose no test can see, and to wait for the disk takes longer than most of them compute.
def sync_nothing(descriptor: int) -> None:
    os.fstat(descriptor)  # a descriptor that is closed fails here, too


os.fsync = sync_nothing  # type: ignore[assignment]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Networks and clips drawn at random are the same whichever tests ran before, and others in each test."""
    seed = zlib.crc32(item.nodeid.encode())
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


scheduler = getattr(os, "sched_getscheduler", lambda _: None)  # Linux has it
ORDINARY = scheduler(0)


@pytest.fixture(autouse=True)
def ordinary_priority() -> Iterator[None]:
    """An encoder of some library may change the priority of the tests' thread (`videos.write`)."""
    yield
    assert scheduler(0) == ORDINARY


@pytest.fixture(autouse=True)
def as_many_threads() -> Iterator[None]:
    """What a test runs in this process may set them; sums of the next tests would differ in their last bits."""
    threads = torch.get_num_threads()
    yield
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def forked_checks(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Processes of `data check` are forked from one that has imported torch, but where a test is `started_anew`."""
    if request.node.get_closest_marker("started_anew"):
        return
    monkeypatch.setattr(check._LastingLocks, "Process", FORKED.Process)
    monkeypatch.setattr(check, "_start_process", start_check)


SMALL = (
    "model.width=32",
    "model.depth=1",
    "model.heads=2",
    "model.num_frames=4",
    "model.image_size=16",
    "augmentation.short_side=[16, 20]",
    "training.epochs=4",
    "training.batch_size=4",
    "training.device=cpu",
    "data.workers=0",
    "optimizer.scale_learning_rate=none",
    "optimizer.warmup_epochs=0.5",
)

SMALL_PROBE = (
    *(setting for setting in SMALL if setting.startswith(("model.", "data."))),
    "model.patch_size=8",
    "probe.device=cpu",
    "probe.precision=fp32",
)


def moving_bar(direction: int, number: int, frames: int = 10) -> Tensor:
    """uint8 (3, T, 24, 32): a bright column that moves right (direction 1) or left (-1)."""
    clip = torch.full((3, frames, 24, 32), 20 + 3 * number, dtype=torch.uint8)
    for frame in range(frames):
        column = (6 + number + 2 * direction * frame) % 32
        clip[:, frame, :, column : column + 4] = 230
    return clip


@pytest.fixture(scope="session")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of class folders: `left` and `right`, 8 train, 4 val and 4 test videos. Not to be changed."""
    folder = tmp_path_factory.mktemp("bars")
    for split, count in (("train", 4), ("val", 2), ("test", 2)):
        for direction, label in ((-1, "left"), (1, "right")):
            (folder / split / label).mkdir(parents=True)
            for number in range(count):
                clip = moving_bar(direction, number + 10 * (split != "train"))
                write_video(folder / split / label / f"{number}.mp4", clip, 10)
    return folder


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capfd)


@pytest.fixture(scope="module")
def any_chromium() -> Iterator[browser.Chromium]:
    with browser.chromium() as found:
        yield found


@pytest.fixture
def chromium(any_chromium: browser.Chromium) -> Iterator[browser.Chromium]:
    """A browser whose pages may have no error, and may ask for nothing outside of their files."""
    yield any_chromium
    problems = list(any_chromium.problems)
    any_chromium.close_pages()
    assert not problems


@pytest.fixture(scope="module")
def motion_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from service_page import save_motion_weights  # it skips the tests where there is no Playwright

    return save_motion_weights(tmp_path_factory.mktemp("weights") / "motion")


@pytest.fixture(scope="module")
def motions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of several motions, one after the other."""
    from service_page import write_motions

    return write_motions(tmp_path_factory.mktemp("videos") / "three motions.mp4")


@pytest.fixture(scope="module")
def tab_and_address(any_chromium: browser.Chromium, motion_weights: Path) -> Iterator[tuple[Any, str]]:
    """The page of a service in a tab, for all tests of a file, and the service's address."""
    from service_page import tab_of

    with tab_of(any_chromium, motion_weights) as found:
        yield found


@pytest.fixture
def opened(tab_and_address: tuple[Any, str], any_chromium: browser.Chromium) -> Iterator[Any]:
    """The page of the service, as it is at first."""
    from service_page import as_at_first

    with as_at_first(tab_and_address[0], any_chromium) as page:
        yield page


def small_recipe(*overrides: str) -> Recipe:
    """The demo recipe for a network and a run that take a second."""
    return load_recipe("demo", (*SMALL, *overrides))


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, bars: Path) -> Path:
    """A finished training run on `bars`. Not to be changed."""
    from timesformer.training.fit import fit

    folder = tmp_path_factory.mktemp("runs") / "run"
    fit(small_recipe(), bars, folder)
    return folder


@pytest.fixture
def one_video_at_a_time(tmp_path: Path) -> Path:
    """Weights whose three views of a video keep a processor busy: no view waits for those of the next video."""
    shape = TimeSformerSettings(
        width=24, depth=1, heads=2, num_frames=8, image_size=64, patch_size=8, num_classes=2, scheme="space_only"
    )
    classifier = Classifier(timesformer.build_model(shape), labels=("left", "right"))
    classifier.save_pretrained(tmp_path / "weights")
    assert timesformer.load_engine(tmp_path / "weights", device="cpu").views == 3
    return tmp_path / "weights"


@pytest.fixture
def late_video(bars: Path) -> Iterator[tuple[str, threading.Event]]:
    """The address of a video, and the event that its server waits for before it sends it."""
    content, allowed = (bars / "test" / "left" / "0.mp4").read_bytes(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert allowed.wait(240)
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """The other end was killed."""

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/b.mp4", allowed
    allowed.set()
    server.shutdown()
    server.server_close()
