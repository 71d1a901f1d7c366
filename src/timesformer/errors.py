"""What can go wrong, as exceptions a person can read.

    TimesformerError
    ├── SettingError    a setting or an argument (also a ValueError)
    ├── DataError       a data set: its folder, its lists, its labels
    │   └── VideoError  one video that cannot be read
    ├── WeightsError    a weights folder or file
    ├── TrainingError   a run that cannot continue
    ├── WorkerError     a process that decodes videos has died, hangs or cannot be started
    └── EngineError     an engine whose answers miss their stated agreement

Every message is one line that names the file or the setting, what was received and what is allowed.
The command line prints it and exits with 2. What a message is about is an attribute too, where code needs it.
"""

from __future__ import annotations

from pathlib import Path


class TimesformerError(Exception):
    """Base of all errors this package raises for its users."""


class SettingError(TimesformerError, ValueError):
    """A setting or an argument has a value that is not allowed."""


class DataError(TimesformerError):
    """A data set cannot be used as it is."""


class VideoError(DataError):
    """One video (a file, a folder of frames, an array) cannot be read.

    Attributes: `path`, or what a source without one is called; `reason`, without the path.
    """

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason

    def __reduce__(self) -> tuple[type[VideoError], tuple[Path | str, str]]:
        return type(self), (self.path, self.reason)  # from worker processes, whole


class WeightsError(TimesformerError):
    """A weights folder or file cannot be used as it is."""


class TrainingError(TimesformerError):
    """A training run cannot continue: its loss is NaN or inf, or memory or the disk is full."""


class WorkerError(TimesformerError):
    """A process that decodes videos has died or hangs, and the message names the video it was reading; or the system
    lets none start."""


class EngineError(TimesformerError):
    """An engine's logits differ from the model's by more than its precision may."""


def one_line(error: BaseException | str) -> str:
    """What an error says, in one line; its type where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__
