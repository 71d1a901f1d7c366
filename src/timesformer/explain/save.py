"""The files of an explanation, each of which appears when it is complete.

    overlay.mp4, overlay.gif    the frames that the model looked at under the map, as fast as the video shows them
    frames.png                  a contact sheet: frames and overlays
    weights.png                 the part of each frame in the map, over time
    map.npz                     the map: `map` (N, H, W) and `frames`, the numbers of its N frames; `cells`, as it was
                                in each view, and `covered` (H, W), what any view has of the video
    explanation.json            class, score, method, weights of frames, and the map's faithfulness

Dimensions: N frames, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from PIL import Image as Picture  # matplotlib brings it
from torch import Tensor

from timesformer.errors import SettingError
from timesformer.explain.explainer import Explanation
from timesformer.explain.heat import blend, scale_of
from timesformer.explain.pictures import Image, Images, animation, contact_sheet, save_figure, weight_plot
from timesformer.explain.placement import SHORT_SIDE
from timesformer.files import as_json, replacing
from timesformer.video.encode import write_images
from timesformer.video.source import Source, open_video

SLOWEST, FASTEST = 2.0, 25.0  # frames a second of the animation
FILES = ("overlay.mp4", "overlay.gif", "frames.png", "weights.png", "map.npz", "explanation.json")


def check_folder(out: Path) -> None:
    """Raises SettingError where OUT is no folder, or holds something other than an explanation."""
    if out.exists() and not out.is_dir():
        raise SettingError(f"{out}: is a file; name a folder with --out")
    names = sorted(entry.name for entry in out.iterdir()) if out.is_dir() else []
    if others := [name for name in names if name not in FILES and not name.startswith(".")]:
        raise SettingError(
            f"{out}: holds {others[0]}, which is no file of an explanation; name another folder with --out"
        )


def save_explanation(explanation: Explanation, video: Source, out: Path, *, fps: float | None = None) -> list[Path]:
    """Write all files to OUT, over those of an earlier explanation; returns their paths.

    video, fps: what was explained. Raises SettingError as `check_folder`, VideoError where it cannot be read again.
    """
    check_folder(out)
    out.mkdir(parents=True, exist_ok=True)
    paths = {name: out / name for name in FILES}
    frames_NHW3, overlays_NHW3 = draw_overlays(explanation, video, SHORT_SIDE, fps=fps)

    pictures = np.stack(list(animation(explanation, overlays_NHW3)))
    write_images(paths["overlay.mp4"], pictures, frame_rate(explanation))
    _write_gif(paths["overlay.gif"], pictures, frame_rate(explanation))
    for name, figure in (
        ("frames.png", contact_sheet(explanation, frames_NHW3, overlays_NHW3)),
        ("weights.png", weight_plot(explanation)),
    ):
        with replacing(paths[name]) as temporary:
            save_figure(figure, temporary)
    with replacing(paths["map.npz"]) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            map=explanation.map_NHW.numpy(),
            frames=np.array(explanation.frames),
            cells=explanation.cells_VURQ.float().numpy(),
            covered=explanation.covered_HW.numpy(),
        )
    with replacing(paths["explanation.json"]) as temporary:
        temporary.write_text(as_json(explanation.as_dict(), indent=2) + "\n", "utf-8")
    return list(paths.values())


def draw_overlays(
    explanation: Explanation, video: Source, short_side: int, *, fps: float | None = None
) -> tuple[Images, Images]:
    """The frames that the model looked at, and the same under the map; scaled where their short side is longer.

    Raises VideoError for a video that cannot be read again.
    """
    height, width = explanation.map_NHW.shape[1:]
    with open_video(video, fps) as opened:
        # Scaled where they are large; the map is scaled with them.
        clip_CNHW = opened.read(explanation.frames, short_side if min(height, width) > short_side else None)
    frames_NHW3 = clip_CNHW.permute(1, 2, 3, 0).contiguous().numpy()
    return frames_NHW3, np.stack(list(_overlays(explanation, frames_NHW3)))


def save_overlay(explanation: Explanation, frames_NHW3: Images, path: Path, *, plain: bool = False) -> None:
    """Write overlay.mp4 alone, of the frames that were looked at, of any size; `plain` without borders around them.

    It is drawn frame by frame: memory does not grow with their number."""
    overlays = _overlays(explanation, frames_NHW3)
    write_images(path, overlays if plain else animation(explanation, overlays), frame_rate(explanation))


def stretch_of(explanation: Explanation) -> tuple[float, float] | None:
    """Start and end in the video, seconds, of what the animation shows; None where times are unknown."""
    first = explanation.seconds[0]
    if first is None:
        return None
    return first, first + len(explanation.frames) / frame_rate(explanation)


def _overlays(explanation: Explanation, frames_NHW3: Images) -> Iterator[Image]:
    """The frames under the map, which is scaled to them, one after the other."""
    size = frames_NHW3.shape[1:3]
    scale = scale_of(explanation)
    covered_HW = _scaled(explanation.covered_HW[None].float(), size)[0] > 0.5
    for frame_HW3, map_HW in zip(frames_NHW3, explanation.map_NHW, strict=True):
        heat_NHW = scale.heat(_scaled(map_HW[None], size))
        yield blend(frame_HW3[None], heat_NHW, covered_HW, signed=scale.signed)[0]


def frame_rate(explanation: Explanation) -> float:
    """So many frames a second that the animation takes as long as the stretch of the video, from 2 to 25; 4 where times
    are unknown."""
    first, last = explanation.seconds[0], explanation.seconds[-1]
    if first is None or last is None or last <= first:
        return 4.0
    return min(max((len(explanation.frames) - 1) / (last - first), SLOWEST), FASTEST)


def _scaled(map_NHW: Tensor, size: tuple[int, int]) -> Tensor:
    if map_NHW.shape[1:] == size:
        return map_NHW
    return F.interpolate(map_NHW[None], size=size, mode="bilinear", align_corners=False)[0]


def _write_gif(path: Path, pictures: Images, rate: float) -> None:
    """Endless, in the colours of all pictures together, so that they do not flicker."""
    images = [Picture.fromarray(picture) for picture in pictures]
    some = np.concatenate([pictures[number] for number in {0, len(pictures) // 2, len(pictures) - 1}])
    palette = Picture.fromarray(some).quantize(256, Picture.Quantize.MEDIANCUT)
    first, *others = (image.quantize(palette=palette, dither=Picture.Dither.FLOYDSTEINBERG) for image in images)
    with replacing(path) as temporary:
        first.save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=others,
            duration=round(1000 / rate),
            loop=0,
            disposal=1,
        )
