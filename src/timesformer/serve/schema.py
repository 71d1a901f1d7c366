"""What /openapi.json says of requests and answers, with examples."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class LabelScore(BaseModel):
    label: str
    score: float = Field(description="0 to 1")


class Prediction(BaseModel):
    """What `timesformer predict --json` has of a video."""

    video: str = Field(description="what the client calls it")
    predictions: list[LabelScore]
    seconds: float | None = Field(None, description="of the video")
    frames: int | None = Field(None, description="of the video")
    seen_seconds: float | None = Field(None, description="of it that the clips are spread over")
    seen_frames: int | None = Field(None, description="that were looked at")


class Features(BaseModel):
    video: str
    features: list[float]


class Row(BaseModel):
    """A window of a timeline; a line of NDJSON."""

    video: str
    start_s: float
    end_s: float
    padded: bool = Field(description="whether the video is shorter than the window should be")
    last: bool = Field(description="whether it is the window that ends with the video, off the grid")
    label: str
    score: float


class Model(BaseModel):
    name: str
    architecture: str
    scheme: str | None
    classes: int
    labels: list[str]
    frames: int
    side: int
    engine: str
    precision: str
    default: bool


class Models(BaseModel):
    models: list[Model]


class Error(BaseModel):
    error: str = Field(description="a short code")
    detail: str = Field(description="one sentence")


SCORES = [{"label": "archery", "score": 0.93}, {"label": "abseiling", "score": 0.04}]
EXAMPLES: dict[str, tuple[type[BaseModel], dict[str, Any]]] = {
    "prediction": (
        Prediction,
        {
            "video": "clip.mp4",
            "predictions": SCORES,
            "seconds": 10.0,
            "frames": 250,
            "seen_seconds": 10.0,
            "seen_frames": 8,
        },
    ),
    "features": (Features, {"video": "clip.mp4", "features": [0.12, -0.5, 1.25]}),
    "row": (
        Row,
        {
            "video": "clip.mp4",
            "start_s": 0.0,
            "end_s": 2.0,
            "padded": False,
            "last": False,
            "label": "archery",
            "score": 0.93,
        },
    ),
    "models": (
        Models,
        {
            "models": [
                {
                    "name": "small",
                    "architecture": "timesformer",
                    "scheme": "divided_space_time",
                    "classes": 2,
                    "labels": ["abseiling", "archery"],
                    "frames": 8,
                    "side": 224,
                    "engine": "eager",
                    "precision": "fp32",
                    "default": True,
                }
            ]
        },
    ),
    "error": (Error, {"error": "not_a_video", "detail": "the file has no video in it"}),
}

_BINARY = {"schema": {"type": "string", "format": "binary"}}
BODY = {
    "requestBody": {
        "required": True,
        "description": "One video; JSON only where the service was started with --allow-urls.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["video"],
                    "properties": {"video": {"type": "string", "format": "binary"}},
                }
            },
            "video/*": _BINARY,
            "application/octet-stream": _BINARY,
            "application/json": {
                "schema": {"type": "object", "required": ["url"], "properties": {"url": {"type": "string"}}},
                "example": {"url": "https://videos.example/clip.mp4"},
            },
        },
    }
}
MEANINGS = {
    400: "The request is not understood.",
    401: "A token is asked for.",
    403: "The request may come from another site.",
    404: "No such model.",
    408: "The body did not come in time.",
    413: "The body, or the video in it, is beyond a limit.",
    415: "The body, or the file in it, is of a kind that is not read.",
    422: "The video cannot be read.",
    429: "The queue is full; Retry-After has the seconds after which to come again.",
    503: "The service cannot take requests now.",
}


def _answers(name: str, content: str = "application/json") -> dict[int | str, dict[str, Any]]:
    model, example = EXAMPLES[name]
    error = {"model": Error, "content": {"application/json": {"example": EXAMPLES["error"][1]}}}
    answer: dict[str, Any] = {"model": model, "content": {content: {"example": example}}}
    return {200: answer, **{status: {**error, "description": text} for status, text in MEANINGS.items()}}


PREDICT: dict[str, Any] = {"responses": _answers("prediction"), "openapi_extra": BODY, "tags": ["videos"]}
FEATURES: dict[str, Any] = {"responses": _answers("features"), "openapi_extra": BODY, "tags": ["videos"]}
TIMELINE: dict[str, Any] = {
    "responses": _answers("row", "application/x-ndjson"),
    "openapi_extra": BODY,
    "tags": ["videos"],
}
EXPLAIN: dict[str, Any] = {
    "responses": {
        200: {"description": "The overlay.", "content": {"video/mp4": _BINARY}},
        **{status: answer for status, answer in _answers("error").items() if status != 200},
    },
    "openapi_extra": BODY,
    "tags": ["videos"],
}
MODELS: dict[str, Any] = {"responses": _answers("models"), "tags": ["models"]}
