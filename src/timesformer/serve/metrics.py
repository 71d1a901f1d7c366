"""What Prometheus is told: requests, stages of their work, clips, and the process."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.responses import Response

from timesformer.serve.models import ServedModel

SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)
CLIPS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """The metrics of one service, all of whose names begin with timesformer_."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "timesformer_requests", "Requests answered.", ("route", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "timesformer_request_seconds", "Seconds of a request.", ("route",), buckets=SECONDS, registry=self.registry
        )
        self.stages = Histogram(
            "timesformer_stage_seconds",
            "Seconds of a stage of a request, waiting for its turn included.",
            ("stage",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.problems = Counter(
            "timesformer_problems", "Requests that got an error, by its code.", ("error",), registry=self.registry
        )
        self.upload_bytes = Counter("timesformer_upload_bytes", "Bytes of uploads.", registry=self.registry)
        self.running = Gauge("timesformer_requests_running", "Requests being worked on.", registry=self.registry)
        self.clips = Counter(
            "timesformer_clips", "Clips that went through an engine.", ("model",), registry=self.registry
        )
        self.engine_seconds = Counter(
            "timesformer_engine_seconds", "Seconds that an engine computed.", ("model",), registry=self.registry
        )
        self.batch_clips = Histogram(
            "timesformer_batch_clips", "Clips of a batch.", ("model",), buckets=CLIPS, registry=self.registry
        )
        self.reserved = Gauge(
            "timesformer_clips_waiting",
            "Clips of requests that wait or are computed.",
            ("model",),
            registry=self.registry,
        )

    def follow(self, models: Mapping[str, ServedModel]) -> None:
        """Count the batches of these models."""
        for name, model in models.items():
            self.reserved.labels(name).set_function(partial(_reserved, model))
            model.batcher.on_batch = partial(self._batch, name)

    def _batch(self, name: str, clips: int, seconds: float) -> None:
        self.clips.labels(name).inc(clips)
        self.engine_seconds.labels(name).inc(seconds)
        self.batch_clips.labels(name).observe(clips)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """The seconds of a block are of this stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.stages.labels(name).observe(time.perf_counter() - start)

    def response(self) -> Response:
        """In the text format of Prometheus."""
        return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)


def _reserved(model: ServedModel) -> float:
    return model.batcher.reserved
