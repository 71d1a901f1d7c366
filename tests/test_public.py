"""What `import timesformer` offers, and how fast the command answers."""

from __future__ import annotations

import importlib.metadata
import inspect
import re
import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import timesformer

COMMAND = Path(sys.executable).parent / "timesformer"


def test_public_names_exist_and_are_described() -> None:
    for name in timesformer.__all__:
        value = getattr(timesformer, name)
        assert name == "__version__" or value.__doc__, name
    assert sorted(timesformer.__all__) == timesformer.__all__
    assert set(dir(timesformer)) == set(timesformer.__all__)


def test_what_the_docs_import_is_public() -> None:
    root = Path(__file__).parents[1]
    for file in [root / "README.md", *(root / "docs").glob("*.md")]:
        for found in re.finditer(r"^from (timesformer\S*) import (.+)$", file.read_text("utf-8"), re.MULTILINE):
            assert found[1] == "timesformer", f"{file.name}: {found[0]}"
            assert set(found[2].split(", ")) <= set(timesformer.__all__), f"{file.name}: {found[0]}"
    assert {"compare", "list_data"} <= set(timesformer.__all__)  # named in them


def test_docs_have_every_public_name_once() -> None:
    docs = Path(__file__).parents[1] / "docs"
    text = (docs / "api.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| .+ \| \[.+\]\((\S+?)(?:#(\S+))?\) \|$", text, re.MULTILINE)
    assert sorted(name for name, _, _ in rows) == [name for name in timesformer.__all__ if name != "__version__"]
    for name, page, anchor in rows:
        heads = re.findall(r"^#+ (.+)$", (docs / page).read_text("utf-8"), re.MULTILINE)
        anchors = ["", *(re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads)]
        assert anchor in anchors, name


def test_progress_is_given_by_name() -> None:
    for job in (timesformer.FeatureJob, timesformer.PredictionJob, timesformer.TimelineJob):
        assert inspect.signature(job.run).parameters["on_progress"].kind is inspect.Parameter.KEYWORD_ONLY


def test_other_names_do_not_exist() -> None:
    with pytest.raises(AttributeError, match="module 'timesformer' has no attribute 'Timesformer'"):
        timesformer.Timesformer  # noqa: B018
    assert timesformer.__version__ == importlib.metadata.version("timesformer")


def test_everything_can_be_imported_at_once() -> None:
    code = "from timesformer import *; print(TimeSformer.__module__, Predictor.__module__, load.__module__)"
    found = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    homes = ["model.timesformer", "inference.predictor", "inference.load"]
    assert found.stdout.split() == [f"timesformer.{home}" for home in homes]


def test_every_error_is_one_of_ours() -> None:
    assert issubclass(timesformer.VideoError, timesformer.DataError)
    assert issubclass(timesformer.SettingError, ValueError)
    for name in ("DataError", "SettingError", "VideoError", "WeightsError"):
        assert issubclass(getattr(timesformer, name), timesformer.TimesformerError)


def test_import_is_light() -> None:
    code = (
        "import sys, timesformer, timesformer.cli.main; print([m for m in ('torch', 'av', 'rich') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def processor_time(*words: object) -> float:
    """Seconds of a processor that a command takes, whatever else runs on the machine; the least of five tries."""
    tries = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(list(map(str, words)), capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        tries.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(tries)


def test_help_within_half_a_second() -> None:
    """Where to import typer takes 0.08 s, as on the machine where that was measured."""
    done = subprocess.run([COMMAND, "--help"], capture_output=True, text=True, check=True)
    assert "predict" in done.stdout
    assert processor_time(COMMAND, "--help") < 0.5 / 0.08 * processor_time(sys.executable, "-c", "import typer")


def test_the_wheel_has_what_is_no_python_too(tmp_path: Path) -> None:
    """The types of the package count for its users (PEP 561); recipes and class names are read where it lies."""
    from hatchling.builders.wheel import WheelBuilder

    root = Path(__file__).parents[1]
    wheel = next(WheelBuilder(str(root)).build(directory=str(tmp_path), versions=["standard"]))
    names = set(zipfile.ZipFile(wheel).namelist())
    source = root / "src"
    tracked = {
        path.relative_to(source).as_posix()
        for path in (source / "timesformer").rglob("*")
        if path.is_file() and path.suffix in (".py", ".yaml", ".txt", ".typed", ".html", ".css", ".js", ".svg")
    }
    assert {"timesformer/py.typed", "timesformer/recipes/demo.yaml", "timesformer/weights/kinetics400.txt"} <= tracked
    assert {name for name in names if name.startswith("timesformer/")} == tracked
