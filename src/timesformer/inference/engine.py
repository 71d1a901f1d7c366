"""A classifier's network, ready to be as fast as the machine allows: `load_engine`.

Every engine runs the rewritten network of `timesformer.inference.fused`, and has been compared with the model in plain
float32 before it is handed out.

    eager      torch, with oneDNN's products where torch has them
    compile    the same through torch.compile; needs a C++ compiler on a CPU; on a GPU, CUDA graphs
    openvino   OpenVINO (extra `export`)
    onnx       ONNX Runtime (extra `export`)

Dimensions: B batch, C 3 colours, T frames, H and W pixels, K classes.
"""

from __future__ import annotations

import functools
import importlib.util
import platform
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from timesformer.config import ModelSettings
from timesformer.errors import EngineError, SettingError
from timesformer.inference.arithmetic import Arithmetic, attend_apart, attend_fused
from timesformer.inference.compiled import compiled, graphed
from timesformer.inference.device import Uploads, find_device
from timesformer.inference.fused import FusedTimeSformer
from timesformer.inference.linear import Ending, PackedLinear, PlainLinear, has_onednn
from timesformer.video.transforms import normalise
from timesformer.weights import Classifier, open_weights

EngineName = Literal["auto", "eager", "compile", "openvino", "onnx"]
Precision = Literal["auto", "fp32", "bf16", "int8"]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
# What an engine's logits may differ by from the model's: fp32, the largest difference as a share of the largest logit
# (of 1 where all are smaller); bf16 and int8, the difference as a share of the spread of the logits (see Agreement).
LIMITS = {"fp32": 1e-4, "bf16": 0.05, "int8": 0.2}
TOKENS = {"cpu": 1600, "gpu": 65536}  # of a batch that keeps a device busy; on a CPU larger ones leave its caches
CHECKED = 16  # clips, at most, that are compared at load
SUPPORTED = {
    "eager": ("fp32", "bf16", "int8"),
    "compile": ("fp32", "bf16"),
    "openvino": ("fp32", "bf16"),
    "onnx": ("fp32",),
}


class Agreement(NamedTuple):
    """How an engine's logits compare with the float32 model's on the same clips.

    largest   largest difference of a logit
    relative  root mean square of the differences over that of the logits around their mean of a clip
    top1      share of clips with the same best class
    clips     number of clips
    value     what the precision's limit holds for
    """

    largest: float
    relative: float
    top1: float
    clips: int
    value: float

    @classmethod
    def between(cls, logits_BK: Tensor, reference_BK: Tensor, precision: str) -> Agreement:
        """Compare logits with those of the float32 model."""
        difference = logits_BK - reference_BK
        centred = reference_BK - reference_BK.mean(1, keepdim=True) if reference_BK.shape[1] > 1 else reference_BK
        largest = float(difference.abs().max())
        # Logits that are all but equal have no spread to compare with; a hundredth of their size takes its place.
        spread = max(_rms(centred), 0.01 * _rms(reference_BK), 1e-12)
        relative = _rms(difference) / spread
        top1 = float((logits_BK.argmax(1) == reference_BK.argmax(1)).float().mean())
        value = largest / max(1.0, float(reference_BK.abs().max())) if precision == "fp32" else relative
        return cls(largest, relative, top1, len(logits_BK), value)

    def __str__(self) -> str:
        return (
            f"logits within {self.largest:.1e} of float32's ({self.relative:.1e} of their spread), same best class "
            f"in {self.top1:.0%} of {self.clips} clip{'s'[: self.clips != 1]}"
        )


