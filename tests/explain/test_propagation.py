"""Rows carried backwards through recorded attention, against brute force, by hand, and against written-out matrices."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from attention_toy import Shape, brute_force, carried, clip, flat, toy
from timesformer.config.explain import Explain
from timesformer.errors import SettingError
from timesformer.explain.matrices import AttentionMatrix
from timesformer.explain.propagation import Row, carry, head_row, patch_map, query_row
from timesformer.explain.recording import Call, Recording, StepRecord
from timesformer.explain.rollout import record_rollout
from timesformer.model.schemes import STEPS, attention_step
from timesformer.model.tokens import join_tokens

SCHEMES: tuple[dict[str, Any], ...] = (
    {"scheme": "space_only"},
    {"scheme": "joint_space_time"},
    {"scheme": "divided_space_time"},
    {"scheme": "divided_space_time", "order": "space_time"},
    {"scheme": "divided_space_time", "order": "parallel"},
    {"scheme": "divided_space_time", "class_token_in_time": True},
    {"scheme": "sparse_local_global"},
    {"scheme": "axial"},
    {"scheme": "axial", "class_token_in_time": True},
)
SHAPES = [(3, 4, 5), (1, 3, 2), (2, 1, 4), (4, 2, 1), (2, 5, 4), (1, 1, 1)]
names = [" ".join(map(str, case.values())) for case in SCHEMES]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("case", SCHEMES, ids=names)
def test_attention_alone_is_what_brute_force_finds(case: dict[str, Any], shape: Shape) -> None:
    recorded = toy(shape, **case)
    expected = brute_force(recorded, shape)
    torch.testing.assert_close(carried(recorded, shape), expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize("case", SCHEMES, ids=names)
def test_the_mean_of_heads_is_what_brute_force_finds(case: dict[str, Any]) -> None:
    shape = (3, 2, 3)
    recorded = toy(shape, heads=3, **case)
    expected = brute_force(recorded, shape)
    torch.testing.assert_close(carried(recorded, shape), expected, atol=1e-10, rtol=0)
    assert (expected - brute_force(toy(shape, **case), shape)).abs().max() > 1e-3  # heads differ


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("case", SCHEMES, ids=names)
def test_rows_sum_to_one(case: dict[str, Any], shape: Shape) -> None:
    found = carried(toy(shape, **case), shape)
    torch.testing.assert_close(found.sum(1), torch.ones(len(found)).double(), atol=1e-12, rtol=0)
    assert (found >= 0).all()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    "scheme", ["joint_space_time", "divided_space_time", "axial", ("local", "time"), ("space", "width")], ids=str
)
def test_attention_to_itself_leaves_every_token_where_it_is(scheme: Any, shape: Shape) -> None:
    found = carried(toy(shape, sharpness=1000.0, scheme=scheme), shape)
    torch.testing.assert_close(found, torch.eye(len(found)).double(), atol=1e-12, rtol=0)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_attention_to_itself_of_sparse_steps(shape: Shape) -> None:
    """Global attention has every second patch of every second frame as keys: those find themselves, and only those."""
    found = carried(toy(shape, sharpness=1000.0, scheme="sparse_local_global"), shape)
    itself = torch.ones(1, dtype=torch.bool)
    frames, rows, columns = (torch.arange(length) % 2 == 0 for length in shape)
    keys = (frames[:, None, None] & rows[:, None] & columns).flatten()
    stays = torch.cat([itself, keys])
    torch.testing.assert_close(found[stays], torch.eye(len(found)).double()[stays], atol=1e-12, rtol=0)
    assert torch.allclose(found.diagonal()[~stays], torch.tensor(0.25).double())  # the residual of two blocks


def test_attention_to_itself_of_frames_apart() -> None:
    """Their class tokens are copies that are averaged in the end."""
    shape = (3, 2, 2)
    found = carried(toy(shape, sharpness=1000.0, scheme="space_only"), shape)
    torch.testing.assert_close(found, torch.eye(len(found)).double(), atol=1e-12, rtol=0)


@pytest.mark.parametrize("shape", SHAPES[:3], ids=str)
@pytest.mark.parametrize("case", SCHEMES, ids=names)
def test_rollout_is_the_product_of_written_out_matrices(case: dict[str, Any], shape: Shape) -> None:
    """From the keys that each step states, one query after the other; every token's own residual counts half."""
    recorded = toy(shape, **case)
    expected = torch.eye(1 + shape[0] * shape[1] * shape[2], dtype=torch.float64)
    model = recorded.model
    apart = case["scheme"] == "space_only"
    x_BTND, cls_B1D, _ = model.embedding(clip(shape))
    tokens, in_time = join_tokens(x_BTND, cls_B1D)[0], case.get("class_token_in_time", False)
    if apart:
        expected = apart_by_hand(model, tokens, shape)
    for block in () if apart else model.blocks():
        matrices, before = [], tokens
        for name in block.order:
            seen = before if block.parallel else tokens
            matrix = dense(block.steps[name].attention, seen, name, in_time, shape)
            matrices.append(matrix)
            if not block.parallel:
                tokens = average([matrix]) @ tokens
        if block.parallel:
            tokens = average(matrices) @ before
        groups = [matrices] if block.parallel else [[matrix] for matrix in matrices]
        for group in groups:
            expected = average(group) @ expected
    torch.testing.assert_close(carried(recorded, shape), expected, atol=1e-10, rtol=0)


