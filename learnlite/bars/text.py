"""Values and times as text, the same wherever they are shown."""

import time
from collections.abc import Sequence
from typing import Any

_WIDTH = 10  # of a column, if its name is not longer


def cell(value: Any) -> str:
    r"""A value as it stands in the table; what could steer a terminal is taken out of text.

    >>> cell(3), cell(0.25), cell("00:07"), cell("\x1b[2J")
    ('3', '0.250000', '00:07', '?[2J')
    """
    if isinstance(value, float):
        return f"{value:.6f}"
    return "".join(c if c.isprintable() else "?" for c in str(value))


def widths(names: Sequence[Any]) -> list[int]:
    """How wide the columns of these names are."""
    return [max(len(cell(name)), _WIDTH) for name in names]


def line(values: Sequence[Any], columns: Sequence[int]) -> str:
    """Values in columns of these widths; what is beyond the last column is there, too.

    >>> line(["epoch", "loss", "more"], [6, 6])
    'epoch   loss    more'
    """
    missing = len(values) - len(columns)
    cells = zip(values, [*columns, *[_WIDTH] * missing], strict=False)
    return "  ".join(cell(value).ljust(width) for value, width in cells).rstrip()


def clock(seconds: float) -> str:
    """A time as `mm:ss`, or `h:mm:ss`.

    >>> clock(75), clock(3675)
    ('01:15', '1:01:15')
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


class Pace:
    """How long something has run, and how long it will, by how far it came since `start`.

    >>> pace = Pace(0)
    >>> pace.left(0, 10) is None, pace.left(10, 10)
    (True, 0.0)
    """

    def __init__(self, start: float) -> None:
        self._start = start
        self._began = time.perf_counter()

    def elapsed(self) -> float:
        """Seconds so far."""
        return time.perf_counter() - self._began

    def left(self, done: float, end: float) -> float | None:
        """Seconds to go; None while there is nothing to judge by."""
        if done >= end:
            return 0.0
        past = done - self._start
        return self.elapsed() / past * (end - done) if past > 0 else None

    def times(self, done: float, end: float) -> str:
        """Both as one text: `00:12<01:30`."""
        left = self.left(done, end)
        return f"{clock(self.elapsed())}<{'?' if left is None else clock(left)}"
