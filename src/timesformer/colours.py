"""The colours of pictures.

Those of Okabe and Ito, which people with any colour vision tell apart; without yellow, which is pale on white.
"""

from __future__ import annotations

BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"
INK, PALE = "#222222", "#e4e4e4"  # of text, and of lines behind what is drawn
