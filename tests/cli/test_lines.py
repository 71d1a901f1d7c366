"""Lines for people: within the width of a terminal, whole elsewhere."""

from __future__ import annotations

import io

from rich.console import Console

from timesformer.cli.lines import say

LINE = "engine eager, bf16 (native on this x86_64 processor); logits within 1.9e-04 of float32's, [same] best class"


def test_lines_are_wrapped_on_a_terminal_alone() -> None:
    for terminal in (True, False):
        out = io.StringIO()
        say(LINE, console=Console(file=out, force_terminal=terminal, width=80, highlight=False, color_system=None))
        lines = out.getvalue().splitlines()
        assert " ".join(line.rstrip() for line in lines) == LINE
        assert (max(map(len, lines)) <= 80) == terminal
        assert len(lines) == (2 if terminal else 1)
