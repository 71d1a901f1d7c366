"""A Ray of this machine, or the one at an address; and who gets which of its cores and GPUs."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from timesformer.device import cores
from timesformer.errors import SettingError, one_line

REACH = 10  # seconds for a connection to an address
HEALTH = 60  # seconds for a cluster to say that it is well
PORT = 6379
QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Where a job runs.

    address: "auto" or HOST:PORT of a cluster's head; None for a Ray of this machine alone, which ends with the job.
    gpus: of a model, such as 0.5 for two models a GPU; one if not given, where the cluster has any and `device` allows
    it. threads: of a model on a CPU; one if not given. workers: videos that are decoded at a time, and as many
    models where each decodes its own (`Allocation.together`).
    """

    address: str | None = None
    gpus: float | None = None
    threads: int | None = None
    workers: int | None = None

    def check(self) -> None:
        """Raises SettingError for values that are not allowed."""
        if self.gpus is not None and not 0 <= self.gpus < float("inf"):
            raise SettingError(f"gpus is {self.gpus:g}; expected 0 or more")
        if self.gpus is not None and self.gpus > 1 and self.gpus % 1:
            raise SettingError(f"gpus is {self.gpus:g}; expected a fraction of one GPU, or a whole number")
        if self.workers is not None and self.workers < 1:
            raise SettingError(f"workers is {self.workers}; on Ray at least 1 is needed")
        if self.threads is not None and self.threads < 1:
            raise SettingError(f"threads is {self.threads}; expected at least 1")


class Allocation(NamedTuple):
    """Models, with the threads and GPUs of each; videos decoded at a time; alone: whether all is on this machine."""

    models: int
    threads: int
    gpus: float
    decoders: int
    alone: bool

    @property
    def together(self) -> bool:
        """Whether each model decodes its own videos, on the one CPU that it has."""
        return not self.gpus and self.threads == 1

    @property
    def cpus(self) -> int:
        """Those of Ray that all of them take."""
        return self.models * self.threads + (0 if self.together else self.decoders)


class Node(NamedTuple):
    """What Ray may use of a machine."""

    cpus: float
    gpus: float


def allocate(nodes: list[Node], cluster: Cluster, device: str) -> Allocation:
    """Who gets what of a cluster.

    With GPUs, a model has `gpus` of them and a CPU, and decoders have all other CPUs. Without, each CPU has a model
    that decodes its own videos, or, where models have more threads, half of each machine's CPUs compute, half decode.

    Raises SettingError for GPUs that are not there, where no CPU is, and where none is left to decode with.
    """
    gpus = _gpus(nodes, cluster, device)
    cpus, threads = sum(node.cpus for node in nodes), cluster.threads or 1
    if threads == 1 and not gpus:
        models = sum(int(node.cpus) for node in nodes)
        if not models:
            raise SettingError(f"CPUs of Ray: {cpus:g}; expected at least 1 (ray start --num-cpus)")
        models = min(models, cluster.workers or models)
        return Allocation(models, 1, 0, models, cluster.address is None)
    models = _on_gpus(nodes, gpus) if gpus else max(1, sum(int(node.cpus / 2 / threads) for node in nodes))
    decoders = int(cpus - models * threads)
    if decoders < 1:
        counts = f"{models} model{'s'[: models != 1]} of {threads} thread{'s'[: threads != 1]}"
        raise SettingError(
            f"CPUs of Ray: {cpus:g}; {counts} would leave none to decode with; expected fewer --threads, or more CPUs "
            "(ray start --num-cpus)"
        )
    return Allocation(models, threads, gpus, min(decoders, cluster.workers or decoders), cluster.address is None)