class Engine:
    """uint8 RGB clips (B, 3, T, H, W) to float32 logits (B, K), on the engine's device.

    Attributes: `engine` and `precision` that were picked, `device`, `agreement` with the float32 model, `reason`: one
    line on what was picked and why; and `views`: how many clips at a time keep the device busy.
    """

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        engine: str,
        precision: str,
        device: torch.device,
        settings: ModelSettings,
        reason: str,
        agreement: Agreement,
    ) -> None:
        self.engine, self.precision, self.device = engine, precision, device
        self.reason, self.agreement = reason, agreement
        tokens = settings.num_frames * (settings.image_size // settings.patch_size) ** 2
        self.views = max(1, TOKENS["cpu" if device.type == "cpu" else "gpu"] // tokens)
        self._function, self._patch, self._upload = function, settings.patch_size, Uploads(device)

    def __call__(self, clips_BCTHW: Tensor) -> Tensor:
        """Raises SettingError for clips of another type or shape."""
        check_clips(clips_BCTHW, self._patch)
        with torch.inference_mode():
            return self._function(self._upload(clips_BCTHW))

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

    engine, precision: "auto" picks by what the machine has: bf16 where the processor or GPU computes in it natively,
    fp32 elsewhere, or where bf16 misses its agreement; never int8. device: as for `timesformer.load`.
    clips: uint8 RGB clips (B, 3, T, H, W) like those to come. int8 is calibrated on them and needs them, better 16 than
    1; the first few serve to compare the engine with the float32 model (without clips, a synthetic one does).

    Raises SettingError for an engine or precision that the machine or the installed packages lack, EngineError for an
    engine whose logits miss the agreement that `LIMITS` states for its precision.
    """
    if isinstance(weights, Classifier):
        return make_engine(weights, engine, precision, device, clips, _keep)
    classifier = open_weights(weights)
    return make_engine(classifier, engine, precision, device, clips, classifier.forget)


def make_engine(
    classifier: Classifier,
    engine: EngineName,
    precision: Precision,
    device: str,
    clips: Tensor | None,
    forget: Callable[[], None],
) -> Engine:
    """As `load_engine`; `forget` is called whenever a part of the model has been used.

    `Classifier.forget` then keeps memory low; not for a classifier that may have been changed since it was opened.
    """
    for name, value, known in (("engine", engine, EngineName), ("precision", precision, Precision)):
        if value not in get_args(known):
            raise SettingError(f"{name} is {value!r}: one of {', '.join(get_args(known))}")
    place = find_device(device)
    if place.type != "cpu":
        forget = _keep  # the model is moved to the device, whole
    settings = classifier.model.settings
    if clips is not None:
        check_clips(clips, settings.patch_size)
        clips = clips.cpu()
    picked_engine = "eager" if engine == "auto" else engine
    picked, reason = _pick_precision(picked_engine, precision, place)
    if picked_engine == "eager" and place.type == "cpu" and not has_onednn():
        reason += "; torch's own products, since this torch has no oneDNN"
    if picked == "int8" and clips is None:
        raise SettingError(
            "precision int8 is calibrated on videos like those to come: give some, as calibration= of "
            "timesformer.load or clips= of load_engine"
        )
    tested = synthetic_clip(classifier) if clips is None else clips[:CHECKED]
    reference = _reference(classifier, tested, place, forget)
    while True:
        function = _build(classifier, picked_engine, picked, place, clips, forget)
        forget()
        with torch.inference_mode():
            logits = torch.cat([function(clip) for clip in tested.to(place).split(1)]).cpu()
        agreement = Agreement.between(logits, reference, picked)
        if agreement.value <= LIMITS[picked]:
            return Engine(function, picked_engine, picked, place, settings, reason, agreement)
        missed = f"{picked} misses its agreement: {agreement.value:.2g}, at most {LIMITS[picked]:g} is allowed"
        if precision != "auto" or picked == "fp32":
            raise EngineError(f"engine {picked_engine}: {missed}; {agreement}")
        picked, reason = "fp32", missed


def check_clips(clips: Tensor, patch: int) -> None:
    """Raises SettingError for what is no batch of uint8 clips of whole patches."""
    if clips.dtype != torch.uint8:
        raise SettingError(f"clips of type {clips.dtype}: an engine takes uint8 RGB clips, not normalised")
    if clips.ndim != 5 or clips.shape[1] != 3 or 0 in clips.shape:
        raise SettingError(f"clips of shape {tuple(clips.shape)}: expected (batch, 3, frames, height, width)")
    if clips.shape[3] % patch or clips.shape[4] % patch:
        raise SettingError(
            f"frames of {clips.shape[3]} x {clips.shape[4]} pixels: height and width must be "
            f"multiples of the patch size {patch}"
        )


def synthetic_clip(classifier: Classifier) -> Tensor:
    """A clip of smooth, drifting colours with a little noise, of the model's own shape: (1, 3, T, S, S), uint8."""
    settings = classifier.model.settings
    frames, size = settings.num_frames, settings.image_size
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 2 + frames // 4, 5, 5, generator=generator)
    smooth = F.interpolate(coarse, size=(frames, size, size), mode="trilinear")
    noise = torch.randn(smooth.shape, generator=generator)
    return (smooth * 255 + 8 * noise).clamp(0, 255).to(torch.uint8)


@functools.cache
def native_bf16() -> bool:
    """Whether this processor has matrix instructions for bfloat16; only Linux tells."""
    try:
        content = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    lines = [line for line in content.splitlines() if line.lower().startswith(("flags", "features"))]
    return bool(lines) and not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(lines[0].split())


def _pick_precision(engine: str, precision: str, device: torch.device) -> tuple[str, str]:
    """The precision, and why. Raises SettingError where engine, precision and machine do not go together."""
    if engine in ("openvino", "onnx") and device.type != "cpu":
        raise SettingError(
            f"engine {engine} runs on the CPU here, not on {device.type}: engine eager or compile, or device cpu"
        )
    if engine == "compile" and device.type == "cpu" and not any(map(shutil.which, ("g++", "clang++", "c++"))):
        raise SettingError("engine compile needs a C++ compiler, and none was found (g++, clang++): engine eager")
    if engine == "compile" and device.type == "cuda" and importlib.util.find_spec("triton") is None:
        raise SettingError("engine compile on a GPU needs triton, and it is not installed: engine eager")
    if precision not in ("auto", *SUPPORTED[engine]):
        others = [name for name, supported in SUPPORTED.items() if precision in supported]
        raise SettingError(
            f"precision {precision} is not for engine {engine}, which has {', '.join(SUPPORTED[engine])}"
            f"; {precision} is of engine {', '.join(others)}"
        )
    if precision == "int8" and (device.type != "cpu" or not has_onednn()):
        raise SettingError(
            "precision int8 needs oneDNN's eight-bit products, which this torch lacks on "
            f"{device.type}: precision bf16 or fp32"
        )
    if device.type == "cuda":
        native, what = torch.cuda.is_bf16_supported(including_emulation=False), "this GPU"
    else:
        native, what = device.type == "cpu" and native_bf16(), f"this {platform.machine()} processor"
    if precision == "bf16" and not native:
        raise SettingError(f"precision bf16: {what} has no bf16 products of its own: precision fp32")
    if precision != "auto":
        return precision, "as asked"
    if "bf16" in SUPPORTED[engine] and native:
        return "bf16", f"native on {what}"
    return "fp32", f"engine {engine} has no bf16" if native else f"{what} has no bf16 of its own"


def _build(
    classifier: Classifier,
    engine: str,
    precision: str,
    device: torch.device,
    clips: Tensor | None,
    forget: Callable[[], None],
) -> Callable[[Tensor], Tensor]:
    def fused(how: Arithmetic) -> FusedTimeSformer:
        return FusedTimeSformer(classifier.model, classifier.preprocessing, how, forget).to(device).eval()

    if engine in ("openvino", "onnx"):
        from timesformer.inference.exported import Exported, onnx_graph, openvino_graph

        make = onnx_graph() if engine == "onnx" else openvino_graph(precision == "bf16")
        return Exported(fused(Arithmetic()).cpu(), make)
    if precision == "int8":
        from timesformer.inference.int8 import calibrate

        assert clips is not None
        wide = arithmetic("bf16" if native_bf16() else "fp32", device, packed=True)
        with torch.inference_mode():
            return fused(calibrate(fused, clips.split(1), wide))
    with torch.inference_mode():
        network = fused(arithmetic(precision, device, packed=engine == "eager" and has_onednn()))
    if engine == "compile":
        return graphed(network) if device.type == "cuda" else compiled(network)
    return network


def arithmetic(precision: str, device: torch.device, *, packed: bool) -> Arithmetic:
    """Float32 or bfloat16, by torch's linear layers or oneDNN's."""
    dtype = DTYPES[precision]
    kind = PackedLinear if packed and device.type == "cpu" else PlainLinear

    def make(name: str, weight: Tensor, bias: Tensor, ending: Ending) -> nn.Module:
        return kind(weight.to(dtype), bias.to(dtype), ending)

    apart = device.type == "cpu" and precision == "bf16"
    return Arithmetic(make, dtype, dtype, attend_apart if apart else attend_fused)


def _reference(classifier: Classifier, clips: Tensor, device: torch.device, forget: Callable[[], None]) -> Tensor:
    """Logits of the model itself in float32."""
    model = classifier.model
    training, home, dtype = model.training, next(model.parameters()).device, next(model.parameters()).dtype
    hooks = [block.register_forward_hook(lambda *_: forget()) for block in model.blocks]
    try:
        model.eval().float().to(device)
        # In true float32 on a GPU too, whose convolutions are in TF32 otherwise.
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            views = (normalise(clip.to(device), classifier.preprocessing) for clip in clips.split(1))
            return torch.cat([model(view) for view in views]).cpu()
    finally:
        for hook in hooks:
            hook.remove()
        model.train(training).to(home, dtype)


def _keep() -> None:
    pass


def _rms(x: Tensor) -> float:
    return float(x.square().mean().sqrt())
