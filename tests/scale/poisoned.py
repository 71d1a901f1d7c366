"""`timesformer`, whose `predict --on ray` is poisoned (`poison.py`)."""

from __future__ import annotations

import poison

from timesformer.cli.main import main
from timesformer.scale import work

work.Prediction = poison.Poisoned  # type: ignore[misc]
main()
