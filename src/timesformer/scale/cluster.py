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
    it. threads: of a model on a CPU. workers: videos that are decoded at a time.
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


class Placement(NamedTuple):
    """Models, with the threads and GPUs of each; videos decoded at a time; alone: whether all is on this machine."""

    models: int
    threads: int
    gpus: float
    decoders: int
    alone: bool


class Node(NamedTuple):
    """What Ray may use of a machine."""

    cpus: float
    gpus: float


def place(nodes: list[Node], cluster: Cluster, device: str) -> Placement:
    """Who gets what.

    With GPUs, a model has `gpus` of them and a CPU, and decoders have all other CPUs. Without, half of each machine's
    CPUs compute and half decode: decoders give way (`nice`), and a Ray of this machine is told of twice its cores.

    Raises SettingError for GPUs that are not there, and where nothing is left to decode with.
    """
    there = sum(node.gpus for node in nodes)
    gpus = cluster.gpus if cluster.gpus is not None else float(there > 0 and device in ("auto", "cuda"))
    if gpus > max((node.gpus for node in nodes), default=0):
        raise SettingError(f"gpus is {gpus:g}; no machine of the cluster has more than {there:g}")
    cpus = sum(node.cpus for node in nodes)
    if gpus:
        threads = cluster.threads or 1
        models = sum(
            int((node.gpus + 1e-6) / gpus) if gpus >= 1 else int(node.gpus) * int((1 + 1e-6) / gpus) for node in nodes
        )
    else:
        threads = cluster.threads or max(1, min(int(node.cpus / 2) for node in nodes))
        models = max(1, sum(int(node.cpus / 2 / threads) for node in nodes))
    decoders = int(cpus - models * threads)
    if decoders < 1:
        raise SettingError(
            f"{models} models of {threads} threads leave none of the {cpus:g} CPUs of Ray to decode with; "
            "expected fewer --threads, or more CPUs (ray start --num-cpus)"
        )
    return Placement(models, threads, gpus, min(decoders, cluster.workers or decoders), cluster.address is None)


@contextmanager
def connected(cluster: Cluster, device: str = "auto") -> Iterator[Placement]:
    """A connection to Ray. One that this process has already is used as it is, and stays.

    Raises SettingError where Ray is not installed, where no cluster is at the address, and as `place` does.
    """
    ray = import_ray()
    ours = not ray.is_initialized()
    if ours:
        if cluster.address is None:
            _start(ray, cluster)
        else:
            _connect(ray, cluster.address)
    try:
        found = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        yield place([Node(one.get("CPU", 0.0), one.get("GPU", 0.0)) for one in found], cluster, device)
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
        raise SettingError("--on ray requires Ray; install it with pip install 'timesformer[scale]'") from None
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    return ray


def _start(ray: Any, cluster: Cluster) -> None:
    """A Ray of this machine."""
    compute = cluster.threads or cores()
    decode = cluster.workers or cores()
    with quiet():
        ray.init(num_cpus=2 * max(compute, decode), include_dashboard=False, **QUIET)


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
    except (ConnectionError, RuntimeError, ValueError) as error:
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
