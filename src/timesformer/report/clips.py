"""Videos that play in the page: a few frames, each beside the same frame under the map of where the model looked.

Dimensions: N frames, H and W pixels.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from timesformer.config.explain import Explain
from timesformer.device import is_out_of_memory
from timesformer.errors import SettingError, TimesformerError, VideoError, one_line
from timesformer.evaluation.protocol import change_protocol
from timesformer.explain.explainer import Explainer, load_explainer
from timesformer.explain.save import draw_overlays, frame_rate
from timesformer.report.page import data_uri
from timesformer.report.thumbnails import picture_uri, thumbnail
from timesformer.video.encode import write_video
from timesformer.video.source import open_video
from timesformer.weights.classifier import Classifier, load_model
from timesformer.weights.exports import exported_format

SHORT_SIDE = 144  # pixels
FRAMES = 24  # at most, of a clip without a map
QUALITY = 27  # of h264, 0 the best
STILL = 44  # pixels of the short side of a still picture
MAPS, STILLS = 25.0, 15.0  # seconds; after them further videos get no map, and no still picture


class Clip(NamedTuple):
    """A video as addresses that hold it. width, height: of one frame, in pixels; both: whether the map is beside it."""

    video: str
    poster: str
    width: int
    height: int
    both: bool


class Clips:
    """Makes clips and still pictures; each clip once.

    weights: what explains them, a path; None for no maps. notes: why some clips, or all, have no map, or no picture.
    """

    def __init__(self, weights: Path | None) -> None:
        self._notes, self._made = dict[str, None](), dict[tuple[Path, str], Clip | None]()
        self._explainer: Explainer | None = None
        self._maps = self._stills = 0.0  # seconds
        if weights is None:
            self._notes["Without the weights there are no maps of where the model looked."] = None
            return
        try:
            self._explainer = _one_view_explainer(weights)
        except (TimesformerError, FileNotFoundError, RuntimeError, MemoryError) as error:
            if not isinstance(error, TimesformerError | FileNotFoundError) and not is_out_of_memory(error):
                raise
            self._notes[f"There are no maps of where the model looked: {one_line(error)}."] = None

    @property
    def notes(self) -> list[str]:
        return list(self._notes)

    def still(self, path: Path) -> str | None:
        """A still picture of a video; None where it cannot be read."""
        if self._stills > STILLS:
            self._notes[f"Still pictures took {STILLS:g} s; the rows after that have none."] = None
            return None
        began = time.perf_counter()
        try:
            return thumbnail(path, STILL)
        except (VideoError, OSError):
            return None
        finally:
            self._stills += time.perf_counter() - began

    def clip(self, path: Path, label: str) -> Clip | None:
        """A video, with what in it speaks for a class; None where it cannot be read."""
        key = (path, label)
        if key not in self._made:
            try:
                self._made[key] = self._explained(path, label) or _plain(path)
            except (VideoError, OSError):
                self._made[key] = None
        return self._made[key]

    def _explained(self, path: Path, label: str) -> Clip | None:
        if self._explainer is None:
            return None
        if self._maps > MAPS:
            self._notes[f"Maps of where the model looked took {MAPS:g} s; the clips after that have none."] = None
            return None
        began = time.perf_counter()
        try:
            found = self._explainer.explain(path, label, method="relevance")
            frames_NHW3, overlays_NHW3 = draw_overlays(found, path, SHORT_SIDE)
        except VideoError:
            raise
        except SettingError as error:  # nothing speaks for this class, in this video
            self._notes[f"Some clips have no map of where the model looked: {one_line(error)}."] = None
            return None
        except (TimesformerError, RuntimeError, MemoryError) as error:  # the next clip would end alike
            if not isinstance(error, TimesformerError) and not is_out_of_memory(error):
                raise
            self._explainer = None
            self._notes[f"The maps of where the model looked end here: {one_line(error)}."] = None
            return None
        finally:
            self._maps += time.perf_counter() - began
        weights = found.frame_weights
        heaviest = max(range(len(weights)), key=weights.__getitem__)
        return _encode(np.concatenate([frames_NHW3, overlays_NHW3], 2), frame_rate(found), heaviest, both=True)


def _one_view_explainer(weights: Path) -> Explainer:
    """One clip of the middle and one crop: a map of all views of a test would take up to 30 times as long."""
    if exported_format(weights) is None:
        classifier = load_model(weights)
        sampling = "span" if classifier.preprocessing.sampling.method == "cover" else None
        changed = change_protocol(classifier, clips=1, crops=1, sampling=sampling)
        assert isinstance(changed, Classifier)
        explainer = load_explainer(changed)
    else:
        explainer = load_explainer(weights)
    explainer.check(Explain(method="relevance"))
    return explainer


def _plain(path: Path) -> Clip:
    """Frames spread over the whole video."""
    with open_video(path) as video:
        count = min(video.num_frames, FRAMES)
        numbers = [round(number) for number in np.linspace(0, video.num_frames - 1, count)]
        clip_CNHW = video.read(numbers, SHORT_SIDE)
        rate = count / video.num_frames * video.fps if video.fps else 4.0
    frames_NHW3 = clip_CNHW.permute(1, 2, 3, 0).contiguous().numpy()
    return _encode(frames_NHW3, min(max(rate, 2.0), 25.0), count // 2, both=False)


def _encode(frames_NHW3: NDArray[np.uint8], rate: float, poster: int, *, both: bool) -> Clip:
    """poster: the frame that is shown until the clip plays."""
    frames_NHW3 = frames_NHW3[:, : frames_NHW3.shape[1] // 2 * 2, : frames_NHW3.shape[2] // 2 * 2]
    clip_CNHW = torch.from_numpy(np.ascontiguousarray(frames_NHW3)).permute(3, 0, 1, 2)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "clip.mp4"
        write_video(file, clip_CNHW, rate, crf=QUALITY)
        content = file.read_bytes()
    height, width = frames_NHW3.shape[1:3]
    still = picture_uri(clip_CNHW[:, poster], 60)
    return Clip(data_uri(content, "video/mp4"), still, width // (2 if both else 1), height, both)
