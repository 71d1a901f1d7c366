"""How a probe is trained: heads on the features of a frozen network."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from timesformer.config.training import Device, Positive
from timesformer.settings import Settings

Neighbours = Annotated[int, Field(gt=0)]


class Probe(Settings):
    """Heads on frozen features, which are computed once; the best one is kept."""

    heads: tuple[Literal["linear", "attentive", "knn"], ...] = Field(
        ("linear",),
        min_length=1,
        description="heads that are tried: a linear layer on features; a learned query's attention to all tokens and a "
        "linear layer; votes of the nearest training clips, which are reported and never kept",
    )
    l2: tuple[Positive, ...] = Field(
        (0.01, 0.1, 1.0, 10.0),
        min_length=1,
        description="of linear: strengths of the L2 regularisation of weights of standardised features",
    )
    neighbours: tuple[Neighbours, ...] = Field(
        (1, 5, 20), min_length=1, description="of knn: how many of the nearest training clips vote"
    )
    learning_rates: tuple[Positive, ...] = Field(
        (3e-4, 1e-3, 3e-3), min_length=1, description="of attentive: peak learning rates of adamw"
    )
    epochs: int = Field(20, gt=0, strict=True, description="of attentive: passes over the training split's tokens")
    batch_size: int = Field(16, gt=0, description="of attentive: clips of a step")
    weight_decay: float = Field(0.01, ge=0, description="of attentive: weight decay of adamw")
    folds: int = Field(
        5, ge=3, description="parts of the training videos that choose and estimate, where there is no val split"
    )
    device: Device = Field("auto", description="where the features are computed; auto takes a GPU where there is one")
    precision: Literal["auto", "fp32", "bf16", "int8"] = Field(
        "auto",
        description="arithmetic of the features; auto is bf16 where the device is faster in it, and fp32 elsewhere",
    )

    @model_validator(mode="after")
    def _something_is_kept(self) -> Self:
        if len(set(self.heads)) < len(self.heads):
            raise ValueError(f"heads is {list(self.heads)}, should name each head once")
        if set(self.heads) == {"knn"}:
            raise ValueError("heads is ['knn'], which leaves nothing to keep; add linear or attentive")
        return self
