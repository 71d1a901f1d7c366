"""A service in this process, on a port of its own, for tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import torch
import uvicorn

import timesformer
from started import FORKED, PRELOADED
from timesformer.config import TimeSformerSettings
from timesformer.serve.app import create_app
from timesformer.serve.decoder import Decoder
from timesformer.serve.models import ServedModel, load_models
from timesformer.serve.pages import Page
from timesformer.serve.server import address_of, configure, listen
from timesformer.serve.service import Service
from timesformer.serve.settings import ServiceSettings
from timesformer.serve.worker import Decode, Limits
from timesformer.weights.classifier import Classifier

LABELS = ("left", "right", "still")


class Running(NamedTuple):
    """A service that answers, and a client of it."""

    service: Service
    client: httpx.Client
    address: str
    stop: Callable[[], None]  # as SIGTERM does; it does not wait

    @property
    def left(self) -> list[str]:
        """Files of uploads that have not been removed."""
        return [entry.name for entry in self.service.spool.folder.iterdir()]


def save_small(folder: Path, scheme: str = "divided_space_time", seed: int = 0) -> Path:
    """Weights of a small network whose scores differ from video to video."""
    torch.manual_seed(seed)
    settings = TimeSformerSettings(
        width=24, depth=1, heads=2, num_frames=4, image_size=16, patch_size=8, num_classes=3, scheme=scheme
    )
    model = timesformer.build_model(settings)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    Classifier(model, labels=LABELS).save_pretrained(folder)
    return folder


def load_small(weights: Mapping[str, Path], queue_clips: int = 256) -> dict[str, ServedModel]:
    named = {name: str(path) for name, path in weights.items()}
    return load_models(named, device="cpu", precision="fp32", queue_clips=queue_clips)


@contextmanager
def running(
    weights: Mapping[str, Path],
    *,
    token: str | None = None,
    page: Page | None = None,
    decode: Decode | None = None,
    **settings: Any,
) -> Iterator[Running]:
    """The service of these weights. decode: what its processes do in place of decoding; settings: its own."""
    values = ServiceSettings(**{"workers": 2} | settings)  # on any machine
    service = Service(load_small(weights, values.queue_clips), values, decode and with_decode(decode, values))
    FORKED.set_forkserver_preload([*PRELOADED, "timesformer.serve.worker", "pytest"])
    with listen("127.0.0.1", 0) as listening:
        app = create_app(service, token=token, page=page)
        server = uvicorn.Server(configure(app, values.drain_seconds))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        address = address_of(listening)
        try:
            with httpx.Client(base_url=address, timeout=240, trust_env=False) as client:
                yield Running(service, client, address, lambda: setattr(server, "should_exit", True))
        finally:
            server.should_exit = True
            thread.join()
    assert not service.spool.folder.exists()


def with_decode(decode: Decode, settings: ServiceSettings) -> Decoder:
    """Processes that do something else than decoding, within the limits of these settings."""
    return Decoder(Limits.of(settings), settings.decode_seconds, settings.workers, decode)


def until(done: Any) -> None:
    """Wait until something has happened."""
    end = time.monotonic() + 240
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)
