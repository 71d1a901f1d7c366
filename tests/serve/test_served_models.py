"""What models are called."""

from __future__ import annotations

from pathlib import Path

import pytest

import timesformer
from conftest import moving_bar
from serving import LABELS, running, save_small
from timesformer.errors import SettingError
from timesformer.serve.models import name_weights
from timesformer.video.encode import write_video


def test_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given ones; those of folders and files; of what says nothing, such as RUN/model, that of the folder above."""
    (tmp_path / "run" / "model").mkdir(parents=True)
    (tmp_path / "small.onnx").touch()
    (tmp_path / "run" / "a=b").mkdir()
    monkeypatch.chdir(tmp_path / "run")
    assert name_weights(["best=model", ".", "a=b", f"{tmp_path}/small.onnx", "someone/hub-id"]) == {
        "best": "model",
        "run": ".",
        "a=b": "a=b",
        "small": f"{tmp_path}/small.onnx",
        "hub-id": "someone/hub-id",
    }
    assert name_weights(["model"]) == {"run": "model"}
    with pytest.raises(SettingError, match="a second model named run; give each a name of its own, NAME=WEIGHTS"):
        name_weights([".", str(tmp_path / "run" / "model")])
    with pytest.raises(SettingError, match="none; expected at least one"):
        name_weights([])


def test_an_ensemble_predicts_and_is_not_explained(tmp_path: Path) -> None:
    members = {name: save_small(tmp_path / name, seed=seed) for seed, name in enumerate("ab")}
    timesformer.save_ensemble(members, tmp_path / "ensemble")
    write_video(tmp_path / "video.mp4", moving_bar(1, 0), 10)
    content, kind = (tmp_path / "video.mp4").read_bytes(), {"content-type": "video/mp4"}
    expected = dict(timesformer.load(tmp_path / "ensemble", "cpu", precision="fp32").predict(tmp_path / "video.mp4"))
    with running({"both": tmp_path / "ensemble"}) as service:
        answer = service.client.post("/v1/predict", content=content, headers=kind).json()
        assert {row["label"]: row["score"] for row in answer["predictions"]} == pytest.approx(expected, abs=1e-6)
        assert set(expected) == set(LABELS)
        for path in ("explain", "features"):
            refused = service.client.post(f"/v1/{path}", content=content, headers=kind)
            assert (refused.status_code, refused.json()["error"]) == (422, "not_supported")
