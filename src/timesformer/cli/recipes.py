"""`timesformer recipes`: the recipes there are, or all settings of one."""

from __future__ import annotations

import shutil
from typing import Annotated

import typer


def recipes(
    name: Annotated[str | None, typer.Argument(help="Name of a recipe, or a YAML file.", metavar="[NAME|FILE]")] = None,
) -> None:
    """List the recipes, or print one: its command, hardware, score and all settings."""
    import textwrap

    import yaml

    from timesformer.recipes import WITH_INIT, load_recipe, named_recipes, settings_with_init
    from timesformer.recipes.heads import head_of, summarise

    if name is not None:
        settings = load_recipe(name).model_dump(mode="json")
        if with_init := settings_with_init(name):
            settings[WITH_INIT] = with_init
        print("\n".join([*head_of(name), yaml.safe_dump(settings, sort_keys=False)]), end="")
        return
    rows = {name: summarise(name) for name in named_recipes()}
    first, third = (max(map(len, cells)) for cells in (rows, [row.hardware for row in rows.values()]))
    indent = " " * (first + third + 12)
    width = max(shutil.get_terminal_size().columns, len(indent) + 20)
    print(f"{'recipe':{first}}   top-1  {'hardware':{third}}  for")
    for name, row in rows.items():
        score = "" if row.top1 is None else f"({row.top1:.1f})" if row.published else f"{row.top1:.1f} "
        line = f"{name:{first}}  {score:>6}  {row.hardware:{third}}  {row.what}"
        print(textwrap.fill(line, width, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False))
    print("\ntop-1 in %; in brackets as published, not run by this project")
    print("`timesformer recipes NAME` prints the command and all settings of one")
