"""Weights that are replaced while they are read or used: never some of each save."""

from __future__ import annotations

import copy
import pickle
import threading
from pathlib import Path

import pytest
import torch

from timesformer import TimeSformer
from timesformer.errors import WeightsError
from timesformer.weights import opened
from timesformer.weights.classifier import Classifier, load_model
from timesformer.weights.convert import save_as

TINY = {"image_size": 16, "patch_size": 8, "num_frames": 2, "width": 64, "depth": 1, "heads": 1, "num_classes": 2}


def epoch(number: int) -> Classifier:
    """Weights all of whose tensors and labels say of which epoch they are."""
    model = TimeSformer(**TINY)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(number)
    return Classifier(model, labels=(f"a{number}", f"b{number}"))


def epoch_of(found: Classifier) -> int:
    """The one epoch that all of it is of."""
    (number,) = {
        *(label[1:] for label in found.labels),
        *(f"{value:g}" for tensor in found.model.state_dict().values() for value in tensor.unique().tolist()),
    }
    return int(number)


def save(number: int, folder: Path, layout: str) -> None:
    """Replace the folder as a whole, as a training run does."""
    from timesformer.weights.huggingface import save_huggingface
    from timesformer.weights.native import save_native

    {"native": save_native, "huggingface": save_huggingface}[layout](epoch(number).contents(), folder)


def test_what_was_opened_stays_the_source(tmp_path: Path) -> None:
    save(1, tmp_path / "model", "native")
    found = load_model(tmp_path / "model")
    save(2, tmp_path / "model", "native")
    found.forget()
    assert epoch_of(found) == 1
    (tmp_path / "model" / "model.safetensors").unlink()
    found.forget()
    assert epoch_of(found) == 1


@pytest.mark.parametrize("layout", ["native", "huggingface"])
def test_configuration_and_tensors_are_of_one_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    """The folder is replaced after its config.json was read."""
    save(1, tmp_path / "model", layout)
    module = f"timesformer.weights.{layout}.read_json"
    from timesformer.weights.storage import read_json

    saves = iter((2, 3))

    def reading(file: Path) -> dict[str, object]:
        values = read_json(file)
        if number := next(saves, None):
            save(number, tmp_path / "model", layout)
        return values

    monkeypatch.setattr(module, reading)
    assert epoch_of(load_model(tmp_path / "model")) == 3


def test_readers_beside_a_writer(tmp_path: Path) -> None:
    save_as(epoch(0), tmp_path / "model", "native")
    """Which writes thirteen times three in a row, and then lets them read at least once."""
    read, done = threading.Event(), threading.Event()

    def write() -> None:
        for number in range(1, 40):
            save(number, tmp_path / "model", "native")
            if number % 3 == 0:
                read.clear()
                read.wait(60)
        done.set()

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    seen, errors = [], []
    while not done.is_set():
        try:
            found = load_model(tmp_path / "model")
        except WeightsError as error:
            errors.append(str(error))
            continue
        found.forget()
        seen.append(epoch_of(found))
        read.set()
    writer.join()
    none = ("no such file or folder", "holds no weights")  # for a moment there is none
    assert [error for error in errors if not any(words in error for words in none)] == []
    assert seen == sorted(seen)
    assert len(set(seen)) > 6


def test_a_folder_that_keeps_changing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(1, tmp_path / "model", "native")
    from timesformer.weights.storage import read_json

    def reading(file: Path) -> dict[str, object]:
        with (tmp_path / "model" / "log").open("a") as log:
            log.write("more\n")
        return read_json(file)

    monkeypatch.setattr("timesformer.weights.native.read_json", reading)
    monkeypatch.setattr(opened, "WAIT_S", 0)
    with pytest.raises(WeightsError, match=r"^\S+model: keeps changing while it is read; try again when it is comp"):
        load_model(tmp_path / "model")


def test_a_file_that_is_written_to(tmp_path: Path) -> None:
    save(1, tmp_path / "model", "native")
    found = load_model(tmp_path / "model")
    with (tmp_path / "model" / "model.safetensors").open("ab") as file:
        file.write(b"0")
    with pytest.raises(WeightsError, match="was overwritten while it was in use"):
        found.forget()


def test_copies_hold_their_tensors_themselves(tmp_path: Path) -> None:
    save(1, tmp_path / "model", "native")
    found = load_model(tmp_path / "model")
    for other in (copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        assert other.reread is None
        other.forget()
        assert epoch_of(other) == 1
