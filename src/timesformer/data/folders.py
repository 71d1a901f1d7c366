"""Which files and folders below a folder are videos.

A folder of pictures is a video, its frames, unless a video file lies in it or below it, or another folder of pictures
below it. Hidden files and folders do not count. Links are followed: a folder that can be reached on several ways is
read once, at the path with the fewest links, and a link to a folder above itself is not. A broken link to a video is a
video that cannot be read. All other files are ignored, and counted.
"""

from __future__ import annotations

import os
from collections import Counter
from heapq import heappop, heappush
from pathlib import Path
from typing import NamedTuple

from timesformer.errors import DataError
from timesformer.video.images import IMAGE_SUFFIXES

# Of containers and streams that FFmpeg opens and that hold moving pictures. Suffixes that mostly mean something else
# (ogg, dat, mod, bin) and raw pixels (yuv) are not among them.
SUFFIXES = """
    264 265 266 3g2 3gp 3gpp amv asf avc avi bik cine dav divx dv dvr-ms evo f4v flc fli flv gif gxf h261 h264 h265
    h266 hevc ismv ivf kux m1v m2p m2t m2ts m2v m4v mj2 mjpeg mjpg mk3d mkv mlv mov mp4 mp4v mpe mpeg mpg mpv mts mxf
    mxg nsv nut nuv obu ogm ogv qt rm rmvb roq ser smk swf tod tp trp ts ty usm vc1 vivo vob vro vvc webm wmv wtv y4m
"""
VIDEO_SUFFIXES = frozenset(f".{suffix}" for suffix in SUFFIXES.split())
SHOWN = 5  # kinds of files in a line


class Found(NamedTuple):
    """What lies below a folder: the videos, in order of their paths, and how many files of each kind are not."""

    videos: list[Path]
    ignored: Counter[str]


def find_videos(folder: Path) -> list[Path]:
    """The videos below a folder, see `scan_folder`."""
    return scan_folder(folder).videos


def scan_folder(folder: Path) -> Found:
    """All video files and folders of image frames below a folder, and what is neither.

    Raises DataError for a folder that cannot be read; one below it is counted with what is ignored.
    """
    videos: list[str] = []
    pictures: dict[str, Counter[str]] = {}
    ignored: Counter[str] = Counter()
    above = (*Path(os.path.abspath(folder)).parents, *folder.resolve().parents)
    seen = {_identity(path) for path in above if os.path.exists(path)}
    waiting = [(0, str(folder))]
    while waiting:
        links, current = heappop(waiting)
        try:
            identity, entries = _identity(current), list(os.scandir(current))
        except OSError as error:
            if current == str(folder):
                raise DataError(f"{folder}: cannot be read: {error.strerror}") from None
            ignored["folders that cannot be read"] += 1
            continue
        if identity in seen:
            continue
        seen.add(identity)
        for entry in entries:
            if entry.name.startswith("."):
                continue
            suffix, link = os.path.splitext(entry.name)[1].lower(), entry.is_symlink()
            if os.path.isdir(entry.path) if link else entry.is_dir():
                heappush(waiting, (links + link, entry.path))
            elif suffix in VIDEO_SUFFIXES and (link or entry.is_file()):
                videos.append(entry.path)
            elif suffix in IMAGE_SUFFIXES:
                pictures.setdefault(current, Counter())[suffix] += 1
            else:
                ignored[kind_of(entry.path)] += 1
    candidates = set(pictures) - _above(videos)
    frames = candidates - _above(candidates)
    ignored.update(suffix for path, found in pictures.items() if path not in frames for suffix in found.elements())
    return Found(sorted(map(Path, [*videos, *frames])), ignored)


def kind_of(path: str | Path) -> str:
    """What a file that is ignored is counted as."""
    if os.path.islink(path) and not os.path.exists(path):
        return "broken links"
    return os.path.splitext(path)[1].lower() or "without a suffix"


def describe_ignored(ignored: Counter[str]) -> str:
    """Such as "3 .txt, 1 .json"."""
    kinds = sorted(ignored.items(), key=lambda kind: (-kind[1], kind[0]))
    more = f" and {sum(count for _, count in kinds[SHOWN:])} others" if len(kinds) > SHOWN else ""
    return ", ".join(f"{count} {kind}" for kind, count in kinds[:SHOWN]) + more


def _above(paths: list[str] | set[str]) -> set[str]:
    """All folders that some path lies in or below."""
    found: set[str] = set()
    for path in paths:
        while (parent := os.path.dirname(path)) != path and parent not in found:
            found.add(parent)
            path = parent
    return found


def _identity(path: str | Path) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino
