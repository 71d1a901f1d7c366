"""Attention steps in engines: which keys the class token has, and steps that engines know nothing of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from classifiers import CASES, classifier, expected, some_clips
from timesformer import config
from timesformer.engine.engine import load_engine
from timesformer.engine.frames import FramesLayout, FramesStep
from timesformer.engine.joined import JoinedLayout, JoinedStep
from timesformer.engine.last import ClassStep, LastBlock
from timesformer.engine.network import FusedTimeSformer
from timesformer.engine.parts import active_steps
from timesformer.engine.probing import probe
from timesformer.model.attention import StepAttention
from timesformer.model.schemes import STEPS, TIME_WITH_CLASS, AttentionStep, register_step
from timesformer.model.tokens import Grid, Keys, join_tokens, number_patches, split_tokens
from timesformer.video.transforms import normalise


def first_frame(attention: StepAttention, x_BTND: Tensor, cls_B1D: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """All tokens attend to the class token and the first frame, a context."""
    context = torch.cat([cls_B1D, x_BTND[:, 0]], dim=1)
    return split_tokens(attention(join_tokens(x_BTND, cls_B1D), context), x_BTND.shape[1])


def first_frame_keys(frames: int, grid: Grid) -> Keys:
    keys_M = torch.cat([torch.zeros(1, dtype=torch.long), number_patches(frames, grid)[0].flatten()])
    return Keys(keys_M.expand(frames * grid[0] * grid[1], -1), keys_M[None])


def damped(attention: StepAttention, x_BTND: Tensor, cls_B1D: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """More than an attention: halves what it gives, so its keys alone do not say what is gained."""
    dx, dcls = STEPS["joint"].function(attention, x_BTND, cls_B1D, grid)
    assert dcls is not None
    return dx.tanh(), 0.5 * dcls


@pytest.fixture
def new_steps() -> Iterator[None]:
    register_step("first_frame", first_frame, first_frame_keys)
    register_step("damped", damped, STEPS["joint"].indices)
    yield
    for name in ("first_frame", "damped"):
        del STEPS[name]
        config.STEPS.remove(name)


@pytest.mark.usefixtures("new_steps")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
@pytest.mark.parametrize("scheme", [("first_frame", "space"), ("time", "first_frame"), ("damped", "time"), ("damped",)])
def test_a_registered_step_runs(scheme: tuple[str, ...], precision: Any) -> None:
    net, clips = classifier(scheme=scheme), some_clips(8, 3, 4, 32, 32)
    engine = load_engine(net, "eager", precision, device="cpu", clips=clips)  # compared with the model
    if precision == "fp32":
        torch.testing.assert_close(engine(clips), expected(net, clips), rtol=0, atol=1e-4)
        with torch.inference_mode():
            reference = net.model.forward_layer(normalise(clips, net.preprocessing), tokens=True)
        torch.testing.assert_close(engine.features(clips, tokens=True), reference, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("new_steps")
@pytest.mark.filterwarnings("ignore")
def test_a_registered_step_runs_in_another_runtime() -> None:
    net, clips = classifier(scheme=("time", "first_frame"), depth=1), some_clips(3, 3, 4, 32, 32)
    engine = load_engine(net, "openvino", "fp32", device="cpu")
    torch.testing.assert_close(engine(clips), expected(net, clips), rtol=0, atol=1e-4)


def test_what_steps_do() -> None:
    with_context = {name for name, step in STEPS.items() if probe(step).context}
    without_class = {name for name, step in STEPS.items() if not probe(step).class_token}
    assert with_context == {"global"}
    assert without_class == {"time"}
    assert probe(TIME_WITH_CLASS) == (True, False, True, False)
    for name, step in STEPS.items():
        assert probe(step).linear
        assert probe(step).by_keys == (name != "time")
    found = probe(AttentionStep(damped, STEPS["joint"].indices))
    assert (found.linear, found.by_keys) == (False, False)
    # The right function with keys that are not its own.
    assert not probe(AttentionStep(STEPS["space"].function, STEPS["joint"].indices)).by_keys


@pytest.mark.parametrize(
    ("scheme", "sets", "keys"),
    [
        ("divided_space_time", 3, 7),
        ("space_only", 1, 7),
        ("joint_space_time", 1, 19),
        ("sparse_local_global", 1, 5),
        ("axial", 9, 3),
        (("joint", "time"), 1, 19),
    ],
)
def test_keys_of_the_class_token(scheme: Any, sets: int, keys: int) -> None:
    """On 3 frames of 2 x 3 patches: as many sets of as many keys, found where the step states them; gathered or not."""
    net = classifier(scheme=scheme)
    last = FusedTimeSformer(net.model, net.preprocessing).last
    assert isinstance(last, LastBlock)
    frames = last.layout.frames(3)
    last.prepare(frames, (2, 3))
    slots_LM, stated_LM = last.slots[frames, (2, 3)], last.attention.indices(frames, (2, 3)).cls_LM
    assert stated_LM is not None
    assert stated_LM.shape == (sets, keys)
    numbers_LM = last.layout.numbers(frames, (2, 3))
    assert (slots_LM is None) == (scheme not in ("sparse_local_global", "axial"))
    assert torch.equal(numbers_LM if slots_LM is None else numbers_LM.flatten()[slots_LM], stated_LM)


def test_numbers_of_tokens_as_they_lie() -> None:
    x_TBSD = torch.arange(3 * 2 * 7 * 1.0).view(3, 2, 7, 1)
    x_TBSD[:, :, 0] = x_TBSD[:1, :, 0].clone()  # the class token, in every frame
    frames, joined = FramesLayout(apart=False), JoinedLayout()
    tokens_BMD = joined.start(x_TBSD)
    assert torch.equal(frames.tokens(x_TBSD), tokens_BMD)
    for layout, x in ((frames, x_TBSD), (joined, tokens_BMD)):
        assert torch.equal(layout.sets(x), tokens_BMD[:, layout.numbers(3, (2, 3))])
        assert torch.equal(layout.class_token(x), tokens_BMD[:, 0])


@pytest.mark.parametrize("blocks", [(0, 1, 2), (1,), (2,)])
@pytest.mark.parametrize("case", range(len(CASES)))
def test_steps_that_give_nothing_are_not_computed(case: int, blocks: tuple[int, ...]) -> None:
    net = classifier(case, **CASES[case])
    zeroed = 0
    for number, block in enumerate(net.model.blocks()):
        for step in block.steps.values():
            if number in blocks and step.fc is not None:
                torch.nn.init.zeros_(step.fc.weight)
                torch.nn.init.zeros_(step.fc.bias)
                zeroed += 1
    clips = some_clips(2, 3, 4, 32, 32)
    engine = load_engine(net, "eager", "fp32", device="cpu")
    torch.testing.assert_close(engine(clips), expected(net, clips), rtol=0, atol=1e-4)
    with torch.inference_mode():
        tokens = net.model.forward_layer(normalise(clips, net.preprocessing), -1, tokens=True)
    torch.testing.assert_close(engine.features(clips, tokens=True), tokens, rtol=0, atol=1e-4)
    network = FusedTimeSformer(net.model, net.preprocessing)
    made = sum(isinstance(module, FramesStep | JoinedStep | ClassStep) for module in network.modules())
    pooling = network.pooling is not None
    assert made == sum(len(block.steps) for block in net.model.blocks()) - zeroed + pooling


def test_a_step_of_nothing_but_a_bias_is_computed() -> None:
    net = classifier(scheme="axial")
    for block in net.model.blocks():
        torch.nn.init.zeros_(block.steps["width"].fc.weight)
    clips = some_clips(2, 3, 4, 32, 32)
    engine = load_engine(net, "eager", "fp32", device="cpu")
    torch.testing.assert_close(engine(clips), expected(net, clips), rtol=0, atol=1e-4)
    assert all(active_steps(block) == ("time", "width", "height") for block in net.model.blocks())
