"""Who gets which cores and GPUs, and addresses without a cluster."""

from __future__ import annotations

import socket
import sys
import time

import pytest

from timesformer.errors import SettingError
from timesformer.scale import cluster
from timesformer.scale.cluster import Cluster, Node, Placement, connected, place

CPU, GPU = Node(16, 0), Node(16, 2)


@pytest.mark.parametrize(
    ("nodes", "given", "device", "expected"),
    [
        ([Node(4, 0)], Cluster(), "auto", Placement(1, 2, 0, 2, True)),
        ([Node(2, 0)], Cluster(), "auto", Placement(1, 1, 0, 1, True)),
        ([CPU, CPU], Cluster(threads=4), "auto", Placement(4, 4, 0, 16, True)),
        ([GPU], Cluster(), "auto", Placement(2, 1, 1, 14, True)),
        ([GPU, GPU], Cluster(gpus=0.5), "auto", Placement(8, 1, 0.5, 24, True)),
        ([GPU], Cluster(gpus=0.3), "auto", Placement(6, 1, 0.3, 10, True)),
        ([GPU, CPU], Cluster(workers=5), "auto", Placement(2, 1, 1, 5, True)),
        ([GPU], Cluster(), "cpu", Placement(1, 8, 0, 8, True)),
        ([GPU], Cluster(gpus=2), "auto", Placement(1, 1, 2, 15, True)),
        ([CPU], Cluster(address="auto"), "auto", Placement(1, 8, 0, 8, False)),
    ],
)
def test_placement(nodes: list[Node], given: Cluster, device: str, expected: Placement) -> None:
    assert place(nodes, given, device) == expected


def test_placements_that_cannot_be() -> None:
    with pytest.raises(SettingError, match="gpus is 1; no machine of the cluster has more than 0"):
        place([CPU], Cluster(gpus=1), "auto")
    with pytest.raises(SettingError, match="1 models of 1 threads leave none of the 1 CPUs of Ray to decode with"):
        place([Node(1, 0)], Cluster(), "auto")
    with pytest.raises(SettingError, match="2 models of 1 threads leave none of the 2 CPUs"):
        place([Node(2, 2)], Cluster(), "auto")


def test_a_server_that_is_no_cluster_is_told_within_a_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(cluster, "HEALTH", 1)
    began = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with (
            pytest.raises(SettingError, match=rf"{address}: what answers there is no Ray cluster"),
            connected(Cluster(address=address)),
        ):
            pass
    assert time.monotonic() - began < 120


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SettingError, match=r"requires Ray; install it with pip install 'timesformer\[scale\]'"):
        cluster.import_ray()
