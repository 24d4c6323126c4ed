"""Which display it is, by where output goes now."""

import sys

from learnlite.bars.lines import Lines
from learnlite.bars.notebook import Notebook
from learnlite.bars.protocol import Display
from learnlite.bars.terminal import Terminal, is_terminal


def open_display(*, bars: bool = True) -> Display:
    """The display for where `sys.stdout` goes now; without `bars` the plain one."""
    if not bars:
        return Lines()
    if in_notebook():
        return Notebook()
    return Terminal() if is_terminal() else Lines()


def in_notebook() -> bool:
    """Whether output goes to a kernel's front end: not if it was redirected, nor in `ipython`."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return hasattr(shell, "kernel") and type(sys.stdout).__module__.startswith("ipykernel")
