"""`timesformer recipes`: the list, one recipe, and names that are nearly right."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands import Command, assert_one_line
from timesformer.recipes import load_recipe, named_recipes
from timesformer.recipes.heads import head_of, summarise


def test_each_recipe_is_described_whole(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """In lines of 80 columns as in a line of more, broken between words below where the description begins."""
    said = {}
    for columns in (80, 240):
        monkeypatch.setenv("COLUMNS", str(columns))
        listed = command("recipes")
        assert (listed.code, listed.err) == (0, "")
        said[columns] = listed.out.splitlines()
    assert [line.split()[0] for line in said[240][1 : 1 + len(named_recipes())]] == named_recipes()
    assert max(map(len, said[80])) <= 80
    column = said[80][0].index("for")
    names = [line[:column].split()[0] for line in said[80] if line[:column].strip()]
    assert names[1 : 1 + len(named_recipes())] == named_recipes()
    assert " ".join(" ".join(said[80]).split()) == " ".join(" ".join(said[240]).split())
    hr = said[80].index("k400-hr          (79.7)  one GPU        Kinetics-400, 16 frames of 448 x 448 at")
    assert said[80][hr + 1].startswith(" " * column + "rate 1/16: TimeSformer-HR")
    rows = {line.split()[0]: " ".join(line.split()) for line in said[240] if line}
    assert rows["k400-base"] == (
        "k400-base (78.0) one GPU Kinetics-400, 8 frames of 224 x 224 at rate 1/32: TimeSformer (base) as the paper "
        "trains it, divided attention"
    )
    assert rows["demo"].startswith("demo 99.4 two CPU cores The motion data of `timesformer data motion`, learned")
    assert rows["finetune"].startswith("finetune one GPU A trained base model on other data")


@pytest.mark.parametrize("name", named_recipes())
def test_a_summary_of_every_head(name: str) -> None:
    found, head = summarise(name), " ".join(line.removeprefix("# ") for line in head_of(name))
    assert found.hardware in ("any", "one GPU", "two CPU cores")
    assert found.what
    assert ("Score: none" in head) == (found.top1 is None)
    assert ("Score: published" in head) == found.published
    assert found.top1 is None or 50 < found.top1 < 100


@pytest.mark.parametrize("name", ["k400-hr", "probe", "finetune-small"])
def test_a_printed_recipe_is_that_recipe(command: Command, tmp_path: Path, name: str) -> None:
    printed = command("recipes", name)
    assert printed.code == 0
    (tmp_path / "mine.yaml").write_text(printed.out)
    assert load_recipe(tmp_path / "mine.yaml") == load_recipe(name)
    assert head_of(tmp_path / "mine.yaml") == head_of(name)
    assert "extends" not in printed.out
    again = command("recipes", tmp_path / "mine.yaml")
    assert again.out == printed.out


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("demoo", "demo"), ("K400-Base", "k400-base"), ("finetune_small", "finetune-small"), ("probe.yml", "probe")],
)
def test_a_name_that_is_nearly_right(command: Command, bars: Path, typed: str, meant: str) -> None:
    assert_one_line(command("recipes", typed), f"recipe {typed}: no such recipe or file; did you mean {meant}")
    words = ("train", "--data", bars, "--recipe", typed)
    assert_one_line(command(*words), f"recipe {typed}: no such recipe or file; did you mean {meant}")
    assert_one_line(command("recipes", "xyzzy"), "no such recipe or file; `timesformer recipes` lists the recipes")


def test_help_says_where_recipes_are(command: Command) -> None:
    assert "`timesformer recipes` lists them" in " ".join(command("train", "--help").out.replace("│", " ").split())