def average(matrices: list[Tensor]) -> Tensor:
    """Of the identity and the rows of matrices that are not empty."""
    total = torch.stack([torch.eye(len(matrices[0]), dtype=torch.float64), *matrices]).sum(0)
    return total / total.sum(1, keepdim=True)


def dense(attention: Any, tokens: Tensor, name: str, in_time: bool, shape: Shape) -> Tensor:
    """The matrix of a step over all tokens: a row of zeros for a class token that takes no part."""
    keys = attention_step(name, class_token_in_time=in_time).indices(shape[0], shape[1:])
    query, key, _ = attention.qkv(tokens).chunk(3, dim=1)
    matrix = torch.zeros(len(tokens), len(tokens), dtype=torch.float64)

    def weights(number: int, keys_M: Tensor) -> Tensor:
        scores = key[keys_M] @ query[number] * len(query[number]) ** -0.5
        return scores.softmax(0)

    for number, keys_M in enumerate(keys.patches_QM, 1):
        matrix[number, keys_M] = weights(number, keys_M)
    for keys_M in () if keys.cls_LM is None else keys.cls_LM:
        matrix[0, keys_M] += weights(0, keys_M) / len(keys.cls_LM)  # type: ignore[arg-type]
    return matrix


def apart_by_hand(model: Any, tokens: Tensor, shape: Shape) -> Tensor:
    """Space alone: every frame with a class token of its own, and their mean."""
    frames, patches = shape[0], shape[1] * shape[2]
    expected = torch.zeros(len(tokens), len(tokens), dtype=torch.float64)
    for frame in range(frames):
        numbers = torch.tensor([0, *range(1 + frame * patches, 1 + (frame + 1) * patches)])
        own, found = tokens[numbers], torch.eye(1 + patches, dtype=torch.float64)
        for block in model.blocks():
            matrix = dense(block.steps["space"].attention, own, "space", False, (1, *shape[1:]))
            own, found = average([matrix]) @ own, average([matrix]) @ found
        expected[numbers[1:, None], numbers] = found[1:]
        expected[0, numbers] += found[0] / frames
    return expected