def allocate_here(node: Node, cluster: Cluster, device: str) -> Allocation:
    """Who gets what of this machine alone, `node`, whose Ray is told of as many CPUs as all of them take together.

    With GPUs models and decoders share its cores. Without, each core has a model that decodes its own videos, or, where
    models have more threads, they take all cores, and as many decoders give way to them (`nice`). Raises SettingError
    for GPUs that are not there.
    """
    gpus, cpus, threads = _gpus([node], cluster, device), int(node.cpus), cluster.threads or 1
    if threads == 1 and not gpus:
        models = cluster.workers or cpus
        return Allocation(models, 1, 0, models, True)
    models = _on_gpus([node], gpus) if gpus else max(1, cpus // threads)
    decoders = max(1, cpus - models * threads) if gpus else cpus
    return Allocation(models, threads, gpus, cluster.workers or decoders, True)


def _gpus(nodes: list[Node], cluster: Cluster, device: str) -> float:
    """GPUs of a model."""
    most = max((node.gpus for node in nodes), default=0)
    gpus = cluster.gpus if cluster.gpus is not None else float(most > 0 and device in ("auto", "cuda"))
    if gpus > most:
        raise SettingError(f"gpus is {gpus:g}; no machine has more than {most:g}")
    return gpus


def _on_gpus(nodes: list[Node], gpus: float) -> int:
    """Models that have so many GPUs each."""
    return sum(
        int((node.gpus + 1e-6) / gpus) if gpus >= 1 else int(node.gpus) * int((1 + 1e-6) / gpus) for node in nodes
    )


@contextmanager
def connected(cluster: Cluster, device: str = "auto") -> Iterator[Allocation]:
    """A connection to Ray. One that this process has already is used as it is, and stays.

    Raises SettingError where Ray is not installed or does not start, where no cluster is at the address, and as
    `allocate` does.
    """
    ray = import_ray()
    ours = not ray.is_initialized()
    if ours and cluster.address is None:
        here = allocate_here(Node(cores(), _gpus_here()), cluster, device)
        _start(ray, here)
        try:
            yield here
        finally:
            ray.shutdown()
        return
    if ours:
        assert cluster.address is not None
        _connect(ray, cluster.address)
    try:
        found = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        yield allocate([Node(one.get("CPU", 0.0), one.get("GPU", 0.0)) for one in found], cluster, device)
    finally:
        if ours:
            ray.shutdown()


def import_ray() -> Any:
    """Ray, which sends no statistics of its use. Raises SettingError where it is not installed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # it would write over the bar; files of Ray's logs have it
    os.environ.setdefault(
        "RAY_ENABLE_AUTO_CONNECT", "0"
    )  # its threads would start another Ray after the end of this one
    os.environ.setdefault("RAY_worker_niceness", "0")  # 15 otherwise: decoders give way, models do not
    try:
        import ray
        import ray.data
    except ImportError:
        raise SettingError("--on ray requires Ray; install it with pip install '.[scale]' in the checkout") from None
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    return ray


def _gpus_here() -> int:
    import torch

    return torch.cuda.device_count()


def _start(ray: Any, here: Allocation) -> None:
    """A Ray of this machine, whatever cluster the environment or a file of `ray start` names."""
    named = os.environ.pop("RAY_ADDRESS", None)
    try:
        with quiet():
            ray.init(address="local", num_cpus=here.cpus, include_dashboard=False, **QUIET)
    except Exception as error:  # as it is, where its processes do not start within 30 s
        raise SettingError(f"--on ray: Ray does not start on this machine: {one_line(error)[:200]}") from None
    finally:
        if named is not None:
            os.environ["RAY_ADDRESS"] = named


@contextmanager
def quiet() -> Iterator[None]:
    """While Ray starts: without the line that its C++ part writes on standard error about its own log level, and with
    the handlers of signals as they were."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    sys.stderr.flush()
    kept = os.dup(2)
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)
        if main:
            signal.signal(signal.SIGTERM, before)


def _connect(ray: Any, address: str) -> None:
    if address != "auto":
        _check_address(address)
    try:
        with quiet():
            ray.init(address=address, **QUIET)
    except Exception as error:
        raise SettingError(f"address {address}: no cluster that can be used: {one_line(error)[:200]}") from None


def _check_address(address: str) -> None:
    """Raises SettingError within a bounded time where no cluster answers. Ray itself would end this process."""
    host, colon, port = address.rpartition(":")
    if "://" in address or not colon or not port.isdecimal():
        raise SettingError(
            f"address {address}: expected auto or HOST:PORT of a cluster's head, such as 10.0.0.1:{PORT}"
        )
    try:
        with socket.create_connection((host.strip("[]"), int(port)), REACH):
            pass
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise SettingError(f"address {address}: no Ray cluster there: {reason}") from None
    words = [sys.executable, "-W", "ignore", "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        well = subprocess.run(words, capture_output=True, timeout=HEALTH, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        well = False
    if not well:
        raise SettingError(f"address {address}: what answers there is no Ray cluster of this version")
