"""Every step and whole blocks against a literal implementation, one query at a time, and against dense masks.

The reference knows nothing of batches of frames, bands or strided slices: for each query token it writes down which
tokens are its keys (FACTS.md and the table in `timesformer.model.schemes`) and takes softmax(q k / sqrt(K)) v.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from timesformer.config import SCHEMES, TimeSformerSettings
from timesformer.errors import SettingError
from timesformer.model.attention import Attention
from timesformer.model.block import Block
from timesformer.model.schemes import STEPS, TIME_WITH_CLASS, attention_step, register_step

WIDTH, HEADS = 12, 3
SHAPES = [(3, 5, 7), (1, 4, 6), (2, 1, 5), (5, 6, 1), (4, 3, 2), (1, 1, 1), (2, 8, 5)]  # frames, rows, columns
KNOWN = {**STEPS, "time_with_class": TIME_WITH_CLASS}
Place = tuple[int, int, int]


def perturb(module: nn.Module) -> None:
    """Random values in every parameter, so that no zero or one of the initialisation hides a mistake."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.4)


def make_attention() -> Attention:
    attention = Attention(WIDTH, HEADS).double()
    perturb(attention)
    return attention


def make_tokens(shape: Place, batch: int = 2) -> tuple[Tensor, Tensor]:
    frames, rows, columns = shape
    x = torch.randn(batch, frames, rows * columns, WIDTH, dtype=torch.float64)
    return x, torch.randn(batch, 1, WIDTH, dtype=torch.float64)


def run(name: str, attention: Attention, x: Tensor, cls: Tensor, shape: Place) -> tuple[Tensor, Tensor | None]:
    return KNOWN[name].function(attention, x, cls, shape[1:])


# --- the literal reference -------------------------------------------------------------------------------------------


def everything(shape: Place) -> Iterator[Place]:
    return itertools.product(*map(range, shape))


