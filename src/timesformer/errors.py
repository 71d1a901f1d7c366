"""What can go wrong, as exceptions a person can read.

    TimesformerError
    ├── SettingError    a setting or an argument (also a ValueError)
    ├── DataError       a data set: its folder, its lists, its labels
    │   └── VideoError  one video that cannot be read
    ├── WeightsError    a weights folder or file
    ├── TrainingError   a run that cannot go on
    └── EngineError     an engine whose answers miss their stated agreement

Every message is one line that names the file or the setting, what was received and what is allowed.
The command line prints it and exits with 2.
"""


class TimesformerError(Exception):
    """Base of all errors this package raises for its users."""


class SettingError(TimesformerError, ValueError):
    """A setting or an argument has a value that is not allowed."""


class DataError(TimesformerError):
    """A data set cannot be used as it is."""


class VideoError(DataError):
    """One video (a file or a folder of frames) cannot be read."""


class WeightsError(TimesformerError):
    """A weights folder or file cannot be used as it is."""


class TrainingError(TimesformerError):
    """A training run cannot go on: its loss is no number, memory or disk is full."""


class EngineError(TimesformerError):
    """An engine's logits differ from the model's by more than its precision may."""
