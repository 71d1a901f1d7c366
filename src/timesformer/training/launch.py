"""The processes that share a run: started by torchrun or SLURM, which this only reads from the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from timesformer.data.loader import Process
from timesformer.errors import SettingError


@dataclass(frozen=True)
class Launch:
    """This process among all, the processes on this machine, and the number of machines."""

    process: Process
    devices: int
    nodes: int


def find_launch() -> Launch:
    """What torchrun's or SLURM's variables say; one process where there are none.

    Raises SettingError where they contradict each other.
    """
    if TorchElasticEnvironment.detect():
        rank, world, devices = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    elif SLURMEnvironment.detect() and "SLURM_NTASKS" in os.environ:
        rank, world = int(os.environ["SLURM_PROCID"]), int(os.environ["SLURM_NTASKS"])
        nodes = int(os.environ.get("SLURM_NNODES", 1))
        if world % nodes:
            raise SettingError(f"{world} processes on {nodes} machines; every machine needs the same number")
        devices = world // nodes
    else:
        return Launch(Process(), 1, 1)
    if world % devices:
        raise SettingError(f"{world} processes in all, {devices} on this machine; every machine needs the same number")
    return Launch(Process(rank, world), devices, world // devices)
