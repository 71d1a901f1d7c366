"""The attention steps that schemes are made of (paper, section 3 and figure 2; `timesformer.config.SCHEMES`).

A step takes normalised tokens and returns what they gain. Patches stay x_BTND, the class token stays apart as cls_B1D;
they are joined only inside a step. Each step also states its keys, by the numbers of tokens: what an engine's last
block, pictures of attention and the tests go by.

    step      a patch attends to                                  the class token
    space     its own frame                                       is copied to every frame, copies averaged
    time      its own place in every frame                        stays out (a key on request, paper's Eq. 11)
    joint     the whole clip                                      is one token more
    local     the H/2 x W/2 window around it, in every frame      is a key of every window, attends to the clip
    global    every second frame, row and column of the clip      is a key, attends to the same tokens
    width     its own row of its own frame                        is copied to every row, copies averaged
    height    its own column of its own frame                     is copied to every column, copies averaged

Dimensions: B batch, T frames, N = H x W patches of a frame, D channels; L sets of tokens that attend to each other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from timesformer import config
from timesformer.errors import SettingError
from timesformer.model.attention import StepAttention
from timesformer.model.local import local, local_keys
from timesformer.model.tokens import Grid, Keys, join_tokens, number_patches, split_tokens

StepFunction = Callable[[StepAttention, Tensor, Tensor, Grid], tuple[Tensor, Tensor | None]]
StepKeys = Callable[[int, Grid], Keys]


class AttentionStep(NamedTuple):
    """A step.

    function: of an attention, patches x_BTND, class token cls_B1D and the grid (H, W) of a frame's patches; gives what
    both gain, None for a class token that takes no part. indices: of the frames and the grid; gives the keys.
    """

    function: StepFunction
    indices: StepKeys


def space(attention: StepAttention, x_BTND: Tensor, cls_B1D: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Attention inside each frame."""
    return _lines(attention, x_BTND, cls_B1D)


def space_keys(frames: int, grid: Grid) -> Keys:
    """The class token and the patches of the frame."""
    return _line_keys(number_patches(frames, grid).flatten(1))


