"""Who gets which cores and GPUs, and addresses without a cluster."""

from __future__ import annotations

import os
import socket
import sys

import pytest

from timesformer.errors import SettingError
from timesformer.scale import cluster
from timesformer.scale.cluster import Allocation, Cluster, Node, allocate, allocate_here, connected

CPU, GPU = Node(16, 0), Node(16, 2)


@pytest.mark.parametrize(
    ("nodes", "given", "device", "expected"),
    [
        ([Node(4, 0)], Cluster(), "auto", Allocation(4, 1, 0, 4, True)),
        ([Node(4, 0)], Cluster(threads=2), "auto", Allocation(1, 2, 0, 2, True)),
        ([Node(4, 0)], Cluster(workers=3), "auto", Allocation(3, 1, 0, 3, True)),
        ([Node(1, 0)], Cluster(), "auto", Allocation(1, 1, 0, 1, True)),
        ([CPU, CPU], Cluster(threads=4), "auto", Allocation(4, 4, 0, 16, True)),
        ([GPU], Cluster(), "auto", Allocation(2, 1, 1, 14, True)),
        ([GPU, GPU], Cluster(gpus=0.5), "auto", Allocation(8, 1, 0.5, 24, True)),
        ([GPU], Cluster(gpus=0.3), "auto", Allocation(6, 1, 0.3, 10, True)),
        ([GPU, CPU], Cluster(workers=5), "auto", Allocation(2, 1, 1, 5, True)),
        ([GPU], Cluster(), "cpu", Allocation(16, 1, 0, 16, True)),
        ([GPU], Cluster(gpus=2), "auto", Allocation(1, 1, 2, 15, True)),
        ([CPU], Cluster(address="auto"), "auto", Allocation(16, 1, 0, 16, False)),
        ([Node(0, 0), Node(1, 0), CPU, CPU], Cluster(), "auto", Allocation(33, 1, 0, 33, True)),
    ],
)
def test_allocation(nodes: list[Node], given: Cluster, device: str, expected: Allocation) -> None:
    assert allocate(nodes, given, device) == expected


@pytest.mark.parametrize(
    ("node", "given", "device", "expected"),
    [
        (Node(16, 0), Cluster(), "auto", Allocation(16, 1, 0, 16, True)),
        (Node(16, 0), Cluster(threads=4), "auto", Allocation(4, 4, 0, 16, True)),
        (Node(16, 0), Cluster(workers=32), "auto", Allocation(32, 1, 0, 32, True)),
        (Node(16, 0), Cluster(threads=16, workers=32), "auto", Allocation(1, 16, 0, 32, True)),
        (Node(2, 0), Cluster(threads=4, workers=1), "auto", Allocation(1, 4, 0, 1, True)),
        (Node(16, 2), Cluster(), "auto", Allocation(2, 1, 1, 14, True)),
        (Node(16, 2), Cluster(gpus=0.5, workers=20), "cuda", Allocation(4, 1, 0.5, 20, True)),
        (Node(2, 2), Cluster(), "auto", Allocation(2, 1, 1, 1, True)),
        (Node(16, 2), Cluster(), "cpu", Allocation(16, 1, 0, 16, True)),
    ],
)
def test_allocation_of_this_machine(node: Node, given: Cluster, device: str, expected: Allocation) -> None:
    assert allocate_here(node, given, device) == expected


def test_allocations_that_cannot_be() -> None:
    with pytest.raises(SettingError, match="gpus is 1; no machine has more than 0"):
        allocate([CPU], Cluster(gpus=1), "auto")
    with pytest.raises(SettingError, match="gpus is 2; no machine has more than 1"):
        allocate([Node(8, 1), Node(8, 1)], Cluster(gpus=2), "auto")
    with pytest.raises(SettingError, match="gpus is 1; no machine has more than 0"):
        allocate_here(CPU, Cluster(gpus=1), "auto")
    with pytest.raises(SettingError, match="CPUs of Ray: 3; 1 model of 3 threads would leave none to decode with"):
        allocate([Node(3, 0)], Cluster(threads=3), "auto")
    with pytest.raises(SettingError, match="CPUs of Ray: 0; expected at least 1"):
        allocate([Node(0, 0)], Cluster(), "auto")
    with pytest.raises(SettingError, match="CPUs of Ray: 2; 2 models of 1 thread would leave none"):
        allocate([Node(2, 2)], Cluster(), "auto")


class FakeRay:
    """A Ray that keeps what it is started with, and what it finds in the environment."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.named, self.ended = error, "", False
        self.started: dict[str, object] = {}

    def is_initialized(self) -> bool:
        return False

    def init(self, **given: object) -> None:
        self.started, self.named = given, os.environ.get("RAY_ADDRESS", "")
        if self.error is not None:
            raise self.error

    def shutdown(self) -> None:
        self.ended = True


def test_a_ray_of_this_machine_is_none_that_is_named_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that RAY_ADDRESS or `ray start` names would refuse the number of CPUs."""
    ray = FakeRay()
    monkeypatch.setattr(cluster, "import_ray", lambda: ray)
    monkeypatch.setattr(cluster, "_gpus_here", lambda: 0)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    with connected(Cluster(threads=3, workers=2)) as found:
        assert (found.threads, found.decoders) == (3, 2)
        assert os.environ["RAY_ADDRESS"] == "127.0.0.1:9"
    assert (ray.started["address"], ray.started["num_cpus"], ray.named) == ("local", 3 * found.models + 2, "")
    with connected(Cluster(workers=5)) as found:
        assert found.together
    assert ray.started["num_cpus"] == 5
    assert ray.ended


@pytest.mark.parametrize(
    "error", [Exception("no room\nfor it"), RuntimeError("no room for it"), OSError("no room for it")]
)
def test_a_ray_that_does_not_start_is_one_line(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(cluster, "import_ray", lambda: FakeRay(error))
    with pytest.raises(SettingError, match="Ray does not start on this machine: no room for it"), connected(Cluster()):
        pass


def test_a_server_that_is_no_cluster_is_told_within_a_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(cluster, "HEALTH", 1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with (
            pytest.raises(SettingError, match=rf"{address}: what answers there is no Ray cluster"),
            connected(Cluster(address=address)),
        ):
            pass


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SettingError, match=r"requires Ray; install it with pip install '.\[scale\]'"):
        cluster.import_ray()
