"""Showing progress: one small protocol, and a display for notebooks, terminals and logs.

A display is chosen at each fit, by where the output goes then. In a notebook it is a table and two
bars in HTML with inline styles only: it works in dark themes, when a cell is run again, and without
matplotlib. In a terminal it is fastprogress's bar, drawn by us. Elsewhere, a line an epoch. Where
output is lost, nothing is shown and the work goes on: `Unfailing`.
"""

from learnlite.bars.choose import open_display
from learnlite.bars.lines import Lines
from learnlite.bars.notebook import Notebook
from learnlite.bars.protocol import Display
from learnlite.bars.terminal import Terminal
from learnlite.bars.unfailing import Unfailing, say_if_possible

__all__ = [
    "Display",
    "Lines",
    "Notebook",
    "Terminal",
    "Unfailing",
    "open_display",
    "say_if_possible",
]
