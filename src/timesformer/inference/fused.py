"""The network rewritten for inference: the same function of a clip, with less arithmetic and fewer copies.

What is changed once, when it is built, and is exact but for rounding:

    embedding     takes bytes: /255, mean, standard deviation and channel order are in its weights; patches are rows of
                  one matrix product; class token, bias and position tables are one table, added once
    temporal_fc   each step's output projection and the linear layer after it are one matrix
    last block    only what the class token gains: steps after its last one are dropped, its one query is multiplied
                  into the matrices of keys and values (which then need no products of their own), the MLP has one row

Tokens are x_TBSD: frames first, and in each frame a slot for the class token before those of the patches. So attention
inside a frame and along time both see their tokens without a copy, and nothing is ever joined or split. The copies of
the class token are equal wherever the model has one: `time` restores them, `space` averages them.

Schemes whose attention leaves the frame have their own blocks (`timesformer.inference.joined`).

Dimensions: B batch, T frames, S = 1 + N slots of a frame, D channels, H heads, K = D / H, P pixels of a patch's side,
X, L, M any sets, lines, keys.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from timesformer.config import ModelSettings, Preprocessing
from timesformer.inference.arithmetic import Arithmetic, own, own_norm, projection, step_of, weights
from timesformer.inference.linear import PlainLinear
from timesformer.model.attention import Attention
from timesformer.model.block import Block, Step
from timesformer.model.embed import Embedding, resize_space, resize_time
from timesformer.model.timesformer import TimeSformer

Grid = tuple[int, int]

CENTRE = 128  # taken off the bytes before the product, so that a bfloat16 one loses less; both are exact


class FusedEmbedding(nn.Module):
    """Bytes (B, 3, T, rows, columns) to tokens x_TBSD in float32."""

    bias: Tensor
    class_token: Tensor
    space: Tensor | None
    time: Tensor | None

    def __init__(self, embedding: Embedding, preprocessing: Preprocessing, how: Arithmetic) -> None:
        super().__init__()
        self.dtype, self.side = how.embeds, embedding.patch_size
        self.grid, self.resize = embedding.grid, embedding.resize
        weight = weights(embedding.projection)[0].double()
        if preprocessing.channels == "bgr":
            weight = weight.flip(1)
        mean, std = (
            torch.tensor(value, dtype=torch.float64, device=weight.device).view(1, 3, 1, 1)
            for value in (preprocessing.mean, preprocessing.std)
        )
        bias = weights(embedding.projection)[1].double() + (weight * (CENTRE / 255 - mean) / std).sum((1, 2, 3))
        matrix = (weight / std / 255).flatten(1)
        self.project = how.make("embedding", matrix.float(), torch.zeros_like(bias).float(), "none")
        self.register_buffer("bias", bias.float())
        self.register_buffer("class_token", own(embedding.class_token)[0])
        for name, table in (("space", embedding.space_table), ("time", embedding.time_table)):
            self.register_buffer(name, None if table is None else own(table))
        self.tables: dict[tuple[int, int, int], Tensor] = {}

    def forward(self, clips_BCTHW: Tensor) -> tuple[Tensor, Grid]:
        batch, colours, frames, rows, columns = clips_BCTHW.shape
        grid = (rows // self.side, columns // self.side)
        patches = clips_BCTHW.view(batch, colours, frames, grid[0], self.side, grid[1], self.side)
        patches = patches.permute(2, 0, 3, 5, 1, 4, 6).flatten(4).flatten(2, 3)
        projected = self.project(patches.to(self.dtype) - CENTRE)
        table_T1SD = self.table(frames, grid)
        slots = table_T1SD[:, :, :1].expand(-1, batch, -1, -1)
        return torch.cat([slots, projected + table_T1SD[:, :, 1:]], dim=2), grid

    def prepare(self, clips_BCTHW: Tensor) -> None:
        """Make the table that clips of this shape need."""
        frames, rows, columns = clips_BCTHW.shape[2:]
        self.table(frames, (rows // self.side, columns // self.side))

    def table(self, frames: int, grid: Grid) -> Tensor:
        """All that is added to the projected patches of a clip, and the class token in its slots: (T, 1, S, D)."""
        if torch.compiler.is_exporting():
            return self._make_table(frames, grid)  # what is kept while a graph is traced is no tensor
        key = (frames, *grid)
        if key not in self.tables:
            self.tables[key] = self._make_table(frames, grid)
        return self.tables[key]

    def _make_table(self, frames: int, grid: Grid) -> Tensor:
        patches_T1ND = self.bias.expand(frames, 1, grid[0] * grid[1], -1)
        class_token = self.class_token
        if self.space is not None:
            class_token = class_token + self.space[0, :1]
            patches_T1ND = patches_T1ND + resize_space(self.space[:, 1:], self.grid, grid, self.resize)
        if self.time is not None:
            patches_T1ND = patches_T1ND + resize_time(self.time, frames, self.resize)[0, :, None, None]
        return torch.cat([class_token.expand(frames, 1, 1, -1), patches_T1ND], dim=2)


class FusedStep(nn.Module):
    """One attention step inside frames or along time, on all slots: what they gain."""

    def __init__(self, name: str, step: Step, how: Arithmetic, prefix: str, class_in_time: bool) -> None:
        super().__init__()
        self.along_time, self.class_in_time = name == "time", class_in_time
        self.heads, self.dtype, self.attend = step.attention.heads, how.enters, how.attend
        self.norm, self.qkv = how.after(step.norm, f"{prefix}.{name}.qkv", step.attention.qkv)
        self.proj = how.make(f"{prefix}.{name}.proj", *projection(step), "none")

    def forward(self, x_TBSD: Tensor) -> Tensor:
        qkv = self.qkv(self.norm(x_TBSD).to(self.dtype)).unflatten(-1, (3, self.heads, -1))
        frames, batch, slots = qkv.shape[:3]
        if self.along_time:
            q, k, v = qkv.flatten(1, 2).permute(2, 1, 3, 0, 4).unbind(0)
            if self.class_in_time:
                first = qkv[0, :, :1].expand(-1, slots, -1, -1, -1).flatten(0, 1).unsqueeze(3)
                k, v = torch.cat([first[:, 1], k], dim=2), torch.cat([first[:, 2], v], dim=2)
            out = self.attend(q, k, v).permute(2, 0, 1, 3)
        else:
            q, k, v = qkv.flatten(0, 1).permute(2, 0, 3, 1, 4).unbind(0)
            out = self.attend(q, k, v).transpose(1, 2)
        gain: Tensor = self.proj(out.reshape(frames, batch, slots, -1))
        return gain


class ClassStep(nn.Module):
    """What one query a set of keys gains from an attention: the class token in the last step, or pooling's query.

    (W_k x + b_k) q = x (W_k^T q) + a constant that softmax cancels, and sum a (W_v x + b_v) = W_v (sum a x) + b_v, so
    neither keys nor values are computed.
    """

    wq: Tensor
    wk: Tensor
    wv: Tensor
    bq: Tensor
    bv: Tensor

    def __init__(self, attention: Attention, proj: tuple[Tensor, Tensor]) -> None:
        super().__init__()
        heads = attention.heads
        weight, bias = weights(attention.qkv)
        weight_3HKD, bias_3HK = weight.unflatten(0, (3, heads, -1)), bias.unflatten(0, (3, heads, -1))
        self.scale = weight_3HKD.shape[2] ** -0.5
        for name, tensor in (
            ("wq", weight_3HKD[0]),
            ("wk", weight_3HKD[1]),
            ("wv", weight_3HKD[2]),
            ("bq", bias_3HK[0]),
            ("bv", bias_3HK[2]),
        ):
            self.register_buffer(name, tensor.contiguous())
        self.proj = PlainLinear(*proj)

    def forward(self, class_XD: Tensor, keys_XLMD: Tensor) -> Tensor:
        """The gain (X, D), averaged over L sets of M keys; both normalised already."""
        q_XHK = torch.einsum("xd,hkd->xhk", class_XD, self.wq) + self.bq
        query_XHD = torch.einsum("xhk,hkd->xhd", q_XHK, self.wk) * self.scale
        weights_XLHM = (query_XHD.unsqueeze(1) @ keys_XLMD.transpose(2, 3)).softmax(-1)
        seen_XHD = (weights_XLHM @ keys_XLMD).mean(1)
        out_XHK = torch.einsum("xhd,hkd->xhk", seen_XHD, self.wv) + self.bv
        gain: Tensor = self.proj(out_XHK.flatten(1))
        return gain


class FusedMlp(nn.Module):
    """Norm and MLP of a block: what its tokens gain."""

    def __init__(self, block: Block, how: Arithmetic, prefix: str) -> None:
        super().__init__()
        self.dtype = how.enters
        self.norm, self.fc1 = how.after(block.norm, f"{prefix}.fc1", block.mlp[0], "gelu")
        self.fc2 = how.make(f"{prefix}.fc2", *weights(block.mlp[3]), "none")

    def forward(self, x: Tensor) -> Tensor:
        gain: Tensor = self.fc2(self.fc1(self.norm(x).to(self.dtype)))
        return gain


class FramesBlock(nn.Module):
    """A block of `divided_space_time` or `space_only`; tokens are changed in place."""

    def __init__(
        self,
        block: nn.Module,
        settings: ModelSettings,
        how: Arithmetic,
        prefix: str,
        names: tuple[str, ...] | None = None,
        mlp: bool = True,
    ) -> None:
        super().__init__()
        assert isinstance(block, Block)
        names = block.order if names is None else names
        self.parallel, self.average = block.parallel, settings.scheme != "space_only"
        self.steps = nn.ModuleDict(
            {name: FusedStep(name, step_of(block, name), how, prefix, settings.class_token_in_time) for name in names}
        )
        self.mlp = FusedMlp(block, how, prefix) if mlp else None

    def forward(self, x_TBSD: Tensor) -> Tensor:
        gains = []
        for name, step in self.steps.items():
            gain = step(x_TBSD)
            if name == "time":
                gain = with_class_slots(gain, torch.zeros_like(gain[:, :, :1]))
            elif self.average:
                gain = with_class_slots(gain, gain[:, :, :1].mean(0, keepdim=True).expand(gain.shape[0], -1, -1, -1))
            if self.parallel:
                gains.append(gain)
            else:
                x_TBSD.add_(gain)
        for gain in gains:
            x_TBSD.add_(gain)
        return x_TBSD if self.mlp is None else x_TBSD.add_(self.mlp(x_TBSD))


class LastFramesBlock(nn.Module):
    """The last block, for the class token alone: (B, D), or (T x B, D) of frames apart."""

    def __init__(self, block: nn.Module, settings: ModelSettings, how: Arithmetic, prefix: str) -> None:
        super().__init__()
        assert isinstance(block, Block)
        self.average = settings.scheme != "space_only"
        before = () if block.parallel else block.order[: block.order.index("space")]
        self.before = FramesBlock(block, settings, how, prefix, before, mlp=False)
        step = step_of(block, "space")
        self.norm, self.step = own_norm(step.norm), ClassStep(step.attention, projection(step))
        self.mlp = FusedMlp(block, Arithmetic(), prefix)

    def forward(self, x_TBSD: Tensor) -> Tensor:
        x_TBSD = self.before(x_TBSD)
        normed = self.norm(x_TBSD)
        if self.average:
            class_XD, gain = x_TBSD[0, :, 0], self.step(normed[0, :, 0], normed.transpose(0, 1))
        else:
            class_XD = x_TBSD[:, :, 0].flatten(0, 1)
            gain = self.step(normed[:, :, 0].flatten(0, 1), normed.flatten(0, 1).unsqueeze(1))
        class_XD = class_XD + gain
        last: Tensor = class_XD + self.mlp(class_XD)
        return last


class FusedTimeSformer(nn.Module):
    """uint8 clips (B, 3, T, rows, columns) to float32 logits (B, classes); made of a model, which stays as it is."""

    query: Tensor

    def __init__(
        self,
        model: TimeSformer,
        preprocessing: Preprocessing,
        how: Arithmetic | None = None,
        after_block: Callable[[], None] = lambda: None,
    ) -> None:
        """`after_block` is called when a block of the model has been seen, and is not needed any more."""
        super().__init__()
        from timesformer.inference.joined import JoinedBlock, LastJoinedBlock

        how = how or Arithmetic()
        settings = model.settings
        self.embedding = FusedEmbedding(model.embedding, preprocessing, how)
        self.in_frames = settings.scheme in ("divided_space_time", "space_only")
        self.frames_apart = settings.scheme == "space_only"
        kind, last = (FramesBlock, LastFramesBlock) if self.in_frames else (JoinedBlock, LastJoinedBlock)
        blocks = [(block, settings, how, str(number)) for number, block in enumerate(model.blocks)]
        # Pooling sees all tokens, so no block is the class token's alone.
        self.pooling = None
        if model.pooling is not None:
            attention = model.pooling.attention
            self.pooling = ClassStep(attention, weights(attention.proj))
            self.register_buffer("query", own(model.pooling.query)[0])
        self.blocks = nn.ModuleList()
        for given in blocks if self.pooling is not None else blocks[:-1]:
            self.blocks.append(kind(*given))
            after_block()
        self.last = None if self.pooling is not None else last(*blocks[-1])
        self.norm = own_norm(model.norm)
        self.head = PlainLinear(*weights(model.head))

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        x_TBSD, grid = self.embedding(clips_BCTHW)
        features_BD = self._in_frames(x_TBSD) if self.in_frames else self._joined(x_TBSD, grid)
        logits: Tensor = self.head(features_BD)
        return logits

    def _in_frames(self, x_TBSD: Tensor) -> Tensor:
        """What the head sees: (B, D)."""
        for block in self.blocks:
            x_TBSD = block(x_TBSD)
        if self.last is not None:
            class_XD = self.last(x_TBSD)
            return self._norm(class_XD.unflatten(0, x_TBSD.shape[:2]).mean(0) if self.frames_apart else class_XD)
        class_B1D = x_TBSD[:, :, :1].mean(0)
        return self._pool(torch.cat([class_B1D, x_TBSD[:, :, 1:].transpose(0, 1).flatten(1, 2)], dim=1))

    def _joined(self, x_TBSD: Tensor, grid: Grid) -> Tensor:
        """What the head sees: (B, D)."""
        frames = x_TBSD.shape[0]
        tokens_BMD = torch.cat([x_TBSD[0, :, :1], x_TBSD[:, :, 1:].transpose(0, 1).flatten(1, 2)], dim=1)
        for block in self.blocks:
            tokens_BMD = block(tokens_BMD, frames, grid)
        return self._pool(tokens_BMD) if self.last is None else self._norm(self.last(tokens_BMD, frames, grid))

    def _norm(self, class_BD: Tensor) -> Tensor:
        normed: Tensor = self.norm(class_BD)
        return normed

    def _pool(self, tokens_BMD: Tensor) -> Tensor:
        assert self.pooling is not None
        pooled: Tensor = self.pooling(self.query.expand(len(tokens_BMD), -1), self._norm(tokens_BMD).unsqueeze(1))
        return pooled


def with_class_slots(x_TBSD: Tensor, slots_TB1D: Tensor) -> Tensor:
    """The same with other class slots; in place but in a graph to be exported, where writing is slower than joining."""
    if torch.compiler.is_exporting():
        return torch.cat([slots_TB1D, x_TBSD[:, :, 1:]], dim=2)
    x_TBSD[:, :, :1] = slots_TB1D
    return x_TBSD
