"""Where the page of a run or a test goes."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from timesformer.report.run import run_of


def default_page(sources: Sequence[str | Path]) -> Path:
    """Of one or two runs or score files: RUN/report.html, or FILE.html beside FILE.parquet; with "-" and the name of
    the second one, where there are two."""
    first = Path(sources[0])
    other = f"-{_name(Path(sources[1]).resolve())}" if len(sources) > 1 else ""
    if first.suffix == ".parquet":
        return first.with_name(f"{first.stem}{other}.html")
    return first / f"report{other}.html"


def page_of_test(weights: str | Path, data: str | Path, split: str, out: Path | None = None) -> Path | None:
    """Of a test: beside the scores `out`, or else RUN/test-DATA-SPLIT.html of a run that is tested, with a mark of the
    data where that is the page of other data; None for weights that are no run's, whose pages would have no folder of
    their own."""
    if out is not None:
        return out.with_name(f"{out.name.removesuffix(out.suffix)}.html")
    run = run_of(Path(weights))
    if run is None:
        return None
    folder = re.sub(r"[^\w.-]+", "-", Path(data).resolve().name) or "data"
    page, mark = run / f"test-{folder}-{split}.html", data_mark(data)
    if page.is_file():
        with page.open("rb") as stream:
            if f'name="timesformer-data" content="{mark}"'.encode() not in stream.read(2000):
                return page.with_name(f"{page.stem}-{mark}.html")
    return page


def data_mark(data: str | Path) -> str:
    """What tells data folders of one name apart: a hash of the path, which pages keep so as not to be written over."""
    return hashlib.sha256(os.fsencode(Path(data).resolve())).hexdigest()[:8]


def _name(path: Path) -> str:
    return path.stem if path.suffix == ".parquet" else path.name
