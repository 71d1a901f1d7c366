"""The files of deploy/ say what the service has: names of metrics, options, users."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml
from typer.main import get_command

from timesformer.cli.main import app
from timesformer.serve.metrics import Metrics

DEPLOY = Path(__file__).parents[2] / "deploy"


def test_the_board_shows_metrics_that_there_are() -> None:
    there = {sample.name for family in Metrics().registry.collect() for sample in family.samples}
    there |= {family.name + ending for family in Metrics().registry.collect() for ending in SUFFIXES[family.type]}
    board = json.loads((DEPLOY / "grafana" / "boards" / "timesformer.json").read_text())
    shown = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    names = {name for text in shown for name in re.findall(r"\b(?:timesformer|process)_[a-z_]+", text)}
    assert len(names) > 10
    assert names <= there


SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


def test_the_services_start_as_the_command_does() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    options = {name for parameter in get_command(app).commands["serve"].params for name in parameter.opts}
    words = [*compose["services"]["timesformer"]["command"], *re.findall(r'"(--[a-z-]+)"', dockerfile)]
    assert {word for word in words if word.startswith("--")} <= options
    assert re.search(r"^USER 10001", dockerfile, re.MULTILINE)
    scraped = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"][0]["static_configs"]
    assert scraped[0]["targets"] == ["timesformer:8080"]
    for path in DEPLOY.rglob("*.y*ml"):
        assert yaml.safe_load(path.read_text())
