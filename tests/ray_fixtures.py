"""A Ray for the tests of scale/, weights for them, and an object store of this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import timesformer
import videos
from timesformer.config import TimeSformerSettings
from timesformer.scale.cluster import QUIET, import_ray, quiet
from timesformer.weights.classifier import Classifier

HERE = Path(__file__).parent / "scale"  # where the poisoned work is


@pytest.fixture(scope="session")
def small_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three views of a video fill its batch, so that no row depends on which videos are beside it."""
    settings = TimeSformerSettings(
        width=24, depth=1, heads=2, num_frames=8, image_size=64, patch_size=8, num_classes=2, scheme="space_only"
    )
    folder = tmp_path_factory.mktemp("weights") / "weights"
    Classifier(timesformer.build_model(settings), labels=("left", "right")).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Twelve videos of 20 to 31 frames, and one that is none."""
    folder = tmp_path_factory.mktemp("clips")
    paths = [videos.write(folder / f"{number}.mp4", 20 + number, size=(72, 96), rate=10) for number in range(12)]
    (folder / "broken.mp4").write_bytes(b"no video")
    return [*map(str, paths), str(folder / "broken.mp4")]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A Ray of this process, and its address for others; its workers import the poisoned work of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH")))))
        ray = import_ray()
        start(ray)
        yield ray.get_runtime_context().gcs_address
        ray.shutdown()


def start(ray: Any, tries: int = 3) -> None:
    """Ray gives its processes 30 s to start, in which they may not get as far on a busy machine."""
    try:
        with quiet():
            ray.init(num_cpus=3, include_dashboard=False, object_store_memory=200_000_000, **QUIET)
    except Exception:
        ray.shutdown()
        if tries == 1:
            raise
        start(ray, tries - 1)
