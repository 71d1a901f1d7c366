"""A classifier's network, ready to be as fast as the machine allows: `load_engine`.

Every engine has been compared with the model in plain float32 before it is handed out.

    eager      torch, with oneDNN's products where torch has them
    compile    the same through torch.compile; needs a C++ compiler on a CPU; on a GPU, CUDA graphs
    openvino   OpenVINO (extra `export`)
    onnx       ONNX Runtime (extra `export`)

Dimensions: B batch, C 3 colours, T frames, H and W pixels, N patches of a frame, K classes, D channels.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from timesformer.config import ModelSettings
from timesformer.device import Uploads, find_device
from timesformer.engine.agreement import LIMITS, Agreement, reference_logits, synthetic_clip
from timesformer.engine.build import Run, build
from timesformer.engine.choose import Choice, EngineName, Precision, choose
from timesformer.engine.ensemble import MeanScores
from timesformer.engine.file import ExportedFile, FileRun, Loaded, open_classifiers
from timesformer.errors import EngineError, SettingError
from timesformer.model.protocol import check_clips
from timesformer.weights.classifier import Classifier

__all__ = ["Engine", "EngineName", "Precision", "load_engine", "make_engine"]

CHECKED = 16  # clips, at most, that are compared at load
# Of a batch that keeps a device busy; on a CPU larger ones leave its caches. Of another architecture than TimeSformer,
# squares of 16 x 16 pixels stand for tokens.
TOKENS = {"cpu": 1600, "gpu": 65536}
SQUARE = 16


class Engine:
    """uint8 RGB clips (B, 3, T, H, W) to float32 logits (B, K), or to features, on the engine's device.

    Threads may share an engine: their calls take turns.

    Attributes: `engine` and `precision` that were chosen, `device`, `agreement` with the float32 model, `reason`: one
    line on what was chosen and why; `clip_shape` that the model is made for; `multilabel`, whether a video may have
    several classes; `feature_token`, which of all tokens the features are, None where they are no one token; and
    `views`: how many such clips at a time keep the device busy.
    """

    def __init__(
        self, run: Run, choice: Choice, device: torch.device, settings: ModelSettings, agreement: Agreement
    ) -> None:
        self.engine, self.precision, self.reason = choice
        self.device, self.agreement, self.clip_shape = device, agreement, settings.clip_shape
        self.multilabel, self.feature_token = settings.multilabel, settings.feature_token
        self._units = settings.clip_unit, settings.frame_unit
        unit = settings.clip_unit if settings.clip_unit > 1 else SQUARE
        tokens = self.clip_shape.frames // settings.frame_unit * max(1, self.clip_shape.side // unit) ** 2
        self.views = max(1, TOKENS["cpu" if device.type == "cpu" else "gpu"] // tokens)
        self._run, self._upload, self._lock = run, Uploads(device), threading.Lock()
        self._compute: Run | None = None

    def with_compute(self, compute: Run) -> Engine:
        """The same, whose calls go to a function, once their clips have been checked: where many share an engine, to
        the queue in front of it."""
        other = copy.copy(self)
        other._compute = compute
        return other

    def __call__(self, clips_BCTHW: Tensor) -> Tensor:
        """Logits (B, K). Raises SettingError for clips of another type or shape."""
        return self._call(clips_BCTHW, None, False)

    def features(self, clips_BCTHW: Tensor, layer: int = -1, tokens: bool = False) -> Tensor:
        """What the head would see, float32 (B, D), were block number `layer` the last (negative ones count from it).

        tokens: all tokens after the last norm in its place, (B, 1 + T N, D): the class token, where the model has one,
        then the patches of frame after frame, row by row. Any layer but the last costs no more than the blocks up to
        it; tokens of the last layer cost its whole block, which the logits of a class token do not need, and its memory
        from the first time on.

        Raises SettingError for a layer, or tokens, that the model does not have, and for clips as `__call__` does.
        """
        return self._call(clips_BCTHW, layer, tokens)

    def _call(self, clips_BCTHW: Tensor, layer: int | None, tokens: bool) -> Tensor:
        check_bytes(clips_BCTHW, *self._units)
        if self._compute is not None:
            return self._compute(clips_BCTHW, layer, tokens)
        with self._lock, torch.inference_mode():
            return self._run(self._upload(clips_BCTHW), layer, tokens)

    def __repr__(self) -> str:
        return f"Engine({self.engine}, {self.precision} on {self.device}; {self.clip_shape})"

    def __str__(self) -> str:
        return f"engine {self.engine}, {self.precision} ({self.reason}); {self.agreement}"


def load_engine(
    weights: str | Path | Classifier,
    engine: EngineName = "auto",
    precision: Precision = "auto",
    *,
    device: str = "auto",
    clips: Tensor | None = None,
) -> Engine:
    """The network of any weights that `timesformer.load` takes, or of a classifier, ready for uint8 clips.

    Of a file of `timesformer export` it is the file's own runtime and precision; of features it has those of the last
    layer.

    Of an ensemble each member gets an engine. The logits are then those whose softmax, or sigmoid where a video may
    have several classes, is the mean of the members'; there are no features.

    engine, precision: "auto" picks by what the machine has: bf16 where the processor or GPU is faster in it, fp32
    elsewhere, or where bf16 misses its agreement; never int8. device: as for `timesformer.load`.
    clips: uint8 RGB clips (B, 3, T, H, W) like those to come. int8 is calibrated on them and needs them, better 16 than
    1; the first few serve to compare the engine with the float32 model (without clips, a synthetic one does).

    Raises SettingError for an engine or precision that the machine or the installed packages lack, EngineError for an
    engine whose logits miss the agreement that `timesformer.engine.agreement.LIMITS` states for its precision.
    """
    forget = not isinstance(weights, Classifier)
    classifiers = (weights,) if isinstance(weights, Classifier) else open_classifiers(weights)
    return make_engine(classifiers, engine, precision, device, clips, forget=forget)


def make_engine(
    classifiers: Sequence[Loaded],
    engine: EngineName,
    precision: Precision,
    device: str,
    clips: Tensor | None,
    *,
    forget: bool,
) -> Engine:
    """As `load_engine`, for a classifier, the members of an ensemble or an exported file.

    forget: let go of the memory of every part of a model that has been used (`Classifier.forget`), which keeps memory
    low; not for a classifier that may have been changed since it was opened.
    """
    made = [
        of_file(classifier, engine, precision, device)
        if isinstance(classifier, ExportedFile)
        else _make_one(classifier, engine, precision, device, clips, classifier.forget if forget else _keep)
        for classifier in classifiers
    ]
    if len(made) == 1:
        return made[0]
    settings = classifiers[0].settings
    choice = Choice(made[0].engine, "+".join(sorted({one.precision for one in made})), made[0].reason)
    choice = choice._replace(reason=f"an ensemble of {len(made)}, {choice.reason}")
    agreement = max((one.agreement for one in made), key=lambda found: found.value)
    return Engine(MeanScores(made, settings.multilabel), choice, made[0].device, settings, agreement)


def _make_one(
    classifier: Classifier,
    engine: EngineName,
    precision: Precision,
    device: str,
    clips: Tensor | None,
    forget: Callable[[], None],
) -> Engine:
    settings, found = classifier.model.settings, find_device(device)
    choice = choose(engine, precision, found)
    if found.type != "cpu":
        forget = _keep  # the model is moved to the device, whole
    if clips is not None:
        check_bytes(clips, settings.clip_unit, settings.frame_unit)
        clips = clips.cpu()
    elif choice.precision == "int8":
        raise SettingError(
            "precision int8 is calibrated on videos like those to come: give some, as calibration= of "
            "timesformer.load or clips= of load_engine"
        )
    tested = synthetic_clip(settings.clip_shape) if clips is None else clips[:CHECKED]
    reference = reference_logits(classifier, tested, found, forget)
    while True:
        run = build(classifier, choice.engine, choice.precision, found, clips, forget)
        forget()
        with torch.inference_mode():
            logits = torch.cat([run(clip) for clip in tested.to(found).split(1)]).cpu()
        agreement, limit = Agreement.between(logits, reference, choice.precision), LIMITS[choice.precision]
        if agreement.value <= limit:
            return Engine(run, choice, found, settings, agreement)
        missed = f"{choice.precision} misses its agreement: {agreement.value:.2g}, at most {limit:g} is allowed"
        if precision != "auto" or choice.precision == "fp32":
            raise EngineError(f"engine {choice.engine}: {missed}; {agreement}")
        choice = choice._replace(precision="fp32", reason=missed)


def of_file(file: ExportedFile, engine: str = "auto", precision: str = "auto", device: str = "cpu") -> Engine:
    """The engine of an exported file, whose logits of a synthetic clip are those of the machine that made it. Raises
    EngineError where they are not, SettingError for an engine, precision or device that is not the file's."""
    choice, found = file.choose(engine, precision, device)
    run = FileRun(file, found)
    with torch.inference_mode():
        logits = run(synthetic_clip(file.made_for).to(found)).cpu()
    value, limit = Agreement.between(logits, file.own, choice.precision).value, LIMITS[choice.precision]
    if not value <= limit:
        raise EngineError(
            f"{file.path}: its logits on this machine miss those of the machine that exported it: {value:.2g}, at most "
            f"{limit:g} is allowed; export it here"
        )
    return Engine(run, choice, found, file.settings, Agreement.between(logits, file.float32, choice.precision))


def check_bytes(clips: Tensor, unit: int, frame_unit: int = 1) -> None:
    """Raises SettingError for what is no batch of uint8 clips, as `timesformer.model.protocol.check_clips`."""
    check_clips(clips, unit, frame_unit)
    if clips.dtype != torch.uint8:
        raise SettingError(f"clips of type {clips.dtype}: an engine takes uint8 RGB clips, not normalised")
    if not len(clips):
        raise SettingError(f"clips of shape {tuple(clips.shape)}: expected (batch, 3, frames, height, width)")


def _keep() -> None:
    pass
