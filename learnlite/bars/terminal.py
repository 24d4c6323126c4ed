"""The display in a terminal: fastprogress's bar, without what is wrong with it there.

fastprogress draws into log files and pipes too, wraps in a narrow window, and is left standing when
the loop breaks off. Here it draws when we say so, on one line that all displays share.
"""

import os
import shutil
import sys
import threading
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from learnlite.bars.lines import Lines
from learnlite.bars.text import Pace

_NARROWEST = 8  # columns for the bar itself; in less room its text is cut


def is_terminal() -> bool:
    """Whether output goes to a terminal that can go back to the start of a line."""
    try:
        return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    except (AttributeError, ValueError):  # there is no stdout, it is no file, or it is closed
        return False


class _BottomLine:
    """The terminal's last line, which one bar at a time has: that of the newest open display."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # fits in several threads draw and print in turn
        self.displays: list[Terminal] = []
        self._stream: Any = None
        self._columns = 0
        self._show: Any = warnings.showwarning
        self._own: Any = self._show_below  # bound once, to know it again

    def open(self, display: "Terminal") -> None:
        """Give the line to `display`; while there is one, a warning begins on a line of its own."""
        if not self.displays:
            self._show, warnings.showwarning = warnings.showwarning, self._own
        self.displays.append(display)

    def close(self, display: "Terminal") -> None:
        """Take the line back."""
        if display in self.displays:
            self.displays.remove(display)
        if not self.displays and warnings.showwarning is self._own:
            warnings.showwarning = self._show

    def _show_below(self, *args: Any, **kwargs: Any) -> None:
        with self.lock:
            self.clear()
        self._show(*args, **kwargs)

    def drawn(self, columns: int) -> None:
        self._stream, self._columns = sys.stdout, columns

    def clear(self) -> None:
        """Make room for a row, whoever has drawn here."""
        if self._stream is not None:
            # Blanks, which every terminal knows; two more for the `^C` that it may have echoed.
            self._write(f"\r{' ' * (self._columns + 2)}\r")

    def leave(self) -> None:
        """Go on below, and let the bar stand."""
        if self._stream is not None:
            self._write("\n")

    def _write(self, words: str) -> None:
        stream, self._stream = self._stream, None
        with suppress(OSError, ValueError):  # a terminal that is gone has no line to clear
            stream.write(words)
            stream.flush()


_bottom = _BottomLine()


class Terminal(Lines):
    """The table as lines, and below it a bar; it is gone when the fit is over."""

    live = True

    def __init__(self) -> None:
        super().__init__()
        self._bar: Any = None
        self._pass: tuple[int, str] | None = None
        self._last: tuple[int, int] | None = None

    def start(self, names: Sequence[str], n_epoch: int) -> None:
        self._n_epoch = n_epoch
        with _bottom.lock:
            _bottom.open(self)
            _bottom.clear()
            super().start(names, n_epoch)

    def step(self, epoch: int, part: str, done: int, total: int, comment: str = "") -> None:
        if self._pass != (epoch, part):
            self._pass, self._pace = (epoch, part), Pace(done)
        self._last = done, total
        with _bottom.lock:
            if _bottom.displays[-1:] == [self]:
                self._draw(comment)

    def row(self, values: Sequence[Any]) -> None:
        with _bottom.lock:
            _bottom.clear()
            super().row(values)

    def write(self, words: str) -> None:
        with _bottom.lock:
            _bottom.clear()
            super().write(words)

    def close(self, *, interrupted: bool = False) -> None:
        with _bottom.lock:
            if interrupted and self._last is not None and _bottom.displays[-1:] == [self]:
                self._draw("interrupted", red=True)
                _bottom.leave()
            _bottom.clear()
            _bottom.close(self)

    def _draw(self, comment: str, *, red: bool = False) -> None:
        if self._pass is None or self._last is None or not is_terminal():
            return
        if self._bar is None:
            self._bar = _console_bar()
            _bottom.drawn(1)  # it tries at once whether its block can be written
        (epoch, part), (done, total) = self._pass, self._last
        bar, columns = self._bar, min(shutil.get_terminal_size().columns, 160) - len("^C ")
        of = f"epoch {epoch + 1}/{self._n_epoch} " if self._n_epoch else ""
        times = " ".join(filter(None, (self._pace.times(done, total), comment)))
        bar.total, bar.prefix = max(total, 1), (of + part)[: max(columns - 4 - _NARROWEST, 0)]
        room = columns - len(bar.prefix) - 4 - _NARROWEST
        words = f"{100 * done / bar.total:.2f}% [{done}/{total} {times}]"[: max(room, 0)]
        bar.cols = bar.length = columns  # fastprogress makes it shorter, to leave room for the text
        colored = red and os.name != "nt" and "NO_COLOR" not in os.environ
        try:
            if colored:
                print(end="\x1b[31m")
            bar.on_update(done, words)
            if colored:
                print(end="\x1b[0m", flush=True)
            _bottom.drawn(columns)
        except Exception:  # whatever is wrong with a bar, training goes on without it
            self._bar = _NoBar()


class _NoBar:
    """Stands for fastprogress's bar where there is none."""

    def on_update(self, done: int, words: str) -> None:
        pass


def _console_bar() -> Any:
    """The bar of fastprogress, which we draw when we want."""
    try:
        from fastprogress.fastprogress import ConsoleProgressBar

        return ConsoleProgressBar(None, total=1, leave=False)
    except Exception:  # not installed, or not as we know it: no bar, but rows
        return _NoBar()