def window_of(place: int, length: int) -> range:
    """Half the axis around a place; one that would leave the axis is moved back inside."""
    size = max(1, length // 2)
    start = place - size // 2
    start = max(start, 0)
    start = min(start, length - size)
    return range(start, start + size)


def keys_of(name: str, query: Place, shape: Place) -> tuple[list[Place], bool]:
    """The patches that a patch attends to, and whether the class token is among its keys."""
    t, h, w = query
    frames, rows, columns = map(range, shape)
    keys: dict[str, Iterator[Place]] = {
        "space": itertools.product([t], rows, columns),
        "time": itertools.product(frames, [h], [w]),
        "time_with_class": itertools.product(frames, [h], [w]),
        "joint": itertools.product(frames, rows, columns),
        "width": itertools.product([t], [h], columns),
        "height": itertools.product([t], rows, [w]),
        "local": itertools.product(frames, window_of(h, shape[1]), window_of(w, shape[2])),
        "global": ((a, b, c) for a, b, c in everything(shape) if a % 2 == b % 2 == c % 2 == 0),
    }
    return list(keys[name]), name != "time"


def class_keys_of(name: str, shape: Place) -> list[list[Place]]:
    """The patches that each copy of the class token attends to; the copies' outputs are averaged."""
    frames, rows, columns = map(range, shape)
    if name == "space":
        return [[(t, h, w) for h in rows for w in columns] for t in frames]
    if name == "width":
        return [[(t, h, w) for w in columns] for t in frames for h in rows]
    if name == "height":
        return [[(t, h, w) for h in rows] for t in frames for w in columns]
    if name == "global":
        return [[place for place in everything(shape) if all(index % 2 == 0 for index in place)]]
    return [list(everything(shape))]


def attend_one(attention: Attention, query_D: Tensor, keys_MD: Tensor) -> Tensor:
    """One query token, all heads, output projection."""
    weight_q, weight_k, weight_v = attention.qkv.weight.split(WIDTH)
    bias_q, bias_k, bias_v = attention.qkv.bias.split(WIDTH)
    q, k, v = weight_q @ query_D + bias_q, keys_MD @ weight_k.T + bias_k, keys_MD @ weight_v.T + bias_v
    size = WIDTH // HEADS
    heads = []
    for head in range(HEADS):
        part = slice(head * size, (head + 1) * size)
        scores = torch.stack([torch.dot(q[part], key) for key in k[:, part]]) / math.sqrt(size)
        weights = scores.exp() / scores.exp().sum()
        heads.append(sum(weight * value for weight, value in zip(weights, v[:, part], strict=True)))
    return attention.proj.weight @ torch.cat(heads) + attention.proj.bias


def literal(name: str, attention: Attention, x: Tensor, cls: Tensor, shape: Place) -> tuple[Tensor, Tensor | None]:
    """What `run` computes, one query token after the other."""
    dx, dcls = torch.empty_like(x), torch.empty_like(cls)
    columns = shape[2]
    for sample in range(len(x)):

        def tokens(places: list[Place], with_class: bool, sample: int = sample) -> Tensor:
            patches = [x[sample, t, h * columns + w] for t, h, w in places]
            return torch.stack([cls[sample, 0], *patches] if with_class else patches)

        for t, h, w in everything(shape):
            keys = tokens(*keys_of(name, (t, h, w), shape))
            dx[sample, t, h * columns + w] = attend_one(attention, x[sample, t, h * columns + w], keys)
        copies = [attend_one(attention, cls[sample, 0], tokens(keys, True)) for keys in class_keys_of(name, shape)]
        dcls[sample, 0] = sum(copies) / len(copies)
    return dx, None if name.startswith("time") else dcls


def normalise(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt() * norm.weight + norm.bias


def literal_block(block: Block, names: list[str], x: Tensor, cls: Tensor, shape: Place) -> tuple[Tensor, Tensor]:
    """LayerNorm, attention, the added steps' linear layer and the residual, for each step; then the MLP."""
    for position, name in enumerate(names):
        step = block.steps[name.removesuffix("_with_class")]
        dx, dcls = literal(name, step.attention, normalise(step.norm, x), normalise(step.norm, cls), shape)
        if position < len(names) - 1:
            dx = dx @ step.fc.weight.T + step.fc.bias
            dcls = None if dcls is None else dcls @ step.fc.weight.T + step.fc.bias
        x = x + dx
        cls = cls if dcls is None else cls + dcls

    def mlp(tokens: Tensor) -> Tensor:
        hidden = normalise(block.norm, tokens) @ block.mlp[0].weight.T + block.mlp[0].bias
        hidden = hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2
        return hidden @ block.mlp[3].weight.T + block.mlp[3].bias

    return x + mlp(x), cls + mlp(cls)


# --- steps and blocks against it -------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
@pytest.mark.parametrize("name", KNOWN)
def test_step_equals_the_literal_one(name: str, shape: Place) -> None:
    torch.manual_seed(0)
    attention, (x, cls) = make_attention(), make_tokens(shape, batch=2 if shape[0] < 5 else 1)
    dx, dcls = run(name, attention, x, cls, shape)
    expected_dx, expected_dcls = literal(name, attention, x, cls, shape)
    torch.testing.assert_close(dx, expected_dx, rtol=0, atol=1e-12)
    if expected_dcls is None:
        assert dcls is None
    else:
        torch.testing.assert_close(dcls, expected_dcls, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
@pytest.mark.parametrize("name", KNOWN)
def test_a_step_states_the_keys_it_has(name: str, shape: Place) -> None:
    def number(place: Place) -> int:
        t, h, w = place
        return 1 + (t * shape[1] + h) * shape[2] + w

    def numbers(places: list[Place], with_class: bool = True) -> list[int]:
        return sorted([0] * with_class + [number(place) for place in places])

    keys = KNOWN[name].indices(shape[0], shape[1:])
    expected = [numbers(*keys_of(name, query, shape)) for query in everything(shape)]
    assert keys.patches_QM.sort(1).values.tolist() == expected
    if name.startswith("time"):
        assert keys.cls_LM is None
    else:
        assert keys.cls_LM is not None
        assert sorted(keys.cls_LM.sort(1).values.tolist()) == sorted(map(numbers, class_keys_of(name, shape)))


def test_steps_that_cannot_be_registered() -> None:
    step = STEPS["time"]
    register_step("time", *step)  # again is nothing new
    with pytest.raises(SettingError, match="step 'space' is taken"):
        register_step("space", *step)
    with pytest.raises(SettingError, match="step 'a b': expected a name of letters, digits and _"):
        register_step("a b", *step)
    assert attention_step("time") is STEPS["time"]
    assert attention_step("time", class_token_in_time=True) is TIME_WITH_CLASS


BLOCKS = {
    "space_only": ["space"],
    "joint_space_time": ["joint"],
    "divided_space_time": ["time", "space"],
    "sparse_local_global": ["local", "global"],
    "axial": ["time", "width", "height"],
}


def make_block(**settings: object) -> Block:
    settings = {"width": WIDTH, "depth": 1, "heads": HEADS, "image_size": 32, "patch_size": 8, **settings}
    block = Block(TimeSformerSettings.model_validate(settings), 0.0).double().eval()
    perturb(block)
    return block


@torch.no_grad()
@pytest.mark.parametrize("shape", [(3, 3, 5), (1, 4, 2), (2, 1, 6)], ids=lambda shape: "x".join(map(str, shape)))
@pytest.mark.parametrize(
    ("scheme", "class_token_in_time"),
    [*((scheme, False) for scheme in BLOCKS), ("divided_space_time", True), ("axial", True)],
)
def test_block_equals_the_literal_one(scheme: str, class_token_in_time: bool, shape: Place) -> None:
    names = BLOCKS[scheme]
    if class_token_in_time:
        names = ["time_with_class", *names[1:]]
    torch.manual_seed(1)
    block = make_block(scheme=scheme, class_token_in_time=class_token_in_time)
    x, cls = make_tokens(shape)
    out_x, out_cls = block(x, cls, shape[1:])
    expected_x, expected_cls = literal_block(block, names, x, cls, shape)
    torch.testing.assert_close(out_x, expected_x, rtol=0, atol=1e-11)
    torch.testing.assert_close(out_cls, expected_cls, rtol=0, atol=1e-11)


def test_table_of_schemes() -> None:
    assert {scheme: list(steps) for scheme, steps in SCHEMES.items()} == BLOCKS


@torch.no_grad()
def test_divided_compares_a_query_with_n_plus_f_plus_2_keys() -> None:
    """The paper's count for Eq. 11 and 12: N + F + 2 keys, against N F + 1 for joint attention."""
    frames, rows, columns = shape = (5, 3, 4)
    counts = {}
    for name in ("time_with_class", "space", "joint"):
        patches, with_class = keys_of(name, (1, 2, 0), shape)
        counts[name] = len(patches) + with_class
    assert counts["time_with_class"] + counts["space"] == rows * columns + frames + 2
    assert counts["joint"] == rows * columns * frames + 1
