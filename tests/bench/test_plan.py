"""What many videos need: every number by hand."""

from __future__ import annotations

import json

import pytest

from commands import Command, assert_one_line
from timesformer.bench.plan import Amount, Costs, plan

HALF = Costs(views=3, decode=0.02, model=0.5, read=0.25, write=200, cores=8, gpus=2, network=1,
             decoder_memory=0.5, model_memory=2)  # fmt: skip


def test_a_machine_with_gpus() -> None:
    found = plan(Amount(videos=1_000_000, seconds=18), HALF)
    assert found.decode_hours == pytest.approx(1e6 * 18 * 0.02 / 3600)  # 100
    assert found.model_hours == pytest.approx(1e6 * 3 * 0.5 / 3600)  # 417
    assert found.read_bytes == pytest.approx(4.5e12)
    assert found.written_bytes == 2e8
    # 12.5 hours of cores, 208.3 of GPUs, 10 of the network
    assert found.machine_hours == pytest.approx(1e6 * 1.5 / 3600 / 2)
    assert found.bottleneck == "GPUs"
    assert found.busy == pytest.approx({"cores": 0.06, "GPUs": 1.0, "network": 10.0004 / 208.3333}, rel=1e-4)
    assert found.videos_per_hour == pytest.approx(4800)
    assert found.memory == 8 * 0.5 + 2 * 2


def test_where_the_bottleneck_moves() -> None:
    amount = Amount(videos=1000, seconds=60)
    assert plan(amount, HALF).bottleneck == "GPUs"
    faster = {"model": 0.01}  # 15 s of GPUs beside 150 of cores and 120 of the network
    assert plan(amount, HALF.model_copy(update=faster)).bottleneck == "cores"
    assert plan(amount, HALF.model_copy(update={**faster, "cores": 16})).bottleneck == "network"


def test_without_gpus_decoding_and_model_share_the_cores() -> None:
    found = plan(Amount(videos=3600, seconds=10), HALF.model_copy(update={"gpus": 0}))
    assert found.machine_hours == pytest.approx((3600 * 10 * 0.02 + 3600 * 3 * 0.5) / 8 / 3600)
    assert (found.bottleneck, found.memory) == ("cores", 8 * 0.5 + 2)


def test_the_command(command: Command) -> None:
    words = ("bench", "plan", "--videos", 1000000, "--seconds", 10)
    found = json.loads(command(*words, "--model", 0.01, "--gpus", 1, "--json").out)
    assert (found["videos"], found["costs"]["gpus"]) == (1000000, 1)
    assert found["model_hours"] == pytest.approx(1e6 * 3 * 0.01 / 3600)
    shown = command(*words, "--model", 0.01, "--gpus", 1, "--decode", 0.02).out
    assert shown.startswith("1,000,000 videos of 10 s\n")
    assert "56 hours of cores, at 0.02 s a second of video" in shown
    assert "8 hours of GPUs, at 3 views of 0.01 s" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert_one_line(command("bench", "plan", "--videos", 0, "--seconds", 10), "videos is 0, should be greater than 0")
    free = ("--decode", 0, "--model", 0, "--read", 0, "--write", 0)
    assert_one_line(command(*words, *free, "--json"), "decode, model, read and write are 0; expected at least one cost")
    assert_one_line(
        command(*words, "--gpus", 1), "gpus is 1, and model is the 1.4 s of a core; give model as a GPU has it"
    )
    assert_one_line(command(*words, "--cores", -1), "cores is -1.0, should be greater than 0")
