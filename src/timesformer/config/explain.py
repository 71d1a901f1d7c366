"""How a prediction is explained."""

from __future__ import annotations

from typing import Literal, NamedTuple, Self

from pydantic import Field, model_validator

from timesformer.settings import Settings

Method = Literal["rollout", "relevance", "occlusion"]
HeadFusion = Literal["mean", "max", "min"]


class Query(NamedTuple):
    """A patch, by a frame of the video and a pixel in it, column and row."""

    frame: int
    x: int
    y: int


class Explain(Settings):
    """Where and when a model looked: how that is found."""

    method: Method = Field(
        "rollout",
        description="rollout: attention of all layers, the same for all classes; relevance: attention weighted by its "
        "gradient, of one class; occlusion: what a class loses where parts are hidden, slow, for any architecture",
    )
    head_fusion: HeadFusion = Field(
        "mean", description="of rollout: how heads become one: their mean, or the largest or smallest weight, rescaled"
    )
    discard: float = Field(
        0.0, ge=0, lt=1, description="of rollout: fraction of the keys of every query, the weakest, that is skipped"
    )
    layer: int | None = Field(
        None, description="of rollout and relevance: one block alone, from 0, or from the last with -1; null: all"
    )
    head: int | None = Field(None, ge=0, description="of rollout and relevance: one head alone, from 0; null: all")
    grids: int = Field(
        1,
        ge=1,
        le=4,
        description="of rollout and relevance: the map is the mean of N x N, of views moved by parts of a patch, so "
        "that it is finer than a patch, and as many times slower",
    )
    query: Query | None = Field(
        None,
        description="of rollout and relevance: frame, x and y of a pixel of the video whose patch is asked, in "
        "place of what the head sees",
    )

    @model_validator(mode="after")
    def _of_the_method(self) -> Self:
        if self.method == "occlusion":
            for name, default in (("layer", None), ("head", None), ("query", None), ("grids", 1)):
                if (value := getattr(self, name)) != default:
                    raise ValueError(f"{name} is {value}; only for method rollout or relevance, not occlusion")
        if self.method != "rollout":
            for name, normal in (("head_fusion", "mean"), ("discard", 0.0)):
                if (value := getattr(self, name)) != normal:
                    raise ValueError(f"{name} is {value}; only for method rollout, not {self.method}")
        if self.head is not None and self.head_fusion != "mean":
            raise ValueError(f"head_fusion is {self.head_fusion}; head {self.head} alone is not fused")
        return self