def width(attention: StepAttention, x_BTND: Tensor, cls_B1D: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Attention inside each row of each frame."""
    rows_BLWD = x_BTND.unflatten(2, grid).flatten(1, 2)
    dx_BLWD, dcls_B1D = _lines(attention, rows_BLWD, cls_B1D)
    return dx_BLWD.reshape(x_BTND.shape), dcls_B1D


def width_keys(frames: int, grid: Grid) -> Keys:
    """The class token and the patches of the row."""
    return _line_keys(number_patches(frames, grid).flatten(0, 1))


def height(attention: StepAttention, x_BTND: Tensor, cls_B1D: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Attention inside each column of each frame."""
    columns_BLHD = x_BTND.unflatten(2, grid).transpose(2, 3).flatten(1, 2)
    dx_BLHD, dcls_B1D = _lines(attention, columns_BLHD, cls_B1D)
    dx_BTWHD = dx_BLHD.unflatten(1, (x_BTND.shape[1], grid[1]))
    return dx_BTWHD.transpose(2, 3).reshape(x_BTND.shape), dcls_B1D


def height_keys(frames: int, grid: Grid) -> Keys:
    """The class token and the patches of the column."""
    columns_LH = number_patches(frames, grid).transpose(1, 2).flatten(0, 1)
    keys = _line_keys(columns_LH)
    order_Q = columns_LH.flatten().argsort()  # from column after column to row after row
    return keys._replace(patches_QM=keys.patches_QM[order_Q])


def _lines(attention: StepAttention, x_BLND: Tensor, cls_B1D: Tensor) -> tuple[Tensor, Tensor]:
    """Attention inside each of L sets of N patches; the class token is copied to each, its copies averaged."""
    batch, lines = x_BLND.shape[:2]
    copies = cls_B1D.expand(-1, lines, -1).unsqueeze(2)
    out = attention(torch.cat([copies, x_BLND], dim=2).flatten(0, 1)).unflatten(0, (batch, lines))
    cls_BL1D, patches_BLND = out.tensor_split([1], dim=2)  # not two slices: gradients would be padded and added
    return patches_BLND, cls_BL1D.mean(1)


def _line_keys(lines_LN: Tensor) -> Keys:
    """Keys of L sets of patches, given by their numbers: the set, and the class token before it."""
    sets_LM = pad(lines_LN, (1, 0))
    return Keys(sets_LM.repeat_interleave(lines_LN.shape[1], 0), sets_LM)


def time(attention: StepAttention, x_BTND: Tensor, cls_B1D: Tensor, grid: Grid) -> tuple[Tensor, None]:
    """Attention along time at each place; the class token takes no part, as in the released code."""
    out = attention(x_BTND.transpose(1, 2).flatten(0, 1))
    return out.unflatten(0, (x_BTND.shape[0], -1)).transpose(1, 2), None


def time_keys(frames: int, grid: Grid) -> Keys:
    """The same place in every frame."""
    return Keys(number_patches(frames, grid).flatten(1).T.repeat(frames, 1), None)


def time_with_class(attention: StepAttention, x_BTND: Tensor, cls_B1D: Tensor, grid: Grid) -> tuple[Tensor, None]:
    """Attention along time at each place with the class token as one more key (Eq. 11)."""
    places = x_BTND.shape[2]
    x_LTD = x_BTND.transpose(1, 2).flatten(0, 1)
    out = attention(x_LTD, torch.cat([cls_B1D.repeat_interleave(places, 0), x_LTD], dim=1))
    return out.unflatten(0, (-1, places)).transpose(1, 2), None


def time_with_class_keys(frames: int, grid: Grid) -> Keys:
    """The class token and the same place in every frame."""
    return Keys(pad(time_keys(frames, grid).patches_QM, (1, 0)), None)


def joint(attention: StepAttention, x_BTND: Tensor, cls_B1D: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Attention over the whole clip (Eq. 5)."""
    return split_tokens(attention(join_tokens(x_BTND, cls_B1D)), x_BTND.shape[1], cls_B1D.shape[1])


def joint_keys(frames: int, grid: Grid) -> Keys:
    """All tokens."""
    patches = frames * grid[0] * grid[1]
    return _same_keys(torch.arange(1 + patches), patches)


def global_(attention: StepAttention, x_BTND: Tensor, cls_B1D: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Attention to every second frame, row and column; keys and values are made for those tokens only."""
    strided = x_BTND.unflatten(2, grid)[:, ::2, ::2, ::2].flatten(1, 3)
    out = attention(join_tokens(x_BTND, cls_B1D), torch.cat([cls_B1D, strided], dim=1))
    return split_tokens(out, x_BTND.shape[1])


def global_keys(frames: int, grid: Grid) -> Keys:
    """The class token and every second frame, row and column."""
    strided = number_patches(frames, grid)[::2, ::2, ::2].flatten()
    return _same_keys(pad(strided, (1, 0)), frames * grid[0] * grid[1])


def _same_keys(keys_M: Tensor, patches: int) -> Keys:
    """Keys that all tokens share."""
    return Keys(keys_M.expand(patches, -1), keys_M[None])


STEPS: dict[str, AttentionStep] = {
    "space": AttentionStep(space, space_keys),
    "time": AttentionStep(time, time_keys),
    "joint": AttentionStep(joint, joint_keys),
    "local": AttentionStep(local, local_keys),
    "global": AttentionStep(global_, global_keys),
    "width": AttentionStep(width, width_keys),
    "height": AttentionStep(height, height_keys),
}
TIME_WITH_CLASS = AttentionStep(time_with_class, time_with_class_keys)


def attention_step(name: str, *, class_token_in_time: bool = False) -> AttentionStep:
    """The step of a name; `class_token_in_time`: whether `time` has the class token as a key."""
    return TIME_WITH_CLASS if name == "time" and class_token_in_time else STEPS[name]


def register_step(name: str, function: StepFunction, indices: StepKeys) -> None:
    """Add an attention step, so that `scheme` may list it: `model.scheme=[time,NAME]`.

    function, indices: as `timesformer.model.schemes.AttentionStep` has them; see `space` and `space_keys` for an
    example. The step runs in training and in every engine. Register it in every program that uses it, before it does.

    Raises SettingError for a name that is no identifier or is taken.
    """
    if not name.isidentifier():
        raise SettingError(f"step {name!r}: expected a name of letters, digits and _")
    step = AttentionStep(function, indices)
    if STEPS.get(name, step) != step:
        raise SettingError(f"step {name!r} is taken; choose another name")
    if name not in STEPS:
        STEPS[name] = step
        config.STEPS.append(name)