def test_two_patches_in_two_frames_by_hand() -> None:
    """Divided attention. Time first, then space; so a row goes through space first.

    Of the class token's row: space leaves it half of itself, and half goes out by the mean of the frames' first rows:
    to itself (0.2 + 0.4) / 2 = 0.3, to the patches of frame 0 0.5 / 2 and 0.3 / 2, of frame 1 0.1 / 2 and 0.5 / 2. So
    class 0.65; patches, halved: 0.125, 0.075; 0.025, 0.125. Time then: half stays, half goes to the
    same place of both frames.
    Place 0: 0.125 to (0.9, 0.1), 0.025 to (0.2, 0.8); place 1: 0.075 to (0.5, 0.5), 0.125 to (0.6, 0.4).
    """
    time = torch.tensor([[[0.9, 0.1], [0.2, 0.8]], [[0.5, 0.5], [0.6, 0.4]]])
    space = torch.tensor(
        [
            [[0.2, 0.5, 0.3], [0.1, 0.2, 0.7], [0.3, 0.3, 0.4]],
            [[0.4, 0.1, 0.5], [0.6, 0.1, 0.3], [0.2, 0.5, 0.3]],
        ]
    )
    steps = [step("time", time, gains_class=False), step("space", space, gains_class=True)]
    recording = Recording([steps], [], "class_token", parallel=False, like=torch.empty(0))
    row = carry(recording, head_row(recording))
    assert row.cls.item() == pytest.approx(0.65)
    place_0 = [0.0625 + (0.125 * 0.9 + 0.025 * 0.2) / 2, 0.0125 + (0.125 * 0.1 + 0.025 * 0.8) / 2]
    place_1 = [0.0375 + (0.075 * 0.5 + 0.125 * 0.6) / 2, 0.0625 + (0.075 * 0.5 + 0.125 * 0.4) / 2]
    torch.testing.assert_close(row.patches[0, :, :, 0], torch.tensor([place_0, place_1]).T)
    assert place_0 + place_1 == pytest.approx([0.12125, 0.02875, 0.09375, 0.10625])


def step(name: str, matrix: Tensor, *, gains_class: bool) -> StepRecord:
    call = Call(AttentionMatrix(lambda part: matrix[:, part], matrix.shape[1], matrix.shape[2], keep=True))
    return StepRecord(STEPS[name].function, (1, 2), (1, 2, 2), 1, True, gains_class, [call])


def test_matrices_are_the_same_kept_and_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = torch.rand(2, 7, 5)
    columns = torch.rand(2, 7, 3)
    for at_once in (1, 10, 1000):
        monkeypatch.setattr("timesformer.explain.matrices.AT_ONCE", at_once)
        for keep in (False, True):
            matrix = AttentionMatrix(lambda part: weights[:, part], 7, 5, keep=keep)
            torch.testing.assert_close(matrix.whole(), weights)
            torch.testing.assert_close(matrix.pull_back(columns), weights.transpose(1, 2) @ columns)


def test_one_layer_alone() -> None:
    shape = (2, 2, 3)
    recording = record_rollout(toy(shape), clip(shape), Explain())
    start = query_row(recording, 1, 4)
    both = carry(recording, carry(recording, start, layer=1), layer=-2)
    torch.testing.assert_close(flat(recording, both), flat(recording, carry(recording, start)))
    with pytest.raises(SettingError, match=r"^layer 2: a model of 2 blocks has 0 to 1, or -2 to -1$"):
        carry(recording, start, layer=2)


def test_a_query_that_nothing_moves_stays_on_its_patch() -> None:
    shape = (2, 2, 3)
    recording = record_rollout(toy(shape, sharpness=1000.0), clip(shape), Explain())
    found = patch_map(recording, carry(recording, query_row(recording, 1, 4)))
    expected = torch.zeros(2, 2, 3, dtype=torch.float64)
    expected[1, 1, 1] = 1
    torch.testing.assert_close(found, expected)


def test_row_of_frames_apart_is_shared_by_their_class_tokens() -> None:
    shape = (4, 1, 2)
    recording = record_rollout(toy(shape, scheme="space_only"), clip(shape), Explain())
    row: Row = head_row(recording)
    assert row.cls.flatten().tolist() == [0.25] * 4
    assert not row.patches.any()
